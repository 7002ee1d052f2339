/*
 * segindex.h - which pieces are in the fetch stream: (pack, offset) to place.
 *
 * Two open-addressed tables: pack ids to small numbers, and (number, offset)
 * to place and length, 20 bytes a piece.  Pieces whose segment was evicted are not
 * taken out one by one: a lookup finds their segment gone, and the next
 * growth leaves them out (`alive`).
 *
 * Threads: none of its own; the caller holds a lock.
 */
#ifndef DF_CACHE_SEGINDEX_H
#define DF_CACHE_SEGINDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "cache/bytes/seg.h"

struct df_segindex;

/* alive(arg, seg): is that segment still there? */
struct df_segindex *df_segindex_new(bool (*alive)(void *arg, uint32_t seg),
				    void *arg);
void df_segindex_free(struct df_segindex *x);
/* Add or replace; 0 or -ENOMEM. */
int df_segindex_set(struct df_segindex *x, const struct df_id *pack,
		    uint32_t off, struct df_loc loc, uint32_t len);
/* The place may be in a segment that is gone. */
bool df_segindex_get(const struct df_segindex *x, const struct df_id *pack,
		     uint32_t off, struct df_loc *loc, uint32_t *len);
/* Take the piece out if it is (still) at loc. */
void df_segindex_del(struct df_segindex *x, const struct df_id *pack,
		     uint32_t off, struct df_loc loc);

#endif
