/*
 * answer.h - the answer of a query, scanned by hand and by length.
 *
 *	{"columns": ["a","b"], "rows": [["x", 1], …], "row_count": 2, "last": 7}
 *
 * Strings are unescaped in place and handed out as spans of the body: a pack
 * of 5 MiB of base64 is never copied.  Other members are skipped; null, or an
 * object without rows, is an answer of no rows, as with every known client.
 *
 * The input is hostile: depth, cells and members are bounded, nothing is
 * believed about lengths.  Threads: none of its own.
 */
#ifndef DF_BACKEND_ANSWER_H
#define DF_BACKEND_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hash.h"

#define DF_ANSWER_CELLS_MAX ((size_t)1 << 20)
#define DF_ANSWER_COLS_MAX 1024

enum df_cell_type {
	DF_CELL_UNKNOWN = 0,
	DF_CELL_NULL,
	DF_CELL_TEXT,   /* unescaped */
	DF_CELL_NUMBER, /* as written */
	DF_CELL_BOOL,   /* "true" or "false" */
	DF_CELL_OTHER,  /* an array or object, as written */
};

struct df_cell {
	const char *s; /* in the body, no NUL after it */
	size_t len;
	enum df_cell_type type;
};

struct df_answer {
	struct df_buf body;   /* owned; cells point into it */
	struct df_cell *col;  /* owned; names */
	size_t n_cols;        /* columns, or the width of the first row */
	struct df_cell *cell; /* owned; n_rows * n_cols */
	size_t n_rows;
	size_t size;        /* allocated cells */
	uint64_t last;      /* feed: "last"; 0 if absent */
	uint64_t others;    /* feed: T was changed by no mount */
	uint64_t more;      /* feed: cut off before the limit, for its size */
	uint64_t row_count; /* what the server says; 0 if absent */
	int64_t date_ms;    /* the answer's Date; 0 = none */
	unsigned attempts;  /* requests that it took */
};

/* Take *body (left empty) and scan it.  DF_ECORRUPT: not such an answer;
 * -ENOMEM; -EOVERFLOW: more cells than the bound.  Release in any case. */
int df_answer_parse(struct df_answer *a, struct df_buf *body);
void df_answer_release(struct df_answer *a);

/* Index of a column, or -1. */
int df_answer_col(const struct df_answer *a, const char *name);
static inline const struct df_cell *df_answer_cell(const struct df_answer *a,
						   size_t row, int col)
{
	return &a->cell[row * a->n_cols + (size_t)col];
}

bool df_cell_is(const struct df_cell *c, const char *text);
/* A number, or text of digits: 0, or DF_ECORRUPT. */
int df_cell_u64(const struct df_cell *c, uint64_t *out);
/* 16 lower-case hex digits: 0, or DF_ECORRUPT. */
int df_cell_hex64(const struct df_cell *c, uint64_t *out);
/* 32 lower-case hex digits: 0, or DF_ECORRUPT. */
int df_cell_id(const struct df_cell *c, struct df_id *out);

#endif
