/* checkpoint_snap.c - see checkpoint_snap.h. */
#include "cache/checkpoint_snap.h"

#include <stdlib.h>
#include <string.h>

#include "cache/fold/fold_int.h"
#include "cache/tree.h"

#define NOWHERE UINT32_MAX

struct dir {
	struct df_id id;
	df_nid nid;
};

struct ent {
	uint32_t rank; /* of the directory */
	uint64_t head; /* of the id, so that numbers sort as ids */
	df_nid nid;
};

struct df_snap {
	struct df_fold *fold; /* for its name; not locked */
	sqlite3 *db;
	sqlite3_stmt *get;
	struct dir *dirs; /* by id: the index is the rank */
	size_t n_dirs, dirs_size;
	struct {
		df_nid nid;
		uint32_t rank;
	} * by_nid; /* sorted; n_dirs */
	struct ent *ents;
	size_t n, size, at;
	df_nid *dirty;
	size_t n_dirty, dirty_size;
	struct df_coder coder;
};

static int sql_error(struct df_snap *s, const char *what)
{
	int code = s->db ? sqlite3_errcode(s->db) : SQLITE_NOMEM;

	if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
		df_fold_condemn(s->fold);
	return df_fail(-EIO, "%s: checkpoint: %s: %s", s->fold->path, what,
		       s->db ? sqlite3_errmsg(s->db) : "no memory");
}

int df_snap_open(struct df_vol *v, struct df_snap **out)
{
	struct df_snap *s = df_xalloc(sizeof(*s));
	int err;

	df_lock_assert(&v->lock);
	df_coder_init(&s->coder, true);
	s->fold = v->fold;
	err = df_fold_flush(v->fold);
	if (!err && sqlite3_open_v2(s->fold->path, &s->db,
				    SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
				    NULL) != SQLITE_OK)
		err = sql_error(s, "open");
	if (!err) {
		sqlite3_busy_timeout(s->db, 10000);
		/* What another thread is writing just now belongs to it. */
		pthread_mutex_lock(&v->fold->writer);
		if (sqlite3_exec(s->db,
				 "PRAGMA cache_size = -4096; BEGIN;"
				 "SELECT 1 FROM meta LIMIT 1",
				 NULL, NULL, NULL) != SQLITE_OK)
			err = sql_error(s, "begin");
		pthread_mutex_unlock(&v->fold->writer);
	}
	if (!err && sqlite3_prepare_v2(s->db,
				       "SELECT data FROM obj WHERE "
				       "nid = ?1",
				       -1, &s->get, NULL) != SQLITE_OK)
		err = sql_error(s, "prepare");
	if (err) {
		df_snap_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void df_snap_free(struct df_snap *s)
{
	if (!s)
		return;
	sqlite3_finalize(s->get);
	sqlite3_close(s->db); /* ends the transaction */
	df_coder_release(&s->coder);
	free(s->dirs);
	free(s->by_nid);
	free(s->ents);
	free(s->dirty);
	free(s);
}

/* ---- directories */
static int dir_cmp(const void *a, const void *b)
{
	const struct dir *x = a, *y = b;

	return df_id_cmp(&x->id, &y->id);
}

static int nid_cmp(const void *a, const void *b)
{
	const df_nid *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int load_dirs(struct df_snap *s)
{
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(s->db,
			       "SELECT nid, id FROM obj WHERE "
			       "flagged <> 0 AND flagged & 2",
			       -1, &st, NULL) != SQLITE_OK)
		return sql_error(s, "directories");
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		DF_GROW(s->dirs, s->n_dirs, s->dirs_size);
		struct dir *d = &s->dirs[s->n_dirs++];
		d->nid = (df_nid)sqlite3_column_int64(st, 0);
		memset(&d->id, 0, sizeof(d->id));
		if (sqlite3_column_bytes(st, 1) == DF_ID_LEN)
			memcpy(d->id.b, sqlite3_column_blob(st, 1), DF_ID_LEN);
	}
	sqlite3_finalize(st);
	if (rc != SQLITE_DONE)
		return sql_error(s, "directories");
	if (s->n_dirs)
		qsort(s->dirs, s->n_dirs, sizeof(*s->dirs), dir_cmp);
	s->by_nid = df_xalloc((s->n_dirs + 1) * sizeof(*s->by_nid));
	for (size_t i = 0; i < s->n_dirs; i++) {
		s->by_nid[i].nid = s->dirs[i].nid;
		s->by_nid[i].rank = (uint32_t)i;
	}
	if (s->n_dirs)
		qsort(s->by_nid, s->n_dirs, sizeof(*s->by_nid), nid_cmp);
	return 0;
}

static uint32_t rank_of(const struct df_snap *s, df_nid nid)
{
	size_t lo = 0, hi = s->n_dirs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (s->by_nid[mid].nid < nid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->n_dirs && s->by_nid[lo].nid == nid ? s->by_nid[lo].rank
							  : NOWHERE;
}

struct df_id df_snap_dir_id(void *snap, df_nid nid)
{
	const struct df_snap *s = snap;
	uint32_t rank = rank_of(s, nid);

	return rank == NOWHERE ? df_root_id() : s->dirs[rank].id;
}

/* ---- objects */
/* The directory that shows o, or that would if o came back. */
static df_nid home(struct df_snap *s, const struct df_obj *o)
{
	struct df_dirids ids = { df_snap_dir_id, s };
	const char *name;
	df_nid parent = DF_ROOT_NID;

	if (o->nid == DF_ROOT_NID)
		return DF_ROOT_NID;
	if (df_obj_is_dir(o))
		return df_tree_parent(o, &name);
	if (df_tree_newest(o, ids, &parent, &name))
		return parent;
	const struct df_link *best = NULL;
	for (uint32_t i = 0; i < o->n_links; i++)
		if (!best || df_link_cmp(&o->links[i], best, ids) > 0)
			best = &o->links[i];
	return best ? best->parent : DF_ROOT_NID;
}

static struct df_obj *decode(struct df_snap *s, sqlite3_stmt *st)
{
	struct df_obj *o = df_fold_decode(&s->coder, sqlite3_column_blob(st, 0),
					  (size_t)sqlite3_column_bytes(st, 0));

	if (!o) {
		df_fail(DF_ECORRUPT, "%s: an object", s->fold->path);
		df_fold_condemn(s->fold);
	}
	return o;
}

static void note(struct df_snap *s, const struct df_obj *o)
{
	DF_GROW(s->ents, s->n, s->size);
	struct ent *e = &s->ents[s->n++];
	e->nid = o->nid;
	e->rank = rank_of(s, home(s, o));
	if (e->rank == NOWHERE)
		e->rank = 0; /* the root's id is the least */
	e->head = 0;
	for (int i = 0; i < 8; i++)
		e->head = e->head << 8 | o->id.b[i];
	if (!df_obj_dirty(o) || !df_obj_published(o))
		return;
	DF_GROW(s->dirty, s->n_dirty, s->dirty_size);
	s->dirty[s->n_dirty++] = o->nid;
}

static int ent_cmp(const void *a, const void *b)
{
	const struct ent *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return (x->head > y->head) - (x->head < y->head);
}

static struct df_obj *get(struct df_snap *s, df_nid nid)
{
	struct df_obj *o = NULL;

	sqlite3_bind_int64(s->get, 1, (sqlite3_int64)nid);
	if (sqlite3_step(s->get) == SQLITE_ROW)
		o = decode(s, s->get);
	else
		sql_error(s, "an object");
	sqlite3_reset(s->get);
	return o;
}

/* Ids that begin alike were made by somebody who wanted it so. */
static int sort_ties(struct df_snap *s, struct ent *e, size_t n)
{
	struct dir *full = df_xalloc(n * sizeof(*full));
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		struct df_obj *o = get(s, e[i].nid);
		if (o)
			full[i] = (struct dir){ o->id, o->nid };
		else
			err = -EIO;
		df_obj_free(o, NULL);
	}
	qsort(full, n, sizeof(*full), dir_cmp);
	for (size_t i = 0; i < n && !err; i++)
		e[i].nid = full[i].nid;
	free(full);
	return err;
}

int df_snap_sort(struct df_snap *s)
{
	sqlite3_stmt *st;
	int rc, err = load_dirs(s);

	if (err)
		return err;
	if (sqlite3_prepare_v2(s->db, "SELECT data FROM obj", -1, &st, NULL) !=
	    SQLITE_OK)
		return sql_error(s, "objects");
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct df_obj *o = decode(s, st);
		if (o)
			note(s, o);
		else
			err = -EIO;
		df_obj_free(o, NULL);
	}
	sqlite3_finalize(st);
	if (!err && rc != SQLITE_DONE)
		err = sql_error(s, "objects");
	if (err)
		return err;
	if (s->n)
		qsort(s->ents, s->n, sizeof(*s->ents), ent_cmp);
	for (size_t i = 0, n; i < s->n && !err; i += n) {
		for (n = 1;
		     i + n < s->n && !ent_cmp(&s->ents[i], &s->ents[i + n]);
		     n++)
			;
		if (n > 1)
			err = sort_ties(s, s->ents + i, n);
	}
	return err;
}

int df_snap_next(struct df_snap *s, struct df_ck_key *key, struct df_obj **o)
{
	while (s->at < s->n) {
		const struct ent *e = &s->ents[s->at++];
		struct df_obj *x = get(s, e->nid);
		if (!x)
			return -EIO;
		/* A conflict copy that was only looked at is nobody's. */
		bool known = df_obj_published(x);
		df_ck_clean(x);
		if (!known || df_ck_empty(x)) {
			df_obj_free(x, NULL);
			continue;
		}
		key->dir = s->n_dirs ? s->dirs[e->rank].id : df_root_id();
		key->obj = x->id;
		*o = x;
		return 1;
	}
	return 0;
}

const df_nid *df_snap_dirty(const struct df_snap *s, size_t *n)
{
	*n = s->n_dirty;
	return s->dirty;
}
