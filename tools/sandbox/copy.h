/*
 * copy.h - files and directories between this machine and a sandbox.
 *
 * One file goes through the file API, checked and moved into place, with its
 * mode.  A directory is one tar stream: up through the file API (input of
 * processes is logged by guest agents), down through the output of tar.
 */
#ifndef DF_SANDBOX_COPY_H
#define DF_SANDBOX_COPY_H

#include "tools/sandbox/provider.h"

/* src "-" = standard input.  A dst that is a directory, or ends in "/",
 * receives src by its name. */
int df_copy_up(struct df_prov *p, struct df_sb *sb, const char *user,
	       const char *src, const char *dst, bool recursive);
/* dst "-" = standard output. */
int df_copy_down(struct df_prov *p, struct df_sb *sb, const char *user,
		 const char *src, const char *dst, bool recursive);

#endif
