/* worker.c - see worker.h. */
#include "cache/worker.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "cache/audit.h"
#include "cache/checkpoint.h"
#include "cache/identity.h"
#include "cache/journal.h"
#include "cache/lost.h"
#include "cache/poll.h"
#include "cache/room.h"
#include "cache/rowfiles.h"
#include "cache/upload.h"
#include "cache/view.h"
#include "cache/vol_data.h"

#define FOLD_EVERY_MS 250
#define FOLD_BUSY_MS 2000 /* while requests come */
#define REQUEST_MS 50     /* one so long ago: more may follow */
/* What so many entries left in the heap goes back to the kernel: at the next
 * pause, or when they have become many without one. */
#define TRIM_MANY 10000
#define TRIM_AT_LAST 50000
#define CHECKPOINT_EVERY 20 /* looks between syncs of the database */
#define CHECKPOINT_SOON 4   /* the same while changes wait for room */
/* Requests so long after the first change: a program is at work.  Its changes
 * leave together, at its first pause, or when they are so old. */
#define AT_WORK_MS 10
#define PAUSE_MS 50
#define AT_WORK_MAX_MS 250
#define TICK_MS 1000
#define REST_MS 10000 /* without a request */
#define GATHER_NS 1500000

/* ---- the steps */
int df_work_cut(struct df_vol *v, df_nid force)
{
	df_lock(&v->lock);
	bool renewed = df_identity_check(v);
	struct df_cut *c = df_cut_begin(v, force);
	df_unlock(&v->lock);
	if (renewed)
		v->remote->ops->reset(v->remote);
	if (!c)
		return 0;
	df_cut_finish(v, c);
	(void)df_fault("cut.copied");
	bool empty = !c->n;
	uint64_t number = c->number;
	int err = df_upload_cut(v, c);
	if (err)
		return err;
	if (!empty)
		return 1;
	df_lock(&v->lock); /* nothing worth a row: as good as remote */
	if (!v->out)
		v->acked_cut = number;
	df_unlock(&v->lock);
	return 0;
}

void df_work_wake(struct df_vol *v)
{
	struct df_waiter *ready = NULL, **tail = &ready;
	struct df_waiter *late = NULL, **late_tail = &late;
	int64_t now = df_clock_mono_ns();

	df_lock(&v->lock);
	bool idle = !v->dirty.n && !v->cut && !v->uploading;
	for (const struct df_outrow *o = v->out; o; o = o->next)
		idle &= o->acked;
	for (struct df_waiter **at = &v->sync_waiters; *at;) {
		struct df_waiter *w = *at;
		bool done = w->cut <= v->acked_cut || idle;
		if (!done && now < w->deadline_ns) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = NULL;
		if (done) {
			/* found only when they were packed */
			w->err = df_lost_once(v, w->nid);
			*tail = w;
			tail = &w->next;
		} else {
			*late_tail = w;
			late_tail = &w->next;
		}
	}
	df_unlock(&v->lock);
	df_waiters_run(ready, 0);
	df_waiters_run(late, -ETIMEDOUT);
}

int df_work_fold(struct df_vol *v, bool durable)
{
	df_lock(&v->lock);
	df_journal_folded(v);
	/* Where replay begins, by what SQLite is given now: a cut that ends
	 * meanwhile would let go of more. */
	uint64_t floor = df_fold_meta(v->fold, "floor", 0);
	uint64_t round = df_seg_fold_begin(v->segs);
	df_seg_told(v->segs, df_journal_told(v));
	struct df_flush *b = df_fold_begin(v->fold);
	df_unlock(&v->lock);
	int err = b ? df_fold_write(v->fold, b) : 0;
	if (b) {
		df_lock(&v->lock);
		df_fold_end(v->fold, b, err);
		df_room_look(v);
		df_unlock(&v->lock);
	}
	if (err || !durable || df_fold_checkpoint(v->fold))
		return err;
	df_seg_folded(v->segs, floor, round);
	(void)df_fault("fold.floor");
	return 0;
}

/* ---- upload */
/* How long the first change after a quiet second waits for others. */
static int64_t first_delay_ms(const struct df_vol *v)
{
	int64_t used = (v->last_request_ns - v->first_dirty_ns) / DF_NS_PER_MS;

	if (used < AT_WORK_MS)
		return DF_FIRST_FLUSH_MS;
	return DF_MIN(used + PAUSE_MS, (int64_t)AT_WORK_MAX_MS);
}

static int64_t upload_due_ms(struct df_vol *v)
{
	int64_t now = df_clock_mono_ns();
	int64_t since = (now - v->first_dirty_ns) / DF_NS_PER_MS;
	int64_t delay = v->conf.flush_delay_ms;

	if (v->sync_asked || v->stopping)
		return 0;
	for (const struct df_outrow *o = v->out; o; o = o->next)
		if (!o->acked)
			return 0;
	if (!v->dirty.n || !v->first_dirty_ns)
		return TICK_MS;
	/* The first change after a quiet second leaves soon. */
	if (v->first_dirty_ns - v->last_cut_ns > DF_NS_PER_S)
		delay = DF_MIN(delay, first_delay_ms(v));
	return delay > since ? delay - since : 0;
}

df_nid df_work_forced(const struct df_vol *v)
{
	/* Writers that wait for room wait for held files, too. */
	df_nid force = v->stopping || v->room[DF_WAIT_ROOM] ? DF_ROOT_NID : 0;

	for (const struct df_waiter *w = v->sync_waiters; w; w = w->next)
		force = !force || force == w->nid ? w->nid : DF_ROOT_NID;
	return force;
}

/* An acknowledged row that 15 s of polls did not show is sent again. */
static void resend_unseen(struct df_vol *v)
{
	int64_t now = df_clock_mono_ns();

	df_lock(&v->lock);
	for (struct df_outrow *o = v->out; o; o = o->next)
		if (o->acked &&
		    now - o->acked_ns > DF_RESEND_MS * DF_NS_PER_MS &&
		    v->last_poll_ns > o->acked_ns)
			o->acked = false;
	df_unlock(&v->lock);
}

int df_work_send(struct df_vol *v)
{
	bool any = false;

	resend_unseen(v);
	df_sender_check(v->sender);
	df_lock(&v->lock);
	for (const struct df_outrow *o = v->out; o; o = o->next)
		any |= !o->acked;
	bool look = df_clock_mono_ns() - v->last_poll_ns >
			    DF_LOOK_FIRST_MS * DF_NS_PER_MS &&
		    !v->remote->caps.ours;
	df_unlock(&v->lock);
	if (!any)
		return 0;
	int err = look ? df_poll(v, false, 0) : 0;
	if (!err)
		err = df_upload_row(v);
	if (err)
		return err;
	df_work_wake(v);
	return 1;
}

/* Rows that are noted are sent until they are acknowledged. */
static int send_rows(struct df_vol *v)
{
	for (unsigned n = 0;; n++) {
		int rc = df_work_send(v);
		if (!rc)
			return 0;
		if (rc > 0)
			n = 0;
		else if (!df_vol_backoff(v, n, rc))
			return rc;
	}
}

/* Several fsync at once, and those whose cut was just acknowledged come again in
 * a moment: without waiting for them two groups would take turns for ever, and
 * each fsync two round trips. */
static void gather_locked(struct df_vol *v)
{
	int64_t until = df_clock_mono_ns() + GATHER_NS;

	while (!v->stopping && !v->stop_now &&
	       df_cond_wait_until(&v->up_cond, &v->lock, until))
		;
}

static void *upload_main(void *arg)
{
	struct df_vol *v = arg;
	unsigned fails = 0;
	bool recounted = false;

	df_lock(&v->lock);
	while (!v->stop_now) {
		int64_t ms = upload_due_ms(v);
		if (ms > 0) {
			df_cond_wait_until(&v->up_cond, &v->lock,
					   df_deadline_ms(ms));
			df_unlock(&v->lock);
			resend_unseen(v);
			df_sender_check(v->sender);
			df_work_wake(v);
			df_lock(&v->lock);
			continue;
		}
		df_nid force = df_work_forced(v);
		v->sync_asked = false;
		v->uploading = true;
		v->last_cut_ns = df_clock_mono_ns();
		df_unlock(&v->lock);
		int err = send_rows(v);
		if (!err)
			err = df_work_cut(v, force);
		if (err > 0)
			err = send_rows(v);
		df_lock(&v->lock);
		v->uploading = false;
		bool again = v->sync_waiters != NULL;
		df_unlock(&v->lock);
		df_work_wake(v);
		df_room_retry(v, 0);
		fails = err < 0 ? fails + 1 : 0;
		if (err < 0 && !df_vol_backoff(v, fails, err))
			again = false;
		df_lock(&v->lock);
		/* Who began to wait while the cut was made needs the next. */
		if (again && v->sync_waiters && v->dirty.n) {
			gather_locked(v);
			v->sync_asked = true;
		}
		if (v->stopping && df_vol_all_remote(v)) {
			if (recounted || !df_cut_recount(v))
				break;
			recounted = true;
		}
	}
	v->upload_ended = true;
	df_cond_broadcast(&v->retry_cond);
	df_unlock(&v->lock);
	return NULL;
}

/* ---- poll */
static void *poll_main(void *arg)
{
	struct df_vol *v = arg;
	unsigned fails = 0;

	for (;;) {
		df_lock(&v->lock);
		bool stop = v->stop_now || v->upload_ended;
		bool full = !v->last_list_ns ||
			    df_clock_mono_ns() - v->last_list_ns >
				    DF_RELIST_MS * DF_NS_PER_MS;
		v->poll_now = false;
		df_unlock(&v->lock);
		if (stop)
			return NULL;
		int err = df_poll(v, full, df_poll_wait_ms(v));
		fails = err ? fails + 1 : 0;
		if (err && !df_vol_backoff(v, fails, err))
			return NULL;
		if (!err && df_checkpoint_due(v))
			df_checkpoint_write(v);
		df_work_wake(v);
		if (v->remote->caps.feed)
			continue; /* the feed itself waits */
		int64_t ms = df_poll_interval_ms(v);
		df_lock(&v->lock);
		if (!v->stop_now && !v->upload_ended && !v->poll_now)
			df_cond_wait_until(&v->poll_cond, &v->lock,
					   df_deadline_ms(ms));
		df_unlock(&v->lock);
	}
}

/* ---- fold */
/* True: memory was given up, for no program asks anything.  The view's thread
 * fills it again, so this is looked at again and again.  Locked. */
static bool rest(struct df_vol *v, int64_t *rested_ns)
{
	int64_t now = df_clock_mono_ns(), pause = REST_MS * DF_NS_PER_MS;

	if (now - v->last_request_ns < pause || now - *rested_ns < pause)
		return false;
	*rested_ns = now;
	return df_fold_rest(v->fold);
}

/* Only a sync of the database lets the journal, and what was just sent, go.
 * Locked. */
static bool sync_wanted(const struct df_vol *v)
{
	return v->room[DF_WAIT_ROOM] || df_segs_want_fold(v->segs);
}

/* Is it time to write?  SQLite takes half as much CPU as the requests whose
 * changes it is given, and a file's cut, note and acknowledgement are three
 * changes more: while requests come it is given them less often.  Locked. */
static bool fold_due(const struct df_vol *v, int64_t last_ns)
{
	int64_t now = df_clock_mono_ns();

	if (sync_wanted(v))
		return true;
	if (!df_fold_dirty(v->fold))
		return false;
	return df_fold_many(v->fold) || v->stopping ||
	       now - v->last_request_ns > REQUEST_MS * DF_NS_PER_MS ||
	       now - last_ns > FOLD_BUSY_MS * DF_NS_PER_MS;
}

static void *fold_main(void *arg)
{
	struct df_vol *v = arg;
	unsigned n = 0;
	size_t written = 0;
	int64_t rested_ns = 0, last_ns = 0;

	df_lock(&v->lock);
	while (!v->stopped) {
		bool waits = sync_wanted(v);
		bool soon = v->dirty.n || v->sync_waiters || waits;
		/* What cannot be written is not tried without a pause. */
		if (!df_fold_many(v->fold) || v->failsafe)
			df_cond_wait_until(
				&v->fold_cond, &v->lock,
				df_deadline_ms(soon ? FOLD_EVERY_MS : TICK_MS));
		size_t dirty = df_fold_dirty(v->fold);
		bool work = fold_due(v, last_ns);
		bool resting = !dirty && rest(v, &rested_ns);
		df_unlock(&v->lock);
		n += dirty || waits;
		written += work ? dirty : 0;
		if (resting || written > (work ? TRIM_AT_LAST : TRIM_MANY)) {
			malloc_trim(0);
			written = 0;
		}
		/* Deadlines pass while the uploader waits for the server, and
		 * writers who wait for room must hear that none will come. */
		df_work_wake(v);
		df_room_retry(v, 0);
		unsigned every = (unsigned)df_fault_value(
			"fold.every",
			waits ? CHECKPOINT_SOON : CHECKPOINT_EVERY);
		if (work && df_work_fold(v, n >= every)) {
			df_lock(&v->lock);
			df_vol_fail(v, "the local database cannot be "
				       "written");
			df_unlock(&v->lock);
		}
		if (work) {
			last_ns = df_clock_mono_ns();
			n = n >= every ? 0 : n;
		}
		df_segs_evict(v->segs, 0);
		df_audit_dirty(v);
		df_lock(&v->lock);
	}
	df_unlock(&v->lock);
	return NULL;
}

/* ---- fsync=local */
static void *sync_main(void *arg)
{
	struct df_vol *v = arg;

	df_lock(&v->lock);
	for (;;) {
		while (!v->local_waiters && !v->stopped)
			df_cond_wait(&v->sync_cond, &v->lock);
		struct df_waiter *w = v->local_waiters;
		v->local_waiters = NULL;
		if (!w)
			break;
		df_unlock(&v->lock);
		int err = df_segs_sync(v->segs);
		for (struct df_waiter *at = err ? NULL : w; at; at = at->next)
			at->err = df_lost_look(v, at->nid);
		df_waiters_run(w, err ? -EIO : 0);
		df_lock(&v->lock);
	}
	df_unlock(&v->lock);
	return NULL;
}

/* Hashing and compressing give way to whoever works on the mount. */
static void *upload_nice(void *arg)
{
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 5);
	return upload_main(arg);
}

int df_workers_start(struct df_vol *v)
{
	v->started = true;
	if (pthread_create(&v->th_upload, NULL, upload_nice, v) ||
	    pthread_create(&v->th_poll, NULL, poll_main, v) ||
	    pthread_create(&v->th_fold, NULL, fold_main, v) ||
	    pthread_create(&v->th_sync, NULL, sync_main, v))
		return df_fail(-EAGAIN, "start the volume's threads");
	pthread_setname_np(v->th_upload, "df-upload");
	pthread_setname_np(v->th_poll, "df-poll");
	pthread_setname_np(v->th_fold, "df-fold");
	pthread_setname_np(v->th_sync, "df-sync");
	return df_view_start(v->view);
}

void df_workers_stop(struct df_vol *v)
{
	df_lock(&v->lock);
	v->stop_now = v->stopped = true;
	df_cond_broadcast(&v->up_cond);
	df_cond_broadcast(&v->poll_cond);
	df_cond_broadcast(&v->fold_cond);
	df_cond_broadcast(&v->sync_cond);
	df_cond_broadcast(&v->retry_cond);
	df_cond_broadcast(&v->inval_cond);
	df_unlock(&v->lock);
	v->remote->ops->stop(v->remote);
	df_view_stop(v->view);
	df_rowfiles_stop(v->rows);
	v->rows = NULL;
	pthread_join(v->th_upload, NULL);
	pthread_join(v->th_poll, NULL);
	pthread_join(v->th_fold, NULL);
	pthread_join(v->th_sync, NULL);
}
