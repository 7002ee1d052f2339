/*
 * segfmt.h - the bytes of segment files: head, frames, footer.
 *
 * docs/formats.md, "Local bytes" and "Journal frames", shows the layouts.
 * Pure functions over memory; input is hostile: every length is checked
 * against a limit before it is used, and a checksum covers every field.
 *
 * Sums of heads are XORed with the segment's salt, which is random and in no
 * other file: bytes that a user stores can therefore never look like a frame
 * to the scan that looks for the next whole one behind a hole.
 */
#ifndef DF_CACHE_SEGFMT_H
#define DF_CACHE_SEGFMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

#define DF_SEG_VERSION 1
#define DF_SEG_PAGE 4096      /* alignment of large data; size of the head */
#define DF_SEG_HEAD_LEN 64    /* one copy of the head */
#define DF_SEG_HEAD_COPY 2048 /* offset of the second copy */
#define DF_FRAME_LEN 48
#define DF_TRAILER_LEN 64
#define DF_SEG_BLOCK 65536         /* data bytes under one checksum */
#define DF_SEG_REC_MAX (16U << 20) /* most bytes of a record */
#define DF_SEG_DATA_MAX (4U << 20) /* most bytes of data in a frame */
#define DF_SEG_SUMS_MAX (DF_SEG_DATA_MAX / DF_SEG_BLOCK)
#define DF_SEG_SIZE_MAX (128U << 20) /* no segment file is larger */
#define DF_PIECE_REC_LEN 20          /* record of a piece: pack id, offset */

/* The first page of a segment. */
struct df_seg_head {
	uint32_t no;
	uint8_t stream;    /* enum df_stream */
	uint32_t prev;     /* the journal segment before this one; 0 = none */
	uint64_t base_seq; /* highest seq in the journal before this segment */
	uint64_t salt;
};

/* A frame's header.  After it: record, block sums (data over 64 KiB), data. */
struct df_frame {
	uint8_t type;
	bool aligned; /* data starts at the next multiple of DF_SEG_PAGE */
	uint32_t rec_len;
	uint32_t data_len;
	uint64_t seq;
	uint64_t rec_sum;
	uint64_t data_sum; /* of data, or of the block sums */
};

/* One frame with data, as listed by a footer (and by a table in memory). */
struct df_seg_entry {
	uint32_t frame_off;
	uint32_t data_off;
	uint32_t data_len;
	uint32_t piece_off; /* fetch stream: off in pack */
	struct df_id pack;  /* fetch stream */
};
#define DF_ENTRY_LEN 12
#define DF_ENTRY_PIECE_LEN 32

/* The last bytes of a sealed segment. */
struct df_seg_trailer {
	uint32_t no;
	uint32_t frames_end; /* end of the last frame */
	uint32_t list_off;   /* where the entries start */
	uint32_t n;          /* entries */
	uint32_t entry_len;
	uint64_t last_seq; /* highest seq up to here */
	uint64_t list_sum;
};

/* page is DF_SEG_PAGE bytes. */
void df_seg_head_encode(const struct df_seg_head *h, uint8_t *page);
/* 0, DF_ECORRUPT, or DF_EFORMAT with *version set. */
int df_seg_head_decode(const uint8_t *page, size_t len, struct df_seg_head *h,
		       uint32_t *version);

void df_frame_encode(const struct df_frame *f, uint64_t salt,
		     uint8_t out[DF_FRAME_LEN]);
/* 0 or DF_ECORRUPT.  The record's and data's sums are not checked here. */
int df_frame_decode(const uint8_t *in, size_t len, uint64_t salt,
		    struct df_frame *f);
/* Could a frame start with these 16 bytes?  For the scan behind a hole. */
bool df_frame_maybe(const uint8_t *in);

/* Number of block sums that follow the record. */
uint32_t df_frame_sums(uint32_t data_len);
/* Where data starts and ends for a frame at off; both fit 32 bits for frames
 * within the limits in a segment within DF_SEG_SIZE_MAX. */
uint32_t df_frame_data_off(const struct df_frame *f, uint32_t off);
uint32_t df_frame_end(const struct df_frame *f, uint32_t off);
/* Frames start at multiples of 8. */
static inline uint32_t df_frame_align(uint32_t off)
{
	return (off + 7) & ~UINT32_C(7);
}
static inline uint32_t df_seg_page_align(uint32_t off)
{
	return (off + DF_SEG_PAGE - 1) & ~(uint32_t)(DF_SEG_PAGE - 1);
}

/* Sums of data: fills sums[df_frame_sums(len)] (little-endian bytes) and
 * returns what data_sum must be. */
uint64_t df_data_sum(const void *data, uint32_t len, uint8_t *sums);

void df_trailer_encode(const struct df_seg_trailer *t, uint64_t salt,
		       uint8_t out[DF_TRAILER_LEN]);
/* file_size bounds the offsets.  0 or DF_ECORRUPT (also: not a trailer). */
int df_trailer_decode(const uint8_t *in, uint64_t salt, uint32_t no,
		      uint64_t file_size, struct df_seg_trailer *t);

uint32_t df_entry_len(uint8_t stream);
void df_entry_encode(const struct df_seg_entry *e, uint32_t entry_len,
		     uint8_t *out);
/* 0 or DF_ECORRUPT: outside of head..frames_end. */
int df_entry_decode(const uint8_t *in, uint32_t entry_len, uint32_t frames_end,
		    struct df_seg_entry *e);

/* The record of a piece's frame. */
void df_piece_rec_encode(const struct df_id *pack, uint32_t off,
			 uint8_t out[DF_PIECE_REC_LEN]);
void df_piece_rec_decode(const uint8_t *in, struct df_id *pack, uint32_t *off);

/* Two sums match.  Always true in fuzzing builds, where the checksums would
 * keep the fuzzer out of everything behind them. */
static inline bool df_sum_ok(uint64_t have, uint64_t want)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	(void)have;
	(void)want;
	return true;
#else
	return have == want;
#endif
}

static inline void df_le_put32(uint8_t *p, uint32_t x)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(x >> (8 * i));
}
static inline void df_le_put64(uint8_t *p, uint64_t x)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(x >> (8 * i));
}
static inline uint32_t df_le_get32(const uint8_t *p)
{
	uint32_t x = 0;
	for (int i = 0; i < 4; i++)
		x |= (uint32_t)p[i] << (8 * i);
	return x;
}
static inline uint64_t df_le_get64(const uint8_t *p)
{
	uint64_t x = 0;
	for (int i = 0; i < 8; i++)
		x |= (uint64_t)p[i] << (8 * i);
	return x;
}

#endif
