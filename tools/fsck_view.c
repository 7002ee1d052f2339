/*
 * fsck_view.c - the files view against the registers: each row that should be
 * there is, once, with its path and size; nothing else begins with "df-".
 */
#include <stdlib.h>
#include <string.h>

#include "backend/table.h"
#include "backend/viewsql.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "tools/fsck.h"

#define PAGE_ROWS 5000
#define REPAIR_ROWS 2000
#define REPAIR_MS 120000

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
	bool moved = !df_viewsql_same_path(w->path, path->s, path->len);
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

/* Rows of a full page, the last id's excepted, whose other rows may be on the
 * next one.  0: the page is all one id. */
static size_t page_rows(const struct df_answer *a)
{
	const struct df_cell *last = df_answer_cell(a, a->n_rows - 1, 0);
	size_t n = a->n_rows;

	while (n) {
		const struct df_cell *c = df_answer_cell(a, n - 1, 0);
		if (c->len != last->len || memcmp(c->s, last->s, c->len))
			break;
		n--;
	}
	return n;
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
	int more = a.n_rows == PAGE_ROWS;
	size_t n = more ? page_rows(&a) : a.n_rows;
	n = n ? n : a.n_rows;
	for (size_t r = 0; r < n && a.n_cols == 3; r++)
		look_at_row(x, &a, r);
	const struct df_cell *last = more ? df_answer_cell(&a, n - 1, 0) : NULL;
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
	/* Tables of older programs: now their rows are there once. */
	return err ? err : df_table_unique_ids(x->f->a->remote, REPAIR_MS);
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
