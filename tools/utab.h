/*
 * utab.h - have umount(8) call our helper.
 *
 * util-linux's umount asks statfs(2) for the type of a mount and so takes ours
 * for plain "fuse", whose helper is not ours, unless its own table
 * (/run/mount/utab) has an entry for the mount: then it looks up the full type
 * and runs umount.fuse.deeplakefs.  Only root has that table; a user's umount
 * looks up the full type anyway.
 */
#ifndef DF_TOOLS_UTAB_H
#define DF_TOOLS_UTAB_H

#include <stdbool.h>

/* Does the table exist for us (root, a directory that can be written)? */
bool df_utab_usable(void);
/* Note the mount, by way of mount(8); failing is no harm but that umount(8)
 * then does not wait. */
void df_utab_add(const char *table, const char *path);

#endif
