/* translate.c - one statement from text to text; see sql.h, sqltree.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "tools/serve/sqltree.h"

void df_sql_error_set(struct df_sql_error *e, int status, const char *fmt, ...)
{
	va_list ap;

	e->status = status;
	(void)snprintf(e->code, sizeof(e->code), "%s",
		       status == 403   ? "FORBIDDEN"
		       : status == 409 ? "CONFLICT"
		       : status == 504 ? "TIMEOUT"
		       : status >= 500 ? "INTERNAL"
				       : "INVALID_REQUEST");
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
}

void sql_fail(struct sql_ctx *c, int status, const char *fmt, ...)
{
	char text[500];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	df_sql_error_set(c->error, status, "%s", text);
	longjmp(c->jump, 1);
}

void sql_fail_at(struct sql_ctx *c, const struct df_token *t)
{
	if (t->kind == DF_TK_END)
		sql_fail(c, 400, "syntax error at end of input");
	sql_fail(c, 400, "syntax error at or near \"%.*s\"",
		 (int)DF_MIN(t->at_len, (size_t)60), t->at);
}

void *sql_alloc(struct sql_ctx *c, size_t len)
{
	void *p = df_arena_alloc(c->arena, len);

	if (p == NULL)
		sql_fail(c, 400, "statement is too large to be translated");
	return p;
}

void sql_enter(struct sql_ctx *c)
{
	if (++c->depth > SQL_DEPTH)
		sql_fail(c, 400,
			 "stack depth limit exceeded: the statement "
			 "nests deeper than %d levels",
			 SQL_DEPTH);
}

void sql_leave(struct sql_ctx *c)
{
	c->depth--;
}

const char *df_sql_kind_name(enum df_sql_kind kind)
{
	static const char *const names[DF_SQL_KIND_COUNT] = {
		[DF_SQL_UNKNOWN] = "unknown",
		[DF_SQL_SELECT] = "select",
		[DF_SQL_INSERT] = "insert",
		[DF_SQL_UPDATE] = "update",
		[DF_SQL_DELETE] = "delete",
		[DF_SQL_CREATE_TABLE] = "create_table",
		[DF_SQL_DROP_TABLE] = "drop_table",
		[DF_SQL_ADD_COLUMN] = "add_column",
		[DF_SQL_CREATE_INDEX] = "create_index",
		[DF_SQL_DROP_INDEX] = "drop_index",
		[DF_SQL_NOOP] = "noop",
	};

	return names[kind];
}

static void outs_from_query(struct sql_ctx *c, const struct query *q)
{
	struct df_sql_out *o = sql_alloc(c, (q->n_out + 1) * sizeof(*o));
	size_t i;

	for (i = 0; i < q->n_out; i++) {
		o[i].name = q->out[i].name;
		o[i].type = q->out[i].type == DF_T_UNKNOWN ? DF_T_TEXT
							   : q->out[i].type;
	}
	c->out->out = o;
	c->out->n_out = q->n_out;
}

static void returning(struct sql_ctx *c, struct stmt *s, const struct rel *t)
{
	struct rel *bare = sql_alloc(c, sizeof(*bare));
	struct query q = { .kind = Q_SELECT };
	struct scope scope = { .rels = bare };
	struct item *it;

	if (!s->has_returning)
		return;
	*bare = *t;
	bare->bare = true;
	bare->next = NULL;
	resolve_items(c, &s->returning, &scope);
	for (it = s->returning; it != NULL; it = it->next)
		q.n_out++;
	q.out = sql_alloc(c, q.n_out * sizeof(*q.out));
	q.n_out = 0;
	for (it = s->returning; it != NULL; it = it->next) {
		q.out[q.n_out].name = it->out;
		q.out[q.n_out++].type = it->ex->type;
	}
	outs_from_query(c, &q);
	c->out->returning = true;
	emit_str(c, " RETURNING ");
	emit_items(c, s->returning);
}

/* ---- INSERT */

/* PostgreSQL's assignment casts: a text expression does not become a number
 * by itself, a literal or a parameter does. */
static struct ex *assign_to(struct sql_ctx *c, struct ex *e,
			    const struct df_col *col)
{
	bool ok = e->type == DF_T_UNKNOWN || e->type == col->type ||
		  df_type_is_text(col->type) ||
		  resolve_common(e->type, col->type) != DF_T_COUNT_ ||
		  (e->type == DF_T_JSON && col->type == DF_T_JSONB) ||
		  (e->type == DF_T_JSONB && col->type == DF_T_JSON);

	if (!ok)
		sql_fail(c, 400,
			 "column \"%s\" is of type %s but expression "
			 "is of type %s",
			 col->name, df_type_name(col->type),
			 df_type_name(e->type));
	return resolve_to(c, e, col->type);
}

static struct ex *default_ex(struct sql_ctx *c, const struct df_col *col)
{
	struct ex *e = sql_alloc(c, sizeof(*e));

	e->kind = EX_VALUE;
	e->type = col->type;
	if (col->default_sql == NULL)
		return e;
	/* The catalogue has it in SQLite's SQL: written as it is. */
	e->kind = EX_DEFAULT;
	e->name = col->default_sql;
	return e;
}

static struct ex *assign_cell(struct sql_ctx *c, struct ex *e,
			      const struct df_col *col, const struct scope *s)
{
	if (e->kind == EX_DEFAULT)
		return default_ex(c, col);
	return assign_to(c, resolve_ex(c, e, s), col);
}

struct target {
	const struct df_col **col;
	size_t n;
};

static const struct df_col *target_col(struct sql_ctx *c, const struct rel *t,
				       const char *name)
{
	int i = df_table_column(t->table, name);

	if (i < 0)
		sql_fail(c, 400,
			 "Column does not exist: column \"%s\" of "
			 "relation \"%s\" does not exist",
			 name, t->name);
	return &t->table->col[i];
}

static void insert_target(struct sql_ctx *c, const struct stmt *s,
			  const struct rel *t, struct target *out)
{
	const struct assign *a;
	size_t i;

	out->col = sql_alloc(c, (t->n_cols + 1) * sizeof(*out->col));
	for (a = s->cols; a != NULL; a = a->next) {
		const struct df_col *col = target_col(c, t, a->name);

		for (i = 0; i < out->n; i++)
			if (out->col[i] == col)
				sql_fail(c, 400,
					 "column \"%s\" specified more "
					 "than once",
					 a->name);
		out->col[out->n++] = col;
	}
	if (s->cols == NULL)
		for (i = 0; i < t->table->n_cols; i++)
			out->col[out->n++] = &t->table->col[i];
}

static void insert_values(struct sql_ctx *c, struct query *q, struct target *t,
			  bool listed)
{
	static const struct scope none;
	struct ex *row, **cell;
	size_t i, n = (size_t)q->rows->n_args;

	for (row = q->rows; row != NULL; row = row->next) {
		if ((size_t)row->n_args > t->n)
			sql_fail(c, 400,
				 "INSERT has more expressions than "
				 "target columns");
		if ((size_t)row->n_args < t->n && listed)
			sql_fail(c, 400,
				 "INSERT has more target columns than "
				 "expressions");
		if ((size_t)row->n_args != n)
			sql_fail(c, 400,
				 "VALUES lists must all be the same "
				 "length");
		cell = &row->args;
		for (i = 0; i < n; i++, cell = &(*cell)->next) {
			struct ex *next = (*cell)->next;

			*cell = assign_cell(c, *cell, t->col[i], &none);
			(*cell)->next = next;
		}
	}
	t->n = n;
}

static void insert_select(struct sql_ctx *c, struct query **q, struct target *t,
			  bool listed)
{
	struct query *outer;
	struct item *it;
	size_t i = 0;

	if ((*q)->kind != Q_SELECT || (*q)->with != NULL || (*q)->distinct) {
		outer = sql_alloc(c, sizeof(*outer));
		outer->kind = Q_SELECT;
		outer->items = sql_alloc(c, sizeof(*outer->items));
		outer->items->ex = ex_new(c, EX_STAR);
		outer->from = sql_alloc(c, sizeof(*outer->from));
		outer->from->sub = *q;
		outer->from->alias = "source";
		*q = outer;
	}
	resolve_query(c, *q, NULL);
	if ((*q)->n_out > t->n)
		sql_fail(c, 400,
			 "INSERT has more expressions than target "
			 "columns");
	if ((*q)->n_out < t->n && listed)
		sql_fail(c, 400,
			 "INSERT has more target columns than "
			 "expressions");
	for (it = (*q)->items; it != NULL; it = it->next, i++)
		it->ex = assign_to(c, it->ex, t->col[i]);
	t->n = (*q)->n_out;
}

static void emit_assigns(struct sql_ctx *c, struct assign *sets,
			 const struct rel *t, const struct scope *scope)
{
	struct assign *a, *b;

	for (a = sets; a != NULL; a = a->next) {
		const struct df_col *col = target_col(c, t, a->name);

		for (b = sets; b != a; b = b->next)
			if (strcmp(a->name, b->name) == 0)
				sql_fail(c, 400,
					 "multiple assignments to same "
					 "column \"%s\"",
					 a->name);
		emit_str(c, a == sets ? "" : ",");
		emit_ident(c, a->name);
		emit_str(c, "=");
		a->ex = assign_cell(c, a->ex, col, scope);
		emit_ex(c, a->ex);
	}
}

static void insert_conflict(struct sql_ctx *c, struct stmt *s,
			    const struct rel *t)
{
	struct rel *excluded, *own = sql_alloc(c, sizeof(*own));
	struct scope scope = { .rels = own };
	size_t i;

	if (!s->conflict)
		return;
	c->out->has_conflict = true;
	if (c->in->no_unique)
		sql_fail(c, 400,
			 "there is no unique or exclusion constraint "
			 "matching the ON CONFLICT specification");
	emit_str(c, " ON CONFLICT ");
	for (i = 0; s->conflict_cols != NULL && s->conflict_cols[i] != NULL;
	     i++) {
		(void)target_col(c, t, s->conflict_cols[i]);
		emit_str(c, i == 0 ? "(" : ",");
		emit_ident(c, s->conflict_cols[i]);
	}
	emit_str(c, i > 0 ? ") DO " : "DO ");
	if (!s->conflict_update) {
		emit_str(c, "NOTHING");
		return;
	}
	*own = *t;
	own->next = NULL;
	excluded = sql_alloc(c, sizeof(*excluded));
	*excluded = *t;
	excluded->alias = "excluded";
	excluded->next = NULL;
	scope.extra = excluded;
	emit_str(c, "UPDATE SET ");
	emit_assigns(c, s->conflict_set, t, &scope);
	if (s->conflict_where != NULL) {
		emit_str(c, " WHERE ");
		emit_ex(c,
			resolve_to(c, resolve_ex(c, s->conflict_where, &scope),
				   DF_T_BOOL));
	}
}

static bool in_target(const struct target *t, const struct df_col *col)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->col[i] == col)
			return true;
	return false;
}

/* Columns that were left out and whose default only we know. */
static void late_names(struct sql_ctx *c, const struct rel *t,
		       const struct target *target, bool values)
{
	size_t i;

	for (i = 0; i < t->table->n_cols; i++) {
		const struct df_col *col = &t->table->col[i];

		if (!col->late_default || in_target(target, col))
			continue;
		emit_str(c, ",");
		if (values)
			emit_str(c, col->default_sql);
		else
			emit_ident(c, col->name);
	}
}

static bool has_late(const struct rel *t, const struct target *target)
{
	size_t i;

	for (i = 0; i < t->table->n_cols; i++)
		if (t->table->col[i].late_default &&
		    !in_target(target, &t->table->col[i]))
			return true;
	return false;
}

static void emit_source(struct sql_ctx *c, const struct stmt *s,
			const struct rel *t, const struct target *target)
{
	bool late = has_late(t, target);
	const struct ex *row, *cell;

	if (s->query->kind != Q_VALUES) {
		/* WHERE 1: else SQLite reads ON CONFLICT as a join's ON */
		if (late || s->conflict)
			emit_str(c, "SELECT *");
		if (late)
			late_names(c, t, target, true);
		if (late || s->conflict)
			emit_str(c, " FROM (");
		emit_query(c, s->query);
		if (late || s->conflict)
			emit_str(c, ") WHERE 1");
		return;
	}
	emit_str(c, "VALUES ");
	for (row = s->query->rows; row != NULL; row = row->next) {
		emit_str(c, "(");
		for (cell = row->args; cell != NULL; cell = cell->next) {
			emit_ex(c, cell);
			emit_str(c, cell->next != NULL ? "," : "");
		}
		late_names(c, t, target, true);
		emit_str(c, row->next != NULL ? ")," : ")");
	}
}

static void translate_insert(struct sql_ctx *c, struct stmt *s,
			     const struct rel *t)
{
	struct target target = { .n = 0 };
	size_t i;

	insert_target(c, s, t, &target);
	if (s->query == NULL)
		target.n = 0;
	else if (s->query->kind == Q_VALUES && s->query->order == NULL &&
		 s->query->limit == NULL && s->query->with == NULL)
		insert_values(c, s->query, &target, s->cols != NULL);
	else
		insert_select(c, &s->query, &target, s->cols != NULL);
	emit_str(c, "INSERT INTO ");
	emit_str(c, t->source);
	emit_str(c, " AS ");
	emit_ident(c, t->alias);
	if (s->query == NULL) {
		emit_str(c, " DEFAULT VALUES");
	} else {
		emit_str(c, " (");
		for (i = 0; i < target.n; i++) {
			emit_str(c, i > 0 ? "," : "");
			emit_ident(c, target.col[i]->name);
		}
		late_names(c, t, &target, false);
		emit_str(c, ") ");
		emit_source(c, s, t, &target);
	}
	insert_conflict(c, s, t);
	returning(c, s, t);
}

/* ---- UPDATE, DELETE */

static void translate_change(struct sql_ctx *c, struct stmt *s, struct rel *t)
{
	struct scope scope = { .rels = t };

	emit_str(c, s->kind == DF_SQL_UPDATE ? "UPDATE " : "DELETE FROM ");
	emit_str(c, t->source);
	emit_str(c, " AS ");
	emit_ident(c, t->alias);
	if (s->kind == DF_SQL_UPDATE) {
		emit_str(c, " SET ");
		emit_assigns(c, s->cols, t, &scope);
	}
	if (s->where != NULL) {
		s->where = resolve_to(c, resolve_ex(c, s->where, &scope),
				      DF_T_BOOL);
		emit_str(c, " WHERE ");
		emit_ex(c, s->where);
	}
	returning(c, s, t);
}

static void check_schema(struct sql_ctx *c, const struct stmt *s)
{
	const char *name = s->name != NULL ? s->name : s->table;

	if (s->schema == NULL || strcmp(s->schema, "public") == 0 ||
	    strcmp(s->schema, c->in->catalog->workspace) == 0)
		return;
	if (strcmp(s->schema, "information_schema") == 0 ||
	    strcmp(s->schema, "pg_catalog") == 0)
		sql_fail(c, 403, "permission denied for schema %s", s->schema);
	sql_fail(c, 400,
		 "Table does not exist: relation \"%s.%s\" does not "
		 "exist",
		 s->schema, name != NULL ? name : "");
}

static void translate_stmt(struct sql_ctx *c, struct stmt *s)
{
	struct rel *t;

	c->out->kind = s->kind;
	if (s->kind == DF_SQL_SELECT) {
		resolve_query(c, s->query, NULL);
		outs_from_query(c, s->query);
		emit_query(c, s->query);
		c->out->text = emit_take(c, &c->out->text_len);
		return;
	}
	c->out->writes = true;
	if (c->in->read_only)
		sql_fail(c, 403, "permission denied: this token may only read");
	check_schema(c, s);
	if (s->kind == DF_SQL_INSERT || s->kind == DF_SQL_UPDATE ||
	    s->kind == DF_SQL_DELETE) {
		t = resolve_table_rel(c, s->name, s->alias, s->name_tok);
		if (s->kind == DF_SQL_INSERT)
			translate_insert(c, s, t);
		else
			translate_change(c, s, t);
		c->out->text = emit_take(c, &c->out->text_len);
		return;
	}
	translate_ddl(c, s);
}

static void params_finish(struct sql_ctx *c)
{
	int i;

	for (i = 0; i < c->out->n_params; i++)
		if (c->param[i] == DF_T_UNKNOWN)
			c->param[i] = DF_T_TEXT;
	c->out->param = c->param;
}

static void run(struct sql_ctx *c)
{
	struct df_lexed lexed;
	struct stmt s = { .kind = DF_SQL_UNKNOWN };
	size_t i;
	int err, max = 0;

	err = df_lex(c->in->text, c->in->len, c->arena, &lexed);
	if (err < 0)
		sql_fail(c, 400, "%s",
			 err == -EINVAL
				 ? lexed.err
				 : "statement is too large to be translated");
	for (i = 0; i < lexed.n; i++)
		max = DF_MAX(max, lexed.token[i].param);
	if (max > SQL_PARAMS_MAX)
		sql_fail(c, 400, "there is no parameter $%d", max);
	c->param = sql_alloc(c, ((size_t)max + 1) * sizeof(*c->param));
	c->tok = lexed.token;
	if (c->tok->kind == DF_TK_END)
		sql_fail(c, 400,
			 "empty statement: send {\"query\": \"SELECT "
			 "...\"}");
	parse_stmt(c, &s);
	translate_stmt(c, &s);
	params_finish(c);
}

int df_sql_translate(const struct df_sql_in *in, struct df_arena *a,
		     struct df_sql *out, struct df_sql_error *error)
{
	struct sql_ctx c = { .in = in, .arena = a, .out = out, .error = error };

	*out = (struct df_sql){ .catalog = in->catalog };
	*error = (struct df_sql_error){ .status = 0 };
	df_buf_init(&c.text, (size_t)128 << 20);
	if (setjmp(c.jump) == 0)
		run(&c);
	df_buf_release(&c.text);
	return error->status == 0 ? 0 : -EINVAL;
}
