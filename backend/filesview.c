/* filesview.c - see filesview.h. */
#include "backend/filesview.h"

#include <stdlib.h>
#include <string.h>

#include "backend/tablei.h"
#include "backend/viewsql.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

/* One statement: bytes of its parameters, about, and rows. */
#define BATCH_BYTES ((size_t)1 << 20)
#define BATCH_ROWS 400
#define TRIES 8 /* of a batch whose fate is unknown */

static size_t row_cost(const struct df_view_row *row)
{
	return 128 + 2 * strlen(row->path) + row->content_text_len +
	       row->content_len / 3 * 4;
}

/* How many of rows go into one statement. */
static size_t batch_len(const struct df_view_row *rows, size_t n, size_t most)
{
	size_t bytes = 0, k = 0;

	while (k < n && k < most) {
		bytes += rows[k].removed ? 64 : row_cost(&rows[k]);
		if (k && bytes > BATCH_BYTES)
			break;
		k++;
	}
	return k;
}

static int delete_batch(struct df_remote *r, const struct df_view_row *rows,
			size_t n, int64_t deadline_ns)
{
	const char *ids[BATCH_ROWS];

	for (size_t i = 0; i < n; i++)
		ids[i] = rows[i].id;
	return df_viewsql_delete(r, ids, n, deadline_ns);
}

int df_filesview_apply(struct df_remote *r, const struct df_view_row *rows,
		       size_t n, int64_t timeout_ms)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	size_t most = BATCH_ROWS;
	int err = df_table_ready(t, deadline);
	unsigned tries = 0;

	for (size_t i = 0; !err && i < n;) {
		size_t k = batch_len(rows + i, n - i, most);
		err = delete_batch(r, rows + i, k, deadline);
		if (!err)
			err = df_viewsql_insert(r, rows + i, k, false,
						deadline);
		if (err == -EAGAIN && ++tries < TRIES) {
			err = 0;
			continue;
		}
		if (err == -EFBIG && k > 1) {
			most = k / 2;
			err = 0;
			continue;
		}
		if (err == -EFBIG)
			err = df_viewsql_insert(r, rows + i, 1, true, deadline);
		i += k;
	}
	return err;
}

/* ---- rows of others */

void df_view_page_release(struct df_view_page *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->v[i].id);
		free(p->v[i].path);
		free(p->v[i].data);
	}
	free(p->v);
	free(p->last);
	*p = (struct df_view_page){ 0 };
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int get_hex(const char *hex, size_t len, struct df_buf *out)
{
	if (len % 2)
		return DF_ECORRUPT;
	uint8_t *to = len ? df_buf_extend(out, len / 2) : NULL;
	if (len && !to)
		return out->err;
	for (size_t i = 0; i < len; i += 2) {
		int hi = hex_value(hex[i]), lo = hex_value(hex[i + 1]);
		if (hi < 0 || lo < 0)
			return DF_ECORRUPT;
		to[i / 2] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

/* Bytes come as "\x" and hex, or as base64, depending on the server. */
static int get_content(const struct df_cell *content,
		       const struct df_cell *text, struct df_view_found *f)
{
	struct df_buf raw;
	int err = 0;

	df_buf_init(&raw, DF_HTTP_ANSWER_CEILING);
	f->text = content->type != DF_CELL_TEXT || !content->len ||
		  df_cell_is(content, "\\x");
	if (f->text && text->type == DF_CELL_TEXT)
		df_buf_put(&raw, text->s, text->len);
	else if (f->text)
		;
	else if (content->len >= 2 && memcmp(content->s, "\\x", 2) == 0)
		err = get_hex(content->s + 2, content->len - 2, &raw);
	else
		err = df_b64_get(&raw, content->s, content->len);
	err = err == -EINVAL ? DF_ECORRUPT : err ? err : raw.err;
	if (err)
		df_buf_release(&raw);
	else
		f->data = df_buf_steal(&raw, &f->len);
	return err;
}

static char *cell_dup(const struct df_cell *c)
{
	char *s = malloc(c->len + 1);

	if (!s)
		return NULL;
	memcpy(s, c->s, c->len);
	s[c->len] = 0;
	return s;
}

struct view_columns {
	int id, path, content, text, size;
};

static int get_found(const struct df_answer *a, size_t i,
		     const struct view_columns *c, struct df_view_found *f)
{
	const struct df_cell *path = df_answer_cell(a, i, c->path);
	const struct df_cell *id = df_answer_cell(a, i, c->id);

	if (path->type != DF_CELL_TEXT || !path->len ||
	    memchr(path->s, 0, path->len))
		return DF_ECORRUPT;
	if (id->type == DF_CELL_TEXT && memchr(id->s, 0, id->len))
		return DF_ECORRUPT;
	f->path = cell_dup(path);
	f->id = id->type == DF_CELL_TEXT ? cell_dup(id) : NULL;
	if (!f->path || (id->type == DF_CELL_TEXT && !f->id))
		return -ENOMEM;
	if (df_cell_u64(df_answer_cell(a, i, c->size), &f->size_bytes))
		f->size_bytes = 0;
	return get_content(df_answer_cell(a, i, c->content),
			   df_answer_cell(a, i, c->text), f);
}

static int decode_page(const struct df_answer *a, struct df_view_page *out)
{
	struct view_columns c = {
		.id = df_answer_col(a, "_id"),
		.path = df_answer_col(a, "path"),
		.content = df_answer_col(a, "content"),
		.text = df_answer_col(a, "content_text"),
		.size = df_answer_col(a, "size_bytes"),
	};

	if (!a->n_rows)
		return 0;
	if (c.id < 0 || c.path < 0 || c.content < 0 || c.text < 0 || c.size < 0)
		return df_fail(DF_ECORRUPT, "files view without its columns");
	out->v = calloc(a->n_rows, sizeof(*out->v));
	if (!out->v)
		return -ENOMEM;
	for (size_t i = 0; i < a->n_rows; i++) {
		struct df_view_found f = { 0 };
		int err = get_found(a, i, &c, &f);
		if (!err) {
			out->v[out->n++] = f;
			continue;
		}
		free(f.id);
		free(f.path);
		if (err != DF_ECORRUPT)
			return err;
		out->refused++;
	}
	const struct df_cell *last = df_answer_cell(a, a->n_rows - 1, c.path);
	out->last = last->type == DF_CELL_TEXT ? cell_dup(last) : NULL;
	return 0;
}

/* Ties: rows of one path that a page cuts in two.  A path is a file, so which
 * of its rows is meant is anybody's guess; the page's rows are taken. */
static int fetch_page(struct df_table *t, const char *after, unsigned limit,
		      bool bare, int64_t deadline_ns, struct df_view_page *out)
{
	struct df_call call = df_call_make("read rows of others", DF_HTTP_BULK,
					   false, deadline_ns);
	struct df_answer a;
	struct df_stmt s;

	call.answer_max = limit <= 1 ? DF_HTTP_ANSWER_CEILING : 0;
	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "SELECT _id, path, %s, size_bytes FROM \"%s\" "
		    "WHERE (_id NOT LIKE 'df-%%' OR _id IS NULL)%s "
		    "ORDER BY path LIMIT %u",
		    bare ? "NULL AS content, NULL AS content_text"
			 : "content, content_text",
		    t->name, after ? " AND path > $1" : "", limit);
	if (after)
		df_stmt_text(&s, after, strlen(after));
	int err = df_api_sql(t->api, &s, &call, &a);
	df_stmt_release(&s);
	if (err)
		return err;
	err = decode_page(&a, out);
	out->more = a.n_rows >= limit && out->last;
	df_answer_release(&a);
	return err;
}

/* Pass by a row that no answer can hold, and count it. */
static int skip_row(struct df_table *t, const char *after, int64_t deadline_ns,
		    struct df_view_page *out)
{
	int err = fetch_page(t, after, 1, true, deadline_ns, out);

	for (size_t i = 0; i < out->n; i++) {
		df_log_warn("files view of %s: the row of %s is too big to be "
			    "read",
			    t->name, out->v[i].path);
		free(out->v[i].id);
		free(out->v[i].path);
		free(out->v[i].data);
	}
	out->too_big = out->n;
	out->n = 0;
	return err;
}

int df_filesview_foreign(struct df_remote *r, const char *after, unsigned limit,
			 int64_t timeout_ms, struct df_view_page *out)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	int err = df_table_ready(t, deadline);

	*out = (struct df_view_page){ 0 };
	limit = DF_MIN(DF_MAX(limit, 1u), 10000u);
	while (!err) {
		err = fetch_page(t, after, limit, false, deadline, out);
		if (err != -EOVERFLOW)
			break;
		df_view_page_release(out);
		err = limit == 1 ? skip_row(t, after, deadline, out) : 0;
		if (limit == 1)
			break;
		limit /= 2;
	}
	if (err)
		df_view_page_release(out);
	return err;
}
