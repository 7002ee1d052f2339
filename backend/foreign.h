/*
 * foreign.h - a table T that is no volume and has other columns than the files
 * view: somebody else's, to be read and never to be changed.
 *
 * df_foreign_wrap() makes a remote of it for a volume that is made of its rows
 * (cache/rowfiles.h): a log and packs that are empty and take nothing, so that
 * no operation of a volume can reach the server.  The one statement that does
 * is the SELECT of df_foreign_page().
 */
#ifndef DF_BACKEND_FOREIGN_H
#define DF_BACKEND_FOREIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/answer.h"
#include "backend/remote.h"

/* Is T of this table (df_table_open) there, with other columns?  0 or -errno;
 * not there or in our shape is no error. */
int df_foreign_look(struct df_remote *r, int64_t timeout_ms, bool *foreign);
/* Takes *table. */
int df_foreign_wrap(struct df_remote **table, struct df_remote **out);
/* limit rows from number `offset` on, all columns, ordered by the key if there
 * is one: *key is its place among the columns, or -1.  r is a wrapped one.
 * -EOVERFLOW: more bytes than an answer may have, ask for fewer rows. */
int df_foreign_page(struct df_remote *r, uint64_t offset, unsigned limit,
		    int64_t timeout_ms, struct df_answer *out, int *key);

#endif
