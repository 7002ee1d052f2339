/*
 * lite.h - the SQLite store's parts, private to lite*.c.
 *
 * DIR/server.db holds the secret, orgs, tokens and the list of workspaces;
 * DIR/ws/ORG/WORKSPACE.db one workspace each: nothing a statement says can
 * reach another file.
 *
 * Writing to a workspace: statements queue up; whoever finds no leader leads,
 * takes all that wait, runs them in one transaction (a savepoint each) and
 * commits once.  An fsync is so shared by all that came while the last one
 * ran.  DDL runs alone.
 *
 * Locks, in this order: lite_store.lock, lite_ws.lock.  None is held across
 * SQLite or disk, except at the first opening of a workspace.
 */
#ifndef DF_SERVE_LITE_H
#define DF_SERVE_LITE_H

#include <sqlite3.h>

#include "base/lock.h"
#include "tools/serve/store.h"

#define LITE_READERS 16   /* kept open a workspace */
#define LITE_STMTS 24     /* prepared statements kept a connection */
#define LITE_GROUP_MAX 64 /* statements of one transaction */
#define LITE_SCHEMA_VERSION 1

struct lite_stmt {
	char *text; /* owned */
	size_t len;
	sqlite3_stmt *stmt;
	uint64_t used;
};

/* A connection; used by one thread at a time. */
struct lite_conn {
	sqlite3 *db;
	struct lite_stmt cache[LITE_STMTS];
	uint64_t tick;
	int64_t deadline_ns; /* of the running statement; 0 = none */
	bool trusted;        /* our own SQL: the authorizer lets it pass */
	struct lite_conn *next;
};

struct lite_job {
	const struct df_stmt *in;
	struct df_answer *out;
	struct df_arena *arena;
	struct df_sql sql;
	struct df_catalog *catalog; /* a reference; sql points into it */
	bool done, ddl, wrote;
	struct lite_job *next;
};

struct lite_ws {
	char org[64], id[80];
	char *path;
	struct df_lock lock;
	struct df_cond changed;
	struct df_catalog *catalog;           /* lock */
	struct lite_conn *readers;            /* lock; idle ones */
	int n_readers;                        /* lock; idle ones */
	struct lite_conn *writer;             /* the leader's */
	bool leading;                         /* lock */
	struct lite_job *queue, **queue_tail; /* lock */
	struct lite_ws *next;
};

struct lite_store {
	struct df_store store;
	char *dir;
	struct df_lock lock;
	struct lite_ws *spaces; /* lock */
	struct lite_conn *meta; /* meta_lock */
	struct df_lock meta_lock;
	int lock_fd;
};

/* litedb.c: connections, schema, catalogue */
int lite_conn_open(const char *path, struct lite_conn **out);
void lite_conn_free(struct lite_conn *c);
int lite_exec(struct lite_conn *c, const char *sql);
int lite_schema(struct lite_conn *c, const char *workspace);
struct df_catalog *lite_catalog_load(struct lite_conn *c, const char *workspace,
				     uint64_t version);
int lite_catalog_store(struct lite_conn *c, const struct df_sql *sql);

/* liteexec.c: statements */
void lite_error(struct lite_conn *c, const struct df_sql *sql, int rc,
		struct df_sql_error *e);
/* Run a translated statement on c; out->error says how it went. */
void lite_run(struct lite_conn *c, const struct df_stmt *in,
	      const struct df_sql *sql, struct df_arena *a,
	      struct df_answer *out);

/* literows.c */
int lite_prepare(struct lite_conn *c, const char *text, size_t len,
		 sqlite3_stmt **out, bool *cached);
void lite_put_row(sqlite3_stmt *stmt, const struct df_sql_out *cols, size_t n,
		  struct df_buf *out);

/* litewrite.c: group commit */
void lite_write(struct lite_store *s, struct lite_ws *w, struct lite_job *job);

/* litemeta.c: the server's own database */
int lite_meta_open(struct lite_store *s);
extern const struct df_store_ops lite_meta_ops; /* its part of the ops */
int lite_backup(struct df_store *store, const char *path);

/* litestore.c */
struct lite_ws *lite_ws_get(struct lite_store *s, const char *org,
			    const char *id, int *err);
struct lite_conn *lite_reader_get(struct lite_ws *w);
void lite_reader_put(struct lite_ws *w, struct lite_conn *c);

#endif
