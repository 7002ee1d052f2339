/*
 * sqltree.h - the tree of a statement, private to the translator.
 *
 * Errors leave by longjmp to df_sql_translate(): sql_fail() never returns.
 * Between, nothing is held but the arena and the buffer in struct sql_ctx, and
 * both are released at the top.
 */
#ifndef DF_SERVE_SQLTREE_H
#define DF_SERVE_SQLTREE_H

#include <setjmp.h>

#include "tools/serve/lex.h"
#include "tools/serve/sql.h"

#define SQL_DEPTH 400 /* nesting of expressions and queries */
#define SQL_PARAMS_MAX 30000

enum ex_kind {
	EX_UNKNOWN = 0,
	EX_VALUE, /* constant in `val` of `type` (UNKNOWN: untyped text) */
	EX_PARAM,
	EX_COLUMN,  /* [qual.]name */
	EX_STAR,    /* * or qual.*: select list and count(*) only */
	EX_DEFAULT, /* DEFAULT in a VALUES row or SET */
	EX_UNARY,   /* op a: NOT - + */
	EX_BINARY,  /* a op b */
	EX_CAST,    /* a :: type */
	EX_CALL,    /* name(args) */
	EX_CASE,    /* a: operand or NULL; args: when, then, ...; c: else */
	EX_IN,      /* a [NOT] IN (args | sub) */
	EX_BETWEEN, /* a BETWEEN b AND c */
	EX_LIKE,    /* a [NOT] [I]LIKE b ESCAPE c */
	EX_ISNULL,
	EX_ISBOOL,   /* a IS [NOT] TRUE|FALSE, op names it */
	EX_DISTINCT, /* a IS [NOT] DISTINCT FROM b */
	EX_EXISTS,
	EX_SUBQUERY,
	EX_ARRAY, /* ARRAY[args] */
	EX_INDEX, /* a[b], refused for now unless constant */
};

struct query;
struct rel;

struct over {
	struct ex *partition;
	struct order *order;
	const char *frame; /* checked words, or NULL */
};

struct ex {
	enum ex_kind kind;
	enum df_type type;
	const struct df_token *tok;
	const char *name, *qual, *op;
	struct ex *a, *b, *c;
	struct ex *args, *next;
	int n_args;
	struct query *sub;
	struct over *over;
	struct ex *filter;
	bool negate, distinct, insensitive;
	struct df_value val;
	int param;
	/* resolved */
	const struct rel *rel;
	int col;
	bool not_null;
	const struct sql_func *func;
};

struct item {
	struct ex *ex;
	const char *alias; /* AS, or NULL */
	const char *out;   /* resolved: PostgreSQL's name for it */
	struct item *next;
};

struct order {
	struct ex *ex;
	bool desc;
	int nulls;   /* 0 default, 1 first, 2 last */
	int ordinal; /* resolved: > 0 = output column */
	struct order *next;
};

struct rel {
	const char *name;   /* table name */
	const char *alias;  /* as seen by column references */
	const char *source; /* resolved: SQLite's name, or NULL */
	struct query *sub;
	const struct df_table *table;
	const char *const *col_alias; /* AS t(a, b) */
	size_t n_col_alias;
	const char *join; /* "," or "JOIN", "LEFT JOIN", ... */
	struct ex *on;
	const char **using; /* column names, NULL-ended, or NULL */
	struct df_col *col; /* resolved */
	size_t n_cols;
	bool bare; /* its columns are written unqualified */
	const struct df_token *tok;
	struct rel *next;
};

enum query_kind { Q_UNKNOWN = 0, Q_SELECT, Q_VALUES, Q_SETOP };

struct query {
	enum query_kind kind;
	struct cte *with;
	bool recursive;
	/* SELECT */
	bool distinct;
	struct item *items;
	struct rel *from;
	struct ex *where, *group, *having;
	/* VALUES: rows linked by next of a row's holder */
	struct ex *rows; /* kind EX_ARRAY each, args = cells */
	/* SETOP */
	const char *setop; /* "UNION ALL", ... */
	struct query *left, *right;
	/* all */
	struct order *order;
	struct ex *limit, *offset;
	/* resolved */
	struct df_col *out;
	size_t n_out;
};

struct cte {
	const char *name;
	const char *const *col_alias;
	size_t n_col_alias;
	struct query *query;
	struct cte *next;
};

struct assign { /* col = ex */
	const char *name;
	const struct df_token *tok;
	struct ex *ex;
	struct assign *next;
};

struct coldef {
	const char *name;
	enum df_type type;
	const char *type_text;
	bool serial, not_null, primary, unique;
	struct ex *default_ex;
	const struct df_token *tok;
	struct coldef *next;
};

struct keydef { /* table constraint PRIMARY KEY or UNIQUE */
	bool primary;
	const char **cols; /* NULL-ended */
	struct keydef *next;
};

struct sql_ctx {
	const struct df_sql_in *in;
	struct df_arena *arena;
	struct df_sql *out;
	struct df_sql_error *error;
	struct df_token *tok; /* next token */
	int depth;
	struct df_buf text;
	enum df_type *param; /* SQL_PARAMS_MAX */
	struct cte *ctes;    /* in view */
	jmp_buf jump;
};

/* A statement's parts, all kinds in one. */
struct stmt {
	enum df_sql_kind kind;
	const struct df_token *verb;
	bool explain;
	const char *name, *schema;
	const struct df_token *name_tok;
	bool if_exists;      /* IF EXISTS or IF NOT EXISTS */
	struct query *query; /* SELECT; INSERT's source (NULL: defaults) */
	struct assign *cols; /* INSERT columns, UPDATE's SET */
	const char *alias;
	bool conflict, conflict_update;
	const char **conflict_cols;
	struct assign *conflict_set;
	struct ex *where, *conflict_where;
	struct item *returning;
	bool has_returning;
	/* DDL */
	struct coldef *coldefs;
	struct keydef *keys;
	bool unique;
	const char *method, *table;
	const struct df_token *table_tok;
	const char **index_cols; /* NULL-ended */
	const bool *index_desc;
	const char *index_type, *index_options;
	const char **names; /* DROP, NULL-ended */
};

_Noreturn void sql_fail(struct sql_ctx *c, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Fails for a table that the token does not cover. */
void sql_check_scope(struct sql_ctx *c, const char *name);
_Noreturn void sql_fail_at(struct sql_ctx *c, const struct df_token *t);
void *sql_alloc(struct sql_ctx *c, size_t len);
/* One level deeper, or fail. */
void sql_enter(struct sql_ctx *c);
void sql_leave(struct sql_ctx *c);

/* parse.c: the tokens at c->tok */
bool parse_is(const struct sql_ctx *c, const char *word);
bool parse_is_op(const struct sql_ctx *c, const char *op);
bool parse_take(struct sql_ctx *c, const char *word);
bool parse_take_op(struct sql_ctx *c, const char *op);
void parse_want(struct sql_ctx *c, const char *word);
void parse_want_op(struct sql_ctx *c, const char *op);
/* An identifier; a reserved word is a syntax error. */
const char *parse_name(struct sql_ctx *c);
/* Any word or quoted identifier (after AS, after a dot). */
const char *parse_label(struct sql_ctx *c);
bool parse_at_name(const struct sql_ctx *c);
/* [schema.]table; only the request's own workspace passes. */
const char *parse_table(struct sql_ctx *c, const struct df_token **tok,
			const char **schema);
struct ex *parse_ex(struct sql_ctx *c);
struct ex *parse_ex_list(struct sql_ctx *c, int *n);
enum df_type parse_type(struct sql_ctx *c, const char **text, bool *serial);
struct ex *ex_new(struct sql_ctx *c, enum ex_kind kind);

/* query.c */
struct query *parse_query(struct sql_ctx *c);
struct order *parse_order(struct sql_ctx *c);
struct item *parse_items(struct sql_ctx *c);
/* name [, name]* in parentheses, NULL-ended */
const char **parse_names(struct sql_ctx *c, size_t *n);
bool parse_at_query(const struct sql_ctx *c);

/* stmt.c, ddlparse.c */
void parse_stmt(struct sql_ctx *c, struct stmt *s);
void parse_ddl(struct sql_ctx *c, struct stmt *s);

/* func.c */
struct sql_func {
	const char *name;
	int min, max;       /* arguments; max -1: any number */
	enum df_type type;  /* result; UNKNOWN: that of the first argument */
	const char *sqlite; /* its name there */
	unsigned flags;
};
enum {
	SQL_F_AGG = 1,    /* aggregate */
	SQL_F_COMMON = 2, /* arguments are brought to one type */
	SQL_F_TEXT = 4,   /* untyped arguments are text */
	SQL_F_WINDOW = 8, /* only with OVER */
	SQL_F_INT = 16,   /* untyped arguments after the first are integers */
	SQL_F_FIRST = 32, /* result has the first argument's type */
	SQL_F_SUM = 64,   /* bigint for integers, double for the rest */
};
const struct sql_func *sql_func_find(const char *name);

/* resolve.c */
struct scope {
	const struct scope *up;
	struct rel *rels;
	const struct rel *extra; /* excluded, or NULL */
};
void resolve_query(struct sql_ctx *c, struct query *q, const struct scope *up);
struct ex *resolve_ex(struct sql_ctx *c, struct ex *e, const struct scope *s);
/* e as a value of type to: constants are converted now, parameters get the
 * type, the rest a cast.  assign: any type may go into a text column. */
struct ex *resolve_to(struct sql_ctx *c, struct ex *e, enum df_type to);
void resolve_items(struct sql_ctx *c, struct item **items,
		   const struct scope *s);
void resolve_table(struct sql_ctx *c, struct rel *r);
struct rel *resolve_table_rel(struct sql_ctx *c, const char *name,
			      const char *alias, const struct df_token *tok);
/* resolveex.c */
const char *resolve_out_name(const struct ex *e);
/* The type both sides are compared in. */
enum df_type resolve_common(enum df_type a, enum df_type b);

/* emit.c */
void emit_str(struct sql_ctx *c, const char *s);
void emit_ident(struct sql_ctx *c, const char *name);
void emit_ident2(struct sql_ctx *c, const char *prefix, const char *name);
void emit_literal(struct sql_ctx *c, const char *p, size_t len);
void emit_ex(struct sql_ctx *c, const struct ex *e);
void emit_query(struct sql_ctx *c, const struct query *q);
void emit_items(struct sql_ctx *c, const struct item *items);
/* What was emitted since c->text was reset, in the arena. */
const char *emit_take(struct sql_ctx *c, size_t *len);

/* translate.c, ddl.c */
void translate_ddl(struct sql_ctx *c, struct stmt *s);

#endif
