/*
 * remote.h - what the cache needs of a remote volume: a log of rows, packs of
 * bytes, and a view for people.
 *
 * A remote volume T is three tables (docs/formats.md): T__log, T__pack and T.
 * This is the one interface to them.  backend/table.c implements it over the
 * Deeplake table API (df_table_open, table.h); tests/sim implements it in
 * memory.  Nothing here knows of files, directories or FUSE.
 *
 * Threads: every operation may be called from any thread, concurrently, from
 *          open until stop().  All block, none takes longer than its deadline.
 * Locks:   a caller holds no df_lock across any operation here.
 * Errors:  0 or -errno.  Codes that callers act on:
 *   DF_EOFFLINE   not applied for sure; try again later (connect failure,
 *                 503, 429 beyond the deadline, timeout of a read)
 *   -EAGAIN       applied or not is unknown: send again, same ids
 *   DF_EAUTH      credentials refused; stop sending until they change
 *   -EDQUOT       402: no credit or no room; will not heal by itself
 *   -EFBIG        the server refused the size of the statement
 *   -ENOENT       the table, row or pack does not exist
 *   -EROFS        these credentials may not write
 *   DF_ECORRUPT   an answer that is not what was stored (hash, base64, type)
 *   DF_EFORMAT    a format row newer than this program
 *   -EKEYREJECTED the server's certificate is not trusted; sending stops
 *   -ECANCELED    stop() was called
 * The retrying of transient errors up to the deadline happens inside.
 */
#ifndef DF_BACKEND_REMOTE_H
#define DF_BACKEND_REMOTE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hash.h"

enum df_row_kind {
	DF_ROW_UNKNOWN = 0,
	DF_ROW_FORMAT,     /* 'format': node 0, seq 0; body: formats.md */
	DF_ROW_COMMIT,     /* 'commit' */
	DF_ROW_CHECKPOINT, /* 'checkpoint' */
};

/* (id, epoch) of a row that another row follows. */
struct df_dep {
	struct df_id id;
	uint64_t epoch;
};

/* Most dependencies of a row, and most bytes of a body in a row. */
#define DF_DEPS_MAX 4096
#define DF_BODY_MAX (8 << 20)

/* One row of T__log.  Owned by whoever holds it; df_row_release frees. */
struct df_row {
	struct df_id id; /* hash of the rest, `sent` and `n` excepted */
	uint64_t node;   /* writer */
	uint64_t seq;    /* the writer's count, from 1 */
	uint64_t epoch;  /* newest checkpoint generation it knew */
	enum df_row_kind kind;
	struct df_dep prev;  /* the writer's last row; zero id: none */
	struct df_dep *deps; /* owned; rows folded since prev */
	size_t n_deps;
	uint8_t *body; /* owned; raw bytes (base64 on the wire) */
	size_t body_len;
	/* not part of the hash: */
	uint64_t sent; /* stamp time of the attempt that made this row */
	uint64_t n;    /* place in commit order; 0 where unknown */
};

struct df_rows {
	struct df_row *row; /* owned */
	size_t n, size;
	uint64_t last_n;    /* feed: pass as `after` next time */
	uint64_t last_sent; /* greatest `sent` of the page, refused rows
			     * included: pass as `after` for the next page */
	size_t refused;     /* malformed or wrong hash: left out, counted */
	bool more;          /* the page was full */
	bool others; /* feed: somebody who is no mount changed the view */
};

void df_row_release(struct df_row *row);
void df_rows_release(struct df_rows *rows);
/* The id of a row: first 128 bits of SHA-256 over node, seq, epoch, kind,
 * prev, deps and body in the byte form of docs/formats.md. */
struct df_id df_row_id(const struct df_row *row);

struct df_idepoch_list {
	struct df_dep *v; /* owned */
	size_t n;
};

/* What the server proved it can do (format row; merge-rules E10). */
struct df_caps {
	atomic_bool ours; /* unique ids and read-your-write; set by the first
			   * operation that reads the format row */
	atomic_bool feed; /* rows_feed() works; cleared if it ceases to */
};

/* What an acknowledged insert brought back. */
struct df_ack {
	int64_t server_date_ms; /* the answer's Date; 0 if it had none */
	bool already;           /* a unique id said: it is there already */
};

/* One file of the view, and a page of foreign rows: backend/filesview.h. */
struct df_view_row;
struct df_view_page;

/* What `deeplake status` shows of the connection. */
struct df_remote_health {
	uint64_t requests, retries, faults, connects;
	uint64_t bytes_out, bytes_in;
	uint64_t moved; /* bytes that left, of requests under way too */
	unsigned in_flight, max_in_flight;
	int err;            /* 0, or the trouble now (codes above) */
	char text[256];     /* it in words; "" = none */
	int64_t since_ms;   /* CLOCK_REALTIME of its begin */
	int64_t last_ok_ms; /* of the last good answer; 0 = never */
	/* For how long nobody has been there (refused, no such name, no way):
	 * known at the first attempt, while calls go on trying.  0 = somebody
	 * answered the last attempt that ended. */
	int64_t away_ms;
};

/* A pack to be inserted; not owned. */
struct df_pack_bytes {
	struct df_id id;
	const void *data;
	size_t len;
};

struct df_remote;

struct df_remote_ops {
	const char *name;
	/* NULL, or: find out caps, as the first of the others does otherwise.
	 * -ENOENT: no volume. */
	int (*learn)(struct df_remote *r, int64_t timeout_ms);
	/* Insert a log row, `sent` as given.  A 2xx is an answer, not proof. */
	int (*row_put)(struct df_remote *r, const struct df_row *row,
		       uint64_t sent, int64_t timeout_ms, struct df_ack *ack);
	/* Rows with sent > after, ordered by sent (one keyset page, limit
	 * rows); doubled rows are possible.  server_date_ms may be NULL. */
	int (*rows_after)(struct df_remote *r, uint64_t after, unsigned limit,
			  int64_t timeout_ms, struct df_rows *out,
			  int64_t *server_date_ms);
	/* Only with caps.feed: rows with n > after in commit order; waits up to
	 * wait_ms for the first (0 = answer at once). */
	int (*rows_feed)(struct df_remote *r, uint64_t after, unsigned limit,
			 int64_t wait_ms, struct df_rows *out,
			 int64_t *server_date_ms);
	/* (id, epoch) of every row of the log, all pages. */
	int (*rows_list)(struct df_remote *r, int64_t timeout_ms,
			 struct df_idepoch_list *out, int64_t *server_date_ms);
	/* These rows; absent ones are left out without error. */
	int (*rows_get)(struct df_remote *r, const struct df_id *ids, size_t n,
			int64_t timeout_ms, struct df_rows *out);
	int (*rows_delete)(struct df_remote *r, const struct df_id *ids,
			   size_t n, int64_t timeout_ms);

	/* Insert a pack; id is the hash of data.  Twice is harmless. */
	int (*pack_put)(struct df_remote *r, const struct df_id *id,
			const void *data, size_t len, int64_t timeout_ms);
	/* Several in one statement: all of them or none.  NULL: there is only
	 * pack_put (sim). */
	int (*packs_put)(struct df_remote *r, const struct df_pack_bytes *p,
			 size_t n, int64_t timeout_ms);
	/* Append bytes off..off+len of a pack to out (the whole pack when len
	 * is 0).  More may be fetched than asked, never returned.  A pack
	 * shorter than asked is DF_ECORRUPT, an absent one -ENOENT. */
	int (*pack_get)(struct df_remote *r, const struct df_id *id,
			uint64_t off, uint64_t len, int64_t timeout_ms,
			struct df_buf *out);
	/* Which of ids are there: present[i] is set. */
	int (*packs_have)(struct df_remote *r, const struct df_id *ids,
			  size_t n, int64_t timeout_ms, bool *present);
	/* Ids (epoch = size in bytes) of every pack. */
	int (*packs_list)(struct df_remote *r, int64_t timeout_ms,
			  struct df_idepoch_list *out);
	int (*packs_delete)(struct df_remote *r, const struct df_id *ids,
			    size_t n, int64_t timeout_ms);

	/* The files view; NULL where there is none (view=off, sim). */
	int (*view_apply)(struct df_remote *r, const struct df_view_row *rows,
			  size_t n, int64_t timeout_ms);
	/* One page of rows that somebody else put into T, by path: the first
	 * with path > after (NULL: from the start).  NULL op as above. */
	int (*view_foreign)(struct df_remote *r, const char *after,
			    unsigned limit, int64_t timeout_ms,
			    struct df_view_page *out);

	/* Re-read credentials; called now and then while DF_EAUTH. */
	int (*reload)(struct df_remote *r);
	/* Counters and trouble; NULL where there are none (sim). */
	void (*health)(struct df_remote *r, struct df_remote_health *out);
	/* Drop all connections (after a sleep they are dead). */
	void (*reset)(struct df_remote *r);
	/* Make every blocked and later operation return -ECANCELED. */
	void (*stop)(struct df_remote *r);
	void (*free)(struct df_remote *r); /* only after stop() */
};

struct df_api;

/* Embedded as the first member of each implementation. */
struct df_remote {
	const struct df_remote_ops *ops;
	/* For other SQL on the same connections (backend/api.h): the table
	 * API at the bottom, not owned; NULL in tests/sim. */
	struct df_api *api;
	struct df_caps caps;
	_Atomic size_t pack_max; /* bytes of a raw pack that the server takes;
			      * starts at 4 MiB, halves down to 128 KiB */
	_Atomic int64_t latency_ms; /* median of the last requests */
	char where[256];       /* "https://host/ workspace/T" for messages */
	atomic_bool read_only; /* these credentials may not write */
};

#endif
