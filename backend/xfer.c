/* xfer.c - see xfer.h. */
#include "backend/xfer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"

#define CONNECT_MS 10000
#define QUIET_S 30     /* slower than QUIET_RATE for so long = dead */
#define QUIET_RATE 64  /* bytes/s */
#define CONN_IDLE_S 50 /* below the 60 to 75 s of usual servers */
#define BW_CHUNK 16384

/* ---- the bandwidth limit: one bucket for all transfers, both directions.
 * A transfer may overdraw it by one chunk and is paused until it is paid. */

static void bw_refill(struct df_bandwidth *b)
{
	int64_t now = df_deadline_ms(0);
	double most = DF_MAX((double)b->limit / 8, (double)BW_CHUNK);

	if (b->at_ns)
		b->tokens += (double)(now - b->at_ns) / 1e9 * (double)b->limit;
	b->tokens = DF_MIN(b->tokens, most);
	b->at_ns = now;
}

int df_bandwidth_wait_ms(struct df_bandwidth *b)
{
	if (!b->limit)
		return 0;
	bw_refill(b);
	if (b->tokens > 0)
		return 0;
	return 1 + (int)DF_MIN(-b->tokens * 1000 / (double)b->limit, 1000.0);
}

static bool bw_blocked(struct df_xfer *x)
{
	return x->paused = df_bandwidth_wait_ms(x->bw) > 0;
}

/* ---- curl callbacks, on the I/O thread */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct df_xfer *x = arg;
	struct df_buf *b = &x->a->body;
	curl_off_t whole = -1;

	if (bw_blocked(x))
		return CURL_WRITEFUNC_PAUSE;
	n *= size;
	if (!b->len &&
	    !curl_easy_getinfo(x->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T,
			       &whole) &&
	    whole > 0) {
		if ((uint64_t)whole > b->ceiling) {
			x->too_big = true;
			return 0;
		}
		if (df_buf_reserve(b, (size_t)whole + 1))
			return 0;
	}
	df_buf_put(b, data, n);
	if (b->err) {
		x->too_big = b->err == -EFBIG;
		return 0;
	}
	x->bw->tokens -= x->bw->limit ? (double)n : 0;
	return n;
}

/* Only used with a bandwidth limit, or to refuse on_seek. */
static size_t on_send(char *out, size_t size, size_t n, void *arg)
{
	struct df_xfer *x = arg;
	size_t left = x->req->body_len - x->body_at;

	if (left && bw_blocked(x))
		return CURL_READFUNC_PAUSE;
	n = DF_MIN(DF_MIN(n * size, left), (size_t)BW_CHUNK);
	if (n)
		memcpy(out, (const char *)x->req->body + x->body_at, n);
	x->body_at += n;
	x->bw->tokens -= (double)n;
	return n;
}

/* Called now and then while the transfer lives. */
static int on_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow,
		       curl_off_t ultotal, curl_off_t ulnow)
{
	struct df_xfer *x = arg;

	(void)dltotal;
	(void)dlnow;
	(void)ultotal;
	if (ulnow > x->left_at)
		atomic_fetch_add(x->moved, (uint64_t)(ulnow - x->left_at));
	x->left_at = ulnow; /* less again when curl starts anew */
	return 0;
}

/* curl repeats a request whose kept-alive connection turned out dead, or was
 * closed by a server that had done it all but the answer. */
static int on_seek(void *arg, curl_off_t at, int origin)
{
	struct df_xfer *x = arg;

	if (origin != SEEK_SET || at < 0 || (size_t)at > x->req->body_len ||
	    (x->req->once && x->body_at))
		return CURL_SEEKFUNC_FAIL;
	x->body_at = (size_t)at;
	return CURL_SEEKFUNC_OK;
}

/* ---- one transfer */

bool df_xfer_header(struct df_xfer *x, const char *line)
{
	struct curl_slist *all = curl_slist_append(x->headers, line);

	if (all)
		x->headers = all;
	return all != NULL;
}

static bool make_headers(struct df_xfer *x)
{
	bool ok = df_xfer_header(x, "Expect:") &&
		  df_xfer_header(x, "Accept: application/json") &&
		  df_xfer_header(x, "X-Deeplake-Client: deeplakefs");

	if (ok && x->req->body)
		ok = df_xfer_header(x, "Content-Type: application/json");
	return ok;
}

void df_xfer_clear(struct df_xfer *x)
{
	for (struct curl_slist *s = x->headers; s; s = s->next)
		explicit_bzero(s->data, strlen(s->data));
	curl_slist_free_all(x->headers);
	x->headers = NULL;
}

static void set_limits(struct df_xfer *x)
{
	CURL *e = x->easy;
	int64_t left = (x->deadline_ns - df_deadline_ms(0)) / DF_NS_PER_MS;

	left = DF_MAX(left, 1);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)left);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)DF_MIN(left, CONNECT_MS));
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, (long)QUIET_RATE);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME,
			 (long)(QUIET_S + x->req->quiet_ms / 1000));
	curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)CONN_IDLE_S);
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
}

static void set_security(struct df_xfer *x)
{
	CURL *e = x->easy;

	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (x->conf->ca_file)
		curl_easy_setopt(e, CURLOPT_CAINFO, x->conf->ca_file);
	/* One stream a connection: a pack never delays a commit by HTTP/2's
	 * shared window, and a lost connection costs one request. */
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_USERAGENT, x->conf->user_agent);
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
}

static void set_body(struct df_xfer *x)
{
	CURL *e = x->easy;
	const struct df_http_req *req = x->req;

	if (!req->body) {
		curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, req->method);
		return;
	}
	curl_easy_setopt(e, CURLOPT_POST, 1L);
	curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
			 (curl_off_t)req->body_len);
	if (!x->bw->limit && !req->once) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, req->body);
		return;
	}
	curl_easy_setopt(e, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(e, CURLOPT_READDATA, x);
	curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(e, CURLOPT_SEEKDATA, x);
}

enum df_net_fault df_xfer_prepare(struct df_xfer *x, void *private)
{
	struct df_http_answer *a = x->a;
	DF_FREE char *url = df_strf("%s%s", x->conf->base, x->req->path);

	if (!url || !make_headers(x))
		return DF_NET_LOCAL;
	set_limits(x);
	set_security(x);
	set_body(x);
	CURLcode rc = curl_easy_setopt(x->easy, CURLOPT_URL, url);
	curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
	curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->error);
	curl_easy_setopt(x->easy, CURLOPT_PRIVATE, private);
	curl_easy_setopt(x->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(x->easy, CURLOPT_XFERINFODATA, x);
	curl_easy_setopt(x->easy, CURLOPT_NOPROGRESS, 0L);
	a->body.ceiling = x->req->answer_max ? x->req->answer_max
					     : DF_HTTP_ANSWER_MAX;
	a->body.ceiling = DF_MIN(a->body.ceiling, DF_HTTP_ANSWER_CEILING);
	x->start_ns = df_deadline_ms(0);
	return rc ? DF_NET_LOCAL : DF_NET_NONE;
}

static enum df_net_fault fault_of(const struct df_xfer *x, CURLcode rc)
{
	switch (rc) {
	case CURLE_OK:
		return DF_NET_NONE;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return DF_NET_TLS;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PROXY:
		return DF_NET_CONNECT;
	case CURLE_OPERATION_TIMEDOUT:
		return DF_NET_TIMEOUT;
	case CURLE_WRITE_ERROR:
		return x->too_big ? DF_NET_TOO_BIG : DF_NET_LOCAL;
	case CURLE_OUT_OF_MEMORY:
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_FAILED_INIT:
		return DF_NET_LOCAL;
	default:
		return DF_NET_CUT;
	}
}

/* A header's value, or NULL; valid until the next call for this handle. */
static const char *header(CURL *easy, const char *name)
{
	struct curl_header *h;

	if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h))
		return NULL;
	return h->value;
}

static int64_t parse_retry_after(const char *text, int64_t server_ms)
{
	char *end;

	if (!text)
		return -1;
	errno = 0;
	long s = strtol(text, &end, 10);
	if (end != text && !*end && !errno && s >= 0)
		return DF_MIN((int64_t)s, DF_DAY_MS / 1000) * 1000;
	time_t at = curl_getdate(text, NULL);
	if (at < 0)
		return -1;
	if (!server_ms)
		server_ms = df_clock_real_ns() / DF_NS_PER_MS;
	int64_t wait = (int64_t)at * 1000 - server_ms;
	return DF_MIN(DF_MAX(wait, 0), DF_DAY_MS);
}

static bool looks_html(CURL *easy, const struct df_buf *b)
{
	const char *type = NULL;
	size_t at = 0;

	curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
	if (type && strncasecmp(type, "text/html", 9) == 0)
		return true;
	while (at < b->len && strchr(" \t\r\n", b->data[at]) && b->data[at])
		at++;
	return at < b->len && b->data[at] == '<';
}

void df_xfer_result(struct df_xfer *x, CURLcode rc)
{
	struct df_http_answer *a = x->a;
	long sent = 0, proxy = 0;

	a->fault = fault_of(x, rc);
	curl_easy_getinfo(x->easy, CURLINFO_HTTP_CONNECTCODE, &proxy);
	bool refused = rc && proxy >= 300;
	if (refused) /* for libcurl 7.88 an answer that was cut off */
		a->fault = DF_NET_CONNECT;
	curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &a->status);
	curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &sent);
	a->sent = sent > 0 && !refused;
	a->took_ms = (df_deadline_ms(0) - x->start_ns) / DF_NS_PER_MS;
	const char *date = header(x->easy, "Date");
	time_t at = date ? curl_getdate(date, NULL) : -1;
	a->date_ms = at > 0 ? (int64_t)at * 1000 : 0;
	a->retry_after_ms =
		parse_retry_after(header(x->easy, "Retry-After"), a->date_ms);
	a->html = looks_html(x->easy, &a->body);
	if (a->fault)
		snprintf(a->error, sizeof(a->error), "%s",
			 *x->error ? x->error : curl_easy_strerror(rc));
	if (refused)
		snprintf(a->error, sizeof(a->error),
			 "the proxy refuses the way to the server (HTTP %ld)",
			 proxy);
}
