/*
 * pgexec.c - statements on PostgreSQL; see pg.h.
 *
 * All commands of a request go out in one pipeline, so that it costs one round
 * trip: BEGIN, the settings, the statement, COMMIT.  When one fails the rest
 * is skipped by the server, and ROLLBACK follows.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/serve/pg.h"

struct exec {
	struct pg_store *s;
	struct pg_ws *w;
	const struct df_stmt *in;
	struct pg_text text;
	struct df_arena *arena;
	struct df_answer *out;
	struct pg_conn *c;
	int n_params;
	const char **param;
};

static void send_plain(struct exec *x, const char *sql)
{
	(void)PQsendQueryParams(x->c->pg, sql, 0, NULL, NULL, NULL, NULL, 0);
}

bool pg_is_pack(const char *table)
{
	size_t n = strlen(table);

	return n > 6 && strcmp(table + n - 6, "__pack") == 0;
}

/* Which advisory lock stands for a table. */
static int64_t lock_key(const struct exec *x)
{
	char name[400];
	int n = snprintf(name, sizeof(name), "%s/%s", x->w->schema,
			 x->text.table);

	return (int64_t)df_xxh3(name, DF_MIN((size_t)n, sizeof(name) - 1));
}

static void send_begin(struct exec *x)
{
	char timeout[32], key[32];
	const char *only = x->in->only_table != NULL ? x->in->only_table : "";
	const char *arg[] = { timeout, only, key };
	bool ordered = x->text.kind == DF_SQL_INSERT &&
		       !pg_is_pack(x->text.table);
	bool ddl = x->text.kind > DF_SQL_DELETE;

	send_plain(x, "RESET ALL");
	send_plain(x, x->in->read_only || x->text.kind == DF_SQL_SELECT
			      ? "BEGIN READ ONLY"
			      : "BEGIN READ WRITE");
	(void)snprintf(timeout, sizeof(timeout), "%lld",
		       (long long)x->in->timeout_ms);
	/* DDL is serialised: CREATE TABLE IF NOT EXISTS from many clients at
	 * once fails inside PostgreSQL */
	(void)snprintf(key, sizeof(key), "%" PRId64,
		       ddl ? INT64_C(7236107) : lock_key(x));
	(void)PQsendQueryParams(
		x->c->pg,
		ordered || ddl ? "SELECT set_config('statement_timeout', $1, "
				 "true), set_config("
				 "'deeplake.only_table', $2, true), "
				 "pg_advisory_xact_lock($3::bigint)"
			       : "SELECT set_config('statement_timeout', $1, "
				 "true), set_config("
				 "'deeplake.only_table', $2, true)",
		ordered || ddl ? 3 : 2, NULL, arg, NULL, NULL, 0);
}

static void send_end(struct exec *x)
{
	char name[400];
	const char *arg[] = { name };

	if (x->in->dry) {
		send_plain(x, "ROLLBACK");
	} else {
		if (x->text.kind >= DF_SQL_INSERT &&
		    x->text.kind <= DF_SQL_DELETE && !x->in->quiet) {
			(void)snprintf(name, sizeof(name), "%s/%s/%s",
				       x->w->org, x->w->id, x->text.table);
			(void)PQsendQueryParams(x->c->pg,
						"SELECT pg_notify("
						"'deeplake_feed', $1)",
						1, NULL, arg, NULL, NULL, 0);
		}
		send_plain(x, "COMMIT");
	}
	/* a client's own session locks do not outlive its request */
	send_plain(x, "SELECT pg_catalog.pg_advisory_unlock_all()");
	(void)PQpipelineSync(x->c->pg);
}

/* Results up to the pipeline's end: *kept is that of command `keep`, *first the
 * first error.  False: the connection broke. */
static bool collect(struct exec *x, int keep, int n_keep, PGresult **kept,
		    PGresult **first)
{
	int i = 0, gaps = 0;

	*kept = *first = NULL;
	for (;;) {
		PGresult *res = PQgetResult(x->c->pg);
		ExecStatusType st;

		if (res == NULL) {
			if (PQstatus(x->c->pg) != CONNECTION_OK || ++gaps > 1)
				return false;
			i++; /* between two commands */
			continue;
		}
		gaps = 0;
		st = PQresultStatus(res);
		if (st == PGRES_PIPELINE_SYNC) {
			PQclear(res);
			return true;
		}
		if (st == PGRES_FATAL_ERROR && *first == NULL) {
			*first = res;
		} else if (i >= keep && i < keep + n_keep &&
			   (st == PGRES_TUPLES_OK || st == PGRES_COMMAND_OK)) {
			if (x->in->batch.kind == DF_J_ARRAY)
				x->out->rows +=
					strtoull(PQcmdTuples(res), NULL, 10);
			PQclear(*kept);
			*kept = res;
		} else {
			PQclear(res);
		}
	}
}

/* An aborted pipeline skipped COMMIT and the unlocking. */
static void tidy(struct exec *x)
{
	PGconn *pg = x->c->pg;

	if (PQstatus(pg) != CONNECTION_OK || PQexitPipelineMode(pg) != 1)
		return; /* pg_put closes it */
	if (PQtransactionStatus(pg) != PQTRANS_IDLE) {
		PQclear(PQexec(pg, "ROLLBACK"));
		PQclear(PQexec(pg, "SELECT "
				   "pg_catalog.pg_advisory_unlock_all()"));
	}
}

/* ---- parameters */

static size_t array_length(const struct df_json *j)
{
	const char *it = NULL;
	struct df_json v;
	size_t n = 0;

	while (j->kind == DF_J_ARRAY && df_json_next(j, &it, NULL, &v) > 0)
		n++;
	return n;
}

static bool any_array(const struct df_json *j)
{
	const char *it = NULL;
	struct df_json v;

	while (j->kind == DF_J_ARRAY && df_json_next(j, &it, NULL, &v) > 0)
		if (v.kind == DF_J_ARRAY)
			return true;
	return false;
}

/* A JSON array is {1,2} for float4[] and [1,2] for jsonb: ask the server
 * which it is. */
static bool *ask_arrays(struct exec *x, size_t n)
{
	bool *is = df_arena_alloc(x->arena, n + 1);
	PGresult *res;
	size_t i;

	if (is == NULL)
		return NULL;
	res = PQprepare(x->c->pg, "", x->text.text, 0, NULL);
	if (PQresultStatus(res) == PGRES_COMMAND_OK) {
		PQclear(res);
		res = PQdescribePrepared(x->c->pg, "");
		for (i = 0; i < n && (int)i < PQnparams(res); i++) {
			Oid t = PQparamtype(res, (int)i);

			is[i] = t != 114 && t != 3802 && t != 25;
		}
	}
	PQclear(res);
	return is;
}

static int params_fill(struct exec *x, const struct df_json *row,
		       const bool *arrays, const char **param)
{
	const char *it = NULL;
	struct df_json v;
	size_t i = 0;

	if (row->kind != DF_J_ARRAY)
		return 0;
	while (df_json_next(row, &it, NULL, &v) > 0) {
		if (pg_param(&v, arrays != NULL && arrays[i], x->arena,
			     &param[i], &x->out->error) < 0)
			return -EINVAL;
		i++;
	}
	return 0;
}

/* ---- one statement */

static int run_params(struct exec *x, bool **arrays)
{
	struct df_json first = x->in->params;
	const char *it = NULL;
	size_t n;

	if (x->in->batch.kind == DF_J_ARRAY &&
	    df_json_next(&x->in->batch, &it, NULL, &first) <= 0)
		first.kind = DF_J_NONE;
	n = array_length(&first);
	if (n > 30000) {
		df_sql_error_set(&x->out->error, 400, "too many parameters");
		return -EINVAL;
	}
	x->n_params = (int)n;
	x->param = df_arena_alloc(x->arena, (n + 1) * sizeof(*x->param));
	*arrays = NULL;
	if (any_array(&first))
		*arrays = ask_arrays(x, n);
	if (x->param == NULL) {
		df_sql_error_set(&x->out->error, 503, "out of memory");
		return -EINVAL;
	}
	return 0;
}

static void send_statement(struct exec *x)
{
	(void)PQsendQueryParams(x->c->pg, x->text.text, x->n_params, NULL,
				x->param, NULL, NULL, 0);
}

/* How many statements were sent; -EINVAL with the error set. */
static int send_rows(struct exec *x, const bool *arrays)
{
	struct df_json row;
	const char *it = NULL;
	int n = 0;

	if (x->in->batch.kind != DF_J_ARRAY) {
		if (params_fill(x, &x->in->params, arrays, x->param) < 0)
			return -EINVAL;
		send_statement(x);
		return 1;
	}
	while (df_json_next(&x->in->batch, &it, NULL, &row) > 0) {
		if (array_length(&row) != (size_t)x->n_params) {
			df_sql_error_set(&x->out->error, 400,
					 "params_batch: "
					 "row %d has another number of "
					 "parameters",
					 n + 1);
			return -EINVAL;
		}
		if (params_fill(x, &row, arrays, x->param) < 0)
			return -EINVAL;
		send_statement(x);
		n++;
	}
	return n;
}

static void answer(struct exec *x, PGresult *kept, PGresult *first, bool alive)
{
	struct df_answer *out = x->out;

	if (out->error.status != 0)
		return;
	if (first != NULL || !alive || kept == NULL) {
		if (kept == NULL && first == NULL && alive)
			df_buf_put_str(&out->body, "{\"columns\":[],\"rows\":"
						   "[],\"row_count\":0}");
		else
			pg_error(first, x->c->pg, &out->error);
		return;
	}
	if (x->in->batch.kind == DF_J_ARRAY)
		df_buf_printf(&out->body,
			      "{\"columns\":[],\"rows\":[],"
			      "\"row_count\":%" PRIu64 "}",
			      out->rows);
	else
		pg_put_result(kept, x->in->max_answer, out, -1, NULL);
}

static void run_on(struct exec *x)
{
	PGresult *kept = NULL, *first = NULL;
	bool *arrays, alive = false;
	int n;

	if (run_params(x, &arrays) < 0)
		return;
	if (PQenterPipelineMode(x->c->pg) != 1) {
		df_sql_error_set(&x->out->error, 503,
				 "the database connection "
				 "is not usable: try again");
		return;
	}
	send_begin(x);
	n = send_rows(x, arrays);
	if (n < 0) {
		/* take it back: an error makes the server skip COMMIT */
		send_plain(x, "SELECT deeplake_bad_parameter");
		n = 0;
	}
	send_end(x);
	alive = collect(x, 3, n, &kept, &first);
	answer(x, kept, first, alive);
	PQclear(kept);
	PQclear(first);
	tidy(x);
}

/* A connection that PostgreSQL closed while it was idle is found out here,
 * before anything was sent on it. */
static struct pg_conn *fresh_conn(struct pg_pool *p, int64_t timeout_ms)
{
	int tries;

	for (tries = 0; tries <= PG_POOL_MAX; tries++) {
		struct pg_conn *c = pg_get(p, timeout_ms);

		if (c == NULL)
			return NULL;
		(void)PQconsumeInput(c->pg);
		if (PQstatus(c->pg) == CONNECTION_OK)
			return c;
		pg_put(p, c);
	}
	return NULL;
}

/* ---- what the server does beside the statement */

/* The translator as judge: may this token touch these tables? */
static int scope_check(struct exec *x)
{
	struct df_sql_in in = { .text = x->in->text,
				.len = x->in->len,
				.only_table = x->in->only_table,
				.read_only = x->in->read_only };
	struct df_catalog *cat;
	struct df_sql sql;
	int err;

	if (x->in->only_table == NULL && !x->text.deeplake_index)
		return 0;
	cat = pg_catalog_load(x->s, x->w);
	if (cat == NULL) {
		df_sql_error_set(&x->out->error, 503,
				 "the database does not "
				 "answer: try again");
		return -EIO;
	}
	in.catalog = cat;
	err = df_sql_translate(&in, x->arena, &sql, &x->out->error);
	if (err == 0 && x->text.deeplake_index && !sql.ddl.skip) {
		const char *arg[] = { x->w->schema,  sql.ddl.name,
				      sql.ddl.table, sql.ddl.column,
				      sql.ddl.type,  sql.ddl.def };
		PGresult *res = pg_admin(
			x->s,
			"INSERT INTO "
			"deeplake_meta.indexes VALUES ($1, $2, $3, $4, $5, $6)"
			" ON CONFLICT DO NOTHING",
			6, arg);

		if (res == NULL)
			df_sql_error_set(&x->out->error, 503,
					 "the index could "
					 "not be noted: try again");
		PQclear(res);
	}
	df_catalog_put(cat);
	return x->out->error.status == 0 ? 0 : -EINVAL;
}

/* The vendor's indexes live in our table only.  1: it was one, and is gone. */
static int drop_noted(struct exec *x)
{
	const char *arg[] = { x->w->schema, x->text.table };
	PGresult *res;
	int n;

	if (!x->text.drop_index)
		return 0;
	res = pg_admin(x->s,
		       "DELETE FROM deeplake_meta.indexes WHERE schema = "
		       "$1 AND name = $2",
		       2, arg);
	n = res == NULL ? 0 : (int)strtol(PQcmdTuples(res), NULL, 10);
	PQclear(res);
	return n > 0;
}

static void after_ddl(struct exec *x)
{
	const char *arg[] = { x->w->schema, x->text.table };
	char *sql;

	if (x->out->error.status != 0)
		return;
	if (x->text.kind == DF_SQL_DROP_TABLE)
		PQclear(pg_admin(x->s,
				 "DELETE FROM deeplake_meta.indexes WHERE"
				 " schema = $1 AND table_name = $2",
				 2, arg));
	/* a pack is compressed already, and read by ranges */
	if (x->text.kind == DF_SQL_CREATE_TABLE && pg_is_pack(x->text.table)) {
		char *name = PQescapeIdentifier(x->c->pg, x->text.table,
						strlen(x->text.table));

		sql = name == NULL
			      ? NULL
			      : df_arena_printf(x->arena,
						"ALTER TABLE %s ALTER COLUMN "
						"data SET STORAGE EXTERNAL",
						name);
		if (sql != NULL)
			PQclear(PQexec(x->c->pg, sql));
		PQfreemem(name);
	}
}

static void empty_result(struct df_answer *out)
{
	df_buf_put_str(&out->body, "{\"columns\":[],\"rows\":[],"
				   "\"row_count\":0}");
}

void pg_run(struct df_store *store, const struct df_stmt *in,
	    struct df_answer *out)
{
	struct df_arena arena;
	struct exec x = { .s = (struct pg_store *)store,
			  .in = in,
			  .out = out,
			  .arena = &arena };
	int err;

	x.w = pg_ws_get(x.s, in->org, in->workspace, &err);
	if (x.w == NULL) {
		df_sql_error_set(&out->error, err == -EINVAL ? 404 : 503,
				 err == -EINVAL ? "Not found: workspace \"%s\" "
						  "does not exist"
						: "workspace \"%s\" cannot "
						  "be opened now: try again",
				 in->workspace);
		return;
	}
	df_arena_init(&arena, df_stmt_memory(in));
	if (pg_rewrite(in, x.w->schema, x.s->stand_in, &arena, &x.text,
		       &out->error) == 0) {
		out->kind = x.text.kind;
		(void)snprintf(out->table, sizeof(out->table), "%s",
			       x.text.table);
		if (in->read_only && x.text.kind > DF_SQL_SELECT)
			df_sql_error_set(&out->error, 403,
					 "permission denied: "
					 "this token may only read");
		else if (scope_check(&x) < 0)
			;
		else if (x.text.noop || x.text.deeplake_index || drop_noted(&x))
			empty_result(out);
		else if ((x.c = fresh_conn(&x.w->pool, in->timeout_ms)) == NULL)
			df_sql_error_set(&out->error, 503,
					 "no database "
					 "connection is free: try again");
		else {
			run_on(&x);
			after_ddl(&x);
			pg_put(&x.w->pool, x.c);
		}
	}
	df_arena_release(&arena);
}

/* ---- the feed */

void pg_feed(struct df_store *store, const struct df_feed_in *in,
	     struct df_answer *out)
{
	struct pg_store *s = (struct pg_store *)store;
	char after[32], limit[16], *name, *sql = NULL;
	const char *arg[] = { after, limit };
	struct pg_conn *c;
	PGresult *res;
	int64_t last = in->after;
	int err, n_col;
	struct pg_ws *w = pg_ws_get(s, in->org, in->workspace, &err);
	struct df_arena arena;

	out->kind = DF_SQL_SELECT;
	c = w == NULL ? NULL : fresh_conn(&w->pool, 5000);
	if (c == NULL) {
		df_sql_error_set(&out->error, 503,
				 "no database connection is "
				 "free: try again");
		return;
	}
	df_arena_init(&arena, 65536);
	(void)snprintf(after, sizeof(after), "%" PRId64, in->after);
	(void)snprintf(limit, sizeof(limit), "%u", in->limit);
	name = PQescapeIdentifier(c->pg, in->table, strlen(in->table));
	if (name != NULL)
		sql = df_arena_printf(&arena,
				      "SELECT * FROM %s WHERE n > "
				      "$1::bigint ORDER BY n LIMIT $2::int",
				      name);
	res = sql == NULL
		      ? NULL
		      : PQexecParams(c->pg, sql, 2, NULL, arg, NULL, NULL, 0);
	n_col = res == NULL ? -1 : PQfnumber(res, "n");
	if (PQresultStatus(res) != PGRES_TUPLES_OK) {
		pg_error(res, c->pg, &out->error);
		if (strstr(out->error.text, "relation") != NULL &&
		    strstr(out->error.text, "does not exist") != NULL)
			out->error.status = 404;
	} else {
		pg_put_result(res, (size_t)64 << 20, out, n_col, &last);
	}
	PQclear(res);
	PQfreemem(name);
	df_arena_release(&arena);
	pg_put(&w->pool, c);
}
