/* resolve.c - names and types of queries; see sqltree.h. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "tools/serve/sqltree.h"

/* Relations that every workspace has; views of the store (litedb.c). */
static struct df_col cols_columns[] = {
	{ .name = "table_catalog", .type = DF_T_TEXT },
	{ .name = "table_schema", .type = DF_T_TEXT },
	{ .name = "table_name", .type = DF_T_TEXT },
	{ .name = "column_name", .type = DF_T_TEXT },
	{ .name = "ordinal_position", .type = DF_T_INT4 },
	{ .name = "column_default", .type = DF_T_TEXT },
	{ .name = "is_nullable", .type = DF_T_TEXT },
	{ .name = "data_type", .type = DF_T_TEXT },
	{ .name = "udt_name", .type = DF_T_TEXT },
};
static struct df_col cols_tables[] = {
	{ .name = "table_catalog", .type = DF_T_TEXT },
	{ .name = "table_schema", .type = DF_T_TEXT },
	{ .name = "table_name", .type = DF_T_TEXT },
	{ .name = "table_type", .type = DF_T_TEXT },
};
static struct df_col cols_indexes[] = {
	{ .name = "schemaname", .type = DF_T_TEXT },
	{ .name = "tablename", .type = DF_T_TEXT },
	{ .name = "indexname", .type = DF_T_TEXT },
	{ .name = "tablespace", .type = DF_T_TEXT },
	{ .name = "indexdef", .type = DF_T_TEXT },
};
static const struct {
	const char *schema, *name, *source, *name_column;
	struct df_col *col;
	size_t n_cols;
} system_rels[] = {
	{ "information_schema", "columns", "dl_columns_view", "table_name",
	  cols_columns, DF_ARRAY_LEN(cols_columns) },
	{ "information_schema", "tables", "dl_tables_view", "table_name",
	  cols_tables, DF_ARRAY_LEN(cols_tables) },
	{ "pg_catalog", "pg_indexes", "dl_indexes_view", "tablename",
	  cols_indexes, DF_ARRAY_LEN(cols_indexes) },
};

/* A token for table T reaches T, T__log and T__pack. */
static bool table_allowed(const struct df_sql_in *in, const char *name)
{
	size_t n;

	if (in->only_table == NULL || strcmp(in->only_table, name) == 0)
		return true;
	n = strlen(in->only_table);
	return strncmp(name, in->only_table, n) == 0 &&
	       (strcmp(name + n, "__log") == 0 ||
		strcmp(name + n, "__pack") == 0);
}

static bool resolve_system(struct sql_ctx *c, struct rel *r, const char *schema)
{
	const char *only = c->in->only_table;
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(system_rels); i++) {
		if (strcmp(system_rels[i].name, r->name) != 0)
			continue;
		if (schema == NULL ? system_rels[i].schema[0] != 'p'
				   : strcmp(schema, system_rels[i].schema) != 0)
			continue;
		r->col = system_rels[i].col;
		r->n_cols = system_rels[i].n_cols;
		r->source = system_rels[i].source;
		if (only != NULL) {
			emit_str(c, "(SELECT * FROM ");
			emit_str(c, r->source);
			emit_str(c, " WHERE ");
			emit_str(c, system_rels[i].name_column);
			emit_str(c, " IN (");
			emit_literal(c, only, strlen(only));
			emit_str(c, ",");
			emit_literal(c, only, strlen(only));
			emit_str(c, "||'__log',");
			emit_literal(c, only, strlen(only));
			emit_str(c, "||'__pack'))");
			r->source = emit_take(c, NULL);
		}
		return true;
	}
	return false;
}

static bool resolve_cte(struct sql_ctx *c, struct rel *r)
{
	struct cte *t;

	for (t = c->ctes; t != NULL; t = t->next) {
		if (strcmp(t->name, r->name) != 0)
			continue;
		emit_ident2(c, "c:", t->name);
		r->source = emit_take(c, NULL);
		r->col = t->query->out;
		r->n_cols = t->query->n_out;
		return true;
	}
	return false;
}

void sql_check_scope(struct sql_ctx *c, const char *name)
{
	if (!table_allowed(c->in, name))
		sql_fail(c, 403,
			 "permission denied for table %s: this token is for "
			 "table %s",
			 name, c->in->only_table);
}

void resolve_table(struct sql_ctx *c, struct rel *r)
{
	const char *schema = r->source;

	r->source = NULL;
	if (schema == NULL && resolve_cte(c, r))
		return;
	if (resolve_system(c, r, schema))
		return;
	if (schema != NULL && strcmp(schema, c->in->catalog->workspace) != 0 &&
	    strcmp(schema, "public") != 0)
		sql_fail(c, 400,
			 "Table does not exist: relation \"%s.%s\" "
			 "does not exist",
			 schema, r->name);
	sql_check_scope(c, r->name);
	r->table = df_catalog_table(c->in->catalog, r->name);
	if (r->table == NULL)
		sql_fail(c, 400,
			 "Table does not exist: relation \"%s\" does "
			 "not exist",
			 r->name);
	r->col = r->table->col;
	r->n_cols = r->table->n_cols;
	if (c->out->table == NULL)
		c->out->table = r->table->name;
	emit_ident2(c, "t:", r->name);
	r->source = emit_take(c, NULL);
}

struct rel *resolve_table_rel(struct sql_ctx *c, const char *name,
			      const char *alias, const struct df_token *tok)
{
	struct rel *r = sql_alloc(c, sizeof(*r));

	r->name = name;
	r->alias = alias;
	r->tok = tok;
	resolve_table(c, r);
	if (r->table == NULL)
		sql_fail(c, 403, "permission denied for table %s", name);
	return r;
}

/* AS t(a, b): other names over the first columns. */
static void rel_rename(struct sql_ctx *c, struct rel *r)
{
	struct df_col *col;
	size_t i;

	if (r->n_col_alias == 0)
		return;
	if (r->n_col_alias > r->n_cols)
		sql_fail(c, 400,
			 "table \"%s\" has %zu columns available but "
			 "%zu columns specified",
			 r->alias, r->n_cols, r->n_col_alias);
	col = sql_alloc(c, r->n_cols * sizeof(*col));
	memcpy(col, r->col, r->n_cols * sizeof(*col));
	for (i = 0; i < r->n_col_alias; i++)
		col[i].name = r->col_alias[i];
	/* the source must have these names as well */
	emit_str(c, "(SELECT ");
	for (i = 0; i < r->n_cols; i++) {
		emit_str(c, i > 0 ? "," : "");
		emit_ident(c, r->col[i].name);
		emit_str(c, " AS ");
		emit_ident(c, col[i].name);
	}
	emit_str(c, " FROM ");
	if (r->sub != NULL) {
		emit_str(c, "(");
		emit_query(c, r->sub);
		emit_str(c, ")");
	} else {
		emit_str(c, r->source);
	}
	emit_str(c, ")");
	r->source = emit_take(c, NULL);
	r->sub = NULL;
	r->col = col;
}

static void resolve_from(struct sql_ctx *c, struct query *q,
			 const struct scope *up, struct scope *s)
{
	struct rel *r, *other;

	for (r = q->from; r != NULL; r = r->next) {
		if (r->sub != NULL) {
			resolve_query(c, r->sub, up);
			r->col = r->sub->out;
			r->n_cols = r->sub->n_out;
		} else {
			resolve_table(c, r);
		}
		rel_rename(c, r);
		for (other = q->from; other != r; other = other->next)
			if (strcmp(other->alias, r->alias) == 0)
				sql_fail(c, 400,
					 "table name \"%s\" specified "
					 "more than once",
					 r->alias);
	}
	s->rels = q->from;
	for (r = q->from; r != NULL; r = r->next)
		if (r->on != NULL)
			r->on = resolve_to(c, resolve_ex(c, r->on, s),
					   DF_T_BOOL);
}

static bool using_has(const struct rel *r, const char *name)
{
	size_t i;

	for (i = 0; r->using != NULL && r->using[i] != NULL; i++)
		if (strcmp(r->using[i], name) == 0)
			return true;
	return false;
}

static struct item **star_expand(struct sql_ctx *c, const struct item *star,
				 const struct scope *s, struct item **tail)
{
	const char *qual = star->ex->qual;
	struct rel *r;
	bool any = false;
	size_t i;

	for (r = s->rels; r != NULL; r = r->next) {
		if (qual != NULL && strcmp(qual, r->alias) != 0)
			continue;
		any = true;
		for (i = 0; i < r->n_cols; i++) {
			struct item *it;

			if (qual == NULL && using_has(r, r->col[i].name))
				continue;
			it = sql_alloc(c, sizeof(*it));
			it->ex = sql_alloc(c, sizeof(*it->ex));
			it->ex->kind = EX_COLUMN;
			it->ex->tok = star->ex->tok;
			it->ex->name = it->out = r->col[i].name;
			it->ex->rel = r;
			it->ex->col = (int)i;
			it->ex->type = r->col[i].type;
			*tail = it;
			tail = &it->next;
		}
	}
	if (!any && qual != NULL)
		sql_fail(c, 400, "missing FROM-clause entry for table \"%s\"",
			 qual);
	if (!any)
		sql_fail(c, 400,
			 "SELECT * with no tables specified is not "
			 "valid");
	return tail;
}

void resolve_items(struct sql_ctx *c, struct item **items,
		   const struct scope *s)
{
	struct item *it = *items, **tail = items;

	while (it != NULL) {
		struct item *next = it->next;

		if (it->ex->kind == EX_STAR) {
			tail = star_expand(c, it, s, tail);
		} else {
			it->out = it->alias != NULL ? it->alias
						    : resolve_out_name(it->ex);
			it->ex = resolve_ex(c, it->ex, s);
			*tail = it;
			tail = &it->next;
		}
		it = next;
	}
	*tail = NULL;
}

static void query_outs(struct sql_ctx *c, struct query *q)
{
	struct item *it;
	size_t n = 0;

	for (it = q->items; it != NULL; it = it->next)
		n++;
	if (n > 1600)
		sql_fail(c, 400, "target lists can have at most 1600 entries");
	q->out = sql_alloc(c, (n + 1) * sizeof(*q->out));
	for (it = q->items; it != NULL; it = it->next) {
		struct df_col *o = &q->out[q->n_out++];

		o->name = it->out;
		o->type = it->ex->type;
	}
}

static struct item *item_by_name(const struct query *q, const char *name)
{
	struct item *it;

	for (it = q->items; it != NULL; it = it->next)
		if (strcmp(it->out, name) == 0)
			return it;
	return NULL;
}

static struct item *item_by_number(struct sql_ctx *c, const struct query *q,
				   int64_t n, const char *clause)
{
	struct item *it = q->items;
	int64_t i;

	for (i = 1; it != NULL && i < n; i++)
		it = it->next;
	if (n < 1 || it == NULL)
		sql_fail(c, 400, "%s position %lld is not in select list",
			 clause, (long long)n);
	return it;
}

static bool scope_has(const struct scope *s, const char *name)
{
	const struct rel *r;
	size_t i;

	for (r = s->rels; r != NULL; r = r->next)
		for (i = 0; i < r->n_cols; i++)
			if (strcmp(r->col[i].name, name) == 0)
				return true;
	return false;
}

static bool is_number(const struct ex *e)
{
	return e->kind == EX_VALUE && e->val.kind == DF_V_INT &&
	       e->type != DF_T_BOOL;
}

/* An input column, else an output name, else an expression. */
static void resolve_group(struct sql_ctx *c, struct query *q,
			  const struct scope *s)
{
	struct ex **at = &q->group;

	while (*at != NULL) {
		struct ex *e = *at, *next = e->next;
		struct item *it = NULL;

		if (is_number(e))
			it = item_by_number(c, q, e->val.i, "GROUP BY");
		else if (e->kind == EX_COLUMN && e->qual == NULL &&
			 !scope_has(s, e->name))
			it = item_by_name(q, e->name);
		if (it != NULL) {
			/* a copy: `next` belongs to one list only */
			e = sql_alloc(c, sizeof(*e));
			*e = *it->ex;
		} else {
			e = resolve_ex(c, e, s);
		}
		*at = e;
		e->next = next;
		at = &e->next;
	}
}

static int ordinal_of(const struct query *q, const char *name)
{
	size_t i;

	for (i = 0; i < q->n_out; i++)
		if (strcmp(q->out[i].name, name) == 0)
			return (int)i + 1;
	return 0;
}

/* An output name, else an input expression. */
static void resolve_order(struct sql_ctx *c, struct query *q,
			  const struct scope *s)
{
	struct order *o;

	for (o = q->order; o != NULL; o = o->next) {
		struct ex *e = o->ex;

		if (is_number(e)) {
			if (e->val.i < 1 || e->val.i > (int64_t)q->n_out)
				sql_fail(c, 400,
					 "ORDER BY position %lld is "
					 "not in select list",
					 (long long)e->val.i);
			o->ordinal = (int)e->val.i;
			continue;
		}
		if (e->kind == EX_COLUMN && e->qual == NULL)
			o->ordinal = ordinal_of(q, e->name);
		if (o->ordinal > 0)
			continue;
		if (s == NULL)
			sql_fail(c, 400,
				 "Column does not exist: column \"%s\" "
				 "does not exist",
				 e->name != NULL ? e->name
						 : "(expression after UNION)");
		o->ex = resolve_ex(c, e, s);
	}
}

static void resolve_limit(struct sql_ctx *c, struct ex **limit,
			  const char *name)
{
	static const struct scope none;
	struct ex *e = *limit;

	if (e == NULL)
		return;
	e = resolve_to(c, resolve_ex(c, e, &none), DF_T_INT8);
	if (e->kind == EX_VALUE && e->val.kind == DF_V_INT && e->val.i < 0)
		sql_fail(c, 400, "%s must not be negative", name);
	*limit = e;
}

static void resolve_select(struct sql_ctx *c, struct query *q,
			   const struct scope *up)
{
	struct scope s = { .up = up };

	resolve_from(c, q, up, &s);
	resolve_items(c, &q->items, &s);
	query_outs(c, q);
	if (q->where != NULL)
		q->where =
			resolve_to(c, resolve_ex(c, q->where, &s), DF_T_BOOL);
	resolve_group(c, q, &s);
	if (q->having != NULL)
		q->having =
			resolve_to(c, resolve_ex(c, q->having, &s), DF_T_BOOL);
	resolve_order(c, q, &s);
}

/* VALUES outside INSERT: column1, column2, ... of the first typed row. */
static void resolve_values(struct sql_ctx *c, struct query *q,
			   const struct scope *up)
{
	struct scope s = { .up = up };
	struct ex *row, **cell;
	size_t i, n = (size_t)q->rows->n_args;

	q->out = sql_alloc(c, (n + 1) * sizeof(*q->out));
	q->n_out = n;
	for (i = 0; i < n; i++)
		q->out[i].name = df_arena_printf(c->arena, "column%zu", i + 1);
	for (row = q->rows; row != NULL; row = row->next) {
		if ((size_t)row->n_args != n)
			sql_fail(c, 400,
				 "VALUES lists must all be the same "
				 "length");
		cell = &row->args;
		for (i = 0; i < n; i++, cell = &(*cell)->next) {
			struct ex *next = (*cell)->next;
			enum df_type t;

			*cell = resolve_ex(c, *cell, &s);
			(*cell)->next = next;
			t = resolve_common(q->out[i].type, (*cell)->type);
			if (t == DF_T_COUNT_)
				sql_fail(c, 400,
					 "VALUES types %s and %s "
					 "cannot be matched",
					 df_type_name(q->out[i].type),
					 df_type_name((*cell)->type));
			q->out[i].type = t;
		}
	}
	resolve_order(c, q, NULL);
}

/* NULL and '' in one branch take the type of the other branch. */
static void branch_to(struct sql_ctx *c, struct query *q, size_t i,
		      enum df_type t)
{
	struct item *it = q->items;

	if (q->kind != Q_SELECT || q->out[i].type == t)
		return;
	while (i-- > 0)
		it = it->next;
	if (it->ex->type == DF_T_UNKNOWN)
		it->ex = resolve_to(c, it->ex, t);
}

static void resolve_setop(struct sql_ctx *c, struct query *q,
			  const struct scope *up)
{
	size_t i;

	resolve_query(c, q->left, up);
	resolve_query(c, q->right, up);
	if (q->left->n_out != q->right->n_out)
		sql_fail(c, 400,
			 "each %s query must have the same number of "
			 "columns",
			 strncmp(q->setop, "UNION", 5) == 0 ? "UNION"
							    : q->setop);
	q->n_out = q->left->n_out;
	q->out = sql_alloc(c, (q->n_out + 1) * sizeof(*q->out));
	for (i = 0; i < q->n_out; i++) {
		enum df_type a = q->left->out[i].type;
		enum df_type b = q->right->out[i].type;
		enum df_type t = resolve_common(a, b);

		if (t == DF_T_COUNT_)
			sql_fail(c, 400,
				 "UNION types %s and %s cannot be "
				 "matched",
				 df_type_name(a), df_type_name(b));
		q->out[i].name = q->left->out[i].name;
		q->out[i].type = t;
		branch_to(c, q->left, i, t);
		branch_to(c, q->right, i, t);
	}
	resolve_order(c, q, NULL);
}

static struct cte *resolve_with(struct sql_ctx *c, struct query *q,
				const struct scope *up)
{
	struct cte *t, *copy, *before = c->ctes;
	size_t i;

	for (t = q->with; t != NULL; t = t->next) {
		copy = sql_alloc(c, sizeof(*copy));
		*copy = *t;
		if (q->recursive && t->query->kind == Q_SETOP) {
			/* The columns are those of the first branch, which
			 * cannot refer to the query itself. */
			resolve_query(c, t->query->left, up);
			for (i = 0;
			     i < t->n_col_alias && i < t->query->left->n_out;
			     i++)
				t->query->left->out[i].name = t->col_alias[i];
			copy->query = t->query->left;
			copy->next = c->ctes;
			c->ctes = copy;
			resolve_query(c, t->query->right, up);
			t->query->out = t->query->left->out;
			t->query->n_out = t->query->left->n_out;
			resolve_order(c, t->query, NULL);
		} else {
			resolve_query(c, t->query, up);
			copy->next = c->ctes;
			c->ctes = copy;
		}
		copy->query = t->query;
		for (i = 0; i < t->n_col_alias && i < t->query->n_out; i++)
			t->query->out[i].name = t->col_alias[i];
	}
	return before;
}

void resolve_query(struct sql_ctx *c, struct query *q, const struct scope *up)
{
	struct cte *before;

	sql_enter(c);
	before = resolve_with(c, q, up);
	if (q->kind == Q_SELECT)
		resolve_select(c, q, up);
	else if (q->kind == Q_VALUES)
		resolve_values(c, q, up);
	else
		resolve_setop(c, q, up);
	resolve_limit(c, &q->limit, "LIMIT");
	resolve_limit(c, &q->offset, "OFFSET");
	c->ctes = before;
	sql_leave(c);
}
