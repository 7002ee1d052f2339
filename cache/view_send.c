/*
 * view_send.c - a round's rows into statements of a good size.
 *
 * On a server that proved to be ours, statements are large (a tree of 10,000
 * files in a few) and rows that cannot be there yet are not deleted first.
 * Elsewhere backend/filesview.c does it in small pairs.
 */
#include <stdlib.h>
#include <string.h>

#include "cache/inlinepack.h"
#include "cache/viewi.h"

struct df_remote *view_table(const struct df_vol *v)
{
	return df_inlinepack_lower(v->remote);
}

int64_t view_deadline(void)
{
	return df_deadline_ms(VIEW_TIMEOUT_MS);
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

/* What is to go; and unless sure the rows to come, for an answer was lost. */
static int clear(struct df_vol *v, const struct view_batch *b, bool sure)
{
	const char **ids = df_xalloc((b->gone.n + b->n + 1) * sizeof(*ids));
	size_t n = 0;

	for (size_t i = 0; i < b->gone.n; i++)
		ids[n++] = b->gone.v[i];
	for (size_t i = 0; i < b->n && !sure; i++)
		ids[n++] = b->row[i].id;
	int err = df_viewsql_delete(view_table(v), ids, n, view_deadline());
	free(ids);
	return err;
}

int view_send(struct df_view *w, const struct view_batch *b, bool sure)
{
	struct df_vol *v = w->v;

	if (!b->n && !b->gone.n)
		return 0;
	if (!v->remote->caps.ours) {
		view_doubt(w, b->row, b->n);
		return send_small(v, b);
	}
	int err = clear(v, b, sure);
	for (size_t i = 0; i < b->n && !err;) {
		size_t k = statement_len(b->row + i, b->n - i);
		err = df_viewsql_insert(view_table(v), b->row + i, k, false,
					view_deadline());
		if (!sure || err == -EAGAIN)
			view_doubt(w, b->row + i, k);
		i += k;
	}
	return err == -EFBIG ? send_small(v, b) : err;
}
