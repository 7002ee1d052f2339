/* test_cache_pack.c - packing pieces and taking them out again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "cache/bytes/pack.h"

static uint8_t raw[DF_PIECE_RAW_MAX + 1];

static void fill_random(size_t len, uint64_t seed)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		raw[i] = (uint8_t)(x >> 32);
	}
}

static void fill_text(size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		raw[i] = (uint8_t) "int main(void) { return x; }\n"
			[(i * 7 / 6 + seed + i / 100) % 29];
}

static void fill_kind(size_t len, unsigned i)
{
	if (i % 3 == 0)
		fill_random(len, i);
	else if (i % 3 == 1)
		fill_text(len, i);
	else
		memset(raw, (int)i, len);
}

static void test_round_trip(void **state)
{
	static const size_t lens[] = {
		1, 2, 100, 4096, 65536, 262144, DF_PIECE_RAW_MAX
	};
	struct df_packer *p = df_packer_new(0);
	struct df_piece piece[21];
	struct df_id id;
	struct df_buf out;
	uint8_t *data, sum[DF_SHA_LEN];
	size_t len, used;

	(void)state;
	assert_non_null(p);
	df_buf_init(&out, 0);
	for (unsigned i = 0; i < 21; i++) {
		fill_kind(lens[i / 3], i);
		assert_int_equal(df_packer_add(p, raw, lens[i / 3], &piece[i]),
				 0);
	}
	assert_int_equal(df_packer_add(p, raw, 0, &piece[0]), -EINVAL);
	assert_int_equal(df_packer_add(p, raw, sizeof(raw), &piece[0]),
			 -EINVAL);
	size_t all = df_packer_len(p);
	assert_int_equal(df_packer_finish(p, &id, &data, &len), 0);
	assert_int_equal(len, all);
	df_sha256(data, len, sum);
	assert_memory_equal(sum, id.b, sizeof(id.b));
	size_t at = 0;
	for (unsigned i = 0; i < 21; i++) {
		uint32_t clen, rlen;
		assert_int_equal(piece[i].off, at);
		assert_int_equal(
			df_piece_head(data + at, len - at, &clen, &rlen), 0);
		assert_int_equal(clen, piece[i].clen);
		assert_int_equal(rlen, lens[i / 3]);
		df_buf_reset(&out);
		assert_int_equal(df_piece_decode(data + at, len - at, &piece[i],
						 &out, &used),
				 0);
		assert_int_equal(used, clen);
		fill_kind(lens[i / 3], i);
		assert_int_equal(out.len, lens[i / 3]);
		assert_memory_equal(out.data, raw, out.len);
		/* random bytes are stored as they are, others are smaller */
		if (i % 3 == 0)
			assert_int_equal(clen, rlen + DF_PIECE_HEAD);
		else if (rlen >= 4096)
			assert_true(clen < rlen / 4);
		at += clen;
	}
	assert_int_equal(at, len);
	free(data);
	/* the packer starts anew */
	fill_text(1000, 1);
	assert_int_equal(df_packer_add(p, raw, 1000, &piece[0]), 0);
	assert_int_equal(piece[0].off, 0);
	struct df_id other;
	assert_int_equal(df_packer_finish(p, &other, &data, &len), 0);
	df_sha256(data, len, sum);
	assert_memory_equal(sum, other.b, sizeof(other.b));
	free(data);
	assert_int_equal(df_packer_finish(p, &other, &data, &len), -EINVAL);
	df_buf_release(&out);
	df_packer_free(p);
}

/* No flipped bit and no cut gets through, and nothing is appended then. */
static void test_damage(void **state)
{
	struct df_packer *p = df_packer_new(3);
	struct df_piece piece;
	struct df_id id;
	struct df_buf out;
	uint8_t *data;
	size_t len, used;

	(void)state;
	df_buf_init(&out, 0);
	fill_text(3000, 5);
	assert_int_equal(df_packer_add(p, raw, 3000, &piece), 0);
	assert_int_equal(df_packer_finish(p, &id, &data, &len), 0);
	df_buf_put(&out, "x", 1);
	unsigned same = 0;
	for (size_t bit = 0; bit < 8 * len; bit++) {
		data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		int err = df_piece_decode(data, len, NULL, &out, &used);
		/* a zstd frame may say the same in two ways: the bytes
		 * must then be right */
		if (!err) {
			same++;
			assert_int_equal(out.len, 3001);
			assert_memory_equal(out.data + 1, raw, 3000);
			out.len = 1;
		} else {
			assert_int_equal(err, DF_ECORRUPT);
			assert_int_equal(out.len, 1);
		}
		data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(same < 4 * len);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(df_piece_decode(data, n, NULL, &out, &used),
				 DF_ECORRUPT);
	struct df_piece want = piece;
	want.check ^= 1;
	assert_int_equal(df_piece_decode(data, len, &want, &out, &used),
			 DF_ECORRUPT);
	want = piece;
	want.rlen--;
	assert_int_equal(df_piece_decode(data, len, &want, &out, &used),
			 DF_ECORRUPT);
	assert_int_equal(df_piece_decode(data, len, &piece, &out, &used), 0);
	free(data);
	df_buf_release(&out);
	df_packer_free(p);
}

/* A header that promises little before a frame that unfolds to much. */
static void test_bomb(void **state)
{
	size_t big = (size_t)64 << 20, used;
	uint8_t *zeros = calloc(1, big), *in = malloc(100000);
	struct df_buf out;

	(void)state;
	assert_true(zeros && in);
	size_t n = ZSTD_compress(in + DF_PIECE_HEAD, 100000 - DF_PIECE_HEAD,
				 zeros, big, 19);
	assert_false(ZSTD_isError(n));
	memset(in, 0, DF_PIECE_HEAD);
	memcpy(in, "DP\1\1", 4);
	for (int i = 0; i < 4; i++) {
		in[4 + i] = (uint8_t)(DF_PIECE_RAW_MAX >> (8 * i));
		in[8 + i] = (uint8_t)(n >> (8 * i));
	}
	df_buf_init(&out, 2 << 20);
	assert_int_equal(
		df_piece_decode(in, DF_PIECE_HEAD + n, NULL, &out, &used),
		DF_ECORRUPT);
	assert_int_equal(out.len, 0);
	/* two frames after each other, each with a right size */
	size_t half = ZSTD_compress(in + DF_PIECE_HEAD, 50000, zeros, 1000, 1);
	memcpy(in + DF_PIECE_HEAD + half, in + DF_PIECE_HEAD, half);
	for (int i = 0; i < 4; i++) {
		in[4 + i] = (uint8_t)((uint32_t)1000 >> (8 * i));
		in[8 + i] = (uint8_t)((2 * half) >> (8 * i));
	}
	uint8_t sum[DF_SHA_LEN];
	df_sha256(zeros, 1000, sum);
	memcpy(in + 12, sum, sizeof(sum));
	assert_int_equal(df_piece_decode(in, DF_PIECE_HEAD + 2 * half, NULL,
					 &out, &used),
			 DF_ECORRUPT);
	in[8] = (uint8_t)half;
	in[9] = 0;
	assert_int_equal(
		df_piece_decode(in, DF_PIECE_HEAD + half, NULL, &out, &used),
		0);
	df_buf_release(&out);
	free(zeros);
	free(in);
}

/* The pack's own work, against the SHA-256 of this machine. */
static void test_speed(void **state)
{
	struct df_piece piece;
	struct df_id id;
	uint8_t *data, sum[DF_SHA_LEN];
	size_t len;

	(void)state;
	if (getenv("DF_VALGRIND"))
		skip(); /* says nothing of the pack's speed */
	struct df_packer *p = df_packer_new(0);
	fill_text(1 << 20, 3);
	for (size_t i = 0; i < (1 << 20); i += 97)
		raw[i] = (uint8_t)(i * 31 >> 4); /* as source code: 3:1 */
	int64_t t = df_clock_mono_ns();
	for (int i = 0; i < 40; i++)
		df_sha256(raw, 1 << 20, sum);
	double sha = 40e9 / (double)(df_clock_mono_ns() - t);
	t = df_clock_mono_ns();
	for (size_t i = 0; i < 10000; i++) {
		assert_int_equal(df_packer_add(p, raw + i * 4096 % (1 << 20),
					       4096, &piece),
				 0);
		if (df_packer_len(p) > (4 << 20) || i == 9999) {
			assert_int_equal(df_packer_finish(p, &id, &data, &len),
					 0);
			free(data);
		}
	}
	double mib = 10000 * 4096 / 1048576.0;
	double rate = mib * 1e9 / (double)(df_clock_mono_ns() - t);
	print_message("10,000 x 4 KiB: %.0f MiB/s (SHA-256 %.0f MiB/s)\n", rate,
		      sha);
	assert_true(rate > 10);
	df_packer_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
