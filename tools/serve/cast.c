/* cast.c - values from one type to another; declared in types.h. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "tools/serve/jsonscan.h"
#include "tools/serve/types.h"

#define VEC_MAX 65536 /* most numbers of a vector */

struct cast {
	struct df_value *v;
	enum df_type from, to;
	struct df_arena *arena;
	char *err;
};

static int cast_bad(const struct cast *c)
{
	const struct df_value *v = c->v;
	int shown = (int)DF_MIN(v->len, (size_t)60);
	const char *name = df_type_name(c->to);

	if (v->kind != DF_V_TEXT)
		(void)snprintf(c->err, DF_VALUE_ERR,
			       "cannot cast type %s to %s",
			       df_type_name(c->from), name);
	else if (c->to == DF_T_JSON || c->to == DF_T_JSONB)
		(void)snprintf(c->err, DF_VALUE_ERR,
			       "invalid input syntax for type json");
	else if (c->to == DF_T_VEC || c->to == DF_T_ARRAY ||
		 c->to == DF_T_MATRIX)
		(void)snprintf(c->err, DF_VALUE_ERR,
			       "malformed array literal: \"%.*s\"", shown,
			       v->p);
	else
		(void)snprintf(c->err, DF_VALUE_ERR,
			       "invalid input syntax for type %s: \"%.*s\"",
			       name, shown, v->p);
	return -EINVAL;
}

static int cast_set_text(struct cast *c, const char *p, size_t len)
{
	char *copy = df_arena_strn(c->arena, p, len);

	if (copy == NULL)
		return -ENOMEM;
	*c->v = (struct df_value){ .kind = DF_V_TEXT, .p = copy, .len = len };
	return 0;
}

/* A number needs a NUL after it for strtod and friends. */
static int cast_trimmed(const struct cast *c, char out[128])
{
	const char *p = c->v->p, *end = p + c->v->len;

	while (p < end && isspace((unsigned char)*p))
		p++;
	while (end > p && isspace((unsigned char)end[-1]))
		end--;
	if (p == end || end - p >= 128)
		return -EINVAL;
	memcpy(out, p, (size_t)(end - p));
	out[end - p] = '\0';
	return 0;
}

static int cast_range(struct cast *c)
{
	(void)snprintf(c->err, DF_VALUE_ERR, "%s out of range",
		       df_type_name(c->to));
	return -EINVAL;
}

static int cast_int(struct cast *c)
{
	struct df_value *v = c->v;
	char text[128], *rest;
	int64_t x;

	if (v->kind == DF_V_TEXT) {
		if (cast_trimmed(c, text) < 0)
			return cast_bad(c);
		errno = 0;
		x = strtoll(text, &rest, 10);
		if (*rest != '\0' || rest == text)
			return cast_bad(c);
		if (errno == ERANGE) {
			(void)snprintf(c->err, DF_VALUE_ERR,
				       "value \"%.60s\" is out of range for "
				       "type %s",
				       text, df_type_name(c->to));
			return -EINVAL;
		}
	} else if (v->kind == DF_V_REAL) {
		double r = rint(v->r);

		if (!(r >= -9223372036854775808.0 && r < 9223372036854775808.0))
			return cast_range(c);
		x = (int64_t)r;
	} else if (v->kind == DF_V_INT) {
		x = v->i;
	} else {
		return cast_bad(c);
	}
	if ((c->to == DF_T_INT4 && (x > INT32_MAX || x < INT32_MIN)) ||
	    (c->to == DF_T_INT2 && (x > INT16_MAX || x < INT16_MIN)))
		return cast_range(c);
	*v = (struct df_value){ .kind = DF_V_INT, .i = x };
	return 0;
}

static int cast_real(struct cast *c)
{
	struct df_value *v = c->v;
	char text[128], *rest;
	double x;

	if (v->kind == DF_V_TEXT) {
		if (cast_trimmed(c, text) < 0)
			return cast_bad(c);
		x = strtod(text, &rest);
		if (*rest != '\0' || rest == text ||
		    strpbrk(text, "xXpP") != NULL)
			return cast_bad(c);
	} else if (v->kind == DF_V_INT) {
		x = (double)v->i;
	} else if (v->kind == DF_V_REAL) {
		x = v->r;
	} else {
		return cast_bad(c);
	}
	if (c->to == DF_T_FLOAT4)
		x = (double)(float)x;
	*v = (struct df_value){ .kind = DF_V_REAL, .r = x };
	return 0;
}

static int cast_bool(struct cast *c)
{
	static const char *const yes[] = { "t", "true", "y", "yes", "on", "1" };
	static const char *const no[] = { "f", "false", "n", "no", "off", "0" };
	struct df_value *v = c->v;
	char text[128];
	size_t i;

	if (v->kind == DF_V_INT) {
		v->i = v->i != 0;
		return 0;
	}
	if (v->kind != DF_V_TEXT || cast_trimmed(c, text) < 0)
		return cast_bad(c);
	for (i = 0; i < DF_ARRAY_LEN(yes); i++) {
		bool is_yes = strcasecmp(text, yes[i]) == 0;

		if (!is_yes && strcasecmp(text, no[i]) != 0)
			continue;
		*v = (struct df_value){ .kind = DF_V_INT, .i = is_yes };
		return 0;
	}
	return cast_bad(c);
}

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if ((ch | 32) >= 'a' && (ch | 32) <= 'f')
		return (ch | 32) - 'a' + 10;
	return -1;
}

static int cast_hex(struct cast *c, const char *p, size_t len, char *out)
{
	size_t i;

	if (len % 2 != 0) {
		(void)snprintf(c->err, DF_VALUE_ERR,
			       "invalid hexadecimal data: "
			       "odd number of digits");
		return -EINVAL;
	}
	for (i = 0; i < len; i += 2) {
		int hi = hex_digit(p[i]), lo = hex_digit(p[i + 1]);

		if (hi < 0 || lo < 0) {
			(void)snprintf(c->err, DF_VALUE_ERR,
				       "invalid hexadecimal digit");
			return -EINVAL;
		}
		out[i / 2] = (char)(hi * 16 + lo);
	}
	return 0;
}

/* '\x68' or PostgreSQL's older escape form ('\\', '\001'). */
static int cast_bytea(struct cast *c)
{
	struct df_value *v = c->v;
	const char *p = v->p, *end = p + v->len;
	char *out, *to;

	if (v->kind == DF_V_BLOB)
		return 0;
	if (v->kind != DF_V_TEXT)
		return cast_bad(c);
	out = to = df_arena_alloc(c->arena, v->len + 1);
	if (out == NULL)
		return -ENOMEM;
	if (v->len >= 2 && p[0] == '\\' && p[1] == 'x') {
		if (cast_hex(c, p + 2, v->len - 2, out) < 0)
			return -EINVAL;
		to += (v->len - 2) / 2;
		p = end;
	}
	while (p < end) {
		if (*p != '\\') {
			*to++ = *p++;
		} else if (end - p >= 2 && p[1] == '\\') {
			*to++ = '\\';
			p += 2;
		} else if (end - p >= 4 && p[1] >= '0' && p[1] <= '3' &&
			   p[2] >= '0' && p[2] <= '7' && p[3] >= '0' &&
			   p[3] <= '7') {
			*to++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 +
				       (p[3] - '0'));
			p += 4;
		} else {
			return cast_bad(c);
		}
	}
	*v = (struct df_value){ .kind = DF_V_BLOB,
				.p = out,
				.len = (size_t)(to - out) };
	return 0;
}

static int cast_json(struct cast *c)
{
	struct df_value text;
	struct df_json j;
	struct df_buf b;
	int err;

	if (c->from != DF_T_UNKNOWN && c->from != DF_T_JSON &&
	    c->from != DF_T_JSONB && !df_type_is_text(c->from) &&
	    c->from != DF_T_ARRAY && c->from != DF_T_MATRIX)
		return cast_bad(c);
	text = *c->v;
	if (text.kind != DF_V_TEXT || !df_json_valid(text.p, text.len, &j))
		return cast_bad(c);
	if (c->to == DF_T_JSON || c->from == DF_T_JSONB)
		return 0;
	df_buf_init(&b, 0);
	err = df_json_canon(&j, c->arena, &b);
	if (err == 0)
		err = cast_set_text(c, (const char *)b.data, b.len);
	df_buf_release(&b);
	if (err == -EINVAL)
		(void)snprintf(c->err, DF_VALUE_ERR,
			       "unsupported Unicode escape sequence");
	return err;
}

/* One number of a vector at *p, which moves to what follows it. */
static int vec_item(const char **p, const char *end, float *x)
{
	char num[64], *rest;
	size_t n = 0;

	while (*p < end && n < sizeof(num) - 1 && strchr(",}]\"", **p) == NULL)
		num[n++] = *(*p)++;
	num[n] = '\0';
	*x = strtof(num, &rest);
	if (rest == num)
		return -EINVAL;
	while (isspace((unsigned char)*rest))
		rest++;
	return *rest == '\0' ? 0 : -EINVAL;
}

/* The numbers after the opening bracket; 0 when `close` ended them. */
static int vec_items(const char *p, const char *end, char close,
		     struct df_buf *out)
{
	p = df_json_space(p, end);
	if (p < end && *p == close)
		return df_json_space(p + 1, end) == end ? 0 : -EINVAL;
	for (;;) {
		float x;

		if (vec_item(&p, end, &x) < 0 || p >= end)
			return -EINVAL;
		df_buf_put(out, &x, sizeof(x));
		if (*p == close)
			return df_json_space(p + 1, end) == end ? out->err
								: -EINVAL;
		if (*p != ',')
			return -EINVAL;
		p = df_json_space(p + 1, end);
	}
}

/* {0.1,0.2} or [0.1, 0.2] to float32s. */
static int cast_vec(struct cast *c)
{
	struct df_value *v = c->v;
	const char *end = v->p + v->len, *p;
	struct df_buf out;
	int err;

	if (v->kind == DF_V_BLOB && c->from == DF_T_VEC)
		return 0;
	if (v->kind != DF_V_TEXT)
		return cast_bad(c);
	p = df_json_space(v->p, end);
	if (p >= end || (*p != '{' && *p != '['))
		return cast_bad(c);
	df_buf_init(&out, VEC_MAX * sizeof(float));
	err = vec_items(p + 1, end, *p == '{' ? '}' : ']', &out);
	if (err == 0)
		err = cast_set_text(
			c, out.data == NULL ? "" : (const char *)out.data,
			out.len);
	else
		err = cast_bad(c);
	if (err == 0)
		c->v->kind = DF_V_BLOB;
	df_buf_release(&out);
	return err;
}

/* One element of PostgreSQL's {a,"b c",NULL}; p moves to its end. */
static const char *array_item(const char *p, const char *end,
			      struct df_buf *out)
{
	struct df_json j;
	struct df_buf item;
	const char *start;

	df_buf_init(&item, 0);
	if (p < end && *p == '"') {
		for (p++; p < end && *p != '"'; p++) {
			if (*p == '\\' && p + 1 < end)
				p++;
			df_buf_put_u8(&item, (uint8_t)*p);
		}
		if (p < end)
			p++;
		df_json_put(out,
			    item.data == NULL ? "" : (const char *)item.data,
			    item.len);
		df_buf_release(&item);
		return p;
	}
	for (start = p; p < end && *p != ',' && *p != '}'; p++)
		;
	if (p - start == 4 && strncasecmp(start, "null", 4) == 0)
		df_buf_put_str(out, "null");
	else if (df_json_valid(start, (size_t)(p - start), &j) &&
		 j.kind == DF_J_NUMBER)
		df_buf_put(out, start, (size_t)(p - start));
	else
		df_json_put(out, start, (size_t)(p - start));
	return p;
}

/* Nested braces become nested brackets: a stack of one bit is enough, for
 * separators are the same on every level. */
static int cast_array(struct cast *c)
{
	struct df_value *v = c->v;
	const char *p = v->p, *end = p + v->len;
	struct df_buf out;
	struct df_json j;
	int depth = 0, err;

	if (v->kind != DF_V_TEXT)
		return cast_bad(c);
	if (df_json_valid(p, v->len, &j) && j.kind == DF_J_ARRAY)
		return 0;
	df_buf_init(&out, v->len * 7 + 64);
	for (p = df_json_space(p, end); p < end;) {
		if (*p == '{') {
			depth++;
			df_buf_put_u8(&out, '[');
			p++;
		} else if (*p == '}') {
			depth--;
			df_buf_put_u8(&out, ']');
			p++;
		} else if (*p == ',') {
			df_buf_put_u8(&out, ',');
			p++;
		} else if (depth > 0) {
			p = array_item(p, end, &out);
		} else {
			break;
		}
		p = df_json_space(p, end);
		if (depth <= 0)
			break;
	}
	if (p == end && depth == 0 && out.err == 0 && out.len > 0 &&
	    df_json_valid((const char *)out.data, out.len, &j))
		err = cast_set_text(c, (const char *)out.data, out.len);
	else
		err = cast_bad(c);
	df_buf_release(&out);
	return err;
}

static int cast_time(struct cast *c)
{
	char out[DF_TIME_LEN];

	if (c->v->kind != DF_V_TEXT)
		return cast_bad(c);
	if (df_time_parse(c->v->p, c->v->len, c->to, out) < 0)
		return cast_bad(c);
	return cast_set_text(c, out, strlen(out));
}

static int cast_uuid(struct cast *c)
{
	const struct df_value *v = c->v;
	char out[37];
	size_t i, n = 0;

	if (v->kind != DF_V_TEXT)
		return cast_bad(c);
	for (i = 0; i < v->len; i++) {
		char ch = v->p[i];

		if (ch == '-' || ch == '{' || ch == '}')
			continue;
		if (hex_digit(ch) < 0 || n >= 36)
			return cast_bad(c);
		if (n == 8 || n == 13 || n == 18 || n == 23)
			out[n++] = '-';
		out[n++] = (char)tolower((unsigned char)ch);
	}
	if (n != 36)
		return cast_bad(c);
	return cast_set_text(c, out, n);
}

static int cast_text(struct cast *c)
{
	struct df_value out;
	int err;

	if (c->v->kind == DF_V_TEXT &&
	    (c->from == DF_T_UNKNOWN || df_type_is_text(c->from)))
		return 0;
	err = df_value_text(c->v, c->from, c->arena, &out);
	if (err == 0)
		*c->v = out;
	return err;
}

int df_value_cast(struct df_value *v, enum df_type from, enum df_type to,
		  struct df_arena *a, char err[DF_VALUE_ERR])
{
	struct cast c = { v, from, to, a, err };

	err[0] = '\0';
	if (v->kind == DF_V_NULL)
		return 0;
	switch (to) {
	case DF_T_BOOL:
		return cast_bool(&c);
	case DF_T_INT2:
	case DF_T_INT4:
	case DF_T_INT8:
		return cast_int(&c);
	case DF_T_FLOAT4:
	case DF_T_FLOAT8:
	case DF_T_NUMERIC:
		return cast_real(&c);
	case DF_T_BYTEA:
		return cast_bytea(&c);
	case DF_T_JSON:
	case DF_T_JSONB:
		return cast_json(&c);
	case DF_T_VEC:
		return cast_vec(&c);
	case DF_T_MATRIX:
	case DF_T_ARRAY:
		return cast_array(&c);
	case DF_T_TS:
	case DF_T_TSTZ:
	case DF_T_DATE:
		return cast_time(&c);
	case DF_T_UUID:
		return cast_uuid(&c);
	default:
		return cast_text(&c);
	}
}
