/* checkpoint_bulk.c - see checkpoint_bulk.h. */
#include "cache/checkpoint_bulk.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "cache/fold/fold_int.h"
#include "cache/merge.h"

#define SLOTS_FIRST 1024
#define NONE UINT32_MAX

/* A directory, from the first time that something names it. */
struct dir {
	struct df_id id;
	df_nid nid;
	uint32_t parent; /* index; NONE until its place is known */
	uint32_t n_subdirs;
	uint64_t n_live;
	bool placed, there, live;
};

struct name { /* of a file with several heads */
	df_nid parent;
	char *name; /* owned */
};

struct df_bulk {
	struct df_vol *v;
	struct df_fold *f;
	df_nid next_nid;
	struct dir *dirs; /* dirs[0] is the root */
	uint32_t n_dirs, dirs_size;
	uint32_t *slots; /* index + 1 by id; 0 free */
	uint32_t n_slots;
	struct df_coder in, out;
	struct df_buf blob;
	struct df_obj *last; /* may have more parts to come */
	struct df_obj *root; /* the root's registers */
	struct name *rivals;
	size_t n_rivals, rivals_size;
	uint64_t n_files, n_bytes, n_revived, max_time;
	sqlite3_stmt *get;
	sqlite3_stmt *group;
};

/* ---- directories by id */
static uint32_t *slot_of(struct df_bulk *b, const struct df_id *id)
{
	uint32_t at;

	memcpy(&at, id->b, sizeof(at));
	for (at &= b->n_slots - 1; b->slots[at];
	     at = (at + 1) & (b->n_slots - 1))
		if (!df_id_cmp(&b->dirs[b->slots[at] - 1].id, id))
			break;
	return &b->slots[at];
}

static void grow_slots(struct df_bulk *b)
{
	free(b->slots);
	b->n_slots = b->n_slots ? b->n_slots * 2 : SLOTS_FIRST;
	b->slots = df_xalloc(b->n_slots * sizeof(*b->slots));
	for (uint32_t i = 0; i < b->n_dirs; i++)
		*slot_of(b, &b->dirs[i].id) = i + 1;
}

static uint32_t dir_take(struct df_bulk *b, const struct df_id *id)
{
	uint32_t *slot = slot_of(b, id);

	if (*slot)
		return *slot - 1;
	if (b->n_dirs * 2 >= b->n_slots) {
		grow_slots(b);
		slot = slot_of(b, id);
	}
	DF_GROW(b->dirs, b->n_dirs, b->dirs_size);
	b->dirs[b->n_dirs] =
		(struct dir){ .id = *id, .nid = b->next_nid++, .parent = NONE };
	*slot = ++b->n_dirs;
	return b->n_dirs - 1;
}

/* While objects are decoded parents are known by index + 1, not yet by nid:
 * counting needs the former, and the latter is one look away. */
static df_nid nid_of(void *arg, const struct df_id *id)
{
	return dir_take(arg, id) + 1;
}

/* ---- writing */
static int run(struct df_bulk *b, enum df_stmt st)
{
	int rc = sqlite3_step(b->f->st[st]);

	sqlite3_reset(b->f->st[st]);
	return rc == SQLITE_DONE ? 0
				 : df_fold_sql_error(b->f, b->f->wr, "fill");
}

static int exec(struct df_bulk *b, const char *text)
{
	if (sqlite3_exec(b->f->wr, text, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return sqlite3_errcode(b->f->wr) == SQLITE_CONSTRAINT
		       ? -EEXIST
		       : df_fold_sql_error(b->f, b->f->wr, text);
}

static int put_obj(struct df_bulk *b, const struct df_obj *o)
{
	sqlite3_stmt *st = b->f->st[ST_OBJ_PUT];
	int flagged = (o->flags & DF_OBJ_ORPHAN ? 1 : 0) |
		      (df_obj_is_dir(o) ? 2 : 0);

	df_buf_reset(&b->blob);
	df_fold_encode(&b->out, &b->blob, o);
	if (b->blob.err)
		return b->blob.err;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)o->nid);
	sqlite3_bind_blob(st, 2, o->id.b, DF_ID_LEN, SQLITE_STATIC);
	sqlite3_bind_int(st, 3, flagged);
	sqlite3_bind_blob64(st, 4, b->blob.data, b->blob.len, SQLITE_STATIC);
	return run(b, ST_OBJ_PUT);
}

static int put_ent(struct df_bulk *b, df_nid parent, const char *name,
		   df_nid nid)
{
	sqlite3_stmt *st = b->f->st[ST_ENT_PUT];

	sqlite3_bind_int64(st, 1, (sqlite3_int64)parent);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)df_name_cookie(name));
	sqlite3_bind_blob(st, 3, name, (int)strlen(name), SQLITE_STATIC);
	sqlite3_bind_int64(st, 4, (sqlite3_int64)nid);
	return run(b, ST_ENT_PUT);
}

static void note_rival(struct df_bulk *b, df_nid parent, const char *name)
{
	DF_GROW(b->rivals, b->n_rivals, b->rivals_size);
	b->rivals[b->n_rivals++] = (struct name){ parent, df_xstrdup(name) };
}

/* ---- objects */
static struct df_id id_of(void *arg, df_nid index1)
{
	const struct df_bulk *b = arg;

	return b->dirs[index1 - 1].id;
}

/* o's parents are indexes, and node numbers afterwards (which are in the same
 * order). */
static int put_names(struct df_bulk *b, struct df_obj *o)
{
	struct df_dirids ids = { id_of, b };
	struct df_eff e;
	df_nid parent;
	const char *name;
	int err = 0;

	if (o->heads.n > 1 && df_tree_newest(o, ids, &parent, &name))
		note_rival(b, b->dirs[parent - 1].nid, name);
	df_obj_eff(o, ids, &e);
	for (uint32_t i = 0; i < e.n; i++)
		b->dirs[o->links[e.i[i]].parent - 1].n_live++;
	for (uint32_t i = 0; i < o->n_links; i++) {
		uint32_t at = (uint32_t)o->links[i].parent - 1;
		o->links[i].parent = b->dirs[at].nid;
	}
	for (uint32_t i = 0; i < e.n && !err; i++) {
		const struct df_link *l = &o->links[e.i[i]];
		err = put_ent(b, l->parent, l->name, o->nid);
	}
	if (e.n) {
		b->n_files++;
		b->n_bytes += df_ver_bytes(o->heads.v[0]);
		b->n_revived += e.revived;
	} else {
		o->flags |= DF_OBJ_ORPHAN;
	}
	df_eff_release(&e);
	return err;
}

static int put_file(struct df_bulk *b, struct df_obj *o)
{
	if (*slot_of(b, &o->id))
		return -EEXIST; /* something lies in it */
	o->nid = b->next_nid++;
	int err = put_names(b, o);
	return err ? err : put_obj(b, o);
}

static int put_dir(struct df_bulk *b, struct df_obj *o)
{
	uint32_t at = dir_take(b, &o->id);
	struct dir *d = &b->dirs[at];

	if (d->placed || !at || o->n_links)
		return -EEXIST;
	d->placed = true;
	d->there = d->live = o->place.there;
	d->parent = (uint32_t)o->place.parent - 1;
	o->nid = d->nid;
	o->place.parent = b->dirs[d->parent].nid;
	o->place.from_parent = b->dirs[o->place.from_parent - 1].nid;
	return put_obj(b, o);
}

/* The object is complete: write it. */
static int flush_last(struct df_bulk *b)
{
	struct df_obj *o = b->last;
	int err;

	if (!o)
		return 0;
	b->last = NULL;
	o->flags |= (o->heads.n ? DF_OBJ_CONTENT_PUB : 0) |
		    (o->gone.n ? DF_OBJ_GONE_PUB : 0);
	if (!df_id_cmp(&o->id, &b->dirs[0].id)) {
		err = b->root || o->n_links || o->place.name ? -EEXIST : 0;
		df_obj_free(b->root, NULL);
		b->root = o;
		return err;
	}
	err = o->place.name ? put_dir(b, o) : put_file(b, o);
	df_obj_free(o, NULL);
	return err;
}

/* Parts of one object follow each other. */
static void add_part(struct df_obj *o, struct df_obj *part)
{
	unsigned mask = 0;

	for (uint32_t i = 0; i < part->n_links; i++) {
		const struct df_link *l = &part->links[i];
		df_obj_join_link(o, l->parent, l->name, l->st, l->there, false);
	}
	if (part->place.st.time)
		df_obj_join_place(o, &part->place, false);
	for (uint32_t i = 0; i < part->heads.n; i++)
		df_obj_join_version(o, df_ver_copy(part->heads.v[i], NULL),
				    false, NULL);
	if (part->gone.n)
		df_obj_join_gone(o, &part->gone, false);
	for (int f = 0; f < DF_A_FIELDS; f++)
		mask |= part->a.st[f].time ? 1u << f : 0;
	df_obj_join_attrs(o, &part->a, mask, false);
	for (uint32_t i = 0; i < part->n_xattrs; i++) {
		const struct df_xattr *x = &part->xattrs[i];
		df_obj_join_xattr(o, x->name, x->st, x->there, x->value, x->len,
				  false);
	}
	o->ctime_ns = DF_MAX(o->ctime_ns, part->ctime_ns);
}

int df_bulk_add(struct df_bulk *b, const void *regs, size_t len)
{
	struct df_rd r = df_rd(regs, len);
	uint64_t n = df_rd_var_max(&r, len);
	int err = 0;

	df_coder_reset(&b->in);
	for (uint64_t i = 0; i < n && !err; i++) {
		struct df_obj *o = df_decode_object(&b->in, &r);
		if (!o)
			return DF_ECORRUPT;
		if (b->last && !df_id_cmp(&b->last->id, &o->id)) {
			add_part(b->last, o);
			df_obj_free(o, NULL);
			continue;
		}
		err = flush_last(b);
		b->last = o;
	}
	if (!err && (r.bad || df_rd_left(&r)))
		err = DF_ECORRUPT;
	b->max_time = DF_MAX(b->max_time, b->in.max_time);
	return err;
}

/* ---- what is derived */
static void count_dirs(struct df_bulk *b)
{
	b->dirs[0].live = true;
	for (uint32_t i = 1; i < b->n_dirs; i++)
		if (!b->dirs[i].placed) {
			b->dirs[i].parent = 0; /* as lost-<id>, if at all */
			b->dirs[i].placed = true;
		}
	for (uint32_t i = 1; i < b->n_dirs; i++)
		if (b->dirs[i].there) {
			b->dirs[b->dirs[i].parent].n_live++;
			b->dirs[b->dirs[i].parent].n_subdirs++;
		}
	/* There because something lives in it, up to the first that is there
	 * anyway. */
	for (uint32_t i = 1; i < b->n_dirs; i++)
		for (uint32_t at = i; !b->dirs[at].live && b->dirs[at].n_live;
		     at = b->dirs[at].parent) {
			struct dir *p = &b->dirs[b->dirs[at].parent];
			b->dirs[at].live = true;
			b->n_revived++;
			p->n_live++;
			p->n_subdirs++;
		}
}

static int stored(struct df_bulk *b, const struct dir *d, struct df_obj **out)
{
	struct df_obj *o = NULL;

	sqlite3_bind_int64(b->get, 1, (sqlite3_int64)d->nid);
	int rc = sqlite3_step(b->get);
	if (rc == SQLITE_ROW) {
		o = df_fold_decode(&b->out, sqlite3_column_blob(b->get, 0),
				   (size_t)sqlite3_column_bytes(b->get, 0));
	} else if (rc == SQLITE_DONE) { /* named by others only */
		o = df_obj_new(&d->id);
		o->nid = d->nid;
		df_obj_be_dir(o);
	}
	sqlite3_reset(b->get);
	*out = o;
	return o ? 0 : df_fold_sql_error(b->f, b->f->wr, "read a directory");
}

static int put_dirs(struct df_bulk *b)
{
	int err = 0;

	for (uint32_t i = 1; i < b->n_dirs && !err; i++) {
		const struct dir *d = &b->dirs[i];
		struct df_obj *o;
		err = stored(b, d, &o);
		if (err)
			break;
		o->n_live = d->n_live;
		o->n_subdirs = d->n_subdirs;
		err = put_obj(b, o);
		if (!err && d->live)
			err = put_ent(b, o->place.parent, o->place.name,
				      o->nid);
		b->n_files += d->there;
		df_obj_free(o, NULL);
	}
	return err;
}

/* Names that several claim. */
static int find_rivals(struct df_bulk *b)
{
	int rc;

	while ((rc = sqlite3_step(b->group)) == SQLITE_ROW) {
		char name[DF_NAME_MAX + 1] = "";
		int len =
			DF_MIN(sqlite3_column_bytes(b->group, 1), DF_NAME_MAX);
		memcpy(name, sqlite3_column_blob(b->group, 1), (size_t)len);
		note_rival(b, (df_nid)sqlite3_column_int64(b->group, 0), name);
	}
	sqlite3_reset(b->group);
	return rc == SQLITE_DONE ? 0
				 : df_fold_sql_error(b->f, b->f->wr, "rivals");
}

static bool any_ring(struct df_bulk *b)
{
	uint32_t *colour = df_xalloc(b->n_dirs * sizeof(*colour));
	bool ring = false;

	colour[0] = NONE;
	for (uint32_t i = 1; i < b->n_dirs && !ring; i++) {
		uint32_t at = i;
		for (; !colour[at]; at = b->dirs[at].parent)
			colour[at] = i;
		ring = colour[at] == i;
	}
	free(colour);
	return ring;
}

/* The transaction is done: memory follows. */
static void publish(struct df_bulk *b)
{
	struct df_vol *v = b->v;
	struct df_obj *root = df_fold_get(v->fold, DF_ROOT_NID);

	b->f->next_nid = b->next_nid;
	b->f->bare = false;
	v->hlc = DF_MAX(v->hlc, b->max_time);
	v->n_files += b->n_files;
	v->n_bytes += b->n_bytes;
	v->n_revived += b->n_revived;
	df_fold_set_meta(v->fold, "n_revived", v->n_revived);
	root->n_live = b->dirs[0].n_live;
	root->n_subdirs = b->dirs[0].n_subdirs;
	df_fold_touch(v->fold, root);
	if (b->root)
		df_merge_object(v, b->root);
	for (size_t i = 0; i < b->n_rivals; i++)
		df_fold_set_rival(v->fold, b->rivals[i].parent,
				  b->rivals[i].name, true);
	if (any_ring(b))
		df_tree_rings(v, NULL);
}

/* ---- begin and end */
static bool is_empty(const struct df_fold *f)
{
	return f->bare && f->n_objs <= 1 && !f->n_names && !f->n_rivals;
}

static void bulk_free(struct df_bulk *b)
{
	sqlite3_finalize(b->get);
	sqlite3_finalize(b->group);
	df_obj_free(b->last, NULL);
	df_obj_free(b->root, NULL);
	for (size_t i = 0; i < b->n_rivals; i++)
		free(b->rivals[i].name);
	free(b->rivals);
	free(b->dirs);
	free(b->slots);
	df_coder_release(&b->in);
	df_coder_release(&b->out);
	df_buf_release(&b->blob);
	free(b);
}

struct df_bulk *df_bulk_begin(struct df_vol *v)
{
	struct df_id root = df_root_id();

	df_lock(&v->lock);
	if (v->started || df_fold_flush(v->fold) || !is_empty(v->fold)) {
		df_unlock(&v->lock);
		return NULL;
	}
	struct df_bulk *b = df_xalloc(sizeof(*b));
	b->v = v;
	b->f = v->fold;
	df_coder_init(&b->in, false);
	df_coder_init(&b->out, true);
	df_buf_init(&b->blob, 8 << 20);
	b->in.nid_of = nid_of;
	b->in.arg = b;
	grow_slots(b);
	b->next_nid = v->fold->next_nid;
	dir_take(b, &root);
	b->dirs[0].nid = DF_ROOT_NID;
	b->dirs[0].parent = 0;
	b->dirs[0].placed = true;
	pthread_mutex_lock(&v->fold->writer);
	/* One index over random ids is built faster than it is kept. */
	if (!exec(b, "BEGIN IMMEDIATE; DROP INDEX IF EXISTS obj_id") &&
	    sqlite3_prepare_v2(v->fold->wr,
			       "SELECT data FROM obj WHERE "
			       "nid = ?1",
			       -1, &b->get, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v2(v->fold->wr,
			       "SELECT parent, name FROM ent "
			       "GROUP BY parent, cookie, name "
			       "HAVING count(*) > 1",
			       -1, &b->group, NULL) == SQLITE_OK)
		return b;
	df_bulk_end(b, -EIO);
	return NULL;
}

int df_bulk_end(struct df_bulk *b, int err)
{
	struct df_vol *v = b->v;

	if (!err)
		err = flush_last(b);
	if (!err) {
		count_dirs(b);
		err = put_dirs(b);
	}
	if (!err)
		err = find_rivals(b);
	if (!err)
		err = exec(b, "CREATE UNIQUE INDEX obj_id ON obj(id)");
	if (!err)
		err = df_fault("bulk.commit");
	if (!err)
		err = exec(b, "COMMIT");
	if (err)
		sqlite3_exec(v->fold->wr, "ROLLBACK", NULL, NULL, NULL);
	pthread_mutex_unlock(&v->fold->writer);
	if (!err)
		publish(b);
	bulk_free(b);
	if (!err)
		err = df_fold_flush(v->fold);
	df_unlock(&v->lock);
	return err;
}
