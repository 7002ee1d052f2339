/* ddlparse.c - CREATE, DROP and ALTER; see sqltree.h. */
#include <stdio.h>
#include <string.h>

#include "tools/serve/sqltree.h"

static void ddl_not_exists(struct sql_ctx *c, struct stmt *s)
{
	if (!parse_take(c, "if"))
		return;
	parse_want(c, "not");
	parse_want(c, "exists");
	s->if_exists = true;
}

static void ddl_exists(struct sql_ctx *c, struct stmt *s)
{
	if (!parse_take(c, "if"))
		return;
	parse_want(c, "exists");
	s->if_exists = true;
}

static void coldef_refuse(struct sql_ctx *c)
{
	sql_fail(c, 400,
		 "%s constraints are not supported on the SQLite "
		 "store: use a server with the PostgreSQL store",
		 c->tok->text);
}

static void coldef_constraints(struct sql_ctx *c, struct coldef *d)
{
	for (;;) {
		if (parse_take(c, "not")) {
			parse_want(c, "null");
			d->not_null = true;
		} else if (parse_take(c, "null")) {
			continue;
		} else if (parse_take(c, "default")) {
			d->default_ex = parse_ex(c);
		} else if (parse_take(c, "primary")) {
			parse_want(c, "key");
			d->primary = d->not_null = true;
		} else if (parse_take(c, "unique")) {
			d->unique = true;
		} else if (parse_take(c, "constraint")) {
			(void)parse_label(c);
		} else if (parse_is(c, "references") || parse_is(c, "check") ||
			   parse_is(c, "generated")) {
			coldef_refuse(c);
		} else {
			return;
		}
	}
}

/* DEFAULT's expression swallows NOT NULL only if it could be an operator;
 * "DEFAULT '' NOT NULL" is read by parse_ex as '' and stops at NOT. */
static struct coldef *ddl_coldef(struct sql_ctx *c)
{
	struct coldef *d = sql_alloc(c, sizeof(*d));

	d->tok = c->tok;
	d->name = parse_label(c);
	d->type = parse_type(c, &d->type_text, &d->serial);
	coldef_constraints(c, d);
	return d;
}

static bool ddl_key(struct sql_ctx *c, struct stmt *s)
{
	struct keydef *k, **tail = &s->keys;
	size_t n;

	if (c->tok->kind != DF_TK_WORD)
		return false;
	if (parse_is(c, "constraint")) {
		c->tok++;
		(void)parse_label(c);
	}
	if (parse_is(c, "foreign") || parse_is(c, "check") ||
	    parse_is(c, "exclude"))
		coldef_refuse(c);
	if (!parse_is(c, "primary") && !parse_is(c, "unique"))
		return false;
	k = sql_alloc(c, sizeof(*k));
	k->primary = parse_is(c, "primary");
	c->tok++;
	if (k->primary)
		parse_want(c, "key");
	k->cols = parse_names(c, &n);
	while (*tail != NULL)
		tail = &(*tail)->next;
	*tail = k;
	return true;
}

static void ddl_table(struct sql_ctx *c, struct stmt *s)
{
	struct coldef **tail = &s->coldefs;

	s->kind = DF_SQL_CREATE_TABLE;
	ddl_not_exists(c, s);
	s->name = parse_table(c, &s->name_tok, &s->schema);
	if (parse_is(c, "as"))
		sql_fail(c, 400,
			 "CREATE TABLE AS is not supported on the "
			 "SQLite store: create it, then INSERT ... SELECT");
	parse_want_op(c, "(");
	if (!parse_is_op(c, ")")) {
		do {
			if (ddl_key(c, s))
				continue;
			*tail = ddl_coldef(c);
			tail = &(*tail)->next;
		} while (parse_take_op(c, ","));
	}
	parse_want_op(c, ")");
	if (parse_take(c, "using")) {
		const char *method = parse_label(c);

		if (strcmp(method, "deeplake") != 0 &&
		    strcmp(method, "heap") != 0)
			sql_fail(c, 400, "access method \"%s\" does not exist",
				 method);
	}
}

/* WITH (index_type = 'bm25', dimension = 4): as pg_indexes shows it. */
static void index_options(struct sql_ctx *c, struct stmt *s)
{
	char text[256] = "";
	size_t n = 0;

	parse_want_op(c, "(");
	do {
		const char *key = parse_label(c), *value;

		parse_want_op(c, "=");
		value = c->tok->text;
		if (c->tok->kind == DF_TK_END || c->tok->kind == DF_TK_OP)
			sql_fail_at(c, c->tok);
		c->tok++;
		if (strcmp(key, "index_type") == 0)
			s->index_type = value;
		if (n + strlen(key) + strlen(value) + 4 > sizeof(text))
			sql_fail(c, 400, "index options are too long");
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%s",
				      n > 0 ? ", " : "", key, value);
	} while (parse_take_op(c, ","));
	parse_want_op(c, ")");
	s->index_options = df_arena_str(c->arena, text);
}

static void index_columns(struct sql_ctx *c, struct stmt *s)
{
	const char **cols = sql_alloc(c, 33 * sizeof(*cols));
	bool *desc = sql_alloc(c, 33 * sizeof(*desc));
	size_t n = 0;

	parse_want_op(c, "(");
	do {
		if (n == 32)
			sql_fail(c, 400,
				 "cannot use more than 32 columns in "
				 "an index");
		if (parse_is_op(c, "("))
			sql_fail(c, 400,
				 "an index over an expression is not "
				 "supported on the SQLite store");
		cols[n] = parse_label(c);
		if (parse_is_op(c, "("))
			sql_fail(c, 400,
				 "an index over an expression is not "
				 "supported on the SQLite store");
		if (c->tok->kind == DF_TK_WORD && !parse_is(c, "asc") &&
		    !parse_is(c, "desc") && !parse_is(c, "nulls"))
			c->tok++; /* operator class: text_pattern_ops */
		desc[n] = parse_take(c, "desc");
		if (!desc[n])
			(void)parse_take(c, "asc");
		if (parse_take(c, "nulls"))
			c->tok++;
		n++;
	} while (parse_take_op(c, ","));
	parse_want_op(c, ")");
	s->index_cols = cols;
	s->index_desc = desc;
}

static void ddl_index(struct sql_ctx *c, struct stmt *s)
{
	const char *schema;

	s->kind = DF_SQL_CREATE_INDEX;
	(void)parse_take(c, "concurrently");
	ddl_not_exists(c, s);
	if (!parse_is(c, "on"))
		s->name = parse_table(c, &s->name_tok, &schema);
	parse_want(c, "on");
	s->table = parse_table(c, &s->table_tok, &s->schema);
	s->method = "btree";
	if (parse_take(c, "using"))
		s->method = parse_label(c);
	index_columns(c, s);
	if (parse_take(c, "with"))
		index_options(c, s);
	if (parse_is(c, "where"))
		sql_fail(c, 400,
			 "a partial index is not supported on the "
			 "SQLite store");
}

static void ddl_drop(struct sql_ctx *c, struct stmt *s)
{
	const struct df_token *tok;
	size_t n = 0;

	if (parse_take(c, "table"))
		s->kind = DF_SQL_DROP_TABLE;
	else if (parse_take(c, "index"))
		s->kind = DF_SQL_DROP_INDEX;
	else
		sql_fail(c, 400,
			 "DROP %s is not supported on the SQLite "
			 "store: use a server with the PostgreSQL store",
			 c->tok->text);
	(void)parse_take(c, "concurrently");
	ddl_exists(c, s);
	s->names = sql_alloc(c, 65 * sizeof(*s->names));
	do {
		if (n == 64)
			sql_fail(c, 400,
				 "too many names in one DROP "
				 "(most: 64)");
		s->names[n++] = parse_table(c, &tok, &s->schema);
	} while (parse_take_op(c, ","));
	if (!parse_take(c, "cascade"))
		(void)parse_take(c, "restrict");
}

static void ddl_alter(struct sql_ctx *c, struct stmt *s)
{
	parse_want(c, "table");
	ddl_exists(c, s);
	(void)parse_take(c, "only");
	s->kind = DF_SQL_ADD_COLUMN;
	s->explain = s->if_exists; /* ALTER TABLE IF EXISTS */
	s->if_exists = false;
	s->name = parse_table(c, &s->name_tok, &s->schema);
	if (!parse_take(c, "add"))
		sql_fail(c, 400,
			 "ALTER TABLE ... %s is not supported on the "
			 "SQLite store (ADD COLUMN is)",
			 c->tok->text);
	if (parse_is(c, "constraint") || parse_is(c, "primary") ||
	    parse_is(c, "unique") || parse_is(c, "foreign"))
		sql_fail(c, 400,
			 "ALTER TABLE ADD CONSTRAINT is not supported "
			 "on the SQLite store");
	(void)parse_take(c, "column");
	ddl_not_exists(c, s);
	s->coldefs = ddl_coldef(c);
	if (parse_is_op(c, ","))
		sql_fail(c, 400, "one column an ALTER TABLE, please");
}

void parse_ddl(struct sql_ctx *c, struct stmt *s)
{
	if (parse_take(c, "drop")) {
		ddl_drop(c, s);
		return;
	}
	if (parse_take(c, "alter")) {
		ddl_alter(c, s);
		return;
	}
	parse_want(c, "create");
	if (parse_take(c, "table")) {
		ddl_table(c, s);
	} else if (parse_take(c, "index")) {
		ddl_index(c, s);
	} else if (parse_take(c, "unique")) {
		parse_want(c, "index");
		s->unique = true;
		ddl_index(c, s);
	} else if (parse_take(c, "schema")) {
		s->kind = DF_SQL_NOOP;
		ddl_not_exists(c, s);
		s->name_tok = c->tok;
		s->schema = parse_label(c);
	} else if (parse_take(c, "extension")) {
		s->kind = DF_SQL_NOOP;
		ddl_not_exists(c, s);
		(void)parse_label(c);
	} else {
		sql_fail(c, 400,
			 "CREATE %s is not supported on the SQLite "
			 "store: use a server with the PostgreSQL store",
			 c->tok->text);
	}
}
