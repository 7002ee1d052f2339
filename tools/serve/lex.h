/*
 * lex.h - PostgreSQL's SQL cut into tokens.
 *
 * Strings are standard-conforming (a backslash is a backslash); E'...' is
 * decoded here, so are $tag$...$tag$ and doubled quotes.  Unquoted identifiers
 * are folded to lower case.
 */
#ifndef DF_SERVE_LEX_H
#define DF_SERVE_LEX_H

#include <stddef.h>

#include "tools/serve/arena.h"

enum df_token_kind {
	DF_TK_END = 0,
	DF_TK_WORD,   /* unquoted: keyword or identifier; text is lower case */
	DF_TK_QUOTED, /* "identifier" */
	DF_TK_STRING,
	DF_TK_NUMBER,
	DF_TK_PARAM, /* $n; number in `param` */
	DF_TK_OP,    /* operator or punctuation */
};

struct df_token {
	enum df_token_kind kind;
	int param;
	const char *at; /* in the source, for error messages */
	size_t at_len;
	const char *text; /* decoded, NUL after it */
	size_t len;
};

struct df_lexed {
	struct df_token *token; /* in the arena; the last is END */
	size_t n;
	char err[160]; /* PostgreSQL's message */
};

/* 0, -EINVAL with out->err, or -ENOMEM. */
int df_lex(const char *sql, size_t len, struct df_arena *a,
	   struct df_lexed *out);

#endif
