/*
 * export.c - export: a table's files into a directory, without a mount.
 *
 * A file is written under a temporary name, gets its time, and is then put in
 * place; one that is there with the same size and time is left alone.  So an
 * export that was broken off goes on where it was, and never shows half a
 * file.  Names are taken below directory descriptors: a hostile table cannot
 * lead out of the directory.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
#define PART ".deeplake-part"

/* A file with several names: where its first one was put. */
struct first {
	struct first *next;
	uint64_t ino;
	int dir;    /* owned */
	char *name; /* owned */
};

struct exporter {
	struct df_side side;
	struct df_progress progress;
	uint64_t bytes, files, same, failed;
	uint8_t *chunk;
	struct first *firsts[1024];
	unsigned n_dirs; /* descriptors kept in firsts */
};

/* One directory's entries; names with their nodes. */
struct names {
	struct df_dirent *v; /* owned */
	size_t n, size;
};

static bool take_name(void *arg, const struct df_dirent *d)
{
	struct names *names = arg;

	if (!d->entry.nid)
		return true; /* "." and ".." */
	DF_GROW(names->v, names->n, names->size);
	names->v[names->n++] = *d;
	return true;
}

static bool is_there(int at, const char *name, const struct df_attr *a)
{
	struct stat st;

	return !fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) &&
	       S_ISREG(st.st_mode) &&
	       df_side_same(a, (uint64_t)st.st_size, &st.st_mtim);
}

/* Owners only where we may; modes and times always. */
static int set_meta(int fd, const struct df_attr *a)
{
	struct timespec times[2] = { a->atime, a->mtime };

	if (geteuid() == 0 && fchown(fd, a->uid, a->gid))
		return -errno;
	if (fchmod(fd, a->mode & 07777) || futimens(fd, times))
		return -errno;
	return 0;
}

static int get_bytes(struct exporter *ex, int fd, df_nid nid, uint64_t size)
{
	for (uint64_t off = 0; off < size;) {
		size_t want = (size_t)DF_MIN(size - off, (uint64_t)CHUNK), got;
		int err = df_side_read(&ex->side, nid, off, want, ex->chunk,
				       &got);
		if (!err && !got)
			break; /* it became shorter */
		if (!err)
			err = df_pwrite_all(fd, ex->chunk, got, (off_t)off);
		if (err)
			return err;
		off += got;
		ex->bytes += got;
		df_progress_bytes(&ex->progress, ex->bytes, 0);
	}
	return 0;
}

#define DIRS_KEPT 512

static struct first **first_slot(struct exporter *ex, uint64_t ino)
{
	struct first **f = &ex->firsts[ino % DF_ARRAY_LEN(ex->firsts)];

	while (*f && (*f)->ino != ino)
		f = &(*f)->next;
	return f;
}

/* Another name of it is here already: true if this one is, too. */
static bool link_first(struct exporter *ex, int at, const struct df_dirent *d)
{
	const struct first *f = *first_slot(ex, d->ino);
	struct stat a, b;

	if (!f)
		return false;
	if (!fstatat(f->dir, f->name, &a, AT_SYMLINK_NOFOLLOW) &&
	    !fstatat(at, d->name, &b, AT_SYMLINK_NOFOLLOW) &&
	    a.st_ino == b.st_ino && a.st_dev == b.st_dev)
		return true;
	unlinkat(at, d->name, 0);
	return !linkat(f->dir, f->name, at, d->name, 0);
}

/* Descriptors are few: what finds none becomes a file of its own. */
static void note_first(struct exporter *ex, int at, const struct df_dirent *d)
{
	struct first **f = first_slot(ex, d->ino);

	if (*f || ex->n_dirs >= DIRS_KEPT)
		return;
	int dir = fcntl(at, F_DUPFD_CLOEXEC, 0);
	if (dir < 0)
		return;
	*f = df_xalloc(sizeof(**f));
	**f = (struct first){ NULL, d->ino, dir, df_xstrdup(d->name) };
	ex->n_dirs++;
}

static void free_firsts(struct exporter *ex)
{
	for (size_t i = 0; i < DF_ARRAY_LEN(ex->firsts); i++)
		while (ex->firsts[i]) {
			struct first *f = ex->firsts[i];
			ex->firsts[i] = f->next;
			close(f->dir);
			free(f->name);
			free(f);
		}
}

static int get_file(struct exporter *ex, int at, const struct df_dirent *d,
		    const char *path)
{
	const struct df_attr *a = &d->entry.attr;

	if (a->nlink > 1 && link_first(ex, at, d)) {
		ex->same++;
		return 0;
	}
	if (is_there(at, d->name, a)) {
		if (a->nlink > 1)
			note_first(ex, at, d);
		ex->same++;
		return 0;
	}
	unlinkat(at, PART, 0);
	DF_CLOSE int fd = openat(
		at, PART, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		0600);
	if (fd < 0)
		return df_fail(-errno, "%s", path);
	int err = get_bytes(ex, fd, d->entry.nid, a->size);
	if (!err && ftruncate(fd, (off_t)a->size))
		err = -errno;
	if (!err)
		err = set_meta(fd, a);
	if (!err && renameat(at, PART, at, d->name))
		err = -errno;
	if (err) {
		unlinkat(at, PART, 0);
		ex->failed++;
		df_fail(err, "%s", path);
		/* one bad file does not end it; a full disk does */
		return err == -EIO ? 0 : err;
	}
	if (a->nlink > 1)
		note_first(ex, at, d);
	ex->files++;
	return 0;
}

static int get_symlink(struct exporter *ex, int at, const struct df_dirent *d,
		       const char *path)
{
	char target[DF_SYMLINK_MAX + 1], old[DF_SYMLINK_MAX + 1];
	int err = df_vol_readlink(ex->side.vol, d->entry.nid, target);

	if (err)
		return df_fail(err, "%s", path);
	ssize_t n = readlinkat(at, d->name, old, DF_SYMLINK_MAX);
	old[n > 0 ? n : 0] = 0;
	if (n > 0 && !strcmp(old, target))
		return 0;
	unlinkat(at, d->name, 0);
	if (symlinkat(target, at, d->name))
		return df_fail(-errno, "%s", path);
	struct timespec times[2] = { d->entry.attr.atime, d->entry.attr.mtime };
	utimensat(at, d->name, times, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int get_special(int at, const struct df_dirent *d, const char *path)
{
	const struct df_attr *a = &d->entry.attr;

	if (S_ISSOCK(a->mode))
		return 0; /* nobody listens there */
	if (mknodat(at, d->name, a->mode, a->rdev) && errno != EEXIST) {
		df_log_warn("%s: %s; left out", path, df_strerror(-errno));
		errno = 0;
	}
	return 0;
}

static int get_tree(struct exporter *ex, int fd, df_nid dir, const char *path,
		    int depth);

static int get_dir(struct exporter *ex, int at, const struct df_dirent *d,
		   const char *path, int depth)
{
	if (mkdirat(at, d->name, 0700) && errno != EEXIST)
		return df_fail(-errno, "%s", path);
	DF_CLOSE int fd = openat(
		at, d->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return df_fail(-errno, "%s", path);
	int err = get_tree(ex, fd, d->entry.nid, path, depth + 1);
	if (!err)
		err = set_meta(fd, &d->entry.attr);
	return err;
}

static int get_entry(struct exporter *ex, int at, const struct df_dirent *d,
		     const char *path, int depth)
{
	if (S_ISDIR(d->type))
		return get_dir(ex, at, d, path, depth);
	if (S_ISREG(d->type))
		return get_file(ex, at, d, path);
	if (S_ISLNK(d->type))
		return get_symlink(ex, at, d, path);
	return get_special(at, d, path);
}

static int get_tree(struct exporter *ex, int fd, df_nid dir, const char *path,
		    int depth)
{
	struct names names = { 0 };
	int err = depth > 1000 ? df_fail(-ELOOP, "%s", path)
			       : df_vol_readdir(ex->side.vol, dir, 0, true,
						take_name, &names);

	for (size_t i = 0; i < names.n; i++) {
		DF_FREE char *sub = df_strf("%s/%s", path, names.v[i].name);
		if (!err)
			err = sub ? get_entry(ex, fd, &names.v[i], sub, depth)
				  : -ENOMEM;
		df_vol_forget(ex->side.vol, names.v[i].entry.nid, 1);
	}
	free(names.v);
	return err;
}

static int export_table(struct df_query_args *a, struct exporter *ex,
			const char *dir)
{
	int err = df_mkdir_p(dir, 0755);
	DF_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (err || fd < 0) {
		df_fail(err ? err : -errno, "%s", dir);
		return DF_EXIT_FAILED;
	}
	DF_FREE char *real = realpath(dir, NULL);
	err = df_side_open(a, "export", real ? real : dir, true, &ex->side);
	if (err)
		return df_exit_of(err);
	ex->chunk = df_xalloc(CHUNK);
	df_progress_start(&ex->progress, "exporting");
	err = get_tree(ex, fd, DF_ROOT_NID, dir, 0);
	df_progress_stop(&ex->progress);
	df_side_close(&ex->side, 1000);
	free(ex->chunk);
	free_firsts(ex);
	printf("%llu files exported, %llu were there already\n",
	       (unsigned long long)ex->files, (unsigned long long)ex->same);
	if (ex->failed)
		df_log_error("%llu files could not be read; 'deeplake fsck %s' "
			     "says why",
			     (unsigned long long)ex->failed, a->word[0]);
	return err || ex->failed ? DF_EXIT_FAILED : DF_EXIT_OK;
}

int df_cmd_export(int argc, char **argv)
{
	struct df_query_args a = { 0 };
	struct exporter ex = { 0 };

	int status =
		df_query_parse(&a, argc, argv, 2, 2, "a table and a directory");
	if (!status)
		status = df_query_open(&a);
	if (!status)
		status = export_table(&a, &ex, a.word[1]);
	df_query_close(&a);
	return status;
}
