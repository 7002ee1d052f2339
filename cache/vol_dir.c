/*
 * vol_dir.c - listing directories.
 *
 * A batch of entries is put together under the lock and handed out without
 * it.  Order and resumption rest on the cookie alone, a hash of the name as
 * shown, so entries may come and go.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/tree.h"

#define DIR_BATCH 128

struct listing {
	struct df_dirent *v; /* owned */
	int n;
	bool end;
};

static void fill(struct df_vol *v, struct df_dirent *d, struct df_obj *o,
		 const char *name, uint64_t cookie, bool plus)
{
	struct df_attr a;

	snprintf(d->name, sizeof(d->name), "%s", name);
	d->cookie = cookie;
	d->entry.nid = 0;
	if (plus) {
		df_vol_count(v, o);
		df_vol_entry(v, o, &d->entry);
		a = d->entry.attr;
	} else {
		df_vol_attr(v, o, &a);
	}
	d->ino = a.ino;
	d->type = a.mode & S_IFMT;
}

static void fill_dots(struct df_vol *v, struct df_obj *dir, uint64_t cookie,
		      struct listing *l)
{
	const char *unused;

	if (cookie < 1)
		fill(v, &l->v[l->n++], dir, ".", 1, false);
	if (cookie >= 2)
		return;
	struct df_obj *up =
		dir->nid == v->root
			? dir
			: df_fold_get(v->fold, df_tree_parent(dir, &unused));
	fill(v, &l->v[l->n++], up ? up : dir, "..", 2, false);
}

/* Losers of a directory with rivals, by the cookie of the name shown. */
struct extra {
	uint64_t cookie;
	const struct df_loser *l;
};

static int extra_cmp(const void *a, const void *b)
{
	const struct extra *x = a, *y = b;

	return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

static struct extra *extras_after(const struct df_dirview *d, uint64_t cookie,
				  size_t *n)
{
	struct extra *x = df_xalloc((d->n + 1) * sizeof(*x));

	*n = 0;
	for (size_t i = 0; i < d->n; i++) {
		uint64_t at = df_name_cookie(d->v[i].shown);
		if (at > cookie)
			x[(*n)++] = (struct extra){ at, &d->v[i] };
	}
	if (*n)
		qsort(x, *n, sizeof(*x), extra_cmp);
	return x;
}

static void fill_loser(struct df_vol *v, struct df_dirent *d,
		       const struct extra *x, bool plus)
{
	struct df_obj *o = df_fold_get(v->fold, x->l->nid);

	/* A copy has no number until somebody looks at it. */
	bool copy = x->l->kind == DF_KIND_COPY;
	fill(v, d, o, x->l->shown, x->cookie, plus && !copy);
	if (copy) {
		struct df_id id = df_copy_id(&o->id, x->l->st);
		d->ino = df_vol_ino(&id);
	}
}

/* The object that has a row's name. */
static struct df_obj *holder(struct df_vol *v, df_nid parent, bool rivals,
			     const struct df_dirrow *row)
{
	if (!rivals)
		return df_fold_get(v->fold, row->nid);
	return df_fold_get(
		v->fold,
		df_tree_winner(v, df_fold_name(v->fold, parent, row->name)));
}

/* *scanned: where to go on if nothing came of a whole batch. */
static int list_batch(struct df_vol *v, struct df_obj *dir, uint64_t cookie,
		      bool plus, struct listing *l, uint64_t *scanned)
{
	struct df_dirrow *rows = df_xalloc(DIR_BATCH * sizeof(*rows));
	struct extra *extra = NULL;
	size_t n_extra = 0, at = 0;
	bool rivals = df_fold_has_rivals(v->fold, dir->nid);
	df_nid parent = dir->nid;

	int n = df_fold_list(v->fold, parent, DF_MAX(cookie, 2), rows,
			     DIR_BATCH / 2);
	if (rivals)
		extra = extras_after(df_dirview_see(v, parent), cookie,
				     &n_extra);
	bool last = n < DIR_BATCH / 2;
	int i = 0;
	for (; i < n && l->n < DIR_BATCH; i++) {
		while (at < n_extra && extra[at].cookie < rows[i].cookie &&
		       l->n < DIR_BATCH)
			fill_loser(v, &l->v[l->n++], &extra[at++], plus);
		if (l->n == DIR_BATCH)
			break;
		/* Rivals are neighbours: one row speaks for all. */
		bool again = i && rows[i].cookie == rows[i - 1].cookie &&
			     !strcmp(rows[i].name, rows[i - 1].name);
		struct df_obj *o = again ? NULL
					 : holder(v, parent, rivals, &rows[i]);
		if (o)
			fill(v, &l->v[l->n++], o, rows[i].name, rows[i].cookie,
			     plus);
		*scanned = rows[i].cookie;
	}
	last = last && i == n;
	while (last && at < n_extra && l->n < DIR_BATCH)
		fill_loser(v, &l->v[l->n++], &extra[at++], plus);
	l->end = last && at == n_extra;
	free(extra);
	free(rows);
	return n < 0 ? n : 0;
}

/* Lookups of entries that were not taken. */
static void uncount(struct df_vol *v, const struct listing *l, int from)
{
	for (int i = from; i < l->n; i++)
		if (l->v[i].entry.nid)
			df_vol_forget(v, l->v[i].entry.nid, 1);
}

int df_vol_readdir(struct df_vol *v, df_nid nid, uint64_t cookie, bool plus,
		   bool (*emit)(void *arg, const struct df_dirent *d),
		   void *arg)
{
	struct listing l = { 0 };
	int err = 0;

	l.v = df_xalloc((DIR_BATCH + 2) * sizeof(*l.v));
	while (!l.end && !err) {
		l.n = 0;
		df_lock(&v->lock);
		struct df_obj *dir = df_vol_asked(v, nid);
		if (!dir || !df_obj_is_dir(dir)) {
			df_unlock(&v->lock);
			err = dir ? -ENOTDIR : -ESTALE;
			break;
		}
		if (cookie < 2)
			fill_dots(v, dir, cookie, &l);
		df_vol_accessed(v, dir);
		uint64_t scanned = cookie;
		err = list_batch(v, dir, cookie, plus, &l, &scanned);
		df_unlock(&v->lock);
		if (!l.n)
			cookie = scanned;
		for (int i = 0; i < l.n; i++) {
			if (!emit(arg, &l.v[i])) {
				uncount(v, &l, i);
				l.end = true;
				break;
			}
			cookie = l.v[i].cookie;
		}
	}
	free(l.v);
	return err;
}
