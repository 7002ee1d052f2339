/* settle.c - see settle.h; the order of steps is merge-rules 9's. */
#include "cache/settle.h"

#include <stdlib.h>
#include <string.h>

#include "cache/copy.h"

/* The shown name of a directory in its effective parent; caller frees. */
static char *dir_shown_as(struct df_vol *v, const struct df_obj *o,
			  df_nid *parent)
{
	const char *name;
	struct df_dirview d;
	char *out = NULL;

	*parent = df_tree_parent(o, &name);
	if (!df_fold_has_rivals(v->fold, *parent))
		return df_xstrdup(name);
	df_dirview_init(v, *parent, &d);
	for (size_t i = 0; i < d.n && !out; i++)
		if (d.v[i].kind == DF_KIND_DIR && d.v[i].nid == o->nid)
			out = df_xstrdup(d.v[i].shown);
	df_dirview_release(&d);
	return out ? out : df_xstrdup(name);
}

struct nids {
	df_nid *v;
	size_t n, size;
};

static int add_rehung(void *arg, struct df_obj *o)
{
	struct nids *s = arg;

	if (o->e_name && df_tree_dir_live(o)) {
		DF_GROW(s->v, s->n, s->size);
		s->v[s->n++] = o->nid;
	}
	return 0;
}

void df_settle_rings(struct df_vol *v)
{
	struct nids s = { 0 };
	struct places {
		df_nid parent;
		char *name;
	} * at;

	if (!v->n_rehung || df_rule_off(DF_RULE_SETTLE))
		return;
	df_fold_each_dir(v->fold, add_rehung, &s);
	at = df_xalloc((s.n + 1) * sizeof(*at));
	for (size_t i = 0; i < s.n; i++) /* all from one view */
		at[i].name = dir_shown_as(v, df_fold_get(v->fold, s.v[i]),
					  &at[i].parent);
	for (size_t i = 0; i < s.n; i++) {
		struct df_obj *o = df_fold_get(v->fold, s.v[i]);
		df_op_place(v, o, o->place.there, at[i].parent, at[i].name,
			    at[i].parent, at[i].name);
		free(at[i].name);
	}
	df_tree_rings(v, NULL);
	free(at);
	free(s.v);
}

/* ---- one view of the directories involved, taken before any change */
struct views {
	struct view {
		df_nid parent;
		struct df_dirview d;
	} * v;
	size_t n, size;
};

static const struct df_dirview *view_of(struct df_vol *v, struct views *s,
					df_nid parent)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].parent == parent)
			return &s->v[i].d;
	DF_GROW(s->v, s->n, s->size);
	s->v[s->n].parent = parent;
	df_dirview_init(v, parent, &s->v[s->n].d);
	return &s->v[s->n++].d;
}

static void views_release(struct views *s)
{
	for (size_t i = 0; i < s->n; i++)
		df_dirview_release(&s->v[i].d);
	free(s->v);
}

/* ---- the closure of names and objects that are settled together */
struct spot {
	df_nid parent;
	char *name; /* owned */
};

struct closure {
	df_nid first;
	struct nids objs;
	struct spot *at;
	size_t n_at, at_size;
	struct views views; /* all from before the first change */
};

static bool has_obj(const struct closure *c, df_nid nid)
{
	for (size_t i = 0; i < c->objs.n; i++)
		if (c->objs.v[i] == nid)
			return true;
	return false;
}

static bool add_spot(struct closure *c, df_nid parent, const char *name)
{
	for (size_t i = 0; i < c->n_at; i++)
		if (c->at[i].parent == parent && !strcmp(c->at[i].name, name))
			return false;
	DF_GROW(c->at, c->n_at, c->at_size);
	c->at[c->n_at++] = (struct spot){ parent, df_xstrdup(name) };
	return true;
}

static void add_files_at(struct df_vol *v, struct closure *c, df_nid parent,
			 const char *name)
{
	const struct df_name *n = df_fold_name(v->fold, parent, name);

	for (uint32_t i = 0; i < n->n; i++) {
		df_nid nid = df_name_cand(n, i);
		const struct df_obj *o = df_fold_get(v->fold, nid);
		if (!o || df_obj_is_dir(o) || has_obj(c, nid))
			continue;
		DF_GROW(c->objs.v, c->objs.n, c->objs.size);
		c->objs.v[c->objs.n++] = nid;
	}
}

/* Losers of other names whose conflict name starts like `shown`: both are cut
 * at ".conflict-", so that one stands in the other's way. */
static bool add_in_way(struct closure *c, df_nid parent,
		       const struct df_dirview *d, const char *shown)
{
	bool more = false;

	for (size_t i = 0; strstr(shown, ".conflict-") && i < d->n; i++) {
		const struct df_loser *l = &d->v[i];
		DF_FREE char *plain = df_cname(l->name, l->st, "");
		if (!strncmp(shown, plain, strlen(plain)))
			more |= add_spot(c, parent, l->name);
	}
	return more;
}

/* What is shown by at's name takes names that others would have. */
static bool add_entangled(struct df_vol *v, struct closure *c, size_t at)
{
	df_nid parent = c->at[at].parent;
	DF_FREE char *name = df_xstrdup(c->at[at].name);

	if (!df_fold_has_rivals(v->fold, parent))
		return false;
	const struct df_dirview *d = view_of(v, &c->views, parent);
	bool more = add_in_way(c, parent, d, name);
	for (size_t i = 0; i < d->n; i++)
		if (!strcmp(d->v[i].name, name))
			more |= add_in_way(c, parent, d, d->v[i].shown);
	return more;
}

static bool add_names_of(struct df_vol *v, struct closure *c,
			 const struct df_obj *o)
{
	struct df_eff e;
	bool more = false;

	df_obj_eff(o, df_vol_dirids(v), &e);
	for (uint32_t i = 0; i < e.n; i++)
		more |= add_spot(c, o->links[e.i[i]].parent,
				 o->links[e.i[i]].name);
	df_eff_release(&e);
	return more;
}

static void close_over(struct df_vol *v, struct closure *c)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < c->objs.n; i++) {
			const struct df_obj *o =
				df_fold_get(v->fold, c->objs.v[i]);
			if (o && (o->nid == c->first || o->heads.n > 1))
				more |= add_names_of(v, c, o);
		}
		for (size_t i = 0; i < c->n_at; i++) {
			add_files_at(v, c, c->at[i].parent, c->at[i].name);
			more |= add_entangled(v, c, i);
		}
	}
}

static void closure_release(struct closure *c)
{
	for (size_t i = 0; i < c->n_at; i++)
		free(c->at[i].name);
	free(c->at);
	free(c->objs.v);
	views_release(&c->views);
}

/* c has its texts; a name and the file's attributes make it a file. */
static void name_copy(struct df_vol *v, struct df_obj *c,
		      const struct df_obj *o, df_nid parent, const char *name)
{
	struct df_attrs a = { .type = S_IFREG,
			      .mode = o->a.mode,
			      .uid = o->a.uid,
			      .gid = o->a.gid,
			      .btime_ns = o->a.btime_ns };

	df_op_attrs(v, c, &a,
		    1u << DF_A_TYPE | 1u << DF_A_MODE | 1u << DF_A_UID |
			    1u << DF_A_GID | 1u << DF_A_BTIME);
	df_op_link(v, c, parent, name, true);
	df_op_known(v, c);
}

/* A losing text becomes a file of its own, by a derived id. */
static void make_copy(struct df_vol *v, const struct df_obj *o, df_nid parent,
		      const struct df_loser *l)
{
	struct df_id id = df_copy_id(&o->id, l->st);
	struct df_obj *c = df_fold_take(v->fold, &id);
	df_copy_clear(v, c);
	struct df_texts t;

	df_texts_init(&t, &o->heads, NULL);
	for (uint32_t i = 1; i < t.n; i++) {
		if (!df_stamp_eq(t.v[i].dot, l->st))
			continue;
		for (uint32_t k = 0; k < t.v[i].n_heads; k++)
			df_op_version(v, c,
				      df_ver_copy(o->heads.v[t.v[i].heads[k]],
						  v->segs));
	}
	df_texts_release(&t, NULL);
	name_copy(v, c, o, parent, l->shown);
}

/* The shown text as a new version that covers every head.  If its map is still
 * in pages, which cannot be fetched in here, the text stays in the heads that
 * it is merged from: its base covers the others then; NULL: there are none. */
static struct df_ver *shown_alone(struct df_vol *v, const struct df_obj *o)
{
	struct df_texts t;
	struct df_ver *m;

	df_texts_init(&t, &o->heads, v->segs);
	const struct df_text *first = &t.v[0];
	if (!(first->m->flags & DF_VER_UNLOADED) || first->m->n_pages) {
		m = first->m;
		m->vv = df_heads_vv(&o->heads);
		t.v[0].m = NULL;
	} else if (t.n > 1) {
		m = df_ver_copy(o->heads.v[first->base], v->segs);
		for (uint32_t i = 1; i < t.n; i++)
			for (uint32_t k = 0; k < t.v[i].n_heads; k++)
				df_vv_join(&m->vv,
					   &o->heads.v[t.v[i].heads[k]]->vv);
	} else {
		m = NULL;
	}
	if (m) {
		m->own_base = df_op_own_base(v, &o->heads);
		m->dot = v->op.st;
		df_vv_raise(&m->vv, m->dot.node, m->dot.time);
	}
	df_texts_release(&t, v->segs);
	return m;
}

static void split_copies(struct df_vol *v, struct views *s, df_nid nid)
{
	struct df_obj *o = df_fold_get(v->fold, nid);
	df_nid parent;
	const char *name;

	if (!o || o->heads.n < 2 ||
	    !df_tree_newest(o, df_vol_dirids(v), &parent, &name))
		return;
	const struct df_dirview *d = view_of(v, s, parent);
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].kind == DF_KIND_COPY && d->v[i].nid == nid)
			make_copy(v, o, parent, &d->v[i]);
	struct df_ver *m = shown_alone(v, o);
	if (m)
		df_op_version(v, o, m);
}

/* The name of a loser at (parent, registered name), or NULL. */
static const char *loser_name(const struct df_dirview *d, df_nid nid,
			      const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].nid == nid && d->v[i].kind != DF_KIND_COPY &&
		    !strcmp(d->v[i].name, name))
			return d->v[i].shown;
	return NULL;
}

static bool is_hidden(const struct df_dirview *d, df_nid nid, const char *name)
{
	for (size_t i = 0; i < d->n_hidden; i++)
		if (d->hidden[i].nid == nid && !strcmp(d->hidden[i].name, name))
			return true;
	return false;
}

static void settle_loser(struct df_vol *v, const struct df_dirview *d,
			 const struct spot *at, df_nid nid)
{
	struct df_obj *o = df_fold_get(v->fold, nid);
	const char *shown = loser_name(d, nid, at->name);

	if (!o)
		return;
	if (df_obj_is_dir(o)) {
		const char *from;
		if (!shown)
			return;
		df_nid from_parent = df_tree_parent(o, &from);
		DF_FREE char *copy = df_xstrdup(from);
		df_op_place(v, o, true, at->parent, shown, from_parent, copy);
		return;
	}
	bool there;
	df_tree_stamp(o, at->parent, at->name, &there);
	if (!shown) { /* hidden: its text is the winner's */
		uint32_t names = 0;
		/* Shown before this operation began: it stays. */
		if (!is_hidden(d, nid, at->name))
			return;
		for (uint32_t i = 0; i < o->n_links; i++)
			names += o->links[i].there;
		df_op_link(v, o, at->parent, at->name, false);
		if (names <= 1)
			df_op_gone(v, o);
	} else {
		df_op_link(v, o, at->parent, at->name, false);
		df_op_link(v, o, at->parent, shown, true);
	}
	df_obj_drop_unpublished(o); /* as any name, and as after a crash */
}

static void settle_spot(struct df_vol *v, struct views *s,
			const struct spot *at)
{
	struct df_name *n = df_fold_name(v->fold, at->parent, at->name);
	uint32_t count = n->n;

	if (count < 2)
		return;
	df_nid winner = df_tree_winner(v, n);
	df_nid *cands = df_xalloc(count * sizeof(*cands));
	for (uint32_t i = 0; i < count; i++)
		cands[i] = df_name_cand(n, i);
	const struct df_dirview *d = view_of(v, s, at->parent);
	for (uint32_t i = 0; i < count; i++)
		if (cands[i] != winner)
			settle_loser(v, d, at, cands[i]);
	free(cands);
}

static void reassert(struct df_vol *v, df_nid parent, const char *name)
{
	struct df_name *n = df_fold_name(v->fold, parent, name);
	struct df_obj *o = n->n ? df_fold_get(v->fold, df_tree_winner(v, n))
				: NULL;
	bool there;

	if (!o || df_obj_is_dir(o) || df_rule_off(DF_RULE_REASSERT))
		return;
	df_tree_stamp(o, parent, name, &there);
	if (!there)
		df_op_link(v, o, parent, name, true);
}

/* (parent, registered), and all names of c->first; c may have views already. */
static void settle_closure(struct df_vol *v, struct closure *c, df_nid parent,
			   const char *registered)
{
	add_spot(c, parent, registered);
	add_files_at(v, c, parent, registered);
	close_over(v, c);
	for (size_t i = 0; i < c->n_at; i++) /* before anything changes */
		if (df_fold_has_rivals(v->fold, c->at[i].parent))
			view_of(v, &c->views, c->at[i].parent);
	for (size_t i = 0; i < c->objs.n; i++)
		split_copies(v, &c->views, c->objs.v[i]);
	for (size_t i = 0; i < c->n_at; i++)
		settle_spot(v, &c->views, &c->at[i]);
	reassert(v, parent, c->at[0].name);
	closure_release(c);
}

static void settle_at(struct df_vol *v, df_nid parent, const char *name)
{
	struct df_shown s = df_tree_lookup(v, parent, name);
	struct closure c = { .first = s.nid };
	const char *registered = name;

	if (!s.kind)
		return;
	if (df_fold_has_rivals(v->fold, parent)) {
		const struct df_dirview *d = view_of(v, &c.views, parent);
		for (size_t i = 0; i < d->n; i++)
			if (!strcmp(d->v[i].shown, name))
				registered = d->v[i].name;
	}
	settle_closure(v, &c, parent, registered);
}

void df_settle_name(struct df_vol *v, df_nid parent, const char *name)
{
	if (!df_settle_needed(v) || df_rule_off(DF_RULE_SETTLE))
		return;
	df_settle_rings(v);
	settle_at(v, parent, name);
	df_settle_dirs(v, parent);
}

static bool hidden_at(struct df_vol *v, df_nid nid, const struct df_link *l)
{
	struct df_dirview d;

	if (!df_fold_has_rivals(v->fold, l->parent))
		return false;
	df_dirview_init(v, l->parent, &d);
	bool hidden = is_hidden(&d, nid, l->name);
	df_dirview_release(&d);
	return hidden;
}

/* A name by which o is shown, or NULL. */
static const struct df_link *shown_at(struct df_vol *v, const struct df_obj *o)
{
	const struct df_link *found = NULL;
	struct df_eff e;

	df_obj_eff(o, df_vol_dirids(v), &e);
	for (uint32_t i = 0; i < e.n && !found; i++)
		if (!hidden_at(v, o->nid, &o->links[e.i[i]]))
			found = &o->links[e.i[i]];
	df_eff_release(&e);
	return found;
}

/* c is open, and what it shows of o has been hidden since: more was appended to
 * that text elsewhere, or another one is equal.  Nobody removed it, so changing
 * it shows it again, beside o. */
static void show_hidden(struct df_vol *v, struct df_obj *o, struct df_obj *c)
{
	struct df_heads texts = c->heads;
	struct df_loser l = { .st = texts.v[0]->dot, .id = o->id };
	df_nid parent;
	const char *name;

	if (!df_tree_newest(o, df_vol_dirids(v), &parent, &name))
		return;
	l.name = df_xstrdup(name);
	df_settle_dirs(v, parent);
	l.shown = df_tree_free_cname(v, parent, &l);
	/* If o is hidden too it still has the text, under the same id. */
	struct df_ver *m = o->heads.n > 1 ? shown_alone(v, o) : NULL;
	if (m)
		df_op_version(v, o, m);
	c->heads = (struct df_heads){ 0 };
	df_copy_clear(v, c);
	for (uint32_t i = 0; i < texts.n; i++)
		df_op_version(v, c, texts.v[i]);
	free(texts.v);
	name_copy(v, c, o, parent, l.shown);
	df_vol_push_name(v, parent, l.shown); /* which nobody asked for */
	free(l.name);
	free(l.shown);
}

void df_settle_object(struct df_vol *v, df_nid nid)
{
	struct df_obj *o = df_fold_get(v->fold, nid);
	struct closure c = { .first = nid };

	if (!o || !df_settle_needed(v) || df_rule_off(DF_RULE_SETTLE))
		return;
	df_nid owner = df_copy_owner(v, o);
	if (owner) {
		df_settle_object(v, owner);
		if (o->flags & DF_OBJ_ORPHAN)
			show_hidden(v, df_fold_get(v->fold, owner), o);
		return;
	}
	if (df_obj_is_dir(o)) {
		df_settle_dirs(v, nid);
		return;
	}
	/* Hidden everywhere it still has its names: writing makes it unequal. */
	const struct df_link *l = shown_at(v, o);
	if (!l)
		return;
	df_nid parent = l->parent;
	DF_FREE char *copy = df_xstrdup(l->name);
	df_settle_rings(v);
	/* Not by name: if o loses there, that is another file's. */
	settle_closure(v, &c, parent, copy);
	df_settle_dirs(v, parent);
}

void df_settle_dirs(struct df_vol *v, df_nid dir)
{
	if (!df_settle_needed(v) || df_rule_off(DF_RULE_SETTLE) ||
	    df_rule_off(DF_RULE_REASSERT))
		return;
	df_settle_rings(v);
	while (dir != DF_ROOT_NID) {
		struct df_obj *o = df_fold_get(v->fold, dir);
		df_nid parent;
		if (!o || !df_obj_is_dir(o))
			return;
		if (!o->place.there) { /* under the name it is shown by */
			DF_FREE char *name = dir_shown_as(v, o, &parent);
			settle_at(v, parent, name);
			o = df_fold_get(v->fold, dir);
			if (!o->place.there) {
				const char *at;
				parent = df_tree_parent(o, &at);
				DF_FREE char *copy = df_xstrdup(at);
				df_op_place(v, o, true, parent, copy, parent,
					    copy);
			}
		}
		const char *unused;
		dir = df_tree_parent(o, &unused);
	}
}
