/*
 * report.h - the status of a mount: as JSON, and as people read it.
 *
 * The object has the fields that `deeplake status --json` documents:
 * path, table, subdir, workspace, server, pid, dirty_bytes, dirty_files,
 * oldest_unsent_s, last_commit, last_poll (ISO 8601 or null),
 * poll_interval_s, cache_bytes, fsync, errors, and more in detail.
 */
#ifndef DF_TOOLS_REPORT_H
#define DF_TOOLS_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "cache/volume.h"
#include "tools/control.h"

/* A new reference, or NULL without memory. */
json_t *df_report_status(const struct df_control_conf *c,
			 const struct df_vol_status *st);
/* The same shape for a mount without a daemon to ask: zeros, pid null, and
 * `why` as its only error (NULL: none). */
json_t *df_report_silent(const char *path, const char *table,
			 const char *workspace, const char *state,
			 const char *why);
/* Some lines for people. */
void df_report_print(FILE *out, const json_t *mount);

#endif
