/* litefn.c - see litefn.h: casts, numbers, bytes, vectors, JSON. */
#include "tools/serve/litefn.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "tools/serve/jsonscan.h"
#include "tools/serve/types.h"

typedef void fn_func(sqlite3_context *, int, sqlite3_value **);

static void fn_value(sqlite3_value *v, struct df_value *out)
{
	*out = (struct df_value){ .kind = DF_V_NULL };
	switch (sqlite3_value_type(v)) {
	case SQLITE_INTEGER:
		out->kind = DF_V_INT;
		out->i = sqlite3_value_int64(v);
		break;
	case SQLITE_FLOAT:
		out->kind = DF_V_REAL;
		out->r = sqlite3_value_double(v);
		break;
	case SQLITE_TEXT:
		out->kind = DF_V_TEXT;
		out->p = (const char *)sqlite3_value_text(v);
		out->len = (size_t)sqlite3_value_bytes(v);
		break;
	case SQLITE_BLOB:
		out->kind = DF_V_BLOB;
		out->p = sqlite3_value_blob(v);
		out->len = (size_t)sqlite3_value_bytes(v);
		if (out->p == NULL)
			out->p = "";
		break;
	default:
		break;
	}
}

static void fn_result(sqlite3_context *ctx, const struct df_value *v)
{
	switch (v->kind) {
	case DF_V_INT:
		sqlite3_result_int64(ctx, v->i);
		break;
	case DF_V_REAL:
		sqlite3_result_double(ctx, v->r);
		break;
	case DF_V_TEXT:
		sqlite3_result_text64(ctx, v->p, v->len, SQLITE_TRANSIENT,
				      SQLITE_UTF8);
		break;
	case DF_V_BLOB:
		sqlite3_result_blob64(ctx, v->p, v->len, SQLITE_TRANSIENT);
		break;
	case DF_V_NULL:
		sqlite3_result_null(ctx);
		break;
	}
}

/* dl_cast(x, from, to): types by number, written by the translator. */
static void fn_cast(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int from = sqlite3_value_int(v[1]), to = sqlite3_value_int(v[2]);
	char err[DF_VALUE_ERR];
	struct df_arena a;
	struct df_value x;

	(void)n;
	fn_value(v[0], &x);
	if (from < 0 || from >= DF_T_COUNT_ || to < 0 || to >= DF_T_COUNT_) {
		sqlite3_result_error(ctx, "unknown type", -1);
		return;
	}
	df_arena_init(&a, (size_t)256 << 20);
	if (df_value_cast(&x, (enum df_type)from, (enum df_type)to, &a, err) <
	    0)
		sqlite3_result_error(
			ctx, err[0] != '\0' ? err : "out of memory", -1);
	else
		fn_result(ctx, &x);
	df_arena_release(&a);
}

static int fn_any_null(int n, sqlite3_value **v)
{
	int i;

	for (i = 0; i < n; i++)
		if (sqlite3_value_type(v[i]) == SQLITE_NULL)
			return 1;
	return 0;
}

static void fn_div(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int mod = sqlite3_user_data(ctx) != NULL;

	if (fn_any_null(n, v))
		return;
	if (sqlite3_value_double(v[1]) == 0) {
		sqlite3_result_error(ctx, "division by zero", -1);
	} else if (sqlite3_value_type(v[0]) == SQLITE_INTEGER &&
		   sqlite3_value_type(v[1]) == SQLITE_INTEGER) {
		int64_t a = sqlite3_value_int64(v[0]);
		int64_t b = sqlite3_value_int64(v[1]);

		if (b == -1 && a == INT64_MIN)
			sqlite3_result_error(ctx, "bigint out of range", -1);
		else
			sqlite3_result_int64(ctx, mod ? a % b : a / b);
	} else {
		double a = sqlite3_value_double(v[0]);
		double b = sqlite3_value_double(v[1]);

		sqlite3_result_double(ctx, mod ? fmod(a, b) : a / b);
	}
}

static void fn_pow(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	if (!fn_any_null(n, v))
		sqlite3_result_double(ctx, pow(sqlite3_value_double(v[0]),
					       sqlite3_value_double(v[1])));
}

static void fn_math(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	double (*f)(double);
	const char *which = sqlite3_user_data(ctx);

	if (fn_any_null(n, v))
		return;
	f = which[0] == 'f' ? floor : which[0] == 'c' ? ceil : sqrt;
	if (f == sqrt && sqlite3_value_double(v[0]) < 0)
		sqlite3_result_error(ctx,
				     "cannot take square root of a "
				     "negative number",
				     -1);
	else
		sqlite3_result_double(ctx, f(sqlite3_value_double(v[0])));
}

static int fn_compare(sqlite3_value *a, sqlite3_value *b)
{
	int ta = sqlite3_value_type(a), tb = sqlite3_value_type(b), la, lb, c;

	if (ta == SQLITE_INTEGER && tb == SQLITE_INTEGER) {
		int64_t x = sqlite3_value_int64(a), y = sqlite3_value_int64(b);

		return x < y ? -1 : x > y;
	}
	if (ta == SQLITE_INTEGER || ta == SQLITE_FLOAT) {
		double x = sqlite3_value_double(a), y = sqlite3_value_double(b);

		return x < y ? -1 : x > y;
	}
	la = sqlite3_value_bytes(a);
	lb = sqlite3_value_bytes(b);
	c = memcmp(sqlite3_value_blob(a), sqlite3_value_blob(b),
		   (size_t)(la < lb ? la : lb));
	return c != 0 ? c : la < lb ? -1 : la > lb;
}

/* GREATEST and LEAST skip NULLs. */
static void fn_extreme(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int greatest = sqlite3_user_data(ctx) != NULL, i;
	sqlite3_value *best = NULL;

	for (i = 0; i < n; i++) {
		if (sqlite3_value_type(v[i]) == SQLITE_NULL)
			continue;
		if (best == NULL || (fn_compare(v[i], best) > 0) == greatest)
			best = v[i];
	}
	if (best != NULL)
		sqlite3_result_value(ctx, best);
}

static void fn_bcat(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int a = sqlite3_value_bytes(v[0]), b = sqlite3_value_bytes(v[1]);
	char *p;

	if (fn_any_null(n, v))
		return;
	p = malloc((size_t)a + (size_t)b + 1);
	if (p == NULL) {
		sqlite3_result_error_nomem(ctx);
		return;
	}
	if (a > 0)
		memcpy(p, sqlite3_value_blob(v[0]), (size_t)a);
	if (b > 0)
		memcpy(p + a, sqlite3_value_blob(v[1]), (size_t)b);
	sqlite3_result_blob(ctx, p, a + b, free);
}

static void fn_octets(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	(void)n;
	if (sqlite3_value_type(v[0]) != SQLITE_NULL)
		sqlite3_result_int(ctx, sqlite3_value_bytes(v[0]));
}

static void fn_decode(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	const char *text, *how, *p;
	struct df_buf raw, clean;

	if (fn_any_null(n, v))
		return;
	text = (const char *)sqlite3_value_text(v[0]);
	how = (const char *)sqlite3_value_text(v[1]);
	df_buf_init(&raw, 0);
	df_buf_init(&clean, 0);
	if (sqlite3_stricmp(how, "base64") == 0) {
		for (p = text; *p != '\0'; p++)
			if (strchr(" \n\r\t", *p) == NULL)
				df_buf_put_u8(&clean, (uint8_t)*p);
		if (df_b64_get(&raw, df_buf_cstr(&clean), clean.len) < 0)
			sqlite3_result_error(ctx, "invalid base64 sequence",
					     -1);
		else
			sqlite3_result_blob64(ctx,
					      raw.len > 0 ? (void *)raw.data
							  : (void *)&raw,
					      raw.len, SQLITE_TRANSIENT);
	} else if (sqlite3_stricmp(how, "hex") == 0) {
		struct df_value x;
		struct df_arena a;
		char err[DF_VALUE_ERR];

		df_arena_init(&a, (size_t)256 << 20);
		df_buf_put_str(&clean, "\\x");
		df_buf_put_str(&clean, text);
		x = (struct df_value){ .kind = DF_V_TEXT,
				       .p = df_buf_cstr(&clean),
				       .len = clean.len };
		if (df_value_cast(&x, DF_T_UNKNOWN, DF_T_BYTEA, &a, err) < 0)
			sqlite3_result_error(ctx, err, -1);
		else
			fn_result(ctx, &x);
		df_arena_release(&a);
	} else {
		sqlite3_result_error(ctx,
				     "unrecognized encoding (hex and "
				     "base64 are known)",
				     -1);
	}
	df_buf_release(&raw);
	df_buf_release(&clean);
}

static void fn_encode(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	const void *p = sqlite3_value_blob(v[0]);
	size_t len = (size_t)sqlite3_value_bytes(v[0]);
	const char *how = (const char *)sqlite3_value_text(v[1]);
	struct df_buf out;

	if (fn_any_null(n, v))
		return;
	df_buf_init(&out, 0);
	if (sqlite3_stricmp(how, "base64") == 0) {
		df_b64_put(&out, p, len);
	} else if (sqlite3_stricmp(how, "hex") == 0) {
		char *hex = df_buf_extend(&out, 2 * len + 1);

		if (hex != NULL) {
			df_hex(p, len, hex);
			out.len--;
		}
	} else {
		sqlite3_result_error(ctx,
				     "unrecognized encoding (hex and "
				     "base64 are known)",
				     -1);
		df_buf_release(&out);
		return;
	}
	sqlite3_result_text64(ctx, df_buf_cstr(&out), out.len, SQLITE_TRANSIENT,
			      SQLITE_UTF8);
	df_buf_release(&out);
}

/* Cosine similarity; NULL for NULL, empty, zero length or other sizes. */
static void fn_cosine(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	const char *a = sqlite3_value_blob(v[0]);
	const char *b = sqlite3_value_blob(v[1]);
	int len = sqlite3_value_bytes(v[0]), i;
	double ab = 0, aa = 0, bb = 0;

	if (fn_any_null(n, v) || len == 0)
		return;
	if (len != sqlite3_value_bytes(v[1])) {
		sqlite3_result_error(ctx, "vectors have different dimensions",
				     -1);
		return;
	}
	for (i = 0; i + (int)sizeof(float) <= len; i += (int)sizeof(float)) {
		float x, y;

		memcpy(&x, a + i, sizeof(x));
		memcpy(&y, b + i, sizeof(y));
		ab += (double)x * (double)y;
		aa += (double)x * (double)x;
		bb += (double)y * (double)y;
	}
	if (aa > 0 && bb > 0)
		sqlite3_result_double(ctx, ab / (sqrt(aa) * sqrt(bb)));
}

/* Elements of the outer dimension; NULL for an empty array, as there. */
static void fn_cardinality(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int count = 0, is_length = sqlite3_user_data(ctx) != NULL;
	struct df_json j, item;
	const char *it = NULL;

	if (fn_any_null(n, v))
		return;
	if (is_length && sqlite3_value_int(v[1]) != 1)
		return;
	if (sqlite3_value_type(v[0]) == SQLITE_BLOB)
		count = sqlite3_value_bytes(v[0]) / (int)sizeof(float);
	else if (df_json_valid((const char *)sqlite3_value_text(v[0]),
			       (size_t)sqlite3_value_bytes(v[0]), &j) &&
		 j.kind == DF_J_ARRAY)
		while (df_json_next(&j, &it, NULL, &item) > 0)
			count++;
	if (count > 0 || !is_length)
		sqlite3_result_int(ctx, count);
}

/* The member of an object by text, of an array by number. */
static int json_find(sqlite3_value **v, struct df_json *out)
{
	struct df_json j;

	if (!df_json_valid((const char *)sqlite3_value_text(v[0]),
			   (size_t)sqlite3_value_bytes(v[0]), &j))
		return 0;
	if (sqlite3_value_type(v[1]) == SQLITE_INTEGER) {
		int64_t want = sqlite3_value_int64(v[1]), n = 0;
		const char *it = NULL;

		if (j.kind != DF_J_ARRAY)
			return 0;
		while (want < 0 && df_json_next(&j, &it, NULL, out) > 0)
			n++;
		want = want < 0 ? n + want : want;
		it = NULL;
		for (n = 0; df_json_next(&j, &it, NULL, out) > 0; n++)
			if (n == want)
				return 1;
		return 0;
	}
	if (j.kind != DF_J_OBJECT)
		return 0;
	{
		/* Keys may be escaped in the text: compare what they mean. */
		struct df_json key;
		struct df_arena a;
		const char *it = NULL, *p;
		const char *want = (const char *)sqlite3_value_text(v[1]);
		size_t len, n = (size_t)sqlite3_value_bytes(v[1]);
		int found = 0;
		struct df_json value;

		df_arena_init(&a, (size_t)16 << 20);
		while (df_json_next(&j, &it, &key, &value) > 0)
			if (df_json_text(&key, &a, &p, &len) == 0 && len == n &&
			    memcmp(p, want, n) == 0) {
				*out = value;
				found = 1;
			}
		df_arena_release(&a);
		return found;
	}
}

static void fn_json_get(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int text = sqlite3_user_data(ctx) != NULL;
	struct df_json j;
	struct df_arena a;
	const char *p;
	size_t len;

	if (fn_any_null(n, v) || !json_find(v, &j))
		return;
	if (text && j.kind == DF_J_NULL)
		return;
	if (j.kind != DF_J_STRING) {
		sqlite3_result_text64(ctx, j.p, j.len, SQLITE_TRANSIENT,
				      SQLITE_UTF8);
		return;
	}
	if (!text) { /* with its quotes */
		sqlite3_result_text64(ctx, j.p - 1, j.len + 2, SQLITE_TRANSIENT,
				      SQLITE_UTF8);
		return;
	}
	df_arena_init(&a, (size_t)256 << 20);
	if (df_json_text(&j, &a, &p, &len) == 0)
		sqlite3_result_text64(ctx, p, len, SQLITE_TRANSIENT,
				      SQLITE_UTF8);
	df_arena_release(&a);
}

static void fn_now(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	char out[DF_TIME_LEN];

	(void)n;
	(void)v;
	df_time_now(out);
	sqlite3_result_text(ctx, out, sqlite3_user_data(ctx) != NULL ? 10 : -1,
			    SQLITE_TRANSIENT);
}

static void fn_uuid(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	uint8_t r[16];
	char hex[33], out[37];
	int i, at = 0;

	(void)n;
	(void)v;
	df_random(r, sizeof(r));
	r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
	r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
	df_hex(r, sizeof(r), hex);
	for (i = 0; i < 32; i++) {
		if (i == 8 || i == 12 || i == 16 || i == 20)
			out[at++] = '-';
		out[at++] = hex[i];
	}
	sqlite3_result_text(ctx, out, 36, SQLITE_TRANSIENT);
}

static void fn_random(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	uint64_t x;

	(void)n;
	(void)v;
	df_random(&x, sizeof(x));
	sqlite3_result_double(ctx, (double)(x >> 11) / 9007199254740992.0);
}

static void fn_md5(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	const void *p = sqlite3_value_blob(v[0]);

	if (fn_any_null(n, v))
		return;
	if (EVP_Digest(p, (size_t)sqlite3_value_bytes(v[0]), md, &len,
		       EVP_md5(), NULL) != 1) {
		sqlite3_result_error(ctx, "md5 is not available", -1);
		return;
	}
	df_hex(md, len, hex);
	sqlite3_result_text(ctx, hex, -1, SQLITE_TRANSIENT);
}

static void fn_true(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	(void)n;
	(void)v;
	sqlite3_result_int(ctx, 1);
}

static void fn_version(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	(void)n;
	(void)v;
	sqlite3_result_text(ctx,
			    "deeplakefs " DF_VERSION " table server, "
			    "SQLite store (PostgreSQL's SQL)",
			    -1, SQLITE_STATIC);
}

int df_litefn_register(sqlite3 *db)
{
	static char yes[] = "yes", flo[] = "floor", cei[] = "ceil",
		    sqr[] = "sqrt";
	static const struct {
		const char *name;
		int args;
		void *arg;
		fn_func *f;
		int changing; /* not the same answer for the same arguments */
	} table[] = {
		{ "dl_cast", 3, NULL, fn_cast, 0 },
		{ "dl_div", 2, NULL, fn_div, 0 },
		{ "dl_mod", 2, yes, fn_div, 0 },
		{ "dl_pow", 2, NULL, fn_pow, 0 },
		{ "dl_floor", 1, flo, fn_math, 0 },
		{ "dl_ceil", 1, cei, fn_math, 0 },
		{ "dl_sqrt", 1, sqr, fn_math, 0 },
		{ "dl_greatest", -1, yes, fn_extreme, 0 },
		{ "dl_least", -1, NULL, fn_extreme, 0 },
		{ "dl_bcat", 2, NULL, fn_bcat, 0 },
		{ "dl_octets", 1, NULL, fn_octets, 0 },
		{ "dl_decode", 2, NULL, fn_decode, 0 },
		{ "dl_encode", 2, NULL, fn_encode, 0 },
		{ "dl_cosine", 2, NULL, fn_cosine, 0 },
		{ "dl_array_length", 2, yes, fn_cardinality, 0 },
		{ "dl_cardinality", 1, NULL, fn_cardinality, 0 },
		{ "dl_json_get", 2, NULL, fn_json_get, 0 },
		{ "dl_json_text", 2, yes, fn_json_get, 0 },
		{ "dl_now", 0, NULL, fn_now, 1 },
		{ "dl_today", 0, yes, fn_now, 1 },
		{ "dl_uuid", 0, NULL, fn_uuid, 1 },
		{ "dl_random", 0, NULL, fn_random, 1 },
		{ "dl_md5", 1, NULL, fn_md5, 0 },
		{ "dl_true", 1, NULL, fn_true, 0 },
		{ "dl_version", 0, NULL, fn_version, 0 },
	};
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(table); i++) {
		int rc = sqlite3_create_function(
			db, table[i].name, table[i].args,
			SQLITE_UTF8 |
				(table[i].changing ? 0 : SQLITE_DETERMINISTIC),
			table[i].arg, table[i].f, NULL, NULL);

		if (rc != SQLITE_OK)
			return rc;
	}
	return df_litetext_register(db);
}
