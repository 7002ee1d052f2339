/*
 * content.h - versions of a file's content and what they show (merge-rules 4,
 * 7, B).
 *
 * A version is complete by itself.  Its text is one extent map over the whole
 * file: the prefix, then the pieces in (time, identity) order, each of its own
 * length.  Heads of one root that only appended merge into one text.
 *
 * Not thread-safe: the volume's lock.
 */
#ifndef DF_CACHE_CONTENT_H
#define DF_CACHE_CONTENT_H

#include "cache/registers/extent.h"
#include "cache/registers/stamp.h"

#define DF_SUM_MAX (UINT64_C(16) << 20) /* versions up to this carry sum */
#define DF_PIECES_KEEP 64
#define DF_PIECES_MAX 1024
#define DF_PIECES_UNCUT 512 /* of one file between two cuts */

/* An appended piece: at `time` by `node`.  (time, ident) is its identity and
 * survives restamping; ident is a hash of its bytes and its writer, or of the
 * identities that were joined in it. */
struct df_append {
	uint64_t time;
	uint64_t node;
	uint64_t ident;
	uint64_t len; /* bytes */
	bool restamped;
};

/* Identity of an absorbed restamped piece. */
struct df_pid {
	uint64_t time;
	uint64_t ident;
};

enum df_ver_flags {
	DF_VER_SUM = 1,      /* sum is the SHA-256 of the whole text */
	DF_VER_OPEN = 2,     /* root_sum is set at the cut (local only) */
	DF_VER_UNLOADED = 8, /* ext is empty until the pages are fetched */
};

/* Extent maps of more than DF_EXTENTS_INLINE extents travel as pages: the
 * extents of one region, encoded (codec.h) and stored like bytes. */
#define DF_EXTENTS_INLINE 64
#define DF_REGION (UINT64_C(64) << 20)
struct df_page {
	uint64_t region; /* file offset / DF_REGION */
	struct df_piece piece;
};

struct df_ver {
	struct df_stamp dot;
	struct df_vv vv;
	struct df_stamp root;
	struct df_id root_sum; /* first half of the SHA-256 at the root */
	uint64_t size;         /* bytes of the text */
	int64_t mtime_ns;
	uint32_t moved;
	uint64_t own_base; /* local: our dot that others may know, when the
			    * changes since began (the files view's row) */
	uint32_t flags;
	uint8_t sum[DF_SHA_LEN];
	struct df_extmap ext;
	struct df_page *pages; /* owned; sorted; of regions unchanged since */
	uint32_t n_pages;
	uint64_t paged_bytes; /* UNLOADED: ext.bytes, as its writer had it */
	struct df_append *pieces; /* owned; sorted by (time, ident) */
	uint32_t n_pieces;
	struct df_vv pvv;   /* dots of absorbed pieces */
	struct df_pid *pid; /* owned; absorbed pieces that had been
				   * restamped: pvv cannot name them */
	uint32_t n_pid;
};

struct df_ver *df_ver_new(void);
void df_ver_free(struct df_ver *v, struct df_segs *segs);
struct df_ver *df_ver_copy(const struct df_ver *v, struct df_segs *segs);
/* [off, off + len) of ext changes: forget the pages that held it. */
void df_ver_touch(struct df_ver *v, uint64_t off, uint64_t len);
/* Bytes that are no holes. */
uint64_t df_ver_bytes(const struct df_ver *v);
/* Bytes before the pieces. */
uint64_t df_ver_prefix(const struct df_ver *v);
int df_append_cmp(const struct df_append *a, const struct df_append *b);

/* A set of versions no one of which another covers. */
struct df_heads {
	struct df_ver **v; /* owned, newest dot first */
	uint32_t n;
};

void df_heads_release(struct df_heads *h, struct df_segs *segs);
/* Join one version in (takes it); true if the set changed. */
bool df_heads_join(struct df_heads *h, struct df_ver *v, struct df_segs *segs);
/* Dots were changed: newest first again. */
void df_heads_sort(struct df_heads *h);
/* Join of all vectors. */
struct df_vv df_heads_vv(const struct df_heads *h);

/* One text that the heads show: dot of its newest version, the merged version
 * (dot, root, size, mtime, ext, pieces, pvv, pid; vv empty).  When it is put
 * together from maps that are still in pages, it is UNLOADED without pages:
 * load all heads and look again; its ext is to be used by nobody. */
struct df_text {
	struct df_stamp dot;
	struct df_ver *m; /* owned */
	uint32_t base;    /* whose prefix it has: an index into the set */
	uint32_t *heads;  /* owned; indexes into the set */
	uint32_t n_heads;
};
struct df_texts {
	struct df_text *v; /* owned; newest dot first; v[0] is the object's */
	uint32_t n;
};
void df_texts_init(struct df_texts *t, const struct df_heads *h,
		   struct df_segs *segs);
void df_texts_release(struct df_texts *t, struct df_segs *segs);
/* Equal texts (merge-rules A, "Equal text is no conflict"). */
bool df_ver_equal(const struct df_ver *a, const struct df_ver *b);

/* The identity of a piece that has grown by one with identity `by`. */
uint64_t df_append_mix(uint64_t ident, uint64_t by);
/* How many of the last pieces are node's, newer than `since` and never
 * restamped: as far as that goes nobody else can know them. */
uint32_t df_ver_uncut(const struct df_ver *v, uint64_t node, uint64_t since);
/* At a cut: those become one piece.  A twin that forked off in between and
 * noticed it has restamped them, and joins nothing; one that did not has joined
 * others, which shows bytes twice and loses none. */
void df_ver_join_pieces(struct df_ver *v, uint64_t node, uint64_t since);
/* After a crash: pieces of v that `sent`, an older version, had joined. */
void df_ver_join_as(struct df_ver *v, const struct df_ver *sent);

/* Move the oldest pieces into the prefix (rule 7): those acknowledged before
 * stable_time, when there are more than DF_PIECES_KEEP. */
void df_ver_absorb(struct df_ver *v, uint64_t stable_time);

#endif
