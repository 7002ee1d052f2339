/* litemeta.c - DIR/server.db: secret, orgs, workspaces, tokens; and files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/serve/lite.h"
#include "tools/serve/meta.h"

static const char meta_schema[] =
	"BEGIN IMMEDIATE;"
	"CREATE TABLE IF NOT EXISTS kv (k TEXT PRIMARY KEY, v TEXT NOT NULL) "
	"STRICT;"
	"CREATE TABLE IF NOT EXISTS orgs (id TEXT PRIMARY KEY, name TEXT NOT "
	"NULL) STRICT;"
	"CREATE TABLE IF NOT EXISTS workspaces (org TEXT NOT NULL, id TEXT NOT "
	"NULL, name TEXT NOT NULL, created_s INTEGER NOT NULL, PRIMARY KEY "
	"(org, id)) STRICT;"
	"CREATE TABLE IF NOT EXISTS tokens (id TEXT PRIMARY KEY, name TEXT NOT "
	"NULL, org TEXT NOT NULL, workspace TEXT NOT NULL, tbl TEXT NOT NULL, "
	"read_only INTEGER NOT NULL, created_s INTEGER NOT NULL, expires_s "
	"INTEGER NOT NULL, revoked INTEGER NOT NULL) STRICT;"
	"CREATE TABLE IF NOT EXISTS logins (code TEXT PRIMARY KEY, user_code "
	"TEXT NOT NULL UNIQUE, until_s INTEGER NOT NULL, asked_ms INTEGER NOT "
	"NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0, token TEXT NOT NULL "
	"DEFAULT '', person TEXT NOT NULL DEFAULT '') STRICT;"
	"INSERT OR IGNORE INTO kv VALUES ('schema', '1');"
	"COMMIT";

/* A statement on server.db with text arguments, the lock held. */
static sqlite3_stmt *meta_prepare(struct lite_store *s, const char *sql,
				  const char *const *arg, int n)
{
	sqlite3_stmt *st = NULL;
	int i;

	df_lock_assert(&s->meta_lock);
	if (sqlite3_prepare_v2(s->meta->db, sql, -1, &st, NULL) != SQLITE_OK) {
		df_log_error("%s/server.db: %s", s->dir,
			     sqlite3_errmsg(s->meta->db));
		return NULL;
	}
	for (i = 0; i < n; i++)
		if (sqlite3_bind_text(st, i + 1, arg[i], -1, SQLITE_STATIC) !=
		    SQLITE_OK)
			return st; /* a NULL argument: the step finds nothing */
	return st;
}

static void meta_lock(struct lite_store *s)
{
	df_lock(&s->meta_lock);
	s->meta->trusted = true;
}

static void meta_unlock(struct lite_store *s)
{
	s->meta->trusted = false;
	df_unlock(&s->meta_lock);
}

/* Run to the end: rows changed, or -errno. */
static int meta_run(struct lite_store *s, const char *sql,
		    const char *const *arg, int n)
{
	sqlite3_stmt *st;
	int rc, changed = 0;

	meta_lock(s);
	st = meta_prepare(s, sql, arg, n);
	rc = st == NULL ? SQLITE_ERROR : sqlite3_step(st);
	if (rc == SQLITE_DONE)
		changed = sqlite3_changes(s->meta->db);
	else
		df_log_error("%s/server.db: %s", s->dir,
			     sqlite3_errmsg(s->meta->db));
	(void)sqlite3_finalize(st);
	meta_unlock(s);
	return rc == SQLITE_DONE ? changed : -EIO;
}

int lite_meta_open(struct lite_store *s)
{
	char *path = df_strf("%s/server.db", s->dir);
	int err;

	if (path == NULL)
		return -ENOMEM;
	err = lite_conn_open(path, &s->meta);
	free(path);
	if (err < 0)
		return err;
	return lite_exec(s->meta, meta_schema) == SQLITE_OK ? 0 : -EIO;
}

static int own_run(struct df_store *store, const char *sql,
		   const char *const *arg, int n)
{
	char *text = df_meta_sql(sql, "");
	int changed = text == NULL ? -ENOMEM
				   : meta_run((struct lite_store *)store, text,
					      arg, n);

	free(text);
	return changed;
}

static int own_rows(struct df_store *store, const char *sql,
		    const char *const *arg, int n,
		    void (*each)(void *arg, const char *const *value),
		    void *each_arg)
{
	struct lite_store *s = (struct lite_store *)store;
	char *text = df_meta_sql(sql, "");
	sqlite3_stmt *st;
	int i, rc = SQLITE_NOMEM;

	if (text == NULL)
		return -ENOMEM;
	meta_lock(s);
	st = meta_prepare(s, text, arg, n);
	while (st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *value[DF_STORE_OWN_COLS];

		for (i = 0; i < sqlite3_column_count(st); i++)
			value[i] = (const char *)sqlite3_column_text(st, i);
		each(each_arg, value);
	}
	if (st != NULL && rc != SQLITE_DONE)
		df_log_error("%s/server.db: %s", s->dir,
			     sqlite3_errmsg(s->meta->db));
	(void)sqlite3_finalize(st);
	meta_unlock(s);
	free(text);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

static int ws_create(struct df_store *store, const char *org, const char *id,
		     const char *name)
{
	char now[32];
	const char *arg[] = { org, id, name, now };
	int n;

	if (strcmp(id, "default") == 0)
		return -EEXIST;
	(void)snprintf(now, sizeof(now), "%lld",
		       (long long)(df_clock_real_ns() / DF_NS_PER_S));
	n = meta_run((struct lite_store *)store,
		     "INSERT OR IGNORE INTO "
		     "workspaces VALUES (?1, ?2, ?3, CAST(?4 AS INTEGER))",
		     arg, 4);
	return n < 0 ? n : n == 0 ? -EEXIST : 0;
}

static int ws_exists(struct df_store *store, const char *org, const char *id)
{
	struct lite_store *s = (struct lite_store *)store;
	const char *arg[] = { org, id };
	sqlite3_stmt *st;
	int found;

	if (strcmp(id, "default") == 0)
		return 1;
	meta_lock(s);
	st = meta_prepare(s,
			  "SELECT 1 FROM workspaces WHERE org = ?1 AND id = "
			  "?2",
			  arg, 2);
	found = st == NULL ? -EIO : sqlite3_step(st) == SQLITE_ROW;
	(void)sqlite3_finalize(st);
	meta_unlock(s);
	return found;
}

/* ---- files: in the workspace's own database */

static int file_put(struct df_store *store, const char *org, const char *ws,
		    const char *id, const char *name, const char *type,
		    const void *data, size_t len)
{
	struct lite_store *s = (struct lite_store *)store;
	struct lite_conn *c;
	sqlite3_stmt *st = NULL;
	int err = 0, rc;
	struct lite_ws *w = lite_ws_get(s, org, ws, &err);

	if (w == NULL || (c = lite_reader_get(w)) == NULL)
		return err < 0 ? err : -EIO;
	c->trusted = true;
	rc = sqlite3_prepare_v2(c->db,
				"INSERT INTO dl_files VALUES (?1, ?2, "
				"?3, ?4)",
				-1, &st, NULL);
	if (rc == SQLITE_OK) {
		(void)sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
		(void)sqlite3_bind_text(st, 2, name, -1, SQLITE_STATIC);
		(void)sqlite3_bind_text(st, 3, type, -1, SQLITE_STATIC);
		(void)sqlite3_bind_blob64(st, 4, len > 0 ? data : "", len,
					  SQLITE_STATIC);
		rc = sqlite3_step(st);
	}
	if (rc != SQLITE_DONE)
		err = df_fail(-EIO, "%s: file: %s", w->path,
			      sqlite3_errmsg(c->db));
	(void)sqlite3_finalize(st);
	c->trusted = false;
	lite_reader_put(w, c);
	return err;
}

static int file_get(struct df_store *store, const char *org, const char *ws,
		    const char *id, struct df_buf *data, char type[128])
{
	struct lite_store *s = (struct lite_store *)store;
	struct lite_conn *c;
	sqlite3_stmt *st = NULL;
	int err = 0;
	struct lite_ws *w = lite_ws_get(s, org, ws, &err);

	if (w == NULL || (c = lite_reader_get(w)) == NULL)
		return err < 0 ? err : -EIO;
	c->trusted = true;
	err = -ENOENT;
	if (sqlite3_prepare_v2(c->db,
			       "SELECT data, type FROM dl_files WHERE "
			       "id = ?1",
			       -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW) {
		df_buf_put(data, sqlite3_column_blob(st, 0),
			   (size_t)sqlite3_column_bytes(st, 0));
		(void)snprintf(type, 128, "%s",
			       (const char *)sqlite3_column_text(st, 1));
		err = data->err;
	}
	(void)sqlite3_finalize(st);
	c->trusted = false;
	lite_reader_put(w, c);
	return err;
}

const struct df_store_ops lite_meta_ops = {
	.ws_create = ws_create,
	.ws_exists = ws_exists,
	.own_run = own_run,
	.own_rows = own_rows,
	.file_put = file_put,
	.file_get = file_get,
};
