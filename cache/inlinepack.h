/*
 * inlinepack.h - packs that travelled inside a row are found there.
 *
 * A remote in front of a remote: every operation goes through unchanged, but
 * commits that pass are looked at (their inline pack's id -> the row's id is
 * remembered in CACHE_DIR/inline.db), and a pack that is known to be in a row
 * is read from there.  To everybody above it looks like any other pack.  Of one
 * that is not known and not in T__pack either, the log is searched once.
 *
 * Threads: as remote.h; one lock of its own, under which nothing blocks on the
 *          network.
 */
#ifndef DF_CACHE_INLINEPACK_H
#define DF_CACHE_INLINEPACK_H

#include "backend/remote.h"

/* Takes *lower on success. */
int df_inlinepack_new(const char *cache_dir, struct df_remote **lower,
		      struct df_remote **out);
/* Undo: r is freed (its lower one is not), the lower one returned. */
struct df_remote *df_inlinepack_unwrap(struct df_remote *r);
/* Is r one of these? */
bool df_inlinepack_is(const struct df_remote *r);
/* What is behind it; r itself if it is none of these. */
struct df_remote *df_inlinepack_lower(struct df_remote *r);
/* The row that a pack is in; false: not known to be in one (or r is none of
 * these). */
bool df_inlinepack_row(struct df_remote *r, const struct df_id *pack,
		       struct df_id *row);
/* Somebody else (a checkpoint) knows of n packs. */
struct df_inline_place {
	struct df_id pack, row;
};
int df_inlinepack_add(struct df_remote *r, const struct df_inline_place *p,
		      size_t n);
/* The pack is in T__pack as well now. */
void df_inlinepack_forget(struct df_remote *r, const struct df_id *pack);

#endif
