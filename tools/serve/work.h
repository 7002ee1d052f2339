/*
 * work.h - threads that run jobs, and a clock that starts some of them later.
 *
 * Jobs are queued in the order they came and run on any thread; each may
 * block.  A timed job is queued when its time has come.
 *
 * Threads: all functions from any thread, from _new until _free.
 */
#ifndef DF_SERVE_WORK_H
#define DF_SERVE_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct df_work;

typedef void df_work_fn(void *arg);

/* NULL if threads or memory are short. */
struct df_work *df_work_new(unsigned threads, size_t queue_max);
/* 0, or -EBUSY when queue_max jobs wait (never for `must`). */
int df_work_add(struct df_work *w, df_work_fn *fn, void *arg, bool must);
/* After ms milliseconds, by the monotonic clock.  *id (may be NULL) is good
 * for df_work_cancel.  0 or -ENOMEM. */
int df_work_after(struct df_work *w, int64_t ms, df_work_fn *fn, void *arg,
		  uint64_t *id);
/* true: it will not run.  false: it ran, or is about to. */
bool df_work_cancel(struct df_work *w, uint64_t id);
/* Queue every timed job now; timed jobs added later are queued at once. */
void df_work_hurry(struct df_work *w);
/* Run what is queued to its end, then join the threads. */
void df_work_free(struct df_work *w);

#endif
