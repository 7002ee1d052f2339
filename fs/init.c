/*
 * init.c - what is agreed with the kernel when the mount begins.
 *
 * docs/fuse.md says why each capability is wanted or not, with figures.
 * libfuse 3.14 has no word for three things that the protocol has and we need;
 * they are put into its answer to INIT on the way out (df_fs_patch_init):
 *
 *	PARALLEL_DIROPS    libfuse knows the name but never sends it
 *	HANDLE_KILLPRIV_V2 or the kernel asks for security.capability before
 *	                   every single WRITE
 *	SETXATTR_EXT       is *not* taken: libfuse 3.14 would misread SETXATTR
 */
#include "fs/fs.h"

#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void df_fuse_init(void *userdata, struct fuse_conn_info *conn)
{
	static const unsigned wanted =
		FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
		FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_EXPORT_SUPPORT |
		FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK | FUSE_CAP_READDIRPLUS |
		FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS |
		FUSE_CAP_EXPLICIT_INVAL_DATA;

	(void)userdata;
	/* Left out on purpose, though libfuse sets some of them: ATOMIC_O_TRUNC
	 * (OPEN is declined: nobody would truncate), AUTO_INVAL_DATA (every own
	 * write would drop the pages), WRITEBACK_CACHE, POSIX_LOCKS,
	 * FLOCK_LOCKS, SPLICE_READ, SPLICE_WRITE and SPLICE_MOVE (io.c). */
	conn->want = conn->capable & wanted;
	conn->max_write = DF_FS_MAX_WRITE;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;
}

void df_fs_patch_init(struct df_fs *fs, struct fuse_out_header *out, void *body,
		      size_t len)
{
	struct fuse_init_out *init = body;

	if (out->error || len < sizeof(*init))
		return;
	init->flags |= fs->init_flags &
		       (FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2);
}

/* The kernel's side must have what the design stands on. */
static int init_check(const struct fuse_init_in *in)
{
	static const uint32_t needed =
		FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT |
		FUSE_EXPLICIT_INVAL_DATA | FUSE_MAX_PAGES;

	if (in->major != FUSE_KERNEL_VERSION || (in->flags & needed) != needed)
		return df_fail(-EPROTO,
			       "this kernel speaks FUSE %u.%u with flags %#x; "
			       "Linux 5.2 or newer is needed",
			       in->major, in->minor, in->flags);
	return 0;
}

int df_fs_handshake(struct df_fs *fs)
{
	struct fuse_buf buf = { .mem = NULL };
	struct fuse_in_header in;
	struct fuse_init_in init;
	int err;

	do {
		err = fuse_session_receive_buf(fs->se, &buf);
	} while (err == -EINTR);
	if (err <= 0) {
		err = df_fail(err ? err : -ENOTCONN,
			      "%s: no word from the kernel after mount",
			      fs->mountpoint);
		goto out;
	}
	memcpy(&in, buf.mem, sizeof(in));
	if (in.opcode != FUSE_INIT || buf.size < sizeof(in) + sizeof(init)) {
		err = df_fail(-EPROTO,
			      "%s: the kernel's first request is %u, "
			      "not INIT",
			      fs->mountpoint, in.opcode);
		goto out;
	}
	memcpy(&init, (char *)buf.mem + sizeof(in), sizeof(init));
	err = init_check(&init);
	if (err)
		goto out;
	fs->init_unique = in.unique;
	fs->init_flags = init.flags;
	fuse_session_process_buf(fs->se, &buf);
	fs->init_unique = 0;
	if (fuse_session_exited(fs->se))
		err = df_fail(-EPROTO, "%s: FUSE does not start",
			      fs->mountpoint);
out:
	free(buf.mem);
	return err;
}
