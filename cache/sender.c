/* sender.c - see sender.h. */
#include "cache/sender.h"

#include <stdlib.h>
#include <unistd.h>

#define QUEUE_MAX 3
#define PACK_TIMEOUT_MS 120000
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 15000

struct item {
	struct item *next;
	struct df_id id;
	uint8_t *data;
	size_t len;
};

struct df_sender {
	struct df_vol *v;
	struct df_lock lock;
	struct df_cond more, less;
	struct item *head, **tail; /* lock */
	unsigned queued, busy;     /* lock */
	int err;                   /* lock: first since the last wait */
	bool stopping;             /* lock */
	pthread_t *threads;
	unsigned n_threads;
};

bool df_vol_backoff(struct df_vol *v, unsigned n, int err)
{
	int64_t ms = BACKOFF_FIRST_MS << DF_MIN(n, 8u);
	uint16_t random;

	df_random(&random, sizeof(random));
	ms = DF_MIN(ms, BACKOFF_MAX_MS);
	ms = ms / 2 + ms * random / 131072;
	df_lock(&v->lock);
	v->offline = err == DF_EOFFLINE || err == -EAGAIN || err == -ETIMEDOUT;
	v->auth_err = err == DF_EAUTH || err == -EKEYREJECTED || err == -EDQUOT
			      ? err
			      : 0;
	bool go = v->started && !v->stop_now;
	if (go) {
		df_cond_wait_until(&v->retry_cond, &v->lock,
				   df_deadline_ms(ms));
		go = !v->stop_now;
	}
	df_unlock(&v->lock);
	if (go && err == DF_EAUTH && v->remote->ops->reload)
		v->remote->ops->reload(v->remote);
	return go;
}

static bool hopeless(int err)
{
	return err == -EFBIG || err == -ECANCELED || err == -EROFS ||
	       err == -ENOENT;
}

static int send_one(struct df_vol *v, const struct item *it)
{
	for (unsigned n = 0;; n++) {
		int err = v->remote->ops->pack_put(v->remote, &it->id, it->data,
						   it->len, PACK_TIMEOUT_MS);
		if (!err) {
			df_lock(&v->lock);
			v->packs_sent++;
			df_vol_sent(v, it->len);
			df_unlock(&v->lock);
			return 0;
		}
		if (hopeless(err) || !df_vol_backoff(v, n, err))
			return err;
	}
}

static void *sender_main(void *arg)
{
	struct df_sender *s = arg;

	df_lock(&s->lock);
	for (;;) {
		while (!s->head && !s->stopping)
			df_cond_wait(&s->more, &s->lock);
		struct item *it = s->head;
		if (!it)
			break;
		s->head = it->next;
		if (!s->head)
			s->tail = &s->head;
		s->busy++;
		bool skip = s->err != 0;
		df_unlock(&s->lock);
		int err = skip ? 0 : send_one(s->v, it);
		free(it->data);
		free(it);
		df_lock(&s->lock);
		s->busy--;
		s->queued--;
		if (err && !s->err)
			s->err = err;
		df_cond_broadcast(&s->less);
	}
	df_unlock(&s->lock);
	return NULL;
}

struct df_sender *df_sender_new(struct df_vol *v, unsigned threads)
{
	struct df_sender *s = df_xalloc(sizeof(*s));

	s->v = v;
	s->tail = &s->head;
	df_lock_init(&s->lock);
	df_cond_init(&s->more);
	df_cond_init(&s->less);
	s->threads = df_xalloc((threads + 1) * sizeof(*s->threads));
	for (; s->n_threads < threads; s->n_threads++)
		if (pthread_create(&s->threads[s->n_threads], NULL, sender_main,
				   s))
			break;
	return s;
}

int df_sender_put(struct df_sender *s, const struct df_id *id, uint8_t *data,
		  size_t len)
{
	struct item *it = df_xalloc(sizeof(*it));

	*it = (struct item){ NULL, *id, data, len };
	if (!s->n_threads) {
		int err = s->v->remote->ops->pack_put(s->v->remote, id, data,
						      len, PACK_TIMEOUT_MS);
		if (err && !s->err)
			s->err = err;
		free(data);
		free(it);
		return s->err;
	}
	df_lock(&s->lock);
	while (s->queued >= QUEUE_MAX)
		df_cond_wait(&s->less, &s->lock);
	*s->tail = it;
	s->tail = &it->next;
	s->queued++;
	int err = s->err;
	df_cond_signal(&s->more);
	df_unlock(&s->lock);
	return err;
}

int df_sender_wait(struct df_sender *s)
{
	df_lock(&s->lock);
	while (s->queued)
		df_cond_wait(&s->less, &s->lock);
	int err = s->err;
	s->err = 0;
	df_unlock(&s->lock);
	return err;
}

void df_sender_stop(struct df_sender *s)
{
	df_lock(&s->lock);
	s->stopping = true;
	df_cond_broadcast(&s->more);
	df_unlock(&s->lock);
	for (unsigned i = 0; i < s->n_threads; i++)
		pthread_join(s->threads[i], NULL);
	s->n_threads = 0;
}

void df_sender_free(struct df_sender *s)
{
	if (!s)
		return;
	df_sender_stop(s);
	df_cond_release(&s->more);
	df_cond_release(&s->less);
	df_lock_release(&s->lock);
	free(s->threads);
	free(s);
}
