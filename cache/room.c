/* room.c - see room.h. */
#include "cache/room.h"

#include <stdlib.h>

/* A full cache is an error when nothing was sent for so long. */
#define STALL_MS 20000
/* ... and when the server has refused to be talked to for so long. */
#define AWAY_MS 3000

struct df_room_waiter {
	struct df_room_waiter *next;
	const struct df_wait_ops *ops;
	void *arg, *key;
	uint64_t sent;       /* what had left when it last had hope */
	int64_t deadline_ns; /* and until when that lasts */
	bool trying;         /* a thread is at it, without the lock */
	bool interrupted;    /* meanwhile */
};

bool df_vol_behind(const struct df_vol *v)
{
	return atomic_load_explicit(&v->fold_behind, memory_order_relaxed);
}

void df_room_look(struct df_vol *v)
{
	atomic_store_explicit(&v->fold_behind,
			      v->started && !v->stopping && !v->failsafe &&
				      df_fold_behind(v->fold),
			      memory_order_relaxed);
}

/* Is the cache full of bytes that are on their way out, or being read?
 * Locked. */
static bool room_will_come(struct df_vol *v)
{
	return df_segs_crowded(v->segs) && df_vol_away_ms(v) < AWAY_MS &&
	       !v->auth_err && !v->failsafe && v->started && !v->stopping &&
	       !(v->offline && df_clock_mono_ns() - v->last_sent_ns >
				       STALL_MS * DF_NS_PER_MS);
}

/* A slow link takes half a minute for the packs under way: bytes of those count
 * where the remote counts them. */
static uint64_t sent_so_far(struct df_vol *v)
{
	struct df_remote_health h = { 0 };

	if (v->remote->ops->health)
		v->remote->ops->health(v->remote, &h);
	return v->bytes_sent + h.moved;
}

/* Has nothing left for as long as a writer waits?  Then the network is as good
 * as gone, whatever the requests under way still hope for. */
static bool stalled(struct df_vol *v, struct df_room_waiter *w)
{
	uint64_t sent = sent_so_far(v);

	if (w->sent == sent)
		return df_clock_mono_ns() > w->deadline_ns;
	w->sent = sent;
	w->deadline_ns = df_deadline_ms(STALL_MS);
	return false;
}

static void append(struct df_vol *v, enum df_wait what,
		   struct df_room_waiter *w)
{
	struct df_room_waiter **at = &v->room[what];

	while (*at)
		at = &(*at)->next;
	w->next = NULL;
	w->sent = sent_so_far(v);
	w->deadline_ns = df_deadline_ms(STALL_MS);
	*at = w;
	if (what == DF_WAIT_ROOM) {
		v->sync_asked = true;
		df_cond_signal(&v->up_cond);
	} else {
		df_cond_signal(&v->fold_cond);
	}
}

static void take_out(struct df_room_waiter **at, struct df_room_waiter *w)
{
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
}

int df_room_wait(struct df_vol *v, enum df_wait what,
		 const struct df_wait_ops *ops, void *arg, void *key)
{
	df_lock_assert(&v->lock);
	df_room_look(v); /* the volume may be stopping since */
	if (what == DF_WAIT_ROOM ? !room_will_come(v) : !df_vol_behind(v))
		return what == DF_WAIT_ROOM ? -ENOSPC : 0;
	if (ops->interrupted && ops->interrupted(arg))
		return -EINTR;
	struct df_room_waiter *w = df_xalloc(sizeof(*w));
	w->ops = ops;
	w->arg = arg;
	w->key = key;
	append(v, what, w);
	return DF_EPARKED;
}

int df_vol_wait(struct df_vol *v, enum df_wait what,
		const struct df_wait_ops *ops, void *arg)
{
	df_lock(&v->lock);
	int err = df_room_wait(v, what, ops, arg, arg);
	df_unlock(&v->lock);
	return err;
}

/* The head of a queue was tried.  True: it is out of it, and ends with *err. */
static bool tried(struct df_vol *v, enum df_wait what, struct df_room_waiter *w,
		  bool hope, int *err)
{
	w->trying = false;
	if (*err == -ENOSPC && w->interrupted)
		*err = -EINTR;
	else if (*err == -ENOSPC && hope && what == DF_WAIT_ROOM)
		return false;
	take_out(&v->room[what], w);
	if (*err != -ENOSPC || !hope || !room_will_come(v))
		return true;
	append(v, DF_WAIT_ROOM, w); /* SQLite has come, room has not */
	return false;
}

static void retry(struct df_vol *v, enum df_wait what, int fail)
{
	struct df_room_waiter *w;

	df_lock(&v->lock);
	/* Others than the fold's thread write into SQLite, too: when they have
	 * left it nothing to do, it would not look. */
	df_room_look(v);
	while ((w = v->room[what]) && !w->trying) {
		bool hope = !fail;
		if (what == DF_WAIT_ROOM)
			hope = hope && room_will_come(v) && !stalled(v, w);
		else if (hope && df_vol_behind(v))
			break;
		w->trying = true;
		df_unlock(&v->lock);
		int err = fail ? fail : w->ops->run(w->arg);
		df_lock(&v->lock);
		if (!tried(v, what, w, hope, &err)) {
			if (what == DF_WAIT_ROOM)
				break;
			continue;
		}
		df_unlock(&v->lock);
		w->ops->done(w->arg, err);
		free(w);
		df_lock(&v->lock);
	}
	df_unlock(&v->lock);
}

void df_room_retry(struct df_vol *v, int fail)
{
	retry(v, DF_WAIT_FOLD, fail);
	retry(v, DF_WAIT_ROOM, fail);
}

void df_room_interrupt(struct df_vol *v, void *key)
{
	for (int what = 0; what < DF_WAITS; what++) {
		struct df_room_waiter *w = v->room[what];
		while (w && w->key != key)
			w = w->next;
		if (!w)
			continue;
		if (w->trying) {
			w->interrupted = true;
			return;
		}
		take_out(&v->room[what], w);
		df_fetch_post(v->fetch, w->ops->done, w->arg, -EINTR);
		free(w);
		return;
	}
}
