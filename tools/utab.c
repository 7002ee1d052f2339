/* utab.c - see utab.h. */
#include "tools/utab.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/mounted.h"
#include "tools/unmount.h"

#define UTAB_DIR "/run/mount"
#define UTAB_MAX (8 << 20)
#define OUR_OPTION "uhelper=" DF_FS_TYPE

bool df_utab_usable(void)
{
	return geteuid() == 0 && access(UTAB_DIR, W_OK) == 0;
}

/* An entry that a mount left that went by another way than umount(8). */
static bool utab_has(const char *path)
{
	DF_FREE char *want = df_strf(" TARGET=%s ", path);
	struct df_buf text;
	bool found = false;

	df_buf_init(&text, UTAB_MAX);
	if (want && df_file_read(UTAB_DIR "/utab", &text) == 0) {
		const char *at = strstr(df_buf_cstr(&text), want);
		const char *end = at ? strchr(at, '\n') : NULL;
		const char *ours = at ? strstr(at, OUR_OPTION) : NULL;
		found = ours && (!end || ours < end);
	}
	df_buf_release(&text);
	return found;
}

void df_utab_add(const char *table, const char *path)
{
	const char *const argv[] = { "mount",    "-i", "-f",       "-t",
				     DF_FS_TYPE, "-o", OUR_OPTION, "--",
				     table,      path, NULL };
	char said[128];

	if (!df_utab_usable() || utab_has(path))
		return;
	int status = df_run(argv, said, sizeof(said));
	if (status)
		df_log_debug("%s: mount(8) did not note it (%d: %s): umount(8) "
			     "will not wait, deeplake umount does",
			     path, status, said);
}
