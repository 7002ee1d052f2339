/* test_cache_seg.c - local segments: streams, replay, damage, limits. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/bytes/seg.h"
#include "cache/bytes/segfmt.h"

#define MB ((uint64_t)1 << 20)

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/df-seg-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

/* The status of a shell command that is run in the directory. */
static int shell(const char *command)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "cd %s && { %s; }", dir, command);
	return system(cmd);
}

static int drop_dir(void **state)
{
	(void)state;
#ifdef DF_FAULT
	df_fault_set(NULL);
#endif
	return shell("rm -rf \"$PWD\"");
}

/* All maps are on the disk as they are. */
static void fold(struct df_segs *s)
{
	df_seg_folded(s, 0, df_seg_fold_begin(s));
}

static struct df_segs *open_segs(uint64_t limit)
{
	struct df_segs *s = NULL;

	assert_int_equal(df_segs_open(dir, limit, &s), 0);
	return s;
}

/* Deterministic bytes that no other seed shares. */
static void fill(uint8_t *p, size_t len, uint64_t seed)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)x;
	}
}

/* ---- a replay that remembers */
struct seen {
	unsigned n, lost, bad_data;
	uint64_t first, last;
	struct df_loc loc[4096]; /* by seq */
	bool have[4096];
	bool wrong;
};

/* Frame seq has a record of seq % 300 + 1 bytes and seq % 3 ? data : none. */
static size_t rec_len_of(uint64_t seq)
{
	return seq % 300 + 1;
}
static size_t data_len_of(uint64_t seq)
{
	return seq % 3 ? (seq * 37) % 9000 + 1 : 0;
}

static int see(void *arg, uint8_t type, uint64_t seq, const void *rec,
	       size_t rec_len, struct df_loc data, size_t data_len)
{
	struct seen *seen = arg;
	uint8_t want[300];

	if (type == DF_FRAME_LOST) {
		seen->lost++;
		return 0;
	}
	if (!seen->n++)
		seen->first = seq;
	if (seq < seen->last || seq >= 4096)
		seen->wrong = true;
	seen->last = seq;
	if (seq >= 4096)
		return 0;
	fill(want, rec_len_of(seq), seq);
	if (rec_len != rec_len_of(seq) || memcmp(rec, want, rec_len) != 0 ||
	    data_len != data_len_of(seq) || type != seq % 5 + 1)
		seen->wrong = true;
	if (data_len && !data.seg)
		seen->bad_data++;
	seen->loc[seq] = data;
	seen->have[seq] = true;
	return 0;
}

static struct seen *replay(struct df_segs *s, uint64_t from)
{
	struct seen *seen = calloc(1, sizeof(*seen));

	assert_non_null(seen);
	assert_int_equal(df_segs_replay(s, from, see, seen), 0);
	assert_false(seen->wrong);
	return seen;
}

static int append(struct df_segs *s, uint64_t seq, unsigned flags,
		  struct df_loc *loc)
{
	uint8_t rec[300], data[9001];

	fill(rec, rec_len_of(seq), seq);
	fill(data, data_len_of(seq), seq + 7777);
	return df_seg_append(s, (uint8_t)(seq % 5 + 1), seq, rec,
			     rec_len_of(seq), data, data_len_of(seq), flags,
			     loc);
}

static void check_data(struct df_segs *s, uint64_t seq, struct df_loc loc)
{
	uint8_t want[9001], have[9001];
	size_t len = data_len_of(seq);

	fill(want, len, seq + 7777);
	assert_int_equal(df_seg_read(s, loc, have, len), 0);
	assert_memory_equal(want, have, len);
}

static void check_all(struct df_segs *s, const struct seen *seen)
{
	for (uint64_t seq = 0; seq < 4096; seq++)
		if (seen->have[seq] && data_len_of(seq) && seen->loc[seq].seg)
			check_data(s, seq, seen->loc[seq]);
}

/* Path of the i-th (0 = oldest, -1 = newest) segment of a stream. */
static char *seg_path(char letter, int i)
{
	char cmd[256], line[256] = "";

	snprintf(cmd, sizeof(cmd), "ls %s/seg/*.%c | sed -n '%s%.0dp'", dir,
		 letter, i < 0 ? "$" : "", i < 0 ? 0 : i + 1);
	FILE *f = popen(cmd, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	pclose(f);
	line[strcspn(line, "\n")] = 0;
	return strdup(line);
}

static void damage(const char *path, off_t off, size_t len)
{
	int fd = open(path, O_RDWR);
	uint8_t b[64];

	assert_true(fd >= 0 && len <= sizeof(b));
	if (off < 0) {
		struct stat st;
		fstat(fd, &st);
		off += st.st_size;
	}
	assert_int_equal(pread(fd, b, len, off), len);
	for (size_t i = 0; i < len; i++)
		b[i] ^= 0x5a;
	assert_int_equal(pwrite(fd, b, len, off), len);
	close(fd);
}

/* ---- tests */
static void test_journal_survives(void **state)
{
	struct df_segs *s = open_segs(256 * MB);

	(void)state;
	for (uint64_t i = 1; i <= 1000; i++) {
		struct df_loc loc;
		assert_int_equal(append(s, i, 0, &loc), 0);
		assert_int_equal(loc.seg != 0, data_len_of(i) != 0);
		if (data_len_of(i))
			check_data(s, i, loc);
	}
	assert_int_equal(append(s, 999, 0, NULL), -EINVAL); /* seq fell */
	assert_int_equal(df_segs_sync(s), 0);
	df_segs_free(s);

	for (int round = 0; round < 3; round++) {
		s = open_segs(256 * MB);
		struct seen *seen = replay(s, 0);
		assert_int_equal(seen->n, 1000 + round);
		assert_int_equal(seen->lost, 0);
		check_all(s, seen);
		free(seen);
		seen = replay(s, 900);
		assert_int_equal(seen->first, 900);
		free(seen);
		assert_int_equal(append(s, 1001 + (uint64_t)round, 0, NULL), 0);
		df_segs_free(s);
	}
}

/* As SIGKILL leaves it: a child that appends and dies without a word.  Synced
 * frame by frame, the journal ends with zeros: no damage. */
static void test_journal_after_kill(void **state)
{
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		struct df_segs *s = open_segs(256 * MB);
		for (uint64_t i = 1; i <= 500; i++)
			if (append(s, i, 0, NULL) || df_segs_sync(s))
				_exit(1);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(shell("test \"$(tail -c 9 seg/*.j | tr -d '\\0')\""));
	struct df_segs *s = open_segs(256 * MB);
	struct seen *seen = replay(s, 0);
	assert_int_equal(seen->n, 500);
	assert_int_equal(seen->lost, 0);
	check_all(s, seen);
	free(seen);
	df_segs_free(s);
}

/* Cut the journal at every length: what replays is always a prefix. */
static void test_torn_end(void **state)
{
	struct df_segs *s = open_segs(64 * MB);

	(void)state;
	df_log_set_level(DF_LOG_ERROR);
	for (uint64_t i = 1; i <= 12; i++)
		assert_int_equal(append(s, i, 0, NULL), 0);
	df_segs_free(s);
	char *path = seg_path('j', 0);
	struct df_buf b;
	df_buf_init(&b, 0);
	assert_int_equal(df_file_read(path, &b), 0);
	unsigned before = 12;
	for (size_t len = b.len; len >= DF_SEG_PAGE; len -= 13) {
		assert_int_equal(shell("rm -f seg/*.j"), 0);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(df_write_all(fd, b.data, len), 0);
		/* what a power cut leaves: zeros at the end */
		if (len % 2)
			assert_int_equal(ftruncate(fd, (off_t)len + 5000), 0);
		close(fd);
		s = open_segs(64 * MB);
		struct seen *seen = replay(s, 0);
		assert_true(seen->n <= before);
		assert_int_equal(seen->last, seen->n); /* a prefix */
		assert_int_equal(seen->lost + seen->bad_data, 0);
		check_all(s, seen);
		before = seen->n;
		free(seen);
		df_segs_free(s);
	}
	assert_int_equal(before, 0);
	df_buf_release(&b);
	free(path);
	df_log_set_level(DF_LOG_INFO);
}

/* Flip bits anywhere: never a wrong record, never wrong data. */
static void test_bit_flips(void **state)
{
	struct df_segs *s = open_segs(64 * MB);
	unsigned lost = 0, bad = 0;

	(void)state;
	df_log_set_level(DF_LOG_ERROR - 1);
	for (uint64_t i = 1; i <= 12; i++)
		assert_int_equal(append(s, i, 0, NULL), 0);
	df_segs_free(s);
	char *path = seg_path('j', 0);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = DF_SEG_PAGE; at < st.st_size; at += 31) {
		damage(path, at, 1);
		s = open_segs(64 * MB);
		struct seen *seen = replay(s, 1);
		/* one frame at most is gone, and never without a word:
		 * the last one, torn, excepted */
		assert_true(seen->n >= 11);
		if (seen->n == 11)
			assert_true(seen->lost || seen->last == 11);
		lost += seen->lost;
		bad += seen->bad_data;
		for (uint64_t seq = 1; seq <= 12; seq++)
			if (seen->have[seq] && seen->loc[seq].seg)
				check_data(s, seq, seen->loc[seq]);
		free(seen);
		df_segs_free(s);
		damage(path, at, 1);
		/* the empty segment of that round */
		assert_int_equal(shell("ls seg/*.j | tail -n +2 | xargs rm -f"),
				 0);
	}
	assert_true(lost > 0 && bad > 0);
	/* the first copy of the head, then both */
	damage(path, 20, 8);
	s = open_segs(64 * MB);
	struct seen *seen = replay(s, 1);
	assert_int_equal(seen->n, 12);
	free(seen);
	df_segs_free(s);
	damage(path, DF_SEG_HEAD_COPY + 20, 8);
	s = open_segs(64 * MB);
	seen = replay(s, 1);
	assert_int_equal(seen->n, 0);
	free(seen);
	df_segs_free(s);
	free(path);
	df_log_set_level(DF_LOG_INFO);
}

static void test_missing_segment(void **state)
{
	(void)state;
	df_log_set_level(DF_LOG_ERROR - 1);
	/* four runs, four segments */
	for (uint64_t run = 0; run < 4; run++) {
		struct df_segs *s = open_segs(64 * MB);
		for (uint64_t i = 1; i <= 10; i++)
			assert_int_equal(append(s, run * 10 + i, 0, NULL), 0);
		df_segs_free(s);
	}
	char *path = seg_path('j', 1);
	assert_int_equal(unlink(path), 0);
	free(path);
	struct df_segs *s = open_segs(64 * MB);
	struct seen *seen = replay(s, 0);
	assert_int_equal(seen->n, 30);
	assert_int_equal(seen->lost, 1);
	free(seen);
	seen = replay(s, 21); /* folded before that: nothing is missed */
	assert_int_equal(seen->n, 20);
	assert_int_equal(seen->lost, 0);
	free(seen);
	df_segs_free(s);
	/* one cut short in the middle */
	path = seg_path('j', 1);
	assert_int_equal(truncate(path, DF_SEG_PAGE + 200), 0);
	free(path);
	s = open_segs(64 * MB);
	seen = replay(s, 21);
	assert_true(seen->n < 20);
	assert_int_equal(seen->lost, 1);
	free(seen);
	df_segs_free(s);
	df_log_set_level(DF_LOG_INFO);
}

static void test_newer_format(void **state)
{
	struct df_segs *s = open_segs(64 * MB);
	uint8_t page[DF_SEG_PAGE];

	(void)state;
	assert_int_equal(append(s, 1, 0, NULL), 0);
	df_segs_free(s);
	char *path = seg_path('j', 0);
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, page, sizeof(page), 0), sizeof(page));
	df_le_put32(page + 8, DF_SEG_VERSION + 1);
	df_le_put64(page + 56, df_xxh3(page, 56));
	memcpy(page + DF_SEG_HEAD_COPY, page, DF_SEG_HEAD_LEN);
	assert_int_equal(pwrite(fd, page, sizeof(page), 0), sizeof(page));
	close(fd);
	free(path);
	char text[256];
	long when;
	assert_int_equal(df_segs_open(dir, 64 * MB, &s), DF_EFORMAT);
	df_log_last_error(text, sizeof(text), &when);
	assert_non_null(strstr(text, "format 2"));
}

static void test_data(void **state)
{
	struct df_segs *s = open_segs(256 * MB);
	size_t lens[] = { 65536, 65537, 1 << 20, 4 << 20, 100000, 1 };
	struct df_loc loc[6];
	uint8_t *data = malloc(4 << 20), *back = malloc(4 << 20);

	(void)state;
	assert_true(data && back);
	for (int i = 0; i < 6; i++) {
		fill(data, lens[i], (uint64_t)i);
		assert_int_equal(df_seg_put(s, data, lens[i], &loc[i]), 0);
		if (lens[i] >= DF_INLINE_MAX)
			assert_int_equal(loc[i].off % DF_SEG_PAGE, 0);
	}
	assert_int_equal(df_seg_put(s, data, (4 << 20) + 1, &loc[0]), -EINVAL);
	df_segs_free(s);
	s = open_segs(256 * MB);
	for (int i = 0; i < 6; i++) {
		fill(data, lens[i], (uint64_t)i);
		assert_int_equal(df_seg_read(s, loc[i], back, lens[i]), 0);
		assert_memory_equal(data, back, lens[i]);
	}
	df_segs_free(s);

	/* damage one block: that one is refused, its neighbours are not */
	char *path = seg_path('d', 0);
	damage(path, loc[2].off + 3 * 65536 + 5, 1);
	df_log_set_level(DF_LOG_ERROR - 1);
	for (int footer = 1; footer >= 0; footer--) {
		s = open_segs(256 * MB);
		fill(data, lens[2], 2);
		struct df_loc at = loc[2];
		assert_int_equal(df_seg_read(s, at, back, 3 * 65536), 0);
		at.off += 3 * 65536;
		assert_int_equal(df_seg_read(s, at, back, 1), DF_ECORRUPT);
		at.off += 65536;
		assert_int_equal(df_seg_read(s, at, back, 65536), 0);
		assert_memory_equal(data + 4 * 65536, back, 65536);
		/* places that nobody was given */
		at.off = loc[2].off - 8;
		assert_int_equal(df_seg_read(s, at, back, 8), DF_ECORRUPT);
		at.off = UINT32_MAX;
		assert_int_equal(df_seg_read(s, at, back, 8), DF_ECORRUPT);
		at = loc[2];
		assert_int_equal(df_seg_read(s, at, back, lens[2] + 1),
				 DF_ECORRUPT);
		at.seg += 100;
		assert_int_equal(df_seg_read(s, at, back, 8), -ENOENT);
		df_segs_free(s);
		/* again without the footer: found by a scan */
		damage(path, -60, 8);
	}
	df_log_set_level(DF_LOG_INFO);
	free(path);
	free(data);
	free(back);
}

static struct df_id id_of(uint64_t n)
{
	struct df_id id;

	fill(id.b, sizeof(id.b), n + 99);
	return id;
}

static void test_pieces(void **state)
{
	struct df_segs *s = open_segs(128 * MB);
	uint8_t data[5000], back[5000];
	struct df_loc loc, again;

	(void)state;
	for (uint64_t i = 0; i < 3000; i++) {
		struct df_id id = id_of(i / 10);
		fill(data, 1000 + i, i);
		assert_false(df_seg_find_piece(s, &id, (uint32_t)i, &loc));
		assert_int_equal(df_seg_put_piece(s, &id, (uint32_t)i, data,
						  1000 + i, &loc),
				 0);
		assert_true(df_seg_find_piece(s, &id, (uint32_t)i, &again));
		assert_memory_equal(&loc, &again, sizeof(loc));
		assert_false(
			df_seg_find_piece(s, &id, (uint32_t)i + 1, &again));
	}
	for (int round = 0; round < 3; round++) {
		df_segs_free(s);
		if (round == 1) { /* no footer: by a scan */
			char *path = seg_path('f', 0);
			damage(path, -60, 8);
			free(path);
		}
		s = open_segs(128 * MB);
		for (uint64_t i = 0; i < 3000; i += 7) {
			struct df_id id = id_of(i / 10);
			assert_true(
				df_seg_find_piece(s, &id, (uint32_t)i, &loc));
			fill(data, 1000 + i, i);
			assert_int_equal(df_seg_read(s, loc, back, 1000 + i),
					 0);
			assert_memory_equal(data, back, 1000 + i);
		}
	}
	/* a damaged piece is forgotten, so that it can be fetched again */
	struct df_id id = id_of(0);
	assert_true(df_seg_find_piece(s, &id, 3, &loc));
	df_segs_free(s);
	char *path = seg_path('f', 0);
	damage(path, loc.off + 10, 1);
	free(path);
	s = open_segs(128 * MB);
	df_log_set_level(DF_LOG_ERROR - 1);
	assert_int_equal(df_seg_read(s, loc, back, 1003), DF_ECORRUPT);
	df_log_set_level(DF_LOG_INFO);
	assert_false(df_seg_find_piece(s, &id, 3, &loc));
	assert_true(df_seg_find_piece(s, &id, 4, &loc));
	fill(data, 1003, 3);
	assert_int_equal(df_seg_put_piece(s, &id, 3, data, 1003, &loc), 0);
	assert_true(df_seg_find_piece(s, &id, 3, &again));
	assert_int_equal(df_seg_read(s, again, back, 1003), 0);
	df_segs_free(s);
}

static void test_limit_and_evict(void **state)
{
	struct df_segs *s = open_segs(32 * MB);
	uint8_t *data = calloc(1, MB);
	struct df_loc loc, first = { 0, 0 };
	struct df_id id = id_of(1);
	int err = 0, n = 0, in_first = 0;

	(void)state;
	assert_int_equal(append(s, 1, 0, NULL), 0);
	while (!err) {
		err = df_seg_put(s, data, MB, &loc);
		if (!err && !n++)
			first = loc;
		in_first += !err && loc.seg == first.seg;
	}
	assert_int_equal(err, -ENOSPC);
	assert_true(n >= 20 && df_segs_bytes(s) <= 33 * MB);
	assert_int_equal(df_segs_dirty_bytes(s), (uint64_t)n * MB);
	assert_false(df_segs_evict(s, MB)); /* all dirty */
	/* clean but pinned */
	assert_true(df_seg_pin(s, first.seg) >= 0);
	df_seg_dirty(s, first.seg, -(int64_t)MB * in_first);
	assert_false(df_segs_evict(s, MB));
	df_seg_unpin(s, first.seg);
	fold(s);
	assert_true(df_segs_evict(s, MB));
	assert_int_equal(df_seg_pin(s, first.seg), -ENOENT);
	assert_int_equal(df_seg_put(s, data, MB, &loc), 0);
	/* pieces make room for pieces */
	for (uint32_t i = 0; i < 200; i++) {
		while ((err = df_seg_put_piece(s, &id, i, data, 65536, &loc)) ==
		       -ENOSPC)
			assert_true(df_segs_evict(s, 70000));
		assert_int_equal(err, 0);
	}
	assert_false(df_seg_find_piece(s, &id, 0, &loc));
	assert_true(df_seg_find_piece(s, &id, 199, &loc));
	assert_true(df_segs_bytes(s) <= 33 * MB);
	df_segs_free(s);
	free(data);
}

static void test_journal_floor(void **state)
{
	struct df_segs *s = open_segs(16 * MB);
	uint64_t seq = 0;
	int err;

	(void)state;
	/* until full; the reserve still takes removals */
	do {
		err = append(s, ++seq % 4000 + 1, 0, NULL);
		if (seq % 4000 == 3999)
			break;
	} while (!err);
	uint8_t data[60000] = { 0 };
	while (!err)
		err = df_seg_append(s, 1, 5000, "x", 1, data, sizeof(data), 0,
				    NULL);
	assert_int_equal(err, -ENOSPC);
	for (int i = 0; i < 9000; i++) /* 1 MiB in all */
		assert_int_equal(df_seg_append(s, 1, 5000, "remove", 6, NULL, 0,
					       DF_SEG_RESERVED, NULL),
				 0);
	assert_false(df_segs_evict(s, MB)); /* nothing is folded */
	df_seg_folded(s, 5000, df_seg_fold_begin(s));
	df_segs_evict(s, MB);
	assert_int_equal(
		df_seg_append(s, 1, 5001, "x", 1, data, 60000, 0, NULL), 0);
	df_segs_free(s);
}

/* Numbers go on after everything was evicted. */
static void test_numbers(void **state)
{
	uint32_t last = 0;
	uint8_t data[65536] = { 0 };

	(void)state;
	for (int i = 0; i < 5; i++) {
		struct df_segs *s = open_segs(16 * MB);
		struct df_loc loc;
		assert_int_equal(df_seg_put(s, data, sizeof(data), &loc), 0);
		assert_true(loc.seg > last);
		last = loc.seg;
		df_segs_free(s);
		assert_int_equal(shell("rm -f seg/*.d"), 0);
	}
}

struct hammer {
	struct df_segs *s;
	unsigned no;
	unsigned failed;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	uint8_t *data = malloc(200000), *back = malloc(200000);

	for (unsigned i = 0; i < 150; i++) {
		size_t len = 1 + (h->no * 7919 + i * 104729) % 200000;
		uint64_t seed = h->no * 1000 + i;
		struct df_id id = id_of(seed);
		struct df_loc a, b;
		fill(data, len, seed);
		int put = df_seg_put(h->s, data, len, &a);
		if (!put)
			df_seg_dirty(h->s, a.seg, -(int64_t)len);
		if (i % 8 == 0)
			fold(h->s);
		if (put || df_seg_put_piece(h->s, &id, i, data, len, &b)) {
			df_segs_evict(h->s, 400000);
			continue;
		}
		int err = df_seg_read(h->s, a, back, len);
		if (err != -ENOENT && (err || memcmp(data, back, len) != 0))
			h->failed++;
		if (df_seg_find_piece(h->s, &id, i, &b)) {
			err = df_seg_read(h->s, b, back, len);
			if (err != -ENOENT &&
			    (err || memcmp(data, back, len) != 0))
				h->failed++;
		}
		if (i % 50 == 0 && df_segs_sync(h->s))
			h->failed++;
	}
	free(data);
	free(back);
	return NULL;
}

static void test_threads(void **state)
{
	struct df_segs *s = open_segs(24 * MB);
	struct hammer h[4];
	pthread_t t[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		h[i] = (struct hammer){ s, i, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, hammer, &h[i]), 0);
	}
	for (uint64_t seq = 1; seq < 1000; seq++) {
		int err = append(s, seq, 0, NULL);
		assert_true(!err || err == -ENOSPC);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(h[i].failed, 0);
	}
	df_segs_free(s);
}

#ifdef DF_FAULT
static bool last_fired; /* the fault of the last fault_run() */

/* One run over everything that writes.  What was answered must be there. */
static void fault_run(unsigned *answered, struct df_segs **out)
{
	struct df_segs *s = NULL;
	uint8_t *data = malloc(300000);
	struct df_loc loc, put[20];
	bool have[20] = { false };

	memset(answered, 0, 60 * sizeof(*answered));
	*out = NULL;
	if (df_segs_open(dir, 16 * MB, &s)) {
		last_fired = df_fault_fired();
		df_fault_set(NULL);
		free(data);
		return;
	}
	struct seen *seen = calloc(1, sizeof(*seen));
	int err = df_segs_replay(s, 0, see, seen);
	(void)err; /* the loop below must hold either way */
	free(seen);
	for (uint64_t i = 1; i < 60; i++)
		answered[i] = !append(s, i, 0, NULL);
	for (unsigned i = 0; i < 20; i++) {
		fill(data, 300000, i);
		have[i] = !df_seg_put(s, data, 300000, &put[i]);
		struct df_id id = id_of(i);
		df_seg_put_piece(s, &id, i, data, 3000, &loc);
	}
	df_segs_sync(s);
	last_fired = df_fault_fired();
	df_fault_set(NULL);
	uint8_t *back = malloc(300000);
	for (unsigned i = 0; i < 20; i++) {
		struct df_id id = id_of(i);
		fill(data, 300000, i);
		if (have[i]) {
			assert_int_equal(df_seg_read(s, put[i], back, 300000),
					 0);
			assert_memory_equal(data, back, 300000);
		}
		if (df_seg_find_piece(s, &id, i, &loc)) {
			assert_int_equal(df_seg_read(s, loc, back, 3000), 0);
			assert_memory_equal(data, back, 3000);
		}
	}
	free(back);
	free(data);
	*out = s;
}

static void fault_check(const unsigned *answered)
{
	struct df_segs *s = open_segs(16 * MB);
	struct seen *seen = replay(s, 0);

	assert_int_equal(seen->lost + seen->bad_data, 0);
	for (uint64_t i = 1; i < 60; i++)
		assert_int_equal(seen->have[i], answered[i]);
	check_all(s, seen);
	free(seen);
	df_segs_free(s);
}

static void test_every_fault(void **state)
{
	static const char *const points[] = {
		"seg.pwrite", "seg.put",    "seg.fallocate", "seg.head",
		"seg.create", "seg.footer", "seg.next",      "seg.fdatasync",
		"seg.pread",  "seg.open",   "seg.ahead",
	};
	static const char *const whats[] = { "EIO", "ENOSPC", "short" };
	unsigned answered[60], rounds = 0;
	char plan[64];

	df_log_set_level(DF_LOG_ERROR - 1);
	for (size_t p = 0; p < DF_ARRAY_LEN(points); p++) {
		for (size_t w = 0; w < DF_ARRAY_LEN(whats); w++) {
			bool done = false;
			for (unsigned n = 1; !done && n < 500; n++) {
				struct df_segs *s;
				drop_dir(state);
				make_dir(state);
				snprintf(plan, sizeof(plan), "%s:%u:%s",
					 points[p], n, whats[w]);
				assert_int_equal(df_fault_set(plan), 0);
				/* cleared inside: count before */
				fault_run(answered, &s);
				done = n > 200 || !last_fired;
				rounds += !done;
				df_segs_free(s);
				fault_check(answered);
			}
		}
	}
	df_log_set_level(DF_LOG_INFO);
	print_message("%u faults injected\n", rounds);
	assert_true(rounds > 100);
}

/* SIGKILL at the n-th write: what was answered before is there. */
static void test_every_kill(void **state)
{
	static const char *const points[] = { "seg.pwrite", "seg.put",
					      "seg.footer", "seg.create",
					      "seg.head",   "seg.fallocate" };
	unsigned kills = 0;

	df_log_set_level(DF_LOG_ERROR - 1);
	for (size_t p = 0; p < DF_ARRAY_LEN(points); p++) {
		for (unsigned n = 1; n < 100; n += 7) {
			int pipes[2];
			unsigned answered = 0;
			drop_dir(state);
			make_dir(state);
			assert_int_equal(pipe(pipes), 0);
			pid_t pid = fork();
			if (!pid) {
				struct df_segs *s;
				char plan[64], data[70000] = { 0 };
				struct df_loc loc;
				snprintf(plan, sizeof(plan), "%s:%u:kill",
					 points[p], n);
				df_fault_set(plan);
				if (df_segs_open(dir, 16 * MB, &s))
					_exit(1);
				for (uint64_t i = 1; i < 300; i++) {
					if (append(s, i, 0, NULL))
						_exit(1);
					if (write(pipes[1], "a", 1) != 1)
						_exit(1);
					if (df_seg_put(s, data, sizeof(data),
						       &loc) == -ENOSPC)
						df_segs_evict(s, MB);
				}
				df_segs_free(s);
				_exit(0);
			}
			close(pipes[1]);
			char c;
			while (read(pipes[0], &c, 1) == 1)
				answered++;
			close(pipes[0]);
			int status;
			waitpid(pid, &status, 0);
			kills += WIFSIGNALED(status);
			assert_true(WIFSIGNALED(status) ||
				    WEXITSTATUS(status) == 0);
			struct df_segs *s = open_segs(16 * MB);
			struct seen *seen = replay(s, 0);
			/* the one under way may be there or not */
			assert_in_range(seen->n, answered, answered + 1);
			assert_int_equal(seen->lost + seen->bad_data, 0);
			check_all(s, seen);
			free(seen);
			df_segs_free(s);
		}
	}
	df_log_set_level(DF_LOG_INFO);
	print_message("%u kills\n", kills);
	assert_true(kills > 20);
}
#endif

#define T(f) cmocka_unit_test_setup_teardown(f, make_dir, drop_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_journal_survives),
		T(test_journal_after_kill),
		T(test_torn_end),
		T(test_bit_flips),
		T(test_missing_segment),
		T(test_newer_format),
		T(test_data),
		T(test_pieces),
		T(test_limit_and_evict),
		T(test_journal_floor),
		T(test_numbers),
		T(test_threads),
#ifdef DF_FAULT
		T(test_every_fault),
		T(test_every_kill),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
