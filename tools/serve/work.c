/* work.c - see work.h. */
#include "tools/serve/work.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/lock.h"

#define WORK_STACK ((size_t)2 << 20)

struct work_job {
	df_work_fn *fn;
	void *arg;
	struct work_job *next;
};

struct work_timer {
	struct work_job *job; /* owned until queued */
	int64_t at_ns;
	uint64_t id;
	struct work_timer *next; /* by at_ns */
};

struct df_work {
	struct df_lock lock;
	struct df_cond wake;           /* a job, or the end */
	struct df_cond tick;           /* the timer list or stop changed */
	struct work_job *head, **tail; /* lock */
	size_t waiting, max;           /* lock */
	struct work_timer *timers;     /* lock */
	uint64_t next_id;              /* lock */
	bool stop, hurry;              /* lock */
	pthread_t *thread;
	pthread_t timer;
	unsigned n_threads;
	bool has_timer;
};

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * DF_NS_PER_S + ts.tv_nsec;
}

static void push_locked(struct df_work *w, struct work_job *j)
{
	j->next = NULL;
	*w->tail = j;
	w->tail = &j->next;
	w->waiting++;
	df_cond_signal(&w->wake);
}

static void *work_main(void *arg)
{
	struct df_work *w = arg;

	df_lock(&w->lock);
	for (;;) {
		struct work_job *j = w->head;

		if (j == NULL) {
			if (w->stop)
				break;
			df_cond_wait(&w->wake, &w->lock);
			continue;
		}
		w->head = j->next;
		if (w->head == NULL)
			w->tail = &w->head;
		w->waiting--;
		df_unlock(&w->lock);
		j->fn(j->arg);
		free(j);
		df_lock(&w->lock);
	}
	df_unlock(&w->lock);
	return NULL;
}

static void *timer_main(void *arg)
{
	struct df_work *w = arg;

	df_lock(&w->lock);
	while (!w->stop) {
		struct work_timer *t = w->timers;

		if (t == NULL) {
			df_cond_wait(&w->tick, &w->lock);
		} else if (!w->hurry && t->at_ns > now_ns()) {
			(void)df_cond_wait_until(&w->tick, &w->lock, t->at_ns);
		} else {
			w->timers = t->next;
			push_locked(w, t->job);
			free(t);
		}
	}
	df_unlock(&w->lock);
	return NULL;
}

static int work_start(struct df_work *w, unsigned threads)
{
	pthread_attr_t attr;
	int rc = pthread_attr_init(&attr);

	if (rc != 0)
		return -rc;
	(void)pthread_attr_setstacksize(&attr, WORK_STACK);
	while (rc == 0 && w->n_threads < threads) {
		rc = pthread_create(&w->thread[w->n_threads], &attr, work_main,
				    w);
		if (rc == 0)
			w->n_threads++;
	}
	if (rc == 0)
		rc = pthread_create(&w->timer, &attr, timer_main, w);
	w->has_timer = rc == 0;
	(void)pthread_attr_destroy(&attr);
	return -rc;
}

struct df_work *df_work_new(unsigned threads, size_t queue_max)
{
	struct df_work *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	df_lock_init(&w->lock);
	df_cond_init(&w->wake);
	df_cond_init(&w->tick);
	w->tail = &w->head;
	w->max = queue_max;
	w->thread = calloc(threads, sizeof(*w->thread));
	if (w->thread == NULL || work_start(w, threads) < 0) {
		df_work_free(w);
		return NULL;
	}
	return w;
}

int df_work_add(struct df_work *w, df_work_fn *fn, void *arg, bool must)
{
	struct work_job *j = malloc(sizeof(*j));
	int err = 0;

	if (j == NULL)
		return -ENOMEM;
	j->fn = fn;
	j->arg = arg;
	df_lock(&w->lock);
	if (w->waiting >= w->max && !must)
		err = -EBUSY;
	else
		push_locked(w, j);
	df_unlock(&w->lock);
	if (err < 0)
		free(j);
	return err;
}

int df_work_after(struct df_work *w, int64_t ms, df_work_fn *fn, void *arg,
		  uint64_t *id)
{
	struct work_timer *t = malloc(sizeof(*t)), **at;
	struct work_job *j = malloc(sizeof(*j));

	if (t == NULL || j == NULL) {
		free(t);
		free(j);
		return -ENOMEM;
	}
	j->fn = fn;
	j->arg = arg;
	t->job = j;
	t->at_ns = now_ns() + ms * DF_NS_PER_MS;
	df_lock(&w->lock);
	t->id = ++w->next_id;
	if (id != NULL)
		*id = t->id;
	for (at = &w->timers; *at != NULL && (*at)->at_ns <= t->at_ns;)
		at = &(*at)->next;
	t->next = *at;
	*at = t;
	df_cond_signal(&w->tick);
	df_unlock(&w->lock);
	return 0;
}

bool df_work_cancel(struct df_work *w, uint64_t id)
{
	struct work_timer **at, *t = NULL;

	df_lock(&w->lock);
	for (at = &w->timers; *at != NULL; at = &(*at)->next) {
		if ((*at)->id != id)
			continue;
		t = *at;
		*at = t->next;
		break;
	}
	df_unlock(&w->lock);
	if (t == NULL)
		return false;
	free(t->job);
	free(t);
	return true;
}

void df_work_hurry(struct df_work *w)
{
	df_lock(&w->lock);
	w->hurry = true;
	df_cond_broadcast(&w->tick);
	df_unlock(&w->lock);
}

void df_work_free(struct df_work *w)
{
	unsigned i;

	if (w == NULL)
		return;
	df_lock(&w->lock);
	w->stop = true;
	df_cond_broadcast(&w->wake);
	df_cond_broadcast(&w->tick);
	df_unlock(&w->lock);
	if (w->has_timer)
		(void)pthread_join(w->timer, NULL);
	for (i = 0; i < w->n_threads; i++)
		(void)pthread_join(w->thread[i], NULL);
	while (w->timers != NULL) {
		struct work_timer *t = w->timers;

		w->timers = t->next;
		free(t->job);
		free(t);
	}
	free(w->thread);
	df_cond_release(&w->tick);
	df_cond_release(&w->wake);
	df_lock_release(&w->lock);
	free(w);
}
