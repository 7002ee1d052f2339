/*
 * poll.h - rows of the log come in, causes first (merge-rules E4, E5).
 * Locks: functions here take the volume's lock themselves.
 */
#ifndef DF_CACHE_POLL_H
#define DF_CACHE_POLL_H

#include "cache/vol.h"

/* One look at the log; full also lists all ids and fetches what is unknown.
 * wait_ms: with a feed, wait that long for the first new row. */
int df_poll(struct df_vol *v, bool full, int64_t wait_ms);
/* A cache that knows nothing: fold the log if it is short and without a
 * checkpoint, which is one request.  1: it is not, nothing was folded. */
int df_poll_small(struct df_vol *v);
/* When the next look is due, from now. */
int64_t df_poll_interval_ms(struct df_vol *v);
/* How long a feed is asked to wait: an idle mount costs a request in 30 s, and
 * has the rows of others to ask for, too. */
int64_t df_poll_wait_ms(struct df_vol *v);
/* How long a request about the log may take: less while a mount is opening and
 * nothing has been answered. */
int64_t df_poll_timeout_ms(const struct df_vol *v);
void df_poll_release(struct df_vol *v);

#endif
