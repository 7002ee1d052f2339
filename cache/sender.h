/*
 * sender.h - puts packs into the table, three at a time.
 *
 * df_sender_put takes a pack and returns when there is room in the queue, so
 * that a cut of any size needs the memory of a few packs; df_sender_wait waits
 * until all are in the table.  A failing pack is tried again (same id) until it
 * is there, the server refuses its size, or the volume stops.
 *
 * Without threads (tests/sim) put sends at once.
 *
 * A server that did not prove itself ours may acknowledge a pack and not keep
 * it.  There a copy of each pack stays among the fetched pieces (which may be
 * evicted: best effort) until df_sender_check() has found the pack in the table.
 * Copies are not looked for after a restart.
 */
#ifndef DF_CACHE_SENDER_H
#define DF_CACHE_SENDER_H

#include "cache/vol.h"

struct df_sender;

struct df_sender *df_sender_new(struct df_vol *v, unsigned threads);
/* Takes data.  0, or the first error of any pack since the last wait. */
int df_sender_put(struct df_sender *s, const struct df_id *id, uint8_t *data,
		  size_t len);
int df_sender_wait(struct df_sender *s);
/* Ask for the packs that were sent 15 s ago, in one request, and send again
 * what is not there.  Takes as long as these requests. */
void df_sender_check(struct df_sender *s);
void df_sender_stop(struct df_sender *s);
void df_sender_free(struct df_sender *s);
/* Sleep before trying again: how long after the n-th failure; false when the
 * volume stops.  Sets what status says about the server. */
bool df_vol_backoff(struct df_vol *v, unsigned n, int err);

#endif
