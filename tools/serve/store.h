/*
 * store.h - where workspaces, their tables and the server's own data live.
 *
 * litestore.c keeps each workspace in an SQLite file; pgstore.c in a schema of
 * a PostgreSQL database.  Statements come and go in PostgreSQL's dialect, with
 * PostgreSQL's messages, whichever store it is.
 *
 * Threads: every operation may be called from any thread, concurrently, from
 *          open until stop().  All block; statements end by their deadline.
 * Errors:  0 or -errno, logged where the context is; statements report theirs
 *          in struct df_answer instead.
 */
#ifndef DF_SERVE_STORE_H
#define DF_SERVE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "tools/serve/jsonscan.h"
#include "tools/serve/sql.h"

/* One statement as it came, in memory of the caller. */
struct df_stmt {
	const char *org, *workspace;
	const char *text;
	size_t len;
	struct df_json params; /* ARRAY or NONE */
	struct df_json batch;  /* ARRAY of ARRAYs: run once for each; or NONE */
	const char *only_table; /* token's scope, or NULL */
	bool read_only;
	int64_t timeout_ms;
	size_t max_answer; /* bytes */
	bool quiet;        /* a mount's own rows: no feed need hear of it */
	/* simulation */
	bool dry; /* do everything, keep nothing */
	bool no_unique;
};

/* Most bytes that translating the statement and its parameters may take: more
 * is answered 413. */
size_t df_stmt_memory(const struct df_stmt *in);
#define DF_STMT_TOO_BIG                                     \
	"the parameters need more memory than one request " \
	"may have: send fewer rows at once"

/* What came of it.  df_answer_release frees body. */
struct df_answer {
	struct df_buf body; /* {"columns":...} when error.status is 0 */
	enum df_sql_kind kind;
	char table[216]; /* the table it is about, or "" */
	uint64_t rows;   /* returned, or changed */
	struct df_sql_error error;
};

void df_answer_init(struct df_answer *a);
void df_answer_release(struct df_answer *a);

/* A token as kept: never its text. */
struct df_token_row {
	char id[40];
	char name[128];
	char org[64];
	char workspace[80]; /* "" = every */
	char table[208];    /* "" = every */
	bool read_only;
	int64_t created_s;
	int64_t expires_s; /* 0 = never */
	bool revoked;
};

struct df_feed_in {
	const char *org, *workspace, *table;
	int64_t after;
	unsigned limit;
	size_t max_answer;
};

#define DF_STORE_OWN_COLS 16

struct df_store;

struct df_store_ops {
	const char *name;
	void (*run)(struct df_store *s, const struct df_stmt *in,
		    struct df_answer *out);
	/* Rows of `table` with n > after, in commit order, as the feed's JSON
	 * into out->body; out->rows of them. */
	void (*feed)(struct df_store *s, const struct df_feed_in *in,
		     struct df_answer *out);

	/* -EEXIST */
	int (*ws_create)(struct df_store *s, const char *org, const char *id,
			 const char *name);
	/* 1, 0 or -errno */
	int (*ws_exists)(struct df_store *s, const char *org, const char *id);

	/* The server's own tables (meta.c): SQL for both stores, "@" before a
	 * table's name, parameters $1, $2, ... in the order of their first
	 * use, as text; so are the values of a row, at most
	 * DF_STORE_OWN_COLS, none NULL.  own_run: how many rows changed. */
	int (*own_run)(struct df_store *s, const char *sql,
		       const char *const *arg, int n);
	int (*own_rows)(struct df_store *s, const char *sql,
			const char *const *arg, int n,
			void (*each)(void *arg, const char *const *value),
			void *each_arg);
	/* Uploaded files (POST /files). */
	int (*file_put)(struct df_store *s, const char *org, const char *ws,
			const char *id, const char *name, const char *type,
			const void *data, size_t len);
	int (*file_get)(struct df_store *s, const char *org, const char *ws,
			const char *id, struct df_buf *data, char type[128]);

	/* A copy that is whole and of one moment for each workspace. */
	int (*backup)(struct df_store *s, const char *path);
	/* Begin to call on_commit, which is set by now; NULL: nothing to
	 * begin.  0 or -errno. */
	int (*start)(struct df_store *s);
	void (*stop)(struct df_store *s);
	void (*free)(struct df_store *s); /* only after stop() */
};

struct df_store {
	const struct df_store_ops *ops;
	/* Called after a commit that changed a table's rows; set before use.
	 * All three NULL: commits may have been missed, look everywhere. */
	void (*on_commit)(void *arg, const char *org, const char *workspace,
			  const char *table);
	void *on_commit_arg;
	bool feed; /* rows of a table with a column n come in commit order */
};

/* "sqlite:DIR" or "postgres://...": *out, or -errno (logged).  serve: as the
 * one server of an SQLite store, which a second one is refused; else for the
 * token commands, beside it. */
int df_store_open(const char *where, bool serve, bool stand_in,
		  struct df_store **out);
int df_litestore_open(const char *dir, bool serve, struct df_store **out);
int df_pgstore_open(const char *url, bool stand_in, struct df_store **out);

/* Workspace ids: lower-case letters, digits, single - and _ between. */
bool df_workspace_id_ok(const char *id);

#endif
