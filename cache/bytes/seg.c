/*
 * seg.c - appending: journal frames, data, pieces; see seg.h, segstore.h.
 *
 * A failed append needs no clean-up on disk.  The next frame goes to the same
 * place and overwrites the head of the failed one; if the process dies first,
 * a frame that was written in part fails its sums at replay, and one that was
 * written whole did not fail.
 */
#include "cache/bytes/seg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/log.h"
#include "cache/bytes/segstore.h"

static const uint8_t zeros[DF_SEG_PAGE];

/* List the frame in the footer-to-be. */
static int list_frame_locked(struct seg *g, const struct df_seg_entry *e)
{
	uint32_t len = df_entry_len(g->stream);
	uint8_t *at = df_buf_extend(&g->list, len);

	if (!at)
		return g->list.err;
	df_entry_encode(e, len, at);
	return 0;
}

void seg_seal(struct df_segs *s, struct seg *g)
{
	uint8_t trailer[DF_TRAILER_LEN];
	uint32_t list_off = df_frame_align(g->end);
	size_t len = g->list.len;
	uint32_t end = list_off + (uint32_t)len + DF_TRAILER_LEN;
	struct df_seg_trailer t = {
		.no = g->no,
		.frames_end = g->end,
		.list_off = list_off,
		.n = (uint32_t)(len / df_entry_len(g->stream)),
		.entry_len = df_entry_len(g->stream),
		.last_seq = g->last_seq,
		.list_sum = len ? df_xxh3(g->list.data, len) : 0,
	};
	struct iovec iov[] = { { g->list.data, len },
			       { trailer, sizeof(trailer) } };

	df_trailer_encode(&t, g->head.salt, trailer);
	/* Without memory for the list there is no footer: the frames are
	 * found by a scan then, as after a crash. */
	int err = g->list.err;
	if (!err)
		err = seg_pwritev(g->fd, len ? iov : iov + 1, len ? 2 : 1,
				  list_off, DF_FAULT_POINT("seg.footer"));
	if (err) {
		df_log_debug("segment %08x gets no footer: %s", g->no,
			     df_strerror(err));
		end = g->end;
	}
	/* What a failed append or the reserve left behind the end. */
	if (ftruncate(g->fd, end))
		df_log_debug("segment %08x keeps its reserve: %s", g->no,
			     df_strerror(-errno));
	df_buf_release(&g->list);
	df_lock(&s->lock);
	s->bytes -= seg_size_locked(g);
	g->frames_end = t.frames_end;
	g->end = g->alloc_end = end;
	s->bytes += seg_size_locked(g);
	g->active = g->closing = false; /* from here on it may be evicted */
	g->unsynced = true;
	df_unlock(&s->lock);
}

/* ---- journal */

/* Preallocate add bytes behind alloc_end; counted first, so that two threads
 * cannot both take the last of the limit. */
static int grow_alloc(struct df_segs *s, struct seg *g, uint32_t add)
{
	uint32_t from = g->alloc_end;

	df_lock(&s->lock);
	bool fits = s->bytes + add <= s->limit + SEG_RESERVE;
	if (fits) {
		s->bytes -= seg_size_locked(g);
		g->alloc_end += add;
		s->bytes += seg_size_locked(g);
	}
	df_unlock(&s->lock);
	if (!fits)
		return -ENOSPC;
	int err = s->no_falloc ? 0 : df_fault("seg.fallocate");
	while (!err && !s->no_falloc &&
	       fallocate(g->fd, FALLOC_FL_KEEP_SIZE, from, add)) {
		if (errno != EINTR)
			err = -errno;
	}
	if (err == -EOPNOTSUPP || err == -ENOSYS) {
		df_log_info("%s: no fallocate here; unlink may fail when the "
			    "disk is full",
			    s->dir);
		s->no_falloc = true;
		err = 0;
	}
	if (err) {
		df_lock(&s->lock);
		s->bytes -= seg_size_locked(g);
		g->alloc_end = from;
		s->bytes += seg_size_locked(g);
		df_unlock(&s->lock);
	}
	return err;
}

/* Make sure that bytes up to end are there, and the reserve behind them for
 * those who may not use it. */
static int journal_extend(struct df_segs *s, struct seg *g, uint32_t end,
			  unsigned flags)
{
	uint32_t want = end + (flags & DF_SEG_RESERVED ? 0 : SEG_RESERVE);
	uint64_t chunk = DF_MIN(s->limit / 256, UINT64_C(4) << 20);

	if (want <= g->alloc_end)
		return 0;
	if (chunk && !grow_alloc(s, g, want - g->alloc_end + (uint32_t)chunk))
		return 0;
	return grow_alloc(s, g, want - g->alloc_end);
}

/*
 * Where fsync means the local disk, the file's blocks are written and its size
 * is set before the frames come: an fdatasync of a frame is then that frame and
 * a flush.  Behind the size, or in blocks that were only allocated, it is a
 * commit of the disk's filesystem as well, which took twice as long on ext4.
 * Only speed is lost when it fails.
 */
static void journal_ahead(struct df_segs *s, struct seg *g, uint32_t end)
{
	struct iovec iov[SEG_AHEAD / DF_SEG_PAGE];
	uint32_t from = DF_MAX(g->end, g->ahead_end);

	if (!atomic_load(&s->ahead) || end <= g->ahead_end ||
	    g->alloc_end < from + SEG_AHEAD)
		return;
	for (size_t i = 0; i < DF_ARRAY_LEN(iov); i++)
		iov[i] = (struct iovec){ (void *)(uintptr_t)zeros,
					 sizeof(zeros) };
	int err = seg_pwritev(g->fd, iov, (int)DF_ARRAY_LEN(iov), from,
			      DF_FAULT_POINT("seg.ahead"));
	if (err)
		atomic_store(&s->ahead, false);
	else
		g->ahead_end = from + SEG_AHEAD;
}

/* A segment without room for its reserve: as if it had never been. */
static void journal_unmake(struct df_segs *s, struct seg *g)
{
	char name[16];

	df_lock(&s->lock);
	seg_remove_locked(s, g);
	df_unlock(&s->lock);
	seg_name(g, name);
	unlinkat(s->dir_fd, name, 0); /* empty: harmless where it stays */
	seg_free(g);
}

static int journal_roll(struct df_segs *s)
{
	struct seg *old = s->active[DF_STREAM_JOURNAL], *g = NULL;

	df_lock(&s->make);
	int err = seg_make(s, DF_STREAM_JOURNAL, s->last_no, s->last_seq, &g);
	if (!err) {
		df_lock(&s->lock);
		g->active = true;
		err = seg_insert_locked(s, g);
		df_unlock(&s->lock);
		if (err)
			seg_free(g);
	}
	df_unlock(&s->make);
	if (err)
		return err;
	err = journal_extend(s, g, DF_SEG_PAGE, 0);
	if (err) {
		journal_unmake(s, g);
		return err; /* the old one goes on, with its reserve */
	}
	df_lock(&s->lock);
	s->active[DF_STREAM_JOURNAL] = g;
	s->dir_unsynced = true;
	df_unlock(&s->lock);
	s->last_no = g->no;
	if (old)
		seg_seal(s, old);
	return 0;
}

void seg_journal_start(struct df_segs *s)
{
	if (s->active[DF_STREAM_JOURNAL])
		return;
	int err = journal_roll(s);
	if (err)
		df_log_warn("%s: no room for the journal yet: %s", s->dir,
			    df_strerror(err));
}

/* The segment with room for total bytes, or -errno. */
static int journal_room(struct df_segs *s, uint32_t total, unsigned flags,
			struct seg **out)
{
	struct seg *g = s->active[DF_STREAM_JOURNAL];
	int err = 0;

	if (!g || g->broken ||
	    (df_frame_align(g->end) + total > s->seg_size &&
	     g->end > DF_SEG_PAGE)) {
		err = journal_roll(s);
		if (!err)
			g = s->active[DF_STREAM_JOURNAL];
	}
	/* Without a new one a removal still fits into the old one's reserve. */
	if (err && (!g || g->broken || !(flags & DF_SEG_RESERVED)))
		return err;
	*out = g;
	err = journal_extend(s, g, df_frame_align(g->end) + total, flags);
	if (!err)
		journal_ahead(s, g, df_frame_align(g->end) + total);
	return err;
}

static int journal_write(struct df_segs *s, struct seg *g, struct df_frame *f,
			 const void *rec, const void *data, struct df_loc *loc)
{
	uint8_t head[DF_FRAME_LEN];
	uint32_t off = df_frame_align(g->end), end = df_frame_end(f, off);
	struct df_seg_entry e = { .frame_off = off,
				  .data_off = df_frame_data_off(f, off),
				  .data_len = f->data_len };
	struct iovec iov[3] = { { head, sizeof(head) } };
	int n = 1;

	df_frame_encode(f, g->head.salt, head);
	if (f->rec_len)
		iov[n++] = (struct iovec){ (void *)(uintptr_t)rec, f->rec_len };
	if (f->data_len)
		iov[n++] =
			(struct iovec){ (void *)(uintptr_t)data, f->data_len };
	int err = seg_pwritev(g->fd, iov, n, off, DF_FAULT_POINT("seg.pwrite"));
	if (err) {
		/* The next frame tries its luck on other blocks. */
		g->broken = err != -ENOSPC && err != -EDQUOT;
		return err;
	}
	df_lock(&s->lock);
	s->bytes -= seg_size_locked(g);
	g->end = end;
	s->bytes += seg_size_locked(g);
	g->last_seq = f->seq;
	g->unsynced = true;
	if (f->data_len)
		list_frame_locked(g, &e); /* at worst no footer, see seal */
	df_unlock(&s->lock);
	s->last_seq = f->seq;
	if (loc)
		*loc = (struct df_loc){ f->data_len ? g->no : 0,
					f->data_len ? e.data_off : 0 };
	return 0;
}

int df_seg_append(struct df_segs *s, uint8_t type, uint64_t seq,
		  const void *rec, size_t rec_len, const void *data,
		  size_t data_len, unsigned flags, struct df_loc *loc)
{
	struct seg *g;

	if (!type || rec_len > DF_SEG_REC_MAX || data_len >= DF_INLINE_MAX)
		return -EINVAL;
	/* Hashed before the lock, which others wait for. */
	struct df_frame f = {
		.type = type,
		.rec_len = (uint32_t)rec_len,
		.data_len = (uint32_t)data_len,
		.seq = seq,
		.rec_sum = rec_len ? df_xxh3(rec, rec_len) : 0,
		.data_sum = df_data_sum(data, (uint32_t)data_len, NULL),
	};
	df_lock(&s->journal);
	int err = seg_journal_learn(s);
	if (!err && seq < s->last_seq)
		err = -EINVAL;
	if (!err)
		err = journal_room(s, df_frame_end(&f, 0), flags, &g);
	if (!err)
		err = journal_write(s, g, &f, rec, data, loc);
	df_unlock(&s->journal);
	return err;
}

/* ---- data and pieces */

/* A frame on its way into a segment. */
struct place {
	uint8_t stream;
	bool wanted; /* may go over the limit, and is held */
	struct seg *g;
	uint32_t off;
};

/* Start a new segment for the stream, unless another thread just did. */
static int next_segment(struct df_segs *s, const struct place *p,
			struct seg *old)
{
	struct seg *g = NULL;
	bool seal = false;

	df_lock(&s->make);
	df_lock(&s->lock);
	bool due = s->active[p->stream] == old;
	bool full = s->bytes + DF_SEG_PAGE > s->limit && !p->wanted;
	df_unlock(&s->lock);
	int err = !due ? 0 : full ? -ENOSPC : seg_make(s, p->stream, 0, 0, &g);
	if (g) {
		df_lock(&s->lock);
		err = seg_insert_locked(s, g);
		/* It may have been evicted since. */
		if (!err && old && s->active[p->stream] == old) {
			old->active = false;
			old->closing = true;
			seal = !old->writers;
		}
		if (!err) {
			g->active = s->dir_unsynced = true;
			g->used = ++s->tick;
			s->active[p->stream] = g;
		}
		df_unlock(&s->lock);
		if (err)
			seg_free(g);
	}
	df_unlock(&s->make);
	if (seal)
		seg_seal(s, old);
	return err;
}

/* Take the place of a frame in the stream's active segment. */
static int take_place(struct df_segs *s, const struct df_frame *f,
		      struct place *p)
{
	for (;;) {
		int err = -EAGAIN;
		df_lock(&s->lock);
		struct seg *g = s->active[p->stream];
		uint32_t at = g ? df_frame_align(g->end) : 0;
		uint32_t end = df_frame_end(f, at);
		if (g && (end <= s->seg_size || g->end == DF_SEG_PAGE)) {
			uint32_t grow = end - g->end;
			bool full = s->bytes + grow > s->limit;
			err = full && !p->wanted ? -ENOSPC : 0;
			if (!err) {
				s->bytes += grow;
				g->end = end;
				g->writers++;
				g->used = ++s->tick;
				p->g = g;
				p->off = at;
			}
		}
		df_unlock(&s->lock);
		if (err == -EAGAIN)
			err = next_segment(s, p, g);
		else
			return err;
		if (err)
			return err;
	}
}

/* The frame at off is written (err 0) or not: list it, or give back its
 * place if nobody took the next one. */
static int give_place(struct df_segs *s, const struct place *p,
		      const struct df_frame *f, struct df_seg_entry *e, int err)
{
	struct seg *g = p->g;

	df_lock(&s->lock);
	if (!err) {
		g->unsynced = true;
		list_frame_locked(g, e);
		if (g->stream == DF_STREAM_DATA) {
			g->dirty += e->data_len;
			s->dirty += e->data_len;
		}
		if (g->stream == DF_STREAM_FETCH)
			err = df_segindex_set(
				s->index, &e->pack, e->piece_off,
				(struct df_loc){ g->no, e->data_off },
				e->data_len);
	} else if (g->end == df_frame_end(f, p->off)) {
		s->bytes -= g->end - p->off;
		g->end = p->off;
	}
	g->pins += !err && p->wanted;
	g->writers--;
	bool seal = g->closing && !g->writers;
	df_unlock(&s->lock);
	if (seal)
		seg_seal(s, g);
	return err;
}

static int put_frame(struct df_segs *s, struct place p, const uint8_t *rec,
		     uint32_t rec_len, const void *data, uint32_t len,
		     struct df_seg_entry *e, struct df_loc *loc)
{
	uint8_t head[DF_FRAME_LEN + DF_PIECE_REC_LEN + 8 * DF_SEG_SUMS_MAX];
	uint32_t head_len = DF_FRAME_LEN + rec_len + 8 * df_frame_sums(len);
	struct df_frame f = {
		.type = 1,
		.aligned = len >= DF_INLINE_MAX,
		.rec_len = rec_len,
		.data_len = len,
		.rec_sum = rec_len ? df_xxh3(rec, rec_len) : 0,
		.data_sum =
			df_data_sum(data, len, head + DF_FRAME_LEN + rec_len),
	};
	struct iovec iov[3] = { { head, head_len } };
	int n = 1;

	int err = take_place(s, &f, &p);
	if (err)
		return err;
	e->frame_off = p.off;
	e->data_off = df_frame_data_off(&f, p.off);
	e->data_len = len;
	df_frame_encode(&f, p.g->head.salt, head);
	if (rec_len)
		memcpy(head + DF_FRAME_LEN, rec, rec_len);
	uint32_t pad = e->data_off - p.off - head_len;
	if (pad)
		iov[n++] = (struct iovec){ (void *)(uintptr_t)zeros, pad };
	iov[n++] = (struct iovec){ (void *)(uintptr_t)data, len };
	err = seg_pwritev(p.g->fd, iov, n, p.off, DF_FAULT_POINT("seg.put"));
	*loc = (struct df_loc){ p.g->no, e->data_off };
	return give_place(s, &p, &f, e, err);
}

int df_seg_put(struct df_segs *s, const void *data, size_t len,
	       struct df_loc *loc)
{
	struct df_seg_entry e = { 0 };

	if (!len || len > DF_SEG_DATA_MAX)
		return -EINVAL;
	return put_frame(s, (struct place){ .stream = DF_STREAM_DATA }, NULL, 0,
			 data, (uint32_t)len, &e, loc);
}

static int put_piece(struct df_segs *s, const struct df_id *pack, uint32_t off,
		     const void *data, size_t len, bool wanted,
		     struct df_loc *loc)
{
	struct df_seg_entry e = { .pack = *pack, .piece_off = off };
	struct place p = { .stream = DF_STREAM_FETCH, .wanted = wanted };
	uint8_t rec[DF_PIECE_REC_LEN];

	if (!len || len > DF_SEG_DATA_MAX)
		return -EINVAL;
	df_piece_rec_encode(pack, off, rec);
	return put_frame(s, p, rec, sizeof(rec), data, (uint32_t)len, &e, loc);
}

int df_seg_put_piece(struct df_segs *s, const struct df_id *pack, uint32_t off,
		     const void *data, size_t len, struct df_loc *loc)
{
	/* Two requests may bring the same neighbours. */
	if (df_seg_find_piece(s, pack, off, loc))
		return 0;
	return put_piece(s, pack, off, data, len, false, loc);
}

int df_seg_put_wanted(struct df_segs *s, const struct df_id *pack, uint32_t off,
		      const void *data, size_t len, struct df_loc *loc)
{
	if (df_seg_hold_piece(s, pack, off, len, loc))
		return 0;
	df_segs_evict(s, len + 2 * DF_SEG_PAGE);
	return put_piece(s, pack, off, data, len, true, loc);
}
