// links: base backend cache tools
/*
 * fuzz_mounts.c - ~/.deeplake/mounts.json of anybody's making.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "tools/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char home[64], path[128];

static void drop(void)
{
	char dir[96];

	unlink(path);
	snprintf(dir, sizeof(dir), "%s/.deeplake", home);
	rmdir(dir);
	rmdir(home);
}

static void make_home(void)
{
	snprintf(home, sizeof(home), "%s/df-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(home) || setenv("HOME", home, 1))
		abort();
	snprintf(path, sizeof(path), "%s/.deeplake", home);
	if (mkdir(path, 0700))
		abort();
	snprintf(path, sizeof(path), "%s/.deeplake/mounts.json", home);
	atexit(drop);
	df_log_set_level(DF_LOG_ERROR - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct df_registry r;

	if (!home[0])
		make_home();
	if (df_file_replace(path, data, len, 0600))
		abort();
	if (!df_registry_load(&r)) {
		for (size_t i = 0; i < r.n;
		     i++) /* a path and a table, or none */
			if (!r.v[i].path || !r.v[i].table)
				abort();
		df_registry_release(&r);
	}
	return 0;
}
