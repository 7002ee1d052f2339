/* view_fsck.c - see view_fsck.h; and the view as a whole (view.h). */
#include "cache/view_fsck.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cache/checkpoint_io.h"
#include "cache/registers/commit.h"
#include "cache/viewi.h"
#include "cache/vol_data.h"

/* ---- all objects */
struct nids {
	df_nid *v; /* owned */
	size_t n, size;
};

static int take_nid(void *arg, struct df_obj *o)
{
	struct nids *l = arg;

	DF_GROW(l->v, l->n, l->size);
	l->v[l->n++] = o->nid;
	return 0;
}

static int all_nids(struct df_vol *v, struct nids *l)
{
	df_lock(&v->lock);
	int err = df_fold_each(v->fold, take_nid, l);
	df_unlock(&v->lock);
	return err;
}

/* Call with the lock held; NULL: it is no more. */
static struct df_obj *look(struct df_vol *v, df_nid nid)
{
	df_fold_trim(v->fold);
	return df_fold_get(v->fold, nid);
}

/* ---- pieces */
static void add_piece(struct df_fsck_pieces *out, const struct df_piece *p,
		      df_nid nid)
{
	DF_GROW(out->v, out->n, out->size);
	out->v[out->n++] = (struct df_fsck_piece){ *p, nid };
}

static void add_version(struct df_fsck_pieces *out, const struct df_ver *h,
			df_nid nid)
{
	const struct df_piece *last = NULL;

	for (uint32_t i = 0; i < h->n_pages; i++)
		add_piece(out, &h->pages[i].piece, nid);
	for (struct df_extpos p = { 0, 0 }; df_extmap_at(&h->ext, p);
	     p = df_extmap_next(&h->ext, p)) {
		const struct df_ext *e = df_extmap_at(&h->ext, p);
		if (!df_ext_remote(e) ||
		    (last && last->off == e->piece.off &&
		     !df_id_cmp(&last->pack, &e->piece.pack)))
			continue;
		last = &e->piece;
		add_piece(out, last, nid);
	}
}

/* A removed file: its remover had seen every version that is known.  An edit
 * that nobody had seen brings a version with everything that it needs. */
static bool is_dead(const struct df_obj *o)
{
	return !df_obj_is_dir(o) && (o->flags & DF_OBJ_ORPHAN) &&
	       !df_obj_revived(o);
}

static void object_pieces(struct df_vol *v, df_nid nid,
			  struct df_fsck_pieces *out)
{
	df_lock(&v->lock);
	struct df_obj *o = look(v, nid);
	bool pages = o && !is_dead(o) && df_data_unloaded(o);
	df_unlock(&v->lock);
	if (pages && df_vol_load(v, nid, NULL, NULL)) {
		DF_GROW(out->broken, out->n_broken, out->broken_size);
		out->broken[out->n_broken++] = nid;
	}
	df_lock(&v->lock);
	o = look(v, nid);
	for (uint32_t i = 0; o && !is_dead(o) && i < o->heads.n; i++)
		add_version(out, o->heads.v[i], nid);
	df_unlock(&v->lock);
}

static int piece_cmp(const void *a, const void *b)
{
	const struct df_fsck_piece *x = a, *y = b;
	int c = df_id_cmp(&x->p.pack, &y->p.pack);

	if (c)
		return c;
	if (x->p.off != y->p.off)
		return x->p.off < y->p.off ? -1 : 1;
	return (x->nid > y->nid) - (x->nid < y->nid);
}

int df_fsck_pieces(struct df_vol *v, struct df_fsck_pieces *out)
{
	struct nids l = { 0 };
	int err = all_nids(v, &l);

	*out = (struct df_fsck_pieces){ 0 };
	for (size_t i = 0; i < l.n && !err; i++)
		object_pieces(v, l.v[i], out);
	out->n_objs = l.n;
	if (out->n)
		qsort(out->v, out->n, sizeof(*out->v), piece_cmp);
	free(l.v);
	return err;
}

void df_fsck_pieces_release(struct df_fsck_pieces *p)
{
	free(p->v);
	free(p->broken);
	*p = (struct df_fsck_pieces){ 0 };
}

bool df_fsck_is_local(struct df_vol *v, const struct df_piece *p)
{
	struct df_loc loc;

	return df_seg_has_piece(v->segs, &p->pack, p->off, p->rlen, &loc);
}

struct df_remote *df_fsck_remote(struct df_vol *v)
{
	return v->remote;
}

static int checkpoint_pieces(struct df_vol *v, const struct df_row *row,
			     struct df_fsck_pieces *out)
{
	struct df_ck_index index;
	struct df_ck_body body;

	int err = df_ck_body_read(row->body, row->body_len, &body);
	if (err)
		return err;
	for (size_t i = 0; i < body.n_pieces; i++)
		add_piece(out, &body.pieces[i], 0);
	df_ck_body_release(&body);
	err = df_ck_fetch_index(v, row, &index);
	if (err)
		return err;
	for (size_t i = 0; i < index.n_blocks; i++)
		add_piece(out, &index.blocks[i].piece, 0);
	df_ck_index_release(&index);
	return 0;
}

int df_fsck_row_pieces(struct df_vol *v, const struct df_row *row,
		       struct df_fsck_pieces *out)
{
	struct df_body body;

	if (row->kind == DF_ROW_CHECKPOINT)
		return checkpoint_pieces(v, row, out);
	if (row->kind != DF_ROW_COMMIT)
		return 0;
	int err = df_body_read(row->body, row->body_len, &body);
	if (err)
		return err;
	for (size_t i = 0; i < body.n_pieces; i++)
		add_piece(out, &body.pieces[i], 0);
	df_body_release(&body);
	return 0;
}

/* ---- the tree */
static char *any_path(struct df_vol *v, struct df_obj *o)
{
	const char *name = NULL;
	df_nid parent;
	char hex[33];

	if (df_obj_is_dir(o)) {
		char *path = view_dir_path(v, o->nid);
		if (path && *path)
			return path;
		free(path);
		if (o->nid == DF_ROOT_NID)
			return df_strf("/");
	} else if (df_tree_newest(o, df_vol_dirids(v), &parent, &name)) {
		DF_FREE char *dir = view_dir_path(v, parent);
		if (dir)
			return df_strf("%s/%s", dir, name);
	}
	df_id_hex(&o->id, hex);
	return df_strf("object %s", hex);
}

char *df_fsck_path(struct df_vol *v, df_nid nid)
{
	df_lock(&v->lock);
	struct df_obj *o = look(v, nid);
	char *path = o ? any_path(v, o) : df_strf("an object that is gone");
	df_unlock(&v->lock);
	return path;
}

/* Is o among the candidates of (parent, name), as the registers say? */
static bool is_entry(struct df_vol *v, df_nid parent, const char *name,
		     const struct df_obj *o)
{
	const struct df_obj *p = df_fold_get(v->fold, parent);

	return p && df_obj_is_dir(p) &&
	       df_name_has(df_fold_name(v->fold, parent, name), o->nid);
}

static const char *dir_problem(struct df_vol *v, struct df_obj *o)
{
	const char *name;

	if (o->nid == DF_ROOT_NID || !df_tree_dir_live(o))
		return NULL;
	if (o->flags & DF_OBJ_UNKNOWN_DIR)
		return "a directory that files name and no row made: it is "
		       "shown as lost-<id>";
	df_nid parent = df_tree_parent(o, &name);
	if (!is_entry(v, parent, name, o))
		return "a directory that its parent does not show";
	DF_FREE char *path = view_dir_path(v, o->nid);
	return path ? NULL : "a directory that cannot be reached from the root";
}

static const char *file_problem(struct df_vol *v, struct df_obj *o)
{
	const char *problem = NULL;
	struct df_eff e;

	df_obj_eff(o, df_vol_dirids(v), &e);
	for (uint32_t i = 0; i < e.n && !problem; i++) {
		const struct df_link *l = &o->links[e.i[i]];
		DF_FREE char *dir = view_dir_path(v, l->parent);
		if (!is_entry(v, l->parent, l->name, o))
			problem = "a file whose directory does not show it";
		else if (!dir)
			problem = "a file in a directory that cannot be "
				  "reached";
	}
	if (e.n && !problem && !o->a.st[DF_A_TYPE].time && !o->heads.n)
		problem = "a name without a file: no row holds its content";
	df_eff_release(&e);
	return problem;
}

size_t df_fsck_tree(struct df_vol *v,
		    void (*say)(void *arg, const char *path,
				const char *problem),
		    void *arg)
{
	struct nids l = { 0 };
	size_t bad = 0;

	if (all_nids(v, &l)) {
		free(l.v);
		say(arg, "/", "the local database failed");
		return 1;
	}
	for (size_t i = 0; i < l.n; i++) {
		df_lock(&v->lock);
		struct df_obj *o = look(v, l.v[i]);
		const char *problem = !o                 ? NULL
				      : df_obj_is_dir(o) ? dir_problem(v, o)
							 : file_problem(v, o);
		char *path = problem ? any_path(v, o) : NULL;
		df_unlock(&v->lock);
		if (problem) {
			say(arg, path ? path : "", problem);
			bad++;
		}
		free(path);
	}
	free(l.v);
	return bad;
}

/* ---- the view as a whole */
int df_view_each(struct df_vol *v,
		 int (*fn)(void *arg, df_nid nid,
			   const struct df_view_want *want),
		 void *arg)
{
	struct nids l = { 0 };
	int err = all_nids(v, &l);

	for (size_t i = 0; i < l.n && !err; i++) {
		size_t n = 0;
		df_lock(&v->lock);
		struct df_obj *o = look(v, l.v[i]);
		struct df_view_want *want = o ? view_wants(v, o, &n) : NULL;
		df_unlock(&v->lock);
		for (size_t k = 0; k < n; k++) {
			if (!err)
				err = fn(arg, l.v[i], &want[k]);
			free(want[k].path);
		}
		free(want);
	}
	free(l.v);
	return err;
}

int df_view_rewrite(struct df_vol *v, const df_nid *nids, size_t n,
		    char (*ids)[DF_VIEW_ID_LEN], size_t n_ids)
{
	struct df_view w = { .v = v, .fd = -1 };
	struct view_batch gone = { .gone = { .v = ids, .n = n_ids } };
	struct view_batch b = { 0 };
	int err = n_ids ? view_send(&w, &gone, true) : 0;

	for (size_t i = 0; i < n && !err; i++) {
		err = view_rows_of(&w, nids[i], NULL, &b);
		if (!err && (b.bytes > VIEW_BATCH_BYTES || i + 1 == n)) {
			err = view_send(&w, &b, true);
			view_batch_release(&b);
		}
	}
	view_batch_release(&b);
	view_doubts_free(&w);
	if (w.magic)
		magic_close(w.magic);
	return err;
}
