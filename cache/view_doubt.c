/*
 * view_doubt.c - rows of the view whose INSERT may run twice, late or never.
 *
 * An INSERT without an answer may still be queued at the server when the batch
 * was sent again: then the row comes back after it was deleted, or, where _id
 * is not unique (viewsql.h), is there twice.  So the ids of such rows are
 * remembered and read back, twice: soon, and when what was queued has run or is
 * lost.  A row that is not there exactly as often as it should be is written
 * anew, deletions first.  On a server that did not prove itself ours every row is in
 * doubt (it doubles rows that it acknowledged), and one look is enough.
 *
 * What it does not do: outlive the process.  What is left of a killed one is
 * found by another mount (view_heal.c) or by fsck.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cache/viewi.h"

#define SOON_MS 10000
#define LATE_MS 60000
#define DOUBTS_MAX 100000
#define ROUND_IDS 500

struct view_doubt {
	char id[DF_VIEW_ID_LEN];
	df_nid nid;
	int64_t due_ns;
	bool last; /* look */
};

static int doubt_cmp(const void *a, const void *b)
{
	const struct view_doubt *x = a, *y = b;
	int c = strcmp(x->id, y->id);

	/* the latest first: it is the one that is kept */
	return c ? c : (x->due_ns < y->due_ns) - (x->due_ns > y->due_ns);
}

/* A batch that was sent again and again is in doubt once. */
static void join_doubts(struct view_doubts *d)
{
	size_t used = 0;

	qsort(d->v, d->n, sizeof(*d->v), doubt_cmp);
	for (size_t i = 0; i < d->n; i++)
		if (!used || strcmp(d->v[used - 1].id, d->v[i].id))
			d->v[used++] = d->v[i];
	d->n = used;
}

static void add(struct df_view *w, const struct view_doubt *x)
{
	struct view_doubts *d = &w->doubts;

	if (d->n >= DOUBTS_MAX)
		join_doubts(d);
	if (d->n >= DOUBTS_MAX) {
		if (!d->told)
			df_log_warn("the files view: more rows than are "
				    "remembered have an unknown fate; "
				    "'deeplake fsck --view %s' looks at all",
				    w->v->conf.table);
		d->told = true;
		return;
	}
	DF_GROW(d->v, d->n, d->size);
	d->v[d->n++] = *x;
	if (!d->due_ns || x->due_ns < d->due_ns)
		d->due_ns = x->due_ns;
}

void view_doubt(struct df_view *w, const struct df_view_row *row, size_t n)
{
	bool ours = w->v->remote->caps.ours;
	int64_t wait = ours ? SOON_MS : LATE_MS;

	for (size_t i = 0; i < n; i++) {
		struct view_doubt x = {
			.nid = row[i].tag,
			.due_ns = df_clock_mono_ns() + wait * DF_NS_PER_MS,
			.last = !ours,
		};
		memcpy(x.id, row[i].id, strlen(row[i].id));
		add(w, &x);
	}
}

/* Take out what is due; the array is the caller's. */
static size_t due_doubts(struct df_view *w, struct view_doubt *out)
{
	struct view_doubts *d = &w->doubts;
	int64_t now = df_clock_mono_ns();
	/* Ours shows at once what it did: umount need not leave doubts. */
	bool all = w->drain && w->v->remote->caps.ours;
	size_t n = 0, keep = 0;

	if (!d->n || (!all && d->due_ns > now))
		return 0;
	join_doubts(d);
	d->due_ns = 0;
	for (size_t i = 0; i < d->n; i++) {
		struct view_doubt *x = &d->v[i];
		if (n < ROUND_IDS && (all || x->due_ns <= now)) {
			x->last |= all;
			out[n++] = *x;
			continue;
		}
		if (!d->due_ns || x->due_ns < d->due_ns)
			d->due_ns = x->due_ns;
		d->v[keep++] = *x;
	}
	d->n = keep;
	return n;
}

/* Should the row be there? */
static bool is_wanted(struct df_view *w, const struct view_doubt *x)
{
	bool wanted = false;
	size_t n = 0;

	df_lock(&w->v->lock);
	df_fold_trim(w->v->fold);
	struct df_obj *o = df_fold_get(w->v->fold, x->nid);
	struct df_view_want *want = o ? view_wants(w->v, o, &n) : NULL;
	df_unlock(&w->v->lock);
	for (size_t i = 0; i < n; i++) {
		wanted |= !strcmp(want[i].id, x->id);
		free(want[i].path);
	}
	free(want);
	return wanted;
}

static int look(struct df_view *w, const struct view_doubt *x, size_t n,
		struct view_batch *b)
{
	struct df_view_place *places = df_xalloc((n + 1) * sizeof(*places));

	for (size_t i = 0; i < n; i++)
		places[i] = (struct df_view_place){ .id = x[i].id };
	int err = df_viewsql_look(view_table(w->v), places, n, view_deadline());
	for (size_t i = 0; i < n && !err; i++) {
		bool wanted = is_wanted(w, &x[i]);
		if (places[i].rows == wanted)
			continue;
		view_batch_gone(b, x[i].id);
		if (wanted)
			err = view_rows_of(w, x[i].nid, NULL, b);
	}
	free(places);
	return err;
}

int view_doubt_step(struct df_view *w)
{
	struct view_doubt *x = df_xalloc(ROUND_IDS * sizeof(*x));
	struct view_batch b = { 0 };
	size_t n = due_doubts(w, x);
	int err = n ? look(w, x, n, &b) : 0;

	if (!err)
		err = view_send(w, &b, true);
	for (size_t i = 0; i < n; i++) {
		int64_t wait = err ? SOON_MS : LATE_MS;
		if (!err && x[i].last)
			continue;
		x[i].last |= !err;
		x[i].due_ns = df_clock_mono_ns() + wait * DF_NS_PER_MS;
		add(w, &x[i]);
	}
	view_batch_release(&b);
	free(x);
	return err ? err : n == ROUND_IDS;
}

void view_doubts_free(struct df_view *w)
{
	free(w->doubts.v);
	w->doubts = (struct view_doubts){ 0 };
}
