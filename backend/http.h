/*
 * http.h - HTTP requests over kept-alive connections, for many threads.
 *
 * One I/O thread drives libcurl's multi interface; it starts with the first
 * request, so that a daemon can fork between df_http_new() and use.
 * df_http_do() hands a request over and blocks until it is answered, failed,
 * out of time or stopped.  One call is one attempt: repeating is retry.h's.
 *
 * In parallel: 3 requests.  A DF_HTTP_URGENT one (a commit, a poll, a read that
 * somebody waits for) goes before others and, after it has waited 300 ms, may
 * be the 4th, so that slow uploads do not delay it.  One DF_HTTP_FEED (long
 * poll) has the place of a bulk one, and runs beside the urgent: 5 at most, ever.
 *
 * Never: redirects followed, unverified TLS, answers over the ceiling, secrets
 * in logs.  Proxies come from the usual variables (libcurl).
 *
 * Threads: everything from any thread.  Locks: none held by the caller.
 */
#ifndef DF_BACKEND_HTTP_H
#define DF_BACKEND_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Most bytes of an answer unless the request says more, and ever. */
#define DF_HTTP_ANSWER_MAX ((size_t)(8 << 20) + 65536)
#define DF_HTTP_ANSWER_CEILING ((size_t)32 << 20)

enum df_http_class {
	DF_HTTP_UNKNOWN = 0,
	DF_HTTP_BULK,   /* packs, the files view */
	DF_HTTP_URGENT, /* goes before bulk; see above */
	DF_HTTP_FEED,   /* a long poll: one */
};

struct df_http_conf {
	const char *base_url;   /* "https://host[:port][/prefix]" */
	const char *ca_file;    /* NULL: SSL_CERT_FILE, else the system's */
	const char *user_agent; /* NULL: "deeplakefs/VERSION" */
	uint64_t bwlimit;       /* bytes/s over all transfers; 0 = none */
};

struct df_http_req {
	const char *method; /* "GET", "POST", "DELETE" */
	const char *path;   /* "/x?y", encoded already */
	const char *what;   /* for logs: "insert log row" */
	const void *body;   /* JSON, not owned; NULL = none */
	size_t body_len;
	enum df_http_class class;
	int64_t timeout_ms; /* of this attempt, queueing included */
	int64_t quiet_ms;   /* the server may be silent so long
				      * (feed); 0 = the usual limit */
	size_t answer_max;  /* bytes; 0 = DF_HTTP_ANSWER_MAX */
	bool once;          /* with a body: not even libcurl sends it again */
};

/* What became of a request that got no whole answer. */
enum df_net_fault {
	DF_NET_NONE = 0, /* `status` is valid and the body whole */
	DF_NET_CONNECT,  /* name, connect or TLS handshake failed */
	DF_NET_TLS,      /* the certificate is not trusted */
	DF_NET_TIMEOUT,  /* out of time or too slow */
	DF_NET_CUT,      /* connection lost, answer cut or malformed */
	DF_NET_TOO_BIG,  /* answer over answer_max */
	DF_NET_STOPPED,  /* df_http_stop() */
	DF_NET_LOCAL,    /* no memory, bad URL */
};

struct df_http_answer {
	enum df_net_fault fault;
	bool sent;              /* some of the request left this machine */
	long status;            /* HTTP status; 0 without one */
	struct df_buf body;     /* owned */
	int64_t date_ms;        /* Date header, Unix ms; 0 = none */
	int64_t retry_after_ms; /* -1 = none; an HTTP date is made relative */
	bool html;              /* body is or looks like HTML */
	int64_t took_ms;        /* on the wire, queueing excluded */
	char error[256];        /* with a fault: what libcurl said */
};

struct df_http;

/* base_url is checked here: -EINVAL (logged).  No I/O, no thread yet. */
int df_http_new(const struct df_http_conf *conf, struct df_http **out);
/* The checked URL without a slash at its end; lives as long as h. */
const char *df_http_base(const struct df_http *h);
/* "Bearer" token and org header for every later request; NULL = none. */
int df_http_set_auth(struct df_http *h, const char *token, const char *org);
/* One attempt (libcurl makes another by itself where a kept-alive connection
 * was dead, unless req->once).  The result is in *a, which df_http_answer_release frees. */
void df_http_do(struct df_http *h, const struct df_http_req *req,
		struct df_http_answer *a);
void df_http_answer_release(struct df_http_answer *a);
/* Drop every connection; requests under way end with DF_NET_CUT. */
void df_http_reset(struct df_http *h);
/* Every request, now and later, ends with DF_NET_STOPPED. */
void df_http_stop(struct df_http *h);
/* Only after stop, and when no df_http_do() is running. */
void df_http_free(struct df_http *h);

struct df_http_stats {
	uint64_t requests;  /* attempts started */
	uint64_t faults;    /* attempts without a whole answer */
	uint64_t connects;  /* connections made */
	uint64_t bytes_out; /* bodies sent */
	uint64_t bytes_in;  /* bodies received */
	uint64_t moved;     /* bytes that left, of bodies still under way too */
	unsigned in_flight;
	unsigned queued;
	unsigned max_in_flight; /* most ever, feed included */
	int64_t latency_ms;     /* median of the last small requests */
};
void df_http_stats(struct df_http *h, struct df_http_stats *out);

#endif
