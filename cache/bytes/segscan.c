/* segscan.c - walking the frames of a segment file; see segstore.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/file.h"
#include "cache/bytes/segstore.h"

ssize_t seg_pread(int fd, void *out, size_t len, off_t off)
{
	int fault = df_fault("seg.pread");

	if (fault < 0)
		return fault;
	if (fault == DF_FAULT_SHORT)
		len /= 2;
	return df_pread_all(fd, out, len, off);
}

int seg_scan_init(struct seg_scan *c, int fd, uint64_t salt, uint32_t end,
		  size_t step)
{
	*c = (struct seg_scan){
		.fd = fd,
		.salt = salt,
		.end = end,
		.next = DF_SEG_PAGE,
		.step = step,
		.size = step,
	};
	c->buf = malloc(step);
	return c->buf ? 0 : -ENOMEM;
}

void seg_scan_release(struct seg_scan *c)
{
	free(c->buf);
	c->buf = NULL;
}

const uint8_t *seg_scan_bytes(struct seg_scan *c, uint32_t off, uint32_t len,
			      int *err)
{
	*err = 0;
	if (off > c->end || len > c->end - off)
		return NULL;
	if (off >= c->base && off - c->base <= c->len &&
	    len <= c->len - (off - c->base))
		return c->buf + (off - c->base);
	size_t want =
		DF_MIN(DF_MAX((size_t)len, c->step), (size_t)(c->end - off));
	if (want > c->size) {
		uint8_t *buf = realloc(c->buf, want);
		if (!buf) {
			*err = -ENOMEM;
			return NULL;
		}
		c->buf = buf;
		c->size = want;
	}
	ssize_t got = seg_pread(c->fd, c->buf, want, off);
	c->base = off;
	c->len = got < 0 ? 0 : (uint32_t)got;
	if (got < 0)
		*err = (int)got;
	return got >= (ssize_t)len ? c->buf : NULL;
}

/* Is there a whole frame at off (head and record, data within the file)? */
static int frame_at(struct seg_scan *c, uint32_t off, struct df_frame *f)
{
	int err;
	const uint8_t *p = seg_scan_bytes(c, off, DF_FRAME_LEN, &err);

	if (!p)
		return err;
	if (df_frame_decode(p, DF_FRAME_LEN, c->salt, f))
		return 0;
	/* Lengths are within their limits, so none of this overflows. */
	if (df_frame_end(f, off) > c->end)
		return 0;
	p = seg_scan_bytes(c, off + DF_FRAME_LEN, f->rec_len, &err);
	if (!p)
		return err;
	uint64_t sum = f->rec_len ? df_xxh3(p, f->rec_len) : 0;
	return df_sum_ok(sum, f->rec_sum) ? 1 : 0;
}

/* The next offset after off at which a frame might start; c->end: none. */
static int skip_hole(struct seg_scan *c, uint32_t *off)
{
	for (uint32_t at = *off + 8;; at += 8) {
		int err;
		const uint8_t *p = seg_scan_bytes(c, at, DF_FRAME_LEN, &err);
		if (!p) {
			*off = c->end;
			return err;
		}
		if (df_frame_maybe(p)) {
			*off = at;
			return 0;
		}
	}
}

int seg_scan_next(struct seg_scan *c)
{
	uint32_t start = c->next, at = start;

	while (at < c->end) {
		int got = frame_at(c, at, &c->frame);
		if (got < 0)
			return got;
		if (got) {
			c->at = at;
			c->hole = at - start;
			c->next = df_frame_align(df_frame_end(&c->frame, at));
			return 1;
		}
		int err = skip_hole(c, &at);
		if (err)
			return err;
	}
	c->hole = c->end > start ? c->end - start : 0;
	c->next = c->end;
	return 0;
}

static int read_footer(struct seg *g, int fd, struct df_buf *out)
{
	const struct df_seg_trailer *t = &g->trailer;
	size_t len = (size_t)t->n * t->entry_len;

	if (!t->frames_end || t->entry_len != df_entry_len(g->stream))
		return DF_ECORRUPT;
	void *at = len ? df_buf_extend(out, len) : NULL;
	if (!at && len)
		return out->err;
	ssize_t got = len ? seg_pread(fd, at, len, t->list_off) : 0;
	if (got < 0)
		return (int)got;
	if ((size_t)got != len ||
	    !df_sum_ok(len ? df_xxh3(out->data, len) : 0, t->list_sum))
		return DF_ECORRUPT;
	return 0;
}

/* One entry for the frame that c stands on. */
static int add_entry(struct seg_scan *c, uint8_t stream, struct df_buf *out)
{
	const struct df_frame *f = &c->frame;
	struct df_seg_entry e = {
		.frame_off = c->at,
		.data_off = df_frame_data_off(f, c->at),
		.data_len = f->data_len,
	};
	int err = 0;

	if (!f->data_len)
		return 0;
	if (stream == DF_STREAM_FETCH) {
		const uint8_t *rec = NULL;
		if (f->rec_len == DF_PIECE_REC_LEN)
			rec = seg_scan_bytes(c, c->at + DF_FRAME_LEN,
					     DF_PIECE_REC_LEN, &err);
		if (!rec)
			return err;
		df_piece_rec_decode(rec, &e.pack, &e.piece_off);
	}
	uint32_t len = df_entry_len(stream);
	uint8_t *at = df_buf_extend(out, len);
	if (!at)
		return out->err;
	df_entry_encode(&e, len, at);
	return 0;
}

int seg_read_entries(struct seg *g, int fd, struct df_buf *out)
{
	struct seg_scan c;
	int err = read_footer(g, fd, out), got;

	if (err != DF_ECORRUPT)
		return err;
	df_buf_reset(out);
	err = seg_scan_init(&c, fd, g->head.salt, g->frames_end, DF_SEG_PAGE);
	while (!err && (got = seg_scan_next(&c)) != 0)
		err = got < 0 ? got : add_entry(&c, g->stream, out);
	seg_scan_release(&c);
	return err;
}
