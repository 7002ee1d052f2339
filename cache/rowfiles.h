/*
 * rowfiles.h - a volume that is made of the rows of somebody else's table
 * (backend/foreign.h): a file a row, read-only.
 *
 *   name     KEY.json: the text of the key column (_id, id, path, filename,
 *            name, key, or one that ends in "_id"), "/", "%" and control bytes
 *            as %XX; rows of one key get "~2", ...; without a key or where it
 *            is NULL, row-N.json by place
 *   content  one JSON object, a line for each column, in the table's order
 *
 * The whole table is read before the mount is there and then every 5 s while
 * it is in use, every 30 s else, and never more than a twentieth of the time;
 * files whose rows changed are written anew.  At most 50,000 rows.  The volume
 * is otherwise one that never commits: its bytes stay in the cache directory,
 * which is emptied at the next start.
 *
 * Threads: one of its own.  Functions take x == NULL and then do nothing.
 */
#ifndef DF_CACHE_ROWFILES_H
#define DF_CACHE_ROWFILES_H

#include "cache/vol.h"

struct df_rowfiles;

/* Remove what an earlier mount left in this directory. */
int df_rowfiles_clear(const char *cache_dir);
/* Read the table once, on the caller's thread, then go on on another. */
int df_rowfiles_start(struct df_vol *v, struct df_rowfiles **out);
/* Joins the thread; call the stop() of the remote first.  Frees x. */
void df_rowfiles_stop(struct df_rowfiles *x);
/* Is this its thread?  It alone may change the volume. */
bool df_rowfiles_is_self(const struct df_rowfiles *x);

#endif
