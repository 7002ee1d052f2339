/* commit.c - see commit.h. */
#include "cache/registers/commit.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/err.h"
#include "base/mem.h"

#define BODY_VERSION 1

enum { BODY_PACK = 1, BODY_PIECES = 2, BODY_ZSTD = 4 };

static void put_pieces(struct df_buf *b, const struct df_piece *p, size_t n)
{
	df_buf_put_var(b, n);
	for (size_t i = 0; i < n; i++) {
		df_buf_put(b, p[i].pack.b, DF_ID_LEN);
		df_buf_put_var(b, p[i].off);
		df_buf_put_var(b, p[i].clen);
		df_buf_put_var(b, p[i].rlen);
		df_buf_put_u32(b, p[i].check);
	}
}

int df_body_write(struct df_buf *out, const void *pack, size_t pack_len,
		  const struct df_piece *pieces, size_t n_pieces,
		  const void *regs, size_t regs_len)
{
	size_t bound = ZSTD_compressBound(regs_len);
	DF_FREE uint8_t *zipped = NULL;
	size_t zipped_len = 0;

	if (!n_pieces) {
		zipped = malloc(bound);
		if (!zipped)
			return -ENOMEM;
		zipped_len = ZSTD_compress(zipped, bound, regs, regs_len, 1);
		if (ZSTD_isError(zipped_len) || zipped_len >= regs_len)
			zipped_len = 0;
	}
	df_buf_put_u8(out, BODY_VERSION);
	df_buf_put_u8(out, (uint8_t)((pack ? BODY_PACK : 0) |
				     (n_pieces ? BODY_PIECES : 0) |
				     (zipped_len ? BODY_ZSTD : 0)));
	if (pack)
		df_buf_put_bytes(out, pack, pack_len);
	df_buf_put_var(out, regs_len);
	if (n_pieces)
		put_pieces(out, pieces, n_pieces);
	else if (zipped_len)
		df_buf_put(out, zipped, zipped_len);
	else
		df_buf_put(out, regs, regs_len);
	return out->err;
}

static void get_pieces(struct df_rd *r, struct df_body *b)
{
	size_t sum = 0;

	b->n_pieces = df_rd_var_max(r, df_rd_left(r) / 23);
	b->pieces = df_xalloc((b->n_pieces + 1) * sizeof(*b->pieces));
	for (size_t i = 0; i < b->n_pieces; i++) {
		struct df_piece *p = &b->pieces[i];
		df_rd_copy(r, p->pack.b, DF_ID_LEN);
		p->off = (uint32_t)df_rd_var_max(r, 64 << 20);
		p->clen = (uint32_t)df_rd_var_max(r, DF_PIECE_RAW_MAX +
							     DF_PIECE_HEAD);
		p->rlen = (uint32_t)df_rd_var_max(r, DF_PIECE_RAW_MAX);
		p->check = df_rd_u32(r);
		sum += p->rlen;
		if (p->clen <= DF_PIECE_HEAD)
			r->bad = true;
	}
	if (sum != b->raw_len)
		r->bad = true;
}

int df_body_read(const void *data, size_t len, struct df_body *out)
{
	struct df_rd r = df_rd(data, len);
	uint8_t version = df_rd_u8(&r), flags = df_rd_u8(&r);

	*out = (struct df_body){ 0 };
	if (version > BODY_VERSION)
		return DF_EFORMAT;
	if (version != BODY_VERSION || flags > 7)
		return DF_ECORRUPT;
	if (flags & BODY_PACK) {
		uint8_t sum[DF_SHA_LEN];
		out->pack = df_rd_bytes(&r, len, &out->pack_len);
		if (r.bad)
			return DF_ECORRUPT;
		df_sha256(out->pack, out->pack_len, sum);
		memcpy(out->pack_id.b, sum, DF_ID_LEN);
	}
	out->raw_len = df_rd_var_max(&r, DF_REGISTERS_MAX);
	if (flags & BODY_PIECES)
		get_pieces(&r, out);
	out->packed = flags & BODY_ZSTD;
	out->regs = r.at;
	out->regs_len = df_rd_left(&r);
	if (!r.bad)
		return 0;
	df_body_release(out);
	return DF_ECORRUPT;
}

void df_body_release(struct df_body *b)
{
	free(b->pieces);
	*b = (struct df_body){ 0 };
}

int df_body_registers(const struct df_body *b, struct df_buf *out)
{
	if (!b->packed) {
		if (b->regs_len != b->raw_len)
			return DF_ECORRUPT;
		df_buf_put(out, b->regs, b->regs_len);
		return out->err;
	}
	void *at = df_buf_extend(out, b->raw_len);
	if (!at)
		return out->err ? out->err : DF_ECORRUPT;
	size_t n = ZSTD_decompress(at, b->raw_len, b->regs, b->regs_len);
	return ZSTD_isError(n) || n != b->raw_len ? DF_ECORRUPT : 0;
}

static df_nid any_nid(void *arg, const struct df_id *id)
{
	(void)arg;
	(void)id;
	return DF_ROOT_NID;
}

int df_registers_check(const void *data, size_t len, uint64_t *max_time)
{
	struct df_rd r = df_rd(data, len);
	struct df_coder c;
	uint64_t n = df_rd_var_max(&r, len);

	df_coder_init(&c, false);
	c.nid_of = any_nid;
	for (uint64_t i = 0; i < n && !r.bad; i++)
		df_obj_free(df_decode_object(&c, &r), NULL);
	bool bad = r.bad || df_rd_left(&r);
	*max_time = c.max_time;
	df_coder_release(&c);
	return bad ? DF_ECORRUPT : 0;
}
