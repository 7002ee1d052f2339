/*
 * name.c - names: LOOKUP, FORGET, and everything that makes, moves or removes
 * an entry of a directory.
 *
 * Every answer with an entry counts a lookup at the volume.  When the kernel
 * does not take the answer (-ENOENT: the caller was killed meanwhile) no
 * FORGET will come for it, so that it is given back here.
 */
#include "fs/fs.h"

#include <string.h>

#include "fs/acl.h"

static void name_reply(fuse_req_t req, int err, const struct df_entry *e)
{
	struct df_fs *fs = df_fs_of(req);
	struct fuse_entry_param p;

	if (err) {
		df_fs_reply(req, err);
		return;
	}
	df_fs_entry_param(e, &p);
	if (fuse_reply_entry(req, &p))
		df_vol_forget(fs->vol, e->nid, 1);
}

void df_fuse_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct df_entry e;
	struct fuse_entry_param p;
	int err;

	if (df_fs_prime_lookup(req, parent, name))
		return;
	e.entry_timeout = 0;
	err = df_vol_lookup(df_fs_of(req)->vol, parent, name, &e);
	if (err == -ENOENT && e.entry_timeout > 0) {
		/* "Not there, and you may remember that." */
		memset(&p, 0, sizeof(p));
		p.entry_timeout = e.entry_timeout;
		fuse_reply_entry(req, &p);
		return;
	}
	name_reply(req, err, &e);
}

void df_fuse_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	if (ino != DF_FS_PRIME_NID)
		df_vol_forget(df_fs_of(req)->vol, ino, n);
	fuse_reply_none(req);
}

void df_fuse_forget_multi(fuse_req_t req, size_t n, struct fuse_forget_data *f)
{
	struct df_vol *v = df_fs_of(req)->vol;

	for (size_t i = 0; i < n; i++)
		if (f[i].ino != DF_FS_PRIME_NID)
			df_vol_forget(v, f[i].ino, f[i].nlookup);
	fuse_reply_none(req);
}

/* mknod, mkdir and create: what they share is the parent's default ACL. */
static int name_make(fuse_req_t req, df_nid parent, const char *name,
		     mode_t mode, dev_t rdev, int open_flags,
		     struct df_entry *e)
{
	struct df_vol *v = df_fs_of(req)->vol;
	struct df_acl_new acl;
	struct df_cred cred;
	int err;

	df_fs_cred(req, &cred);
	err = df_acl_inherit(v, parent, &mode, &cred, &acl);
	if (err)
		return err;
	if (S_ISDIR(mode))
		err = df_vol_mkdir(v, parent, name, mode, &cred, e);
	else
		err = df_vol_mknod(v, parent, name, mode, (uint32_t)rdev,
				   open_flags, &cred, e);
	if (!err && acl.some) {
		err = df_acl_apply(v, e->nid, &acl);
		if (err) {
			if (S_ISDIR(mode))
				df_vol_rmdir(v, parent, name);
			else
				df_vol_unlink(v, parent, name);
			df_vol_forget(v, e->nid, 1);
		}
	}
	return err;
}

void df_fuse_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		    mode_t mode, struct fuse_file_info *fi)
{
	struct df_fs *fs = df_fs_of(req);
	struct df_entry e;
	struct fuse_entry_param p;
	int err;

	mode = (mode & ~(mode_t)S_IFMT) | S_IFREG;
	err = name_make(req, parent, name, mode, 0, fi->flags, &e);
	/* The kernel believed that the name is free, and would open what is
	 * there without asking for permission.  ESTALE makes it look again. */
	if (err == -EEXIST && !(fi->flags & O_EXCL))
		err = -ESTALE;
	if (err) {
		df_fs_reply(req, err);
		return;
	}
	df_fs_entry_param(&e, &p);
	fi->fh = 0;
	fi->keep_cache = 1;
	if (fuse_reply_create(req, &p, fi))
		df_vol_forget(fs->vol, e.nid, 1);
}

void df_fuse_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode, dev_t rdev)
{
	struct df_entry e;
	int err;

	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	err = name_make(req, parent, name, mode, rdev, 0, &e);
	name_reply(req, err, &e);
}

void df_fuse_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode)
{
	struct df_entry e;
	int err;

	mode = (mode & ~(mode_t)S_IFMT) | S_IFDIR;
	err = name_make(req, parent, name, mode, 0, 0, &e);
	name_reply(req, err, &e);
}

void df_fuse_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		     const char *name)
{
	struct df_cred cred;
	struct df_entry e;
	int err;

	df_fs_cred(req, &cred);
	err = df_vol_symlink(df_fs_of(req)->vol, parent, name, target, &cred,
			     &e);
	name_reply(req, err, &e);
}

void df_fuse_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[DF_SYMLINK_MAX + 1];
	int err = df_vol_readlink(df_fs_of(req)->vol, ino, target);

	if (err)
		df_fs_reply(req, err);
	else
		fuse_reply_readlink(req, target);
}

void df_fuse_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		  const char *name)
{
	struct df_entry e;
	int err = df_vol_link(df_fs_of(req)->vol, ino, parent, name, &e);

	name_reply(req, err, &e);
}

void df_fuse_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	df_fs_reply(req, df_vol_unlink(df_fs_of(req)->vol, parent, name));
}

void df_fuse_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	df_fs_reply(req, df_vol_rmdir(df_fs_of(req)->vol, parent, name));
}

void df_fuse_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		    fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
	df_fs_reply(req, df_vol_rename(df_fs_of(req)->vol, parent, name,
				       new_parent, new_name, flags));
}
