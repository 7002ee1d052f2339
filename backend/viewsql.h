/*
 * viewsql.h - the statements of the files view, on a volume's own table T.
 *
 * filesview.c sends them in small pairs to servers of unknown habits; the
 * volume's view (cache/) sends them large to a server that proved to be ours.
 * There T has a unique index on _id (tablemake.c), and an INSERT leaves out
 * rows whose _id is there: however many mounts write a row, and however often
 * or late the server runs a statement, it is there once.  Tables made before
 * that index lack it until `deeplake fsck --repair`; on them, and on other
 * servers, rows can be there twice.
 *
 * r is a remote that df_table_open made.  Errors: those of remote.h.
 */
#ifndef DF_BACKEND_VIEWSQL_H
#define DF_BACKEND_VIEWSQL_H

#include "backend/filesview.h"

/* A row as it should be, and what was found. */
struct df_view_place {
	const char *id, *path; /* the caller's; path NULL: it should not be */
	uint64_t size;
	unsigned rows;  /* found: with this id */
	unsigned right; /* found: of these, with this path and size */
};

/* Remove the rows of ids. */
int df_viewsql_delete(struct df_remote *r, const char *const *ids, size_t n,
		      int64_t deadline_ns);
/* One statement with all rows but those marked removed; bare: without their
 * content.  It is not repeated: -EAGAIN if its fate is unknown. */
int df_viewsql_insert(struct df_remote *r, const struct df_view_row *rows,
		      size_t n, bool bare, int64_t deadline_ns);
/* Fill rows and right of each place. */
int df_viewsql_look(struct df_remote *r, struct df_view_place *places, size_t n,
		    int64_t deadline_ns);
/* Set the paths of rows that are there. */
int df_viewsql_move(struct df_remote *r, const struct df_view_place *places,
		    size_t n, int64_t deadline_ns);
/* Remove somebody else's row.  id NULL: rows of this path without one. */
int df_viewsql_drop(struct df_remote *r, const char *path, const char *id,
		    int64_t deadline_ns);
/* Does the table show this path so?  Bytes that are no UTF-8 are U+FFFD. */
bool df_viewsql_same_path(const char *path, const char *shown, size_t len);

#endif
