/*
 * segstore.h - the inside of struct df_segs, for cache/bytes/seg*.c only.
 *
 * Life of a segment:
 *
 *	active   one per stream; this process appends to it
 *	closing  no new frames; writers that have a place are still writing
 *	sealed   has its footer (or could not get it), never changes again
 *	evicted  out of the table, then unlinked
 *
 * Segments of earlier processes are sealed for us, footer or not: nobody
 * appends to them, so a torn end needs no repair and their frames are checked
 * against the sums at the first read.
 *
 * Invariants
 *  1. `end` only moves down when the frame at the end failed and nobody has
 *     written behind it.
 *  2. A segment with pins, writers or dirty bytes is in the table.
 *  3. bytes = sum of seg_size() over the table.
 *  4. A segment that a durable map may say to be the only place of bytes is in
 *     the table: `eased` is not later than `folded` in what goes.
 *
 * Locks, in this order: sync -> journal -> make -> lock.  I/O happens under
 * sync (one df_segs_sync at a time), journal (its order is the journal's
 * order) and make (one new segment at a time), never under lock.
 */
#ifndef DF_CACHE_SEGSTORE_H
#define DF_CACHE_SEGSTORE_H

#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/lock.h"
#include "cache/bytes/seg.h"
#include "cache/bytes/segfmt.h"
#include "cache/bytes/segindex.h"

#define SEG_OPEN_MAX 128       /* descriptors; more only while pinned */
#define SEG_COUNT_MAX 2048     /* more are evicted even under the limit */
#define SEG_RESERVE (1U << 20) /* journal bytes for DF_SEG_RESERVED */
#define SEG_AHEAD (512U << 10) /* journal bytes written before their frames */

/* What an old segment holds, loaded at the first read from it. */
struct seg_table {
	uint32_t n;
	struct seg_entry {
		uint32_t data_off, data_len, frame_off;
		uint32_t bit;      /* of the first block */
	} * e;                     /* owned; by data_off */
	_Atomic uint64_t *checked; /* owned; a bit a block */
};

struct seg {
	uint32_t no;
	uint8_t stream;
	bool ours;          /* written by this process: not verified again */
	bool active;        /* lock */
	bool closing;       /* lock */
	bool broken;        /* journal; its end could not be repaired */
	bool unsynced;      /* lock */
	bool sync_failed;   /* lock; sticky: the kernel forgets, we do not */
	int fd;             /* lock; -1 = closed; stays while pinned */
	uint32_t end;       /* lock; next free byte */
	uint32_t alloc_end; /* lock; journal: preallocated up to here */
	uint32_t ahead_end; /* journal; zeros were written up to here */
	unsigned pins;      /* lock */
	unsigned writers;   /* lock */
	int64_t dirty;      /* lock */
	uint64_t eased;     /* lock; round in which it last lost dirty bytes */
	uint64_t used;      /* lock; tick of the last pin */
	struct df_seg_head head;
	uint64_t last_seq;             /* lock; UINT64_MAX = not known yet */
	uint32_t frames_end;           /* lock; once sealed: where frames end */
	struct df_seg_trailer trailer; /* old; valid if .frames_end */
	struct df_buf list;            /* lock; ours: footer entries so far */
	_Atomic(struct seg_table *) table;
};

struct df_segs {
	int dir_fd;
	char *dir;
	uint64_t limit;
	uint32_t seg_size; /* nominal */

	struct df_lock sync;    /* order 1 */
	struct df_lock journal; /* order 2 */
	struct df_lock make;    /* order 3 */
	struct df_lock lock;    /* order 4 */

	struct seg **seg;               /* lock; by number */
	size_t n_seg, size_seg;         /* lock */
	struct seg *active[DF_STREAMS]; /* lock */
	struct df_segindex *index;      /* lock */
	uint64_t tick;                  /* lock */
	uint64_t bytes;                 /* lock */
	uint64_t dirty;                 /* lock */
	int64_t crowded_ns;             /* lock; no room, by df_segs_crowded */
	uint64_t floor;                 /* lock */
	uint64_t told;                  /* lock; by df_seg_told */
	uint64_t round;                 /* lock; of folding, from 1 */
	uint64_t folded;                /* lock; the last that is durable */
	bool fold_wanted;               /* lock; by df_segs_want_fold */
	unsigned n_open;                /* lock */
	bool dir_unsynced;              /* lock */

	int64_t room_asked_ns; /* the volume's lock: segroom.c */
	uint64_t room_bytes;

	uint64_t last_seq; /* journal */
	bool scanned;      /* journal: last_seq is known */
	uint32_t last_no;  /* journal: newest journal segment; 0 = none */
	bool no_falloc;    /* journal */
	_Atomic bool
		ahead; /* frames are synced one by one: write zeros first */

	uint32_t first_no; /* of this process; set by open */
	uint32_t next_no;  /* make */
	uint32_t mark;     /* make: numbers below are ours to use */
};

/* seg.c */
/* Replay has learned the last seq: start a journal segment of our own, so
 * that the reserve exists before the disk is full.  Failure is logged only. */
void seg_journal_start(struct df_segs *s) DF_REQUIRES(&s->journal);
/* Write the footer of a segment that nobody appends to any more. */
void seg_seal(struct df_segs *s, struct seg *g);

/* segopen.c */
uint64_t seg_size_locked(const struct seg *g);
void seg_name(const struct seg *g, char out[16]); /* "0000002a.j" */
/* A new segment file with its head; not in the table yet. */
int seg_make(struct df_segs *s, uint8_t stream, uint32_t prev,
	     uint64_t base_seq, struct seg **out) DF_REQUIRES(&s->make);
void seg_free(struct seg *g); /* closes the descriptor */

/* segkeep.c */
struct seg *seg_find_locked(struct df_segs *s, uint32_t no)
	DF_REQUIRES(&s->lock);
int seg_insert_locked(struct df_segs *s, struct seg *g) DF_REQUIRES(&s->lock);
/* Pinned segment and its descriptor, or -errno. */
int seg_pin(struct df_segs *s, uint32_t no, struct seg **out);
/* A descriptor for g, which the caller has pinned. */
int seg_open_pinned(struct df_segs *s, struct seg *g);

/* Out of the table; g is then the caller's. */
void seg_remove_locked(struct df_segs *s, struct seg *g) DF_REQUIRES(&s->lock);

/* segread.c */
void seg_table_free(struct seg_table *t);

/* segreplay.c: find out the last seq of earlier processes, once. */
int seg_journal_learn(struct df_segs *s) DF_REQUIRES(&s->journal);

/* segscan.c: frames of a segment, front to back, holes stepped over. */
struct seg_scan {
	int fd;
	uint64_t salt;
	uint32_t end;  /* scan no further */
	uint32_t at;   /* of the current frame */
	uint32_t next; /* where to look for the next one */
	uint32_t hole; /* bytes stepped over before the current frame */
	struct df_frame frame;
	/* window on the file */
	uint8_t *buf;
	size_t size;   /* of buf */
	size_t step;   /* bytes to read at once */
	uint32_t base; /* file offset of buf[0] */
	uint32_t len;
};
int seg_scan_init(struct seg_scan *c, int fd, uint64_t salt, uint32_t end,
		  size_t step);
void seg_scan_release(struct seg_scan *c);
/* 1: c->frame is whole (head and record), 0: end, or -errno. */
int seg_scan_next(struct seg_scan *c);
/* len bytes at off within the frame, valid until the next call; NULL: beyond
 * the end or c's error. */
const uint8_t *seg_scan_bytes(struct seg_scan *c, uint32_t off, uint32_t len,
			      int *err);
/* The encoded entries of an old segment, from its footer or by a scan. */
int seg_read_entries(struct seg *g, int fd, struct df_buf *out);

/* Fault points and short transfers around the calls that can fail. */
int seg_pwritev(int fd, struct iovec *iov, int n, off_t off, const char *point);
ssize_t seg_pread(int fd, void *out, size_t len, off_t off);

#endif
