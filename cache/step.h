/*
 * step.h - the volume's workers, one step at a time, for tests/sim.
 *
 * A volume that was opened but not started has no threads; these calls do the
 * work that its threads would do, on the caller's thread, in the order that
 * the caller chooses.  Not for the product.
 */
#ifndef DF_CACHE_STEP_H
#define DF_CACHE_STEP_H

#include "cache/volume.h"

/* Identity check, cut, pack, note the row in the journal.  1: a row is ready
 * to send, 0: nothing dirty, or -errno. */
int df_step_cut(struct df_vol *v);
/* Send the packs and the noted row once.  0 or remote.h's errors. */
int df_step_send(struct df_vol *v);
/* One poll (rows_after or rows_feed; with full also rows_list): fold what is
 * ready. */
int df_step_poll(struct df_vol *v, bool full);
/* Write the memory delta into SQLite. */
int df_step_fold(struct df_vol *v);
/* Write a checkpoint now. */
int df_step_checkpoint(struct df_vol *v);
/* Stop without saying anything to anybody, as SIGKILL does: closes files only.
 * v is freed. */
void df_step_kill(struct df_vol *v);
/* Open keeping the node id of the journal, as a forked VM that has not noticed
 * does; df_step_notice() is when it does. */
int df_step_open_fork(const struct df_vol_conf *conf, struct df_remote **remote,
		      struct df_vol **out);
void df_step_notice(struct df_vol *v);

/* Rules that can be switched off to see the checks fail (builds with
 * -DDF_SIM only): settle gone merge_append det_dir cycle restamp revive_dir
 * hardgone reassert mvr links.  -ENOENT: no such rule. */
int df_step_rule(const char *name, bool on);

#endif
