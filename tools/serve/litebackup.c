/*
 * litebackup.c - a copy of a running store: each database by SQLite's backup
 * (whole, of one moment), into a directory of the same shape, which
 * `--store sqlite:` opens as it is.  It appears under its name only when it is
 * complete and on disk.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/serve/lite.h"

static int backup_sync(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		err = -errno;
	(void)close(fd);
	return err;
}

static int backup_db(const char *from, const char *to)
{
	sqlite3 *a = NULL, *b = NULL;
	sqlite3_backup *k;
	int rc;

	rc = sqlite3_open_v2(from, &a, SQLITE_OPEN_READWRITE, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_open_v2(to, &b,
				     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
				     NULL);
	if (rc == SQLITE_OK) {
		(void)sqlite3_busy_timeout(a, 10000);
		k = sqlite3_backup_init(b, "main", a, "main");
		if (k == NULL) {
			rc = sqlite3_errcode(b);
		} else {
			/* all in one step: one moment, and WAL lets writers
			 * go on meanwhile */
			rc = sqlite3_backup_step(k, -1);
			(void)sqlite3_backup_finish(k);
			rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
		}
	}
	(void)sqlite3_close(a);
	(void)sqlite3_close(b);
	if (rc != SQLITE_OK)
		return df_fail(-EIO, "backup of %s to %s: %s", from, to,
			       sqlite3_errstr(rc));
	(void)chmod(to, 0600);
	return backup_sync(to);
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

static int backup_org(const char *from, const char *to)
{
	struct dirent *e;
	DIR *d = opendir(from);
	int err;

	if (d == NULL)
		return df_fail(-errno, "%s", from);
	err = df_mkdir_p(to, 0700);
	while (err == 0 && (e = readdir(d)) != NULL) {
		char *a, *b;

		if (!ends_in(e->d_name, ".db"))
			continue;
		a = df_strf("%s/%s", from, e->d_name);
		b = df_strf("%s/%s", to, e->d_name);
		err = a == NULL || b == NULL ? -ENOMEM : backup_db(a, b);
		free(a);
		free(b);
	}
	(void)closedir(d);
	return err == 0 ? backup_sync(to) : err;
}

static int backup_orgs(const char *dir, const char *to)
{
	char *ws = df_strf("%s/ws", dir);
	struct dirent *e;
	int err = 0;
	DIR *d = ws == NULL ? NULL : opendir(ws);

	while (d != NULL && err == 0 && (e = readdir(d)) != NULL) {
		char *a, *b;

		if (e->d_name[0] == '.')
			continue;
		a = df_strf("%s/%s", ws, e->d_name);
		b = df_strf("%s/ws/%s", to, e->d_name);
		err = a == NULL || b == NULL ? -ENOMEM : backup_org(a, b);
		free(a);
		free(b);
	}
	if (d != NULL)
		(void)closedir(d);
	free(ws);
	return err;
}

int lite_backup(struct df_store *store, const char *path)
{
	struct lite_store *s = (struct lite_store *)store;
	char *part = df_strf("%s.part-%d", path, (int)getpid());
	char *from = df_strf("%s/server.db", s->dir);
	char *to = df_strf("%s.part-%d/server.db", path, (int)getpid());
	struct stat st;
	int err = part == NULL || from == NULL || to == NULL ? -ENOMEM : 0;

	if (err == 0 && lstat(path, &st) == 0)
		err = df_fail(-EEXIST,
			      "%s: there already; a backup never "
			      "overwrites: name another place",
			      path);
	if (err == 0) {
		err = df_mkdir_p(part, 0700);
		if (err < 0)
			df_log_error("%s: %s", part, df_strerror(err));
	}
	/* Workspaces first: a token or workspace made meanwhile is at worst
	 * in server.db and not yet in use. */
	if (err == 0)
		err = backup_orgs(s->dir, part);
	if (err == 0)
		err = backup_db(from, to);
	if (err == 0)
		err = backup_sync(part);
	if (err == 0 && rename(part, path) < 0)
		err = df_fail(-errno, "%s", path);
	free(part);
	free(from);
	free(to);
	return err;
}
