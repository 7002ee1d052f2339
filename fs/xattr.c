/*
 * xattr.c - extended attributes.  The namespaces and the errors are ext4's;
 * who may touch which of them the kernel has checked already.
 */
#include "fs/fs.h"

#include <string.h>

#include "fs/acl.h"
#include "fs/again.h"

static bool xattr_has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* 0, or why there is no attribute of that name on this filesystem. */
static int xattr_check(const char *name)
{
	static const char *const spaces[] = { "user.", "trusted.",
					      "security." };

	if (df_acl_is_name(name))
		return 0;
	for (size_t i = 0; i < DF_ARRAY_LEN(spaces); i++)
		if (xattr_has_prefix(name, spaces[i]))
			return name[strlen(spaces[i])] ? 0 : -EINVAL;
	return -EOPNOTSUPP;
}

static void xattr_reply(fuse_req_t req, ssize_t n, const char *buf)
{
	if (n < 0)
		df_fs_reply(req, (int)n);
	else if (buf)
		fuse_reply_buf(req, buf, (size_t)n);
	else
		fuse_reply_xattr(req, (size_t)n);
}

void df_fuse_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		      size_t size)
{
	char *buf = size ? df_fs_scratch() : NULL;
	ssize_t n = xattr_check(name);

	if (size && !buf)
		n = -ENOMEM;
	size = DF_MIN(size, (size_t)DF_XATTR_VALUE_MAX);
	if (!n)
		n = df_vol_getxattr(df_fs_of(req)->vol, ino, name, buf, size);
	xattr_reply(req, n, buf);
}

static int xattr_set(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	(void)p;
	if (df_acl_is_name(a->name))
		return df_acl_set(a->req, fs->vol, a->nid, a->name, a->data,
				  a->len, (int)a->flags);
	return df_vol_setxattr(fs->vol, a->nid, a->name, a->data, a->len,
			       (int)a->flags);
}

static void xattr_answer(fuse_req_t req, const struct df_again *a)
{
	(void)a;
	df_fs_reply(req, 0);
}

void df_fuse_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		      const char *value, size_t size, int flags)
{
	int err = xattr_check(name);
	struct df_again a = { .run = xattr_set,
			      .answer = xattr_answer,
			      .changes = true,
			      .nid = ino,
			      .name = name,
			      .data = value,
			      .len = size,
			      .flags = (unsigned)flags };

	if (!err && size > DF_XATTR_VALUE_MAX)
		err = -E2BIG;
	if (err)
		df_fs_reply(req, err);
	else
		df_again(req, &a);
}

static int xattr_remove(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	(void)p;
	return df_vol_removexattr(fs->vol, a->nid, a->name);
}

void df_fuse_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	int err = xattr_check(name);
	struct df_again a = { .run = xattr_remove,
			      .answer = xattr_answer,
			      .changes = true,
			      .nid = ino,
			      .name = name };

	if (err)
		df_fs_reply(req, err);
	else
		df_again(req, &a);
}

/* trusted.* is for root's eyes only, in lists as well. */
static size_t xattr_hide(char *list, size_t len)
{
	size_t out = 0;

	for (size_t at = 0, n; at < len; at += n) {
		n = strnlen(list + at, len - at - 1) + 1;
		if (xattr_has_prefix(list + at, "trusted."))
			continue;
		memmove(list + out, list + at, n);
		out += n;
	}
	return out;
}

void df_fuse_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct df_vol *v = df_fs_of(req)->vol;
	char *list = df_fs_scratch();
	ssize_t n;

	if (!list) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	n = df_vol_listxattr(v, ino, list, DF_FS_MAX_WRITE);
	if (n > 0 && fuse_req_ctx(req)->uid != 0)
		n = (ssize_t)xattr_hide(list, (size_t)n);
	if (n >= 0 && size && (size_t)n > size)
		n = -ERANGE;
	xattr_reply(req, n, size ? list : NULL);
}
