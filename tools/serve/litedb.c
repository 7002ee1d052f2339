/* litedb.c - connections, the schema of a workspace, its catalogue. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "tools/serve/lite.h"
#include "tools/serve/litefn.h"

static const char lite_schema_sql[] =
	"CREATE TABLE dl_meta (k TEXT PRIMARY KEY, v TEXT NOT NULL) STRICT;"
	"CREATE TABLE dl_tables (name TEXT PRIMARY KEY, created_ms INTEGER NOT "
	"NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE dl_columns (table_name TEXT NOT NULL, ord INTEGER NOT "
	"NULL, name TEXT NOT NULL, type INTEGER NOT NULL, type_name TEXT NOT "
	"NULL, type_text TEXT NOT NULL, not_null INTEGER NOT NULL, serial "
	"INTEGER NOT NULL, prim INTEGER NOT NULL, late INTEGER NOT NULL, "
	"default_sql TEXT, PRIMARY KEY (table_name, ord)) STRICT, WITHOUT "
	"ROWID;"
	"CREATE TABLE dl_indexes (name TEXT PRIMARY KEY, table_name TEXT NOT "
	"NULL, column_name TEXT NOT NULL, method TEXT NOT NULL, type TEXT NOT "
	"NULL, def TEXT NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE dl_files (id TEXT PRIMARY KEY, name TEXT NOT NULL, type "
	"TEXT NOT NULL, data BLOB NOT NULL) STRICT;"
	"CREATE VIEW dl_columns_view AS SELECT (SELECT v FROM dl_meta WHERE k "
	"= 'workspace') AS table_schema, 'deeplake' AS table_catalog, "
	"table_name, name AS column_name, ord + 1 AS ordinal_position, "
	"default_sql AS column_default, CASE not_null WHEN 1 THEN 'NO' ELSE "
	"'YES' END AS is_nullable, CASE WHEN type_name LIKE '%[]' THEN 'ARRAY' "
	"ELSE type_name END AS data_type, CASE WHEN type_name = 'real[]' THEN "
	"'_float4' ELSE type_text END AS udt_name FROM dl_columns;"
	"CREATE VIEW dl_tables_view AS SELECT (SELECT v FROM dl_meta WHERE k = "
	"'workspace') AS table_schema, 'deeplake' AS table_catalog, name AS "
	"table_name, 'BASE TABLE' AS table_type FROM dl_tables;"
	"CREATE VIEW dl_indexes_view AS SELECT (SELECT v FROM dl_meta WHERE k "
	"= 'workspace') AS schemaname, table_name AS tablename, name AS "
	"indexname, NULL AS tablespace, def AS indexdef FROM dl_indexes;"
	"PRAGMA user_version = 1;";

/* What the translator writes needs no more than this.  Anything else comes
 * from our own SQL, or from a hole in the translator. */
static int conn_authorize(void *arg, int op, const char *a, const char *b,
			  const char *db, const char *trigger)
{
	const struct lite_conn *c = arg;

	(void)trigger;
	if (c->trusted)
		return SQLITE_OK;
	switch (op) {
	case SQLITE_SELECT:
	case SQLITE_RECURSIVE:
	case SQLITE_TRANSACTION:
	case SQLITE_SAVEPOINT:
		return SQLITE_OK;
	case SQLITE_FUNCTION:
		return b != NULL && (strcmp(b, "load_extension") == 0 ||
				     strcmp(b, "readfile") == 0 ||
				     strcmp(b, "writefile") == 0 ||
				     strcmp(b, "edit") == 0 ||
				     strcmp(b, "fts3_tokenizer") == 0)
			       ? SQLITE_DENY
			       : SQLITE_OK;
	case SQLITE_READ:
		/* tables t:..., the views, and what the views read */
		return a != NULL && (strncmp(a, "t:", 2) == 0 ||
				     strncmp(a, "dl_", 3) == 0 ||
				     strncmp(a, "c:", 2) == 0 ||
				     strncmp(a, "sqlite_", 7) != 0)
			       ? SQLITE_OK
			       : SQLITE_DENY;
	case SQLITE_INSERT:
	case SQLITE_UPDATE:
	case SQLITE_DELETE:
		return a != NULL && strncmp(a, "t:", 2) == 0 && db != NULL &&
				       strcmp(db, "main") == 0
			       ? SQLITE_OK
			       : SQLITE_DENY;
	default:
		return SQLITE_DENY;
	}
}

static int conn_progress(void *arg)
{
	const struct lite_conn *c = arg;

	return c->deadline_ns != 0 && df_clock_mono_ns() > c->deadline_ns;
}

int lite_exec(struct lite_conn *c, const char *sql)
{
	char *msg = NULL;
	bool before = c->trusted;
	int rc;

	c->trusted = true;
	rc = sqlite3_exec(c->db, sql, NULL, NULL, &msg);
	c->trusted = before;
	if (rc != SQLITE_OK)
		df_log_error("%s: %s", sqlite3_db_filename(c->db, "main"),
			     msg != NULL ? msg : sqlite3_errstr(rc));
	sqlite3_free(msg);
	return rc;
}

static void conn_limits(sqlite3 *db)
{
	static const struct {
		int id, value;
	} limits[] = {
		{ SQLITE_LIMIT_LENGTH, 256 << 20 },
		{ SQLITE_LIMIT_SQL_LENGTH, 192 << 20 },
		{ SQLITE_LIMIT_COLUMN, 2000 },
		{ SQLITE_LIMIT_EXPR_DEPTH, 1000 },
		{ SQLITE_LIMIT_COMPOUND_SELECT, 200 },
		{ SQLITE_LIMIT_FUNCTION_ARG, 100 },
		{ SQLITE_LIMIT_ATTACHED, 0 },
		{ SQLITE_LIMIT_TRIGGER_DEPTH, 0 },
		{ SQLITE_LIMIT_VARIABLE_NUMBER, 30000 },
		{ SQLITE_LIMIT_WORKER_THREADS, 0 },
	};
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(limits); i++)
		(void)sqlite3_limit(db, limits[i].id, limits[i].value);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	(void)sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0,
				NULL);
}

int lite_conn_open(const char *path, struct lite_conn **out)
{
	struct lite_conn *c = calloc(1, sizeof(*c));
	int rc;

	*out = NULL;
	if (c == NULL)
		return -ENOMEM;
	c->trusted = true;
	rc = sqlite3_open_v2(path, &c->db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
				     SQLITE_OPEN_NOMUTEX |
				     SQLITE_OPEN_EXRESCODE,
			     NULL);
	if (rc == SQLITE_OK)
		rc = df_litefn_register(c->db);
	if (rc != SQLITE_OK) {
		df_log_error("%s: cannot be opened: %s", path,
			     sqlite3_errstr(rc));
		lite_conn_free(c);
		return -EIO;
	}
	(void)sqlite3_busy_timeout(c->db, 10000);
	conn_limits(c->db);
	/* FULL: in WAL mode every commit is fsynced, so that what was
	 * acknowledged survives a power cut.  16 KiB pages keep the chains of
	 * a pack's overflow pages short. */
	rc = lite_exec(c, "PRAGMA page_size = 16384;"
			  "PRAGMA journal_mode = WAL;"
			  "PRAGMA synchronous = FULL;"
			  "PRAGMA cache_size = -8192;"
			  "PRAGMA temp_store = MEMORY;"
			  "PRAGMA foreign_keys = OFF;"
			  "PRAGMA trusted_schema = ON;"
			  "PRAGMA case_sensitive_like = ON;"
			  "PRAGMA journal_size_limit = 134217728;"
			  "PRAGMA wal_autocheckpoint = 2048");
	if (rc != SQLITE_OK) {
		lite_conn_free(c);
		return -EIO;
	}
	(void)chmod(path, 0600);
	(void)sqlite3_set_authorizer(c->db, conn_authorize, c);
	sqlite3_progress_handler(c->db, 2000, conn_progress, c);
	c->trusted = false;
	*out = c;
	return 0;
}

void lite_conn_free(struct lite_conn *c)
{
	size_t i;

	if (c == NULL)
		return;
	for (i = 0; i < LITE_STMTS; i++) {
		(void)sqlite3_finalize(c->cache[i].stmt);
		free(c->cache[i].text);
	}
	(void)sqlite3_close(c->db);
	free(c);
}

static int schema_version(struct lite_conn *c)
{
	sqlite3_stmt *st = NULL;
	int v = -1;

	c->trusted = true;
	if (sqlite3_prepare_v2(c->db, "PRAGMA user_version", -1, &st, NULL) ==
		    SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st);
	c->trusted = false;
	return v;
}

int lite_schema(struct lite_conn *c, const char *workspace)
{
	int v = schema_version(c);
	char *sql;
	int rc;

	if (v == LITE_SCHEMA_VERSION)
		return 0;
	if (v > LITE_SCHEMA_VERSION) {
		df_log_error("%s: has schema version %d, this program knows %d:"
			     " use a newer deeplake serve",
			     sqlite3_db_filename(c->db, "main"), v,
			     LITE_SCHEMA_VERSION);
		return DF_EFORMAT;
	}
	sql = sqlite3_mprintf("BEGIN IMMEDIATE; %s INSERT INTO dl_meta VALUES "
			      "('workspace', %Q); COMMIT",
			      lite_schema_sql, workspace);
	if (sql == NULL)
		return -ENOMEM;
	rc = lite_exec(c, sql);
	sqlite3_free(sql);
	return rc == SQLITE_OK ? 0 : -EIO;
}

/* ---- catalogue */

static const char *col_text(struct df_catalog *cat, sqlite3_stmt *st, int i)
{
	const char *p = (const char *)sqlite3_column_text(st, i);

	return p == NULL ? NULL : df_arena_str(&cat->arena, p);
}

static int count_rows(struct lite_conn *c, const char *sql)
{
	sqlite3_stmt *st = NULL;
	int n = 0;

	if (sqlite3_prepare_v2(c->db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int(st, 0);
	(void)sqlite3_finalize(st);
	return n;
}

static int load_columns(struct lite_conn *c, struct df_catalog *cat,
			struct df_table *t)
{
	sqlite3_stmt *st = NULL;
	int n = 0, rc;

	rc = sqlite3_prepare_v2(
		c->db,
		"SELECT name, type, type_text, not_null,"
		" serial, prim, late, default_sql, count(*) OVER () FROM "
		"dl_columns WHERE table_name = ?1 ORDER BY ord",
		-1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 1, t->name, -1, SQLITE_STATIC);
	while (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		struct df_col *col;

		if (t->col == NULL) {
			n = sqlite3_column_int(st, 8);
			t->col = df_arena_alloc(&cat->arena,
						(size_t)n * sizeof(*t->col));
			if (t->col == NULL)
				break;
		}
		col = &t->col[t->n_cols++];
		col->name = col_text(cat, st, 0);
		col->type = (enum df_type)sqlite3_column_int(st, 1);
		col->type_text = col_text(cat, st, 2);
		col->not_null = sqlite3_column_int(st, 3) != 0;
		col->serial = sqlite3_column_int(st, 4) != 0;
		col->primary = sqlite3_column_int(st, 5) != 0;
		col->late_default = sqlite3_column_int(st, 6) != 0;
		col->default_sql = col_text(cat, st, 7);
		if (col->type <= DF_T_UNKNOWN || col->type >= DF_T_COUNT_)
			col->type = DF_T_TEXT;
	}
	rc = sqlite3_finalize(st);
	return rc == SQLITE_OK && !cat->arena.failed ? 0 : -EIO;
}

static int load_tables(struct lite_conn *c, struct df_catalog *cat)
{
	size_t n = (size_t)count_rows(c, "SELECT count(*) FROM dl_tables"), i;
	sqlite3_stmt *st = NULL;

	cat->table = df_arena_alloc(&cat->arena, (n + 1) * sizeof(*cat->table));
	if (cat->table == NULL ||
	    sqlite3_prepare_v2(c->db,
			       "SELECT name, created_ms FROM dl_tables "
			       "ORDER BY name",
			       -1, &st, NULL) != SQLITE_OK)
		return -EIO;
	while (cat->n_tables < n && sqlite3_step(st) == SQLITE_ROW) {
		struct df_table *t = &cat->table[cat->n_tables++];

		t->name = col_text(cat, st, 0);
		t->created_ms = sqlite3_column_int64(st, 1);
	}
	if (sqlite3_finalize(st) != SQLITE_OK || cat->arena.failed)
		return -EIO;
	for (i = 0; i < cat->n_tables; i++)
		if (load_columns(c, cat, &cat->table[i]) < 0)
			return -EIO;
	return 0;
}

static int load_indexes(struct lite_conn *c, struct df_catalog *cat)
{
	size_t n = (size_t)count_rows(c, "SELECT count(*) FROM dl_indexes");
	sqlite3_stmt *st = NULL;

	cat->index = df_arena_alloc(&cat->arena, (n + 1) * sizeof(*cat->index));
	if (cat->index == NULL ||
	    sqlite3_prepare_v2(c->db,
			       "SELECT name, table_name, column_name, "
			       "method, type, def FROM dl_indexes",
			       -1, &st, NULL) != SQLITE_OK)
		return -EIO;
	while (cat->n_indexes < n && sqlite3_step(st) == SQLITE_ROW) {
		struct df_index *x = &cat->index[cat->n_indexes++];

		x->name = col_text(cat, st, 0);
		x->table = col_text(cat, st, 1);
		x->column = col_text(cat, st, 2);
		x->method = col_text(cat, st, 3);
		x->type = col_text(cat, st, 4);
		x->def = col_text(cat, st, 5);
	}
	return sqlite3_finalize(st) == SQLITE_OK && !cat->arena.failed ? 0
								       : -EIO;
}

struct df_catalog *lite_catalog_load(struct lite_conn *c, const char *workspace,
				     uint64_t version)
{
	struct df_catalog *cat = df_catalog_new(workspace, version);
	int err = -ENOMEM;

	if (cat == NULL)
		return NULL;
	c->trusted = true;
	err = load_tables(c, cat);
	if (err == 0)
		err = load_indexes(c, cat);
	c->trusted = false;
	if (err < 0) {
		df_log_error("%s: the catalogue cannot be read: %s",
			     sqlite3_db_filename(c->db, "main"),
			     sqlite3_errmsg(c->db));
		df_catalog_put(cat);
		return NULL;
	}
	return cat;
}

/* One INSERT or DELETE with text and integer arguments; NULL ends them. */
static int catalog_run(struct lite_conn *c, char *sql)
{
	int rc = sql == NULL ? SQLITE_NOMEM : lite_exec(c, sql);

	sqlite3_free(sql);
	return rc == SQLITE_OK ? 0 : -EIO;
}

static int store_columns(struct lite_conn *c, const struct df_sql_ddl *d)
{
	size_t i;
	int err = 0;

	for (i = 0; i < d->n_cols && err == 0; i++) {
		const struct df_col *col = &d->col[i];

		err = catalog_run(
			c, sqlite3_mprintf(
				   "INSERT INTO dl_columns VALUES (%Q, (SELECT "
				   "coalesce(max(ord) + 1, 0) FROM dl_columns "
				   "WHERE "
				   "table_name = %Q), %Q, %d, %Q, %Q, %d, %d, "
				   "%d, %d, %Q)",
				   d->name, d->name, col->name, col->type,
				   df_type_name(col->type), col->type_text,
				   col->not_null, col->serial, col->primary,
				   col->late_default, col->default_sql));
	}
	return err;
}

static int store_drops(struct lite_conn *c, const struct df_sql *sql)
{
	const struct df_sql_ddl *d = &sql->ddl;
	size_t i;
	int err = 0;

	for (i = 0; i < d->n_names && err == 0; i++) {
		const char *n = d->names[i];

		if (sql->kind == DF_SQL_DROP_INDEX)
			err = catalog_run(
				c, sqlite3_mprintf("DELETE FROM "
						   "dl_indexes WHERE name = %Q",
						   n));
		else
			err = catalog_run(
				c, sqlite3_mprintf(
					   "DELETE FROM "
					   "dl_tables WHERE name = %Q; DELETE "
					   "FROM "
					   "dl_columns WHERE table_name = %Q; "
					   "DELETE FROM "
					   "dl_indexes WHERE table_name = %Q",
					   n, n, n));
	}
	return err;
}

int lite_catalog_store(struct lite_conn *c, const struct df_sql *sql)
{
	const struct df_sql_ddl *d = &sql->ddl;
	int err;

	switch (sql->kind) {
	case DF_SQL_CREATE_TABLE:
		err = catalog_run(
			c, sqlite3_mprintf("INSERT INTO dl_tables "
					   "VALUES (%Q, %lld)",
					   d->name,
					   (long long)(df_clock_real_ns() /
						       DF_NS_PER_MS)));
		return err < 0 ? err : store_columns(c, d);
	case DF_SQL_ADD_COLUMN:
		return store_columns(c, d);
	case DF_SQL_CREATE_INDEX:
		return catalog_run(
			c, sqlite3_mprintf("INSERT INTO dl_indexes "
					   "VALUES (%Q, %Q, %Q, %Q, %Q, %Q)",
					   d->name, d->table, d->column,
					   d->method, d->type, d->def));
	default:
		return store_drops(c, sql);
	}
}
