/*
 * mount.h - a volume as a mounted FUSE filesystem: the face of fs/.
 *
 * The life of a mount, in the daemon's process, in this order:
 *
 *	df_vol_open, (daemonise), df_vol_start
 *	df_fs_open    the mount point is covered; requests queue in the kernel
 *	df_fs_serve   answers them; returns when the mount has gone, or when
 *	              SIGTERM, SIGINT, SIGHUP or df_fs_stop() took it away
 *	df_vol_stop   sends what is dirty; what was parked is answered
 *	df_fs_free    joins every thread of fs/, closes the connection
 *	df_vol_free
 *
 * Between serve and free the requests of programs that still hold files of a
 * lazily unmounted mount go on being answered: without that, df_vol_stop()
 * could wait for an invalidation that waits for a WRITE nobody reads.
 *
 * Errors: 0 or -errno, logged here.  One mount a process: signal handlers and
 * libfuse's log are process-wide.
 * Threads: df_fs_stop() and df_fs_requests() from any; the rest from one.
 */
#ifndef DF_FS_MOUNT_H
#define DF_FS_MOUNT_H

#include <stdbool.h>
#include <stdint.h>

struct df_vol;
struct df_fs;

struct df_fs_conf {
	const char *mountpoint; /* absolute; an existing directory */
	const char *fsname;     /* what the mount table shows: the table */
	bool allow_other;       /* not root: needs user_allow_other */
	bool read_only;
	bool noexec;
	bool suid; /* default is nosuid, as for every FUSE mount */
	bool dev;  /* default is nodev */
	bool noatime;
	/* Most threads that answer requests; 0 = 8.  They never wait for the
	 * network, and rest until there is work for them. */
	unsigned threads;
	/* Deadline of an fsync in ms; 0 = 60 s */
	int64_t sync_timeout_ms;
	/* Called once by df_fs_serve() as soon as the mount answers (a statfs
	 * through the kernel came back); may be NULL. */
	void (*ready)(void *arg);
	void *ready_arg;
};

/* conf's strings are copied.  -EPERM, -EACCES, -ENOENT, -ENOTCONN (a dead
 * mount is there already) and others as mount(2); -EPROTO: the kernel is older
 * than Linux 5.2. */
int df_fs_open(const struct df_fs_conf *conf, struct df_vol *vol,
	       struct df_fs **out);
/* 0 when the mount ended, by whatever way. */
int df_fs_serve(struct df_fs *fs);
/* Make df_fs_serve() unmount (lazily) and return.  Safe in signal handlers. */
void df_fs_stop(struct df_fs *fs);
/* NULL is fine.  After df_vol_stop(). */
void df_fs_free(struct df_fs *fs);

/* Requests answered so far, by opcode of the FUSE protocol (linux/fuse.h). */
#define DF_FS_OPCODES 64
void df_fs_requests(struct df_fs *fs, uint64_t out[DF_FS_OPCODES]);
/* "LOOKUP", "READ", ...; NULL for numbers that are none. */
const char *df_fs_opname(unsigned opcode);

#endif
