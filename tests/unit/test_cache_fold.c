/* test_cache_fold.c - what the fold knows while a flush is under way, and
 * after memory has let it go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "cache/fold/fold.h"

static struct df_dep row(uint8_t n)
{
	struct df_dep d = { .epoch = 1 };

	d.id.b[0] = n;
	return d;
}

static struct df_fold *fold_in(char *dir, uint64_t memory)
{
	struct df_fold *f = NULL;
	bool fresh;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(df_fold_open(dir, memory, NULL, &f, &fresh), 0);
	assert_true(fresh);
	return f;
}

static void end(struct df_fold *f, const char *dir)
{
	char command[64];

	df_fold_free(f);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
}

/* SQLite is not asked while it has nothing: it must be, from the first flush
 * on.  What is only a name, and what is only an object, count alike. */
static void finds_what_memory_let_go(void **state)
{
	(void)state;
	for (int names = 0; names < 2; names++) {
		char dir[] = "/tmp/df-fold-XXXXXX";
		struct df_fold *f = fold_in(dir, 1);
		struct df_id id = row(7).id;
		df_nid nid = 0;

		assert_null(df_fold_find(f, &id));
		assert_int_equal(df_fold_name(f, DF_ROOT_NID, "a")->n, 0);
		if (names)
			df_fold_add_cand(f, df_fold_name(f, DF_ROOT_NID, "a"),
					 5);
		else
			nid = df_fold_make(f, &id)->nid;
		assert_int_equal(df_fold_flush(f), 0);
		df_fold_trim(f);
		if (names) {
			const struct df_name *n =
				df_fold_name(f, DF_ROOT_NID, "a");
			assert_int_equal(n->n, 1);
			assert_int_equal(df_name_cand(n, 0), 5);
		} else {
			assert_non_null(df_fold_get(f, nid));
			df_fold_trim(f);
			assert_non_null(df_fold_find(f, &id));
		}
		end(f, dir);
	}
}

/* A row of ours that the fold does not know would mean that a twin lives. */
static void knows_rows_in_flight(void **state)
{
	char dir[] = "/tmp/df-fold-XXXXXX";
	struct df_dep a = row(1), b = row(2), c = row(3);

	(void)state;
	struct df_fold *f = fold_in(dir, 1 << 20);
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
	end(f, dir);
}

static void alter(const char *dir, const char *text)
{
	char path[64];
	sqlite3 *db = NULL;

	snprintf(path, sizeof(path), "%s/fold.db", dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* A database that fails for a moment, and another thread's batch behind the one
 * that failed: with it the journal would be let go of too much. */
static void nothing_lands_behind_what_failed(void **state)
{
	char dir[] = "/tmp/df-fold-XXXXXX";
	struct df_id one = row(1).id, two = row(2).id;
	bool fresh;

	(void)state;
	struct df_fold *f = fold_in(dir, 1 << 20);
	df_fold_set_meta(f, "floor", 10);
	assert_int_equal(df_fold_flush(f), 0);
	df_fold_touch(f, df_fold_make(f, &one));
	struct df_flush *first = df_fold_begin(f);
	assert_non_null(first);
	alter(dir, "ALTER TABLE obj RENAME TO away");
	int err = df_fold_write(f, first);
	assert_int_not_equal(err, 0);
	alter(dir, "ALTER TABLE away RENAME TO obj");
	df_fold_touch(f, df_fold_make(f, &two));
	df_fold_set_meta(f, "floor", 20);
	assert_int_not_equal(df_fold_flush(f), 0);
	df_fold_end(f, first, err);
	assert_int_not_equal(df_fold_checkpoint(f), 0);
	df_fold_free(f);

	assert_int_equal(df_fold_open(dir, 1 << 20, NULL, &f, &fresh), 0);
	assert_false(fresh);
	assert_int_equal(df_fold_meta(f, "floor", 0), 10);
	assert_null(df_fold_find(f, &one));
	assert_null(df_fold_find(f, &two));
	end(f, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_memory_let_go),
		cmocka_unit_test(knows_rows_in_flight),
		cmocka_unit_test(nothing_lands_behind_what_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
