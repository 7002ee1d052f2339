/* test_cache_fold.c - what the fold knows while a flush is under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "cache/fold.h"

static struct df_dep row(uint8_t n)
{
	struct df_dep d = { .epoch = 1 };

	d.id.b[0] = n;
	return d;
}

/* A row of ours that the fold does not know would mean that a twin lives. */
static void knows_rows_in_flight(void **state)
{
	char dir[] = "/tmp/df-fold-XXXXXX";
	struct df_fold *f = NULL;
	struct df_dep a = row(1), b = row(2), c = row(3);
	bool fresh;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(df_fold_open(dir, 1 << 20, NULL, &f, &fresh), 0);
	assert_true(fresh);
	df_fold_add_row(f, &a, false);
	struct df_flush *flush = df_fold_begin(f);
	assert_non_null(flush);
	df_fold_add_row(f, &b, false);
	assert_true(df_fold_has_row(f, &a.id));
	assert_true(df_fold_has_row(f, &b.id));
	assert_false(df_fold_has_row(f, &c.id));
	int err = df_fold_write(f, flush);
	assert_true(df_fold_has_row(f, &a.id));
	df_fold_end(f, flush, err);
	assert_int_equal(err, 0);
	assert_true(df_fold_has_row(f, &a.id));

	flush = df_fold_begin(f);
	assert_non_null(flush);
	df_fold_del_row(f, &b.id);
	df_fold_end(f, flush, df_fold_write(f, flush));
	assert_int_equal(df_fold_flush(f), 0);
	assert_true(df_fold_has_row(f, &a.id));
	assert_false(df_fold_has_row(f, &b.id));
	df_fold_free(f);
	char command[64];
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_rows_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
