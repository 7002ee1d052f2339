/*
 * seg.h - local bytes: append-only segment files, three streams, one store.
 *
 * A segment is a file DIR/seg/NNNNNNNN.{j,d,f} of frames.  Segment numbers are
 * never reused, nothing in a segment is ever overwritten, and no other local
 * file holds file bytes.  A frame is a header (magic, type, lengths, seq,
 * XXH3), a record (metadata, may be empty) and data (may be empty):
 *
 *   DF_STREAM_JOURNAL  records, with data under 64 KiB inside; appended under
 *                      the volume's lock, whose order is the journal's order
 *   DF_STREAM_DATA     data of 64 KiB and more; appended concurrently, the
 *                      write itself under no lock; data page-aligned; one XXH3
 *                      for each 64 KiB, so that zeros after a power cut are
 *                      DF_ECORRUPT, never bytes
 *   DF_STREAM_FETCH    pieces that came from the server, uncompressed, findable
 *                      by (pack, offset) through an index in memory
 *
 * Reads of what this process wrote are not verified again; of older segments
 * every frame (or 64 KiB block) is verified at its first read.
 *
 * What may be evicted: whole segments, least recently read first, never one
 * with dirty bytes (df_seg_dirty), a pin, or, for the journal, a seq at or
 * above the floor; and none that lost dirty bytes since the last durable fold
 * began: after a crash the maps say of these again that they are nowhere else.
 *
 * Threads: all functions may run concurrently.
 * Errors:  -ENOSPC the disk is full, or would be over the limit
 *          -ENOENT the segment was evicted
 *          DF_ECORRUPT the checksum does not match
 */
#ifndef DF_CACHE_SEG_H
#define DF_CACHE_SEG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/hash.h"

#define DF_INLINE_MAX 65536 /* data below this goes into the journal */

/* Where bytes are: segment number (0 = nowhere) and offset of the data. */
struct df_loc {
	uint32_t seg;
	uint32_t off;
};

enum df_stream {
	DF_STREAM_JOURNAL = 0,
	DF_STREAM_DATA,
	DF_STREAM_FETCH,
	DF_STREAMS,
};

struct df_segs;

/* Open or make DIR/seg.  limit: bytes on disk over all streams, a ceiling for
 * data (records that release space may exceed it by 1 MiB, reserved on disk
 * beforehand).  DF_EFORMAT, -EIO, -EACCES with a clear message in the log. */
int df_segs_open(const char *dir, uint64_t limit, struct df_segs **out);
void df_segs_free(struct df_segs *s);

enum df_seg_flags {
	DF_SEG_RESERVED = 1, /* may use the reserve (removals, acks) */
};

/* Journal: append one frame with a single pwritev.  *loc (may be NULL): where
 * data landed.  seq grows by caller's choice, never falls. */
int df_seg_append(struct df_segs *s, uint8_t type, uint64_t seq,
		  const void *rec, size_t rec_len, const void *data,
		  size_t data_len, unsigned flags, struct df_loc *loc);
/* Data stream: len up to 4 MiB.  The bytes count as dirty from the first moment
 * (eviction does not wait for a map that counts them): whoever put them takes
 * that count back, with df_seg_dirty(-len), once a map has them or nobody will. */
int df_seg_put(struct df_segs *s, const void *data, size_t len,
	       struct df_loc *loc);
/* Fetch stream, indexed by (pack, off). */
int df_seg_put_piece(struct df_segs *s, const struct df_id *pack, uint32_t off,
		     const void *data, size_t len, struct df_loc *loc);
/* The same for a piece that somebody waits to read: evicts for it, goes over
 * the limit where nothing can go (who reads from a cache that is full of unsent
 * bytes must not fail for it), and holds it as df_seg_hold_piece() does. */
int df_seg_put_wanted(struct df_segs *s, const struct df_id *pack, uint32_t off,
		      const void *data, size_t len, struct df_loc *loc);
/* false: not here. */
bool df_seg_find_piece(struct df_segs *s, const struct df_id *pack,
		       uint32_t off, struct df_loc *loc);
/* The same, if it is len bytes long.  For readers: a row may say of a piece
 * what is not true, and what lies behind a shorter one is another's. */
bool df_seg_has_piece(struct df_segs *s, const struct df_id *pack, uint32_t off,
		      size_t len, struct df_loc *loc);

/* The same, and its segment is not evicted until df_seg_unpin(loc->seg).  No
 * I/O: to read it, pin or read it as any other. */
bool df_seg_hold_piece(struct df_segs *s, const struct df_id *pack,
		       uint32_t off, size_t len, struct df_loc *loc);

/* Keep the segment readable until df_seg_unpin: its descriptor, or -errno. */
int df_seg_pin(struct df_segs *s, uint32_t seg);
void df_seg_unpin(struct df_segs *s, uint32_t seg);
/* Verify (where due) and pin: descriptor to read len bytes at loc.off from. */
int df_seg_pin_read(struct df_segs *s, struct df_loc loc, size_t len);
/* pread with verification; 0 or -errno */
int df_seg_read(struct df_segs *s, struct df_loc loc, void *out, size_t len);

/* Was seg there before this process, or is it no segment at all? */
bool df_seg_earlier(const struct df_segs *s, uint32_t seg);
/* Bytes in seg that exist nowhere else, added or (delta < 0) taken away. */
void df_seg_dirty(struct df_segs *s, uint32_t seg, int64_t delta);
/* Would eviction spare seg for the sake of this many dirty bytes?  (Also true
 * of what an earlier process left and the disk lost.)  For assertions. */
bool df_seg_counts(struct df_segs *s, uint32_t seg, int64_t bytes);
/* The maps as they are now go to disk.  Under the lock that they are changed
 * under; what it returns is for df_seg_folded() when they are there. */
uint64_t df_seg_fold_begin(struct df_segs *s);
/* They are durable, with all that journal frames below seq say: segments that
 * were clean then may be evicted. */
void df_seg_folded(struct df_segs *s, uint64_t seq, uint64_t round);
/* The table has all that journal frames below seq say.  The others go last of all
 * that may: without the database only they know it. */
void df_seg_told(struct df_segs *s, uint64_t seq);
/* Did eviction find no room but what the next durable fold lets go? */
bool df_segs_want_fold(struct df_segs *s);
/* Unlink clean segments until `need` more bytes fit under the limit and 64 MiB
 * (or a tenth of the limit) of slack exist; true if they do now. */
bool df_segs_evict(struct df_segs *s, uint64_t need);
/* Would `bytes` more fit under the limit (evicting if need be) and on the disk,
 * the reserve left alone?  One caller at a time (the volume's lock). */
bool df_seg_room(struct df_segs *s, uint64_t bytes);
/* Of the newest frame; known after df_segs_replay. */
uint64_t df_segs_last_seq(struct df_segs *s);
/* fdatasync what was appended so far to journal and data. */
int df_segs_sync(struct df_segs *s);
uint64_t df_segs_bytes(const struct df_segs *s);
uint64_t df_segs_dirty_bytes(const struct df_segs *s);
/* Is (or was, a moment ago) a good part of the limit taken by bytes that are
 * unsent or held, so that room comes by waiting? */
bool df_segs_crowded(struct df_segs *s);

/* What replay says of frames that must have been here (seq >= from) and are
 * not: a missing segment, damaged bytes between whole frames.  rec is NULL,
 * seq the last one before the gap.  Logged as well. */
#define DF_FRAME_LOST 0 /* not a type that can be appended */

/* Call fn for every whole journal frame with seq >= from, in order; before the
 * first append of this process.  A torn last frame is dropped (logged).  Where
 * only the data of a frame is damaged, fn gets the record, data_len, and a
 * `data` of {0, 0}.  fn's error ends the walk. */
typedef int df_replay_fn(void *arg, uint8_t type, uint64_t seq, const void *rec,
			 size_t rec_len, struct df_loc data, size_t data_len);
int df_segs_replay(struct df_segs *s, uint64_t from, df_replay_fn *fn,
		   void *arg);

#endif
