/*
 * view.c - the queue of the files view and the thread that empties it; see
 * view.h.
 *
 * The queue is a file of 72-byte records, little-endian: object id, dot (time,
 * node), old (time, node), flags, and the XXH3 of what is before it.  Records
 * are appended when a row is noted; when all are done the file is cut to what
 * is held back.  A crash replays it from its begin, which writes some rows a
 * second time under the same ids.
 *
 * Locks: w->lock and the volume's are never held together.
 */
#include "cache/view.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "cache/viewi.h"

#define REC_LEN 72
#define ROUND_RECS 2000
#define GATHER_MS 200 /* after a cut, for those that follow it */
#define TICK_MS 100   /* while an acknowledgement is waited for */
#define IDLE_MS 5000
#define HOT_BYTES_S 32768 /* what one file may cost */
#define BACKOFF_MAX_MS 30000
#define BUSY_MS 100            /* a request so long ago: more may follow */
#define YIELD_MS 10000         /* so long the view lets requests go first */
#define TURN_MS 10             /* then it works so long while they come ... */
#define REST 7                 /* ... and rests so many times that */
#define QUEUE_MANY (16u << 20) /* bytes of the queue: now it hurries */

/* ---- the queue's file */
static void put_rec(uint8_t out[REC_LEN], const struct view_rec *r)
{
	struct df_buf b;

	df_buf_init(&b, REC_LEN);
	df_buf_put(&b, r->id.b, DF_ID_LEN);
	df_buf_put_u64(&b, r->dot.time);
	df_buf_put_u64(&b, r->dot.node);
	df_buf_put_u64(&b, r->old.time);
	df_buf_put_u64(&b, r->old.node);
	df_buf_put_u64(&b, r->flags);
	df_buf_put_u64(&b, 0);
	df_buf_put_u64(&b, df_xxh3(b.data, b.len));
	memcpy(out, b.data, REC_LEN);
	df_buf_release(&b);
}

static bool get_rec(const uint8_t *in, struct view_rec *r)
{
	struct df_rd rd = df_rd(in, REC_LEN);

	df_rd_copy(&rd, r->id.b, DF_ID_LEN);
	r->dot.time = df_rd_u64(&rd);
	r->dot.node = df_rd_u64(&rd);
	r->old.time = df_rd_u64(&rd);
	r->old.node = df_rd_u64(&rd);
	r->flags = (uint32_t)df_rd_u64(&rd);
	df_rd_u64(&rd);
	return df_rd_u64(&rd) == df_xxh3(in, REC_LEN - 8);
}

static int open_queue(struct df_view *w)
{
	DF_FREE char *path = df_strf("%s/view.queue", w->v->conf.cache_dir);

	if (!path)
		return -ENOMEM;
	w->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (w->fd < 0)
		return df_fail(-errno, "%s", path);
	off_t end = lseek(w->fd, 0, SEEK_END);
	if (end < 0)
		return df_fail(-errno, "%s", path);
	w->tail = w->ready = (uint64_t)end / REC_LEN * REC_LEN;
	w->again = w->tail != 0;
	return 0;
}

struct df_view *df_view_new(struct df_vol *v)
{
	if (!v->conf.view || v->conf.read_only || !v->remote->ops->view_apply)
		return NULL;
	struct df_view *w = df_xalloc(sizeof(*w));
	w->v = v;
	w->fd = -1;
	df_lock_init(&w->lock);
	df_cond_init(&w->cond);
	df_cond_init(&w->drained_cond);
	view_foreign_init(w);
	if (open_queue(w)) {
		df_log_warn("the files view of %s is not kept up to date by "
			    "this mount",
			    v->conf.table);
		df_view_free(w);
		return NULL;
	}
	return w;
}

void df_view_free(struct df_view *w)
{
	if (!w)
		return;
	view_walks_free(w);
	view_foreign_free(w);
	view_doubts_free(w);
	if (w->magic)
		magic_close(w->magic);
	if (w->fd >= 0)
		close(w->fd);
	df_cond_release(&w->cond);
	df_cond_release(&w->drained_cond);
	df_lock_release(&w->lock);
	free(w->marks);
	free(w->held);
	free(w->seen);
	free(w);
}

/* ---- noting */
static bool rec_of(const struct df_obj *o, struct view_rec *r)
{
	*r = (struct view_rec){ .id = o->id };
	if (df_obj_is_dir(o)) {
		const struct df_place *p = &o->place;
		/* mkdir says that it came from where it is */
		bool made = p->name && p->from_name &&
			    p->parent == p->from_parent &&
			    !strcmp(p->name, p->from_name);
		r->flags = VIEW_MOVED;
		return p->st.time && p->there && !made;
	}
	if (o->heads.n == 1) {
		const struct df_ver *h = o->heads.v[0];
		r->dot = h->dot;
		if (h->own_base)
			r->old = (struct df_stamp){ h->own_base, h->dot.node };
		r->flags = VIEW_NEW_DOT;
	}
	return o->heads.n || o->n_links || o->gone.n || o->n_xattrs;
}

void df_view_note(struct df_view *w, const struct df_cut *c)
{
	struct view_rec r;
	struct df_buf b;

	if (!w || w->dead)
		return;
	df_buf_init(&b, 0);
	for (size_t i = 0; i < c->n; i++) {
		if (!rec_of(c->objs[i], &r))
			continue;
		uint8_t *at = df_buf_extend(&b, REC_LEN);
		if (at)
			put_rec(at, &r);
	}
	df_lock(&w->lock);
	if (b.len && !b.err &&
	    !df_pwrite_all(w->fd, b.data, b.len, (off_t)w->tail)) {
		w->tail += b.len;
		DF_GROW(w->marks, w->n_marks, w->marks_size);
		w->marks[w->n_marks++] =
			(struct view_mark){ c->number, w->tail };
		w->drained = false;
		df_cond_signal(&w->cond);
	} else if (b.len) {
		/* No room: the view lags until fsck --view. */
		df_log_warn("the files view missed a commit of %zu objects: "
			    "run 'deeplake fsck --view %s' when there is room",
			    c->n, w->v->conf.table);
	}
	df_unlock(&w->lock);
	df_buf_release(&b);
}

void df_view_others(struct df_view *w)
{
	if (!w)
		return;
	w->others = true;
	df_lock(&w->lock);
	df_cond_signal(&w->cond);
	df_unlock(&w->lock);
}

/* ---- what the thread takes from the queue */

/* Which records may be shown: those of acknowledged cuts. */
static uint64_t take_ready(struct df_view *w, bool *waiting)
{
	df_lock(&w->v->lock);
	uint64_t acked = w->v->acked_cut;
	bool out = false;
	for (const struct df_outrow *o = w->v->out; o; o = o->next)
		out |= !o->acked;
	df_unlock(&w->v->lock);
	df_lock(&w->lock);
	size_t n = 0;
	/* A cut that left nothing under way was acknowledged. */
	while (n < w->n_marks && (w->marks[n].cut <= acked || !out))
		w->ready = w->marks[n++].tail;
	if (n) {
		w->n_marks -= n;
		memmove(w->marks, w->marks + n, w->n_marks * sizeof(*w->marks));
	}
	*waiting = w->n_marks != 0;
	uint64_t ready = w->ready;
	df_unlock(&w->lock);
	return ready;
}

/* Everything is done: cut the file down to what is held back. */
static void reset_queue(struct df_view *w)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	for (size_t i = 0; i < w->n_held; i++) {
		uint8_t *at = df_buf_extend(&b, REC_LEN);
		if (at)
			put_rec(at, &w->held[i].rec);
	}
	df_lock(&w->lock);
	if (w->head == w->tail && w->head != b.len && !b.err &&
	    !ftruncate(w->fd, 0) && !df_pwrite_all(w->fd, b.data, b.len, 0))
		w->head = w->tail = w->ready = b.len;
	df_unlock(&w->lock);
	df_buf_release(&b);
}

/* Later records of an object stand for the earlier ones. */
static size_t join_recs(struct view_rec *r, size_t n)
{
	size_t size = 64, used = 0;

	while (size < 2 * n)
		size *= 2;
	uint32_t *slot = df_xalloc(size * sizeof(*slot));
	for (size_t i = 0; i < n; i++) {
		uint64_t h;
		memcpy(&h, r[i].id.b, sizeof(h));
		size_t at = h & (size - 1);
		while (slot[at] && df_id_cmp(&r[slot[at] - 1].id, &r[i].id))
			at = (at + 1) & (size - 1);
		if (!slot[at]) {
			r[used++] = r[i];
			slot[at] = (uint32_t)used;
			continue;
		}
		struct view_rec *had = &r[slot[at] - 1];
		if (r[i].dot.time) {
			if (!had->old.time)
				had->old = r[i].old;
			had->dot = r[i].dot;
		}
		had->flags |= r[i].flags;
	}
	free(slot);
	return used;
}

static int read_recs(struct df_view *w, uint64_t ready, struct view_rec *out,
		     size_t *n, uint64_t *end)
{
	size_t len =
		DF_MIN((size_t)(ready - w->head), (size_t)ROUND_RECS * REC_LEN);
	DF_FREE uint8_t *raw = df_xalloc(len + 1);
	ssize_t got = df_pread_all(w->fd, raw, len, (off_t)w->head);

	*n = 0;
	if (got < 0)
		return df_fail((int)got, "the queue of the files view");
	for (size_t at = 0; at + REC_LEN <= (size_t)got; at += REC_LEN)
		*n += get_rec(raw + at, &out[*n]); /* a torn one is dropped */
	*end = w->head + len;
	return 0;
}

/* ---- files that change all the time */
static struct view_hot *hot_of(struct df_view *w, const struct df_id *id)
{
	return &w->hot[id->b[0] % DF_ARRAY_LEN(w->hot)];
}

/* When may this object's row be written again? */
static int64_t hot_until(struct df_view *w, const struct df_id *id)
{
	const struct view_hot *h = hot_of(w, id);

	if (!h->at_ns || df_id_cmp(&h->id, id))
		return 0;
	return h->at_ns +
	       (int64_t)(h->bytes * 1000 / HOT_BYTES_S) * DF_NS_PER_MS;
}

static bool hold(struct df_view *w, const struct view_rec *r, int64_t now)
{
	int64_t due = hot_until(w, &r->id);

	for (size_t i = 0; i < w->n_held; i++) {
		struct view_rec *had = &w->held[i].rec;
		if (df_id_cmp(&had->id, &r->id))
			continue;
		if (r->dot.time) {
			had->dot = r->dot;
			if (!had->old.time)
				had->old = r->old;
		}
		return true;
	}
	if (due <= now || w->drain)
		return false;
	DF_GROW(w->held, w->n_held, w->held_size);
	w->held[w->n_held++] = (struct view_held){ *r, due };
	return true;
}

/* ---- one round */
static df_nid nid_of(struct df_view *w, const struct view_rec *r)
{
	df_lock(&w->v->lock);
	df_fold_trim(w->v->fold);
	const struct df_obj *o = df_fold_find(w->v->fold, &r->id);
	df_nid nid = o ? o->nid : 0;
	df_unlock(&w->v->lock);
	return nid;
}

static int add_rec(struct df_view *w, const struct view_rec *r,
		   struct view_batch *b)
{
	df_nid nid = nid_of(w, r);
	size_t before = b->bytes;

	if (!nid)
		return 0;
	if (r->flags & VIEW_MOVED) {
		view_walk_add(w, nid);
		return 0;
	}
	int err = view_rows_of(w, nid, r, b);
	struct view_hot *h = hot_of(w, &r->id);
	if (b->bytes - before > 4096)
		*h = (struct view_hot){ r->id, df_clock_mono_ns(),
					b->bytes - before };
	return err;
}

int view_flush_if(struct df_view *w, struct view_batch *b, bool all)
{
	if (!all && b->bytes < VIEW_BATCH_BYTES)
		return 0;
	int err = view_send(w, b, !w->again);
	view_batch_release(b);
	return err;
}

/* Do requests come, or changes leave that bring more to do?  first: the view
 * has not begun yet.  Takes the volume's lock. */
static bool is_used(const struct df_view *w, bool first)
{
	struct df_vol *v = w->v;

	df_lock(&v->lock);
	bool used = df_clock_mono_ns() - v->last_request_ns <
			    BUSY_MS * DF_NS_PER_MS ||
		    (first && (v->dirty.n || v->uploading));
	df_unlock(&v->lock);
	return used;
}

/* May what uses the volume go first? */
static bool give_locked(const struct df_view *w)
{
	return w->tail != w->head && w->tail - w->head < QUEUE_MANY &&
	       !w->stop && !w->drain;
}

/* Reading files and guessing their types wants the volume's lock and half a CPU
 * just when a program is at work.  That one goes first: alone for a while, then
 * for most of the time. */
static void give_way(struct df_view *w)
{
	int64_t turn_ms = (df_clock_mono_ns() - w->turn_ns) / DF_NS_PER_MS;
	bool first = w->yield_ms > 0;
	int64_t left = first ? w->yield_ms
		       : turn_ms < TURN_MS
			       ? 0
			       : REST * DF_MIN(turn_ms, (int64_t)10 * TURN_MS);
	bool busy = w->started && left > 0;

	if (!busy)
		return;
	while (busy) {
		bool used = is_used(w, first);

		df_lock(&w->lock);
		busy = left > 0 && used && give_locked(w);
		if (busy) {
			left -= BUSY_MS;
			df_cond_wait_until(&w->cond, &w->lock,
					   df_deadline_ms(BUSY_MS));
		}
		df_unlock(&w->lock);
	}
	w->turn_ns = df_clock_mono_ns();
	if (first)
		w->yield_ms = left;
}

static int queue_round(struct df_view *w, uint64_t ready)
{
	struct view_rec *recs = df_xalloc((size_t)ROUND_RECS * sizeof(*recs));
	struct view_batch b = { 0 };
	int64_t now = df_clock_mono_ns();
	uint64_t end = w->head;
	size_t n = 0;

	int err = read_recs(w, ready, recs, &n, &end);
	n = join_recs(recs, n);
	for (size_t i = 0; i < n && !err; i++) {
		if (hold(w, &recs[i], now))
			continue;
		give_way(w);
		err = add_rec(w, &recs[i], &b);
		if (!err)
			err = view_flush_if(w, &b, false);
	}
	if (!err)
		err = view_flush_if(w, &b, true);
	view_batch_release(&b);
	free(recs);
	w->again = err != 0;
	if (!err)
		w->head = end;
	return err;
}

static int held_round(struct df_view *w)
{
	int64_t now = df_clock_mono_ns();
	struct view_batch b = { 0 };
	size_t keep = 0;
	int err = 0;

	for (size_t i = 0; i < w->n_held; i++) {
		struct view_held *h = &w->held[i];
		if (!err && (h->due_ns <= now || w->drain)) {
			h->rec.flags &= ~(uint32_t)VIEW_NEW_DOT;
			err = add_rec(w, &h->rec, &b);
			if (!err)
				err = view_flush_if(w, &b, true);
			if (!err)
				continue;
		}
		w->held[keep++] = *h;
	}
	w->n_held = keep;
	view_batch_release(&b);
	return err;
}

/* Will trying again help? */
static bool is_transient(int err)
{
	switch (err) {
	case DF_EOFFLINE:
	case -EAGAIN:
	case -ETIMEDOUT:
	case DF_EAUTH:
	case -EDQUOT:
	case -ECANCELED:
	case -ENOSPC:
	case -EIO:
		return true;
	default:
		return false;
	}
}

static int give_up(struct df_view *w, int err)
{
	if (!w->dead)
		df_log_warn("the files view of %s is not kept up to date any "
			    "more: %s; 'deeplake fsck --view %s' rebuilds it",
			    w->v->conf.table, df_strerror(err),
			    w->v->conf.table);
	w->dead = true;
	return err;
}

int df_view_step(struct df_view *w)
{
	bool waiting = false;
	int more = 0;

	if (!w || w->dead)
		return 0;
	give_way(w); /* what comes meanwhile shares its statements */
	uint64_t ready = take_ready(w, &waiting);
	int err = w->head < ready ? queue_round(w, ready) : 0;
	if (!err)
		err = held_round(w);
	if (!err && w->head < ready)
		more = 1;
	if (!err && w->walks) {
		err = view_walk_step(w);
		more |= w->walks != NULL;
	}
	if (err >= 0)
		err = view_heal_step(w);
	if (err > 0)
		more = 1;
	if (err >= 0)
		err = view_doubt_step(w);
	if (err > 0)
		more = 1;
	if (err >= 0 && !w->walks)
		reset_queue(w);
	if (err < 0 && !is_transient(err))
		return give_up(w, err);
	return err < 0 ? err : more | (waiting ? 2 : 0);
}

/* ---- the thread */
static int64_t backoff(struct df_view *w)
{
	int64_t ms = INT64_C(500) << DF_MIN(w->fails, 6u);

	return DF_MIN(ms, (int64_t)BACKOFF_MAX_MS);
}

/* Six megabytes that are read again in a moment. */
static void close_magic(struct df_view *w)
{
	if (w->magic)
		magic_close(w->magic);
	w->magic = NULL;
}

static void *view_main(void *arg)
{
	struct df_view *w = arg;
	int64_t wait_ms = GATHER_MS;

	/* Nobody waits for the view. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
	df_lock(&w->lock);
	while (!w->stop) {
		if (wait_ms)
			df_cond_wait_until(&w->cond, &w->lock,
					   df_deadline_ms(wait_ms));
		if (w->stop)
			break;
		bool draining = w->drain;
		df_unlock(&w->lock);
		int rc = df_view_step(w);
		int64_t now = df_clock_mono_ns();
		if (rc == 0 && now >= view_foreign_due(w) && !draining)
			rc = view_foreign_step(w);
		int64_t foreign_ns = view_foreign_due(w);
		w->fails = rc < 0 ? w->fails + 1 : 0;
		df_lock(&w->lock);
		bool idle = rc <= 0 && w->head == w->tail && !w->n_marks;
		if (w->head == w->tail) {
			w->yield_ms = YIELD_MS;
			close_magic(w);
		}
		if (draining && (w->dead || (rc == 0 && idle))) {
			w->drained = true;
			df_cond_broadcast(&w->drained_cond);
		}
		wait_ms = rc < 0      ? backoff(w)
			  : rc & 1    ? 0
			  : rc & 2    ? TICK_MS
			  : w->n_held ? TICK_MS
			  : !idle     ? GATHER_MS
				      : DF_MIN(DF_MAX((foreign_ns - now) /
							      DF_NS_PER_MS,
						      (int64_t)TICK_MS),
					       (int64_t)IDLE_MS);
	}
	df_unlock(&w->lock);
	return NULL;
}

int df_view_start(struct df_view *w)
{
	if (!w)
		return 0;
	w->started = true; /* the thread reads it without a lock */
	if (pthread_create(&w->thread, NULL, view_main, w)) {
		w->started = false;
		return df_fail(-EAGAIN, "start the thread of the files view");
	}
	pthread_setname_np(w->thread, "df-view");
	return 0;
}

void df_view_drain(struct df_view *w, int64_t deadline_ns)
{
	if (!w || !w->started)
		return;
	df_lock(&w->lock);
	w->drain = true;
	w->drained = false;
	df_cond_signal(&w->cond);
	while (!w->drained && !w->dead &&
	       df_cond_wait_until(&w->drained_cond, &w->lock, deadline_ns))
		;
	df_unlock(&w->lock);
}

void df_view_stop(struct df_view *w)
{
	if (!w || !w->started)
		return;
	df_lock(&w->lock);
	w->stop = true;
	df_cond_signal(&w->cond);
	df_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	w->started = false;
}
