/*
 * lock.h - a mutex that knows its owner in debug builds, and a condition on
 * the monotonic clock.  The order of locks is numbered in docs/design.md.
 */
#ifndef DF_BASE_LOCK_H
#define DF_BASE_LOCK_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define DF_TSA(x) __attribute__((x))
#else
#define DF_TSA(x)
#endif
#define DF_CAPABILITY DF_TSA(capability("mutex"))
#define DF_REQUIRES(l) DF_TSA(requires_capability(l))
#define DF_ACQUIRE(l) DF_TSA(acquire_capability(l))
#define DF_RELEASE(l) DF_TSA(release_capability(l))

struct DF_CAPABILITY df_lock {
	pthread_mutex_t mutex;
#ifndef NDEBUG
	pthread_t owner;
	bool held;
#endif
};

struct df_cond {
	pthread_cond_t cond;
};

void df_lock_init(struct df_lock *l);
void df_lock_release(struct df_lock *l);
void df_lock(struct df_lock *l) DF_ACQUIRE(l);
void df_unlock(struct df_lock *l) DF_RELEASE(l);
/* Assert (debug builds) that the calling thread holds l. */
void df_lock_assert(const struct df_lock *l);

void df_cond_init(struct df_cond *c);
void df_cond_release(struct df_cond *c);
void df_cond_signal(struct df_cond *c);
void df_cond_broadcast(struct df_cond *c);
void df_cond_wait(struct df_cond *c, struct df_lock *l);
/* Wait until signalled or CLOCK_MONOTONIC reaches deadline_ns; false = time
 * is up.  Real time even under a test clock: tests step, they do not wait. */
bool df_cond_wait_until(struct df_cond *c, struct df_lock *l,
			int64_t deadline_ns);

#endif
