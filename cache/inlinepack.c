/* inlinepack.c - see inlinepack.h. */
#include "cache/inlinepack.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/registers/commit.h"

#define SEARCH_EVERY_MS 60000 /* the log is not searched again before */
#define SEARCH_PAGE 64

enum stmt { ST_GET, ST_PUT, ST_DEL, ST_COUNT };

static const char *const sql[ST_COUNT] = {
	[ST_GET] = "SELECT row FROM inlined WHERE pack = ?1",
	[ST_PUT] = "INSERT OR REPLACE INTO inlined VALUES(?1, ?2)",
	[ST_DEL] = "DELETE FROM inlined WHERE pack = ?1",
};

struct inliner {
	struct df_remote base; /* first */
	struct df_remote_ops ops;
	struct df_remote *lower; /* owned */
	struct df_lock lock;
	sqlite3 *db;                /* lock */
	sqlite3_stmt *st[ST_COUNT]; /* lock */
	int64_t searched_ns;        /* lock; monotonic, 0 = never */
};

static struct inliner *of(struct df_remote *r)
{
	return (struct inliner *)(void *)r;
}

/* What the lower one learned of its server is ours to show. */
static int mirror(struct inliner *x, int err)
{
	x->base.caps.ours = atomic_load(&x->lower->caps.ours);
	x->base.caps.feed = atomic_load(&x->lower->caps.feed);
	x->base.pack_max = atomic_load(&x->lower->pack_max);
	x->base.latency_ms = atomic_load(&x->lower->latency_ms);
	x->base.read_only = atomic_load(&x->lower->read_only);
	return err;
}

/* ---- the table of places */
static int sql_error(struct inliner *x, const char *what)
{
	return df_fail(-EIO, "inline.db: %s: %s", what,
		       x->db ? sqlite3_errmsg(x->db) : "no memory");
}

static int put_locked(struct inliner *x, const struct df_inline_place *p)
{
	sqlite3_stmt *st = x->st[ST_PUT];

	sqlite3_bind_blob(st, 1, p->pack.b, DF_ID_LEN, SQLITE_STATIC);
	sqlite3_bind_blob(st, 2, p->row.b, DF_ID_LEN, SQLITE_STATIC);
	int rc = sqlite3_step(st);
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : sql_error(x, "remember a pack");
}

static int exec_locked(struct inliner *x, const char *text)
{
	return sqlite3_exec(x->db, text, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : sql_error(x, text);
}

static int put_all(struct inliner *x, const struct df_inline_place *p, size_t n)
{
	if (!n)
		return 0;
	df_lock(&x->lock);
	int err = exec_locked(x, "BEGIN");
	for (size_t i = 0; i < n && !err; i++)
		err = put_locked(x, &p[i]);
	if (!err)
		err = exec_locked(x, "COMMIT");
	if (err)
		sqlite3_exec(x->db, "ROLLBACK", NULL, NULL, NULL);
	df_unlock(&x->lock);
	return err;
}

static bool find(struct inliner *x, const struct df_id *pack, struct df_id *row)
{
	bool found = false;

	df_lock(&x->lock);
	sqlite3_stmt *st = x->st[ST_GET];
	sqlite3_bind_blob(st, 1, pack->b, DF_ID_LEN, SQLITE_STATIC);
	if (sqlite3_step(st) == SQLITE_ROW &&
	    sqlite3_column_bytes(st, 0) == DF_ID_LEN) {
		memcpy(row->b, sqlite3_column_blob(st, 0), DF_ID_LEN);
		found = true;
	}
	sqlite3_reset(st);
	df_unlock(&x->lock);
	return found;
}

/* ---- rows that pass */
static bool inlined(const struct df_row *row, struct df_inline_place *p)
{
	struct df_body body;

	if (row->kind != DF_ROW_COMMIT ||
	    df_body_read(row->body, row->body_len, &body))
		return false;
	bool has = body.pack != NULL;
	*p = (struct df_inline_place){ body.pack_id, row->id };
	df_body_release(&body);
	return has;
}

/* A row may not be handed on before its pack's place is remembered: who folds
 * it never asks for it again. */
static int note_rows(struct inliner *x, const struct df_rows *rows)
{
	struct df_inline_place *p = df_xalloc((rows->n + 1) * sizeof(*p));
	size_t n = 0;

	for (size_t i = 0; i < rows->n; i++)
		n += inlined(&rows->row[i], &p[n]);
	int err = put_all(x, p, n);
	free(p);
	return err;
}

static int passed(struct inliner *x, int err, struct df_rows *out)
{
	if (!err)
		err = note_rows(x, out);
	return mirror(x, err);
}

static int in_learn(struct df_remote *r, int64_t timeout_ms)
{
	struct inliner *x = of(r);

	return mirror(x, x->lower->ops->learn(x->lower, timeout_ms));
}

static int in_row_put(struct df_remote *r, const struct df_row *row,
		      uint64_t sent, int64_t timeout_ms, struct df_ack *ack)
{
	struct inliner *x = of(r);
	struct df_inline_place p;
	int err = inlined(row, &p) ? put_all(x, &p, 1) : 0;

	if (err)
		return err;
	return mirror(x, x->lower->ops->row_put(x->lower, row, sent, timeout_ms,
						ack));
}

static int in_rows_after(struct df_remote *r, uint64_t after, unsigned limit,
			 int64_t timeout_ms, struct df_rows *out, int64_t *date)
{
	struct inliner *x = of(r);

	return passed(x,
		      x->lower->ops->rows_after(x->lower, after, limit,
						timeout_ms, out, date),
		      out);
}

static int in_rows_feed(struct df_remote *r, uint64_t after, unsigned limit,
			int64_t wait_ms, struct df_rows *out, int64_t *date)
{
	struct inliner *x = of(r);

	return passed(x,
		      x->lower->ops->rows_feed(x->lower, after, limit, wait_ms,
					       out, date),
		      out);
}

static int in_rows_list(struct df_remote *r, int64_t timeout_ms,
			struct df_idepoch_list *out, int64_t *date)
{
	struct inliner *x = of(r);

	return mirror(
		x, x->lower->ops->rows_list(x->lower, timeout_ms, out, date));
}

static int in_rows_get(struct df_remote *r, const struct df_id *ids, size_t n,
		       int64_t timeout_ms, struct df_rows *out)
{
	struct inliner *x = of(r);

	return passed(
		x, x->lower->ops->rows_get(x->lower, ids, n, timeout_ms, out),
		out);
}

static int in_rows_delete(struct df_remote *r, const struct df_id *ids,
			  size_t n, int64_t timeout_ms)
{
	struct inliner *x = of(r);

	return mirror(x,
		      x->lower->ops->rows_delete(x->lower, ids, n, timeout_ms));
}

/* ---- packs */
static int in_pack_put(struct df_remote *r, const struct df_id *id,
		       const void *data, size_t len, int64_t timeout_ms)
{
	struct inliner *x = of(r);

	return mirror(x, x->lower->ops->pack_put(x->lower, id, data, len,
						 timeout_ms));
}

static int slice(const struct df_row *row, const struct df_id *id, uint64_t off,
		 uint64_t len, struct df_buf *out)
{
	struct df_body body;
	int err = df_body_read(row->body, row->body_len, &body);

	if (err)
		return DF_ECORRUPT;
	if (!body.pack || df_id_cmp(&body.pack_id, id) || off > body.pack_len ||
	    len > body.pack_len - off) {
		err = DF_ECORRUPT;
	} else {
		df_buf_put(out, body.pack + off,
			   len ? (size_t)len : body.pack_len - (size_t)off);
		err = out->err;
	}
	df_body_release(&body);
	return err;
}

/* -ENOENT: the row is not in the log (any more). */
static int get_from_row(struct inliner *x, const struct df_id *row,
			const struct df_id *id, uint64_t off, uint64_t len,
			int64_t timeout_ms, struct df_buf *out)
{
	struct df_rows rows = { 0 };
	int err = mirror(x, x->lower->ops->rows_get(x->lower, row, 1,
						    timeout_ms, &rows));

	if (!err)
		err = rows.n ? slice(&rows.row[0], id, off, len, out) : -ENOENT;
	df_rows_release(&rows);
	return err;
}

static bool may_search(struct inliner *x)
{
	int64_t now = df_clock_mono_ns();

	df_lock(&x->lock);
	bool may = !x->searched_ns ||
		   now - x->searched_ns > SEARCH_EVERY_MS * DF_NS_PER_MS;
	if (may)
		x->searched_ns = now;
	df_unlock(&x->lock);
	return may;
}

/* After a power cut inline.db may lack what the fold knows: look at all rows
 * of the log once more. */
static int search_log(struct inliner *x, int64_t timeout_ms)
{
	struct df_idepoch_list all = { 0 };
	struct df_id ids[SEARCH_PAGE];
	int64_t until = df_deadline_ms(timeout_ms);
	int err = in_rows_list(&x->base, timeout_ms, &all, NULL);

	for (size_t i = 0; i < all.n && !err; i += SEARCH_PAGE) {
		struct df_rows rows = { 0 };
		size_t n = DF_MIN(all.n - i, (size_t)SEARCH_PAGE);
		int64_t left = (until - df_deadline_ms(0)) / DF_NS_PER_MS;
		for (size_t k = 0; k < n; k++)
			ids[k] = all.v[i + k].id;
		err = left < 1 ? -ETIMEDOUT
			       : in_rows_get(&x->base, ids, n, left, &rows);
		df_rows_release(&rows);
	}
	free(all.v);
	return err;
}

static int in_pack_get(struct df_remote *r, const struct df_id *id,
		       uint64_t off, uint64_t len, int64_t timeout_ms,
		       struct df_buf *out)
{
	struct inliner *x = of(r);
	struct df_id row;
	bool placed = find(x, id, &row);
	int err = -ENOENT;

	if (placed)
		err = get_from_row(x, &row, id, off, len, timeout_ms, out);
	if (err != -ENOENT)
		return err;
	err = mirror(x, x->lower->ops->pack_get(x->lower, id, off, len,
						timeout_ms, out));
	if (!err && placed) /* its row went (checkpoint_rows.c) */
		df_inlinepack_forget(r, id);
	if (err != -ENOENT || !may_search(x))
		return err;
	if (search_log(x, timeout_ms) || !find(x, id, &row))
		return -ENOENT;
	return get_from_row(x, &row, id, off, len, timeout_ms, out);
}

/* An inline pack whose row is there is there. */
static int in_packs_have(struct df_remote *r, const struct df_id *ids, size_t n,
			 int64_t timeout_ms, bool *present)
{
	struct inliner *x = of(r);
	struct df_id row;
	int err = mirror(x, x->lower->ops->packs_have(x->lower, ids, n,
						      timeout_ms, present));

	for (size_t i = 0; i < n && !err; i++) {
		struct df_rows rows = { 0 };
		if (present[i] || !find(x, &ids[i], &row))
			continue;
		err = x->lower->ops->rows_get(x->lower, &row, 1, timeout_ms,
					      &rows);
		present[i] = !err && rows.n;
		df_rows_release(&rows);
	}
	return err;
}

static int in_packs_list(struct df_remote *r, int64_t timeout_ms,
			 struct df_idepoch_list *out)
{
	struct inliner *x = of(r);

	return mirror(x, x->lower->ops->packs_list(x->lower, timeout_ms, out));
}

static int in_packs_delete(struct df_remote *r, const struct df_id *ids,
			   size_t n, int64_t timeout_ms)
{
	struct inliner *x = of(r);

	return mirror(
		x, x->lower->ops->packs_delete(x->lower, ids, n, timeout_ms));
}

/* ---- the rest goes through */
static int in_view_apply(struct df_remote *r, const struct df_view_row *rows,
			 size_t n, int64_t timeout_ms)
{
	struct inliner *x = of(r);

	return mirror(x,
		      x->lower->ops->view_apply(x->lower, rows, n, timeout_ms));
}

static int in_view_foreign(struct df_remote *r, const char *after,
			   unsigned limit, int64_t timeout_ms,
			   struct df_view_page *out)
{
	struct inliner *x = of(r);

	return mirror(x, x->lower->ops->view_foreign(x->lower, after, limit,
						     timeout_ms, out));
}

static int in_reload(struct df_remote *r)
{
	struct inliner *x = of(r);

	return mirror(x, x->lower->ops->reload(x->lower));
}

static void in_health(struct df_remote *r, struct df_remote_health *out)
{
	of(r)->lower->ops->health(of(r)->lower, out);
}

static void in_reset(struct df_remote *r)
{
	of(r)->lower->ops->reset(of(r)->lower);
}

static void in_stop(struct df_remote *r)
{
	of(r)->lower->ops->stop(of(r)->lower);
}

static void release(struct inliner *x)
{
	for (int i = 0; i < ST_COUNT; i++)
		sqlite3_finalize(x->st[i]);
	sqlite3_close(x->db);
	df_lock_release(&x->lock);
	free(x);
}

static void in_free(struct df_remote *r)
{
	struct inliner *x = of(r);

	x->lower->ops->free(x->lower);
	release(x);
}

/* ---- life */
static int try_open(struct inliner *x, const char *path)
{
	static const char setup[] =
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
		"PRAGMA cache_size = -512;"
		"CREATE TABLE IF NOT EXISTS inlined(pack BLOB PRIMARY KEY,"
		" row BLOB NOT NULL) WITHOUT ROWID;";

	if (sqlite3_open_v2(path, &x->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
				    SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK ||
	    sqlite3_exec(x->db, setup, NULL, NULL, NULL) != SQLITE_OK)
		return -EIO;
	for (int i = 0; i < ST_COUNT; i++)
		if (sqlite3_prepare_v3(x->db, sql[i], -1,
				       SQLITE_PREPARE_PERSISTENT, &x->st[i],
				       NULL) != SQLITE_OK)
			return -EIO;
	return 0;
}

static int open_db(struct inliner *x, const char *dir)
{
	static const char *const tail[] = { "", "-wal", "-shm" };
	DF_FREE char *path = df_strf("%s/inline.db", dir);

	if (!path)
		return -ENOMEM;
	int err = df_mkdir_p(dir, 0700);
	if (err)
		return df_fail(err, "cache directory %s", dir);
	if (!try_open(x, path))
		return 0;
	/* It can be made again from the log: start anew. */
	df_log_warn("%s is no sound database: made anew", path);
	for (int i = 0; i < ST_COUNT; i++) {
		sqlite3_finalize(x->st[i]);
		x->st[i] = NULL;
	}
	sqlite3_close(x->db);
	x->db = NULL;
	for (size_t i = 0; i < DF_ARRAY_LEN(tail); i++) {
		DF_FREE char *old = df_strf("%s%s", path, tail[i]);
		if (!old || (remove(old) && errno != ENOENT))
			return df_fail(-errno, "remove %s%s", path, tail[i]);
	}
	return try_open(x, path) ? sql_error(x, "open") : 0;
}

static const struct df_remote_ops all_ops = {
	.name = "inlinepack",
	.learn = in_learn,
	.row_put = in_row_put,
	.rows_after = in_rows_after,
	.rows_feed = in_rows_feed,
	.rows_list = in_rows_list,
	.rows_get = in_rows_get,
	.rows_delete = in_rows_delete,
	.pack_put = in_pack_put,
	.pack_get = in_pack_get,
	.packs_have = in_packs_have,
	.packs_list = in_packs_list,
	.packs_delete = in_packs_delete,
	.view_apply = in_view_apply,
	.view_foreign = in_view_foreign,
	.reload = in_reload,
	.health = in_health,
	.reset = in_reset,
	.stop = in_stop,
	.free = in_free,
};

int df_inlinepack_new(const char *cache_dir, struct df_remote **lower,
		      struct df_remote **out)
{
	struct inliner *x = df_xalloc(sizeof(*x));
	const struct df_remote_ops *ops = (*lower)->ops;

	df_lock_init(&x->lock);
	x->ops = all_ops;
	if (!ops->learn)
		x->ops.learn = NULL;
	if (!ops->rows_feed)
		x->ops.rows_feed = NULL;
	if (!ops->view_apply)
		x->ops.view_apply = NULL;
	if (!ops->view_foreign)
		x->ops.view_foreign = NULL;
	if (!ops->reload)
		x->ops.reload = NULL;
	if (!ops->health)
		x->ops.health = NULL;
	x->base.ops = &x->ops;
	memcpy(x->base.where, (*lower)->where, sizeof(x->base.where));
	int err = open_db(x, cache_dir);
	if (err) {
		release(x);
		return err;
	}
	x->lower = *lower;
	*lower = NULL;
	mirror(x, 0);
	*out = &x->base;
	return 0;
}

struct df_remote *df_inlinepack_unwrap(struct df_remote *r)
{
	struct df_remote *lower = of(r)->lower;

	release(of(r));
	return lower;
}

bool df_inlinepack_is(const struct df_remote *r)
{
	return r->ops->pack_get == in_pack_get;
}

struct df_remote *df_inlinepack_lower(struct df_remote *r)
{
	return df_inlinepack_is(r) ? of(r)->lower : r;
}

bool df_inlinepack_row(struct df_remote *r, const struct df_id *pack,
		       struct df_id *row)
{
	return df_inlinepack_is(r) && find(of(r), pack, row);
}

int df_inlinepack_add(struct df_remote *r, const struct df_inline_place *p,
		      size_t n)
{
	return df_inlinepack_is(r) ? put_all(of(r), p, n) : 0;
}

void df_inlinepack_forget(struct df_remote *r, const struct df_id *pack)
{
	if (!df_inlinepack_is(r))
		return;
	struct inliner *x = of(r);
	df_lock(&x->lock);
	sqlite3_stmt *st = x->st[ST_DEL];
	sqlite3_bind_blob(st, 1, pack->b, DF_ID_LEN, SQLITE_STATIC);
	sqlite3_step(st);
	sqlite3_reset(st);
	df_unlock(&x->lock);
}
