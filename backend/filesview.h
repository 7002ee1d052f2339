/*
 * filesview.h - one row a file in T, for people and their SQL.
 *
 * The columns are those of the Deeplake CLI: _id, path, filename, content
 * (BYTEA), content_text, mime_type, size_bytes.  Our rows have an _id that
 * begins with "df-" and names one version of one file: a row is never changed,
 * only deleted and inserted, so sending a batch twice is harmless.  Any other
 * _id, NULL included, is a row that somebody else put there.
 *
 * The functions are the view operations of remote.h (tablei.h).
 */
#ifndef DF_BACKEND_FILESVIEW_H
#define DF_BACKEND_FILESVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/remote.h"

#define DF_VIEW_ID_PREFIX "df-"
#define DF_VIEW_ID_LEN 36 /* the prefix, 32 hex digits, NUL */

/* All pointers are the caller's.  removed: only id counts. */
struct df_view_row {
	const char *id;   /* "df-" and hex digits */
	const char *path; /* "/dir/file"; bytes that are no UTF-8 are
				   * shown as U+FFFD */
	const char *filename;
	const void *content; /* raw bytes; NULL: '' */
	size_t content_len;
	const char *content_text; /* UTF-8 without NUL; NULL: '' */
	size_t content_text_len;
	const char *mime_type; /* NULL: application/octet-stream */
	uint64_t size_bytes;
	bool removed;
	uint64_t tag; /* the caller's own */
};

/* A row that somebody else put there. */
struct df_view_found {
	char *id;      /* NULL: it has none */
	char *path;    /* as found; may lack the leading slash */
	uint8_t *data; /* content if there is any, else content_text */
	size_t len;
	uint64_t size_bytes; /* what the row says */
	bool text;           /* data came from content_text */
};

struct df_view_page {
	struct df_view_found *v; /* owned */
	size_t n;
	char *last; /* owned; pass as `after` for the next page */
	bool more;
	size_t refused; /* no path, a NUL in it, or content that is neither
			  * hex nor base64 */
	size_t too_big; /* rows whose content no answer can hold */
};
void df_view_page_release(struct df_view_page *p);

/* Remove the rows of all ids, insert those not removed.  Statements are kept
 * small; a row that the server refuses as too large loses its content.  After
 * an answer that was lost both are done again; an INSERT that the server runs
 * later still makes the row twice (but not on a server of ours: viewsql.h). */
int df_filesview_apply(struct df_remote *r, const struct df_view_row *rows,
		       size_t n, int64_t timeout_ms);
int df_filesview_foreign(struct df_remote *r, const char *after, unsigned limit,
			 int64_t timeout_ms, struct df_view_page *out);

#endif
