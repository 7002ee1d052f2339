/*
 * checkpoint.c - folding checkpoints, and when to write one; see checkpoint.h.
 */
#include "cache/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "cache/checkpoint_bulk.h"
#include "cache/checkpoint_io.h"
#include "cache/merge.h"
#include "cache/poll.h"

#define ROWS_DUE 2000
#define BYTES_DUE (UINT64_C(16) << 20)
#define WAIT_MOST_MS 60000   /* the random wait */
#define AGAIN_MS 3000        /* after an attempt that came to nothing */
#define NOT_WITHIN_MS 300000 /* of the last generation */
#define LIST_TIMEOUT_MS 30000
#define COLD_PAGE 64
#define ABSENT_MS 60000 /* then a missing pack is missing for good */
#define KNOWN_PAGE 256  /* rows looked up in one go */

/* ---- folding */
struct folding {
	struct df_vol *v;
	struct df_bulk *bulk; /* NULL: the fold was not empty */
};

static int fold_block(void *arg, size_t i, const void *raw, size_t len)
{
	struct folding *f = arg;
	const uint8_t *regs;
	size_t regs_len;
	uint64_t max_time;
	int err = df_ck_block_read(raw, len, &regs, &regs_len);

	(void)i;
	if (err)
		return err;
	if (f->bulk)
		return df_bulk_add(f->bulk, regs, regs_len);
	err = df_registers_check(regs, regs_len, &max_time);
	return err ? err : df_merge_registers(f->v, regs, regs_len, NULL);
}

static bool from_the_future(struct df_vol *v, uint64_t max_time)
{
	return DF_STAMP_MS(max_time) > df_ck_now_ms(v) + DF_DAY_MS;
}

static int fold_blocks(struct df_vol *v, const struct df_ck_index *x)
{
	struct folding f = { .v = v };
	struct df_piece *p = df_xalloc((x->n_blocks + 1) * sizeof(*p));

	for (size_t i = 0; i < x->n_blocks; i++)
		p[i] = x->blocks[i].piece;
	f.bulk = df_bulk_begin(v);
	bool bulk = f.bulk != NULL;
	int err = df_ck_fetch(v, p, x->n_blocks, fold_block, &f);
	if (bulk)
		err = df_bulk_end(f.bulk, err);
	f.bulk = NULL;
	if (bulk && err == -EEXIST) /* something rare: the ordinary way */
		err = df_ck_fetch(v, p, x->n_blocks, fold_block, &f);
	free(p);
	return err;
}

/* Nothing that the checkpoint says is missing here.  If it was folded, its row
 * becomes a cause of ours in the moment in which its rows are known. */
static void note_folded(struct df_vol *v, const struct df_row *row,
			const struct df_ck_index *x, bool folded)
{
	struct df_dep self = { row->id, row->epoch };
	struct df_ck_base base = { row->id, *x };
	int64_t now_ms = df_ck_now_ms(v);

	df_lock(&v->lock);
	v->hlc = DF_MAX(v->hlc, x->max_time);
	df_fold_set_meta(v->fold, "hlc", v->hlc); /* not later than the rows */
	if (folded)
		df_fold_add_row(v->fold, &self, true);
	df_unlock(&v->lock);
	for (size_t i = 0; i < x->n_covers; i += KNOWN_PAGE) {
		df_lock(&v->lock);
		for (size_t k = i; k < x->n_covers && k < i + KNOWN_PAGE; k++) {
			struct df_dep dep = { x->covers[k].id,
					      x->covers[k].epoch };
			df_fold_add_row(v->fold, &dep, false);
		}
		df_fold_flush(v->fold); /* looking one up is cheap again */
		df_unlock(&v->lock);
	}
	df_lock(&v->lock);
	if (x->generation > v->epoch) {
		v->epoch = x->generation;
		df_fold_set_meta(v->fold, "epoch", v->epoch);
		df_fold_set_meta(v->fold, "ck_rows", 0);
		df_fold_set_meta(v->fold, "ck_bytes", 0);
		df_fold_set_meta(v->fold, "ck_due_ms", 0);
		df_fold_set_meta(v->fold, "ck_at_ms", (uint64_t)now_ms);
		v->rows_since_ck = v->bodies_since_ck = 0;
	}
	df_unlock(&v->lock);
	df_ck_base_save(v, &base);
}

/* 0 if the row is no good for ever, and said so; else err. */
static int refuse(struct df_vol *v, const struct df_row *row, int err)
{
	int64_t age = df_ck_now_ms(v) - DF_STAMP_MS(row->sent);
	char hex[33];

	if (err != DF_ECORRUPT && err != DF_EFORMAT &&
	    (err != -ENOENT || age < ABSENT_MS))
		return err == -ENOENT ? -EAGAIN : err;
	df_id_hex(&row->id, hex);
	df_lock(&v->lock);
	v->rows_refused++;
	df_vol_say(v,
		   "checkpoint %s cannot be used (%s): the log is read "
		   "instead",
		   hex, df_strerror(err));
	df_unlock(&v->lock);
	return 0;
}

static int dep_cmp(const void *a, const void *b)
{
	const struct df_dep *x = a, *y = b;

	return df_id_cmp(&x->id, &y->id);
}

/* Does the log lack some of these rows?  1, 0, or -errno. */
static int any_missing(struct df_vol *v, const struct df_id *ids, size_t n)
{
	struct df_idepoch_list log = { 0 };
	int err = v->remote->ops->rows_list(v->remote, LIST_TIMEOUT_MS, &log,
					    NULL);
	bool missing = false;

	if (!err && log.n)
		qsort(log.v, log.n, sizeof(*log.v), dep_cmp);
	for (size_t i = 0; i < n && !err && !missing; i++) {
		struct df_dep key = { .id = ids[i] };
		missing = !log.n ||
			  !bsearch(&key, log.v, log.n, sizeof(*log.v), dep_cmp);
	}
	free(log.v);
	return err ? err : missing;
}

/* Its blocks point into packs that travel in rows: as with a cause, those come
 * first.  1: not all show yet. */
static int packs_late(struct df_vol *v, const struct df_ck_index *x)
{
	struct df_id *rows = df_xalloc((x->n_inlines + 1) * sizeof(*rows));

	for (size_t i = 0; i < x->n_inlines; i++)
		rows[i] = x->inlines[i].row;
	int rc = x->n_inlines ? any_missing(v, rows, x->n_inlines) : 0;
	free(rows);
	return rc;
}

int df_checkpoint_fold(struct df_vol *v, const struct df_row *row, bool force)
{
	struct df_ck_index x;
	int err = df_ck_fetch_index(v, row, &x);

	if (err)
		return refuse(v, row, err);
	if (from_the_future(v, x.max_time)) {
		df_ck_index_release(&x);
		return refuse(v, row, DF_ECORRUPT);
	}
	int late = force ? 0 : packs_late(v, &x);
	if (late) {
		df_ck_index_release(&x);
		return late;
	}
	/* Before the registers that point into them. */
	err = df_inlinepack_add(v->remote, x.inlines, x.n_inlines);
	if (!err)
		err = fold_blocks(v, &x);
	if (!err)
		note_folded(v, row, &x, true);
	df_ck_index_release(&x);
	return err ? refuse(v, row, err) : 0;
}

/* ---- is it wanted? */
/* How many covered rows we do not know; those first in *missing. */
static size_t count_missing(struct df_vol *v, const struct df_ck_index *x,
			    struct df_id *missing)
{
	size_t n = 0;

	for (size_t i = 0; i < x->n_covers; i += KNOWN_PAGE) {
		df_lock(&v->lock);
		for (size_t k = i; k < x->n_covers && k < i + KNOWN_PAGE; k++)
			if (!df_fold_has_row(v->fold, &x->covers[k].id))
				missing[n++] = x->covers[k].id;
		df_unlock(&v->lock);
	}
	return n;
}

int df_checkpoint_wanted(struct df_vol *v, const struct df_row *row)
{
	struct df_ck_index x;
	int err = df_ck_fetch_index(v, row, &x);

	if (err)
		return refuse(v, row, err);
	struct df_id *missing = df_xalloc((x.n_covers + 1) * sizeof(*missing));
	size_t n = count_missing(v, &x, missing);
	df_lock(&v->lock);
	bool newer = x.generation > v->epoch;
	df_unlock(&v->lock);
	int wanted = n ? any_missing(v, missing, n) : 0;
	if (n && !wanted) /* they are cheaper than everything */
		wanted = DF_CK_LATE;
	if (!wanted && newer && !from_the_future(v, x.max_time))
		note_folded(v, row, &x, false);
	free(missing);
	df_ck_index_release(&x);
	return wanted;
}

/* ---- a cache that knows nothing */
static int epoch_cmp(const void *a, const void *b)
{
	const struct df_dep *x = a, *y = b;

	return (x->epoch < y->epoch) - (x->epoch > y->epoch);
}

/* The first checkpoint among rows that fits; those behind it were written
 * with an older one in mind. */
static const struct df_row *pick(const struct df_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		if (rows->row[i].kind == DF_ROW_CHECKPOINT)
			return &rows->row[i];
	return NULL;
}

/* What is older than the row is covered, or found by the listing that follows;
 * neither the feed nor the poll begins with the first row of the log. */
static void start_behind(struct df_vol *v, const struct df_row *row)
{
	struct df_dep dep = { row->id, row->epoch };
	uint64_t margin = (uint64_t)DF_GAP_MS << 16;

	/* What we say next stands on it. */
	df_fold_add_row(v->fold, &dep, true);
	DF_GROW(v->newdeps, v->n_newdeps, v->newdeps_size);
	v->newdeps[v->n_newdeps++] = dep;
	if (row->sent > margin)
		v->watermark = DF_MAX(v->watermark, row->sent - margin);
	v->feed_n = DF_MAX(v->feed_n, row->n);
	df_fold_set_meta(v->fold, "watermark", v->watermark);
	df_fold_set_meta(v->fold, "feed_n", v->feed_n);
}

/* A checkpoint's row carries its own generation, so it is among the rows of
 * the greatest epochs. */
int df_checkpoint_cold(struct df_vol *v)
{
	const struct df_remote_ops *ops = v->remote->ops;
	struct df_idepoch_list log = { 0 };
	struct df_id ids[COLD_PAGE];
	uint64_t before = v->epoch;
	int err = ops->rows_list(v->remote, df_poll_timeout_ms(v), &log, NULL);

	if (!err && log.n)
		qsort(log.v, log.n, sizeof(*log.v), epoch_cmp);
	for (size_t i = 0; i < log.n && !err && log.v[i].epoch > before;) {
		struct df_rows rows = { 0 };
		size_t n = 0;
		while (i < log.n && n < COLD_PAGE && log.v[i].epoch > before)
			ids[n++] = log.v[i++].id;
		err = ops->rows_get(v->remote, ids, n, LIST_TIMEOUT_MS, &rows);
		const struct df_row *row = err ? NULL : pick(&rows);
		if (row)
			/* Rows that it covers may be gone: the tree comes
			 * first, a reader waits for a pack that is late. */
			err = df_checkpoint_fold(v, row, true);
		df_lock(&v->lock);
		bool done = v->epoch > before;
		if (row && done)
			start_behind(v, row);
		df_unlock(&v->lock);
		df_rows_release(&rows);
		if (done)
			break;
	}
	free(log.v);
	return err;
}

/* ---- whose turn is it? */
bool df_checkpoint_due(struct df_vol *v)
{
	struct df_fold *f = v->fold;
	int64_t now_ms = df_ck_now_ms(v);
	bool due = false;
	uint16_t random;

	df_lock(&v->lock);
	/* The count outlives a restart: sandboxes are short-lived. */
	uint64_t rows = df_fold_meta(f, "ck_rows", 0) + v->rows_since_ck;
	uint64_t bytes = df_fold_meta(f, "ck_bytes", 0) + v->bodies_since_ck;
	v->rows_since_ck = v->bodies_since_ck = 0;
	df_fold_set_meta(f, "ck_rows", rows);
	df_fold_set_meta(f, "ck_bytes", bytes);
	int64_t at_ms = (int64_t)df_fold_meta(f, "ck_at_ms", 0);
	int64_t due_ms = (int64_t)df_fold_meta(f, "ck_due_ms", 0);
	bool many = rows > df_fault_value("ckpt.rows", ROWS_DUE) ||
		    bytes > BYTES_DUE;
	int64_t wait_ms = (int64_t)df_fault_value("ckpt.wait_ms", WAIT_MOST_MS);
	if (!many || v->conf.read_only || v->remote->read_only || v->stopping ||
	    v->failsafe ||
	    (now_ms - at_ms >= 0 &&
	     now_ms - at_ms < wait_ms * (NOT_WITHIN_MS / WAIT_MOST_MS))) {
		df_unlock(&v->lock);
		return false;
	}
	/* Whoever waits longest finds that another one did it. */
	df_random(&random, sizeof(random));
	if (!due_ms || due_ms > now_ms + wait_ms) {
		due_ms = now_ms + (int64_t)random * wait_ms / 65536;
	} else if (now_ms >= due_ms) {
		due = true;
		due_ms = now_ms + AGAIN_MS + (int64_t)random * AGAIN_MS / 65536;
	}
	df_fold_set_meta(f, "ck_due_ms", (uint64_t)due_ms);
	df_unlock(&v->lock);
	return due;
}
