/*
 * ops.c - the table of operations for libfuse, and the small things that all
 * of them share.
 */
#include "fs/fs.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

const struct fuse_lowlevel_ops df_fs_ops = {
	.init = df_fuse_init,
	.lookup = df_fuse_lookup,
	.forget = df_fuse_forget,
	.forget_multi = df_fuse_forget_multi,
	.getattr = df_fuse_getattr,
	.setattr = df_fuse_setattr,
	.readlink = df_fuse_readlink,
	.mknod = df_fuse_mknod,
	.mkdir = df_fuse_mkdir,
	.unlink = df_fuse_unlink,
	.rmdir = df_fuse_rmdir,
	.symlink = df_fuse_symlink,
	.rename = df_fuse_rename,
	.link = df_fuse_link,
	.open = df_fuse_open,
	.read = df_fuse_read,
	.write = df_fuse_write,
	.fsync = df_fuse_fsync,
	.opendir = df_fuse_opendir,
	.readdir = df_fuse_readdir,
	.readdirplus = df_fuse_readdirplus,
	.fsyncdir = df_fuse_fsync,
	.statfs = df_fuse_statfs,
	.setxattr = df_fuse_setxattr,
	.getxattr = df_fuse_getxattr,
	.listxattr = df_fuse_listxattr,
	.removexattr = df_fuse_removexattr,
	.create = df_fuse_create,
	.fallocate = df_fuse_fallocate,
	.copy_file_range = df_fuse_copy_range,
	.lseek = df_fuse_lseek,
};

int df_fs_errno(int err)
{
	switch (err) {
	case -ENOSYS:
	case DF_ECORRUPT:
	case DF_EFORMAT:
	case DF_EPARKED:
		return EIO;
	default:
		return err < 0 && err > -512 ? -err : EIO;
	}
}

void df_fs_reply(fuse_req_t req, int err)
{
	fuse_reply_err(req, err ? df_fs_errno(err) : 0);
}

char *df_fs_scratch(void)
{
	struct df_worker *w = df_fs_self;

	/* Large enough that malloc maps it: pages cost only when used. */
	if (!w->scratch)
		w->scratch = malloc(DF_FS_MAX_WRITE);
	return w->scratch;
}

void df_fs_cred(fuse_req_t req, struct df_cred *cred)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	cred->uid = ctx->uid;
	cred->gid = ctx->gid;
	cred->umask = ctx->umask;
}

static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct df_fs *fs = userdata;
	struct fuse_out_header *out = iov[0].iov_base;

	/* Only before the workers start. */
	if (fs->init_unique && out->unique == fs->init_unique && count == 2)
		df_fs_patch_init(fs, out, iov[1].iov_base, iov[1].iov_len);
	return writev(fd, iov, count);
}

const struct fuse_custom_io df_fs_io = {
	.read = io_read,
	.writev = io_writev,
};
