/* lock.c - see lock.h. */
#include "base/lock.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* A failing pthread call here is a programming error, never a run-time one. */
static void must(int err)
{
	if (err)
		abort();
}

static void set_owner(struct df_lock *l, bool held)
{
#ifndef NDEBUG
	l->owner = pthread_self();
	l->held = held;
#else
	(void)l;
	(void)held;
#endif
}

void df_lock_init(struct df_lock *l)
{
	must(pthread_mutex_init(&l->mutex, NULL));
#ifndef NDEBUG
	l->held = false;
#endif
}

void df_lock_release(struct df_lock *l)
{
	must(pthread_mutex_destroy(&l->mutex));
}

void df_lock(struct df_lock *l)
{
	must(pthread_mutex_lock(&l->mutex));
	set_owner(l, true);
}

void df_unlock(struct df_lock *l)
{
	df_lock_assert(l);
	set_owner(l, false);
	must(pthread_mutex_unlock(&l->mutex));
}

void df_lock_assert(const struct df_lock *l)
{
#ifndef NDEBUG
	assert(l->held && pthread_equal(l->owner, pthread_self()));
#else
	(void)l;
#endif
}

void df_cond_init(struct df_cond *c)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr));
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	must(pthread_cond_init(&c->cond, &attr));
	must(pthread_condattr_destroy(&attr));
}

void df_cond_release(struct df_cond *c)
{
	must(pthread_cond_destroy(&c->cond));
}

void df_cond_signal(struct df_cond *c)
{
	must(pthread_cond_signal(&c->cond));
}

void df_cond_broadcast(struct df_cond *c)
{
	must(pthread_cond_broadcast(&c->cond));
}

void df_cond_wait(struct df_cond *c, struct df_lock *l)
{
	df_lock_assert(l);
	set_owner(l, false);
	must(pthread_cond_wait(&c->cond, &l->mutex));
	set_owner(l, true);
}

bool df_cond_wait_until(struct df_cond *c, struct df_lock *l,
			int64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = deadline_ns / 1000000000,
			       .tv_nsec = deadline_ns % 1000000000 };

	if (deadline_ns < 0)
		ts = (struct timespec){ 0 };
	df_lock_assert(l);
	set_owner(l, false);
	int err = pthread_cond_timedwait(&c->cond, &l->mutex, &ts);
	set_owner(l, true);
	if (err != ETIMEDOUT)
		must(err);
	return err == 0;
}
