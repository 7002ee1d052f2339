/*
 * cgroup.c - memory and process limits of a local sandbox.
 *
 * Version 2: the nearest of our own cgroup and its ancestors in which we may
 * make a child that has the controllers (systemd delegates such a one to
 * users).  Version 1: a directory in each controller's hierarchy.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "tools/sandbox/local.h"

#define CGROUP "/sys/fs/cgroup"

static int cg_write(const char *dir, const char *file, const char *text)
{
	DF_FREE char *path = df_strf("%s/%s", dir, file);

	DF_CLOSE int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return -errno;
	return df_write_all(fd, text, strlen(text));
}

/* Our path in a hierarchy: "0" = version 2, else a controller's name. */
static char *own_path(const char *controller)
{
	char line[PATH_MAX + 64];
	char *found = NULL;
	FILE *f = fopen("/proc/self/cgroup", "re");

	while (f && !found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		char *list = strchr(line, ':');
		char *path = list ? strchr(list + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = 0;
		if (strcmp(controller, "0") == 0
			    ? strcmp(line, "0:") == 0 ||
				      strncmp(line, "0:", 2) == 0
			    : strcmp(list + 1, controller) == 0)
			found = strdup(path);
	}
	if (f)
		fclose(f);
	return found;
}

static void add_dir(json_t *dirs, const char *dir)
{
	json_array_append_new(dirs, json_string(dir));
}

static bool try_v2(const char *parent, const char *id, long memory_mb,
		   long procs, json_t *dirs)
{
	DF_FREE char *dir = df_strf("%s/deeplake-%s", parent, id);
	char text[32];

	cg_write(parent, "cgroup.subtree_control", "+memory");
	cg_write(parent, "cgroup.subtree_control", "+pids");
	if (!dir || mkdir(dir, 0755))
		return false;
	snprintf(text, sizeof(text), "%ld", memory_mb << 20);
	bool ok = !memory_mb || !cg_write(dir, "memory.max", text);
	if (ok && memory_mb)
		cg_write(dir, "memory.swap.max", "0");
	snprintf(text, sizeof(text), "%ld", procs);
	if (!ok || cg_write(dir, "pids.max", text)) {
		rmdir(dir);
		return false;
	}
	add_dir(dirs, dir);
	return true;
}

static bool make_v2(const char *id, long memory_mb, long procs, json_t *dirs)
{
	DF_FREE char *path = own_path("0");

	if (!path || access(CGROUP "/cgroup.controllers", F_OK))
		return false;
	for (;;) {
		DF_FREE char *parent = df_strf(CGROUP "%s", path);
		if (parent && try_v2(parent, id, memory_mb, procs, dirs))
			return true;
		char *slash = strrchr(path, '/');
		if (!slash || (slash == path && !path[1]))
			return false;
		slash[slash == path] = 0;
	}
}

static bool make_v1(const char *controller, const char *file, long value,
		    const char *id, json_t *dirs)
{
	DF_FREE char *own = own_path(controller);
	DF_FREE char *dir = df_strf(CGROUP "/%s%s/deeplake-%s", controller,
				    own && own[1] ? own : "", id);
	char text[32];

	if (!own || !dir || mkdir(dir, 0755))
		return false;
	snprintf(text, sizeof(text), "%ld", value);
	if (cg_write(dir, file, text)) {
		rmdir(dir);
		return false;
	}
	add_dir(dirs, dir);
	return true;
}

int df_cgroup_make(const char *id, long memory_mb, long procs, json_t **dirs)
{
	*dirs = json_array();
	if (!*dirs)
		return -ENOMEM;
	if (make_v2(id, memory_mb, procs, *dirs))
		return 0;
	bool ok = !memory_mb || make_v1("memory", "memory.limit_in_bytes",
					memory_mb << 20, id, *dirs);
	if (!make_v1("pids", "pids.max", procs, id, *dirs))
		ok = ok && geteuid() != 0; /* RLIMIT_NPROC holds for users */
	return ok ? 0 : 1;
}

int df_cgroup_join(const json_t *dirs)
{
	size_t i;
	json_t *d;

	json_array_foreach(dirs, i, d)
	{
		int err = cg_write(json_string_value(d), "cgroup.procs", "0");
		if (err)
			return err;
	}
	return 0;
}

void df_cgroup_remove(const json_t *dirs)
{
	size_t i;
	json_t *d;

	json_array_foreach(dirs, i, d) rmdir(json_string_value(d));
}
