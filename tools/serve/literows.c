/* literows.c - prepared statements kept, parameters in, rows out. */
#include <stdlib.h>
#include <string.h>

#include "tools/serve/lite.h"

/* Longer texts hold literals and will not come again. */
#define CACHED_TEXT_MAX 4096

int lite_prepare(struct lite_conn *c, const char *text, size_t len,
		 sqlite3_stmt **out, bool *cached)
{
	struct lite_stmt *oldest = &c->cache[0];
	size_t i;
	int rc;

	*cached = len <= CACHED_TEXT_MAX;
	for (i = 0; *cached && i < LITE_STMTS; i++) {
		struct lite_stmt *s = &c->cache[i];

		if (s->stmt != NULL && s->len == len &&
		    memcmp(s->text, text, len) == 0) {
			s->used = ++c->tick;
			*out = s->stmt;
			return SQLITE_OK;
		}
		if (s->used < oldest->used)
			oldest = s;
	}
	rc = sqlite3_prepare_v3(c->db, text, (int)len,
				*cached ? SQLITE_PREPARE_PERSISTENT : 0, out,
				NULL);
	if (rc != SQLITE_OK || !*cached)
		return rc;
	(void)sqlite3_finalize(oldest->stmt);
	free(oldest->text);
	oldest->stmt = *out;
	oldest->text = malloc(len);
	oldest->len = oldest->text == NULL ? 0 : len;
	oldest->used = ++c->tick;
	if (oldest->text != NULL)
		memcpy(oldest->text, text, len);
	return SQLITE_OK;
}

static void row_value(sqlite3_stmt *st, int i, struct df_value *v)
{
	*v = (struct df_value){ .kind = DF_V_NULL };
	switch (sqlite3_column_type(st, i)) {
	case SQLITE_INTEGER:
		v->kind = DF_V_INT;
		v->i = sqlite3_column_int64(st, i);
		break;
	case SQLITE_FLOAT:
		v->kind = DF_V_REAL;
		v->r = sqlite3_column_double(st, i);
		break;
	case SQLITE_TEXT:
		v->kind = DF_V_TEXT;
		v->p = (const char *)sqlite3_column_text(st, i);
		v->len = (size_t)sqlite3_column_bytes(st, i);
		break;
	case SQLITE_BLOB:
		v->kind = DF_V_BLOB;
		v->p = sqlite3_column_blob(st, i);
		v->len = (size_t)sqlite3_column_bytes(st, i);
		break;
	default:
		break;
	}
}

void lite_put_row(sqlite3_stmt *stmt, const struct df_sql_out *cols, size_t n,
		  struct df_buf *out)
{
	size_t i;

	df_buf_put_u8(out, '[');
	for (i = 0; i < n; i++) {
		struct df_value v;

		if (i > 0)
			df_buf_put_u8(out, ',');
		row_value(stmt, (int)i, &v);
		(void)df_value_json(&v, cols[i].type, out);
	}
	df_buf_put_u8(out, ']');
}
