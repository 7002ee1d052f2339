/* upack.c - the bytes of a cut into pieces and packs; see upload.h. */
#include <stdlib.h>
#include <string.h>

#include "cache/lost.h"
#include "cache/upload.h"

#define PAGE_EXTENT_MOST 128 /* bytes of a page for each extent, at most */

/* A piece's place is known now, its pack's id when the pack is full. */
int df_upload_piece(struct df_upload *u, const void *raw, size_t len,
		    struct df_piece *piece)
{
	if (df_packer_len(u->packer) &&
	    df_packer_len(u->packer) + len + DF_PIECE_HEAD > u->pack_max) {
		int err = df_upload_close(u, false);
		if (err)
			return err;
	}
	int err = df_packer_add(u->packer, raw, len, piece);
	if (err)
		return err;
	DF_GROW(u->ids, u->n_ids, u->ids_size);
	u->ids[u->n_ids++] = &piece->pack;
	u->bytes += len;
	df_lock(&u->v->lock);
	u->v->leaving_bytes = u->bytes;
	df_unlock(&u->v->lock);
	return 0;
}

int df_upload_close(struct df_upload *u, bool may_inline)
{
	struct df_id id;
	uint8_t *data;
	size_t len;

	if (!df_packer_len(u->packer))
		return 0;
	int err = df_packer_finish(u->packer, &id, &data, &len);
	if (err)
		return err;
	for (size_t i = 0; i < u->n_ids; i++)
		*u->ids[i] = id;
	u->n_ids = 0;
	if (u->own)
		u->own_id = id;
	u->own = false;
	if (may_inline && len <= DF_INLINE_PACK && !u->last) {
		u->last = data;
		u->last_len = len;
		return 0;
	}
	return df_sender_put(u->v->sender, &id, data, len);
}

/* The extents of the run become one piece. */
static int end_run(struct df_upload *u)
{
	uint32_t skip = 0;

	if (!u->n_run)
		return 0;
	struct df_ext *first = u->run[0];
	int err = df_upload_piece(u, u->raw.data, u->raw.len, &first->piece);
	if (err)
		first->piece.clen = 0; /* still only here, and counted so */
	if (!err && !first->off && u->raw.len == u->ver->size &&
	    !u->ver->n_pieces && !u->ver->pvv.n) {
		memcpy(u->ver->sum, df_packer_sum(u->packer, &first->piece),
		       DF_SHA_LEN);
		u->ver->flags |= DF_VER_SUM;
	}
	for (size_t i = 0; i < u->n_run && !err; i++) {
		struct df_ext *e = u->run[i];
		/* These bytes have a place in the table (the map's release
		 * would have counted them, had it still been without). */
		df_seg_dirty(u->v->segs, e->loc.seg, -(int64_t)e->len);
		if (i) {
			e->piece = first->piece;
			DF_GROW(u->ids, u->n_ids, u->ids_size);
			u->ids[u->n_ids++] = &e->piece.pack;
		}
		e->skip = skip;
		skip += e->len;
	}
	u->n_run = 0;
	df_buf_reset(&u->raw);
	return err;
}

/* A part of an extent too long for one piece goes alone: split it first. */
static void split_long(struct df_extmap *m, struct df_segs *segs)
{
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(m, p);
	     p = df_extmap_next(m, p)) {
		struct df_ext e = *df_extmap_at(m, p);
		if (df_ext_remote(&e) || e.len <= DF_PIECE_RAW)
			continue;
		struct df_ext tail = e;
		tail.off += DF_PIECE_RAW;
		tail.len -= DF_PIECE_RAW;
		tail.loc.off += DF_PIECE_RAW;
		df_extmap_put(m, &tail, segs);
		p = df_extmap_find(m, e.off);
	}
}

static int pack_version(struct df_upload *u, struct df_obj *o, struct df_ver *h)
{
	uint64_t at = UINT64_MAX;

	u->ver = h;
	split_long(&h->ext, u->v->segs);
	int err = df_upload_repack(u, o, h);
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(&h->ext, p) && !err;
	     p = df_extmap_next(&h->ext, p)) {
		struct df_ext *e = df_extmap_at(&h->ext, p);
		if (df_ext_remote(e))
			continue;
		if (e->off != at || u->raw.len + e->len > DF_PIECE_RAW)
			err = end_run(u);
		if (err)
			break;
		size_t before = u->raw.len;
		void *room = df_buf_extend(&u->raw, e->len);
		int bad = !room ? u->raw.err
				: df_seg_read(u->v->segs, e->loc, room, e->len);
		if (bad) {
			u->raw.len = before;
			df_lost_mark(u->v, o, e, bad);
			at = UINT64_MAX;
			err = end_run(u);
			continue;
		}
		DF_GROW(u->run, u->n_run, u->run_size);
		u->run[u->n_run++] = e;
		at = e->off + e->len;
	}
	return err ? err : end_run(u);
}

bool df_upload_local(struct df_upload *u, const struct df_ext *e, void *out)
{
	struct df_loc loc = e->loc;

	if (loc.seg && !df_seg_read(u->v->segs, loc, out, e->len))
		return true;
	if (!df_ext_remote(e) ||
	    !df_seg_find_piece(u->v->segs, &e->piece.pack, e->piece.off, &loc))
		return false;
	loc.off += e->skip;
	return !df_seg_read(u->v->segs, loc, out, e->len);
}

static void add_zeros(struct df_sha *sha, uint64_t n)
{
	static const uint8_t zeros[4096];

	for (; n; n -= DF_MIN(n, sizeof(zeros)))
		df_sha_add(sha, zeros, DF_MIN(n, sizeof(zeros)));
}

/* SHA-256 of a text of up to 16 MiB without pieces. */
static void sum_version(struct df_upload *u, struct df_ver *h)
{
	uint64_t at = 0;
	bool ok = true;

	if ((h->flags & DF_VER_SUM) || h->size > DF_SUM_MAX || h->n_pieces ||
	    h->pvv.n)
		return;
	df_sha_reset(u->sha);
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(&h->ext, p) && ok;
	     p = df_extmap_next(&h->ext, p)) {
		const struct df_ext *e = df_extmap_at(&h->ext, p);
		df_buf_reset(&u->raw);
		void *room = df_buf_extend(&u->raw, e->len);
		ok = room && df_upload_local(u, e, room);
		if (!ok)
			break;
		add_zeros(u->sha, e->off - at);
		df_sha_add(u->sha, room, e->len);
		at = e->off + e->len;
	}
	df_buf_reset(&u->raw);
	if (!ok)
		return;
	add_zeros(u->sha, h->size - at);
	df_sha_end(u->sha, h->sum);
	h->flags |= DF_VER_SUM;
}

/* The root's hash: of the whole text at the root, which this version is. */
static void close_root(struct df_ver *h)
{
	if (!(h->flags & DF_VER_OPEN))
		return;
	if (h->flags & DF_VER_SUM) {
		memcpy(h->root_sum.b, h->sum, DF_ID_LEN);
	} else {
		struct df_buf b;
		uint8_t sum[DF_SHA_LEN];
		df_buf_init(&b, 0);
		df_code_page(&b, &h->ext, 0, df_ver_prefix(h));
		df_sha256(b.data, b.len, sum);
		memcpy(h->root_sum.b, sum, DF_ID_LEN);
		df_buf_release(&b);
	}
	h->flags &= ~(uint32_t)DF_VER_OPEN;
}

/* Neighbours in one piece are one extent for others.  The map as it was, with
 * the local places, is kept until the row is noted. */
static void join_extents(struct df_upload *u, struct df_ver *h)
{
	struct df_extmap m = { 0 };
	struct df_ext last = { 0 };

	for (struct df_extpos p = { 0, 0 }; df_extmap_at(&h->ext, p);
	     p = df_extmap_next(&h->ext, p)) {
		struct df_ext e = *df_extmap_at(&h->ext, p);
		bool joins = last.len && e.off == last.off + last.len &&
			     e.piece.off == last.piece.off &&
			     !df_id_cmp(&e.piece.pack, &last.piece.pack) &&
			     e.skip == last.skip + last.len;
		e.loc.seg = 0;
		if (joins) {
			last.len += e.len;
			continue;
		}
		if (last.len)
			df_extmap_put(&m, &last, NULL);
		last = e;
	}
	if (last.len)
		df_extmap_put(&m, &last, NULL);
	DF_GROW(u->maps, u->n_maps, u->maps_size);
	u->maps[u->n_maps++] = h->ext;
	h->ext = m;
}

static bool has_page(const struct df_ver *h, uint64_t region)
{
	for (uint32_t i = 0; i < h->n_pages; i++)
		if (h->pages[i].region == region)
			return true;
	return false;
}

static int page_cmp(const void *a, const void *b)
{
	const struct df_page *x = a, *y = b;

	return (x->region > y->region) - (x->region < y->region);
}

/* Regions whose extents changed are stored as pages.  All data packs of these
 * extents are closed by now. */
static int page_version(struct df_upload *u, struct df_ver *h)
{
	uint64_t region = UINT64_MAX;
	uint32_t size = h->n_pages;
	int err = 0;

	if (h->flags & DF_VER_UNLOADED)
		return 0;
	if (h->ext.n <= DF_EXTENTS_INLINE) {
		h->n_pages = 0;
		return 0;
	}
	/* Grow first: the packer keeps pointers into the array. */
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(&h->ext, p);
	     p = df_extmap_next(&h->ext, p)) {
		const struct df_ext *e = df_extmap_at(&h->ext, p);
		for (uint64_t r = e->off / DF_REGION;
		     r <= (e->off + e->len - 1) / DF_REGION; r++) {
			if (r == region || has_page(h, r))
				continue;
			region = r;
			DF_GROW(h->pages, h->n_pages, size);
			h->pages[h->n_pages++] =
				(struct df_page){ .region = r };
		}
	}
	qsort(h->pages, h->n_pages, sizeof(*h->pages), page_cmp);
	for (uint32_t i = 0; i < h->n_pages && !err; i++) {
		struct df_page *g = &h->pages[i];
		struct df_buf b;
		if (g->piece.clen)
			continue;
		df_buf_init(&b, DF_PIECE_RAW_MAX);
		df_code_page(&b, &h->ext, g->region * DF_REGION, DF_REGION);
		err = b.err ? b.err
			    : df_upload_piece(u, b.data, b.len, &g->piece);
		df_buf_release(&b);
	}
	return err;
}

/* Is there a map that goes into pages?  *room: bytes that those may take. */
static bool any_page(const struct df_cut *c, size_t *room)
{
	bool any = false;

	*room = 0;
	for (size_t i = 0; i < c->n; i++)
		for (uint32_t k = 0; k < c->objs[i]->heads.n; k++) {
			uint32_t n = c->objs[i]->heads.v[k]->ext.n;
			any |= n > DF_EXTENTS_INLINE;
			*room += (size_t)n * PAGE_EXTENT_MOST;
		}
	return any;
}

/* Pages name the packs of their extents.  Where they fit into the last one,
 * they go there and call it their own: a small write into a file of many
 * extents then is one request, the row. */
static int close_data(struct df_upload *u, bool paged, size_t room)
{
	if (!paged)
		return df_upload_close(u, true);
	if (room > u->pack_max / 2 ||
	    df_packer_len(u->packer) > u->pack_max / 2)
		return df_upload_close(u, false);
	u->own = true;
	for (size_t i = 0; i < u->n_ids; i++)
		*u->ids[i] = df_pack_own();
	return 0;
}

static int finish_version(struct df_upload *u, struct df_ver *h)
{
	int err = 0;

	sum_version(u, h);
	/* its hash needs the packs' names */
	if (u->own && (h->flags & DF_VER_OPEN) && !(h->flags & DF_VER_SUM))
		err = df_upload_close(u, true);
	if (err)
		return err;
	close_root(h);
	join_extents(u, h);
	return page_version(u, h);
}

int df_upload_pack(struct df_upload *u)
{
	struct df_cut *c = u->cut;
	size_t room;
	int err = 0;

	for (size_t i = 0; i < c->n && !err; i++)
		for (uint32_t k = 0; k < c->objs[i]->heads.n && !err; k++)
			err = pack_version(u, c->objs[i],
					   c->objs[i]->heads.v[k]);
	bool paged = any_page(c, &room);
	if (!err)
		err = close_data(u, paged, room);
	for (size_t i = 0; i < c->n && !err; i++)
		for (uint32_t k = 0; k < c->objs[i]->heads.n && !err; k++)
			err = finish_version(u, c->objs[i]->heads.v[k]);
	if (!err && paged)
		err = df_upload_close(u, true);
	for (size_t i = 0; i < c->n && paged && !err; i++)
		for (uint32_t k = 0; k < c->objs[i]->heads.n; k++)
			df_extmap_own_pack(&c->objs[i]->heads.v[k]->ext,
					   &u->own_id);
	return err;
}
