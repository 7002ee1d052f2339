// links: base backend
/*
 * fuzz_backend_answer.c - an answer of a hostile table server: the scanner,
 * log rows out of it, and what its status and words mean.
 *
 * The first byte is the status, the rest the body.  Cells must lie inside the
 * body, and a row that is accepted must carry its own id.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/answer.h"
#include "backend/retry.h"
#include "backend/rows.h"
#include "base/log.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_cells(const struct df_answer *a)
{
	const char *begin = (const char *)a->body.data;

	for (size_t i = 0; i < a->n_rows * a->n_cols; i++) {
		const struct df_cell *c = &a->cell[i];
		uint64_t x;
		struct df_id id;
		if (c->s < begin || c->s + c->len > begin + a->body.len)
			abort();
		df_cell_u64(c, &x);
		df_cell_hex64(c, &x);
		df_cell_id(c, &id);
	}
}

static void check_rows(const struct df_answer *a)
{
	struct df_rows rows = { 0 };

	df_rows_decode(a, &rows);
	for (size_t i = 0; i < rows.n; i++) {
		struct df_id id = df_row_id(&rows.row[i]);
		if (df_id_cmp(&id, &rows.row[i].id) ||
		    rows.row[i].sent > rows.last_sent)
			abort();
	}
	df_rows_release(&rows);
}

static void check_verdict(uint8_t status, const uint8_t *data, size_t len)
{
	struct df_http_answer a = { .status = 200 + status * 2,
				    .sent = true,
				    .html = len % 2 };

	df_buf_put(&a.body, data, len);
	struct df_verdict v = df_verdict(&a);
	if (!v.why || (v.fate == DF_FATE_APPLIED) != (v.err == 0))
		abort();
	df_http_answer_release(&a);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return df_log_open("/dev/null", "fuzz");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct df_answer a;
	struct df_buf body;

	if (!len)
		return 0;
	check_verdict(data[0], data + 1, len - 1);
	df_buf_init(&body, 0);
	df_buf_put(&body, data + 1, len - 1);
	if (df_answer_parse(&a, &body) == 0) {
		check_cells(&a);
		check_rows(&a);
	}
	df_answer_release(&a);
	return 0;
}
