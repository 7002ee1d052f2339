/*
 * merge.h - registers from the table are joined into the fold.
 *
 * Locks: the volume's, where said.
 */
#ifndef DF_CACHE_MERGE_H
#define DF_CACHE_MERGE_H

#include "cache/registers/commit.h"
#include "cache/tree.h"

/* Bring a body's registers here and check that all of them decode.  Fetches
 * packs (waits; not locked).  An inline pack's pieces are kept locally.
 * *max_time: greatest stamp in it.  0, DF_ECORRUPT (refuse the row), or a
 * transient error. */
int df_merge_fetch(struct df_vol *v, const struct df_body *body,
		   struct df_buf *regs, uint64_t *max_time);
/* Keep the pieces of a body's inline pack locally: no table has them. */
/* The registers of a body, if all its pieces are local; -EAGAIN: they are not
 * (any more). */
int df_merge_local(struct df_vol *v, const struct df_body *body,
		   struct df_buf *regs);
int df_merge_keep(struct df_vol *v, const struct df_body *body);
/* Keep a fetched piece locally, if there is room.  Not locked. */
int df_merge_keep_piece(struct df_vol *v, const struct df_id *pack,
			uint32_t off, const void *raw, size_t len);
/* Join checked registers; tells the kernel what it must forget; in slices,
 * each made durable in the fold before its lock is let go (while v->filling:
 * now and then).  row, if not NULL,
 * is noted as folded and as a cause of our next row together with the last
 * slice: an effect that survives a crash must still name its cause.  Not
 * locked. */
int df_merge_registers(struct df_vol *v, const void *regs, size_t len,
		       const struct df_dep *row);
/* Join one decoded object (a delta).  Locked. */
void df_merge_object(struct df_vol *v, const struct df_obj *delta);

#endif
