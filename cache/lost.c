/* lost.c - see lost.h. */
#include "cache/lost.h"

#include <stdlib.h>

bool df_ext_lost(const struct df_ext *e)
{
	static const struct df_id none;

	return e->piece.clen == DF_PIECE_HEAD + 1 &&
	       !df_id_cmp(&e->piece.pack, &none);
}

/* Locked.  live: the object that the kernel knows. */
static void tell(struct df_vol *v, struct df_obj *live, const struct df_ext *e,
		 int err)
{
	char hex[33];

	live->flags |= DF_OBJ_LOST;
	df_fold_touch(v->fold, live);
	df_id_hex(&live->id, hex);
	df_vol_say(v, "%u bytes at %llu of object %s are lost: %s", e->len,
		   (unsigned long long)e->off, hex, df_strerror(err));
}

int df_lost_once(struct df_vol *v, df_nid nid)
{
	struct df_obj *o = nid ? df_vol_obj(v, nid) : NULL;

	if (!o || !(o->flags & DF_OBJ_LOST))
		return 0;
	o->flags &= ~(uint32_t)DF_OBJ_LOST;
	df_fold_touch(v->fold, o);
	return -EIO;
}

/* Where m still has the bytes of x, they are lost; false: nowhere. */
static bool lose_in(struct df_vol *v, struct df_extmap *m,
		    const struct df_ext *x)
{
	uint64_t at = x->off, end = x->off + x->len;
	const struct df_ext *e;
	bool any = false;

	while (at < end && (e = df_extmap_at(m, df_extmap_find(m, at))) &&
	       e->off < end) {
		uint64_t from = DF_MAX(e->off, at);
		at = DF_MIN(e->off + e->len, end);
		if (df_ext_remote(e) || e->loc.seg != x->loc.seg ||
		    e->loc.off - x->loc.off != (uint32_t)(e->off - x->off))
			continue;
		struct df_ext gone = { .off = from,
				       .len = (uint32_t)(at - from) };
		gone.piece = df_lost_piece(gone.len);
		df_extmap_put(m, &gone, v->segs);
		any = true;
	}
	return any;
}

/* nid: an object, not a fuse number.  Has it anything to lose? */
static bool lose(struct df_vol *v, df_nid nid, const struct df_ext *x, int err)
{
	bool any = false;

	df_lock(&v->lock);
	struct df_obj *o = df_fold_get(v->fold, nid);
	for (uint32_t i = 0; o && i < o->heads.n; i++)
		any |= lose_in(v, &o->heads.v[i]->ext, x);
	if (any)
		tell(v, o, x, err);
	df_unlock(&v->lock);
	return any;
}

void df_lost_mark(struct df_vol *v, const struct df_obj *o, struct df_ext *e,
		  int err)
{
	struct df_ext was = *e;

	df_seg_dirty(v->segs, e->loc.seg, -(int64_t)e->len);
	e->piece = df_lost_piece(e->len);
	e->skip = 0;
	lose(v, o->nid, &was, err);
}

struct look {
	struct df_ext *v;
	size_t n, size;
};

/* What is nowhere else and was there when this process began, in parts that
 * the packer would make of it. */
static void collect(struct df_vol *v, const struct df_extmap *m,
		    struct look *look)
{
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(m, p);
	     p = df_extmap_next(m, p)) {
		struct df_ext e = *df_extmap_at(m, p);
		if (df_ext_remote(&e) || !df_seg_earlier(v->segs, e.loc.seg))
			continue;
		for (uint32_t left = e.len; left; left -= e.len) {
			e.len = DF_MIN(left, (uint32_t)DF_PIECE_RAW);
			DF_GROW(look->v, look->n, look->size);
			look->v[look->n++] = e;
			e.off += e.len;
			e.loc.off += e.len;
		}
	}
}

int df_lost_look(struct df_vol *v, df_nid nid)
{
	struct look look = { 0 };
	bool bad = false;

	df_lock(&v->lock);
	struct df_obj *o = v->inherited ? df_vol_obj(v, nid) : NULL;
	for (uint32_t i = 0; o && i < o->heads.n; i++)
		collect(v, &o->heads.v[i]->ext, &look);
	df_nid real = o ? o->nid : 0;
	df_unlock(&v->lock);
	for (size_t k = 0; k < look.n; k++) {
		const struct df_ext *x = &look.v[k];
		int fd = df_seg_pin_read(v->segs, x->loc, x->len);
		if (fd >= 0) {
			df_seg_unpin(v->segs, x->loc.seg);
			continue;
		}
		if (fd == DF_ECORRUPT || fd == -ENOENT)
			bad |= lose(v, real, x, fd);
		else
			bad = true; /* not read this time is not lost */
	}
	free(look.v);
	df_lock(&v->lock);
	bad |= df_lost_once(v, nid) != 0;
	df_unlock(&v->lock);
	return bad ? -EIO : 0;
}
