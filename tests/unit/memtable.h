/*
 * memtable.h - a table in memory for unit tests: the whole of remote.h's
 * operations, counted; may be asked from several threads.  Included by one test
 * file, after its own includes.
 */
#ifndef DF_TESTS_MEMTABLE_H
#define DF_TESTS_MEMTABLE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/remote.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/mem.h"

/* ---- a table in memory; may be asked from several threads */
struct table {
	struct df_lock lock;
	struct df_row *row;
	size_t n_rows, rows_size;
	struct {
		struct df_id id;
		uint8_t *data;
		size_t len;
	} * pack;
	size_t n_packs, packs_size;
	unsigned gets, puts, row_gets, deletes;
	uint64_t bytes_put;
	/* acknowledged and not kept; packs: of several in one statement */
	bool lose_rows, lose_packs;
};

struct link {
	struct df_remote r; /* first */
	struct table *t;
};

static struct table *of(struct df_remote *r)
{
	return ((struct link *)(void *)r)->t;
}

static void give(struct df_rows *out, const struct df_row *row)
{
	DF_GROW(out->row, out->n, out->size);
	struct df_row *c = &out->row[out->n++];
	*c = *row;
	c->body = df_xdup(row->body, row->body_len);
	c->deps = df_xdup(row->deps, row->n_deps * sizeof(*row->deps));
}

static int m_row_put(struct df_remote *r, const struct df_row *row,
		     uint64_t sent, int64_t timeout_ms, struct df_ack *ack)
{
	struct table *t = of(r);
	struct df_rows one = { 0 };

	(void)timeout_ms;
	df_lock(&t->lock);
	*ack = (struct df_ack){ df_clock_real_ns() / DF_NS_PER_MS, false };
	if (!t->lose_rows) {
		give(&one, row);
		DF_GROW(t->row, t->n_rows, t->rows_size);
		t->row[t->n_rows] = one.row[0];
		t->row[t->n_rows++].sent = sent;
		free(one.row);
	}
	df_unlock(&t->lock);
	return 0;
}

static int m_rows_after(struct df_remote *r, uint64_t after, unsigned limit,
			int64_t timeout_ms, struct df_rows *out, int64_t *date)
{
	struct table *t = of(r);

	(void)timeout_ms;
	*out = (struct df_rows){ 0 };
	df_lock(&t->lock);
	/* rows are kept in the order of sent */
	for (size_t i = 0; i < t->n_rows; i++)
		if (t->row[i].sent > after && out->n < limit)
			give(out, &t->row[i]);
	out->more = out->n == limit;
	df_unlock(&t->lock);
	if (date)
		*date = df_clock_real_ns() / DF_NS_PER_MS;
	return 0;
}

static int m_rows_list(struct df_remote *r, int64_t timeout_ms,
		       struct df_idepoch_list *out, int64_t *date)
{
	struct table *t = of(r);

	(void)timeout_ms;
	df_lock(&t->lock);
	out->v = df_xalloc((t->n_rows + 1) * sizeof(*out->v));
	for (out->n = 0; out->n < t->n_rows; out->n++)
		out->v[out->n] = (struct df_dep){ t->row[out->n].id,
						  t->row[out->n].epoch };
	df_unlock(&t->lock);
	if (date)
		*date = df_clock_real_ns() / DF_NS_PER_MS;
	return 0;
}

static int m_rows_get(struct df_remote *r, const struct df_id *ids, size_t n,
		      int64_t timeout_ms, struct df_rows *out)
{
	struct table *t = of(r);

	(void)timeout_ms;
	*out = (struct df_rows){ 0 };
	df_lock(&t->lock);
	t->row_gets++;
	for (size_t k = 0; k < n; k++)
		for (size_t i = 0; i < t->n_rows; i++)
			if (!df_id_cmp(&t->row[i].id, &ids[k])) {
				give(out, &t->row[i]);
				break;
			}
	df_unlock(&t->lock);
	return 0;
}

static int m_rows_delete(struct df_remote *r, const struct df_id *ids, size_t n,
			 int64_t timeout_ms)
{
	struct table *t = of(r);

	(void)timeout_ms;
	df_lock(&t->lock);
	for (size_t k = 0; k < n; k++)
		for (size_t i = 0; i < t->n_rows; i++)
			if (!df_id_cmp(&t->row[i].id, &ids[k])) {
				df_row_release(&t->row[i]);
				memmove(t->row + i, t->row + i + 1,
					(--t->n_rows - i) * sizeof(*t->row));
				t->deletes++;
				break;
			}
	df_unlock(&t->lock);
	return 0;
}

static int m_pack_put(struct df_remote *r, const struct df_id *id,
		      const void *data, size_t len, int64_t timeout_ms)
{
	struct table *t = of(r);
	size_t i = 0;

	(void)timeout_ms;
	df_lock(&t->lock);
	t->puts++;
	t->bytes_put += len;
	while (i < t->n_packs && df_id_cmp(&t->pack[i].id, id))
		i++;
	if (i == t->n_packs) {
		DF_GROW(t->pack, t->n_packs, t->packs_size);
		t->pack[i].id = *id;
		t->pack[i].data = df_xdup(data, len);
		t->pack[i].len = len;
		t->n_packs++;
	}
	df_unlock(&t->lock);
	return 0;
}

static int m_packs_put(struct df_remote *r, const struct df_pack_bytes *p,
		       size_t n, int64_t timeout_ms)
{
	for (size_t i = 0; i < n && !of(r)->lose_packs; i++)
		m_pack_put(r, &p[i].id, p[i].data, p[i].len, timeout_ms);
	return 0;
}

static int m_pack_get(struct df_remote *r, const struct df_id *id, uint64_t off,
		      uint64_t len, int64_t timeout_ms, struct df_buf *out)
{
	struct table *t = of(r);
	int err = -ENOENT;

	(void)timeout_ms;
	df_lock(&t->lock);
	t->gets++;
	for (size_t i = 0; i < t->n_packs && err; i++) {
		if (df_id_cmp(&t->pack[i].id, id))
			continue;
		uint64_t n = len ? len : t->pack[i].len - off;
		if (off + n > t->pack[i].len) {
			err = DF_ECORRUPT;
			break;
		}
		df_buf_put(out, t->pack[i].data + off, (size_t)n);
		err = out->err;
		break;
	}
	df_unlock(&t->lock);
	return err;
}

static int m_packs_have(struct df_remote *r, const struct df_id *ids, size_t n,
			int64_t timeout_ms, bool *present)
{
	struct table *t = of(r);

	(void)timeout_ms;
	for (size_t k = 0; k < n; k++) {
		present[k] = false;
		for (size_t i = 0; i < t->n_packs; i++)
			present[k] |= !df_id_cmp(&t->pack[i].id, &ids[k]);
	}
	return 0;
}

static void m_nothing(struct df_remote *r)
{
	(void)r;
}

static void m_free(struct df_remote *r)
{
	free(r);
}

static const struct df_remote_ops m_ops = {
	.name = "memory",
	.row_put = m_row_put,
	.rows_after = m_rows_after,
	.rows_list = m_rows_list,
	.rows_get = m_rows_get,
	.rows_delete = m_rows_delete,
	.pack_put = m_pack_put,
	.packs_put = m_packs_put,
	.pack_get = m_pack_get,
	.packs_have = m_packs_have,
	.reset = m_nothing,
	.stop = m_nothing,
	.free = m_free,
};

static struct table *table_new(void)
{
	struct table *t = df_xalloc(sizeof(*t));

	df_lock_init(&t->lock);
	return t;
}

static void table_free(struct table *t)
{
	for (size_t i = 0; i < t->n_rows; i++)
		df_row_release(&t->row[i]);
	for (size_t i = 0; i < t->n_packs; i++)
		free(t->pack[i].data);
	free(t->row);
	free(t->pack);
	df_lock_release(&t->lock);
	free(t);
}

#endif
