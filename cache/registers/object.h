/*
 * object.h - one object of the volume: all its registers, and what they say
 * about it alone (merge-rules A).
 *
 * Every register knows two things besides its value: whether it is still to be
 * sent (dirty, until a row with this stamp is noted in the journal) and whether
 * others may know it (pub: a cut ever contained it).
 * Parents are named by node number; a directory that something names and
 * nobody here knows has a row (and a nid) without registers.
 *
 * Not thread-safe: the volume's lock.
 */
#ifndef DF_CACHE_OBJECT_H
#define DF_CACHE_OBJECT_H

#include "cache/registers/content.h"
#include "cache/registers/limits.h"

enum df_attr_field {
	DF_A_TYPE = 0, /* S_IFMT and rdev */
	DF_A_MODE,     /* 07777 */
	DF_A_UID,
	DF_A_GID,
	DF_A_BTIME,  /* ns */
	DF_A_MTIME,  /* ns: utimensat, and times(directory) */
	DF_A_TARGET, /* symlink */
	DF_A_FIELDS,
};

struct df_attrs {
	struct df_stamp st[DF_A_FIELDS]; /* time 0: register absent */
	uint32_t type;
	uint32_t rdev;
	uint32_t mode;
	uint32_t uid, gid;
	int64_t btime_ns, mtime_ns;
	char *target;  /* owned; NULL: none */
	uint8_t dirty; /* bit a field */
	uint8_t pub;
};

struct df_link {
	df_nid parent;
	struct df_stamp st;
	bool there, dirty, pub;
	char *name; /* owned; bytes without NUL, NUL-terminated */
};

struct df_place {
	struct df_stamp st; /* time 0: register absent */
	bool there, dirty, pub;
	df_nid parent, from_parent;
	char *name, *from_name; /* owned */
};

struct df_xattr {
	struct df_stamp st;
	bool there, dirty, pub;
	char *name;     /* owned */
	uint8_t *value; /* owned */
	uint32_t len;
};

enum df_obj_flags {
	DF_OBJ_CONTENT_DIRTY = 1,
	DF_OBJ_CONTENT_PUB = 2,
	DF_OBJ_GONE_DIRTY = 4,
	DF_OBJ_GONE_PUB = 8,
	DF_OBJ_FOLD_DIRTY = 16, /* differs from its SQLite row; not stored */
	DF_OBJ_ORPHAN = 32,     /* no name shows it */
	DF_OBJ_HELD = 64,       /* too big for this cut (E6); not stored */
	DF_OBJ_WHOLE = 128,     /* written otherwise than by appends since the
				  * last cut: further appends are no pieces */
	DF_OBJ_LOST = 256,      /* lost bytes: next fsync fails once */
	DF_OBJ_UNKNOWN_DIR =
		512,        /* named as a parent, no place known: shown, if
				   * at all, in the root as lost-<id> */
	DF_OBJ_DEAD = 1024, /* forgotten; its row is to be deleted */
};

struct df_name;

struct df_obj {
	df_nid nid;
	struct df_id id;
	uint32_t flags;
	uint64_t jseq; /* newest journal record applied to it */
	struct df_attrs a;
	int64_t ctime_ns;      /* joined by maximum */
	int64_t atime_ns;      /* local; 0 = as mtime */
	struct df_link *links; /* owned; files; by (parent, name) */
	uint32_t n_links;
	struct df_place place; /* directories */
	struct df_heads heads;
	struct df_vv gone;
	struct df_xattr *xattrs; /* owned */
	uint32_t n_xattrs;
	/* derived, directories (tree.c keeps them) */
	uint32_t n_subdirs; /* shown directories in it */
	uint64_t n_live;    /* effective entries in it */
	df_nid e_parent;    /* effective place if taken back (rule 8) */
	char *e_name;       /* owned; NULL: place's own */
	/* object cache (fold.c) */
	struct df_name *dirty_names; /* entries in it that SQLite lacks */
	uint32_t n_dirty_names;
	uint32_t flushing; /* df_flush that hold it */
	struct df_obj *next_nid, *next_id;
	struct df_obj *lru_prev, *lru_next;
	uint64_t ino;     /* st_ino, 0 = not worked out yet */
	df_nid held_with; /* must not leave before this held file */
	int64_t held_ns;  /* monotonic, since when it is held; 0 = not */
	uint32_t mem;     /* bytes it was last accounted with */
};

struct df_obj *df_obj_new(const struct df_id *id);
void df_obj_free(struct df_obj *o, struct df_segs *segs);
uint32_t df_obj_mem(const struct df_obj *o);

static inline bool df_obj_is_dir(const struct df_obj *o)
{
	return o->place.name != NULL || o->nid == DF_ROOT_NID;
}

/* Is nothing known of it? */
bool df_obj_blank(const struct df_obj *o);

/* ---- joins.  Return true if the register changed.  dirty: mark the register
 * as changed since the last cut (a local write), else as published. */
bool df_obj_join_link(struct df_obj *o, df_nid parent, const char *name,
		      struct df_stamp st, bool there, bool dirty);
/* All links of an object that has none, in any order; takes l and its names. */
void df_obj_set_links(struct df_obj *o, struct df_link *l, uint32_t n);
bool df_obj_join_place(struct df_obj *o, const struct df_place *p, bool dirty);
bool df_obj_join_version(struct df_obj *o, struct df_ver *v, bool dirty,
			 struct df_segs *segs); /* takes v */
bool df_obj_join_gone(struct df_obj *o, const struct df_vv *vv, bool dirty);
/* from's fields in mask */
bool df_obj_join_attrs(struct df_obj *o, const struct df_attrs *from,
		       unsigned mask, bool dirty);
bool df_obj_join_xattr(struct df_obj *o, const char *name, struct df_stamp st,
		       bool there, const void *value, uint32_t len, bool dirty);

struct df_link *df_obj_link(const struct df_obj *o, df_nid parent,
			    const char *name);
struct df_xattr *df_obj_xattr(const struct df_obj *o, const char *name);

/* Is a head not covered by gone? */
bool df_obj_revived(const struct df_obj *o);
/* Who knows the ids of parents. */
struct df_dirids {
	struct df_id (*id_of)(void *arg, df_nid nid);
	void *arg;
};
/* The newer of two links of one object, the same everywhere: by stamp, then by
 * the parent's id, then by name.  (One operation can write several with one
 * stamp.) */
int df_link_cmp(const struct df_link *a, const struct df_link *b,
		struct df_dirids ids);
/* The names that count: those that are there; if none and a head is not
 * covered by gone, the one removed last (revived).  Indexes into links; n. */
struct df_eff {
	uint32_t n;
	bool revived;
	uint32_t *i; /* owned if n > 1, else points to one */
	uint32_t one;
};
void df_obj_eff(const struct df_obj *o, struct df_dirids ids, struct df_eff *e);
void df_eff_release(struct df_eff *e);

/* Somebody names o as a directory; give it a place if it has none. */
void df_obj_be_dir(struct df_obj *o);
/* Anything to send? */
bool df_obj_dirty(const struct df_obj *o);
/* Was any register in a cut? */
bool df_obj_published(const struct df_obj *o);
/* A cut takes its dirty registers: others may know them from now on. */
void df_obj_mark_cut(struct df_obj *o);
/* A cut took these (replay): as df_obj_mark_cut then, whatever came since. */
void df_obj_mark_told(struct df_obj *o, const struct df_obj *sent);
/* A row with these registers is noted: what has not changed since is clean, and
 * its bytes are where the row says. */
void df_obj_mark_noted(struct df_obj *o, const struct df_obj *sent,
		       struct df_segs *segs);
/* A copy that holds only the dirty registers, for a cut. */
struct df_obj *df_obj_copy_dirty(const struct df_obj *o, struct df_segs *segs);
/* Forget registers that nobody else can know and that show nothing. */
void df_obj_drop_unpublished(struct df_obj *o);

#endif
