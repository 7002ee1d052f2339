/* test_serve_value.c - JSON scanning, types and tokens of the table server. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/quicker.h"
#include "tools/serve/jsonscan.h"
#include "tools/serve/jwt.h"
#include "tools/serve/types.h"

static void test_json_valid(void **state)
{
	static const char *const good[] = { "{}",
					    " [ 1 , -2.5e+3, null ] ",
					    "\"\\u00e4\\n\"",
					    "{\"a\":{\"b\":[true,false]}}",
					    "0",
					    "-0" };
	static const char *const bad[] = {
		"",          "{",     "[1,]",         "{\"a\"}",
		"01",        "1.",    "\"\n\"",       "\"\\x\"",
		"tru",       "[1] x", "\"\xff\"",     "{\"a\":1,}",
		"\"\\u12\"", "+1",    "\"\xc0\x80\"", "\"\xed\xa0\x80\""
	};
	struct df_json j;
	char deep[400];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(df_json_valid(good[i], strlen(good[i]), &j));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (df_json_valid(bad[i], strlen(bad[i]), &j))
			fail_msg("taken: %s", bad[i]);
	memset(deep, '[', 200);
	memset(deep + 200, ']', 200);
	assert_false(df_json_valid(deep, 400, &j));
	assert_true(df_json_valid(deep + 110, 180, &j));
}

static void test_json_fields(void **state)
{
	static const char *const keys[] = { "query", "params" };
	static const char text[] = "{\"x\":[1,{\"query\":0}],\"query\":\"a\\u00"
				   "e4\\ud83d\\ude00\",\"params\":[\"p\",2]}";
	struct df_json f[2], v;
	struct df_arena a;
	const char *p, *it = NULL;
	size_t len, cut;

	(void)state;
	df_arena_init(&a, 4096);
	assert_int_equal(df_json_fields(text, strlen(text), keys, f, 2), 0);
	assert_int_equal(df_json_text(&f[0], &a, &p, &len), 0);
	assert_int_equal(len, 7);
	assert_memory_equal(p, "a\xc3\xa4\xf0\x9f\x98\x80", 7);
	assert_int_equal(df_json_next(&f[1], &it, NULL, &v), 1);
	assert_int_equal(v.kind, DF_J_STRING);
	assert_int_equal(df_json_next(&f[1], &it, NULL, &v), 1);
	assert_int_equal(v.kind, DF_J_NUMBER);
	assert_int_equal(df_json_next(&f[1], &it, NULL, &v), 0);
	for (cut = 0; cut < strlen(text); cut++)
		assert_int_equal(df_json_fields(text, cut, keys, f, 2),
				 -EINVAL);
	df_arena_release(&a);
}

/* A long string is found whole, and a special byte wherever it stands. */
static void test_json_long(void **state)
{
	static const char special[] = { '\\', '\n', '\xff', '"', '\x1f' };
	char text[200];
	struct df_json j;
	size_t at, i;

	(void)state;
	for (at = 1; at < 100; at++) {
		for (i = 0; i < sizeof(special); i++) {
			memset(text, 'A', sizeof(text));
			text[0] = '"';
			text[101] = '"';
			text[at] = special[i];
			assert_false(df_json_valid(text, 102, &j));
		}
		memset(text, 'A', sizeof(text));
		text[0] = text[at + 1] = '"';
		assert_true(df_json_valid(text, at + 2, &j));
		assert_int_equal(j.len, at);
	}
}

static void test_json_canon(void **state)
{
	static const char text[] = "{\"bb\": 1.50, \"a\" :[ 1e2,{} ], \"bb\":"
				   "\"\\u00e4\\/\"}";
	struct df_json j;
	struct df_arena a;
	struct df_buf b;

	(void)state;
	df_arena_init(&a, 65536);
	df_buf_init(&b, 0);
	assert_true(df_json_valid(text, strlen(text), &j));
	assert_int_equal(df_json_canon(&j, &a, &b), 0);
	assert_string_equal(df_buf_cstr(&b),
			    "{\"a\": [100, {}], \"bb\": \"\xc3\xa4/\"}");
	df_buf_release(&b);
	df_arena_release(&a);
}

static int cast(const char *in, enum df_type to, char *out)
{
	struct df_value v = { .kind = DF_V_TEXT, .p = in, .len = strlen(in) };
	char err[DF_VALUE_ERR];
	struct df_arena a;
	struct df_buf b;
	int rc;

	df_arena_init(&a, (size_t)1 << 20);
	df_buf_init(&b, 0);
	rc = df_value_cast(&v, DF_T_UNKNOWN, to, &a, err);
	if (rc == 0) {
		assert_int_equal(df_value_json(&v, to, &b), 0);
		strcpy(out, df_buf_cstr(&b));
	} else {
		strcpy(out, err);
	}
	df_buf_release(&b);
	df_arena_release(&a);
	return rc;
}

static void test_casts(void **state)
{
	static const struct {
		const char *in;
		enum df_type to;
		const char *want; /* JSON; NULL: refused */
	} t[] = {
		{ " 42 ", DF_T_INT8, "42" },
		{ "4x", DF_T_INT8, NULL },
		{ "9223372036854775808", DF_T_INT8, NULL },
		{ "2147483648", DF_T_INT4, NULL },
		{ "0.1", DF_T_FLOAT4, "0.1" },
		{ "0.1", DF_T_FLOAT8, "0.1" },
		{ "NaN", DF_T_FLOAT8, "null" },
		{ "0x10", DF_T_FLOAT8, NULL },
		{ "yes", DF_T_BOOL, "true" },
		{ "0", DF_T_BOOL, "false" },
		{ "2", DF_T_BOOL, NULL },
		{ "\\x00Ff", DF_T_BYTEA, "\"\\\\x00ff\"" },
		{ "a\\\\\\001", DF_T_BYTEA, "\"\\\\x615c01\"" },
		{ "\\x0", DF_T_BYTEA, NULL },
		{ "{0.1,2}", DF_T_VEC, "[0.1,2]" },
		{ "[0.1, 2e1]", DF_T_VEC, "[0.1,20]" },
		{ "{}", DF_T_VEC, "[]" },
		{ "{0.1,}", DF_T_VEC, NULL },
		{ "{a}", DF_T_VEC, NULL },
		{ "{1", DF_T_VEC, NULL },
		{ "{x,\"y \\\"z\",NULL,1}", DF_T_ARRAY,
		  "[\"x\",\"y \\\"z\",null,1]" },
		{ "{{1,2},{3}}", DF_T_ARRAY, "[[1,2],[3]]" },
		{ "{1", DF_T_ARRAY, NULL },
		{ "{\"b\":1, \"a\":2}", DF_T_JSONB, "{\"a\": 2, \"b\": 1}" },
		{ "nope", DF_T_JSON, NULL },
		{ "2026-02-01T12:00:00+02:00", DF_T_TSTZ,
		  "\"2026-02-01T10:00:00Z\"" },
		{ "2026-02-01 12:00:00.25", DF_T_TS,
		  "\"2026-02-01T12:00:00.25Z\"" },
		{ "2026-02-30", DF_T_DATE, NULL },
		{ "2026-2-1", DF_T_DATE, "\"2026-02-01\"" },
		{ "A0EEBC999C0B4EF8BB6D6BB9BD380A11", DF_T_UUID,
		  "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"" },
		{ "a0", DF_T_UUID, NULL },
	};
	char out[512];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int rc = cast(t[i].in, t[i].to, out);

		if ((rc == 0) != (t[i].want != NULL) ||
		    (rc == 0 && strcmp(out, t[i].want) != 0))
			fail_msg("%s: %s", t[i].in, out);
		if (rc < 0)
			assert_true(out[0] != '\0');
	}
}

static void test_jwt(void **state)
{
	struct df_jwt t = { .id = "j",
			    .org = "o\"x",
			    .user = "u",
			    .name = "n",
			    .issued_s = 100,
			    .expires_s = 200 },
		      got;
	uint8_t secret[DF_JWT_SECRET_LEN] = { 1, 2, 3 }, other[32] = { 1 };
	struct df_buf b;
	size_t i;

	(void)state;
	df_buf_init(&b, 0);
	assert_int_equal(df_jwt_sign(&t, secret, &b), 0);
	assert_int_equal(
		df_jwt_verify((char *)b.data, b.len, secret, 150, &got), 0);
	assert_string_equal(got.org, "o\"x");
	assert_int_equal(got.expires_s, 200);
	assert_int_equal(
		df_jwt_verify((char *)b.data, b.len, secret, 200, &got),
		-ESTALE);
	assert_int_equal(df_jwt_verify((char *)b.data, b.len, other, 150, &got),
			 -EINVAL);
	for (i = 0; i < b.len; i++) {
		/* the last character holds two bits that count for nothing */
		uint8_t old = b.data[i];

		b.data[i] = old == 'A' ? 'Q' : 'A';
		assert_int_equal(
			df_jwt_verify((char *)b.data, b.len, secret, 150, &got),
			-EINVAL);
		b.data[i] = old;
		assert_int_equal(
			df_jwt_verify((char *)b.data, i, secret, 150, &got),
			-EINVAL);
	}
	df_buf_release(&b);
}

/* A request that brings a pack: the text, and where the base64 is in it. */
struct request {
	char *text;
	size_t len, at, n;
};

static void scan(void *arg)
{
	static const char *const keys[] = { "query", "params" };
	struct request *r = arg;
	struct df_json out[2];

	assert_int_equal(df_json_fields(r->text, r->len, keys, out, 2), 0);
	assert_int_equal(out[1].len, r->n + 4);
}

static void scan_jansson(void *arg)
{
	struct request *r = arg;
	json_t *j = json_loadb(r->text, r->len, 0, NULL);

	assert_non_null(j);
	json_decref(j);
}

static void put(void *arg)
{
	struct request *r = arg;
	struct df_buf b;

	df_buf_init(&b, 0);
	df_json_put(&b, r->text + r->at, r->n);
	assert_int_equal(b.len, r->n + 2);
	df_buf_release(&b);
}

static void put_jansson(void *arg)
{
	struct request *r = arg;
	json_t *j = json_stringn(r->text + r->at, r->n);
	char *text = json_dumps(j, JSON_ENCODE_ANY);

	assert_non_null(text);
	free(text);
	json_decref(j);
}

static void test_pack_is_no_tree(void **state)
{
	static const char head[] = "{\"query\":\"INSERT\",\"params\":[\"";
	struct request r = { .at = sizeof(head) - 1, .n = 6 << 20 };

	(void)state;
	r.len = r.at + r.n + 3;
	r.text = malloc(r.len + 1);
	assert_non_null(r.text);
	memcpy(r.text, head, r.at);
	for (size_t i = 0; i < r.n; i++)
		r.text[r.at + i] = "ABCDEFGHabcdefgh+/012345"[i * i % 23];
	memcpy(r.text + r.at + r.n, "\"]}", 4);
	check_quicker("a pack's request read", scan, scan_jansson, &r, 10);
	check_quicker("a pack's answer written", put, put_jansson, &r, 10);
	free(r.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_valid),
		cmocka_unit_test(test_json_fields),
		cmocka_unit_test(test_json_long),
		cmocka_unit_test(test_json_canon),
		cmocka_unit_test(test_casts),
		cmocka_unit_test(test_jwt),
		cmocka_unit_test(test_pack_is_no_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
