/* statement.c - POST /workspaces/WS/tables/query and /batch; see server.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "tools/serve/server.h"

#define TIMEOUT_MS 9000 /* answers come before clients' 10 s */
#define TIMEOUT_MAX_MS 300000

void df_api_sql_error(struct df_req *r, const struct df_sql_error *e)
{
	if (e->status == 503)
		r->retry_after_s = 1;
	df_req_error(r, e->status, e->code, "%s", e->text);
}

/* What of the body a statement needs; strings point into the body. */
static int statement_body(struct df_req *r, struct df_arena *a,
			  struct df_stmt *st)
{
	static const char *const keys[] = { "query", "params", "params_batch",
					    "timeout_ms", "quiet" };
	struct df_json field[DF_ARRAY_LEN(keys)], query, timeout;
	char text[32];

	if (df_json_fields(r->body.data == NULL ? ""
						: (const char *)r->body.data,
			   r->body.len, keys, field, DF_ARRAY_LEN(keys)) < 0) {
		df_req_error(r, 400, "INVALID_REQUEST",
			     "the body is not a "
			     "JSON object: send {\"query\": \"SELECT ...\", "
			     "\"params\": [...]}");
		return -EINVAL;
	}
	query = field[0];
	st->params = field[1];
	st->batch = field[2];
	timeout = field[3];
	if (query.kind != DF_J_STRING ||
	    df_json_text(&query, a, &st->text, &st->len) < 0) {
		df_req_error(r, 400, "INVALID_REQUEST",
			     "\"query\" is missing "
			     "or no string");
		return -EINVAL;
	}
	if (st->params.kind == DF_J_NULL)
		st->params.kind = DF_J_NONE;
	if (st->params.kind != DF_J_NONE && st->params.kind != DF_J_ARRAY) {
		df_req_error(r, 400, "INVALID_REQUEST",
			     "\"params\" is not an "
			     "array");
		return -EINVAL;
	}
	st->quiet = field[4].kind == DF_J_TRUE;
	st->timeout_ms = TIMEOUT_MS;
	if (timeout.kind == DF_J_NUMBER && timeout.len < sizeof(text)) {
		memcpy(text, timeout.p, timeout.len);
		text[timeout.len] = '\0';
		st->timeout_ms = DF_MIN(DF_MAX(strtoll(text, NULL, 10), 1),
					TIMEOUT_MAX_MS);
	}
	return 0;
}

static void statement_scope(struct df_req *r, const char *ws,
			    struct df_stmt *st)
{
	st->org = r->caller.org;
	st->workspace = ws;
	st->only_table = r->caller.only_table;
	st->read_only = r->caller.row.read_only;
	st->max_answer = r->server->conf.max_answer;
	st->no_unique = r->plan.no_unique;
}

/* ---- rows that become visible late (simulation) */

struct late {
	struct df_server *server;
	struct df_caller caller;
	char ws[80];
	struct df_buf body;
	struct df_stmt st;
	struct df_arena arena;
};

static void late_run(void *arg)
{
	struct late *l = arg;
	struct df_answer out;

	df_answer_init(&out);
	l->st.dry = false;
	l->server->store->ops->run(l->server->store, &l->st, &out);
	if (out.error.status != 0)
		df_log_debug("simulation: a late row failed: %s",
			     out.error.text);
	df_answer_release(&out);
	df_arena_release(&l->arena);
	df_buf_release(&l->body);
	free(l);
}

/* Keep the body: what the statement points to is in it. */
static void late_start(struct df_req *r, const char *ws, int times)
{
	struct late *l = calloc(1, sizeof(*l));
	struct df_req copy = { .server = r->server, .plan = r->plan };

	if (l == NULL)
		return;
	l->server = r->server;
	l->caller = r->caller;
	(void)snprintf(l->ws, sizeof(l->ws), "%s", ws);
	df_buf_init(&l->body, 0);
	df_buf_put(&l->body, r->body.data, r->body.len);
	df_arena_init(&l->arena, r->body.len * 2 + 4096);
	copy.body = l->body;
	copy.caller = l->caller;
	df_buf_init(&copy.out, 0);
	if (l->body.err != 0 || statement_body(&copy, &l->arena, &l->st) < 0) {
		df_arena_release(&l->arena);
		df_buf_release(&l->body);
		free(l);
	} else {
		statement_scope(&copy, l->ws, &l->st);
		l->st.org = l->caller.org;
		l->st.only_table = l->caller.row.table[0] != '\0'
					   ? l->caller.row.table
					   : NULL;
		if (df_work_after(r->server->work, r->plan.visible_after_ms,
				  late_run, l, NULL) < 0)
			late_run(l);
		if (times > 1)
			late_start(r, ws, times - 1);
	}
	df_buf_release(&copy.out);
}

static void statement_run(struct df_req *r, const char *ws, struct df_stmt *st,
			  struct df_answer *out)
{
	struct df_store *store = r->server->store;
	const struct df_sim_plan *p = &r->plan;

	st->dry = p->forget || p->visible_after_ms > 0;
	store->ops->run(store, st, out);
	if (out->error.status != 0 || p->forget)
		return;
	if (p->visible_after_ms > 0) {
		late_start(r, ws, p->twice ? 2 : 1);
	} else if (p->twice) {
		struct df_answer again;

		df_answer_init(&again);
		store->ops->run(store, st, &again);
		df_answer_release(&again);
	}
}

static void empty_answer(struct df_answer *out)
{
	/* the columns stay, the rows go */
	uint8_t *rows =
		memmem(out->body.data, out->body.len, "],\"rows\":[", 10);

	if (rows == NULL)
		return;
	out->body.len = (size_t)(rows - out->body.data) + 10;
	df_buf_put_str(&out->body, "],\"row_count\":0}");
	out->rows = 0;
}

static void statement_answer(struct df_req *r, struct df_answer *out)
{
	r->kind = out->kind;
	(void)snprintf(r->table, sizeof(r->table), "%s", out->table);
	if (out->error.status != 0) {
		df_api_sql_error(r, &out->error);
		return;
	}
	if (r->plan.empty)
		empty_answer(out);
	r->status = 200;
	r->rows = out->rows;
	df_buf_release(&r->out);
	r->out = out->body;
	df_buf_init(&out->body, 0);
}

static bool workspace_there(struct df_req *r, const char *ws)
{
	struct df_store *store = r->server->store;
	int there = df_workspace_id_ok(ws)
			    ? store->ops->ws_exists(store, r->caller.org, ws)
			    : 0;

	if (there > 0)
		return true;
	if (there < 0)
		df_req_error(r, 503, "INTERNAL",
			     "the store does not answer: "
			     "try again");
	else
		df_req_error(r, 404, "NOT_FOUND",
			     "Not found: workspace \"%s\" "
			     "does not exist: create it with POST /workspaces "
			     "{\"id\": ...}",
			     ws);
	return false;
}

void df_api_query(struct df_req *r, const char *ws)
{
	struct df_stmt st = { .org = r->caller.org };
	struct df_answer out;
	struct df_arena a;

	if (strcmp(r->method, "POST") != 0) {
		df_req_error(r, 405, "METHOD_NOT_ALLOWED", "send it with POST");
		return;
	}
	if (!workspace_there(r, ws))
		return;
	df_arena_init(&a, r->body.len * 2 + 4096);
	df_answer_init(&out);
	if (statement_body(r, &a, &st) == 0) {
		statement_scope(r, ws, &st);
		if (r->endpoint == DF_EP_BATCH && st.batch.kind != DF_J_ARRAY) {
			df_req_error(r, 400, "INVALID_REQUEST",
				     "\"params_batch\" is missing or no array "
				     "of arrays");
		} else {
			if (r->endpoint == DF_EP_QUERY)
				st.batch.kind = DF_J_NONE;
			statement_run(r, ws, &st, &out);
			statement_answer(r, &out);
		}
	}
	df_answer_release(&out);
	df_arena_release(&a);
}

void df_api_statement(struct df_req *r, const char *ws, const char *text,
		      struct df_answer *out)
{
	struct df_stmt st = { .text = text,
			      .len = strlen(text),
			      .timeout_ms = TIMEOUT_MS };

	statement_scope(r, ws, &st);
	r->server->store->ops->run(r->server->store, &st, out);
	r->kind = out->kind;
	(void)snprintf(r->table, sizeof(r->table), "%s", out->table);
}
