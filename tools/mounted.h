/*
 * mounted.h - what the kernel says is mounted: /proc/self/mountinfo.
 * Errors: 0 or -errno, not logged.  Threads: any.
 */
#ifndef DF_TOOLS_MOUNTED_H
#define DF_TOOLS_MOUNTED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define DF_FS_TYPE "fuse.deeplakefs"

struct df_mounted {
	char *path;   /* owned; escapes resolved */
	char *root;   /* owned; the part of the filesystem that is shown */
	char *type;   /* owned */
	char *source; /* owned: the table */
	dev_t dev;
	uid_t uid; /* who mounted it (FUSE's user_id=); 0 else */
	bool read_only;
	bool ours; /* type is DF_FS_TYPE */
};

struct df_mounted_list {
	struct df_mounted *v; /* owned; in the order of mounting */
	size_t n;
};

int df_mounted_read(struct df_mounted_list *out);
void df_mounted_release(struct df_mounted_list *l);
/* The topmost mount at exactly this path; NULL if it is no mount point. */
const struct df_mounted *df_mounted_at(const struct df_mounted_list *l,
				       const char *path);
/* How many mounts show this filesystem (bind mounts count). */
size_t df_mounted_count(const struct df_mounted_list *l, dev_t dev);

#endif
