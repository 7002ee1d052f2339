/*
 * server.h - the running table server: what its parts share.
 *
 * A request's way: listen.c (libmicrohttpd's threads) takes it in, parks the
 * connection and queues it; a worker (api.c) does it and wakes the connection;
 * libmicrohttpd sends the answer.  A feed that has nothing to say holds no
 * thread (feed.c).
 *
 * Locks, in this order: feed.lock; the store's; work's.
 */
#ifndef DF_SERVE_SERVER_H
#define DF_SERVE_SERVER_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "tools/serve/jwt.h"
#include "tools/serve/metric.h"
#include "tools/serve/sim.h"
#include "tools/serve/store.h"
#include "tools/serve/work.h"

struct df_serve_conf {
	const char *listen; /* ADDRESS:PORT */
	const char *store;
	const char *credentials; /* --write-credentials, or NULL */
	const char *simulate;
	const char *access_log; /* NULL: none; "-": stderr */
	const char *public_url; /* for device login, or NULL */
	unsigned threads;
	size_t max_body, max_answer; /* bytes */
	size_t max_memory;           /* bytes of bodies held at once */
	int max_connections;
	double token_rate;  /* requests a second a token; 0 = any */
	int token_parallel; /* requests at once a token; 0 = any */
	bool no_stand_in;   /* PostgreSQL has the vendor's extension */
};

struct df_feeds;
struct df_auth;

struct df_server {
	struct df_serve_conf conf;
	struct df_store *store; /* owned */
	struct df_work *work;   /* owned */
	struct df_sim *sim;     /* owned, or NULL */
	struct df_feeds *feeds; /* owned */
	struct df_auth *auth;   /* owned */
	struct MHD_Daemon *daemon;
	char url[128];        /* http://ADDRESS:PORT */
	int access_fd;        /* -1 = none */
	atomic_int in_flight; /* requests with a worker or waiting for one */
	atomic_int requests;  /* begun and not yet answered, feeds too */
	atomic_int parked;    /* of these: connection suspended */
	atomic_size_t body_bytes; /* of all requests now */
	atomic_bool stopping;
};

/* Who asks, after auth.c agreed. */
struct df_caller {
	struct df_jwt jwt;
	struct df_token_row row; /* scope */
	char org[64];            /* acts on */
	const char *only_table;  /* row.table, or NULL */
};

/* One HTTP request; owned by listen.c, which frees it when the connection is
 * done with it. */
struct df_req {
	struct df_server *server;
	struct MHD_Connection *conn;
	char method[12];
	char *path;   /* owned, decoded segments joined by '/' */
	char *seg[8]; /* in path */
	int n_seg;
	struct df_buf body;
	bool too_big, queued, ready, counted;
	bool parked;     /* counted in server->parked */
	size_t reserved; /* of server->body_bytes */
	enum df_endpoint endpoint;
	struct df_caller caller;
	bool has_caller, holds_slot;
	struct df_sim_plan plan;
	int64_t start_ns;
	int nth;     /* of those in flight when it came */
	char id[20]; /* request id */
	/* the answer */
	int status; /* 0: close without one */
	struct df_buf out;
	const char *type; /* Content-Type */
	char type_buf[128];
	int retry_after_s; /* -1 = none */
	enum df_sql_kind kind;
	char table[216];
	uint64_t rows;
};

/* listen.c */
int df_listen_start(struct df_server *s);
void df_listen_stop(struct df_server *s);
/* The answer is complete: from any thread, once. */
void df_req_done(struct df_req *r);
const char *df_req_header(struct df_req *r, const char *name);
const char *df_req_arg(struct df_req *r, const char *name); /* ?name= */

/* api.c: on a worker; ends in df_req_done, now or later */
void df_api_run(void *req);
void df_req_error(struct df_req *r, int status, const char *code,
		  const char *fmt, ...) __attribute__((format(printf, 4, 5)));
enum df_endpoint df_api_endpoint(const struct df_req *r);

/* statement.c: POST .../tables/query and /batch */
void df_api_query(struct df_req *r, const char *ws);
void df_api_sql_error(struct df_req *r, const struct df_sql_error *e);
/* Run SQL that the server wrote, as the caller. */
void df_api_statement(struct df_req *r, const char *ws, const char *text,
		      struct df_answer *out);

/* feed.c */
struct df_feeds *df_feeds_new(struct df_server *s);
void df_feeds_free(struct df_feeds *f);
void df_feed_start(struct df_req *r, const char *ws, const char *table);
void df_feeds_commit(void *feeds, const char *org, const char *ws,
		     const char *table);
void df_feeds_stop(struct df_feeds *f); /* answer all that wait */

/* auth.c */
struct df_auth *df_auth_new(struct df_store *store);
void df_auth_free(struct df_auth *a);
/* Fill r->caller; 0, or the request has its error answer. */
int df_auth_check(struct df_req *r);
/* The request no longer counts among its token's parallel ones. */
void df_auth_leave(struct df_req *r);
/* Only the token itself: fills r->caller.jwt and .row. */
int df_auth_token(struct df_req *r, const char *token);
/* A new token, signed, into out; row's id and times are filled. */
int df_auth_issue(struct df_auth *a, struct df_token_row *row, const char *user,
		  int64_t seconds, struct df_buf *out);
void df_auth_forget(struct df_auth *a); /* revocations count at once */
const char *df_auth_org(const struct df_auth *a); /* the default org */
/* Load the secret and default org, making them at first. */
int df_auth_load(struct df_auth *a);
int df_credentials_write(struct df_server *s, const char *path);

/* account.c: /me, /organizations, /workspaces, /users/me/tokens */
void df_api_account(struct df_req *r);
void df_api_workspaces(struct df_req *r);
void df_api_tables(struct df_req *r, const char *ws);
/* device.c: login by code */
void df_api_device(struct df_req *r);
/* upload.c: files */
void df_api_files(struct df_req *r, const char *ws);

#endif
