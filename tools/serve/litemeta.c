/* litemeta.c - DIR/server.db: secret, orgs, workspaces, tokens; and files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/serve/lite.h"

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

static int meta_get(struct df_store *store, const char *key, struct df_buf *out)
{
	struct lite_store *s = (struct lite_store *)store;
	sqlite3_stmt *st;
	int err = -ENOENT;

	meta_lock(s);
	st = meta_prepare(s, "SELECT v FROM kv WHERE k = ?1", &key, 1);
	if (st == NULL) {
		err = -EIO;
	} else if (sqlite3_step(st) == SQLITE_ROW) {
		df_buf_put(out, sqlite3_column_text(st, 0),
			   (size_t)sqlite3_column_bytes(st, 0));
		err = out->err;
	}
	(void)sqlite3_finalize(st);
	meta_unlock(s);
	return err;
}

static int meta_put(struct df_store *store, const char *key, const char *value,
		    bool once)
{
	const char *arg[] = { key, value };
	int err = meta_run((struct lite_store *)store,
			   once ? "INSERT OR IGNORE INTO kv VALUES (?1, ?2)"
				: "INSERT OR REPLACE INTO kv VALUES (?1, ?2)",
			   arg, 2);

	return err < 0 ? err : 0;
}

static int org_put(struct df_store *store, const char *id, const char *name)
{
	const char *arg[] = { id, name };
	int err = meta_run((struct lite_store *)store,
			   "INSERT OR REPLACE INTO "
			   "orgs VALUES (?1, ?2)",
			   arg, 2);

	return err < 0 ? err : 0;
}

static int org_list(struct df_store *store, struct df_buf *out)
{
	struct lite_store *s = (struct lite_store *)store;
	sqlite3_stmt *st;
	int n = 0;

	meta_lock(s);
	st = meta_prepare(s, "SELECT id, name FROM orgs ORDER BY id", NULL, 0);
	df_buf_put_u8(out, '[');
	while (st != NULL && sqlite3_step(st) == SQLITE_ROW) {
		df_buf_put_str(out, n++ > 0 ? ",{\"id\":" : "{\"id\":");
		df_json_puts(out, (const char *)sqlite3_column_text(st, 0));
		df_buf_put_str(out, ",\"name\":");
		df_json_puts(out, (const char *)sqlite3_column_text(st, 1));
		df_buf_put_u8(out, '}');
	}
	df_buf_put_u8(out, ']');
	(void)sqlite3_finalize(st);
	meta_unlock(s);
	return st == NULL ? -EIO : out->err;
}

static void ws_put_json(struct df_buf *out, const char *org, const char *id,
			const char *name, int64_t created_s)
{
	df_buf_put_str(out, "{\"id\":");
	df_json_puts(out, id);
	df_buf_put_str(out, ",\"org_id\":");
	df_json_puts(out, org);
	df_buf_put_str(out, ",\"name\":");
	df_json_puts(out, name);
	df_buf_printf(out, ",\"type\":\"default\",\"created_at\":%lld}",
		      (long long)created_s);
}

static int ws_list(struct df_store *store, const char *org, struct df_buf *out)
{
	struct lite_store *s = (struct lite_store *)store;
	sqlite3_stmt *st;

	meta_lock(s);
	st = meta_prepare(s,
			  "SELECT id, name, created_s FROM workspaces WHERE "
			  "org = ?1 AND id <> 'default' ORDER BY id",
			  &org, 1);
	df_buf_put_u8(out, '[');
	ws_put_json(out, org, "default", "default", 0);
	while (st != NULL && sqlite3_step(st) == SQLITE_ROW) {
		df_buf_put_u8(out, ',');
		ws_put_json(out, org, (const char *)sqlite3_column_text(st, 0),
			    (const char *)sqlite3_column_text(st, 1),
			    sqlite3_column_int64(st, 2));
	}
	df_buf_put_u8(out, ']');
	(void)sqlite3_finalize(st);
	meta_unlock(s);
	return st == NULL ? -EIO : out->err;
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

/* ---- tokens */

static int token_put(struct df_store *store, const struct df_token_row *r)
{
	char created[32], expires[32];
	const char *arg[] = { r->id,        r->name,  r->org,
			      r->workspace, r->table, r->read_only ? "1" : "0",
			      created,      expires,  r->revoked ? "1" : "0" };
	int n;

	(void)snprintf(created, sizeof(created), "%lld",
		       (long long)r->created_s);
	(void)snprintf(expires, sizeof(expires), "%lld",
		       (long long)r->expires_s);
	n = meta_run((struct lite_store *)store,
		     "INSERT INTO tokens VALUES "
		     "(?1, ?2, ?3, ?4, ?5, CAST(?6 AS INTEGER), CAST(?7 AS "
		     "INTEGER), CAST(?8 AS INTEGER), CAST(?9 AS INTEGER))",
		     arg, 9);
	return n < 0 ? n : 0;
}

static void token_fill(sqlite3_stmt *st, struct df_token_row *r)
{
	const char *text[5];
	int i;

	for (i = 0; i < 5; i++)
		text[i] = (const char *)sqlite3_column_text(st, i);
	*r = (struct df_token_row){ .read_only = false };
	(void)snprintf(r->id, sizeof(r->id), "%s", text[0]);
	(void)snprintf(r->name, sizeof(r->name), "%s", text[1]);
	(void)snprintf(r->org, sizeof(r->org), "%s", text[2]);
	(void)snprintf(r->workspace, sizeof(r->workspace), "%s", text[3]);
	(void)snprintf(r->table, sizeof(r->table), "%s", text[4]);
	r->read_only = sqlite3_column_int(st, 5) != 0;
	r->created_s = sqlite3_column_int64(st, 6);
	r->expires_s = sqlite3_column_int64(st, 7);
	r->revoked = sqlite3_column_int(st, 8) != 0;
}

#define TOKEN_COLS                                              \
	"id, name, org, workspace, tbl, read_only, created_s, " \
	"expires_s, revoked FROM tokens"

static int token_get(struct df_store *store, const char *id,
		     struct df_token_row *row)
{
	struct lite_store *s = (struct lite_store *)store;
	sqlite3_stmt *st;
	int err = -ENOENT;

	meta_lock(s);
	st = meta_prepare(s, "SELECT " TOKEN_COLS " WHERE id = ?1", &id, 1);
	if (st == NULL) {
		err = -EIO;
	} else if (sqlite3_step(st) == SQLITE_ROW) {
		token_fill(st, row);
		err = 0;
	}
	(void)sqlite3_finalize(st);
	meta_unlock(s);
	return err;
}

static int token_revoke(struct df_store *store, const char *id)
{
	int n = meta_run((struct lite_store *)store,
			 "UPDATE tokens SET "
			 "revoked = 1 WHERE id = ?1",
			 &id, 1);

	return n < 0 ? n : n == 0 ? -ENOENT : 0;
}

static int token_list(struct df_store *store,
		      void (*each)(void *arg, const struct df_token_row *),
		      void *arg)
{
	struct lite_store *s = (struct lite_store *)store;
	struct df_token_row row;
	sqlite3_stmt *st;

	meta_lock(s);
	st = meta_prepare(s, "SELECT " TOKEN_COLS " ORDER BY created_s, id",
			  NULL, 0);
	while (st != NULL && sqlite3_step(st) == SQLITE_ROW) {
		token_fill(st, &row);
		each(arg, &row);
	}
	(void)sqlite3_finalize(st);
	meta_unlock(s);
	return st == NULL ? -EIO : 0;
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
	.ws_list = ws_list,
	.ws_create = ws_create,
	.ws_exists = ws_exists,
	.meta_get = meta_get,
	.meta_put = meta_put,
	.org_list = org_list,
	.org_put = org_put,
	.token_put = token_put,
	.token_get = token_get,
	.token_revoke = token_revoke,
	.token_list = token_list,
	.file_put = file_put,
	.file_get = file_get,
};
