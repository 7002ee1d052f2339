/*
 * daemon.h - the process behind a mount, from opening the volume to its end.
 *
 *	starting  -> mounted -> draining -> ended
 *
 * starting: volume and mount are being opened; errors go to stderr of the
 * command.  mounted: stdio is detached, the log is syslog or log_file.
 * draining: the mount has gone, by whatever way; what is dirty is sent, for
 * umount_timeout at most, unless another daemon wants the cache (handover).
 * What was not sent stays in the journal.
 */
#ifndef DF_TOOLS_DAEMON_H
#define DF_TOOLS_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/account.h"

struct df_daemon_conf {
	const struct df_conf *opt;
	const struct df_account *account;
	const char *table;
	const char *subdir;    /* or NULL */
	const char *path;      /* the mount point, absolute, there */
	const char *cache_dir; /* made if missing */
	bool create;           /* make the table if it is missing */
	bool foreground;       /* keep stdio */
};

/* What the daemon tells the command that started it, once. */
struct df_daemon_report {
	int32_t err;    /* 0: the mount answers; else -errno, said already */
	int32_t status; /* what the command ends with */
};

/*
 * Run until the mount has gone and the rest was sent.  The report goes to
 * report_fd (closed after it; -1: nobody waits).  Returns the exit status:
 * DF_EXIT_NOT_REMOTE if not everything is in the table.
 */
int df_daemon_run(const struct df_daemon_conf *conf, int report_fd);

#endif
