/*
 * catalog.h - what tables, columns and indexes a workspace has, in
 * PostgreSQL's terms.
 *
 * A snapshot is immutable and counted: a statement is translated against one,
 * and DDL makes the next one.
 *
 * Threads: a snapshot may be read by any number of threads; _get and _put may
 *          be called from any.
 */
#ifndef DF_SERVE_CATALOG_H
#define DF_SERVE_CATALOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/serve/arena.h"
#include "tools/serve/types.h"

struct df_col {
	const char *name;
	enum df_type type;
	const char *type_text; /* as declared, lower case: "embedding(4)" */
	bool not_null;
	bool serial;
	bool primary;            /* part of the PRIMARY KEY */
	bool late_default;       /* SQLite does not know the default (it was
				 * added by ALTER and is no constant): INSERT
				 * has to write it */
	const char *default_sql; /* in SQLite's SQL; NULL: none */
};

struct df_table {
	const char *name;
	struct df_col *col;
	size_t n_cols;
	int64_t created_ms;
};

struct df_index {
	const char *name, *table;
	const char *column; /* first column */
	const char *method; /* "btree" or "deeplake_index" */
	const char *type;   /* deeplake_index: its index_type, or "" */
	const char *def;    /* pg_indexes.indexdef */
};

struct df_catalog {
	atomic_int refs;
	uint64_t version;
	const char *workspace; /* schema name */
	struct df_table *table;
	size_t n_tables;
	struct df_index *index;
	size_t n_indexes;
	struct df_arena arena; /* owns all of it */
};

/* Empty, one reference. */
struct df_catalog *df_catalog_new(const char *workspace, uint64_t version);
struct df_catalog *df_catalog_get(struct df_catalog *c);
void df_catalog_put(struct df_catalog *c);
const struct df_table *df_catalog_table(const struct df_catalog *c,
					const char *name);
const struct df_index *df_catalog_index(const struct df_catalog *c,
					const char *name);
/* -1 if there is none */
int df_table_column(const struct df_table *t, const char *name);

#endif
