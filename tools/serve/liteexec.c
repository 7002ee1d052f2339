/* liteexec.c - a translated statement on a connection, and its errors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "tools/serve/lite.h"

/* ---- SQLite's errors in PostgreSQL's words */

/* "t:T.c" or "t:T.a, t:T.b" after `prefix` in SQLite's message. */
static bool error_column(const char *msg, const char *prefix, char *table,
			 size_t table_size, char *col, size_t col_size)
{
	const char *p = strstr(msg, prefix), *dot;
	size_t n;

	if (p == NULL)
		return false;
	p += strlen(prefix);
	if (strncmp(p, "t:", 2) == 0)
		p += 2;
	dot = strchr(p, '.');
	if (dot == NULL)
		return false;
	(void)snprintf(table, table_size, "%.*s", (int)(dot - p), p);
	n = strcspn(dot + 1, ",");
	(void)snprintf(col, col_size, "%.*s", (int)n, dot + 1);
	return true;
}

/* The name that PostgreSQL would have given to the constraint. */
static void error_unique(const struct df_sql *sql, const char *table,
			 const char *col, struct df_sql_error *e)
{
	const struct df_table *t = df_catalog_table(sql->catalog, table);
	int at = t == NULL ? -1 : df_table_column(t, col);

	if (at >= 0 && t->col[at].primary)
		df_sql_error_set(e, 409,
				 "duplicate key value violates unique "
				 "constraint \"%s_pkey\"",
				 table);
	else
		df_sql_error_set(e, 409,
				 "duplicate key value violates unique "
				 "constraint \"%s_%s_key\"",
				 table, col);
}

static void error_constraint(const struct df_sql *sql, const char *msg,
			     struct df_sql_error *e)
{
	char table[216], col[216];

	if (error_column(msg, "UNIQUE constraint failed: ", table,
			 sizeof(table), col, sizeof(col)))
		error_unique(sql, table, col, e);
	else if (error_column(msg, "NOT NULL constraint failed: ", table,
			      sizeof(table), col, sizeof(col)))
		df_sql_error_set(e, 400,
				 "null value in column \"%s\" of "
				 "relation \"%s\" violates not-null constraint",
				 col, table);
	else
		df_sql_error_set(e, 400, "%s", msg);
}

void lite_error(struct lite_conn *c, const struct df_sql *sql, int rc,
		struct df_sql_error *e)
{
	const char *msg = sqlite3_errmsg(c->db);

	switch (rc & 0xff) {
	case SQLITE_CONSTRAINT:
		error_constraint(sql, msg, e);
		break;
	case SQLITE_INTERRUPT:
		df_sql_error_set(e, 504,
				 "canceling statement due to statement "
				 "timeout");
		break;
	case SQLITE_FULL:
		df_log_error("%s: disk full: %s",
			     sqlite3_db_filename(c->db, "main"), msg);
		df_sql_error_set(e, 507,
				 "could not extend file: No space left "
				 "on device");
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		df_sql_error_set(e, 503,
				 "the workspace is busy: send the "
				 "statement again");
		break;
	case SQLITE_TOOBIG:
		df_sql_error_set(e, 413, "string or blob too big");
		break;
	case SQLITE_NOMEM:
		df_sql_error_set(e, 503, "out of memory");
		break;
	case SQLITE_MISMATCH:
		df_sql_error_set(e, 400,
				 "argument of LIMIT must be type "
				 "bigint");
		break;
	case SQLITE_ERROR:
		if (strstr(msg, "ON CONFLICT clause does not match") != NULL)
			msg = "there is no unique or exclusion constraint "
			      "matching the ON CONFLICT specification";
		df_sql_error_set(e, 400, "%s", msg);
		break;
	default:
		df_log_error("%s: %s (SQLite code %d)",
			     sqlite3_db_filename(c->db, "main"), msg, rc);
		df_sql_error_set(e, 500, "storage error: %s", msg);
	}
}

/* ---- parameters */

static int bind_value(sqlite3_stmt *st, int at, const struct df_value *v)
{
	switch (v->kind) {
	case DF_V_INT:
		return sqlite3_bind_int64(st, at, v->i);
	case DF_V_REAL:
		return sqlite3_bind_double(st, at, v->r);
	case DF_V_TEXT:
		return sqlite3_bind_text64(st, at, v->p, v->len, SQLITE_STATIC,
					   SQLITE_UTF8);
	case DF_V_BLOB:
		return sqlite3_bind_blob64(st, at, v->p, v->len, SQLITE_STATIC);
	case DF_V_NULL:
		break;
	}
	return sqlite3_bind_null(st, at);
}

static int param_value(const struct df_json *j, enum df_type t,
		       struct df_arena *a, struct df_value *v,
		       char err[DF_VALUE_ERR])
{
	*v = (struct df_value){ .kind = DF_V_NULL };
	err[0] = '\0';
	if (j->kind == DF_J_NULL)
		return 0;
	v->kind = DF_V_TEXT;
	v->p = j->p;
	v->len = j->len;
	if (j->kind == DF_J_STRING) {
		int rc = df_json_text(j, a, &v->p, &v->len);

		if (rc == -ENOMEM)
			return rc;
		if (rc < 0) {
			(void)snprintf(err, DF_VALUE_ERR,
				       "invalid Unicode "
				       "escape in a parameter");
			return -EINVAL;
		}
		if (j->escaped && memchr(v->p, '\0', v->len) != NULL) {
			(void)snprintf(err, DF_VALUE_ERR,
				       "invalid byte "
				       "sequence for encoding \"UTF8\": 0x00");
			return -EINVAL;
		}
	}
	return df_value_cast(v, DF_T_UNKNOWN, t, a, err);
}

/* 0 or -EINVAL with out->error. */
static int bind_params(sqlite3_stmt *st, const struct df_sql *sql,
		       const struct df_json *params, struct df_arena *a,
		       struct df_answer *out)
{
	struct df_json j;
	const char *it = NULL;
	char err[DF_VALUE_ERR];
	int i;

	for (i = 0; i < sql->n_params; i++) {
		struct df_value v;

		if (params->kind != DF_J_ARRAY ||
		    df_json_next(params, &it, NULL, &j) <= 0) {
			df_sql_error_set(&out->error, 400,
					 "there is no "
					 "parameter $%d: the statement needs "
					 "%d, the request has %d",
					 i + 1, sql->n_params, i);
			return -EINVAL;
		}
		if (param_value(&j, sql->param[i], a, &v, err) < 0) {
			df_sql_error_set(&out->error, err[0] ? 400 : 413, "%s",
					 err[0] ? err : DF_STMT_TOO_BIG);
			return -EINVAL;
		}
		/* a parameter that SQLite's text does not use is no error */
		if (i < sqlite3_bind_parameter_count(st) &&
		    bind_value(st, i + 1, &v) != SQLITE_OK) {
			df_sql_error_set(&out->error, 413,
					 "parameter $%d is "
					 "too big",
					 i + 1);
			return -EINVAL;
		}
	}
	return 0;
}

/* ---- running */

static void put_columns(const struct df_sql *sql, struct df_buf *out)
{
	size_t i;

	df_buf_put_str(out, "{\"columns\":[");
	for (i = 0; i < sql->n_out; i++) {
		if (i > 0)
			df_buf_put_u8(out, ',');
		df_json_puts(out, sql->out[i].name);
	}
	df_buf_put_str(out, "],\"rows\":[");
}

static void step_rows(struct lite_conn *c, sqlite3_stmt *st,
		      const struct df_stmt *in, const struct df_sql *sql,
		      struct df_answer *out, uint64_t *rows)
{
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (sql->n_out == 0)
			continue;
		if (*rows > 0)
			df_buf_put_u8(&out->body, ',');
		lite_put_row(st, sql->out, sql->n_out, &out->body);
		(*rows)++;
		if (out->body.len > in->max_answer || out->body.err != 0) {
			df_sql_error_set(&out->error, 413,
					 "the result is over "
					 "%zu MiB: add LIMIT, or select fewer "
					 "columns",
					 in->max_answer >> 20);
			return;
		}
	}
	if (rc != SQLITE_DONE)
		lite_error(c, sql, rc, &out->error);
}

static void run_once(struct lite_conn *c, sqlite3_stmt *st,
		     const struct df_stmt *in, const struct df_sql *sql,
		     const struct df_json *params, struct df_arena *a,
		     struct df_answer *out, uint64_t *rows)
{
	uint64_t before = *rows;

	if (bind_params(st, sql, params, a, out) == 0) {
		step_rows(c, st, in, sql, out, rows);
		if (sql->writes && out->error.status == 0)
			out->rows += (uint64_t)sqlite3_changes64(c->db);
		else
			out->rows += *rows - before;
	}
	(void)sqlite3_reset(st);
	(void)sqlite3_clear_bindings(st);
}

static void run_batch(struct lite_conn *c, sqlite3_stmt *st,
		      const struct df_stmt *in, const struct df_sql *sql,
		      struct df_arena *a, struct df_answer *out, uint64_t *rows)
{
	struct df_json row;
	const char *it = NULL;
	size_t n = 0;

	while (out->error.status == 0 &&
	       df_json_next(&in->batch, &it, NULL, &row) > 0) {
		struct df_arena own;

		n++;
		if (row.kind != DF_J_ARRAY) {
			df_sql_error_set(&out->error, 400,
					 "params_batch: row "
					 "%zu is not an array",
					 n);
			return;
		}
		df_arena_init(&own, a->ceiling);
		run_once(c, st, in, sql, &row, &own, out, rows);
		df_arena_release(&own);
	}
}

/* CREATE, DROP, ALTER: SQLite's part and the catalogue's. */
static void run_ddl(struct lite_conn *c, const struct df_sql *sql,
		    struct df_answer *out)
{
	int rc = SQLITE_OK;

	if (sql->kind == DF_SQL_NOOP || sql->ddl.skip)
		return;
	c->trusted = true;
	if (sql->text != NULL)
		rc = sqlite3_exec(c->db, sql->text, NULL, NULL, NULL);
	if (rc == SQLITE_OK && sql->ddl.fill != NULL)
		rc = sqlite3_exec(c->db, sql->ddl.fill, NULL, NULL, NULL);
	c->trusted = false;
	if (rc != SQLITE_OK)
		lite_error(c, sql, rc, &out->error);
	else if (lite_catalog_store(c, sql) < 0)
		df_sql_error_set(&out->error, 500,
				 "the catalogue could not be "
				 "written");
}

void lite_run(struct lite_conn *c, const struct df_stmt *in,
	      const struct df_sql *sql, struct df_arena *a,
	      struct df_answer *out)
{
	sqlite3_stmt *st = NULL;
	uint64_t rows = 0;
	bool cached = false;
	int rc;

	put_columns(sql, &out->body);
	c->deadline_ns = df_clock_mono_ns() + in->timeout_ms * DF_NS_PER_MS;
	if (sql->kind > DF_SQL_DELETE) {
		run_ddl(c, sql, out);
	} else {
		rc = lite_prepare(c, sql->text, sql->text_len, &st, &cached);
		if (rc != SQLITE_OK)
			lite_error(c, sql, rc, &out->error);
		else if (in->batch.kind == DF_J_ARRAY)
			run_batch(c, st, in, sql, a, out, &rows);
		else
			run_once(c, st, in, sql, &in->params, a, out, &rows);
		if (!cached)
			(void)sqlite3_finalize(st);
	}
	c->deadline_ns = 0;
	df_buf_printf(&out->body, "],\"row_count\":%" PRIu64 "}",
		      sql->n_out > 0 ? rows : out->rows);
	if (out->error.status == 0 && out->body.err != 0)
		df_sql_error_set(&out->error, 503, "out of memory");
}
