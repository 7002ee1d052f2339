/* fold_write.c - what SQLite lacks, written in one transaction. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "cache/fold/fold_int.h"

#define DIRTY_MANY 4000

struct df_flush {
	struct df_buf blobs;
	struct flush_obj {
		struct df_obj *o; /* pinned by DF_OBJ_FLUSHING */
		df_nid nid;
		struct df_id id;
		int flagged;
		bool dead;
		size_t off, len; /* in blobs */
	} * objs;
	size_t n_objs;
	struct flush_name {
		struct df_name *n; /* pinned by n->flushing */
		df_nid parent;
		uint64_t cookie;
		char *name;      /* owned */
		df_nid *changed; /* owned; came if .there, else went */
		bool *there;     /* owned */
		uint32_t n_changed;
	} * names;
	size_t n_names;
	struct df_pending *pending;
	size_t n_pending;
	uint64_t next_nid;
};

size_t df_fold_dirty(const struct df_fold *f)
{
	return f->n_dirty + f->n_dirty_names + f->n_pending;
}

static size_t weight(const struct df_fold *f)
{
	return f->n_dirty + f->n_dirty_names / 4 + f->n_pending;
}

bool df_fold_many(const struct df_fold *f)
{
	return weight(f) >= DIRTY_MANY;
}

bool df_fold_behind(const struct df_fold *f)
{
	return weight(f) >= 2 * DIRTY_MANY;
}

/* What is written can be read again: else the volume is lost at restart. */
static void check_readable(const struct df_flush *b, size_t off)
{
#ifndef NDEBUG
	struct df_coder c;

	df_coder_init(&c, true);
	struct df_obj *o =
		df_fold_decode(&c, b->blobs.data + off, b->blobs.len - off);
	assert(o || b->blobs.err);
	df_obj_free(o, NULL);
	df_coder_release(&c);
#else
	(void)b;
	(void)off;
#endif
}

static void take_objects(struct df_fold *f, struct df_flush *b)
{
	b->objs = df_xalloc(f->n_dirty * sizeof(*b->objs));
	struct df_coder c;
	df_coder_init(&c, true);
	for (size_t i = 0; i < f->n_dirty; i++) {
		struct df_obj *o = f->dirty[i];
		struct flush_obj *t = &b->objs[b->n_objs++];
		*t = (struct flush_obj){
			.o = o, .nid = o->nid, .id = o->id, .off = b->blobs.len
		};
		t->dead = o->flags & DF_OBJ_DEAD;
		f->bare &= o->nid == DF_ROOT_NID;
		t->flagged = (df_obj_dirty(o) || (o->flags & DF_OBJ_ORPHAN)) |
			     df_obj_is_dir(o) << 1;
		if (!t->dead) {
			df_fold_encode(&c, &b->blobs, o);
			check_readable(b, t->off);
			df_fold_account(f, o);
		}
		t->len = b->blobs.len - t->off;
		o->flags &= ~(uint32_t)DF_OBJ_FOLD_DIRTY;
		o->flushing++;
	}
	f->n_dirty = 0;
	df_coder_release(&c);
}

static void take_names(struct df_fold *f, struct df_flush *b)
{
	b->names = df_xalloc(f->n_dirty_names * sizeof(*b->names));
	f->bare &= !f->n_dirty_names;
	for (size_t i = 0; i < f->n_dirty_names; i++) {
		struct df_name *n = f->dirty_names[i];
		struct flush_name *t = &b->names[b->n_names++];
		*t = (struct flush_name){
			.n = n,
			.parent = n->parent,
			.cookie = n->cookie,
			.name = df_xstrdup(n->name),
			.changed = n->changed,
			.there = df_xalloc(n->n_changed),
			.n_changed = n->n_changed,
		};
		for (uint32_t k = 0; k < n->n_changed; k++)
			t->there[k] = df_name_has(n, n->changed[k]);
		n->changed = NULL;
		n->n_changed = n->changed_size = 0;
		n->dirty = false;
		n->flushing++;
	}
	f->n_dirty_names = 0;
}

struct df_flush *df_fold_begin(struct df_fold *f)
{
	if (!df_fold_dirty(f))
		return NULL;
	pthread_mutex_lock(&f->writer);
	struct df_flush *b = df_xalloc(sizeof(*b));
	df_buf_init(&b->blobs, (size_t)1 << 30);
	take_objects(f, b);
	take_names(f, b);
	df_fold_set_meta(f, "next_nid", f->next_nid);
	b->pending = f->pending;
	b->n_pending = f->n_pending;
	f->pending = NULL;
	f->n_pending = f->pending_size = 0;
	f->flight = b;
	if (b->blobs.err)
		f->err = df_fail(b->blobs.err, "encode the fold");
	return b;
}

static int run(struct df_fold *f, enum df_stmt st)
{
	int rc = sqlite3_step(f->st[st]);

	sqlite3_reset(f->st[st]);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

static int write_objects(struct df_fold *f, struct df_flush *b)
{
	int err = 0;

	/* Deletions first: an id may live on under a new number. */
	for (size_t i = 0; i < b->n_objs && !err; i++)
		if (b->objs[i].dead) {
			sqlite3_bind_int64(f->st[ST_OBJ_DEL], 1,
					   (sqlite3_int64)b->objs[i].nid);
			err = run(f, ST_OBJ_DEL);
		}
	sqlite3_stmt *st = f->st[ST_OBJ_PUT];
	for (size_t i = 0; i < b->n_objs && !err; i++) {
		const struct flush_obj *t = &b->objs[i];
		if (t->dead)
			continue;
		sqlite3_bind_int64(st, 1, (sqlite3_int64)t->nid);
		sqlite3_bind_blob(st, 2, t->id.b, DF_ID_LEN, SQLITE_STATIC);
		sqlite3_bind_int(st, 3, t->flagged);
		sqlite3_bind_blob64(st, 4, b->blobs.data + t->off, t->len,
				    SQLITE_STATIC);
		err = run(f, ST_OBJ_PUT);
	}
	return err;
}

static int write_names(struct df_fold *f, struct df_flush *b)
{
	int err = 0;

	for (size_t i = 0; i < b->n_names; i++) {
		const struct flush_name *n = &b->names[i];
		for (uint32_t k = 0; k < n->n_changed && !err; k++) {
			enum df_stmt what = n->there[k] ? ST_ENT_PUT
							: ST_ENT_DEL;
			sqlite3_stmt *st = f->st[what];
			sqlite3_bind_int64(st, 1, (sqlite3_int64)n->parent);
			sqlite3_bind_int64(st, 2, (sqlite3_int64)n->cookie);
			sqlite3_bind_blob(st, 3, n->name, (int)strlen(n->name),
					  SQLITE_STATIC);
			sqlite3_bind_int64(st, 4, (sqlite3_int64)n->changed[k]);
			err = run(f, what);
		}
	}
	return err;
}

static int write_pending(struct df_fold *f, const struct df_pending *p)
{
	sqlite3_stmt *st = f->st[p->stmt];

	if (p->stmt == ST_ROW_PUT) {
		sqlite3_bind_blob(st, 1, p->row.id.b, DF_ID_LEN, SQLITE_STATIC);
		sqlite3_bind_int64(st, 2, (sqlite3_int64)p->row.epoch);
		sqlite3_bind_int64(st, 3, (sqlite3_int64)p->value);
	} else if (p->stmt == ST_ROW_DEL) {
		sqlite3_bind_blob(st, 1, p->row.id.b, DF_ID_LEN, SQLITE_STATIC);
	} else if (p->stmt == ST_ROW_TAKEN) {
		return run(f, p->stmt);
	} else if (p->stmt == ST_META_PUT) {
		sqlite3_bind_text(st, 1, p->text, -1, SQLITE_STATIC);
		sqlite3_bind_int64(st, 2, (sqlite3_int64)p->value);
	} else {
		sqlite3_bind_int64(st, 1, (sqlite3_int64)p->parent);
		sqlite3_bind_blob(st, 2, p->text, (int)strlen(p->text),
				  SQLITE_STATIC);
	}
	return run(f, p->stmt);
}

static int write_all(struct df_fold *f, struct df_flush *b)
{
	int err = sqlite3_exec(f->wr, "BEGIN IMMEDIATE", NULL, NULL, NULL) ==
				  SQLITE_OK
			  ? 0
			  : -EIO;

	if (!err)
		err = write_objects(f, b);
	if (!err)
		err = write_names(f, b);
	for (size_t i = 0; i < b->n_pending && !err; i++)
		err = write_pending(f, &b->pending[i]);
	if (!err)
		err = df_fault("fold.commit");
	if (!err &&
	    sqlite3_exec(f->wr, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		err = -EIO;
	if (!err)
		(void)df_fault("fold.committed");
	if (err) {
		err = df_fold_sql_error(f, f->wr, "write");
		sqlite3_exec(f->wr, "ROLLBACK", NULL, NULL, NULL);
	}
	return err;
}

/* A batch says from where on the journal is needed, and means that those before
 * it are there. */
int df_fold_write(struct df_fold *f, struct df_flush *b)
{
	int err = f->cut_off ? -EIO : write_all(f, b);

	f->cut_off |= err != 0;
	pthread_mutex_unlock(&f->writer);
	return err;
}

static void release_name(struct df_fold *f, struct df_name *n)
{
	if (--n->flushing || n->dirty)
		return;
	struct df_obj *p = df_fold_get(f, n->parent);
	if (!p)
		return;
	if (n->dirty_prev)
		n->dirty_prev->dirty_next = n->dirty_next;
	else
		p->dirty_names = n->dirty_next;
	if (n->dirty_next)
		n->dirty_next->dirty_prev = n->dirty_prev;
	n->dirty_prev = n->dirty_next = NULL;
	p->n_dirty_names--;
}

bool df_fold_flight_has(const struct df_fold *f, const struct df_id *id)
{
	const struct df_flush *b = f->flight;

	return b && df_pending_has_row(b->pending, b->n_pending, id);
}

void df_fold_end(struct df_fold *f, struct df_flush *b, int err)
{
	if (f->flight == b)
		f->flight = NULL;
	for (size_t i = 0; i < b->n_names; i++) {
		struct flush_name *t = &b->names[i];
		for (uint32_t k = 0; err && k < t->n_changed; k++)
			df_fold_cand_changed(f, t->n, t->changed[k]);
		release_name(f, t->n);
		free(t->name);
		free(t->changed);
		free(t->there);
	}
	for (size_t i = 0; i < b->n_objs; i++) {
		struct df_obj *o = b->objs[i].o;
		o->flushing--;
		if (err) {
			df_fold_touch(f, o);
		} else if (b->objs[i].dead && !o->flushing) {
			df_fold_unlink_obj(f, o);
			df_obj_free(o, NULL);
		}
	}
	for (size_t i = 0; i < b->n_pending; i++)
		free(b->pending[i].text);
	free(b->pending);
	free(b->objs);
	free(b->names);
	df_buf_release(&b->blobs);
	free(b);
}

int df_fold_flush(struct df_fold *f)
{
	struct df_flush *b = df_fold_begin(f);

	if (!b)
		return f->err;
	int err = df_fold_write(f, b);
	df_fold_end(f, b, err);
	return err;
}

int df_fold_checkpoint(struct df_fold *f)
{
	int log = 0, done = 0;

	if (df_fault("fold.checkpoint"))
		return -EIO;
	pthread_mutex_lock(&f->writer);
	/* PASSIVE syncs the WAL and the database, and waits for nobody. */
	int rc = f->cut_off
			 ? SQLITE_IOERR
			 : sqlite3_wal_checkpoint_v2(f->wr, NULL,
						     SQLITE_CHECKPOINT_PASSIVE,
						     &log, &done);
	pthread_mutex_unlock(&f->writer);
	if (rc != SQLITE_OK)
		return -EIO;
	return log == done ? 0 : -EAGAIN;
}
