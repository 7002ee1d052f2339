/* sender.c - see sender.h. */
#include "cache/sender.h"

#include <stdlib.h>
#include <unistd.h>

#define QUEUE_MAX 3
#define PACK_TIMEOUT_MS 120000
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 15000
#define CHECK_TIMEOUT_MS 10000
#define CHECK_PACKS 64 /* asked for at once */
#define KEPT_MAX 1024  /* later ones are not checked */
#define KEPT_TRIES 4
#define WHOLE_PACK UINT32_MAX /* where the copy is filed; no piece is there */

struct item {
	struct item *next;
	struct df_id id;
	uint8_t *data;
	size_t len;
};

/* A pack that was acknowledged and not found in the table yet. */
struct kept {
	struct kept *next;
	struct df_id id;
	size_t len;
	unsigned tries;
	int64_t sent_ns; /* monotonic */
};

struct df_sender {
	struct df_vol *v;
	struct df_lock lock;
	struct df_cond more, less;
	struct item *head, **tail;      /* lock */
	unsigned queued, busy;          /* lock */
	struct kept *kept, **kept_tail; /* lock; oldest first */
	unsigned n_kept;                /* lock */
	int err;                        /* lock: first since the last wait */
	bool stopping;                  /* lock */
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

/* ---- packs that may not have been kept */
static void kept_add(struct df_sender *s, struct kept *k)
{
	k->next = NULL;
	k->sent_ns = df_clock_mono_ns();
	df_lock(&s->lock);
	*s->kept_tail = k;
	s->kept_tail = &k->next;
	s->n_kept++;
	df_unlock(&s->lock);
}

static bool kept_full(struct df_sender *s)
{
	df_lock(&s->lock);
	bool full = s->n_kept >= KEPT_MAX;
	df_unlock(&s->lock);
	return full;
}

static void keep_copy(struct df_sender *s, const struct item *it)
{
	struct df_loc loc;

	if (s->v->remote->caps.ours || kept_full(s) ||
	    df_seg_put_piece(s->v->segs, &it->id, WHOLE_PACK, it->data, it->len,
			     &loc))
		return;
	struct kept *k = df_xalloc(sizeof(*k));
	*k = (struct kept){ .id = it->id, .len = it->len };
	kept_add(s, k);
}

/* The oldest that is due, taken out; NULL: none. */
static struct kept *kept_take(struct df_sender *s)
{
	int64_t due = df_clock_mono_ns() - DF_RESEND_MS * DF_NS_PER_MS;

	df_lock(&s->lock);
	struct kept *k = s->kept;
	if (k && k->sent_ns <= due) {
		s->kept = k->next;
		if (!s->kept)
			s->kept_tail = &s->kept;
		s->n_kept--;
	} else {
		k = NULL;
	}
	df_unlock(&s->lock);
	return k;
}

/* The table lacks it: once more, from the copy. */
static void send_again(struct df_sender *s, struct kept *k)
{
	struct df_vol *v = s->v;
	struct df_loc loc;
	DF_FREE uint8_t *data = df_xalloc(k->len);

	if (k->tries++ >= KEPT_TRIES ||
	    !df_seg_has_piece(v->segs, &k->id, WHOLE_PACK, k->len, &loc) ||
	    df_seg_read(v->segs, loc, data, k->len)) {
		df_lock(&v->lock);
		df_vol_say(v,
			   "the server acknowledged a pack and does not have "
			   "it: `deeplake fsck` names the files");
		df_unlock(&v->lock);
		free(k);
		return;
	}
	df_log_warn("a pack that the server acknowledged is not there: it is "
		    "sent again");
	if (v->remote->ops->pack_put(v->remote, &k->id, data, k->len,
				     PACK_TIMEOUT_MS))
		k->tries--; /* that was not the server's word */
	kept_add(s, k);
}

void df_sender_check(struct df_sender *s)
{
	struct df_remote *r = s->v->remote;
	struct kept *k[CHECK_PACKS];
	struct df_id ids[CHECK_PACKS];
	bool present[CHECK_PACKS] = { false };
	size_t n = 0;

	while (n < CHECK_PACKS && (k[n] = kept_take(s))) {
		ids[n] = k[n]->id;
		n++;
	}
	int err = n ? r->ops->packs_have(r, ids, n, CHECK_TIMEOUT_MS, present)
		    : 0;
	for (size_t i = 0; i < n; i++)
		if (err)
			kept_add(s, k[i]); /* asked again later */
		else if (present[i])
			free(k[i]);
		else
			send_again(s, k[i]);
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
		if (!skip && !err)
			keep_copy(s, it);
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
	s->kept_tail = &s->kept;
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
		if (!err)
			keep_copy(s, it);
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
	for (struct kept *k = s->kept, *next; k; k = next) {
		next = k->next;
		free(k);
	}
	df_cond_release(&s->more);
	df_cond_release(&s->less);
	df_lock_release(&s->lock);
	free(s->threads);
	free(s);
}
