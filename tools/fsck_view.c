/*
 * fsck_view.c - the files view against the registers: each row that should be
 * there is, once, with its path and size; nothing else begins with "df-".
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "tools/fsck.h"

#define PAGE_ROWS 5000
#define REPAIR_ROWS 2000

struct want {
	char id[DF_VIEW_ID_LEN];
	char *path; /* owned */
	uint64_t size;
	df_nid nid;
	unsigned seen;
	bool bad;
};

struct view {
	struct fsck *f;
	struct want *v; /* owned; sorted by id */
	size_t n, size;
	char (*stale)[DF_VIEW_ID_LEN]; /* owned: rows to be removed */
	size_t n_stale, stale_size;
	df_nid *again; /* owned: objects to be written anew */
	size_t n_again, again_size;
};

static int take_want(void *arg, df_nid nid, const struct df_view_want *w)
{
	struct view *x = arg;

	DF_GROW(x->v, x->n, x->size);
	struct want *to = &x->v[x->n++];
	*to = (struct want){ .path = df_xstrdup(w->path),
			     .size = w->size,
			     .nid = nid };
	memcpy(to->id, w->id, sizeof(to->id));
	return 0;
}

static int want_cmp(const void *a, const void *b)
{
	const struct want *x = a, *y = b;

	return strcmp(x->id, y->id);
}

static void remove_row(struct view *x, const char *id)
{
	DF_GROW(x->stale, x->n_stale, x->stale_size);
	snprintf(x->stale[x->n_stale++], DF_VIEW_ID_LEN, "%s", id);
}

/* What the table shows of a path: bytes that are no UTF-8 as U+FFFD. */
static bool same_path(const struct want *w, const struct df_cell *c)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	df_json_escape(&b, w->path, strlen(w->path));
	struct df_buf got;
	df_buf_init(&got, 0);
	df_json_escape(&got, c->s, c->len);
	bool same = b.len == got.len && !memcmp(b.data, got.data, b.len);
	df_buf_release(&b);
	df_buf_release(&got);
	return same;
}

static void look_at_row(struct view *x, const struct df_answer *a, size_t r)
{
	const struct df_cell *id = df_answer_cell(a, r, 0);
	const struct df_cell *path = df_answer_cell(a, r, 1);
	struct want key = { .path = NULL };
	uint64_t size = 0;

	x->f->view_rows++;
	if (id->len >= sizeof(key.id)) {
		fsck_say(x->f, false, "view", "a row",
			 "its _id is none of "
			 "ours though it begins with df-");
		return;
	}
	memcpy(key.id, id->s, id->len);
	struct want *w =
		x->n ? bsearch(&key, x->v, x->n, sizeof(*x->v), want_cmp)
		     : NULL;
	if (!w) {
		DF_FREE char *where = df_xalloc(path->len + 1);
		memcpy(where, path->s, path->len);
		fsck_say_behind(x->f, where, "an old row");
		remove_row(x, key.id);
		return;
	}
	bool moved = !same_path(w, path);
	const char *what = w->seen++ ? "its row is there twice"
			   : df_cell_u64(df_answer_cell(a, r, 2), &size) ||
					   size != w->size
				   ? "its row has another size"
				   : NULL;
	if (w->bad || (!what && !moved))
		return;
	w->bad = true;
	if (what)
		fsck_say(x->f, x->f->repair_view, "view", w->path, "%s", what);
	else
		fsck_say_behind(x->f, w->path, "its row has an old path");
}

/* 1: there is more, 0, or -errno. */
static int page(struct view *x, char after[DF_VIEW_ID_LEN])
{
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "SELECT _id, path, size_bytes FROM \"%s\" WHERE _id > "
		    "$1 AND _id < 'df.' ORDER BY _id LIMIT %d",
		    x->f->a->account.table.table, PAGE_ROWS);
	df_stmt_text(&s, after, strlen(after));
	struct df_call call = { .what = "read the files view",
				.class = DF_HTTP_BULK,
				.deadline_ns = df_deadline_ms(120000),
				.answer_max = DF_HTTP_ANSWER_CEILING };
	int err = df_api_sql(df_table_api(x->f->a->remote), &s, &call, &a);
	df_stmt_release(&s);
	if (err)
		return err;
	for (size_t r = 0; r < a.n_rows && a.n_cols == 3; r++)
		look_at_row(x, &a, r);
	int more = a.n_rows == PAGE_ROWS;
	const struct df_cell *last = more ? df_answer_cell(&a, a.n_rows - 1, 0)
					  : NULL;
	/* Doubled rows that a page cuts in two are seen next time. */
	if (more && last->len < DF_VIEW_ID_LEN)
		snprintf(after, DF_VIEW_ID_LEN, "%.*s", (int)last->len,
			 last->s);
	else
		more = 0;
	df_answer_release(&a);
	return more;
}

static void find_missing(struct view *x)
{
	for (size_t i = 0; i < x->n; i++) {
		struct want *w = &x->v[i];
		if (!w->seen)
			fsck_say_behind(x->f, w->path, "it has no row");
		if (w->seen && !w->bad)
			continue;
		DF_GROW(x->again, x->n_again, x->again_size);
		x->again[x->n_again++] = w->nid;
	}
}

static int repair(struct view *x)
{
	int err = 0;

	for (size_t i = 0; i < x->n_stale && !err; i += REPAIR_ROWS)
		err = df_view_rewrite(
			x->f->side.vol, NULL, 0, x->stale + i,
			DF_MIN(x->n_stale - i, (size_t)REPAIR_ROWS));
	for (size_t i = 0; i < x->n_again && !err; i += REPAIR_ROWS)
		err = df_view_rewrite(
			x->f->side.vol, x->again + i,
			DF_MIN(x->n_again - i, (size_t)REPAIR_ROWS), NULL, 0);
	return err;
}

int fsck_view(struct fsck *f)
{
	struct view x = { .f = f };
	char after[DF_VIEW_ID_LEN] = "df-";
	int err = df_view_each(f->side.vol, take_want, &x);
	int more = 1;

	if (x.n)
		qsort(x.v, x.n, sizeof(*x.v), want_cmp);
	while (!err && more > 0)
		more = page(&x, after);
	if (!err && more < 0)
		err = more;
	if (!err)
		find_missing(&x);
	if (!err && f->repair_view)
		err = repair(&x);
	for (size_t i = 0; i < x.n; i++)
		free(x.v[i].path);
	free(x.v);
	free(x.stale);
	free(x.again);
	return err;
}
