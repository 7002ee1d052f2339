/* poll.c - see poll.h. */
#include "cache/poll.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "cache/checkpoint.h"
#include "cache/checkpoint_io.h"
#include "cache/identity.h"
#include "cache/journal.h"
#include "cache/merge.h"
#include "cache/rollback.h"
#include "cache/view.h"

#define PAGE_ROWS 200
#define FIRST_ROWS 40 /* more than a small log has */
#define PAGES_MAX 64  /* of one poll; the rest comes with the next */
#define POLL_TIMEOUT_MS 30000
#define WAITING_MAX 10000
#define WAITING_BYTES ((size_t)16 << 20)

/* A row whose causes are missing. */
struct df_waiting {
	struct df_waiting *next;
	struct df_row row;
	int64_t since_ns, tried_ns;
	bool listed; /* a full listing without the cause was made since */
};

/* A mount waits for a dead server no longer than its user allowed. */
int64_t df_poll_timeout_ms(const struct df_vol *v)
{
	int64_t left = (v->open_until_ns - df_deadline_ms(0)) / DF_NS_PER_MS;

	if (!v->open_until_ns)
		return POLL_TIMEOUT_MS;
	return DF_MIN(DF_MAX(left, (int64_t)100), (int64_t)POLL_TIMEOUT_MS);
}

void df_poll_release(struct df_vol *v)
{
	while (v->waiting) {
		struct df_waiting *w = v->waiting;
		v->waiting = w->next;
		df_row_release(&w->row);
		free(w);
	}
}

/* ---- time */
static void note_date(struct df_vol *v, int64_t date_ms)
{
	int64_t now = df_clock_real_ns() / DF_NS_PER_MS;

	df_lock(&v->lock);
	if (date_ms) {
		v->server_skew_ms = date_ms - now;
		v->server_known = true;
		v->last_poll_date_ms = date_ms;
	}
	v->last_poll_ms = now;
	v->last_poll_ns = df_clock_mono_ns();
	v->open_until_ns = 0; /* it lives: slow is fine from here on */
	v->offline = false;
	df_unlock(&v->lock);
}

static void note_active(struct df_vol *v, uint64_t node)
{
	int64_t now = df_clock_mono_ns();
	unsigned at = 0;

	while (at < v->n_active && v->active[at].node != node)
		at++;
	if (at == DF_ARRAY_LEN(v->active))
		at = (unsigned)(node % DF_ARRAY_LEN(v->active));
	else if (at == v->n_active)
		v->n_active++;
	v->active[at] = (struct df_active){ node, now };
}

static bool is_idle(const struct df_vol *v)
{
	int64_t now = df_clock_mono_ns();
	int64_t idle_ns = DF_IDLE_AFTER_MS * DF_NS_PER_MS;

	return now - v->last_request_ns > idle_ns &&
	       now - v->last_foreign_ns > idle_ns;
}

int64_t df_poll_interval_ms(struct df_vol *v)
{
	int64_t now = df_clock_mono_ns(), ms;
	unsigned active = 1;

	df_lock(&v->lock);
	for (unsigned i = 0; i < v->n_active; i++)
		active += now - v->active[i].at_ns < DF_GAP_MS * DF_NS_PER_MS &&
			  v->active[i].node != v->node;
	bool ours = v->remote->caps.ours;
	ms = DF_MAX((int64_t)DF_POLL_MIN_MS, 4 * v->remote->latency_ms);
	if (!ours)
		ms = DF_MAX(ms, (int64_t)active * 700);
	if (is_idle(v))
		ms = ours ? DF_IDLE_POLL_OWN_MS : DF_IDLE_POLL_MS;
	v->poll_interval_ms = ms;
	df_unlock(&v->lock);
	return ms;
}

int64_t df_poll_wait_ms(struct df_vol *v)
{
	df_lock(&v->lock);
	bool idle = is_idle(v);
	df_unlock(&v->lock);
	return idle ? DF_FEED_WAIT_IDLE_MS : DF_FEED_WAIT_MS;
}

/* W: the greatest sent among rows folded at least 30 s ago by our clock. */
static void move_watermark(struct df_vol *v)
{
	int64_t now = df_clock_mono_ns();
	size_t keep = 0;

	for (size_t i = 0; i < v->n_marks; i++) {
		if (now - v->marks[i].at_ns >= DF_OVERLAP_MS * DF_NS_PER_MS)
			v->watermark = DF_MAX(v->watermark, v->marks[i].sent);
		else
			v->marks[keep++] = v->marks[i];
	}
	if (keep != v->n_marks)
		df_fold_set_meta(v->fold, "watermark", v->watermark);
	v->n_marks = keep;
}

static void note_sent(struct df_vol *v, uint64_t sent)
{
	int64_t now = df_clock_mono_ns();
	size_t keep;

	move_watermark(v);
	keep = v->n_marks;
	if (keep && v->marks[keep - 1].sent >= sent &&
	    now - v->marks[keep - 1].at_ns < DF_NS_PER_S)
		return; /* nothing newer in the last second */
	DF_GROW(v->marks, v->n_marks, v->marks_size);
	v->marks[v->n_marks++] = (struct df_mark){ sent, now };
}

/* ---- folding one row */
/* listed: a full listing was made since the row came; what it lacked and is
 * older than the folded checkpoint was deleted, and is in that checkpoint. */
static bool known(struct df_vol *v, const struct df_dep *d, bool listed)
{
	static const struct df_id none;

	return !df_id_cmp(&d->id, &none) || df_fold_has_row(v->fold, &d->id) ||
	       (listed && d->epoch < v->epoch);
}

static bool causes_known(struct df_vol *v, const struct df_row *row,
			 bool listed)
{
	if (!known(v, &row->prev, listed))
		return false;
	for (size_t i = 0; i < row->n_deps; i++)
		if (!known(v, &row->deps[i], listed))
			return false;
	return true;
}

/* The row is folded: it is known, and a cause of what we write next (but our
 * own are: each names the one before it).  The fold knows it already if its
 * registers were merged. */
static void note_folded(struct df_vol *v, const struct df_row *row, bool own,
			bool merged)
{
	struct df_dep dep = { row->id, row->epoch };

	df_lock(&v->lock);
	if (!merged)
		df_fold_add_row(v->fold, &dep, !own);
	if (!own) {
		DF_GROW(v->newdeps, v->n_newdeps, v->newdeps_size);
		v->newdeps[v->n_newdeps++] = dep;
		v->last_foreign_ns = df_clock_mono_ns();
	}
	note_active(v, row->node);
	note_sent(v, row->sent);
	v->rows_folded++;
	v->rows_since_ck++;
	v->bodies_since_ck += row->body_len;
	df_unlock(&v->lock);
}

static void refuse(struct df_vol *v, const struct df_row *row)
{
	char hex[33];

	df_id_hex(&row->id, hex);
	df_lock(&v->lock);
	v->rows_refused++;
	df_vol_say(v, "row %s of the log is malformed: refused", hex);
	df_unlock(&v->lock);
	/* by everybody alike; never again looked at */
	note_folded(v, row, false, false);
}

/* A stamp of the far future waits until its day and raises no clock. */
static bool from_the_future(struct df_vol *v, uint64_t max_time)
{
	int64_t now = df_clock_real_ns() / DF_NS_PER_MS +
		      (v->server_known ? v->server_skew_ms : 0);

	return DF_STAMP_MS(max_time) > now + DF_DAY_MS;
}

/* 0: folded (or refused for good), 1: later, or -errno (transient). */
static int fold_commit(struct df_vol *v, const struct df_row *row)
{
	struct df_dep dep = { row->id, row->epoch };
	struct df_body body;
	struct df_buf regs;
	uint64_t max_time = 0;

	int err = df_body_read(row->body, row->body_len, &body);
	df_buf_init(&regs, DF_REGISTERS_MAX);
	if (!err)
		err = df_merge_fetch(v, &body, &regs, &max_time);
	int later = !err && from_the_future(v, max_time);
	if (!err && !later)
		err = df_merge_registers(v, regs.data, regs.len, &dep);
	(void)df_fault("row.merged");
	df_buf_release(&regs);
	df_body_release(&body);
	if (err == DF_ECORRUPT || err == DF_EFORMAT || err == -EFBIG) {
		refuse(v, row);
		return 0;
	}
	if (!err && !later)
		note_folded(v, row, false, true);
	return err ? err : later;
}

/* Our own row has come back.  Rows under our name that are not ours: a twin
 * lives. */
static bool own_row(struct df_vol *v, const struct df_row *row)
{
	bool mine = false;

	df_lock(&v->lock);
	for (const struct df_outrow *o = v->out; o; o = o->next)
		mine |= !df_id_cmp(&o->row.id, &row->id);
	if (mine) {
		df_journal_seen(v, &row->id);
		note_sent(v, row->sent);
	}
	bool folded = df_fold_has_row(v->fold, &row->id) ||
		      !df_id_cmp(&v->ck_row, &row->id);
	if (!mine && !folded && row->node == v->node)
		v->must_rename = true;
	df_unlock(&v->lock);
	if (mine && !folded)
		note_folded(v, row, true, false);
	return mine || folded;
}

/* A checkpoint that is known says that all it covers is: who deletes a row leaves
 * one, and a later one covers only that.  So it waits for rows that are still
 * on their way, which polls may have passed by. */
static int fold_checkpoint(struct df_vol *v, const struct df_row *row,
			   bool force)
{
	int due = df_checkpoint_wanted(v, row);

	if (due == DF_CK_LATE && !force)
		return 1;
	int err = due > 0 ? df_checkpoint_fold(v, row, force) : due;
	/* A cause only if folded: it may say more than its rows do, for
	 * instance what came after its writer's listing. */
	if (!err)
		note_folded(v, row, !due, due > 0);
	return err;
}

/* 0: done with the row, 1: it has to wait, or -errno. */
static int fold_row(struct df_vol *v, const struct df_row *row, bool listed,
		    bool force)
{
	if (row->kind == DF_ROW_FORMAT || own_row(v, row))
		return 0;
	if (row->kind == DF_ROW_CHECKPOINT)
		return fold_checkpoint(v, row, force);
	df_lock(&v->lock);
	bool ready = force || causes_known(v, row, listed);
	df_unlock(&v->lock);
	return ready ? fold_commit(v, row) : 1;
}

/* ---- rows that wait */
static void keep_waiting(struct df_vol *v, struct df_row *row)
{
	struct df_waiting **at = &v->waiting;
	size_t n = 0, bytes = row->body_len;

	for (; *at; at = &(*at)->next, n++) {
		if (!df_id_cmp(&(*at)->row.id, &row->id))
			return;
		bytes += (*at)->row.body_len;
	}
	if (n >= WAITING_MAX || (n && bytes > WAITING_BYTES)) {
		df_lock(&v->lock);
		v->behind = true; /* a listing brings it again */
		df_unlock(&v->lock);
		return;
	}
	struct df_waiting *w = df_xalloc(sizeof(*w));
	w->row = *row;
	*row = (struct df_row){ 0 };
	w->since_ns = w->tried_ns = df_clock_mono_ns();
	df_lock(&v->lock);
	*at = w; /* causes first, so that one look takes a whole chain */
	if (!n)
		df_fold_set_meta(v->fold, "behind", 1);
	df_unlock(&v->lock);
}

static bool overdue(const struct df_waiting *w)
{
	return w->listed &&
	       df_clock_mono_ns() - w->since_ns > DF_GAP_MS * DF_NS_PER_MS;
}

/* A checkpoint takes a listing of the log each time: not with every page. */
static bool worth_a_try(struct df_waiting *w)
{
	int64_t now = df_clock_mono_ns();

	if (w->row.kind == DF_ROW_CHECKPOINT &&
	    now - w->tried_ns < DF_POLL_MIN_MS * DF_NS_PER_MS)
		return false;
	w->tried_ns = now;
	return true;
}

/* Fold what has become ready; true if anything was. */
static bool retry_waiting(struct df_vol *v)
{
	bool any = false;

	for (struct df_waiting **at = &v->waiting; *at;) {
		struct df_waiting *w = *at;
		bool force = overdue(w);
		int rc = worth_a_try(w) ? fold_row(v, &w->row, w->listed, force)
					: 1;
		if (rc == 1 || rc < 0) {
			at = &w->next;
			continue;
		}
		df_lock(&v->lock);
		*at = w->next;
		if (force) {
			v->rows_skipped++;
			df_vol_say(v, "a row of the log never came: skipped");
		}
		df_unlock(&v->lock);
		df_row_release(&w->row);
		free(w);
		any = true;
	}
	return any;
}

/* ---- registers too many for a row, of all rows of a page at once */
struct ahead {
	struct df_vol *v;
	struct df_piece *p; /* owned */
	size_t n, size;
};

static int keep_ahead(void *arg, size_t i, const void *raw, size_t len)
{
	struct ahead *a = arg;

	df_merge_keep_piece(a->v, &a->p[i].pack, a->p[i].off, raw, len);
	return 0;
}

/* One round trip after the other is most of what opening a small volume takes.
 * What fails here is asked for again by who needs it. */
static void fetch_ahead(struct df_vol *v, const struct df_rows *rows)
{
	struct ahead a = { .v = v };

	for (size_t i = 0; i < rows->n; i++) {
		const struct df_row *row = &rows->row[i];
		struct df_body body;
		df_lock(&v->lock);
		bool folded = df_fold_has_row(v->fold, &row->id);
		df_unlock(&v->lock);
		if (folded || row->kind != DF_ROW_COMMIT ||
		    df_body_read(row->body, row->body_len, &body))
			continue;
		for (size_t k = 0; k < body.n_pieces; k++) {
			DF_GROW(a.p, a.n, a.size);
			a.p[a.n++] = body.pieces[k];
		}
		df_body_release(&body);
	}
	if (a.n > 1)
		(void)df_ck_fetch(v, a.p, a.n, keep_ahead, &a);
	free(a.p);
}

static int take_rows(struct df_vol *v, struct df_rows *rows)
{
	int err = 0;

	if (v->filling)
		fetch_ahead(v, rows);
	for (size_t i = 0; i < rows->n && !err; i++) {
		int rc = fold_row(v, &rows->row[i], false, false);
		if (rc == 1)
			keep_waiting(v, &rows->row[i]);
		else if (rc < 0)
			err = rc;
	}
	while (v->waiting && retry_waiting(v))
		;
	df_lock(&v->lock);
	v->rows_refused += rows->refused;
	df_unlock(&v->lock);
	return err;
}

/* ---- looking */
static int poll_pages(struct df_vol *v)
{
	const struct df_remote_ops *ops = v->remote->ops;
	int err = 0;

	df_lock(&v->lock);
	move_watermark(v); /* also when nothing new comes */
	uint64_t after = v->watermark;
	df_unlock(&v->lock);
	for (int page = 0; page < PAGES_MAX && !err; page++) {
		struct df_rows rows = { 0 };
		int64_t date = 0;
		err = ops->rows_after(v->remote, after, PAGE_ROWS,
				      df_poll_timeout_ms(v), &rows, &date);
		if (!err) {
			note_date(v, date);
			after = DF_MAX(after, rows.last_sent);
			err = take_rows(v, &rows);
		}
		bool more = v->more_rows = rows.more;
		df_rows_release(&rows);
		if (!more)
			break;
	}
	return err;
}

/* The page is folded: go on behind it. */
static int take_feed(struct df_vol *v, struct df_rows *rows)
{
	int err = take_rows(v, rows);

	if (rows->others)
		df_view_others(v->view);
	v->more_rows = rows->more;
	if (!err && rows->last_n > v->feed_n) {
		df_lock(&v->lock);
		v->feed_n = rows->last_n;
		df_fold_set_meta(v->fold, "feed_n", v->feed_n);
		df_unlock(&v->lock);
	}
	return err;
}

static int poll_feed(struct df_vol *v, int64_t wait_ms)
{
	const struct df_remote_ops *ops = v->remote->ops;
	int err = 0;

	for (int page = 0; page < PAGES_MAX && !err; page++) {
		struct df_rows rows = { 0 };
		int64_t date = 0;
		err = ops->rows_feed(v->remote, v->feed_n, PAGE_ROWS,
				     page ? 0 : wait_ms, &rows, &date);
		if (!err) {
			note_date(v, date);
			err = take_feed(v, &rows);
		}
		df_rows_release(&rows);
		if (!v->more_rows)
			break;
	}
	return err;
}

int df_poll_small(struct df_vol *v)
{
	struct df_rows rows = { 0 };
	int64_t date = 0;
	bool small = true;

	const struct df_remote_ops *ops = v->remote->ops;
	int err = ops->learn ? ops->learn(v->remote, df_poll_timeout_ms(v)) : 0;
	if (err || !v->remote->caps.feed)
		return err ? err : 1;
	err = ops->rows_feed(v->remote, 0, FIRST_ROWS, 0, &rows, &date);
	for (size_t i = 0; i < rows.n; i++)
		small &= rows.row[i].kind != DF_ROW_CHECKPOINT;
	if (!err)
		note_date(v, date);
	if (!err && small && !rows.more)
		err = take_feed(v, &rows);
	else if (!err)
		err = 1;
	df_rows_release(&rows);
	return err;
}

/* All ids of the log; what is unknown is fetched. */
static int poll_list(struct df_vol *v)
{
	struct df_idepoch_list all = { 0 };
	struct df_id *ids;
	size_t n = 0;
	int64_t date = 0;
	int err = v->remote->ops->rows_list(v->remote, df_poll_timeout_ms(v),
					    &all, &date);

	if (err)
		return err;
	note_date(v, date);
	ids = df_xalloc((all.n + 1) * sizeof(*ids));
	df_lock(&v->lock);
	for (size_t i = 0; i < all.n && v->out; i++)
		df_journal_seen(v, &all.v[i].id); /* if it is one of ours */
	for (size_t i = 0; i < all.n; i++)
		if (!df_fold_has_row(v->fold, &all.v[i].id))
			ids[n++] = all.v[i].id;
	v->last_list_ns = df_clock_mono_ns();
	bool behind = v->behind;
	v->behind = false;
	df_unlock(&v->lock);
	for (size_t i = 0; i < n && !err; i += PAGE_ROWS) {
		struct df_rows rows = { 0 };
		err = v->remote->ops->rows_get(v->remote, ids + i,
					       DF_MIN(n - i, (size_t)PAGE_ROWS),
					       df_poll_timeout_ms(v), &rows);
		if (!err)
			err = take_rows(v, &rows);
		df_rows_release(&rows);
	}
	df_lock(&v->lock); /* what is still missing now, the log lacks */
	for (struct df_waiting *w = v->waiting; w && !err; w = w->next)
		w->listed = true;
	v->behind |= err && behind;
	df_fold_set_meta(v->fold, "behind", v->behind || v->waiting);
	df_unlock(&v->lock);
	free(all.v);
	free(ids);
	return err;
}

/* A feed begins behind the checkpoint that a fresh cache folded, and rows before
 * that may be missing here; without one it brings all, but each once: not what
 * waited when an earlier life ended.  And only a listing says that a cause which
 * has been missing for a minute is not in the log, or brings at once what a
 * checkpoint waits for: the log has it. */
static bool listing_due(struct df_vol *v, bool full)
{
	int64_t before = df_clock_mono_ns() - DF_GAP_MS * DF_NS_PER_MS;

	df_lock(&v->lock);
	bool due = full && (!v->remote->caps.feed || v->behind ||
			    (v->fresh && v->feed_n));
	for (struct df_waiting *w = v->waiting; w && !due; w = w->next)
		due = !w->listed && (w->since_ns < before ||
				     w->row.kind == DF_ROW_CHECKPOINT);
	df_unlock(&v->lock);
	return due;
}

/* A server that was gone may be another one when it is back. */
static uint64_t faults_so_far(const struct df_vol *v)
{
	struct df_remote_health h = { 0 };

	if (v->remote->ops->health)
		v->remote->ops->health(v->remote, &h);
	return h.faults + h.retries;
}

int df_poll(struct df_vol *v, bool full, int64_t wait_ms)
{
	bool feed = v->remote->caps.feed;

	df_lock(&v->lock);
	if (df_identity_check(v)) {
		df_unlock(&v->lock);
		v->remote->ops->reset(v->remote);
		full = true;
	} else {
		df_unlock(&v->lock);
	}
	int err = listing_due(v, full) ? poll_list(v) : 0;
	uint64_t faults = faults_so_far(v);
	if (!err && ((full && !v->fresh) || faults != v->faults_seen))
		err = df_rollback_check(v);
	if (!err)
		v->faults_seen = faults;
	if (!err)
		err = feed ? poll_feed(v, wait_ms) : poll_pages(v);
	if (err == DF_EOFFLINE || err == -EAGAIN || err == -ETIMEDOUT) {
		df_lock(&v->lock);
		v->offline = true;
		df_unlock(&v->lock);
	}
	return err;
}
