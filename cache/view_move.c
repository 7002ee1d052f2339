/*
 * view_move.c - a directory moved: the rows below it follow, in batches.
 *
 * On a server of ours only their paths are set, by id, so that neither what
 * somebody puts at the old path meanwhile nor a second move is a danger.
 * Elsewhere the rows are written again (the engine there loses UPDATEs).
 */
#include <stdlib.h>
#include <string.h>

#include "cache/viewi.h"

#define WALK_ROWS 400 /* paths set in one round */
#define WALK_WHOLE 50 /* rows written again in one round */

void view_walk_add(struct df_view *w, df_nid dir)
{
	struct view_walk **at = &w->walks;

	while (*at && (*at)->top != dir)
		at = &(*at)->next;
	if (!*at) {
		*at = df_xalloc(sizeof(**at));
		(*at)->top = dir;
	}
	struct view_walk *k = *at; /* from the start: it moved again */
	k->n = 0;
	k->after = 0;
	DF_GROW(k->dirs, k->n, k->size);
	k->dirs[k->n++] = dir;
}

static void walk_end(struct df_view *w)
{
	struct view_walk *k = w->walks;

	w->walks = k->next;
	free(k->dirs);
	free(k);
}

void view_walks_free(struct df_view *w)
{
	while (w->walks)
		walk_end(w);
}

/* Files below into nids (at most max), directories onto the stack. */
static int list_some(struct df_view *w, struct view_walk *k, df_nid *nids,
		     size_t max, size_t *n)
{
	struct df_dirrow rows[32];
	struct df_vol *v = w->v;

	*n = 0;
	while (k->n && *n + DF_ARRAY_LEN(rows) <= max) {
		df_nid dir = k->dirs[k->n - 1];
		df_lock(&v->lock);
		df_fold_trim(v->fold);
		int got = df_fold_list(v->fold, dir, k->after, rows,
				       DF_ARRAY_LEN(rows));
		uint64_t next = got > 0 ? rows[got - 1].cookie : 0;
		if (got < (int)DF_ARRAY_LEN(rows)) {
			k->n--;
			next = 0; /* of the next directory */
		}
		for (int i = 0; i < got; i++) {
			const struct df_obj *o =
				df_fold_get(v->fold, rows[i].nid);
			if (o && df_obj_is_dir(o)) {
				/* below the one that is being listed */
				DF_GROW(k->dirs, k->n, k->size);
				size_t at = next ? k->n - 1 : k->n;
				memmove(k->dirs + at + 1, k->dirs + at,
					(k->n - at) * sizeof(*k->dirs));
				k->dirs[at] = o->nid;
				k->n++;
			} else if (o) {
				nids[(*n)++] = o->nid;
			}
		}
		k->after = next;
		df_unlock(&v->lock);
		if (got < 0)
			return got;
	}
	return 0;
}

static int set_paths(struct df_view *w, const df_nid *nids, size_t n)
{
	struct df_view_want *all = NULL;
	size_t used = 0, size = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;
		df_lock(&w->v->lock);
		struct df_obj *o = df_fold_get(w->v->fold, nids[i]);
		struct df_view_want *want = o ? view_wants(w->v, o, &k) : NULL;
		df_unlock(&w->v->lock);
		for (size_t j = 0; j < k; j++) {
			DF_GROW(all, used, size);
			all[used++] = want[j];
		}
		free(want);
	}
	struct df_view_place *to = df_xalloc((used + 1) * sizeof(*to));
	for (size_t i = 0; i < used; i++)
		to[i] = (struct df_view_place){ .id = all[i].id,
						.path = all[i].path };
	int err = df_viewsql_move(view_table(w->v), to, used, view_deadline());
	for (size_t i = 0; i < used; i++)
		free(all[i].path);
	free(all);
	free(to);
	return err;
}

static int write_again(struct df_view *w, const df_nid *nids, size_t n)
{
	struct view_batch b = { 0 };
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = view_rows_of(w, nids[i], NULL, &b);
	if (!err)
		err = view_send(w, &b, true);
	view_batch_release(&b);
	return err;
}

int view_walk_step(struct df_view *w)
{
	struct view_walk *k = w->walks;
	bool ours = w->v->remote->caps.ours;
	df_nid nids[WALK_ROWS];
	size_t n = 0;

	/* A failed batch is listed again: keep where it began. */
	uint64_t after = k->after;
	size_t depth = k->n;
	df_nid *dirs = df_xdup(k->dirs, depth * sizeof(*dirs));
	int err = list_some(w, k, nids, ours ? WALK_ROWS : WALK_WHOLE, &n);
	if (!err && n)
		err = ours ? set_paths(w, nids, n) : write_again(w, nids, n);
	if (err) {
		memcpy(k->dirs, dirs, depth * sizeof(*dirs));
		k->n = depth;
		k->after = after;
	} else if (!k->n) {
		walk_end(w);
	}
	free(dirs);
	return err;
}
