/*
 * tablei.h - what the files of backend/ share about one volume; nobody else
 * includes it.
 */
#ifndef DF_BACKEND_TABLEI_H
#define DF_BACKEND_TABLEI_H

#include <pthread.h>

#include "backend/api.h"
#include "backend/remote.h"

struct df_table {
	struct df_remote remote; /* first */
	struct df_api *api;      /* owned */
	/* fixed after open */
	char *name, *log, *pack; /* T, T__log, T__pack: checked, plain */
	char *credentials;       /* NULL: the usual file */

	atomic_bool known;    /* the format row was read */
	atomic_bool asked;    /* what the token may do */
	atomic_bool missed;   /* that there is none was logged */
	atomic_bool no_range; /* the server has no substr(): whole packs */
};

/* Page sizes and bounds of statements. */
#define DF_LIST_PAGE 10000 /* ids a page */
#define DF_IN_MAX 200      /* ids in one IN (…) */

static inline struct df_table *df_table_of(struct df_remote *r)
{
	return (struct df_table *)(void *)r;
}

static inline struct df_call df_call_make(const char *what,
					  enum df_http_class class, bool writes,
					  int64_t deadline_ns)
{
	return (struct df_call){ .what = what,
				 .class = class,
				 .writes = writes,
				 .deadline_ns = deadline_ns };
}

/* Append "$a,$b,…" for n ids and then, with df_table_put_ids, the ids. */
void df_table_put_marks(struct df_stmt *s, unsigned first, size_t n);
void df_table_put_ids(struct df_stmt *s, const struct df_id *ids, size_t n);
/* (id, number) of every row of a table, keyset pages by id, doubles once.
 * value: an SQL column; hex: it is 16 hex digits, else a number.  deadline as
 * in df_call.  date_ms may be NULL. */
int df_table_list(struct df_table *t, const char *table, const char *value,
		  bool hex, const char *what, int64_t deadline_ns,
		  struct df_idepoch_list *out, int64_t *date_ms);
/* DELETE … WHERE id IN (ids), in bounded statements. */
int df_table_delete(struct df_table *t, const char *table, const char *what,
		    const struct df_id *ids, size_t n, int64_t deadline_ns);

/* rows.c */
int df_rows_put(struct df_remote *r, const struct df_row *row, uint64_t sent,
		int64_t timeout_ms, struct df_ack *ack);
int df_rows_after(struct df_remote *r, uint64_t after, unsigned limit,
		  int64_t timeout_ms, struct df_rows *out, int64_t *date_ms);
int df_rows_feed(struct df_remote *r, uint64_t after, unsigned limit,
		 int64_t wait_ms, struct df_rows *out, int64_t *date_ms);
int df_rows_list(struct df_remote *r, int64_t timeout_ms,
		 struct df_idepoch_list *out, int64_t *date_ms);
int df_rows_get(struct df_remote *r, const struct df_id *ids, size_t n,
		int64_t timeout_ms, struct df_rows *out);
int df_rows_delete(struct df_remote *r, const struct df_id *ids, size_t n,
		   int64_t timeout_ms);
/* The format rows: kind 'format'. */
int df_rows_formats(struct df_table *t, int64_t deadline_ns,
		    struct df_rows *out);

/* packs.c */
int df_packs_put(struct df_remote *r, const struct df_pack_bytes *p, size_t n,
		 int64_t timeout_ms);
int df_packs_get(struct df_remote *r, const struct df_id *id, uint64_t off,
		 uint64_t len, int64_t timeout_ms, struct df_buf *out);
int df_packs_have(struct df_remote *r, const struct df_id *ids, size_t n,
		  int64_t timeout_ms, bool *present);
int df_packs_list(struct df_remote *r, int64_t timeout_ms,
		  struct df_idepoch_list *out);
int df_packs_delete(struct df_remote *r, const struct df_id *ids, size_t n,
		    int64_t timeout_ms);

/* tablemake.c: the names of T's columns, one a row. */
int df_table_ask_columns(struct df_table *t, int64_t deadline_ns,
			 struct df_answer *a);
/* 0: T is in our shape; -EEXIST: other columns; -ENOENT: it is not there, or
 * the server does not say. */
int df_table_columns(struct df_table *t, int64_t deadline_ns);

/* filesview.c: filesview.h.  table.c: */
/* Read the format rows now: -ENOENT if there is none; sets known and caps. */
int df_table_read_formats(struct df_table *t, int64_t deadline_ns);
/* The same unless it is known, and what the token may do; says once that there
 * is no volume. */
int df_table_ready(struct df_table *t, int64_t deadline_ns);
/* The same, but what the token may do is known only after _end, which has to
 * follow: another question goes out meanwhile. */
struct df_asking {
	struct df_table *t;
	int64_t deadline_ns;
	pthread_t thread;
	bool asking;
};
int df_table_ready_begin(struct df_table *t, int64_t deadline_ns,
			 struct df_asking *a);
void df_table_ready_end(struct df_asking *a);

#endif
