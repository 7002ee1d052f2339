/*
 * vol_data.h - what the files about bytes share: vol_data.c (reading),
 * vol_write.c, vol_range.c, load.c (waiting for pieces).
 */
#ifndef DF_CACHE_VOL_DATA_H
#define DF_CACHE_VOL_DATA_H

#include "cache/vol.h"

struct gather;

#define DF_READ_TRIES 4 /* what came may be evicted before it is read */

/* An operation that waits for pieces: the head of a parked read or load.
 * It is interrupted at most once, wherever it is on its way. */
struct df_wish {
	struct df_wish *next; /* v->wishes; lock */
	struct df_vol *v;
	void *arg; /* df_vol_interrupt() knows it by this */
	/* come(w, err): the pieces are here, or err.  On a thread of the
	 * fetcher. */
	void (*come)(void *w, int err);
	int tries;
	unsigned refs;    /* lock; the last one frees */
	bool interrupted; /* lock */
};

/* Locked.  w was allocated by the caller, with v, arg and come set. */
void df_wish_add(struct df_wish *w);
/* Not locked: ask for n pieces (frees the array); w->come() will be called,
 * perhaps before this returns. */
void df_wish_fetch(struct df_wish *w, struct df_piece *p, size_t n);
/* Not locked: no interrupt reaches it any more; frees it. */
void df_wish_end(struct df_wish *w);
/* Locked; false: nobody waits with this arg. */
bool df_wish_interrupt(struct df_vol *v, void *arg);

/* What a program is told of a fetch that failed (1: what came went again), and
 * with EIO the log, too. */
int df_data_error(int err);
/* All pages of the versions of o that are not loaded. */
void df_data_pages(const struct df_obj *o, struct df_piece **p, size_t *n);
/* Locked: decode what pages of o are local.  0: its maps are whole; -EAGAIN:
 * pages are missing; -EIO. */
int df_data_load(struct df_vol *v, struct df_obj *o);
bool df_data_unloaded(const struct df_obj *o);
/* Make pieces local and wait for it (not locked; not on a thread that must not
 * wait); fetch.h's errors. */
int df_data_fetch_wait(struct df_vol *v, const struct df_piece *p, size_t n);
/* Decode h's pages, which are local: 0, -EAGAIN (some are not), -EIO. */
int df_ver_load(struct df_vol *v, struct df_ver *h);
uint64_t df_data_size(const struct df_obj *o); /* of the text that is shown */
int df_vol_writable_unlocked(struct df_vol *v);

#endif
