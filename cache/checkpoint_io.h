/*
 * checkpoint_io.h - pieces of checkpoints from the table, and what is
 * remembered of the newest one.  Not locked; blocks.
 */
#ifndef DF_CACHE_CHECKPOINT_IO_H
#define DF_CACHE_CHECKPOINT_IO_H

#include "cache/checkpoint_format.h"
#include "cache/vol.h"

/* Bring pieces, three large reads at once, past the cache; fn gets each one's
 * raw bytes, on the caller's thread, in the order of packs and offsets (the
 * same each time).  fn's error ends it. */
typedef int df_ck_piece_fn(void *arg, size_t i, const void *raw, size_t len);
int df_ck_fetch(struct df_vol *v, const struct df_piece *pieces, size_t n,
		df_ck_piece_fn *fn, void *arg);
/* The index that a row names.  DF_ECORRUPT, DF_EFORMAT: the row is no good;
 * -ENOENT: a pack is missing; others: transient. */
int df_ck_fetch_index(struct df_vol *v, const struct df_row *row,
		      struct df_ck_index *x);

/* The newest checkpoint that this cache folded or wrote: it says which blocks
 * need not be written again.  Kept in a file of the cache directory; losing it
 * costs bytes sent, nothing else. */
struct df_ck_base {
	struct df_id row;
	struct df_ck_index index;
};
/* false: none */
bool df_ck_base_load(struct df_vol *v, struct df_ck_base *b);
void df_ck_base_save(struct df_vol *v, const struct df_ck_base *b);
/* The server's time as far as we know it. */
int64_t df_ck_now_ms(struct df_vol *v);

#endif
