/* parse.c - expressions; see sqltree.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "tools/serve/sqltree.h"

/* Precedence, loosest first, as in PostgreSQL's grammar. */
enum {
	P_OR = 1,
	P_AND,
	P_NOT,
	P_IS,
	P_COMPARE,
	P_LIKE, /* BETWEEN IN LIKE */
	P_OTHER,
	P_ADD,
	P_MUL,
	P_POW,
	P_UNARY,
};

/* Words that cannot be a bare column or table name, nor an alias without AS. */
static const char *const reserved[] = {
	"all",     "and",      "any",        "array",     "as",
	"asc",     "both",     "case",       "cast",      "check",
	"collate", "column",   "constraint", "create",    "cross",
	"default", "desc",     "distinct",   "do",        "else",
	"end",     "except",   "fetch",      "for",       "foreign",
	"from",    "full",     "grant",      "group",     "having",
	"ilike",   "in",       "inner",      "intersect", "into",
	"is",      "isnull",   "join",       "leading",   "left",
	"like",    "limit",    "natural",    "not",       "notnull",
	"null",    "offset",   "on",         "or",        "order",
	"outer",   "primary",  "references", "returning", "right",
	"select",  "similar",  "some",       "table",     "then",
	"to",      "trailing", "true",       "false",     "union",
	"unique",  "using",    "when",       "where",     "window",
	"with",    "between",  "set",        "values",
};

bool parse_is(const struct sql_ctx *c, const char *word)
{
	return c->tok->kind == DF_TK_WORD && strcmp(c->tok->text, word) == 0;
}

bool parse_is_op(const struct sql_ctx *c, const char *op)
{
	return c->tok->kind == DF_TK_OP && strcmp(c->tok->text, op) == 0;
}

bool parse_take(struct sql_ctx *c, const char *word)
{
	if (!parse_is(c, word))
		return false;
	c->tok++;
	return true;
}

bool parse_take_op(struct sql_ctx *c, const char *op)
{
	if (!parse_is_op(c, op))
		return false;
	c->tok++;
	return true;
}

void parse_want(struct sql_ctx *c, const char *word)
{
	if (!parse_take(c, word))
		sql_fail_at(c, c->tok);
}

void parse_want_op(struct sql_ctx *c, const char *op)
{
	if (!parse_take_op(c, op))
		sql_fail_at(c, c->tok);
}

bool parse_at_name(const struct sql_ctx *c)
{
	size_t i;

	if (c->tok->kind == DF_TK_QUOTED)
		return true;
	if (c->tok->kind != DF_TK_WORD)
		return false;
	for (i = 0; i < DF_ARRAY_LEN(reserved); i++)
		if (strcmp(reserved[i], c->tok->text) == 0)
			return false;
	return true;
}

const char *parse_name(struct sql_ctx *c)
{
	if (!parse_at_name(c))
		sql_fail_at(c, c->tok);
	return c->tok++->text;
}

const char *parse_label(struct sql_ctx *c)
{
	if (c->tok->kind != DF_TK_WORD && c->tok->kind != DF_TK_QUOTED)
		sql_fail_at(c, c->tok);
	return c->tok++->text;
}

const char *parse_table(struct sql_ctx *c, const struct df_token **tok,
			const char **schema)
{
	const char *name;

	*tok = c->tok;
	*schema = NULL;
	name = parse_name(c);
	if (parse_take_op(c, ".")) {
		*schema = name;
		name = parse_label(c);
	}
	return name;
}

struct ex *ex_new(struct sql_ctx *c, enum ex_kind kind)
{
	struct ex *e = sql_alloc(c, sizeof(*e));

	e->kind = kind;
	e->tok = c->tok;
	return e;
}

struct ex *parse_ex_list(struct sql_ctx *c, int *n)
{
	struct ex *first = NULL, **tail = &first;

	*n = 0;
	do {
		*tail = parse_ex(c);
		tail = &(*tail)->next;
		(*n)++;
	} while (parse_take_op(c, ","));
	return first;
}

/* (n) or (p, s) after a type's name, kept as text. */
static void type_args(struct sql_ctx *c, char *text, size_t size)
{
	size_t n = strlen(text);

	if (!parse_take_op(c, "("))
		return;
	(void)snprintf(text + n, size - n, "(");
	while (c->tok->kind == DF_TK_NUMBER || c->tok->kind == DF_TK_WORD ||
	       parse_is_op(c, ",")) {
		n = strlen(text);
		(void)snprintf(text + n, size - n, "%s", c->tok->text);
		c->tok++;
	}
	parse_want_op(c, ")");
	n = strlen(text);
	(void)snprintf(text + n, size - n, ")");
}

enum df_type parse_type(struct sql_ctx *c, const char **text, bool *serial)
{
	char full[128];
	const struct df_token *tok = c->tok;
	const char *name = parse_label(c);
	enum df_type t;

	if (parse_take_op(c, ".")) /* pg_catalog.int4, public.image */
		name = parse_label(c);
	if (strcmp(name, "double") == 0)
		(void)parse_take(c, "precision");
	if (strcmp(name, "character") == 0 || strcmp(name, "char") == 0)
		(void)parse_take(c, "varying");
	t = df_type_find(name, serial);
	if (t == DF_T_UNKNOWN)
		sql_fail(c, 400, "type \"%s\" does not exist", name);
	(void)snprintf(full, sizeof(full), "%s", tok->text);
	type_args(c, full, sizeof(full) - 8);
	if (t == DF_T_TS || strcmp(name, "time") == 0) {
		bool with = parse_is(c, "with");

		if (with || parse_is(c, "without")) {
			c->tok++;
			parse_want(c, "time");
			parse_want(c, "zone");
			if (with && t == DF_T_TS)
				t = DF_T_TSTZ;
		}
	}
	while (parse_take_op(c, "[")) {
		if (c->tok->kind == DF_TK_NUMBER)
			c->tok++;
		parse_want_op(c, "]");
		t = df_type_array(t);
		if (strlen(full) < sizeof(full) - 3)
			memcpy(full + strlen(full), "[]", 3);
	}
	if (text != NULL) {
		*text = df_arena_str(c->arena, full);
		if (*text == NULL)
			sql_fail(c, 500, "out of memory");
	}
	return t;
}

static struct ex *parse_prec(struct sql_ctx *c, int min);

static struct ex *parse_case(struct sql_ctx *c)
{
	struct ex *e = ex_new(c, EX_CASE), **tail = &e->args;

	c->tok++;
	if (!parse_is(c, "when"))
		e->a = parse_ex(c);
	while (parse_take(c, "when")) {
		*tail = parse_ex(c);
		tail = &(*tail)->next;
		parse_want(c, "then");
		*tail = parse_ex(c);
		tail = &(*tail)->next;
		e->n_args += 2;
	}
	if (e->n_args == 0)
		sql_fail_at(c, c->tok);
	if (parse_take(c, "else"))
		e->c = parse_ex(c);
	parse_want(c, "end");
	return e;
}

static struct ex *parse_cast(struct sql_ctx *c)
{
	struct ex *e = ex_new(c, EX_CAST);

	c->tok++;
	parse_want_op(c, "(");
	e->a = parse_ex(c);
	parse_want(c, "as");
	e->type = parse_type(c, NULL, NULL);
	parse_want_op(c, ")");
	return e;
}

static struct ex *parse_array(struct sql_ctx *c)
{
	struct ex *e = ex_new(c, EX_ARRAY), **tail = &e->args;

	if (parse_is(c, "array"))
		c->tok++;
	sql_enter(c);
	parse_want_op(c, "[");
	if (!parse_is_op(c, "]")) {
		do {
			*tail = parse_is_op(c, "[") ? parse_array(c)
						    : parse_ex(c);
			tail = &(*tail)->next;
			e->n_args++;
		} while (parse_take_op(c, ","));
	}
	parse_want_op(c, "]");
	sql_leave(c);
	return e;
}

/* ROWS BETWEEN ... AND ...: only these words and numbers may stand there. */
static const char *parse_frame(struct sql_ctx *c)
{
	static const char *const words[] = {
		"rows",      "range",     "groups",  "between", "unbounded",
		"preceding", "following", "current", "row",     "and"
	};
	char text[160] = "";
	size_t i, n = 0;

	while (c->tok->kind == DF_TK_NUMBER || c->tok->kind == DF_TK_WORD) {
		for (i = 0; i < DF_ARRAY_LEN(words); i++)
			if (parse_is(c, words[i]))
				break;
		if (c->tok->kind == DF_TK_WORD && i == DF_ARRAY_LEN(words))
			sql_fail_at(c, c->tok);
		if (n + c->tok->len + 2 > sizeof(text))
			sql_fail_at(c, c->tok);
		n += (size_t)snprintf(text + n, sizeof(text) - n, " %s",
				      c->tok->text);
		c->tok++;
	}
	return n == 0 ? NULL : df_arena_str(c->arena, text);
}

static void parse_over(struct sql_ctx *c, struct ex *e)
{
	int n;

	e->over = sql_alloc(c, sizeof(*e->over));
	parse_want_op(c, "(");
	if (parse_take(c, "partition")) {
		parse_want(c, "by");
		e->over->partition = parse_ex_list(c, &n);
	}
	e->over->order = parse_order(c);
	e->over->frame = parse_frame(c);
	parse_want_op(c, ")");
}

/* name( was read up to the parenthesis. */
static struct ex *parse_call(struct sql_ctx *c, struct ex *e)
{
	e->kind = EX_CALL;
	parse_want_op(c, "(");
	if (parse_is_op(c, "*")) {
		e->args = ex_new(c, EX_STAR);
		e->n_args = 1;
		c->tok++;
	} else if (!parse_is_op(c, ")")) {
		e->distinct = parse_take(c, "distinct");
		if (!e->distinct)
			(void)parse_take(c, "all");
		e->args = parse_ex_list(c, &e->n_args);
		/* substring(x from a for n) */
		if (e->n_args == 1 && parse_take(c, "from")) {
			e->args->next = parse_ex(c);
			e->n_args = 2;
			if (parse_take(c, "for")) {
				e->args->next->next = parse_ex(c);
				e->n_args = 3;
			}
		}
	}
	parse_want_op(c, ")");
	if (parse_take(c, "filter")) {
		parse_want_op(c, "(");
		parse_want(c, "where");
		e->filter = parse_ex(c);
		parse_want_op(c, ")");
	}
	if (parse_take(c, "over"))
		parse_over(c, e);
	return e;
}

static struct ex *parse_word(struct sql_ctx *c)
{
	static const char *const now[] = { "current_timestamp", "current_date",
					   "localtimestamp" };
	struct ex *e = ex_new(c, EX_COLUMN);
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(now); i++) {
		if (!parse_take(c, now[i]))
			continue;
		e->kind = EX_CALL;
		e->name = now[i];
		return e;
	}
	e->name = parse_name(c);
	/* timestamp '2026-02-01': a type's name before a literal is a cast */
	if (c->tok->kind == DF_TK_STRING && c->tok[-1].kind == DF_TK_WORD) {
		e->type = df_type_find(e->name, NULL);
		if (e->type == DF_T_UNKNOWN)
			sql_fail_at(c, c->tok);
		e->kind = EX_CAST;
		e->a = parse_prec(c, P_UNARY);
		return e;
	}
	if (parse_is_op(c, "(")) {
		return parse_call(c, e);
	}
	while (parse_take_op(c, ".")) {
		/* "ws"."t"."c": the last two count */
		e->qual = e->name;
		if (parse_take_op(c, "*")) {
			e->kind = EX_STAR;
			return e;
		}
		e->name = parse_label(c);
		if (parse_is_op(c, "("))
			return parse_call(c, e);
	}
	return e;
}

static struct ex *parse_paren(struct sql_ctx *c)
{
	struct ex *e;

	if (c->tok[1].kind != DF_TK_END) {
		c->tok++;
		if (parse_at_query(c)) {
			e = ex_new(c, EX_SUBQUERY);
			e->sub = parse_query(c);
			parse_want_op(c, ")");
			return e;
		}
		c->tok--;
	}
	parse_want_op(c, "(");
	e = parse_ex(c);
	if (parse_is_op(c, ","))
		sql_fail(c, 400,
			 "row values are not supported here: compare "
			 "the columns one by one");
	parse_want_op(c, ")");
	return e;
}

static struct ex *parse_constant(struct sql_ctx *c)
{
	struct ex *e = ex_new(c, EX_VALUE);
	const struct df_token *t = c->tok;

	c->tok++;
	if (t->kind == DF_TK_STRING) {
		e->val = (struct df_value){ .kind = DF_V_TEXT,
					    .p = t->text,
					    .len = t->len };
		return e;
	}
	if (strpbrk(t->text, ".eE") == NULL) {
		errno = 0;
		e->val = (struct df_value){ .kind = DF_V_INT,
					    .i = strtoll(t->text, NULL, 10) };
		e->type = e->val.i > INT32_MAX ? DF_T_INT8 : DF_T_INT4;
		if (errno == 0)
			return e;
	}
	e->val = (struct df_value){ .kind = DF_V_REAL,
				    .r = strtod(t->text, NULL) };
	e->type = DF_T_NUMERIC;
	return e;
}

static struct ex *parse_keyword(struct sql_ctx *c)
{
	struct ex *e;

	if (parse_is(c, "case"))
		return parse_case(c);
	if (parse_is(c, "cast"))
		return parse_cast(c);
	if (parse_is(c, "array"))
		return parse_array(c);
	if (parse_is(c, "exists")) {
		e = ex_new(c, EX_EXISTS);
		c->tok++;
		parse_want_op(c, "(");
		e->sub = parse_query(c);
		parse_want_op(c, ")");
		return e;
	}
	if (parse_is(c, "null") || parse_is(c, "true") ||
	    parse_is(c, "false")) {
		e = ex_new(c, EX_VALUE);
		if (!parse_is(c, "null")) {
			e->type = DF_T_BOOL;
			e->val.kind = DF_V_INT;
			e->val.i = parse_is(c, "true");
		}
		c->tok++;
		return e;
	}
	if (parse_is(c, "default")) {
		e = ex_new(c, EX_DEFAULT);
		c->tok++;
		return e;
	}
	/* left('abc', 2) and right(...) are functions although reserved */
	if ((parse_is(c, "left") || parse_is(c, "right")) &&
	    c->tok[1].kind == DF_TK_OP && c->tok[1].text[0] == '(') {
		e = ex_new(c, EX_CALL);
		e->name = c->tok++->text;
		return parse_call(c, e);
	}
	return parse_word(c);
}

static struct ex *parse_primary(struct sql_ctx *c)
{
	struct ex *e;

	switch (c->tok->kind) {
	case DF_TK_STRING:
	case DF_TK_NUMBER:
		return parse_constant(c);
	case DF_TK_PARAM:
		e = ex_new(c, EX_PARAM);
		e->param = c->tok++->param;
		return e;
	case DF_TK_WORD:
	case DF_TK_QUOTED:
		return parse_keyword(c);
	default:
		break;
	}
	if (parse_is_op(c, "("))
		return parse_paren(c);
	if (parse_is_op(c, "*")) {
		e = ex_new(c, EX_STAR);
		c->tok++;
		return e;
	}
	sql_fail_at(c, c->tok);
}

/* x::type and x[n]; they bind tighter than anything but the dot. */
static struct ex *parse_postfix(struct sql_ctx *c)
{
	struct ex *e = parse_primary(c), *outer;

	for (;;) {
		if (parse_is_op(c, "::")) {
			outer = ex_new(c, EX_CAST);
			c->tok++;
			outer->a = e;
			outer->type = parse_type(c, NULL, NULL);
		} else if (parse_is_op(c, "[")) {
			outer = ex_new(c, EX_INDEX);
			c->tok++;
			outer->a = e;
			outer->b = parse_ex(c);
			parse_want_op(c, "]");
		} else if (parse_take(c, "collate")) {
			const char *name = parse_label(c);

			if (strcmp(name, "C") != 0 &&
			    strcmp(name, "POSIX") != 0)
				sql_fail(c, 400,
					 "collation \"%s\" for encoding "
					 "\"UTF8\" does not exist (the server "
					 "collates by bytes, \"C\")",
					 name);
			continue;
		} else {
			return e;
		}
		e = outer;
	}
}

static struct ex *parse_unary(struct sql_ctx *c)
{
	struct ex *e;

	if (!parse_is_op(c, "-") && !parse_is_op(c, "+"))
		return parse_postfix(c);
	e = ex_new(c, EX_UNARY);
	e->op = c->tok++->text;
	sql_enter(c);
	e->a = parse_unary(c);
	sql_leave(c);
	if (e->a->kind == EX_VALUE && *e->op == '+')
		return e->a;
	if (e->a->kind == EX_VALUE && e->a->val.kind == DF_V_INT) {
		e->a->val.i = -e->a->val.i;
		return e->a;
	}
	if (e->a->kind == EX_VALUE && e->a->val.kind == DF_V_REAL) {
		/* 9223372036854775808 alone is no bigint, with a minus it is */
		if (e->a->val.r == 9223372036854775808.0 &&
		    strpbrk(e->a->tok->text, ".eE") == NULL) {
			e->a->val.kind = DF_V_INT;
			e->a->val.i = INT64_MIN;
			e->a->type = DF_T_INT8;
		} else {
			e->a->val.r = -e->a->val.r;
		}
		return e->a;
	}
	return e;
}

static int binary_prec(const struct sql_ctx *c)
{
	static const struct {
		const char *op;
		int prec;
	} ops[] = {
		{ "=", P_COMPARE },  { "<", P_COMPARE },  { ">", P_COMPARE },
		{ "<=", P_COMPARE }, { ">=", P_COMPARE }, { "<>", P_COMPARE },
		{ "!=", P_COMPARE }, { "+", P_ADD },      { "-", P_ADD },
		{ "*", P_MUL },      { "/", P_MUL },      { "%", P_MUL },
		{ "^", P_POW },      { "||", P_OTHER },   { "->", P_OTHER },
		{ "->>", P_OTHER },  { "<#>", P_OTHER },  { "@>", P_OTHER },
		{ "<@", P_OTHER },   { "~", P_OTHER },    { "~*", P_OTHER },
		{ "!~", P_OTHER },   { "!~*", P_OTHER },  { "~~", P_OTHER },
		{ "~~*", P_OTHER },  { "!~~", P_OTHER },  { "!~~*", P_OTHER },
		{ "<->", P_OTHER },  { "<=>", P_OTHER },  { "#>", P_OTHER },
		{ "#>>", P_OTHER },  { "&", P_OTHER },    { "|", P_OTHER },
		{ "#", P_OTHER },    { "?", P_OTHER },    { "&&", P_OTHER },
		{ "@", P_OTHER },
	};
	size_t i;

	if (c->tok->kind != DF_TK_OP)
		return 0;
	for (i = 0; i < DF_ARRAY_LEN(ops); i++)
		if (strcmp(ops[i].op, c->tok->text) == 0)
			return ops[i].prec;
	return 0;
}

static struct ex *parse_is_tail(struct sql_ctx *c, struct ex *a)
{
	struct ex *e = ex_new(c, EX_ISNULL);

	e->a = a;
	if (parse_take(c, "isnull"))
		return e;
	if (parse_take(c, "notnull")) {
		e->negate = true;
		return e;
	}
	parse_want(c, "is");
	e->negate = parse_take(c, "not");
	if (parse_take(c, "null") || parse_take(c, "unknown"))
		return e;
	if (parse_is(c, "true") || parse_is(c, "false")) {
		e->kind = EX_ISBOOL;
		e->op = c->tok++->text;
		return e;
	}
	parse_want(c, "distinct");
	parse_want(c, "from");
	e->kind = EX_DISTINCT;
	e->b = parse_prec(c, P_IS + 1);
	return e;
}

static struct ex *parse_in(struct sql_ctx *c, struct ex *e)
{
	e->kind = EX_IN;
	parse_want_op(c, "(");
	if (parse_at_query(c))
		e->sub = parse_query(c);
	else
		e->args = parse_ex_list(c, &e->n_args);
	parse_want_op(c, ")");
	return e;
}

/* [NOT] IN, BETWEEN, LIKE, ILIKE after a; NULL if none of them is there. */
static struct ex *parse_like_tail(struct sql_ctx *c, struct ex *a)
{
	struct ex *e = ex_new(c, EX_LIKE);
	struct df_token *start = c->tok;

	e->a = a;
	e->negate = parse_take(c, "not");
	if (parse_take(c, "in"))
		return parse_in(c, e);
	if (parse_take(c, "between")) {
		e->kind = EX_BETWEEN;
		(void)parse_take(c, "asymmetric");
		e->b = parse_prec(c, P_LIKE + 1);
		parse_want(c, "and");
		e->c = parse_prec(c, P_LIKE + 1);
		return e;
	}
	e->insensitive = parse_is(c, "ilike");
	if (parse_take(c, "like") || parse_take(c, "ilike")) {
		if (parse_is(c, "any") || parse_is(c, "all"))
			sql_fail(c, 400,
				 "LIKE ANY and LIKE ALL are not "
				 "supported on this store");
		e->b = parse_prec(c, P_LIKE + 1);
		if (parse_take(c, "escape"))
			e->c = parse_prec(c, P_LIKE + 1);
		return e;
	}
	if (e->negate && !parse_is(c, "similar"))
		c->tok = start;
	return NULL;
}

static struct ex *parse_binary(struct sql_ctx *c, struct ex *a, int prec)
{
	struct ex *e = ex_new(c, EX_BINARY);

	e->op = c->tok++->text;
	e->a = a;
	if (parse_is(c, "any") || parse_is(c, "all") || parse_is(c, "some"))
		sql_fail(c, 400,
			 "%s (...) is not supported on the SQLite "
			 "store: use IN (...), or a server with the PostgreSQL "
			 "store",
			 c->tok->text);
	e->b = parse_prec(c, prec + 1);
	return e;
}

static struct ex *parse_words(struct sql_ctx *c, struct ex *a, int min)
{
	struct ex *e = NULL;

	if (min <= P_LIKE && (parse_is(c, "not") || parse_is(c, "in") ||
			      parse_is(c, "between") || parse_is(c, "like") ||
			      parse_is(c, "ilike")))
		e = parse_like_tail(c, a);
	else if (min <= P_IS && (parse_is(c, "is") || parse_is(c, "isnull") ||
				 parse_is(c, "notnull")))
		e = parse_is_tail(c, a);
	else if ((min <= P_AND && parse_is(c, "and")) ||
		 (min <= P_OR && parse_is(c, "or")))
		e = parse_binary(c, a, parse_is(c, "and") ? P_AND : P_OR);
	return e;
}

static struct ex *parse_prec(struct sql_ctx *c, int min)
{
	struct ex *e;

	sql_enter(c);
	if (min <= P_NOT && parse_is(c, "not")) {
		e = ex_new(c, EX_UNARY);
		e->op = c->tok++->text;
		e->a = parse_prec(c, P_NOT);
	} else {
		e = parse_unary(c);
	}
	for (;;) {
		int prec = binary_prec(c);
		struct ex *outer;

		if (prec > 0 && prec >= min)
			outer = parse_binary(c, e, prec);
		else
			outer = prec > 0 ? NULL : parse_words(c, e, min);
		if (outer == NULL)
			break;
		e = outer;
	}
	sql_leave(c);
	return e;
}

struct ex *parse_ex(struct sql_ctx *c)
{
	return parse_prec(c, P_OR);
}
