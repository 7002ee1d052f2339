/* test_serve_sql.c - the tokenizer and the translator on their own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/serve/lex.h"
#include "tools/serve/sql.h"

static struct df_arena arena;
static struct df_catalog *catalog;

static struct df_col cols[] = {
	{ .name = "id",
	  .type = DF_T_TEXT,
	  .type_text = "text",
	  .not_null = true,
	  .primary = true },
	{ .name = "size", .type = DF_T_INT8, .type_text = "bigint" },
	{ .name = "ok", .type = DF_T_BOOL, .type_text = "boolean" },
	{ .name = "raw", .type = DF_T_BYTEA, .type_text = "bytea" },
	{ .name = "emb", .type = DF_T_VEC, .type_text = "float4[]" },
};
static struct df_table tables[] = {
	{ .name = "t", .col = cols, .n_cols = 5 },
	{ .name = "t__log", .col = cols, .n_cols = 5 },
	{ .name = "other", .col = cols, .n_cols = 5 }
};

static int setup(void **state)
{
	(void)state;
	df_arena_init(&arena, (size_t)64 << 20);
	catalog = df_catalog_new("default", 1);
	assert_non_null(catalog);
	catalog->table = tables;
	catalog->n_tables = 3;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	df_catalog_put(catalog);
	df_arena_release(&arena);
	return 0;
}

static int translate(const char *text, struct df_sql *out,
		     struct df_sql_error *e, const char *only, bool read_only)
{
	struct df_sql_in in = { .text = text,
				.len = strlen(text),
				.catalog = catalog,
				.only_table = only,
				.read_only = read_only };

	return df_sql_translate(&in, &arena, out, e);
}

static void gives(const char *text, const char *want)
{
	struct df_sql out;
	struct df_sql_error e;

	if (translate(text, &out, &e, NULL, false) < 0)
		fail_msg("%s: %s", text, e.text);
	assert_string_equal(out.text, want);
}

static void refuses(const char *text, int status, const char *want)
{
	struct df_sql out;
	struct df_sql_error e;

	if (translate(text, &out, &e, NULL, false) == 0)
		fail_msg("%s was taken: %s", text, out.text);
	assert_int_equal(e.status, status);
	if (strstr(e.text, want) == NULL)
		fail_msg("%s: %s", text, e.text);
}

static void test_tokens(void **state)
{
	static const char sql[] = "Select \"A\"\"b\", E'a\\nb''c', $12, 'x''y' "
				  "/* c /* d */ */ <= 1.5e3 -- end";
	struct df_lexed l;

	(void)state;
	assert_int_equal(df_lex(sql, strlen(sql), &arena, &l), 0);
	assert_int_equal(l.n, 11);
	assert_string_equal(l.token[0].text, "select");
	assert_int_equal(l.token[1].kind, DF_TK_QUOTED);
	assert_string_equal(l.token[1].text, "A\"b");
	assert_string_equal(l.token[3].text, "a\nb'c");
	assert_int_equal(l.token[5].param, 12);
	assert_string_equal(l.token[7].text, "x'y");
	assert_string_equal(l.token[8].text, "<=");
	assert_string_equal(l.token[9].text, "1.5e3");
}

static void test_bad_tokens(void **state)
{
	static const char *const bad[] = { "'open",    "\"open",   "E'open\\",
					   "/* x",     "E'\\u12'", "E'\\x00'",
					   "$0",       "$tag$ x",  "1abc",
					   "E'\\xff'", "\"\"",     "E'\\ud800'",
					   "`" };
	struct df_lexed l;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(df_lex(bad[i], strlen(bad[i]), &arena, &l),
				 -EINVAL);
		assert_true(l.err[0] != '\0');
	}
	assert_int_equal(df_lex("a\0b", 3, &arena, &l), -EINVAL);
}

static void test_statements(void **state)
{
	(void)state;
	gives("SELECT id FROM t WHERE size = $1",
	      "SELECT \"t\".\"id\" AS \"id\" FROM \"t:t\" AS \"t\" WHERE "
	      "(\"t\".\"size\" = ?1)");
	gives("SELECT count(*) FROM t ORDER BY 1 DESC LIMIT 3",
	      "SELECT count(*) AS \"count\" FROM \"t:t\" AS \"t\" ORDER BY 1 "
	      "DESC NULLS FIRST LIMIT coalesce(3,-1)");
	/* NOT NULL columns keep their index: no NULLS LAST */
	gives("SELECT id FROM t ORDER BY id",
	      "SELECT \"t\".\"id\" AS \"id\" FROM \"t:t\" AS \"t\" ORDER BY 1 "
	      "ASC");
	gives("INSERT INTO t (id, ok, raw) VALUES ($1, 'yes', '\\x0a')",
	      "INSERT INTO \"t:t\" AS \"t\" (\"id\",\"ok\",\"raw\") VALUES "
	      "(?1,1,X'0A')");
	gives("DELETE FROM t WHERE id IN ('a', 'b')",
	      "DELETE FROM \"t:t\" AS \"t\" WHERE (\"t\".\"id\" IN "
	      "('a','b'))");
	gives("UPDATE t SET raw = raw || '\\x01' WHERE id LIKE 'a\\_%'",
	      "UPDATE \"t:t\" AS \"t\" SET \"raw\"=dl_bcat(\"t\".\"raw\",X'01')"
	      " WHERE (dl_like(\"t\".\"id\",'a\\_%','\\'))");
	gives("SELECT 'it''s' || $1", "SELECT ('it''s' || ?1) AS "
				      "\"?column?\"");
}

static void test_params(void **state)
{
	struct df_sql out;
	struct df_sql_error e;

	(void)state;
	assert_int_equal(translate("INSERT INTO t (id, size, ok, raw, emb) "
				   "VALUES ($1, $2, $3, decode($4, 'base64'), "
				   "$5::float4[])",
				   &out, &e, NULL, false),
			 0);
	assert_int_equal(out.n_params, 5);
	assert_int_equal(out.param[0], DF_T_TEXT);
	assert_int_equal(out.param[1], DF_T_INT8);
	assert_int_equal(out.param[2], DF_T_BOOL);
	assert_int_equal(out.param[3], DF_T_TEXT);
	assert_int_equal(out.param[4], DF_T_VEC);
	assert_true(out.writes);
	assert_int_equal(translate("SELECT 1 WHERE $2 = 1 AND $1 IS NULL", &out,
				   &e, NULL, false),
			 0);
	assert_int_equal(out.n_params, 2);
	assert_int_equal(out.param[1], DF_T_INT4);
}

static void test_refused(void **state)
{
	(void)state;
	refuses("", 400, "empty statement");
	refuses("SELECT * FROM x", 400,
		"Table does not exist: relation \"x\" does not exist");
	refuses("SELECT * FROM sqlite_master", 400, "does not exist");
	refuses("SELECT * FROM dl_meta", 400, "does not exist");
	refuses("SELECT * FROM \"t:t\"", 400, "does not exist");
	refuses("SELECT * FROM main.t", 400, "does not exist");
	refuses("ATTACH DATABASE 'x' AS y", 400, "syntax error");
	refuses("PRAGMA journal_mode", 400, "syntax error");
	refuses("SELECT load_extension('x')", 400, "does not exist");
	refuses("SELECT readfile('/etc/passwd')", 400, "does not exist");
	refuses("SELECT * FROM pg_class", 400, "does not exist");
	refuses("SELECT id FROM t; DROP TABLE t", 400, "multiple commands");
	refuses("BEGIN", 400, "each request is one transaction");
	refuses("COPY t TO '/tmp/x'", 400, "PostgreSQL store");
	refuses("SELECT id FROM t WHERE id ~ 'x'", 400, "PostgreSQL store");
	refuses("UPDATE t SET size = id", 400,
		"column \"size\" is of type bigint but expression is of type "
		"text");
	refuses("SELECT rowid FROM t", 400, "does not exist");
	refuses("DELETE FROM information_schema.tables", 403, "permission");
}

static void test_rights(void **state)
{
	struct df_sql out;
	struct df_sql_error e;

	(void)state;
	assert_int_equal(
		translate("SELECT id FROM t__log", &out, &e, "t", false), 0);
	assert_int_equal(
		translate("SELECT id FROM other", &out, &e, "t", false),
		-EINVAL);
	assert_int_equal(e.status, 403);
	assert_int_equal(translate("SELECT (SELECT max(id) FROM other)", &out,
				   &e, "t", false),
			 -EINVAL);
	assert_int_equal(translate("DROP TABLE other", &out, &e, "t", false),
			 -EINVAL);
	assert_int_equal(translate("INSERT INTO t (id) VALUES ('x')", &out, &e,
				   NULL, true),
			 -EINVAL);
	assert_int_equal(e.status, 403);
	assert_int_equal(translate("SELECT id FROM t", &out, &e, NULL, true),
			 0);
}

/* Cut anywhere and with any byte changed, a statement is taken or refused with
 * a message: no crash, no empty error. */
static void test_mutations(void **state)
{
	static const char *const seeds[] = {
		"SELECT a.id, count(*) FILTER (WHERE ok) FROM t a LEFT JOIN "
		"t__log b USING (id) WHERE a.size BETWEEN $1 AND 3 GROUP BY 1 "
		"HAVING count(*) > 1 ORDER BY 2 DESC NULLS LAST LIMIT $2",
		"INSERT INTO t (id, emb) VALUES (E'\\u00e4', ARRAY[1, 2.5]::"
		"float4[]), ($1, '{1}') ON CONFLICT (id) DO UPDATE SET size = "
		"EXCLUDED.size + 1 RETURNING *",
		"CREATE TABLE x (id SERIAL PRIMARY KEY, e EMBEDDING(4) NOT "
		"NULL, j JSONB DEFAULT '{}') USING deeplake",
		"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM "
		"c) SELECT CASE n WHEN 1 THEN 'a' ELSE $1 END FROM c",
	};
	char text[512];
	size_t i, j;
	int with;

	(void)state;
	for (i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		size_t len = strlen(seeds[i]);

		for (j = 0; j < len; j++) {
			for (with = 0; with < 7; with++) {
				static const char put[] = { 0,     '(', '\'',
							    '"',   '.', ',',
							    '\xff' };
				struct df_sql out;
				struct df_sql_error e;
				struct df_arena a;
				struct df_sql_in in = { .text = text,
							.catalog = catalog };

				memcpy(text, seeds[i], len + 1);
				text[j] = put[with];
				in.len = strlen(text);
				df_arena_init(&a, (size_t)8 << 20);
				if (df_sql_translate(&in, &a, &out, &e) < 0)
					assert_true(e.status >= 400 &&
						    e.text[0] != '\0');
				df_arena_release(&a);
			}
		}
	}
}

/* The n-th allocation fails: a message, no crash. */
static void test_memory(void **state)
{
	static const char text[] = "SELECT id, $1::bigint FROM t WHERE id IN "
				   "('a','b') ORDER BY size LIMIT 3";
	size_t ceiling;
	int taken = 0;

	(void)state;
	for (ceiling = 0; ceiling < 60000 && taken == 0; ceiling += 97) {
		struct df_sql_in in = { .text = text,
					.len = strlen(text),
					.catalog = catalog };
		struct df_sql out;
		struct df_sql_error e;
		struct df_arena a;

		df_arena_init(&a, ceiling);
		if (df_sql_translate(&in, &a, &out, &e) == 0)
			taken = 1;
		else
			assert_true(e.status >= 400);
		df_arena_release(&a);
	}
	assert_int_equal(taken, 1);
	assert_true(ceiling > 97);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_bad_tokens),
		cmocka_unit_test(test_statements),
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
