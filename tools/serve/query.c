/* query.c - SELECT, VALUES and their combinations; see sqltree.h. */
#include <string.h>

#include "base/err.h"
#include "tools/serve/sqltree.h"

bool parse_at_query(const struct sql_ctx *c)
{
	const struct df_token *t = c->tok;

	/* ((SELECT 1)) is a query as well; (1 + 2) is not */
	while (t->kind == DF_TK_OP && strcmp(t->text, "(") == 0)
		t++;
	return t->kind == DF_TK_WORD &&
	       (strcmp(t->text, "select") == 0 ||
		strcmp(t->text, "values") == 0 || strcmp(t->text, "with") == 0);
}

const char **parse_names(struct sql_ctx *c, size_t *n)
{
	const char **names = NULL;
	size_t size = 0;

	*n = 0;
	parse_want_op(c, "(");
	do {
		if (*n + 1 >= size) {
			const char **more;

			size = size == 0 ? 16 : size * 2;
			more = sql_alloc(c, size * sizeof(*more));
			if (*n > 0)
				memcpy(more, names, *n * sizeof(*more));
			names = more;
		}
		names[(*n)++] = parse_label(c);
	} while (parse_take_op(c, ","));
	parse_want_op(c, ")");
	names[*n] = NULL;
	return names;
}

struct item *parse_items(struct sql_ctx *c)
{
	struct item *first = NULL, **tail = &first;

	do {
		struct item *it = sql_alloc(c, sizeof(*it));

		it->ex = parse_ex(c);
		if (parse_take(c, "as"))
			it->alias = parse_label(c);
		else if (parse_at_name(c))
			it->alias = parse_name(c);
		*tail = it;
		tail = &it->next;
	} while (parse_take_op(c, ","));
	return first;
}

struct order *parse_order(struct sql_ctx *c)
{
	struct order *first = NULL, **tail = &first;

	if (!parse_take(c, "order"))
		return NULL;
	parse_want(c, "by");
	do {
		struct order *o = sql_alloc(c, sizeof(*o));

		o->ex = parse_ex(c);
		o->desc = parse_take(c, "desc");
		if (!o->desc)
			(void)parse_take(c, "asc");
		if (parse_take(c, "nulls")) {
			o->nulls = parse_take(c, "first") ? 1 : 2;
			if (o->nulls == 2)
				parse_want(c, "last");
		}
		*tail = o;
		tail = &o->next;
	} while (parse_take_op(c, ","));
	return first;
}

static struct rel *parse_rel(struct sql_ctx *c)
{
	struct rel *r = sql_alloc(c, sizeof(*r));
	const char *schema = NULL;

	r->tok = c->tok;
	if (parse_take(c, "lateral"))
		sql_fail(c, 400,
			 "LATERAL is not supported on the SQLite "
			 "store: use a server with the PostgreSQL store");
	if (parse_is_op(c, "(")) {
		c->tok++;
		if (!parse_at_query(c))
			sql_fail(c, 400,
				 "a parenthesised join is not "
				 "supported: leave the parentheses out");
		r->sub = parse_query(c);
		parse_want_op(c, ")");
	} else {
		r->name = parse_table(c, &r->tok, &schema);
		r->alias = r->name;
		r->source = schema; /* until resolved */
		if (parse_is_op(c, "("))
			sql_fail(c, 400,
				 "function %s(...) in FROM is not "
				 "supported on the SQLite store: use a server "
				 "with the PostgreSQL store",
				 r->name);
	}
	if (parse_take(c, "as"))
		r->alias = parse_label(c);
	else if (parse_at_name(c))
		r->alias = parse_name(c);
	if (parse_is_op(c, "("))
		r->col_alias = parse_names(c, &r->n_col_alias);
	if (r->alias == NULL)
		sql_fail(c, 400, "subquery in FROM must have an alias");
	return r;
}

/* "JOIN", "LEFT JOIN", ... or NULL if no join follows. */
static const char *parse_join(struct sql_ctx *c)
{
	if (parse_take_op(c, ","))
		return ",";
	if (parse_take(c, "cross")) {
		parse_want(c, "join");
		return "CROSS JOIN";
	}
	if (parse_is(c, "natural"))
		sql_fail(c, 400,
			 "NATURAL JOIN is not supported: name the "
			 "columns with USING (...)");
	if (parse_is(c, "left") || parse_is(c, "right") ||
	    parse_is(c, "full")) {
		const char *kind = parse_is(c, "left")    ? "LEFT JOIN"
				   : parse_is(c, "right") ? "RIGHT JOIN"
							  : "FULL JOIN";

		c->tok++;
		(void)parse_take(c, "outer");
		parse_want(c, "join");
		return kind;
	}
	if (parse_take(c, "inner")) {
		parse_want(c, "join");
		return "JOIN";
	}
	return parse_take(c, "join") ? "JOIN" : NULL;
}

static struct rel *parse_from(struct sql_ctx *c)
{
	struct rel *first = parse_rel(c), *last = first;
	const char *join;
	int n = 1;

	while ((join = parse_join(c)) != NULL) {
		size_t n_using;

		last->next = parse_rel(c);
		last = last->next;
		last->join = join;
		if (++n > 32)
			sql_fail(c, 400, "too many tables in FROM (most: 32)");
		if (parse_take(c, "on"))
			last->on = parse_ex(c);
		else if (parse_take(c, "using"))
			last->using = parse_names(c, &n_using);
		else if (join[0] != ',' && join[0] != 'C')
			sql_fail_at(c, c->tok);
	}
	return first;
}

static struct query *parse_select(struct sql_ctx *c)
{
	struct query *q = sql_alloc(c, sizeof(*q));
	int n;

	q->kind = Q_SELECT;
	parse_want(c, "select");
	q->distinct = parse_take(c, "distinct");
	if (q->distinct && parse_is(c, "on"))
		sql_fail(c, 400,
			 "DISTINCT ON is not supported on the SQLite "
			 "store: use a server with the PostgreSQL store");
	if (!q->distinct)
		(void)parse_take(c, "all");
	if (c->tok->kind != DF_TK_END && !parse_is(c, "from"))
		q->items = parse_items(c);
	if (parse_take(c, "from"))
		q->from = parse_from(c);
	if (parse_take(c, "where"))
		q->where = parse_ex(c);
	if (parse_take(c, "group")) {
		parse_want(c, "by");
		q->group = parse_ex_list(c, &n);
	}
	if (parse_take(c, "having"))
		q->having = parse_ex(c);
	if (q->items == NULL)
		sql_fail(c, 400, "SELECT without columns is not supported");
	return q;
}

static struct query *parse_values(struct sql_ctx *c)
{
	struct query *q = sql_alloc(c, sizeof(*q));
	struct ex **tail = &q->rows;

	q->kind = Q_VALUES;
	parse_want(c, "values");
	do {
		struct ex *row = ex_new(c, EX_ARRAY);

		parse_want_op(c, "(");
		row->args = parse_ex_list(c, &row->n_args);
		parse_want_op(c, ")");
		*tail = row;
		tail = &row->next;
	} while (parse_take_op(c, ","));
	return q;
}

static struct query *parse_term(struct sql_ctx *c)
{
	struct query *q;

	if (parse_take_op(c, "(")) {
		q = parse_query(c);
		parse_want_op(c, ")");
		return q;
	}
	if (parse_is(c, "values"))
		return parse_values(c);
	return parse_select(c);
}

static const char *parse_setop(struct sql_ctx *c)
{
	bool all;

	if (parse_take(c, "union")) {
		all = parse_take(c, "all");
		(void)parse_take(c, "distinct");
		return all ? "UNION ALL" : "UNION";
	}
	if (!parse_is(c, "except") && !parse_is(c, "intersect"))
		return NULL;
	all = parse_is(c, "except");
	c->tok++;
	if (parse_is(c, "all"))
		sql_fail(c, 400,
			 "EXCEPT ALL and INTERSECT ALL are not "
			 "supported on the SQLite store");
	return all ? "EXCEPT" : "INTERSECT";
}

static void parse_with(struct sql_ctx *c, struct cte **out, bool *recursive)
{
	struct cte **tail = out;

	if (!parse_take(c, "with"))
		return;
	*recursive = parse_take(c, "recursive");
	do {
		struct cte *t = sql_alloc(c, sizeof(*t));

		t->name = parse_name(c);
		if (parse_is_op(c, "("))
			t->col_alias = parse_names(c, &t->n_col_alias);
		parse_want(c, "as");
		if (parse_take(c, "not"))
			parse_want(c, "materialized");
		else
			(void)parse_take(c, "materialized");
		parse_want_op(c, "(");
		if (!parse_at_query(c))
			sql_fail(c, 400,
				 "only a SELECT can stand in WITH on "
				 "the SQLite store");
		t->query = parse_query(c);
		parse_want_op(c, ")");
		*tail = t;
		tail = &t->next;
	} while (parse_take_op(c, ","));
}

static void parse_limit(struct sql_ctx *c, struct query *q)
{
	for (;;) {
		if (q->limit == NULL && parse_take(c, "limit")) {
			if (!parse_take(c, "all"))
				q->limit = parse_ex(c);
		} else if (q->offset == NULL && parse_take(c, "offset")) {
			q->offset = parse_ex(c);
			if (!parse_take(c, "rows"))
				(void)parse_take(c, "row");
		} else {
			break;
		}
	}
	if (parse_is(c, "for"))
		sql_fail(c, 400,
			 "FOR UPDATE is not supported: a request is "
			 "one transaction");
}

struct query *parse_query(struct sql_ctx *c)
{
	struct query *q, *inner;
	struct cte *with = NULL;
	bool recursive = false;
	const char *setop;

	sql_enter(c);
	parse_with(c, &with, &recursive);
	q = parse_term(c);
	while ((setop = parse_setop(c)) != NULL) {
		struct query *u = sql_alloc(c, sizeof(*u));

		u->kind = Q_SETOP;
		u->setop = setop;
		u->left = q;
		u->right = parse_term(c);
		q = u;
	}
	/* (SELECT ... LIMIT 1) LIMIT 2: the inner one keeps its own */
	if (q->order != NULL || q->limit != NULL || q->offset != NULL ||
	    (with != NULL && q->with != NULL)) {
		if (with == NULL && !parse_is(c, "order") &&
		    !parse_is(c, "limit") && !parse_is(c, "offset")) {
			sql_leave(c);
			return q;
		}
		inner = q;
		q = sql_alloc(c, sizeof(*q));
		q->kind = Q_SELECT;
		q->items = sql_alloc(c, sizeof(*q->items));
		q->items->ex = ex_new(c, EX_STAR);
		q->from = sql_alloc(c, sizeof(*q->from));
		q->from->sub = inner;
		q->from->alias = "inner";
		q->from->tok = c->tok;
	}
	if (with != NULL) {
		q->with = with;
		q->recursive = recursive;
	}
	q->order = parse_order(c);
	parse_limit(c, q);
	sql_leave(c);
	return q;
}
