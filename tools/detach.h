/*
 * detach.h - unmounting, with or without losing nothing.
 *
 * Flush while it is mounted (a failure leaves it mounted), unmount, then wait
 * until the daemon has ended.  Taking away one of several mounts of the same
 * filesystem (a bind mount) does none of this; nor do force and lazy.
 */
#ifndef DF_TOOLS_DETACH_H
#define DF_TOOLS_DETACH_H

#include <stdbool.h>
#include <stdint.h>

struct df_detach {
	const char *path;
	const char *cache_dir; /* or NULL: by the run file */
	int64_t timeout_ms;    /* of the flush; < 0: the mount's own */
	bool force;            /* umount -f: requests fail, nothing waits */
	bool lazy;             /* umount -l */
	bool anyhow;           /* unmount even if the flush failed */
	bool verbose;
};

/* The exit status: DF_EXIT_NOT_REMOTE when not everything is in the table,
 * mounted still or not (said). */
int df_detach(const struct df_detach *d);

#endif
