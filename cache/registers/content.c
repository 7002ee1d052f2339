/* content.c - see content.h; the merge follows merge-rules 7 line by line. */
#include "cache/registers/content.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "cache/registers/rules.h"

struct df_ver *df_ver_new(void)
{
	return df_xalloc(sizeof(struct df_ver));
}

void df_ver_free(struct df_ver *v, struct df_segs *segs)
{
	if (!v)
		return;
	df_extmap_release(&v->ext, segs);
	df_vv_release(&v->vv);
	df_vv_release(&v->pvv);
	free(v->pages);
	free(v->pieces);
	free(v->pid);
	free(v);
}

struct df_ver *df_ver_copy(const struct df_ver *v, struct df_segs *segs)
{
	struct df_ver *c = df_xdup(v, sizeof(*v));

	c->vv = df_vv_copy(&v->vv);
	c->pvv = df_vv_copy(&v->pvv);
	c->ext = df_extmap_copy(&v->ext, segs);
	c->pages = df_xdup(v->pages, v->n_pages * sizeof(*v->pages));
	c->pieces = df_xdup(v->pieces, v->n_pieces * sizeof(*v->pieces));
	c->pid = df_xdup(v->pid, v->n_pid * sizeof(*v->pid));
	return c;
}

uint64_t df_ver_bytes(const struct df_ver *v)
{
	return v->flags & DF_VER_UNLOADED ? v->paged_bytes : v->ext.bytes;
}

void df_ver_touch(struct df_ver *v, uint64_t off, uint64_t len)
{
	uint64_t first = off / DF_REGION;
	uint64_t last =
		(len > UINT64_MAX - off ? UINT64_MAX : off + len) / DF_REGION;
	uint32_t n = 0;

	for (uint32_t i = 0; i < v->n_pages; i++)
		if (v->pages[i].region < first || v->pages[i].region > last)
			v->pages[n++] = v->pages[i];
	v->n_pages = n;
}

uint64_t df_ver_prefix(const struct df_ver *v)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < v->n_pieces; i++)
		sum += v->pieces[i].len;
	return v->size - sum;
}

int df_append_cmp(const struct df_append *a, const struct df_append *b)
{
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	return a->ident < b->ident ? -1 : a->ident > b->ident;
}

void df_heads_release(struct df_heads *h, struct df_segs *segs)
{
	for (uint32_t i = 0; i < h->n; i++)
		df_ver_free(h->v[i], segs);
	free(h->v);
	*h = (struct df_heads){ 0 };
}

/* Of equal dots the greater `moved` counts, then the greater form; any total
 * order will do that every node computes alike. */
static bool same_dot_newer(const struct df_ver *a, const struct df_ver *b)
{
	if (a->moved != b->moved)
		return a->moved > b->moved;
	if (a->size != b->size)
		return a->size > b->size;
	int c = memcmp(a->sum, b->sum, sizeof(a->sum));
	if (!c)
		c = df_id_cmp(&a->root_sum, &b->root_sum);
	if (!c && a->mtime_ns != b->mtime_ns)
		c = a->mtime_ns < b->mtime_ns ? -1 : 1;
	if (!c && a->n_pieces != b->n_pieces)
		c = a->n_pieces < b->n_pieces ? -1 : 1;
	if (!c && a->ext.n && b->ext.n) {
		struct df_extpos zero = { 0, 0 };
		c = df_id_cmp(&df_extmap_at(&a->ext, zero)->piece.pack,
			      &df_extmap_at(&b->ext, zero)->piece.pack);
	}
	return c > 0;
}

static void heads_drop(struct df_heads *h, uint32_t i, struct df_segs *segs)
{
	df_ver_free(h->v[i], segs);
	memmove(h->v + i, h->v + i + 1, (h->n - i - 1) * sizeof(*h->v));
	h->n--;
}

bool df_heads_join(struct df_heads *h, struct df_ver *v, struct df_segs *segs)
{
	if (df_rule_off(DF_RULE_MVR) && h->n) {
		if (df_stamp_cmp(h->v[0]->dot, v->dot) >= 0) {
			df_ver_free(v, segs);
			return false;
		}
		heads_drop(h, 0, segs);
	}
	for (uint32_t i = 0; i < h->n; i++) {
		struct df_ver *o = h->v[i];
		if (df_stamp_eq(o->dot, v->dot)) {
			if (!same_dot_newer(v, o)) {
				df_ver_free(v, segs);
				return false;
			}
			heads_drop(h, i, segs);
			break;
		}
		if (df_vv_covers(&o->vv, v->dot)) {
			df_ver_free(v, segs);
			return false;
		}
	}
	for (uint32_t i = 0; i < h->n;)
		if (df_vv_covers(&v->vv, h->v[i]->dot))
			heads_drop(h, i, segs);
		else
			i++;
	uint32_t at = 0;
	while (at < h->n && df_stamp_cmp(h->v[at]->dot, v->dot) > 0)
		at++;
	h->v = df_xrealloc(h->v, h->n + 1, sizeof(*h->v));
	memmove(h->v + at + 1, h->v + at, (h->n - at) * sizeof(*h->v));
	h->v[at] = v;
	h->n++;
	return true;
}

static int head_cmp(const void *a, const void *b)
{
	struct df_ver *const *x = a, *const *y = b;

	return -df_stamp_cmp((*x)->dot, (*y)->dot);
}

void df_heads_sort(struct df_heads *h)
{
	if (h->n > 1)
		qsort(h->v, h->n, sizeof(*h->v), head_cmp);
}

struct df_vv df_heads_vv(const struct df_heads *h)
{
	struct df_vv vv = { 0 };

	for (uint32_t i = 0; i < h->n; i++)
		df_vv_join(&vv, &h->v[i]->vv);
	return vv;
}

/* ---- texts */

static bool same_root(const struct df_ver *a, const struct df_ver *b)
{
	return df_stamp_eq(a->root, b->root) &&
	       !df_id_cmp(&a->root_sum, &b->root_sum) &&
	       !((a->flags | b->flags) & DF_VER_OPEN);
}

static bool absorbed(const struct df_ver *base, const struct df_append *p)
{
	if (df_vv_covers(&base->pvv, (struct df_stamp){ p->time, p->node }))
		return true;
	for (uint32_t i = 0; i < base->n_pid; i++)
		if (base->pid[i].time == p->time &&
		    base->pid[i].ident == p->ident)
			return true;
	return false;
}

struct part {
	struct df_append p;
	const struct df_ver *from;
	uint64_t off; /* in from's text */
};

static int part_cmp(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	return df_append_cmp(&x->p, &y->p);
}

/* The pieces of the versions in ok that base has not absorbed, once each. */
static struct part *collect(struct df_ver *const *ok, uint32_t n,
			    const struct df_ver *base, uint32_t *n_parts)
{
	struct part *parts = NULL;
	uint32_t used = 0, size = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t off = df_ver_prefix(ok[i]);
		for (uint32_t k = 0; k < ok[i]->n_pieces; k++) {
			const struct df_append *p = &ok[i]->pieces[k];
			if (!absorbed(base, p)) {
				DF_GROW(parts, used, size);
				parts[used++] = (struct part){ *p, ok[i], off };
			}
			off += p->len;
		}
	}
	if (used)
		qsort(parts, used, sizeof(*parts), part_cmp);
	uint32_t out = 0;
	for (uint32_t i = 0; i < used; i++) {
		if (!out || df_append_cmp(&parts[out - 1].p, &parts[i].p))
			parts[out++] = parts[i];
		else if (parts[i].p.len > parts[out - 1].p.len ||
			 (parts[i].p.len == parts[out - 1].p.len &&
			  parts[i].from == base))
			parts[out - 1] = parts[i]; /* the longer twin */
	}
	*n_parts = out;
	return parts;
}

/* What m takes over from base besides its extents: all that is said of the whole
 * text if that is base's alone; or that extents are missing, because a map that
 * they came from is still in pages. */
static void merge_map(struct df_ver *m, const struct df_ver *base,
		      const struct part *parts, uint32_t n_parts)
{
	bool unloaded = base->flags & DF_VER_UNLOADED;
	bool alone = true;

	m->paged_bytes = df_ver_bytes(base);
	for (uint32_t i = 0; i < n_parts; i++) {
		if (parts[i].from == base)
			continue;
		unloaded |= parts[i].from->flags & DF_VER_UNLOADED;
		alone = false;
		m->paged_bytes += parts[i].p.len;
	}
	if (!alone || n_parts != base->n_pieces) {
		m->flags = unloaded ? DF_VER_UNLOADED : 0;
		return;
	}
	m->flags = base->flags;
	memcpy(m->sum, base->sum, sizeof(m->sum));
	m->pages = df_xdup(base->pages, base->n_pages * sizeof(*m->pages));
	m->n_pages = base->n_pages;
	m->paged_bytes = base->paged_bytes;
}

static struct df_ver *merge(struct df_ver *const *ok, uint32_t n,
			    const struct df_ver *base, struct df_segs *segs)
{
	struct df_ver *m = df_ver_new();
	uint32_t n_parts;
	struct part *parts = collect(ok, n, base, &n_parts);
	uint64_t size = df_ver_prefix(base);

	m->dot = ok[0]->dot;
	m->root = base->root;
	m->root_sum = base->root_sum;
	m->pvv = df_vv_copy(&base->pvv);
	m->pid = df_xdup(base->pid, base->n_pid * sizeof(*base->pid));
	m->n_pid = base->n_pid;
	m->mtime_ns = ok[0]->mtime_ns;
	df_extmap_splice(&m->ext, 0, &base->ext, 0, size, segs);
	m->pieces = df_xrealloc(NULL, n_parts, sizeof(*m->pieces));
	m->n_pieces = n_parts;
	for (uint32_t i = 0; i < n_parts; i++) {
		m->pieces[i] = parts[i].p;
		df_extmap_splice(&m->ext, size, &parts[i].from->ext,
				 parts[i].off, parts[i].p.len, segs);
		size += parts[i].p.len;
	}
	m->size = size;
	merge_map(m, base, parts, n_parts);
	free(parts);
	return m;
}

/* The head with the greatest time in pvv; ties: the greatest dot. */
static struct df_ver *choose_base(struct df_ver *const *v, uint32_t n)
{
	struct df_ver *base = v[0];

	for (uint32_t i = 1; i < n; i++) {
		uint64_t a = df_vv_max(&v[i]->pvv), b = df_vv_max(&base->pvv);
		if (a > b || (a == b && df_stamp_cmp(v[i]->dot, base->dot) > 0))
			base = v[i];
	}
	return base;
}

static int text_cmp(const void *a, const void *b)
{
	const struct df_text *x = a, *y = b;

	return -df_stamp_cmp(x->dot, y->dot);
}

/* One text out of the heads of `left` that share the first one's root; the
 * heads used are taken out of left. */
static struct df_text take_text(const struct df_heads *h, uint32_t *left,
				uint32_t *n_left, struct df_segs *segs)
{
	struct df_ver **group = df_xrealloc(NULL, *n_left, sizeof(*group));
	struct df_text t = { .heads = df_xrealloc(NULL, *n_left,
						  sizeof(*t.heads)) };
	uint32_t n = 0, keep = 0;
	const struct df_ver *first = h->v[left[0]];
	bool alone = df_rule_off(DF_RULE_MERGE_APPEND);

	for (uint32_t i = 0; i < *n_left; i++)
		if (i == 0 || (!alone && same_root(first, h->v[left[i]])))
			group[n++] = h->v[left[i]];
	struct df_ver *base = choose_base(group, n);
	n = 0;
	for (uint32_t i = 0; i < *n_left; i++) {
		struct df_ver *v = h->v[left[i]];
		if ((v == base || (!alone && same_root(first, v) &&
				   df_vv_covers_all(&base->vv, &v->pvv)))) {
			group[n++] = v;
			if (v == base)
				t.base = left[i];
			t.heads[t.n_heads++] = left[i];
		} else {
			left[keep++] = left[i];
		}
	}
	*n_left = keep;
	t.m = merge(group, n, base, segs);
	t.dot = t.m->dot;
	free(group);
	return t;
}

void df_texts_init(struct df_texts *t, const struct df_heads *h,
		   struct df_segs *segs)
{
	uint32_t n_left = h->n;
	uint32_t *left = df_xrealloc(NULL, n_left, sizeof(*left));

	*t = (struct df_texts){ 0 };
	for (uint32_t i = 0; i < n_left; i++)
		left[i] = i;
	t->v = df_xrealloc(NULL, n_left, sizeof(*t->v));
	while (n_left)
		t->v[t->n++] = take_text(h, left, &n_left, segs);
	free(left);
	if (t->n > 1)
		qsort(t->v, t->n, sizeof(*t->v), text_cmp);
}

void df_texts_release(struct df_texts *t, struct df_segs *segs)
{
	for (uint32_t i = 0; i < t->n; i++) {
		df_ver_free(t->v[i].m, segs);
		free(t->v[i].heads);
	}
	free(t->v);
	*t = (struct df_texts){ 0 };
}

bool df_ver_equal(const struct df_ver *a, const struct df_ver *b)
{
	if (a->size != b->size)
		return false;
	if (!a->size)
		return true;
	if ((a->flags | b->flags) & DF_VER_UNLOADED)
		return a->n_pages == b->n_pages && a->n_pages &&
		       !memcmp(a->pages, b->pages,
			       a->n_pages * sizeof(*a->pages));
	if ((a->flags & b->flags & DF_VER_SUM) &&
	    !memcmp(a->sum, b->sum, sizeof(a->sum)))
		return true;
	return df_extmap_same(&a->ext, &b->ext);
}

void df_ver_absorb(struct df_ver *v, uint64_t stable_time)
{
	uint32_t n = 0;

	if (v->n_pieces <= DF_PIECES_KEEP)
		return;
	while (n < v->n_pieces - 1 && (v->pieces[n].time < stable_time ||
				       v->n_pieces - n > DF_PIECES_MAX)) {
		const struct df_append *p = &v->pieces[n++];
		df_vv_raise(&v->pvv, p->node, p->time);
		if (!p->restamped)
			continue;
		v->pid = df_xrealloc(v->pid, v->n_pid + 1, sizeof(*v->pid));
		v->pid[v->n_pid++] = (struct df_pid){ p->time, p->ident };
	}
	if (!n)
		return;
	v->n_pieces -= n;
	memmove(v->pieces, v->pieces + n, v->n_pieces * sizeof(*v->pieces));
}

/* ---- joining pieces */

uint64_t df_append_mix(uint64_t ident, uint64_t by)
{
	uint64_t both[2] = { ident, by };

	return df_xxh3(both, sizeof(both));
}

uint32_t df_ver_uncut(const struct df_ver *v, uint64_t node, uint64_t since)
{
	uint32_t n = 0;

	for (; n < v->n_pieces; n++) {
		const struct df_append *p = &v->pieces[v->n_pieces - 1 - n];
		if (p->node != node || p->time <= since || p->restamped)
			break;
	}
	return n;
}

/* pieces[at .. at + n) become the first of them. */
static void join_pieces(struct df_ver *v, uint32_t at, uint32_t n)
{
	struct df_append *p = &v->pieces[at];

	for (uint32_t i = 1; i < n; i++) {
		p->ident = df_append_mix(p->ident, p[i].ident);
		p->len += p[i].len;
	}
	v->n_pieces -= n - 1;
	memmove(p + 1, p + n, (v->n_pieces - at - 1) * sizeof(*p));
}

void df_ver_join_pieces(struct df_ver *v, uint64_t node, uint64_t since)
{
	uint32_t n = df_ver_uncut(v, node, since);

	if (n > 1)
		join_pieces(v, v->n_pieces - n, n);
}

void df_ver_join_as(struct df_ver *v, const struct df_ver *sent)
{
	for (uint32_t i = 0, k = 0; i < sent->n_pieces; i++) {
		const struct df_append *s = &sent->pieces[i];
		uint64_t len = 0;
		uint32_t n = 0;

		while (k < v->n_pieces && v->pieces[k].time < s->time)
			k++;
		while (k + n < v->n_pieces && len < s->len &&
		       v->pieces[k + n].node == s->node)
			len += v->pieces[k + n++].len;
		if (n > 1 && len == s->len && v->pieces[k].time == s->time) {
			join_pieces(v, k, n);
			v->pieces[k].ident = s->ident;
		}
	}
}
