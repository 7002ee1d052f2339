/*
 * pgrewrite.c - a statement on its way to PostgreSQL: the same text but for
 * what a stock server does not know, and only statements that belong in a
 * workspace.
 *
 *	USING deeplake               left out
 *	information_schema.x         deeplake_info.x
 *	[pg_catalog.]pg_indexes      deeplake_info.pg_indexes
 *	workspace.x                  schema.x, where the names differ
 *	EMBEDDING(n)                 float4[]
 *	size, substr(data, n, m) AS  of a pack: the same on bytes
 *
 * USING deeplake and EMBEDDING only with the stand-in for the vendor's extension.
 */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "tools/serve/lex.h"
#include "tools/serve/pg.h"

struct rewrite {
	const struct df_stmt *in;
	const char *schema;
	bool stand_in;
	struct df_arena *arena;
	struct pg_text *out;
	struct df_sql_error *e;
	struct df_lexed lexed;
	struct df_buf text;
};

static bool word(const struct rewrite *r, size_t i, const char *w)
{
	return i < r->lexed.n && r->lexed.token[i].kind == DF_TK_WORD &&
	       strcmp(r->lexed.token[i].text, w) == 0;
}

static bool op(const struct rewrite *r, size_t i, const char *w)
{
	return i < r->lexed.n && r->lexed.token[i].kind == DF_TK_OP &&
	       strcmp(r->lexed.token[i].text, w) == 0;
}

static bool any_word(const struct rewrite *r, size_t i, const char *const *w)
{
	for (; *w != NULL; w++)
		if (word(r, i, *w))
			return true;
	return false;
}

/* The name after token i, the last part of a qualified one. */
static void take_table(struct rewrite *r, size_t i)
{
	const struct df_token *t;

	while (i + 2 < r->lexed.n && op(r, i + 1, "."))
		i += 2;
	if (i >= r->lexed.n)
		return;
	t = &r->lexed.token[i];
	if (t->kind == DF_TK_WORD || t->kind == DF_TK_QUOTED)
		(void)snprintf(r->out->table, sizeof(r->out->table), "%s",
			       t->text);
}

static size_t skip_exists(const struct rewrite *r, size_t i)
{
	if (!word(r, i, "if"))
		return i;
	i++;
	if (word(r, i, "not"))
		i++;
	return word(r, i, "exists") ? i + 1 : i;
}

static int refuse(struct rewrite *r, size_t i)
{
	static const char *const known[] = {
		"copy",         "set",        "show",       "grant",
		"revoke",       "vacuum",     "analyze",    "do",
		"call",         "listen",     "notify",     "unlisten",
		"prepare",      "execute",    "deallocate", "comment",
		"lock",         "merge",      "refresh",    "reindex",
		"cluster",      "reset",      "discard",    "declare",
		"fetch",        "move",       "close",      "security",
		"import",       "checkpoint", "load",       "begin",
		"commit",       "rollback",   "start",      "savepoint",
		"release",      "end",        "abort",      "create",
		"alter",        "drop",       "function",   "procedure",
		"role",         "user",       "trigger",    "rule",
		"server",       "database",   "type",       "domain",
		"operator",     "aggregate",  "cast",       "event",
		"foreign",      "language",   "policy",     "publication",
		"subscription", "temp",       "temporary",  "unlogged",
		"global",       "local",      "tablespace", "sequence",
		"or",           "constraint", "system",     "owned",
		"group",        NULL
	};
	const struct df_token *t = &r->lexed.token[i];

	if (any_word(r, i, known))
		df_sql_error_set(r->e, 400, "%s is not supported over this API",
				 t->text);
	else if (t->kind == DF_TK_END)
		df_sql_error_set(r->e, 400, "empty statement");
	else
		df_sql_error_set(r->e, 400, "syntax error at or near \"%.*s\"",
				 (int)DF_MIN(t->at_len, (size_t)60), t->at);
	return -EINVAL;
}

static int kind_create(struct rewrite *r, size_t i)
{
	if (word(r, i, "table")) {
		r->out->kind = DF_SQL_CREATE_TABLE;
		take_table(r, skip_exists(r, i + 1));
		return 0;
	}
	if (word(r, i, "unique") && word(r, i + 1, "index"))
		i++;
	if (word(r, i, "index")) {
		size_t k;

		r->out->kind = DF_SQL_CREATE_INDEX;
		for (k = i; k < r->lexed.n; k++) {
			if (word(r, k, "on") && r->out->table[0] == '\0')
				take_table(r, k + 1);
			r->out->deeplake_index |=
				r->stand_in && word(r, k, "using") &&
				word(r, k + 1, "deeplake_index");
		}
		return 0;
	}
	if (word(r, i, "schema") || word(r, i, "extension")) {
		bool schema = word(r, i, "schema");

		i = skip_exists(r, i + 1);
		r->out->kind = DF_SQL_NOOP;
		r->out->noop = true;
		if (schema &&
		    strcmp(r->lexed.token[i].text, r->in->workspace) != 0) {
			df_sql_error_set(r->e, 403,
					 "permission denied: a "
					 "schema is a workspace, made by POST "
					 "/workspaces");
			return -EINVAL;
		}
		return 0;
	}
	if (word(r, i, "or") && word(r, i + 1, "replace"))
		i += 2;
	if (word(r, i, "view") ||
	    (word(r, i, "materialized") && word(r, i + 1, "view"))) {
		r->out->kind = DF_SQL_CREATE_TABLE;
		r->out->view = true;
		return 0;
	}
	return refuse(r, i);
}

static int kind_other(struct rewrite *r, size_t i)
{
	static const char *const altered[] = { "table", "index", "view", NULL };
	static const char *const dropped[] = { "table", "index", "view",
					       "materialized", NULL };

	if (word(r, i, "create"))
		return kind_create(r, i + 1);
	if (word(r, i, "alter") && any_word(r, i + 1, altered)) {
		r->out->kind = DF_SQL_ADD_COLUMN;
		take_table(r, skip_exists(r, i + 2));
		return 0;
	}
	if (word(r, i, "drop") && any_word(r, i + 1, dropped)) {
		r->out->drop_index = word(r, i + 1, "index");
		r->out->kind = r->out->drop_index ? DF_SQL_DROP_INDEX
						  : DF_SQL_DROP_TABLE;
		take_table(r, skip_exists(r, i + 2));
		return 0;
	}
	if (word(r, i, "truncate")) {
		r->out->kind = DF_SQL_DELETE;
		take_table(r, word(r, i + 1, "table") ? i + 2 : i + 1);
		return 0;
	}
	return refuse(r, i);
}

static int statement_kind(struct rewrite *r)
{
	static const char *const reads[] = { "select", "values", "explain",
					     "table", NULL };
	size_t i = 0, k;

	while (op(r, i, "("))
		i++;
	r->out->kind = DF_SQL_SELECT;
	if (word(r, i, "with")) {
		/* WITH ... INSERT and the like: the first such verb counts */
		for (k = i; k < r->lexed.n; k++)
			if (word(r, k, "insert") || word(r, k, "update") ||
			    word(r, k, "delete"))
				r->out->kind = DF_SQL_UPDATE;
	} else if (word(r, i, "insert") && word(r, i + 1, "into")) {
		r->out->kind = DF_SQL_INSERT;
		take_table(r, i + 2);
	} else if (word(r, i, "update")) {
		r->out->kind = DF_SQL_UPDATE;
		take_table(r, word(r, i + 1, "only") ? i + 2 : i + 1);
	} else if (word(r, i, "delete")) {
		r->out->kind = DF_SQL_DELETE;
		take_table(r, i + 2);
	} else if (any_word(r, i, reads)) {
		for (k = i; k < r->lexed.n && r->out->table[0] == '\0'; k++)
			if (word(r, k, "from"))
				take_table(r, k + 1);
	} else {
		return kind_other(r, i);
	}
	return 0;
}

/* Names of catalogues that have a view of their own here. */
static size_t replaced_catalog(struct rewrite *r, size_t i)
{
	if (word(r, i, "information_schema") && op(r, i + 1, ".")) {
		df_buf_put_str(&r->text, "deeplake_info");
		return 1;
	}
	if (word(r, i, "pg_catalog") && op(r, i + 1, ".") &&
	    word(r, i + 2, "pg_indexes")) {
		df_buf_put_str(&r->text, "deeplake_info.pg_indexes");
		return 3;
	}
	if (word(r, i, "pg_indexes") && !op(r, i + 1, ".")) {
		df_buf_put_str(&r->text, "deeplake_info.pg_indexes");
		return 1;
	}
	return 0;
}

/* A pack is base64 of `size` bytes, so its characters are bytes; PostgreSQL does
 * not know that and would walk through all that are before the range.  (What is
 * no base64 has another length, which costs nothing to ask.)  A bytea column
 * would be quicker still, but this one is text for all who read it. */
static size_t replaced_range(struct rewrite *r, size_t i)
{
	const struct df_token *t = &r->lexed.token[i];

	if (r->out->kind != DF_SQL_SELECT || !pg_is_pack(r->out->table) ||
	    i < 2 || !word(r, i - 2, "size") || !op(r, i - 1, ",") ||
	    !word(r, i, "substr") || !op(r, i + 1, "(") ||
	    !word(r, i + 2, "data") || !op(r, i + 3, ",") ||
	    i + 8 >= r->lexed.n || t[4].kind != DF_TK_NUMBER ||
	    !op(r, i + 5, ",") || t[6].kind != DF_TK_NUMBER ||
	    !op(r, i + 7, ")") || !word(r, i + 8, "as"))
		return 0;
	df_buf_printf(&r->text,
		      "CASE WHEN octet_length(data) = (size + 2) / 3 * 4 THEN "
		      "encode(substr(convert_to(data, 'UTF8'), %.*s, %.*s), "
		      "'escape') ELSE substr(data, %.*s, %.*s) END",
		      (int)t[4].at_len, t[4].at, (int)t[6].at_len, t[6].at,
		      (int)t[4].at_len, t[4].at, (int)t[6].at_len, t[6].at);
	return 8;
}

/* Tokens from i that are written otherwise: how many, with the new text put;
 * 0 = write token i as it is. */
static size_t replaced(struct rewrite *r, size_t i)
{
	const struct df_token *t = &r->lexed.token[i];
	bool name = t->kind == DF_TK_WORD || t->kind == DF_TK_QUOTED;
	bool first = i == 0 || !op(r, i - 1, ".");

	if (r->stand_in && word(r, i, "using") && word(r, i + 1, "deeplake") &&
	    r->out->kind == DF_SQL_CREATE_TABLE)
		return 2;
	if (first) {
		size_t n = replaced_catalog(r, i);

		n = n > 0 ? n : replaced_range(r, i);
		if (n > 0)
			return n;
	}
	if (r->stand_in && word(r, i, "embedding") && op(r, i + 1, "(") &&
	    r->lexed.token[i + 2].kind == DF_TK_NUMBER && op(r, i + 3, ")")) {
		df_buf_put_str(&r->text, "float4[]");
		return 4;
	}
	if (first && name && op(r, i + 1, ".") &&
	    strcmp(t->text, r->in->workspace) == 0 &&
	    strcmp(t->text, r->schema) != 0) {
		df_buf_printf(&r->text, "\"%s\"", r->schema);
		return 1;
	}
	return 0;
}

static int check_end(struct rewrite *r)
{
	size_t i;

	for (i = 0; i < r->lexed.n; i++) {
		if (!op(r, i, ";"))
			continue;
		while (op(r, i, ";"))
			i++;
		if (r->lexed.token[i].kind == DF_TK_END)
			return 0;
		df_sql_error_set(r->e, 400,
				 "cannot insert multiple commands "
				 "into a prepared statement: send one "
				 "statement a request");
		return -EINVAL;
	}
	return 0;
}

static int write_text(struct rewrite *r)
{
	const char *from = r->in->text;
	size_t i = 0;

	while (r->lexed.token[i].kind != DF_TK_END) {
		const struct df_token *t = &r->lexed.token[i];
		size_t n;

		/* blanks and comments before the token stay */
		df_buf_put(&r->text, from, (size_t)(t->at - from));
		n = replaced(r, i);
		if (n == 0) {
			df_buf_put(&r->text, t->at, t->at_len);
			n = 1;
		}
		t = &r->lexed.token[i + n - 1];
		from = t->at + t->at_len;
		i += n;
	}
	r->out->text = df_arena_str(r->arena, df_buf_cstr(&r->text));
	return r->text.err != 0 || r->out->text == NULL ? -ENOMEM : 0;
}

int pg_rewrite(const struct df_stmt *in, const char *schema, bool stand_in,
	       struct df_arena *a, struct pg_text *out, struct df_sql_error *e)
{
	struct rewrite r = { .in = in,
			     .schema = schema,
			     .stand_in = stand_in,
			     .arena = a,
			     .out = out,
			     .e = e };
	int err;

	*out = (struct pg_text){ .kind = DF_SQL_UNKNOWN };
	err = df_lex(in->text, in->len, a, &r.lexed);
	if (err < 0) {
		df_sql_error_set(e, 400, "%s",
				 err == -EINVAL ? r.lexed.err
						: "statement is too large");
		return -EINVAL;
	}
	df_buf_init(&r.text, 0);
	err = check_end(&r);
	if (err == 0)
		err = statement_kind(&r);
	if (err == 0)
		err = write_text(&r);
	if (err == -ENOMEM)
		df_sql_error_set(e, 503, "out of memory");
	df_buf_release(&r.text);
	return err < 0 ? -EINVAL : 0;
}
