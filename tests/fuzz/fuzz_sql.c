// links: base serve
/*
 * fuzz_sql.c - any text as a statement.  What the translator takes must be
 * SQL that SQLite can parse and that its authorizer lets pass; running it must
 * end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "tools/serve/lite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct lite_conn *conn;
static struct df_catalog *catalog;

static void run_setup(const char *text)
{
	struct df_sql_in in = { .text = text,
				.len = strlen(text),
				.catalog = catalog };
	struct df_stmt st = { .timeout_ms = 1000, .max_answer = 1 << 20 };
	struct df_sql_error e;
	struct df_answer out;
	struct df_arena a;
	struct df_sql sql;

	df_arena_init(&a, (size_t)1 << 20);
	df_answer_init(&out);
	if (df_sql_translate(&in, &a, &sql, &e) < 0)
		abort();
	lite_run(conn, &st, &sql, &a, &out);
	if (out.error.status != 0)
		abort();
	df_answer_release(&out);
	df_arena_release(&a);
	df_catalog_put(catalog);
	catalog = lite_catalog_load(conn, "default", 1);
	if (catalog == NULL)
		abort();
}

static void setup(void)
{
	if (lite_conn_open(":memory:", &conn) < 0 ||
	    lite_schema(conn, "default") < 0)
		abort();
	catalog = lite_catalog_load(conn, "default", 1);
	if (catalog == NULL)
		abort();
	run_setup("CREATE TABLE t (id TEXT PRIMARY KEY, n BIGINT, x REAL, b "
		  "BOOLEAN, y BYTEA, j JSONB, e FLOAT4[], ts TIMESTAMPTZ)");
	run_setup("CREATE TABLE \"T__log\" (n BIGSERIAL, id TEXT PRIMARY KEY, "
		  "body TEXT NOT NULL DEFAULT '')");
	run_setup("INSERT INTO t (id, n, e) VALUES ('a', 1, '{1,2}'), ('b', "
		  "NULL, NULL)");
}

/* Errors that our own text must not cause. */
static void check_prepare(const struct df_sql *sql)
{
	static const char *const ours[] = { "syntax error",
					    "unrecognized token",
					    "not authorized",
					    "no such table",
					    "no such function",
					    "incomplete input",
					    "wrong number of arguments" };
	const char *msg = sqlite3_errmsg(conn->db);
	size_t i;

	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strstr(msg, ours[i]) != NULL) {
			(void)fprintf(stderr, "%s\n%s\n", msg, sql->text);
			abort();
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct df_sql_in in = { .text = (const char *)data, .len = len };
	struct df_sql_error e;
	struct df_arena a;
	struct df_sql sql;
	sqlite3_stmt *st = NULL;
	int i;

	if (conn == NULL)
		setup();
	if (len > 4096)
		return 0;
	in.catalog = catalog;
	df_arena_init(&a, (size_t)8 << 20);
	if (df_sql_translate(&in, &a, &sql, &e) < 0) {
		if (e.status < 400 || e.text[0] == '\0')
			abort();
	} else if (sql.text != NULL && sql.kind <= DF_SQL_DELETE) {
		(void)lite_exec(conn, "SAVEPOINT f");
		if (sqlite3_prepare_v2(conn->db, sql.text, (int)sql.text_len,
				       &st, NULL) != SQLITE_OK)
			check_prepare(&sql);
		conn->deadline_ns = df_clock_mono_ns() + 50 * DF_NS_PER_MS;
		for (i = 0;
		     st != NULL && i < 10 && sqlite3_step(st) == SQLITE_ROW;
		     i++)
			;
		conn->deadline_ns = 0;
		(void)sqlite3_finalize(st);
		(void)lite_exec(conn, "ROLLBACK TO f; RELEASE f");
	}
	df_arena_release(&a);
	return 0;
}
