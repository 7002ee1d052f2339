/* http.c - see http.h. */
#include "tools/sandbox/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/intr.h"

#define CONNECT_MS 10000
#define SILENT_S 130 /* keep-alives come every 50 s */
#define BODY_MAX (32u << 20)
#define WAIT_TOTAL_MS 90000 /* spent on 429 and 503, all in all */
#define RETRIES 4

struct df_http {
	CURLM *multi;
};

struct xfer {
	struct df_req *req;
	struct df_resp *resp;
	CURL *easy;
	int err; /* of from or to */
};

int df_http_new(struct df_http **out)
{
	static bool ready;
	struct df_http *h = calloc(1, sizeof(*h));

	if (!ready && curl_global_init(CURL_GLOBAL_DEFAULT)) {
		free(h);
		return df_fail(-ENOMEM, "libcurl");
	}
	ready = true;
	if (h)
		h->multi = curl_multi_init();
	if (!h || !h->multi) {
		free(h);
		return df_fail(-ENOMEM, "libcurl");
	}
	*out = h;
	return 0;
}

void df_http_free(struct df_http *h)
{
	if (h)
		curl_multi_cleanup(h->multi);
	free(h);
}

CURLM *df_http_multi(struct df_http *h)
{
	return h->multi;
}

struct curl_slist *df_header(struct curl_slist *l, const char *name,
			     const char *value)
{
	DF_FREE char *line = df_strf("%s: %s", name, value);
	struct curl_slist *n = line ? curl_slist_append(l, line) : NULL;

	return n ? n : l;
}

void df_resp_init(struct df_resp *r)
{
	*r = (struct df_resp){ .retry_after_s = -1 };
	df_buf_init(&r->body, BODY_MAX);
}

void df_resp_release(struct df_resp *r)
{
	df_buf_release(&r->body);
}

CURL *df_http_easy(struct df_http *h, struct curl_slist *headers)
{
	const char *ca = getenv("SSL_CERT_FILE");
	CURL *c = curl_easy_init();

	(void)h;
	if (!c)
		return NULL;
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, 60L);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SILENT_S);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "deeplake-sandbox/" DF_VERSION);
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	if (ca && *ca)
		curl_easy_setopt(c, CURLOPT_CAINFO, ca);
	return c;
}

void df_http_once(CURL *c)
{
	curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
}

int df_http_error(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
		return DF_EOFFLINE;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CONNECT_ERROR:
		return -ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_ABORTED_BY_CALLBACK:
		return -EINTR;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	default:
		return -ECONNRESET;
	}
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct df_resp *r = arg;
	size_t len = size * n;
	DF_FREE char *text = strndup(line, len);

	if (!text)
		return 0;
	text[strcspn(text, "\r\n")] = 0;
	char *colon = strchr(text, ':');
	if (!colon)
		return len;
	const char *v = colon + 1 + strspn(colon + 1, " \t");
	*colon = 0;
	if (!strcasecmp(text, "Retry-After"))
		r->retry_after_s = strtol(v, NULL, 10);
	else if (!strcasecmp(text, "Content-Type"))
		snprintf(r->content_type, sizeof(r->content_type), "%s", v);
	else if (!strcasecmp(text, "X-Next-Token"))
		snprintf(r->next_token, sizeof(r->next_token), "%s", v);
	return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct xfer *x = arg;
	size_t len = size * n;
	bool to = x->req->to && x->resp->status / 100 == 2;

	if (to)
		x->err = x->req->to(x->req->arg, data, len);
	else
		df_buf_put(&x->resp->body, data, len);
	if (!to && x->resp->body.err)
		x->err = x->resp->body.err;
	return x->err ? 0 : len;
}

static size_t on_body_status(char *data, size_t size, size_t n, void *arg)
{
	struct xfer *x = arg;

	curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &x->resp->status);
	return on_body(data, size, n, x);
}

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
	struct xfer *x = arg;
	ssize_t got = x->req->from(x->req->arg, to, size * n);

	if (got < 0) {
		x->err = (int)got;
		return CURL_READFUNC_ABORT;
	}
	return (size_t)got;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c,
		       curl_off_t d)
{
	(void)arg, (void)a, (void)b, (void)c, (void)d;
	return df_intr_now() != 0;
}

static curl_mime *set_body(CURL *c, struct xfer *x)
{
	struct df_req *r = x->req;

	if (r->from && r->from_size >= 0) {
		curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(c, CURLOPT_READDATA, x);
		curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE,
				 (curl_off_t)r->from_size);
		return NULL;
	}
	if (r->from) {
		curl_mime *m = curl_mime_init(c);
		curl_mimepart *part = m ? curl_mime_addpart(m) : NULL;
		if (!part)
			return m;
		curl_mime_name(part, "file");
		curl_mime_filename(part, r->filename);
		curl_mime_type(part, "application/octet-stream");
		curl_mime_data_cb(part, -1, on_read, NULL, NULL, x);
		curl_easy_setopt(c, CURLOPT_MIMEPOST, m);
		return m;
	}
	if (r->has_body) {
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)r->body_len);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
	} else if (!strcmp(r->method, "POST")) {
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, "");
	}
	return NULL;
}

static int run_multi(struct df_http *h, CURL *c)
{
	int running = 1;
	CURLMsg *m;
	int left;

	if (curl_multi_add_handle(h->multi, c))
		return -ENOMEM;
	int err = -ECONNRESET;
	while (running) {
		struct curl_waitfd w = { .fd = df_intr_fd(),
					 .events = CURL_WAIT_POLLIN };
		if (curl_multi_perform(h->multi, &running))
			break;
		if (running)
			curl_multi_poll(h->multi, &w, w.fd >= 0, 1000, NULL);
		if (w.revents)
			df_intr_drain();
	}
	while ((m = curl_multi_info_read(h->multi, &left)))
		if (m->msg == CURLMSG_DONE && m->easy_handle == c)
			err = df_http_error(m->data.result);
	curl_multi_remove_handle(h->multi, c);
	return err;
}

static int do_once(struct df_http *h, struct df_req *req, struct df_resp *resp)
{
	CURL *c = df_http_easy(h, req->headers);
	struct xfer x = { .req = req, .resp = resp, .easy = c };

	if (!c)
		return -ENOMEM;
	df_buf_reset(&resp->body);
	resp->status = 0;
	resp->retry_after_s = -1;
	resp->next_token[0] = 0;
	curl_easy_setopt(c, CURLOPT_URL, req->url);
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, req->method);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, resp);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body_status);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, (void *)&x);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, req->timeout_ms);
	if (!req->repeat)
		df_http_once(c);
	curl_mime *mime = set_body(c, &x);
	int err = run_multi(h, c);
	if (!err)
		curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &resp->status);
	curl_easy_cleanup(c);
	curl_mime_free(mime);
	df_log_debug("%s %s: %ld%s", req->method, req->url, resp->status,
		     err ? " (failed)" : "");
	if (x.err)
		return x.err;
	return df_intr_now() && err ? -EINTR : err;
}

/* How long to wait before the same request is sent again; -1 = not at all. */
static long retry_wait_ms(const struct df_req *req, const struct df_resp *resp,
			  int err, int attempt)
{
	uint8_t jitter;
	long wait = 250L << DF_MIN(attempt, 5);

	df_random(&jitter, 1);
	wait += wait * jitter / 512;
	if (req->once || attempt >= RETRIES)
		return -1;
	if (err == DF_EOFFLINE)
		return req->from ? -1 : wait;
	if (err == -ECONNRESET || err == -ETIMEDOUT)
		return req->repeat && !req->from ? wait : -1;
	if (err || req->from)
		return -1; /* what was read from `from` is gone */
	if (resp->status == 429)
		return resp->retry_after_s >= 0
			       ? resp->retry_after_s * 1000 + jitter
			       : -1;
	if (resp->status == 503)
		return resp->retry_after_s > 0 ? resp->retry_after_s * 1000
					       : wait;
	return -1;
}

int df_http_do(struct df_http *h, struct df_req *req, struct df_resp *resp)
{
	long spent = 0;
	int err;

	for (int attempt = 0;; attempt++) {
		err = do_once(h, req, resp);
		long wait = retry_wait_ms(req, resp, err, attempt);
		if (wait < 0 || spent + wait > WAIT_TOTAL_MS)
			break;
		df_log_debug("waiting %ld ms", wait);
		spent += wait;
		err = df_intr_sleep_ms((int)wait);
		if (err)
			break;
	}
	curl_slist_free_all(req->headers);
	req->headers = NULL;
	return err;
}
