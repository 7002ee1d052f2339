/* op.c - see op.h. */
#include "cache/op.h"

#include <stdlib.h>
#include <string.h>

#include "cache/cut.h"
#include "cache/opitem.h"

uint64_t df_vol_stamp_time(struct df_vol *v)
{
	int64_t ms = df_clock_real_ns() / DF_NS_PER_MS;

	/* Not more than a minute ahead of the newest Date a server sent. */
	if (v->server_known && v->server_skew_ms < -DF_GAP_MS)
		ms += v->server_skew_ms + DF_GAP_MS;
	uint64_t time = (uint64_t)DF_MAX(ms, 1) << 16;
	v->hlc = DF_MAX(v->hlc + 1, time);
	return v->hlc;
}

int df_op_begin(struct df_vol *v, enum df_op_kind kind)
{
	struct df_op *op = &v->op;
	int err = df_vol_writable(v);

	df_lock_assert(&v->lock);
	if (err)
		return err;
	if (kind == DF_OP_GROWS && !df_seg_room(v->segs, 1 << 16))
		return -ENOSPC;
	op->st = (struct df_stamp){ df_vol_stamp_time(v), v->node };
	op->now_ns = df_clock_real_ns();
	op->seq = 0;
	op->n_touched = 0;
	op->active = true;
	df_buf_reset(&op->rec);
	df_item_head(&op->rec, op);
	return 0;
}

void df_op_cancel(struct df_vol *v)
{
	v->op.active = false;
}

/* o belongs to this record, and to the next cut. */
void df_op_touch(struct df_vol *v, struct df_obj *o)
{
	struct df_op *op = &v->op;

	df_fold_touch(v->fold, o);
	for (uint32_t i = 0; i < op->n_touched; i++)
		if (op->touched[i] == o)
			return;
	DF_GROW(op->touched, op->n_touched, op->touched_size);
	op->touched[op->n_touched++] = o;
	df_vol_mark_dirty(v, o);
}

void df_op_finish(struct df_vol *v, uint64_t seq)
{
	struct df_op *op = &v->op;

	for (uint32_t i = 0; i < op->n_touched; i++)
		/* Replay meets objects that are ahead of the record. */
		op->touched[i]->jseq = DF_MAX(op->touched[i]->jseq, seq);
	op->active = false;
}

int df_op_end(struct df_vol *v)
{
	struct df_op *op = &v->op;

	if (op->rec.err || !op->active)
		return op->rec.err;
	int err = df_seg_append(v->segs, DF_J_OP, ++v->jseq, op->rec.data,
				op->rec.len, NULL, 0, DF_SEG_RESERVED, NULL);
	df_op_finish(v, v->jseq);
	if (err) {
		df_vol_fail(v, "the journal cannot be written: %s",
			    df_strerror(err));
		return -EIO;
	}
	return 0;
}

/* ctime of what an operation touches is the operation's time. */
static void ctime_now(struct df_vol *v, struct df_obj *o)
{
	o->ctime_ns = DF_MAX(o->ctime_ns, v->op.now_ns);
}

void df_op_link(struct df_vol *v, struct df_obj *o, df_nid parent,
		const char *name, bool there)
{
	struct df_was w;

	df_cut_guard(v, o);
	df_item_link(v, o, parent, name, there);
	df_tree_before(v, o, &w);
	df_obj_join_link(o, parent, name, v->op.st, there, true);
	ctime_now(v, o);
	df_tree_after(v, o, &w);
	df_op_touch(v, o);
}

/* Others know something that was in these: their names go to the table even if
 * they are gone by then, or it would hang in nothing. */
static void know_dirs(struct df_vol *v, df_nid nid)
{
	while (nid != DF_ROOT_NID) {
		struct df_obj *d = df_fold_get(v->fold, nid);
		if (!d || !df_obj_is_dir(d) || df_obj_published(d))
			return;
		d->place.pub = true;
		df_fold_touch(v->fold, d);
		nid = d->place.parent;
	}
}

void df_op_place(struct df_vol *v, struct df_obj *o, bool there, df_nid parent,
		 const char *name, df_nid from_parent, const char *from_name)
{
	struct df_place p = { .st = v->op.st,
			      .there = there,
			      .parent = parent,
			      .from_parent = from_parent };
	DF_FREE char *n = df_xstrdup(name), *f = df_xstrdup(from_name);
	struct df_was w;

	p.name = n;
	p.from_name = f;
	df_cut_guard(v, o);
	df_item_place(v, o, &p);
	df_tree_before(v, o, &w);
	df_obj_join_place(o, &p, true);
	if (df_obj_published(o))
		know_dirs(v, parent);
	if (o->e_name) { /* no longer taken back */
		free(o->e_name);
		o->e_name = NULL;
		v->n_rehung--;
		df_fold_set_meta(v->fold, "n_rehung", v->n_rehung);
	}
	ctime_now(v, o);
	df_tree_after(v, o, &w);
	df_op_touch(v, o);
}

void df_op_attrs(struct df_vol *v, struct df_obj *o, struct df_attrs *a,
		 unsigned mask)
{
	for (int f = 0; f < DF_A_FIELDS; f++)
		if (mask & 1u << f)
			a->st[f] = v->op.st;
	df_cut_guard(v, o);
	df_item_attrs(v, o, a, mask);
	df_obj_join_attrs(o, a, mask, true);
	ctime_now(v, o);
	df_op_touch(v, o);
}

void df_op_times(struct df_vol *v, struct df_obj *o, bool mtime)
{
	struct df_attrs a = { .mtime_ns = v->op.now_ns };

	df_cut_guard(v, o);
	df_item_times(v, o, mtime);
	if (mtime) {
		a.st[DF_A_MTIME] = v->op.st;
		df_obj_join_attrs(o, &a, 1u << DF_A_MTIME, true);
	}
	ctime_now(v, o);
	df_op_touch(v, o);
}

void df_op_xattr(struct df_vol *v, struct df_obj *o, const char *name,
		 bool there, const void *value, uint32_t len)
{
	df_cut_guard(v, o);
	df_item_xattr(v, o, name, there, value, len);
	df_obj_join_xattr(o, name, v->op.st, there, value, len, true);
	ctime_now(v, o);
	df_op_touch(v, o);
}

void df_op_gone(struct df_vol *v, struct df_obj *o)
{
	struct df_vv vv = df_heads_vv(&o->heads);
	struct df_was w;

	df_cut_guard(v, o);
	df_item_gone(v, o, &vv);
	df_tree_before(v, o, &w);
	df_obj_join_gone(o, &vv, true);
	df_tree_after(v, o, &w);
	df_op_touch(v, o);
	df_vv_release(&vv);
}

void df_op_version(struct df_vol *v, struct df_obj *o, struct df_ver *ver)
{
	struct df_was w;

	df_cut_guard(v, o);
	df_item_version(v, o, ver);
	df_tree_before(v, o, &w);
	df_obj_join_version(o, ver, true, v->segs);
	df_tree_after(v, o, &w);
	df_op_touch(v, o);
}

void df_op_known(struct df_vol *v, struct df_obj *o)
{
	df_item_known(v, o);
	o->flags |= DF_OBJ_CONTENT_PUB;
	for (uint32_t i = 0; i < o->n_links; i++) {
		o->links[i].pub = true;
		know_dirs(v, o->links[i].parent);
	}
	df_op_touch(v, o);
}

/* ---- content */
uint64_t df_op_own_base(const struct df_vol *v, const struct df_heads *h)
{
	uint64_t base = 0;

	for (uint32_t i = 0; i < h->n; i++) {
		const struct df_ver *x = h->v[i];
		bool unsent = x->dot.node == v->node &&
			      x->dot.time > v->cut_time;
		base = DF_MAX(base, unsent ? x->own_base
					   : df_vv_get(&x->vv, v->node));
	}
	return base;
}

struct df_ver *df_op_head(struct df_vol *v, struct df_obj *o)
{
	if (o->heads.n == 1)
		return o->heads.v[0];
	/* Several heads (a write to a hidden equal; else settle came first):
	 * the shown text goes on alone and covers them all. */
	struct df_vv vv = df_heads_vv(&o->heads);
	struct df_ver *m;
	if (o->heads.n) {
		struct df_texts t;
		df_texts_init(&t, &o->heads, v->segs);
		m = t.v[0].m;
		t.v[0].m = NULL;
		df_texts_release(&t, v->segs);
		m->own_base = df_op_own_base(v, &o->heads);
	} else {
		m = df_ver_new();
	}
	df_heads_release(&o->heads, v->segs);
	df_vv_join(&m->vv, &vv);
	df_vv_release(&vv);
	o->heads.v = df_xrealloc(NULL, 1, sizeof(*o->heads.v));
	o->heads.v[0] = m;
	o->heads.n = 1;
	return m;
}

static void new_dot(struct df_vol *v, struct df_obj *o, struct df_ver *h)
{
	if (!(o->flags & DF_OBJ_CONTENT_DIRTY) || h->dot.time <= v->cut_time)
		h->own_base = df_vv_get(&h->vv, v->op.st.node);
	h->dot = v->op.st;
	df_vv_raise(&h->vv, h->dot.node, h->dot.time);
	h->mtime_ns = v->op.now_ns;
	h->flags &= ~(uint32_t)DF_VER_SUM;
	o->flags |= DF_OBJ_CONTENT_DIRTY;
}

void df_op_birth(struct df_vol *v, struct df_obj *o, bool born)
{
	struct df_ver *h = df_ver_new();

	df_cut_guard(v, o);
	df_item_birth(v, o, born);
	new_dot(v, o, h);
	if (!born) {
		h->root = h->dot;
		h->flags |= DF_VER_OPEN;
		o->flags |= DF_OBJ_WHOLE;
	}
	struct df_was w;
	df_tree_before(v, o, &w);
	df_obj_join_version(o, h, true, v->segs);
	df_tree_after(v, o, &w);
	df_op_touch(v, o);
}

static void add_piece(struct df_vol *v, struct df_ver *h,
		      const struct df_write *w)
{
	if (w->new_piece) {
		uint64_t stable =
			DF_MIN(v->acked_time,
			       v->op.st.time - ((uint64_t)DF_GAP_MS << 16));
		df_ver_absorb(h, stable);
		h->pieces = df_xrealloc(h->pieces, h->n_pieces + 1,
					sizeof(*h->pieces));
		h->pieces[h->n_pieces++] = (struct df_append){
			.time = v->op.st.time,
			.node = v->op.st.node,
			.ident = w->ident,
		};
	}
	struct df_append *p = &h->pieces[h->n_pieces - 1];
	if (!w->new_piece)
		p->ident = df_append_mix(p->ident, w->ident);
	p->len += w->len;
}

static void whole_write(struct df_obj *o, struct df_ver *h)
{
	h->root = h->dot;
	h->flags |= DF_VER_OPEN;
	free(h->pieces);
	h->pieces = NULL;
	h->n_pieces = 0;
	df_vv_release(&h->pvv);
	free(h->pid);
	h->pid = NULL;
	h->n_pid = 0;
	o->flags |= DF_OBJ_WHOLE;
}

static void apply_write(struct df_vol *v, struct df_obj *o,
			const struct df_write *w)
{
	struct df_was was;
	bool many = o->heads.n != 1;

	df_cut_guard(v, o);
	if (many)
		df_tree_before(v, o, &was);
	struct df_ver *h = df_op_head(v, o);
	uint64_t bytes = h->ext.bytes;
	new_dot(v, o, h);
	if (w->append)
		add_piece(v, h, w);
	else
		whole_write(o, h);
	if (w->len) {
		df_ver_touch(h, w->off, w->len);
		df_extmap_punch(&h->ext, w->off, w->len, v->segs);
	}
	for (uint32_t i = 0; i < w->n_ext; i++)
		df_extmap_put(&h->ext, &w->ext[i], v->segs);
	if (w->size < h->size) {
		df_ver_touch(h, w->size, UINT64_MAX);
		df_extmap_punch(&h->ext, w->size, UINT64_MAX - w->size,
				v->segs);
	}
	h->size = w->size;
	ctime_now(v, o);
	if (many)
		df_tree_after(v, o, &was);
	else if (!(o->flags & DF_OBJ_ORPHAN))
		v->n_bytes += h->ext.bytes - bytes;
	df_op_touch(v, o);
}

void df_op_write(struct df_vol *v, struct df_obj *o, const struct df_write *w)
{
	df_item_write(v, o, w, false);
	apply_write(v, o, w);
}

int df_op_small_write(struct df_vol *v, struct df_obj *o, struct df_write *w,
		      const void *data)
{
	struct df_loc loc;
	int err = df_op_begin(v, DF_OP_GROWS);

	if (err)
		return err;
	df_item_write(v, o, w, true);
	if (v->op.rec.err)
		return v->op.rec.err;
	err = df_seg_append(v->segs, DF_J_OP, v->jseq + 1, v->op.rec.data,
			    v->op.rec.len, data, w->len, 0, &loc);
	if (err) {
		df_op_cancel(v);
		return err;
	}
	struct df_ext e = { .off = w->off,
			    .len = (uint32_t)w->len,
			    .loc = loc };
	/* apply_write alone reads it */
	/* cppcheck-suppress autoVariables */
	w->ext = &e;
	w->n_ext = 1;
	apply_write(v, o, w);
	df_op_finish(v, ++v->jseq);
	return 0;
}
