/* segfmt.c - see segfmt.h; layouts: docs/formats.md. */
#include "cache/bytes/segfmt.h"

#include <string.h>

#include "base/err.h"
#include "cache/bytes/seg.h"

#define FRAME_MAGIC UINT32_C(0x4d524644)   /* "DFRM" */
#define TRAILER_MAGIC UINT32_C(0x444e4644) /* "DFND" */
#define FRAME_ALIGNED 1

static const uint8_t head_magic[8] = "DFSEG\r\n\x1a";

void df_seg_head_encode(const struct df_seg_head *h, uint8_t *page)
{
	memset(page, 0, DF_SEG_PAGE);
	memcpy(page, head_magic, sizeof(head_magic));
	df_le_put32(page + 8, DF_SEG_VERSION);
	df_le_put32(page + 12, h->no);
	page[16] = h->stream;
	df_le_put32(page + 20, h->prev);
	df_le_put64(page + 24, h->base_seq);
	df_le_put64(page + 32, h->salt);
	df_le_put64(page + 56, df_xxh3(page, 56));
	memcpy(page + DF_SEG_HEAD_COPY, page, DF_SEG_HEAD_LEN);
}

static int head_decode_copy(const uint8_t *p, struct df_seg_head *h,
			    uint32_t *version)
{
	if (memcmp(p, head_magic, sizeof(head_magic)) != 0 ||
	    !df_sum_ok(df_xxh3(p, 56), df_le_get64(p + 56)))
		return DF_ECORRUPT;
	*version = df_le_get32(p + 8);
	if (*version > DF_SEG_VERSION)
		return DF_EFORMAT;
	*h = (struct df_seg_head){
		.no = df_le_get32(p + 12),
		.stream = p[16],
		.prev = df_le_get32(p + 20),
		.base_seq = df_le_get64(p + 24),
		.salt = df_le_get64(p + 32),
	};
	if (!*version || !h->no || h->stream >= DF_STREAMS)
		return DF_ECORRUPT;
	return 0;
}

int df_seg_head_decode(const uint8_t *page, size_t len, struct df_seg_head *h,
		       uint32_t *version)
{
	int err = DF_ECORRUPT;

	*version = 0;
	if (len >= DF_SEG_HEAD_LEN)
		err = head_decode_copy(page, h, version);
	if (err == DF_ECORRUPT && len >= DF_SEG_HEAD_COPY + DF_SEG_HEAD_LEN)
		err = head_decode_copy(page + DF_SEG_HEAD_COPY, h, version);
	return err;
}

void df_frame_encode(const struct df_frame *f, uint64_t salt,
		     uint8_t out[DF_FRAME_LEN])
{
	df_le_put32(out + 8, FRAME_MAGIC);
	out[12] = f->type;
	out[13] = f->aligned ? FRAME_ALIGNED : 0;
	out[14] = out[15] = 0;
	df_le_put32(out + 16, f->rec_len);
	df_le_put32(out + 20, f->data_len);
	df_le_put64(out + 24, f->seq);
	df_le_put64(out + 32, f->rec_sum);
	df_le_put64(out + 40, f->data_sum);
	df_le_put64(out, df_xxh3(out + 8, DF_FRAME_LEN - 8) ^ salt);
}

bool df_frame_maybe(const uint8_t *in)
{
	return df_le_get32(in + 8) == FRAME_MAGIC;
}

int df_frame_decode(const uint8_t *in, size_t len, uint64_t salt,
		    struct df_frame *f)
{
	if (len < DF_FRAME_LEN || !df_frame_maybe(in))
		return DF_ECORRUPT;
	if (!df_sum_ok(df_xxh3(in + 8, DF_FRAME_LEN - 8) ^ salt,
		       df_le_get64(in)))
		return DF_ECORRUPT;
	*f = (struct df_frame){
		.type = in[12],
		.aligned = in[13] & FRAME_ALIGNED,
		.rec_len = df_le_get32(in + 16),
		.data_len = df_le_get32(in + 20),
		.seq = df_le_get64(in + 24),
		.rec_sum = df_le_get64(in + 32),
		.data_sum = df_le_get64(in + 40),
	};
	if (in[13] & ~FRAME_ALIGNED || in[14] || in[15] ||
	    f->rec_len > DF_SEG_REC_MAX || f->data_len > DF_SEG_DATA_MAX)
		return DF_ECORRUPT;
	return 0;
}

uint32_t df_frame_sums(uint32_t data_len)
{
	if (data_len <= DF_SEG_BLOCK)
		return 0;
	return (data_len + DF_SEG_BLOCK - 1) / DF_SEG_BLOCK;
}

uint32_t df_frame_data_off(const struct df_frame *f, uint32_t off)
{
	uint32_t at = off + DF_FRAME_LEN + f->rec_len +
		      8 * df_frame_sums(f->data_len);

	return f->aligned ? df_seg_page_align(at) : at;
}

uint32_t df_frame_end(const struct df_frame *f, uint32_t off)
{
	return df_frame_data_off(f, off) + f->data_len;
}

uint64_t df_data_sum(const void *data, uint32_t len, uint8_t *sums)
{
	const uint8_t *p = data;
	uint32_t n = df_frame_sums(len);

	if (!n)
		return len ? df_xxh3(data, len) : 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = i * DF_SEG_BLOCK;
		uint32_t part = DF_MIN(len - at, (uint32_t)DF_SEG_BLOCK);
		df_le_put64(sums + 8 * (size_t)i, df_xxh3(p + at, part));
	}
	return df_xxh3(sums, 8 * (size_t)n);
}

void df_trailer_encode(const struct df_seg_trailer *t, uint64_t salt,
		       uint8_t out[DF_TRAILER_LEN])
{
	memset(out, 0, DF_TRAILER_LEN);
	df_le_put32(out + 8, TRAILER_MAGIC);
	df_le_put32(out + 12, t->no);
	df_le_put32(out + 16, t->frames_end);
	df_le_put32(out + 20, t->list_off);
	df_le_put32(out + 24, t->n);
	df_le_put32(out + 28, t->entry_len);
	df_le_put64(out + 32, t->last_seq);
	df_le_put64(out + 40, t->list_sum);
	df_le_put64(out, df_xxh3(out + 8, DF_TRAILER_LEN - 8) ^ salt);
}

int df_trailer_decode(const uint8_t *in, uint64_t salt, uint32_t no,
		      uint64_t file_size, struct df_seg_trailer *t)
{
	if (df_le_get32(in + 8) != TRAILER_MAGIC ||
	    !df_sum_ok(df_xxh3(in + 8, DF_TRAILER_LEN - 8) ^ salt,
		       df_le_get64(in)))
		return DF_ECORRUPT;
	*t = (struct df_seg_trailer){
		.no = df_le_get32(in + 12),
		.frames_end = df_le_get32(in + 16),
		.list_off = df_le_get32(in + 20),
		.n = df_le_get32(in + 24),
		.entry_len = df_le_get32(in + 28),
		.last_seq = df_le_get64(in + 32),
		.list_sum = df_le_get64(in + 40),
	};
	uint64_t end = t->list_off + (uint64_t)t->n * t->entry_len;
	if (t->no != no || t->frames_end < DF_SEG_PAGE ||
	    t->frames_end > t->list_off || end + DF_TRAILER_LEN != file_size)
		return DF_ECORRUPT;
	return 0;
}

uint32_t df_entry_len(uint8_t stream)
{
	return stream == DF_STREAM_FETCH ? DF_ENTRY_PIECE_LEN : DF_ENTRY_LEN;
}

void df_entry_encode(const struct df_seg_entry *e, uint32_t entry_len,
		     uint8_t *out)
{
	df_le_put32(out, e->frame_off);
	df_le_put32(out + 4, e->data_off);
	df_le_put32(out + 8, e->data_len);
	if (entry_len == DF_ENTRY_PIECE_LEN)
		df_piece_rec_encode(&e->pack, e->piece_off, out + 12);
}

int df_entry_decode(const uint8_t *in, uint32_t entry_len, uint32_t frames_end,
		    struct df_seg_entry *e)
{
	*e = (struct df_seg_entry){
		.frame_off = df_le_get32(in),
		.data_off = df_le_get32(in + 4),
		.data_len = df_le_get32(in + 8),
	};
	if (entry_len == DF_ENTRY_PIECE_LEN)
		df_piece_rec_decode(in + 12, &e->pack, &e->piece_off);
	if (e->frame_off < DF_SEG_PAGE || e->frame_off % 8 ||
	    e->data_off < e->frame_off ||
	    e->data_off - e->frame_off < DF_FRAME_LEN ||
	    e->data_off > frames_end || !e->data_len ||
	    e->data_len > DF_SEG_DATA_MAX ||
	    e->data_len > frames_end - e->data_off)
		return DF_ECORRUPT;
	return 0;
}

void df_piece_rec_encode(const struct df_id *pack, uint32_t off,
			 uint8_t out[DF_PIECE_REC_LEN])
{
	memcpy(out, pack->b, DF_ID_LEN);
	df_le_put32(out + DF_ID_LEN, off);
}

void df_piece_rec_decode(const uint8_t *in, struct df_id *pack, uint32_t *off)
{
	memcpy(pack->b, in, DF_ID_LEN);
	*off = df_le_get32(in + DF_ID_LEN);
}
