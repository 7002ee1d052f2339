/* foreign.c - see foreign.h. */
#include "backend/foreign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/table.h"
#include "backend/tablei.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"

struct foreign {
	struct df_remote base; /* first */
	struct df_table *t;    /* owned */
	char *key;             /* owned; a column's name; NULL: none */
	bool looked;           /* for the key */
};

static struct foreign *of(struct df_remote *r)
{
	return (struct foreign *)(void *)r;
}

int df_foreign_look(struct df_remote *r, int64_t timeout_ms, bool *foreign)
{
	int err = df_table_columns(df_table_of(r), df_deadline_ms(timeout_ms));

	*foreign = err == -EEXIST;
	return err == -EEXIST || err == -ENOENT ? 0 : err;
}

/* ---- an empty log that takes nothing */

static int refuse_row(struct df_remote *r, const struct df_row *row,
		      uint64_t sent, int64_t timeout_ms, struct df_ack *ack)
{
	(void)r, (void)row, (void)sent, (void)timeout_ms;
	*ack = (struct df_ack){ 0 };
	return -EROFS;
}

static int refuse_pack(struct df_remote *r, const struct df_id *id,
		       const void *data, size_t len, int64_t timeout_ms)
{
	(void)r, (void)id, (void)data, (void)len, (void)timeout_ms;
	return -EROFS;
}

static int refuse_delete(struct df_remote *r, const struct df_id *ids, size_t n,
			 int64_t timeout_ms)
{
	(void)r, (void)ids, (void)n, (void)timeout_ms;
	return -EROFS;
}

static int no_rows_after(struct df_remote *r, uint64_t after, unsigned limit,
			 int64_t timeout_ms, struct df_rows *out,
			 int64_t *server_date_ms)
{
	(void)r, (void)after, (void)limit, (void)timeout_ms;
	*out = (struct df_rows){ 0 };
	if (server_date_ms)
		*server_date_ms = df_clock_real_ns() / DF_NS_PER_MS;
	return 0;
}

static int no_rows_list(struct df_remote *r, int64_t timeout_ms,
			struct df_idepoch_list *out, int64_t *server_date_ms)
{
	(void)r, (void)timeout_ms;
	*out = (struct df_idepoch_list){ 0 };
	if (server_date_ms)
		*server_date_ms = df_clock_real_ns() / DF_NS_PER_MS;
	return 0;
}

static int no_rows_get(struct df_remote *r, const struct df_id *ids, size_t n,
		       int64_t timeout_ms, struct df_rows *out)
{
	(void)r, (void)ids, (void)n, (void)timeout_ms;
	*out = (struct df_rows){ 0 };
	return 0;
}

static int no_pack_get(struct df_remote *r, const struct df_id *id,
		       uint64_t off, uint64_t len, int64_t timeout_ms,
		       struct df_buf *out)
{
	(void)r, (void)id, (void)off, (void)len, (void)timeout_ms, (void)out;
	return -ENOENT;
}

static int no_packs_have(struct df_remote *r, const struct df_id *ids, size_t n,
			 int64_t timeout_ms, bool *present)
{
	(void)r, (void)ids, (void)timeout_ms;
	memset(present, 0, n * sizeof(*present));
	return 0;
}

static int no_packs_list(struct df_remote *r, int64_t timeout_ms,
			 struct df_idepoch_list *out)
{
	return no_rows_list(r, timeout_ms, out, NULL);
}

/* ---- the connection is the table's */

static int reload(struct df_remote *r)
{
	struct df_remote *t = &of(r)->t->remote;

	return t->ops->reload(t);
}

static void health(struct df_remote *r, struct df_remote_health *out)
{
	struct df_remote *t = &of(r)->t->remote;

	t->ops->health(t, out);
}

static void reset(struct df_remote *r)
{
	df_api_reset(of(r)->t->api);
}

static void stop(struct df_remote *r)
{
	df_api_stop(of(r)->t->api);
}

static void foreign_free(struct df_remote *r)
{
	struct foreign *f = of(r);

	f->t->remote.ops->free(&f->t->remote);
	free(f->key);
	free(f);
}

static const struct df_remote_ops foreign_ops = {
	.name = "foreign table",
	.row_put = refuse_row,
	.rows_after = no_rows_after,
	.rows_list = no_rows_list,
	.rows_get = no_rows_get,
	.rows_delete = refuse_delete,
	.pack_put = refuse_pack,
	.pack_get = no_pack_get,
	.packs_have = no_packs_have,
	.packs_list = no_packs_list,
	.packs_delete = refuse_delete,
	.reload = reload,
	.health = health,
	.reset = reset,
	.stop = stop,
	.free = foreign_free,
};

int df_foreign_wrap(struct df_remote **table, struct df_remote **out)
{
	struct foreign *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->t = df_table_of(*table);
	f->base.ops = &foreign_ops;
	f->base.api = f->t->api;
	f->base.pack_max = f->t->remote.pack_max;
	f->base.read_only = true;
	memcpy(f->base.where, f->t->remote.where, sizeof(f->base.where));
	*table = NULL;
	*out = &f->base;
	return 0;
}

/* ---- its rows */

/* The column that names a row: the first of these, else one that ends in
 * "_id". */
static const char *const keys[] = { "_id",      "id",   "path",
				    "filename", "name", "key" };

static int find_key(struct foreign *f, int64_t deadline_ns)
{
	struct df_answer a;
	const struct df_cell *found = NULL;
	int err = df_table_ask_columns(f->t, deadline_ns, &a);

	for (size_t k = 0; !err && k < DF_ARRAY_LEN(keys) && !found; k++)
		for (size_t i = 0; i < a.n_rows && a.n_cols; i++)
			if (df_cell_is(df_answer_cell(&a, i, 0), keys[k]))
				found = df_answer_cell(&a, i, 0);
	for (size_t i = 0; !err && i < a.n_rows && a.n_cols && !found; i++) {
		const struct df_cell *c = df_answer_cell(&a, i, 0);
		if (c->len > 3 && !memcmp(c->s + c->len - 3, "_id", 3))
			found = c;
	}
	/* A name with a quote in it could not be told from SQL. */
	if (found && !memchr(found->s, '"', found->len))
		f->key = df_strf("%.*s", (int)found->len, found->s);
	f->looked = !err;
	if (!err)
		df_answer_release(&a);
	return err;
}

int df_foreign_page(struct df_remote *r, uint64_t offset, unsigned limit,
		    int64_t timeout_ms, struct df_answer *out, int *key)
{
	struct foreign *f = of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	struct df_call call = df_call_make("read the table's rows",
					   DF_HTTP_BULK, false, deadline);
	struct df_stmt s;

	*out = (struct df_answer){ 0 };
	int err = f->looked ? 0 : find_key(f, deadline);
	if (err)
		return err;
	call.answer_max = DF_HTTP_ANSWER_CEILING;
	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "SELECT * FROM \"%s\"", f->t->name);
	if (f->key)
		df_stmt_sql(&s, " ORDER BY \"%s\"", f->key);
	df_stmt_sql(&s, " LIMIT %u OFFSET %llu", limit,
		    (unsigned long long)offset);
	err = df_api_sql(f->t->api, &s, &call, out);
	df_stmt_release(&s);
	*key = !err && f->key ? df_answer_col(out, f->key) : -1;
	return err;
}
