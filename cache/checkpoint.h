/*
 * checkpoint.h - all registers of the fold as blocks in packs, and back
 * (merge-rules E7; docs/formats.md, "Checkpoints").
 *
 * A checkpoint is a row of the log that names an index, the index names
 * blocks, and each block is a piece of a pack with registers of a few
 * directories.  Blocks are cut and encoded the same way by everybody, so most
 * of them are those of the checkpoint before.  Registers are joins: folding a
 * checkpoint is merging a very big commit.
 *
 * Locks: functions here take the volume's lock themselves, for a few ms at a
 *        time; they block on the network.  One thread at a time calls them
 *        (the poll thread, or the one that opens the volume).
 */
#ifndef DF_CACHE_CHECKPOINT_H
#define DF_CACHE_CHECKPOINT_H

#include "cache/vol.h"

/* A cache that knows nothing: find the newest checkpoint of the log and fold
 * it, so that the rows which it covers need not be read.  The caller lists the
 * log then and reads what is unknown: polls and the feed begin behind the
 * checkpoint.  0 also when there is none; a transient error: try again, or read
 * the log. */
int df_checkpoint_cold(struct df_vol *v);
/* Is folding this checkpoint row needed?  0: no, we have all rows that it
 * covers, its generation counts as folded; 1: the log has lost some that we
 * miss; DF_CK_LATE: the log has all that we miss; or -errno. */
#define DF_CK_LATE 2
int df_checkpoint_wanted(struct df_vol *v, const struct df_row *row);
/* Fold it.  0: done, or refused for good (status says so); 1: rows whose packs
 * it points into do not show yet (not with force), nothing was folded; else a
 * transient error: nothing of it counts as folded, though registers may be
 * there. */
int df_checkpoint_fold(struct df_vol *v, const struct df_row *row, bool force);
/* Write one now, then delete rows that were covered for over a day.
 * -EAGAIN: the log does not show yet what was dirty when it began, or one of
 * our rows before, or the node got a new identity meanwhile: nothing was
 * written, try again later. */
int df_checkpoint_write(struct df_vol *v);
/* Is it this node's turn to write one? */
bool df_checkpoint_due(struct df_vol *v);

#endif
