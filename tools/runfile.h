/*
 * runfile.h - a small JSON file for each running mount, by which commands find
 * the daemon behind a mount point.
 *
 * The file is RUN_DIR/MAJOR:MINOR, the device number of the mount: unique in
 * the kernel, the same through bind mounts and in every mount namespace, and
 * readable from the mount table without asking a daemon that may be dead.
 * RUN_DIR is /run/deeplake for root, $XDG_RUNTIME_DIR/deeplake or
 * /tmp/deeplake-UID for others; files in it count only if they and the
 * directory belong to the user in question.
 *
 * Errors: 0 or -errno, not logged.  Threads: any.
 */
#ifndef DF_TOOLS_RUNFILE_H
#define DF_TOOLS_RUNFILE_H

#include <sys/types.h>

struct df_runfile {
	char *path;      /* owned: where it was mounted */
	char *table;     /* owned */
	char *cache_dir; /* owned: the control socket is in it */
	pid_t pid;       /* in the daemon's pid namespace */
};

/* Write it; *file is its path, for df_runfile_remove() (caller frees). */
int df_runfile_write(dev_t dev, const struct df_runfile *r, char **file);
/* Removes *file if it still speaks of this process and cache, for the device
 * number may have been given to another mount; frees it.  NULL is fine. */
void df_runfile_remove(char **file, const char *cache_dir);
/* -ENOENT: no such mount, or not one of this user. */
int df_runfile_read(dev_t dev, uid_t uid, struct df_runfile *out);
void df_runfile_release(struct df_runfile *r);

#endif
