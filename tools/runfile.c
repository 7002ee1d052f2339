/* runfile.c - see runfile.h. */
#include "tools/runfile.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "tools/place.h"

#define RUNFILE_MAX 65536

/* In /tmp somebody else may have been first. */
static int check_owner(const char *path, uid_t uid)
{
	struct stat st;

	if (lstat(path, &st))
		return -errno;
	if (S_ISLNK(st.st_mode) || st.st_uid != uid || (st.st_mode & 022))
		return -EACCES;
	return 0;
}

static int usable_dir(const char *dir, uid_t uid)
{
	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	return check_owner(dir, uid);
}

/* The kernel gives a device number away again at once: the daemon that leaves
 * and the one that comes may mean the same file. */
static int lock_dir(const char *dir)
{
	DF_FREE char *name = df_strf("%s/lock", dir);
	int fd = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			     0600)
		      : -1;

	if (fd >= 0 && flock(fd, LOCK_EX)) {
		close(fd);
		fd = -1;
	}
	return fd < 0 ? -errno : fd;
}

static int runfile_put(const char *dir, dev_t dev, const struct df_runfile *r,
		       char **file)
{
	DF_FREE char *text = NULL;
	DF_CLOSE int lock = lock_dir(dir);
	if (lock < 0)
		return lock;
	json_t *j = json_pack("{s:s, s:s, s:s, s:i}", "path", r->path, "table",
			      r->table, "cacheDir", r->cache_dir, "pid",
			      (int)r->pid);

	if (j)
		text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	*file = df_strf("%s/%u:%u", dir, major(dev), minor(dev));
	if (!text || !*file)
		return -ENOMEM;
	return df_file_replace(*file, text, strlen(text), 0600);
}

int df_runfile_write(dev_t dev, const struct df_runfile *r, char **file)
{
	int err = -ENOENT;

	*file = NULL;
	for (unsigned i = 0; err; i++) {
		DF_FREE char *dir = df_place_run_dir(geteuid(), i);
		if (!dir)
			break;
		err = usable_dir(dir, geteuid());
		if (!err)
			err = runfile_put(dir, dev, r, file);
		if (err) {
			free(*file);
			*file = NULL;
		}
	}
	return err;
}

static int runfile_parse(const char *file, struct df_runfile *out)
{
	struct df_buf text;
	const char *path, *table, *cache_dir;
	int pid;

	df_buf_init(&text, RUNFILE_MAX);
	int err = df_file_read(file, &text);
	json_t *j = err ? NULL
			: json_loadb((char *)text.data, text.len, 0, NULL);
	df_buf_release(&text);
	if (err)
		return err;
	if (!j || json_unpack(j, "{s:s, s:s, s:s, s:i}", "path", &path, "table",
			      &table, "cacheDir", &cache_dir, "pid", &pid)) {
		json_decref(j);
		return DF_ECORRUPT;
	}
	out->path = strdup(path);
	out->table = strdup(table);
	out->cache_dir = strdup(cache_dir);
	out->pid = pid;
	json_decref(j);
	if (out->path && out->table && out->cache_dir)
		return 0;
	df_runfile_release(out);
	return -ENOMEM;
}

void df_runfile_remove(char **file, const char *cache_dir)
{
	struct df_runfile r = { 0 };
	DF_FREE char *name = *file;
	DF_FREE char *dir = name ? strdup(name) : NULL;

	*file = NULL;
	if (!dir)
		return;
	*strrchr(dir, '/') = 0;
	DF_CLOSE int lock = lock_dir(dir);
	if (lock >= 0 && runfile_parse(name, &r) == 0 && r.pid == getpid() &&
	    strcmp(r.cache_dir, cache_dir) == 0)
		unlink(name);
	df_runfile_release(&r);
}

int df_runfile_read(dev_t dev, uid_t uid, struct df_runfile *out)
{
	int err = -ENOENT;

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; err; i++) {
		DF_FREE char *dir = df_place_run_dir(uid, i);
		if (!dir)
			return -ENOENT;
		DF_FREE char *file =
			df_strf("%s/%u:%u", dir, major(dev), minor(dev));
		if (!file)
			return -ENOMEM;
		err = check_owner(dir, uid);
		if (!err)
			err = check_owner(file, uid);
		if (!err)
			err = runfile_parse(file, out);
	}
	return err;
}

void df_runfile_release(struct df_runfile *r)
{
	free(r->path);
	free(r->table);
	free(r->cache_dir);
	memset(r, 0, sizeof(*r));
}
