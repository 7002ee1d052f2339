/*
 * viewi.h - what the files of the view share; nobody else includes it.
 *
 *   view.c         queue, thread, what is done when
 *   view_row.c     an object -> its rows (path, text, type)
 *   view_send.c    rows -> statements (backend/viewsql.h)
 *   view_heal.c    rows that others did not write
 *   view_doubt.c   rows that may be there twice
 *   view_move.c    rows below a moved directory
 *   view_foreign.c rows that somebody else put there -> files
 */
#ifndef DF_CACHE_VIEWI_H
#define DF_CACHE_VIEWI_H

#include <magic.h>
#include <stdatomic.h>

#include "backend/viewsql.h"
#include "cache/view.h"

/* A batch is sent at the first figure; a statement is split at the second. */
#define VIEW_BATCH_BYTES ((size_t)6 << 20)
#define VIEW_STMT_BYTES ((size_t)7 << 20)
#define VIEW_STMT_ROWS 3000
#define VIEW_TIMEOUT_MS 30000
/* On a file that came from a row: see view_foreign.c. */
#define VIEW_XATTR "user.deeplake.row"

/* An object that a cut held. */
enum view_flags {
	VIEW_NEW_DOT = 1, /* no row with this dot's id can be there */
	VIEW_MOVED = 2,   /* a directory: rows below follow */
};
struct view_rec {
	struct df_id id;
	struct df_stamp dot; /* of the text in the cut; time 0: unchanged */
	struct df_stamp old; /* what it replaced here; time 0: nothing */
	uint32_t flags;
};

/* Rows to write and ids to remove, built up for one round. */
struct view_ids {
	char (*v)[DF_VIEW_ID_LEN]; /* owned */
	size_t n, size;
};
struct view_batch {
	struct df_view_row *row; /* owned, with all that they point to */
	size_t n, size;
	struct view_ids gone;
	size_t bytes; /* of the statement, about */
};
void view_batch_release(struct view_batch *b);
/* Remove the row of this id. */
void view_batch_gone(struct view_batch *b, const char *id);

/* A moved directory whose rows follow, depth first. */
struct view_walk {
	struct view_walk *next;
	df_nid top;
	df_nid *dirs; /* owned; still to be listed */
	size_t n, size;
	uint64_t after; /* cookie in the last of dirs */
};

struct view_seen {
	df_nid nid;
	int64_t due_ns;
};

struct view_foreign;

/* Rows that are to be read back. */
struct view_doubts {
	struct view_doubt *v; /* owned */
	size_t n, size;
	int64_t due_ns; /* of the first; 0: none */
	bool told;
};

struct df_view {
	struct df_vol *v;
	struct df_lock lock;
	struct df_cond cond;
	pthread_t thread;
	bool started;
	bool stop;         /* lock */
	atomic_bool drain; /* no waiting for more */
	bool drained;      /* lock: nothing is left that could be done */
	struct df_cond drained_cond;
	atomic_bool others; /* look for rows of others now */
	atomic_bool dead;   /* the server will not have it: said once */

	/* the queue: records in a file, from head to tail */
	int fd;
	uint64_t head;  /* the thread's */
	uint64_t tail;  /* lock */
	uint64_t ready; /* lock: acknowledged up to here */
	struct view_mark {
		uint64_t cut, tail;
	} * marks; /* lock: not acknowledged yet */
	size_t n_marks, marks_size;
	bool again; /* the last round's fate is unknown */

	/* the thread's */
	struct view_walk *walks;
	struct view_held {
		struct view_rec rec;
		int64_t due_ns;
	} * held; /* big and hot: written less often */
	size_t n_held, held_size;
	struct view_hot {
		struct df_id id;
		int64_t at_ns;
		uint64_t bytes;
	} hot[64];
	struct view_doubts doubts;
	unsigned fails;
	int64_t yield_ms; /* how long it still lets requests go first */
	int64_t turn_ns;  /* since when it works between rests */
	magic_t magic;    /* NULL until needed */
	bool magic_failed;
	struct view_foreign *foreign;

	/* the volume's lock */
	struct view_seen *seen;
	size_t n_seen, seen_size;
	uint64_t seen_lost;
};

/* view.c */
/* Send, and start anew, when the batch is large, or all. */
int view_flush_if(struct df_view *w, struct view_batch *b, bool all);

/* view_heal.c */
/* One round: 1 more, 0 nothing is due, -errno. */
int view_heal_step(struct df_view *w);

/* view_row.c */
/* Add the rows of o (nid) and the ids that they replace.  rec NULL: all rows
 * as the registers are now, replacing all. */
int view_rows_of(struct df_view *w, df_nid nid, const struct view_rec *rec,
		 struct view_batch *b);
/* The same without contents, to be compared with what is there.  Nothing of an
 * object with a text under way: that one brings its own record. */
void view_outline(struct df_view *w, df_nid nid, struct view_batch *b);
/* Ids and paths only.  Locked; caller frees the paths and the array. */
struct df_view_want *view_wants(struct df_vol *v, struct df_obj *o, size_t *n);
/* The path at which dir is shown, "" for the root; NULL: nowhere.  Locked. */
char *view_dir_path(struct df_vol *v, df_nid dir);
/* The first len bytes of the text that o shows, or all.  Not locked. */
int view_read(struct df_vol *v, df_nid nid, uint64_t max, struct df_buf *out);
const char *view_mime(struct df_view *w, const char *name, const void *data,
		      size_t len, bool text);
bool view_is_text(const void *data, size_t len);

/* view_send.c */
/* Remove, then insert.  sure: none of the rows to be inserted can be there. */
int view_send(struct df_view *w, const struct view_batch *b, bool sure);
/* The table itself, for viewsql.h; whoever has a view has one. */
struct df_remote *view_table(const struct df_vol *v);
int64_t view_deadline(void); /* of one statement */

/* view_doubt.c */
/* Nobody knows whether, when or how often these rows are inserted. */
void view_doubt(struct df_view *w, const struct df_view_row *row, size_t n);
/* Read some of them back, and heal: 1 more, 0 nothing is due, -errno. */
int view_doubt_step(struct df_view *w);
void view_doubts_free(struct df_view *w);

/* view_move.c */
void view_walk_add(struct df_view *w, df_nid dir);
/* One batch: 1 more, 0 done, -errno. */
int view_walk_step(struct df_view *w);
void view_walks_free(struct df_view *w);

/* view_foreign.c */
/* Files that nobody's request makes; the kernel is told.  mark NULL: none. */
int view_make_file(struct df_vol *v, char *path, const struct df_buf *raw,
		   const uint8_t *mark);
int view_write_file(struct df_vol *v, df_nid nid, const struct df_buf *raw,
		    const uint8_t *mark);
/* name in dir came or went. */
void view_tell_name(struct df_vol *v, df_nid dir, const char *name);
void view_foreign_init(struct df_view *w);
int view_foreign_step(struct df_view *w);
/* When the next step is due; changes when the mount comes into use. */
int64_t view_foreign_due(struct df_view *w);
void view_foreign_merged(struct df_view *w, const struct df_obj *o);
void view_foreign_free(struct df_view *w);
/* SHA-256 of the bytes, H(path): value of the xattr. */
#define VIEW_MARK_LEN (DF_SHA_LEN + DF_ID_LEN)
void view_mark(const char *path, const void *data, size_t len,
	       uint8_t out[VIEW_MARK_LEN]);
/* Does the mark name this path? */
bool view_mark_is_at(const uint8_t mark[VIEW_MARK_LEN], const char *path);

#endif
