/*
 * fetch.h - brings pieces from the server into the local segments.
 *
 * A request for pieces that are not local is joined with others for the same
 * pack: a small piece brings its neighbours along (window of 256 KiB; at the
 * second miss in a pack the rest of it), because files written together are
 * read together; large sequential reads run ahead.  At most 3 requests at once
 * (readahead never takes the last slot).  What arrives is verified, put into
 * the fetch stream and indexed; then the waiters are told and read locally.
 * What was asked for is never evicted before done has returned: read it (or pin
 * it) in there.  It also goes over the cache's limit, if that is full of bytes
 * that exist nowhere else; the overrun is what requests under way hold.
 *
 * Threads: df_fetch_get from any thread; done runs on a fetch thread, once.
 * With threads = 0 (tests/sim) df_fetch_get works synchronously.
 */
#ifndef DF_CACHE_FETCH_H
#define DF_CACHE_FETCH_H

#include "backend/remote.h"
#include "cache/bytes/pack.h"
#include "cache/bytes/seg.h"

struct df_fetch;

struct df_fetch *df_fetch_new(struct df_remote *remote, struct df_segs *segs,
			      unsigned threads);
/* Make n pieces local (copied from p); done(arg, err) when all are or one
 * failed: DF_EOFFLINE, -ETIMEDOUT, -ENOENT (pack missing), DF_ECORRUPT,
 * -ENOSPC, -EINTR (cancelled), -ECANCELED (stopped), DF_EAUTH and others of
 * remote.h as they come.  An absent pack is waited for 10 s once (rows may show
 * before packs), then -ENOENT at once.  A request that this returns an error
 * for never calls done.  Where a row lies about a length, DF_ECORRUPT; read
 * with df_seg_has_piece() behind it. */
int df_fetch_get(struct df_fetch *f, const struct df_piece *p, size_t n,
		 int64_t timeout_ms, void (*done)(void *arg, int err),
		 void *arg);
/* End the request that was given arg with -EINTR; false: not there. */
bool df_fetch_cancel(struct df_fetch *f, void *arg);
/* These will probably be asked for soon (readahead); best effort. */
void df_fetch_hint(struct df_fetch *f, const struct df_piece *p, size_t n);
/* Call done(arg, err) from the thread that calls all the others: for those who
 * must not do it themselves.  Never calls it on the caller's, but when there
 * are no threads (any more). */
void df_fetch_post(struct df_fetch *f, void (*done)(void *arg, int err),
		   void *arg, int err);
uint64_t df_fetch_bytes(const struct df_fetch *f); /* received, for status */
/* All waiters end with -ECANCELED; returns when the requests under way have
 * ended, so call the stop() of the remote first. */
void df_fetch_stop(struct df_fetch *f);
void df_fetch_free(struct df_fetch *f);

#endif
