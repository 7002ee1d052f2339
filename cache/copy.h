/*
 * copy.h - conflict copies that somebody looks at.
 *
 * A losing text of a file is shown as a name of its own, and looking must not
 * write: two nodes that list the same directory would each settle it their
 * way, for ever.  So a lookup makes the object that the copy would become (its
 * id is derived), without registers that anybody is told of.  The first operation
 * that touches it settles its owner, which makes it real.  The fold may store
 * what the look made up; the next start drops it.
 *
 * Locks: the volume's.
 */
#ifndef DF_CACHE_COPY_H
#define DF_CACHE_COPY_H

#include "cache/tree.h"

/* The object for a name of kind DF_KIND_COPY, or NULL. */
struct df_obj *df_copy_look(struct df_vol *v, const struct df_shown *s);
/* The file whose losing text o shows, 0 if o is no such copy or the file has no
 * name.  By now the text may be hidden: part of another, or equal to one. */
df_nid df_copy_owner(const struct df_vol *v, const struct df_obj *o);
/* Did looks alone make o?  Every other register is for the next cut, or known
 * to others. */
bool df_copy_made_up(const struct df_obj *o);
/* o is about to become real: forget what the look made up, not what was written
 * to it since. */
void df_copy_clear(struct df_vol *v, struct df_obj *o);

#endif
