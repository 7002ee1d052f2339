/*
 * checkpoint_bulk.h - registers of a checkpoint straight into an empty fold.
 *
 * A fold without anything in it needs no joins and no look-ups: objects and
 * names are written to SQLite as they come, the index of ids and the derived
 * counts at the end.  All of it is one transaction.  Whatever this cannot do
 * (an object in two places, a file that something names as its directory) ends
 * with -EEXIST: nothing has happened, merge the ordinary way.
 *
 * Threads: one, before the volume's threads are started.  Locks: takes the
 *          volume's for the whole time; nobody else is there yet.
 */
#ifndef DF_CACHE_CHECKPOINT_BULK_H
#define DF_CACHE_CHECKPOINT_BULK_H

#include "cache/vol.h"

struct df_bulk;

/* NULL: the fold is not empty, or the volume is running. */
struct df_bulk *df_bulk_begin(struct df_vol *v);
/* Registers of a block.  DF_ECORRUPT, -EEXIST, or SQLite's trouble. */
int df_bulk_add(struct df_bulk *b, const void *regs, size_t len);
/* err: what happened so far (not 0: take everything back).  Frees b. */
int df_bulk_end(struct df_bulk *b, int err);

#endif
