/*
 * vol_data.c - reading bytes.
 *
 * A read says where the bytes are; what is not local is fetched and the read
 * is tried again from the fetcher's thread.
 */
#include <stdlib.h>

#include "cache/lost.h"
#include "cache/room.h"
#include "cache/vol_data.h"

/* 16 MiB of a file that was written in order: the pack that is read, and whole
 * ones for two transfers.  Half of that ended within a pack, which came in two
 * parts then, and left the link idle between them. */
#define HINT_PIECES 64
#define HINT_CACHE 4 /* at most so large a part of the cache */
#define HINT_EVERY (UINT64_C(1) << 20)

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
	if (!df_ext_remote(e) || df_ext_lost(e)) {
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
	uint64_t most = v->conf.cache_size / HINT_CACHE, bytes = 0;
	size_t n = 0;
	struct df_loc loc;

	for (struct df_extpos p = df_extmap_find(m, end);
	     n < HINT_PIECES && bytes < most; p = df_extmap_next(m, p)) {
		const struct df_ext *e = df_extmap_at(m, p);
		if (!e)
			break;
		if (df_ext_remote(e) && !e->loc.seg &&
		    !df_seg_find_piece(v->segs, &e->piece.pack, e->piece.off,
				       &loc)) {
			bytes += e->piece.rlen;
			next[n++] = e->piece;
		}
	}
	if (n)
		df_fetch_hint(v->fetch, next, n);
}

/* Is a read at off, whose bytes are missing, one of a reader in sequence?  The
 * first one goes alone: a byte must not wait for megabytes behind it. */
static bool reads_on(struct df_vol *v, const struct df_extmap *m, uint64_t off)
{
	struct df_loc loc;

	if (!off)
		return false;
	const struct df_ext *e = df_extmap_at(m, df_extmap_find(m, off - 1));
	return e && e->off < off &&
	       (e->loc.seg ||
		df_seg_find_piece(v->segs, &e->piece.pack, e->piece.off, &loc));
}

/* 0: r is filled; 1: missing pieces are in g, r is what is here; or -errno.
 * came: they were fetched for it.  Locked. */
static int try_read(struct df_vol *v, df_nid nid, uint64_t off, size_t len,
		    bool came, struct df_read *r, struct gather *g)
{
	struct df_obj *o = df_vol_asked(v, nid);
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
			df_data_pages(o, &g->missing, &g->n_missing);
		else
			gather(g, &h->ext, off, end);
		if (g->n_missing ? reads_on(v, &h->ext, off)
				 : (came && !off) ||
					   off / HINT_EVERY != end / HINT_EVERY)
			hint(v, &h->ext, end);
	}
	df_texts_release(&t, NULL);
	df_vol_accessed(v, o);
	int rc = g->lost ? -EIO : g->n_missing ? 1 : 0;
	if (rc == -EIO)
		df_vol_say(v, "bytes of an object were lost on the local disk");
	if (rc < 0)
		df_vol_read_done(v, r);
	return rc;
}

/* ---- parked reads */
struct parked_read {
	struct df_wish w; /* first */
	df_nid nid;
	uint64_t off;
	size_t len;
	df_read_fn *done;
	/* What is local already.  In a full cache what is fetched would push it
	 * out, and it that, for ever. */
	struct df_read here;
};

static void unpark(struct parked_read *p, int err, struct df_read *r)
{
	df_read_fn *done = p->done;
	void *arg = p->w.arg;

	df_vol_read_done(p->w.v, &p->here);
	df_wish_end(&p->w);
	done(arg, err, r);
}

static void fetched(void *arg, int err)
{
	struct parked_read *p = arg;
	struct df_wish *w = &p->w;
	struct df_vol *v = w->v;
	struct gather g = { 0 };
	struct df_read r;

	if (err) {
		unpark(p, df_data_error(err), NULL);
		return;
	}
	df_lock(&v->lock);
	struct df_obj *o = df_vol_obj(v, p->nid);
	int rc = o ? df_data_load(v, o) : 0;
	if (rc == 0 || rc == -EAGAIN)
		rc = try_read(v, p->nid, p->off, p->len, true, &r, &g);
	df_unlock(&v->lock);
	if (rc == 1) {
		df_vol_read_done(v, &p->here);
		p->here = r;
	}
	if (rc == 1 && ++w->tries < DF_READ_TRIES) {
		df_wish_fetch(w, g.missing, g.n_missing);
		return;
	}
	free(g.missing);
	unpark(p, rc == 1 ? df_data_error(rc) : rc, rc == 0 ? &r : NULL);
}

int df_vol_read(struct df_vol *v, df_nid nid, uint64_t off, size_t len,
		struct df_read *r, df_read_fn *done, void *arg)
{
	struct gather g;

	df_lock(&v->lock);
	int rc = try_read(v, nid, off, len, false, r, &g);
	if (rc != 1) {
		df_unlock(&v->lock);
		free(g.missing);
		return rc;
	}
	struct parked_read *p = df_xalloc(sizeof(*p));
	*p = (struct parked_read){
		{ .v = v, .arg = arg, .come = fetched }, nid, off, len, done, *r
	};
	*r = (struct df_read){ 0 };
	df_wish_add(&p->w);
	df_unlock(&v->lock);
	df_wish_fetch(&p->w, g.missing, g.n_missing);
	return DF_EPARKED;
}

/* ---- interrupts */
void df_vol_interrupt(struct df_vol *v, void *arg)
{
	struct df_waiter *found = NULL;

	df_lock(&v->lock);
	for (struct df_waiter **at = &v->sync_waiters; *at; at = &(*at)->next)
		if ((*at)->arg == arg) {
			found = *at;
			*at = found->next;
			found->next = NULL;
			break;
		}
	if (!found && !df_wish_interrupt(v, arg))
		df_room_interrupt(v, arg);
	/* Not from here: who interrupts may hold what the completion wants. */
	if (found)
		df_fetch_post(v->fetch, found->done, found->arg, -EINTR);
	df_unlock(&v->lock);
	free(found);
}
