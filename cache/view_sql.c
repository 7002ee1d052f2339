/*
 * view_sql.c - rows of the view into statements.
 *
 * On a server that proved to be ours, statements are large (a tree of 10,000
 * files in a few) and rows that cannot be there yet are not deleted first.
 * Elsewhere backend/filesview.c does it in small pairs.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/api.h"
#include "base/fault.h"
#include "cache/inlinepack.h"
#include "cache/viewi.h"

#define DELETE_IDS 2000
#define COUNT_IDS 500
#define PATHS 400

struct df_api *view_api(const struct df_vol *v)
{
	return df_inlinepack_lower(v->remote)->api; /* tests/sim has none */
}

bool view_has_sql(const struct df_vol *v)
{
	return view_api(v) != NULL;
}

enum run_how {
	RUN_READ,
	RUN_AGAIN, /* a write that may be repeated */
	RUN_ONCE,
};

static int run(struct df_vol *v, struct df_stmt *s, const char *what,
	       enum run_how how, struct df_answer *a)
{
	struct df_call call = {
		.what = what,
		.class = DF_HTTP_BULK,
		.writes = how != RUN_READ,
		.once = how == RUN_ONCE,
		.deadline_ns = df_deadline_ms(VIEW_TIMEOUT_MS),
	};
	struct df_answer none;
	int err = df_fault("view.sql");

	/* No mount need look for what this one wrote. */
	s->quiet = call.writes && v->remote->caps.ours;
	if (!err)
		err = df_api_sql(view_api(v), s, &call, a ? a : &none);

	df_stmt_release(s);
	if (!err && !a)
		df_answer_release(&none);
	return err;
}

static void put_marks(struct df_stmt *s, size_t n, unsigned step)
{
	for (size_t i = 0; i < n; i++)
		df_stmt_sql(s, "%s$%zu", i ? "," : "", i * step + 1);
	df_stmt_sql(s, ")");
}

static int delete_ids(struct df_vol *v, char (*ids)[DF_VIEW_ID_LEN], size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i += DELETE_IDS) {
		size_t k = DF_MIN(n - i, (size_t)DELETE_IDS);
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s, "DELETE FROM \"%s\" WHERE _id IN (",
			    v->conf.table);
		put_marks(&s, k, 1);
		for (size_t j = 0; j < k; j++)
			df_stmt_text(&s, ids[i + j], strlen(ids[i + j]));
		err = run(v, &s, "clear rows of the files view", RUN_AGAIN,
			  NULL);
	}
	return err;
}

static void put_text(struct df_stmt *s, const char *text)
{
	df_stmt_text(s, text ? text : "", text ? strlen(text) : 0);
}

static int insert(struct df_vol *v, const struct df_view_row *row, size_t n)
{
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "INSERT INTO \"%s\" (_id,content,content_text,filename,"
		    "mime_type,path,size_bytes) VALUES ",
		    v->conf.table);
	for (size_t i = 0; i < n; i++) {
		size_t p = i * 7;
		df_stmt_sql(&s,
			    "%s($%zu,decode($%zu,'base64'),$%zu,$%zu,$%zu,"
			    "$%zu,$%zu)",
			    p ? "," : "", p + 1, p + 2, p + 3, p + 4, p + 5,
			    p + 6, p + 7);
	}
	for (size_t i = 0; i < n; i++) {
		const struct df_view_row *r = &row[i];
		put_text(&s, r->id);
		df_stmt_b64(&s, r->content, r->content_len);
		df_stmt_text(&s, r->content_text ? r->content_text : "",
			     r->content_text_len);
		put_text(&s, r->filename);
		put_text(&s, r->mime_type ? r->mime_type
					  : "application/octet-stream");
		put_text(&s, r->path);
		df_stmt_u64(&s, r->size_bytes);
	}
	return run(v, &s, "write the files view", RUN_ONCE, NULL);
}

static size_t statement_len(const struct df_view_row *row, size_t n)
{
	size_t bytes = 0, k = 0;

	while (k < n && k < VIEW_STMT_ROWS) {
		bytes += 256 + 2 * strlen(row[k].path) +
			 row[k].content_text_len + row[k].content_len / 3 * 4;
		if (k && bytes > VIEW_STMT_BYTES)
			break;
		k++;
	}
	return k;
}

/* By way of the backend's own: removals first, small statements. */
static int send_small(struct df_vol *v, const struct view_batch *b)
{
	size_t n = 0;
	struct df_view_row *rows =
		df_xalloc((b->n + b->gone.n + 1) * sizeof(*rows));

	for (size_t i = 0; i < b->gone.n; i++)
		rows[n++] = (struct df_view_row){ .id = b->gone.v[i],
						  .removed = true };
	memcpy(rows + n, b->row, b->n * sizeof(*rows));
	int err = v->remote->ops->view_apply(v->remote, rows, n + b->n,
					     VIEW_TIMEOUT_MS);
	free(rows);
	return err;
}

int view_send(struct df_view *w, const struct view_batch *b, bool sure)
{
	struct df_vol *v = w->v;

	if (!b->n && !b->gone.n)
		return 0;
	if (!view_has_sql(v) || !v->remote->caps.ours) {
		if (view_has_sql(v))
			view_doubt(w, b->row, b->n);
		return send_small(v, b);
	}
	int err = delete_ids(v, b->gone.v, b->gone.n);
	if (!err && !sure) {
		/* Some of these may be there: an answer was lost. */
		char(*ids)[DF_VIEW_ID_LEN] =
			df_xalloc((b->n + 1) * sizeof(*ids));
		for (size_t i = 0; i < b->n; i++)
			memcpy(ids[i], b->row[i].id, strlen(b->row[i].id));
		err = delete_ids(v, ids, b->n);
		free(ids);
	}
	for (size_t i = 0; i < b->n && !err;) {
		size_t k = statement_len(b->row + i, b->n - i);
		err = insert(v, b->row + i, k);
		if (!sure || err == -EAGAIN)
			view_doubt(w, b->row + i, k);
		i += k;
	}
	return err == -EFBIG ? send_small(v, b) : err;
}

int view_count(struct df_vol *v, char (*ids)[DF_VIEW_ID_LEN], size_t n,
	       unsigned *count)
{
	int err = 0;

	memset(count, 0, n * sizeof(*count));
	for (size_t i = 0; i < n && !err; i += COUNT_IDS) {
		size_t k = DF_MIN(n - i, (size_t)COUNT_IDS);
		struct df_answer a;
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s, "SELECT _id FROM \"%s\" WHERE _id IN (",
			    v->conf.table);
		put_marks(&s, k, 1);
		for (size_t j = 0; j < k; j++)
			df_stmt_text(&s, ids[i + j], strlen(ids[i + j]));
		err = run(v, &s, "compare the files view", RUN_READ, &a);
		if (err)
			break;
		for (size_t r = 0; r < a.n_rows && a.n_cols; r++)
			for (size_t j = i; j < i + k; j++)
				count[j] += df_cell_is(df_answer_cell(&a, r, 0),
						       ids[j]);
		df_answer_release(&a);
	}
	return err;
}

int view_set_paths(struct df_vol *v, const struct df_view_want *want, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i += PATHS) {
		size_t k = DF_MIN(n - i, (size_t)PATHS);
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s, "UPDATE \"%s\" SET path = CASE _id",
			    v->conf.table);
		for (size_t j = 0; j < k; j++)
			df_stmt_sql(&s, " WHEN $%zu THEN $%zu", 2 * j + 1,
				    2 * j + 2);
		df_stmt_sql(&s, " ELSE path END WHERE _id IN (");
		put_marks(&s, k, 2);
		for (size_t j = i; j < i + k; j++) {
			put_text(&s, want[j].id);
			put_text(&s, want[j].path);
		}
		err = run(v, &s, "move rows of the files view", RUN_AGAIN,
			  NULL);
	}
	return err;
}

int view_drop_foreign(struct df_vol *v, const char *path, const char *id)
{
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "DELETE FROM \"%s\" WHERE path = $1 AND %s",
		    v->conf.table, id ? "_id = $2" : "_id IS NULL");
	put_text(&s, path);
	if (id)
		put_text(&s, id);
	return run(v, &s, "remove a row of others", RUN_AGAIN, NULL);
}
