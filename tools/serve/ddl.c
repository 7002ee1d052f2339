/* ddl.c - CREATE, DROP and ALTER for SQLite; see sqltree.h. */
#include <stdio.h>
#include <string.h>

#include "tools/serve/sqltree.h"

static bool name_in(const char *const *names, const char *name)
{
	size_t i;

	for (i = 0; names != NULL && names[i] != NULL; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* A default may call functions but name no column. */
static const char *default_sql(struct sql_ctx *c, struct coldef *d,
			       bool *constant)
{
	static const struct scope none;
	struct ex *e;

	*constant = true;
	if (d->default_ex == NULL)
		return NULL;
	e = resolve_to(c, resolve_ex(c, d->default_ex, &none), d->type);
	*constant = e->kind == EX_VALUE;
	if (e->kind == EX_VALUE && e->val.kind == DF_V_NULL)
		return NULL;
	emit_str(c, "(");
	emit_ex(c, e);
	emit_str(c, ")");
	return emit_take(c, NULL);
}

static void col_fill(struct sql_ctx *c, struct df_col *col, struct coldef *d,
		     bool *constant)
{
	col->name = d->name;
	col->type = d->type;
	col->type_text = d->type_text;
	col->serial = d->serial;
	col->primary = d->primary;
	col->not_null = d->not_null || d->serial;
	col->default_sql = default_sql(c, d, constant);
}

static void emit_col(struct sql_ctx *c, const struct df_col *col)
{
	emit_ident(c, col->name);
	emit_str(c, " ");
	if (col->serial) {
		/* AUTOINCREMENT: a number is never used again, so that a feed
		 * reader who has seen n misses nothing after a DELETE */
		emit_str(c, "INTEGER PRIMARY KEY AUTOINCREMENT");
		return;
	}
	emit_str(c, df_type_storage(col->type));
	if (col->not_null && !col->late_default)
		emit_str(c, " NOT NULL");
	if (col->default_sql != NULL && !col->late_default) {
		emit_str(c, " DEFAULT ");
		emit_str(c, col->default_sql);
	}
}

/* A serial column is the rowid, so a PRIMARY KEY over others is UNIQUE. */
static void emit_key(struct sql_ctx *c, const char *const *cols,
		     const struct df_table *t)
{
	size_t i;

	if (c->in->no_unique)
		return;
	if (cols[0] != NULL && cols[1] == NULL) {
		int at = df_table_column(t, cols[0]);

		if (at >= 0 && t->col[at].serial)
			return;
	}
	emit_str(c, ", UNIQUE (");
	for (i = 0; cols[i] != NULL; i++) {
		if (df_table_column(t, cols[i]) < 0)
			sql_fail(c, 400,
				 "Column does not exist: column \"%s\" "
				 "named in key does not exist",
				 cols[i]);
		emit_str(c, i > 0 ? "," : "");
		emit_ident(c, cols[i]);
	}
	emit_str(c, ")");
}

static void table_cols(struct sql_ctx *c, struct stmt *s, struct df_table *t)
{
	const struct keydef *k;
	struct coldef *d;
	int serials = 0;
	bool constant;
	size_t n = 0;

	for (d = s->coldefs; d != NULL; d = d->next)
		n++;
	if (n == 0)
		sql_fail(c, 400, "a table needs at least one column");
	if (n > 1600)
		sql_fail(c, 400, "tables can have at most 1600 columns");
	t->col = sql_alloc(c, n * sizeof(*t->col));
	for (d = s->coldefs; d != NULL; d = d->next) {
		struct df_col *col = &t->col[t->n_cols];

		if (df_table_column(t, d->name) >= 0)
			sql_fail(c, 409,
				 "column \"%s\" specified more than "
				 "once",
				 d->name);
		for (k = s->keys; k != NULL; k = k->next)
			if (k->primary && name_in(k->cols, d->name))
				d->primary = d->not_null = true;
		col_fill(c, col, d, &constant);
		if (col->serial && ++serials > 1)
			sql_fail(c, 400,
				 "one serial column a table on the "
				 "SQLite store");
		t->n_cols++;
	}
}

static void create_table(struct sql_ctx *c, struct stmt *s)
{
	struct df_sql_ddl *ddl = &c->out->ddl;
	struct df_table t = { .name = s->name };
	const struct keydef *k;
	struct coldef *d;
	size_t i;

	ddl->name = c->out->table = s->name;
	sql_check_scope(c, s->name);
	if (strlen(s->name) > 200)
		sql_fail(c, 400, "table name is too long (most: 200 bytes)");
	if (df_catalog_table(c->in->catalog, s->name) != NULL) {
		if (!s->if_exists)
			sql_fail(c, 409, "relation \"%s\" already exists",
				 s->name);
		ddl->skip = true;
		return;
	}
	table_cols(c, s, &t);
	emit_str(c, "CREATE TABLE ");
	emit_ident2(c, "t:", s->name);
	for (i = 0; i < t.n_cols; i++) {
		emit_str(c, i == 0 ? " (" : ", ");
		emit_col(c, &t.col[i]);
	}
	for (d = s->coldefs; d != NULL; d = d->next) {
		const char *one[2] = { d->name, NULL };
		bool table_key = false;

		for (k = s->keys; k != NULL; k = k->next)
			table_key |= k->primary;
		if (d->unique || (d->primary && !table_key))
			emit_key(c, one, &t);
	}
	for (k = s->keys; k != NULL; k = k->next)
		emit_key(c, k->cols, &t);
	emit_str(c, ") STRICT");
	ddl->col = t.col;
	ddl->n_cols = t.n_cols;
	c->out->text = emit_take(c, &c->out->text_len);
}

static void add_column(struct sql_ctx *c, struct stmt *s)
{
	struct df_sql_ddl *ddl = &c->out->ddl;
	const struct df_table *t;
	struct coldef *d = s->coldefs;
	struct df_col *col;
	bool constant;

	ddl->name = c->out->table = s->name;
	sql_check_scope(c, s->name);
	t = df_catalog_table(c->in->catalog, s->name);
	if (t == NULL) {
		if (!s->explain) /* ALTER TABLE IF EXISTS */
			sql_fail(c, 400,
				 "Table does not exist: relation "
				 "\"%s\" does not exist",
				 s->name);
		ddl->skip = true;
		return;
	}
	if (df_table_column(t, d->name) >= 0) {
		if (!s->if_exists)
			sql_fail(c, 409,
				 "column \"%s\" of relation \"%s\" "
				 "already exists",
				 d->name, s->name);
		ddl->skip = true;
		return;
	}
	if (d->serial || d->primary || d->unique)
		sql_fail(c, 400,
			 "ALTER TABLE cannot add a serial, PRIMARY KEY "
			 "or UNIQUE column on the SQLite store");
	col = sql_alloc(c, sizeof(*col));
	col_fill(c, col, d, &constant);
	if (col->not_null && col->default_sql == NULL)
		sql_fail(c, 400,
			 "column \"%s\" of relation \"%s\" contains "
			 "null values: give it a DEFAULT",
			 d->name, s->name);
	col->late_default = !constant;
	emit_str(c, "ALTER TABLE ");
	emit_ident2(c, "t:", s->name);
	emit_str(c, " ADD COLUMN ");
	emit_col(c, col);
	c->out->text = emit_take(c, &c->out->text_len);
	if (col->late_default) {
		emit_str(c, "UPDATE ");
		emit_ident2(c, "t:", s->name);
		emit_str(c, " SET ");
		emit_ident(c, d->name);
		emit_str(c, "=");
		emit_str(c, col->default_sql);
		ddl->fill = emit_take(c, NULL);
	}
	ddl->col = col;
	ddl->n_cols = 1;
}

/* ---- indexes */

/* The vendor's index types, and which one a column gets by default. */
static const char *index_type(struct sql_ctx *c, const struct stmt *s,
			      enum df_type t)
{
	static const char *const names[][2] = {
		{ "bm25", "bm25" },
		{ "exact_text", "exact_text" },
		{ "exact", "exact_text" },
		{ "inverted_index", "inverted_index" },
		{ "inverted", "inverted_index" },
		{ "clustered", "clustered" },
		{ "clustered_quantized", "clustered_quantized" },
		{ "quantized", "clustered_quantized" },
		{ "pooled_quantized", "pooled_quantized" },
		{ "unique", "unique" },
	};
	size_t i;

	if (s->index_type == NULL)
		return t == DF_T_VEC        ? "clustered"
		       : t == DF_T_MATRIX   ? "pooled_quantized"
		       : df_type_is_text(t) ? "exact_text"
					    : "inverted_index";
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i][0], s->index_type) == 0)
			return names[i][1];
	sql_fail(c, 400, "invalid value for parameter \"index_type\": \"%s\"",
		 s->index_type);
}

static void index_conflict(struct sql_ctx *c, const struct stmt *s,
			   const char *type)
{
	const struct df_catalog *cat = c->in->catalog;
	size_t i;

	for (i = 0; i < cat->n_indexes; i++) {
		const struct df_index *x = &cat->index[i];

		if (strcmp(x->table, s->table) != 0 ||
		    strcmp(x->column, s->index_cols[0]) != 0 ||
		    strcmp(x->method, "deeplake_index") != 0)
			continue;
		if (strcmp(x->type, type) != 0)
			sql_fail(c, 400,
				 "Conflicting index types for column "
				 "'%s': index \"%s\" is of type %s; drop it "
				 "first",
				 x->column, x->name, x->type);
		sql_fail(c, 400,
			 "Multiple indexes on the same column are not "
			 "supported yet: index \"%s\" already exists",
			 x->name);
	}
}

static void index_def(struct sql_ctx *c, const struct stmt *s)
{
	size_t i;

	df_buf_printf(&c->text, "CREATE %sINDEX %s ON %s.%s USING %s (",
		      s->unique ? "UNIQUE " : "", s->name,
		      c->in->catalog->workspace, s->table, s->method);
	for (i = 0; s->index_cols[i] != NULL; i++)
		df_buf_printf(&c->text, "%s%s%s", i > 0 ? ", " : "",
			      s->index_cols[i],
			      s->index_desc[i] ? " DESC" : "");
	emit_str(c, ")");
	if (s->index_options != NULL)
		df_buf_printf(&c->text, " WITH (%s)", s->index_options);
	c->out->ddl.def = emit_take(c, NULL);
}

static void emit_index(struct sql_ctx *c, const struct stmt *s, bool unique)
{
	size_t i;

	emit_str(c, unique && !c->in->no_unique ? "CREATE UNIQUE INDEX "
						: "CREATE INDEX ");
	emit_ident2(c, "i:", s->name);
	emit_str(c, " ON ");
	emit_ident2(c, "t:", s->table);
	for (i = 0; s->index_cols[i] != NULL; i++) {
		emit_str(c, i == 0 ? " (" : ", ");
		emit_ident(c, s->index_cols[i]);
		emit_str(c, s->index_desc[i] ? " DESC" : "");
	}
	emit_str(c, ")");
	c->out->text = emit_take(c, &c->out->text_len);
}

static void create_index(struct sql_ctx *c, struct stmt *s)
{
	struct df_sql_ddl *ddl = &c->out->ddl;
	const struct df_table *t;
	bool deeplake = strcmp(s->method, "deeplake_index") == 0;
	int at = 0;
	size_t i;

	c->out->table = s->table;
	sql_check_scope(c, s->table);
	t = df_catalog_table(c->in->catalog, s->table);
	if (t == NULL)
		sql_fail(c, 400,
			 "Table does not exist: relation \"%s\" does "
			 "not exist",
			 s->table);
	for (i = 0; s->index_cols[i] != NULL; i++) {
		int col = df_table_column(t, s->index_cols[i]);

		if (col < 0)
			sql_fail(c, 400,
				 "Column does not exist: column \"%s\" "
				 "does not exist",
				 s->index_cols[i]);
		at = i == 0 ? col : at;
	}
	if (!deeplake && strcmp(s->method, "btree") != 0 &&
	    strcmp(s->method, "hash") != 0)
		sql_fail(c, 400, "access method \"%s\" does not exist",
			 s->method);
	if (s->name == NULL)
		s->name = df_arena_printf(c->arena, "%s_%s_idx", s->table,
					  s->index_cols[0]);
	if (s->name == NULL)
		sql_fail(c, 500, "out of memory");
	ddl->name = s->name;
	ddl->table = s->table;
	if (df_catalog_index(c->in->catalog, s->name) != NULL) {
		if (!s->if_exists)
			sql_fail(c, 409, "relation \"%s\" already exists",
				 s->name);
		ddl->skip = true;
		return;
	}
	ddl->column = s->index_cols[0];
	ddl->method = s->method;
	ddl->type = deeplake ? index_type(c, s, t->col[at].type) : "";
	if (deeplake)
		index_conflict(c, s, ddl->type);
	index_def(c, s);
	if (!deeplake || strcmp(ddl->type, "unique") == 0)
		emit_index(c, s, s->unique || deeplake);
}

/* ---- DROP */

static void drop(struct sql_ctx *c, struct stmt *s)
{
	bool table = s->kind == DF_SQL_DROP_TABLE;
	const struct df_index *x;
	size_t i, n = 0;

	for (i = 0; s->names[i] != NULL; i++)
		;
	c->out->ddl.names = sql_alloc(c, (i + 1) * sizeof(*s->names));
	for (i = 0; s->names[i] != NULL; i++) {
		const char *name = s->names[i];

		x = table ? NULL : df_catalog_index(c->in->catalog, name);
		sql_check_scope(c, table || x == NULL ? name : x->table);
		if (table ? df_catalog_table(c->in->catalog, name) != NULL
			  : x != NULL) {
			if (name_in(c->out->ddl.names, name))
				continue;
			c->out->ddl.names[n++] = name;
			c->out->table = table ? name : x->table;
			emit_str(c, table ? "DROP TABLE IF EXISTS "
					  : "DROP INDEX IF EXISTS ");
			emit_ident2(c, table ? "t:" : "i:", name);
			emit_str(c, ";");
		} else if (!s->if_exists) {
			sql_fail(c, 400,
				 table ? "Table does not exist: table "
					 "\"%s\" does not exist (relation "
					 "\"%s\" does "
					 "not exist)"
				       : "index \"%s\" does not exist "
					 "(relation \"%s\")",
				 name, name);
		}
	}
	c->out->ddl.n_names = n;
	c->out->ddl.skip = n == 0;
	c->out->text = emit_take(c, &c->out->text_len);
}

void translate_ddl(struct sql_ctx *c, struct stmt *s)
{
	if (s->kind != DF_SQL_CREATE_TABLE && c->in->only_table != NULL &&
	    s->kind == DF_SQL_NOOP)
		return;
	switch (s->kind) {
	case DF_SQL_CREATE_TABLE:
		create_table(c, s);
		break;
	case DF_SQL_ADD_COLUMN:
		add_column(c, s);
		break;
	case DF_SQL_CREATE_INDEX:
		create_index(c, s);
		break;
	case DF_SQL_DROP_TABLE:
	case DF_SQL_DROP_INDEX:
		drop(c, s);
		break;
	default:
		break;
	}
}
