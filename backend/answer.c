/* answer.c - see answer.h. */
#include "backend/answer.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define DEPTH_MAX 32

struct scan {
	char *at, *end;
	struct df_answer *a;
	int err;
};

static bool bad(struct scan *s, int err)
{
	if (!s->err)
		s->err = err;
	return false;
}

static void skip_space(struct scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' ||
				  *s->at == '\r' || *s->at == '\t'))
		s->at++;
}

/* The next character that is no space, without taking it; 0 at the end. */
static char peek(struct scan *s)
{
	skip_space(s);
	return s->at < s->end ? *s->at : 0;
}

static bool take(struct scan *s, char c)
{
	if (peek(s) != c)
		return bad(s, DF_ECORRUPT);
	s->at++;
	return true;
}

/* ---- strings */

static bool take_hex4(struct scan *s, unsigned *out)
{
	unsigned x = 0;

	if (s->end - s->at < 4)
		return bad(s, DF_ECORRUPT);
	for (int i = 0; i < 4; i++) {
		char c = *s->at++;
		unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
			     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
			     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
						    : 16;
		if (d > 15)
			return bad(s, DF_ECORRUPT);
		x = x << 4 | d;
	}
	*out = x;
	return true;
}

static char *put_utf8(char *out, unsigned c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*out++ = (char)(0xe0 | c >> 12);
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	} else {
		*out++ = (char)(0xf0 | c >> 18);
		*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	}
	return out;
}

/* After "\u".  Six characters in make at most three bytes out, twelve make
 * four: the output never overtakes the input. */
static bool take_unicode(struct scan *s, char **out)
{
	unsigned c, low;

	if (!take_hex4(s, &c))
		return false;
	if (c >= 0xd800 && c < 0xdc00 && s->end - s->at >= 6 &&
	    s->at[0] == '\\' && s->at[1] == 'u') {
		char *back = s->at;
		s->at += 2;
		if (!take_hex4(s, &low))
			return false;
		if (low >= 0xdc00 && low < 0xe000)
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		else
			s->at = back;
	}
	if (c >= 0xd800 && c < 0xe000)
		c = 0xfffd; /* half of a pair */
	*out = put_utf8(*out, c);
	return true;
}

static bool take_escape(struct scan *s, char **out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

	if (s->at >= s->end)
		return bad(s, DF_ECORRUPT);
	char c = *s->at++;
	if (c == 'u')
		return take_unicode(s, out);
	const char *p = c ? strchr(from, c) : NULL;
	if (!p)
		return bad(s, DF_ECORRUPT);
	*(*out)++ = to[p - from];
	return true;
}

static bool take_string(struct scan *s, struct df_cell *c)
{
	if (!take(s, '"'))
		return false;
	char *start = s->at;
	char *quote = memchr(start, '"', (size_t)(s->end - start));
	char *slash = quote ? memchr(start, '\\', (size_t)(quote - start))
			    : NULL;
	if (!quote)
		return bad(s, DF_ECORRUPT);
	if (!slash) {
		*c = (struct df_cell){ start, (size_t)(quote - start),
				       DF_CELL_TEXT };
		s->at = quote + 1;
		return true;
	}
	char *out = slash;
	s->at = slash;
	while (s->at < s->end && *s->at != '"') {
		if (*s->at != '\\') {
			*out++ = *s->at++;
			continue;
		}
		s->at++;
		if (!take_escape(s, &out))
			return false;
	}
	*c = (struct df_cell){ start, (size_t)(out - start), DF_CELL_TEXT };
	return take(s, '"');
}

/* ---- values */

static bool take_word(struct scan *s, struct df_cell *c, const char *word,
		      enum df_cell_type type)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0)
		return bad(s, DF_ECORRUPT);
	*c = (struct df_cell){ s->at, n, type };
	s->at += n;
	return true;
}

static bool take_number(struct scan *s, struct df_cell *c)
{
	char *start = s->at;

	while (s->at < s->end && *s->at && strchr("+-0123456789.eE", *s->at))
		s->at++;
	if (s->at == start || s->at - start > 64)
		return bad(s, DF_ECORRUPT);
	*c = (struct df_cell){ start, (size_t)(s->at - start), DF_CELL_NUMBER };
	return true;
}

/* Brackets are counted, strings skipped; what is between is not checked:
 * nobody reads it. */
static bool take_nested(struct scan *s, struct df_cell *c)
{
	char *start = s->at;
	int depth = 0;

	do {
		char x = peek(s);
		struct df_cell text;
		if (!x)
			return bad(s, DF_ECORRUPT);
		if (x == '"') {
			if (!take_string(s, &text))
				return false;
			continue;
		}
		if (x == '[' || x == '{')
			depth++;
		if (x == ']' || x == '}')
			depth--;
		if (depth > DEPTH_MAX)
			return bad(s, DF_ECORRUPT);
		s->at++;
	} while (depth > 0);
	*c = (struct df_cell){ start, (size_t)(s->at - start), DF_CELL_OTHER };
	return true;
}

static bool take_value(struct scan *s, struct df_cell *c)
{
	switch (peek(s)) {
	case '"':
		return take_string(s, c);
	case 'n':
		return take_word(s, c, "null", DF_CELL_NULL);
	case 't':
		return take_word(s, c, "true", DF_CELL_BOOL);
	case 'f':
		return take_word(s, c, "false", DF_CELL_BOOL);
	case '[':
	case '{':
		return take_nested(s, c);
	default:
		return take_number(s, c);
	}
}

/* ---- the members of the answer */

static bool add_cell(struct scan *s, size_t n, const struct df_cell *c)
{
	struct df_answer *a = s->a;

	if (n >= DF_ANSWER_CELLS_MAX)
		return bad(s, -EOVERFLOW);
	if (n >= a->size) {
		size_t size = a->size ? a->size * 2 : 64;
		struct df_cell *v = reallocarray(a->cell, size, sizeof(*v));
		if (!v)
			return bad(s, -ENOMEM);
		a->cell = v;
		a->size = size;
	}
	a->cell[n] = *c;
	return true;
}

static bool take_row(struct scan *s, size_t *n, size_t *width)
{
	size_t first = *n;
	struct df_cell c;

	if (!take(s, '['))
		return false;
	if (peek(s) == ']')
		return bad(s, DF_ECORRUPT);
	do {
		if (!take_value(s, &c) || !add_cell(s, *n, &c))
			return false;
		++*n;
	} while (peek(s) == ',' && s->at++);
	if (!*width)
		*width = *n - first;
	if (*n - first != *width)
		return bad(s, DF_ECORRUPT);
	return take(s, ']');
}

static bool take_rows(struct scan *s, size_t *width)
{
	size_t n = 0;
	struct df_cell c;

	if (peek(s) == 'n')
		return take_word(s, &c, "null", DF_CELL_NULL);
	s->a->n_rows = 0;
	*width = 0;
	if (!take(s, '['))
		return false;
	if (peek(s) != ']') {
		do {
			if (!take_row(s, &n, width))
				return false;
			s->a->n_rows++;
		} while (peek(s) == ',' && s->at++);
	}
	return take(s, ']');
}

static bool take_columns(struct scan *s)
{
	struct df_answer *a = s->a;
	struct df_cell c;

	if (peek(s) == 'n')
		return take_word(s, &c, "null", DF_CELL_NULL);
	free(a->col);
	a->n_cols = 0;
	a->col = calloc(DF_ANSWER_COLS_MAX, sizeof(*a->col));
	if (!a->col)
		return bad(s, -ENOMEM);
	if (!take(s, '['))
		return false;
	if (peek(s) != ']') {
		do {
			if (a->n_cols == DF_ANSWER_COLS_MAX)
				return bad(s, -EOVERFLOW);
			if (!take_string(s, &a->col[a->n_cols]))
				return false;
			a->n_cols++;
		} while (peek(s) == ',' && s->at++);
	}
	return take(s, ']');
}

static bool take_count(struct scan *s, uint64_t *out)
{
	struct df_cell c;

	if (!take_value(s, &c))
		return false;
	if (df_cell_u64(&c, out))
		*out = 0;
	return true;
}

static bool take_member(struct scan *s, size_t *width)
{
	struct df_cell key, c;

	if (!take_string(s, &key) || !take(s, ':'))
		return false;
	if (df_cell_is(&key, "columns"))
		return take_columns(s);
	if (df_cell_is(&key, "rows"))
		return take_rows(s, width);
	if (df_cell_is(&key, "row_count"))
		return take_count(s, &s->a->row_count);
	if (df_cell_is(&key, "last"))
		return take_count(s, &s->a->last);
	if (df_cell_is(&key, "others"))
		return take_count(s, &s->a->others);
	if (df_cell_is(&key, "more"))
		return take_count(s, &s->a->more);
	return take_value(s, &c);
}

int df_answer_parse(struct df_answer *a, struct df_buf *body)
{
	size_t width = 0;

	*a = (struct df_answer){ .body = *body };
	df_buf_init(body, 0);
	if (!a->body.len)
		return DF_ECORRUPT;
	struct scan s = { (char *)a->body.data,
			  (char *)a->body.data + a->body.len, a, 0 };
	struct df_cell c;
	if (peek(&s) == 'n') {
		take_word(&s, &c, "null", DF_CELL_NULL);
	} else if (take(&s, '{') && peek(&s) != '}') {
		while (take_member(&s, &width) && peek(&s) == ',')
			s.at++;
		if (!s.err)
			take(&s, '}');
	} else if (!s.err) {
		s.at++;
	}
	if (!s.err && peek(&s))
		bad(&s, DF_ECORRUPT);
	if (!s.err && a->n_rows && a->col && width != a->n_cols)
		bad(&s, DF_ECORRUPT);
	if (s.err)
		a->n_rows = 0;
	if (a->n_rows)
		a->n_cols = width;
	return s.err;
}

void df_answer_release(struct df_answer *a)
{
	df_buf_release(&a->body);
	free(a->col);
	free(a->cell);
	*a = (struct df_answer){ 0 };
}

int df_answer_col(const struct df_answer *a, const char *name)
{
	for (size_t i = 0; a->col && i < a->n_cols; i++)
		if (df_cell_is(&a->col[i], name))
			return (int)i;
	return -1;
}

bool df_cell_is(const struct df_cell *c, const char *text)
{
	size_t n = strlen(text);

	return c->type == DF_CELL_TEXT && c->len == n &&
	       memcmp(c->s, text, n) == 0;
}

int df_cell_u64(const struct df_cell *c, uint64_t *out)
{
	uint64_t x = 0;

	if ((c->type != DF_CELL_NUMBER && c->type != DF_CELL_TEXT) || !c->len)
		return DF_ECORRUPT;
	for (size_t i = 0; i < c->len; i++) {
		unsigned d = (unsigned)(c->s[i] - '0');
		if (d > 9 || x > (UINT64_MAX - d) / 10)
			return DF_ECORRUPT;
		x = x * 10 + d;
	}
	*out = x;
	return 0;
}

int df_cell_hex64(const struct df_cell *c, uint64_t *out)
{
	uint64_t x = 0;

	if (c->type != DF_CELL_TEXT || c->len != 16)
		return DF_ECORRUPT;
	for (size_t i = 0; i < 16; i++) {
		char h = c->s[i];
		if (h >= '0' && h <= '9')
			x = x << 4 | (uint64_t)(h - '0');
		else if (h >= 'a' && h <= 'f')
			x = x << 4 | (uint64_t)(h - 'a' + 10);
		else
			return DF_ECORRUPT;
	}
	*out = x;
	return 0;
}

int df_cell_id(const struct df_cell *c, struct df_id *out)
{
	char text[2 * DF_ID_LEN + 1];

	if (c->type != DF_CELL_TEXT || c->len != 2 * DF_ID_LEN)
		return DF_ECORRUPT;
	memcpy(text, c->s, c->len);
	text[c->len] = 0;
	return df_id_parse(text, out) ? DF_ECORRUPT : 0;
}
