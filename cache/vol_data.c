/*
 * vol_data.c - reading and writing bytes.
 *
 * A write takes new space (small ones in the journal, large ones in a data
 * segment, written before the lock is taken) and changes the extent map; no
 * byte is overwritten.  A read says where the bytes are; what is not local is
 * fetched and the read is tried again from the fetcher's thread.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/settle.h"
#include "cache/vol_data.h"

#define READ_TRIES 4
#define HINT_PIECES 32
#define HINT_EVERY (UINT64_C(1) << 20)
#define PIECE_JOIN_NS (50 * DF_NS_PER_MS) /* a fork takes longer: see below */
#define COPY_EXTENTS 2048
#define STALL_MS 20000 /* a full cache and nothing sent: ENOSPC */

/* ---- where the bytes are */
struct gather {
	struct df_vol *v;
	struct df_read *r;
	unsigned size;
	uint32_t *segs; /* pinned, one a source */
	struct df_piece *missing;
	size_t n_missing, missing_size;
	bool lost;
};

static void add_src(struct gather *g, int fd, uint32_t seg, uint64_t pos,
		    uint64_t len)
{
	struct df_read *r = g->r;

	if (r->n == g->size) {
		g->size = g->size ? g->size * 2 : 4;
		r->src = df_xrealloc(r->src, g->size, sizeof(*r->src));
		g->segs = df_xrealloc(g->segs, g->size, sizeof(*g->segs));
		r->pins = g->segs;
	}
	g->segs[r->n] = seg;
	r->src[r->n++] = (struct df_src){ fd, pos, len };
	r->len += len;
}

static bool add_local(struct gather *g, struct df_loc loc, uint32_t skip,
		      uint64_t len)
{
	loc.off += skip;
	int fd = df_seg_pin_read(g->v->segs, loc, len);
	if (fd < 0)
		return false;
	add_src(g, fd, loc.seg, loc.off, len);
	return true;
}

static void add_ext(struct gather *g, struct df_ext *e, uint64_t from,
		    uint64_t len)
{
	uint32_t in = (uint32_t)(from - e->off);
	struct df_loc loc;

	if (e->loc.seg && add_local(g, e->loc, in, len))
		return;
	if (!df_ext_remote(e)) {
		g->lost = true;
		return;
	}
	e->loc.seg = 0; /* evicted, or damaged: the table has it */
	if (df_seg_find_piece(g->v->segs, &e->piece.pack, e->piece.off, &loc) &&
	    add_local(g, loc, e->skip + in, len))
		return;
	for (size_t i = 0; i < g->n_missing; i++)
		if (g->missing[i].off == e->piece.off &&
		    !df_id_cmp(&g->missing[i].pack, &e->piece.pack))
			return;
	DF_GROW(g->missing, g->n_missing, g->missing_size);
	g->missing[g->n_missing++] = e->piece;
}

static void gather(struct gather *g, const struct df_extmap *m, uint64_t off,
		   uint64_t end)
{
	struct df_extpos p = df_extmap_find(m, off);

	while (off < end) {
		struct df_ext *e = df_extmap_at(m, p);
		if (!e || e->off >= end) {
			add_src(g, -1, 0, 0, end - off);
			return;
		}
		if (e->off > off)
			add_src(g, -1, 0, 0, e->off - off);
		uint64_t from = DF_MAX(off, e->off);
		uint64_t to = DF_MIN(end, e->off + e->len);
		add_ext(g, e, from, to - from);
		off = to;
		p = df_extmap_next(m, p);
	}
}

void df_vol_read_done(struct df_vol *v, struct df_read *r)
{
	uint32_t *segs = r->pins;

	for (unsigned i = 0; i < r->n; i++)
		if (segs[i])
			df_seg_unpin(v->segs, segs[i]);
	free(r->src);
	free(r->pins);
	*r = (struct df_read){ 0 };
}

/* Tell the fetcher what a sequential reader will want next. */
static void hint(struct df_vol *v, const struct df_extmap *m, uint64_t end)
{
	struct df_piece next[HINT_PIECES];
	size_t n = 0;
	struct df_loc loc;

	for (struct df_extpos p = df_extmap_find(m, end); n < HINT_PIECES;
	     p = df_extmap_next(m, p)) {
		const struct df_ext *e = df_extmap_at(m, p);
		if (!e)
			break;
		if (df_ext_remote(e) && !e->loc.seg &&
		    !df_seg_find_piece(v->segs, &e->piece.pack, e->piece.off,
				       &loc))
			next[n++] = e->piece;
	}
	if (n)
		df_fetch_hint(v->fetch, next, n);
}

/* 0: r is filled; 1: missing pieces are in g; or -errno.  Locked. */
static int try_read(struct df_vol *v, df_nid nid, uint64_t off, size_t len,
		    struct df_read *r, struct gather *g)
{
	struct df_obj *o = df_vol_obj(v, nid);
	struct df_texts t = { 0 };
	const struct df_ver *h;

	*r = (struct df_read){ 0 };
	*g = (struct gather){ .v = v, .r = r };
	if (!o)
		return -ESTALE;
	if (df_obj_is_dir(o))
		return -EISDIR;
	h = o->heads.n ? o->heads.v[0] : NULL;
	if (o->heads.n > 1) {
		df_texts_init(&t, &o->heads, NULL);
		h = t.v[0].m;
	}
	if (h && off < h->size && len) {
		uint64_t end = off + DF_MIN(len, h->size - off);
		if (h->flags & DF_VER_UNLOADED)
			df_data_pages(h, g);
		else
			gather(g, &h->ext, off, end);
		if (g->n_missing || off / HINT_EVERY != end / HINT_EVERY)
			hint(v, &h->ext, end);
	}
	df_texts_release(&t, NULL);
	df_vol_accessed(v, o);
	int rc = g->lost ? -EIO : g->n_missing ? 1 : 0;
	if (rc == -EIO)
		df_vol_say(v, "bytes of an object were lost on the local disk");
	if (rc)
		df_vol_read_done(v, r);
	return rc;
}

void df_data_pages(const struct df_ver *h, struct gather *g)
{
	for (uint32_t i = 0; i < h->n_pages; i++) {
		DF_GROW(g->missing, g->n_missing, g->missing_size);
		g->missing[g->n_missing++] = h->pages[i].piece;
	}
}

/* ---- parked reads */
struct parked_read {
	struct parked_read *next;
	struct df_vol *v;
	df_nid nid;
	uint64_t off;
	size_t len;
	df_read_fn *done;
	void *arg;
	int tries;
};

static int read_error(int err)
{
	switch (err) {
	case DF_EOFFLINE:
	case -ETIMEDOUT:
		return -ETIMEDOUT;
	case -EINTR:
	case -ECANCELED:
		return -EINTR;
	default:
		return -EIO;
	}
}

static void unpark(struct parked_read *p, int err, struct df_read *r)
{
	struct df_vol *v = p->v;

	df_lock(&v->lock);
	for (struct parked_read **at = &v->parked_reads; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	df_unlock(&v->lock);
	p->done(p->arg, err, r);
	free(p);
}

static void fetched(void *arg, int err);

/* Ask for what is missing; the lock is not held. */
static void fetch_missing(struct parked_read *p, struct gather *g)
{
	int err = df_fetch_get(p->v->fetch, g->missing, g->n_missing,
			       p->v->conf.read_timeout_ms, fetched, p);

	free(g->missing);
	if (err)
		unpark(p, read_error(err), NULL);
}

/* Pages of an unloaded version have come: decode them.  Locked. */
static int load_pages(struct df_vol *v, struct df_obj *o)
{
	for (uint32_t i = 0; o && i < o->heads.n; i++) {
		struct df_ver *h = o->heads.v[i];
		if (!(h->flags & DF_VER_UNLOADED))
			continue;
		int err = df_ver_load(v, h);
		if (err)
			return err;
		if (!(o->flags & DF_OBJ_ORPHAN) && i == 0)
			v->n_bytes += h->ext.bytes - h->paged_bytes;
		df_fold_touch(v->fold, o);
		df_fold_account_obj(v->fold, o);
	}
	return 0;
}

static void fetched(void *arg, int err)
{
	struct parked_read *p = arg;
	struct df_vol *v = p->v;
	struct gather g = { 0 };
	struct df_read r;

	if (err) {
		if (err == DF_ECORRUPT || err == -ENOENT)
			df_log_error("a pack is missing or damaged in the "
				     "table: %s",
				     df_strerror(err));
		unpark(p, read_error(err), NULL);
		return;
	}
	df_lock(&v->lock);
	int rc = load_pages(v, df_vol_obj(v, p->nid));
	if (rc == 0 || rc == -EAGAIN)
		rc = try_read(v, p->nid, p->off, p->len, &r, &g);
	df_unlock(&v->lock);
	if (rc == 1 && ++p->tries < READ_TRIES) {
		fetch_missing(p, &g);
		return;
	}
	free(g.missing);
	unpark(p, rc == 1 ? -EIO : rc, rc == 0 ? &r : NULL);
}

int df_vol_read(struct df_vol *v, df_nid nid, uint64_t off, size_t len,
		struct df_read *r, df_read_fn *done, void *arg)
{
	struct gather g;

	df_lock(&v->lock);
	int rc = try_read(v, nid, off, len, r, &g);
	if (rc != 1) {
		df_unlock(&v->lock);
		free(g.missing);
		return rc;
	}
	struct parked_read *p = df_xalloc(sizeof(*p));
	*p = (struct parked_read){
		v->parked_reads, v, nid, off, len, done, arg, 0
	};
	v->parked_reads = p;
	df_unlock(&v->lock);
	fetch_missing(p, &g);
	return DF_EPARKED;
}

/* ---- waiting for pages, for operations that need the whole map */
int df_data_load_wait(struct df_vol *v, df_nid nid)
{
	for (int tries = 0; tries < READ_TRIES; tries++) {
		struct gather g = { .v = v };
		df_lock(&v->lock);
		struct df_obj *o = df_vol_obj(v, nid);
		int err = o ? load_pages(v, o) : -ESTALE;
		for (uint32_t i = 0; o && err == -EAGAIN && i < o->heads.n; i++)
			if (o->heads.v[i]->flags & DF_VER_UNLOADED)
				df_data_pages(o->heads.v[i], &g);
		df_unlock(&v->lock);
		if (err != -EAGAIN) {
			free(g.missing);
			return err;
		}
		err = df_data_fetch_wait(v, g.missing, g.n_missing);
		free(g.missing);
		if (err)
			return read_error(err);
	}
	return -EIO;
}

static bool unloaded(const struct df_obj *o)
{
	for (uint32_t i = 0; i < o->heads.n; i++)
		if (o->heads.v[i]->flags & DF_VER_UNLOADED)
			return true;
	return false;
}

/* ---- writing */

/* An append is a piece of its own unless the last one is ours, of this cut and
 * a moment old: a fork pauses the machine for longer, so that no two twins
 * ever grow one piece (they would both keep its identity). */
static bool joins_piece(const struct df_vol *v, const struct df_obj *o,
			int64_t now)
{
	const struct df_ver *h = o->heads.n == 1 ? o->heads.v[0] : NULL;

	if (!h || !h->n_pieces || !(o->flags & DF_OBJ_CONTENT_DIRTY))
		return false;
	const struct df_append *p = &h->pieces[h->n_pieces - 1];
	return p->node == v->node && p->time > v->cut_time &&
	       now - o->append_ns < PIECE_JOIN_NS && now >= o->append_ns;
}

static void plan_append(const struct df_vol *v, const struct df_obj *o,
			const void *data, struct df_write *w)
{
	int64_t now = df_clock_real_ns();

	w->append = !(o->flags & DF_OBJ_WHOLE);
	if (!w->append)
		return;
	w->new_piece = !joins_piece(v, o, now);
	if (w->new_piece)
		w->ident = df_xxh3(data, w->len) ^
			   v->node * UINT64_C(0x9e3779b97f4a7c15) ^
			   (uint64_t)now;
}

static uint64_t text_size(const struct df_obj *o)
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
	w.size = text_size(o);
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
	struct df_obj *o = df_vol_obj(v, nid);
	v->last_request_ns = df_clock_mono_ns();
	if (!o)
		err = -ESTALE;
	else if (df_obj_is_dir(o))
		err = -EISDIR;
	else if (unloaded(o))
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
	if (err == -EAGAIN) {
		err = df_data_load_wait(v, nid);
		if (!err)
			err = write_once(v, nid, off, data, len, flags, loc);
	}
	if (err == -ENOSPC && df_segs_evict(v->segs, len))
		err = write_once(v, nid, off, data, len, flags, loc);
	if (loc)
		df_seg_dirty(v->segs, loc->seg, -(int64_t)len);
	return err;
}

/* ---- a full cache: writers wait for the uplink */
struct parked_write {
	df_nid nid;
	uint64_t off;
	size_t len;
	unsigned flags;
	uint8_t data[];
};

/* Is the cache full of bytes that are on their way out? */
static bool space_will_come(struct df_vol *v)
{
	return df_segs_dirty_bytes(v->segs) > v->conf.cache_size / 4 &&
	       !v->offline && !v->auth_err && !v->failsafe && v->started &&
	       !v->stopping;
}

int df_vol_write(struct df_vol *v, df_nid nid, uint64_t off, const void *data,
		 size_t len, unsigned flags, df_done_fn *done, void *arg)
{
	if (!len)
		return 0;
	int err = df_vol_writable_unlocked(v);
	if (!err)
		err = write_now(v, nid, off, data, len, flags);
	if (err != -ENOSPC || !done)
		return err;
	struct parked_write *p = df_xalloc(sizeof(*p) + len);
	*p = (struct parked_write){ nid, off, len, flags };
	memcpy(p->data, data, len);
	df_lock(&v->lock);
	if (space_will_come(v)) {
		struct df_waiter *w = df_xalloc(sizeof(*w)), **at;
		*w = (struct df_waiter){ .done = done,
					 .arg = arg,
					 .parked = p };
		w->cut = v->bytes_sent;
		w->deadline_ns = df_deadline_ms(STALL_MS);
		for (at = &v->space_waiters; *at; at = &(*at)->next)
			;
		*at = w;
		v->sync_asked = true;
		df_cond_signal(&v->up_cond);
		err = DF_EPARKED;
	}
	df_unlock(&v->lock);
	if (err != DF_EPARKED)
		free(p);
	return err;
}

/* Has nothing been sent for as long as a writer waits?  Then the network is as
 * good as gone, whatever the requests under way still hope for. */
static bool stalled(struct df_vol *v, struct df_waiter *w)
{
	if (w->cut == v->bytes_sent)
		return df_clock_mono_ns() > w->deadline_ns;
	w->cut = v->bytes_sent;
	w->deadline_ns = df_deadline_ms(STALL_MS);
	return false;
}

/* Bytes have become remote: let waiting writers try again, in their order. */
void df_data_retry_writes(struct df_vol *v, int fail)
{
	for (;;) {
		df_lock(&v->lock);
		struct df_waiter *w = v->space_waiters;
		if (w)
			v->space_waiters = w->next;
		bool again = w && space_will_come(v) && !fail && !stalled(v, w);
		df_unlock(&v->lock);
		if (!w)
			return;
		struct parked_write *p = w->parked;
		int err = fail ? fail
			       : write_now(v, p->nid, p->off, p->data, p->len,
					   p->flags);
		if (err == -ENOSPC && again) {
			df_lock(&v->lock);
			w->next = v->space_waiters;
			v->space_waiters = w;
			df_unlock(&v->lock);
			return;
		}
		w->done(w->arg, err);
		free(p);
		free(w);
	}
}

/* ---- ranges */
static int change_range(struct df_vol *v, df_nid nid, const struct df_write *in,
			enum df_op_kind kind)
{
	struct df_write w = *in;

	df_lock(&v->lock);
	struct df_obj *o = df_vol_obj(v, nid);
	int err = !o ? -ESTALE : df_obj_is_dir(o) ? -EISDIR : 0;
	if (!err)
		err = df_orphan_own(v, nid, &o);
	if (!err)
		err = df_op_begin(v, kind);
	if (!err) {
		df_settle_object(v, o->nid);
		uint64_t size = text_size(o);
		if (w.size == UINT64_MAX) /* keep */
			w.size = size;
		else
			w.size = DF_MAX(w.size, size);
		if (w.off >= w.size)
			w.len = 0;
		else
			w.len = DF_MIN(w.len, w.size - w.off);
		df_op_write(v, o, &w);
		err = df_op_end(v);
	}
	df_unlock(&v->lock);
	return err;
}

int df_vol_fallocate(struct df_vol *v, df_nid nid, int mode, uint64_t off,
		     uint64_t len)
{
	bool keep = mode & FALLOC_FL_KEEP_SIZE;
	int rest = mode & ~FALLOC_FL_KEEP_SIZE;
	struct df_write w = { .off = off };

	if (rest && rest != FALLOC_FL_PUNCH_HOLE &&
	    rest != FALLOC_FL_ZERO_RANGE)
		return -EOPNOTSUPP;
	if (rest == FALLOC_FL_PUNCH_HOLE && !keep)
		return -EOPNOTSUPP;
	if (!len)
		return -EINVAL;
	if (off > (uint64_t)DF_FILE_SIZE_MAX ||
	    len > (uint64_t)DF_FILE_SIZE_MAX - off)
		return -EFBIG;
	int err = df_data_load_wait(v, nid);
	if (err)
		return err;
	w.size = keep ? UINT64_MAX : off + len;
	if (rest)
		w.len = len;
	else if (keep)
		return df_vol_writable_unlocked(v); /* holes cost nothing */
	return change_range(v, nid, &w, rest ? DF_OP_FREES : DF_OP_GROWS);
}

int df_vol_lseek(struct df_vol *v, df_nid nid, uint64_t off, int whence,
		 uint64_t *out)
{
	int err = df_data_load_wait(v, nid);

	if (err)
		return err;
	df_lock(&v->lock);
	struct df_obj *o = df_vol_obj(v, nid);
	struct df_texts t = { 0 };
	const struct df_ver *h = o && o->heads.n ? o->heads.v[0] : NULL;
	if (h && o->heads.n > 1) {
		df_texts_init(&t, &o->heads, NULL);
		h = t.v[0].m;
	}
	err = !o ? -ESTALE : !h || off >= h->size ? -ENXIO : 0;
	if (!err) {
		struct df_extpos p = df_extmap_find(&h->ext, off);
		const struct df_ext *e = df_extmap_at(&h->ext, p);
		if (whence == SEEK_DATA) {
			*out = e ? DF_MAX(off, e->off) : 0;
			err = e && *out < h->size ? 0 : -ENXIO;
		} else {
			uint64_t at = off;
			while (e && e->off <= at && at < h->size) {
				at = e->off + e->len;
				p = df_extmap_next(&h->ext, p);
				e = df_extmap_at(&h->ext, p);
			}
			*out = DF_MIN(at, h->size);
		}
	}
	df_texts_release(&t, NULL);
	df_unlock(&v->lock);
	return err;
}

/* The extents of [off, off + len) of o, moved to dst_off; at most
 * COPY_EXTENTS: *len says how far they go. */
static struct df_ext *range_extents(const struct df_obj *o, uint64_t off,
				    uint64_t *len, uint64_t dst_off,
				    uint32_t *n)
{
	struct df_extmap part = { 0 };
	struct df_ext *list;
	uint32_t used = 0;

	df_extmap_splice(&part, dst_off, &o->heads.v[0]->ext, off, *len, NULL);
	list = df_xrealloc(NULL, DF_MIN(part.n, COPY_EXTENTS), sizeof(*list));
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(&part, p);
	     p = df_extmap_next(&part, p)) {
		const struct df_ext *e = df_extmap_at(&part, p);
		if (used == COPY_EXTENTS) {
			*len = e->off - dst_off;
			break;
		}
		list[used++] = *e;
	}
	df_extmap_release(&part, NULL);
	*n = used;
	return list;
}

static int copy_locked(struct df_vol *v, df_nid in, uint64_t in_off, df_nid out,
		       uint64_t out_off, uint64_t len, uint64_t *copied)
{
	struct df_obj *a = df_vol_obj(v, in), *b = df_vol_obj(v, out);
	struct df_write w = { .off = out_off };

	if (!a || !b)
		return -ESTALE;
	if (df_obj_is_dir(a) || df_obj_is_dir(b))
		return -EISDIR;
	int err = df_orphan_own(v, out, &b);
	if (!err && in == out)
		a = b;
	if (!err)
		err = df_op_begin(v, DF_OP_GROWS);
	if (err)
		return err;
	df_settle_object(v, b->nid);
	df_settle_object(v, a->nid);
	uint64_t size = text_size(a);
	*copied = in_off < size ? DF_MIN(len, size - in_off) : 0;
	if (*copied && a->heads.n == 1) {
		w.ext = range_extents(a, in_off, copied, out_off, &w.n_ext);
		w.len = *copied;
		w.size = DF_MAX(text_size(b), out_off + w.len);
		df_op_write(v, b, &w);
		free(w.ext);
	}
	return df_op_end(v);
}

int df_vol_copy_range(struct df_vol *v, df_nid in, uint64_t in_off, df_nid out,
		      uint64_t out_off, uint64_t len, uint64_t *copied)
{
	if (out_off > (uint64_t)DF_FILE_SIZE_MAX ||
	    len > (uint64_t)DF_FILE_SIZE_MAX - out_off)
		return -EFBIG;
	if (in == out && in_off < out_off + len && out_off < in_off + len)
		return -EINVAL;
	int err = df_data_load_wait(v, in);
	if (!err)
		err = df_data_load_wait(v, out);
	if (err)
		return err;
	df_lock(&v->lock);
	err = copy_locked(v, in, in_off, out, out_off, len, copied);
	df_unlock(&v->lock);
	return err;
}

/* ---- interrupts */
void df_vol_interrupt(struct df_vol *v, void *arg)
{
	struct df_waiter *found = NULL;
	struct parked_read *read = NULL;

	df_lock(&v->lock);
	struct df_waiter **lists[] = { &v->sync_waiters, &v->space_waiters };
	for (int i = 0; i < 2 && !found; i++)
		for (struct df_waiter **at = lists[i]; *at && !found;)
			if ((*at)->arg == arg) {
				found = *at;
				*at = found->next;
			} else {
				at = &(*at)->next;
			}
	for (struct parked_read *p = v->parked_reads; p && !found; p = p->next)
		if (p->arg == arg)
			read = p;
	df_unlock(&v->lock);
	if (read)
		df_fetch_cancel(v->fetch, read);
	if (!found)
		return;
	free(found->parked);
	found->next = NULL;
	df_waiters_run(found, -EINTR);
}
