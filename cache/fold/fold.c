/* fold.c - objects of the fold, in memory and read from SQLite; fold.h. */
#include "cache/fold/fold.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "cache/fold/fold_int.h"

#define FOLD_MEMORY (UINT64_C(16) << 20)
#define FOLD_AT_REST (UINT64_C(1) << 20)
#define KEPT 64 /* objects that trimming leaves alone */

int df_fold_open(const char *dir, uint64_t memory, struct df_segs *segs,
		 struct df_fold **out, bool *fresh)
{
	struct df_fold *f = df_xalloc(sizeof(*f));

	f->path = df_strf("%s/fold.db", dir);
	f->segs = segs;
	f->secret = df_xxh3(&(uint64_t[]){ (uintptr_t)f, (uintptr_t)dir,
					   (uint64_t)df_clock_mono_ns() },
			    3 * sizeof(uint64_t));
	pthread_mutex_init(&f->writer, NULL);
	f->memory = memory ? memory : FOLD_MEMORY;
	f->n_buckets = f->name_buckets = 1024;
	f->by_nid = df_xalloc(f->n_buckets * sizeof(*f->by_nid));
	f->by_id = df_xalloc(f->n_buckets * sizeof(*f->by_id));
	f->names = df_xalloc(f->name_buckets * sizeof(*f->names));
	f->lru.lru_prev = f->lru.lru_next = &f->lru;
	f->name_lru.lru_prev = f->name_lru.lru_next = &f->name_lru;
	df_coder_init(&f->coder, true);
	int err = f->path ? df_fold_db_open(f, fresh) : -ENOMEM;
	if (!err)
		err = df_fold_load_start(f);
	if (err) {
		df_fold_free(f);
		return err;
	}
	*out = f;
	return 0;
}

void df_fold_free(struct df_fold *f)
{
	for (uint32_t i = 0; i < f->n_buckets; i++)
		while (f->by_nid[i]) {
			struct df_obj *o = f->by_nid[i];
			f->by_nid[i] = o->next_nid;
			df_obj_free(o, NULL);
		}
	for (uint32_t i = 0; i < f->name_buckets; i++)
		while (f->names[i]) {
			struct df_name *n = f->names[i];
			f->names[i] = n->next_hash;
			free(n->name);
			free(n->more);
			free(n->changed);
			free(n);
		}
	for (size_t i = 0; i < f->n_rivals; i++) {
		for (uint32_t k = 0; k < f->rivals[i].n; k++)
			free(f->rivals[i].names[k]);
		free(f->rivals[i].names);
	}
	for (size_t i = 0; i < f->n_pending; i++)
		free(f->pending[i].text);
	free(f->rivals);
	free(f->pending);
	free(f->dirty);
	free(f->dirty_names);
	free(f->by_nid);
	free(f->by_id);
	free(f->names);
	df_coder_release(&f->coder);
	df_fold_db_close(f);
	pthread_mutex_destroy(&f->writer);
	free(f->path);
	free(f);
}

int df_fold_error(const struct df_fold *f)
{
	return f->err;
}

/* ---- the object cache */
static uint32_t nid_slot(const struct df_fold *f, df_nid nid)
{
	return (uint32_t)((nid * UINT64_C(0x9e3779b97f4a7c15)) >> 32) &
	       (f->n_buckets - 1);
}

static uint32_t id_slot(const struct df_fold *f, const struct df_id *id)
{
	uint64_t x[2];

	/* Ids are hashes, unless an attacker chose them. */
	memcpy(x, id->b, sizeof(x));
	x[0] = (x[0] ^ f->secret) * UINT64_C(0x9e3779b97f4a7c15);
	x[0] = (x[0] ^ x[0] >> 29 ^ x[1]) * (f->secret | 1);
	return (uint32_t)(x[0] >> 32) & (f->n_buckets - 1);
}

static void lru_remove(struct df_obj *o)
{
	o->lru_prev->lru_next = o->lru_next;
	o->lru_next->lru_prev = o->lru_prev;
}

static void lru_front(struct df_fold *f, struct df_obj *o)
{
	o->lru_next = f->lru.lru_next;
	o->lru_prev = &f->lru;
	o->lru_next->lru_prev = o;
	f->lru.lru_next = o;
}

static void grow(struct df_fold *f)
{
	uint32_t old = f->n_buckets;
	struct df_obj **by_nid = f->by_nid;

	free(f->by_id);
	f->n_buckets *= 2;
	f->by_nid = df_xalloc(f->n_buckets * sizeof(*f->by_nid));
	f->by_id = df_xalloc(f->n_buckets * sizeof(*f->by_id));
	for (uint32_t i = 0; i < old; i++)
		for (struct df_obj *o = by_nid[i], *next; o; o = next) {
			next = o->next_nid;
			uint32_t a = nid_slot(f, o->nid);
			o->next_nid = f->by_nid[a];
			f->by_nid[a] = o;
			if (o->flags & DF_OBJ_DEAD)
				continue;
			uint32_t b = id_slot(f, &o->id);
			o->next_id = f->by_id[b];
			f->by_id[b] = o;
		}
	free(by_nid);
}

void df_fold_account(struct df_fold *f, struct df_obj *o)
{
	uint32_t mem = df_obj_mem(o);

	f->used += mem;
	f->used -= o->mem;
	o->mem = mem;
}

void df_fold_account_obj(struct df_fold *f, struct df_obj *o)
{
	df_fold_account(f, o);
}

void df_fold_insert_obj(struct df_fold *f, struct df_obj *o)
{
	if (++f->n_objs > f->n_buckets)
		grow(f);
	uint32_t a = nid_slot(f, o->nid), b = id_slot(f, &o->id);
	o->next_nid = f->by_nid[a];
	f->by_nid[a] = o;
	o->next_id = f->by_id[b];
	f->by_id[b] = o;
	lru_front(f, o);
	df_fold_account(f, o);
}

static void unchain_id(struct df_fold *f, struct df_obj *o)
{
	for (struct df_obj **p = &f->by_id[id_slot(f, &o->id)]; *p;
	     p = &(*p)->next_id)
		if (*p == o) {
			*p = o->next_id;
			return;
		}
}

void df_fold_unlink_obj(struct df_fold *f, struct df_obj *o)
{
	for (struct df_obj **p = &f->by_nid[nid_slot(f, o->nid)]; *p;
	     p = &(*p)->next_nid)
		if (*p == o) {
			*p = o->next_nid;
			break;
		}
	if (!(o->flags & DF_OBJ_DEAD))
		unchain_id(f, o);
	lru_remove(o);
	f->used -= o->mem;
	f->n_objs--;
}

void df_fold_encode(struct df_coder *c, struct df_buf *b,
		    const struct df_obj *o)
{
	size_t at = b->len;

	df_coder_reset(c);
	df_code_object(c, b, o);
	if (!b->err)
		df_buf_put_u64(b, df_xxh3(b->data + at, b->len - at));
}

struct df_obj *df_fold_decode(struct df_coder *c, const void *blob, size_t size)
{
	struct df_rd r = df_rd(blob, size);
	const uint8_t *start = r.at;

	if (size < sizeof(uint64_t))
		return NULL;
	r.end -= sizeof(uint64_t);
	struct df_rd sum = df_rd(r.end, sizeof(uint64_t));
	if (df_rd_u64(&sum) != df_xxh3(start, df_rd_left(&r)))
		return NULL;
	df_coder_reset(c);
	struct df_obj *o = df_decode_object(c, &r);
	if (o && df_rd_left(&r)) {
		df_obj_free(o, NULL);
		o = NULL;
	}
	return o;
}

/* The object in a row's blob; a damaged one latches the fold. */
static struct df_obj *load(struct df_fold *f, sqlite3_stmt *st)
{
	struct df_obj *o = NULL;
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW) {
		o = df_fold_decode(&f->coder, sqlite3_column_blob(st, 0),
				   (size_t)sqlite3_column_bytes(st, 0));
		if (!o) {
			f->err = df_fail(DF_ECORRUPT, "%s: an object", f->path);
			df_fold_condemn(f);
		}
	} else if (rc != SQLITE_DONE) {
		df_fold_sql_error(f, f->rd, "read an object");
	}
	sqlite3_reset(st);
	return o;
}

/* From memory.  False: memory does not know; else *out, NULL for a dead one. */
static bool in_memory(struct df_fold *f, df_nid nid, struct df_obj **out)
{
	*out = NULL;
	for (struct df_obj *o = f->by_nid[nid_slot(f, nid)]; o; o = o->next_nid)
		if (o->nid == nid) {
			*out = o->flags & DF_OBJ_DEAD ? NULL : o;
			return true;
		}
	return f->bare && nid != DF_ROOT_NID;
}

static struct df_obj *load_nid(struct df_fold *f, df_nid nid)
{
	sqlite3_bind_int64(f->st[ST_OBJ_GET], 1, (sqlite3_int64)nid);
	return load(f, f->st[ST_OBJ_GET]);
}

struct df_obj *df_fold_get(struct df_fold *f, df_nid nid)
{
	struct df_obj *o;

	if (in_memory(f, nid, &o)) {
		if (o && f->lru.lru_next != o) {
			lru_remove(o);
			lru_front(f, o);
		}
		return o;
	}
	o = load_nid(f, nid);
	if (o)
		df_fold_insert_obj(f, o);
	return o;
}

const struct df_obj *df_fold_peek(struct df_fold *f, df_nid nid,
				  struct df_obj **own)
{
	struct df_obj *o;

	*own = NULL;
	if (!in_memory(f, nid, &o))
		o = *own = load_nid(f, nid);
	return o;
}

uint64_t df_fold_changes(const struct df_fold *f)
{
	return f->changes;
}

struct df_id df_fold_dir_id(void *fold, df_nid nid)
{
	const struct df_obj *o = df_fold_get(fold, nid);
	struct df_id nobody;

	memset(&nobody, nid == DF_ROOT_NID ? 0 : 0xff, sizeof(nobody));
	return o ? o->id : nobody;
}

struct df_obj *df_fold_find(struct df_fold *f, const struct df_id *id)
{
	for (struct df_obj *o = f->by_id[id_slot(f, id)]; o; o = o->next_id)
		if (!df_id_cmp(&o->id, id))
			return o;
	static const struct df_id root;
	if (f->bare && df_id_cmp(id, &root))
		return NULL;
	sqlite3_bind_blob(f->st[ST_OBJ_FIND], 1, id->b, DF_ID_LEN,
			  SQLITE_STATIC);
	struct df_obj *o = load(f, f->st[ST_OBJ_FIND]);
	if (!o)
		return NULL;
	/* Its row may belong to one that died a moment ago. */
	for (struct df_obj *x = f->by_nid[nid_slot(f, o->nid)]; x;
	     x = x->next_nid)
		if (x->nid == o->nid) {
			df_obj_free(o, NULL);
			return NULL;
		}
	df_fold_insert_obj(f, o);
	return o;
}

df_nid df_fold_new_nid(struct df_fold *f)
{
	return f->next_nid++;
}

struct df_obj *df_fold_make(struct df_fold *f, const struct df_id *id)
{
	struct df_obj *o = df_obj_new(id);

	o->nid = df_fold_new_nid(f);
	df_fold_insert_obj(f, o);
	df_fold_touch(f, o);
	return o;
}

void df_fold_adopt(struct df_fold *f, struct df_obj *o)
{
	df_fold_insert_obj(f, o);
	df_fold_touch(f, o);
}

struct df_obj *df_fold_take(struct df_fold *f, const struct df_id *id)
{
	struct df_obj *o = df_fold_find(f, id);

	return o ? o : df_fold_make(f, id);
}

void df_fold_touch(struct df_fold *f, struct df_obj *o)
{
	f->changes++;
	if (o->flags & DF_OBJ_FOLD_DIRTY)
		return;
	o->flags |= DF_OBJ_FOLD_DIRTY;
	DF_GROW(f->dirty, f->n_dirty, f->dirty_size);
	f->dirty[f->n_dirty++] = o;
}

void df_fold_drop(struct df_fold *f, struct df_obj *o)
{
	/* Its bytes are no longer anybody's. */
	df_heads_release(&o->heads, f->segs);
	unchain_id(f, o);
	o->flags |= DF_OBJ_DEAD;
	df_fold_touch(f, o);
}

static bool evictable(const struct df_obj *o)
{
	return !(o->flags & (DF_OBJ_FOLD_DIRTY | DF_OBJ_HELD)) &&
	       !o->n_dirty_names && !o->flushing;
}

void df_fold_trim(struct df_fold *f)
{
	/* The last few stay: somebody holds what he got just now. */
	int tries = f->n_objs > KEPT ? (int)DF_MIN(f->n_objs - KEPT, 256u) : 0;

	if (f->used <= f->memory)
		return;
	/* Names are half of it: the two lists give way in turn. */
	while (f->used > f->memory - f->memory / 8 && tries-- > 0) {
		struct df_obj *o = f->lru.lru_prev;
		struct df_name *n = f->name_lru.lru_prev;
		if (o != &f->lru) {
			if (evictable(o)) {
				df_fold_unlink_obj(f, o);
				df_obj_free(o, NULL);
			} else {
				lru_remove(o);
				lru_front(f, o);
			}
		}
		if (n == &f->name_lru)
			continue;
		if (!n->dirty && !n->flushing) {
			df_fold_free_name(f, n);
			continue;
		}
		n->lru_prev->lru_next = n->lru_next;
		n->lru_next->lru_prev = n->lru_prev;
		n->lru_next = f->name_lru.lru_next;
		n->lru_prev = &f->name_lru;
		n->lru_next->lru_prev = n;
		f->name_lru.lru_next = n;
	}
}

bool df_fold_rest(struct df_fold *f)
{
	uint64_t memory = f->memory, before;

	if (f->used < 2 * FOLD_AT_REST)
		return false;
	f->memory = FOLD_AT_REST;
	do {
		before = f->used;
		df_fold_trim(f);
	} while (f->used < before);
	f->memory = memory;
	sqlite3_db_release_memory(f->rd);
	if (!pthread_mutex_trylock(&f->writer)) { /* never wait for a disk */
		sqlite3_db_release_memory(f->wr);
		pthread_mutex_unlock(&f->writer);
	}
	return true;
}

/* ---- walking */
static int each(struct df_fold *f, const char *text,
		int (*fn)(void *arg, struct df_obj *o), void *arg)
{
	sqlite3_stmt *st;
	df_nid *nids = NULL;
	size_t n = 0, size = 0;
	int err = df_fold_flush(f);

	if (err)
		return err;
	if (sqlite3_prepare_v2(f->rd, text, -1, &st, NULL) != SQLITE_OK)
		return df_fold_sql_error(f, f->rd, text);
	int rc;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		DF_GROW(nids, n, size);
		nids[n++] = (df_nid)sqlite3_column_int64(st, 0);
	}
	if (rc != SQLITE_DONE)
		err = df_fold_sql_error(f, f->rd, text);
	sqlite3_finalize(st);
	for (size_t i = 0; i < n && !err; i++) {
		struct df_obj *o = df_fold_get(f, nids[i]);
		if (o)
			err = fn(arg, o);
		if (i % 64 == 0)
			df_fold_trim(f);
	}
	free(nids);
	return err ? err : f->err;
}

int df_fold_each(struct df_fold *f, int (*fn)(void *arg, struct df_obj *o),
		 void *arg)
{
	return each(f, "SELECT nid FROM obj ORDER BY nid", fn, arg);
}

int df_fold_each_flagged(struct df_fold *f,
			 int (*fn)(void *arg, struct df_obj *o), void *arg)
{
	return each(f,
		    "SELECT nid FROM obj WHERE flagged <> 0 AND flagged & 1"
		    " ORDER BY nid",
		    fn, arg);
}

int df_fold_each_dir(struct df_fold *f, int (*fn)(void *arg, struct df_obj *o),
		     void *arg)
{
	return each(f,
		    "SELECT nid FROM obj WHERE flagged <> 0 AND flagged & 2"
		    " ORDER BY nid",
		    fn, arg);
}
