/* test_cache_fetch.c - bringing pieces, against a remote in memory. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "cache/bytes/fetch.h"

#define MB ((uint64_t)1 << 20)
#define PACKS_MAX 16

struct fake {
	struct df_remote r; /* first */
	struct {
		struct df_id id;
		uint8_t *data;
		size_t len;
	} pack[PACKS_MAX];
	unsigned n;
	atomic_uint gets, now, most; /* requests; under way; at once */
	atomic_uint fail_n;          /* the next so many fail with fail_err */
	atomic_int fail_err;
	atomic_uint corrupt_n; /* the next so many get a flipped bit */
	atomic_int delay_ms;
};

static int answer(struct fake *k, const struct df_id *id, uint64_t off,
		  uint64_t len, struct df_buf *out)
{
	for (unsigned i = 0; i < k->n; i++) {
		if (df_id_cmp(&k->pack[i].id, id) != 0)
			continue;
		if (!len)
			len = k->pack[i].len - off;
		if (off + len > k->pack[i].len)
			return DF_ECORRUPT;
		size_t at = out->len;
		df_buf_put(out, k->pack[i].data + off, len);
		if (atomic_load(&k->corrupt_n)) {
			atomic_fetch_sub(&k->corrupt_n, 1);
			out->data[at + len - 1] ^= 1;
		}
		return 0;
	}
	return -ENOENT;
}

static int fake_get(struct df_remote *r, const struct df_id *id, uint64_t off,
		    uint64_t len, int64_t timeout_ms, struct df_buf *out)
{
	struct fake *k = (struct fake *)r;
	int delay = atomic_load(&k->delay_ms), err;

	atomic_fetch_add(&k->gets, 1);
	unsigned now = atomic_fetch_add(&k->now, 1) + 1;
	if (now > atomic_load(&k->most))
		atomic_store(&k->most, now);
	if (delay)
		usleep((unsigned)DF_MIN(delay, timeout_ms) * 1000);
	if (atomic_load(&k->fail_n)) {
		atomic_fetch_sub(&k->fail_n, 1);
		err = atomic_load(&k->fail_err);
	} else if (delay > timeout_ms) {
		err = DF_EOFFLINE;
	} else {
		err = answer(k, id, off, len, out);
	}
	atomic_fetch_sub(&k->now, 1);
	return err;
}

static const struct df_remote_ops fake_ops = {
	.name = "fake",
	.pack_get = fake_get,
};

static struct fake fake;
static struct df_segs *segs;
static struct df_fetch *fetch;
static struct df_piece piece[10000];
static char dir[64];

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)(i % 3 ? x : 'a');
	}
}

/* n pieces of len bytes in `packs` packs */
static void make_packs(size_t n, size_t len, unsigned packs)
{
	struct df_packer *p = df_packer_new(0);
	uint8_t *raw = malloc(len);
	size_t from = 0;

	for (size_t i = 0; i < n; i++) {
		fill(raw, len, i);
		assert_int_equal(df_packer_add(p, raw, len, &piece[i]), 0);
		if ((i + 1) % (n / packs) && i != n - 1)
			continue;
		struct df_id id;
		unsigned k = fake.n++;
		assert_int_equal(df_packer_finish(p, &id, &fake.pack[k].data,
						  &fake.pack[k].len),
				 0);
		fake.pack[k].id = id;
		for (; from <= i; from++)
			piece[from].pack = id;
	}
	free(raw);
	df_packer_free(p);
}

static int set_up(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	fake.r.ops = &fake_ops;
	snprintf(dir, sizeof(dir), "/tmp/df-fetch-XXXXXX");
	if (!mkdtemp(dir) || df_segs_open(dir, 256 * MB, &segs))
		return -1;
	fetch = df_fetch_new(&fake.r, segs, 3);
	return fetch ? 0 : -1;
}

static int tear_down(void **state)
{
	char cmd[128];

	(void)state;
	df_fetch_stop(fetch);
	df_fetch_free(fetch);
	df_segs_free(segs);
	for (unsigned i = 0; i < fake.n; i++)
		free(fake.pack[i].data);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

struct waiter {
	atomic_int n, err;
};

static void on_done(void *arg, int err)
{
	struct waiter *w = arg;

	atomic_store(&w->err, err);
	atomic_fetch_add(&w->n, 1);
}

static int wait_for(struct waiter *w)
{
	int64_t until = df_deadline_ms(20000);

	while (!atomic_load(&w->n) && df_deadline_ms(0) < until)
		usleep(200);
	assert_int_equal(atomic_load(&w->n), 1);
	return atomic_load(&w->err);
}

static int get(const struct df_piece *p, size_t n, int64_t timeout_ms)
{
	struct waiter w = { 0, 0 };
	int err = df_fetch_get(fetch, p, n, timeout_ms, on_done, &w);

	return err ? err : wait_for(&w);
}

static void check(size_t i, size_t len)
{
	uint8_t *want = malloc(len), *have = malloc(len);
	struct df_loc loc;

	assert_true(
		df_seg_find_piece(segs, &piece[i].pack, piece[i].off, &loc));
	assert_int_equal(df_seg_read(segs, loc, have, len), 0);
	fill(want, len, i);
	assert_memory_equal(want, have, len);
	free(want);
	free(have);
}

static void test_small_in_order(void **state)
{
	(void)state;
	make_packs(10000, 1500, 10);
	for (size_t i = 0; i < 10000; i++) {
		struct df_loc loc;
		if (!df_seg_find_piece(segs, &piece[i].pack, piece[i].off,
				       &loc))
			assert_int_equal(get(&piece[i], 1, 5000), 0);
		check(i, 1500);
	}
	print_message("10,000 pieces in 10 packs: %u requests\n",
		      atomic_load(&fake.gets));
	assert_true(atomic_load(&fake.gets) <= 25);
	size_t all = 0;
	for (unsigned k = 0; k < fake.n; k++)
		all += fake.pack[k].len;
	assert_true(df_fetch_bytes(fetch) >= all);
	assert_true(df_fetch_bytes(fetch) < all + all / 5);
}

static void test_many_at_once(void **state)
{
	(void)state;
	make_packs(2000, 3000, 5);
	assert_int_equal(get(piece, 2000, 5000), 0);
	for (size_t i = 0; i < 2000; i++)
		check(i, 3000);
	assert_true(atomic_load(&fake.gets) <= 10);
	assert_true(atomic_load(&fake.most) <= 3);
	/* all local: no request */
	unsigned gets = atomic_load(&fake.gets);
	assert_int_equal(get(piece, 2000, 5000), 0);
	assert_int_equal(atomic_load(&fake.gets), gets);
}

static void test_joined(void **state)
{
	struct waiter w[50];

	(void)state;
	make_packs(10, 2000, 1);
	atomic_store(&fake.delay_ms, 50);
	for (int i = 0; i < 50; i++) {
		w[i] = (struct waiter){ 0, 0 };
		assert_int_equal(df_fetch_get(fetch, &piece[i % 10], 1, 5000,
					      on_done, &w[i]),
				 0);
	}
	for (int i = 0; i < 50; i++)
		assert_int_equal(wait_for(&w[i]), 0);
	assert_true(atomic_load(&fake.gets) <= 2);
}

static void test_cancel_and_deadline(void **state)
{
	struct waiter w = { 0, 0 }, other = { 0, 0 };

	(void)state;
	make_packs(10, 2000, 1);
	atomic_store(&fake.delay_ms, 300);
	int64_t t = df_deadline_ms(0);
	assert_int_equal(df_fetch_get(fetch, &piece[0], 1, 5000, on_done, &w),
			 0);
	assert_int_equal(
		df_fetch_get(fetch, &piece[0], 1, 5000, on_done, &other), 0);
	assert_true(df_fetch_cancel(fetch, &w));
	assert_int_equal(wait_for(&w), -EINTR);
	assert_true(df_deadline_ms(0) - t < 250 * DF_NS_PER_MS);
	assert_false(df_fetch_cancel(fetch, &w));
	assert_int_equal(wait_for(&other), 0);
	/* a deadline nearer than the answer */
	assert_int_equal(get(&piece[9], 1, 5000), 0);
	make_packs(1, 2000, 1);
	t = df_deadline_ms(0);
	struct df_piece far = piece[0];
	struct waiter slow = { 0, 0 };
	assert_int_equal(df_fetch_get(fetch, &far, 1, 5000, on_done, &slow), 0);
	assert_int_equal(get(&far, 1, 40), -ETIMEDOUT);
	assert_true(df_deadline_ms(0) - t < 200 * DF_NS_PER_MS);
	assert_int_equal(wait_for(&slow), 0);
}

static void test_failures(void **state)
{
	(void)state;
	df_log_set_level(DF_LOG_ERROR - 1);
	make_packs(140, 3000, 7);
	/* offline for a while: tried again */
	atomic_store(&fake.fail_err, DF_EOFFLINE);
	atomic_store(&fake.fail_n, 2);
	assert_int_equal(get(&piece[0], 1, 5000), 0);
	check(0, 3000);
	/* for good: by the deadline */
	atomic_store(&fake.fail_n, 1000000);
	int64_t t = df_deadline_ms(0);
	int err = get(&piece[20], 1, 400);
	assert_true(err == DF_EOFFLINE || err == -ETIMEDOUT);
	assert_true(df_deadline_ms(0) - t < 800 * DF_NS_PER_MS);
	/* refused: at once */
	atomic_store(&fake.fail_err, DF_EAUTH);
	assert_int_equal(get(&piece[40], 1, 5000), DF_EAUTH);
	atomic_store(&fake.fail_n, 0);
	assert_int_equal(get(&piece[40], 1, 5000), 0);
	/* a garbled answer: asked again, then given up */
	atomic_store(&fake.corrupt_n, 1);
	assert_int_equal(get(&piece[60], 1, 5000), 0);
	check(60, 3000);
	atomic_store(&fake.corrupt_n, 2);
	assert_int_equal(get(&piece[99], 1, 5000), DF_ECORRUPT);
	/* what the row says is not what is there */
	struct df_piece bad = piece[100];
	bad.check ^= 1;
	assert_int_equal(get(&bad, 1, 5000), DF_ECORRUPT);
	bad = piece[120];
	for (int here = 0; here < 2; here++) {
		bad.rlen = 4000; /* there is more behind it, but not its */
		assert_int_equal(get(&bad, 1, 5000), DF_ECORRUPT);
		assert_int_equal(get(&piece[120], 1, 5000), 0);
	}
	bad = piece[81];
	bad.clen = UINT32_MAX;
	assert_int_equal(get(&bad, 1, 5000), DF_ECORRUPT);
	bad = piece[81];
	bad.off = UINT32_MAX - 10;
	assert_int_equal(get(&bad, 1, 5000), DF_ECORRUPT);
	/* a missing pack, waited for once if the server may be late */
	memset(&bad.pack, 7, sizeof(bad.pack));
	t = df_deadline_ms(0);
	assert_int_equal(get(&bad, 1, 600), -ENOENT);
	t = df_deadline_ms(0);
	assert_int_equal(get(&bad, 1, 5000), -ENOENT);
	assert_true(df_deadline_ms(0) - t < 200 * DF_NS_PER_MS);
	df_log_set_level(DF_LOG_INFO);
}

static void test_hints(void **state)
{
	(void)state;
	make_packs(64, 200000, 4);
	df_fetch_hint(fetch, piece, 64);
	struct df_loc loc;
	int64_t until = df_deadline_ms(10000);
	while (!df_seg_find_piece(segs, &piece[63].pack, piece[63].off, &loc) &&
	       df_deadline_ms(0) < until)
		usleep(1000);
	check(63, 200000);
	assert_true(atomic_load(&fake.most) <= 2); /* never the last slot */
	assert_true(atomic_load(&fake.gets) <= 5);
}

static void test_large_sequential(void **state)
{
	(void)state;
	make_packs(40, 262144, 3);
	for (size_t i = 0; i < 40; i++) {
		assert_int_equal(get(&piece[i], 1, 5000), 0);
		check(i, 262144);
	}
	assert_true(atomic_load(&fake.gets) <= 8);
}

struct reader {
	struct waiter w; /* first */
	size_t n;
};

static void on_done_all_here(void *arg, int err)
{
	struct reader *r = arg;
	struct df_loc loc;

	/* What others fetch meanwhile pushes nothing of it out. */
	df_segs_evict(segs, 64 * MB);
	for (size_t i = 0; i < r->n && !err; i++)
		if (!df_seg_has_piece(segs, &piece[i].pack, piece[i].off,
				      piece[i].rlen, &loc))
			err = -ENOENT;
	on_done(&r->w, err);
}

/* A cache full of bytes that exist nowhere else: who reads is served. */
static void test_no_room(void **state)
{
	struct reader r = { .n = 64 };
	uint8_t *junk = calloc(1, MB);
	struct df_loc loc[1024];
	size_t n = 0, big;

	(void)state;
	make_packs(64, 262144, 4);
	while (!df_seg_put(segs, junk, MB, &loc[n]))
		n++;
	big = n;
	while (!df_seg_put(segs, junk, 65536, &loc[n]))
		n++;
	for (int i = 0; i < 3; i++) {
		r.w = (struct waiter){ 0, 0 };
		assert_int_equal(df_fetch_get(fetch, piece, r.n, 5000,
					      on_done_all_here, &r),
				 0);
		assert_int_equal(wait_for(&r.w), 0);
		while (!df_segs_evict(segs, 0)) /* until it has let go */
			usleep(1000);
		assert_true(df_segs_bytes(segs) <= 256 * MB);
	}
	for (size_t i = 0; i < n; i++)
		df_seg_dirty(segs, loc[i].seg, i < big ? -(int64_t)MB : -65536);
	df_seg_folded(segs, 0, df_seg_fold_begin(segs));
	assert_int_equal(get(&piece[0], 1, 5000), 0);
	check(0, 262144);
	free(junk);
}

static void test_stop(void **state)
{
	struct waiter w[8];

	(void)state;
	make_packs(100, 3000, 10);
	atomic_store(&fake.delay_ms, 100);
	for (int i = 0; i < 8; i++) {
		w[i] = (struct waiter){ 0, 0 };
		assert_int_equal(df_fetch_get(fetch, &piece[i * 10], 1, 5000,
					      on_done, &w[i]),
				 0);
	}
	df_fetch_stop(fetch);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(atomic_load(&w[i].n), 1);
		assert_true(w[i].err == -ECANCELED || w[i].err == 0);
	}
	assert_int_equal(get(&piece[0], 1, 100), -ECANCELED);
}

static void test_without_threads(void **state)
{
	struct waiter w = { 0, 0 };

	(void)state;
	df_fetch_stop(fetch);
	df_fetch_free(fetch);
	fetch = df_fetch_new(&fake.r, segs, 0);
	make_packs(10, 3000, 2);
	assert_int_equal(df_fetch_get(fetch, piece, 10, 1000, on_done, &w), 0);
	assert_int_equal(atomic_load(&w.n), 1); /* before get returned */
	assert_int_equal(w.err, 0);
	check(9, 3000);
	df_fetch_hint(fetch, piece, 10);
}

/* What was put stays, whatever room is asked for, until the count that came
 * with it is taken back and the maps are on the disk as they are then. */
static void test_put_is_kept(void **state)
{
	struct df_segs *s = segs;
	uint8_t *data = malloc(MB), *back = malloc(MB);
	struct df_loc loc;

	(void)state;
	fill(data, MB, 1);
	assert_int_equal(df_seg_put(s, data, MB, &loc), 0);
	assert_int_equal(df_segs_dirty_bytes(s), MB);
	assert_true(df_seg_counts(s, loc.seg, MB));
	assert_false(df_seg_counts(s, loc.seg, MB + 1));
	df_segs_evict(s, 512 * MB);
	assert_int_equal(df_seg_read(s, loc, back, MB), 0);
	assert_memory_equal(data, back, MB);
	/* a fold that began before is not one that knows of it */
	uint64_t round = df_seg_fold_begin(s);
	df_seg_dirty(s, loc.seg, -(int64_t)MB);
	df_seg_folded(s, 0, round);
	assert_false(df_segs_want_fold(s));
	df_segs_evict(s, 512 * MB);
	assert_int_equal(df_seg_read(s, loc, back, MB), 0);
	assert_true(df_segs_want_fold(s));
	df_seg_folded(s, 0, df_seg_fold_begin(s));
	assert_false(df_segs_want_fold(s));
	df_segs_evict(s, 512 * MB);
	assert_int_equal(df_seg_read(s, loc, back, MB), -ENOENT);
	assert_false(df_seg_counts(s, loc.seg, 1));
	free(data);
	free(back);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_small_in_order),
		T(test_many_at_once),
		T(test_joined),
		T(test_cancel_and_deadline),
		T(test_failures),
		T(test_hints),
		T(test_large_sequential),
		T(test_no_room),
		T(test_stop),
		T(test_without_threads),
		T(test_put_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
