/* stmt.c - INSERT, UPDATE, DELETE and which statement it is; see sqltree.h. */
#include <string.h>

#include "tools/serve/sqltree.h"

static void stmt_target(struct sql_ctx *c, struct stmt *s)
{
	s->name = parse_table(c, &s->name_tok, &s->schema);
	s->alias = s->name;
	if (parse_take(c, "as"))
		s->alias = parse_label(c);
	else if (parse_at_name(c) && !parse_is(c, "set"))
		s->alias = parse_name(c);
}

static struct assign *stmt_sets(struct sql_ctx *c)
{
	struct assign *first = NULL, **tail = &first;

	do {
		struct assign *a = sql_alloc(c, sizeof(*a));

		if (parse_is_op(c, "("))
			sql_fail(c, 400,
				 "SET (a, b) = ... is not supported: "
				 "assign the columns one by one");
		a->tok = c->tok;
		a->name = parse_label(c);
		parse_want_op(c, "=");
		a->ex = parse_ex(c);
		*tail = a;
		tail = &a->next;
	} while (parse_take_op(c, ","));
	return first;
}

static void stmt_returning(struct sql_ctx *c, struct stmt *s)
{
	if (!parse_take(c, "returning"))
		return;
	s->has_returning = true;
	s->returning = parse_items(c);
}

static void stmt_conflict(struct sql_ctx *c, struct stmt *s)
{
	size_t n;

	if (!parse_take(c, "on"))
		return;
	parse_want(c, "conflict");
	s->conflict = true;
	if (parse_is_op(c, "("))
		s->conflict_cols = parse_names(c, &n);
	else if (parse_is(c, "on"))
		sql_fail(c, 400,
			 "ON CONFLICT ON CONSTRAINT is not supported: "
			 "name the columns");
	parse_want(c, "do");
	if (parse_take(c, "nothing"))
		return;
	parse_want(c, "update");
	parse_want(c, "set");
	if (s->conflict_cols == NULL)
		sql_fail(c, 400,
			 "ON CONFLICT DO UPDATE requires inference "
			 "specification or constraint name");
	s->conflict_update = true;
	s->conflict_set = stmt_sets(c);
	if (parse_take(c, "where"))
		s->conflict_where = parse_ex(c);
}

static void stmt_insert(struct sql_ctx *c, struct stmt *s)
{
	struct assign **tail = &s->cols;

	s->kind = DF_SQL_INSERT;
	parse_want(c, "into");
	s->name = parse_table(c, &s->name_tok, &s->schema);
	s->alias = s->name;
	if (parse_take(c, "as"))
		s->alias = parse_label(c);
	if (parse_is_op(c, "(") && !(c->tok[1].kind == DF_TK_WORD &&
				     strcmp(c->tok[1].text, "select") == 0)) {
		parse_want_op(c, "(");
		do {
			struct assign *a = sql_alloc(c, sizeof(*a));

			a->tok = c->tok;
			a->name = parse_label(c);
			*tail = a;
			tail = &a->next;
		} while (parse_take_op(c, ","));
		parse_want_op(c, ")");
	}
	if (parse_is(c, "overriding"))
		sql_fail_at(c, c->tok);
	if (parse_take(c, "default"))
		parse_want(c, "values");
	else if (parse_at_query(c))
		s->query = parse_query(c);
	else
		sql_fail_at(c, c->tok);
	stmt_conflict(c, s);
	stmt_returning(c, s);
}

static void stmt_update(struct sql_ctx *c, struct stmt *s)
{
	s->kind = DF_SQL_UPDATE;
	(void)parse_take(c, "only");
	stmt_target(c, s);
	parse_want(c, "set");
	s->cols = stmt_sets(c);
	if (parse_is(c, "from"))
		sql_fail(c, 400,
			 "UPDATE ... FROM is not supported on the "
			 "SQLite store: use a subquery in SET or WHERE");
	if (parse_take(c, "where"))
		s->where = parse_ex(c);
	stmt_returning(c, s);
}

static void stmt_delete(struct sql_ctx *c, struct stmt *s)
{
	s->kind = DF_SQL_DELETE;
	parse_want(c, "from");
	(void)parse_take(c, "only");
	stmt_target(c, s);
	if (parse_is(c, "using"))
		sql_fail(c, 400,
			 "DELETE ... USING is not supported on the "
			 "SQLite store: use a subquery in WHERE");
	if (parse_take(c, "where"))
		s->where = parse_ex(c);
	stmt_returning(c, s);
}

static void stmt_other(struct sql_ctx *c)
{
	static const char *const transaction[] = { "begin",     "commit",
						   "rollback",  "start",
						   "savepoint", "end",
						   "abort",     NULL };
	static const char *const store[] = {
		"copy",     "set",     "show",    "grant",    "revoke",
		"vacuum",   "analyze", "explain", "truncate", "do",
		"call",     "listen",  "notify",  "prepare",  "execute",
		"comment",  "lock",    "merge",   "refresh",  "reindex",
		"cluster",  "reset",   "discard", "declare",  "fetch",
		"security", "import",  NULL
	};
	size_t i;

	for (i = 0; transaction[i] != NULL; i++)
		if (parse_is(c, transaction[i]))
			sql_fail(c, 400,
				 "transactions across statements are "
				 "not supported: each request is one "
				 "transaction (use tables/query/batch for many "
				 "rows)");
	for (i = 0; store[i] != NULL; i++)
		if (parse_is(c, store[i]))
			sql_fail(
				c, 400,
				"%s is not supported on the SQLite "
				"store: use a server with the PostgreSQL store",
				c->tok->text);
	sql_fail_at(c, c->tok);
}

void parse_stmt(struct sql_ctx *c, struct stmt *s)
{
	s->verb = c->tok;
	if (parse_at_query(c)) {
		s->kind = DF_SQL_SELECT;
		s->query = parse_query(c);
	} else if (parse_take(c, "insert")) {
		stmt_insert(c, s);
	} else if (parse_take(c, "update")) {
		stmt_update(c, s);
	} else if (parse_take(c, "delete")) {
		stmt_delete(c, s);
	} else if (parse_is(c, "create") || parse_is(c, "drop") ||
		   parse_is(c, "alter")) {
		parse_ddl(c, s);
	} else {
		stmt_other(c);
	}
	if (parse_is_op(c, ";")) {
		while (parse_take_op(c, ";"))
			;
		if (c->tok->kind != DF_TK_END)
			sql_fail(c, 400,
				 "cannot insert multiple commands into "
				 "a prepared statement: send one statement a "
				 "request");
	}
	if (c->tok->kind != DF_TK_END)
		sql_fail_at(c, c->tok);
}
