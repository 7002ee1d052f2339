/*
 * mount.h - tables mounted in sandboxes: made, proved, flushed, unmounted.
 *
 * The recipe, as root of the guest: look (architecture, libc, /dev/fuse,
 * driver), install the driver where it is missing, make the mount point the
 * user's.  As the user: credentials into a 0600 file made beforehand, `deeplake
 * init`.  Then the mount must answer before anybody is told of it.
 */
#ifndef DF_SANDBOX_MOUNT_H
#define DF_SANDBOX_MOUNT_H

#include "tools/sandbox/creds.h"
#include "tools/sandbox/provider.h"

struct df_mount {
	char *table;   /* "T" or "T:/sub/dir"; owned, as the rest */
	char *path;    /* absolute, clean */
	char *options; /* "" = none */
};
struct df_mounts {
	struct df_mount *v;
	size_t n;
};

/* "TABLE:PATH[:OPTIONS]" or "TABLE:/SUBDIR:PATH[:OPTIONS]"; 0 or -EINVAL,
 * logged. */
int df_mounts_add(struct df_mounts *m, const char *text);
void df_mounts_release(struct df_mounts *m);

/* Mount all of them.  user: NULL = the sandbox's usual; bundle: path of the
 * driver's archive, or NULL = search. */
int df_mount_all(struct df_prov *p, struct df_sb *sb, const struct df_mounts *m,
		 const struct df_creds *c, const char *user,
		 const char *bundle);
/* credentials.json in the user's home, private before its first byte. */
int df_mount_credentials(struct df_prov *p, struct df_sb *sb, const char *user,
			 const struct df_creds *c);
/* The archive to upload: caller frees; NULL (silent) if none is found. */
char *df_bundle_find(const char *given);

/* What is mounted now in the sandbox: [{"path", "uid"}]. */
int df_mount_list(struct df_prov *p, struct df_sb *sb, json_t **list);
/* Whose one of them is: a user's name, caller frees; NULL = unknown. */
struct df_sh;
char *df_mount_owner(struct df_sh *s, const json_t *m);
/* After a resume or in a copy: each mount of the list (NULL: each there is)
 * answers, or is mounted anew.  0 or -EIO. */
int df_mount_prove(struct df_prov *p, struct df_sb *sb, json_t *wanted);

/*
 * Everything into the tables.  0, or -EINPROGRESS: something is not there,
 * which was said.  An error of the sandbox itself counts as such, except
 * -ENOENT: it is gone.
 */
int df_flush_all(struct df_prov *p, struct df_sb *sb, long timeout_s);
/* Flush, then unmount (programs that hold a mount are ended). */
int df_umount_all(struct df_prov *p, struct df_sb *sb, long timeout_s);
/*
 * Flush, umount, kill: `kill` and the end of `run`.  If the flush fails, the
 * sandbox lives on with more time, unless force: -EINPROGRESS.
 */
int df_end_sandbox(struct df_prov *p, struct df_sb *sb, long timeout_s,
		   bool force);

#endif
