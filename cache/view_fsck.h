/*
 * view_fsck.h - what fsck and gc ask of a volume that they opened for
 * themselves: every piece that its registers name, is the tree sound.
 *
 * The volume is read-only and nobody else works on it; its lock is taken
 * inside, for as long as a walk over all objects takes.
 */
#ifndef DF_CACHE_VIEW_FSCK_H
#define DF_CACHE_VIEW_FSCK_H

#include "cache/bytes/pack.h"
#include "cache/view.h"

/* A piece that the content of an object that is there (or may come back)
 * needs; sorted by (pack, off). */
struct df_fsck_piece {
	struct df_piece p;
	df_nid nid;
};
struct df_fsck_pieces {
	struct df_fsck_piece *v; /* owned */
	size_t n, size;
	size_t n_objs;
	/* Objects whose extent map could not be had: its pages are missing. */
	df_nid *broken; /* owned */
	size_t n_broken, broken_size;
};
/* 0 or -errno; fetches extent maps that live in pages. */
int df_fsck_pieces(struct df_vol *v, struct df_fsck_pieces *out);
void df_fsck_pieces_release(struct df_fsck_pieces *p);
/* Is the piece here, verified when it came? */
bool df_fsck_is_local(struct df_vol *v, const struct df_piece *p);
/* The volume's connection; it finds packs that travelled in rows, too. */
struct df_remote *df_fsck_remote(struct df_vol *v);
/* Add the pieces that a row of the log needs for itself: registers of a large
 * commit; index and blocks of a checkpoint.  nid is 0. */
int df_fsck_row_pieces(struct df_vol *v, const struct df_row *row,
		       struct df_fsck_pieces *out);

/* Calls say for each thing that is wrong with the tree; their number. */
size_t df_fsck_tree(struct df_vol *v,
		    void (*say)(void *arg, const char *path,
				const char *problem),
		    void *arg);
/* A path of the object, or "object <id>"; caller frees. */
char *df_fsck_path(struct df_vol *v, df_nid nid);

#endif
