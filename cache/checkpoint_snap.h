/*
 * checkpoint_snap.h - all objects of the fold as of one moment, sorted by
 * (directory that shows them, id).
 *
 * A read transaction of its own on the fold's SQLite file: the volume goes on
 * meanwhile and is not locked.  32 bytes of memory a directory, 24 an object.
 *
 * Threads: belongs to one.  Locks: as said.
 */
#ifndef DF_CACHE_CHECKPOINT_SNAP_H
#define DF_CACHE_CHECKPOINT_SNAP_H

#include "cache/checkpoint_format.h"
#include "cache/vol.h"

struct df_snap;

/* Locked: everything that memory knows is written first. */
int df_snap_open(struct df_vol *v, struct df_snap **out);
void df_snap_free(struct df_snap *s);
/* Not locked: find and sort. */
int df_snap_sort(struct df_snap *s);
/* The next object that has registers which a noted row carries, without the
 * others (df_ck_clean): 1 (*o is the caller's), 0 at the end, or -errno. */
int df_snap_next(struct df_snap *s, struct df_ck_key *key, struct df_obj **o);
/* The id of a directory; the root's if there is none such. */
struct df_id df_snap_dir_id(void *snap, df_nid nid);
/* Published objects that had changes which no row carried; n. */
const df_nid *df_snap_dirty(const struct df_snap *s, size_t *n);

#endif
