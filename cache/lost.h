/*
 * lost.h - bytes that only this machine had and that went with its disk.
 *
 * They are noticed when they are packed, or before: an fsync that means the
 * local disk looks at what earlier lives left of its file.  Their extents then
 * name a piece that is in no pack: whoever reads them gets EIO and never zeros,
 * here and elsewhere.  Status names them, and the file's next fsync fails once.
 */
#ifndef DF_CACHE_LOST_H
#define DF_CACHE_LOST_H

#include "cache/vol.h"

/* The place of lost bytes in the table: in no pack. */
static inline struct df_piece df_lost_piece(uint32_t len)
{
	return (struct df_piece){ .clen = DF_PIECE_HEAD + 1, .rlen = len };
}
bool df_ext_lost(const struct df_ext *e);

/* The packer cannot read e of o, which is a cut's copy: e is lost now.  Not
 * locked. */
void df_lost_mark(struct df_vol *v, const struct df_obj *o, struct df_ext *e,
		  int err);
/* -EIO, once, when the file lost bytes.  Locked. */
int df_lost_once(struct df_vol *v, df_nid nid);
/* Are the bytes that earlier lives left of this file, and that nobody else has,
 * whole?  0, or -EIO (of which df_lost_once has been told).  Reads all of them,
 * the first time.  Not locked. */
int df_lost_look(struct df_vol *v, df_nid nid);

#endif
