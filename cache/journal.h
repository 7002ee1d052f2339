/*
 * journal.h - the journal's records other than operations (op.h): lives, rows
 * on their way, rows seen; and reading it all again at start.
 *
 * Locks: the volume's.
 */
#ifndef DF_CACHE_JOURNAL_H
#define DF_CACHE_JOURNAL_H

#include "cache/vol.h"

/* A process began to write as v->node. */
int df_journal_life(struct df_vol *v);
/* A cut begins at v->cut_time.  What is written from here on stands on it,
 * whether or not its row can be read when this is replayed. */
void df_journal_cut(struct df_vol *v);
/* out's exact bytes; sets out->note_seq. */
int df_journal_row(struct df_vol *v, struct df_outrow *out);
/* out is the last row that was noted: what our next one stands on. */
void df_journal_last(struct df_vol *v, const struct df_outrow *out);
/* All rows on their way once more, so that nothing before them is needed. */
void df_journal_rows_again(struct df_vol *v);
/* A row of ours was seen in the table: forget it. */
void df_journal_seen(struct df_vol *v, const struct df_id *id);
/* Replay everything into the fold.  0, or -errno (logged). */
int df_journal_recover(struct df_vol *v);
/* The next flush of the fold has all that the journal says up to here: a start
 * after it replays what follows, and what rows and a cut on their way need: from
 * the small value "floor" on.  Locked. */
void df_journal_folded(struct df_vol *v);
/* Below which record all is in the table, by what is known now.  Locked. */
uint64_t df_journal_told(struct df_vol *v);
/* ... or must not be read again for another reason.  Locked. */
void df_journal_forget(struct df_vol *v);

#endif
