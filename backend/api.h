/*
 * api.h - the endpoints of the table API: statements with parameters, plain
 * requests, both repeated until they are answered or out of time.
 *
 * Logging: trouble that time heals (or new credentials) is logged when it
 * begins and when it is over, not at each attempt.  -ENOENT, -EEXIST, -EFBIG,
 * -EOVERFLOW and -ECANCELED are answers: the caller knows what they mean, and
 * logs.  Every other permanent error is logged here, once.
 *
 * Threads: everything from any thread, from _new until _stop.
 * Errors:  those of remote.h, and -EEXIST (exists already), -EOVERFLOW (the
 *          answer is over answer_max), -EINVAL (the server refuses the
 *          statement), -EOPNOTSUPP, -EKEYREJECTED (certificate).
 */
#ifndef DF_BACKEND_API_H
#define DF_BACKEND_API_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/answer.h"
#include "backend/http.h"

struct df_api_conf {
	const char *api_url;   /* "https://api.deeplake.ai" */
	const char *workspace; /* "default" */
	const char *ca_file;   /* as in http.h */
	const char *user_agent;
	uint64_t bwlimit; /* bytes/s; 0 = none */
	/* For commands: while nobody has ever answered, a call gives up after
	 * nobody was there for so long, or after twice that at a server that
	 * accepts and is silent, whatever its deadline; 0 = never. */
	int64_t patience_ms;
};

struct df_api;

int df_api_new(const struct df_api_conf *conf, struct df_api **out);
/* The API forgets neither on its own; token NULL = send none. */
int df_api_set_auth(struct df_api *api, const char *token, const char *org);
void df_api_reset(struct df_api *api);
void df_api_stop(struct df_api *api);
void df_api_free(struct df_api *api); /* only after stop */

/* ---- a statement: SQL text and its parameters, as the JSON of a request */
struct df_stmt {
	struct df_buf json;
	unsigned n_params;
	bool params_begun;
	bool quiet; /* of a mount: no feed need be told */
};

/* ceiling: most bytes of the request; 0 = 48 MiB. */
void df_stmt_init(struct df_stmt *s, size_t ceiling);
void df_stmt_release(struct df_stmt *s);
/* SQL is appended first, in as many pieces as it takes … */
void df_stmt_sql(struct df_stmt *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* … "$4" for the fourth parameter, then the parameters in order. */
void df_stmt_text(struct df_stmt *s, const char *text, size_t len);
void df_stmt_b64(struct df_stmt *s, const void *data, size_t len);
void df_stmt_u64(struct df_stmt *s, uint64_t x);
void df_stmt_hex64(struct df_stmt *s, uint64_t x);
void df_stmt_id(struct df_stmt *s, const struct df_id *id);
/* Append text as the inside of a JSON string.  What is not UTF-8 becomes
 * U+FFFD, byte by byte. */
void df_json_escape(struct df_buf *b, const char *text, size_t len);

/* ---- calls */
struct df_call {
	const char *what; /* for messages: "read the log" */
	enum df_http_class class;
	bool writes;         /* an unknown fate is -EAGAIN, not offline */
	int64_t deadline_ns; /* df_deadline_ms() */
	size_t answer_max;   /* 0 = DF_HTTP_ANSWER_MAX */
	int64_t quiet_ms;    /* long poll: silence that is no fault */
	bool once; /* done twice it is not the same: an attempt of unknown
		    * fate is not repeated, the caller gets -EAGAIN */
};

/* Run a statement.  On success *out is to be released by the caller. */
int df_api_sql(struct df_api *api, struct df_stmt *s,
	       const struct df_call *call, struct df_answer *out);
/* Any other endpoint: path from the root; the raw body, to be released. */
int df_api_rest(struct df_api *api, const char *method, const char *path,
		const struct df_buf *body, const struct df_call *call,
		struct df_buf *out);
/* The same, answered in the form of a query. */
int df_api_rest_rows(struct df_api *api, const char *path,
		     const struct df_call *call, struct df_answer *out);

/* "/workspaces/WS" + rest, workspace encoded; caller frees. */
char *df_api_path(const struct df_api *api, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Percent-encode one segment; caller frees. */
char *df_api_encode(const char *segment);
const char *df_api_base(const struct df_api *api);
const char *df_api_workspace(const struct df_api *api);

/* What the last attempts say. */
struct df_api_health {
	struct df_http_stats http;
	uint64_t retries;   /* attempts after a first one */
	int err;            /* 0, or the trouble now */
	char text[256];     /* it in words; "" = none */
	int64_t since_ms;   /* CLOCK_REALTIME of its begin */
	int64_t last_ok_ms; /* of the last good answer; 0 = never */
	int64_t away_ms;    /* as in remote.h */
};
void df_api_health(struct df_api *api, struct df_api_health *out);
/* Median of the last small requests on the wire; 0 before the first. */
int64_t df_api_latency_ms(struct df_api *api);

#endif
