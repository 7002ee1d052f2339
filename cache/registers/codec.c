/* codec.c - see codec.h and docs/formats.md. */
#include "cache/registers/codec.h"
#include "cache/registers/codec_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"

/* ---- dictionary: fixed-width keys in order of first use */
struct df_dict {
	size_t width;
	uint8_t *keys;
	uint32_t n, size;
	uint32_t *slots; /* n + 1; 0 = free */
	uint32_t n_slots;
};

static struct df_dict *dict_new(size_t width)
{
	struct df_dict *d = df_xalloc(sizeof(*d));

	d->width = width;
	return d;
}

static void dict_free(struct df_dict *d)
{
	if (!d)
		return;
	free(d->keys);
	free(d->slots);
	free(d);
}

static void dict_reset(struct df_dict *d)
{
	d->n = 0;
	if (d->n_slots)
		memset(d->slots, 0, d->n_slots * sizeof(*d->slots));
}

static uint32_t *dict_slot(struct df_dict *d, const void *key)
{
	uint32_t mask = d->n_slots - 1;
	uint32_t at = (uint32_t)df_xxh3(key, d->width) & mask;

	while (d->slots[at] &&
	       memcmp(d->keys + (d->slots[at] - 1) * d->width, key, d->width))
		at = (at + 1) & mask;
	return &d->slots[at];
}

static void dict_add(struct df_dict *d, const void *key)
{
	if (d->n == d->size) {
		d->size = d->size ? d->size * 2 : 8;
		d->keys = df_xrealloc(d->keys, d->size, d->width);
	}
	memcpy(d->keys + d->n++ * d->width, key, d->width);
}

/* Linear while small, hashed above. */
static uint32_t dict_find(struct df_dict *d, const void *key)
{
	if (d->n < 8) {
		for (uint32_t i = 0; i < d->n; i++)
			if (!memcmp(d->keys + i * d->width, key, d->width))
				return i + 1;
		return 0;
	}
	if (d->n * 2 >= d->n_slots) {
		free(d->slots);
		d->n_slots = d->n_slots ? d->n_slots * 2 : 64;
		while (d->n_slots < d->n * 4)
			d->n_slots *= 2;
		d->slots = df_xalloc(d->n_slots * sizeof(*d->slots));
		for (uint32_t i = 0; i < d->n; i++)
			*dict_slot(d, d->keys + i * d->width) = i + 1;
	}
	return *dict_slot(d, key);
}

static void dict_put(struct df_dict *d, struct df_buf *b, const void *key)
{
	uint32_t at = dict_find(d, key);

	df_buf_put_var(b, at);
	if (at)
		return;
	df_buf_put(b, key, d->width);
	dict_add(d, key);
	if (d->n > 8 && d->n * 2 < d->n_slots)
		*dict_slot(d, key) = d->n;
	else if (d->n_slots)
		memset(d->slots, 0, d->n_slots * sizeof(*d->slots)),
			d->n_slots = 0;
}

static void dict_get(struct df_dict *d, struct df_rd *r, void *key)
{
	uint64_t at = df_rd_var_max(r, d->n);

	if (at) {
		memcpy(key, d->keys + (at - 1) * d->width, d->width);
		return;
	}
	df_rd_copy(r, key, d->width);
	if (!r->bad)
		dict_add(d, key);
}

void df_coder_init(struct df_coder *c, bool local)
{
	*c = (struct df_coder){ .local = local };
	c->nodes = dict_new(8);
	c->ids = dict_new(DF_ID_LEN);
	c->packs = dict_new(DF_ID_LEN);
}

void df_coder_release(struct df_coder *c)
{
	dict_free(c->nodes);
	dict_free(c->ids);
	dict_free(c->packs);
}

void df_coder_reset(struct df_coder *c)
{
	dict_reset(c->nodes);
	dict_reset(c->ids);
	dict_reset(c->packs);
	c->last_time = 0;
	c->last_ns = 0;
}

/* ---- scalars */
static void put_node(struct df_coder *c, struct df_buf *b, uint64_t node)
{
	uint8_t key[8];

	for (int i = 0; i < 8; i++)
		key[i] = (uint8_t)(node >> (8 * i));
	dict_put(c->nodes, b, key);
}

static uint64_t get_node(struct df_coder *c, struct df_rd *r)
{
	uint8_t key[8] = { 0 };
	uint64_t node = 0;

	dict_get(c->nodes, r, key);
	for (int i = 0; i < 8; i++)
		node |= (uint64_t)key[i] << (8 * i);
	return node;
}

static void put_time(struct df_coder *c, struct df_buf *b, uint64_t time)
{
	df_buf_put_svar(b, (int64_t)(time - c->last_time));
	c->last_time = time;
}

static uint64_t get_time(struct df_coder *c, struct df_rd *r)
{
	uint64_t time = c->last_time + (uint64_t)df_rd_svar(r);

	if (time >= DF_TIME_MAX) {
		r->bad = true;
		return 0;
	}
	c->last_time = time;
	c->max_time = DF_MAX(c->max_time, time);
	return time;
}

void df_put_stamp(struct df_coder *c, struct df_buf *b, struct df_stamp s)
{
	put_time(c, b, s.time);
	put_node(c, b, s.node);
}

/* A register's stamp: time 0 would mean "absent". */
struct df_stamp df_get_stamp(struct df_coder *c, struct df_rd *r)
{
	struct df_stamp s;

	s.time = get_time(c, r);
	s.node = get_node(c, r);
	if (!s.time)
		r->bad = true;
	return s;
}

void df_put_ns(struct df_coder *c, struct df_buf *b, int64_t ns)
{
	df_buf_put_svar(b, (int64_t)((uint64_t)ns - (uint64_t)c->last_ns));
	c->last_ns = ns;
}

int64_t df_get_ns(struct df_coder *c, struct df_rd *r)
{
	c->last_ns = (int64_t)((uint64_t)c->last_ns + (uint64_t)df_rd_svar(r));
	return c->last_ns;
}

void df_put_parent(struct df_coder *c, struct df_buf *b, df_nid nid)
{
	if (c->local) {
		df_buf_put_var(b, nid);
		return;
	}
	struct df_id id = c->id_of(c->arg, nid);
	dict_put(c->ids, b, id.b);
}

df_nid df_get_parent(struct df_coder *c, struct df_rd *r)
{
	struct df_id id = { { 0 } };

	if (c->local)
		return df_rd_var(r);
	dict_get(c->ids, r, id.b);
	return r->bad || !c->nid_of ? 0 : c->nid_of(c->arg, &id);
}

char *df_name_clean(const uint8_t *name, size_t len)
{
	bool bad = !len || len > DF_NAME_MAX || memchr(name, 0, len) ||
		   memchr(name, '/', len) || (len == 1 && name[0] == '.') ||
		   (len == 2 && name[0] == '.' && name[1] == '.');

	if (bad) {
		struct df_field f = { name, len };
		struct df_id id = df_hash_fields(&f, 1);
		char hex[33];
		df_id_hex(&id, hex);
		char *out = df_strf("invalid-%s", hex);
		return out ? out : df_xstrdup("invalid");
	}
	char *out = df_xalloc(len + 1);
	memcpy(out, name, len);
	return out;
}

void df_put_name(struct df_buf *b, const char *name)
{
	df_buf_put_bytes(b, name, strlen(name));
}

char *df_get_name(struct df_rd *r)
{
	size_t len;
	const uint8_t *at = df_rd_bytes(r, 4096, &len);

	return r->bad ? NULL : df_name_clean(at, len);
}

/* ---- vectors */
static int by_time(const void *a, const void *b)
{
	return df_stamp_cmp(*(const struct df_stamp *)a,
			    *(const struct df_stamp *)b);
}

static int by_node(const void *a, const void *b)
{
	const struct df_stamp *x = a, *y = b;

	return (x->node > y->node) - (x->node < y->node);
}

/* In the order of their times, for a file that many lives wrote: then the
 * differences are small, and nearly always whole milliseconds. */
void df_code_vv(struct df_coder *c, struct df_buf *b, const struct df_vv *vv)
{
	struct df_stamp *v = df_xdup(vv->v, vv->n * sizeof(*v));
	uint64_t last = 0;

	if (vv->n > 1)
		qsort(v, vv->n, sizeof(*v), by_time);
	df_buf_put_var(b, 0); /* floor: version 1 has none */
	df_buf_put_var(b, vv->n);
	for (size_t i = 0; i < vv->n; i++) {
		uint64_t d = v[i].time - last;
		put_node(c, b, v[i].node);
		if (i == 0)
			put_time(c, b, v[i].time);
		else if (d & 0xffff)
			df_buf_put_var(b, d << 1 | 1);
		else
			df_buf_put_var(b, d >> 15);
		last = v[i].time;
	}
	free(v);
}

void df_decode_vv(struct df_coder *c, struct df_rd *r, struct df_vv *vv)
{
	uint64_t last = 0;

	*vv = (struct df_vv){ 0 };
	if (df_rd_var(r) != 0)
		r->bad = true; /* a floor: a newer format */
	/* an entry takes two bytes at least */
	size_t n = (size_t)df_rd_var_max(r, df_rd_left(r) / 2);
	if (r->bad || !n)
		return;
	vv->v = df_xrealloc(NULL, n, sizeof(*vv->v));
	for (size_t i = 0; i < n && !r->bad; i++) {
		struct df_stamp *e = &vv->v[vv->n++];
		e->node = get_node(c, r);
		if (i == 0) {
			e->time = get_time(c, r);
		} else {
			uint64_t d = df_rd_var(r);
			e->time = last + (d & 1 ? d >> 1 : d << 15);
			if (!(d & 1) && d >> 48) /* a bit would be lost */
				r->bad = true;
		}
		if (!e->time || e->time < last || e->time >= DF_TIME_MAX)
			r->bad = true;
		else
			c->max_time = DF_MAX(c->max_time, e->time);
		last = e->time;
	}
	if (!r->bad && n > 1)
		qsort(vv->v, n, sizeof(*vv->v), by_node);
	for (size_t i = 1; i < n && !r->bad; i++)
		if (vv->v[i].node == vv->v[i - 1].node)
			r->bad = true;
}

/* ---- extents */
enum { EXT_LOCAL = 1, EXT_REMOTE = 2, EXT_SKIP = 4, EXT_WHOLE = 8 };

void df_code_ext(struct df_coder *c, struct df_buf *b, const struct df_ext *e,
		 uint64_t *at)
{
	bool remote = df_ext_remote(e), local = c->local && e->loc.seg;
	bool whole = remote && !e->skip && e->len == e->piece.rlen;

	df_buf_put_u8(b, (uint8_t)((local ? EXT_LOCAL : 0) |
				   (remote ? EXT_REMOTE : 0) |
				   (remote && e->skip ? EXT_SKIP : 0) |
				   (whole ? EXT_WHOLE : 0)));
	df_buf_put_var(b, e->off - *at);
	df_buf_put_var(b, e->len);
	*at = e->off + e->len;
	if (remote) {
		dict_put(c->packs, b, e->piece.pack.b);
		df_buf_put_var(b, e->piece.off);
		df_buf_put_var(b, e->piece.clen);
		if (!whole)
			df_buf_put_var(b, e->piece.rlen);
		if (e->skip)
			df_buf_put_var(b, e->skip);
		df_buf_put_u32(b, e->piece.check);
	}
	if (local) {
		df_buf_put_var(b, e->loc.seg);
		df_buf_put_var(b, e->loc.off);
	}
}

void df_decode_ext(struct df_coder *c, struct df_rd *r, struct df_ext *e,
		   uint64_t *at)
{
	uint8_t flags = df_rd_u8(r);

	*e = (struct df_ext){ 0 };
	e->off = *at + df_rd_var_max(r, DF_FILE_SIZE_MAX);
	e->len = (uint32_t)df_rd_var_max(r, UINT32_MAX);
	*at = e->off + e->len;
	if (flags & EXT_REMOTE) {
		dict_get(c->packs, r, e->piece.pack.b);
		e->piece.off = (uint32_t)df_rd_var_max(r, 64 << 20);
		e->piece.clen = (uint32_t)df_rd_var_max(
			r, DF_PIECE_RAW_MAX + DF_PIECE_HEAD);
		e->piece.rlen =
			flags & EXT_WHOLE
				? e->len
				: (uint32_t)df_rd_var_max(r, DF_PIECE_RAW_MAX);
		if (flags & EXT_SKIP)
			e->skip = (uint32_t)df_rd_var_max(r, DF_PIECE_RAW_MAX);
		e->piece.check = df_rd_u32(r);
		if (e->piece.clen <= DF_PIECE_HEAD ||
		    e->piece.rlen > DF_PIECE_RAW_MAX ||
		    (uint64_t)e->skip + e->len > e->piece.rlen)
			r->bad = true;
	}
	if (flags & EXT_LOCAL) {
		e->loc.seg = (uint32_t)df_rd_var_max(r, UINT32_MAX);
		e->loc.off = (uint32_t)df_rd_var_max(r, UINT32_MAX);
	}
	if (!e->len || *at > DF_FILE_SIZE_MAX || flags > 15 ||
	    (!c->local && !(flags & EXT_REMOTE)))
		r->bad = true;
}

static void code_exts(struct df_coder *c, struct df_buf *b,
		      const struct df_extmap *m)
{
	uint64_t at = 0;
	struct df_extpos p = { 0, 0 };

	df_buf_put_var(b, m->n);
	for (uint32_t i = 0; i < m->n; i++) {
		df_code_ext(c, b, df_extmap_at(m, p), &at);
		p = df_extmap_next(m, p);
	}
}

static void decode_exts(struct df_coder *c, struct df_rd *r,
			struct df_extmap *m, uint64_t size)
{
	uint64_t n = df_rd_var_max(r, df_rd_left(r) / 3);
	uint64_t at = 0;

	for (uint64_t i = 0; i < n && !r->bad; i++) {
		struct df_ext e;
		df_decode_ext(c, r, &e, &at);
		if (at > size)
			r->bad = true;
		if (!r->bad)
			df_extmap_put(m, &e, NULL);
	}
}

void df_code_page(struct df_buf *b, const struct df_extmap *m, uint64_t off,
		  uint64_t len)
{
	struct df_extmap part = { 0 };
	struct df_coder c;

	df_extmap_splice(&part, 0, m, off, len, NULL);
	df_coder_init(&c, false);
	code_exts(&c, b, &part);
	df_coder_release(&c);
	df_extmap_release(&part, NULL);
}

/* The extents that say df_pack_own() are in this pack. */
void df_extmap_own_pack(struct df_extmap *m, const struct df_id *pack)
{
	const struct df_id own = df_pack_own();

	for (struct df_extpos p = { 0, 0 }; df_extmap_at(m, p);
	     p = df_extmap_next(m, p)) {
		struct df_ext *e = df_extmap_at(m, p);
		if (!df_id_cmp(&e->piece.pack, &own))
			e->piece.pack = *pack;
	}
}

int df_decode_page(const void *data, size_t len, const struct df_id *pack,
		   uint64_t off, uint64_t max, struct df_extmap *m)
{
	struct df_extmap part = { 0 };
	struct df_rd r = df_rd(data, len);
	struct df_coder c;

	df_coder_init(&c, false);
	decode_exts(&c, &r, &part, max);
	bool bad = r.bad || df_rd_left(&r);
	df_extmap_own_pack(&part, pack);
	if (!bad)
		df_extmap_splice(m, off, &part, 0, max, NULL);
	df_coder_release(&c);
	df_extmap_release(&part, NULL);
	return bad ? DF_ECORRUPT : 0;
}

/* ---- versions */
enum {
	VER_PLAIN_VV = 1, /* vv is the dot alone */
	VER_ROOT_DOT = 2, /* root is the dot */
	VER_HAS_SUM = 4,
	VER_PIECES = 8, /* pieces, pvv, pid follow */
	VER_PAGES = 16,
	VER_MOVED = 32,
	VER_LOCAL = 64,     /* local flags follow */
	VER_ROOT_SUM = 128, /* root_sum is not the start of sum */
};

static void code_pieces(struct df_coder *c, struct df_buf *b,
			const struct df_ver *v)
{
	df_buf_put_var(b, v->n_pieces);
	for (uint32_t i = 0; i < v->n_pieces; i++) {
		const struct df_append *p = &v->pieces[i];
		put_time(c, b, p->time);
		put_node(c, b, p->node);
		df_buf_put_u64(b, p->ident);
		df_buf_put_var(b, p->len << 1 | p->restamped);
	}
	df_code_vv(c, b, &v->pvv);
	df_buf_put_var(b, v->n_pid);
	for (uint32_t i = 0; i < v->n_pid; i++) {
		put_time(c, b, v->pid[i].time);
		df_buf_put_u64(b, v->pid[i].ident);
	}
}

static void decode_pieces(struct df_coder *c, struct df_rd *r, struct df_ver *v)
{
	uint64_t sum = 0;
	uint32_t n = (uint32_t)df_rd_var_max(r, df_rd_left(r) / 11);

	v->pieces = n ? df_xrealloc(NULL, n, sizeof(*v->pieces)) : NULL;
	for (uint32_t i = 0; i < n && !r->bad; i++) {
		struct df_append *p = &v->pieces[v->n_pieces++];
		p->time = get_time(c, r);
		p->node = get_node(c, r);
		p->ident = df_rd_u64(r);
		p->len = df_rd_var_max(r, DF_FILE_SIZE_MAX);
		p->restamped = p->len & 1;
		p->len >>= 1;
		sum += p->len;
		if (sum > v->size || (i && df_append_cmp(p - 1, p) >= 0))
			r->bad = true;
	}
	df_decode_vv(c, r, &v->pvv);
	n = (uint32_t)df_rd_var_max(r, df_rd_left(r) / 9);
	v->pid = n ? df_xrealloc(NULL, n, sizeof(*v->pid)) : NULL;
	for (uint32_t i = 0; i < n && !r->bad; i++) {
		v->pid[i].time = get_time(c, r);
		v->pid[i].ident = df_rd_u64(r);
		v->n_pid++;
	}
}

static void code_pages(struct df_coder *c, struct df_buf *b,
		       const struct df_ver *v)
{
	uint64_t at = 0;

	df_buf_put_var(b, v->n_pages);
	df_buf_put_var(b, df_ver_bytes(v));
	for (uint32_t i = 0; i < v->n_pages; i++) {
		const struct df_piece *p = &v->pages[i].piece;
		df_buf_put_var(b, v->pages[i].region - at);
		at = v->pages[i].region + 1;
		dict_put(c->packs, b, p->pack.b);
		df_buf_put_var(b, p->off);
		df_buf_put_var(b, p->clen);
		df_buf_put_var(b, p->rlen);
		df_buf_put_u32(b, p->check);
	}
}

static void decode_pages(struct df_coder *c, struct df_rd *r, struct df_ver *v)
{
	uint32_t n = (uint32_t)df_rd_var_max(r, df_rd_left(r) / 9);
	uint64_t at = 0;

	v->paged_bytes = df_rd_var_max(r, v->size);
	v->pages = n ? df_xrealloc(NULL, n, sizeof(*v->pages)) : NULL;
	for (uint32_t i = 0; i < n && !r->bad; i++) {
		struct df_page *g = &v->pages[v->n_pages++];
		g->region = at + df_rd_var_max(r, DF_FILE_SIZE_MAX / DF_REGION);
		at = g->region + 1;
		dict_get(c->packs, r, g->piece.pack.b);
		g->piece.off = (uint32_t)df_rd_var_max(r, 64 << 20);
		g->piece.clen = (uint32_t)df_rd_var_max(
			r, DF_PIECE_RAW_MAX + DF_PIECE_HEAD);
		g->piece.rlen = (uint32_t)df_rd_var_max(r, DF_PIECE_RAW_MAX);
		g->piece.check = df_rd_u32(r);
		if (g->region > DF_FILE_SIZE_MAX / DF_REGION ||
		    g->piece.clen <= DF_PIECE_HEAD)
			r->bad = true;
	}
}

static bool plain_vv(const struct df_ver *v)
{
	return v->vv.n == 1 && df_stamp_eq(v->vv.v[0], v->dot);
}

/* Which of the optional parts follow. */
static uint8_t ver_shape(const struct df_coder *c, const struct df_ver *v)
{
	bool pieces = v->n_pieces || v->pvv.n || v->n_pid;
	bool root_sum = !(v->flags & DF_VER_SUM) || pieces ||
			memcmp(v->root_sum.b, v->sum, DF_ID_LEN);
	bool pages = c->local ? (v->flags & DF_VER_UNLOADED) || v->n_pages
			      : v->n_pages > 0;

	return (uint8_t)((plain_vv(v) ? VER_PLAIN_VV : 0) |
			 (df_stamp_eq(v->root, v->dot) ? VER_ROOT_DOT : 0) |
			 (v->flags & DF_VER_SUM ? VER_HAS_SUM : 0) |
			 (pieces ? VER_PIECES : 0) | (pages ? VER_PAGES : 0) |
			 (v->moved ? VER_MOVED : 0) |
			 (c->local ? VER_LOCAL : 0) |
			 (root_sum ? VER_ROOT_SUM : 0));
}

void df_code_ver(struct df_coder *c, struct df_buf *b, const struct df_ver *v)
{
	uint8_t shape = ver_shape(c, v);

	df_buf_put_u8(b, shape);
	df_put_stamp(c, b, v->dot);
	if (!(shape & VER_PLAIN_VV))
		df_code_vv(c, b, &v->vv);
	if (!(shape & VER_ROOT_DOT))
		df_put_stamp(c, b, v->root);
	df_buf_put_var(b, v->size);
	df_put_ns(c, b, v->mtime_ns);
	if (shape & VER_HAS_SUM)
		df_buf_put(b, v->sum, sizeof(v->sum));
	if (shape & VER_ROOT_SUM)
		df_buf_put(b, v->root_sum.b, DF_ID_LEN);
	if (shape & VER_MOVED)
		df_buf_put_var(b, v->moved);
	if (shape & VER_LOCAL) {
		df_buf_put_var(b, v->flags);
		df_buf_put_var(b, v->own_base);
	}
	if (shape & VER_PIECES)
		code_pieces(c, b, v);
	if (shape & VER_PAGES)
		code_pages(c, b, v);
	if (!(shape & VER_PAGES) || c->local)
		code_exts(c, b, &v->ext);
}

static struct df_stamp get_root(struct df_coder *c, struct df_rd *r)
{
	struct df_stamp s = { .time = get_time(c, r) };

	s.node = get_node(c, r); /* 0,0: born by an append (rule 3) */
	return s;
}

struct df_ver *df_decode_ver(struct df_coder *c, struct df_rd *r)
{
	struct df_ver *v = df_ver_new();
	uint8_t flags = df_rd_u8(r);

	v->dot = df_get_stamp(c, r);
	if (flags & VER_PLAIN_VV)
		df_vv_set(&v->vv, v->dot.node, v->dot.time);
	else
		df_decode_vv(c, r, &v->vv);
	v->root = flags & VER_ROOT_DOT ? v->dot : get_root(c, r);
	v->size = df_rd_var_max(r, DF_FILE_SIZE_MAX);
	v->mtime_ns = df_get_ns(c, r);
	if (flags & VER_HAS_SUM) {
		df_rd_copy(r, v->sum, sizeof(v->sum));
		v->flags |= DF_VER_SUM;
		memcpy(v->root_sum.b, v->sum, DF_ID_LEN);
	}
	if (flags & VER_ROOT_SUM)
		df_rd_copy(r, v->root_sum.b, DF_ID_LEN);
	if (flags & VER_MOVED)
		v->moved = (uint32_t)df_rd_var_max(r, UINT32_MAX);
	if (flags & VER_LOCAL) {
		v->flags = (uint32_t)df_rd_var_max(r, UINT32_MAX);
		v->own_base = df_rd_var(r);
	}
	if (flags & VER_PIECES)
		decode_pieces(c, r, v);
	if (flags & VER_PAGES)
		decode_pages(c, r, v);
	if (!(flags & VER_PAGES) || c->local)
		decode_exts(c, r, &v->ext, v->size);
	else
		v->flags |= DF_VER_UNLOADED;
	if (!r->bad && (!df_vv_covers(&v->vv, v->dot) ||
			!!(flags & VER_LOCAL) != c->local))
		r->bad = true;
	if (!r->bad)
		return v;
	df_ver_free(v, NULL);
	return NULL;
}
