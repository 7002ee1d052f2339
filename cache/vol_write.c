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

#include "cache/settle.h"
#include "cache/vol_data.h"

/* A full cache is an error when nothing was sent for so long. */
#define STALL_MS 20000
/* ... and when the server has refused to be talked to for so long. */
#define AWAY_MS 3000

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
	struct parked_write *next;
	df_done_fn *done;
	void *arg;
	df_nid nid;
	uint64_t off;
	size_t len;
	unsigned flags;
	uint64_t sent;       /* what had left when it last had hope */
	int64_t deadline_ns; /* and until when that lasts */
	bool trying;         /* a thread is at it, without the lock */
	bool interrupted;    /* meanwhile */
	uint8_t data[];
};

/* Is the cache full of bytes that are on their way out, or being read?
 * Locked. */
static bool room_will_come(struct df_vol *v)
{
	return df_segs_crowded(v->segs) && df_vol_away_ms(v) < AWAY_MS &&
	       !v->auth_err && !v->failsafe && v->started && !v->stopping &&
	       !(v->offline && df_clock_mono_ns() - v->last_sent_ns >
				       STALL_MS * DF_NS_PER_MS);
}

/* A slow link takes half a minute for the packs under way: bytes of those count
 * where the remote counts them. */
static uint64_t sent_so_far(struct df_vol *v)
{
	struct df_remote_health h = { 0 };

	if (v->remote->ops->health)
		v->remote->ops->health(v->remote, &h);
	return v->bytes_sent + h.moved;
}

int df_vol_write(struct df_vol *v, df_nid nid, uint64_t off, const void *data,
		 size_t len, unsigned flags, df_done_fn *done, void *arg)
{
	if (!len)
		return 0;
	int err = df_vol_writable_unlocked(v);
	if (!err)
		err = write_now(v, nid, off, data, len, flags);
	if (err == -EAGAIN && !done) {
		err = df_vol_load(v, nid, NULL, NULL);
		if (!err)
			err = write_now(v, nid, off, data, len, flags);
	}
	if (err != -ENOSPC || !done)
		return err;
	struct parked_write *p = df_xalloc(sizeof(*p) + len), **at;
	*p = (struct parked_write){ .done = done,
				    .arg = arg,
				    .nid = nid,
				    .off = off,
				    .len = len,
				    .flags = flags };
	memcpy(p->data, data, len);
	df_lock(&v->lock);
	if (room_will_come(v)) {
		p->sent = sent_so_far(v);
		p->deadline_ns = df_deadline_ms(STALL_MS);
		for (at = &v->writers; *at; at = &(*at)->next)
			;
		*at = p;
		v->sync_asked = true;
		df_cond_signal(&v->up_cond);
		err = DF_EPARKED;
	}
	df_unlock(&v->lock);
	if (err != DF_EPARKED)
		free(p);
	return err;
}

/* Has nothing left for as long as a writer waits?  Then the network is as good
 * as gone, whatever the requests under way still hope for. */
static bool stalled(struct df_vol *v, struct parked_write *p)
{
	uint64_t sent = sent_so_far(v);

	if (p->sent == sent)
		return df_clock_mono_ns() > p->deadline_ns;
	p->sent = sent;
	p->deadline_ns = df_deadline_ms(STALL_MS);
	return false;
}

static void unlink_write(struct df_vol *v, struct parked_write *p)
{
	struct parked_write **at = &v->writers;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
}

static void map_came(void *arg, int err)
{
	(void)arg;
	(void)err; /* the next try says it */
}

/* Bytes have become remote: let waiting writers try again, in their order. */
void df_data_retry_writes(struct df_vol *v, int fail)
{
	struct parked_write *p;

	df_lock(&v->lock);
	while ((p = v->writers) && !p->trying) {
		bool wait = !fail && room_will_come(v) && !stalled(v, p);
		p->trying = true;
		df_unlock(&v->lock);
		int err = fail ? fail
			       : write_now(v, p->nid, p->off, p->data, p->len,
					   p->flags);
		/* Another mount's version came while it waited. */
		bool map = err == -EAGAIN;
		if (map)
			df_vol_load(v, p->nid, map_came, NULL);
		df_lock(&v->lock);
		p->trying = false;
		bool again = map || err == -ENOSPC;
		if (again && p->interrupted)
			err = -EINTR;
		else if (again && wait)
			break;
		else if (map)
			err = -ETIMEDOUT;
		unlink_write(v, p);
		df_unlock(&v->lock);
		p->done(p->arg, err);
		free(p);
		df_lock(&v->lock);
	}
	df_unlock(&v->lock);
}

void df_data_interrupt_write(struct df_vol *v, void *arg)
{
	struct parked_write *p = v->writers;

	while (p && p->arg != arg)
		p = p->next;
	if (!p)
		return;
	if (p->trying) {
		p->interrupted = true;
		return;
	}
	unlink_write(v, p);
	df_fetch_post(v->fetch, p->done, p->arg, -EINTR);
	free(p);
}
