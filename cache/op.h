/*
 * op.h - one local operation: its stamp, its journal record, its effect.
 *
 *	err = df_op_begin(v, DF_OP_GROWS);
 *	... df_op_link(), df_op_attrs(), df_op_write() ...  (apply at once)
 *	err = df_op_end(v);
 *
 * Every call changes memory and adds an item to the record; df_op_end appends
 * the record to the journal with one write, which is what makes the operation
 * answered.  begin sees to it that there is room, so that end fails only when
 * the disk itself does; then the volume is failsafe, for memory is ahead of
 * the journal.  Replay (opitem.c) feeds the same items to the same calls.
 *
 * Locks: the volume's, from begin to end.
 */
#ifndef DF_CACHE_OP_H
#define DF_CACHE_OP_H

#include "cache/tree.h"

enum df_op_kind {
	DF_OP_GROWS = 0, /* needs room like any write */
	DF_OP_FREES,     /* may use the reserve: removals, truncation */
};

/* 0, -EROFS, -EIO (failsafe), -ENOSPC. */
int df_op_begin(struct df_vol *v, enum df_op_kind kind);
/* Nothing was changed after begin. */
void df_op_cancel(struct df_vol *v);
int df_op_end(struct df_vol *v);

void df_op_link(struct df_vol *v, struct df_obj *o, df_nid parent,
		const char *name, bool there);
void df_op_place(struct df_vol *v, struct df_obj *o, bool there, df_nid parent,
		 const char *name, df_nid from_parent, const char *from_name);
/* The fields of `a` in mask; stamps are set here. */
void df_op_attrs(struct df_vol *v, struct df_obj *o, struct df_attrs *a,
		 unsigned mask);
void df_op_xattr(struct df_vol *v, struct df_obj *o, const char *name,
		 bool there, const void *value, uint32_t len);
/* gone(o) covers all that is shown here. */
void df_op_gone(struct df_vol *v, struct df_obj *o);
/* A whole version, as settle makes them; takes ver, sets no dot. */
void df_op_version(struct df_vol *v, struct df_obj *o, struct df_ver *ver);
/* Others may make the same object, for its id is derived: that it goes is told
 * even if that it came was not. */
void df_op_known(struct df_vol *v, struct df_obj *o);
/* Directory times and ctime of o move to now. */
void df_op_times(struct df_vol *v, struct df_obj *o, bool mtime);

/* ---- content: o has one head at most afterwards */
/* First version of a new file.  born: by an append that gave it its id. */
void df_op_birth(struct df_vol *v, struct df_obj *o, bool born);
struct df_write {
	uint64_t off;
	uint64_t len;
	bool append;
	uint64_t ident;     /* append: of these bytes */
	bool new_piece;     /* else they make the last one longer */
	struct df_ext *ext; /* n extents over [off, off + len), rest hole */
	uint32_t n_ext;
	uint64_t size; /* of the file afterwards */
};
void df_op_write(struct df_vol *v, struct df_obj *o, const struct df_write *w);
/* The text that o shows as its one head, ready to be written (the only path
 * by which content changes); never NULL. */
struct df_ver *df_op_head(struct df_vol *v, struct df_obj *o);
/* What heads are known by to others, of ours: a version that replaces them has
 * it as its own_base. */
uint64_t df_op_own_base(const struct df_vol *v, const struct df_heads *h);

/* One record of the journal, again.  0 or DF_ECORRUPT. */
int df_op_replay(struct df_vol *v, uint64_t seq, const void *rec, size_t len,
		 struct df_loc data, size_t data_len);

/* A small write: data goes into the journal with the record.  Appends the
 * record itself and applies only then (no begin and end). */
int df_op_small_write(struct df_vol *v, struct df_obj *o, struct df_write *w,
		      const void *data);

/* orphan.c: before *o's bytes are written.  If it has no name any more but is
 * known to others, fuse number nid becomes an object of its own: *o. */
int df_orphan_own(struct df_vol *v, df_nid nid, struct df_obj **o);

#endif
