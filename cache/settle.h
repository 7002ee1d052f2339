/*
 * settle.h - what is shown is made true before it is touched (merge-rules 9).
 *
 * Part of a local operation: between df_op_begin and the operation's own
 * registers.  Where nothing is derived (one writer, or nobody disagreed) these
 * are two comparisons.  Locks: the volume's.
 */
#ifndef DF_CACHE_SETTLE_H
#define DF_CACHE_SETTLE_H

#include "cache/op.h"

/* Does anything in the volume show what its registers do not say? */
static inline bool df_settle_needed(const struct df_vol *v)
{
	return v->n_revived || v->n_rehung || df_fold_any_rival(v->fold);
}
/* The object shown as `name` in `parent`, its rivals, all their names, and the
 * directories above. */
void df_settle_name(struct df_vol *v, df_nid parent, const char *name);
/* A file reached through a descriptor: where its names are. */
void df_settle_object(struct df_vol *v, df_nid nid);
/* Directories from `dir` up to the root are really there. */
void df_settle_dirs(struct df_vol *v, df_nid dir);
void df_settle_rings(struct df_vol *v);

#endif
