/*
 * unmount.h - take a mount away, and run other programs for that.
 * Errors: 0 or -errno; not logged but where said.  Threads: one.
 */
#ifndef DF_TOOLS_UNMOUNT_H
#define DF_TOOLS_UNMOUNT_H

#include <stdbool.h>
#include <sys/types.h>

enum df_unmount_flags {
	DF_UNMOUNT_FORCE = 1, /* umount2's MNT_FORCE: requests fail */
	DF_UNMOUNT_LAZY = 2,  /* MNT_DETACH: now, even if it is in use */
};

/* umount2(2) as root, fusermount3 otherwise.  -EBUSY: somebody uses it. */
int df_unmount(const char *path, unsigned flags);

/* Is the mount at path dead: its daemon gone without unmounting?  Asks the
 * kernel with statfs(2), which such a mount answers at once. */
bool df_unmount_is_dead(const char *path);

/* Run argv[0] from PATH and wait: its exit status, or -errno (-ENOENT: no such
 * program).  The first line that it writes to stderr goes into said, cut. */
int df_run(const char *const argv[], char *said, size_t size);

#endif
