/* test_backend_answer.c - the scanner of query answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/evp.h>

#include "backend/answer.h"
#include "backend/api.h"
#include "base/err.h"
#include "base/mem.h"
#include "tests/unit/quicker.h"

#define PACK ((size_t)4 << 20)

static int parse(struct df_answer *a, const char *text)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	df_buf_put_str(&b, text);
	return df_answer_parse(a, &b);
}

static void check_cell(const struct df_answer *a, size_t row, int col,
		       enum df_cell_type type, const char *text)
{
	const struct df_cell *c = df_answer_cell(a, row, col);

	assert_int_equal(c->type, type);
	assert_int_equal(c->len, strlen(text));
	assert_memory_equal(c->s, text, c->len);
}

static void reads_every_type(void **state)
{
	struct df_answer a;

	(void)state;
	assert_int_equal(
		parse(&a,
		      " {\"columns\": [\"a\",\"b\"] , \"rows\": "
		      "[[\"x\", 12], [null, true],[{\"k\":[1,\"]\"]},-1.5e3]"
		      "], \"row_count\" : 3, \"other\": {\"x\": []},"
		      "\"last\":18446744073709551615}\n"),
		0);
	assert_int_equal(a.n_rows, 3);
	assert_int_equal(a.n_cols, 2);
	assert_int_equal(a.row_count, 3);
	assert_true(a.last == UINT64_MAX);
	assert_int_equal(df_answer_col(&a, "b"), 1);
	assert_int_equal(df_answer_col(&a, "c"), -1);
	check_cell(&a, 0, 0, DF_CELL_TEXT, "x");
	check_cell(&a, 0, 1, DF_CELL_NUMBER, "12");
	check_cell(&a, 1, 0, DF_CELL_NULL, "null");
	check_cell(&a, 1, 1, DF_CELL_BOOL, "true");
	check_cell(&a, 2, 0, DF_CELL_OTHER, "{\"k\":[1,\"]\"]}");
	check_cell(&a, 2, 1, DF_CELL_NUMBER, "-1.5e3");
	df_answer_release(&a);
}

static void unescapes(void **state)
{
	struct df_answer a;

	(void)state;
	assert_int_equal(parse(&a, "{\"columns\":[\"\\u0061\"],\"rows\":[[\""
				   "\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac"
				   "\\ud83d\\ude00\\ud800x\\u0041\"]]}"),
			 0);
	assert_int_equal(df_answer_col(&a, "a"), 0);
	check_cell(&a, 0, 0, DF_CELL_TEXT,
		   "\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"
		   "\xef\xbf\xbdxA");
	df_answer_release(&a);
}

static void keeps_a_nul(void **state)
{
	struct df_answer a;

	(void)state;
	assert_int_equal(parse(&a, "{\"rows\":[[\"a\\u0000b\"]]}"), 0);
	assert_int_equal(a.cell[0].len, 3);
	assert_memory_equal(a.cell[0].s, "a\0b", 3);
	df_answer_release(&a);
}

static void nothing_is_no_rows(void **state)
{
	static const char *const empty[] = {
		"null",
		"{}",
		"{\"columns\":null,\"rows\":null}",
		"{\"columns\":[],\"rows\":[]}",
		"{\"row_count\":1}",
		"{\"columns\":[\"a\",\"b\"],\"rows\":[],\"row_count\":0}",
	};
	struct df_answer a;

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(empty); i++) {
		assert_int_equal(parse(&a, empty[i]), 0);
		assert_int_equal(a.n_rows, 0);
		df_answer_release(&a);
	}
}

static void refuses_what_is_no_answer(void **state)
{
	static const char *const wrong[] = {
		"",
		" ",
		"[]",
		"\"x\"",
		"nul",
		"{",
		"{\"rows\":[[1]",
		"{}x",
		"{\"rows\":[[1],[1,2]]}",
		"{\"rows\":[[]]}",
		"{\"rows\":[[\"a]]}",
		"{\"rows\":[[\"\\x\"]]}",
		"{\"rows\":[[\"\\u12\"]]}",
		"{\"rows\":[[\"\\",
		"{\"rows\":1}",
		"{\"columns\":[1]}",
		"{\"columns\":[\"a\"],\"rows\":[[1,2]]}",
		"{\"rows\":[[tru]]}",
		"{\"rows\":[[1 2]]}",
		"{\"rows\" [[1]]}",
		"<html></html>",
		"{\"rows\":[[1],]}",
		"{\"a\":}",
	};
	struct df_answer a;

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(wrong); i++) {
		if (parse(&a, wrong[i]) != DF_ECORRUPT)
			fail_msg("accepted: %s", wrong[i]);
		assert_int_equal(a.n_rows, 0);
		df_answer_release(&a);
	}
}

static void bounds_depth_and_cells(void **state)
{
	struct df_answer a;
	struct df_buf b;

	(void)state;
	df_buf_init(&b, 0);
	df_buf_put_str(&b, "{\"x\":");
	for (int i = 0; i < 100000; i++)
		df_buf_put_u8(&b, '[');
	assert_int_equal(df_answer_parse(&a, &b), DF_ECORRUPT);
	df_answer_release(&a);

	df_buf_init(&b, 0);
	df_buf_put_str(&b, "{\"rows\":[[0");
	for (size_t i = 0; i < DF_ANSWER_CELLS_MAX; i++)
		df_buf_put_str(&b, ",0");
	df_buf_put_str(&b, "]]}");
	assert_int_equal(df_answer_parse(&a, &b), -EOVERFLOW);
	df_answer_release(&a);
}

static void reads_numbers_and_ids(void **state)
{
	struct df_cell c = { "18446744073709551615", 20, DF_CELL_NUMBER };
	uint64_t x;
	struct df_id id;

	(void)state;
	assert_int_equal(df_cell_u64(&c, &x), 0);
	assert_true(x == UINT64_MAX);
	c = (struct df_cell){ "18446744073709551616", 20, DF_CELL_NUMBER };
	assert_int_equal(df_cell_u64(&c, &x), DF_ECORRUPT);
	c = (struct df_cell){ "-1", 2, DF_CELL_NUMBER };
	assert_int_equal(df_cell_u64(&c, &x), DF_ECORRUPT);
	c = (struct df_cell){ "00000000000000ff", 16, DF_CELL_TEXT };
	assert_int_equal(df_cell_hex64(&c, &x), 0);
	assert_int_equal(x, 255);
	c.s = "00000000000000FF";
	assert_int_equal(df_cell_hex64(&c, &x), DF_ECORRUPT);
	c = (struct df_cell){ "000102030405060708090a0b0c0d0e0f", 32,
			      DF_CELL_TEXT };
	assert_int_equal(df_cell_id(&c, &id), 0);
	assert_int_equal(id.b[15], 15);
	c.type = DF_CELL_NULL;
	assert_int_equal(df_cell_id(&c, &id), DF_ECORRUPT);
}

/* A pack's bytes, and the answer that brings them as base64. */
struct pack {
	unsigned char *raw;
	struct df_buf answer;
	char *base64;
};

static void scan(void *arg)
{
	struct pack *p = arg;
	struct df_answer a;
	struct df_buf body;

	df_buf_init(&body, 0); /* the copy counts, too */
	df_buf_put(&body, p->answer.data, p->answer.len);
	assert_int_equal(df_answer_parse(&a, &body), 0);
	assert_int_equal(a.cell[0].len, PACK / 3 * 4 + 4);
	df_answer_release(&a);
}

static void scan_jansson(void *arg)
{
	struct pack *p = arg;
	json_t *j = json_loadb((const char *)p->answer.data, p->answer.len, 0,
			       NULL);

	assert_non_null(j);
	json_decref(j);
}

static void build(void *arg)
{
	struct pack *p = arg;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "INSERT INTO t VALUES ($1)");
	df_stmt_b64(&s, p->raw, PACK);
	assert_true(s.json.len > PACK / 3 * 4 && !s.json.err);
	df_stmt_release(&s);
}

static void build_jansson(void *arg)
{
	struct pack *p = arg;

	EVP_EncodeBlock((unsigned char *)p->base64, p->raw, PACK);
	json_t *j = json_pack("{s:s, s:[s]}", "query",
			      "INSERT INTO t VALUES ($1)", "params", p->base64);
	char *text = json_dumps(j, JSON_COMPACT);
	assert_non_null(text);
	free(text);
	json_decref(j);
}

static void a_pack_is_no_tree_of_json(void **state)
{
	struct pack p = { .raw = malloc(PACK),
			  .base64 = malloc(PACK / 3 * 4 + 8) };

	(void)state;
	assert_true(p.raw && p.base64);
	for (size_t i = 0; i < PACK; i++)
		p.raw[i] = (unsigned char)(i * i >> 7);
	EVP_EncodeBlock((unsigned char *)p.base64, p.raw, PACK);
	df_buf_init(&p.answer, 0);
	df_buf_printf(&p.answer, "{\"columns\":[\"data\"],\"rows\":[[\"");
	df_buf_put_str(&p.answer, p.base64);
	df_buf_put_str(&p.answer, "\"]],\"row_count\":1}");
	check_quicker("a pack's answer read", scan, scan_jansson, &p, 10);
	check_quicker("a pack's statement written", build, build_jansson, &p,
		      8);
	df_buf_release(&p.answer);
	free(p.raw);
	free(p.base64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_type),
		cmocka_unit_test(unescapes),
		cmocka_unit_test(keeps_a_nul),
		cmocka_unit_test(nothing_is_no_rows),
		cmocka_unit_test(refuses_what_is_no_answer),
		cmocka_unit_test(bounds_depth_and_cells),
		cmocka_unit_test(reads_numbers_and_ids),
		cmocka_unit_test(a_pack_is_no_tree_of_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
