/*
 * checkpoint_write.c - all registers of one moment into blocks, packs and a
 * row.
 *
 * Order, and why: the ids of the log are listed first, then the moment is
 * taken (covers: what was folded by then and is in that list), so a checkpoint
 * may hold more than its covers say, never less.  What no noted row carries at
 * that moment is left out: its next value comes with a row that is not covered,
 * and the checkpoint is sent only when the log shows that row.
 *
 * The log must show every row of ours that the moment stands on, for a table
 * acknowledges rows and keeps nothing of them.  If such a row is lost with us,
 * who folds the checkpoint knows what it said; who had all that is covered does
 * not fold it, and never learns.
 */
#include "cache/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "cache/checkpoint_io.h"
#include "cache/checkpoint_rows.h"
#include "cache/checkpoint_snap.h"
#include "cache/poll.h"
#include "cache/sender.h"
#include "cache/worker.h"

#define LINKS_AT_ONCE 1000 /* of one object in a block */
#define XATTRS_AT_ONCE (128 << 10)
#define PART_MAX (600 << 10)    /* no part of an object is larger */
#define REUSE_PACKS 24          /* so many packs are read gladly */
#define REUSE_BYTES (256 << 10) /* of more than that only these */
#define LIST_TIMEOUT_MS 30000
#define ROW_TIMEOUT_MS 60000
#define CUT_WAIT_MS 30000
#define LOOK_EVERY_MS 1000
#define PUT_TRIES 8

struct writer {
	struct df_vol *v;
	struct df_snap *snap;
	struct df_ck_base base;    /* what there is already */
	struct df_ck_block *reuse; /* of base, by sum; owned */
	size_t n_reuse;
	struct df_ck_index x;       /* what is written */
	struct df_idepoch_list log; /* sorted by id */
	/* as of the moment */
	uint64_t node, need_cut;
	int64_t now_ms;
	/* the block under way */
	struct df_coder coder;
	struct df_buf objs, raw;
	struct df_ck_key key;
	size_t n;
	struct df_nidset packs; /* heads of pack ids that were looked at */
	/* packs */
	struct df_packer *packer;
	struct df_sender *sender;
	size_t first_open; /* the first block that may be in the open pack */
	uint64_t written, shared;
};

static int dep_cmp(const void *a, const void *b)
{
	const struct df_dep *x = a, *y = b;

	return df_id_cmp(&x->id, &y->id);
}

static bool in_log(const struct writer *w, const struct df_id *id)
{
	struct df_dep key = { .id = *id };

	return w->log.n &&
	       bsearch(&key, w->log.v, w->log.n, sizeof(*w->log.v), dep_cmp);
}

/* ---- the moment */
static void take_covers(struct writer *w, struct df_dep *rows, size_t n)
{
	if (n)
		qsort(rows, n, sizeof(*rows), dep_cmp);
	for (size_t i = 0; i < n; i++) {
		if (!in_log(w, &rows[i].id) ||
		    (i && !df_id_cmp(&rows[i].id, &rows[i - 1].id)))
			continue;
		const struct df_ck_cover *old =
			df_ck_covers(&w->base.index, &rows[i].id);
		DF_GROW(w->x.covers, w->x.n_covers, w->x.covers_size);
		w->x.covers[w->x.n_covers++] = (struct df_ck_cover){
			rows[i].id,
			rows[i].epoch,
			old ? old->since_ms : w->now_ms,
		};
	}
}

static int take_moment(struct writer *w)
{
	struct df_vol *v = w->v;
	size_t n = 0;
	int err = df_work_fold(v, false); /* so that little is left below */

	if (err)
		return err;
	df_lock(&v->lock);
	w->node = v->node;
	w->need_cut = v->cuts + (v->dirty.n != 0);
	w->x.generation = v->epoch + 1;
	w->x.max_time = v->hlc;
	struct df_dep *rows = df_fold_rows(v->fold, false, &n);
	err = df_snap_open(v, &w->snap);
	df_unlock(&v->lock);
	take_covers(w, rows, n);
	free(rows);
	return err;
}

/* ---- blocks that are in the table already */
static int sum_cmp(const void *a, const void *b)
{
	const struct df_ck_block *x = a, *y = b;

	return df_id_cmp(&x->sum, &y->sum);
}

static int pack_cmp(const void *a, const void *b)
{
	const struct df_ck_block *x = a, *y = b;

	return df_id_cmp(&x->piece.pack, &y->piece.pack);
}

/* Blocks of packs that are there and that are not too many, so that a mount
 * does not have to read a thousand packs for their last blocks. */
static int find_reusable(struct writer *w)
{
	size_t n = w->base.index.n_blocks, n_packs = 0;
	struct df_ck_block *b = df_xdup(w->base.index.blocks, n * sizeof(*b));
	struct df_id *ids = df_xalloc((n + 1) * sizeof(*ids));
	bool *here = df_xalloc((n + 1) * sizeof(*here));

	if (n)
		qsort(b, n, sizeof(*b), pack_cmp);
	for (size_t i = 0; i < n; i++)
		if (!i || pack_cmp(&b[i - 1], &b[i]))
			ids[n_packs++] = b[i].piece.pack;
	int err = n_packs ? w->v->remote->ops->packs_have(w->v->remote, ids,
							  n_packs,
							  LIST_TIMEOUT_MS, here)
			  : 0;
	for (size_t i = 0, k = 0, end; i < n && !err; i = end, k++) {
		uint64_t bytes = 0;
		for (end = i; end < n && !pack_cmp(&b[i], &b[end]); end++)
			bytes += b[end].piece.clen;
		if (!here[k] || (n_packs > REUSE_PACKS && bytes < REUSE_BYTES))
			continue;
		memmove(b + w->n_reuse, b + i, (end - i) * sizeof(*b));
		w->n_reuse += end - i;
	}
	if (w->n_reuse)
		qsort(b, w->n_reuse, sizeof(*b), sum_cmp);
	w->reuse = b;
	free(ids);
	free(here);
	return err;
}

/* ---- packs */
static int close_pack(struct writer *w)
{
	struct df_id id;
	static const struct df_id none;
	uint8_t *data;
	size_t len;

	if (!df_packer_len(w->packer))
		return 0;
	int err = df_packer_finish(w->packer, &id, &data, &len);
	if (err)
		return err;
	for (; w->first_open < w->x.n_blocks; w->first_open++) {
		struct df_piece *p = &w->x.blocks[w->first_open].piece;
		if (!df_id_cmp(&p->pack, &none))
			p->pack = id;
	}
	w->written += len;
	return df_sender_put(w->sender, &id, data, len);
}

/* While a large fold is written other nodes' rows come in all the same. */
static void look(struct df_vol *v)
{
	df_lock(&v->lock);
	bool due = v->started && !v->stop_now &&
		   df_clock_mono_ns() - v->last_poll_ns >
			   LOOK_EVERY_MS * DF_NS_PER_MS;
	df_unlock(&v->lock);
	if (due)
		df_poll(v, false, 0);
}

static int end_block(struct writer *w)
{
	struct df_ck_block b = { .first = w->key, .n_objs = (uint32_t)w->n };
	uint8_t sum[DF_SHA_LEN];
	int err = 0;

	if (!w->n)
		return 0;
	df_buf_reset(&w->raw);
	df_ck_block_write(&w->raw, w->n, w->objs.data, w->objs.len);
	if (w->objs.err || w->raw.err)
		return w->objs.err ? w->objs.err : w->raw.err;
	df_sha256(w->raw.data, w->raw.len, sum);
	memcpy(b.sum.b, sum, DF_ID_LEN);
	const struct df_ck_block *old =
		w->n_reuse ? bsearch(&b, w->reuse, w->n_reuse,
				     sizeof(*w->reuse), sum_cmp)
			   : NULL;
	if (old && old->piece.rlen == w->raw.len) {
		b.piece = old->piece;
		w->shared++;
	} else {
		size_t max = w->v->remote->pack_max;
		if (df_packer_len(w->packer) + w->raw.len > max)
			err = close_pack(w);
		if (!err)
			err = df_packer_add(w->packer, w->raw.data, w->raw.len,
					    &b.piece);
		memset(&b.piece.pack, 0, sizeof(b.piece.pack));
	}
	DF_GROW(w->x.blocks, w->x.n_blocks, w->x.blocks_size);
	w->x.blocks[w->x.n_blocks++] = b;
	w->x.n_objs += w->n;
	w->n = 0;
	df_buf_reset(&w->objs);
	df_coder_reset(&w->coder);
	look(w->v);
	return err;
}

/* ---- objects */
static void note_pack(struct writer *w, const struct df_id *pack)
{
	struct df_inline_place p = { .pack = *pack };
	uint64_t head;

	memcpy(&head, pack->b, sizeof(head));
	if (!head || head == UINT64_MAX || !df_nidset_add(&w->packs, head) ||
	    !df_inlinepack_row(w->v->remote, pack, &p.row))
		return;
	DF_GROW(w->x.inlines, w->x.n_inlines, w->x.inlines_size);
	w->x.inlines[w->x.n_inlines++] = p;
}

static void note_packs(struct writer *w, const struct df_obj *o)
{
	for (uint32_t i = 0; i < o->heads.n; i++) {
		const struct df_ver *h = o->heads.v[i];
		for (struct df_extpos p = { 0, 0 }; df_extmap_at(&h->ext, p);
		     p = df_extmap_next(&h->ext, p))
			note_pack(w, &df_extmap_at(&h->ext, p)->piece.pack);
		for (uint32_t k = 0; k < h->n_pages; k++)
			note_pack(w, &h->pages[k].piece.pack);
	}
}

/* An object, or a part of one; parts are joined by whoever reads them. */
static int put_part(struct writer *w, const struct df_ck_key *key,
		    const struct df_obj *o)
{
	size_t before = w->objs.len;

	if (!w->n)
		w->key = *key;
	df_code_object(&w->coder, &w->objs, o);
	w->n++;
	if (w->objs.len - before > PART_MAX) {
		char hex[33];
		df_id_hex(&o->id, hex);
		return df_fail(-EFBIG,
			       "object %s has %zu bytes of registers: "
			       "too many for a checkpoint",
			       hex, w->objs.len - before);
	}
	return df_ck_ends(&o->id, w->objs.len) ? end_block(w) : 0;
}

static int put_parts(struct writer *w, const struct df_ck_key *key,
		     const struct df_obj *o)
{
	struct df_obj rest = *o;
	int err = 0;

	rest.n_links = rest.n_xattrs = rest.heads.n = 0;
	if (!df_ck_empty(&rest))
		err = put_part(w, key, &rest);
	for (uint32_t i = 0, n; i < o->n_links && !err; i += n) {
		struct df_obj part = { .id = o->id, .ctime_ns = o->ctime_ns };
		n = DF_MIN(o->n_links - i, (uint32_t)LINKS_AT_ONCE);
		part.links = o->links + i;
		part.n_links = n;
		err = put_part(w, key, &part);
	}
	for (uint32_t i = 0, n; i < o->n_xattrs && !err; i += n) {
		struct df_obj part = { .id = o->id, .ctime_ns = o->ctime_ns };
		size_t len = 0;
		part.xattrs = o->xattrs + i;
		for (n = 0; i + n < o->n_xattrs && len < XATTRS_AT_ONCE; n++)
			len += o->xattrs[i + n].len + 64;
		part.n_xattrs = n;
		err = put_part(w, key, &part);
	}
	for (uint32_t i = 0; i < o->heads.n && !err; i++) {
		struct df_obj part = { .id = o->id, .ctime_ns = o->ctime_ns };
		part.heads.v = o->heads.v + i;
		part.heads.n = 1;
		err = put_part(w, key, &part);
	}
	return err;
}

static bool is_large(const struct df_obj *o)
{
	size_t len = 0;

	for (uint32_t i = 0; i < o->n_xattrs; i++)
		len += o->xattrs[i].len + 64;
	return o->n_links > LINKS_AT_ONCE || len > XATTRS_AT_ONCE ||
	       o->heads.n > 4;
}

static int write_blocks(struct writer *w)
{
	struct df_ck_key key;
	struct df_obj *o;
	int rc, err = df_snap_sort(w->snap);

	w->coder.id_of = df_snap_dir_id;
	w->coder.arg = w->snap;
	while (!err && (rc = df_snap_next(w->snap, &key, &o)) != 0) {
		if (rc < 0)
			return rc;
		note_packs(w, o);
		err = is_large(o) ? put_parts(w, &key, o)
				  : put_part(w, &key, o);
		df_obj_free(o, NULL);
		if (!err && w->v->stop_now)
			err = -ECANCELED;
	}
	if (!err)
		err = end_block(w);
	return err ? err : close_pack(w);
}

/* ---- the index and the row */
/* Is this a row of ours that the log does not show yet? */
static bool unseen_locked(const struct writer *w, const struct df_id *row)
{
	const struct df_outrow *o = w->v->out;

	while (o && df_id_cmp(&o->row.id, row))
		o = o->next;
	return o && !in_log(w, row);
}

/* Places in rows that are gone: those packs are in T__pack by now. */
static void drop_gone_places(struct writer *w)
{
	size_t n = 0;

	df_lock(&w->v->lock);
	for (size_t i = 0; i < w->x.n_inlines; i++)
		if (in_log(w, &w->x.inlines[i].row) ||
		    unseen_locked(w, &w->x.inlines[i].row))
			w->x.inlines[n++] = w->x.inlines[i];
	df_unlock(&w->v->lock);
	w->x.n_inlines = n;
}

static int inline_cmp(const void *a, const void *b)
{
	const struct df_inline_place *x = a, *y = b;

	return df_id_cmp(&x->pack, &y->pack);
}

/* Index -> pieces -> packs of its own; body names them. */
static int write_index(struct writer *w, struct df_ck_body *body)
{
	struct df_buf b;
	struct df_id id;
	uint8_t *data;
	size_t len;
	int err;

	drop_gone_places(w);
	if (w->x.n_inlines)
		qsort(w->x.inlines, w->x.n_inlines, sizeof(*w->x.inlines),
		      inline_cmp);
	df_buf_init(&b, DF_CK_INDEX_MAX);
	df_ck_index_write(&b, &w->x);
	err = b.err;
	size_t n = (b.len + DF_PIECE_RAW_MAX - 1) / DF_PIECE_RAW_MAX;
	body->generation = w->x.generation;
	body->index_len = b.len;
	body->pieces = df_xalloc((n + 1) * sizeof(*body->pieces));
	size_t first = 0;
	for (size_t i = 0; i < n && !err; i++) {
		size_t at = i * DF_PIECE_RAW_MAX;
		err = df_packer_add(
			w->packer, b.data + at,
			DF_MIN(b.len - at, (size_t)DF_PIECE_RAW_MAX),
			&body->pieces[body->n_pieces++]);
		if (err ||
		    (i + 1 < n && df_packer_len(w->packer) + DF_PIECE_RAW_MAX <
					  w->v->remote->pack_max))
			continue;
		err = df_packer_finish(w->packer, &id, &data, &len);
		for (; !err && first < body->n_pieces; first++)
			body->pieces[first].pack = id;
		if (!err)
			err = df_sender_put(w->sender, &id, data, len);
	}
	df_buf_release(&b);
	return err;
}

/* Does the checkpoint stand on this row of ours?  A later one may have brought
 * a pack once more. */
static bool stands_on(const struct writer *w, const struct df_outrow *o)
{
	bool needed = o->cut <= w->need_cut;

	for (size_t i = 0; i < w->x.n_inlines && !needed; i++)
		needed = !df_id_cmp(&w->x.inlines[i].row, &o->row.id);
	return needed;
}

/* Does the log show all of ours by now, with what was dirty at the moment?  0,
 * -EAGAIN (never), or 1 (not yet). */
static int settled_locked(struct writer *w)
{
	struct df_vol *v = w->v;
	size_t n;
	const df_nid *dirty = df_snap_dirty(w->snap, &n);

	if (v->node != w->node || v->must_rename)
		return -EAGAIN;
	if (v->acked_cut < w->need_cut)
		return 1;
	for (const struct df_outrow *o = v->out; o; o = o->next)
		if (!in_log(w, &o->row.id) && stands_on(w, o))
			return 1;
	for (size_t i = 0; i < n; i++) {
		const struct df_obj *o = df_fold_get(v->fold, dirty[i]);
		if (o && (o->held_ns || o->held_with))
			return -EAGAIN; /* it missed the cut (E6) */
	}
	return 0;
}

static int list_log(struct writer *w)
{
	struct df_vol *v = w->v;

	free(w->log.v);
	w->log = (struct df_idepoch_list){ 0 };
	int err = v->remote->ops->rows_list(v->remote, LIST_TIMEOUT_MS, &w->log,
					    NULL);
	if (!err && w->log.n)
		qsort(w->log.v, w->log.n, sizeof(*w->log.v), dep_cmp);
	return err;
}

/* Polls take what they see out of v->out. */
static int wait_settled(struct writer *w)
{
	struct df_vol *v = w->v;
	int64_t until = df_deadline_ms(CUT_WAIT_MS);
	int rc, err = list_log(w);

	if (err)
		return err;
	df_lock(&v->lock);
	while ((rc = settled_locked(w)) == 1 && v->started && !v->stop_now &&
	       df_deadline_ms(0) < until) {
		df_cond_wait_until(&v->retry_cond, &v->lock,
				   df_deadline_ms(20));
		df_unlock(&v->lock);
		look(v);
		df_lock(&v->lock);
	}
	df_unlock(&v->lock);
	return rc == 1 ? -EAGAIN : rc;
}

static int send_row(struct writer *w, const struct df_ck_body *body,
		    struct df_id *id)
{
	struct df_vol *v = w->v;
	struct df_row row = { .node = w->node,
			      .seq = body->generation,
			      .epoch = body->generation,
			      .kind = DF_ROW_CHECKPOINT };
	struct df_buf b;
	int err;

	df_buf_init(&b, DF_BODY_MAX);
	df_ck_body_write(&b, body);
	row.body = b.data;
	row.body_len = b.len;
	row.id = *id = df_row_id(&row);
	err = b.err;
	for (unsigned n = 0; !err; n++) {
		struct df_ack ack = { 0 };
		df_lock(&v->lock);
		uint64_t sent = df_vol_stamp_time(v);
		/* Known before it can come back: a row under our name that we
		 * do not know would mean that a twin lives. */
		v->ck_row = row.id;
		df_unlock(&v->lock);
		err = v->remote->ops->row_put(v->remote, &row, sent,
					      ROW_TIMEOUT_MS, &ack);
		if (!err)
			break;
		if (n + 1 < PUT_TRIES &&
		    (err == DF_EOFFLINE || err == -EAGAIN) &&
		    df_vol_backoff(v, n, err))
			err = 0;
	}
	df_buf_release(&b);
	return err;
}

static void note_written(struct writer *w, const struct df_id *row)
{
	struct df_vol *v = w->v;
	struct df_dep dep = { *row, w->x.generation };

	df_lock(&v->lock);
	df_fold_add_row(v->fold, &dep, false);
	v->epoch = DF_MAX(v->epoch, w->x.generation);
	df_fold_set_meta(v->fold, "epoch", v->epoch);
	df_fold_set_meta(v->fold, "ck_rows", 0);
	df_fold_set_meta(v->fold, "ck_bytes", 0);
	df_fold_set_meta(v->fold, "ck_due_ms", 0);
	df_fold_set_meta(v->fold, "ck_at_ms", (uint64_t)w->now_ms);
	v->rows_since_ck = v->bodies_since_ck = 0;
	df_unlock(&v->lock);
	struct df_ck_base base = { *row, w->x };
	df_ck_base_save(v, &base);
	df_log_info("checkpoint %llu: %llu objects, %llu rows, %llu bytes "
		    "written, %llu of %zu blocks shared",
		    (unsigned long long)w->x.generation,
		    (unsigned long long)w->x.n_objs,
		    (unsigned long long)w->x.n_covers,
		    (unsigned long long)w->written,
		    (unsigned long long)w->shared, w->x.n_blocks);
}

/* ---- rows that a checkpoint has covered for a day */
/* The checkpoint that covered them was seen in the log just now, so they are
 * safe whatever becomes of ours. */
static int delete_rows(struct writer *w)
{
	struct df_vol *v = w->v;
	size_t n = 0;
	int err = 0;

	if (!in_log(w, &w->base.row) || !df_inlinepack_is(v->remote))
		return 0;
	struct df_id *ids = df_xalloc(DF_CK_ROWS_MAX * sizeof(*ids));
	for (size_t i = 0; i < w->x.n_covers && n < DF_CK_ROWS_MAX; i++) {
		const struct df_ck_cover *c = &w->x.covers[i];
		if (w->now_ms - c->since_ms > DF_DAY_MS &&
		    df_ck_covers(&w->base.index, &c->id) &&
		    df_id_cmp(&c->id, &w->base.row))
			ids[n++] = c->id;
	}
	for (size_t i = 0; i < n && !err; i += DF_CK_ROWS_AT_ONCE) {
		err = v->stop_now ? -ECANCELED
				  : df_ck_rows_go(
					    v, ids + i,
					    DF_MIN(n - i,
						   (size_t)DF_CK_ROWS_AT_ONCE));
		look(v);
	}
	free(ids);
	return err;
}

/* ---- all of it */
static int write_all(struct writer *w)
{
	struct df_vol *v = w->v;
	struct df_ck_body body = { 0 };
	struct df_id row;
	int err = list_log(w);

	if (err)
		return err;
	w->now_ms = df_ck_now_ms(v);
	if (df_ck_base_load(v, &w->base))
		err = find_reusable(w);
	if (!err)
		err = take_moment(w);
	if (!err)
		err = df_fault("ckpt.moment");
	if (!err)
		err = write_blocks(w);
	if (!err)
		err = write_index(w, &body);
	int sent = df_sender_wait(w->sender);
	if (!err)
		err = sent ? sent : wait_settled(w);
	if (!err)
		err = df_fault("ckpt.row");
	if (!err)
		err = send_row(w, &body, &row);
	if (!err) {
		(void)df_fault("ckpt.sent");
		note_written(w, &row);
		/* What could not be deleted now is the next one's. */
		delete_rows(w);
	}
	df_ck_body_release(&body);
	return err;
}

int df_checkpoint_write(struct df_vol *v)
{
	struct writer w = { .v = v };

	df_lock(&v->lock);
	int err = v->conf.read_only || v->remote->read_only ? -EROFS : 0;
	unsigned threads = v->started ? 2 : 0; /* commits need slots too */
	df_unlock(&v->lock);
	if (err)
		return err;
	df_coder_init(&w.coder, false);
	df_buf_init(&w.objs, DF_PIECE_RAW_MAX);
	df_buf_init(&w.raw, DF_PIECE_RAW_MAX);
	w.packer = df_packer_new(0);
	w.sender = df_sender_new(v, threads);
	err = w.packer ? write_all(&w) : -ENOMEM;
	df_sender_free(w.sender);
	df_packer_free(w.packer);
	df_snap_free(w.snap);
	df_ck_index_release(&w.base.index);
	df_ck_index_release(&w.x);
	df_nidset_release(&w.packs);
	df_coder_release(&w.coder);
	df_buf_release(&w.objs);
	df_buf_release(&w.raw);
	free(w.reuse);
	free(w.log.v);
	return err;
}
