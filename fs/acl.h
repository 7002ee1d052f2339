/*
 * acl.h - POSIX ACLs: what a filesystem owes the kernel that enforces them.
 *
 * The kernel checks access by "system.posix_acl_access" itself.  Left to us
 * (it says so in fuse_set_acl and by not masking the mode): keeping mode and
 * access ACL in step, and handing a directory's default ACL to what is made in
 * it.  Values have the kernel's xattr form: version 2, then (tag, perm, id).
 *
 * Errors: 0 or -errno.  Any thread; nothing is kept here.
 */
#ifndef DF_FS_ACL_H
#define DF_FS_ACL_H

#include "fs/fs.h"

/* ext4 keeps an ACL in one block too. */
#define DF_ACL_MAX 508

struct df_acl_entry {
	uint16_t tag;
	uint16_t perm;
	uint32_t id;
};

struct df_acl {
	unsigned n;
	struct df_acl_entry e[DF_ACL_MAX];
};

/* What a new object gets besides its mode. */
struct df_acl_new {
	bool some; /* false: nothing, the fields are not set */
	bool has_access;
	bool has_default; /* directories */
	struct df_acl access;
	struct df_acl default_acl;
};

bool df_acl_is_name(const char *name);
/* 0, or -EINVAL (not an ACL), -ENOSPC (too many entries). */
int df_acl_parse(const void *value, size_t size, struct df_acl *acl);
/* Writes at most 4 + 8 * DF_ACL_MAX bytes; their number. */
size_t df_acl_format(const struct df_acl *acl, uint8_t *out);
/* The permission bits that say the same as acl; *same = nothing is lost. */
mode_t df_acl_mode(const struct df_acl *acl, bool *same);
/* Set acl's base entries (and mask) from mode: chmod. */
void df_acl_from_mode(struct df_acl *acl, mode_t mode);
/* Restrict acl to what the creator asked for and *mode to what acl allows. */
void df_acl_mask_create(struct df_acl *acl, mode_t *mode);

/* Before an object of *mode is made in parent: *mode becomes what the parent's
 * default ACL leaves of it, and *out is filled; without one, what the umask
 * leaves.  cred->umask is used up. */
int df_acl_inherit(struct df_vol *v, df_nid parent, mode_t *mode,
		   struct df_cred *cred, struct df_acl_new *out);
int df_acl_apply(struct df_vol *v, df_nid nid, const struct df_acl_new *acl);
/* Before a chmod to mode: bring the access ACL in step. */
int df_acl_chmod(struct df_vol *v, df_nid nid, mode_t mode);
/* SETXATTR of one of the two names. */
int df_acl_set(fuse_req_t req, struct df_vol *v, df_nid nid, const char *name,
	       const void *value, size_t size, int flags);

#endif
