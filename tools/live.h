/*
 * live.h - from a path to the mount it is in and the daemon behind that.
 */
#ifndef DF_TOOLS_LIVE_H
#define DF_TOOLS_LIVE_H

#include <stdbool.h>

#include "tools/call.h"
#include "tools/mounted.h"
#include "tools/runfile.h"

struct df_live {
	struct df_mounted_list list; /* owned: all mounts, as of now */
	const struct df_mounted *m;  /* into list */
	struct df_runfile run;       /* owned; path NULL: not known */
	struct df_call call;
	bool connected; /* call can be used */
};

/*
 * The mount at path, or (inside) the one that path is in; then the daemon, if
 * it can be found and reached, by its run file or in cache_dir (may be NULL).
 *   -ENOENT  nothing of ours is mounted there (said)
 */
int df_live_open(const char *path, bool inside, const char *cache_dir,
		 struct df_live *out);
void df_live_close(struct df_live *l);

/* Ask and read the last line: 0 if it says ok.  Otherwise what went wrong is
 * in why, in words, and the result is -errno. */
int df_live_ask(struct df_live *l, json_t *request, int64_t timeout_ms,
		df_call_progress *progress, void *arg, json_t **answer,
		char why[256]);

/* The second half of it, for a request that was sent before. */
int df_live_answer(struct df_live *l, int64_t timeout_ms,
		   df_call_progress *progress, void *arg, json_t **answer,
		   char why[256]);

/* Have the table hold everything; progress on a terminal.  timeout_ms < 0: the
 * mount's own umount_timeout.  0 or -errno and why.  The daemon must be
 * connected. */
int df_live_flush(struct df_live *l, int64_t timeout_ms, char why[256]);

#endif
