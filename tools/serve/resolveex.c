/* resolveex.c - names and types of expressions; see sqltree.h. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "tools/serve/jsonscan.h"
#include "tools/serve/sqltree.h"

#define PG_STORE                                                    \
	"the SQLite store does not have it: use a server with the " \
	"PostgreSQL store"

/* ---- output names, as PostgreSQL's FigureColname gives them */

static const char *type_short(enum df_type t)
{
	static const char *const names[DF_T_COUNT_] = {
		[DF_T_BOOL] = "bool",        [DF_T_INT2] = "int2",
		[DF_T_INT4] = "int4",        [DF_T_INT8] = "int8",
		[DF_T_FLOAT4] = "float4",    [DF_T_FLOAT8] = "float8",
		[DF_T_NUMERIC] = "numeric",  [DF_T_TEXT] = "text",
		[DF_T_VARCHAR] = "varchar",  [DF_T_BYTEA] = "bytea",
		[DF_T_JSON] = "json",        [DF_T_JSONB] = "jsonb",
		[DF_T_VEC] = "float4",       [DF_T_MATRIX] = "float4",
		[DF_T_ARRAY] = "text",       [DF_T_TS] = "timestamp",
		[DF_T_TSTZ] = "timestamptz", [DF_T_DATE] = "date",
		[DF_T_UUID] = "uuid",
	};

	return names[t] != NULL ? names[t] : "?column?";
}

static const char *name_or_null(const struct ex *e)
{
	const char *name;

	switch (e->kind) {
	case EX_COLUMN:
		return e->name;
	case EX_CALL:
		return strcmp(e->name, "trim") == 0 ? "btrim" : e->name;
	case EX_CAST:
		name = name_or_null(e->a);
		return name != NULL ? name : type_short(e->type);
	case EX_INDEX:
		return name_or_null(e->a);
	case EX_ARRAY:
		return "array";
	case EX_EXISTS:
		return "exists";
	case EX_CASE:
		name = e->c != NULL ? name_or_null(e->c) : NULL;
		return name != NULL ? name : "case";
	case EX_SUBQUERY:
		if (e->sub->kind == Q_SELECT && e->sub->items != NULL)
			return e->sub->items->alias != NULL
				       ? e->sub->items->alias
				       : name_or_null(e->sub->items->ex);
		return NULL;
	default:
		return NULL;
	}
}

const char *resolve_out_name(const struct ex *e)
{
	const char *name = name_or_null(e);

	return name != NULL ? name : "?column?";
}

/* ---- types */

static int number_rank(enum df_type t)
{
	switch (t) {
	case DF_T_INT2:
		return 1;
	case DF_T_INT4:
		return 2;
	case DF_T_INT8:
		return 3;
	case DF_T_NUMERIC:
		return 4;
	case DF_T_FLOAT4:
		return 5;
	default:
		return 6;
	}
}

static bool is_time(enum df_type t)
{
	return t == DF_T_TS || t == DF_T_TSTZ || t == DF_T_DATE;
}

static bool is_array(enum df_type t)
{
	return t == DF_T_VEC || t == DF_T_ARRAY || t == DF_T_MATRIX;
}

/* DF_T_COUNT_: they have none in common. */
enum df_type resolve_common(enum df_type a, enum df_type b)
{
	if (a == DF_T_UNKNOWN || a == b)
		return b;
	if (b == DF_T_UNKNOWN)
		return a;
	if (df_type_is_number(a) && df_type_is_number(b))
		return number_rank(a) > number_rank(b) ? a : b;
	if (df_type_is_text(a) && df_type_is_text(b))
		return DF_T_TEXT;
	if (is_time(a) && is_time(b))
		return DF_T_TSTZ;
	if (is_array(a) && is_array(b))
		return a == DF_T_ARRAY ? b : a;
	return DF_T_COUNT_;
}

struct ex *resolve_to(struct sql_ctx *c, struct ex *e, enum df_type to)
{
	char err[DF_VALUE_ERR];
	struct ex *cast;

	if (to == DF_T_UNKNOWN || e->type == to)
		return e;
	if (e->kind == EX_VALUE) {
		struct df_value v = e->val;

		if (df_value_cast(&v, e->type, to, c->arena, err) < 0)
			sql_fail(c, 400, "%s",
				 err[0] != '\0' ? err : "out of memory");
		e->val = v;
		e->type = to;
		return e;
	}
	if (e->kind == EX_PARAM && c->param[e->param - 1] == DF_T_UNKNOWN) {
		c->param[e->param - 1] = to;
		e->type = to;
		return e;
	}
	/* WHERE takes any number as a truth value: `text <#> 'words'` */
	if (to == DF_T_BOOL && df_type_is_number(e->type))
		return e;
	cast = sql_alloc(c, sizeof(*cast));
	cast->kind = EX_CAST;
	cast->tok = e->tok;
	cast->a = e;
	cast->type = to;
	return cast;
}

static _Noreturn void fail_operator(struct sql_ctx *c, const struct ex *e,
				    const char *op)
{
	sql_fail(c, 400, "operator does not exist: %s %s %s",
		 df_type_name(e->a->type), op, df_type_name(e->b->type));
}

/* Both sides to the type they are compared in. */
static enum df_type pair(struct sql_ctx *c, struct ex *e, const char *op)
{
	enum df_type t = resolve_common(e->a->type, e->b->type);

	if (t == DF_T_COUNT_)
		fail_operator(c, e, op);
	if (t == DF_T_UNKNOWN)
		t = DF_T_TEXT;
	/* Numbers compare as they are in SQLite; a literal still has to be
	 * read as a number. */
	if (!df_type_is_number(e->a->type) || !df_type_is_number(e->b->type)) {
		e->a = resolve_to(c, e->a, t);
		e->b = resolve_to(c, e->b, t);
	}
	return t;
}

/* ---- columns */

static bool find_in(struct sql_ctx *c, struct ex *e, const struct rel *r,
		    bool *found)
{
	size_t i;

	if (e->qual != NULL && strcmp(e->qual, r->alias) != 0)
		return false;
	for (i = 0; i < r->n_cols; i++) {
		if (strcmp(r->col[i].name, e->name) != 0)
			continue;
		if (*found) {
			size_t u;

			for (u = 0; r->using != NULL && r->using[u]; u++)
				if (strcmp(r->using[u], e -> name) == 0)
					return true;
			sql_fail(c, 400,
				 "column reference \"%s\" is "
				 "ambiguous",
				 e->name);
		}
		*found = true;
		e->rel = r;
		e->col = (int)i;
		e->type = r->col[i].type;
		e->not_null = r->col[i].not_null;
	}
	return true;
}

static struct ex *resolve_column(struct sql_ctx *c, struct ex *e,
				 const struct scope *s)
{
	bool found = false, qual = e->qual == NULL;

	for (; s != NULL && !found; s = s->up) {
		const struct rel *r;

		for (r = s->rels; r != NULL; r = r->next)
			qual |= find_in(c, e, r, &found);
		if (s->extra != NULL && e->qual != NULL)
			qual |= find_in(c, e, s->extra, &found);
		if (found && s->rels != NULL && s->rels->next != NULL)
			e->not_null = false; /* an outer join may say NULL */
	}
	if (found)
		return e;
	if (!qual)
		sql_fail(c, 400, "missing FROM-clause entry for table \"%s\"",
			 e->qual);
	if (e->qual != NULL)
		sql_fail(c, 400,
			 "Column does not exist: column %s.%s does "
			 "not exist",
			 e->qual, e->name);
	sql_fail(c, 400, "Column does not exist: column \"%s\" does not exist",
		 e->name);
}

/* ---- operators */

static struct ex *like_from_op(struct sql_ctx *c, struct ex *e)
{
	e->kind = EX_LIKE;
	e->negate = e->op[0] == '!';
	e->insensitive = strchr(e->op, '*') != NULL;
	e->a = resolve_to(c, e->a, DF_T_TEXT);
	e->b = resolve_to(c, e->b, DF_T_TEXT);
	e->type = DF_T_BOOL;
	return e;
}

static void resolve_concat(struct sql_ctx *c, struct ex *e)
{
	enum df_type a = e->a->type, b = e->b->type;

	if (is_array(a) || is_array(b) || a == DF_T_JSONB || b == DF_T_JSONB ||
	    a == DF_T_JSON || b == DF_T_JSON)
		sql_fail(c, 400,
			 "operator does not exist: %s || %s (" PG_STORE ")",
			 df_type_name(a), df_type_name(b));
	if (a == DF_T_BYTEA || b == DF_T_BYTEA) {
		e->a = resolve_to(c, e->a, DF_T_BYTEA);
		e->b = resolve_to(c, e->b, DF_T_BYTEA);
		e->type = DF_T_BYTEA;
		return;
	}
	e->a = resolve_to(c, e->a, DF_T_TEXT);
	e->b = resolve_to(c, e->b, DF_T_TEXT);
	e->type = DF_T_TEXT;
}

static void resolve_search(struct sql_ctx *c, struct ex *e)
{
	enum df_type t = DF_T_TEXT;

	if (e->a->type == DF_T_MATRIX || e->b->type == DF_T_MATRIX)
		sql_fail(c, 400,
			 "operator does not exist: real[][] <#> "
			 "real[][] (" PG_STORE ")");
	if (is_array(e->a->type) || is_array(e->b->type))
		t = DF_T_VEC;
	else if ((e->a->type != DF_T_UNKNOWN && !df_type_is_text(e->a->type)) ||
		 (e->b->type != DF_T_UNKNOWN && !df_type_is_text(e->b->type)))
		fail_operator(c, e, "<#>");
	e->a = resolve_to(c, e->a, t);
	e->b = resolve_to(c, e->b, t);
	e->type = DF_T_FLOAT8;
}

static void resolve_json(struct sql_ctx *c, struct ex *e)
{
	e->a = resolve_to(c, e->a,
			  e->a->type == DF_T_JSON ? DF_T_JSON : DF_T_JSONB);
	if (!df_type_is_int(e->b->type))
		e->b = resolve_to(c, e->b, DF_T_TEXT);
	e->type = e->op[2] == '>' ? DF_T_TEXT : e->a->type;
}

static void resolve_arith(struct sql_ctx *c, struct ex *e)
{
	enum df_type a = e->a->type, b = e->b->type, t;

	if (a == DF_T_UNKNOWN && b == DF_T_UNKNOWN)
		a = DF_T_FLOAT8;
	t = resolve_common(a, b);
	if (t == DF_T_COUNT_ || !df_type_is_number(t))
		sql_fail(c, 400, "operator does not exist: %s %s %s%s",
			 df_type_name(a), e->op, df_type_name(b),
			 is_time(a) || is_time(b) ? " (" PG_STORE ")" : "");
	if (e->a->type == DF_T_UNKNOWN)
		e->a = resolve_to(c, e->a, t);
	if (e->b->type == DF_T_UNKNOWN)
		e->b = resolve_to(c, e->b, t);
	e->type = *e->op == '^' ? DF_T_FLOAT8 : t;
}

static struct ex *resolve_binary(struct sql_ctx *c, struct ex *e,
				 const struct scope *s)
{
	e->a = resolve_ex(c, e->a, s);
	e->b = resolve_ex(c, e->b, s);
	if (strcmp(e->op, "and") == 0 || strcmp(e->op, "or") == 0) {
		e->a = resolve_to(c, e->a, DF_T_BOOL);
		e->b = resolve_to(c, e->b, DF_T_BOOL);
		e->type = DF_T_BOOL;
	} else if (strchr("<>=!", *e->op) != NULL &&
		   strcmp(e->op, "<#>") != 0 &&
		   (e->op[1] == '\0' || strchr("=>", e->op[1]) != NULL) &&
		   (e->op[1] == '\0' || e->op[2] == '\0')) {
		(void)pair(c, e, e->op);
		e->type = DF_T_BOOL;
	} else if (strcmp(e->op, "||") == 0) {
		resolve_concat(c, e);
	} else if (strcmp(e->op, "<#>") == 0) {
		resolve_search(c, e);
	} else if (strncmp(e->op, "->", 2) == 0) {
		resolve_json(c, e);
	} else if (strstr(e->op, "~~") != NULL) {
		return like_from_op(c, e);
	} else if (strlen(e->op) == 1 && strchr("+-*/%^", *e->op) != NULL) {
		resolve_arith(c, e);
	} else {
		sql_fail(c, 400,
			 "operator does not exist: %s %s %s (" PG_STORE ")",
			 df_type_name(e->a->type), e->op,
			 df_type_name(e->b->type));
	}
	return e;
}

static struct ex *resolve_unary(struct sql_ctx *c, struct ex *e,
				const struct scope *s)
{
	e->a = resolve_ex(c, e->a, s);
	if (*e->op == 'n') {
		e->a = resolve_to(c, e->a, DF_T_BOOL);
		e->type = DF_T_BOOL;
	} else {
		if (e->a->type == DF_T_UNKNOWN)
			e->a = resolve_to(c, e->a, DF_T_FLOAT8);
		if (!df_type_is_number(e->a->type))
			sql_fail(c, 400, "operator does not exist: %s %s",
				 e->op, df_type_name(e->a->type));
		e->type = e->a->type;
	}
	return e;
}

/* ---- functions */

static _Noreturn void fail_function(struct sql_ctx *c, const struct ex *e)
{
	char types[200] = "";
	const struct ex *a;
	size_t n = 0;

	for (a = e->args; a != NULL && n < sizeof(types) - 40; a = a->next)
		n += (size_t)snprintf(
			types + n, sizeof(types) - n, "%s%s", n > 0 ? ", " : "",
			a->kind == EX_STAR ? "*" : df_type_name(a->type));
	sql_fail(c, 400,
		 "function %s(%s) does not exist (if PostgreSQL has "
		 "it: " PG_STORE ")",
		 e->name, types);
}

/* All of a list (call arguments, IN) to one type. */
static enum df_type args_common(struct sql_ctx *c, struct ex **args,
				enum df_type start, const char *what)
{
	enum df_type t = start;
	struct ex *a, **at;

	for (a = *args; a != NULL; a = a->next) {
		enum df_type next = resolve_common(t, a->type);

		if (next == DF_T_COUNT_)
			sql_fail(c, 400, "%s types %s and %s cannot be matched",
				 what, df_type_name(t), df_type_name(a->type));
		t = next;
	}
	if (t == DF_T_UNKNOWN)
		t = DF_T_TEXT;
	for (at = args; *at != NULL; at = &(*at)->next) {
		struct ex *next = (*at)->next;

		if (!df_type_is_number(t) || (*at)->type == DF_T_UNKNOWN)
			*at = resolve_to(c, *at, t);
		(*at)->next = next;
	}
	return t;
}

static void call_args(struct sql_ctx *c, struct ex *e)
{
	const struct sql_func *f = e->func;
	bool concat = strcmp(f->name, "concat") == 0;
	struct ex **at;
	int i = 0;

	for (at = &e->args; *at != NULL; at = &(*at)->next, i++) {
		struct ex *next = (*at)->next;

		if (i > 0 && (f->flags & SQL_F_INT)) {
			*at = resolve_to(c, *at, DF_T_INT8);
		} else if (f->flags & SQL_F_TEXT) {
			enum df_type t = (*at)->type;

			if (t == DF_T_UNKNOWN || concat)
				*at = resolve_to(c, *at, DF_T_TEXT);
			else if (!df_type_is_text(t) && t != DF_T_BYTEA)
				fail_function(c, e);
		} else if ((*at)->type == DF_T_UNKNOWN &&
			   (*at)->kind != EX_STAR && f->flags == 0) {
			*at = resolve_to(
				c, *at,
				i == 0 && strncmp(f->name, "array", 5) == 0
					? DF_T_VEC
					: DF_T_FLOAT8);
		}
		(*at)->next = next;
	}
}

static void call_type(struct sql_ctx *c, struct ex *e)
{
	const struct sql_func *f = e->func;
	enum df_type first = e->args != NULL ? e->args->type : DF_T_UNKNOWN;

	e->type = f->type;
	if (f->flags & SQL_F_COMMON)
		e->type = args_common(c, &e->args, DF_T_UNKNOWN, f->name);
	if (f->flags & SQL_F_FIRST)
		e->type = first == DF_T_UNKNOWN ? DF_T_TEXT : first;
	if (f->flags & SQL_F_SUM) {
		if (first != DF_T_UNKNOWN && !df_type_is_number(first))
			fail_function(c, e);
		e->type = df_type_is_int(first)   ? DF_T_INT8
			  : first == DF_T_UNKNOWN ? DF_T_FLOAT8
						  : first;
	}
	if (strcmp(f->name, "avg") == 0 && !df_type_is_number(first))
		fail_function(c, e);
}

static void resolve_over(struct sql_ctx *c, struct ex *e, const struct scope *s)
{
	struct ex **at;
	struct order *o;

	for (at = &e->over->partition; *at != NULL; at = &(*at)->next) {
		struct ex *next = (*at)->next;

		*at = resolve_ex(c, *at, s);
		(*at)->next = next;
	}
	for (o = e->over->order; o != NULL; o = o->next)
		o->ex = resolve_ex(c, o->ex, s);
}

static struct ex *resolve_call(struct sql_ctx *c, struct ex *e,
			       const struct scope *s)
{
	struct ex **at;

	e->func = sql_func_find(e->name);
	for (at = &e->args; *at != NULL; at = &(*at)->next) {
		struct ex *next = (*at)->next;

		if ((*at)->kind != EX_STAR)
			*at = resolve_ex(c, *at, s);
		else if (strcmp(e->name, "count") != 0)
			sql_fail_at(c, (*at)->tok);
		(*at)->next = next;
	}
	if (e->func == NULL || e->n_args < e->func->min ||
	    (e->func->max >= 0 && e->n_args > e->func->max))
		fail_function(c, e);
	if ((e->func->flags & SQL_F_WINDOW) && e->over == NULL)
		sql_fail(c, 400, "window function %s requires an OVER clause",
			 e->name);
	if ((e->distinct || e->filter != NULL) && !(e->func->flags & SQL_F_AGG))
		sql_fail(c, 400,
			 "DISTINCT or FILTER specified, but %s is not "
			 "an aggregate function",
			 e->name);
	if (e->over != NULL) {
		if (!(e->func->flags & (SQL_F_AGG | SQL_F_WINDOW)))
			sql_fail(c, 400,
				 "OVER specified, but %s is not a "
				 "window function nor an aggregate function",
				 e->name);
		resolve_over(c, e, s);
	}
	if (e->filter != NULL)
		e->filter =
			resolve_to(c, resolve_ex(c, e->filter, s), DF_T_BOOL);
	call_args(c, e);
	call_type(c, e);
	return e;
}

/* ---- the rest */

/* ARRAY[...] of constants becomes a JSON array at once: vectors have more
 * elements than an SQLite function takes arguments. */
static bool array_fold(const struct ex *e, struct df_buf *out)
{
	const struct ex *a;

	df_buf_put_u8(out, '[');
	for (a = e->args; a != NULL; a = a->next) {
		if (a != e->args)
			df_buf_put_u8(out, ',');
		if (a->kind == EX_ARRAY) {
			if (!array_fold(a, out))
				return false;
		} else if (a->kind != EX_VALUE ||
			   df_value_json(&a->val, a->type, out) < 0) {
			return false;
		}
	}
	df_buf_put_u8(out, ']');
	return true;
}

static void resolve_list(struct sql_ctx *c, struct ex **at,
			 const struct scope *s)
{
	for (; *at != NULL; at = &(*at)->next) {
		struct ex *next = (*at)->next;

		*at = resolve_ex(c, *at, s);
		(*at)->next = next;
	}
}

static struct ex *resolve_array(struct sql_ctx *c, struct ex *e,
				const struct scope *s)
{
	struct df_buf b;

	df_buf_init(&b, (size_t)64 << 20);
	e->type = DF_T_ARRAY;
	if (array_fold(e, &b) && b.err == 0) {
		char *p = df_arena_strn(c->arena, (char *)b.data, b.len);

		e->kind = EX_VALUE;
		e->val = (struct df_value){ .kind = DF_V_TEXT,
					    .p = p,
					    .len = b.len };
	}
	df_buf_release(&b);
	if (e->kind == EX_VALUE) {
		if (e->val.p == NULL)
			sql_fail(c, 500, "out of memory");
		return e;
	}
	if (e->n_args > 100)
		sql_fail(c, 400,
			 "ARRAY[...] of more than 100 expressions that "
			 "are not constants (" PG_STORE ")");
	resolve_list(c, &e->args, s);
	return e;
}

static struct ex *resolve_case(struct sql_ctx *c, struct ex *e,
			       const struct scope *s)
{
	enum df_type t = DF_T_UNKNOWN, on = DF_T_BOOL;
	struct ex **at;
	int i;

	if (e->a != NULL) {
		e->a = resolve_ex(c, e->a, s);
		on = e->a->type;
	}
	resolve_list(c, &e->args, s);
	if (e->c != NULL) {
		e->c = resolve_ex(c, e->c, s);
		t = e->c->type;
	}
	for (i = 0, at = &e->args; *at != NULL; at = &(*at)->next, i++) {
		struct ex *next = (*at)->next;

		if (i % 2 == 0)
			*at = resolve_to(c, *at, on);
		else
			t = resolve_common(t, (*at)->type);
		(*at)->next = next;
		if (t == DF_T_COUNT_)
			sql_fail(c, 400, "CASE types cannot be matched");
	}
	e->type = t == DF_T_UNKNOWN ? DF_T_TEXT : t;
	for (i = 0, at = &e->args; *at != NULL; at = &(*at)->next, i++) {
		struct ex *next = (*at)->next;

		if (i % 2 == 1 && (*at)->type == DF_T_UNKNOWN)
			*at = resolve_to(c, *at, e->type);
		(*at)->next = next;
	}
	if (e->c != NULL && e->c->type == DF_T_UNKNOWN)
		e->c = resolve_to(c, e->c, e->type);
	return e;
}

static struct ex *resolve_in(struct sql_ctx *c, struct ex *e,
			     const struct scope *s)
{
	enum df_type t;

	e->a = resolve_ex(c, e->a, s);
	e->type = DF_T_BOOL;
	if (e->sub != NULL) {
		resolve_query(c, e->sub, s);
		if (e->sub->n_out != 1)
			sql_fail(c, 400, "subquery has too many columns");
		t = resolve_common(e->a->type, e->sub->out[0].type);
		if (t == DF_T_COUNT_)
			sql_fail(c, 400, "operator does not exist: %s = %s",
				 df_type_name(e->a->type),
				 df_type_name(e->sub->out[0].type));
		if (e->a->type == DF_T_UNKNOWN)
			e->a = resolve_to(c, e->a, t);
		return e;
	}
	resolve_list(c, &e->args, s);
	t = args_common(c, &e->args, e->a->type, "IN");
	if (e->a->type == DF_T_UNKNOWN)
		e->a = resolve_to(c, e->a, t);
	return e;
}

static struct ex *resolve_between(struct sql_ctx *c, struct ex *e,
				  const struct scope *s)
{
	struct ex low = { .kind = EX_BINARY, .op = ">=" };

	low.a = e->a = resolve_ex(c, e->a, s);
	e->b = resolve_ex(c, e->b, s);
	e->c = resolve_ex(c, e->c, s);
	if (e->a->type == DF_T_UNKNOWN)
		e->a = resolve_to(c, e->a, e->b->type);
	low.a = e->a;
	low.b = e->b;
	(void)pair(c, &low, ">=");
	e->a = low.a;
	e->b = low.b;
	low.b = e->c;
	(void)pair(c, &low, "<=");
	e->c = low.b;
	e->type = DF_T_BOOL;
	return e;
}

static struct ex *resolve_like(struct sql_ctx *c, struct ex *e,
			       const struct scope *s)
{
	e->a = resolve_ex(c, e->a, s);
	e->b = resolve_ex(c, e->b, s);
	if ((e->a->type != DF_T_UNKNOWN && !df_type_is_text(e->a->type)) ||
	    (e->b->type != DF_T_UNKNOWN && !df_type_is_text(e->b->type)))
		fail_operator(c, e, e->insensitive ? "~~*" : "~~");
	e->a = resolve_to(c, e->a, DF_T_TEXT);
	e->b = resolve_to(c, e->b, DF_T_TEXT);
	if (e->c != NULL)
		e->c = resolve_to(c, resolve_ex(c, e->c, s), DF_T_TEXT);
	e->type = DF_T_BOOL;
	return e;
}

static struct ex *resolve_cast(struct sql_ctx *c, struct ex *e,
			       const struct scope *s)
{
	enum df_type to = e->type;

	e->a = resolve_ex(c, e->a, s);
	if (e->a->kind == EX_VALUE || e->a->kind == EX_PARAM) {
		struct ex *r = resolve_to(c, e->a, to);

		if (r->type == to)
			return r;
	}
	return e;
}

static struct ex *resolve_param(struct sql_ctx *c, struct ex *e)
{
	if (e->param > SQL_PARAMS_MAX)
		sql_fail(c, 400, "there is no parameter $%d", e->param);
	if (e->param > c->out->n_params)
		c->out->n_params = e->param;
	e->type = c->param[e->param - 1];
	return e;
}

static struct ex *resolve_sub(struct sql_ctx *c, struct ex *e,
			      const struct scope *s)
{
	resolve_query(c, e->sub, s);
	if (e->kind == EX_EXISTS) {
		e->type = DF_T_BOOL;
		return e;
	}
	if (e->sub->n_out != 1)
		sql_fail(c, 400, "subquery must return only one column");
	e->type = e->sub->out[0].type;
	if (e->type == DF_T_UNKNOWN)
		e->type = DF_T_TEXT;
	return e;
}

static struct ex *resolve_one(struct sql_ctx *c, struct ex *e,
			      const struct scope *s)
{
	switch (e->kind) {
	case EX_VALUE:
		return e;
	case EX_PARAM:
		return resolve_param(c, e);
	case EX_COLUMN:
		return resolve_column(c, e, s);
	case EX_UNARY:
		return resolve_unary(c, e, s);
	case EX_BINARY:
		return resolve_binary(c, e, s);
	case EX_CAST:
		return resolve_cast(c, e, s);
	case EX_CALL:
		return resolve_call(c, e, s);
	case EX_CASE:
		return resolve_case(c, e, s);
	case EX_IN:
		return resolve_in(c, e, s);
	case EX_BETWEEN:
		return resolve_between(c, e, s);
	case EX_LIKE:
		return resolve_like(c, e, s);
	case EX_ISNULL:
		e->a = resolve_ex(c, e->a, s);
		e->type = DF_T_BOOL;
		return e;
	case EX_ISBOOL:
		e->a = resolve_to(c, resolve_ex(c, e->a, s), DF_T_BOOL);
		e->type = DF_T_BOOL;
		return e;
	case EX_DISTINCT:
		e->a = resolve_ex(c, e->a, s);
		e->b = resolve_ex(c, e->b, s);
		(void)pair(c, e, "=");
		e->type = DF_T_BOOL;
		return e;
	case EX_EXISTS:
	case EX_SUBQUERY:
		return resolve_sub(c, e, s);
	case EX_ARRAY:
		return resolve_array(c, e, s);
	case EX_INDEX:
		sql_fail(c, 400,
			 "array subscripts are not supported (" PG_STORE ")");
	default:
		break;
	}
	sql_fail_at(c, e->tok);
}

struct ex *resolve_ex(struct sql_ctx *c, struct ex *e, const struct scope *s)
{
	sql_enter(c);
	e = resolve_one(c, e, s);
	sql_leave(c);
	return e;
}
