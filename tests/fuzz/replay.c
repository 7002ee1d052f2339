/*
 * replay.c - runs a fuzz target over files and directories given as arguments,
 * for compilers without libFuzzer.  Fails if there was nothing to run.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
/* Some targets set things up first. */
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static unsigned n_run;

static void run_file(const char *path)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	if (df_file_read(path, &b)) {
		fprintf(stderr, "replay: %s cannot be read\n", path);
		exit(1);
	}
	/* Its own allocation of the exact size, for the sanitizers. */
	uint8_t *copy = malloc(b.len ? b.len : 1);
	if (!copy)
		exit(1);
	if (b.len)
		memcpy(copy, b.data, b.len);
	LLVMFuzzerTestOneInput(copy, b.len);
	n_run++;
	free(copy);
	df_buf_release(&b);
}

static void run_path(const char *path)
{
	DIR *d = opendir(path);

	if (!d) {
		run_file(path);
		return;
	}
	for (struct dirent *e; (e = readdir(d));) {
		DF_FREE char *sub = df_strf("%s/%s", path, e->d_name);
		if (e->d_name[0] != '.' && sub)
			run_file(sub);
	}
	closedir(d);
}

int main(int argc, char **argv)
{
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	printf("%s: %u inputs\n", argv[0], n_run);
	return n_run ? 0 : 1;
}
