/* fold_db.c - the fold's SQLite file: schema, versions, statements, start. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/fold/fold_int.h"

#define FOLD_VERSION 2

static const char schema[] =
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;"
	"CREATE TABLE obj(nid INTEGER PRIMARY KEY, id BLOB NOT NULL,"
	" flagged INTEGER NOT NULL, data BLOB NOT NULL);"
	"CREATE UNIQUE INDEX obj_id ON obj(id);"
	"CREATE INDEX obj_flagged ON obj(nid) WHERE flagged <> 0;"
	"CREATE TABLE ent(parent INTEGER, cookie INTEGER, name BLOB,"
	" nid INTEGER, PRIMARY KEY(parent, cookie, name, nid)) WITHOUT ROWID;"
	"CREATE TABLE rival(parent INTEGER, name BLOB,"
	" PRIMARY KEY(parent, name)) WITHOUT ROWID;"
	"CREATE TABLE log(id BLOB PRIMARY KEY, epoch INTEGER, dep INTEGER)"
	" WITHOUT ROWID;"
	"CREATE INDEX log_dep ON log(id) WHERE dep = 1;"
	"PRAGMA user_version = 2;";

static const char *const sql[ST_COUNT] = {
	[ST_OBJ_GET] = "SELECT data FROM obj WHERE nid = ?1",
	[ST_OBJ_FIND] = "SELECT data FROM obj WHERE id = ?1",
	[ST_ENT_GET] = "SELECT nid FROM ent WHERE parent = ?1 AND cookie = ?2"
		       " AND name = ?3",
	[ST_ENT_LIST] = "SELECT cookie, name, nid FROM ent WHERE parent = ?1"
			" AND cookie > ?2 ORDER BY cookie, name, nid",
	[ST_ROW_HAS] = "SELECT 1 FROM log WHERE id = ?1",
	/* A number keeps its id: the index of ids is left alone. */
	[ST_OBJ_PUT] = "INSERT OR REPLACE INTO obj(nid, id, flagged, data)"
		       " VALUES(?1, ?2, ?3, ?4) ON CONFLICT(nid) DO UPDATE"
		       " SET flagged = excluded.flagged, data = excluded.data",
	[ST_OBJ_DEL] = "DELETE FROM obj WHERE nid = ?1",
	[ST_ENT_DEL] = "DELETE FROM ent WHERE parent = ?1 AND cookie = ?2"
		       " AND name = ?3 AND nid = ?4",
	[ST_ENT_PUT] = "INSERT OR REPLACE INTO ent VALUES(?1, ?2, ?3, ?4)",
	[ST_RIVAL_PUT] = "INSERT OR REPLACE INTO rival VALUES(?1, ?2)",
	[ST_RIVAL_DEL] = "DELETE FROM rival WHERE parent = ?1 AND name = ?2",
	/* Known already: it stays the cause that it may be. */
	[ST_ROW_PUT] = "INSERT OR IGNORE INTO log VALUES(?1, ?2, ?3)",
	[ST_ROW_DEL] = "DELETE FROM log WHERE id = ?1",
	[ST_ROW_TAKEN] = "UPDATE log SET dep = 0 WHERE dep = 1",
	[ST_META_PUT] = "INSERT OR REPLACE INTO meta VALUES(?1, ?2)",
};

/* Damage that shows only later: the next start reads the table anew. */
void df_fold_condemn(struct df_fold *f)
{
	DF_FREE char *mark = df_strf("%s.damaged", f->path);

	if (mark && !df_file_replace(mark, "", 0, 0600))
		df_log_warn("%s is damaged: unmount and mount again, then the "
			    "volume is read anew from the table",
			    f->path);
}

int df_fold_sql_error(struct df_fold *f, sqlite3 *db, const char *what)
{
	int code = sqlite3_errcode(db);
	int err = code == SQLITE_FULL    ? -ENOSPC
		  : code == SQLITE_NOMEM ? -ENOMEM
					 : -EIO;

	f->err = df_fail(err, "%s: %s: %s", f->path, what, sqlite3_errmsg(db));
	if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
		df_fold_condemn(f);
	return err;
}

static int exec(struct df_fold *f, sqlite3 *db, const char *text)
{
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		return df_fold_sql_error(f, db, "set up");
	return 0;
}

static int one_int(sqlite3 *db, const char *text, int64_t *out)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(db, text, -1, &st, NULL) != SQLITE_OK)
		return -EIO;
	int rc = sqlite3_step(st);
	*out = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_finalize(st);
	return rc == SQLITE_ROW ? 0 : -EIO;
}

static int open_one(struct df_fold *f, sqlite3 **db, int cache_kib)
{
	char pragma[160];

	if (sqlite3_open_v2(f->path, db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
				    SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return -EIO;
	sqlite3_busy_timeout(*db, 10000);
	snprintf(pragma, sizeof(pragma),
		 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
		 "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -%d;"
		 "PRAGMA temp_store = MEMORY;",
		 cache_kib);
	return sqlite3_exec(*db, pragma, NULL, NULL, NULL) == SQLITE_OK ? 0
									: -EIO;
}

void df_fold_db_close(struct df_fold *f)
{
	for (int i = 0; i < ST_COUNT; i++) {
		sqlite3_finalize(f->st[i]);
		f->st[i] = NULL;
	}
	sqlite3_close(f->rd);
	sqlite3_close(f->wr);
	f->rd = f->wr = NULL;
}

/* What is no database is set aside; a disk that fails just now is not a reason
 * to throw one away. */
static int why(struct df_fold *f)
{
	for (int i = 0; i < 2; i++) {
		sqlite3 *db = i ? f->rd : f->wr;
		int code = db ? sqlite3_errcode(db) & 0xff : SQLITE_OK;
		if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
			return DF_ECORRUPT;
	}
	return df_fail(-EIO, "open %s: %s", f->path,
		       sqlite3_errmsg(f->rd ? f->rd : f->wr));
}

/* 0, DF_ECORRUPT when the file is no sound database, or -EIO. */
static int try_open(struct df_fold *f, int64_t *version)
{
	int64_t tables = 0, n;

	if (open_one(f, &f->wr, 2048) || open_one(f, &f->rd, 4096))
		return why(f);
	if (one_int(f->wr, "PRAGMA user_version", version) ||
	    one_int(f->wr, "SELECT count(*) FROM sqlite_master", &tables))
		return why(f);
	if (tables != 0 && one_int(f->wr, "SELECT count(*) FROM meta", &n))
		return why(f);
	return 0;
}

static int prepare(struct df_fold *f)
{
	for (int i = 0; i < ST_COUNT; i++) {
		sqlite3 *db = i >= ST_OBJ_PUT ? f->wr : f->rd;
		if (sqlite3_prepare_v3(db, sql[i], -1,
				       SQLITE_PREPARE_PERSISTENT, &f->st[i],
				       NULL) != SQLITE_OK)
			return df_fold_sql_error(f, db, sql[i]);
	}
	return 0;
}

static int set_aside(struct df_fold *f)
{
	static const char *const tail[] = { "", "-wal", "-shm" };

	df_fold_db_close(f);
	for (size_t i = 0; i < DF_ARRAY_LEN(tail); i++) {
		DF_FREE char *from = df_strf("%s%s", f->path, tail[i]);
		DF_FREE char *to = df_strf("%s.bad%s", f->path, tail[i]);
		if (!from || !to)
			return -ENOMEM;
		if (rename(from, to) && errno != ENOENT)
			return df_fail(-errno, "set aside %s", from);
	}
	df_log_warn("%s was no sound database: set aside as %s.bad; "
		    "the volume is read again from the table",
		    f->path, f->path);
	return 0;
}

int df_fold_db_open(struct df_fold *f, bool *fresh)
{
	int64_t version = 0;

	*fresh = false;
	DF_FREE char *mark = df_strf("%s.damaged", f->path);
	bool damaged = mark && !access(mark, F_OK);
	int err = damaged ? DF_ECORRUPT : try_open(f, &version);
	if (err == DF_ECORRUPT) {
		err = set_aside(f);
		if (!err && damaged && unlink(mark))
			err = df_fail(-errno, "remove %s", mark);
		if (!err)
			err = try_open(f, &version);
	}
	if (err)
		return err;
	/* It may be the only place of what was not sent: never thrown away. */
	if (version && version != FOLD_VERSION)
		return df_fail(
			DF_EFORMAT,
			"%s has version %d, not %d: mount and unmount "
			"with the deeplake that made it, then remove the "
			"directory; or use another cache_dir",
			f->path, (int)version, FOLD_VERSION);
	if (version == 0) {
		*fresh = true;
		err = exec(f, f->wr, schema);
		if (err)
			return err;
	}
	return prepare(f);
}

static int load_rivals(struct df_fold *f)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(f->rd, "SELECT parent, name FROM rival", -1, &st,
			       NULL) != SQLITE_OK)
		return df_fold_sql_error(f, f->rd, "rival");
	size_t pending = f->n_pending;
	while (sqlite3_step(st) == SQLITE_ROW) {
		DF_FREE char *name =
			df_xalloc((size_t)sqlite3_column_bytes(st, 1) + 1);
		memcpy(name, sqlite3_column_blob(st, 1),
		       (size_t)sqlite3_column_bytes(st, 1));
		df_fold_set_rival(f, (df_nid)sqlite3_column_int64(st, 0), name,
				  true);
	}
	sqlite3_finalize(st);
	while (f->n_pending > pending) /* they are stored already */
		free(f->pending[--f->n_pending].text);
	return 0;
}

static int load_meta(struct df_fold *f)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(f->rd, "SELECT key, value FROM meta", -1, &st,
			       NULL) != SQLITE_OK)
		return df_fold_sql_error(f, f->rd, "meta");
	while (sqlite3_step(st) == SQLITE_ROW &&
	       f->n_meta < DF_ARRAY_LEN(f->meta)) {
		struct df_metaval *m = &f->meta[f->n_meta++];
		snprintf(m->key, sizeof(m->key), "%s",
			 (const char *)sqlite3_column_text(st, 0));
		m->value = (uint64_t)sqlite3_column_int64(st, 1);
	}
	sqlite3_finalize(st);
	return 0;
}

int df_fold_load_start(struct df_fold *f)
{
	int64_t max = 0;

	int64_t any = 1;

	one_int(f->rd, "SELECT ifnull(max(nid), 0) FROM obj", &max);
	one_int(f->rd,
		"SELECT EXISTS(SELECT 1 FROM obj WHERE nid <> 1)"
		" + EXISTS(SELECT 1 FROM ent)",
		&any);
	f->bare = !any;
	f->next_nid = (df_nid)DF_MAX(max, 1) + 1;
	int err = load_meta(f);
	if (!err)
		err = load_rivals(f);
	uint64_t used = df_fold_meta(f, "next_nid", 0);
	f->next_nid = DF_MAX(f->next_nid, used);
	return err;
}
