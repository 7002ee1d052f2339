// links: base backend
/*
 * fuzz_backend_creds.c - a credentials file and a token of anybody's making.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/creds.h"
#include "base/file.h"
#include "base/log.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_file(const uint8_t *data, size_t len)
{
	struct df_creds c;
	char path[64];
	int fd = memfd_create("creds", MFD_CLOEXEC);

	if (fd < 0 || fchmod(fd, 0600) || df_write_all(fd, data, len))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (df_creds_load_quiet(path, &c) == 0) {
		if (!c.token || !*c.token || !c.workspace || !c.api_url)
			abort();
		df_creds_release(&c);
	}
	close(fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return df_log_open("/dev/null", "fuzz");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *token = malloc(len + 1);

	if (!token)
		return 0;
	memcpy(token, data, len);
	token[len] = 0;
	free(df_creds_token_org(token));
	free(token);
	check_file(data, len);
	return 0;
}
