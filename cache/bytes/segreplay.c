/* segreplay.c - the journal, front to back; see seg.h, segstore.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "cache/bytes/segstore.h"

#define REPLAY_WINDOW (1U << 20)

struct replay {
	struct df_segs *s;
	uint64_t from;
	df_replay_fn *fn; /* NULL: only learn the last seq */
	void *arg;
	uint64_t seq; /* highest so far */
	uint32_t no;  /* the last segment walked; 0 = none yet */
};

/* Numbers of the journal's segments, in order; caller frees. */
static int journal_numbers(struct df_segs *s, uint32_t **out, size_t *n)
{
	df_lock(&s->lock);
	*n = 0;
	*out = malloc((s->n_seg + 1) * sizeof(**out));
	for (size_t i = 0; *out && i < s->n_seg; i++)
		if (s->seg[i]->stream == DF_STREAM_JOURNAL)
			(*out)[(*n)++] = s->seg[i]->no;
	df_unlock(&s->lock);
	return *out ? 0 : -ENOMEM;
}

static int tell_lost(struct replay *r, uint32_t no, uint32_t off, uint32_t len)
{
	if (!r->fn)
		return 0;
	return r->fn(r->arg, DF_FRAME_LOST, r->seq, NULL, 0,
		     (struct df_loc){ no, off }, len);
}

/* Does this segment follow the last one without a gap that matters? */
static int check_chain(struct replay *r, const struct seg *g)
{
	const struct df_seg_head *h = &g->head;

	if (h->base_seq < r->from ||
	    (h->base_seq <= r->seq && h->prev == r->no) || !r->fn)
		return 0;
	/* The first segment of all follows nothing. */
	if (!h->prev && !r->no && !h->base_seq)
		return 0;
	df_log_error("%s: the journal has a gap before segment %08x: frames "
		     "between %llu and %llu are lost (%s)",
		     r->s->dir, g->no, (unsigned long long)r->seq,
		     (unsigned long long)h->base_seq,
		     h->prev == r->no ? "the one before it is cut off"
				      : "the one before it is missing");
	return tell_lost(r, h->prev, 0, 0);
}

/* 1: the data of the current frame is whole, 0: it is not, or -errno. */
static int data_whole(struct seg_scan *c)
{
	const struct df_frame *f = &c->frame;
	int err;

	if (!f->data_len)
		return 1;
	if (f->data_len > DF_SEG_BLOCK || f->aligned)
		return 0; /* not the journal's */
	const uint8_t *p = seg_scan_bytes(c, df_frame_data_off(f, c->at),
					  f->data_len, &err);
	if (!p)
		return err;
	return df_sum_ok(df_data_sum(p, f->data_len, NULL), f->data_sum);
}

static int deliver(struct replay *r, struct seg_scan *c, uint32_t no,
		   bool whole)
{
	const struct df_frame f = c->frame;
	struct df_loc loc = { 0, 0 };
	int err;

	if (f.data_len && whole)
		loc = (struct df_loc){ no, df_frame_data_off(&f, c->at) };
	const uint8_t *rec =
		seg_scan_bytes(c, c->at + DF_FRAME_LEN, f.rec_len, &err);
	if (!rec)
		return err ? err : DF_ECORRUPT;
	return r->fn(r->arg, f.type, f.seq, rec, f.rec_len, loc, f.data_len);
}

/* The frame that c stands on.  1: go on, 0: it was the torn end, or -errno. */
static int replay_frame(struct replay *r, struct seg_scan *c, uint32_t no)
{
	uint64_t seq = c->frame.seq;
	uint32_t at = c->at;
	int err = 0;

	if (c->hole && seq > r->from && r->fn) {
		df_log_error("%s/seg/%08x.j: %u bytes at %u are damaged: the "
			     "frames there are lost",
			     r->s->dir, no, c->hole, at - c->hole);
		err = tell_lost(r, no, at - c->hole, c->hole);
	}
	int whole = err ? err : data_whole(c);
	if (!whole) {
		/* Torn, if nothing follows: an append that did not finish. */
		int more = seg_scan_next(c);
		if (more <= 0)
			return more;
		c->next = at;
		whole = seg_scan_next(c) == 1 ? 0 : -EIO;
		if (!whole)
			df_log_error("%s/seg/%08x.j: data of the frame at %u "
				     "is damaged",
				     r->s->dir, no, at);
	}
	if (whole < 0)
		return whole;
	if (r->fn && seq >= r->from && c->frame.type != DF_FRAME_LOST)
		err = deliver(r, c, no, whole);
	r->seq = DF_MAX(r->seq, seq);
	return err ? err : 1;
}

/* Zeros that were written ahead of frames that never came. */
static bool only_zeros(struct seg_scan *c, uint32_t at, uint32_t end)
{
	static const uint8_t zeros[DF_SEG_PAGE];
	int err;

	while (at < end) {
		uint32_t len = DF_MIN(end - at, DF_SEG_PAGE);
		const uint8_t *p = seg_scan_bytes(c, at, len, &err);
		if (!p || memcmp(p, zeros, len) != 0)
			return false;
		at += len;
	}
	return true;
}

static int replay_segment(struct replay *r, struct seg *g, int fd, uint32_t end)
{
	struct seg_scan c;
	uint32_t good = DF_SEG_PAGE;
	int got;

	int err = seg_scan_init(&c, fd, g->head.salt, end, REPLAY_WINDOW);
	while (!err && (got = seg_scan_next(&c)) != 0) {
		if (got > 0)
			got = replay_frame(r, &c, g->no);
		if (got <= 0) {
			err = got;
			break;
		}
		good = df_frame_align(df_frame_end(&c.frame, c.at));
	}
	if (!err && good < end && r->fn && !only_zeros(&c, good, end))
		df_log_warn("%s/seg/%08x.j: the last %u bytes are of an "
			    "operation that was not answered: dropped",
			    r->s->dir, g->no, end - good);
	seg_scan_release(&c);
	return err;
}

static int replay_one(struct replay *r, uint32_t no)
{
	struct seg *g;
	int fd = seg_pin(r->s, no, &g);

	if (fd == -ENOENT)
		return 0; /* said; the next segment's chain shows the gap */
	if (fd < 0)
		return fd;
	df_lock(&r->s->lock);
	uint64_t last = g->last_seq;
	uint32_t end = g->frames_end ? g->frames_end : g->end;
	df_unlock(&r->s->lock);
	int err = check_chain(r, g);
	r->seq = DF_MAX(r->seq, g->head.base_seq);
	if (!err && (last == UINT64_MAX || (r->fn && last >= r->from)))
		err = replay_segment(r, g, fd, end);
	else if (!err)
		r->seq = DF_MAX(r->seq, last);
	r->no = no;
	if (!err) {
		df_lock(&r->s->lock);
		if (last == UINT64_MAX)
			g->last_seq = r->seq;
		df_unlock(&r->s->lock);
	}
	df_seg_unpin(r->s, no);
	return err;
}

static int walk(struct replay *r)
{
	DF_FREE uint32_t *no = NULL;
	size_t n;

	int err = journal_numbers(r->s, &no, &n);
	for (size_t i = 0; !err && i < n; i++)
		err = replay_one(r, no[i]);
	return err;
}

static void learned_locked(struct df_segs *s, const struct replay *r)
{
	if (s->scanned)
		return;
	s->last_seq = r->seq;
	s->last_no = r->no;
	s->scanned = true;
}

int seg_journal_learn(struct df_segs *s)
{
	struct replay r = { .s = s, .from = UINT64_MAX };

	if (s->scanned)
		return 0;
	int err = walk(&r);
	if (!err)
		learned_locked(s, &r);
	return err;
}

uint64_t df_segs_last_seq(struct df_segs *s)
{
	df_lock(&s->journal);
	uint64_t seq = s->last_seq;
	df_unlock(&s->journal);
	return seq;
}

int df_segs_replay(struct df_segs *s, uint64_t from, df_replay_fn *fn,
		   void *arg)
{
	struct replay r = { .s = s, .from = from, .fn = fn, .arg = arg };

	int err = walk(&r);
	if (err)
		return err;
	df_lock(&s->journal);
	learned_locked(s, &r);
	seg_journal_start(s);
	df_unlock(&s->journal);
	return 0;
}
