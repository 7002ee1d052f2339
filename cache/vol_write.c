/*
 * vol_write.c - writing bytes, and waiting for room.
 *
 * A write takes new space (small ones in the journal, large ones in a data
 * segment, written before the lock is taken) and changes the extent map; no
 * byte is overwritten.  Where the cache is full of bytes that are not remote
 * yet, the writer is parked: a slow uplink slows it down, only one that is not
 * there fails it.
 */
#include <stdlib.h>
#include <string.h>

#include "cache/room.h"
#include "cache/settle.h"
#include "cache/vol_data.h"

/* Every append is a piece of its own, with an identity made of its bytes, place
 * and time; the cut joins them (content.h).  So whatever a fork does to the
 * clock, no two twins ever grow one piece: what they did before it has the same
 * identity on both sides, what they did since has another.  Only who appends
 * very often between two cuts grows his last piece, and changes its identity. */
static void plan_append(const struct df_vol *v, const struct df_obj *o,
			const void *data, struct df_write *w)
{
	const struct df_ver *h = o->heads.n == 1 ? o->heads.v[0] : NULL;

	w->append = !(o->flags & DF_OBJ_WHOLE);
	if (!w->append)
		return;
	w->new_piece = !h ||
		       df_ver_uncut(h, v->node, v->cut_time) < DF_PIECES_UNCUT;
	w->ident = df_xxh3(data, w->len) ^
		   v->node * UINT64_C(0x9e3779b97f4a7c15) ^
		   (uint64_t)df_clock_real_ns();
}

uint64_t df_data_size(const struct df_obj *o)
{
	struct df_texts t;

	if (o->heads.n < 2)
		return o->heads.n ? o->heads.v[0]->size : 0;
	df_texts_init(&t, &o->heads, NULL);
	uint64_t size = t.v[0].m->size;
	df_texts_release(&t, NULL);
	return size;
}

static void settle_before_write(struct df_vol *v, struct df_obj *o)
{
	if (!df_settle_needed(v) || df_op_begin(v, DF_OP_GROWS))
		return;
	df_settle_object(v, o->nid);
	df_op_end(v);
}

static int kill_suid(struct df_vol *v, struct df_obj *o)
{
	struct df_attrs a = { .mode = o->a.mode & ~(uint32_t)S_ISUID };

	if (a.mode & S_IXGRP)
		a.mode &= ~(uint32_t)S_ISGID;
	const struct df_xattr *cap = df_obj_xattr(o, "security.capability");
	bool caps = cap && cap->there;
	if (a.mode == o->a.mode && !caps)
		return 0;
	int err = df_op_begin(v, DF_OP_GROWS);
	if (err)
		return err;
	if (a.mode != o->a.mode)
		df_op_attrs(v, o, &a, 1u << DF_A_MODE);
	if (caps)
		df_op_xattr(v, o, "security.capability", false, NULL, 0);
	return df_op_end(v);
}

static int write_locked(struct df_vol *v, struct df_obj *o, uint64_t off,
			const void *data, size_t len, unsigned flags,
			const struct df_loc *loc)
{
	struct df_write w = { .off = off, .len = len };
	int err = flags & DF_WRITE_KILL_SUID ? kill_suid(v, o) : 0;

	if (err)
		return err;
	settle_before_write(v, o);
	w.size = df_data_size(o);
	if (flags & DF_WRITE_APPEND) {
		w.off = w.size;
		plan_append(v, o, data, &w);
		/* Another mount appended meanwhile: the kernel has put these
		 * bytes where it believed the end to be. */
		if (off != w.off)
			df_vol_push_inval(v, DF_INVAL_DATA, df_vol_nid(v, o), 0,
					  NULL);
	}
	if (w.off + len > (uint64_t)DF_FILE_SIZE_MAX)
		return -EFBIG;
	w.size = DF_MAX(w.size, w.off + len);
	if (!loc)
		return df_op_small_write(v, o, &w, data);
	struct df_ext e = { .off = w.off, .len = (uint32_t)len, .loc = *loc };
	w.ext = &e;
	w.n_ext = 1;
	err = df_op_begin(v, DF_OP_GROWS);
	if (err)
		return err;
	df_op_write(v, o, &w);
	return df_op_end(v);
}

static int write_once(struct df_vol *v, df_nid nid, uint64_t off,
		      const void *data, size_t len, unsigned flags,
		      const struct df_loc *loc)
{
	int err = 0;

	df_lock(&v->lock);
	struct df_obj *o = df_vol_asked(v, nid);
	if (!o)
		err = -ESTALE;
	else if (df_obj_is_dir(o))
		err = -EISDIR;
	else if (df_data_unloaded(o))
		err = -EAGAIN;
	else
		err = df_orphan_own(v, nid, &o);
	if (!err)
		err = write_locked(v, o, off, data, len, flags, loc);
	df_unlock(&v->lock);
	return err;
}

/* Large data goes into its segment first, and once, however often the rest has
 * to be tried.  Its count there is this function's (seg.h) until it ends. */

static int write_now(struct df_vol *v, df_nid nid, uint64_t off,
		     const void *data, size_t len, unsigned flags)
{
	struct df_loc put = { 0 }, *loc = len >= DF_INLINE_MAX ? &put : NULL;
	int err = loc ? df_seg_put(v->segs, data, len, loc) : 0;

	if (err == -ENOSPC && df_segs_evict(v->segs, len))
		err = df_seg_put(v->segs, data, len, loc);
	if (err)
		return err;
	err = write_once(v, nid, off, data, len, flags, loc);
	if (err == -ENOSPC && df_segs_evict(v->segs, len))
		err = write_once(v, nid, off, data, len, flags, loc);
	if (loc)
		df_seg_dirty(v->segs, loc->seg, -(int64_t)len);
	return err;
}

/* ---- a full cache: writers wait for the uplink */
struct parked_write {
	struct df_vol *v;
	df_done_fn *done;
	void *arg;
	df_nid nid;
	uint64_t off;
	size_t len;
	unsigned flags;
	uint8_t data[];
};

static void map_came(void *arg, int err)
{
	(void)arg;
	(void)err; /* the next try says it */
}

static int parked_run(void *arg)
{
	struct parked_write *p = arg;
	int err = write_now(p->v, p->nid, p->off, p->data, p->len, p->flags);

	if (err != -EAGAIN)
		return err;
	/* Another mount's version came while it waited. */
	df_vol_load(p->v, p->nid, map_came, NULL);
	return -ENOSPC;
}

static void parked_done(void *arg, int err)
{
	struct parked_write *p = arg;
	df_done_fn *done = p->done;
	void *whose = p->arg;

	free(p);
	done(whose, err);
}

static const struct df_wait_ops parked_ops = { .run = parked_run,
					       .done = parked_done };

static int park(struct df_vol *v, enum df_wait what,
		const struct parked_write *w, const void *data)
{
	struct parked_write *p = df_xalloc(sizeof(*p) + w->len);

	*p = *w;
	memcpy(p->data, data, w->len);
	df_lock(&v->lock);
	int err = df_room_wait(v, what, &parked_ops, p, w->arg);
	df_unlock(&v->lock);
	if (err != DF_EPARKED)
		free(p);
	return err;
}

/* A writer that waits cannot load the map: that comes first. */
static bool map_known(struct df_vol *v, df_nid nid)
{
	df_lock(&v->lock);
	const struct df_obj *o = df_vol_obj(v, nid);
	bool known = !o || !df_data_unloaded(o);
	df_unlock(&v->lock);
	return known;
}

int df_vol_write(struct df_vol *v, df_nid nid, uint64_t off, const void *data,
		 size_t len, unsigned flags, df_done_fn *done, void *arg)
{
	struct parked_write w = { v, done, arg, nid, off, len, flags };

	if (!len)
		return 0;
	int err = df_vol_writable_unlocked(v);
	if (!err && done && df_vol_behind(v))
		err = map_known(v, nid) ? park(v, DF_WAIT_FOLD, &w, data)
					: -EAGAIN;
	if (!err)
		err = write_now(v, nid, off, data, len, flags);
	if (err == -EAGAIN && !done) {
		err = df_vol_load(v, nid, NULL, NULL);
		if (!err)
			err = write_now(v, nid, off, data, len, flags);
	}
	return err == -ENOSPC && done ? park(v, DF_WAIT_ROOM, &w, data) : err;
}
