/*
 * rollback.h - did the server lose rows that it had (an older backup)?
 *
 * Asked where the server proved itself ours, so that a listing is the truth:
 * at a mount, every few minutes, and after each time it was gone.
 */
#ifndef DF_CACHE_ROLLBACK_H
#define DF_CACHE_ROLLBACK_H

#include "cache/vol.h"

/* Compare what is folded here with the table's log.  What the table lacks is
 * said in status and no longer named as a cause, and the feed is read from its
 * beginning, for its numbers are given out again.  0 or -errno.  Poll thread,
 * no lock held. */
int df_rollback_check(struct df_vol *v);

#endif
