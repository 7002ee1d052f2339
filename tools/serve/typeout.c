/* typeout.c - values as JSON and as PostgreSQL's text; see types.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "tools/serve/jsonscan.h"
#include "tools/serve/types.h"

void df_float4_put(struct df_buf *b, float x)
{
	char text[40];
	int digits;

	for (digits = 6; digits <= 9; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, (double)x);
		if (strtof(text, NULL) == x)
			break;
	}
	df_buf_put_str(b, text);
}

void df_float8_put(struct df_buf *b, double x)
{
	char text[40];
	int digits;

	for (digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, x);
		if (strtod(text, NULL) == x)
			break;
	}
	df_buf_put_str(b, text);
}

static void real_put(struct df_buf *b, double x, enum df_type t)
{
	if (t == DF_T_FLOAT4)
		df_float4_put(b, (float)x);
	else
		df_float8_put(b, x);
}

static void vec_put(struct df_buf *b, const struct df_value *v, char open,
		    char close)
{
	size_t i;

	df_buf_put_u8(b, (uint8_t)open);
	for (i = 0; i + sizeof(float) <= v->len; i += sizeof(float)) {
		float x;

		memcpy(&x, v->p + i, sizeof(x));
		if (i > 0)
			df_buf_put_u8(b, ',');
		if (isfinite(x))
			df_float4_put(b, x);
		else
			df_buf_put_str(b, "null");
	}
	df_buf_put_u8(b, (uint8_t)close);
}

static void hex_put(struct df_buf *b, const struct df_value *v)
{
	static const char digits[] = "0123456789abcdef";
	char *out = df_buf_extend(b, v->len * 2);
	size_t i;

	for (i = 0; out != NULL && i < v->len; i++) {
		out[2 * i] = digits[(unsigned char)v->p[i] >> 4];
		out[2 * i + 1] = digits[(unsigned char)v->p[i] & 15];
	}
}

/* Stored YYYY-MM-DDTHH:MM:SS.ffffffZ without needless zeros. */
static size_t time_digits(const struct df_value *v)
{
	size_t n = v->len;

	if (n < 27 || v->p[19] != '.')
		return 0;
	n = 26;
	while (n > 20 && v->p[n - 1] == '0')
		n--;
	return n == 20 ? 19 : n;
}

static void text_json(const struct df_value *v, enum df_type t,
		      struct df_buf *out)
{
	struct df_json j;
	size_t n;

	switch (t) {
	case DF_T_JSON:
	case DF_T_JSONB:
	case DF_T_ARRAY:
	case DF_T_MATRIX:
		if (df_json_valid(v->p, v->len, &j))
			df_buf_put(out, v->p, v->len);
		else
			df_json_put(out, v->p, v->len);
		return;
	case DF_T_TS:
	case DF_T_TSTZ:
		n = time_digits(v);
		if (n == 0)
			break;
		df_buf_put_u8(out, '"');
		df_buf_put(out, v->p, n);
		df_buf_put_str(out, "Z\"");
		return;
	default:
		break;
	}
	df_json_put(out, v->p, v->len);
}

int df_value_json(const struct df_value *v, enum df_type t, struct df_buf *out)
{
	switch (v->kind) {
	case DF_V_NULL:
		df_buf_put_str(out, "null");
		break;
	case DF_V_INT:
		if (t == DF_T_BOOL)
			df_buf_put_str(out, v->i != 0 ? "true" : "false");
		else
			df_buf_printf(out, "%lld", (long long)v->i);
		break;
	case DF_V_REAL:
		if (isfinite(v->r))
			real_put(out, v->r, t);
		else
			df_buf_put_str(out, "null");
		break;
	case DF_V_TEXT:
		text_json(v, t, out);
		break;
	case DF_V_BLOB:
		if (t == DF_T_VEC) {
			vec_put(out, v, '[', ']');
			break;
		}
		df_buf_put_str(out, "\"\\\\x");
		hex_put(out, v);
		df_buf_put_u8(out, '"');
		break;
	}
	return out->err;
}

static void time_text(const struct df_value *v, enum df_type t,
		      struct df_buf *b)
{
	size_t n = time_digits(v);

	if (n == 0) {
		df_buf_put(b, v->p, v->len);
		return;
	}
	df_buf_put(b, v->p, 10);
	df_buf_put_u8(b, ' ');
	df_buf_put(b, v->p + 11, n - 11);
	if (t == DF_T_TSTZ)
		df_buf_put_str(b, "+00");
}

int df_value_text(const struct df_value *v, enum df_type t, struct df_arena *a,
		  struct df_value *out)
{
	struct df_buf b;
	char *p;
	int err;

	if (v->kind == DF_V_TEXT && t != DF_T_TS && t != DF_T_TSTZ) {
		*out = *v;
		return 0;
	}
	df_buf_init(&b, 0);
	switch (v->kind) {
	case DF_V_TEXT:
		time_text(v, t, &b);
		break;
	case DF_V_INT:
		if (t == DF_T_BOOL)
			df_buf_put_str(&b, v->i != 0 ? "true" : "false");
		else
			df_buf_printf(&b, "%lld", (long long)v->i);
		break;
	case DF_V_REAL:
		if (isfinite(v->r))
			real_put(&b, v->r, t);
		else
			df_buf_put_str(&b, isnan(v->r) ? "NaN"
					   : v->r > 0  ? "Infinity"
						       : "-Infinity");
		break;
	case DF_V_BLOB:
		if (t == DF_T_VEC) {
			vec_put(&b, v, '{', '}');
			break;
		}
		df_buf_put_str(&b, "\\x");
		hex_put(&b, v);
		break;
	case DF_V_NULL:
		break;
	}
	err = b.err;
	p = err == 0 ? df_arena_strn(a, b.len > 0 ? (char *)b.data : "", b.len)
		     : NULL;
	if (err == 0 && p == NULL)
		err = -ENOMEM;
	if (err == 0)
		*out = (struct df_value){ .kind = DF_V_TEXT,
					  .p = p,
					  .len = b.len };
	df_buf_release(&b);
	return err;
}
