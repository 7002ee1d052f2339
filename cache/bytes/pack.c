/* pack.c - see pack.h; layout: docs/formats.md, "Packs". */
#include "cache/bytes/pack.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/err.h"

#define PIECE_MAGIC "DP"
#define PIECE_VERSION 1
#define PACK_MAX ((size_t)64 << 20) /* a packer refuses to grow beyond */

enum piece_method {
	PIECE_RAW = 0,
	PIECE_ZSTD = 1, /* one frame with its content size */
};

struct head {
	uint8_t method;
	uint32_t rlen;   /* raw bytes, 1..DF_PIECE_RAW_MAX */
	uint32_t stored; /* bytes after the header */
	const uint8_t *sha;
};

struct df_packer {
	ZSTD_CCtx *zstd;
	struct df_sha *sha; /* of the whole pack so far */
	struct df_buf buf;
};

static void put_u32(uint8_t *p, uint32_t x)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(x >> (8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

struct df_packer *df_packer_new(int level)
{
	struct df_packer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	df_buf_init(&p->buf, PACK_MAX);
	p->zstd = ZSTD_createCCtx();
	p->sha = df_sha_new();
	if (!p->zstd || !p->sha ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(
		    p->zstd, ZSTD_c_compressionLevel, level ? level : 1))) {
		df_packer_free(p);
		return NULL;
	}
	return p;
}

void df_packer_free(struct df_packer *p)
{
	if (!p)
		return;
	ZSTD_freeCCtx(p->zstd);
	df_sha_free(p->sha);
	df_buf_release(&p->buf);
	free(p);
}

/*
 * Bytes of compressed or encrypted files are spread evenly: count how often
 * two of 8192 samples are equal (for even bytes 32 per value, sum of squares
 * n*n/256 + n) and save zstd the work.  Small pieces are not worth asking.
 */
static bool looks_random(const uint8_t *raw, size_t len)
{
	enum { RUN = 64, RUNS = 128, N = RUN * RUNS };
	uint32_t count[256] = { 0 };
	uint64_t sum = 0;

	if (len < 4 * N)
		return false;
	size_t step = (len - RUN) / (RUNS - 1);
	for (size_t i = 0; i < RUNS; i++)
		for (size_t k = 0; k < RUN; k++)
			count[raw[i * step + k]]++;
	for (int i = 0; i < 256; i++)
		sum += (uint64_t)count[i] * count[i];
	return sum < (uint64_t)N * N / 256 + N + N * N / 256 / 50;
}

/* Stored bytes of raw behind the header at p->buf's end; 0 on error. */
static size_t store(struct df_packer *p, const void *raw, size_t len,
		    uint8_t *method)
{
	size_t bound = ZSTD_compressBound(len);

	if (df_buf_reserve(&p->buf, bound))
		return 0;
	uint8_t *at = p->buf.data + p->buf.len;
	size_t n = len;
	if (!looks_random(raw, len))
		n = ZSTD_compress2(p->zstd, at, bound, raw, len);
	*method = PIECE_ZSTD;
	if (ZSTD_isError(n) || n >= len) {
		*method = PIECE_RAW;
		memcpy(at, raw, len);
		n = len;
	}
	p->buf.len += n;
	return n;
}

int df_packer_add(struct df_packer *p, const void *raw, size_t len,
		  struct df_piece *piece)
{
	size_t start = p->buf.len;
	uint8_t method;

	if (!len || len > DF_PIECE_RAW_MAX)
		return -EINVAL;
	df_buf_extend(&p->buf, DF_PIECE_HEAD);
	size_t n = p->buf.err ? 0 : store(p, raw, len, &method);
	if (!n) {
		int err = p->buf.err;
		p->buf.len = start;
		p->buf.err = 0; /* this piece did not fit; the pack is whole */
		return err;
	}
	uint8_t *head = p->buf.data + start;
	memcpy(head, PIECE_MAGIC, 2);
	head[2] = PIECE_VERSION;
	head[3] = method;
	put_u32(head + 4, (uint32_t)len);
	put_u32(head + 8, (uint32_t)n);
	df_sha256(raw, len, head + 12);
	df_sha_add(p->sha, head, DF_PIECE_HEAD + n);
	*piece = (struct df_piece){
		.off = (uint32_t)start,
		.clen = (uint32_t)(DF_PIECE_HEAD + n),
		.rlen = (uint32_t)len,
		.check = get_u32(head + 12),
	};
	return 0;
}

const uint8_t *df_packer_sum(const struct df_packer *p,
			     const struct df_piece *piece)
{
	return p->buf.data + piece->off + 12;
}

size_t df_packer_len(const struct df_packer *p)
{
	return p->buf.len;
}

int df_packer_finish(struct df_packer *p, struct df_id *id, uint8_t **data,
		     size_t *len)
{
	uint8_t sum[DF_SHA_LEN];

	df_sha_end(p->sha, sum);
	df_sha_reset(p->sha);
	memcpy(id->b, sum, sizeof(id->b));
	*data = df_buf_steal(&p->buf, len);
	return *data ? 0 : -EINVAL; /* an empty pack is nobody's wish */
}

static int decode_head(const uint8_t *in, size_t len, struct head *h)
{
	if (len < DF_PIECE_HEAD || memcmp(in, PIECE_MAGIC, 2) != 0 ||
	    in[2] != PIECE_VERSION)
		return DF_ECORRUPT;
	*h = (struct head){ in[3], get_u32(in + 4), get_u32(in + 8), in + 12 };
	if (!h->rlen || h->rlen > DF_PIECE_RAW_MAX)
		return DF_ECORRUPT;
	bool fits = h->method == PIECE_RAW
			    ? h->stored == h->rlen
			    : h->method == PIECE_ZSTD && h->stored < h->rlen;
	return fits && h->stored ? 0 : DF_ECORRUPT;
}

int df_piece_head(const void *in, size_t len, uint32_t *clen, uint32_t *rlen)
{
	struct head h;
	int err = decode_head(in, len, &h);

	if (err)
		return err;
	*clen = DF_PIECE_HEAD + h.stored;
	*rlen = h.rlen;
	return 0;
}

static pthread_key_t dctx_key;
static pthread_once_t dctx_once = PTHREAD_ONCE_INIT;

static void free_dctx(void *p)
{
	ZSTD_freeDCtx(p);
}

static void make_dctx_key(void)
{
	if (pthread_key_create(&dctx_key, free_dctx))
		abort(); /* keys are used up: a programming error */
}

/* One context a thread: making one costs more than a small piece. */
static ZSTD_DCtx *thread_dctx(void)
{
	pthread_once(&dctx_once, make_dctx_key);
	ZSTD_DCtx *d = pthread_getspecific(dctx_key);
	if (!d) {
		d = ZSTD_createDCtx();
		if (d && pthread_setspecific(dctx_key, d)) {
			ZSTD_freeDCtx(d);
			d = NULL;
		}
	}
	return d;
}

/* Raw bytes of the piece to at (h->rlen bytes). */
static int unstore(const struct head *h, const uint8_t *stored, uint8_t *at)
{
	if (h->method == PIECE_RAW) {
		memcpy(at, stored, h->rlen);
		return 0;
	}
	/* No more is written than the header, which is bounded, says; and a
	 * frame that says otherwise, or has company, is not ours. */
	if (ZSTD_getFrameContentSize(stored, h->stored) != h->rlen ||
	    ZSTD_findFrameCompressedSize(stored, h->stored) != h->stored)
		return DF_ECORRUPT;
	ZSTD_DCtx *d = thread_dctx();
	if (!d)
		return -ENOMEM;
	size_t n = ZSTD_decompressDCtx(d, at, h->rlen, stored, h->stored);
	return n == h->rlen ? 0 : DF_ECORRUPT;
}

int df_piece_decode(const void *in, size_t len, const struct df_piece *want,
		    struct df_buf *out, size_t *used)
{
	const uint8_t *p = in;
	uint8_t sum[DF_SHA_LEN];
	struct head h;
	size_t start = out->len;
	int err = decode_head(p, len, &h);

	if (err)
		return err;
	if (h.stored > len - DF_PIECE_HEAD)
		return DF_ECORRUPT;
	if (want && (want->rlen != h.rlen || want->check != get_u32(h.sha) ||
		     want->clen != DF_PIECE_HEAD + h.stored))
		return DF_ECORRUPT;
	uint8_t *at = df_buf_extend(out, h.rlen);
	if (!at)
		return out->err;
	err = unstore(&h, p + DF_PIECE_HEAD, at);
	if (!err) {
		df_sha256(at, h.rlen, sum);
		if (memcmp(sum, h.sha, sizeof(sum)) != 0)
			err = DF_ECORRUPT;
	}
	if (err) {
		out->len = start;
		return err;
	}
	*used = DF_PIECE_HEAD + h.stored;
	return 0;
}
