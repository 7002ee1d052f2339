/*
 * extent.h - which bytes of a file are where; what is in no extent is a hole.
 *
 * An extent's bytes may be in a local segment (loc), in the table (piece, from
 * `skip` raw bytes into it), or both.  Without a piece they exist only here:
 * such bytes count as dirty in their segment, and the map keeps that count
 * right (df_seg_dirty) whenever extents come and go, if it has a store.
 *
 * A map is a sorted array in chunks, so that a random write into a map of
 * 300,000 extents moves kilobytes.  Not thread-safe: the volume's lock.
 */
#ifndef DF_CACHE_EXTENT_H
#define DF_CACHE_EXTENT_H

#include "cache/bytes/pack.h"
#include "cache/bytes/seg.h"

struct df_ext {
	uint64_t off;          /* in the file */
	uint32_t len;          /* bytes, > 0 */
	uint32_t skip;         /* raw bytes of the piece before these */
	struct df_loc loc;     /* first byte of these; seg 0 = not local */
	struct df_piece piece; /* clen 0 = not in the table */
};

static inline bool df_ext_remote(const struct df_ext *e)
{
	return e->piece.clen != 0;
}

struct df_chunk {
	struct df_ext *v;
	uint32_t n, size;
};

struct df_extmap {
	struct df_chunk *c;
	uint32_t n_chunks;
	uint32_t n;     /* extents */
	uint64_t bytes; /* in them */
};

/* In all of these segs may be NULL: then nothing is counted. */
void df_extmap_release(struct df_extmap *m, struct df_segs *segs);
/* A copy counts its dirty bytes again. */
struct df_extmap df_extmap_copy(const struct df_extmap *m,
				struct df_segs *segs);
/* Make [off, off + len) a hole. */
void df_extmap_punch(struct df_extmap *m, uint64_t off, uint64_t len,
		     struct df_segs *segs);
/* Put e over whatever is there. */
void df_extmap_put(struct df_extmap *m, const struct df_ext *e,
		   struct df_segs *segs);
/* Copy [off, off + len) of src to dst at dst_off (over what is there, holes
 * included). */
void df_extmap_splice(struct df_extmap *dst, uint64_t dst_off,
		      const struct df_extmap *src, uint64_t off, uint64_t len,
		      struct df_segs *segs);

/* Walk: position of the first extent that ends after off. */
struct df_extpos {
	uint32_t chunk, i;
};
struct df_extpos df_extmap_find(const struct df_extmap *m, uint64_t off);
/* The extent at p, or NULL at the end. */
struct df_ext *df_extmap_at(const struct df_extmap *m, struct df_extpos p);
struct df_extpos df_extmap_next(const struct df_extmap *m, struct df_extpos p);
/* Same bytes as far as can be told: same offsets, lengths and pieces. */
bool df_extmap_same(const struct df_extmap *a, const struct df_extmap *b);

/* The table has e's bytes now: no longer dirty. */
void df_ext_uploaded(struct df_ext *e, const struct df_piece *piece,
		     uint32_t skip, struct df_segs *segs);
/* Local extents of mine that `sent` knows in the table become remote; they are
 * split where its pieces end.  by_loc: only bytes in the same local place count
 * as the same (sent is an older text, nothing local is ever overwritten). */
void df_extmap_learn(struct df_extmap *mine, const struct df_extmap *sent,
		     bool by_loc, struct df_segs *segs);

#endif
