/* local_state.c - directories and state of local sandboxes; see local.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/local.h"

/* A directory of ours and nobody else's: /tmp and /run are shared. */
static int private_dir(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return df_fail(-errno,
			       "create %s (set DEEPLAKE_SANDBOX_DIR "
			       "to a directory of yours)",
			       path);
	if (lstat(path, &st))
		return df_fail(-errno, "%s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 077)) {
		df_log_error("%s is not a private directory of this user: "
			     "remove it, or set DEEPLAKE_SANDBOX_DIR",
			     path);
		return -EPERM;
	}
	return 0;
}

int df_local_dirs(struct df_local *l)
{
	const char *own = getenv("DEEPLAKE_SANDBOX_DIR");
	const char *run = getenv("XDG_RUNTIME_DIR");

	if (own && *own) {
		if (own[0] != '/') {
			df_log_error("DEEPLAKE_SANDBOX_DIR must be an "
				     "absolute path");
			return -EINVAL;
		}
		l->root = strdup(own);
		l->disks = df_strf("%s/disks", own);
	} else {
		if (geteuid() == 0)
			l->root = strdup("/run/deeplake-sandbox");
		else if (run && run[0] == '/')
			l->root = df_strf("%s/deeplake-sandbox", run);
		else
			l->root = df_strf("/tmp/deeplake-sandbox-%d",
					  (int)geteuid());
		l->disks =
			df_strf("/var/tmp/deeplake-sandbox-%d", (int)geteuid());
	}
	if (!l->root || !l->disks)
		return -ENOMEM;
	int err = private_dir(l->root);
	return err ? err : private_dir(l->disks);
}

char *df_local_path(const struct df_local *l, const char *id, const char *file)
{
	return df_strf("%s/%s%s%s", l->root, id, *file ? "/" : "", file);
}

static void remove_below(int dir, const char *name)
{
	if (!unlinkat(dir, name, 0))
		return;
	int fd = openat(dir, name,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	fchmod(fd, 0700); /* the sandbox may have closed it */
	DIR *d = fdopendir(fd);
	struct dirent *e;
	if (!d) {
		close(fd);
		return;
	}
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			remove_below(fd, e->d_name);
	closedir(d);
	unlinkat(dir, name, AT_REMOVEDIR);
}

void df_tree_remove(const char *path)
{
	if (path && path[0] == '/')
		remove_below(AT_FDCWD, path);
}

void df_local_remove(const struct df_local *l, const char *id, const char *disk)
{
	DF_FREE char *dir = df_local_path(l, id, "");

	if (disk && strncmp(disk, l->disks, strlen(l->disks)) == 0)
		df_tree_remove(disk);
	df_tree_remove(dir);
}

/* The keeper holds the lock from before the state is written. */
static bool keeper_lives(const struct df_local *l, const char *id)
{
	DF_FREE char *path = df_local_path(l, id, "lock");

	DF_CLOSE int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
}

int df_local_load(const struct df_local *l, const char *id, json_t **state)
{
	if (!*id || id[0] == '.' || strchr(id, '/'))
		return -ENOENT;
	DF_FREE char *path = df_local_path(l, id, "state.json");
	json_t *o = path ? json_load_file(path, 0, NULL) : NULL;
	if (!o)
		return -ENOENT;
	if (!keeper_lives(l, id)) {
		df_cgroup_remove(json_object_get(o, "cgroups"));
		df_local_remove(l, id,
				json_string_value(json_object_get(o, "disk")));
		json_decref(o);
		return -ENOENT;
	}
	*state = o;
	return 0;
}

int df_local_save(const struct df_local *l, const char *id, json_t *state)
{
	DF_FREE char *path = df_local_path(l, id, "state.json");
	DF_FREE char *text = json_dumps(state, JSON_INDENT(1));

	if (!path || !text)
		return -ENOMEM;
	int err = df_file_replace(path, text, strlen(text), 0600);
	return err ? df_fail(err, "%s", path) : 0;
}

char *df_time_text(int64_t s)
{
	time_t t = (time_t)s;
	struct tm tm;
	char text[40];

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return strdup(text);
}

int64_t df_time_parse(const char *text)
{
	struct tm tm = { 0 };

	if (!text || !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		return 0;
	return (int64_t)timegm(&tm);
}
