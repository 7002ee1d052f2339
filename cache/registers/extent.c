/* extent.c - see extent.h. */
#include "cache/registers/extent.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define CHUNK_MAX 128

static uint64_t ext_end(const struct df_ext *e)
{
	return e->off + e->len;
}

static void count(const struct df_ext *e, int sign, struct df_segs *segs)
{
	if (segs && e->loc.seg && !df_ext_remote(e))
		df_seg_dirty(segs, e->loc.seg, sign * (int64_t)e->len);
}

void df_extmap_release(struct df_extmap *m, struct df_segs *segs)
{
	for (uint32_t c = 0; c < m->n_chunks; c++) {
		for (uint32_t i = 0; segs && i < m->c[c].n; i++)
			count(&m->c[c].v[i], -1, segs);
		free(m->c[c].v);
	}
	free(m->c);
	*m = (struct df_extmap){ 0 };
}

struct df_extmap df_extmap_copy(const struct df_extmap *m, struct df_segs *segs)
{
	struct df_extmap out = { .n_chunks = m->n_chunks,
				 .n = m->n,
				 .bytes = m->bytes };

	if (!m->n_chunks)
		return out;
	out.c = df_xalloc(m->n_chunks * sizeof(*out.c));
	for (uint32_t c = 0; c < m->n_chunks; c++) {
		const struct df_chunk *from = &m->c[c];
		out.c[c].v = df_xdup(from->v, from->n * sizeof(*from->v));
		out.c[c].n = out.c[c].size = from->n;
		for (uint32_t i = 0; segs && i < from->n; i++)
			count(&from->v[i], 1, segs);
	}
	return out;
}

struct df_extpos df_extmap_find(const struct df_extmap *m, uint64_t off)
{
	uint32_t lo = 0, hi = m->n_chunks;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		const struct df_chunk *c = &m->c[mid];
		if (ext_end(&c->v[c->n - 1]) <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	struct df_extpos p = { lo, 0 };
	if (lo == m->n_chunks)
		return p;
	uint32_t a = 0, b = m->c[lo].n;
	while (a < b) {
		uint32_t mid = (a + b) / 2;
		if (ext_end(&m->c[lo].v[mid]) <= off)
			a = mid + 1;
		else
			b = mid;
	}
	p.i = a;
	return p;
}

struct df_ext *df_extmap_at(const struct df_extmap *m, struct df_extpos p)
{
	return p.chunk < m->n_chunks ? &m->c[p.chunk].v[p.i] : NULL;
}

struct df_extpos df_extmap_next(const struct df_extmap *m, struct df_extpos p)
{
	if (++p.i >= m->c[p.chunk].n)
		p = (struct df_extpos){ p.chunk + 1, 0 };
	return p;
}

static void drop_chunk(struct df_extmap *m, uint32_t c)
{
	free(m->c[c].v);
	memmove(m->c + c, m->c + c + 1, (m->n_chunks - c - 1) * sizeof(*m->c));
	if (--m->n_chunks == 0) {
		free(m->c);
		m->c = NULL;
	}
}

static void remove_at(struct df_extmap *m, struct df_extpos p)
{
	struct df_chunk *c = &m->c[p.chunk];

	memmove(c->v + p.i, c->v + p.i + 1, (c->n - p.i - 1) * sizeof(*c->v));
	c->n--;
	m->n--;
	if (!c->n)
		drop_chunk(m, p.chunk);
}

static void split_chunk(struct df_extmap *m, uint32_t at)
{
	m->c = df_xrealloc(m->c, m->n_chunks + 1, sizeof(*m->c));
	memmove(m->c + at + 1, m->c + at, (m->n_chunks - at) * sizeof(*m->c));
	m->n_chunks++;
	struct df_chunk *a = &m->c[at], *b = &m->c[at + 1];
	/* A sequential writer fills the left half for good: keep it full. */
	uint32_t keep = at + 2 == m->n_chunks ? a->n - 1 : a->n / 2;
	*b = (struct df_chunk){ .n = a->n - keep, .size = CHUNK_MAX };
	b->v = df_xrealloc(NULL, CHUNK_MAX, sizeof(*b->v));
	memcpy(b->v, a->v + keep, b->n * sizeof(*b->v));
	a->n = keep;
}

static void insert(struct df_extmap *m, const struct df_ext *e)
{
	struct df_extpos p = df_extmap_find(m, e->off);

	if (!m->n_chunks) {
		m->c = df_xalloc(sizeof(*m->c));
		m->n_chunks = 1;
	}
	if (p.chunk == m->n_chunks) /* behind the last */
		p = (struct df_extpos){ m->n_chunks - 1,
					m->c[m->n_chunks - 1].n };
	if (m->c[p.chunk].n >= CHUNK_MAX) {
		split_chunk(m, p.chunk);
		if (p.i > m->c[p.chunk].n) {
			p.i -= m->c[p.chunk].n;
			p.chunk++;
		}
	}
	struct df_chunk *c = &m->c[p.chunk];
	if (c->n == c->size) {
		c->size = c->size ? DF_MIN(c->size * 4, CHUNK_MAX) : 1;
		c->v = df_xrealloc(c->v, c->size, sizeof(*c->v));
	}
	memmove(c->v + p.i + 1, c->v + p.i, (c->n - p.i) * sizeof(*c->v));
	c->v[p.i] = *e;
	c->n++;
	m->n++;
	m->bytes += e->len;
}

/* e without its first n bytes. */
static void cut_front(struct df_ext *e, uint32_t n)
{
	e->off += n;
	e->len -= n;
	e->skip += n;
	e->loc.off += n;
}

void df_extmap_punch(struct df_extmap *m, uint64_t off, uint64_t len,
		     struct df_segs *segs)
{
	uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;

	for (;;) {
		struct df_extpos p = df_extmap_find(m, off);
		struct df_ext *e = df_extmap_at(m, p);
		if (!e || e->off >= end)
			return;
		struct df_ext old = *e;
		count(&old, -1, segs);
		m->bytes -= old.len;
		if (old.off < off) { /* a head stays */
			e->len = (uint32_t)(off - old.off);
			m->bytes += e->len;
			count(e, 1, segs);
		}
		if (ext_end(&old) > end) { /* a tail stays */
			struct df_ext tail = old;
			cut_front(&tail, (uint32_t)(end - old.off));
			count(&tail, 1, segs);
			if (old.off < off) {
				insert(m, &tail);
			} else {
				*e = tail;
				m->bytes += tail.len;
			}
			return;
		}
		if (old.off >= off)
			remove_at(m, p);
	}
}

void df_extmap_put(struct df_extmap *m, const struct df_ext *e,
		   struct df_segs *segs)
{
	df_extmap_punch(m, e->off, e->len, segs);
	insert(m, e);
	count(e, 1, segs);
}

void df_extmap_splice(struct df_extmap *dst, uint64_t dst_off,
		      const struct df_extmap *src, uint64_t off, uint64_t len,
		      struct df_segs *segs)
{
	uint64_t end = off + len;

	df_extmap_punch(dst, dst_off, len, segs);
	for (struct df_extpos p = df_extmap_find(src, off);;
	     p = df_extmap_next(src, p)) {
		const struct df_ext *at = df_extmap_at(src, p);
		if (!at || at->off >= end)
			return;
		struct df_ext e = *at;
		if (e.off < off)
			cut_front(&e, (uint32_t)(off - e.off));
		if (ext_end(&e) > end)
			e.len = (uint32_t)(end - e.off);
		e.off = dst_off + (e.off - off);
		insert(dst, &e);
		count(&e, 1, segs);
	}
}

bool df_extmap_same(const struct df_extmap *a, const struct df_extmap *b)
{
	struct df_extpos p = { 0, 0 }, q = { 0, 0 };

	if (a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++) {
		const struct df_ext *x = df_extmap_at(a, p);
		const struct df_ext *y = df_extmap_at(b, q);
		if (x->off != y->off || x->len != y->len)
			return false;
		bool piece = df_ext_remote(x) && df_ext_remote(y) &&
			     x->skip == y->skip &&
			     x->piece.off == y->piece.off &&
			     !df_id_cmp(&x->piece.pack, &y->piece.pack);
		bool local = !df_ext_remote(x) && !df_ext_remote(y) &&
			     x->loc.seg == y->loc.seg && x->loc.seg &&
			     x->loc.off == y->loc.off;
		if (!piece && !local)
			return false;
		p = df_extmap_next(a, p);
		q = df_extmap_next(b, q);
	}
	return true;
}

void df_ext_uploaded(struct df_ext *e, const struct df_piece *piece,
		     uint32_t skip, struct df_segs *segs)
{
	if (df_ext_remote(e))
		return;
	count(e, -1, segs);
	e->piece = *piece;
	e->skip = skip;
}

static bool same_place(const struct df_ext *e, const struct df_ext *s)
{
	return e->loc.seg && e->loc.seg == s->loc.seg &&
	       (uint64_t)e->loc.off + s->off == (uint64_t)s->loc.off + e->off;
}

void df_extmap_learn(struct df_extmap *mine, const struct df_extmap *sent,
		     bool by_loc, struct df_segs *segs)
{
	uint64_t at = 0;

	for (;;) {
		struct df_ext *e = df_extmap_at(mine, df_extmap_find(mine, at));
		if (!e)
			return;
		at = ext_end(e);
		if (df_ext_remote(e))
			continue;
		const struct df_ext *s =
			df_extmap_at(sent, df_extmap_find(sent, e->off));
		if (!s || s->off > e->off || !df_ext_remote(s) ||
		    (by_loc && !same_place(e, s)))
			continue;
		if (ext_end(s) < at) {
			struct df_ext tail = *e;
			at = ext_end(s);
			cut_front(&tail, (uint32_t)(at - e->off));
			uint64_t off = e->off;
			df_extmap_put(mine, &tail, segs);
			e = df_extmap_at(mine, df_extmap_find(mine, off));
		}
		df_ext_uploaded(e, &s->piece,
				s->skip + (uint32_t)(e->off - s->off), segs);
	}
}
