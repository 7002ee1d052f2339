// links: base backend cache
/*
 * fuzz_table.c - what a hostile table says: commit bodies, registers, pages,
 * checkpoint rows, indexes and blocks.  The first byte chooses.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "cache/checkpoint_format.h"
#include "cache/registers/commit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void registers(const uint8_t *data, size_t len)
{
	uint64_t max_time = 0;

	if (!df_registers_check(data, len, &max_time) && max_time >> 63)
		abort();
}

static void body(const uint8_t *data, size_t len)
{
	struct df_body b;
	struct df_buf regs;

	if (df_body_read(data, len, &b))
		return;
	df_buf_init(&regs, DF_REGISTERS_MAX);
	if (!b.n_pieces && !df_body_registers(&b, &regs)) {
		if (regs.len != b.raw_len)
			abort();
		registers(regs.data, regs.len);
	}
	df_buf_release(&regs);
	df_body_release(&b);
}

static void page(const uint8_t *data, size_t len)
{
	static const struct df_id pack = { { 1 } };
	struct df_extmap m = { 0 };

	df_decode_page(data, len, &pack, UINT64_C(1) << 26, UINT64_C(1) << 26,
		       &m);
	df_extmap_release(&m, NULL);
}

static void checkpoint(const uint8_t *data, size_t len)
{
	struct df_ck_body b;
	struct df_ck_index x;
	const uint8_t *regs;
	size_t regs_len;

	if (!df_ck_body_read(data, len, &b))
		df_ck_body_release(&b);
	if (!df_ck_index_read(data, len, &x))
		df_ck_index_release(&x);
	if (!df_ck_block_read(data, len, &regs, &regs_len)) {
		if (regs_len > len)
			abort();
		registers(regs, regs_len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static void (*const what[])(const uint8_t *,
				    size_t) = { body, registers, page,
						checkpoint };

	if (!len)
		return 0;
	df_log_set_level(DF_LOG_ERROR - 1);
	what[data[0] % 4](data + 1, len - 1);
	return 0;
}
