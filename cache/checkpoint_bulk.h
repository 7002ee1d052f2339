/*
 * checkpoint_bulk.h - registers of a checkpoint straight into an empty fold.
 *
 * A fold without anything in it needs no joins and no look-ups: objects and
 * names are written to SQLite as they come, the indexes are built at the end.
 * All of it is one transaction a slice; a fold that was left half full is
 * filled the ordinary way the next time (registers are joins).
 *
 * Threads: one, before the volume's threads are started.
 */
#ifndef DF_CACHE_CHECKPOINT_BULK_H
#define DF_CACHE_CHECKPOINT_BULK_H

#include "cache/vol.h"

struct df_bulk;

/* NULL: the fold is not empty, or the volume is running. */
struct df_bulk *df_bulk_begin(struct df_vol *v);
/* Registers of a block; DF_ECORRUPT, or SQLite's trouble. */
int df_bulk_add(struct df_bulk *b, const void *regs, size_t len);
/* err: what happened so far (not 0: take everything back).  Frees b. */
int df_bulk_end(struct df_bulk *b, int err);

#endif
