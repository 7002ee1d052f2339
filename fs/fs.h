/*
 * fs.h - what the files of fs/ share.  Nobody outside includes it.
 *
 * A request is read by a worker (loop.c), decoded by libfuse, answered by a
 * df_fuse_* function below from the volume, on the same thread and without
 * waiting.
 * Where the volume parks (DF_EPARKED), park.c keeps the request until the
 * volume's completion answers it.
 */
#ifndef DF_FS_FS_H
#define DF_FS_FS_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/err.h"
#include "base/lock.h"
#include "cache/volume.h"
#include "fs/mount.h"

#define DF_FS_MAX_THREADS 64
#define DF_FS_MAX_WRITE (1u << 20)

struct df_worker {
	struct df_fs *fs; /* not owned */
	pthread_t thread;
	struct fuse_buf buf;  /* the request; owned */
	char *scratch;        /* DF_FS_MAX_WRITE bytes, or NULL yet; owned */
	struct df_park *park; /* ready for the next parked request; owned */
	bool kill_suid;       /* the WRITE at hand is to drop setuid bits */
	_Atomic uint64_t seq; /* odd while a request is being answered */
	/* written by this worker alone */
	_Atomic uint64_t requests[DF_FS_OPCODES];
};

TAILQ_HEAD(df_park_list, df_park);
struct fuse_out_header;

struct df_fs {
	struct df_vol *vol; /* not owned */
	struct fuse_session *se;
	char *mountpoint;
	char *fsname;
	struct df_fs_conf conf;
	dev_t dev;           /* of the mounted filesystem; 0 = not known yet */
	int stop_fd;         /* eventfd: stop asked for, or a worker left */
	char prime_name[33]; /* see prime.c; set before the flag */
	atomic_bool priming;
	uint64_t init_unique; /* the INIT being answered, else 0 */
	uint32_t init_flags;  /* what the kernel offered in it */

	struct df_worker *workers;
	unsigned n_workers;
	bool notify_started;
	pthread_t notify;
	atomic_bool stopping; /* workers leave their loop */
	atomic_uint n_alive;  /* workers in their loop */

	/* who reads requests: loop.c */
	pthread_t monitor;
	bool monitor_started;
	atomic_bool monitor_asleep;
	atomic_uint n_active; /* workers that read or answer; changed
				    * with crew_lock */
	atomic_uint n_want;   /* how many should; set by the monitor */
	struct df_lock crew_lock;
	struct df_cond crew_call;    /* n_called > 0, or stopping */
	struct df_cond monitor_wake; /* !monitor_asleep, or stopping */
	unsigned n_reserve;          /* crew_lock: workers that rest */
	unsigned n_called;           /* crew_lock: of them, to come back */

	struct df_lock park_lock;
	struct df_cond park_empty;
	struct df_park_list parks; /* park_lock: requests that wait */
	_Atomic size_t parked;     /* bytes that they write, each a copy */
};

/* The worker that runs this code; NULL on other threads. */
extern _Thread_local struct df_worker *df_fs_self;

static inline struct df_fs *df_fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* An errno (> 0) for the kernel from a volume's error (< 0).  Never ENOSYS,
 * with which the kernel would stop asking for good. */
int df_fs_errno(int err);
/* Answer with that error; err may be 0. */
void df_fs_reply(fuse_req_t req, int err);
/* DF_FS_MAX_WRITE bytes that are this worker's until the request is answered;
 * NULL without memory. */
char *df_fs_scratch(void);
void df_fs_cred(fuse_req_t req, struct df_cred *cred);

/* attr.c */
void df_fs_stat(const struct df_attr *a, struct stat *st);
void df_fs_entry_param(const struct df_entry *e, struct fuse_entry_param *p);
void df_fuse_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void df_fuse_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st,
		     int to_set, struct fuse_file_info *fi);
void df_fuse_statfs(fuse_req_t req, fuse_ino_t ino);

/* name.c */
void df_fuse_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void df_fuse_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void df_fuse_forget_multi(fuse_req_t req, size_t n, struct fuse_forget_data *f);
void df_fuse_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		    mode_t mode, struct fuse_file_info *fi);
void df_fuse_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode, dev_t rdev);
void df_fuse_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode);
void df_fuse_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		     const char *name);
void df_fuse_readlink(fuse_req_t req, fuse_ino_t ino);
void df_fuse_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		  const char *name);
void df_fuse_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void df_fuse_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void df_fuse_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		    fuse_ino_t new_parent, const char *new_name,
		    unsigned flags);

/* dir.c */
void df_fuse_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void df_fuse_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi);
void df_fuse_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			 struct fuse_file_info *fi);

/* io.c */
void df_fuse_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void df_fuse_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		  struct fuse_file_info *fi);
void df_fuse_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len,
		   off_t off, struct fuse_file_info *fi);
void df_fuse_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		   struct fuse_file_info *fi);
void df_fuse_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		       off_t len, struct fuse_file_info *fi);
void df_fuse_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		   struct fuse_file_info *fi);
void df_fuse_copy_range(fuse_req_t req, fuse_ino_t in, off_t in_off,
			struct fuse_file_info *in_fi, fuse_ino_t out,
			off_t out_off, struct fuse_file_info *out_fi,
			size_t len, int flags);
/* Answer a READ with what the volume gave; does not release r.  scratch as
 * from df_fs_scratch(), or NULL: memory is taken for the time of the call. */
void df_fs_reply_read(fuse_req_t req, const struct df_read *r, char *scratch);

/* xattr.c */
void df_fuse_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		      size_t size);
void df_fuse_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		      const char *value, size_t size, int flags);
void df_fuse_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void df_fuse_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* init.c: what is agreed with the kernel */
void df_fuse_init(void *userdata, struct fuse_conn_info *conn);
/* Change the answer to INIT where libfuse 3.14 has no word for it. */
void df_fs_patch_init(struct df_fs *fs, struct fuse_out_header *out, void *body,
		      size_t len);
/* Receive and answer INIT on this thread; 0 or -errno. */
int df_fs_handshake(struct df_fs *fs);

/* prime.c: a file that is not there, for the time of df_fs_prime() */
#define DF_FS_PRIME_NID (UINT64_C(1) << 62) /* no volume counts so far */
void df_fs_prime(struct df_fs *fs);
/* Is this LOOKUP for it?  Then it is answered. */
bool df_fs_prime_lookup(fuse_req_t req, df_nid parent, const char *name);

/* ops.c */
extern const struct fuse_lowlevel_ops df_fs_ops;
extern const struct fuse_custom_io df_fs_io;

/* loop.c */
int df_fs_workers_start(struct df_fs *fs);
void df_fs_workers_join(struct df_fs *fs);

/* notify.c */
int df_fs_notify_start(struct df_fs *fs);
void df_fs_notify_join(struct df_fs *fs);

#endif
