/* jsonscan.c - see jsonscan.h. */
#include "tools/serve/jsonscan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

static inline uint64_t has_zero(uint64_t x)
{
	return (x - ONES) & ~x & HIGHS;
}

/* A byte of w that is '"', '\\', below 0x20 or above 0x7f. */
static inline uint64_t scan_special(uint64_t w)
{
	return has_zero(w ^ (ONES * '"')) | has_zero(w ^ (ONES * '\\')) |
	       ((w - ONES * 0x20) & ~w & HIGHS) | (w & HIGHS);
}

/* First special byte at or after p, many at a time. */
static const char *scan_plain(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i slash = _mm_set1_epi8('\\');
	const __m128i space = _mm_set1_epi8(0x20);

	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		/* signed: bytes over 0x7f are below 0x20, too */
		__m128i bad =
			_mm_or_si128(_mm_cmplt_epi8(v, space),
				     _mm_or_si128(_mm_cmpeq_epi8(v, quote),
						  _mm_cmpeq_epi8(v, slash)));
		int mask = _mm_movemask_epi8(bad);

		if (mask != 0)
			return p + __builtin_ctz((unsigned)mask);
		p += 16;
	}
#endif
	while (end - p >= 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		if (scan_special(w) != 0)
			break;
		p += 8;
	}
	while (p < end && (unsigned char)*p >= 0x20 &&
	       (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return p;
}

/* Bytes of the UTF-8 character at p, 0 if malformed. */
static size_t scan_utf8(const unsigned char *p, const unsigned char *end)
{
	size_t n, i;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if ((size_t)(end - p) < n)
		return 0;
	for (i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

bool df_utf8_valid(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	const unsigned char *end = p + len;

	while (p < end) {
		size_t n;

		if (end - p >= 8) {
			uint64_t w;

			memcpy(&w, p, 8);
			if ((w & HIGHS) == 0) {
				p += 8;
				continue;
			}
		}
		n = scan_utf8(p, end);
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

const char *df_json_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

static bool scan_hex4(const char *p, const char *end, unsigned *out)
{
	unsigned x = 0;
	int i;

	if (end - p < 4)
		return false;
	for (i = 0; i < 4; i++) {
		char c = p[i];

		x <<= 4;
		if (c >= '0' && c <= '9')
			x |= (unsigned)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			x |= (unsigned)((c | 32) - 'a' + 10);
		else
			return false;
	}
	*out = x;
	return true;
}

/* p is after the opening quote. */
static const char *scan_string(const char *p, const char *end,
			       struct df_json *out)
{
	out->kind = DF_J_STRING;
	out->p = p;
	out->escaped = false;
	for (;;) {
		unsigned x;

		p = scan_plain(p, end);
		if (p >= end || (unsigned char)*p < 0x20)
			return NULL;
		if (*p == '"')
			break;
		if ((unsigned char)*p >= 0x80) {
			size_t n = scan_utf8((const unsigned char *)p,
					     (const unsigned char *)end);

			if (n == 0)
				return NULL;
			p += n;
			continue;
		}
		out->escaped = true;
		if (++p >= end)
			return NULL;
		if (*p == 'u') {
			if (!scan_hex4(p + 1, end, &x))
				return NULL;
			p += 5;
		} else if (*p != '\0' && strchr("\"\\/bfnrt", *p) != NULL) {
			p++;
		} else {
			return NULL;
		}
	}
	out->len = (size_t)(p - out->p);
	return p + 1;
}

static const char *scan_digits(const char *p, const char *end)
{
	const char *start = p;

	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p == start ? NULL : p;
}

static const char *scan_number(const char *p, const char *end,
			       struct df_json *out)
{
	const char *start = p;

	out->kind = DF_J_NUMBER;
	out->p = p;
	if (*p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else if ((p = scan_digits(p, end)) == NULL)
		return NULL;
	if (p < end && *p == '.' && (p = scan_digits(p + 1, end)) == NULL)
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if ((p = scan_digits(p, end)) == NULL)
			return NULL;
	}
	out->len = (size_t)(p - start);
	return p;
}

static const char *scan_word(const char *p, const char *end, const char *word,
			     enum df_json_kind kind, struct df_json *out)
{
	size_t n = strlen(word);

	if ((size_t)(end - p) < n || memcmp(p, word, n) != 0)
		return NULL;
	*out = (struct df_json){ .kind = kind, .p = p, .len = n };
	return p + n;
}

static const char *scan_value(const char *p, const char *end, int depth,
			      struct df_json *out);

/* p is after the opening bracket. */
static const char *scan_container(const char *p, const char *end, int depth,
				  bool object)
{
	struct df_json part;
	char close = object ? '}' : ']';

	p = df_json_space(p, end);
	if (p < end && *p == close)
		return p + 1;
	for (;;) {
		p = df_json_space(p, end);
		if (object) {
			if (p >= end || *p != '"')
				return NULL;
			p = scan_string(p + 1, end, &part);
			if (p == NULL)
				return NULL;
			p = df_json_space(p, end);
			if (p >= end || *p != ':')
				return NULL;
			p++;
		}
		p = scan_value(p, end, depth, &part);
		if (p == NULL)
			return NULL;
		p = df_json_space(p, end);
		if (p >= end)
			return NULL;
		if (*p == close)
			return p + 1;
		if (*p != ',')
			return NULL;
		p++;
	}
}

static const char *scan_value(const char *p, const char *end, int depth,
			      struct df_json *out)
{
	const char *start;

	p = df_json_space(p, end);
	*out = (struct df_json){ .kind = DF_J_NONE };
	if (p >= end || depth >= DF_JSON_DEPTH)
		return NULL;
	switch (*p) {
	case '"':
		return scan_string(p + 1, end, out);
	case 'n':
		return scan_word(p, end, "null", DF_J_NULL, out);
	case 't':
		return scan_word(p, end, "true", DF_J_TRUE, out);
	case 'f':
		return scan_word(p, end, "false", DF_J_FALSE, out);
	case '{':
	case '[':
		start = p;
		p = scan_container(p + 1, end, depth + 1, *start == '{');
		if (p == NULL)
			return NULL;
		out->kind = *start == '{' ? DF_J_OBJECT : DF_J_ARRAY;
		out->p = start;
		out->len = (size_t)(p - start);
		return p;
	default:
		if (*p == '-' || (*p >= '0' && *p <= '9'))
			return scan_number(p, end, out);
		return NULL;
	}
}

const char *df_json_value(const char *p, const char *end, struct df_json *out)
{
	return scan_value(p, end, 0, out);
}

bool df_json_valid(const char *text, size_t len, struct df_json *out)
{
	const char *end = text + len;
	const char *p = scan_value(text, end, 0, out);

	return p != NULL && df_json_space(p, end) == end;
}

int df_json_next(const struct df_json *in, const char **it, struct df_json *key,
		 struct df_json *value)
{
	const char *end = in->p + in->len - 1;
	const char *p = *it == NULL ? in->p + 1 : *it;

	p = df_json_space(p, end);
	if (p < end && *p == ',')
		p = df_json_space(p + 1, end);
	if (p >= end)
		return 0;
	if (in->kind == DF_J_OBJECT) {
		struct df_json k;

		p = scan_string(p + 1, end, &k);
		if (key != NULL)
			*key = k;
		p = df_json_space(p, end) + 1;
	}
	*it = scan_value(p, end, 0, value);
	return 1;
}

struct df_json df_json_member(const struct df_json *object, const char *key)
{
	struct df_json k, v, found = { .kind = DF_J_NONE };
	const char *it = NULL;
	size_t n = strlen(key);

	if (object->kind != DF_J_OBJECT)
		return found;
	while (df_json_next(object, &it, &k, &v) > 0)
		if (k.len == n && memcmp(k.p, key, n) == 0)
			found = v;
	return found;
}

/* "key": value, one of an object's. */
static const char *scan_member(const char *p, const char *end,
			       struct df_json *key, struct df_json *value)
{
	p = df_json_space(p, end);
	if (p >= end || *p != '"')
		return NULL;
	p = scan_string(p + 1, end, key);
	if (p == NULL)
		return NULL;
	p = df_json_space(p, end);
	if (p >= end || *p != ':')
		return NULL;
	return scan_value(p + 1, end, 1, value);
}

int df_json_fields(const char *text, size_t len, const char *const *keys,
		   struct df_json *out, size_t n)
{
	const char *end = text + len, *p = df_json_space(text, end);
	struct df_json key, value;
	size_t i;

	for (i = 0; i < n; i++)
		out[i] = (struct df_json){ .kind = DF_J_NONE };
	if (p >= end || *p != '{')
		return -EINVAL;
	p = df_json_space(p + 1, end);
	if (p < end && *p == '}')
		return df_json_space(p + 1, end) == end ? 0 : -EINVAL;
	for (;;) {
		p = scan_member(p, end, &key, &value);
		if (p == NULL)
			return -EINVAL;
		for (i = 0; i < n; i++)
			if (key.len == strlen(keys[i]) &&
			    memcmp(key.p, keys[i], key.len) == 0)
				out[i] = value;
		p = df_json_space(p, end);
		if (p < end && *p == '}')
			return df_json_space(p + 1, end) == end ? 0 : -EINVAL;
		if (p >= end || *p++ != ',')
			return -EINVAL;
	}
}

static size_t utf8_put(char *out, unsigned x)
{
	if (x < 0x80) {
		out[0] = (char)x;
		return 1;
	}
	if (x < 0x800) {
		out[0] = (char)(0xc0 | (x >> 6));
		out[1] = (char)(0x80 | (x & 63));
		return 2;
	}
	if (x < 0x10000) {
		out[0] = (char)(0xe0 | (x >> 12));
		out[1] = (char)(0x80 | ((x >> 6) & 63));
		out[2] = (char)(0x80 | (x & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | (x >> 18));
	out[1] = (char)(0x80 | ((x >> 12) & 63));
	out[2] = (char)(0x80 | ((x >> 6) & 63));
	out[3] = (char)(0x80 | (x & 63));
	return 4;
}

/* The character of a \u escape whose digits start at *p; moves *p past it. */
static int text_unicode(const char **p, const char *end, unsigned *out)
{
	unsigned hi, lo;

	if (!scan_hex4(*p, end, &hi))
		return -EINVAL;
	*p += 4;
	if (hi >= 0xdc00 && hi <= 0xdfff)
		return -EINVAL;
	if (hi >= 0xd800 && hi <= 0xdbff) {
		if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u' ||
		    !scan_hex4(*p + 2, end, &lo) || lo < 0xdc00 || lo > 0xdfff)
			return -EINVAL;
		*p += 6;
		hi = 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
	}
	*out = hi;
	return 0;
}

int df_json_text(const struct df_json *s, struct df_arena *a, const char **out,
		 size_t *len)
{
	const char *p = s->p, *end = s->p + s->len;
	char *to;

	*out = s->p;
	*len = s->len;
	if (!s->escaped)
		return 0;
	to = df_arena_alloc(a, s->len + 1);
	if (to == NULL)
		return -ENOMEM;
	*out = to;
	while (p < end) {
		static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
		const char *q = memchr(p, '\\', (size_t)(end - p));
		const char *at;
		size_t n = (size_t)((q == NULL ? end : q) - p);
		unsigned x;

		memcpy(to, p, n);
		to += n;
		if (q == NULL)
			break;
		p = q + 2;
		if (q[1] == 'u') {
			if (text_unicode(&p, end, &x) < 0)
				return -EINVAL;
			to += utf8_put(to, x);
		} else {
			at = strchr(from, q[1]);
			*to++ = at != NULL ? into[at - from] : q[1];
		}
	}
	*len = (size_t)(to - *out);
	return 0;
}

const char *df_json_cstr(const struct df_json *s, struct df_arena *a)
{
	const char *p;
	size_t len;

	if (s->kind != DF_J_STRING || df_json_text(s, a, &p, &len) < 0 ||
	    memchr(p, '\0', len) != NULL)
		return NULL;
	return df_arena_strn(a, p, len);
}

void df_json_put(struct df_buf *b, const char *text, size_t len)
{
	static const char from[] = "\b\f\n\r\t\"\\", into[] = "bfnrt\"\\";
	const char *p = text, *end = text + len;

	df_buf_put_u8(b, '"');
	while (p < end) {
		const char *start = p, *at;

		while (p < end && (p = scan_plain(p, end)) < end &&
		       (unsigned char)*p >= 0x80)
			p++;
		df_buf_put(b, start, (size_t)(p - start));
		if (p >= end)
			break;
		at = *p == '\0' ? NULL : strchr(from, *p);
		if (at != NULL) {
			char esc[2] = { '\\', into[at - from] };

			df_buf_put(b, esc, 2);
		} else {
			df_buf_printf(b, "\\u%04x", (unsigned char)*p);
		}
		p++;
	}
	df_buf_put_u8(b, '"');
}

void df_json_puts(struct df_buf *b, const char *text)
{
	df_json_put(b, text, strlen(text));
}

struct canon_member {
	const char *key;
	size_t key_len, order;
	struct df_json value;
};

static int canon_cmp(const void *x, const void *y)
{
	const struct canon_member *a = x, *b = y;
	int c;

	if (a->key_len != b->key_len)
		return a->key_len < b->key_len ? -1 : 1;
	c = memcmp(a->key, b->key, a->key_len);
	if (c != 0)
		return c;
	return a->order < b->order ? -1 : 1;
}

static int canon_object(const struct df_json *v, struct df_arena *a,
			struct df_buf *out)
{
	struct canon_member *m;
	struct df_json k, val;
	const char *it = NULL;
	size_t n = 0, i;
	bool first = true;
	int err = 0;

	while (df_json_next(v, &it, &k, &val) > 0)
		n++;
	m = df_arena_alloc(a, (n + 1) * sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	it = NULL;
	for (i = 0; df_json_next(v, &it, &k, &m[i].value) > 0; i++) {
		m[i].order = i;
		err = df_json_text(&k, a, &m[i].key, &m[i].key_len);
		if (err < 0)
			return err;
	}
	qsort(m, n, sizeof(*m), canon_cmp);
	df_buf_put_u8(out, '{');
	for (i = 0; i < n && err == 0; i++) {
		if (i + 1 < n && m[i].key_len == m[i + 1].key_len &&
		    memcmp(m[i].key, m[i + 1].key, m[i].key_len) == 0)
			continue;
		if (!first)
			df_buf_put(out, ", ", 2);
		first = false;
		df_json_put(out, m[i].key, m[i].key_len);
		df_buf_put(out, ": ", 2);
		err = df_json_canon(&m[i].value, a, out);
	}
	df_buf_put_u8(out, '}');
	return err;
}

static int canon_array(const struct df_json *v, struct df_arena *a,
		       struct df_buf *out)
{
	struct df_json val;
	const char *it = NULL;
	bool first = true;
	int err = 0;

	df_buf_put_u8(out, '[');
	while (err == 0 && df_json_next(v, &it, NULL, &val) > 0) {
		if (!first)
			df_buf_put(out, ", ", 2);
		first = false;
		err = df_json_canon(&val, a, out);
	}
	df_buf_put_u8(out, ']');
	return err;
}

/* PostgreSQL keeps the digits of a number but never an exponent. */
static void canon_number(const struct df_json *v, struct df_buf *out)
{
	char text[64];

	if (v->len < sizeof(text) && (memchr(v->p, 'e', v->len) != NULL ||
				      memchr(v->p, 'E', v->len) != NULL)) {
		double x;

		memcpy(text, v->p, v->len);
		text[v->len] = '\0';
		x = strtod(text, NULL);
		if (x < 1e18 && x > -1e18 && x == (double)(int64_t)x) {
			df_buf_printf(out, "%lld", (long long)x);
			return;
		}
	}
	df_buf_put(out, v->p, v->len);
}

int df_json_canon(const struct df_json *v, struct df_arena *a,
		  struct df_buf *out)
{
	const char *p;
	size_t len;
	int err;

	switch (v->kind) {
	case DF_J_OBJECT:
		return canon_object(v, a, out);
	case DF_J_ARRAY:
		return canon_array(v, a, out);
	case DF_J_STRING:
		err = df_json_text(v, a, &p, &len);
		if (err < 0)
			return err;
		if (memchr(p, '\0', len) != NULL)
			return -EINVAL;
		df_json_put(out, p, len);
		break;
	case DF_J_NUMBER:
		canon_number(v, out);
		break;
	default:
		df_buf_put(out, v->p, v->len);
	}
	return out->err;
}
