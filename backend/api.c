/* api.c - see api.h. */
#include "backend/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/retry.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/log.h"

#define STMT_CEILING ((size_t)48 << 20)
/* An attempt may take this, and more for many bytes at this pace: below it a
 * hung server is noticed and asked again, well before a long deadline. */
#define ATTEMPT_MS 45000
#define ATTEMPT_BYTES_PER_MS 16

struct df_api {
	struct df_http *http;
	struct df_retry retry;
	char *workspace;     /* fixed */
	char *prefix;        /* fixed; "/workspaces/WS" encoded */
	int64_t patience_ms; /* fixed */

	struct df_lock lock;
	uint64_t retries;   /* lock */
	int err;            /* lock; 0 or the trouble now */
	char text[256];     /* lock */
	int64_t since_ms;   /* lock */
	int64_t away_ns;    /* lock; nobody there since; 0 = not so */
	int64_t last_ok_ms; /* lock */
};

/* ---- life */

int df_api_new(const struct df_api_conf *conf, struct df_api **out)
{
	struct df_http_conf http = {
		.base_url = conf->api_url,
		.ca_file = conf->ca_file,
		.user_agent = conf->user_agent,
		.bwlimit = conf->bwlimit,
	};
	struct df_api *api = calloc(1, sizeof(*api));

	if (!api)
		return -ENOMEM;
	df_lock_init(&api->lock);
	df_retry_init(&api->retry);
	api->patience_ms = conf->patience_ms;
	int err = df_http_new(&http, &api->http);
	DF_FREE char *ws = df_api_encode(conf->workspace);
	api->workspace = strdup(conf->workspace);
	api->prefix = ws ? df_strf("/workspaces/%s", ws) : NULL;
	if (!err && (!api->workspace || !api->prefix))
		err = -ENOMEM;
	if (err) {
		df_api_free(api);
		return err;
	}
	*out = api;
	return 0;
}

int df_api_set_auth(struct df_api *api, const char *token, const char *org)
{
	return df_http_set_auth(api->http, token, org);
}

void df_api_reset(struct df_api *api)
{
	df_http_reset(api->http);
}

void df_api_stop(struct df_api *api)
{
	df_retry_stop(&api->retry);
	df_http_stop(api->http);
}

void df_api_free(struct df_api *api)
{
	if (!api)
		return;
	df_http_free(api->http);
	df_retry_release(&api->retry);
	df_lock_release(&api->lock);
	free(api->workspace);
	free(api->prefix);
	free(api);
}

const char *df_api_base(const struct df_api *api)
{
	return df_http_base(api->http);
}

const char *df_api_workspace(const struct df_api *api)
{
	return api->workspace;
}

char *df_api_encode(const char *segment)
{
	static const char digits[] = "0123456789ABCDEF";
	char *out = malloc(strlen(segment) * 3 + 1), *p = out;

	if (!out)
		return NULL;
	for (const char *s = segment; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
		    (c >= 'a' && c <= 'z') || strchr("-_~", c)) {
			*p++ = (char)c;
			continue;
		}
		*p++ = '%';
		*p++ = digits[c >> 4];
		*p++ = digits[c & 15];
	}
	*p = 0;
	return out;
}

char *df_api_path(const struct df_api *api, const char *fmt, ...)
{
	char *rest = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&rest, fmt, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	char *path = df_strf("%s%s", api->prefix, rest);
	free(rest);
	return path;
}

/* ---- statements */

/* Bytes of the UTF-8 sequence at p, 0 if there is none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
	unsigned c = p[0];
	size_t n = c < 0x80   ? 1
		   : c < 0xc2 ? 0
		   : c < 0xe0 ? 2
		   : c < 0xf0 ? 3
		   : c < 0xf5 ? 4
			      : 0;

	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
	    (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

void df_json_escape(struct df_buf *b, const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;

	for (size_t i = 0, from = 0; i <= len;) {
		size_t n = i < len ? utf8_len(p + i, len - i) : 0;
		if (n && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
			i += n;
			continue;
		}
		df_buf_put(b, text + from, i - from);
		if (i == len)
			break;
		if (!n)
			df_buf_put_str(b, "\xef\xbf\xbd");
		else if (p[i] < 0x20)
			df_buf_printf(b, "\\u%04x", p[i]);
		else
			df_buf_printf(b, "\\%c", p[i]);
		from = ++i;
	}
}

void df_stmt_init(struct df_stmt *s, size_t ceiling)
{
	*s = (struct df_stmt){ 0 };
	df_buf_init(&s->json, ceiling ? ceiling : STMT_CEILING);
	df_buf_put_str(&s->json, "{\"query\":\"");
}

void df_stmt_release(struct df_stmt *s)
{
	df_buf_release(&s->json);
}

void df_stmt_sql(struct df_stmt *s, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		s->json.err = -ENOMEM;
		return;
	}
	df_json_escape(&s->json, text, (size_t)n);
	free(text);
}

static void next_param(struct df_stmt *s)
{
	df_buf_put_str(&s->json, s->params_begun ? "," : "\",\"params\":[");
	s->params_begun = true;
	s->n_params++;
}

void df_stmt_text(struct df_stmt *s, const char *text, size_t len)
{
	next_param(s);
	df_buf_put_u8(&s->json, '"');
	df_json_escape(&s->json, text, len);
	df_buf_put_u8(&s->json, '"');
}

void df_stmt_b64(struct df_stmt *s, const void *data, size_t len)
{
	next_param(s);
	/* One allocation for a pack: base64, quotes, the end. */
	df_buf_reserve(&s->json, df_b64_size(len) + 64);
	df_buf_put_u8(&s->json, '"');
	df_b64_put(&s->json, data, len);
	df_buf_put_u8(&s->json, '"');
}

void df_stmt_u64(struct df_stmt *s, uint64_t x)
{
	next_param(s);
	df_buf_printf(&s->json, "%llu", (unsigned long long)x);
}

void df_stmt_hex64(struct df_stmt *s, uint64_t x)
{
	next_param(s);
	df_buf_printf(&s->json, "\"%016llx\"", (unsigned long long)x);
}

void df_stmt_id(struct df_stmt *s, const struct df_id *id)
{
	char hex[2 * DF_ID_LEN + 1];

	df_id_hex(id, hex);
	next_param(s);
	df_buf_printf(&s->json, "\"%s\"", hex);
}

/* ---- trouble, told when it begins and when it ends */

/* The server's own words: the "error" member of a JSON body, else nothing. */
static void server_words(const struct df_http_answer *a, char *out, size_t size)
{
	const char *s = (const char *)a->body.data;
	static const char key[] = "\"error\"";
	size_t n = 0;

	*out = 0;
	if (a->fault) {
		snprintf(out, size, "%.*s", (int)size - 1, a->error);
		return;
	}
	const char *at = a->body.len
				 ? memmem(s, a->body.len, key, sizeof(key) - 1)
				 : NULL;
	if (!at)
		return;
	const char *end = s + a->body.len;
	at += sizeof(key) - 1;
	while (at < end && (*at == ' ' || *at == ':'))
		at++;
	if (at >= end || *at++ != '"')
		return;
	for (; at < end && *at != '"' && n + 1 < size; at++) {
		if (*at == '\\' && at + 1 < end)
			at++;
		out[n++] = (unsigned char)*at < 0x20 ? ' ' : *at;
	}
	out[n] = 0;
}

static void describe(const struct df_call *call, const struct df_verdict *v,
		     const struct df_http_answer *a, char *out, size_t size)
{
	char words[160], status[24] = "";

	server_words(a, words, sizeof(words));
	if (!a->fault)
		snprintf(status, sizeof(status), " (HTTP %ld)", a->status);
	snprintf(out, size, "%s: %s%s%s%s", call->what, v->why, status,
		 *words ? ": " : "", words);
}

static void note_ok(struct df_api *api)
{
	df_lock(&api->lock);
	int was = api->err;
	int64_t now = df_clock_real_ns() / DF_NS_PER_MS;
	long long lasted = was ? (now - api->since_ms) / 1000 : 0;
	api->err = 0;
	api->text[0] = 0;
	api->last_ok_ms = now;
	df_unlock(&api->lock);
	if (was)
		df_log_info("%s: works again after %lld s", df_api_base(api),
			    lasted);
}

/* Somebody answered, or nobody is there; what was cut or came too late says
 * neither. */
static void note_presence(struct df_api *api, const struct df_http_answer *a)
{
	if (a->fault && a->fault != DF_NET_CONNECT)
		return;
	df_lock(&api->lock);
	if (!a->fault)
		api->away_ns = 0;
	else if (!api->away_ns)
		api->away_ns = df_deadline_ms(0);
	df_unlock(&api->lock);
}

/* An answer such as -ENOENT: the server works. */
static bool is_answer(int err)
{
	return err == -ENOENT || err == -EEXIST || err == -EFBIG ||
	       err == -EOVERFLOW || err == -ECANCELED;
}

static bool is_state(int err)
{
	return err == DF_EOFFLINE || err == -EAGAIN || err == DF_EAUTH ||
	       err == -EDQUOT || err == -EROFS || err == -EKEYREJECTED;
}

static void note_trouble(struct df_api *api, const struct df_call *call,
			 const struct df_verdict *v,
			 const struct df_http_answer *a, unsigned attempt)
{
	char text[256];

	describe(call, v, a, text, sizeof(text));
	if (!is_state(v->err)) {
		if (!is_answer(v->err))
			df_log_error("%s", text);
		return;
	}
	/* One hiccup that the next attempt heals is daily life. */
	if (v->again && attempt < 2) {
		df_log_debug("%s (again)", text);
		return;
	}
	int kind = v->err == -EAGAIN ? DF_EOFFLINE : v->err;
	df_lock(&api->lock);
	bool begins = api->err != kind;
	if (!api->err)
		api->since_ms = df_clock_real_ns() / DF_NS_PER_MS;
	api->err = kind;
	snprintf(api->text, sizeof(api->text), "%s", text);
	df_unlock(&api->lock);
	if (begins)
		df_log_warn("%s: %s", df_api_base(api), text);
	else
		df_log_debug("%s", text);
}

void df_api_health(struct df_api *api, struct df_api_health *out)
{
	*out = (struct df_api_health){ 0 };
	df_http_stats(api->http, &out->http);
	df_lock(&api->lock);
	out->retries = api->retries;
	out->err = api->err;
	snprintf(out->text, sizeof(out->text), "%s", api->text);
	out->since_ms = api->since_ms;
	out->last_ok_ms = api->last_ok_ms;
	if (api->away_ns)
		out->away_ms = DF_MAX((df_deadline_ms(0) - api->away_ns) /
					      DF_NS_PER_MS,
				      (int64_t)1);
	df_unlock(&api->lock);
}

int64_t df_api_latency_ms(struct df_api *api)
{
	struct df_http_stats stats;

	df_http_stats(api->http, &stats);
	return stats.latency_ms;
}

/* ---- calls */

static int64_t attempt_ms(const struct df_http_req *req, int64_t deadline_ns)
{
	int64_t left = (deadline_ns - df_deadline_ms(0)) / DF_NS_PER_MS;
	size_t bytes = req->body_len +
		       (req->answer_max ? req->answer_max : DF_HTTP_ANSWER_MAX);
	int64_t most = ATTEMPT_MS + req->quiet_ms +
		       (int64_t)(bytes / ATTEMPT_BYTES_PER_MS);

	return DF_MIN(left, most);
}

/* What the caller is told when there is no time for another attempt.  A read
 * leaves nothing behind, so for it unknown is the same as not applied; for a
 * write, one unknown attempt is enough. */
static int late_error(const struct df_call *call, bool unknown)
{
	return call->writes && unknown ? -EAGAIN : DF_EOFFLINE;
}

/* Until when the next attempt may begin. */
static int64_t give_up_ns(struct df_api *api, int64_t deadline_ns)
{
	df_lock(&api->lock);
	if (api->patience_ms && api->away_ns && !api->last_ok_ms)
		deadline_ns =
			DF_MIN(deadline_ns,
			       api->away_ns + api->patience_ms * DF_NS_PER_MS);
	df_unlock(&api->lock);
	return deadline_ns;
}

/* Is this a command whose server has not answered anything yet? */
static bool impatient(struct df_api *api)
{
	df_lock(&api->lock);
	bool yes = api->patience_ms && !api->last_ok_ms;
	df_unlock(&api->lock);
	return yes;
}

/* Some servers accept connections and are silent: a statement that takes long
 * is told from them by a request that nobody needs to think about. */
static bool anybody_there(struct df_api *api, struct df_http_answer *a)
{
	struct df_http_req req = { .method = "GET",
				   .path = "/",
				   .what = "look for the server",
				   .class = DF_HTTP_URGENT,
				   .timeout_ms = api->patience_ms };

	df_http_answer_release(a);
	df_http_do(api->http, &req, a);
	return !a->fault;
}

/* The first attempt of a command.  What takes longer than its patience is
 * asked again with all the time there is, once somebody was seen there; what
 * may not be done twice waits for that first.  false: nobody answers. */
static bool first_attempt(struct df_api *api, struct df_http_req *req,
			  const struct df_call *call, struct df_http_answer *a)
{
	int64_t most_ms = req->timeout_ms;

	if (!call->once) {
		req->timeout_ms = DF_MIN(most_ms, api->patience_ms);
		df_http_do(api->http, req, a);
		if (a->fault != DF_NET_TIMEOUT || req->timeout_ms == most_ms)
			return true;
	}
	if (!anybody_there(api, a))
		return a->fault != DF_NET_TIMEOUT;
	df_http_answer_release(a);
	req->timeout_ms = most_ms;
	df_http_do(api->http, req, a);
	return true;
}

static int call_http(struct df_api *api, struct df_http_req *req,
		     const struct df_call *call, struct df_http_answer *a,
		     unsigned *attempts)
{
	bool unknown = false;
	int err = df_retry_gate(&api->retry, call->deadline_ns);

	*a = (struct df_http_answer){ .retry_after_ms = -1 };
	for (unsigned n = 1; !err; n++) {
		df_http_answer_release(a);
		req->timeout_ms = attempt_ms(req, call->deadline_ns);
		bool silent = false;
		if (n == 1 && impatient(api))
			silent = !first_attempt(api, req, call, a);
		else
			df_http_do(api->http, req, a);
		note_presence(api, a);
		*attempts = n;
		struct df_verdict v = df_verdict(a);
		if (v.fate == DF_FATE_APPLIED) {
			note_ok(api);
			return 0;
		}
		note_trouble(api, call, &v, a, silent ? 2 : n);
		if (silent)
			return call->once ? DF_EOFFLINE
					  : late_error(call, true);
		if (!v.again)
			return v.err;
		unknown |= v.fate == DF_FATE_UNKNOWN;
		err = df_retry_wait(&api->retry, n, a,
				    give_up_ns(api, call->deadline_ns));
		/* No time for the second, which would say so. */
		if (err == -ETIMEDOUT && n < 2 && impatient(api))
			note_trouble(api, call, &v, a, 2);
		if (!err && call->once && v.fate == DF_FATE_UNKNOWN)
			return -EAGAIN;
		if (!err) {
			df_lock(&api->lock);
			api->retries++;
			df_unlock(&api->lock);
		}
	}
	return err == -ETIMEDOUT ? late_error(call, unknown) : err;
}

static struct df_http_req request(const char *method, const char *path,
				  const struct df_buf *body,
				  const struct df_call *call)
{
	return (struct df_http_req){
		.method = method,
		.path = path,
		.what = call->what,
		.body = body ? body->data : NULL,
		.body_len = body ? body->len : 0,
		.class = call->class,
		.answer_max = call->answer_max,
		.quiet_ms = call->quiet_ms,
		.once = call->once,
	};
}

static int call_rows(struct df_api *api, struct df_http_req *req,
		     const struct df_call *call, struct df_answer *out)
{
	struct df_http_answer a;
	unsigned attempts = 0;
	int err = call_http(api, req, call, &a, &attempts);

	*out = (struct df_answer){ 0 };
	if (!err) {
		err = df_answer_parse(out, &a.body);
		out->date_ms = a.date_ms;
		out->attempts = attempts;
		if (err) {
			df_log_error("%s: the answer is not a table API's: %s",
				     call->what, df_strerror(err));
			df_answer_release(out);
		}
	}
	df_http_answer_release(&a);
	return err;
}

int df_api_sql(struct df_api *api, struct df_stmt *s,
	       const struct df_call *call, struct df_answer *out)
{
	DF_FREE char *path = df_api_path(api, "/tables/query");

	*out = (struct df_answer){ 0 };
	df_buf_put_str(&s->json, s->params_begun ? "]" : "\"");
	df_buf_put_str(&s->json, s->quiet ? ",\"quiet\":true}" : "}");
	if (s->json.err || !path)
		return s->json.err ? s->json.err : -ENOMEM;
	struct df_http_req req = request("POST", path, &s->json, call);
	return call_rows(api, &req, call, out);
}

int df_api_rest_rows(struct df_api *api, const char *path,
		     const struct df_call *call, struct df_answer *out)
{
	struct df_http_req req = request("GET", path, NULL, call);

	return call_rows(api, &req, call, out);
}

int df_api_rest(struct df_api *api, const char *method, const char *path,
		const struct df_buf *body, const struct df_call *call,
		struct df_buf *out)
{
	struct df_http_req req = request(method, path, body, call);
	struct df_http_answer a;
	unsigned attempts = 0;
	int err = call_http(api, &req, call, &a, &attempts);

	*out = a.body;
	df_buf_init(&a.body, 0);
	if (err)
		df_buf_release(out);
	return err;
}
