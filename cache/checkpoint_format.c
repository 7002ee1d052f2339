/* checkpoint_format.c - see checkpoint_format.h. */
#include "cache/checkpoint_format.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define INDEX_VERSION 1
#define BODY_VERSION 1
#define BLOCK_VERSION 1

#define PIECE_LEAST 23 /* bytes of a coded piece, at least */
#define BLOCK_LEAST 72
#define COVER_LEAST 18
#define INLINE_LEN 32

/* ---- pieces */
static void put_piece(struct df_buf *b, const struct df_piece *p)
{
	df_buf_put(b, p->pack.b, DF_ID_LEN);
	df_buf_put_var(b, p->off);
	df_buf_put_var(b, p->clen);
	df_buf_put_var(b, p->rlen);
	df_buf_put_u32(b, p->check);
}

static void get_piece(struct df_rd *r, struct df_piece *p)
{
	df_rd_copy(r, p->pack.b, DF_ID_LEN);
	p->off = (uint32_t)df_rd_var_max(r, 64 << 20);
	p->clen = (uint32_t)df_rd_var_max(r, DF_PIECE_RAW_MAX + DF_PIECE_HEAD);
	p->rlen = (uint32_t)df_rd_var_max(r, DF_PIECE_RAW_MAX);
	p->check = df_rd_u32(r);
	if (p->clen <= DF_PIECE_HEAD || !p->rlen)
		r->bad = true;
}

/* ---- the index */
void df_ck_index_release(struct df_ck_index *x)
{
	free(x->blocks);
	free(x->covers);
	free(x->inlines);
	*x = (struct df_ck_index){ 0 };
}

void df_ck_index_write(struct df_buf *out, const struct df_ck_index *x)
{
	int64_t last = 0;

	df_buf_put_u8(out, INDEX_VERSION);
	df_buf_put_var(out, x->generation);
	df_buf_put_var(out, x->max_time);
	df_buf_put_var(out, x->n_blocks);
	for (size_t i = 0; i < x->n_blocks; i++) {
		const struct df_ck_block *b = &x->blocks[i];
		put_piece(out, &b->piece);
		df_buf_put(out, b->sum.b, DF_ID_LEN);
		df_buf_put(out, b->first.dir.b, DF_ID_LEN);
		df_buf_put(out, b->first.obj.b, DF_ID_LEN);
		df_buf_put_var(out, b->n_objs);
	}
	df_buf_put_var(out, x->n_covers);
	for (size_t i = 0; i < x->n_covers; i++) {
		const struct df_ck_cover *c = &x->covers[i];
		df_buf_put(out, c->id.b, DF_ID_LEN);
		df_buf_put_var(out, c->epoch);
		df_buf_put_svar(out, c->since_ms - last);
		last = c->since_ms;
	}
	df_buf_put_var(out, x->n_inlines);
	for (size_t i = 0; i < x->n_inlines; i++) {
		df_buf_put(out, x->inlines[i].pack.b, DF_ID_LEN);
		df_buf_put(out, x->inlines[i].row.b, DF_ID_LEN);
	}
}

/* A count of things that take `least` bytes each. */
static size_t get_count(struct df_rd *r, size_t least)
{
	size_t n = (size_t)df_rd_var_max(r, df_rd_left(r) / least);

	return r->bad ? 0 : n;
}

static void get_blocks(struct df_rd *r, struct df_ck_index *x)
{
	size_t n = get_count(r, BLOCK_LEAST);

	x->blocks = df_xalloc((n + 1) * sizeof(*x->blocks));
	for (; x->n_blocks < n && !r->bad; x->n_blocks++) {
		struct df_ck_block *b = &x->blocks[x->n_blocks];
		get_piece(r, &b->piece);
		df_rd_copy(r, b->sum.b, DF_ID_LEN);
		df_rd_copy(r, b->first.dir.b, DF_ID_LEN);
		df_rd_copy(r, b->first.obj.b, DF_ID_LEN);
		b->n_objs = (uint32_t)df_rd_var_max(r, DF_PIECE_RAW_MAX);
		x->n_objs += b->n_objs;
		if (x->n_blocks && df_ck_key_cmp(&b[-1].first, &b->first) > 0)
			r->bad = true;
	}
	x->blocks_size = n + 1;
}

static void get_covers(struct df_rd *r, struct df_ck_index *x)
{
	size_t n = get_count(r, COVER_LEAST);
	uint64_t last = 0;

	x->covers = df_xalloc((n + 1) * sizeof(*x->covers));
	for (; x->n_covers < n && !r->bad; x->n_covers++) {
		struct df_ck_cover *c = &x->covers[x->n_covers];
		df_rd_copy(r, c->id.b, DF_ID_LEN);
		c->epoch = df_rd_var(r);
		last += (uint64_t)df_rd_svar(r);
		c->since_ms = (int64_t)last;
		if (x->n_covers && df_id_cmp(&c[-1].id, &c->id) >= 0)
			r->bad = true;
	}
	x->covers_size = n + 1;
}

static void get_inlines(struct df_rd *r, struct df_ck_index *x)
{
	size_t n = get_count(r, INLINE_LEN);

	x->inlines = df_xalloc((n + 1) * sizeof(*x->inlines));
	for (; x->n_inlines < n && !r->bad; x->n_inlines++) {
		struct df_inline_place *i = &x->inlines[x->n_inlines];
		df_rd_copy(r, i->pack.b, DF_ID_LEN);
		df_rd_copy(r, i->row.b, DF_ID_LEN);
		if (x->n_inlines && df_id_cmp(&i[-1].pack, &i->pack) >= 0)
			r->bad = true;
	}
	x->inlines_size = n + 1;
}

int df_ck_index_read(const void *data, size_t len, struct df_ck_index *x)
{
	struct df_rd r = df_rd(data, len);
	uint8_t version = df_rd_u8(&r);

	*x = (struct df_ck_index){ 0 };
	if (!r.bad && version > INDEX_VERSION)
		return DF_EFORMAT;
	x->generation = df_rd_var(&r);
	x->max_time = df_rd_var_max(&r, DF_TIME_MAX - 1);
	get_blocks(&r, x);
	get_covers(&r, x);
	get_inlines(&r, x);
	if (!r.bad && !df_rd_left(&r) && version == INDEX_VERSION)
		return 0;
	df_ck_index_release(x);
	return DF_ECORRUPT;
}

const struct df_ck_cover *df_ck_covers(const struct df_ck_index *x,
				       const struct df_id *row)
{
	size_t lo = 0, hi = x->n_covers;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (df_id_cmp(&x->covers[mid].id, row) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < x->n_covers && !df_id_cmp(&x->covers[lo].id, row)
		       ? &x->covers[lo]
		       : NULL;
}

/* ---- the row's body */
void df_ck_body_write(struct df_buf *out, const struct df_ck_body *b)
{
	df_buf_put_u8(out, BODY_VERSION);
	df_buf_put_var(out, b->generation);
	df_buf_put_var(out, b->index_len);
	df_buf_put_var(out, b->n_pieces);
	for (size_t i = 0; i < b->n_pieces; i++)
		put_piece(out, &b->pieces[i]);
}

int df_ck_body_read(const void *data, size_t len, struct df_ck_body *b)
{
	struct df_rd r = df_rd(data, len);
	uint8_t version = df_rd_u8(&r);
	uint64_t sum = 0;

	*b = (struct df_ck_body){ 0 };
	if (!r.bad && version > BODY_VERSION)
		return DF_EFORMAT;
	b->generation = df_rd_var_max(&r, INT64_MAX);
	b->index_len = df_rd_var_max(&r, DF_CK_INDEX_MAX);
	size_t n = get_count(&r, PIECE_LEAST);
	b->pieces = df_xalloc((n + 1) * sizeof(*b->pieces));
	for (; b->n_pieces < n && !r.bad; b->n_pieces++) {
		get_piece(&r, &b->pieces[b->n_pieces]);
		sum += b->pieces[b->n_pieces].rlen;
	}
	if (!r.bad && !df_rd_left(&r) && sum == b->index_len && b->generation &&
	    version == BODY_VERSION)
		return 0;
	df_ck_body_release(b);
	return DF_ECORRUPT;
}

void df_ck_body_release(struct df_ck_body *b)
{
	free(b->pieces);
	*b = (struct df_ck_body){ 0 };
}

/* ---- blocks */
int df_ck_key_cmp(const struct df_ck_key *a, const struct df_ck_key *b)
{
	int c = df_id_cmp(&a->dir, &b->dir);

	return c ? c : df_id_cmp(&a->obj, &b->obj);
}

static int link_cmp(const void *a, const void *b)
{
	const struct df_link *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	if (c)
		return c;
	c = df_stamp_cmp(x->st, y->st);
	return c ? c : (x->parent > y->parent) - (x->parent < y->parent);
}

static int xattr_cmp(const void *a, const void *b)
{
	const struct df_xattr *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void drop_links(struct df_obj *o)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < o->n_links; i++) {
		if (o->links[i].dirty)
			free(o->links[i].name);
		else
			o->links[n++] = o->links[i];
	}
	o->n_links = n;
	if (n > 1)
		qsort(o->links, n, sizeof(*o->links), link_cmp);
}

static void drop_xattrs(struct df_obj *o)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < o->n_xattrs; i++) {
		if (o->xattrs[i].dirty) {
			free(o->xattrs[i].name);
			free(o->xattrs[i].value);
		} else {
			o->xattrs[n++] = o->xattrs[i];
		}
	}
	o->n_xattrs = n;
	if (n > 1)
		qsort(o->xattrs, n, sizeof(*o->xattrs), xattr_cmp);
}

void df_ck_clean(struct df_obj *o)
{
	drop_links(o);
	drop_xattrs(o);
	if (o->place.dirty)
		o->place.st = (struct df_stamp){ 0 };
	for (int f = 0; f < DF_A_FIELDS; f++)
		if (o->a.dirty & 1u << f)
			o->a.st[f] = (struct df_stamp){ 0 };
	if (o->flags & DF_OBJ_CONTENT_DIRTY)
		df_heads_release(&o->heads, NULL);
	if (o->flags & DF_OBJ_GONE_DIRTY)
		df_vv_release(&o->gone);
}

bool df_ck_empty(const struct df_obj *o)
{
	for (int f = 0; f < DF_A_FIELDS; f++)
		if (o->a.st[f].time)
			return false;
	return !o->n_links && !o->n_xattrs && !o->place.st.time &&
	       !o->heads.n && !o->gone.n;
}

bool df_ck_ends(const struct df_id *obj, size_t len)
{
	uint32_t x;

	memcpy(&x, obj->b + 8, sizeof(x));
	return len >= DF_CK_BLOCK_MAX ||
	       (len >= DF_CK_BLOCK_MIN && x % DF_CK_CUT == 0);
}

void df_ck_block_write(struct df_buf *out, size_t n, const void *objs,
		       size_t len)
{
	df_buf_put_u8(out, BLOCK_VERSION);
	df_buf_put_var(out, n);
	df_buf_put(out, objs, len);
}

int df_ck_block_read(const void *data, size_t len, const uint8_t **regs,
		     size_t *regs_len)
{
	struct df_rd r = df_rd(data, len);
	uint8_t version = df_rd_u8(&r);

	if (!r.bad && version > BLOCK_VERSION)
		return DF_EFORMAT;
	if (r.bad || version != BLOCK_VERSION)
		return DF_ECORRUPT;
	*regs = r.at;
	*regs_len = df_rd_left(&r);
	return 0;
}
