/*
 * park.h - requests whose answer comes later, from a thread of the volume.
 *
 * A worker takes its spare park, hands it to the volume as the completion's
 * argument, and goes on:
 *
 *	p = df_park_get(req, len);
 *	err = df_vol_write(..., df_park_done, p);
 *	if (err == DF_EPARKED)
 *		df_park_hold(p);        - req and p are not ours any more
 *	else ... answer req; p stays the spare
 *
 * States of a park:
 *	FRESH   with its worker; the completion may come at any time
 *	HELD    in fs->parks; an interrupt reaches the volume
 *	DONE    the completion was faster than df_park_hold(), which frees it
 *
 * Locks: park_lock is taken before libfuse's request lock (registering the
 * interrupt) and before the volume's (df_vol_interrupt); the completion takes
 * it alone.  libfuse calls the interrupt function with its request lock held;
 * that function takes no lock of ours.
 */
#ifndef DF_FS_PARK_H
#define DF_FS_PARK_H

#include "fs/fs.h"

/* This worker's spare, for req; NULL without memory.  len: what a WRITE
 * answers on success; 0 for requests that answer without a body. */
struct df_park *df_park_get(fuse_req_t req, size_t len);
/* The volume returned DF_EPARKED for p. */
void df_park_hold(struct df_park *p);
/* The same for one that the volume does not know yet; extra is p's, and freed
 * (not released) with it. */
void df_park_keep(struct df_park *p, void *extra);
void *df_park_extra(const struct df_park *p);
struct df_fs *df_park_fs(const struct df_park *p);
/* Did an INTERRUPT come since it is held?  (The volume was told if p was its
 * to know.) */
bool df_park_interrupted(struct df_park *p);
/* The request, to be answered now: no interrupt comes any more.  p is held and
 * the volume does not know it. */
fuse_req_t df_park_take(struct df_park *p);
/* It was answered; p is gone. */
void df_park_leave(struct df_park *p);
/* df_done_fn and df_read_fn */
void df_park_done(void *arg, int err);
void df_park_read_done(void *arg, int err, struct df_read *r);
/* Interrupt all that is held and wait until it was answered. */
void df_park_drain(struct df_fs *fs);

#endif
