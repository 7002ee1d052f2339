/* cut.c - see cut.h. */
#include "cache/cut.h"

#include <stdlib.h>

#include "base/log.h"
#include "cache/journal.h"

#define HELD_BYTES (UINT64_C(16) << 20)
#define FINISH_BATCH 64

static uint64_t unsent_bytes(const struct df_obj *o)
{
	uint64_t sum = 0;

	if (!(o->flags & DF_OBJ_CONTENT_DIRTY))
		return 0;
	for (uint32_t i = 0; i < o->heads.n; i++) {
		const struct df_extmap *m = &o->heads.v[i]->ext;
		if (m->bytes <= HELD_BYTES)
			continue; /* cannot be that many */
		for (struct df_extpos p = { 0, 0 }; df_extmap_at(m, p);
		     p = df_extmap_next(m, p))
			if (!df_ext_remote(df_extmap_at(m, p)))
				sum += df_extmap_at(m, p)->len;
	}
	return sum;
}

/* E6: does o miss this cut? */
static bool is_held(struct df_vol *v, struct df_obj *o, df_nid force)
{
	int64_t now = df_clock_mono_ns();

	if (force == DF_ROOT_NID || force == o->nid)
		return false;
	if (o->held_with) {
		struct df_obj *big = df_fold_get(v->fold, o->held_with);
		if (big && big->nid != force && big->held_ns &&
		    unsent_bytes(big) > HELD_BYTES)
			return true;
		o->held_with = 0;
	}
	if (unsent_bytes(o) <= HELD_BYTES) {
		o->held_ns = 0;
		return false;
	}
	if (!o->held_ns)
		o->held_ns = now;
	return now - o->held_ns < DF_HELD_MS * DF_NS_PER_MS;
}

void df_hold_with(struct df_vol *v, struct df_obj *o, struct df_obj *big)
{
	if (!o || o == big || v->replaying)
		return;
	if (unsent_bytes(big) <= HELD_BYTES)
		return;
	if (!big->held_ns)
		big->held_ns = df_clock_mono_ns();
	o->held_with = big->nid;
}

/* What others cannot know and nothing shows is not sent (rule 11). */
static bool worth_sending(const struct df_obj *o)
{
	if (df_obj_published(o))
		return true;
	return df_obj_is_dir(o) ? df_tree_dir_live(o)
				: !(o->flags & DF_OBJ_ORPHAN);
}

void df_cut_copy(struct df_vol *v, struct df_obj *o)
{
	struct df_cut *c = v->cut;

	if (!df_obj_dirty(o) || !worth_sending(o))
		return;
	/* With several heads the pieces of all are shown in one order, which
	 * joining would change. */
	if (o->heads.n == 1)
		df_ver_join_pieces(o->heads.v[0], v->node, c->since);
	df_fold_touch(v->fold, o);
	if (is_held(v, o, c->force)) {
		df_nidset_add(&v->dirty, o->nid);
		c->n_held++;
		return;
	}
	o->held_ns = 0;
	DF_GROW(c->objs, c->n, c->size);
	c->objs[c->n++] = df_obj_copy_dirty(o, v->segs);
	df_obj_mark_cut(o);
}

struct df_cut *df_cut_begin(struct df_vol *v, df_nid force)
{
	struct df_cut *c;

	if (!v->dirty.n)
		return NULL;
	c = df_xalloc(sizeof(*c));
	c->pending = v->dirty;
	v->dirty = (struct df_nidset){ 0 };
	c->number = ++v->cuts;
	c->force = force;
	c->since = v->cut_time;
	c->node = v->node;
	c->time = v->cut_time = v->hlc;
	df_journal_cut(v);
	c->seq = v->jseq;
	v->first_dirty_ns = 0;
	v->cut = c;
	return c;
}

void df_cut_finish(struct df_vol *v, struct df_cut *c)
{
	size_t at = 0;
	bool more = true;

	while (more) {
		df_lock(&v->lock);
		df_fold_trim(v->fold);
		for (int i = 0; i < FINISH_BATCH && more; i++) {
			df_nid nid = df_nidset_pop(&c->pending, &at);
			struct df_obj *o = nid ? df_fold_get(v->fold, nid)
					       : NULL;
			more = nid != 0;
			if (o)
				df_cut_copy(v, o);
		}
		if (!more) {
			v->cut = NULL;
			v->held_files = c->n_held;
			if (c->n_held)
				v->held_cut = c->number;
			if (v->dirty.n && !v->first_dirty_ns)
				v->first_dirty_ns = df_clock_mono_ns();
		}
		df_unlock(&v->lock);
	}
}

void df_cut_free(struct df_vol *v, struct df_cut *c)
{
	for (size_t i = 0; i < c->n; i++)
		df_obj_free(c->objs[i], v->segs);
	free(c->objs);
	df_nidset_release(&c->pending);
	free(c);
}

struct again {
	struct df_vol *v;
	uint64_t seq;
};

static int cut_again(void *arg, struct df_obj *o)
{
	const struct again *a = arg;
	uint32_t whole = o->flags & DF_OBJ_WHOLE;

	/* Who has a newer record has been through this cut, and its marks. */
	if (o->jseq >= a->seq || !df_obj_dirty(o) || !worth_sending(o))
		return 0;
	/* It may have been held; what is written to it once it has no name any
	 * more would bring it back, if it passed for known. */
	if (unsent_bytes(o) > HELD_BYTES)
		return 0;
	/* As each operation did before that cut. */
	df_vol_forget_names(a->v, o);
	df_obj_mark_cut(o);
	o->flags |= whole; /* until its row is found noted */
	df_fold_touch(a->v->fold, o);
	return 0;
}

int df_cut_replay(struct df_vol *v, uint64_t seq)
{
	struct again a = { v, seq };

	return df_fold_each_flagged(v->fold, cut_again, &a);
}

static int recount_one(void *arg, struct df_obj *o)
{
	struct df_vol *v = arg;

	if (df_obj_dirty(o) && worth_sending(o))
		df_nidset_add(&v->dirty, o->nid);
	return 0;
}

size_t df_cut_recount(struct df_vol *v)
{
	size_t before = v->dirty.n;

	if (!v->conf.read_only)
		df_fold_each_flagged(v->fold, recount_one, v);
	if (v->dirty.n != before)
		df_log_error("%zu changed files were not about to be sent; "
			     "they are now: please report this",
			     v->dirty.n - before);
	return v->dirty.n - before;
}
