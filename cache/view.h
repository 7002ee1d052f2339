/*
 * view.h - keeps the files view: one row a file in the table T (docs/view.md).
 *
 * The view is derived from the registers and may lag; the log is the truth.
 * A cut's objects are noted in a queue (a local file, so that SIGKILL does not
 * lose it); once the cut is acknowledged a thread of its own works through it
 * in batches.  No request for a file, nothing on anybody's fsync.
 *
 *   row id   "df-" + H(object, dot): sent twice it is the same row.  A name
 *            beyond a file's newest has H(object, dot, parent, name).
 *   update   the row of the new dot is inserted, the row of the dot that it
 *            replaces deleted (known from the version's vector).
 *   moved    a moved directory's rows follow by UPDATE of their paths on a
 *            server of ours, elsewhere by writing them again, slowly.
 *   adopted  what other nodes committed is asked for after 60 s, and what is
 *            wrong is written anew: its writer is dead.  Mounts that are in use
 *            take turns, by node, so that one heals and the rest find it done.
 *
 * What it does not do: rows of files that changed while nobody mounted the
 * volume with a view; `deeplake fsck --view` compares and rebuilds.
 *
 * Threads: df_view_note and df_view_merged from any; the rest from one.
 * All functions take w == NULL (no view) and then do nothing.
 */
#ifndef DF_CACHE_VIEW_H
#define DF_CACHE_VIEW_H

#include "backend/filesview.h"
#include "cache/cut.h"

struct df_view;

/* NULL: view=off, read-only, or a remote that has no view.  Reads what an
 * earlier process left in CACHE/view.queue. */
struct df_view *df_view_new(struct df_vol *v);
void df_view_free(struct df_view *w);

/* A row with this cut was noted.  Not locked; appends to the queue's file. */
void df_view_note(struct df_view *w, const struct df_cut *c);
/* Somebody else's registers were joined into o.  Locked. */
void df_view_merged(struct df_view *w, const struct df_obj *o,
		    const struct df_obj *delta);

/* The server says that somebody who is no mount changed the table. */
void df_view_others(struct df_view *w);

int df_view_start(struct df_view *w);
/* Work through what is acknowledged, until df_deadline_ms() time; before
 * df_view_stop. */
void df_view_drain(struct df_view *w, int64_t deadline_ns);
/* Joins the thread; call the stop() of the remote first. */
void df_view_stop(struct df_view *w);

/* One round, on the caller's thread (tests, tools): 1 there is more to do, 0
 * nothing is due, or -errno. */
int df_view_step(struct df_view *w);

/* ---- for fsck: what the rows of an object are */
struct df_view_want {
	char id[DF_VIEW_ID_LEN];
	char *path; /* owned */
	uint64_t size;
};
/* Calls fn for each row that the view of v should hold, until it returns other
 * than 0.  Not locked. */
int df_view_each(struct df_vol *v,
		 int (*fn)(void *arg, df_nid nid,
			   const struct df_view_want *want),
		 void *arg);
/* Delete rows `ids` and write all rows of objects nids anew. */
int df_view_rewrite(struct df_vol *v, const df_nid *nids, size_t n,
		    char (*ids)[DF_VIEW_ID_LEN], size_t n_ids);

#endif
