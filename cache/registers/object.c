/* object.c - see object.h. */
#include "cache/registers/object.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cache/registers/rules.h"

struct df_obj *df_obj_new(const struct df_id *id)
{
	struct df_obj *o = df_xalloc(sizeof(*o));

	o->id = *id;
	return o;
}

void df_obj_free(struct df_obj *o, struct df_segs *segs)
{
	if (!o)
		return;
	for (uint32_t i = 0; i < o->n_links; i++)
		free(o->links[i].name);
	for (uint32_t i = 0; i < o->n_xattrs; i++) {
		free(o->xattrs[i].name);
		free(o->xattrs[i].value);
	}
	free(o->links);
	free(o->xattrs);
	free(o->a.target);
	free(o->place.name);
	free(o->place.from_name);
	free(o->e_name);
	df_heads_release(&o->heads, segs);
	df_vv_release(&o->gone);
	free(o);
}

static size_t ver_mem(const struct df_ver *v)
{
	return sizeof(*v) + 64 + v->vv.n * sizeof(struct df_stamp) +
	       v->ext.n * sizeof(struct df_ext) +
	       v->n_pieces * sizeof(struct df_append);
}

uint32_t df_obj_mem(const struct df_obj *o)
{
	size_t sum = sizeof(*o) + 32;

	for (uint32_t i = 0; i < o->n_links; i++)
		sum += sizeof(*o->links) + 32;
	for (uint32_t i = 0; i < o->n_xattrs; i++)
		sum += sizeof(*o->xattrs) + 48 + o->xattrs[i].len;
	for (uint32_t i = 0; i < o->heads.n; i++)
		sum += ver_mem(o->heads.v[i]);
	return (uint32_t)DF_MIN(sum, UINT32_MAX);
}

/* Newest stamp wins; ties by greater bytes, which cmp says.  All of one local
 * operation has one stamp, and its later words count: what settle made true
 * may be removed at once. */
static bool newer(struct df_stamp st, struct df_stamp old, int cmp, bool local)
{
	int c = df_stamp_cmp(st, old);

	return c > 0 || (c == 0 && (local || cmp > 0));
}

/* ---- links, in the order of their keys */
static int key_cmp(const struct df_link *l, df_nid parent, const char *name)
{
	if (l->parent != parent)
		return l->parent < parent ? -1 : 1;
	return strcmp(l->name, name);
}

/* Index of the first link whose key is not less. */
static uint32_t find_link(const struct df_obj *o, df_nid parent,
			  const char *name)
{
	uint32_t lo = 0, hi = o->n_links;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (key_cmp(&o->links[mid], parent, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct df_link *df_obj_link(const struct df_obj *o, df_nid parent,
			    const char *name)
{
	uint32_t i = find_link(o, parent, name);

	if (i == o->n_links || key_cmp(&o->links[i], parent, name))
		return NULL;
	return &o->links[i];
}

bool df_obj_join_link(struct df_obj *o, df_nid parent, const char *name,
		      struct df_stamp st, bool there, bool dirty)
{
	uint32_t i = find_link(o, parent, name);
	struct df_link *l;

	if (i == o->n_links || key_cmp(&o->links[i], parent, name)) {
		o->links = df_xrealloc(o->links, o->n_links + 1,
				       sizeof(*o->links));
		l = &o->links[i];
		memmove(l + 1, l, (o->n_links++ - i) * sizeof(*l));
		*l = (struct df_link){ .parent = parent,
				       .name = df_xstrdup(name) };
	} else {
		l = &o->links[i];
		if (!newer(st, l->st, (int)there - (int)l->there, dirty)) {
			l->pub |= !dirty;
			return false;
		}
	}
	l->st = st;
	l->there = there;
	l->dirty = dirty;
	l->pub |= !dirty;
	return true;
}

/* Of equal keys the one that counts comes last. */
static int link_cmp(const void *a, const void *b)
{
	const struct df_link *x = a, *y = b;
	int c = key_cmp(x, y->parent, y->name);

	if (!c)
		c = df_stamp_cmp(x->st, y->st);
	return c ? c : (int)x->there - (int)y->there;
}

void df_obj_set_links(struct df_obj *o, struct df_link *l, uint32_t n)
{
	uint32_t used = 0;

	if (n > 1)
		qsort(l, n, sizeof(*l), link_cmp);
	for (uint32_t i = 0; i < n; i++) {
		bool again = i + 1 < n &&
			     !key_cmp(&l[i], l[i + 1].parent, l[i + 1].name);
		if (again)
			free(l[i].name);
		else
			l[used++] = l[i];
	}
	o->links = l;
	o->n_links = used;
}

static int str_cmp(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

static int place_cmp(const struct df_place *a, const struct df_place *b)
{
	int c = (int)a->there - (int)b->there;

	/* Parents tie-break through names only: equal stamps come from one
	 * operation of one writer, so this never decides between writers. */
	if (!c)
		c = str_cmp(a->name, b->name);
	return c ? c : str_cmp(a->from_name, b->from_name);
}

bool df_obj_join_place(struct df_obj *o, const struct df_place *p, bool dirty)
{
	struct df_place *old = &o->place;

	if (old->st.time && !newer(p->st, old->st, place_cmp(p, old), dirty)) {
		old->pub |= !dirty;
		return false;
	}
	struct df_place fresh = *p;
	fresh.name = df_xstrdup(p->name);
	fresh.from_name = df_xstrdup(p->from_name);
	fresh.dirty = dirty;
	fresh.pub = (old->st.time && old->pub) | !dirty;
	o->flags &= ~(uint32_t)DF_OBJ_UNKNOWN_DIR;
	free(old->name);
	free(old->from_name);
	*old = fresh;
	return true;
}

bool df_obj_join_version(struct df_obj *o, struct df_ver *v, bool dirty,
			 struct df_segs *segs)
{
	bool changed = df_heads_join(&o->heads, v, segs);

	if (dirty && changed)
		o->flags |= DF_OBJ_CONTENT_DIRTY;
	if (!dirty)
		o->flags |= DF_OBJ_CONTENT_PUB;
	return changed;
}

bool df_obj_join_gone(struct df_obj *o, const struct df_vv *vv, bool dirty)
{
	bool changed = !df_vv_covers_all(&o->gone, vv);

	df_vv_join(&o->gone, vv);
	if (dirty && changed)
		o->flags |= DF_OBJ_GONE_DIRTY;
	if (!dirty)
		o->flags |= DF_OBJ_GONE_PUB;
	return changed;
}

static int attr_cmp(const struct df_attrs *a, const struct df_attrs *b, int f)
{
	int64_t x = 0, y = 0;

	switch (f) {
	case DF_A_TYPE:
		x = (int64_t)a->type << 32 | a->rdev;
		y = (int64_t)b->type << 32 | b->rdev;
		break;
	case DF_A_MODE:
		x = a->mode, y = b->mode;
		break;
	case DF_A_UID:
		x = a->uid, y = b->uid;
		break;
	case DF_A_GID:
		x = a->gid, y = b->gid;
		break;
	case DF_A_BTIME:
		x = a->btime_ns, y = b->btime_ns;
		break;
	case DF_A_MTIME:
		x = a->mtime_ns, y = b->mtime_ns;
		break;
	default:
		return str_cmp(a->target, b->target);
	}
	return x < y ? -1 : x > y;
}

static void attr_copy(struct df_attrs *to, const struct df_attrs *from, int f)
{
	to->st[f] = from->st[f];
	switch (f) {
	case DF_A_TYPE:
		to->type = from->type;
		to->rdev = from->rdev;
		break;
	case DF_A_MODE:
		to->mode = from->mode;
		break;
	case DF_A_UID:
		to->uid = from->uid;
		break;
	case DF_A_GID:
		to->gid = from->gid;
		break;
	case DF_A_BTIME:
		to->btime_ns = from->btime_ns;
		break;
	case DF_A_MTIME:
		to->mtime_ns = from->mtime_ns;
		break;
	default:
		free(to->target);
		to->target = from->target ? df_xstrdup(from->target) : NULL;
	}
}

bool df_obj_join_attrs(struct df_obj *o, const struct df_attrs *from,
		       unsigned mask, bool dirty)
{
	bool changed = false;

	for (int f = 0; f < DF_A_FIELDS; f++) {
		uint8_t bit = (uint8_t)(1u << f);
		if (!(mask & bit))
			continue;
		if (!dirty)
			o->a.pub |= bit;
		if (o->a.st[f].time && !newer(from->st[f], o->a.st[f],
					      attr_cmp(from, &o->a, f), dirty))
			continue;
		attr_copy(&o->a, from, f);
		if (dirty)
			o->a.dirty |= bit;
		else
			o->a.dirty &= (uint8_t)~bit;
		changed = true;
	}
	return changed;
}

struct df_xattr *df_obj_xattr(const struct df_obj *o, const char *name)
{
	for (uint32_t i = 0; i < o->n_xattrs; i++)
		if (!strcmp(o->xattrs[i].name, name))
			return &o->xattrs[i];
	return NULL;
}

static int xattr_cmp(const struct df_xattr *x, bool there, const void *value,
		     uint32_t len)
{
	if (x->there != there)
		return there ? 1 : -1;
	uint32_t n = DF_MIN(len, x->len);
	int c = n ? memcmp(value, x->value, n) : 0;
	return c ? c : (len > x->len) - (len < x->len);
}

bool df_obj_join_xattr(struct df_obj *o, const char *name, struct df_stamp st,
		       bool there, const void *value, uint32_t len, bool dirty)
{
	struct df_xattr *x = df_obj_xattr(o, name);

	if (!x) {
		o->xattrs = df_xrealloc(o->xattrs, o->n_xattrs + 1,
					sizeof(*o->xattrs));
		x = &o->xattrs[o->n_xattrs++];
		*x = (struct df_xattr){ .name = df_xstrdup(name) };
	} else if (!newer(st, x->st, xattr_cmp(x, there, value, len), dirty)) {
		x->pub |= !dirty;
		return false;
	}
	free(x->value);
	x->value = df_xdup(value, len);
	x->len = len;
	x->st = st;
	x->there = there;
	x->dirty = dirty;
	x->pub |= !dirty;
	return true;
}

bool df_obj_revived(const struct df_obj *o)
{
	if (df_rule_off(DF_RULE_GONE))
		return false;
	for (uint32_t i = 0; i < o->heads.n; i++)
		if (!df_vv_covers(&o->gone, o->heads.v[i]->dot))
			return true;
	return false;
}

int df_link_cmp(const struct df_link *a, const struct df_link *b,
		struct df_dirids ids)
{
	int c = df_stamp_cmp(a->st, b->st);

	if (!c && a->parent != b->parent) { /* numbers are local */
		struct df_id x = ids.id_of(ids.arg, a->parent);
		struct df_id y = ids.id_of(ids.arg, b->parent);
		c = df_id_cmp(&x, &y);
	}
	return c ? c : strcmp(a->name, b->name);
}

static uint32_t newest_link(const struct df_obj *o, struct df_dirids ids)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < o->n_links; i++)
		if (df_link_cmp(&o->links[i], &o->links[best], ids) > 0)
			best = i;
	return best;
}

void df_obj_eff(const struct df_obj *o, struct df_dirids ids, struct df_eff *e)
{
	uint32_t n = 0;

	*e = (struct df_eff){ .i = &e->one };
	if (!o->heads.n || df_obj_is_dir(o))
		return;
	for (uint32_t i = 0; i < o->n_links; i++)
		if (o->links[i].there) {
			e->one = i;
			n++;
		}
	if (n == 0 && o->n_links && df_obj_revived(o)) {
		e->one = newest_link(o, ids);
		e->revived = true;
		n = 1;
	}
	e->n = n;
	if (n < 2)
		return;
	e->i = df_xrealloc(NULL, n, sizeof(*e->i));
	n = 0;
	for (uint32_t i = 0; i < o->n_links; i++)
		if (o->links[i].there)
			e->i[n++] = i;
}

void df_eff_release(struct df_eff *e)
{
	if (e->n > 1)
		free(e->i);
	e->n = 0;
}

void df_obj_be_dir(struct df_obj *o)
{
	char name[40] = "lost-";

	if (df_obj_is_dir(o))
		return;
	df_id_hex(&o->id, name + 5);
	o->flags |= DF_OBJ_UNKNOWN_DIR;
	o->place.parent = o->place.from_parent = DF_ROOT_NID;
	o->place.name = df_xstrdup(name);
	o->place.from_name = df_xstrdup(name);
	o->place.pub = true;
}

bool df_obj_blank(const struct df_obj *o)
{
	bool known = df_obj_is_dir(o) || o->heads.n || o->gone.n ||
		     o->n_links || o->n_xattrs;

	for (int f = 0; f < DF_A_FIELDS; f++)
		known |= o->a.st[f].time != 0;
	return !known;
}

bool df_obj_dirty(const struct df_obj *o)
{
	if ((o->flags & (DF_OBJ_CONTENT_DIRTY | DF_OBJ_GONE_DIRTY)) ||
	    o->a.dirty || o->place.dirty)
		return true;
	for (uint32_t i = 0; i < o->n_links; i++)
		if (o->links[i].dirty)
			return true;
	for (uint32_t i = 0; i < o->n_xattrs; i++)
		if (o->xattrs[i].dirty)
			return true;
	return false;
}

bool df_obj_published(const struct df_obj *o)
{
	if ((o->flags & (DF_OBJ_CONTENT_PUB | DF_OBJ_GONE_PUB)) || o->a.pub ||
	    o->place.pub || (o->flags & DF_OBJ_UNKNOWN_DIR))
		return true;
	for (uint32_t i = 0; i < o->n_links; i++)
		if (o->links[i].pub)
			return true;
	for (uint32_t i = 0; i < o->n_xattrs; i++)
		if (o->xattrs[i].pub)
			return true;
	return false;
}

void df_obj_mark_cut(struct df_obj *o)
{
	if (o->flags & DF_OBJ_CONTENT_DIRTY)
		o->flags |= DF_OBJ_CONTENT_PUB;
	if (o->flags & DF_OBJ_GONE_DIRTY)
		o->flags |= DF_OBJ_GONE_PUB;
	o->flags &= ~(uint32_t)DF_OBJ_WHOLE;
	o->a.pub |= o->a.dirty;
	o->place.pub |= o->place.dirty;
	for (uint32_t i = 0; i < o->n_links; i++)
		o->links[i].pub |= o->links[i].dirty;
	for (uint32_t i = 0; i < o->n_xattrs; i++)
		o->xattrs[i].pub |= o->xattrs[i].dirty;
}

void df_obj_mark_told(struct df_obj *o, const struct df_obj *sent)
{
	if (sent->heads.n)
		o->flags |= DF_OBJ_CONTENT_PUB;
	if (sent->gone.n)
		o->flags |= DF_OBJ_GONE_PUB;
	for (int f = 0; f < DF_A_FIELDS; f++)
		o->a.pub |= (uint8_t)((sent->a.st[f].time != 0) << f);
	o->place.pub |= sent->place.st.time != 0;
	for (uint32_t i = 0; i < sent->n_links; i++) {
		struct df_link *l = df_obj_link(o, sent->links[i].parent,
						sent->links[i].name);
		if (l)
			l->pub = true;
	}
	for (uint32_t i = 0; i < sent->n_xattrs; i++) {
		struct df_xattr *x = df_obj_xattr(o, sent->xattrs[i].name);
		if (x)
			x->pub = true;
	}
}

static void heads_noted(struct df_obj *o, const struct df_obj *sent,
			struct df_segs *segs)
{
	bool all = o->heads.n == sent->heads.n;

	for (uint32_t i = 0; i < o->heads.n; i++) {
		struct df_ver *mine = o->heads.v[i];
		bool same = false;
		for (uint32_t k = 0; k < sent->heads.n; k++) {
			const struct df_ver *s = sent->heads.v[k];
			/* A twin's head may have a root of the same stamp. */
			if (df_stamp_eq(mine->root, s->root) &&
			    (sent->heads.n == 1 ||
			     df_vv_covers(&mine->vv, s->dot)) &&
			    (mine->flags & DF_VER_OPEN)) {
				mine->root_sum = s->root_sum;
				mine->flags &= ~(uint32_t)DF_VER_OPEN;
			}
			df_ver_join_as(mine, s);
			if (!df_stamp_eq(mine->dot, s->dot)) {
				/* What came since stands on the noted one,
				 * under whatever id it will be sent. */
				if (s->dot.node == mine->dot.node &&
				    df_vv_covers(&mine->vv, s->dot))
					mine->own_base = DF_MAX(mine->own_base,
								s->dot.time);
				continue;
			}
			same = true;
			df_extmap_learn(&mine->ext, &s->ext, false, segs);
			mine->flags |= s->flags & DF_VER_SUM;
			memcpy(mine->sum, s->sum, sizeof(s->sum));
			free(mine->pages);
			mine->pages = df_xdup(s->pages,
					      s->n_pages * sizeof(*s->pages));
			mine->n_pages = s->n_pages;
		}
		all &= same;
	}
	if (all)
		o->flags &= ~(uint32_t)DF_OBJ_CONTENT_DIRTY;
}

static void names_noted(struct df_obj *o, const struct df_obj *sent)
{
	for (uint32_t i = 0; i < sent->n_links; i++) {
		const struct df_link *s = &sent->links[i];
		struct df_link *l = df_obj_link(o, s->parent, s->name);
		if (l && df_stamp_eq(l->st, s->st))
			l->dirty = false;
	}
	if (sent->place.st.time && df_stamp_eq(o->place.st, sent->place.st))
		o->place.dirty = false;
	for (uint32_t i = 0; i < sent->n_xattrs; i++) {
		struct df_xattr *x = df_obj_xattr(o, sent->xattrs[i].name);
		if (x && df_stamp_eq(x->st, sent->xattrs[i].st))
			x->dirty = false;
	}
}

void df_obj_mark_noted(struct df_obj *o, const struct df_obj *sent,
		       struct df_segs *segs)
{
	names_noted(o, sent);
	for (int f = 0; f < DF_A_FIELDS; f++)
		if (sent->a.st[f].time &&
		    df_stamp_eq(o->a.st[f], sent->a.st[f]))
			o->a.dirty &= (uint8_t) ~(1u << f);
	if (sent->heads.n)
		heads_noted(o, sent, segs);
	if (sent->gone.n && df_vv_eq(&o->gone, &sent->gone))
		o->flags &= ~(uint32_t)DF_OBJ_GONE_DIRTY;
}

static void copy_names(struct df_obj *c, const struct df_obj *o)
{
	for (uint32_t i = 0; i < o->n_links; i++)
		if (o->links[i].dirty)
			df_obj_join_link(c, o->links[i].parent,
					 o->links[i].name, o->links[i].st,
					 o->links[i].there, true);
	if (o->place.dirty)
		df_obj_join_place(c, &o->place, true);
	for (uint32_t i = 0; i < o->n_xattrs; i++) {
		const struct df_xattr *x = &o->xattrs[i];
		if (x->dirty)
			df_obj_join_xattr(c, x->name, x->st, x->there, x->value,
					  x->len, true);
	}
}

struct df_obj *df_obj_copy_dirty(const struct df_obj *o, struct df_segs *segs)
{
	struct df_obj *c = df_obj_new(&o->id);

	c->nid = o->nid;
	c->flags = o->flags;
	c->ctime_ns = o->ctime_ns;
	copy_names(c, o);
	df_obj_join_attrs(c, &o->a, o->a.dirty, true);
	c->flags = o->flags;
	if (o->flags & DF_OBJ_CONTENT_DIRTY) {
		c->heads.v = df_xrealloc(NULL, o->heads.n, sizeof(*c->heads.v));
		for (uint32_t i = 0; i < o->heads.n; i++)
			c->heads.v[i] = df_ver_copy(o->heads.v[i], segs);
		c->heads.n = o->heads.n;
	}
	if (o->flags & DF_OBJ_GONE_DIRTY)
		c->gone = df_vv_copy(&o->gone);
	return c;
}

void df_obj_drop_unpublished(struct df_obj *o)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < o->n_links; i++) {
		struct df_link *l = &o->links[i];
		if (!l->there && !l->pub)
			free(l->name);
		else
			o->links[n++] = *l;
	}
	o->n_links = n;
}
