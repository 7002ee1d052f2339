/*
 * name.c - names: LOOKUP, FORGET, and everything that makes, moves or removes
 * an entry of a directory.
 *
 * Every answer with an entry counts a lookup at the volume.  When the kernel
 * does not take the answer (-ENOENT: the caller was killed meanwhile) no
 * FORGET will come for it, so that it is given back here.
 */
#include "fs/fs.h"

#include <fcntl.h>
#include <string.h>

#include "fs/acl.h"
#include "fs/again.h"

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

/* mknod, mkdir and create: what they share is the parent's default ACL.
 * a: nid the parent, flags those of open, attr mode and rdev. */
static int name_make(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	struct df_vol *v = fs->vol;
	mode_t mode = a->attr.mode;
	struct df_acl_new acl;
	struct df_cred cred;
	int err;

	(void)p;
	df_fs_cred(a->req, &cred);
	err = df_acl_inherit(v, a->nid, &mode, &cred, &acl);
	if (err)
		return err;
	if (S_ISDIR(mode))
		err = df_vol_mkdir(v, a->nid, a->name, mode, &cred, &a->entry);
	else
		err = df_vol_mknod(v, a->nid, a->name, mode, a->attr.rdev,
				   (int)a->flags, &cred, &a->entry);
	if (!err && acl.some) {
		err = df_acl_apply(v, a->entry.nid, &acl);
		if (err) {
			if (S_ISDIR(mode))
				df_vol_rmdir(v, a->nid, a->name);
			else
				df_vol_unlink(v, a->nid, a->name);
			df_vol_forget(v, a->entry.nid, 1);
		}
	}
	return err;
}

static int name_create(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	int err = name_make(fs, a, p);

	/* The kernel believed that the name is free, and would open what is
	 * there without asking for permission.  ESTALE makes it look again. */
	return err == -EEXIST && !(a->flags & O_EXCL) ? -ESTALE : err;
}

static void name_answer(fuse_req_t req, const struct df_again *a)
{
	name_reply(req, 0, &a->entry);
}

static void name_answer_create(fuse_req_t req, const struct df_again *a)
{
	struct df_fs *fs = df_fs_of(req);
	struct fuse_file_info fi = { .flags = (int)a->flags, .keep_cache = 1 };
	struct fuse_entry_param p;

	df_fs_entry_param(&a->entry, &p);
	if (fuse_reply_create(req, &p, &fi))
		df_vol_forget(fs->vol, a->entry.nid, 1);
}

static void name_answer_done(fuse_req_t req, const struct df_again *a)
{
	(void)a;
	df_fs_reply(req, 0);
}

void df_fuse_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		    mode_t mode, struct fuse_file_info *fi)
{
	struct df_again a = { .run = name_create,
			      .answer = name_answer_create,
			      .changes = true,
			      .nid = parent,
			      .name = name,
			      .flags = (unsigned)fi->flags };

	a.attr.mode = (mode & ~(mode_t)S_IFMT) | S_IFREG;
	df_again(req, &a);
}

void df_fuse_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode, dev_t rdev)
{
	struct df_again a = { .run = name_make,
			      .answer = name_answer,
			      .changes = true,
			      .nid = parent,
			      .name = name };

	a.attr.mode = mode & S_IFMT ? mode : mode | S_IFREG;
	a.attr.rdev = (uint32_t)rdev;
	df_again(req, &a);
}

void df_fuse_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode)
{
	df_fuse_mknod(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0);
}

static int name_symlink(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	struct df_cred cred;

	(void)p;
	df_fs_cred(a->req, &cred);
	return df_vol_symlink(fs->vol, a->nid, a->name, a->name2, &cred,
			      &a->entry);
}

void df_fuse_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		     const char *name)
{
	struct df_again a = { .run = name_symlink,
			      .answer = name_answer,
			      .changes = true,
			      .nid = parent,
			      .name = name,
			      .name2 = target };

	df_again(req, &a);
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

static int name_link(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	(void)p;
	return df_vol_link(fs->vol, a->nid2, a->nid, a->name, &a->entry);
}

void df_fuse_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		  const char *name)
{
	struct df_again a = { .run = name_link,
			      .answer = name_answer,
			      .changes = true,
			      .nid = parent,
			      .nid2 = ino,
			      .name = name };

	df_again(req, &a);
}

static int name_remove(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	(void)p;
	return S_ISDIR(a->attr.mode) ? df_vol_rmdir(fs->vol, a->nid, a->name)
				     : df_vol_unlink(fs->vol, a->nid, a->name);
}

void df_fuse_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct df_again a = { .run = name_remove,
			      .answer = name_answer_done,
			      .changes = true,
			      .nid = parent,
			      .name = name };

	df_again(req, &a);
}

void df_fuse_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct df_again a = { .run = name_remove,
			      .answer = name_answer_done,
			      .changes = true,
			      .nid = parent,
			      .name = name };

	a.attr.mode = S_IFDIR;
	df_again(req, &a);
}

static int name_rename(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	(void)p;
	return df_vol_rename(fs->vol, a->nid, a->name, a->nid2, a->name2,
			     a->flags);
}

void df_fuse_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		    fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
	struct df_again a = { .run = name_rename,
			      .answer = name_answer_done,
			      .changes = true,
			      .nid = parent,
			      .nid2 = new_parent,
			      .name = name,
			      .name2 = new_name,
			      .flags = flags };

	df_again(req, &a);
}
