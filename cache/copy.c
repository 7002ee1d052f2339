/* copy.c - see copy.h. */
#include "cache/copy.h"

#include <stdlib.h>
#include <string.h>

df_nid df_copy_owner(const struct df_vol *v, const struct df_obj *o)
{
	df_nid nid = v->copies.n ? df_nidmap_get(&v->copies, o->nid) : 0;
	const struct df_obj *owner = nid ? df_fold_get(v->fold, nid) : NULL;

	if (!owner || owner->heads.n < 2 || !o->heads.n)
		return 0;
	if (owner->flags & DF_OBJ_ORPHAN) /* unlinked, and its texts with it */
		return 0;
	/* Somebody may have replaced the text meanwhile. */
	for (uint32_t i = 0; i < owner->heads.n; i++)
		if (df_stamp_eq(owner->heads.v[i]->dot, o->heads.v[0]->dot))
			return nid;
	return 0;
}

bool df_copy_made_up(const struct df_obj *o)
{
	return !df_obj_is_dir(o) && !o->n_links && !df_obj_published(o) &&
	       !df_obj_dirty(o);
}

void df_copy_clear(struct df_vol *v, struct df_obj *o)
{
	if (!v->copies.n || !df_nidmap_get(&v->copies, o->nid))
		return;
	df_nidmap_set(&v->copies, o->nid, 0);
	/* What was written here meanwhile stays, and what was set. */
	if (!(o->flags & DF_OBJ_CONTENT_DIRTY))
		df_heads_release(&o->heads, v->segs);
	for (int f = 0; f < DF_A_FIELDS; f++)
		if (!(o->a.dirty & 1u << f))
			o->a.st[f] = (struct df_stamp){ 0 };
}

/* Type, mode and owner as the file's, told to nobody. */
static void borrow_attrs(struct df_obj *c, const struct df_obj *o)
{
	static const int fields[] = { DF_A_TYPE, DF_A_MODE, DF_A_UID, DF_A_GID,
				      DF_A_BTIME };
	unsigned mask = 0;

	for (size_t i = 0; i < DF_ARRAY_LEN(fields); i++)
		if (o->a.st[fields[i]].time)
			mask |= 1u << fields[i];
	memset(c->a.st, 0, sizeof(c->a.st));
	df_obj_join_attrs(c, &o->a, mask, true);
	c->a.dirty = c->a.pub = 0;
	c->ctime_ns = o->ctime_ns;
}

struct df_obj *df_copy_look(struct df_vol *v, const struct df_shown *s)
{
	struct df_obj *o = df_fold_get(v->fold, s->nid);
	struct df_texts t;

	if (!o)
		return NULL;
	struct df_id id = df_copy_id(&o->id, s->dot);
	struct df_obj *c = df_fold_take(v->fold, &id);
	if (!df_copy_made_up(c))
		return c; /* it is real already, under another name */
	df_heads_release(&c->heads, v->segs);
	df_texts_init(&t, &o->heads, NULL);
	for (uint32_t i = 1; i < t.n; i++)
		for (uint32_t k = 0; k < t.v[i].n_heads; k++)
			if (df_stamp_eq(t.v[i].dot, s->dot))
				df_heads_join(
					&c->heads,
					df_ver_copy(o->heads.v[t.v[i].heads[k]],
						    v->segs),
					v->segs);
	df_texts_release(&t, NULL);
	borrow_attrs(c, o);
	c->flags |= DF_OBJ_ORPHAN; /* gone with its last lookup */
	df_nidmap_set(&v->copies, c->nid, o->nid);
	df_fold_touch(v->fold, c);
	df_fold_account_obj(v->fold, c);
	return c;
}
