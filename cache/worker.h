/*
 * worker.h - the volume's threads, each a loop over steps that tests/sim runs
 * by hand: upload, poll, fold, local sync.
 */
#ifndef DF_CACHE_WORKER_H
#define DF_CACHE_WORKER_H

#include "cache/vol.h"

int df_workers_start(struct df_vol *v);
/* Ends the loops; joins. */
void df_workers_stop(struct df_vol *v);
/* Cut, pack, note: 1 a row is ready, 0 nothing to do, or -errno. */
int df_work_cut(struct df_vol *v, df_nid force);
/* What the next cut must not hold back: 0 nothing, DF_ROOT_NID everything, or
 * the one file that somebody syncs.  Locked. */
df_nid df_work_forced(const struct df_vol *v);
/* One attempt at the oldest row that is not acknowledged (or was, and never
 * showed); who has not looked lately looks first.  1: acknowledged, 0: there
 * is none, or -errno. */
int df_work_send(struct df_vol *v);
/* Complete what waits for cuts up to the acknowledged one. */
void df_work_wake(struct df_vol *v);
/* Write the fold and let the journal go. */
int df_work_fold(struct df_vol *v, bool durable);

#endif
