/* litetext.c - text functions of litefn.h: LIKE, case, pieces, search. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

#include "base/err.h"
#include "tools/serve/litefn.h"

typedef void fn_func(sqlite3_context *, int, sqlite3_value **);

static int any_null(int n, sqlite3_value **v)
{
	int i;

	for (i = 0; i < n; i++)
		if (sqlite3_value_type(v[i]) == SQLITE_NULL)
			return 1;
	return 0;
}

/* The character at p; a byte that is no UTF-8 counts as itself. */
static size_t utf8_get(const char *p, const char *end, uint32_t *out)
{
	const unsigned char *u = (const unsigned char *)p;
	size_t n, i;

	*out = u[0];
	if (u[0] < 0xc2)
		return 1;
	n = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if ((size_t)(end - p) < n)
		return 1;
	*out = u[0] & (0xffu >> (n + 1));
	for (i = 1; i < n; i++) {
		if ((u[i] & 0xc0) != 0x80) {
			*out = u[0];
			return 1;
		}
		*out = *out << 6 | (u[i] & 0x3f);
	}
	return n;
}

static size_t utf8_put(char *to, uint32_t x)
{
	if (x < 0x80) {
		to[0] = (char)x;
		return 1;
	}
	if (x < 0x800) {
		to[0] = (char)(0xc0 | x >> 6);
		to[1] = (char)(0x80 | (x & 63));
		return 2;
	}
	if (x < 0x10000) {
		to[0] = (char)(0xe0 | x >> 12);
		to[1] = (char)(0x80 | (x >> 6 & 63));
		to[2] = (char)(0x80 | (x & 63));
		return 3;
	}
	to[0] = (char)(0xf0 | x >> 18);
	to[1] = (char)(0x80 | (x >> 12 & 63));
	to[2] = (char)(0x80 | (x >> 6 & 63));
	to[3] = (char)(0x80 | (x & 63));
	return 4;
}

/* Lower or upper case of UTF-8: malloced, NUL after it. */
static char *text_fold(const char *p, size_t len, size_t *out_len, int upper)
{
	/* One character can grow: two bytes to three (U+0250 and others). */
	char *out = malloc(len * 2 + 5), *to = out;
	const char *end = p + len;

	if (out == NULL)
		return NULL;
	while (p < end) {
		unsigned char b = (unsigned char)*p;
		uint32_t x;

		if (b < 0x80) {
			if (!upper && b >= 'A' && b <= 'Z')
				b |= 32;
			else if (upper && b >= 'a' && b <= 'z')
				b &= (unsigned char)~32;
			*to++ = (char)b;
			p++;
			continue;
		}
		if (utf8_get(p, end, &x) == 1) {
			*to++ = *p++;
			continue;
		}
		p += utf8_get(p, end, &x);
		x = upper ? (uint32_t)towupper((wint_t)x)
			  : (uint32_t)towlower((wint_t)x);
		to += utf8_put(to, x);
	}
	*to = '\0';
	*out_len = (size_t)(to - out);
	return out;
}

/*
 * LIKE by characters: % any run, _ one, esc takes the next as it is.  Only the
 * last % is ever tried again, so the cost is text times pattern at most.
 * 1, 0, or -1 for a pattern that ends in its escape character.
 */
static int like_match(const char *t, const char *t_end, const char *p,
		      const char *p_end, uint32_t esc)
{
	const char *star_p = NULL, *star_t = NULL;

	for (;;) {
		uint32_t pc = 0, tc = 0;
		size_t pn = 0, tn;

		if (p < p_end)
			pn = utf8_get(p, p_end, &pc);
		if (pn > 0 && pc == '%' && pc != esc) {
			p += pn;
			star_p = p;
			star_t = t;
			continue;
		}
		if (t >= t_end && p >= p_end)
			return 1;
		if (t < t_end && pn > 0) {
			int any = pc == '_' && pc != esc;

			tn = utf8_get(t, t_end, &tc);
			if (pc == esc) {
				if (p + pn >= p_end)
					return -1;
				p += pn;
				pn = utf8_get(p, p_end, &pc);
			}
			if (any || pc == tc) {
				t += tn;
				p += pn;
				continue;
			}
		}
		if (star_p == NULL || star_t >= t_end)
			return 0;
		star_t += utf8_get(star_t, t_end, &tc);
		t = star_t;
		p = star_p;
	}
}

static void fn_like(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int fold = sqlite3_user_data(ctx) != NULL, r;
	const char *t, *p, *e;
	size_t tn, pn;
	char *tf = NULL, *pf = NULL;
	uint32_t esc = UINT32_MAX;

	if (any_null(n, v))
		return;
	t = (const char *)sqlite3_value_text(v[0]);
	tn = (size_t)sqlite3_value_bytes(v[0]);
	p = (const char *)sqlite3_value_text(v[1]);
	pn = (size_t)sqlite3_value_bytes(v[1]);
	e = (const char *)sqlite3_value_text(v[2]);
	if (sqlite3_value_bytes(v[2]) > 0)
		(void)utf8_get(e, e + sqlite3_value_bytes(v[2]), &esc);
	if (fold) {
		t = tf = text_fold(t, tn, &tn, 0);
		p = pf = text_fold(p, pn, &pn, 0);
	}
	if (t == NULL || p == NULL) {
		sqlite3_result_error_nomem(ctx);
	} else {
		r = like_match(t, t + tn, p, p + pn, esc);
		if (r < 0)
			sqlite3_result_error(ctx,
					     "LIKE pattern must not end "
					     "with escape character",
					     -1);
		else
			sqlite3_result_int(ctx, r);
	}
	free(tf);
	free(pf);
}

static void fn_case(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int upper = sqlite3_user_data(ctx) != NULL;
	size_t len;
	char *out;

	if (any_null(n, v))
		return;
	out = text_fold((const char *)sqlite3_value_text(v[0]),
			(size_t)sqlite3_value_bytes(v[0]), &len, upper);
	if (out == NULL)
		sqlite3_result_error_nomem(ctx);
	else
		sqlite3_result_text64(ctx, out, len, free, SQLITE_UTF8);
}

/* Bytes of the first n characters; whole words of ASCII at a time, for a pack
 * is megabytes of base64. */
static size_t chars_to_bytes(const char *p, size_t len, int64_t n)
{
	const char *start = p, *end = p + len;

	while (n >= 8 && end - p >= 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		if ((w & UINT64_C(0x8080808080808080)) != 0)
			break;
		p += 8;
		n -= 8;
	}
	while (n > 0 && p < end) {
		if ((unsigned char)*p < 0x80) {
			p++;
		} else {
			uint32_t x;

			p += utf8_get(p, end, &x);
		}
		n--;
	}
	return (size_t)(p - start);
}

static int64_t clamp_count(int64_t x)
{
	return x < 0 ? 0 : x > INT32_MAX ? INT32_MAX : x;
}

/* substr as PostgreSQL counts: from 1, places before it use up the length. */
static void fn_substr(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int64_t from, count = INT32_MAX;
	const char *p;
	size_t len, a, b;
	int blob;

	if (any_null(n, v))
		return;
	blob = sqlite3_value_type(v[0]) == SQLITE_BLOB;
	from = sqlite3_value_int64(v[1]);
	if (from > INT32_MAX)
		from = INT32_MAX;
	if (from < INT32_MIN)
		from = INT32_MIN;
	if (n == 3) {
		count = sqlite3_value_int64(v[2]);
		if (count < 0) {
			sqlite3_result_error(ctx,
					     "negative substring length "
					     "not allowed",
					     -1);
			return;
		}
		count = clamp_count(count);
	}
	if (from < 1) {
		count = clamp_count(n == 3 ? count + from - 1 : count);
		from = 1;
	}
	p = blob ? sqlite3_value_blob(v[0])
		 : (const char *)sqlite3_value_text(v[0]);
	len = (size_t)sqlite3_value_bytes(v[0]);
	if (p == NULL)
		p = "";
	if (blob) {
		a = DF_MIN((size_t)from - 1, len);
		b = DF_MIN((size_t)count, len - a);
		sqlite3_result_blob64(ctx, p + a, b, SQLITE_TRANSIENT);
		return;
	}
	a = chars_to_bytes(p, len, from - 1);
	b = chars_to_bytes(p + a, len - a, count);
	sqlite3_result_text64(ctx, p + a, b, SQLITE_TRANSIENT, SQLITE_UTF8);
}

/* left(x, n) and right(x, n); a negative n leaves |n| characters out. */
static void fn_side(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int right = sqlite3_user_data(ctx) != NULL;
	const char *p;
	size_t len, cut;
	int64_t want, all = 0;
	size_t i;

	if (any_null(n, v))
		return;
	p = (const char *)sqlite3_value_text(v[0]);
	len = (size_t)sqlite3_value_bytes(v[0]);
	want = sqlite3_value_int64(v[1]);
	for (i = 0; i < len; i++)
		all += ((unsigned char)p[i] & 0xc0) != 0x80;
	if (want < 0)
		want = DF_MAX(all + want, 0);
	want = DF_MIN(want, all);
	cut = chars_to_bytes(p, len, right ? all - want : want);
	if (right)
		sqlite3_result_text64(ctx, p + cut, len - cut, SQLITE_TRANSIENT,
				      SQLITE_UTF8);
	else
		sqlite3_result_text64(ctx, p, cut, SQLITE_TRANSIENT,
				      SQLITE_UTF8);
}

static void fn_starts(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	int len;

	if (any_null(n, v))
		return;
	len = sqlite3_value_bytes(v[1]);
	sqlite3_result_int(
		ctx, sqlite3_value_bytes(v[0]) >= len &&
			     memcmp(sqlite3_value_blob(v[0]) == NULL
					    ? ""
					    : sqlite3_value_blob(v[0]),
				    len == 0 ? "" : sqlite3_value_blob(v[1]),
				    (size_t)len) == 0);
}

static void fn_concat(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	sqlite3_str *s = sqlite3_str_new(sqlite3_context_db_handle(ctx));
	int i, len;
	char *p;

	for (i = 0; i < n; i++)
		if (sqlite3_value_type(v[i]) != SQLITE_NULL)
			sqlite3_str_append(
				s, (const char *)sqlite3_value_text(v[i]),
				sqlite3_value_bytes(v[i]));
	len = sqlite3_str_length(s);
	p = sqlite3_str_finish(s);
	if (p == NULL)
		sqlite3_result_text(ctx, "", 0, SQLITE_STATIC);
	else
		sqlite3_result_text(ctx, p, len, sqlite3_free);
}

static int is_word(unsigned char c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       c == '_';
}

/* Words of folded text: calls *f for each. */
static size_t next_word(const char **p, const char *end, const char **word)
{
	while (*p < end && !is_word((unsigned char)**p))
		(*p)++;
	*word = *p;
	while (*p < end && is_word((unsigned char)**p))
		(*p)++;
	return (size_t)(*p - *word);
}

#define SCORE_WORDS 32

/*
 * text <#> 'words': how well a text answers the words, higher is better, 0 for
 * not at all.  The term frequencies of BM25 (k1 = 1.2, b = 0.75, a usual text
 * of 100 words) without the corpus weight, which a scan of one row cannot know.
 */
static void fn_score(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	size_t tn, qn, words = 0, len, total = 0, i;
	const char *word, *want[SCORE_WORDS], *p;
	size_t want_len[SCORE_WORDS], hits[SCORE_WORDS] = { 0 };
	char *t, *q;
	double score = 0;

	if (any_null(n, v))
		return;
	t = text_fold((const char *)sqlite3_value_text(v[0]),
		      (size_t)sqlite3_value_bytes(v[0]), &tn, 0);
	q = text_fold((const char *)sqlite3_value_text(v[1]),
		      (size_t)sqlite3_value_bytes(v[1]), &qn, 0);
	if (t == NULL || q == NULL) {
		sqlite3_result_error_nomem(ctx);
		goto out;
	}
	for (p = q;
	     words < SCORE_WORDS && (len = next_word(&p, q + qn, &word)) > 0;
	     words++) {
		want[words] = word;
		want_len[words] = len;
	}
	for (p = t; (len = next_word(&p, t + tn, &word)) > 0; total++)
		for (i = 0; i < words; i++)
			hits[i] += len == want_len[i] &&
				   memcmp(word, want[i], len) == 0;
	for (i = 0; i < words; i++)
		score += (double)hits[i] * 2.2 /
			 ((double)hits[i] +
			  1.2 * (0.25 + 0.75 * (double)total / 100.0));
	sqlite3_result_double(ctx, score);
out:
	free(t);
	free(q);
}

int df_litetext_register(sqlite3 *db)
{
	static char yes[] = "yes";
	static const struct {
		const char *name;
		int args;
		void *arg;
		fn_func *f;
	} table[] = {
		{ "dl_like", 3, NULL, fn_like },
		{ "dl_ilike", 3, yes, fn_like },
		{ "dl_lower", 1, NULL, fn_case },
		{ "dl_upper", 1, yes, fn_case },
		{ "dl_substr", 2, NULL, fn_substr },
		{ "dl_substr", 3, NULL, fn_substr },
		{ "dl_left", 2, NULL, fn_side },
		{ "dl_right", 2, yes, fn_side },
		{ "dl_starts", 2, NULL, fn_starts },
		{ "dl_concat", -1, NULL, fn_concat },
		{ "dl_score", 2, NULL, fn_score },
	};
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(table); i++) {
		int rc = sqlite3_create_function(
			db, table[i].name, table[i].args,
			SQLITE_UTF8 | SQLITE_DETERMINISTIC, table[i].arg,
			table[i].f, NULL, NULL);

		if (rc != SQLITE_OK)
			return rc;
	}
	return SQLITE_OK;
}
