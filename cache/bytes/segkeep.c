/* segkeep.c - which segments stay: table, descriptors, pins, dirt, eviction,
 * syncing.  See seg.h and segstore.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/log.h"
#include "cache/bytes/segstore.h"

#define CROWDED_NS (2000 * DF_NS_PER_MS)

/* Index of the first segment with a number >= no. */
static size_t lower_bound(const struct df_segs *s, uint32_t no)
{
	size_t lo = 0, hi = s->n_seg;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (s->seg[mid]->no < no)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct seg *seg_find_locked(struct df_segs *s, uint32_t no)
{
	size_t i = lower_bound(s, no);

	return i < s->n_seg && s->seg[i]->no == no ? s->seg[i] : NULL;
}

int seg_insert_locked(struct df_segs *s, struct seg *g)
{
	size_t i = lower_bound(s, g->no);

	if (i < s->n_seg && s->seg[i]->no == g->no)
		return -EEXIST;
	if (s->n_seg == s->size_seg) {
		size_t size = s->size_seg ? 2 * s->size_seg : 64;
		struct seg **seg = realloc(s->seg, size * sizeof(*seg));
		if (!seg)
			return -ENOMEM;
		s->seg = seg;
		s->size_seg = size;
	}
	memmove(s->seg + i + 1, s->seg + i, (s->n_seg - i) * sizeof(*s->seg));
	s->seg[i] = g;
	s->n_seg++;
	s->bytes += seg_size_locked(g);
	s->n_open += g->fd >= 0;
	return 0;
}

void seg_remove_locked(struct df_segs *s, struct seg *g)
{
	size_t i = lower_bound(s, g->no);

	s->n_seg--;
	memmove(s->seg + i, s->seg + i + 1, (s->n_seg - i) * sizeof(*s->seg));
	s->bytes -= seg_size_locked(g);
	s->n_open -= g->fd >= 0;
}

/* Take a descriptor to close, if there are too many: the one that was not
 * used for longest.  -1: none. */
static int spare_fd_locked(struct df_segs *s)
{
	struct seg *old = NULL;

	if (s->n_open <= SEG_OPEN_MAX)
		return -1;
	for (size_t i = 0; i < s->n_seg; i++) {
		struct seg *g = s->seg[i];
		if (g->fd < 0 || g->pins || g->writers || g->active ||
		    g->closing)
			continue;
		if (!old || g->used < old->used)
			old = g;
	}
	if (!old)
		return -1;
	int fd = old->fd;
	old->fd = -1;
	s->n_open--;
	return fd;
}

/* g is pinned and has no descriptor: open one, outside of the lock. */
int seg_open_pinned(struct df_segs *s, struct seg *g)
{
	char name[16];
	int spare;

	seg_name(g, name);
	int err = df_fault("seg.open");
	int fd = err ? -1
		     : openat(s->dir_fd, name,
			      O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		err = err ? err : -errno;
		return df_fail(err, "local segment %s/seg/%s cannot be opened",
			       s->dir, name);
	}
	df_lock(&s->lock);
	if (g->fd < 0) {
		g->fd = fd;
		s->n_open++;
		spare = spare_fd_locked(s);
	} else {
		spare = fd; /* another thread was faster */
	}
	fd = g->fd;
	df_unlock(&s->lock);
	if (spare >= 0)
		close(spare);
	return fd;
}

int seg_pin(struct df_segs *s, uint32_t no, struct seg **out)
{
	df_lock(&s->lock);
	struct seg *g = seg_find_locked(s, no);
	if (!g) {
		df_unlock(&s->lock);
		return -ENOENT;
	}
	g->pins++;
	g->used = ++s->tick;
	int fd = g->fd;
	df_unlock(&s->lock);
	if (fd < 0)
		fd = seg_open_pinned(s, g);
	if (fd < 0)
		df_seg_unpin(s, no);
	*out = g;
	return fd;
}

int df_seg_pin(struct df_segs *s, uint32_t no)
{
	struct seg *g;

	return seg_pin(s, no, &g);
}

void df_seg_unpin(struct df_segs *s, uint32_t no)
{
	int spare = -1;

	df_lock(&s->lock);
	struct seg *g = seg_find_locked(s, no);
	if (g && g->pins && --g->pins == 0)
		spare = spare_fd_locked(s);
	df_unlock(&s->lock);
	if (spare >= 0)
		close(spare);
}

/* Where the piece is and how long; NULL: not here. */
static struct seg *find_piece_locked(struct df_segs *s,
				     const struct df_id *pack, uint32_t off,
				     struct df_loc *loc, uint32_t *len)
{
	return df_segindex_get(s->index, pack, off, loc, len)
		       ? seg_find_locked(s, loc->seg)
		       : NULL;
}

bool df_seg_find_piece(struct df_segs *s, const struct df_id *pack,
		       uint32_t off, struct df_loc *loc)
{
	uint32_t len;

	df_lock(&s->lock);
	bool found = find_piece_locked(s, pack, off, loc, &len);
	df_unlock(&s->lock);
	return found;
}

bool df_seg_has_piece(struct df_segs *s, const struct df_id *pack, uint32_t off,
		      size_t len, struct df_loc *loc)
{
	uint32_t is;

	df_lock(&s->lock);
	bool found = find_piece_locked(s, pack, off, loc, &is) && is == len;
	df_unlock(&s->lock);
	return found;
}

bool df_seg_hold_piece(struct df_segs *s, const struct df_id *pack,
		       uint32_t off, size_t len, struct df_loc *loc)
{
	uint32_t is;

	df_lock(&s->lock);
	struct seg *g = find_piece_locked(s, pack, off, loc, &is);
	bool found = g && is == len;
	if (found) {
		g->pins++;
		g->used = ++s->tick;
	}
	df_unlock(&s->lock);
	return found;
}

void df_seg_dirty(struct df_segs *s, uint32_t no, int64_t delta)
{
	df_lock(&s->lock);
	struct seg *g = seg_find_locked(s, no);
	bool twice = g && delta < -g->dirty;
	if (g) {
		if (twice)
			delta = -g->dirty;
		g->dirty += delta;
		s->dirty += (uint64_t)delta;
		if (delta < 0)
			g->eased = s->round;
	}
	df_unlock(&s->lock);
	if (!g)
		df_log_debug("dirty bytes in segment %08x, which is gone", no);
	assert(!twice);
	if (twice)
		df_log_error("segment %08x has fewer unsent bytes than were "
			     "sent of it: please report this",
			     no);
}

bool df_seg_earlier(const struct df_segs *s, uint32_t no)
{
	return no < s->first_no || no == UINT32_MAX;
}

bool df_seg_counts(struct df_segs *s, uint32_t no, int64_t bytes)
{
	df_lock(&s->lock);
	const struct seg *g = seg_find_locked(s, no);
	bool yes = g ? g->dirty >= bytes : no < s->first_no;
	df_unlock(&s->lock);
	return yes;
}

uint64_t df_seg_fold_begin(struct df_segs *s)
{
	df_lock(&s->lock);
	uint64_t round = s->round++;
	df_unlock(&s->lock);
	return round;
}

void df_seg_folded(struct df_segs *s, uint64_t seq, uint64_t round)
{
	df_lock(&s->lock);
	s->floor = DF_MAX(s->floor, seq);
	s->folded = DF_MAX(s->folded, round);
	s->fold_wanted = false;
	df_unlock(&s->lock);
}

void df_seg_told(struct df_segs *s, uint64_t seq)
{
	df_lock(&s->lock);
	s->told = DF_MAX(s->told, seq);
	df_unlock(&s->lock);
}

bool df_segs_want_fold(struct df_segs *s)
{
	df_lock(&s->lock);
	bool yes = s->fold_wanted;
	df_unlock(&s->lock);
	return yes;
}

uint64_t df_segs_bytes(const struct df_segs *cs)
{
	struct df_segs *s = (struct df_segs *)(uintptr_t)cs;

	df_lock(&s->lock);
	uint64_t bytes = s->bytes;
	df_unlock(&s->lock);
	return bytes;
}

uint64_t df_segs_dirty_bytes(const struct df_segs *cs)
{
	struct df_segs *s = (struct df_segs *)(uintptr_t)cs;

	df_lock(&s->lock);
	uint64_t dirty = s->dirty;
	df_unlock(&s->lock);
	return dirty;
}

/* May g go?  When nothing else can (`last`), an active segment of data or pieces
 * may: its stream then starts a new one; and so may what only the database and
 * the journal know. */
static bool evictable_locked(const struct df_segs *s, const struct seg *g,
			     bool last)
{
	if (g->pins || g->writers || g->closing || g->dirty > 0 ||
	    g->eased > s->folded)
		return false;
	if (g->stream == DF_STREAM_JOURNAL)
		return !g->active &&
		       g->last_seq <
			       (last ? s->floor : DF_MIN(s->floor, s->told));
	return last ? g->end > DF_SEG_PAGE : !g->active;
}

/* Is a quarter of the limit in use by what cannot go yet: unsent, pinned, or
 * journal that SQLite or the table still lacks? */
static bool crowded_locked(const struct df_segs *s)
{
	uint64_t held = 0;

	for (size_t i = 0; i < s->n_seg && held <= s->limit / 4; i++)
		if (!evictable_locked(s, s->seg[i], true))
			held += seg_size_locked(s->seg[i]);
	return held > s->limit / 4;
}

bool df_segs_crowded(struct df_segs *s)
{
	df_lock(&s->lock);
	/* Readers may have let go since somebody found no room. */
	bool yes = crowded_locked(s) ||
		   df_clock_mono_ns() - s->crowded_ns < CROWDED_NS;
	df_unlock(&s->lock);
	return yes;
}

/* Does anything wait for nothing but maps that have to reach the disk? */
static bool any_eased_locked(const struct df_segs *s)
{
	bool any = false;

	for (size_t i = 0; i < s->n_seg && !any; i++)
		any = !s->seg[i]->dirty && s->seg[i]->eased > s->folded;
	return any;
}

static struct seg *victim_locked(struct df_segs *s)
{
	for (int last = 0; last < 2; last++) {
		struct seg *best = NULL;
		for (size_t i = 0; i < s->n_seg; i++) {
			struct seg *g = s->seg[i];
			if (evictable_locked(s, g, last) &&
			    (!best || g->used < best->used))
				best = g;
		}
		if (best)
			return best;
	}
	return NULL;
}

static void evict_one(struct df_segs *s, struct seg *g)
{
	char name[16];

	seg_name(g, name);
	(void)df_fault("seg.evict");
	/* Gone from the table already: a file that stays is found and
	 * counted at the next start, so a failure loses nothing. */
	if (unlinkat(s->dir_fd, name, 0) && errno != ENOENT)
		df_fail(-errno, "evicted segment %s/seg/%s stays on disk",
			s->dir, name);
	(void)df_fault("seg.evicted");
	seg_free(g);
}

bool df_segs_evict(struct df_segs *s, uint64_t need)
{
	uint64_t slack = DF_MIN(s->limit / 10, UINT64_C(64) << 20);
	bool fits;

	for (;;) {
		struct seg *g = NULL;
		df_lock(&s->lock);
		if (s->bytes + need + slack > s->limit ||
		    s->n_seg > SEG_COUNT_MAX)
			g = victim_locked(s);
		if (g) {
			seg_remove_locked(s, g);
			if (g->active)
				s->active[g->stream] = NULL;
		}
		fits = s->bytes + need <= s->limit;
		s->fold_wanted |= !g && !fits && any_eased_locked(s);
		if (!g && !fits && crowded_locked(s))
			s->crowded_ns = df_clock_mono_ns();
		df_unlock(&s->lock);
		if (!g)
			return fits;
		evict_one(s, g);
	}
}

/* fdatasync one segment that this call pinned. */
static int sync_one(struct df_segs *s, struct seg *g, int fd)
{
	int err = fd < 0 ? fd : df_fault("seg.fdatasync");

	if (!err && fdatasync(fd))
		err = -errno;
	df_lock(&s->lock);
	if (fd < 0)
		g->unsynced = true;
	else if (err)
		/* The kernel calls the pages clean after a failed write-back
		 * and the next fdatasync succeeds: remember it for good. */
		g->sync_failed = true;
	df_unlock(&s->lock);
	return err;
}

/* Pick a segment to sync, pinned, from number `from`; NULL: none left. */
static struct seg *pick_unsynced(struct df_segs *s, uint32_t from, int *fd)
{
	struct seg *found = NULL;

	df_lock(&s->lock);
	for (size_t i = lower_bound(s, from); !found && i < s->n_seg; i++) {
		struct seg *g = s->seg[i];
		if ((g->unsynced || g->sync_failed) &&
		    g->stream != DF_STREAM_FETCH)
			found = g;
	}
	if (found) {
		found->unsynced = false;
		found->pins++;
		*fd = found->fd;
	}
	df_unlock(&s->lock);
	return found;
}

static int sync_dir(struct df_segs *s)
{
	df_lock(&s->lock);
	bool due = s->dir_unsynced;
	s->dir_unsynced = false;
	df_unlock(&s->lock);
	if (!due || !fsync(s->dir_fd))
		return 0;
	int err = -errno;
	df_lock(&s->lock);
	s->dir_unsynced = true;
	df_unlock(&s->lock);
	return df_fail(err, "directory %s/seg cannot be synced", s->dir);
}

int df_segs_sync(struct df_segs *s)
{
	struct seg *g;
	uint32_t from = 0;
	int err = 0, fd;

	atomic_store(&s->ahead, true);
	/* One at a time: a second caller must not find everything marked
	 * synced while the first one still waits for the disk. */
	df_lock(&s->sync);
	while ((g = pick_unsynced(s, from, &fd))) {
		from = g->no + 1;
		if (fd < 0)
			fd = seg_open_pinned(s, g);
		int e = sync_one(s, g, fd);
		if (!e && g->sync_failed)
			e = -EIO;
		if (e)
			err = df_fail(e,
				      "local segment %s/seg/%08x cannot be "
				      "written to disk",
				      s->dir, g->no);
		df_seg_unpin(s, g->no);
	}
	int e = sync_dir(s);
	df_unlock(&s->sync);
	return err ? err : e;
}
