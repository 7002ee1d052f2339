/* identity.c - see identity.h. */
#include "cache/identity.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cache/journal.h"

#define SANDBOX_ID "/run/e2b/.E2B_SANDBOX_ID"
#define JUMP_NS (5 * DF_NS_PER_S)

static uint64_t sandbox_hash(void)
{
	struct df_buf b;

	df_buf_init(&b, 4096);
	uint64_t hash =
		df_file_read(SANDBOX_ID, &b) ? 0 : df_xxh3(b.data, b.len) | 1;
	df_buf_release(&b);
	return hash;
}

void df_identity_note(struct df_vol *v)
{
	v->seen_real_ns = df_clock_real_ns();
	v->seen_mono_ns = df_clock_mono_ns();
	v->sandbox_id_hash = sandbox_hash();
}

/* ---- restamping: old stamps of the old id -> fresh ones, in the same order */
struct restamp {
	struct df_vol *v;
	uint64_t old;
	uint64_t *times; /* sorted, no duplicates */
	uint64_t *fresh;
	size_t n, size;
};

static void note_time(struct restamp *r, struct df_stamp st)
{
	if (st.node != r->old || !st.time)
		return;
	DF_GROW(r->times, r->n, r->size);
	r->times[r->n++] = st.time;
}

static int collect(void *arg, struct df_obj *o)
{
	struct restamp *r = arg;

	for (uint32_t i = 0; i < o->n_links; i++)
		if (o->links[i].dirty)
			note_time(r, o->links[i].st);
	for (uint32_t i = 0; i < o->n_xattrs; i++)
		if (o->xattrs[i].dirty)
			note_time(r, o->xattrs[i].st);
	for (int f = 0; f < DF_A_FIELDS; f++)
		if (o->a.dirty & 1u << f)
			note_time(r, o->a.st[f]);
	if (o->place.dirty)
		note_time(r, o->place.st);
	for (uint32_t i = 0; i < o->heads.n; i++)
		if (o->flags & DF_OBJ_CONTENT_DIRTY)
			note_time(r, o->heads.v[i]->dot);
	return 0;
}

static int u64_cmp(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void make_fresh(struct restamp *r)
{
	size_t n = 0;

	if (r->n)
		qsort(r->times, r->n, sizeof(*r->times), u64_cmp);
	for (size_t i = 0; i < r->n; i++)
		if (!n || r->times[n - 1] != r->times[i])
			r->times[n++] = r->times[i];
	r->n = n;
	r->fresh = df_xalloc((n + 1) * sizeof(*r->fresh));
	for (size_t i = 0; i < n; i++)
		r->fresh[i] = df_vol_stamp_time(r->v);
}

static bool fresh_of(const struct restamp *r, struct df_stamp *st)
{
	if (st->node != r->old)
		return false;
	uint64_t *at =
		bsearch(&st->time, r->times, r->n, sizeof(*r->times), u64_cmp);
	if (!at)
		return false;
	st->time = r->fresh[at - r->times];
	st->node = r->v->node;
	return true;
}

/* How far a vector may go on covering the old id: to the last cut.  A twin may
 * have said later things under that id. */
static uint64_t until_cut(const struct restamp *r, const struct df_vv *vv,
			  uint64_t old)
{
	return DF_MIN(df_vv_get(vv, old), r->v->cut_time);
}

static void restamp_ver(const struct restamp *r, struct df_ver *h)
{
	struct df_stamp was = h->dot;

	if (!fresh_of(r, &h->dot))
		return;
	df_vv_set(&h->vv, was.node, until_cut(r, &h->vv, was.node));
	df_vv_raise(&h->vv, h->dot.node, h->dot.time);
	h->own_base = 0;
	/* Pieces made since keep time and identity: twins have them once. */
	for (uint32_t i = 0; i < h->n_pieces; i++)
		if (h->pieces[i].node == r->old &&
		    h->pieces[i].time > r->v->cut_time) {
			h->pieces[i].node = r->v->node;
			h->pieces[i].restamped = true;
		}
}

static int apply(void *arg, struct df_obj *o)
{
	struct restamp *r = arg;
	struct df_was w;
	bool gone = o->flags & DF_OBJ_GONE_DIRTY;

	df_tree_before(r->v, o, &w);
	for (uint32_t i = 0; i < o->n_links; i++)
		if (o->links[i].dirty)
			fresh_of(r, &o->links[i].st);
	for (uint32_t i = 0; i < o->n_xattrs; i++)
		if (o->xattrs[i].dirty)
			fresh_of(r, &o->xattrs[i].st);
	for (int f = 0; f < DF_A_FIELDS; f++)
		if (o->a.dirty & 1u << f)
			fresh_of(r, &o->a.st[f]);
	if (o->place.dirty)
		fresh_of(r, &o->place.st);
	for (uint32_t i = 0; i < o->heads.n; i++) {
		struct df_ver *h = o->heads.v[i];
		struct df_stamp was = h->dot;
		if (!(o->flags & DF_OBJ_CONTENT_DIRTY))
			break;
		bool covered = df_vv_covers(&o->gone, was);
		restamp_ver(r, h);
		if (gone && covered && !df_stamp_eq(was, h->dot)) {
			df_vv_set(&o->gone, was.node,
				  until_cut(r, &o->gone, was.node));
			df_vv_raise(&o->gone, h->dot.node, h->dot.time);
		}
	}
	df_heads_sort(&o->heads);
	df_tree_after(r->v, o, &w);
	df_nidset_add(&r->v->dirty, o->nid);
	return 0;
}

static int by_dirty(void *arg, struct df_obj *o)
{
	return df_obj_dirty(o) ? apply(arg, o) : 0;
}

void df_identity_renew(struct df_vol *v)
{
	struct restamp r = { .v = v, .old = v->node };

	df_lock_assert(&v->lock);
	do
		df_random(&v->node, sizeof(v->node));
	while (!v->node || v->node == r.old);
	v->seq = 0;
	v->must_rename = false;
	if (!df_rule_off(DF_RULE_RESTAMP)) {
		df_fold_each_flagged(v->fold, collect, &r);
		make_fresh(&r);
		df_fold_each_flagged(v->fold, by_dirty, &r);
	}
	v->cut_time = v->hlc;
	df_fold_set_meta(v->fold, "node", v->node);
	/* The journal knows the old stamps only: it must not be asked again. */
	df_journal_rows_again(v);
	df_journal_folded(v);
	df_journal_forget(v);
	df_fold_flush(v->fold);
	df_journal_life(v);
	df_identity_note(v);
	free(r.times);
	free(r.fresh);
}

bool df_identity_check(struct df_vol *v)
{
	int64_t real = df_clock_real_ns() - v->seen_real_ns;
	int64_t mono = df_clock_mono_ns() - v->seen_mono_ns;
	int64_t jump = real - mono;
	bool renew = v->must_rename || jump > JUMP_NS || jump < -JUMP_NS ||
		     sandbox_hash() != v->sandbox_id_hash;

	if (!renew) {
		v->seen_real_ns += real;
		v->seen_mono_ns += mono;
		return false;
	}
	df_log_info("this machine was resumed, forked or its clock set: "
		    "going on under a new identity");
	df_identity_renew(v);
	return true;
}
