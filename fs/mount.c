/*
 * mount.c - mount and unmount, and what happens in between to the process.
 * See mount.h for the order of things.
 */
#include "fs/mount.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "fs/fs.h"
#include "fs/park.h"

#define MOUNT_SUBTYPE "deeplakefs"
#define MOUNT_THREADS 8
#define MOUNT_READAHEAD_KB "1024"

/* For the signal handler, which can have no argument; -1 = no mount. */
static volatile sig_atomic_t mount_stop_fd = -1;

/* libfuse's log.  What it calls an error is for us to judge: of an expected
 * failure it is told beforehand, so that everything here is a warning. */
static void mount_fuse_log(enum fuse_log_level level, const char *fmt,
			   va_list ap)
{
	char line[512];
	size_t n;

	vsnprintf(line, sizeof(line), fmt, ap);
	n = strlen(line);
	while (n && line[n - 1] == '\n')
		line[--n] = 0;
	if (level <= FUSE_LOG_WARNING)
		df_log_warn("libfuse: %s", line);
	else
		df_log_debug("libfuse: %s", line);
}

static void mount_add_escaped(struct df_buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			df_buf_put_u8(b, '\\');
		df_buf_put_u8(b, (uint8_t)*s);
	}
}

/* default_permissions always: fs/ leaves every check to the kernel. */
static void mount_options(const struct df_fs_conf *c, struct df_buf *b)
{
	df_buf_put_str(b, "subtype=" MOUNT_SUBTYPE ",default_permissions");
	df_buf_put_str(b, ",fsname=");
	mount_add_escaped(b, c->fsname);
	if (c->allow_other)
		df_buf_put_str(b, ",allow_other");
	if (c->read_only)
		df_buf_put_str(b, ",ro");
	if (c->noexec)
		df_buf_put_str(b, ",noexec");
	if (c->suid)
		df_buf_put_str(b, ",suid");
	if (c->dev)
		df_buf_put_str(b, ",dev");
	if (c->noatime)
		df_buf_put_str(b, ",noatime");
}

static int mount_session(struct df_fs *fs)
{
	struct df_buf opts;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int err = 0;

	df_buf_init(&opts, 64 << 10);
	mount_options(&fs->conf, &opts);
	if (fuse_opt_add_arg(&args, "deeplake") ||
	    fuse_opt_add_arg(&args, "-o") ||
	    fuse_opt_add_arg(&args, df_buf_cstr(&opts)) || opts.err)
		err = df_fail(-ENOMEM, "%s: mount options", fs->mountpoint);
	if (!err) {
		fs->se = fuse_session_new(&args, &df_fs_ops, sizeof(df_fs_ops),
					  fs);
		if (!fs->se)
			err = df_fail(-EINVAL, "%s: libfuse refuses \"%s\"",
				      fs->mountpoint, df_buf_cstr(&opts));
	}
	fuse_opt_free_args(&args);
	df_buf_release(&opts);
	return err;
}

/* What makes mount(2) fail, found beforehand: libfuse only says -1. */
static int mount_check(const char *path)
{
	struct stat st;

	if (path[0] != '/')
		return df_fail(-EINVAL, "mount point %s: give an absolute path",
			       path);
	if (stat(path, &st)) {
		if (errno == ENOTCONN)
			return df_fail(-ENOTCONN,
				       "mount point %s: a dead "
				       "mount is there; unmount it first",
				       path);
		return df_fail(-errno, "mount point %s", path);
	}
	if (!S_ISDIR(st.st_mode))
		return df_fail(-ENOTDIR, "mount point %s", path);
	if (access("/dev/fuse", R_OK | W_OK))
		return df_fail(-errno, "/dev/fuse cannot be opened: %s",
			       errno == EACCES || errno == EPERM
				       ? "root allows it with chmod 666"
				       : "load the fuse module, or add the "
					 "device to this container");
	return 0;
}

/* fusermount3 -u -z; the mount belongs to this user. */
static int mount_fusermount(const char *path)
{
	char *argv[] = { (char[]){ "fusermount3" },
			 (char[]){ "-u" },
			 (char[]){ "-q" },
			 (char[]){ "-z" },
			 (char[]){ "--" },
			 NULL,
			 NULL };
	DF_FREE char *copy = strdup(path);
	int status;
	pid_t pid;
	int err;

	if (!copy)
		return -ENOMEM;
	argv[5] = copy;
	err = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status ? -EPERM : 0;
}

static bool mount_is_ours(struct df_fs *fs)
{
	struct stat st;

	/* A connection that was cut off leaves a dead mount behind: ours, since
	 * others are cleared before something is mounted there. */
	if (stat(fs->mountpoint, &st))
		return errno == ENOTCONN || errno == ECONNABORTED;
	return st.st_dev == fs->dev;
}

/* Lazily, so that it works with files open; and only if what is on top at the
 * mount point is this mount (asked when it answers, that is when it has once
 * said which device it is). */
static void mount_detach(struct df_fs *fs)
{
	int err = 0;

	if (fs->dev && !mount_is_ours(fs))
		return;
	if (umount2(fs->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW))
		err = errno == EPERM ? mount_fusermount(fs->mountpoint)
				     : -errno;
	if (err)
		df_fail(err, "unmounting %s", fs->mountpoint);
}

static int mount_now(struct df_fs *fs)
{
	int err;

	errno = 0;
	if (fuse_session_mount(fs->se, fs->mountpoint)) {
		err = errno ? -errno : -EPERM;
		return df_fail(err, "mounting on %s failed%s", fs->mountpoint,
			       geteuid()
				       ? ": without root it needs fusermount3, "
					 "and user_allow_other in "
					 "/etc/fuse.conf for allow_other"
				       : "");
	}
	err = fuse_session_custom_io(fs->se, &df_fs_io,
				     fuse_session_fd(fs->se));
	if (err)
		df_fail(err, "%s: libfuse", fs->mountpoint);
	else
		err = df_fs_handshake(fs);
	if (err)
		mount_detach(fs);
	return err;
}

/* End the session without libfuse's unmount, which goes by the path: that may
 * be another mount by now.  A descriptor that polls as broken in place of the
 * device makes libfuse believe, rightly, that there is nothing to unmount. */
static void mount_end_session(struct df_fs *fs)
{
	int fd = fuse_session_fd(fs->se);
	int p[2];

	if (fd >= 0 && pipe2(p, O_CLOEXEC) == 0) {
		close(p[0]);
		if (dup3(p[1], fd, O_CLOEXEC) >= 0)
			fuse_session_unmount(fs->se);
		close(p[1]);
	}
	fuse_session_destroy(fs->se);
	fs->se = NULL;
}

int df_fs_open(const struct df_fs_conf *conf, struct df_vol *vol,
	       struct df_fs **out)
{
	struct df_fs *fs;
	int err;

	*out = NULL;
	err = mount_check(conf->mountpoint);
	if (err)
		return err;
	fs = calloc(1, sizeof(*fs));
	if (!fs)
		return df_fail(-ENOMEM, "mounting %s", conf->mountpoint);
	df_lock_init(&fs->park_lock);
	df_cond_init(&fs->park_empty);
	TAILQ_INIT(&fs->parks);
	df_lock_init(&fs->crew_lock);
	df_cond_init(&fs->crew_call);
	df_cond_init(&fs->monitor_wake);
	fs->vol = vol;
	fs->conf = *conf;
	fs->mountpoint = strdup(conf->mountpoint);
	fs->fsname = strdup(conf->fsname);
	fs->conf.mountpoint = fs->mountpoint;
	fs->conf.fsname = fs->fsname;
	if (!conf->threads)
		fs->conf.threads = MOUNT_THREADS;
	fs->conf.threads = DF_MIN(fs->conf.threads, DF_FS_MAX_THREADS);
	fs->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fs->stop_fd < 0)
		err = df_fail(-errno, "eventfd");
	else if (!fs->mountpoint || !fs->fsname)
		err = df_fail(-ENOMEM, "mounting %s", conf->mountpoint);
	fuse_set_log_func(mount_fuse_log);
	if (!err)
		err = mount_session(fs);
	if (!err)
		err = mount_now(fs);
	if (err) {
		df_fs_free(fs);
		return err;
	}
	*out = fs;
	return 0;
}

static void mount_on_signal(int sig)
{
	int saved = errno;
	uint64_t one = 1;

	(void)sig;
	/* Fails only when the counter is full: asked often enough. */
	if (mount_stop_fd >= 0 && write(mount_stop_fd, &one, sizeof(one)) < 0)
		(void)0;
	errno = saved;
}

static void mount_signals(struct df_fs *fs)
{
	static const int stop[] = { SIGTERM, SIGINT, SIGHUP };
	struct sigaction sa = { .sa_handler = mount_on_signal,
				.sa_flags = SA_RESTART };

	sigemptyset(&sa.sa_mask);
	mount_stop_fd = fs->stop_fd;
	for (size_t i = 0; i < DF_ARRAY_LEN(stop); i++)
		sigaction(stop[i], &sa, NULL);
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
}

/* The kernel reads ahead 128 KiB unless told otherwise, and only root can
 * tell; without it sequential reads make eight times as many requests. */
static void mount_readahead(struct df_fs *fs)
{
	DF_FREE char *path = df_strf("/sys/class/bdi/%u:%u/read_ahead_kb",
				     major(fs->dev), minor(fs->dev));
	DF_CLOSE int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;

	if (fd < 0 ||
	    df_write_all(fd, MOUNT_READAHEAD_KB, strlen(MOUNT_READAHEAD_KB)))
		df_log_debug("%s: read-ahead stays at the kernel's default",
			     fs->mountpoint);
}

/* Ask the mount something through the kernel: it answers, and says who it is.
 * This thread serves no request, so it may wait for those that do. */
static int mount_hello(struct df_fs *fs)
{
	struct statvfs vfs;
	struct stat st;

	if (statvfs(fs->mountpoint, &vfs) || stat(fs->mountpoint, &st)) {
		int err = -errno;

		/* Unmounted this very moment: not our failure. */
		if (atomic_load(&fs->stopping))
			return 0;
		return df_fail(err, "%s: the mount does not answer",
			       fs->mountpoint);
	}
	fs->dev = st.st_dev;
	mount_readahead(fs);
	df_fs_prime(fs);
	if (fs->conf.ready)
		fs->conf.ready(fs->conf.ready_arg);
	return 0;
}

static void mount_wait(struct df_fs *fs)
{
	struct pollfd p = { .fd = fs->stop_fd, .events = POLLIN };

	while (poll(&p, 1, -1) <= 0)
		;
}

int df_fs_serve(struct df_fs *fs)
{
	int err;

	mount_signals(fs);
	err = df_fs_workers_start(fs);
	if (!err)
		err = df_fs_notify_start(fs);
	if (!err)
		err = mount_hello(fs);
	if (!err)
		mount_wait(fs);
	mount_detach(fs);
	return err;
}

void df_fs_stop(struct df_fs *fs)
{
	uint64_t one = 1;

	/* Fails only when the counter is full: asked often enough. */
	if (write(fs->stop_fd, &one, sizeof(one)) < 0)
		return;
}

static void mount_log_requests(struct df_fs *fs)
{
	uint64_t n[DF_FS_OPCODES];
	struct df_buf b;

	if (df_log_level() < DF_LOG_DEBUG)
		return;
	df_buf_init(&b, 4096);
	df_fs_requests(fs, n);
	for (unsigned i = 0; i < DF_FS_OPCODES; i++)
		if (n[i] && df_fs_opname(i))
			df_buf_printf(&b, " %s=%llu", df_fs_opname(i),
				      (unsigned long long)n[i]);
	df_log_debug("%s: requests:%s", fs->mountpoint, df_buf_cstr(&b));
	df_buf_release(&b);
}

void df_fs_free(struct df_fs *fs)
{
	if (!fs)
		return;
	df_fs_notify_join(fs);
	if (fs->workers) {
		mount_log_requests(fs);
		df_fs_workers_join(fs);
	}
	df_park_drain(fs);
	mount_stop_fd = -1;
	if (fs->se)
		mount_end_session(fs);
	if (fs->stop_fd >= 0)
		close(fs->stop_fd);
	df_cond_release(&fs->monitor_wake);
	df_cond_release(&fs->crew_call);
	df_lock_release(&fs->crew_lock);
	df_cond_release(&fs->park_empty);
	df_lock_release(&fs->park_lock);
	free(fs->mountpoint);
	free(fs->fsname);
	free(fs);
}
