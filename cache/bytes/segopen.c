/* segopen.c - opening the directory of segments, making and freeing them.
 * See seg.h and segstore.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/bytes/segstore.h"

#define NUMBERS_AHEAD 1024 /* segment numbers taken at once */

static const char stream_letter[DF_STREAMS] = { 'j', 'd', 'f' };

uint64_t seg_size_locked(const struct seg *g)
{
	return DF_MAX(g->end, g->alloc_end);
}

void seg_name(const struct seg *g, char out[16])
{
	snprintf(out, 16, "%08x.%c", g->no, stream_letter[g->stream]);
}

void seg_free(struct seg *g)
{
	if (!g)
		return;
	if (g->fd >= 0)
		close(g->fd);
	seg_table_free(atomic_load(&g->table));
	df_buf_release(&g->list);
	free(g);
}

int seg_pwritev(int fd, struct iovec *iov, int n, off_t off, const char *point)
{
	while (n) {
		int fault = df_fault_at(point);
		if (fault < 0)
			return fault;
		struct iovec half = { iov->iov_base, iov->iov_len / 2 };
		bool cut = fault == DF_FAULT_SHORT && half.iov_len;
		ssize_t got = pwritev(fd, cut ? &half : iov, cut ? 1 : n, off);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EIO;
		off += got;
		while (n && (size_t)got >= iov->iov_len) {
			got -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (char *)iov->iov_base + got;
			iov->iov_len -= (size_t)got;
		}
	}
	return 0;
}

/* Numbers are never used twice, or a place noted long ago would point to
 * other bytes: the file `next` says below which all may have been used. */
static int take_no(struct df_segs *s, uint32_t *no)
{
	if (s->next_no >= s->mark) {
		if (s->next_no > UINT32_MAX - 2 * NUMBERS_AHEAD)
			return df_fail(-ENOSPC,
				       "%s: segment numbers are used "
				       "up; clear the cache directory",
				       s->dir);
		DF_FREE char *path = df_strf("%s/seg/next", s->dir);
		char text[16];
		int n = snprintf(text, sizeof(text), "%u\n",
				 s->next_no + NUMBERS_AHEAD);
		int err = path ? df_fault("seg.next") : -ENOMEM;
		if (!err)
			err = df_file_replace(path, text, (size_t)n, 0600);
		if (err)
			return err;
		s->mark = s->next_no + NUMBERS_AHEAD;
	}
	*no = s->next_no++;
	return 0;
}

static int write_head(struct seg *g)
{
	uint8_t page[DF_SEG_PAGE];
	struct iovec iov = { page, sizeof(page) };

	df_seg_head_encode(&g->head, page);
	return seg_pwritev(g->fd, &iov, 1, 0, DF_FAULT_POINT("seg.head"));
}

int seg_make(struct df_segs *s, uint8_t stream, uint32_t prev,
	     uint64_t base_seq, struct seg **out)
{
	struct seg *g = calloc(1, sizeof(*g));
	char name[16];

	if (!g)
		return -ENOMEM;
	g->fd = -1;
	g->ours = true;
	g->stream = stream;
	g->last_seq = base_seq;
	g->end = g->alloc_end = DF_SEG_PAGE;
	df_buf_init(&g->list, DF_SEG_SIZE_MAX);
	int err = take_no(s, &g->no);
	if (err)
		goto out;
	g->head = (struct df_seg_head){ .no = g->no,
					.stream = stream,
					.prev = prev,
					.base_seq = base_seq };
	df_random(&g->head.salt, sizeof(g->head.salt));
	seg_name(g, name);
	err = df_fault("seg.create");
	if (!err) {
		g->fd = openat(s->dir_fd, name,
			       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC |
				       O_NOFOLLOW,
			       0600);
		err = g->fd < 0 ? -errno : write_head(g);
		if (err && g->fd >= 0)
			unlinkat(s->dir_fd, name, 0);
	}
out:
	if (err) {
		seg_free(g);
		return err;
	}
	*out = g;
	return 0;
}

/* "0000002a.d" */
static bool parse_name(const char *name, uint32_t *no, uint8_t *stream)
{
	uint64_t x = 0;

	for (int i = 0; i < 8; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *d = name[i] ? strchr(digits, name[i]) : NULL;
		if (!d)
			return false;
		x = x << 4 | (uint64_t)(d - digits);
	}
	if (name[8] != '.' || !name[9] || name[10])
		return false;
	for (uint8_t i = 0; i < DF_STREAMS; i++) {
		if (stream_letter[i] == name[9]) {
			*stream = i;
			*no = (uint32_t)x;
			return x != 0;
		}
	}
	return false;
}

/* Fill g from its file.  DF_ECORRUPT: no usable head. */
static int read_head(struct df_segs *s, struct seg *g, const char *name)
{
	uint8_t page[DF_SEG_PAGE];
	uint32_t version;
	struct stat st;

	int err = df_fault("seg.open");
	if (err)
		return err;
	g->fd = openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (g->fd < 0)
		return -errno;
	if (fstat(g->fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)DF_SEG_SIZE_MAX)
		return DF_ECORRUPT;
	g->end = g->alloc_end = g->frames_end = (uint32_t)st.st_size;
	ssize_t got = seg_pread(g->fd, page, sizeof(page), 0);
	if (got < 0)
		return (int)got;
	err = df_seg_head_decode(page, (size_t)got, &g->head, &version);
	if (err == DF_EFORMAT)
		return df_fail(err,
			       "%s/seg/%s has format %u, this program "
			       "reads up to %u: install the newer deeplake, or "
			       "use another cache directory",
			       s->dir, name, version, DF_SEG_VERSION);
	if (err || got < DF_SEG_PAGE || g->head.no != g->no ||
	    g->head.stream != g->stream)
		return DF_ECORRUPT;
	if (st.st_size < DF_SEG_PAGE + DF_TRAILER_LEN)
		return 0;
	got = seg_pread(g->fd, page, DF_TRAILER_LEN,
			st.st_size - DF_TRAILER_LEN);
	if (got == DF_TRAILER_LEN &&
	    !df_trailer_decode(page, g->head.salt, g->no, (uint64_t)st.st_size,
			       &g->trailer)) {
		g->frames_end = g->trailer.frames_end;
		g->last_seq = g->trailer.last_seq;
	} else {
		g->trailer.frames_end = 0;
	}
	return got < 0 ? (int)got : 0;
}

/* Put the pieces of a fetch segment into the index: from its footer, or by
 * walking its frames. */
static int index_pieces(struct df_segs *s, struct seg *g)
{
	struct df_buf list;
	struct df_seg_entry e;

	df_buf_init(&list, DF_SEG_SIZE_MAX);
	int err = seg_read_entries(g, g->fd, &list);
	df_lock(&s->lock);
	for (size_t at = 0; !err && at + DF_ENTRY_PIECE_LEN <= list.len;
	     at += DF_ENTRY_PIECE_LEN) {
		if (df_entry_decode(list.data + at, DF_ENTRY_PIECE_LEN,
				    g->frames_end, &e))
			continue; /* the frame will be fetched again */
		err = df_segindex_set(s->index, &e.pack, e.piece_off,
				      (struct df_loc){ g->no, e.data_off },
				      e.data_len);
	}
	df_unlock(&s->lock);
	df_buf_release(&list);
	return err;
}

/* A file without a usable head.  One shorter than a head is what a crash
 * leaves of making it, and one of the fetch stream is a copy: both may go.
 * Anything else stays for people to look at. */
static void drop_headless(struct df_segs *s, const struct seg *g,
			  const char *name)
{
	if (g->fd >= 0 &&
	    (g->end < DF_SEG_PAGE || g->stream == DF_STREAM_FETCH)) {
		unlinkat(s->dir_fd, name, 0);
		return;
	}
	df_log_error("%s/seg/%s is not a segment any more (damaged head): its "
		     "bytes are left out; the file is left alone",
		     s->dir, name);
}

static int open_one(struct df_segs *s, const char *name, bool look_only)
{
	struct seg *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->fd = -1;
	g->last_seq = UINT64_MAX;
	df_buf_init(&g->list, DF_SEG_SIZE_MAX);
	parse_name(name, &g->no, &g->stream);
	if (g->no >= s->next_no)
		s->next_no = g->no + 1;
	int err = read_head(s, g, name);
	if (look_only) {
		seg_free(g);
		return err == DF_EFORMAT ? err : 0;
	}
	g->unsynced = true;
	if (err == DF_ECORRUPT || err == -ELOOP) {
		drop_headless(s, g, name);
		seg_free(g);
		return 0;
	}
	if (!err) {
		int fd = g->fd; /* 1,000 segments must not be 1,000 fds */
		g->fd = -1;
		df_lock(&s->lock);
		err = seg_insert_locked(s, g);
		df_unlock(&s->lock);
		g->fd = fd;
	}
	if (err) {
		df_fail(err, "%s/seg/%s cannot be read", s->dir, name);
		seg_free(g);
		return err;
	}
	if (g->stream == DF_STREAM_FETCH)
		err = index_pieces(s, g);
	close(g->fd);
	g->fd = -1;
	return err;
}

/* Two passes: a newer format anywhere must leave everything untouched. */
static int open_all(struct df_segs *s, bool look_only)
{
	DF_FREE char *path = df_strf("%s/seg", s->dir);
	DIR *d = path ? opendir(path) : NULL;
	uint8_t stream;
	uint32_t no;
	int err = 0;

	if (!d)
		return path ? -errno : -ENOMEM;
	for (;;) {
		errno = 0;
		struct dirent *e = readdir(d);
		if (!e) {
			err = -errno;
			break;
		}
		if (!parse_name(e->d_name, &no, &stream))
			continue;
		err = open_one(s, e->d_name, look_only);
		if (err)
			break;
	}
	closedir(d);
	return err;
}

/* Where numbers go on.  Without the file (a cache that was tampered with) at
 * random, so that old places do not meet new segments. */
static int read_next(struct df_segs *s)
{
	DF_FREE char *path = df_strf("%s/seg/next", s->dir);
	struct df_buf text;
	uint32_t next = 0;

	if (!path)
		return -ENOMEM;
	df_buf_init(&text, 65536);
	int err = df_file_read(path, &text);
	if (!err)
		next = (uint32_t)strtoul(df_buf_cstr(&text), NULL, 10);
	df_buf_release(&text);
	if (err && err != -ENOENT && err != -EFBIG)
		return err;
	if (!next) {
		df_random(&next, sizeof(next));
		next = next % (UINT32_MAX / 4) + 1;
	}
	if (next > s->next_no)
		s->next_no = next;
	s->mark = s->next_no;
	return 0;
}

/* Whoever uses the index holds the lock, which clang cannot see here. */
DF_TSA(no_thread_safety_analysis)
static bool segment_alive(void *arg, uint32_t no)
{
	struct df_segs *s = arg;

	df_lock_assert(&s->lock);
	return seg_find_locked(s, no);
}

static uint32_t choose_size(uint64_t limit)
{
	uint64_t size = limit / 32;

	if (limit < (UINT64_C(128) << 20)) /* small: still many to evict */
		return (uint32_t)DF_MAX(limit / 8, UINT64_C(1) << 20);
	size = DF_MAX(size, UINT64_C(16) << 20);
	return (uint32_t)DF_MIN(size, UINT64_C(64) << 20);
}

static int open_dir(struct df_segs *s)
{
	DF_FREE char *path = df_strf("%s/seg", s->dir);
	int err = path ? df_mkdir_p(path, 0700) : -ENOMEM;

	if (!err) {
		s->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = s->dir_fd < 0 ? -errno : 0;
	}
	if (!err)
		err = open_all(s, true);
	if (!err)
		err = read_next(s);
	if (!err)
		err = open_all(s, false);
	/* DF_EFORMAT has said so itself. */
	if (err && err != DF_EFORMAT)
		df_fail(err, "cache directory %s/seg cannot be opened", s->dir);
	for (size_t i = 0; i < s->n_seg; i++)
		s->seg[i]->used = ++s->tick;
	s->first_no = s->next_no;
	return err;
}

int df_segs_open(const char *dir, uint64_t limit, struct df_segs **out)
{
	struct df_segs *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->dir_fd = -1;
	s->limit = limit;
	s->seg_size = choose_size(limit);
	s->next_no = 1;
	s->round = 1;
	s->crowded_ns = INT64_MIN / 2;
	s->dir_unsynced = true;
	df_lock_init(&s->sync);
	df_lock_init(&s->journal);
	df_lock_init(&s->make);
	df_lock_init(&s->lock);
	s->dir = strdup(dir);
	s->index = df_segindex_new(segment_alive, s);
	int err = s->dir && s->index ? open_dir(s) : -ENOMEM;
	if (err) {
		df_segs_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void df_segs_free(struct df_segs *s)
{
	if (!s)
		return;
	for (int i = 0; i < DF_STREAMS; i++) {
		struct seg *g = s->active[i];
		s->active[i] = NULL;
		if (g)
			seg_seal(s, g);
	}
	for (size_t i = 0; i < s->n_seg; i++)
		seg_free(s->seg[i]);
	free(s->seg);
	df_segindex_free(s->index);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s->dir);
	df_lock_release(&s->sync);
	df_lock_release(&s->journal);
	df_lock_release(&s->make);
	df_lock_release(&s->lock);
	free(s);
}
