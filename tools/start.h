/*
 * start.h - make a mount: the command's part, up to the daemon's word that it
 * answers.  Says everything a user needs to know on stderr.
 */
#ifndef DF_TOOLS_START_H
#define DF_TOOLS_START_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/conf.h"

struct df_start {
	struct df_conf *opt;
	const char *table;
	const char *subdir; /* or NULL */
	const char *path;   /* from df_place_path() */
	bool create_table;
	bool make_dir; /* make the mount point, and insist on its being
			      * empty */
	bool foreground;
	bool mounted_is_fine; /* already so: 0 instead of a refusal */
};

/* The exit status; *pid is the daemon's, 0 when none was started. */
int df_start(const struct df_start *s, pid_t *pid);

#endif
