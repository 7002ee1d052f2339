/*
 * import.c - import: a directory of this machine into a table, without a
 * mount.
 *
 * Types, modes, owners, times, links, holes as zeros; xattrs of the user
 * namespace.  What is there with the same size and time is left alone, so that
 * an import that was broken off goes on where it was.  A file's time is set
 * when its bytes are there: half a file never looks like a whole one.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "tools/cmd.h"
#include "tools/import_vol.h"
#include "tools/query_cmd.h"

#define CHUNK (1 << 20)
#define CREATE_MS 60000
#define FLUSH_MS (INT64_C(24) * 3600 * 1000)

struct link_seen {
	struct link_seen *next;
	dev_t dev;
	ino_t ino;
	df_nid nid;
};

struct import {
	struct df_side side;
	struct df_progress progress;
	uint64_t bytes, files, same, skipped;
	struct link_seen *links[1024]; /* files with several names */
	uint8_t *chunk;
};

static int set_attrs(struct import *im, df_nid nid, const struct stat *st)
{
	struct df_attr a = { .mode = st->st_mode & 07777,
			     .uid = st->st_uid,
			     .gid = st->st_gid,
			     .mtime = st->st_mtim,
			     .atime = st->st_atim };
	struct df_attr out;
	double timeout;
	unsigned mask = DF_SET_UID | DF_SET_GID | DF_SET_MTIME | DF_SET_ATIME;

	if (!S_ISLNK(st->st_mode))
		mask |= DF_SET_MODE;
	int err;
	do
		err = df_vol_setattr(im->side.vol, nid, mask, &a, &out,
				     &timeout);
	while (df_side_again(&im->side, err));
	return err;
}

static int copy_xattrs(struct import *im, int fd, df_nid nid)
{
	char list[65536], value[65536];
	ssize_t n = flistxattr(fd, list, sizeof(list));
	int err = 0;

	for (const char *p = list; !err && n > 0 && p < list + n;
	     p += strlen(p) + 1) {
		ssize_t len = strncmp(p, "user.", 5)
				      ? -1
				      : fgetxattr(fd, p, value, sizeof(value));
		if (len < 0)
			continue;
		do
			err = df_vol_setxattr(im->side.vol, nid, p, value,
					      (size_t)len, 0);
		while (df_side_again(&im->side, err));
	}
	return err;
}

static int copy_bytes(struct import *im, int fd, df_nid nid, const char *path)
{
	struct df_attr a = { .size = 0 }, out;
	double timeout;
	int err = df_vol_load(im->side.vol, nid, NULL, NULL);

	if (!err)
		do
			err = df_vol_setattr(im->side.vol, nid, DF_SET_SIZE, &a,
					     &out, &timeout);
		while (df_side_again(&im->side, err));

	for (off_t off = 0; !err;) {
		ssize_t n = df_pread_all(fd, im->chunk, CHUNK, off);
		if (n <= 0)
			return n < 0 ? df_fail((int)n, "%s", path) : 0;
		err = df_side_write(&im->side, nid, (uint64_t)off, im->chunk,
				    (size_t)n);
		off += n;
		im->bytes += (size_t)n;
		df_progress_bytes(&im->progress, im->bytes, 0);
	}
	return df_fail(err, "%s", path);
}

static struct link_seen **link_slot(struct import *im, const struct stat *st)
{
	struct link_seen **at =
		&im->links[(st->st_ino ^ st->st_dev) % DF_ARRAY_LEN(im->links)];

	while (*at && ((*at)->ino != st->st_ino || (*at)->dev != st->st_dev))
		at = &(*at)->next;
	return at;
}

/* The file is here under another name already: 1 if it was linked. */
static int link_again(struct import *im, df_nid dir, const char *name,
		      const struct stat *st)
{
	struct link_seen *seen = st->st_nlink > 1 ? *link_slot(im, st) : NULL;
	struct df_entry e;

	if (!seen)
		return 0;
	int err;
	do
		err = df_vol_link(im->side.vol, seen->nid, dir, name, &e);
	while (df_side_again(&im->side, err));
	if (!err)
		df_vol_forget(im->side.vol, e.nid, 1);
	return err == -EEXIST || !err ? 1 : err;
}

static void note_link(struct import *im, const struct stat *st, df_nid nid)
{
	if (st->st_nlink < 2)
		return;
	struct link_seen **at = link_slot(im, st);
	if (*at)
		return;
	*at = df_xalloc(sizeof(**at));
	**at = (struct link_seen){ NULL, st->st_dev, st->st_ino, nid };
}

static const struct df_cred *me(void)
{
	static struct df_cred c;

	c = (struct df_cred){ getuid(), getgid(), 0 };
	return &c;
}

static int put_file(struct import *im, int at, df_nid dir, const char *name,
		    const char *path, const struct stat *st)
{
	struct df_vol *v = im->side.vol;
	struct df_entry e;

	int err = df_vol_lookup(v, dir, name, &e);
	bool there = !err;
	if (there && S_ISREG(e.attr.mode) &&
	    df_side_same(&e.attr, (uint64_t)st->st_size, &st->st_mtim)) {
		im->same++;
		note_link(im, st, e.nid);
		return 0;
	}
	if (there && !S_ISREG(e.attr.mode))
		return df_fail(-EEXIST,
			       "%s: in the table that is no plain "
			       "file; remove it there first",
			       path);
	if (!there) {
		err = link_again(im, dir, name, st);
		if (err)
			return err < 0 ? df_fail(err, "%s", path) : 0;
		do
			err = df_vol_mknod(v, dir, name, S_IFREG | 0600, 0, 0,
					   me(), &e);
		while (df_side_again(&im->side, err));
	}
	if (err)
		return df_fail(err, "%s", path);
	DF_CLOSE int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		im->skipped++;
		if (!there)
			df_vol_unlink(v, dir, name);
		return df_fail(-errno, "%s: left out", path), 0;
	}
	err = copy_bytes(im, fd, e.nid, path);
	if (err)
		return err;
	err = copy_xattrs(im, fd, e.nid);
	if (!err)
		err = set_attrs(im, e.nid, st);
	note_link(im, st, e.nid);
	im->files += !err;
	return err ? df_fail(err, "%s", path) : 0;
}

static int put_symlink(struct import *im, int at, df_nid dir, const char *name,
		       const char *path, const struct stat *st)
{
	char target[DF_SYMLINK_MAX + 1], old[DF_SYMLINK_MAX + 1];
	struct df_vol *v = im->side.vol;
	struct df_entry e;

	ssize_t n = readlinkat(at, name, target, DF_SYMLINK_MAX);
	if (n < 0)
		return df_fail(-errno, "%s", path);
	target[n] = 0;
	if (!df_vol_lookup(v, dir, name, &e)) {
		bool same = S_ISLNK(e.attr.mode) &&
			    !df_vol_readlink(v, e.nid, old) &&
			    !strcmp(old, target);
		df_vol_forget(v, e.nid, 1);
		if (same)
			return 0;
		int err = df_vol_unlink(v, dir, name);
		if (err)
			return df_fail(err, "%s", path);
	}
	int err;
	do
		err = df_vol_symlink(v, dir, name, target, me(), &e);
	while (df_side_again(&im->side, err));
	if (!err)
		err = set_attrs(im, e.nid, st);
	return err ? df_fail(err, "%s", path) : 0;
}

static int put_special(struct import *im, df_nid dir, const char *name,
		       const char *path, const struct stat *st)
{
	struct df_entry e;
	int err;

	do
		err = df_vol_mknod(im->side.vol, dir, name, st->st_mode,
				   (uint32_t)st->st_rdev, 0, me(), &e);
	while (df_side_again(&im->side, err));
	if (err == -EEXIST)
		return 0;
	if (!err)
		err = set_attrs(im, e.nid, st);
	return err ? df_fail(err, "%s", path) : 0;
}

static int put_tree(struct import *im, int fd, df_nid dir, const char *path,
		    int depth);

static int put_dir(struct import *im, int at, df_nid dir, const char *name,
		   const char *path, const struct stat *st, int depth)
{
	struct df_vol *v = im->side.vol;
	struct df_entry e;
	int err;

	do
		err = df_vol_mkdir(v, dir, name, 0700, me(), &e);
	while (df_side_again(&im->side, err));
	if (err == -EEXIST)
		err = df_vol_lookup(v, dir, name, &e);
	if (!err && !S_ISDIR(e.attr.mode))
		err = -ENOTDIR;
	if (err)
		return df_fail(err, "%s", path);
	int fd = openat(at, name,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		im->skipped++;
		return df_fail(-errno, "%s: left out", path), 0;
	}
	err = put_tree(im, fd, e.nid, path, depth + 1);
	if (!err)
		err = set_attrs(im, e.nid, st);
	df_vol_forget(v, e.nid, 1);
	return err;
}

static int put_entry(struct import *im, int at, df_nid dir, const char *name,
		     const char *path, int depth)
{
	struct stat st;

	df_side_pace(&im->side);
	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : df_fail(-errno, "%s", path);
	if (S_ISDIR(st.st_mode))
		return put_dir(im, at, dir, name, path, &st, depth);
	if (S_ISREG(st.st_mode))
		return put_file(im, at, dir, name, path, &st);
	if (S_ISLNK(st.st_mode))
		return put_symlink(im, at, dir, name, path, &st);
	return put_special(im, dir, name, path, &st);
}

/* Takes fd. */
static int put_tree(struct import *im, int fd, df_nid dir, const char *path,
		    int depth)
{
	DIR *d = fdopendir(fd);
	int err = 0;

	if (!d) {
		err = df_fail(-errno, "%s", path);
		close(fd);
		return err;
	}
	if (depth > 1000)
		err = df_fail(-ELOOP, "%s: over 1000 levels deep", path);
	for (struct dirent *e; !err && (e = readdir(d));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		DF_FREE char *sub = df_strf("%s/%s", path, e->d_name);
		err = sub ? put_entry(im, dirfd(d), dir, e->d_name, sub, depth)
			  : -ENOMEM;
	}
	closedir(d);
	return err;
}

static void free_links(struct import *im)
{
	for (size_t i = 0; i < DF_ARRAY_LEN(im->links); i++)
		while (im->links[i]) {
			struct link_seen *l = im->links[i];
			im->links[i] = l->next;
			free(l);
		}
}

static int import(struct df_query_args *a, struct import *im, const char *dir)
{
	struct df_table_made made;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		df_fail(-errno, "%s", dir);
		return DF_EXIT_FAILED;
	}
	int err = df_table_create(&a->account.table, CREATE_MS, &made);
	if (err == -EEXIST)
		df_log_error("table %s has other columns than a volume and is "
			     "only read; import into another one",
			     a->word[1]);
	DF_FREE char *real = err ? NULL : realpath(dir, NULL);
	if (!err)
		err = df_side_open(a, "import", real ? real : dir, false,
				   &im->side);
	if (err) {
		close(fd);
		return df_exit_of(err);
	}
	im->chunk = df_xalloc(CHUNK);
	df_progress_start(&im->progress, "importing");
	err = put_tree(im, fd, DF_ROOT_NID, dir, 0);
	df_progress_stop(&im->progress);
	int late = df_side_close(&im->side, FLUSH_MS);
	free(im->chunk);
	free_links(im);
	printf("%llu files imported, %llu were there already%s\n",
	       (unsigned long long)im->files, (unsigned long long)im->same,
	       late ? ", not everything is in the table yet" : "");
	if (im->skipped)
		df_log_warn("%llu files could not be read and were left out",
			    (unsigned long long)im->skipped);
	if (late)
		return DF_EXIT_NOT_REMOTE;
	return err || im->skipped ? DF_EXIT_FAILED : DF_EXIT_OK;
}

int df_cmd_import(int argc, char **argv)
{
	struct df_query_args a = { 0 };
	struct import *im = df_xalloc(sizeof(*im));

	int status =
		df_query_parse(&a, argc, argv, 2, 2, "a directory and a table");
	if (!status) {
		char *dir = a.word[0];
		a.word++; /* the table comes first for the others */
		status = df_query_open(&a);
		if (!status)
			status = import(&a, im, dir);
	}
	df_query_close(&a);
	free(im);
	return status;
}
