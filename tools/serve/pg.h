/*
 * pg.h - the PostgreSQL store's parts, private to pg*.c.
 *
 * One database; deeplake_meta holds the server's own tables, each workspace is
 * a schema owned by a role of its own that may log in and has no other right:
 * statements run on connections of that role, so there is no way back up
 * (SET ROLE needs a session user who may).  deeplake_compat has what the
 * vendor's extension adds (where that is not installed: --no-stand-in); deeplake_info the views that information_schema
 * and pg_indexes are renamed to.
 *
 * Commit order for the feed: an INSERT (but into T__pack) takes an advisory
 * lock on its table before it asks the sequence, and holds it to its commit.
 *
 * Several servers may share a database: NOTIFY tells the others of a commit.
 *
 * Locks: pg_store.lock, then a pool's; neither is held across the network.
 */
#ifndef DF_SERVE_PG_H
#define DF_SERVE_PG_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "tools/serve/store.h"

#define PG_POOL_MAX 8 /* connections of a workspace */
#define PG_ADMIN_MAX 4

struct pg_conn {
	PGconn *pg;
	struct pg_conn *next;
};

struct pg_pool {
	char *info; /* owned; libpq's keyword=value */
	struct df_lock lock;
	struct df_cond freed;
	struct pg_conn *idle; /* lock */
	int open, max;        /* lock */
};

struct pg_ws {
	char org[64], id[80], schema[80];
	struct pg_pool pool;
	struct pg_ws *next;
};

struct pg_store {
	struct df_store store;
	char *url; /* owned */
	struct pg_pool admin;
	struct df_lock lock;
	struct pg_ws *spaces; /* lock */
	pthread_t listener;
	bool listening;
	bool stand_in;    /* for the vendor's extension; fixed after open */
	char extras[140]; /* schema of the stand-in or the extension, quoted */
	atomic_bool stop;
};

/* pgconn.c */
int pg_pool_init(struct pg_pool *p, char *info, int max);
void pg_pool_release(struct pg_pool *p);
/* NULL: none within timeout_ms, or the server is not reached (logged). */
struct pg_conn *pg_get(struct pg_pool *p, int64_t timeout_ms);
/* A broken connection is closed here. */
void pg_put(struct pg_pool *p, struct pg_conn *c);
/* url with another user and password, as keyword=value; NULL without memory
 * or if url is none. */
char *pg_conninfo(const char *url, const char *user, const char *password);
/* On an admin connection, text parameters; NULL (logged) on error.  Caller
 * clears the result. */
PGresult *pg_admin(struct pg_store *s, const char *sql, int n,
		   const char *const *arg);

/* pgmeta.c */
int pg_schema(struct pg_store *s);
extern const struct df_store_ops pg_meta_ops;
struct pg_ws *pg_ws_get(struct pg_store *s, const char *org, const char *id,
			int *err);
struct df_catalog *pg_catalog_load(struct pg_store *s, struct pg_ws *w);

/* pgrewrite.c */
struct pg_text {
	const char *text; /* for PostgreSQL */
	enum df_sql_kind kind;
	char table[216];
	bool noop;           /* nothing to run */
	bool deeplake_index; /* CREATE INDEX ... USING deeplake_index */
	bool drop_index;
	bool view; /* DDL that the catalogue does not follow */
};
/* 0, or -EINVAL with *e.  stand_in: what the extension would know is replaced,
 * else left to it. */
int pg_rewrite(const struct df_stmt *in, const char *schema, bool stand_in,
	       struct df_arena *a, struct pg_text *out, struct df_sql_error *e);

/* pgexec.c */
/* Is it the table of a volume's packs? */
bool pg_is_pack(const char *table);
void pg_run(struct df_store *store, const struct df_stmt *in,
	    struct df_answer *out);
void pg_feed(struct df_store *store, const struct df_feed_in *in,
	     struct df_answer *out);
/* pgrows.c */
void pg_put_result(const PGresult *res, size_t max, struct df_answer *out,
		   int n_col, int64_t *last);
void pg_error(const PGresult *res, PGconn *conn, struct df_sql_error *e);
/* A JSON parameter as libpq wants it: text with a NUL after it, or NULL for
 * null.  array: the parameter is of an array type. */
int pg_param(const struct df_json *j, bool array, struct df_arena *a,
	     const char **out, struct df_sql_error *e);

#endif
