/*
 * pack.h - packs: immutable remote blobs of pieces.
 *
 * A pack is a sequence of pieces; a piece is a header (magic, method, raw
 * length, stored length, SHA-256 of the raw bytes) and the stored bytes (zstd
 * frame, or raw where that is no smaller).  A pack's id is the first 128 bits
 * of the SHA-256 of all its bytes.  Pieces are self-contained: one ranged read
 * fetches one, and neighbours can be parsed from the bytes around it.
 * Formats: docs/formats.md.
 *
 * Threads: a df_packer belongs to one thread; the functions are pure.
 */
#ifndef DF_CACHE_PACK_H
#define DF_CACHE_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hash.h"

#define DF_PIECE_RAW_MAX (1 << 20) /* most raw bytes of a piece */
#define DF_PIECE_RAW (256 << 10)   /* large files are cut into these */
#define DF_PIECE_HEAD 44           /* bytes; see docs/formats.md */

/* Where a piece is in the table, and what it must be. */
struct df_piece {
	struct df_id pack;
	uint32_t off;   /* of the piece header in the pack */
	uint32_t clen;  /* header and stored bytes */
	uint32_t rlen;  /* raw bytes */
	uint32_t check; /* first 4 bytes of the raw SHA-256, little-endian */
};

struct df_packer;
/* level: zstd's; 0 = default 1 */
struct df_packer *df_packer_new(int level);
void df_packer_free(struct df_packer *p);
/* Append a piece; *piece is filled but for the pack id, which finish knows. */
int df_packer_add(struct df_packer *p, const void *raw, size_t len,
		  struct df_piece *piece);
/* The raw SHA-256 of a piece that is still in the open pack. */
const uint8_t *df_packer_sum(const struct df_packer *p,
			     const struct df_piece *piece);
size_t df_packer_len(const struct df_packer *p);
/* End this pack: its id and bytes (caller frees); the packer starts anew. */
int df_packer_finish(struct df_packer *p, struct df_id *id, uint8_t **data,
		     size_t *len);

/* Decode the piece at `in` (len bytes available): raw bytes to out, *used =
 * its clen.  DF_ECORRUPT: not a piece, over-long, or the wrong SHA-256.
 * want may be NULL; else rlen and check must match. */
int df_piece_decode(const void *in, size_t len, const struct df_piece *want,
		    struct df_buf *out, size_t *used);
/* Header only: lengths, for walking a pack; 0 or DF_ECORRUPT. */
int df_piece_head(const void *in, size_t len, uint32_t *clen, uint32_t *rlen);

#endif
