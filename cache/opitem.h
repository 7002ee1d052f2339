/*
 * opitem.h - the items of a journal record of one local operation.
 *
 * A record is a head (time, node, now) and items; an item is a kind byte, the
 * object's id and the kind's fields (docs/formats.md, "Operations").  Objects
 * and parents are named by id, so that the record outlives the fold.
 */
#ifndef DF_CACHE_OPITEM_H
#define DF_CACHE_OPITEM_H

#include "cache/op.h"

enum df_item {
	DF_I_LINK = 1,
	DF_I_PLACE,
	DF_I_ATTRS,
	DF_I_TIMES,
	DF_I_XATTR,
	DF_I_GONE,
	DF_I_VERSION,
	DF_I_BIRTH,
	DF_I_WRITE,
	DF_I_KNOWN,
};

void df_item_head(struct df_buf *b, const struct df_op *op);
void df_item_link(struct df_vol *v, const struct df_obj *o, df_nid parent,
		  const char *name, bool there);
void df_item_place(struct df_vol *v, const struct df_obj *o,
		   const struct df_place *p);
void df_item_attrs(struct df_vol *v, const struct df_obj *o,
		   const struct df_attrs *a, unsigned mask);
void df_item_times(struct df_vol *v, const struct df_obj *o, bool mtime);
void df_item_xattr(struct df_vol *v, const struct df_obj *o, const char *name,
		   bool there, const void *value, uint32_t len);
void df_item_gone(struct df_vol *v, const struct df_obj *o,
		  const struct df_vv *vv);
void df_item_version(struct df_vol *v, const struct df_obj *o,
		     const struct df_ver *ver);
void df_item_known(struct df_vol *v, const struct df_obj *o);
void df_item_birth(struct df_vol *v, const struct df_obj *o, bool born);
/* inlined: the one extent is the data of the record's own frame */
void df_item_write(struct df_vol *v, const struct df_obj *o,
		   const struct df_write *w, bool inlined);

/* In op.c, for opitem.c's replay. */
void df_op_touch(struct df_vol *v, struct df_obj *o);
void df_op_finish(struct df_vol *v, uint64_t seq);

#endif
