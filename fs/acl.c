/*
 * acl.c - see acl.h.
 */
#include "fs/acl.h"

#include <endian.h>
#include <string.h>

#define ACL_VERSION 2
#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define ACL_BYTES(n) (4 + 8 * (size_t)(n))

enum acl_tag {
	ACL_USER_OBJ = 1,
	ACL_USER = 2,
	ACL_GROUP_OBJ = 4,
	ACL_GROUP = 8,
	ACL_MASK = 16,
	ACL_OTHER = 32,
};

bool df_acl_is_name(const char *name)
{
	return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

int df_acl_parse(const void *value, size_t size, struct df_acl *acl)
{
	const uint8_t *p = value;
	uint32_t version;
	unsigned seen = 0;

	if (size < 4 || (size - 4) % 8)
		return -EINVAL;
	memcpy(&version, p, 4);
	if (le32toh(version) != ACL_VERSION)
		return -EINVAL;
	if (size > ACL_BYTES(DF_ACL_MAX))
		return -ENOSPC;
	acl->n = (unsigned)((size - 4) / 8);
	for (unsigned i = 0; i < acl->n; i++) {
		struct df_acl_entry *e = &acl->e[i];

		memcpy(e, p + 4 + 8 * i, 8);
		e->tag = le16toh(e->tag);
		e->perm = le16toh(e->perm);
		e->id = le32toh(e->id);
		if (e->perm > 7 || !e->tag || e->tag > ACL_OTHER ||
		    e->tag & (e->tag - 1))
			return -EINVAL;
		/* only named users and groups may come more than once */
		if (!(e->tag & (ACL_USER | ACL_GROUP)) && seen & e->tag)
			return -EINVAL;
		seen |= e->tag;
	}
	if (!acl->n)
		return 0;
	if ((seen & (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER)) !=
	    (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER))
		return -EINVAL;
	if (seen & (ACL_USER | ACL_GROUP) && !(seen & ACL_MASK))
		return -EINVAL;
	return 0;
}

size_t df_acl_format(const struct df_acl *acl, uint8_t *out)
{
	uint32_t version = htole32(ACL_VERSION);

	memcpy(out, &version, 4);
	for (unsigned i = 0; i < acl->n; i++) {
		struct df_acl_entry e = {
			.tag = htole16(acl->e[i].tag),
			.perm = htole16(acl->e[i].perm),
			.id = htole32(acl->e[i].id),
		};

		memcpy(out + 4 + 8 * i, &e, 8);
	}
	return ACL_BYTES(acl->n);
}

/* The entry that stands for the group bits of the mode: the mask, if any. */
static struct df_acl_entry *acl_find(struct df_acl *acl, enum acl_tag tag)
{
	for (unsigned i = 0; i < acl->n; i++)
		if (acl->e[i].tag == tag)
			return &acl->e[i];
	return NULL;
}

static struct df_acl_entry *acl_group_class(struct df_acl *acl)
{
	struct df_acl_entry *e = acl_find(acl, ACL_MASK);

	return e ? e : acl_find(acl, ACL_GROUP_OBJ);
}

mode_t df_acl_mode(const struct df_acl *acl, bool *same)
{
	mode_t mode = 0;
	mode_t group = 0;
	bool mask = false;

	*same = true;
	for (unsigned i = 0; i < acl->n; i++) {
		mode_t perm = acl->e[i].perm;

		switch ((enum acl_tag)acl->e[i].tag) {
		case ACL_USER_OBJ:
			mode |= perm << 6;
			break;
		case ACL_GROUP_OBJ:
			if (!mask)
				group = perm;
			break;
		case ACL_MASK:
			group = perm;
			mask = true;
			*same = false;
			break;
		case ACL_OTHER:
			mode |= perm;
			break;
		case ACL_USER:
		case ACL_GROUP:
			*same = false;
			break;
		}
	}
	return mode | group << 3;
}

void df_acl_from_mode(struct df_acl *acl, mode_t mode)
{
	struct df_acl_entry *e;

	e = acl_find(acl, ACL_USER_OBJ);
	if (e)
		e->perm = mode >> 6 & 7;
	e = acl_group_class(acl);
	if (e)
		e->perm = mode >> 3 & 7;
	e = acl_find(acl, ACL_OTHER);
	if (e)
		e->perm = mode & 7;
}

void df_acl_mask_create(struct df_acl *acl, mode_t *mode)
{
	struct df_acl_entry *e;
	bool same;

	e = acl_find(acl, ACL_USER_OBJ);
	if (e)
		e->perm &= *mode >> 6 & 7;
	e = acl_group_class(acl);
	if (e)
		e->perm &= *mode >> 3 & 7;
	e = acl_find(acl, ACL_OTHER);
	if (e)
		e->perm &= *mode & 7;
	*mode = (*mode & ~(mode_t)0777) | df_acl_mode(acl, &same);
}

/* >0: there is one, in *acl; 0: none. */
static int acl_load(struct df_vol *v, df_nid nid, const char *name,
		    struct df_acl *acl)
{
	uint8_t value[ACL_BYTES(DF_ACL_MAX)];
	ssize_t n = df_vol_getxattr(v, nid, name, value, sizeof(value));

	if (n == -ENODATA)
		return 0;
	if (n < 0)
		return (int)n;
	/* From the table, so it may be anything: no ACL then, rather than a
	 * directory in which nothing can be made. */
	if (df_acl_parse(value, (size_t)n, acl) || !acl->n)
		return 0;
	return 1;
}

static int acl_store(struct df_vol *v, df_nid nid, const char *name,
		     const struct df_acl *acl)
{
	uint8_t value[ACL_BYTES(DF_ACL_MAX)];
	size_t n = df_acl_format(acl, value);

	return df_vol_setxattr(v, nid, name, value, n, 0);
}

int df_acl_inherit(struct df_vol *v, df_nid parent, mode_t *mode,
		   struct df_cred *cred, struct df_acl_new *out)
{
	bool same;
	int err;

	out->some = false;
	err = acl_load(v, parent, ACL_DEFAULT, &out->default_acl);
	if (err == 0)
		*mode &= ~cred->umask;
	cred->umask = 0;
	if (err <= 0)
		return err;
	out->access = out->default_acl;
	df_acl_mask_create(&out->access, mode);
	df_acl_mode(&out->access, &same);
	out->has_access = !same;
	out->has_default = S_ISDIR(*mode);
	out->some = out->has_access || out->has_default;
	return 0;
}

int df_acl_apply(struct df_vol *v, df_nid nid, const struct df_acl_new *acl)
{
	int err = 0;

	if (acl->has_access)
		err = acl_store(v, nid, ACL_ACCESS, &acl->access);
	if (!err && acl->has_default)
		err = acl_store(v, nid, ACL_DEFAULT, &acl->default_acl);
	return err;
}

int df_acl_chmod(struct df_vol *v, df_nid nid, mode_t mode)
{
	struct df_acl acl;
	int err = acl_load(v, nid, ACL_ACCESS, &acl);

	if (err <= 0)
		return err;
	df_acl_from_mode(&acl, mode);
	return acl_store(v, nid, ACL_ACCESS, &acl);
}

/* May the caller keep the setgid bit of a file of that group? */
static bool acl_in_group(fuse_req_t req, gid_t gid)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	gid_t list[256];
	int n;

	if (ctx->uid == 0 || ctx->gid == gid)
		return true;
	n = fuse_req_getgroups(req, DF_ARRAY_LEN(list), list);
	for (int i = 0; i < n && i < (int)DF_ARRAY_LEN(list); i++)
		if (list[i] == gid)
			return true;
	return false;
}

static int acl_set_access(fuse_req_t req, struct df_vol *v, df_nid nid,
			  const struct df_acl *acl, int flags)
{
	struct df_attr a, in;
	uint8_t value[ACL_BYTES(DF_ACL_MAX)];
	double timeout;
	bool same;
	int err = df_vol_getattr(v, nid, &a, &timeout);

	if (err)
		return err;
	memset(&in, 0, sizeof(in));
	in.mode = (a.mode & ~(uint32_t)0777) | df_acl_mode(acl, &same);
	if (a.mode & S_ISGID && !acl_in_group(req, a.gid))
		in.mode &= ~(uint32_t)S_ISGID;
	if (same) {
		/* The mode says it all; as ext4, no attribute then. */
		err = df_vol_removexattr(v, nid, ACL_ACCESS);
		if (err == -ENODATA)
			err = 0;
	} else {
		err = df_vol_setxattr(v, nid, ACL_ACCESS, value,
				      df_acl_format(acl, value), flags);
	}
	if (!err)
		err = df_vol_setattr(v, nid, DF_SET_MODE, &in, &a, &timeout);
	return err;
}

int df_acl_set(fuse_req_t req, struct df_vol *v, df_nid nid, const char *name,
	       const void *value, size_t size, int flags)
{
	struct df_acl acl;
	struct df_attr a;
	double timeout;
	int err = df_acl_parse(value, size, &acl);

	if (err)
		return err;
	if (!acl.n) {
		err = df_vol_removexattr(v, nid, name);
		return err == -ENODATA ? 0 : err;
	}
	if (strcmp(name, ACL_ACCESS) == 0)
		return acl_set_access(req, v, nid, &acl, flags);
	err = df_vol_getattr(v, nid, &a, &timeout);
	if (err)
		return err;
	if (!S_ISDIR(a.mode))
		return -EACCES;
	return df_vol_setxattr(v, nid, name, value, size, flags);
}
