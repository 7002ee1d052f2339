/* test_base_file.c - files read under a ceiling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static void ceilings(void **state)
{
	char path[] = "/tmp/test_base_file-XXXXXX";
	char text[5000];
	struct df_buf b;

	(void)state;
	memset(text, 'x', sizeof(text));
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, 20), 20);
	df_buf_init(&b, 4096);
	assert_int_equal(df_file_read(path, &b), 0);
	assert_int_equal(b.len, 20);
	df_buf_release(&b);
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	df_buf_init(&b, 4096);
	assert_int_not_equal(df_file_read(path, &b), 0);
	df_buf_release(&b);
	df_buf_init(&b, 5020);
	assert_int_equal(df_file_read(path, &b), 0);
	assert_int_equal(b.len, 5020);
	df_buf_release(&b);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(ceilings) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
