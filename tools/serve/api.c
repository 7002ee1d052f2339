/* api.c - which request is which; see server.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "tools/serve/server.h"

void df_req_error(struct df_req *r, int status, const char *code,
		  const char *fmt, ...)
{
	char text[700];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->status = status;
	df_buf_reset(&r->out);
	df_buf_put_str(&r->out, "{\"error\":");
	df_json_puts(&r->out, text);
	df_buf_put_str(&r->out, ",\"code\":");
	df_json_puts(&r->out, code);
	df_buf_put_str(&r->out, ",\"request_id\":");
	df_json_puts(&r->out, r->id);
	df_buf_put_u8(&r->out, '}');
}

static bool seg_is(const struct df_req *r, int i, const char *word)
{
	return i < r->n_seg && strcmp(r->seg[i], word) == 0;
}

static enum df_endpoint endpoint_workspace(const struct df_req *r)
{
	if (seg_is(r, 2, "capabilities"))
		return DF_EP_CAPABILITIES;
	if (seg_is(r, 2, "files"))
		return DF_EP_FILES;
	if (!seg_is(r, 2, "tables"))
		return DF_EP_WORKSPACES;
	if (seg_is(r, 3, "query") && r->n_seg == 4)
		return DF_EP_QUERY;
	if (seg_is(r, 3, "query") && seg_is(r, 4, "batch"))
		return DF_EP_BATCH;
	if (seg_is(r, 4, "feed"))
		return DF_EP_FEED;
	return DF_EP_TABLES;
}

enum df_endpoint df_api_endpoint(const struct df_req *r)
{
	static const struct {
		const char *word;
		enum df_endpoint endpoint;
	} first[] = {
		{ "health", DF_EP_HEALTH },   { "ready", DF_EP_HEALTH },
		{ "metrics", DF_EP_METRICS }, { "me", DF_EP_ME },
		{ "users", DF_EP_ME },        { "organizations", DF_EP_ORGS },
		{ "auth", DF_EP_AUTH },       { "device", DF_EP_AUTH },
	};
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(first); i++)
		if (seg_is(r, 0, first[i].word))
			return first[i].endpoint;
	if (seg_is(r, 0, "workspaces"))
		return r->n_seg > 2 ? endpoint_workspace(r) : DF_EP_WORKSPACES;
	return DF_EP_OTHER;
}

static void api_capabilities(struct df_req *r, const char *ws)
{
	int there = r->server->store->ops->ws_exists(r->server->store,
						     r->caller.org, ws);

	if (there <= 0 || r->plan.no_feed) {
		df_req_error(r, 404, "NOT_FOUND", "Not found: %s", r->seg[2]);
		return;
	}
	r->status = 200;
	df_buf_printf(&r->out,
		      "{\"server\":\"deeplakefs\",\"version\":\"%s\","
		      "\"store\":\"%s\",\"feed\":%s,\"unique\":%s,"
		      "\"read_your_write\":true,\"read_only\":%s,"
		      "\"max_body_bytes\":%zu}",
		      DF_VERSION, r->server->store->ops->name,
		      r->server->store->feed ? "true" : "false",
		      r->plan.no_unique ? "false" : "true",
		      r->caller.row.read_only ? "true" : "false",
		      r->server->conf.max_body);
}

static bool api_public(struct df_req *r)
{
	if (seg_is(r, 0, "health") && r->n_seg == 1) {
		r->status = 200;
		df_buf_put_str(&r->out, "{\"status\":\"ok\"}");
	} else if (seg_is(r, 0, "ready") && r->n_seg == 1) {
		bool up = r->server->store->ops->ws_exists(
				  r->server->store,
				  df_auth_org(r->server->auth),
				  "ready-probe") >= 0 &&
			  !atomic_load(&r->server->stopping);

		r->status = up ? 200 : 503;
		df_buf_printf(&r->out, "{\"status\":\"%s\"}",
			      up ? "ready" : "not ready");
	} else if (r->endpoint == DF_EP_METRICS) {
		r->status = 200;
		r->type = "text/plain; version=0.0.4";
		df_metric_put(&r->out);
	} else if (r->endpoint == DF_EP_AUTH) {
		df_api_device(r);
	} else {
		return false;
	}
	return true;
}

/* False: parked (the feed), or df_req_done was called. */
static bool api_route(struct df_req *r)
{
	const char *ws = r->n_seg > 1 ? r->seg[1] : "";

	switch (r->endpoint) {
	case DF_EP_ME:
	case DF_EP_ORGS:
		df_api_account(r);
		return true;
	case DF_EP_WORKSPACES:
		df_api_workspaces(r);
		return true;
	case DF_EP_TABLES:
		df_api_tables(r, ws);
		return true;
	case DF_EP_QUERY:
	case DF_EP_BATCH:
		df_api_query(r, ws);
		return true;
	case DF_EP_FEED:
		df_feed_start(r, ws, r->seg[3]);
		return false;
	case DF_EP_FILES:
		df_api_files(r, ws);
		return true;
	case DF_EP_CAPABILITIES:
		api_capabilities(r, ws);
		return true;
	default:
		break;
	}
	if (seg_is(r, 0, "api") && seg_is(r, 3, "ds") && seg_is(r, 5, "creds"))
		df_req_error(r, 404, "NOT_FOUND",
			     "this server has no Deeplake "
			     "object storage: write with SQL (POST "
			     "/workspaces/%s/tables/query), not with ingest()",
			     r->seg[2]);
	else
		df_req_error(r, 404, "NOT_FOUND", "Not found: %s %s", r->method,
			     r->n_seg > 0 ? r->seg[0] : "/");
	return true;
}

/* Answers that are made without doing anything. */
static bool api_simulated(struct df_req *r)
{
	const struct df_sim_plan *p = &r->plan;

	if (p->drop) {
		r->status = 0;
		return true;
	}
	if (p->status == 0)
		return false;
	r->retry_after_s = p->retry_after_s;
	if (p->html) {
		r->status = p->status;
		r->type = "text/html";
		df_buf_put_str(&r->out,
			       "<html><head><title>403 Forbidden"
			       "</title></head><body><center><h1>403 Forbidden"
			       "</h1></center></body></html>\n");
	} else if (p->status == 402) {
		r->status = 402;
		df_buf_put_str(&r->out,
			       "{\"balance_cents\":0,\"error\":"
			       "\"insufficient balance, please top up\"}");
	} else {
		df_req_error(r, p->status, "SIMULATED",
			     p->status == 413   ? "statement too large"
			     : p->status == 401 ? "invalid token"
						: "simulated %d",
			     p->status);
	}
	return true;
}

static void api_finish(struct df_req *r)
{
	if (r->plan.lose != 0) {
		if (r->plan.lose < 0)
			r->status = 0;
		else
			df_req_error(r, r->plan.lose, "SIMULATED",
				     "simulated %d after the statement ran",
				     r->plan.lose);
	}
	df_req_done(r);
}

static void api_do(void *arg)
{
	struct df_req *r = arg;

	if (api_simulated(r)) {
		df_req_done(r);
		return;
	}
	if (r->body.err != 0)
		df_req_error(r, r->body.err == -EFBIG ? 413 : 503, "TOO_LARGE",
			     "the body is over %zu bytes",
			     r->server->conf.max_body);
	else if (!api_public(r) && df_auth_check(r) == 0 && !api_route(r))
		return;
	api_finish(r);
}

/* The statement's text for the simulation to look at: the first characters
 * after "query". */
static void api_peek(const struct df_req *r, const char **text, size_t *len)
{
	const char *p = NULL, *end;

	*text = "";
	*len = 0;
	if ((r->endpoint != DF_EP_QUERY && r->endpoint != DF_EP_BATCH) ||
	    r->body.len == 0)
		return;
	end = (const char *)r->body.data + r->body.len;
	p = memmem(r->body.data, r->body.len, "\"query\"", 7);
	if (p == NULL)
		return;
	*text = p + 7;
	*len = DF_MIN((size_t)(end - *text), (size_t)400);
}

void df_api_run(void *arg)
{
	struct df_req *r = arg;
	struct df_server *s = r->server;
	const char *text;
	size_t len;

	api_peek(r, &text, &len);
	df_sim_plan(s->sim, r->endpoint, text, len, r->body.len, r->nth,
		    &r->plan);
	if (r->plan.latency_ms > 0 &&
	    df_work_after(s->work, r->plan.latency_ms, api_do, r, NULL) == 0)
		return;
	api_do(r);
}
