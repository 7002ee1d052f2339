/*
 * orphan.c - files without a name that somebody still has open.
 *
 * Writes to them stay local (merge-rules 10).  The registers of an object that
 * others know must not change for that: the first write moves the open file to
 * an object of its own, which nobody else ever hears of and which ends with the
 * last lookup, or with this daemon.
 */
#include <stdlib.h>

#include "cache/op.h"
#include "cache/tree.h"

static struct df_obj *private_obj(struct df_vol *v, struct df_obj *o)
{
	uint8_t random[16];

	df_random(random, sizeof(random));
	struct df_field f[] = { { "orphan", 6 },
				{ o->id.b, DF_ID_LEN },
				{ random, sizeof(random) } };
	struct df_id id = df_hash_fields(f, DF_ARRAY_LEN(f));
	return df_fold_make(v->fold, &id);
}

static void copy_registers(struct df_vol *v, struct df_obj *p, struct df_obj *o)
{
	struct df_attrs a = o->a;
	unsigned mask = 0;

	for (int i = 0; i < DF_A_FIELDS; i++)
		mask |= a.st[i].time ? 1u << i : 0;
	df_op_attrs(v, p, &a, mask);
	for (uint32_t i = 0; i < o->n_xattrs; i++) {
		const struct df_xattr *x = &o->xattrs[i];
		if (x->there)
			df_op_xattr(v, p, x->name, true, x->value, x->len);
	}
	for (uint32_t i = 0; i < o->heads.n; i++)
		df_op_version(v, p, df_ver_copy(o->heads.v[i], v->segs));
}

/* The open number goes to p; o, should it come back, gets another. */
static void swap_numbers(struct df_vol *v, df_nid nid, struct df_obj *p,
			 struct df_obj *o)
{
	df_nid fresh = df_fold_new_nid(v->fold);

	df_nidmap_set(&v->alias, nid, p->nid);
	df_nidmap_set(&v->alias_of, p->nid, nid);
	df_nidmap_set(&v->alias, fresh, o->nid);
	df_nidmap_set(&v->alias_of, o->nid, fresh);
}

int df_orphan_own(struct df_vol *v, df_nid nid, struct df_obj **o)
{
	struct df_obj *old = *o;

	if (!(old->flags & DF_OBJ_ORPHAN) || !df_obj_published(old))
		return 0;
	int err = df_op_begin(v, DF_OP_GROWS);
	if (err)
		return err;
	struct df_obj *p = private_obj(v, old);
	p->ino = df_vol_ino(&old->id); /* fstat(2) goes on as before */
	copy_registers(v, p, old);
	swap_numbers(v, nid, p, old);
	*o = p;
	return df_op_end(v);
}
