/*
 * http.h - HTTP requests of the sandbox tool, on one libcurl multi handle.
 *
 * TLS is verified (SSL_CERT_FILE honoured), proxies come from the usual
 * variables, redirects are not followed: a token must not travel to where a
 * server points.  Every request ends: by its timeout, or because the other
 * side was silent too long, or with -EINTR after a signal (intr.h).
 */
#ifndef DF_SANDBOX_HTTP_H
#define DF_SANDBOX_HTTP_H

#include <curl/curl.h>

#include "tools/sandbox/provider.h"

struct df_http;
int df_http_new(struct df_http **out);
void df_http_free(struct df_http *h);

struct df_req {
	const char *method;
	const char *url;
	struct curl_slist *headers; /* owned by the request: freed by do */
	const void *body;
	size_t body_len;
	bool has_body;        /* else no Content-Type and no body */
	df_read_fn *from;     /* instead of body: a multipart upload */
	const char *filename; /* of that */
	int64_t from_size;    /* PUT from `from`, if >= 0: no multipart */
	df_write_fn *to;      /* instead of resp.body, for 2xx only */
	void *arg;            /* of from and to */
	long timeout_ms;      /* whole request; 0 = no limit but silence */
	bool repeat;          /* may be sent again when the answer is lost */
	bool once;            /* no second try, whatever the answer is */
};

struct df_resp {
	long status;
	struct df_buf body; /* at most 32 MiB */
	long retry_after_s; /* -1 = none */
	char content_type[64];
	char next_token[1024]; /* X-Next-Token */
};
void df_resp_init(struct df_resp *r);
void df_resp_release(struct df_resp *r);

/*
 * 0 whatever the HTTP status; DF_EOFFLINE: was not sent; -ECONNRESET: maybe
 * sent, no answer; -ETIMEDOUT likewise; -EINTR; or what `from`/`to` returned.
 * A 429 with Retry-After and a 503 are waited for and sent again, for they
 * say that nothing happened.  Not logged.
 */
int df_http_do(struct df_http *h, struct df_req *req, struct df_resp *resp);

/* For streams: an easy handle with all of the above set, not started. */
CURL *df_http_easy(struct df_http *h, struct curl_slist *headers);
/* Not on a kept-alive connection: when such a one turns out dead, libcurl
 * sends the request again by itself, and a command would run twice. */
void df_http_once(CURL *c);
CURLM *df_http_multi(struct df_http *h);
/* The error of a finished transfer. */
int df_http_error(CURLcode code);
/* "NAME: VALUE" onto a list; the list, or the old one without memory. */
struct curl_slist *df_header(struct curl_slist *l, const char *name,
			     const char *value);

#endif
