/*
 * checkpoint_rows.h - rows that a checkpoint has covered for a day leave the
 * log (merge-rules E7).
 *
 * A row goes only when the pack that travelled in it, if one did, is in T__pack
 * under the same name: who points into it, and may have slept for weeks, finds
 * it there, and `deeplake gc` sweeps it like any other pack.  No register
 * changes, so nothing has to be merged.
 *
 * Threads: whoever writes checkpoints.  Locks: takes none; blocks on the
 * network.
 */
#ifndef DF_CACHE_CHECKPOINT_ROWS_H
#define DF_CACHE_CHECKPOINT_ROWS_H

#include "cache/vol.h"

#define DF_CK_ROWS_AT_ONCE 64 /* some five requests */
#define DF_CK_ROWS_MAX 4096   /* of one checkpoint: twice what makes one due */

/* Copy the packs of these rows, and delete those rows whose packs the table
 * shows; the others are the next checkpoint's.  n: DF_CK_ROWS_AT_ONCE at most. */
int df_ck_rows_go(struct df_vol *v, const struct df_id *ids, size_t n);

#endif
