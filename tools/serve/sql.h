/*
 * sql.h - PostgreSQL's SQL to SQLite's: what goes in, what comes out.
 *
 * A statement is cut into tokens (lex), parsed into a tree (parse, stmt),
 * its names and types looked up in the catalogue (resolve), and written again
 * for SQLite (emit).  Nothing is passed through unread: what the parser does
 * not know is refused, so no statement can name a table, a function or a
 * pragma that is not in the catalogue or in the list of functions.
 *
 * In SQLite a table t is called "t:t" and an index i "i:i": no name that a
 * client can write ever meets SQLite's or the store's own tables.
 *
 * Threads: no state; any thread.
 */
#ifndef DF_SERVE_SQL_H
#define DF_SERVE_SQL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "tools/serve/arena.h"
#include "tools/serve/catalog.h"
#include "tools/serve/types.h"

enum df_sql_kind {
	DF_SQL_UNKNOWN = 0,
	DF_SQL_SELECT,
	DF_SQL_INSERT,
	DF_SQL_UPDATE,
	DF_SQL_DELETE,
	DF_SQL_CREATE_TABLE,
	DF_SQL_DROP_TABLE,
	DF_SQL_ADD_COLUMN,
	DF_SQL_CREATE_INDEX,
	DF_SQL_DROP_INDEX,
	DF_SQL_NOOP, /* accepted, nothing to do */
	DF_SQL_KIND_COUNT,
};

/* What a message, a status and a code are made of. */
struct df_sql_error {
	int status;    /* HTTP */
	char code[24]; /* INVALID_REQUEST, FORBIDDEN, ... */
	char text[600];
};

struct df_sql_out {
	const char *name;
	enum df_type type;
};

struct df_sql_ddl {
	const char *name;   /* table or index */
	const char *table;  /* index: its table */
	bool skip;          /* IF [NOT] EXISTS says: nothing to do */
	struct df_col *col; /* CREATE TABLE, ADD COLUMN */
	size_t n_cols;
	const char *fill;   /* ADD COLUMN: SQL for the old rows, or NULL */
	const char *column; /* CREATE INDEX: first column */
	const char *method, *type, *def;
	const char **names; /* DROP: what really is there */
	size_t n_names;
};

/* A translated statement; everything is in the arena or in the catalogue,
 * which must live as long. */
struct df_sql {
	const struct df_catalog *catalog;
	enum df_sql_kind kind;
	const char *table; /* the one it is about, or NULL */
	const char *text;  /* for SQLite; NULL: none needed */
	size_t text_len;
	const struct df_sql_out *out;
	size_t n_out;
	const enum df_type *param; /* type of $1, $2, ... */
	int n_params;
	struct df_sql_ddl ddl;
	bool has_conflict; /* ON CONFLICT was used */
	bool returning;
	bool writes;
};

struct df_sql_in {
	const char *text;
	size_t len;
	const struct df_catalog *catalog;
	const char *only_table; /* token's scope: this table, T__log, T__pack */
	bool read_only;         /* token's right */
	bool no_unique;         /* simulation: UNIQUE and ON CONFLICT are off */
};

/* 0 and *out, or -EINVAL and *error, or -ENOMEM (error filled as well). */
int df_sql_translate(const struct df_sql_in *in, struct df_arena *a,
		     struct df_sql *out, struct df_sql_error *error);

/* "insert", "select", ... for metrics and messages. */
const char *df_sql_kind_name(enum df_sql_kind kind);

void df_sql_error_set(struct df_sql_error *e, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
