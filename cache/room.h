/*
 * room.h - changes that wait: for room in a cache full of bytes that are not
 * remote yet, or for the local database, which lacks more than memory should
 * keep.  A slow uplink slows writers down, only one that is not there fails
 * them; see df_vol_wait() in volume.h.
 *
 * Each kind is a queue, in the order of arrival.  The uploader and the fold's
 * thread try its head again when something has left, and at least every
 * quarter of a second; who finds no room ends the round.
 */
#ifndef DF_CACHE_ROOM_H
#define DF_CACHE_ROOM_H

#include "cache/vol.h"

/* As df_vol_wait(); locked.  key: by which df_vol_interrupt() knows it. */
int df_room_wait(struct df_vol *v, enum df_wait what,
		 const struct df_wait_ops *ops, void *arg, void *key);
/* Not locked.  fail 0: something may have come; else all end with it. */
void df_room_retry(struct df_vol *v, int fail);
/* Locked; a no-op when nobody waits with key. */
void df_room_interrupt(struct df_vol *v, void *key);
/* Locked: SQLite lacks more, or less, than before. */
void df_room_look(struct df_vol *v);

#endif
