// links: base backend cache
/*
 * fuzz_pack.c - a pack from a hostile table: decoding a piece, and fetching
 * pieces with the neighbours that come along.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "cache/bytes/fetch.h"
#include "cache/bytes/segfmt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct hostile {
	struct df_remote r; /* first */
	const uint8_t *data;
	size_t len;
} hostile;
static struct df_segs *segs;
static char dir[64];

/* Whatever the server feels like: what there is, not what was asked for. */
static int give(struct df_remote *r, const struct df_id *id, uint64_t off,
		uint64_t len, int64_t timeout_ms, struct df_buf *out)
{
	struct hostile *h = (struct hostile *)r;

	(void)id;
	(void)timeout_ms;
	if (off > h->len)
		return DF_ECORRUPT;
	size_t left = h->len - (size_t)off;
	df_buf_put(out, h->data + off, len && len < left ? len : left);
	return out->err;
}

static const struct df_remote_ops ops = { .name = "hostile", .pack_get = give };

static void drop_dir(void)
{
	char cmd[100];

	df_segs_free(segs);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd))
		fprintf(stderr, "%s stays\n", dir);
}

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "%s/df-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	df_log_set_level(DF_LOG_ERROR - 1);
	if (!mkdtemp(dir) || df_segs_open(dir, UINT64_C(16) << 20, &segs))
		abort();
	atexit(drop_dir);
}

static void count(void *arg, int err)
{
	(void)err;
	++*(int *)arg;
}

static void fetch(const uint8_t *data, size_t len)
{
	static uint64_t run;
	struct df_piece p[3];
	uint8_t buf[4096];
	int done = 0;

	hostile = (struct hostile){ .r = { .ops = &ops },
				    .data = data,
				    .len = len };
	struct df_fetch *f = df_fetch_new(&hostile.r, segs, 0);
	if (!f)
		abort();
	run++;
	for (int i = 0; i < 3; i++) {
		p[i] = (struct df_piece){
			.off = i ? df_le_get32(data + 4 * (size_t)i) : 0,
			.clen = DF_PIECE_HEAD + df_le_get32(data + 8) % 5000,
			.rlen = df_le_get32(data + 4) % 5000,
			.check = df_le_get32(data + 12),
		};
		memcpy(p[i].pack.b, &run, sizeof(run));
	}
	if (!df_fetch_get(f, p, 3, 1000, count, &done) && done != 1)
		abort(); /* the one promise: done is called, once */
	struct df_loc loc;
	for (int i = 0; i < 3; i++)
		if (df_seg_has_piece(segs, &p[i].pack, p[i].off, p[i].rlen,
				     &loc) &&
		    p[i].rlen <= sizeof(buf))
			df_seg_read(segs, loc, buf, p[i].rlen);
	df_fetch_stop(f);
	df_fetch_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct df_buf out;
	uint32_t clen, rlen;
	size_t used = 0;

	if (!dir[0])
		make_dir();
	df_buf_init(&out, DF_PIECE_RAW_MAX);
	if (!df_piece_head(data, len, &clen, &rlen) &&
	    (clen <= DF_PIECE_HEAD || !rlen || rlen > DF_PIECE_RAW_MAX))
		abort();
	if (!df_piece_decode(data, len, NULL, &out, &used) &&
	    (used > len || !out.len || out.len > DF_PIECE_RAW_MAX))
		abort();
	df_buf_release(&out);
	if (len >= 16)
		fetch(data, len);
	return 0;
}
