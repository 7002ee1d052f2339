/*
 * ring.c - moves that make a ring are taken back (merge-rules C, rule 8).
 *
 * Rings come only from merging: two nodes move two directories into each
 * other.  They are rare and settled by the next local operation anywhere, so
 * they are worked out over all directories at once.
 */
#include <stdlib.h>
#include <string.h>

#include "cache/tree.h"

struct dir {
	df_nid nid;
	df_nid parent; /* E */
	struct df_stamp st;
	struct df_id id;
	int tried; /* 0, 1: from-parent, 2: root */
	size_t colour;
};

struct dirs {
	struct dir *v;
	size_t n, size;
};

static int add_dir(void *arg, struct df_obj *o)
{
	struct dirs *d = arg;

	if (!df_obj_is_dir(o) || o->nid == DF_ROOT_NID)
		return 0;
	DF_GROW(d->v, d->n, d->size);
	d->v[d->n++] = (struct dir){ .nid = o->nid,
				     .parent = o->place.parent,
				     .st = o->place.st,
				     .id = o->id };
	return 0;
}

/* d->v is sorted by nid (df_fold_each_dir's order). */
static struct dir *find(const struct dirs *d, df_nid nid)
{
	size_t lo = 0, hi = d->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (d->v[mid].nid < nid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < d->n && d->v[lo].nid == nid ? &d->v[lo] : NULL;
}

/* Take back the newest move of the ring that m is on. */
static void break_ring(struct df_vol *v, const struct dirs *d, struct dir *m)
{
	struct dir *best = NULL, *at = m;

	do {
		int c = best ? df_stamp_cmp(at->st, best->st) : 1;
		if (at->tried < 2 &&
		    (c > 0 || (c == 0 && df_id_cmp(&at->id, &best->id) > 0)))
			best = at;
		at = find(d, at->parent);
	} while (at && at != m);
	if (!best)
		return;
	const struct df_obj *o = df_fold_get(v->fold, best->nid);
	/* A directory that was made and removed unseen is the root to others. */
	bool root = best->tried++ || !o ||
		    !df_fold_get(v->fold, o->place.from_parent);
	best->parent = root ? DF_ROOT_NID : o->place.from_parent;
}

static bool find_ring(struct df_vol *v, const struct dirs *d)
{
	bool any = false;

	for (size_t i = 0; i < d->n; i++)
		d->v[i].colour = 0;
	for (size_t i = 0; i < d->n; i++) {
		struct dir *at = &d->v[i];
		while (at && !at->colour) {
			at->colour = i + 1;
			at = find(d, at->parent);
		}
		if (at && at->colour == i + 1) {
			break_ring(v, d, at);
			any = true;
		}
	}
	return any;
}

static void show_at(struct df_vol *v, const struct dir *d)
{
	struct df_obj *o = df_fold_get(v->fold, d->nid);
	struct df_was w;
	char *name = NULL;

	if (!o || (!d->tried && !o->e_name))
		return;
	if (d->tried == 1)
		name = df_xstrdup(o->place.from_name);
	else if (d->tried == 2)
		name = df_cname(o->place.name, o->place.st, "");
	if (name && o->e_name && o->e_parent == d->parent &&
	    !strcmp(name, o->e_name)) {
		free(name);
		return;
	}
	df_tree_before(v, o, &w);
	v->n_rehung += (name != NULL) - (o->e_name != NULL);
	free(o->e_name);
	o->e_name = name;
	o->e_parent = name ? d->parent : 0;
	df_tree_after(v, o, &w);
}

static bool on_raw_ring(struct df_vol *v, const struct df_obj *changed)
{
	df_nid at = changed->place.parent;

	for (int depth = 0; depth < 1 << 20; depth++) {
		if (at == DF_ROOT_NID)
			return false;
		if (at == changed->nid)
			return true;
		const struct df_obj *o = df_fold_get(v->fold, at);
		if (!o || !df_obj_is_dir(o))
			return false;
		at = o->place.parent;
	}
	return true;
}

void df_tree_rings(struct df_vol *v, struct df_obj *changed)
{
	struct dirs d = { 0 };

	if (df_rule_off(DF_RULE_CYCLE))
		return;
	if (!v->n_rehung && changed && !on_raw_ring(v, changed))
		return;
	df_fold_each_dir(v->fold, add_dir, &d);
	while (find_ring(v, &d))
		;
	for (size_t i = 0; i < d.n; i++)
		show_at(v, &d.v[i]);
	df_fold_set_meta(v->fold, "n_rehung", v->n_rehung);
	free(d.v);
}
