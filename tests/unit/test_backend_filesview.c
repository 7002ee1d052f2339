/* test_backend_filesview.c - the files view: our rows, and those of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/filesview.h"
#include "backend/table.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

#include "backend_fake.h"

#define T_MS 30000

static struct df_remote *start(struct fake *f)
{
	struct df_table_conf conf = {
		.token = "t", .workspace = "ws", .table = "vol", .view = true
	};
	struct df_table_made made;
	struct df_remote *r;

	fake_start(f, true);
	conf.api_url = f->script.url;
	assert_int_equal(df_table_create(&conf, T_MS, &made), 0);
	assert_int_equal(df_table_open(&conf, &r), 0);
	return r;
}

static void stop(struct df_remote *r, struct fake *f)
{
	r->ops->stop(r);
	r->ops->free(r);
	fake_stop(f);
}

static void writes_and_removes(void **state)
{
	struct df_view_row rows[] = {
		{ .id = "df-1",
		  .path = "/a/\xc3\xa9\"x",
		  .filename = "\xc3\xa9",
		  .content = "\0\1",
		  .content_len = 2,
		  .size_bytes = 2,
		  .mime_type = "image/png" },
		{ .id = "df-2",
		  .path = "/b\xff",
		  .filename = "b\xff",
		  .content_text = "line\nline\t'",
		  .content_text_len = 11,
		  .size_bytes = 11 },
		{ .id = "df-3", .removed = true, .path = "" },
	};
	struct fake f;
	struct df_remote *r = start(&f);

	(void)state;
	for (int twice = 0; twice < 2; twice++)
		assert_int_equal(r->ops->view_apply(r, rows, 3, T_MS), 0);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol"), 2);
	assert_int_equal(fake_count(&f,
				    "SELECT count(*) FROM vol WHERE _id = "
				    "'df-1' AND path = '/a/\xc3\xa9\"x' AND "
				    "content = x'0001' AND content_text = '' "
				    "AND size_bytes = 2 AND mime_type = "
				    "'image/png'"),
			 1);
	assert_int_equal(fake_count(&f,
				    "SELECT count(*) FROM vol WHERE _id = "
				    "'df-2' AND path = '/b\xef\xbf\xbd' AND "
				    "content = x'' AND content_text = 'line' "
				    "|| char(10) || 'line' || char(9) || '''' "
				    "AND mime_type = "
				    "'application/octet-stream'"),
			 1);
	rows[0].removed = true;
	assert_int_equal(r->ops->view_apply(r, rows, 1, T_MS), 0);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol"), 1);
	stop(r, &f);
}

static void keeps_statements_small(void **state)
{
	enum { N = 1000, LEN = 30000 };
	static struct df_view_row rows[N];
	static char text[LEN];
	struct fake f;
	struct df_remote *r = start(&f);

	(void)state;
	memset(text, 'x', LEN);
	for (int i = 0; i < N; i++)
		rows[i] = (struct df_view_row){ .id = df_strf("df-%d", i),
						.path = "/p",
						.filename = "p",
						.content_text = text,
						.content_text_len =
							i % 10 ? 10 : LEN,
						.size_bytes = LEN };
	script_forget(&f.script);
	assert_int_equal(r->ops->view_apply(r, rows, N, T_MS), 0);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol"), N);
	assert_in_range(script_n(&f.script), 6, 14);
	for (size_t i = 0; i < f.script.n_seen; i++)
		assert_true(f.script.seen[i].body_len < 1500000);
	for (int i = 0; i < N; i++)
		free((char *)(uintptr_t)rows[i].id);
	stop(r, &f);
}

/* A server that takes 20 kB at most gets small statements, and rows that are
 * too large by themselves without their text. */
static void obeys_a_small_server(void **state)
{
	static char text[30000];
	struct df_view_row rows[20];
	struct fake f;
	struct df_remote *r = start(&f);

	(void)state;
	memset(text, 'y', sizeof(text));
	for (int i = 0; i < 20; i++)
		rows[i] = (struct df_view_row){
			.id = df_strf("df-%d", i),
			.path = "/p",
			.filename = "p",
			.content_text = text,
			.content_text_len = i == 7 ? sizeof(text) : 5000
		};
	f.statement_max = 20000;
	assert_int_equal(r->ops->view_apply(r, rows, 20, T_MS), 0);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol WHERE "
					"length(content_text) = 5000"),
			 19);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol WHERE "
					"content_text = ''"),
			 1);
	for (int i = 0; i < 20; i++)
		free((char *)(uintptr_t)rows[i].id);
	stop(r, &f);
}

static void finds_rows_of_others(void **state)
{
	struct df_view_page p;
	struct fake f;
	struct df_remote *r = start(&f);

	(void)state;
	fake_exec(&f, "INSERT INTO vol (_id, path, content, content_text, "
		      "size_bytes) VALUES "
		      "('df-9', '/ours', x'', 'ours', 4),"
		      "(NULL, '/a', NULL, 'text', 4),"
		      "('u-u-i-d', '/b', x'0001ff', '', 3),"
		      "('x', '/c', 'AAH/', 'ignored', NULL),"
		      "('y', '', NULL, 'no path', 1),"
		      "('z', '/d', 'not base64!', '', 1),"
		      "('w', 'e', '', '', 0)");
	assert_int_equal(r->ops->view_foreign(r, NULL, 100, T_MS, &p), 0);
	assert_int_equal(p.n, 4);
	assert_int_equal(p.refused, 2);
	assert_false(p.more);
	assert_string_equal(p.last, "e");
	assert_null(p.v[0].id);
	assert_string_equal(p.v[0].path, "/a");
	assert_true(p.v[0].text);
	assert_int_equal(p.v[0].len, 4);
	assert_memory_equal(p.v[0].data, "text", 4);
	assert_string_equal(p.v[1].id, "u-u-i-d");
	assert_false(p.v[1].text);
	assert_int_equal(p.v[1].len, 3);
	assert_memory_equal(p.v[1].data, "\0\1\xff", 3);
	assert_int_equal(p.v[2].len, 3);
	assert_memory_equal(p.v[2].data, "\0\1\xff", 3);
	assert_int_equal(p.v[3].len, 0);
	df_view_page_release(&p);

	/* Two pages. */
	assert_int_equal(r->ops->view_foreign(r, "/a", 2, T_MS, &p), 0);
	assert_int_equal(p.n, 2);
	assert_true(p.more);
	assert_string_equal(p.last, "/c");
	df_view_page_release(&p);
	stop(r, &f);
}

/* 40 rows of 400 kB are 16 MB in one answer: the page shrinks.  One row of
 * 40 MB fits no answer: it is passed by and counted. */
static void shrinks_its_pages(void **state)
{
	struct df_view_page p;
	size_t n = 0, too_big = 0;
	char *after = NULL;
	struct fake f;

	(void)state;
	if (getenv("DF_VALGRIND"))
		skip(); /* 20 MB through SQLite take longer than an attempt */
	struct df_remote *r = start(&f);
	fake_exec(&f, "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i+1 "
		      "FROM k WHERE i < 40) INSERT INTO vol (_id, path, "
		      "content_text) SELECT 'o' || i, printf('/%03d', i), "
		      "replace(hex(zeroblob(200000)), '0', 'x') FROM k");
	fake_exec(&f, "UPDATE vol SET content_text = "
		      "replace(hex(zeroblob(20000000)), '0', 'x') WHERE path "
		      "= '/020'");
	for (bool more = true; more;) {
		assert_int_equal(
			r->ops->view_foreign(r, after, 1000, 600000, &p), 0);
		free(after);
		after = p.last;
		p.last = NULL;
		n += p.n;
		too_big += p.too_big;
		more = p.more;
		df_view_page_release(&p);
	}
	free(after);
	assert_int_equal(n, 39);
	assert_int_equal(too_big, 1);
	stop(r, &f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_and_removes),
		cmocka_unit_test(keeps_statements_small),
		cmocka_unit_test(obeys_a_small_server),
		cmocka_unit_test(finds_rows_of_others),
		cmocka_unit_test(shrinks_its_pages),
	};

	df_log_open("/dev/null", "test");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
