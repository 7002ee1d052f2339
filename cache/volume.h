/*
 * volume.h - the face of the cache: everything that fs/ and tools/ may call.
 *
 * A volume is one mount's view of a remote table: registers, journal, fold,
 * local bytes, uploader, poller.  Every operation is answered locally; what has
 * to wait for the network is *parked*: the call returns DF_EPARKED and the
 * completion runs later, once, on a thread of the volume, never on the
 * caller's.  A completion must not block and must not call back into the
 * volume except df_vol_read_done() and, after df_vol_load() and in
 * df_vol_wait(), what it was for.
 *
 * Nodes: a df_nid names an object locally, for the life of this daemon; the
 * root of the mount is DF_ROOT_NID.  A nid stays valid while its lookup count
 * is > 0; the calls that say "counts a lookup" add one, df_vol_forget()
 * takes away.  st_ino is not the nid: it is the same in every mount.
 *
 * Errors: 0 or -errno as POSIX has them for the operation; besides
 *   -ESTALE    the nid is not known (any more)
 *   -EIO       bytes are lost or the volume is failsafe (status says why)
 *   -EROFS     mounted read-only
 *   -ENOSPC    local disk or cache full with bytes that are not remote
 *   -EDQUOT    the server takes no more
 *   -ETIMEDOUT a parked operation met its deadline
 *   -EINTR     df_vol_interrupt() ended it
 *   -EAGAIN    of setattr(size), write, fallocate, lseek and copy_range: parts
 *              of the file's extent map are in the table; df_vol_load() first
 * Threads: everything may be called from any thread after df_vol_start().
 * Locks:   none held by the caller.  Permissions are not checked here
 *          (default_permissions; fs/), but the sticky parts of semantics are.
 */
#ifndef DF_CACHE_VOLUME_H
#define DF_CACHE_VOLUME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "cache/registers/limits.h"
#include "backend/remote.h"
#include "base/buf.h"

enum df_atime {
	DF_ATIME_RELATIME = 0,
	DF_ATIME_NOATIME,
};

struct df_vol_conf {
	const char *cache_dir;   /* this mount point's own; made if missing */
	const char *table;       /* name, for messages */
	const char *subdir;      /* "/sub/dir" to show as root; NULL = "/" */
	uint64_t cache_size;     /* bytes of local disk; 0 = default */
	uint64_t memory;         /* bytes of hot metadata; 0 = default */
	uint64_t free_bytes;     /* what statfs shows as free; 0 = 1 PiB */
	int64_t flush_delay_ms;  /* 0 = DF_FLUSH_DELAY_MS */
	int64_t read_timeout_ms; /* deadline of a remote read; 0 = 60 s */
	bool read_only;
	bool fsync_local;       /* fsync = this machine's disk */
	bool view;              /* maintain the files view */
	bool rows;              /* read_only, and made of the rows of a table
				 * of others: rowfiles.h, and a remote of
				 * backend/foreign.h.  cache_dir is
				 * emptied first */
	uint64_t view_text_max; /* bytes; 0 = 1 MiB */
	enum df_atime atime;
	/* owner and mode of files that have none in the table */
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

struct df_vol;

/* ---- life.  open: take the cache directory (one daemon only; -EBUSY says
 * who), replay the journal, and where nothing is cached yet read the log
 * (needs the server; gives up after timeout_ms).  Takes *remote on success.
 * No threads before start.  -ENOENT: the table is not there or not ours. */
int df_vol_open(const struct df_vol_conf *conf, struct df_remote **remote,
		int64_t timeout_ms, struct df_vol **out);
/* Nothing can be changed: it was asked for, or the credentials are for reading
 * (known after the first answer; elsewhere than on a server of ours, after the
 * first refused write). */
bool df_vol_read_only(const struct df_vol *v);

int df_vol_start(struct df_vol *v);
/* Send what is dirty, for at most timeout_ms; then stop all threads.  0: all
 * remote; -ETIMEDOUT: not all (kept in the journal).  Parked operations end. */
int df_vol_stop(struct df_vol *v, int64_t timeout_ms);
void df_vol_free(struct df_vol *v);

/* ---- entries and attributes */
struct df_attr {
	uint64_t ino;
	uint64_t size;
	uint64_t blocks; /* of 512 bytes, holes excluded */
	uint32_t mode;   /* type and permissions */
	uint32_t nlink;
	uint32_t uid, gid;
	uint32_t rdev; /* makedev() form */
	struct timespec atime, mtime, ctime, btime;
};

struct df_entry {
	df_nid nid;
	uint64_t generation; /* with nid unique for ever (file handles) */
	struct df_attr attr;
	/* seconds for which the kernel may keep name and attributes */
	double entry_timeout, attr_timeout;
};

/* Who asks; setgid directories and default ACLs are applied inside. */
struct df_cred {
	uint32_t uid, gid;
	mode_t umask;
};

/* Find name in parent ("." and ".." work); counts a lookup.  -ENOENT: also
 * fills e->entry_timeout for a negative entry (e->nid = 0). */
int df_vol_lookup(struct df_vol *v, df_nid parent, const char *name,
		  struct df_entry *e);
void df_vol_forget(struct df_vol *v, df_nid nid, uint64_t n);
int df_vol_getattr(struct df_vol *v, df_nid nid, struct df_attr *a,
		   double *timeout);

enum df_set {
	DF_SET_MODE = 1,
	DF_SET_UID = 2,
	DF_SET_GID = 4,
	DF_SET_SIZE = 8,
	DF_SET_ATIME = 16,
	DF_SET_MTIME = 32,
	DF_SET_ATIME_NOW = 64,
	DF_SET_MTIME_NOW = 128,
	DF_SET_CTIME = 256,     /* accepted, ignored: ctime is ours */
	DF_SET_KILL_SUID = 512, /* also clear setuid, and setgid if group-x */
};
/* Sets what the mask names, from in; fills out.  A truncate needs no bytes:
 * extents are cut, not copied. */
int df_vol_setattr(struct df_vol *v, df_nid nid, unsigned mask,
		   const struct df_attr *in, struct df_attr *out,
		   double *timeout);

/* ---- names.  All that make or find an entry count a lookup.  cred NULL: made
 * without owner and mode, for which each mount has its own (uid=, gid=,
 * umask=). */
/* Regular files, fifos, sockets, devices: by mode's type.  open_flags (O_*)
 * only matter for O_APPEND without O_EXCL and O_TRUNC, which gives two
 * sandboxes one log file (merge-rules 3); 0 for mknod(2).  -EEXIST if the name
 * is there. */
int df_vol_mknod(struct df_vol *v, df_nid parent, const char *name, mode_t mode,
		 uint32_t rdev, int open_flags, const struct df_cred *cred,
		 struct df_entry *e);
int df_vol_mkdir(struct df_vol *v, df_nid parent, const char *name, mode_t mode,
		 const struct df_cred *cred, struct df_entry *e);
int df_vol_symlink(struct df_vol *v, df_nid parent, const char *name,
		   const char *target, const struct df_cred *cred,
		   struct df_entry *e);
int df_vol_link(struct df_vol *v, df_nid nid, df_nid parent, const char *name,
		struct df_entry *e);
int df_vol_unlink(struct df_vol *v, df_nid parent, const char *name);
int df_vol_rmdir(struct df_vol *v, df_nid parent, const char *name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE; others -EINVAL */
int df_vol_rename(struct df_vol *v, df_nid parent, const char *name,
		  df_nid new_parent, const char *new_name, unsigned flags);
/* out holds DF_SYMLINK_MAX + 1 bytes; NUL-terminated */
int df_vol_readlink(struct df_vol *v, df_nid nid, char *out);

/* ---- directories.  An entry's cookie is a stable 63-bit key of it, so that
 * seekdir works while entries come and go; "." is 1, ".." is 2, 0 starts. */
struct df_dirent {
	char name[DF_NAME_MAX + 1];
	uint64_t ino;
	uint32_t type;         /* S_IFMT part of the mode */
	uint64_t cookie;       /* continue after this entry */
	struct df_entry entry; /* filled when plus; nid 0 for "." and ".." */
};
/* Calls emit for entries after cookie, in cookie order, until it returns
 * false (entry not taken) or the directory ends.  With plus, every *taken*
 * entry but "." and ".." counts a lookup.  emit runs without volume locks;
 * it may be called for a batch that was read before it. */
int df_vol_readdir(struct df_vol *v, df_nid nid, uint64_t cookie, bool plus,
		   bool (*emit)(void *arg, const struct df_dirent *d),
		   void *arg);

/* ---- bytes */
/* Where some bytes of a read are: in a file (fd, pos), or zeros (fd -1). */
struct df_src {
	int fd; /* not owned; valid until df_vol_read_done */
	uint64_t pos;
	uint64_t len;
};
struct df_read {
	size_t len; /* sum; less than asked only at end of file */
	unsigned n;
	struct df_src *src; /* owned by the volume */
	void *pins;         /* private: what keeps src alive */
};
/* Parks when bytes must come from the server.  done(arg, err, r): err 0 and
 * r filled, or err < 0 and r NULL; r itself ends with the call, what it holds
 * does not (copy it to keep it).  After use df_vol_read_done() always. */
typedef void df_read_fn(void *arg, int err, struct df_read *r);
int df_vol_read(struct df_vol *v, df_nid nid, uint64_t off, size_t len,
		struct df_read *r, df_read_fn *done, void *arg);
void df_vol_read_done(struct df_vol *v, struct df_read *r);

typedef void df_done_fn(void *arg, int err);
/* Make nid's extent map known.  0: it is; else parks, and done(arg, 0) may
 * call the operation that asked for it.  done NULL: waits here (for threads
 * that serve no request). */
int df_vol_load(struct df_vol *v, df_nid nid, df_done_fn *done, void *arg);

enum df_write_flags {
	DF_WRITE_APPEND = 1, /* O_APPEND: off is ignored, end of file */
	DF_WRITE_KILL_SUID = 2,
};
/* Writes all len bytes (1 MiB at most) or fails.  Parks when the cache is full
 * of bytes that are not remote yet: data is copied then.  done NULL: -ENOSPC
 * instead, and waits for the map itself as df_vol_load() does. */
int df_vol_write(struct df_vol *v, df_nid nid, uint64_t off, const void *data,
		 size_t len, unsigned flags, df_done_fn *done, void *arg);
/* mode: FALLOC_FL_* as in fallocate(2) (KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE) */
int df_vol_fallocate(struct df_vol *v, df_nid nid, int mode, uint64_t off,
		     uint64_t len);
/* whence: SEEK_DATA or SEEK_HOLE; -ENXIO */
int df_vol_lseek(struct df_vol *v, df_nid nid, uint64_t off, int whence,
		 uint64_t *out);
/* Shares extents; *copied <= len. */
int df_vol_copy_range(struct df_vol *v, df_nid in, uint64_t in_off, df_nid out,
		      uint64_t out_off, uint64_t len, uint64_t *copied);

/* ---- changes that wait.  Where the cache is full a change fails with -ENOSPC;
 * and while df_vol_behind(), the next one is to wait first, for only memory has
 * what the local database lacks. */
enum df_wait {
	DF_WAIT_ROOM = 0, /* it got -ENOSPC */
	DF_WAIT_FOLD,     /* df_vol_behind() */
	DF_WAITS,
};
struct df_wait_ops {
	/* Try (again): the change's own error; -ENOSPC: it waits on.  On a
	 * thread of the volume, as done. */
	int (*run)(void *arg);
	df_done_fn *done;
	/* Did it end already?  Asked once, under the volume's lock; or NULL. */
	bool (*interrupted)(void *arg);
};
bool df_vol_behind(const struct df_vol *v);
/* Parks, or: -ENOSPC (no room will come: disk full, offline, stopping), 0 (the
 * database is not behind any more), -EINTR.  ops: lives as long as arg. */
int df_vol_wait(struct df_vol *v, enum df_wait what,
		const struct df_wait_ops *ops, void *arg);

/* ---- durability.  Always parks or returns an error or 0 at once.
 * nid 0: everything.  Promise 3 (or the local disk with fsync_local; nid 0
 * with `remote` set always means the table). */
int df_vol_sync(struct df_vol *v, df_nid nid, bool remote, int64_t timeout_ms,
		df_done_fn *done, void *arg);
/* End the parked operation that was given arg, with -EINTR; no-op when it has
 * ended.  Never blocks. */
void df_vol_interrupt(struct df_vol *v, void *arg);

/* ---- extended attributes.  flags: XATTR_CREATE, XATTR_REPLACE.
 * size 0 asks for the size.  Returns bytes or -errno (-ENODATA, -ERANGE). */
ssize_t df_vol_getxattr(struct df_vol *v, df_nid nid, const char *name,
			void *value, size_t size);
ssize_t df_vol_listxattr(struct df_vol *v, df_nid nid, char *list, size_t size);
int df_vol_setxattr(struct df_vol *v, df_nid nid, const char *name,
		    const void *value, size_t size, int flags);
int df_vol_removexattr(struct df_vol *v, df_nid nid, const char *name);

/* ---- the volume as a whole */
struct df_statfs {
	uint64_t files;      /* objects that are there */
	uint64_t used_bytes; /* allocated, as du counts */
	uint64_t free_bytes;
};
int df_vol_statfs(struct df_vol *v, struct df_statfs *out);

/* What the kernel must forget.  next blocks until there is something (0), or
 * the volume stops (-ECANCELED); call it from one thread that serves no
 * request and holds no lock. */
enum df_inval_kind {
	DF_INVAL_UNKNOWN = 0,
	DF_INVAL_ENTRY,  /* name in parent */
	DF_INVAL_ATTR,   /* attributes of nid */
	DF_INVAL_DATA,   /* attributes and pages of nid */
	DF_INVAL_DELETE, /* name in parent is gone, it was nid */
};
struct df_inval {
	enum df_inval_kind kind;
	df_nid nid, parent;
	char name[DF_NAME_MAX + 1];
};
int df_vol_next_inval(struct df_vol *v, struct df_inval *out);

struct df_vol_status {
	uint64_t node;          /* this writer's id now */
	uint64_t dirty_bytes;   /* not remote yet */
	uint64_t dirty_files;   /* objects with registers not remote yet */
	double oldest_unsent_s; /* 0 when nothing is */
	int64_t last_commit_ms; /* real time; 0 = none yet */
	int64_t last_poll_ms;   /* last that was answered */
	int64_t poll_interval_ms;
	uint64_t cache_bytes; /* local disk used */
	uint64_t cache_limit;
	uint64_t epoch; /* newest checkpoint folded */
	uint64_t rows_folded, rows_waiting, rows_skipped, rows_refused;
	uint64_t held_files, packs_sent, bytes_sent, bytes_fetched;
	bool offline, feed, fsync_local, failsafe, read_only;
	bool rows;            /* of a table that is no volume */
	unsigned n_errors;    /* at most 16, newest last */
	char errors[16][256]; /* in words, for people */
};
void df_vol_status(struct df_vol *v, struct df_vol_status *out);
/* Clear the list of lost bytes that status names. */
void df_vol_clear_errors(struct df_vol *v);
/* Fetch all bytes below nid into the cache; progress(arg, done, total bytes)
 * may return false to stop.  Blocks. */
int df_vol_warm(struct df_vol *v, df_nid nid,
		bool (*progress)(void *arg, uint64_t done, uint64_t total),
		void *arg);
/* Node for a path inside the mount ("/a/b"); counts a lookup. */
int df_vol_resolve(struct df_vol *v, const char *path, struct df_entry *e);

#endif
