/*
 * rows.h - a log row as SQL text, and its id.
 *
 * T__log, every column TEXT:
 *
 *	id     32 hex digits: df_row_id() of the rest
 *	node   16 hex digits    seq, sent, epoch: 16 hex digits each; fixed
 *	       width and lower case, so that text order is number order
 *	kind   'format', 'commit' or 'checkpoint'
 *	prev   '' or 48 hex digits: id and epoch of the writer's last row
 *	deps   48 hex digits for each row folded since, in the writer's order
 *	body   base64 with padding
 *	n      where the server is ours: a number, its place in commit order
 *
 * The id is H() (base/hash.h: each field preceded by its length) over
 *
 *	node, seq, epoch   8 bytes each, little-endian
 *	kind               its text
 *	prev               24 bytes: id, epoch little-endian; none: 24 zeros
 *	deps               24 bytes each
 *	body               raw
 *
 * Every reader checks it; a row that does not decode or match is left out and
 * counted (df_rows.refused).
 */
#ifndef DF_BACKEND_ROWS_H
#define DF_BACKEND_ROWS_H

#include "backend/answer.h"
#include "backend/remote.h"

const char *df_row_kind_text(enum df_row_kind kind);

/* Append every good row of an answer with the columns above to out; last_sent
 * grows over refused rows too.  DF_ECORRUPT: a column is missing (nothing
 * appended); -ENOMEM. */
int df_rows_decode(const struct df_answer *a, struct df_rows *out);

#endif
