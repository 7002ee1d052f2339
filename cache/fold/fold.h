/*
 * fold.h - the newest value of every register, in SQLite, and the hot part of
 * it in memory.
 *
 * One row an object (codec.h, local form) and one row a name.  Memory is the
 * truth: what differs from SQLite is pinned there and written in large
 * transactions by df_fold_flush, off the request path; everything else is a
 * cache under a byte ceiling.  The journal covers what SQLite lacks.
 *
 * Names: for each (directory, name) the *candidates*: objects of which the
 * registers say that they are there.  Nearly always one.  tree.c decides who
 * is shown.
 *
 * Locks: everything here requires the volume's lock, but df_fold_write, which
 *        requires that it is *not* held.  A read that misses memory asks SQLite
 *        under the lock: 3 us from the page cache, and never the network.
 * Errors: a SQLite error latches f->err (the volume turns failsafe).
 */
#ifndef DF_CACHE_FOLD_H
#define DF_CACHE_FOLD_H

#include <sqlite3.h>

#include "backend/remote.h"
#include "cache/registers/object.h"

struct df_name {
	df_nid parent;
	uint64_t cookie; /* 63-bit key of the name; readdir's order */
	char *name;      /* owned */
	uint32_t n;      /* candidates */
	df_nid one;      /* n == 1 */
	df_nid *more;    /* owned; n > 1; ascending */
	uint32_t more_size;
	uint32_t mem;
	/* Came or went since the last flush began: only these are written, for
	 * a hostile table has a million candidates for one name. */
	df_nid *changed; /* owned */
	uint32_t n_changed, changed_size;
	bool dirty;
	df_nid winner;     /* tree.c: who has the name; 0: to be found out */
	uint32_t flushing; /* df_flush that hold it */
	struct df_name *next_hash, *lru_prev, *lru_next;
	struct df_name *dirty_prev, *dirty_next; /* in the parent's list */
	struct df_name *flush_next;
};

struct df_fold;

/* DF_EFORMAT: of another version.  *fresh: there was none, or it was corrupt and
 * has been set aside (then everything must be read from the table again). */
int df_fold_open(const char *dir, uint64_t memory, struct df_segs *segs,
		 struct df_fold **out, bool *fresh);
void df_fold_free(struct df_fold *f);
int df_fold_error(const struct df_fold *f);

/* ---- objects */
struct df_obj *df_fold_get(struct df_fold *f, df_nid nid);
struct df_obj *df_fold_find(struct df_fold *f, const struct df_id *id);
/* The same object without taking it into memory, for who looks at very many:
 * *own is to be freed, NULL where it was there. */
const struct df_obj *df_fold_peek(struct df_fold *f, df_nid nid,
				  struct df_obj **own);
/* Grows with every change of an object or a name. */
uint64_t df_fold_changes(const struct df_fold *f);
/* The id behind a number (fold: a struct df_fold); if unknown, one that nothing
 * has: the root's would take names from the root. */
struct df_id df_fold_dir_id(void *fold, df_nid nid);
/* A new object (its id must not be there yet). */
struct df_obj *df_fold_make(struct df_fold *f, const struct df_id *id);
/* Put an object with a nid of the caller's into the cache (the root). */
void df_fold_adopt(struct df_fold *f, struct df_obj *o);
/* find or make */
struct df_obj *df_fold_take(struct df_fold *f, const struct df_id *id);
/* o was changed. */
void df_fold_touch(struct df_fold *f, struct df_obj *o);
/* o's size in memory changed. */
void df_fold_account_obj(struct df_fold *f, struct df_obj *o);
/* Forget o for ever; frees it when SQLite has. */
void df_fold_drop(struct df_fold *f, struct df_obj *o);
/* A number nobody uses, from the same space as nids. */
df_nid df_fold_new_nid(struct df_fold *f);
/* Evict clean entries down to the ceiling.  No df_name pointer survives this
 * call, and no df_obj but the 64 used last. */
void df_fold_trim(struct df_fold *f);
/* Nobody asks: let go of nearly all that can be read again.  True if that was
 * worth while. */
bool df_fold_rest(struct df_fold *f);

/* ---- names */
uint64_t df_name_cookie(const char *name);
struct df_name *df_fold_name(struct df_fold *f, df_nid parent,
			     const char *name);
static inline df_nid df_name_cand(const struct df_name *n, uint32_t i)
{
	return n->n == 1 ? n->one : n->more[i];
}
bool df_name_has(const struct df_name *n, df_nid nid);
void df_fold_add_cand(struct df_fold *f, struct df_name *n, df_nid nid);
void df_fold_del_cand(struct df_fold *f, struct df_name *n, df_nid nid);

/* Candidates of a directory after a cookie, in (cookie, name) order. */
struct df_dirrow {
	uint64_t cookie;
	df_nid nid;
	char name[DF_NAME_MAX + 1];
};
/* At most max rows into out; the number, or -errno. */
int df_fold_list(struct df_fold *f, df_nid parent, uint64_t after,
		 struct df_dirrow *out, int max);

/* ---- rivals: names that need more than one probe (tree.c) */
bool df_fold_has_rivals(struct df_fold *f, df_nid parent);
void df_fold_set_rival(struct df_fold *f, df_nid parent, const char *name,
		       bool on);
bool df_fold_any_rival(const struct df_fold *f);
/* i-th rival name of parent, NULL at the end */
const char *df_fold_rival(struct df_fold *f, df_nid parent, uint32_t i);

/* ---- folded rows of the log, and small values */
bool df_fold_has_row(struct df_fold *f, const struct df_id *id);
/* dep: our next row has to name it as a cause. */
void df_fold_add_row(struct df_fold *f, const struct df_dep *row, bool dep);
/* Our row names all causes so far. */
void df_fold_deps_taken(struct df_fold *f);
/* Not known any more, from the next flush on. */
void df_fold_del_row(struct df_fold *f, const struct df_id *id);
/* All rows, or only causes not named yet; caller frees. */
struct df_dep *df_fold_rows(struct df_fold *f, bool deps_only, size_t *n);
/* 64-bit values by name; written with the next flush. */
uint64_t df_fold_meta(struct df_fold *f, const char *key, uint64_t fallback);
void df_fold_set_meta(struct df_fold *f, const char *key, uint64_t value);

/* ---- walking everything (checkpoint, restamp, start) */
/* Calls fn for each stored or cached object; fn may change o. */
int df_fold_each(struct df_fold *f, int (*fn)(void *arg, struct df_obj *o),
		 void *arg);
/* Only objects with dirty registers or DF_OBJ_ORPHAN. */
int df_fold_each_flagged(struct df_fold *f,
			 int (*fn)(void *arg, struct df_obj *o), void *arg);

int df_fold_each_dir(struct df_fold *f, int (*fn)(void *arg, struct df_obj *o),
		     void *arg);

/* ---- writing */
struct df_flush; /* one transaction's worth, encoded */
size_t df_fold_dirty(const struct df_fold *f); /* entries to write */
/* So much that it should not wait: objects are a kilobyte of memory each, which
 * trimming cannot take back, and names a quarter of that. */
bool df_fold_many(const struct df_fold *f);
/* Twice that: whoever changes something is to wait.  As many again may be
 * on their way into SQLite. */
bool df_fold_behind(const struct df_fold *f);
/* Encode all dirty entries (NULL: nothing to do).  Takes the writer until
 * df_fold_write of the same thread has ended. */
struct df_flush *df_fold_begin(struct df_fold *f);
/* Without the lock: run the transaction.  When one has failed, so do all after
 * it (and df_fold_checkpoint): what SQLite has stays a prefix, of which it knows
 * where the journal goes on. */
int df_fold_write(struct df_fold *f, struct df_flush *b);
/* Under the lock again: release pins; b is freed. */
void df_fold_end(struct df_fold *f, struct df_flush *b, int err);
/* Everything, under the lock (start, stop, tests). */
int df_fold_flush(struct df_fold *f);
/* Journal records below this are in SQLite and on disk (after a WAL
 * checkpoint; no lock). */
int df_fold_checkpoint(struct df_fold *f);

#endif
