/*
 * pass.c - the yardstick: a minimal passthrough filesystem.
 *
 *	pass -o source=DIR [-o timeout=S] [-o xattr] [FUSE options] MOUNTPOINT
 *
 * Straight through to DIR, on the same libfuse as the product, so that a
 * ratio between the two says what the product adds or saves.  It is made as
 * fast as a passthrough can be: at most two system calls a request (the first
 * data request of a file opens it, READDIRPLUS looks each entry up), OPEN,
 * OPENDIR, FLUSH and RELEASE declined, long timeouts, no xattrs unless asked.
 *
 * Every inode holds one O_PATH descriptor (a file made here: its O_RDWR one); a
 * second one is opened at the first read or write and kept while the limit of
 * descriptors allows.  The node id is the inode's address.  New objects are
 * made as the caller (fsuid, fsgid); permissions are the kernel's work.
 * Threads: libfuse's pool; locks: the table's, each inode's directory position.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TABLE_SIZE (1u << 17)
#define DIR_BUF 32768

struct node {
	int fd;           /* O_PATH, or O_RDWR if made here */
	_Atomic int data; /* for bytes or entries; -1: not opened */
	dev_t dev;
	ino_t ino;
	uint64_t lookups;  /* table lock */
	struct node *next; /* table lock */
	pthread_mutex_t lock;
	off_t dir_pos; /* lock: where the directory's cursor is */
};

static struct {
	char *source;
	double timeout;
	int xattr;
	_Atomic long budget; /* second descriptors that may still be kept */
	struct node root;
	struct node *table[TABLE_SIZE]; /* table_lock */
	pthread_mutex_t table_lock;
} pass = { .timeout = 3600.0, .table_lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local uid_t my_uid;
static _Thread_local gid_t my_gid;

static struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &pass.root : (struct node *)ino;
}

static void proc_name(char *out, size_t size, int fd)
{
	snprintf(out, size, "/proc/self/fd/%d", fd);
}

/* Give the thread its capabilities back: a change of fsuid drops them. */
static void keep_caps(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) != 0)
		return;
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	(void)syscall(SYS_capset, &head, data);
}

static void become_caller(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	if (c->gid != my_gid) {
		setfsgid(c->gid);
		my_gid = c->gid;
	}
	if (c->uid != my_uid) {
		setfsuid(c->uid);
		my_uid = c->uid;
		keep_caps();
	}
}

static struct node **slot_of(dev_t dev, ino_t ino)
{
	uint64_t h = ((uint64_t)ino ^ (uint64_t)dev << 40) *
		     UINT64_C(0x9e3779b97f4a7c15);

	return &pass.table[h >> 47];
}

/*
 * The node of an open descriptor, which it takes over.  One lookup is added.
 * NULL without memory (the descriptor is closed then, too).
 */
static struct node *node_get(int fd, const struct stat *st, int is_data)
{
	struct node **slot = slot_of(st->st_dev, st->st_ino);
	struct node *n;

	pthread_mutex_lock(&pass.table_lock);
	for (n = *slot; n; n = n->next)
		if (n->ino == st->st_ino && n->dev == st->st_dev)
			break;
	if (n) {
		n->lookups++;
		pthread_mutex_unlock(&pass.table_lock);
		close(fd);
		return n;
	}
	n = calloc(1, sizeof(*n));
	if (n) {
		n->fd = fd;
		n->data = is_data ? fd : -1;
		n->dev = st->st_dev;
		n->ino = st->st_ino;
		n->lookups = 1;
		pthread_mutex_init(&n->lock, NULL);
		n->next = *slot;
		*slot = n;
	}
	pthread_mutex_unlock(&pass.table_lock);
	if (!n)
		close(fd);
	return n;
}

static void node_put(fuse_ino_t ino, uint64_t count)
{
	struct node *n = node_of(ino), **p;

	if (n == &pass.root)
		return;
	pthread_mutex_lock(&pass.table_lock);
	n->lookups -= count;
	if (n->lookups > 0) {
		pthread_mutex_unlock(&pass.table_lock);
		return;
	}
	for (p = slot_of(n->dev, n->ino); *p != n; p = &(*p)->next)
		;
	*p = n->next;
	pthread_mutex_unlock(&pass.table_lock);
	if (n->data >= 0 && n->data != n->fd) {
		close(n->data);
		atomic_fetch_add(&pass.budget, 1);
	}
	close(n->fd);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/*
 * A descriptor for reading and writing, or -errno; to be given back with
 * data_done().  It is kept in the node while the budget lasts: beyond it (the
 * hard limit of descriptors is low in some guests) a request opens and closes
 * its own.
 */
static int data_fd(struct node *n, int flags)
{
	char name[32];
	int fd = atomic_load(&n->data), none = -1;

	if (fd >= 0)
		return fd;
	proc_name(name, sizeof(name), n->fd);
	fd = open(name, flags | O_CLOEXEC);
	/* a running program cannot be opened for writing */
	if (fd < 0 && (errno == ETXTBSY || errno == EROFS))
		fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (atomic_fetch_sub(&pass.budget, 1) <= 0 ||
	    !atomic_compare_exchange_strong(&n->data, &none, fd))
		atomic_fetch_add(&pass.budget, 1);
	return fd;
}

/*
 * Before the reply: after it the kernel may forget the node.  Returns the
 * errno of the request's own call, 0 if that did not fail.
 */
static int data_done(struct node *n, int fd, bool failed)
{
	int err = failed ? errno : 0;

	if (fd >= 0 && fd != atomic_load(&n->data))
		close(fd);
	return err;
}

static int file_fd(fuse_ino_t ino)
{
	return data_fd(node_of(ino), O_RDWR);
}

static int file_done(fuse_ino_t ino, int fd, bool failed)
{
	return data_done(node_of(ino), fd, failed);
}

/* Fill e from a descriptor, which it takes over; 0 or errno. */
static int entry_from_fd(int fd, int is_data, struct fuse_entry_param *e)
{
	struct node *n;

	memset(e, 0, sizeof(*e));
	if (fd < 0)
		return errno;
	if (fstat(fd, &e->attr) != 0) {
		int err = errno;

		close(fd);
		return err;
	}
	n = node_get(fd, &e->attr, is_data);
	if (!n)
		return ENOMEM;
	e->ino = (fuse_ino_t)n;
	e->attr_timeout = e->entry_timeout = pass.timeout;
	return 0;
}

static int entry_from_name(fuse_ino_t parent, const char *name,
			   struct fuse_entry_param *e)
{
	return entry_from_fd(openat(node_of(parent)->fd, name,
				    O_PATH | O_NOFOLLOW | O_CLOEXEC),
			     0, e);
}

static void reply_entry(fuse_req_t req, int err, fuse_ino_t parent,
			const char *name)
{
	struct fuse_entry_param e;

	if (!err)
		err = entry_from_name(parent, name, &e);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_entry(req, &e);
}

static void reply_result(fuse_req_t req, int res)
{
	fuse_reply_err(req, res < 0 ? errno : 0);
}

static void pass_init(void *data, struct fuse_conn_info *conn)
{
	unsigned int drop = FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_ATOMIC_O_TRUNC |
			    FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_FLOCK_LOCKS |
			    FUSE_CAP_POSIX_LOCKS | FUSE_CAP_READDIRPLUS_AUTO;

	(void)data;
	conn->want &= ~drop;
	conn->want |= conn->capable &
		      (FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_CACHE_SYMLINKS |
		       FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS);
	conn->max_background = 64;
}

static void pass_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e;
	int err = entry_from_name(parent, name, &e);

	if (err == ENOENT) {
		e.entry_timeout = pass.timeout;
		fuse_reply_entry(req, &e); /* a negative entry, cached */
	} else if (err) {
		fuse_reply_err(req, err);
	} else {
		fuse_reply_entry(req, &e);
	}
}

static void pass_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	node_put(ino, count);
	fuse_reply_none(req);
}

static void pass_forget_multi(fuse_req_t req, size_t count,
			      struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		node_put(forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void pass_getattr(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	if (fstat(node_of(ino)->fd, &st) != 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_attr(req, &st, pass.timeout);
}

static int set_times(int fd, const struct stat *attr, int set)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT },
				  { .tv_nsec = UTIME_OMIT } };

	if (set & FUSE_SET_ATTR_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	else if (set & FUSE_SET_ATTR_ATIME)
		ts[0] = attr->st_atim;
	if (set & FUSE_SET_ATTR_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	else if (set & FUSE_SET_ATTR_MTIME)
		ts[1] = attr->st_mtim;
	return utimensat(fd, "", ts, AT_EMPTY_PATH);
}

static int set_attrs(fuse_ino_t ino, const struct stat *attr, int set)
{
	struct node *n = node_of(ino);
	char name[32];

	if (set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
		uid_t uid = set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
		gid_t gid = set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;

		if (fchownat(n->fd, "", uid, gid, AT_EMPTY_PATH) != 0)
			return -1;
	}
	if (set & FUSE_SET_ATTR_MODE) {
		proc_name(name, sizeof(name), n->fd);
		if (chmod(name, attr->st_mode & 07777) != 0)
			return -1;
	}
	if (set & FUSE_SET_ATTR_SIZE) {
		int fd = file_fd(ino);

		int err = fd < 0 ? -fd
				 : file_done(ino, fd,
					     ftruncate(fd, attr->st_size) != 0);

		errno = err;
		if (err)
			return -1;
	}
	if (set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
		   FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW))
		return set_times(n->fd, attr, set);
	return 0;
}

static void pass_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
			 int set, struct fuse_file_info *fi)
{
	if (set_attrs(ino, attr, set) != 0)
		fuse_reply_err(req, errno);
	else
		pass_getattr(req, ino, fi);
}

static void pass_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[4096];
	ssize_t len =
		readlinkat(node_of(ino)->fd, "", target, sizeof(target) - 1);

	if (len < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	target[len] = '\0';
	fuse_reply_readlink(req, target);
}

static void pass_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		       mode_t mode, dev_t rdev)
{
	become_caller(req);
	reply_entry(req,
		    mknodat(node_of(parent)->fd, name, mode, rdev) < 0 ? errno
								       : 0,
		    parent, name);
}

static void pass_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		       mode_t mode)
{
	become_caller(req);
	reply_entry(req,
		    mkdirat(node_of(parent)->fd, name, mode) < 0 ? errno : 0,
		    parent, name);
}

static void pass_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
			 const char *name)
{
	become_caller(req);
	reply_entry(req,
		    symlinkat(target, node_of(parent)->fd, name) < 0 ? errno
								     : 0,
		    parent, name);
}

static void pass_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		      const char *name)
{
	struct fuse_entry_param e = { .ino = ino };
	struct node *n = node_of(ino);

	if (linkat(n->fd, "", node_of(parent)->fd, name, AT_EMPTY_PATH) != 0 ||
	    fstat(n->fd, &e.attr) != 0) {
		fuse_reply_err(req, errno);
		return;
	}
	e.attr_timeout = e.entry_timeout = pass.timeout;
	pthread_mutex_lock(&pass.table_lock);
	n->lookups++;
	pthread_mutex_unlock(&pass.table_lock);
	fuse_reply_entry(req, &e);
}

static void pass_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_result(req, unlinkat(node_of(parent)->fd, name, 0));
}

static void pass_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_result(req, unlinkat(node_of(parent)->fd, name, AT_REMOVEDIR));
}

static void pass_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
			fuse_ino_t to, const char *to_name, unsigned int flags)
{
	reply_result(req, renameat2(node_of(parent)->fd, name, node_of(to)->fd,
				    to_name, flags));
}

static void pass_create(fuse_req_t req, fuse_ino_t parent, const char *name,
			mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param e;
	int err;

	become_caller(req);
	err = entry_from_fd(openat(node_of(parent)->fd, name,
				   O_CREAT | O_RDWR | O_NOFOLLOW | O_CLOEXEC |
					   (fi->flags & O_EXCL),
				   mode),
			    1, &e);
	if (err) {
		fuse_reply_err(req, err);
		return;
	}
	fi->keep_cache = 1;
	fuse_reply_create(req, &e, fi);
}

/* The kernel stops asking after the first of each of these. */
static void pass_declined(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static void pass_release(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void pass_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	static _Thread_local char *buf;
	static _Thread_local size_t room;
	ssize_t len;
	int fd = file_fd(ino);

	(void)fi;
	if (fd >= 0 && room < size) {
		free(buf);
		room = size;
		buf = malloc(room);
		if (!buf) {
			room = 0;
			fd = -ENOMEM;
		}
	}
	if (fd < 0) {
		fuse_reply_err(req, -fd);
		return;
	}
	len = pread(fd, buf, size, off);
	fd = file_done(ino, fd, len < 0);
	if (fd)
		fuse_reply_err(req, fd);
	else
		fuse_reply_buf(req, buf, (size_t)len);
}

static void pass_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		       size_t size, off_t off, struct fuse_file_info *fi)
{
	ssize_t len;
	int fd = file_fd(ino);

	if (fd < 0) {
		fuse_reply_err(req, -fd);
		return;
	}
	len = pwrite(fd, buf, size, off);
	if (len >= 0 && fi->flags & O_DSYNC && fdatasync(fd) != 0)
		len = -1;
	fd = file_done(ino, fd, len < 0);
	if (fd)
		fuse_reply_err(req, fd);
	else
		fuse_reply_write(req, (size_t)len);
}

static void pass_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		       struct fuse_file_info *fi)
{
	int fd = file_fd(ino);

	(void)fi;
	if (fd < 0)
		fuse_reply_err(req, -fd);
	else
		fuse_reply_err(req,
			       file_done(ino, fd,
					 datasync ? fdatasync(fd) : fsync(fd)));
}

static int dir_fd(fuse_ino_t ino)
{
	return data_fd(node_of(ino), O_RDONLY | O_DIRECTORY);
}

static void pass_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
			  struct fuse_file_info *fi)
{
	int fd = dir_fd(ino);

	(void)fi;
	(void)datasync;
	if (fd < 0)
		fuse_reply_err(req, -fd);
	else
		fuse_reply_err(req, file_done(ino, fd, fsync(fd)));
}

/* One entry into the reply; its size, or 0 if it must be left out. */
static size_t put_entry(fuse_req_t req, fuse_ino_t dir, char *out, size_t room,
			const struct dirent64 *d, int plus)
{
	struct fuse_entry_param e = { 0 };
	bool dots = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;
	size_t need;

	e.attr.st_ino = d->d_ino;
	e.attr.st_mode = (mode_t)d->d_type << 12;
	if (!plus)
		return fuse_add_direntry(req, out, room, d->d_name, &e.attr,
					 d->d_off);
	need = fuse_add_direntry_plus(req, NULL, 0, d->d_name, &e, d->d_off);
	if (need > room)
		return need;
	if (!dots && entry_from_name(dir, d->d_name, &e) != 0)
		return 0;
	return fuse_add_direntry_plus(req, out, room, d->d_name, &e, d->d_off);
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     int plus)
{
	struct node *n = node_of(ino);
	char in[DIR_BUF], *out = malloc(size);
	size_t used = 0, ask = size / (plus ? 6 : 1);
	ssize_t got = -1;
	off_t pos = off;
	int fd = dir_fd(ino), err;

	if (fd < 0 || !out) {
		fuse_reply_err(req, fd < 0 ? -fd : ENOMEM);
		free(out);
		return;
	}
	if (ask < 1024)
		ask = 1024;
	pthread_mutex_lock(&n->lock);
	/* a descriptor that is not kept starts at the front */
	if (fd != atomic_load(&n->data))
		n->dir_pos = 0;
	if (n->dir_pos == off || lseek(fd, off, SEEK_SET) >= 0)
		got = getdents64(fd, in, ask < DIR_BUF ? ask : DIR_BUF);
	err = got < 0 ? errno : 0;
	n->dir_pos = -1;
	for (ssize_t at = 0; at < got;) {
		struct dirent64 *d = (struct dirent64 *)(void *)(in + at);
		size_t len =
			put_entry(req, ino, out + used, size - used, d, plus);

		if (len > size - used)
			break;
		used += len;
		pos = d->d_off;
		at += d->d_reclen;
		if (at == got)
			n->dir_pos = pos;
	}
	if (fd != atomic_load(&n->data))
		n->dir_pos = -1;
	pthread_mutex_unlock(&n->lock);
	data_done(n, fd, false);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_buf(req, out, used);
	free(out);
}

static void pass_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			 struct fuse_file_info *fi)
{
	(void)fi;
	read_dir(req, ino, size, off, 0);
}

static void pass_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size,
			     off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	read_dir(req, ino, size, off, 1);
}

static void pass_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;

	if (fstatvfs(node_of(ino)->fd, &st) != 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
}

static void pass_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
			   off_t len, struct fuse_file_info *fi)
{
	int fd = file_fd(ino);

	(void)fi;
	if (fd < 0)
		fuse_reply_err(req, -fd);
	else
		fuse_reply_err(
			req, file_done(ino, fd, fallocate(fd, mode, off, len)));
}

static void pass_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		       struct fuse_file_info *fi)
{
	int fd = file_fd(ino);
	off_t at = fd < 0 ? -1 : lseek(fd, off, whence);
	int err = fd < 0 ? -fd : file_done(ino, fd, at < 0);

	(void)fi;
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_lseek(req, at);
}

static void pass_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in,
				 struct fuse_file_info *fi_in, fuse_ino_t out,
				 off_t off_out, struct fuse_file_info *fi_out,
				 size_t len, int flags)
{
	int from = file_fd(in), to = file_fd(out), err;
	ssize_t done = -1;

	(void)fi_in;
	(void)fi_out;
	if (from < 0 || to < 0)
		errno = from < 0 ? -from : -to;
	else
		done = copy_file_range(from, &off_in, to, &off_out, len,
				       (unsigned int)flags);
	err = file_done(in, from, done < 0);
	file_done(out, to, false);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_write(req, (size_t)done);
}

static void pass_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			  const char *value, size_t size, int flags)
{
	char path[32];

	if (!pass.xattr) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	proc_name(path, sizeof(path), node_of(ino)->fd);
	reply_result(req, setxattr(path, name, value, size, flags));
}

static void reply_xattr(fuse_req_t req, ssize_t len, const char *buf,
			size_t size)
{
	if (len < 0)
		fuse_reply_err(req, errno);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)len);
	else
		fuse_reply_buf(req, buf, (size_t)len);
}

static void pass_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			  size_t size)
{
	char path[32], buf[65536];

	if (!pass.xattr) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	proc_name(path, sizeof(path), node_of(ino)->fd);
	if (size > sizeof(buf))
		size = sizeof(buf);
	reply_xattr(req, getxattr(path, name, buf, size), buf, size);
}

static void pass_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char path[32], buf[65536];

	if (!pass.xattr) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	proc_name(path, sizeof(path), node_of(ino)->fd);
	if (size > sizeof(buf))
		size = sizeof(buf);
	reply_xattr(req, listxattr(path, buf, size), buf, size);
}

static void pass_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	char path[32];

	if (!pass.xattr) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	proc_name(path, sizeof(path), node_of(ino)->fd);
	reply_result(req, removexattr(path, name));
}

static const struct fuse_lowlevel_ops pass_ops = {
	.init = pass_init,
	.lookup = pass_lookup,
	.forget = pass_forget,
	.forget_multi = pass_forget_multi,
	.getattr = pass_getattr,
	.setattr = pass_setattr,
	.readlink = pass_readlink,
	.mknod = pass_mknod,
	.mkdir = pass_mkdir,
	.unlink = pass_unlink,
	.rmdir = pass_rmdir,
	.symlink = pass_symlink,
	.rename = pass_rename,
	.link = pass_link,
	.open = pass_declined,
	.opendir = pass_declined,
	.flush = pass_declined,
	.release = pass_release,
	.read = pass_read,
	.write = pass_write,
	.fsync = pass_fsync,
	.fsyncdir = pass_fsyncdir,
	.readdir = pass_readdir,
	.readdirplus = pass_readdirplus,
	.statfs = pass_statfs,
	.create = pass_create,
	.fallocate = pass_fallocate,
	.lseek = pass_lseek,
	.copy_file_range = pass_copy_file_range,
	.setxattr = pass_setxattr,
	.getxattr = pass_getxattr,
	.listxattr = pass_listxattr,
	.removexattr = pass_removexattr,
};

static const struct fuse_opt pass_opts[] = {
	{ "source=%s", offsetof(__typeof__(pass), source), 0 },
	{ "timeout=%lf", offsetof(__typeof__(pass), timeout), 0 },
	{ "xattr", offsetof(__typeof__(pass), xattr), 1 },
	FUSE_OPT_END
};

static int open_root(void)
{
	struct rlimit lim = { .rlim_cur = 1u << 20, .rlim_max = 1u << 20 };

	if (setrlimit(RLIMIT_NOFILE, &lim) != 0 &&
	    getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim);
	}
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0)
		pass.budget = ((long)lim.rlim_cur - 2000) / 2;
	umask(0);
	pthread_mutex_init(&pass.root.lock, NULL);
	pass.root.data = -1;
	pass.root.fd = pass.source ? open(pass.source, O_PATH | O_CLOEXEC) : -1;
	if (pass.root.fd < 0) {
		fprintf(stderr,
			"pass: cannot open the source '%s': %s; give "
			"an existing directory as -o source=DIR\n",
			pass.source ? pass.source : "",
			pass.source ? strerror(errno) : "not given");
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct fuse_cmdline_opts opts = { 0 };
	struct fuse_loop_config *conf = NULL;
	struct fuse_session *se = NULL;
	int ret = 1;

	if (fuse_parse_cmdline(&args, &opts) != 0 ||
	    fuse_opt_parse(&args, &pass, pass_opts, NULL) != 0)
		goto out;
	if (!opts.mountpoint) {
		fprintf(stderr, "usage: %s -o source=DIR MOUNTPOINT\n",
			argv[0]);
		goto out;
	}
	if (open_root() != 0)
		goto out;
	se = fuse_session_new(&args, &pass_ops, sizeof(pass_ops), NULL);
	if (!se || fuse_set_signal_handlers(se) != 0)
		goto out;
	if (fuse_session_mount(se, opts.mountpoint) != 0)
		goto out_signals;
	fuse_daemonize(opts.foreground);
	conf = fuse_loop_cfg_create();
	ret = conf ? fuse_session_loop_mt(se, conf) : -ENOMEM;
	ret = ret == 0 ? 0 : 1;
	fuse_session_unmount(se);
out_signals:
	fuse_remove_signal_handlers(se);
out:
	if (conf)
		fuse_loop_cfg_destroy(conf);
	if (se)
		fuse_session_destroy(se);
	free(opts.mountpoint);
	free(pass.source);
	fuse_opt_free_args(&args);
	return ret;
}
