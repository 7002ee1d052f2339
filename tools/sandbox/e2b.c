/* e2b.c - the provider and its control plane calls; see e2b.h. */
#include "tools/sandbox/e2b.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/e2b_make.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/local.h"
#include "tools/sandbox/url.h"

#define CALL_MS 60000
#define STATE_TRIES 8

char *df_e2b_message(const struct df_resp *resp)
{
	json_t *o = json_loadb((const char *)resp->body.data, resp->body.len, 0,
			       NULL);
	const char *m = df_json_str(o, "message");

	if (!*m)
		m = df_json_str(o, "error");
	char *text = *m ? strndup(m, 400)
			: strndup(resp->body.len ? (const char *)resp->body.data
						 : "",
				  DF_MIN(resp->body.len, (size_t)120));
	json_decref(o);
	for (char *p = text; p && *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = ' ';
	return text;
}

int df_e2b_fail(int status, const struct df_resp *resp, const char *what)
{
	if (status == -EINTR)
		return status;
	if (status < 0) {
		df_log_error("%s: %s", what,
			     status == -ECONNREFUSED
				     ? "the server's certificate was refused"
				     : df_strerror(status));
		return status;
	}
	DF_FREE char *m = df_e2b_message(resp);
	const char *hint = "";
	int err = -EIO;
	if (status == 401) {
		hint = " (is E2B_API_KEY right?)";
		err = -EACCES;
	} else if (status == 403) {
		err = -EPERM;
	} else if (status == 404) {
		err = -ENOENT;
	} else if (status == 409) {
		err = -EBUSY;
	} else if (status == 429) {
		hint = " (wait, or kill sandboxes that are not needed)";
		err = -EAGAIN;
	} else if (status == 507) {
		hint = " (the sandbox's disk is full)";
		err = -ENOSPC;
	} else if (status == 502 || status == 503 || status == 504) {
		err = DF_EOFFLINE;
	}
	df_log_error("%s: HTTP %d%s%s%s", what, status, m && *m ? ": " : "",
		     m ? m : "", hint);
	return err;
}

int df_e2b_call_resp(struct df_e2b *e, const char *method, const char *path,
		     json_t *body, struct df_resp *resp)
{
	DF_FREE char *url = df_strf("%s%s", e->api_url, path);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct curl_slist *l = NULL;
	bool get = !strcmp(method, "GET");

	json_decref(body);
	if (!url || (body && !text))
		return -ENOMEM;
	if (e->key)
		l = df_header(l, "X-API-Key", e->key);
	if (text)
		l = df_header(l, "Content-Type", "application/json");
	l = df_header(l, "Expect", "");
	struct df_req req = {
		.method = method,
		.url = url,
		.headers = l,
		.body = text,
		.body_len = text ? strlen(text) : 0,
		.has_body = text,
		.timeout_ms = CALL_MS,
		.repeat = get || !strcmp(method, "DELETE"),
	};
	int err = df_http_do(e->http, &req, resp);
	free(text);
	return err ? err : (int)resp->status;
}

int df_e2b_call(struct df_e2b *e, const char *method, const char *path,
		json_t *body, json_t **out)
{
	struct df_resp resp;

	df_resp_init(&resp);
	int status = df_e2b_call_resp(e, method, path, body, &resp);
	if (out)
		*out = status > 0 ? json_loadb((const char *)resp.body.data,
					       resp.body.len, 0, NULL)
				  : NULL;
	if (status < 0 || status >= 400)
		if (!(status == 404 || status == 409))
			status = df_e2b_fail(status, &resp, path);
	df_resp_release(&resp);
	return status;
}

char *df_e2b_port_url(struct df_e2b *e, const struct df_sb *sb, int port,
		      const char *path)
{
	static const char *const shared[] = { "e2b.app", "e2b.dev", "e2b.pro",
					      "e2b-staging.dev" };
	const char *domain = sb->domain ? sb->domain : e->domain;

	if (e->sandbox_url)
		return df_strf("%s%s", e->sandbox_url, path);
	if (e->debug)
		return df_strf("http://localhost:%d%s", port, path);
	for (size_t i = 0; i < DF_ARRAY_LEN(shared); i++)
		if (!strcmp(domain, shared[i]))
			return df_strf("https://sandbox.%s%s", domain, path);
	return df_strf("https://%d-%s.%s%s", port, sb->id, domain, path);
}

struct curl_slist *df_e2b_headers(const struct df_sb *sb, int port,
				  const char *user)
{
	struct curl_slist *l = NULL;
	char text[16];

	snprintf(text, sizeof(text), "%d", port);
	l = df_header(l, "E2b-Sandbox-Id", sb->id);
	l = df_header(l, "E2b-Sandbox-Port", text);
	if (sb->token)
		l = df_header(l, "X-Access-Token", sb->token);
	if (sb->traffic_token)
		l = df_header(l, "E2b-Traffic-Access-Token", sb->traffic_token);
	if (user) {
		struct df_buf b;
		DF_FREE char *plain = df_strf("%s:", user);
		df_buf_init(&b, 4096);
		df_buf_put_str(&b, "Basic ");
		if (plain)
			df_b64_put(&b, plain, strlen(plain));
		l = df_header(l, "Authorization", df_buf_cstr(&b));
		df_buf_release(&b);
	}
	/* an unasked "Expect: 100-continue" costs a second on HTTP/1.1 */
	return df_header(l, "Expect", "");
}

static char *sandbox_path(const struct df_sb *sb, const char *tail)
{
	DF_FREE char *id = df_url_quote(sb->id);

	return df_strf("/sandboxes/%s%s", id ? id : "", tail);
}

int df_e2b_sandbox(const json_t *o, struct df_sb **out)
{
	struct df_sb *sb = NULL;

	int err = df_sb_new(o, &sb);
	if (err)
		return err;
	if (!sb->id || strlen(sb->id) > 128 ||
	    strspn(sb->id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
			   "YZ0123456789-_") != strlen(sb->id)) {
		df_sb_free(sb);
		df_log_error("the server's answer has no usable sandboxID");
		return -EPROTO;
	}
	sb->token = df_json_dup(o, "envdAccessToken");
	sb->traffic_token = df_json_dup(o, "trafficAccessToken");
	sb->domain = df_json_dup(o, "domain");
	*out = sb;
	return 0;
}

static int e2b_attach(struct df_prov *p, const char *id, struct df_sb **out)
{
	struct df_e2b *e = (struct df_e2b *)p;
	DF_FREE char *quoted = df_url_quote(id);
	DF_FREE char *path = df_strf("/sandboxes/%s", quoted ? quoted : "");
	json_t *o = NULL;

	if (e->debug) {
		o = json_pack("{s:s}", "sandboxID", "debug_sandbox_id");
		int err = df_e2b_sandbox(o, out);
		json_decref(o);
		return err;
	}
	if (!*id)
		return -ENOENT;
	int status = df_e2b_call(e, "GET", path, NULL, &o);
	int err = status < 0          ? status
		  : status / 100 == 2 ? df_e2b_sandbox(o, out)
				      : -ENOENT;
	json_decref(o);
	return err;
}

/* Keys and values quoted twice, the whole once more: the server unquotes the
 * query, then the filter, then each part. */
static char *list_query(const struct df_sb_filter *f, const char *token)
{
	struct df_buf b;

	df_buf_init(&b, 65536);
	for (size_t i = 0; f->metadata && i < f->metadata->n; i++) {
		DF_FREE char *k1 = df_url_quote(f->metadata->v[i].key);
		DF_FREE char *v1 = df_url_quote(f->metadata->v[i].value);
		DF_FREE char *k2 = df_url_quote(k1 ? k1 : "");
		DF_FREE char *v2 = df_url_quote(v1 ? v1 : "");
		df_buf_printf(&b, "%s%s=%s", i ? "&" : "", k2 ? k2 : "",
			      v2 ? v2 : "");
	}
	DF_FREE char *meta = df_url_quote(df_buf_cstr(&b));
	DF_FREE char *next = df_url_quote(token);
	bool any = b.len;
	df_buf_release(&b);
	return df_strf("/v2/sandboxes?limit=100&state=%s%s%s%s%s",
		       f->state ? f->state : "running,paused",
		       any ? "&metadata=" : "", any && meta ? meta : "",
		       *token ? "&nextToken=" : "", *token && next ? next : "");
}

static int list_page(struct df_e2b *e, const struct df_sb_filter *f,
		     char *token, size_t token_size, json_t *to)
{
	DF_FREE char *path = list_query(f, token);
	struct df_resp resp;
	json_t *o;
	size_t i;

	df_resp_init(&resp);
	int status = path ? df_e2b_call_resp(e, "GET", path, NULL, &resp)
			  : -ENOMEM;
	if (status == 404 || status == 405) {
		resp.next_token[0] = 0;
		status = df_e2b_call_resp(e, "GET", "/sandboxes", NULL, &resp);
	}
	json_t *page = json_loadb((const char *)resp.body.data, resp.body.len,
				  0, NULL);
	int err = 0;
	if (status / 100 != 2 || !json_is_array(page))
		err = df_e2b_fail(status / 100 == 2 ? -EPROTO : status, &resp,
				  "list sandboxes");
	if (!err)
		/* servers that know less leave the filters out */
		json_array_foreach(page, i, o) if (df_sb_matches(o, f))
			json_array_append(to, o);
	snprintf(token, token_size, "%s", err ? "" : resp.next_token);
	json_decref(page);
	df_resp_release(&resp);
	return err;
}

static int e2b_list(struct df_prov *p, const struct df_sb_filter *f,
		    json_t **out)
{
	struct df_e2b *e = (struct df_e2b *)p;
	char token[1024] = "";
	int err = 0;

	*out = json_array();
	for (int page = 0; !e->debug && !err && page < 1000; page++) {
		err = list_page(e, f, token, sizeof(token), *out);
		if (!*token)
			break;
	}
	return err;
}

static int e2b_info(struct df_prov *p, struct df_sb *sb, json_t **out)
{
	struct df_e2b *e = (struct df_e2b *)p;
	DF_FREE char *path = sandbox_path(sb, "");

	if (e->debug) {
		*out = json_pack("{s:s, s:s}", "sandboxID", sb->id, "state",
				 "running");
		return 0;
	}
	int status = df_e2b_call(e, "GET", path, NULL, out);
	if (status < 0 || status >= 400 || !*out) {
		json_decref(*out);
		*out = NULL;
		return status == 404 ? -ENOENT : status < 0 ? status : -EIO;
	}
	/* a server that does not say it: it was found, so it runs */
	if (!*df_json_str(*out, "state"))
		json_object_set_new(*out, "state", json_string("running"));
	return 0;
}

/* A call whose answer carries nothing; 409 = it is changing state: again. */
static int simple(struct df_e2b *e, struct df_sb *sb, const char *method,
		  const char *tail, json_t *body, const char *what)
{
	DF_FREE char *path = sandbox_path(sb, tail);
	DF_FREE char *label = df_strf("%s %s", what, sb->id);
	struct df_resp resp;
	int status;

	df_resp_init(&resp);
	for (int i = 0;; i++) {
		status = e->debug ? 204
				  : df_e2b_call_resp(e, method, path,
						     json_incref(body), &resp);
		if (status != 409 || i + 1 >= STATE_TRIES)
			break;
		if (df_intr_sleep_ms(250 << DF_MIN(i, 4)))
			break;
	}
	int err = 0;
	if (status == 404)
		err = -ENOENT;
	else if (status < 0 || status >= 300)
		err = df_e2b_fail(status, &resp, label);
	json_decref(body);
	df_resp_release(&resp);
	return err;
}

static int e2b_kill(struct df_prov *p, struct df_sb *sb)
{
	return simple((struct df_e2b *)p, sb, "DELETE", "", NULL, "kill");
}

static int said(struct df_sb *sb, int err)
{
	if (err == -ENOENT)
		df_log_error("sandbox %s has ended", sb->id);
	return err;
}

static int e2b_timeout(struct df_prov *p, struct df_sb *sb, long s)
{
	return said(sb, simple((struct df_e2b *)p, sb, "POST", "/timeout",
			       json_pack("{s:I}", "timeout", (json_int_t)s),
			       "timeout of"));
}

static int e2b_pause(struct df_prov *p, struct df_sb *sb)
{
	struct df_e2b *e = (struct df_e2b *)p;
	DF_FREE char *path = sandbox_path(sb, "/pause");
	struct df_resp resp;
	json_t *info = NULL;

	df_resp_init(&resp);
	int status = df_e2b_call_resp(e, "POST", path,
				      json_pack("{s:b}", "memory", 1), &resp);
	int err = 0;
	if (status == 404)
		err = said(sb, -ENOENT);
	else if (status == 409 && !e2b_info(p, sb, &info) &&
		 !strcmp(df_json_str(info, "state"), "paused"))
		err = df_fail(-EALREADY, "sandbox %s is paused", sb->id);
	else if (status < 0 || status >= 300)
		err = df_e2b_fail(status, &resp, "pause");
	json_decref(info);
	df_resp_release(&resp);
	return err;
}

static int e2b_resume(struct df_prov *p, struct df_sb *sb, long timeout_s)
{
	struct df_e2b *e = (struct df_e2b *)p;
	json_t *o = NULL;

	int err = df_e2b_connect(e, sb, timeout_s, &o);
	if (err)
		return said(sb, err);
	/* the token may be a new one */
	char *token = df_json_dup(o, "envdAccessToken");
	if (token) {
		free(sb->token);
		sb->token = token;
	}
	sb->fresh = true;
	json_decref(o);
	return 0;
}

static int e2b_snapshot(struct df_prov *p, struct df_sb *sb, const char *name,
			char **id)
{
	struct df_e2b *e = (struct df_e2b *)p;
	DF_FREE char *path = sandbox_path(sb, "/snapshots");
	struct df_resp resp;

	df_resp_init(&resp);
	int status = df_e2b_call_resp(e, "POST", path,
				      json_pack("{s:s*}", "name", name), &resp);
	json_t *o = json_loadb((const char *)resp.body.data, resp.body.len, 0,
			       NULL);
	*id = status / 100 == 2 ? df_json_dup(o, "snapshotID") : NULL;
	int err = *id ? 0
		  : status / 100 == 2
			  ? df_fail(-EPROTO, "snapshot of %s", sb->id)
			  : df_e2b_fail(status, &resp, "snapshot");
	json_decref(o);
	df_resp_release(&resp);
	return err;
}

static int e2b_fork(struct df_prov *p, struct df_sb *sb, int count,
		    long timeout_s, json_t **ids)
{
	struct df_e2b *e = (struct df_e2b *)p;
	DF_FREE char *path = sandbox_path(sb, "/fork");
	struct df_resp resp;
	json_t *one;
	size_t i;

	df_resp_init(&resp);
	int status = df_e2b_call_resp(e, "POST", path,
				      json_pack("{s:I, s:i}", "timeout",
						(json_int_t)timeout_s, "count",
						count),
				      &resp);
	json_t *list = json_loadb((const char *)resp.body.data, resp.body.len,
				  0, NULL);
	int err = status / 100 == 2 && json_is_array(list)
			  ? 0
			  : df_e2b_fail(status / 100 == 2 ? -EPROTO : status,
					&resp, "fork");
	*ids = json_array();
	if (!err)
		json_array_foreach(list, i, one)
		{
			json_t *id = json_object_get(
				json_object_get(one, "sandbox"), "sandboxID");
			const json_t *why = json_object_get(one, "error");
			if (json_is_string(id))
				json_array_append(*ids, id);
			else
				df_log_error("one copy failed: %s",
					     df_json_str(why, "message"));
		}
	json_decref(list);
	df_resp_release(&resp);
	return err;
}

static int e2b_logs(struct df_prov *p, struct df_sb *sb, int64_t *cursor,
		    json_t **lines)
{
	struct df_e2b *e = (struct df_e2b *)p;
	DF_FREE char *path = df_strf("/v2/sandboxes/%s/logs?cursor=%lld"
				     "&limit=1000&direction=forward",
				     sb->id, (long long)*cursor);
	DF_FREE char *old = sandbox_path(sb, "/logs");
	json_t *o = NULL;
	json_t *line;
	size_t i;

	*lines = json_array();
	int status = df_e2b_call(e, "GET", path, NULL, &o);
	if (status == 404 && *cursor == 0) {
		json_decref(o);
		status = df_e2b_call(e, "GET", old, NULL, &o);
	}
	json_array_foreach(json_object_get(o, "logs"), i, line)
	{
		const char *when = df_json_str(line, "timestamp");
		const char *dot = strchr(when, '.');
		int64_t ms = df_time_parse(when) * 1000;
		if (dot)
			ms += strtol(dot + 1, NULL, 10) % 1000;
		if (!json_object_get(line, "message"))
			json_object_set(line, "message",
					json_object_get(line, "line"));
		json_array_append(*lines, line);
		*cursor = DF_MAX(*cursor, ms + 1);
	}
	json_decref(o);
	return status == 404 ? -ENOENT : status < 0 ? status : 0;
}

static int e2b_url(struct df_prov *p, struct df_sb *sb, int port, char **url)
{
	struct df_e2b *e = (struct df_e2b *)p;
	const char *domain = sb->domain ? sb->domain : e->domain;

	*url = e->debug ? df_strf("http://localhost:%d", port)
			: df_strf("https://%d-%s.%s", port, sb->id, domain);
	return *url ? 0 : -ENOMEM;
}

static void e2b_free(struct df_prov *p)
{
	struct df_e2b *e = (struct df_e2b *)p;

	df_http_free(e->http);
	df_http_free(e->streams);
	if (e->key)
		explicit_bzero(e->key, strlen(e->key));
	free(e->key);
	free(e->domain);
	free(e->api_url);
	free(e->sandbox_url);
	free(e);
}

static const struct df_prov_ops e2b_ops = {
	.name = "e2b",
	.create = df_e2b_create,
	.attach = e2b_attach,
	.list = e2b_list,
	.info = e2b_info,
	.kill = e2b_kill,
	.set_timeout = e2b_timeout,
	.pause = e2b_pause,
	.resume = e2b_resume,
	.snapshot = e2b_snapshot,
	.fork = e2b_fork,
	.logs = e2b_logs,
	.url = e2b_url,
	.exec = df_e2b_exec,
	.get = df_e2b_get,
	.put = df_e2b_put,
	.fs = df_e2b_fs,
	.free = e2b_free,
};

static char *env_url(const char *name)
{
	const char *v = getenv(name);
	size_t len = v ? strlen(v) : 0;

	while (len && v[len - 1] == '/')
		len--;
	return len ? strndup(v, len) : NULL;
}

int df_e2b_new(struct df_prov **out)
{
	const char *key = getenv("E2B_API_KEY");
	const char *debug = getenv("E2B_DEBUG");
	const char *domain = getenv("E2B_DOMAIN");
	struct df_e2b *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->prov.ops = &e2b_ops;
	e->debug = debug && !strcmp(debug, "true");
	e->key = key && *key ? strdup(key) : NULL;
	e->domain = strdup(domain && *domain ? domain : "e2b.app");
	e->api_url = env_url("E2B_API_URL");
	e->sandbox_url = env_url("E2B_SANDBOX_URL");
	if (!e->api_url)
		e->api_url = e->debug ? strdup("http://localhost:3000")
				      : df_strf("https://api.%s", e->domain);
	int err = df_http_new(&e->http);
	if (!err)
		err = df_http_new(&e->streams);
	if (!err && !e->key && !e->debug) {
		df_log_error("E2B_API_KEY is not set: put the team's key "
			     "there, or use --provider local");
		err = -EACCES;
	}
	if (err)
		e2b_free(&e->prov);
	else
		*out = &e->prov;
	return err;
}
