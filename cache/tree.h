/*
 * tree.h - the tree: a pure function of the registers (merge-rules C), kept
 * as indexes that change with the registers.
 *
 * Whoever changes an object's registers does it between df_tree_before and
 * df_tree_after: names, live counts up to the root, link counts and rivals
 * follow.  Locks: the volume's, everywhere.
 */
#ifndef DF_CACHE_TREE_H
#define DF_CACHE_TREE_H

#include "cache/vol.h"

/* Where an object was shown before a change. */
struct df_was {
	bool dir, live, revived;
	uint32_t n;
	uint32_t n_heads;
	struct df_at {
		df_nid parent;
		char *name; /* owned */
	} one, *more;       /* more: owned, n > 1 */
	uint64_t bytes;
};

void df_tree_before(struct df_vol *v, struct df_obj *o, struct df_was *w);
/* Also releases w.  Marks o as touched in the fold. */
void df_tree_after(struct df_vol *v, struct df_obj *o, struct df_was *w);

/* Effective parent and name of a directory (rule 8); the name is o's. */
df_nid df_tree_parent(const struct df_obj *o, const char **name);
bool df_tree_dir_live(const struct df_obj *o);
/* After a place changed by merging: look for rings, take moves back. */
void df_tree_rings(struct df_vol *v, struct df_obj *changed);
/* Is `dir` at or below `top`? */
bool df_tree_below(struct df_vol *v, df_nid dir, df_nid top);

enum df_kind {
	DF_KIND_NONE = 0,
	DF_KIND_FILE,
	DF_KIND_DIR,
	DF_KIND_COPY, /* a losing text of an object: a conflict copy */
};

/* What a name in a directory shows. */
struct df_shown {
	enum df_kind kind;
	df_nid nid;
	struct df_stamp dot; /* DF_KIND_COPY: the text's */
};
struct df_shown df_tree_lookup(struct df_vol *v, df_nid parent,
			       const char *name);

/* Everything shown in a directory that has rivals, other than the plain
 * winners of names without rivals. */
struct df_loser {
	char *shown; /* owned */
	char *name;  /* owned; registered */
	enum df_kind kind;
	df_nid nid;
	struct df_stamp st; /* of the register, or the dot */
	struct df_id id;
};
struct df_dirview {
	struct df_loser *v; /* owned */
	size_t n;
	struct df_hidden {
		char *name; /* owned; registered */
		df_nid nid;
	} * hidden; /* owned */
	size_t n_hidden, hidden_size;
};
/* A hostile table has a million candidates for one name.  The one that has it
 * and so many others, the oldest here, are shown (two mounts may differ in
 * these); status says that there are more. */
#define DF_DIRVIEW_MOST 4096
void df_dirview_init(struct df_vol *v, df_nid parent, struct df_dirview *d);
void df_dirview_release(struct df_dirview *d);
/* The same, kept: valid until something changes, or the next call. */
const struct df_dirview *df_dirview_see(struct df_vol *v, df_nid parent);
/* Candidate that has (parent, name), 0 if none. */
df_nid df_tree_winner(struct df_vol *v, struct df_name *n);
/* Stamp of the register by which o is a candidate at (parent, name). */
struct df_stamp df_tree_stamp(const struct df_obj *o, df_nid parent,
			      const char *name, bool *there);
/* cname of merge-rules C, without the check for taken names; caller frees. */
char *df_cname(const char *name, struct df_stamp st, const char *tail);
/* The first of l's cnames that shows nothing in parent; caller frees. */
char *df_tree_free_cname(struct df_vol *v, df_nid parent,
			 const struct df_loser *l);
/* The id that a conflict copy has once it is settled. */
struct df_id df_copy_id(const struct df_id *id, struct df_stamp dot);
/* The newest effective link of a file; false: none. */
bool df_tree_newest(const struct df_obj *o, struct df_dirids ids,
		    df_nid *parent, const char **name);

#endif
