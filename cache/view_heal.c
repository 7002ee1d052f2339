/*
 * view_heal.c - rows of what others committed: are they there, once?
 *
 * Each mount writes the rows of its own commits.  What it could not (it died,
 * the server lost them) another adds.  Of the mounts that are in use the one
 * with the least node id looks first, the next a turn later, and finds it done;
 * one without a view only costs its turn's time.
 *
 * What it does not do: look at commits that are over ten minutes old.
 */
#include <stdlib.h>
#include <string.h>

#include "cache/viewi.h"

#define ROUND_SEEN 500
#define SEEN_MAX 100000
#define SETTLE_MS 3000 /* a conflict: until the others have seen it, too */
#define TURN_MS 20000
#define TURNS_MAX 8
#define RECENT_MS (10 * 60 * 1000)

/* Is o shown together with something that it has to share a name with? */
static bool in_conflict(struct df_vol *v, const struct df_obj *o)
{
	if (o->heads.n > 1)
		return true;
	for (uint32_t i = 0; i < o->n_links; i++)
		if (o->links[i].there &&
		    df_fold_has_rivals(v->fold, o->links[i].parent))
			return true;
	return false;
}

static uint64_t newest(const struct df_obj *delta)
{
	uint64_t t = 0;

	for (uint32_t i = 0; i < delta->heads.n; i++)
		t = DF_MAX(t, delta->heads.v[i]->dot.time);
	for (uint32_t i = 0; i < delta->n_links; i++)
		t = DF_MAX(t, delta->links[i].st.time);
	return t;
}

static int64_t my_turn(const struct df_vol *v)
{
	int64_t since = df_clock_mono_ns() - DF_GAP_MS * DF_NS_PER_MS;
	int64_t turn = 0;

	for (unsigned i = 0; i < v->n_active; i++)
		turn += v->active[i].node < v->node &&
			v->active[i].at_ns > since;
	return DF_MIN(turn, (int64_t)TURNS_MAX);
}

void df_view_merged(struct df_view *w, const struct df_obj *o,
		    const struct df_obj *delta)
{
	if (!w || w->dead || df_obj_is_dir(o))
		return;
	view_foreign_merged(w, o);
	struct df_vol *v = w->v;
	int64_t now_ms = df_clock_real_ns() / DF_NS_PER_MS + v->server_skew_ms;
	if (DF_STAMP_MS(newest(delta)) + RECENT_MS < now_ms)
		return;
	if (w->n_seen >= SEEN_MAX) {
		w->seen_lost++;
		return;
	}
	int64_t wait = in_conflict(v, o) ? SETTLE_MS : DF_VIEW_ADOPT_MS;
	DF_GROW(w->seen, w->n_seen, w->seen_size);
	w->seen[w->n_seen++] = (struct view_seen){
		.nid = o->nid,
		.due_ns = df_clock_mono_ns() +
			  (wait + my_turn(v) * TURN_MS) * DF_NS_PER_MS,
	};
}

/* Objects of others whose time has come; the array is the caller's. */
static size_t due_seen(struct df_view *w, struct view_seen *out)
{
	int64_t now = df_clock_mono_ns();
	size_t n = 0, keep = 0;

	df_lock(&w->v->lock);
	for (size_t i = 0; i < w->n_seen; i++) {
		if (n < ROUND_SEEN && w->seen[i].due_ns <= now)
			out[n++] = w->seen[i];
		else
			w->seen[keep++] = w->seen[i];
	}
	w->n_seen = keep;
	df_unlock(&w->v->lock);
	return n;
}

static bool is_row(const struct view_batch *b, size_t from, const char *id)
{
	for (size_t i = from; i < b->n; i++)
		if (!strcmp(b->row[i].id, id))
			return true;
	return false;
}

struct outline {
	size_t row, gone; /* ends of an object's in the batch */
};

/* As places: the rows that are to be there, then those that are not. */
static struct df_view_place *outline_places(const struct view_batch *b)
{
	struct df_view_place *p =
		df_xalloc((b->n + b->gone.n + 1) * sizeof(*p));
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		p[n++] = (struct df_view_place){
			.id = b->row[i].id,
			.path = b->row[i].path,
			.size = b->row[i].size_bytes,
		};
	for (size_t i = 0; i < b->gone.n; i++)
		p[n++] = (struct df_view_place){ .id = b->gone.v[i] };
	return p;
}

/* Keep of seen[0..*n) those whose rows are not as they should be. */
static int find_wrong(struct df_view *w, struct view_seen *seen, size_t *n)
{
	struct outline *end = df_xalloc((*n + 1) * sizeof(*end));
	struct view_batch b = { 0 };
	size_t row = 0, gone = 0, keep = 0;

	for (size_t i = 0; i < *n; i++) {
		view_outline(w, seen[i].nid, &b);
		end[i] = (struct outline){ b.n, b.gone.n };
	}
	struct df_view_place *p = outline_places(&b);
	int err = df_viewsql_look(view_table(w->v), p, b.n + b.gone.n,
				  view_deadline());
	for (size_t i = 0; i < *n && !err; i++) {
		bool wrong = false;
		size_t first = row;
		for (; row < end[i].row; row++)
			wrong |= p[row].rows != 1 || p[row].right != 1;
		for (; gone < end[i].gone; gone++)
			wrong |= p[b.n + gone].rows &&
				 !is_row(&b, first, b.gone.v[gone]);
		if (wrong)
			seen[keep++] = seen[i];
	}
	*n = err ? *n : keep;
	free(p);
	free(end);
	view_batch_release(&b);
	return err;
}

int view_heal_step(struct df_view *w)
{
	struct view_seen *seen = df_xalloc(ROUND_SEEN * sizeof(*seen));
	struct view_batch b = { 0 };
	size_t n = due_seen(w, seen), due = n;
	int err = n ? find_wrong(w, seen, &n) : 0;

	for (size_t i = 0; i < n && !err; i++) {
		err = view_rows_of(w, seen[i].nid, NULL, &b);
		if (!err)
			err = view_flush_if(w, &b, false);
	}
	if (!err)
		err = view_flush_if(w, &b, true);
	view_batch_release(&b);
	df_lock(&w->v->lock);
	for (size_t i = 0; i < n && err; i++) { /* another time */
		DF_GROW(w->seen, w->n_seen, w->seen_size);
		w->seen[w->n_seen++] = seen[i];
	}
	df_unlock(&w->v->lock);
	free(seen);
	return err ? err : due == ROUND_SEEN;
}
