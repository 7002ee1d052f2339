/* emit.c - the resolved tree as SQLite's SQL; see sqltree.h. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/serve/sqltree.h"

void emit_str(struct sql_ctx *c, const char *s)
{
	df_buf_put_str(&c->text, s);
}

/* "..." with quotes doubled. */
void emit_ident2(struct sql_ctx *c, const char *prefix, const char *name)
{
	df_buf_put_u8(&c->text, '"');
	df_buf_put_str(&c->text, prefix);
	for (; *name != '\0'; name++) {
		if (*name == '"')
			df_buf_put_u8(&c->text, '"');
		df_buf_put_u8(&c->text, (uint8_t)*name);
	}
	df_buf_put_u8(&c->text, '"');
}

void emit_ident(struct sql_ctx *c, const char *name)
{
	emit_ident2(c, "", name);
}

void emit_literal(struct sql_ctx *c, const char *p, size_t len)
{
	const char *end = p + len;

	df_buf_put_u8(&c->text, '\'');
	while (p < end) {
		const char *q = memchr(p, '\'', (size_t)(end - p));
		size_t n = (size_t)((q == NULL ? end : q + 1) - p);

		df_buf_put(&c->text, p, n);
		if (q != NULL)
			df_buf_put_u8(&c->text, '\'');
		p += n;
	}
	df_buf_put_u8(&c->text, '\'');
}

const char *emit_take(struct sql_ctx *c, size_t *len)
{
	const char *p;

	if (c->text.err != 0)
		sql_fail(c, c->text.err == -EFBIG ? 400 : 500,
			 "statement is too large");
	p = df_arena_strn(c->arena, c->text.len > 0 ? (char *)c->text.data : "",
			  c->text.len);
	if (p == NULL)
		sql_fail(c, 500, "out of memory");
	if (len != NULL)
		*len = c->text.len;
	df_buf_reset(&c->text);
	return p;
}

static void emit_hex(struct sql_ctx *c, const char *p, size_t len)
{
	static const char digits[] = "0123456789ABCDEF";
	char *out = df_buf_extend(&c->text, 2 * len);
	size_t i;

	for (i = 0; out != NULL && i < len; i++) {
		out[2 * i] = digits[(unsigned char)p[i] >> 4];
		out[2 * i + 1] = digits[(unsigned char)p[i] & 15];
	}
}

static void emit_value(struct sql_ctx *c, const struct df_value *v)
{
	char text[40];

	switch (v->kind) {
	case DF_V_NULL:
		emit_str(c, "NULL");
		break;
	case DF_V_INT:
		if (v->i == INT64_MIN)
			emit_str(c, "(-9223372036854775807-1)");
		else
			df_buf_printf(&c->text,
				      v->i < 0 ? "(%" PRId64 ")" : "%" PRId64,
				      v->i);
		break;
	case DF_V_REAL:
		if (isnan(v->r)) {
			emit_str(c, "NULL");
		} else if (isinf(v->r)) {
			emit_str(c, v->r > 0 ? "9e999" : "(-9e999)");
		} else {
			(void)snprintf(text, sizeof(text), "%.17g", v->r);
			df_buf_printf(&c->text, "(%s%s)", text,
				      strpbrk(text, ".e") != NULL ? "" : ".0");
		}
		break;
	case DF_V_TEXT:
		emit_literal(c, v->p, v->len);
		break;
	case DF_V_BLOB:
		emit_str(c, "X'");
		emit_hex(c, v->p, v->len);
		emit_str(c, "'");
		break;
	}
}

static void emit_list(struct sql_ctx *c, const struct ex *e)
{
	const struct ex *a;

	for (a = e; a != NULL; a = a->next) {
		if (a != e)
			emit_str(c, ",");
		emit_ex(c, a);
	}
}

/* Casts that change nothing in what SQLite holds. */
static bool cast_is_free(enum df_type from, enum df_type to)
{
	if (from == to || from == DF_T_UNKNOWN)
		return from == to;
	if (df_type_is_text(to))
		return df_type_is_text(from) || from == DF_T_UUID ||
		       from == DF_T_JSON || from == DF_T_JSONB ||
		       from == DF_T_DATE;
	if (to == DF_T_JSON)
		return from == DF_T_JSONB;
	if (df_type_is_int(from) && df_type_is_int(to))
		return to > from;
	return (from == DF_T_TS && to == DF_T_TSTZ) ||
	       (from == DF_T_TSTZ && to == DF_T_TS) ||
	       (from == DF_T_FLOAT4 && to == DF_T_FLOAT8);
}

static void emit_cast(struct sql_ctx *c, const struct ex *e)
{
	if (cast_is_free(e->a->type, e->type)) {
		emit_ex(c, e->a);
		return;
	}
	emit_str(c, "dl_cast(");
	emit_ex(c, e->a);
	df_buf_printf(&c->text, ",%d,%d)", e->a->type, e->type);
}

static void emit_call2(struct sql_ctx *c, const char *name, const struct ex *a,
		       const struct ex *b)
{
	emit_str(c, name);
	emit_str(c, "(");
	emit_ex(c, a);
	emit_str(c, ",");
	emit_ex(c, b);
	emit_str(c, ")");
}

static void emit_json(struct sql_ctx *c, const struct ex *e)
{
	emit_str(c, e->op[2] == '>' ? "dl_json_text(" : "dl_json_get(");
	emit_ex(c, e->a);
	emit_str(c, ",");
	emit_ex(c, e->b);
	emit_str(c, ")");
}

static bool same_chain(const struct ex *e, const struct ex *left)
{
	return left->kind == EX_BINARY && strcmp(left->op, e->op) == 0 &&
	       (*e->op == 'a' || *e->op == 'o' || *e->op == '+' ||
		(*e->op == '|' && e->type != DF_T_BYTEA));
}

/* a OR b OR c ... is written flat: SQLite's parser has a stack of 100. */
static void emit_chain(struct sql_ctx *c, const struct ex *e)
{
	if (same_chain(e, e->a))
		emit_chain(c, e->a);
	else
		emit_ex(c, e->a);
	emit_str(c, " ");
	emit_str(c, e->op);
	emit_str(c, " ");
	emit_ex(c, e->b);
}

static void emit_binary(struct sql_ctx *c, const struct ex *e)
{
	if (strcmp(e->op, "||") == 0 && e->type == DF_T_BYTEA)
		emit_call2(c, "dl_bcat", e->a, e->b);
	else if (strcmp(e->op, "<#>") == 0)
		emit_call2(c, e->a->type == DF_T_VEC ? "dl_cosine" : "dl_score",
			   e->a, e->b);
	else if (strncmp(e->op, "->", 2) == 0)
		emit_json(c, e);
	else if (*e->op == '/' || *e->op == '%')
		emit_call2(c, *e->op == '/' ? "dl_div" : "dl_mod", e->a, e->b);
	else if (*e->op == '^')
		emit_call2(c, "dl_pow", e->a, e->b);
	else {
		emit_str(c, "(");
		emit_chain(c, e);
		emit_str(c, ")");
	}
}

static void emit_case(struct sql_ctx *c, const struct ex *e)
{
	const struct ex *a;
	int i = 0;

	emit_str(c, "CASE ");
	if (e->a != NULL)
		emit_ex(c, e->a);
	for (a = e->args; a != NULL; a = a->next, i++) {
		emit_str(c, i % 2 == 0 ? " WHEN " : " THEN ");
		emit_ex(c, a);
	}
	if (e->c != NULL) {
		emit_str(c, " ELSE ");
		emit_ex(c, e->c);
	}
	emit_str(c, " END");
}

static void emit_like(struct sql_ctx *c, const struct ex *e)
{
	bool plain = e->c == NULL && e->b->kind == EX_VALUE &&
		     e->b->val.kind == DF_V_TEXT &&
		     memchr(e->b->val.p, '\\', e->b->val.len) == NULL;

	emit_str(c, e->negate ? "(NOT " : "(");
	if (!e->insensitive && plain) {
		/* only this form can use an index over the column */
		emit_ex(c, e->a);
		emit_str(c, " LIKE ");
		emit_ex(c, e->b);
	} else {
		emit_str(c, e->insensitive ? "dl_ilike(" : "dl_like(");
		emit_ex(c, e->a);
		emit_str(c, ",");
		emit_ex(c, e->b);
		emit_str(c, ",");
		if (e->c != NULL)
			emit_ex(c, e->c);
		else
			emit_str(c, "'\\'");
		emit_str(c, ")");
	}
	emit_str(c, ")");
}

static void emit_order_items(struct sql_ctx *c, const struct order *o,
			     const struct query *q)
{
	for (; o != NULL; o = o->next) {
		bool not_null = o->ordinal == 0 && o->ex->not_null;

		if (o->ordinal > 0) {
			const struct item *it = q->items;
			int i;

			for (i = 1; it != NULL && i < o->ordinal; i++)
				it = it->next;
			not_null = it != NULL && it->ex->not_null;
			df_buf_printf(&c->text, "%d", o->ordinal);
		} else {
			/* +x: a constant here is no column number */
			emit_str(c, o->ex->kind == EX_VALUE ? "+" : "");
			emit_ex(c, o->ex);
		}
		emit_str(c, o->desc ? " DESC" : " ASC");
		if (o->nulls != 0)
			emit_str(c, o->nulls == 1 ? " NULLS FIRST"
						  : " NULLS LAST");
		else if (!not_null)
			emit_str(c, o->desc ? " NULLS FIRST" : " NULLS LAST");
		if (o->next != NULL)
			emit_str(c, ",");
	}
}

static void emit_function(struct sql_ctx *c, const struct ex *e)
{
	/* SQLite wants two at least; of one it is that one. */
	if (e->n_args != 1 || strcmp(e->func->sqlite, "coalesce"))
		emit_str(c, e->func->sqlite);
	emit_str(c, e->distinct ? "(DISTINCT " : "(");
	emit_list(c, e->args);
	emit_str(c, ")");
	if (e->filter != NULL) {
		emit_str(c, " FILTER (WHERE ");
		emit_ex(c, e->filter);
		emit_str(c, ")");
	}
	if (e->over == NULL)
		return;
	emit_str(c, " OVER (");
	if (e->over->partition != NULL) {
		emit_str(c, "PARTITION BY ");
		emit_list(c, e->over->partition);
	}
	if (e->over->order != NULL) {
		emit_str(c, " ORDER BY ");
		emit_order_items(c, e->over->order, NULL);
	}
	if (e->over->frame != NULL)
		emit_str(c, e->over->frame);
	emit_str(c, ")");
}

static void emit_column(struct sql_ctx *c, const struct ex *e)
{
	if (!e->rel->bare) {
		emit_ident(c, e->rel->alias);
		emit_str(c, ".");
	}
	emit_ident(c, e->rel->col[e->col].name);
}

static void emit_in(struct sql_ctx *c, const struct ex *e)
{
	emit_str(c, "(");
	emit_ex(c, e->a);
	emit_str(c, e->negate ? " NOT IN (" : " IN (");
	if (e->sub != NULL)
		emit_query(c, e->sub);
	else
		emit_list(c, e->args);
	emit_str(c, "))");
}

static void emit_three(struct sql_ctx *c, const struct ex *e, const char *mid)
{
	emit_str(c, "(");
	emit_ex(c, e->a);
	emit_str(c, mid);
	if (e->b != NULL)
		emit_ex(c, e->b);
	if (e->kind == EX_BETWEEN) {
		emit_str(c, " AND ");
		emit_ex(c, e->c);
	}
	emit_str(c, ")");
}

static void emit_other(struct sql_ctx *c, const struct ex *e)
{
	switch (e->kind) {
	case EX_UNARY:
		emit_str(c, *e->op == 'n'   ? "(NOT "
			    : *e->op == '-' ? "(- "
					    : "(+ ");
		emit_ex(c, e->a);
		emit_str(c, ")");
		break;
	case EX_BETWEEN:
		emit_three(c, e, e->negate ? " NOT BETWEEN " : " BETWEEN ");
		break;
	case EX_ISNULL:
		emit_three(c, e, e->negate ? " IS NOT NULL" : " IS NULL");
		break;
	case EX_ISBOOL:
		emit_three(
			c, e,
			*e->op == 't'
				? (e->negate ? " IS NOT TRUE" : " IS TRUE")
				: (e->negate ? " IS NOT FALSE" : " IS FALSE"));
		break;
	case EX_DISTINCT:
		emit_three(c, e, e->negate ? " IS " : " IS NOT ");
		break;
	case EX_EXISTS:
	case EX_SUBQUERY:
		emit_str(c, e->kind == EX_EXISTS ? "EXISTS (" : "(");
		emit_query(c, e->sub);
		emit_str(c, ")");
		break;
	case EX_ARRAY:
		emit_str(c, "json_array(");
		emit_list(c, e->args);
		emit_str(c, ")");
		break;
	default:
		sql_fail_at(c, e->tok);
	}
}

void emit_ex(struct sql_ctx *c, const struct ex *e)
{
	sql_enter(c);
	switch (e->kind) {
	case EX_VALUE:
		emit_value(c, &e->val);
		break;
	case EX_PARAM:
		df_buf_printf(&c->text, "?%d", e->param);
		break;
	case EX_COLUMN:
		emit_column(c, e);
		break;
	case EX_STAR:
		emit_str(c, "*");
		break;
	case EX_DEFAULT: /* resolved: the column's default */
		emit_str(c, e->name);
		break;
	case EX_BINARY:
		emit_binary(c, e);
		break;
	case EX_CAST:
		emit_cast(c, e);
		break;
	case EX_CALL:
		emit_function(c, e);
		break;
	case EX_CASE:
		emit_case(c, e);
		break;
	case EX_IN:
		emit_in(c, e);
		break;
	case EX_LIKE:
		emit_like(c, e);
		break;
	default:
		emit_other(c, e);
	}
	sql_leave(c);
}

void emit_items(struct sql_ctx *c, const struct item *items)
{
	const struct item *it;

	for (it = items; it != NULL; it = it->next) {
		if (it != items)
			emit_str(c, ",");
		emit_ex(c, it->ex);
		emit_str(c, " AS ");
		emit_ident(c, it->out);
	}
}

static void emit_from(struct sql_ctx *c, const struct rel *from)
{
	const struct rel *r;

	for (r = from; r != NULL; r = r->next) {
		size_t i;

		if (r->join != NULL)
			df_buf_printf(&c->text, " %s ", r->join);
		if (r->sub != NULL) {
			emit_str(c, "(");
			emit_query(c, r->sub);
			emit_str(c, ")");
		} else {
			emit_str(c, r->source);
		}
		emit_str(c, " AS ");
		emit_ident(c, r->alias);
		if (r->on != NULL) {
			emit_str(c, " ON ");
			emit_ex(c, r->on);
		}
		for (i = 0; r->using != NULL && r->using[i] != NULL; i++) {
			emit_str(c, i == 0 ? " USING (" : ",");
			emit_ident(c, r->using[i]);
		}
		emit_str(c, r->using != NULL ? ")" : "");
	}
}

static void emit_select(struct sql_ctx *c, const struct query *q)
{
	emit_str(c, q->distinct ? "SELECT DISTINCT " : "SELECT ");
	emit_items(c, q->items);
	if (q->from != NULL) {
		emit_str(c, " FROM ");
		emit_from(c, q->from);
	}
	if (q->where != NULL) {
		emit_str(c, " WHERE ");
		emit_ex(c, q->where);
	}
	if (q->group != NULL) {
		const struct ex *g;

		emit_str(c, " GROUP BY ");
		for (g = q->group; g != NULL; g = g->next) {
			emit_str(c, g->kind == EX_VALUE ? "+" : "");
			emit_ex(c, g);
			emit_str(c, g->next != NULL ? "," : "");
		}
	}
	if (q->having != NULL) {
		emit_str(c, " HAVING ");
		emit_ex(c, q->having);
	}
}

static void emit_values(struct sql_ctx *c, const struct query *q)
{
	const struct ex *row;

	emit_str(c, "VALUES ");
	for (row = q->rows; row != NULL; row = row->next) {
		emit_str(c, "(");
		emit_list(c, row->args);
		emit_str(c, row->next != NULL ? ")," : ")");
	}
}

/* SQLite takes no parentheses around a branch of a UNION. */
static void emit_branch(struct sql_ctx *c, const struct query *q, bool left)
{
	if (q->order == NULL && q->limit == NULL && q->offset == NULL &&
	    q->with == NULL && (q->kind != Q_SETOP || left)) {
		emit_query(c, q);
		return;
	}
	emit_str(c, "SELECT * FROM (");
	emit_query(c, q);
	emit_str(c, ")");
}

static void emit_with(struct sql_ctx *c, const struct query *q)
{
	const struct cte *t;
	size_t i;

	for (t = q->with; t != NULL; t = t->next) {
		emit_str(c, t != q->with   ? ","
			    : q->recursive ? "WITH RECURSIVE "
					   : "WITH ");
		emit_ident2(c, "c:", t->name);
		for (i = 0; i < t->query->n_out; i++) {
			emit_str(c, i == 0 ? "(" : ",");
			emit_ident(c, t->query->out[i].name);
		}
		emit_str(c, ") AS (");
		emit_query(c, t->query);
		emit_str(c, ")");
	}
	if (q->with != NULL)
		emit_str(c, " ");
}

static void emit_limit(struct sql_ctx *c, const struct query *q)
{
	if (q->limit == NULL && q->offset == NULL)
		return;
	emit_str(c, " LIMIT ");
	if (q->limit != NULL) {
		emit_str(c, "coalesce(");
		emit_ex(c, q->limit);
		emit_str(c, ",-1)");
	} else {
		emit_str(c, "-1");
	}
	if (q->offset != NULL) {
		emit_str(c, " OFFSET coalesce(");
		emit_ex(c, q->offset);
		emit_str(c, ",0)");
	}
}

void emit_query(struct sql_ctx *c, const struct query *q)
{
	sql_enter(c);
	emit_with(c, q);
	if (q->kind == Q_SELECT) {
		emit_select(c, q);
	} else if (q->kind == Q_VALUES) {
		emit_values(c, q);
	} else {
		emit_branch(c, q->left, true);
		df_buf_printf(&c->text, " %s ", q->setop);
		emit_branch(c, q->right, false);
	}
	if (q->order != NULL) {
		emit_str(c, " ORDER BY ");
		emit_order_items(c, q->order, q);
	}
	emit_limit(c, q);
	sql_leave(c);
}
