/* merge.c - see merge.h. */
#include "cache/merge.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "cache/copy.h"
#include "cache/cut.h"
#include "cache/journal.h"
#include "cache/view.h"
#include "cache/vol_data.h"

#define SLICE 256 /* objects for which the lock is held in one go */
/* Dirty entries of a cache that is being filled, before they are written. */
#define FILL_MOST 32768

/* ---- bringing registers here */
int df_merge_local(struct df_vol *v, const struct df_body *body,
		   struct df_buf *regs)
{
	int err = body->n_pieces ? 0 : df_body_registers(body, regs);

	for (size_t i = 0; i < body->n_pieces && !err; i++) {
		const struct df_piece *p = &body->pieces[i];
		struct df_loc loc;
		if (!df_seg_has_piece(v->segs, &p->pack, p->off, p->rlen, &loc))
			return -EAGAIN;
		void *room = df_buf_extend(regs, p->rlen);
		err = room ? df_seg_read(v->segs, loc, room, p->rlen)
			   : regs->err;
	}
	return err;
}

int df_merge_keep_piece(struct df_vol *v, const struct df_id *pack,
			uint32_t off, const void *raw, size_t len)
{
	struct df_loc loc;

	if (df_seg_find_piece(v->segs, pack, off, &loc))
		return 0;
	int err = df_seg_put_piece(v->segs, pack, off, raw, len, &loc);
	if (err == -ENOSPC) {
		df_segs_evict(v->segs, len);
		err = df_seg_put_piece(v->segs, pack, off, raw, len, &loc);
	}
	return err;
}

/* A pack that travelled in the row is in no table: its pieces are kept. */
int df_merge_keep(struct df_vol *v, const struct df_body *body)
{
	struct df_buf raw;
	size_t at = 0, used;
	int err = 0;

	df_buf_init(&raw, DF_PIECE_RAW_MAX);
	while (at < body->pack_len && !err) {
		df_buf_reset(&raw);
		err = df_piece_decode(body->pack + at, body->pack_len - at,
				      NULL, &raw, &used);
		if (err)
			break;
		df_merge_keep_piece(v, &body->pack_id, (uint32_t)at, raw.data,
				    raw.len);
		at += used;
	}
	df_buf_release(&raw);
	return err;
}

int df_merge_fetch(struct df_vol *v, const struct df_body *body,
		   struct df_buf *regs, uint64_t *max_time)
{
	int err = body->n_pieces
			  ? df_data_fetch_wait(v, body->pieces, body->n_pieces)
			  : 0;

	if (!err)
		err = df_merge_local(v, body, regs);
	if (!err)
		err = df_registers_check(regs->data, regs->len, max_time);
	if (!err && body->pack)
		err = df_merge_keep(v, body);
	return err;
}

/* ---- joining */
static df_nid nid_of(void *arg, const struct df_id *id)
{
	struct df_vol *v = arg;
	struct df_obj *o = df_fold_take(v->fold, id);

	if (!df_obj_is_dir(o)) {
		struct df_was w;
		df_cut_guard(v, o);
		df_tree_before(v, o, &w);
		df_obj_be_dir(o);
		df_tree_after(v, o, &w);
	}
	return o->nid;
}

/* Names that changed hands; what appears or goes by that is told where it
 * does (tree.c). */
static void tell_names(struct df_vol *v, const struct df_obj *delta)
{
	for (uint32_t i = 0; i < delta->n_links; i++)
		df_vol_push_name(v, delta->links[i].parent,
				 delta->links[i].name);
}

static bool join_content(struct df_vol *v, struct df_obj *o,
			 const struct df_obj *delta)
{
	bool changed = false;

	for (uint32_t i = 0; i < delta->heads.n; i++)
		changed |= df_obj_join_version(
			o, df_ver_copy(delta->heads.v[i], v->segs), false,
			v->segs);
	if (changed && o->heads.n == 1 && delta->heads.n == 1 &&
	    df_stamp_eq(o->heads.v[0]->dot, delta->heads.v[0]->dot))
		o->flags &= ~(uint32_t)DF_OBJ_CONTENT_DIRTY;
	return changed;
}

void df_merge_object(struct df_vol *v, const struct df_obj *delta)
{
	struct df_obj *o = df_fold_take(v->fold, &delta->id);
	struct df_was w;
	bool content, moved = false;
	unsigned mask = 0;

	v->merging = true;
	df_copy_clear(v, o); /* somebody made it real */
	df_cut_guard(v, o);
	df_tree_before(v, o, &w);
	for (uint32_t i = 0; i < delta->n_links; i++) {
		const struct df_link *l = &delta->links[i];
		df_obj_join_link(o, l->parent, l->name, l->st, l->there, false);
	}
	if (delta->place.st.time)
		moved = df_obj_join_place(o, &delta->place, false);
	/* Only then: the kernel would unhash a directory in use, with all below
	 * it, for every file that somebody makes there. */
	if (moved && w.dir && w.n)
		df_vol_push_name(v, w.one.parent, w.one.name);
	content = join_content(v, o, delta);
	if (delta->gone.n)
		df_obj_join_gone(o, &delta->gone, false);
	for (int f = 0; f < DF_A_FIELDS; f++)
		mask |= delta->a.st[f].time ? 1u << f : 0;
	df_obj_join_attrs(o, &delta->a, mask, false);
	for (uint32_t i = 0; i < delta->n_xattrs; i++) {
		const struct df_xattr *x = &delta->xattrs[i];
		df_obj_join_xattr(o, x->name, x->st, x->there, x->value, x->len,
				  false);
	}
	o->ctime_ns = DF_MAX(o->ctime_ns, delta->ctime_ns);
	df_tree_after(v, o, &w);
	/* What was not worth sending while nobody could see it, may be now. */
	if (df_obj_dirty(o))
		df_vol_mark_dirty(v, o);
	if (moved) {
		const char *name;
		df_tree_rings(v, o);
		df_nid parent = df_tree_parent(o, &name);
		df_vol_push_name(v, parent, name);
	}
	tell_names(v, delta);
	df_view_merged(v->view, o, delta);
	df_vol_push_inval(v, content ? DF_INVAL_DATA : DF_INVAL_ATTR,
			  df_vol_nid(v, o), 0, NULL);
	v->merging = false;
}

int df_merge_registers(struct df_vol *v, const void *regs, size_t len,
		       const struct df_dep *row)
{
	struct df_rd r = df_rd(regs, len);
	uint64_t n = df_rd_var(&r);
	struct df_coder c;
	int err = 0;

	df_coder_init(&c, false);
	c.nid_of = nid_of;
	c.arg = v;
	for (uint64_t i = 0; i == 0 || (i < n && !err); i += SLICE) {
		df_lock(&v->lock);
		df_fold_trim(v->fold);
		for (uint64_t k = i; k < n && k < i + SLICE && !r.bad; k++) {
			struct df_obj *delta = df_decode_object(&c, &r);
			if (delta)
				df_merge_object(v, delta);
			df_obj_free(delta, NULL);
		}
		v->hlc = DF_MAX(v->hlc, c.max_time);
		if (row && !r.bad && i + SLICE >= n)
			df_fold_add_row(v->fold, row, true);
		/* Local patches will build on this: it must not be lost when
		 * the journal is replayed, nor how late it was. */
		df_journal_folded(v);
		err = r.bad ? DF_ECORRUPT : 0;
		/* If it is lost while nothing builds on it yet, the next start
		 * begins anew. */
		if (!err && (!v->filling || df_fold_dirty(v->fold) > FILL_MOST))
			err = df_fold_flush(v->fold);
		df_unlock(&v->lock);
		(void)df_fault("merge.slice");
	}
	df_coder_release(&c);
	return err;
}
