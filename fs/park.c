/*
 * park.c - see park.h.
 */
#include "fs/park.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

enum park_state {
	PARK_UNKNOWN = 0,
	PARK_FRESH,
	PARK_HELD,
	PARK_DONE,
};

struct df_park {
	struct df_fs *fs;
	fuse_req_t req;
	size_t len;
	void *extra;               /* df_park_keep(); owned */
	atomic_bool interrupted;   /* since it is held */
	enum park_state state;     /* park_lock, once the volume knows p */
	TAILQ_ENTRY(df_park) link; /* park_lock */
};

struct df_park *df_park_get(fuse_req_t req, size_t len)
{
	struct df_worker *w = df_fs_self;

	if (!w->park) {
		w->park = calloc(1, sizeof(*w->park));
		if (!w->park)
			return NULL;
		w->park->fs = w->fs;
	}
	w->park->req = req;
	w->park->len = len;
	w->park->state = PARK_FRESH;
	atomic_store(&w->park->interrupted, false);
	return w->park;
}

/* Called by libfuse for an INTERRUPT, with its lock of the request held. */
static void park_interrupt(fuse_req_t req, void *arg)
{
	struct df_park *p = arg;

	atomic_store(&p->interrupted, true);
	df_vol_interrupt(df_fs_of(req)->vol, p);
}

void df_park_hold(struct df_park *p)
{
	struct df_fs *fs = p->fs;

	df_fs_self->park = NULL;
	df_lock(&fs->park_lock);
	if (p->state == PARK_DONE) {
		df_unlock(&fs->park_lock);
		free(p);
		return;
	}
	p->state = PARK_HELD;
	TAILQ_INSERT_TAIL(&fs->parks, p, link);
	atomic_fetch_add(&fs->parked, p->len);
	/* Under the lock, so that the completion cannot answer (and free) the
	 * request in between.  Calls park_interrupt at once if the INTERRUPT
	 * came first. */
	fuse_req_interrupt_func(p->req, park_interrupt, p);
	df_unlock(&fs->park_lock);
}

void df_park_keep(struct df_park *p, void *extra)
{
	p->extra = extra;
	df_park_hold(p);
}

void *df_park_extra(const struct df_park *p)
{
	return p->extra;
}

struct df_fs *df_park_fs(const struct df_park *p)
{
	return p->fs;
}

bool df_park_interrupted(struct df_park *p)
{
	return atomic_load(&p->interrupted);
}

static void park_free(struct df_park *p)
{
	free(p->extra);
	free(p);
}

/* The request that p stands for.  Not held: p is its worker's from here on. */
static fuse_req_t park_finish(struct df_park *p, size_t *len, bool *held)
{
	struct df_fs *fs = p->fs;
	fuse_req_t req = p->req;

	*len = p->len;
	df_lock(&fs->park_lock);
	*held = p->state == PARK_HELD;
	if (!*held)
		p->state = PARK_DONE;
	df_unlock(&fs->park_lock);
	/* Waits for an interrupt that is running: p is its key at the volume
	 * and must not be given to another request before it ended. */
	if (*held)
		fuse_req_interrupt_func(req, NULL, NULL);
	return req;
}

fuse_req_t df_park_take(struct df_park *p)
{
	fuse_req_interrupt_func(p->req, NULL, NULL);
	return p->req;
}

/* The request was answered: only now may the session go. */
void df_park_leave(struct df_park *p)
{
	struct df_fs *fs = p->fs;

	df_lock(&fs->park_lock);
	TAILQ_REMOVE(&fs->parks, p, link);
	atomic_fetch_sub(&fs->parked, p->len);
	if (TAILQ_EMPTY(&fs->parks))
		df_cond_broadcast(&fs->park_empty);
	df_unlock(&fs->park_lock);
	park_free(p);
}

void df_park_done(void *arg, int err)
{
	struct df_park *p = arg;
	size_t len;
	bool held;
	fuse_req_t req = park_finish(p, &len, &held);

	if (!err && len)
		fuse_reply_write(req, len);
	else
		df_fs_reply(req, err);
	if (held)
		df_park_leave(p);
}

void df_park_read_done(void *arg, int err, struct df_read *r)
{
	struct df_park *p = arg;
	struct df_fs *fs = p->fs;
	size_t len;
	bool held;
	fuse_req_t req = park_finish(p, &len, &held);

	if (err)
		df_fs_reply(req, err);
	else
		df_fs_reply_read(req, r, NULL);
	if (r)
		df_vol_read_done(fs->vol, r);
	if (held)
		df_park_leave(p);
}

void df_park_drain(struct df_fs *fs)
{
	int64_t deadline = df_deadline_ms(10000);
	struct df_park *p;

	df_lock(&fs->park_lock);
	TAILQ_FOREACH(p, &fs->parks, link)
	df_vol_interrupt(fs->vol, p);
	while (!TAILQ_EMPTY(&fs->parks))
		if (!df_cond_wait_until(&fs->park_empty, &fs->park_lock,
					deadline))
			break;
	if (!TAILQ_EMPTY(&fs->parks))
		df_log_error("requests are still parked after the volume "
			     "stopped: the daemon ends without answering them");
	df_unlock(&fs->park_lock);
}
