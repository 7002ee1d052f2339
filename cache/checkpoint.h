/*
 * checkpoint.h - all registers of the fold as blocks in packs, and back
 * (merge-rules E7).  Locks: functions here take the volume's lock themselves.
 */
#ifndef DF_CACHE_CHECKPOINT_H
#define DF_CACHE_CHECKPOINT_H

#include "cache/vol.h"

/* Is folding this checkpoint row needed: do we miss rows that it covers?
 * 1, 0, or -errno. */
int df_checkpoint_wanted(struct df_vol *v, const struct df_row *row);
/* Fold it: 0, DF_ECORRUPT (refused), or a transient error. */
int df_checkpoint_fold(struct df_vol *v, const struct df_row *row);
/* Write one now. */
int df_checkpoint_write(struct df_vol *v);
/* Is it this node's turn to write one? */
bool df_checkpoint_due(struct df_vol *v);

#endif
