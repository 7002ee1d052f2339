/*
 * cut.h - what a commit says: the dirty registers as of one moment.
 *
 * Taking a cut moves the set of dirty objects aside (O(1), under the lock);
 * copying them happens object by object, letting the lock go in between.  An
 * operation that is about to change an object that still waits has it copied
 * first (df_cut_guard), so the copies are of the moment of the cut while writes
 * go on.
 */
#ifndef DF_CACHE_CUT_H
#define DF_CACHE_CUT_H

#include "cache/tree.h"

struct df_cut {
	uint64_t number;
	uint64_t seq;   /* of its record in the journal */
	uint64_t time;  /* hlc */
	uint64_t since; /* of the cut before */
	uint64_t node;  /* whose stamps the copies have */
	struct df_nidset pending;
	df_nid force; /* held or not */
	uint64_t n_held;
	struct df_obj **objs; /* owned copies */
	size_t n, size;
};

void df_cut_copy(struct df_vol *v, struct df_obj *o);
/* Before o's registers change. */
static inline void df_cut_guard(struct df_vol *v, struct df_obj *o)
{
	if (v->cut && df_nidset_del(&v->cut->pending, o->nid))
		df_cut_copy(v, o);
}

/* Locked: begin a cut (NULL: nothing to send).  force_nid: this file is cut
 * even if it is held; DF_ROOT_NID: all are. */
struct df_cut *df_cut_begin(struct df_vol *v, df_nid force_nid);
/* Not locked: copy what still waits. */
void df_cut_finish(struct df_vol *v, struct df_cut *c);
/* Replay comes to the record of a cut (seq): what it took may be known to
 * others, whether or not its row can be read (files that may have been held
 * then: only if it can).  Locked. */
int df_cut_replay(struct df_vol *v, uint64_t seq);
void df_cut_free(struct df_vol *v, struct df_cut *c);
/* Locked: look through the fold for what should be in v->dirty and is not; it
 * is put there.  How many there were: always 0, unless this program is wrong. */
size_t df_cut_recount(struct df_vol *v);

#endif
