/*
 * loop.c - the workers: read a request, answer it, again.
 *
 * libfuse's own loop makes and ends threads as load comes and goes, under a
 * lock for every request.  Ours has a fixed number, which is enough because no
 * worker ever waits for the network, and no lock.  It also sees each request
 * before libfuse decodes it: that counts them, and saves the one flag of WRITE
 * that libfuse 3.14 drops.
 *
 * Ending: a worker leaves when the connection is gone (ENODEV), or when
 * fs->stopping is set and WAKE_SIGNAL takes it out of read(2).  The signal can
 * come just before read, so it is sent again until all have left.
 */
#include "fs/fs.h"

#include <linux/fuse.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/park.h"

#define WAKE_SIGNAL SIGRTMIN
#define WAKE_EVERY_NS 2000000

_Thread_local struct df_worker *df_fs_self;

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

static ssize_t io_splice_send(int fd_in, off_t *off_in, int fd_out,
			      off_t *off_out, size_t len, unsigned flags,
			      void *userdata)
{
	(void)userdata;
	return splice(fd_in, off_in, fd_out, off_out, len, flags);
}

const struct fuse_custom_io df_fs_io = {
	.read = io_read,
	.writev = io_writev,
	.splice_send = io_splice_send,
};

static void worker_look(struct df_worker *w)
{
	const struct fuse_in_header *in = w->buf.mem;
	const struct fuse_write_in *wr = (const void *)(in + 1);
	_Atomic uint64_t *n;

	if (in->opcode < DF_FS_OPCODES) {
		n = &w->requests[in->opcode];
		atomic_store_explicit(
			n, atomic_load_explicit(n, memory_order_relaxed) + 1,
			memory_order_relaxed);
	}
	w->kill_suid = in->opcode == FUSE_WRITE &&
		       wr->write_flags & FUSE_WRITE_KILL_SUIDGID;
}

static void *worker_run(void *arg)
{
	struct df_worker *w = arg;
	struct df_fs *fs = w->fs;
	uint64_t one = 1;
	int n = 0;

	df_fs_self = w;
	while (!atomic_load_explicit(&fs->stopping, memory_order_relaxed)) {
		n = fuse_session_receive_buf(fs->se, &w->buf);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		worker_look(w);
		fuse_session_process_buf(fs->se, &w->buf);
	}
	if (n < 0 && n != -EINTR && n != -EAGAIN)
		df_fail(n, "%s: reading requests", fs->mountpoint);
	df_fs_self = NULL;
	/* The last one out tells df_fs_serve(). */
	if (atomic_fetch_sub(&fs->n_alive, 1) == 1 &&
	    write(fs->stop_fd, &one, sizeof(one)) < 0)
		df_fail(-errno, "waking the main thread");
	return NULL;
}

static void worker_wake(int sig)
{
	(void)sig;
}

int df_fs_workers_start(struct df_fs *fs)
{
	struct sigaction sa = { .sa_handler = worker_wake };
	unsigned n = fs->conf.threads;
	int err = 0;

	sigemptyset(&sa.sa_mask);
	if (sigaction(WAKE_SIGNAL, &sa, NULL))
		return df_fail(-errno, "installing a signal handler");
	fs->workers = calloc(n, sizeof(*fs->workers));
	if (!fs->workers)
		return df_fail(-ENOMEM, "%u threads", n);
	/* Counted before they run, or the first could be the last one out. */
	atomic_store(&fs->n_alive, n);
	for (unsigned i = 0; i < n && !err; i++) {
		struct df_worker *w = &fs->workers[i];

		w->fs = fs;
		err = pthread_create(&w->thread, NULL, worker_run, w);
		if (!err)
			fs->n_workers++;
	}
	if (!err)
		return 0;
	atomic_fetch_sub(&fs->n_alive, n - fs->n_workers);
	return df_fail(-err, "starting thread %u of %u", fs->n_workers + 1, n);
}

void df_fs_workers_join(struct df_fs *fs)
{
	static const struct timespec pause = { .tv_nsec = WAKE_EVERY_NS };

	atomic_store(&fs->stopping, true);
	while (atomic_load(&fs->n_alive)) {
		for (unsigned i = 0; i < fs->n_workers; i++)
			pthread_kill(fs->workers[i].thread, WAKE_SIGNAL);
		nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < fs->n_workers; i++)
		pthread_join(fs->workers[i].thread, NULL);
	for (unsigned i = 0; i < fs->n_workers; i++) {
		free(fs->workers[i].buf.mem);
		free(fs->workers[i].scratch);
		free(fs->workers[i].park);
	}
	free(fs->workers);
	fs->workers = NULL;
	fs->n_workers = 0;
}

void df_fs_requests(struct df_fs *fs, uint64_t out[DF_FS_OPCODES])
{
	memset(out, 0, DF_FS_OPCODES * sizeof(*out));
	for (unsigned i = 0; i < fs->n_workers; i++)
		for (unsigned op = 0; op < DF_FS_OPCODES; op++)
			out[op] += atomic_load_explicit(
				&fs->workers[i].requests[op],
				memory_order_relaxed);
}
