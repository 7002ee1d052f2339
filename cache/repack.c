/*
 * repack.c - the end of a log that grows line by line; see upload.h.
 *
 * Every commit of a line adds an extent.  When the end of a log has become many
 * of them, their bytes are packed once more as one piece.  An extent is taken
 * in when it is not much longer than all behind it, so that few stay and each
 * byte is written again a few times only, however long the log.
 */
#include <stdlib.h>
#include <string.h>

#include "cache/upload.h"

#define MANY 24           /* extents; fewer are left alone */
#define ALWAYS 8          /* the last ones are taken in however long */
#define RATIO 4           /* taken in: up to so much longer than the rest */
#define FULL (256u << 10) /* never packed again */
#define INLINE_MAX 1024   /* raw bytes that may travel in the row */

/* The tail of m that is to be packed: its first extent's index in e (all of m's
 * extents), and its length. */
static uint32_t choose(struct df_ext *const *e, uint32_t n, uint64_t *len)
{
	uint32_t i = n;
	uint64_t sum = 0;

	while (i > 0) {
		const struct df_ext *x = e[i - 1];
		bool apart = i < n && x->off + x->len != e[i]->off;
		bool longer = n - i >= ALWAYS && x->len > RATIO * sum;
		if (apart || longer || x->len >= FULL ||
		    sum + x->len > DF_PIECE_RAW_MAX)
			break;
		sum += x->len;
		i--;
	}
	*len = sum;
	return i;
}

/* Bytes of e[i..n) into u->raw; those before one that is not here are left
 * out: i moves. */
static int gather(struct df_upload *u, struct df_ext *const *e, uint32_t n,
		  uint32_t *i)
{
	df_buf_reset(&u->raw);
	for (uint32_t k = *i; k < n; k++) {
		void *room = df_buf_extend(&u->raw, e[k]->len);
		if (!room)
			return u->raw.err;
		if (df_upload_local(u, e[k], room))
			continue;
		df_buf_reset(&u->raw);
		*i = k + 1;
	}
	return 0;
}

static struct df_repack *note(struct df_upload *u, const struct df_obj *o,
			      const struct df_ver *h, uint64_t off)
{
	struct df_repack *r = df_xalloc(sizeof(*r));

	r->next = u->repacks;
	u->repacks = r;
	r->nid = o->nid;
	r->root = h->root;
	r->off = off;
	r->len = u->raw.len;
	df_extmap_splice(&r->old, off, &h->ext, off, r->len, NULL);
	return r;
}

static int pack_tail(struct df_upload *u, struct df_repack *r,
		     struct df_ext **e, uint32_t n)
{
	struct df_segs *segs = u->v->segs;
	uint32_t skip = 0;
	struct df_loc loc;
	int err = df_upload_piece(u, u->raw.data, u->raw.len, &r->piece);
	bool own_pack = u->raw.len > INLINE_MAX;

	if (!err && own_pack)
		err = df_upload_close(u, false);
	if (err)
		return err;
	/* What travels in the row is kept here when the row is noted. */
	if (own_pack)
		df_seg_put_piece(segs, &r->piece.pack, r->piece.off,
				 u->raw.data, u->raw.len, &loc);
	for (uint32_t i = 0; i < n; i++) {
		if (!df_ext_remote(e[i]))
			df_seg_dirty(segs, e[i]->loc.seg, -(int64_t)e[i]->len);
		e[i]->piece = r->piece;
		e[i]->skip = skip;
		skip += e[i]->len;
		if (own_pack)
			continue;
		DF_GROW(u->ids, u->n_ids, u->ids_size);
		u->ids[u->n_ids++] = &e[i]->piece.pack;
	}
	return 0;
}

int df_upload_repack(struct df_upload *u, const struct df_obj *o,
		     struct df_ver *h)
{
	uint64_t len;
	uint32_t n = 0;

	if ((!h->n_pieces && !h->pvv.n) || h->ext.n <= MANY ||
	    (h->flags & (DF_VER_OPEN | DF_VER_UNLOADED)))
		return 0;
	struct df_ext **e = df_xalloc(h->ext.n * sizeof(*e));
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(&h->ext, p);
	     p = df_extmap_next(&h->ext, p))
		e[n++] = df_extmap_at(&h->ext, p);
	uint32_t i = choose(e, n, &len);
	int err = gather(u, e, n, &i);
	if (!err && n - i >= ALWAYS) {
		uint64_t off = e[i]->off;
		df_ver_touch(h, off, u->raw.len);
		err = pack_tail(u, note(u, o, h, off), e + i, n - i);
	}
	df_buf_reset(&u->raw);
	free(e);
	return err;
}

/* Does m say the same of r's range as the map did that was packed? */
static bool same_bytes(const struct df_extmap *m, const struct df_repack *r)
{
	struct df_extpos p = df_extmap_find(m, r->off), q = { 0, 0 };

	for (; df_extmap_at(&r->old, q); q = df_extmap_next(&r->old, q)) {
		const struct df_ext *x = df_extmap_at(m, p);
		const struct df_ext *y = df_extmap_at(&r->old, q);
		if (!x || x->off != y->off || x->len != y->len)
			return false;
		bool here = x->loc.seg && x->loc.seg == y->loc.seg &&
			    x->loc.off == y->loc.off;
		bool there = df_ext_remote(x) && df_ext_remote(y) &&
			     x->skip == y->skip &&
			     x->piece.off == y->piece.off &&
			     !df_id_cmp(&x->piece.pack, &y->piece.pack);
		if (!here && !there)
			return false;
		p = df_extmap_next(m, p);
	}
	return true;
}

void df_upload_repacked(const struct df_upload *u, struct df_obj *o)
{
	for (const struct df_repack *r = u->repacks; r; r = r->next)
		for (uint32_t i = 0; r->nid == o->nid && i < o->heads.n; i++) {
			struct df_ver *h = o->heads.v[i];
			struct df_ext e = { .off = r->off,
					    .len = (uint32_t)r->len,
					    .piece = r->piece };
			if (df_stamp_eq(h->root, r->root) &&
			    same_bytes(&h->ext, r))
				df_extmap_put(&h->ext, &e, u->v->segs);
		}
}

void df_upload_repacks_free(struct df_upload *u)
{
	while (u->repacks) {
		struct df_repack *r = u->repacks;
		u->repacks = r->next;
		df_extmap_release(&r->old, NULL);
		free(r);
	}
}
