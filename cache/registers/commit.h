/*
 * commit.h - the body of a commit row (docs/formats.md, "Commits").
 *
 * A body is a head, optionally a small pack that travels inside the row, and
 * the registers: inline, or in pieces of packs that the head names.
 * Not thread-safe; no locks.
 */
#ifndef DF_CACHE_COMMIT_H
#define DF_CACHE_COMMIT_H

#include "cache/registers/codec.h"

/* Base64 of both is less than the smallest statement that has to do, 128 KiB. */
#define DF_INLINE_PACK (32 << 10)
#define DF_INLINE_BODY (48 << 10)   /* of compressed registers */
#define DF_REGISTERS_MAX (64 << 20) /* unpacked; more is refused */

struct df_body {
	const uint8_t *pack; /* inline pack, in the body's bytes; or NULL */
	size_t pack_len;
	struct df_id pack_id;
	struct df_piece *pieces; /* owned: where the registers are */
	size_t n_pieces;
	const uint8_t *regs; /* or here (zstd if packed) */
	size_t regs_len;
	size_t raw_len; /* unpacked length of all registers */
	bool packed;
};

/* Registers: count, then objects in the wire form. */
void df_registers_begin(struct df_buf *b, size_t n_objects);

/* Write a body.  pack may be NULL; with pieces, regs is not written. */
int df_body_write(struct df_buf *out, const void *pack, size_t pack_len,
		  const struct df_piece *pieces, size_t n_pieces,
		  const void *regs, size_t regs_len);
/* Parse a body; points into data.  DF_ECORRUPT, DF_EFORMAT. */
int df_body_read(const void *data, size_t len, struct df_body *out);
void df_body_release(struct df_body *b);
/* Append the inline registers to out. */
int df_body_registers(const struct df_body *b, struct df_buf *out);
/* Would every object decode?  *max_time: greatest stamp.  0 or DF_ECORRUPT. */
int df_registers_check(const void *data, size_t len, uint64_t *max_time);

#endif
