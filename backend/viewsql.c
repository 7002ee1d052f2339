/* viewsql.c - see viewsql.h. */
#include "backend/viewsql.h"

#include <string.h>

#include "backend/tablei.h"
#include "base/err.h"
#include "base/fault.h"

#define DELETE_IDS 2000
#define LOOK_IDS 500
#define MOVE_PATHS 400
#define ROW_PARAMS 7

enum run_how {
	RUN_READ,
	RUN_AGAIN, /* a write that may be repeated */
	RUN_ONCE,
};

/* Releases s.  a NULL: the answer does not matter. */
static int run(struct df_table *t, struct df_stmt *s, const char *what,
	       enum run_how how, int64_t deadline_ns, struct df_answer *a)
{
	struct df_call call =
		df_call_make(what, DF_HTTP_BULK, how != RUN_READ, deadline_ns);
	struct df_answer none;
	int err = df_fault("view.sql");

	call.once = how == RUN_ONCE;
	/* No mount need look for what another one wrote. */
	s->quiet = call.writes && t->remote.caps.ours;
	if (!err)
		err = df_api_sql(t->api, s, &call, a ? a : &none);
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

static void put_text(struct df_stmt *s, const char *text, const char *fallback)
{
	text = text ? text : fallback;
	df_stmt_text(s, text, strlen(text));
}

int df_viewsql_delete(struct df_remote *r, const char *const *ids, size_t n,
		      int64_t deadline_ns)
{
	struct df_table *t = df_table_of(r);
	int err = 0;

	for (size_t i = 0; i < n && !err; i += DELETE_IDS) {
		size_t k = DF_MIN(n - i, (size_t)DELETE_IDS);
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s, "DELETE FROM \"%s\" WHERE _id IN (", t->name);
		put_marks(&s, k, 1);
		for (size_t j = i; j < i + k; j++)
			put_text(&s, ids[j], "");
		err = run(t, &s, "clear rows of the files view", RUN_AGAIN,
			  deadline_ns, NULL);
	}
	return err;
}

static void put_row(struct df_stmt *s, const struct df_view_row *row, bool bare)
{
	put_text(s, row->id, "");
	df_stmt_b64(s, bare ? NULL : row->content,
		    bare || !row->content ? 0 : row->content_len);
	df_stmt_text(s, bare || !row->content_text ? "" : row->content_text,
		     bare || !row->content_text ? 0 : row->content_text_len);
	put_text(s, row->filename, "");
	put_text(s, row->mime_type, "application/octet-stream");
	put_text(s, row->path, "");
	df_stmt_u64(s, row->size_bytes);
}

int df_viewsql_insert(struct df_remote *r, const struct df_view_row *rows,
		      size_t n, bool bare, int64_t deadline_ns)
{
	struct df_table *t = df_table_of(r);
	struct df_stmt s;
	size_t p = 0;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "INSERT INTO \"%s\" (_id,content,content_text,filename,"
		    "mime_type,path,size_bytes) VALUES ",
		    t->name);
	for (size_t i = 0; i < n; i++) {
		if (rows[i].removed)
			continue;
		df_stmt_sql(&s,
			    "%s($%zu,decode($%zu,'base64'),$%zu,$%zu,$%zu,"
			    "$%zu,$%zu)",
			    p ? "," : "", p + 1, p + 2, p + 3, p + 4, p + 5,
			    p + 6, p + 7);
		p += ROW_PARAMS;
	}
	/* Without a target it is no error where there is no such index. */
	if (t->remote.caps.ours)
		df_stmt_sql(&s, " ON CONFLICT DO NOTHING");
	for (size_t i = 0; i < n; i++)
		if (!rows[i].removed)
			put_row(&s, &rows[i], bare);
	if (!p) {
		df_stmt_release(&s);
		return 0;
	}
	return run(t, &s, "write the files view", RUN_ONCE, deadline_ns, NULL);
}

bool df_viewsql_same_path(const char *path, const char *shown, size_t len)
{
	struct df_buf a, b;

	df_buf_init(&a, 0);
	df_json_escape(&a, path, strlen(path));
	df_buf_init(&b, 0);
	df_json_escape(&b, shown, len);
	bool same = a.len == b.len && !memcmp(a.data, b.data, a.len);
	df_buf_release(&a);
	df_buf_release(&b);
	return same;
}

static void count_row(struct df_view_place *places, size_t n,
		      const struct df_answer *a, size_t row)
{
	const struct df_cell *id = df_answer_cell(a, row, 0);
	const struct df_cell *path = df_answer_cell(a, row, 1);
	uint64_t size;

	if (df_cell_u64(df_answer_cell(a, row, 2), &size))
		size = UINT64_MAX;
	for (size_t j = 0; j < n; j++) {
		struct df_view_place *p = &places[j];
		if (!df_cell_is(id, p->id))
			continue;
		p->rows++;
		p->right += p->path && p->size == size &&
			    path->type == DF_CELL_TEXT &&
			    df_viewsql_same_path(p->path, path->s, path->len);
	}
}

int df_viewsql_look(struct df_remote *r, struct df_view_place *places, size_t n,
		    int64_t deadline_ns)
{
	struct df_table *t = df_table_of(r);
	int err = 0;

	for (size_t i = 0; i < n; i++)
		places[i].rows = places[i].right = 0;
	for (size_t i = 0; i < n && !err; i += LOOK_IDS) {
		size_t k = DF_MIN(n - i, (size_t)LOOK_IDS);
		struct df_answer a;
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s,
			    "SELECT _id, path, size_bytes FROM \"%s\" WHERE "
			    "_id IN (",
			    t->name);
		put_marks(&s, k, 1);
		for (size_t j = i; j < i + k; j++)
			put_text(&s, places[j].id, "");
		err = run(t, &s, "compare the files view", RUN_READ,
			  deadline_ns, &a);
		if (err)
			break;
		for (size_t row = 0; row < a.n_rows && a.n_cols == 3; row++)
			count_row(places + i, k, &a, row);
		df_answer_release(&a);
	}
	return err;
}

int df_viewsql_move(struct df_remote *r, const struct df_view_place *places,
		    size_t n, int64_t deadline_ns)
{
	struct df_table *t = df_table_of(r);
	int err = 0;

	for (size_t i = 0; i < n && !err; i += MOVE_PATHS) {
		size_t k = DF_MIN(n - i, (size_t)MOVE_PATHS);
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s, "UPDATE \"%s\" SET path = CASE _id", t->name);
		for (size_t j = 0; j < k; j++)
			df_stmt_sql(&s, " WHEN $%zu THEN $%zu", 2 * j + 1,
				    2 * j + 2);
		df_stmt_sql(&s, " ELSE path END WHERE _id IN (");
		put_marks(&s, k, 2);
		for (size_t j = i; j < i + k; j++) {
			put_text(&s, places[j].id, "");
			put_text(&s, places[j].path, "");
		}
		err = run(t, &s, "move rows of the files view", RUN_AGAIN,
			  deadline_ns, NULL);
	}
	return err;
}

int df_viewsql_drop(struct df_remote *r, const char *path, const char *id,
		    int64_t deadline_ns)
{
	struct df_table *t = df_table_of(r);
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "DELETE FROM \"%s\" WHERE path = $1 AND %s", t->name,
		    id ? "_id = $2" : "_id IS NULL");
	put_text(&s, path, "");
	if (id)
		put_text(&s, id, "");
	return run(t, &s, "remove a row of others", RUN_AGAIN, deadline_ns,
		   NULL);
}
