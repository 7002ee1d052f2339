/*
 * fetch.c - see fetch.h.
 *
 * A request is cut into wants, one a piece; the wants for one pack are a job;
 * a worker takes a job, brings a range of the pack that covers its wants, and
 * resolves those that are local then.  Wants that arrive while the range is
 * under way join the job and are resolved with it or put it back in the queue.
 *
 * States of a job: queued (in one of the two queues) or running; it is freed
 * when it has no wants left.  A request ends once: it leaves the list of
 * waiting ones for the list of ended ones, from which the keeper (a thread
 * that never blocks on the network) calls done.  Its wants may outlive it and
 * hold references.
 *
 * Locks: one, f->lock; df_segs' own lock is taken inside it.  No I/O and no
 * callback under it.
 */
#include "cache/bytes/fetch.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"

#define WINDOW (256U << 10) /* first miss: about so much of a pack */
#define PACK_READ_MAX ((size_t)65 << 20)
#define NEIGHBOURS_MAX ((size_t)32 << 20) /* raw bytes kept unasked, a pack */
#define RANGE_MAX (8U << 20)              /* larger packs come in parts */
#define HINT_TIMEOUT_MS 30000
#define ABSENT_MS 10000 /* rows may show seconds before packs */
#define HINTS_MAX 64    /* jobs; more are forgotten */
#define RETRY_FIRST_MS 250
#define RETRY_LAST_MS 4000
#define MISS_SLOTS 1024
#define JOB_SLOTS 256

struct req {
	TAILQ_ENTRY(req) link; /* waiting or ended */
	void (*done)(void *arg, int err);
	void *arg;
	int64_t deadline_ns;
	size_t left;    /* pieces not local yet */
	uint32_t *hold; /* owned; segments held until done has returned */
	size_t n_hold;
	unsigned refs; /* wants, and one until done was called */
	bool ended;
	int err;
};
TAILQ_HEAD(req_list, req);

struct want {
	struct df_piece piece;
	struct req *req; /* a reference; NULL = a hint */
};

struct job {
	TAILQ_ENTRY(job) link; /* queue, while not running */
	struct job *next;      /* in its slot */
	struct df_id pack;
	struct want *want; /* owned */
	size_t n, size;
	bool running, demand;
};
TAILQ_HEAD(job_list, job);

/* What is remembered of a pack between jobs; one may push out another. */
struct miss {
	struct df_id pack;
	uint32_t n;  /* demands since it was last brought as a whole */
	bool absent; /* was waited for, in vain */
};

struct df_fetch {
	struct df_remote *remote; /* not owned */
	struct df_segs *segs;     /* not owned */
	unsigned n_threads, started;
	pthread_t *thread; /* workers, then the keeper */
	_Atomic uint64_t bytes;

	struct df_lock lock;
	struct df_cond work;  /* a job was queued, or stop */
	struct df_cond keep;  /* a request ended, a nearer deadline, or stop */
	struct df_cond retry; /* stop */
	bool stopped;         /* lock; and all below */
	struct req_list waiting, ended;
	struct job_list demand, hints;
	unsigned n_hints, running, running_hints;
	struct job *slot[JOB_SLOTS];
	struct miss miss[MISS_SLOTS];
};

static uint32_t id_slot(const struct df_id *id, uint32_t n)
{
	uint32_t x;

	memcpy(&x, id->b, sizeof(x));
	return x % n;
}

/* ---- requests */

static void req_unref_locked(struct req *r)
{
	if (--r->refs)
		return;
	free(r->hold);
	free(r);
}

/* Is the piece local?  If so it stays until done has been called: a full cache
 * must not take it back before it is read. */
static bool hold_piece_locked(struct df_fetch *f, struct req *r,
			      const struct df_piece *p)
{
	struct df_loc loc;

	if (!df_seg_hold_piece(f->segs, &p->pack, p->off, p->rlen, &loc))
		return false;
	r->hold[r->n_hold++] = loc.seg;
	return true;
}

static void let_go(struct df_fetch *f, uint32_t *hold, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (hold[i])
			df_seg_unpin(f->segs, hold[i]);
}

static void end_req_locked(struct df_fetch *f, struct req *r, int err)
{
	if (r->ended)
		return;
	r->ended = true;
	r->err = err;
	TAILQ_REMOVE(&f->waiting, r, link);
	TAILQ_INSERT_TAIL(&f->ended, r, link);
	df_cond_signal(&f->keep);
}

/* Call done for all that ended. */
static void deliver(struct df_fetch *f)
{
	struct req *r;

	df_lock(&f->lock);
	while ((r = TAILQ_FIRST(&f->ended))) {
		TAILQ_REMOVE(&f->ended, r, link);
		df_unlock(&f->lock);
		r->done(r->arg, r->err);
		let_go(f, r->hold, r->n_hold);
		df_lock(&f->lock);
		req_unref_locked(r);
	}
	df_unlock(&f->lock);
}

/* ---- jobs */

static struct job *find_job_locked(struct df_fetch *f, const struct df_id *pack)
{
	struct job *j = f->slot[id_slot(pack, JOB_SLOTS)];

	while (j && df_id_cmp(&j->pack, pack) != 0)
		j = j->next;
	return j;
}

static void queue_job_locked(struct df_fetch *f, struct job *j)
{
	if (j->demand) {
		TAILQ_INSERT_TAIL(&f->demand, j, link);
	} else {
		TAILQ_INSERT_TAIL(&f->hints, j, link);
		f->n_hints++;
	}
	df_cond_signal(&f->work);
}

static void unqueue_job_locked(struct df_fetch *f, struct job *j)
{
	if (j->demand) {
		TAILQ_REMOVE(&f->demand, j, link);
	} else {
		TAILQ_REMOVE(&f->hints, j, link);
		f->n_hints--;
	}
}

static void drop_want_locked(struct job *j, size_t i)
{
	if (j->want[i].req)
		req_unref_locked(j->want[i].req);
	j->want[i] = j->want[--j->n];
}

/* Not queued, not running. */
static void free_job_locked(struct df_fetch *f, struct job *j)
{
	struct job **at = &f->slot[id_slot(&j->pack, JOB_SLOTS)];

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	while (j->n)
		drop_want_locked(j, j->n - 1);
	free(j->want);
	free(j);
}

static struct job *make_job_locked(struct df_fetch *f, const struct df_id *pack,
				   bool demand)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	uint32_t i = id_slot(pack, JOB_SLOTS);
	j->pack = *pack;
	j->demand = demand;
	j->next = f->slot[i];
	f->slot[i] = j;
	queue_job_locked(f, j);
	return j;
}

/* A piece is wanted: join its pack's job or make one.  req NULL: a hint. */
static int add_want_locked(struct df_fetch *f, const struct df_piece *p,
			   struct req *req)
{
	struct job *j = find_job_locked(f, &p->pack);

	if (!j)
		j = make_job_locked(f, &p->pack, req);
	if (!j)
		return -ENOMEM;
	if (j->n == j->size) {
		size_t size = j->size ? 2 * j->size : 4;
		struct want *w = realloc(j->want, size * sizeof(*w));
		if (!w)
			return -ENOMEM; /* an empty job ends when it is taken */
		j->want = w;
		j->size = size;
	}
	j->want[j->n++] = (struct want){ *p, req };
	if (req) {
		req->refs++;
		if (!j->demand && !j->running) {
			unqueue_job_locked(f, j);
			j->demand = true;
			queue_job_locked(f, j);
		}
		j->demand = true;
	}
	return 0;
}

/* Forget the wants of requests that have ended. */
static void prune_job_locked(struct job *j)
{
	for (size_t i = j->n; i-- > 0;)
		if (j->want[i].req && j->want[i].req->ended)
			drop_want_locked(j, i);
}

static struct miss *miss_of_locked(struct df_fetch *f, const struct df_id *pack)
{
	struct miss *m = &f->miss[id_slot(pack, MISS_SLOTS)];

	if (df_id_cmp(&m->pack, pack) != 0)
		*m = (struct miss){ .pack = *pack };
	return m;
}

/* ---- what to ask for */

/* A try: bytes off..off+len of the pack, and the wants that it must bring. */
struct
try {
	struct df_id pack;
	uint64_t off, len;      /* len 0: the whole pack */
	struct df_piece *piece; /* owned; by offset */
	uint32_t *hold;         /* owned; the segment that has it, 0: none */
	size_t n;
	int64_t deadline_ns;
	int64_t absent_ns; /* an absent pack may still turn up until then */
	int err;
};

static int compare_pieces(const void *a, const void *b)
{
	const struct df_piece *x = a, *y = b;

	return (x->off > y->off) - (x->off < y->off);
}

/*
 * The range around the first want: further wants join while what lies between
 * costs less than asking again.  A range must not go beyond the pack, whose
 * size nobody has told us, so it ends with a wanted piece; it starts with the
 * pack where that is near, for the neighbours' sake.
 */
static void choose_range(struct try *t)
{
	uint64_t lo = t->piece[0].off, end = lo;
	size_t n = 0;

	while (n < t->n && (!n || (t->piece[n].off <= end + WINDOW &&
				   t->piece[n].off <= lo + RANGE_MAX))) {
		end = DF_MAX(end, t->piece[n].off + (uint64_t)t->piece[n].clen);
		n++;
	}
	t->off = lo < WINDOW ? 0 : lo;
	t->len = end - t->off;
	t->n = n; /* the others stay in the job */
}

/* By offset, each once; others who say something else of it come next. */
static void sort_pieces(struct try *t)
{
	size_t n = 0;

	qsort(t->piece, t->n, sizeof(*t->piece), compare_pieces);
	for (size_t i = 0; i < t->n; i++)
		if (!n || t->piece[n - 1].off != t->piece[i].off)
			t->piece[n++] = t->piece[i];
	t->n = n;
}

static int plan_try_locked(struct df_fetch *f, struct job *j, struct try *t)
{
	int64_t now = df_deadline_ms(0);

	*t = (struct try){ .pack = j->pack };
	t->piece = malloc((j->n + 1) * sizeof(*t->piece));
	t->hold = calloc(j->n + 1, sizeof(*t->hold));
	if (!t->piece || !t->hold) {
		free(t->piece);
		free(t->hold);
		return -ENOMEM;
	}
	t->deadline_ns = j->demand ? now : now + HINT_TIMEOUT_MS * DF_NS_PER_MS;
	for (size_t i = 0; i < j->n; i++) {
		const struct want *w = &j->want[i];
		t->piece[t->n++] = w->piece;
		if (w->req)
			t->deadline_ns =
				DF_MAX(t->deadline_ns, w->req->deadline_ns);
	}
	sort_pieces(t);
	struct miss *m = miss_of_locked(f, &j->pack);
	bool ours = f->remote->caps.ours; /* shows packs before rows */
	t->absent_ns = m->absent || ours ? 0 : now + ABSENT_MS * DF_NS_PER_MS;
	if (!m->n)
		choose_range(t);
	if (m->n)
		m->n = 0; /* if evicted again, a part may do again */
	else if (j->demand)
		m->n = 1;
	return 0;
}

/* ---- bringing it */

/* hold: of a wanted piece; NULL: a neighbour, for which there may be no room. */
static int keep_piece(struct df_fetch *f, const struct df_id *pack,
		      uint32_t off, const struct df_buf *raw, uint32_t *hold)
{
	struct df_loc loc;
	int err;

	if (hold) {
		let_go(f, hold, 1); /* of an attempt that failed behind it */
		err = df_seg_put_wanted(f->segs, pack, off, raw->data, raw->len,
					&loc);
		*hold = err ? 0 : loc.seg;
		return err;
	}
	err = df_seg_put_piece(f->segs, pack, off, raw->data, raw->len, &loc);
	if (err == -ENOSPC && df_segs_evict(f->segs, raw->len + 8192))
		err = df_seg_put_piece(f->segs, pack, off, raw->data, raw->len,
				       &loc);
	return err;
}

/* The next wanted piece at or behind off; t->n: none. */
static size_t next_wanted(const struct try *t, size_t i, uint64_t off)
{
	while (i < t->n && t->piece[i].off < off)
		i++;
	return i;
}

/* Take all pieces out of the bytes from t->off on.  Neighbours nobody asked
 * for are kept as far as they are sound and fit; a wanted piece that is not
 * there is an error, but those after it are kept all the same. */
static int keep_pieces(struct df_fetch *f, const struct try *t,
		       const struct df_buf *in)
{
	struct df_buf raw;
	size_t at = 0, next = 0, met = 0, extra = 0;
	bool full = false;
	int err = 0;

	df_buf_init(&raw, DF_PIECE_RAW_MAX);
	while (at < in->len) {
		uint64_t off = t->off + at;
		uint32_t clen = 0, rlen = 0;
		size_t used;
		next = next_wanted(t, next, off);
		bool wanted = next < t->n && t->piece[next].off == off;
		uint32_t *hold = wanted ? &t->hold[next] : NULL;
		const struct df_piece *want = wanted ? &t->piece[next++] : NULL;
		int e = df_piece_head(in->data + at, in->len - at, &clen,
				      &rlen);
		bool skip = !wanted && (full || extra + rlen > NEIGHBOURS_MAX);
		df_buf_reset(&raw);
		if (!e && !skip)
			e = df_piece_decode(in->data + at, in->len - at, want,
					    &raw, &used);
		if (!e && !skip)
			e = keep_piece(f, &t->pack, (uint32_t)off, &raw, hold);
		full |= e == -ENOSPC;
		met += wanted;
		if (e && wanted && !err)
			err = e;
		extra += wanted ? 0 : rlen;
		/* Behind a damaged piece only the next wanted is findable. */
		if (e != DF_ECORRUPT)
			at += clen;
		else
			at = next < t->n ? t->piece[next].off - t->off
					 : in->len;
	}
	df_buf_release(&raw);
	return err || met == t->n ? err : DF_ECORRUPT;
}

static bool wanted_still(struct df_fetch *f, struct job *j)
{
	df_lock(&f->lock);
	bool yes = false;
	for (size_t i = 0; i < j->n && !yes; i++)
		yes = !j->want[i].req || !j->want[i].req->ended;
	yes &= !f->stopped;
	df_unlock(&f->lock);
	return yes;
}

/* Sleep before the next attempt; false: no time for one. */
static bool wait_retry(struct df_fetch *f, int64_t wait_ms, int64_t until_ns)
{
	int64_t wake_ns = df_deadline_ms(wait_ms);

	if (wake_ns >= until_ns || !f->n_threads)
		return false;
	df_lock(&f->lock);
	while (!f->stopped && df_deadline_ms(0) < wake_ns)
		df_cond_wait_until(&f->retry, &f->lock, wake_ns);
	bool go = !f->stopped;
	df_unlock(&f->lock);
	return go;
}

/* One range, again and again until it is here, wrong, or too late. */
static int bring(struct df_fetch *f, struct job *j, struct try *t)
{
	int64_t wait_ms = RETRY_FIRST_MS;
	bool again = false;

	for (;;) {
		struct df_buf in;
		int64_t left_ms =
			(t->deadline_ns - df_deadline_ms(0)) / DF_NS_PER_MS;
		if (left_ms < 1)
			return -ETIMEDOUT;
		df_buf_init(&in, PACK_READ_MAX);
		int err = f->remote->ops->pack_get(f->remote, &t->pack, t->off,
						   t->len, left_ms, &in);
		atomic_fetch_add(&f->bytes, in.len);
		if (!err)
			err = keep_pieces(f, t, &in);
		df_buf_release(&in);
		if (err == DF_ECORRUPT && !again) {
			/* A cut or garbled answer: once more, all of it. */
			again = true;
			t->off = t->len = 0;
			continue;
		}
		int64_t until_ns = t->deadline_ns;
		if (err == -ENOENT)
			until_ns = DF_MIN(until_ns, t->absent_ns);
		else if (err != DF_EOFFLINE && err != -EAGAIN)
			return err;
		if (!wanted_still(f, j) || !wait_retry(f, wait_ms, until_ns))
			return err == -EAGAIN ? DF_EOFFLINE : err;
		wait_ms = DF_MIN(2 * wait_ms, (int64_t)RETRY_LAST_MS);
	}
}

/* ---- workers */

static bool was_tried(const struct try *t, const struct df_piece *p)
{
	for (size_t i = 0; i < t->n; i++)
		if (!compare_pieces(&t->piece[i], p) &&
		    t->piece[i].rlen == p->rlen &&
		    t->piece[i].check == p->check)
			return true;
	return false;
}

/* Resolve wants by what is local now.  Those that the try was to bring and
 * that are not here fail with its error. */
static void resolve_locked(struct df_fetch *f, struct job *j,
			   const struct try *t)
{
	struct df_loc loc;

	for (size_t i = j->n; i-- > 0;) {
		const struct want *w = &j->want[i];
		bool here = w->req && !w->req->ended
				    ? hold_piece_locked(f, w->req, &w->piece)
				    : df_seg_has_piece(f->segs, &j->pack,
						       w->piece.off,
						       w->piece.rlen, &loc);
		bool failed = !here && t->err && was_tried(t, &w->piece);
		if (!here && !failed && w->req && !was_tried(t, &w->piece))
			continue; /* for the next try */
		if (w->req && here && --w->req->left == 0)
			end_req_locked(f, w->req, 0);
		else if (w->req && !here)
			/* What is here under this offset has another length. */
			end_req_locked(f, w->req,
				       failed ? t->err : DF_ECORRUPT);
		drop_want_locked(j, i);
	}
}

/* The next job that may run now, taken out of its queue. */
static struct job *take_job_locked(struct df_fetch *f)
{
	struct job *j = TAILQ_FIRST(&f->demand);

	/* Readahead never takes the last slot. */
	if (!j && f->running + 1 < DF_MAX(f->n_threads, 2U))
		j = TAILQ_FIRST(&f->hints);
	if (j) {
		unqueue_job_locked(f, j);
		j->running = true;
		f->running++;
	}
	return j;
}

/* The lock is let go for the work. */
static void run_job(struct df_fetch *f, struct job *j) DF_REQUIRES(&f->lock);
static void run_job(struct df_fetch *f, struct job *j)
{
	struct try t;

	prune_job_locked(j);
	int err = j->n ? plan_try_locked(f, j, &t) : 0;
	if (j->n && !err) {
		df_unlock(&f->lock);
		t.err = bring(f, j, &t);
		df_lock(&f->lock);
		miss_of_locked(f, &j->pack)->absent = t.err == -ENOENT;
		resolve_locked(f, j, &t);
		df_unlock(&f->lock); /* a descriptor may have to be closed */
		let_go(f, t.hold, t.n);
		df_lock(&f->lock);
		free(t.piece);
		free(t.hold);
	}
	for (size_t i = j->n; err && i-- > 0; drop_want_locked(j, i))
		if (j->want[i].req)
			end_req_locked(f, j->want[i].req, err);
	f->running--;
	j->running = false;
	prune_job_locked(j);
	if (j->n && !f->stopped)
		queue_job_locked(f, j);
	else
		free_job_locked(f, j);
	/* A hint may have waited for this slot. */
	if (!TAILQ_EMPTY(&f->hints))
		df_cond_signal(&f->work);
}

static void *worker_main(void *arg)
{
	struct df_fetch *f = arg;

	df_lock(&f->lock);
	while (!f->stopped) {
		struct job *j = take_job_locked(f);
		if (j)
			run_job(f, j);
		else
			df_cond_wait(&f->work, &f->lock);
	}
	df_unlock(&f->lock);
	return NULL;
}

/* Ends what is too late, and answers.  Until stop, and then to the end. */
static void *keeper_main(void *arg)
{
	struct df_fetch *f = arg;

	df_lock(&f->lock);
	for (;;) {
		int64_t now = df_deadline_ms(0), next = INT64_MAX;
		struct req *r, *after;
		for (r = TAILQ_FIRST(&f->waiting); r; r = after) {
			after = TAILQ_NEXT(r, link);
			if (r->deadline_ns <= now)
				end_req_locked(f, r, -ETIMEDOUT);
			else
				next = DF_MIN(next, r->deadline_ns);
		}
		if (!TAILQ_EMPTY(&f->ended)) {
			df_unlock(&f->lock);
			deliver(f);
			df_lock(&f->lock);
			continue;
		}
		if (f->stopped)
			break;
		if (next == INT64_MAX)
			df_cond_wait(&f->keep, &f->lock);
		else
			df_cond_wait_until(&f->keep, &f->lock, next);
	}
	df_unlock(&f->lock);
	return NULL;
}

/* ---- the face */

struct df_fetch *df_fetch_new(struct df_remote *remote, struct df_segs *segs,
			      unsigned threads)
{
	struct df_fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->remote = remote;
	f->segs = segs;
	f->n_threads = threads;
	df_lock_init(&f->lock);
	df_cond_init(&f->work);
	df_cond_init(&f->keep);
	df_cond_init(&f->retry);
	TAILQ_INIT(&f->waiting);
	TAILQ_INIT(&f->ended);
	TAILQ_INIT(&f->demand);
	TAILQ_INIT(&f->hints);
	if (!threads)
		return f;
	f->thread = calloc(threads + 1, sizeof(*f->thread));
	int err = f->thread ? 0 : ENOMEM;
	for (unsigned i = 0; !err && i <= threads; i++) {
		err = pthread_create(&f->thread[i], NULL,
				     i < threads ? worker_main : keeper_main,
				     f);
		f->started += !err;
	}
	if (err) {
		df_fail(-err, "threads for remote reads cannot be started");
		df_fetch_stop(f);
		df_fetch_free(f);
		return NULL;
	}
	return f;
}

/* Without threads: work on the caller's until its request has ended. */
static void run_here(struct df_fetch *f)
{
	struct job *j;

	df_lock(&f->lock);
	while ((j = take_job_locked(f)))
		run_job(f, j);
	df_unlock(&f->lock);
	deliver(f);
}

/* Pieces come from rows that anybody may have written. */
static bool piece_sane(const struct df_piece *p)
{
	return p->rlen && p->rlen <= DF_PIECE_RAW_MAX &&
	       p->clen > DF_PIECE_HEAD &&
	       p->clen <= DF_PIECE_HEAD + DF_PIECE_RAW_MAX;
}

int df_fetch_get(struct df_fetch *f, const struct df_piece *p, size_t n,
		 int64_t timeout_ms, void (*done)(void *arg, int err),
		 void *arg)
{
	struct req *r = calloc(1, sizeof(*r));
	uint32_t *hold = calloc(n + 1, sizeof(*hold));
	int err = 0;

	if (!r || !hold) {
		free(r);
		free(hold);
		return -ENOMEM;
	}
	r->hold = hold;
	r->done = done;
	r->arg = arg;
	r->refs = 1;
	r->deadline_ns = df_deadline_ms(timeout_ms);
	df_lock(&f->lock);
	if (f->stopped) {
		req_unref_locked(r);
		df_unlock(&f->lock);
		return -ECANCELED;
	}
	TAILQ_INSERT_TAIL(&f->waiting, r, link);
	for (size_t i = 0; i < n && !err; i++) {
		if (!piece_sane(&p[i])) {
			err = DF_ECORRUPT; /* a row's word, not ours */
			break;
		}
		if (hold_piece_locked(f, r, &p[i]))
			continue;
		r->left++;
		err = add_want_locked(f, &p[i], r);
	}
	if (err || !r->left)
		end_req_locked(f, r, err);
	df_cond_signal(&f->keep); /* its deadline may be the nearest */
	df_unlock(&f->lock);
	if (!f->n_threads)
		run_here(f);
	return 0;
}

bool df_fetch_cancel(struct df_fetch *f, void *arg)
{
	struct req *r;

	df_lock(&f->lock);
	TAILQ_FOREACH(r, &f->waiting, link)
	if (r->arg == arg)
		break;
	if (r)
		end_req_locked(f, r, -EINTR);
	df_unlock(&f->lock);
	return r;
}

void df_fetch_post(struct df_fetch *f, void (*done)(void *arg, int err),
		   void *arg, int err)
{
	struct req *r = df_xalloc(sizeof(*r));

	*r = (struct req){
		.done = done, .arg = arg, .refs = 1, .ended = true, .err = err
	};
	df_lock(&f->lock);
	bool alone = f->stopped || !f->n_threads;
	if (!alone) {
		TAILQ_INSERT_TAIL(&f->ended, r, link);
		df_cond_signal(&f->keep);
	}
	df_unlock(&f->lock);
	if (!alone)
		return;
	done(arg, err);
	free(r);
}

void df_fetch_hint(struct df_fetch *f, const struct df_piece *p, size_t n)
{
	struct df_loc loc;

	if (f->n_threads < 2)
		return; /* there is no slot that is not the last */
	df_lock(&f->lock);
	for (size_t i = 0; i < n && !f->stopped; i++) {
		struct job *j = find_job_locked(f, &p[i].pack);
		if (!piece_sane(&p[i]) || (!j && f->n_hints >= HINTS_MAX) ||
		    df_seg_has_piece(f->segs, &p[i].pack, p[i].off, p[i].rlen,
				     &loc))
			continue;
		bool known = false;
		for (size_t k = 0; j && k < j->n && !known; k++)
			known = j->want[k].piece.off == p[i].off;
		if (!known && add_want_locked(f, &p[i], NULL))
			break;
	}
	df_unlock(&f->lock);
}

uint64_t df_fetch_bytes(const struct df_fetch *f)
{
	return atomic_load(&f->bytes);
}

void df_fetch_stop(struct df_fetch *f)
{
	struct req *r;

	df_lock(&f->lock);
	f->stopped = true;
	while ((r = TAILQ_FIRST(&f->waiting)))
		end_req_locked(f, r, -ECANCELED);
	df_cond_broadcast(&f->work);
	df_cond_broadcast(&f->keep);
	df_cond_broadcast(&f->retry);
	df_unlock(&f->lock);
	for (unsigned i = 0; i < f->started; i++)
		pthread_join(f->thread[i], NULL);
	f->started = 0;
	deliver(f);
}

void df_fetch_free(struct df_fetch *f)
{
	if (!f)
		return;
	df_lock(&f->lock);
	for (unsigned i = 0; i < JOB_SLOTS; i++)
		while (f->slot[i])
			free_job_locked(f, f->slot[i]);
	df_unlock(&f->lock);
	df_cond_release(&f->work);
	df_cond_release(&f->keep);
	df_cond_release(&f->retry);
	df_lock_release(&f->lock);
	free(f->thread);
	free(f);
}
