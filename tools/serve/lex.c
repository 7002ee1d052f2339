/* lex.c - see lex.h. */
#include "tools/serve/lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "tools/serve/jsonscan.h"

#define LEX_TOKENS_MAX 400000

struct lex {
	const char *p, *end;
	struct df_arena *arena;
	struct df_lexed *out;
	size_t size;
};

static int lex_bad(struct lex *l, const char *what, const char *at)
{
	int n = (int)DF_MIN(l->end - at, 40);

	(void)snprintf(l->out->err, sizeof(l->out->err),
		       "%s at or near "
		       "\"%.*s\"",
		       what, n, at);
	return -EINVAL;
}

static struct df_token *lex_push(struct lex *l, enum df_token_kind kind,
				 const char *at)
{
	struct df_lexed *o = l->out;
	struct df_token *t;

	if (o->n == l->size) {
		size_t size = l->size == 0 ? 64 : l->size * 2;

		if (size > LEX_TOKENS_MAX * 2)
			return NULL;
		t = df_arena_alloc(l->arena, size * sizeof(*t));
		if (t == NULL)
			return NULL;
		if (o->n > 0)
			memcpy(t, o->token, o->n * sizeof(*t));
		o->token = t;
		l->size = size;
	}
	t = &o->token[o->n++];
	t->kind = kind;
	t->at = at;
	t->at_len = (size_t)(l->p - at);
	return t;
}

static int lex_text(struct lex *l, enum df_token_kind kind, const char *at,
		    const char *text, size_t len)
{
	struct df_token *t = lex_push(l, kind, at);

	if (t == NULL)
		return -ENOMEM;
	t->text = df_arena_strn(l->arena, text, len);
	t->len = len;
	return t->text == NULL ? -ENOMEM : 0;
}

/* Blanks and comments; slash-star comments nest. */
static int lex_skip(struct lex *l)
{
	while (l->p < l->end) {
		const char *at = l->p;
		int depth = 0;

		if (isspace((unsigned char)*l->p)) {
			l->p++;
			continue;
		}
		if (l->end - l->p < 2)
			return 0;
		if (memcmp(l->p, "--", 2) == 0) {
			while (l->p < l->end && *l->p != '\n')
				l->p++;
			continue;
		}
		if (memcmp(l->p, "/*", 2) != 0)
			return 0;
		do {
			if (l->end - l->p < 2)
				return lex_bad(l, "unterminated /* comment",
					       at);
			if (memcmp(l->p, "/*", 2) == 0) {
				depth++;
				l->p += 2;
			} else if (memcmp(l->p, "*/", 2) == 0) {
				depth--;
				l->p += 2;
			} else {
				l->p++;
			}
		} while (depth > 0);
	}
	return 0;
}

/* '...' or "..." with doubled quotes; l->p is after the opening one. */
static int lex_quoted(struct lex *l, const char *at, char quote,
		      enum df_token_kind kind)
{
	const char *start = l->p;
	char *text, *to;

	for (;;) {
		const char *q = memchr(l->p, quote, (size_t)(l->end - l->p));

		if (q == NULL)
			return lex_bad(
				l,
				quote == '"' ? "unterminated quoted identifier"
					     : "unterminated quoted string",
				at);
		l->p = q + 1;
		if (l->p < l->end && *l->p == quote)
			l->p++;
		else
			break;
	}
	text = to = df_arena_alloc(l->arena, (size_t)(l->p - start));
	if (text == NULL)
		return -ENOMEM;
	for (const char *p = start; p < l->p - 1;) {
		const char *q = memchr(p, quote, (size_t)(l->p - 1 - p));
		size_t n = (size_t)((q == NULL ? l->p - 1 : q + 1) - p);

		memcpy(to, p, n);
		to += n;
		p += n + (q == NULL ? 0 : 1);
	}
	if (kind == DF_TK_QUOTED && (to == text || to - text > 255))
		return lex_bad(l,
			       to == text ? "zero-length delimited identifier"
					  : "identifier too long",
			       at);
	{
		struct df_token *t = lex_push(l, kind, at);

		if (t == NULL)
			return -ENOMEM;
		*to = '\0';
		t->text = text;
		t->len = (size_t)(to - text);
	}
	return 0;
}

static size_t escape_utf8(unsigned x, char *to)
{
	if (x < 0x80) {
		to[0] = (char)x;
		return 1;
	}
	if (x < 0x800) {
		to[0] = (char)(0xc0 | (x >> 6));
		to[1] = (char)(0x80 | (x & 63));
		return 2;
	}
	if (x < 0x10000) {
		to[0] = (char)(0xe0 | (x >> 12));
		to[1] = (char)(0x80 | ((x >> 6) & 63));
		to[2] = (char)(0x80 | (x & 63));
		return 3;
	}
	to[0] = (char)(0xf0 | (x >> 18));
	to[1] = (char)(0x80 | ((x >> 12) & 63));
	to[2] = (char)(0x80 | ((x >> 6) & 63));
	to[3] = (char)(0x80 | (x & 63));
	return 4;
}

static unsigned escape_digits(struct lex *l, int base, int most, int *got)
{
	unsigned x = 0;

	for (*got = 0; *got < most && l->p < l->end; (*got)++, l->p++) {
		int c = tolower((unsigned char)*l->p);
		int d = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
					       : 99;

		if (d >= base)
			break;
		x = x * (unsigned)base + (unsigned)d;
	}
	return x;
}

/* \uXXXX and \UXXXXXXXX; a surrogate pair makes one character. */
static int escape_unicode(struct lex *l, int digits, char **to, const char *at)
{
	int got;
	unsigned x = escape_digits(l, 16, digits, &got), lo;

	if (got < digits)
		return lex_bad(l, "invalid Unicode escape", at);
	if (x >= 0xd800 && x <= 0xdbff && l->end - l->p >= 6 &&
	    l->p[0] == '\\' && l->p[1] == 'u') {
		l->p += 2;
		lo = escape_digits(l, 16, 4, &got);
		if (got < 4 || lo < 0xdc00 || lo > 0xdfff)
			return lex_bad(l, "invalid Unicode surrogate pair", at);
		x = 0x10000 + ((x - 0xd800) << 10) + (lo - 0xdc00);
	}
	if (x == 0 || x > 0x10ffff || (x >= 0xd800 && x <= 0xdfff))
		return lex_bad(l, "invalid Unicode escape value", at);
	*to += escape_utf8(x, *to);
	return 0;
}

/* One escape of E'...'; l->p is after the backslash. */
static int lex_escape(struct lex *l, char **to, const char *at)
{
	static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
	const char *found;
	char c;
	unsigned x;
	int got;

	if (l->p >= l->end)
		return lex_bad(l, "unterminated quoted string", at);
	c = *l->p++;
	found = c == '\0' ? NULL : strchr(from, c);
	if (found != NULL) {
		*(*to)++ = into[found - from];
		return 0;
	}
	if (c == 'u' || c == 'U')
		return escape_unicode(l, c == 'u' ? 4 : 8, to, at);
	if (c == 'x' || (c >= '0' && c <= '7')) {
		if (c != 'x')
			l->p--;
		x = escape_digits(l, c == 'x' ? 16 : 8, c == 'x' ? 2 : 3, &got);
		if (got == 0)
			*(*to)++ = 'x';
		else if ((x & 255) == 0)
			return lex_bad(l,
				       "invalid byte sequence for encoding "
				       "\"UTF8\": 0x00",
				       at);
		else
			*(*to)++ = (char)x;
		return 0;
	}
	*(*to)++ = c;
	return 0;
}

static int lex_estring(struct lex *l, const char *at)
{
	size_t left = (size_t)(l->end - l->p), n = 0;
	struct df_token *t;
	char *text, *to;

	/* The decoded text is never longer than the source up to its end. */
	while (n < left && l->p[n] != '\'')
		n += l->p[n] == '\\' ? 2 : 1;
	while (n + 1 < left && l->p[n] == '\'' && l->p[n + 1] == '\'') {
		n += 2;
		while (n < left && l->p[n] != '\'')
			n += l->p[n] == '\\' ? 2 : 1;
	}
	if (n >= left)
		return lex_bad(l, "unterminated quoted string", at);
	text = to = df_arena_alloc(l->arena, n + 1);
	if (text == NULL)
		return -ENOMEM;
	for (const char *stop = l->p + n; l->p < stop;) {
		if (*l->p == '\\') {
			int err;

			l->p++;
			err = lex_escape(l, &to, at);
			if (err < 0)
				return err;
		} else {
			if (*l->p == '\'')
				l->p++;
			*to++ = *l->p++;
		}
	}
	l->p++;
	if (!df_utf8_valid(text, (size_t)(to - text)))
		return lex_bad(l,
			       "invalid byte sequence for encoding "
			       "\"UTF8\"",
			       at);
	t = lex_push(l, DF_TK_STRING, at);
	if (t == NULL)
		return -ENOMEM;
	*to = '\0';
	t->text = text;
	t->len = (size_t)(to - text);
	return 0;
}

/* $1, $$...$$ or $tag$...$tag$. */
static int lex_dollar(struct lex *l, const char *at)
{
	const char *p = l->p + 1, *body, *q;
	size_t tag;

	if (p < l->end && isdigit((unsigned char)*p)) {
		struct df_token *t;
		long n = 0;

		while (p < l->end && isdigit((unsigned char)*p) && n < 100000)
			n = n * 10 + (*p++ - '0');
		l->p = p;
		if (n < 1 || n > 30000)
			return lex_bad(l, "there is no such parameter", at);
		t = lex_push(l, DF_TK_PARAM, at);
		if (t == NULL)
			return -ENOMEM;
		t->param = (int)n;
		t->text = "";
		return 0;
	}
	while (p < l->end && (isalnum((unsigned char)*p) || *p == '_'))
		p++;
	if (p >= l->end || *p != '$')
		return lex_bad(l, "syntax error", at);
	tag = (size_t)(p + 1 - l->p);
	body = p + 1;
	q = memmem(body, (size_t)(l->end - body), l->p, tag);
	if (q == NULL)
		return lex_bad(l, "unterminated dollar-quoted string", at);
	l->p = q + tag;
	return lex_text(l, DF_TK_STRING, at, body, (size_t)(q - body));
}

static int lex_number(struct lex *l, const char *at)
{
	while (l->p < l->end && isdigit((unsigned char)*l->p))
		l->p++;
	if (l->p < l->end && *l->p == '.') {
		l->p++;
		while (l->p < l->end && isdigit((unsigned char)*l->p))
			l->p++;
	}
	if (l->p < l->end && (*l->p | 32) == 'e') {
		const char *q = l->p + 1;

		if (q < l->end && (*q == '+' || *q == '-'))
			q++;
		if (q < l->end && isdigit((unsigned char)*q)) {
			while (q < l->end && isdigit((unsigned char)*q))
				q++;
			l->p = q;
		}
	}
	if (l->p < l->end && (isalpha((unsigned char)*l->p) || *l->p == '_'))
		return lex_bad(l, "trailing junk after numeric literal", at);
	return lex_text(l, DF_TK_NUMBER, at, at, (size_t)(l->p - at));
}

static int lex_word(struct lex *l, const char *at)
{
	struct df_token *t;
	char *w;

	while (l->p < l->end &&
	       (isalnum((unsigned char)*l->p) || *l->p == '_' || *l->p == '$' ||
		(unsigned char)*l->p >= 0x80))
		l->p++;
	if (l->p - at > 255)
		return lex_bad(l, "identifier too long", at);
	t = lex_push(l, DF_TK_WORD, at);
	if (t == NULL)
		return -ENOMEM;
	w = df_arena_strn(l->arena, at, t->at_len);
	if (w == NULL)
		return -ENOMEM;
	t->text = w;
	t->len = t->at_len;
	for (; *w != '\0'; w++)
		*w = (char)(*w >= 'A' && *w <= 'Z' ? *w | 32 : *w);
	return 0;
}

static int lex_op(struct lex *l, const char *at)
{
	/* Longest first.  Operators that we refuse are here as well, so that
	 * the message names them whole. */
	static const char *const ops[] = {
		"!~~*", "->>", "<#>", "<->", "<=>", "#>>", "!~~", "~~*", "!~*",
		"::",   "<=",  ">=",  "<>",  "!=",  "||",  "->",  "#>",  "@>",
		"<@",   "~~",  "~*",  "!~",  "&&",  ":=",  "=>",  "..",
	};
	size_t i, left = (size_t)(l->end - l->p), n = 1;

	for (i = 0; i < DF_ARRAY_LEN(ops); i++) {
		n = strlen(ops[i]);
		if (left >= n && memcmp(l->p, ops[i], n) == 0)
			break;
	}
	if (i == DF_ARRAY_LEN(ops)) {
		n = 1;
		if (*l->p == '\0' ||
		    strchr("+-*/%^<>=~!@#&|?,.;:()[]", *l->p) == NULL)
			return lex_bad(l, "syntax error", at);
	}
	l->p += n;
	return lex_text(l, DF_TK_OP, at, at, n);
}

static int lex_one(struct lex *l)
{
	const char *at = l->p;
	char c = *at, next = l->end - at >= 2 ? at[1] : '\0';

	if (c == '\'') {
		l->p++;
		return lex_quoted(l, at, '\'', DF_TK_STRING);
	}
	if (c == '"') {
		l->p++;
		return lex_quoted(l, at, '"', DF_TK_QUOTED);
	}
	if ((c == 'e' || c == 'E') && next == '\'') {
		l->p += 2;
		return lex_estring(l, at);
	}
	if (c == '$')
		return lex_dollar(l, at);
	if (isdigit((unsigned char)c) ||
	    (c == '.' && isdigit((unsigned char)next)))
		return lex_number(l, at);
	if (isalpha((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80)
		return lex_word(l, at);
	return lex_op(l, at);
}

int df_lex(const char *sql, size_t len, struct df_arena *a,
	   struct df_lexed *out)
{
	struct lex l = { sql, sql + len, a, out, 0 };
	struct df_token *t;
	int err;

	*out = (struct df_lexed){ .n = 0 };
	if (memchr(sql, '\0', len) != NULL) {
		(void)snprintf(out->err, sizeof(out->err),
			       "invalid byte "
			       "sequence for encoding \"UTF8\": 0x00");
		return -EINVAL;
	}
	for (;;) {
		err = lex_skip(&l);
		if (err < 0)
			return err;
		if (l.p >= l.end)
			break;
		err = lex_one(&l);
		if (err < 0)
			return err;
	}
	t = lex_push(&l, DF_TK_END, l.end);
	if (t == NULL)
		return -ENOMEM;
	t->text = "";
	return 0;
}
