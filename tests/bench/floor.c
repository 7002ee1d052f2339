/*
 * floor.c - what FUSE itself costs: a null filesystem in memory.
 *
 *	floor [-o timeout=S] [-o keep] [FUSE options] MOUNTPOINT
 *
 * Answers the requests that the product answers, with the same libfuse, the
 * same declined OPEN, FLUSH and RELEASE and the same long timeouts, and does
 * nothing behind them: names, sizes, modes and times are kept, written bytes
 * are thrown away and read as zeros.  With -o keep the bytes are kept in
 * memory too, so that programs can run on it.  No file has xattrs; no rename
 * flags, no permission checks beyond the kernel's; everything is gone at unmount.
 *
 * Nodes are never freed while they have a name or a lookup; the node id is
 * the address.  One lock for all: with ten threads on two cores the time under
 * it is far below the cost of a request (see docs/performance.md).
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TABLE_SIZE (1u << 20)

struct node {
	struct stat st;
	uint64_t lookups;
	char *bytes; /* a symlink's target; with keep, a file's content */
	size_t room;
	struct name *first, *last; /* a directory's entries, oldest first */
};

struct name {
	struct name *chain;       /* same slot of the table */
	struct name *prev, *next; /* same directory */
	struct node *parent, *node;
	off_t cookie;
	char text[];
};

static struct {
	double timeout;
	int keep;
	struct node root;
	struct name *table[TABLE_SIZE];
	off_t next_cookie;
	ino_t next_ino;
	pthread_mutex_t lock; /* all of the above */
} fl = { .timeout = 3600.0, .lock = PTHREAD_MUTEX_INITIALIZER, .next_ino = 2 };

static char zeros[1 << 20];

static struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &fl.root : (struct node *)ino;
}

static struct name **slot_of(const struct node *parent, const char *text)
{
	uint64_t h = (uint64_t)(uintptr_t)parent * UINT64_C(0x9e3779b97f4a7c15);

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return &fl.table[(h ^ h >> 29) % TABLE_SIZE];
}

static struct name *name_find(struct node *parent, const char *text)
{
	struct name *n = *slot_of(parent, text);

	while (n && (n->parent != parent || strcmp(n->text, text) != 0))
		n = n->chain;
	return n;
}

static struct timespec now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return ts;
}

static void touch(struct node *n)
{
	n->st.st_mtim = n->st.st_ctim = now();
}

static int name_add(struct node *parent, const char *text, struct node *node)
{
	struct name **slot = slot_of(parent, text);
	struct name *n = malloc(sizeof(*n) + strlen(text) + 1);

	if (!n)
		return ENOMEM;
	strcpy(n->text, text);
	n->parent = parent;
	n->node = node;
	n->cookie = ++fl.next_cookie;
	n->chain = *slot;
	*slot = n;
	n->next = NULL;
	n->prev = parent->last;
	if (n->prev)
		n->prev->next = n;
	else
		parent->first = n;
	parent->last = n;
	touch(parent);
	return 0;
}

static void node_drop(struct node *n)
{
	if (n->lookups > 0 || n->st.st_nlink > 0 || n == &fl.root)
		return;
	free(n->bytes);
	free(n);
}

static void name_remove(struct name *n)
{
	struct name **p = slot_of(n->parent, n->text);
	struct node *node = n->node;

	while (*p != n)
		p = &(*p)->chain;
	*p = n->chain;
	if (n->prev)
		n->prev->next = n->next;
	else
		n->parent->first = n->next;
	if (n->next)
		n->next->prev = n->prev;
	else
		n->parent->last = n->prev;
	touch(n->parent);
	if (S_ISDIR(node->st.st_mode))
		n->parent->st.st_nlink--;
	node->st.st_nlink -= S_ISDIR(node->st.st_mode) ? 2 : 1;
	node->st.st_ctim = now();
	node_drop(node);
	free(n);
}

static void fill_entry(struct node *n, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	n->lookups++;
	e->ino = n == &fl.root ? FUSE_ROOT_ID : (fuse_ino_t)n;
	e->attr = n->st;
	e->attr_timeout = e->entry_timeout = fl.timeout;
}

/* Make a node under a name; 0 and its entry, or errno. */
static int make(fuse_req_t req, fuse_ino_t parent, const char *text,
		mode_t mode, const char *target, struct fuse_entry_param *e)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	struct node *dir = node_of(parent);
	struct node *n = calloc(1, sizeof(*n));
	int err = n ? 0 : ENOMEM;

	if (n && target) {
		n->bytes = strdup(target);
		n->st.st_size = (off_t)strlen(target);
	}
	pthread_mutex_lock(&fl.lock);
	if (!err && name_find(dir, text))
		err = EEXIST;
	if (!err)
		err = name_add(dir, text, n);
	if (!err) {
		n->st.st_ino = fl.next_ino++;
		n->st.st_mode = mode;
		n->st.st_nlink = S_ISDIR(mode) ? 2 : 1;
		dir->st.st_nlink += S_ISDIR(mode) ? 1 : 0;
		n->st.st_uid = c->uid;
		n->st.st_gid = c->gid;
		n->st.st_blksize = 4096;
		n->st.st_atim = now();
		touch(n);
		fill_entry(n, e);
	}
	pthread_mutex_unlock(&fl.lock);
	if (err)
		free(n);
	return err;
}

static void make_reply(fuse_req_t req, fuse_ino_t parent, const char *text,
		       mode_t mode, const char *target)
{
	struct fuse_entry_param e;
	int err = make(req, parent, text, mode, target, &e);

	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_entry(req, &e);
}

static void floor_init(void *data, struct fuse_conn_info *conn)
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

static void floor_lookup(fuse_req_t req, fuse_ino_t parent, const char *text)
{
	struct fuse_entry_param e = { .entry_timeout = fl.timeout };
	struct name *n;

	pthread_mutex_lock(&fl.lock);
	n = name_find(node_of(parent), text);
	if (n)
		fill_entry(n->node, &e);
	pthread_mutex_unlock(&fl.lock);
	fuse_reply_entry(req, &e);
}

static void forget_one(fuse_ino_t ino, uint64_t count)
{
	struct node *n = node_of(ino);

	if (n == &fl.root)
		return;
	n->lookups -= count;
	node_drop(n);
}

static void floor_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	pthread_mutex_lock(&fl.lock);
	forget_one(ino, count);
	pthread_mutex_unlock(&fl.lock);
	fuse_reply_none(req);
}

static void floor_forget_multi(fuse_req_t req, size_t count,
			       struct fuse_forget_data *forgets)
{
	pthread_mutex_lock(&fl.lock);
	for (size_t i = 0; i < count; i++)
		forget_one(forgets[i].ino, forgets[i].nlookup);
	pthread_mutex_unlock(&fl.lock);
	fuse_reply_none(req);
}

static void floor_getattr(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	pthread_mutex_lock(&fl.lock);
	st = node_of(ino)->st;
	pthread_mutex_unlock(&fl.lock);
	st.st_blocks = (st.st_size + 511) / 512;
	fuse_reply_attr(req, &st, fl.timeout);
}

/* Room for size bytes, the new ones zero; only with keep. */
static int grow(struct node *n, size_t size)
{
	size_t room = n->room ? n->room : 4096;
	char *bytes;

	if (!fl.keep || size <= n->room)
		return 0;
	while (room < size)
		room *= 2;
	bytes = realloc(n->bytes, room);
	if (!bytes)
		return ENOSPC;
	memset(bytes + n->room, 0, room - n->room);
	n->bytes = bytes;
	n->room = room;
	return 0;
}

static int set_size(struct node *n, off_t size)
{
	int err = grow(n, (size_t)size);

	if (err)
		return err;
	if (fl.keep && size < n->st.st_size)
		memset(n->bytes + size, 0, (size_t)(n->st.st_size - size));
	n->st.st_size = size;
	touch(n);
	return 0;
}

static void floor_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
			  int set, struct fuse_file_info *fi)
{
	struct node *n = node_of(ino);
	int err = 0;

	pthread_mutex_lock(&fl.lock);
	if (set & FUSE_SET_ATTR_MODE)
		n->st.st_mode = (n->st.st_mode & S_IFMT) |
				(attr->st_mode & 07777);
	if (set & FUSE_SET_ATTR_UID)
		n->st.st_uid = attr->st_uid;
	if (set & FUSE_SET_ATTR_GID)
		n->st.st_gid = attr->st_gid;
	if (set & FUSE_SET_ATTR_SIZE)
		err = set_size(n, attr->st_size);
	if (set & FUSE_SET_ATTR_ATIME_NOW)
		n->st.st_atim = now();
	else if (set & FUSE_SET_ATTR_ATIME)
		n->st.st_atim = attr->st_atim;
	if (set & FUSE_SET_ATTR_MTIME_NOW)
		n->st.st_mtim = now();
	else if (set & FUSE_SET_ATTR_MTIME)
		n->st.st_mtim = attr->st_mtim;
	n->st.st_ctim = now();
	pthread_mutex_unlock(&fl.lock);
	if (err)
		fuse_reply_err(req, err);
	else
		floor_getattr(req, ino, fi);
}

static void floor_readlink(fuse_req_t req, fuse_ino_t ino)
{
	fuse_reply_readlink(req, node_of(ino)->bytes);
}

static void floor_mknod(fuse_req_t req, fuse_ino_t parent, const char *text,
			mode_t mode, dev_t rdev)
{
	(void)rdev;
	make_reply(req, parent, text, mode, NULL);
}

static void floor_mkdir(fuse_req_t req, fuse_ino_t parent, const char *text,
			mode_t mode)
{
	make_reply(req, parent, text, (mode & 07777) | S_IFDIR, NULL);
}

static void floor_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
			  const char *text)
{
	make_reply(req, parent, text, S_IFLNK | 0777, target);
}

static void floor_create(fuse_req_t req, fuse_ino_t parent, const char *text,
			 mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param e;
	int err = make(req, parent, text, mode, NULL, &e);

	if (err) {
		fuse_reply_err(req, err);
		return;
	}
	fi->keep_cache = 1;
	fuse_reply_create(req, &e, fi);
}

static void floor_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		       const char *text)
{
	struct fuse_entry_param e;
	struct node *n = node_of(ino);
	int err;

	pthread_mutex_lock(&fl.lock);
	err = name_find(node_of(parent), text)
		      ? EEXIST
		      : name_add(node_of(parent), text, n);
	if (!err) {
		n->st.st_nlink++;
		n->st.st_ctim = now();
		fill_entry(n, &e);
	}
	pthread_mutex_unlock(&fl.lock);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_entry(req, &e);
}

static int remove_locked(struct node *dir, const char *text, bool want_dir)
{
	struct name *n = name_find(dir, text);

	if (!n)
		return ENOENT;
	if (want_dir && n->node->first)
		return ENOTEMPTY;
	name_remove(n);
	return 0;
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *text,
			bool want_dir)
{
	int err;

	pthread_mutex_lock(&fl.lock);
	err = remove_locked(node_of(parent), text, want_dir);
	pthread_mutex_unlock(&fl.lock);
	fuse_reply_err(req, err);
}

static void floor_unlink(fuse_req_t req, fuse_ino_t parent, const char *text)
{
	remove_name(req, parent, text, false);
}

static void floor_rmdir(fuse_req_t req, fuse_ino_t parent, const char *text)
{
	remove_name(req, parent, text, true);
}

static int rename_locked(struct node *from, const char *text, struct node *to,
			 const char *to_text)
{
	struct name *n = name_find(from, text), *old = name_find(to, to_text);
	struct node *node;
	bool dir;
	int err;

	if (!n)
		return ENOENT;
	node = n->node;
	dir = S_ISDIR(node->st.st_mode);
	if (old && old->node == node)
		return 0;
	if (old && old->node->first)
		return ENOTEMPTY;
	if (old)
		name_remove(old);
	err = name_add(to, to_text, node);
	if (err)
		return err;
	node->st.st_nlink += dir ? 2 : 1; /* name_remove takes them back */
	to->st.st_nlink += dir ? 1 : 0;
	name_remove(n);
	return 0;
}

static void floor_rename(fuse_req_t req, fuse_ino_t parent, const char *text,
			 fuse_ino_t to, const char *to_text, unsigned int flags)
{
	int err = flags ? EINVAL : 0;

	pthread_mutex_lock(&fl.lock);
	if (!err)
		err = rename_locked(node_of(parent), text, node_of(to),
				    to_text);
	pthread_mutex_unlock(&fl.lock);
	fuse_reply_err(req, err);
}

/* The kernel stops asking after the first of each of these. */
static void floor_declined(fuse_req_t req, fuse_ino_t ino,
			   struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static void floor_done(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void floor_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
			struct fuse_file_info *fi)
{
	(void)datasync;
	floor_done(req, ino, fi);
}

static void floor_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct node *n = node_of(ino);
	char *copy = NULL;
	size_t len = 0;

	(void)fi;
	pthread_mutex_lock(&fl.lock);
	if (off < n->st.st_size)
		len = (size_t)(n->st.st_size - off);
	if (len > size)
		len = size;
	if (len > sizeof(zeros))
		len = sizeof(zeros);
	if (fl.keep && len > 0) {
		copy = malloc(len);
		if (copy)
			memcpy(copy, n->bytes + off, len);
	}
	pthread_mutex_unlock(&fl.lock);
	if (fl.keep && len > 0 && !copy)
		fuse_reply_err(req, ENOMEM);
	else
		fuse_reply_buf(req, copy ? copy : zeros, len);
	free(copy);
}

static void floor_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
			size_t size, off_t off, struct fuse_file_info *fi)
{
	struct node *n = node_of(ino);
	off_t end = off + (off_t)size;
	int err;

	(void)fi;
	pthread_mutex_lock(&fl.lock);
	err = grow(n, (size_t)end);
	if (!err) {
		if (fl.keep)
			memcpy(n->bytes + off, buf, size);
		if (end > n->st.st_size)
			n->st.st_size = end;
		touch(n);
	}
	pthread_mutex_unlock(&fl.lock);
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_write(req, size);
}

static size_t put_entry(fuse_req_t req, char *out, size_t room,
			const char *text, struct node *n, off_t next, bool plus)
{
	struct fuse_entry_param e = { 0 };
	size_t need;

	if (!plus)
		return fuse_add_direntry(req, out, room, text, &n->st, next);
	need = fuse_add_direntry_plus(req, NULL, 0, text, &e, next);
	if (need > room)
		return need;
	if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
		e.attr = n->st;
	else
		fill_entry(n, &e);
	return fuse_add_direntry_plus(req, out, room, text, &e, next);
}

/*
 * Entries are in the order of their cookies, so an offset stays right while
 * others come and go; going on in a listing walks from its start, which is
 * short in the directories of a benchmark.
 */
static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     bool plus)
{
	struct node *dir = node_of(ino);
	char *out = malloc(size);
	size_t used = 0, len;
	struct name *n;

	if (!out) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&fl.lock);
	if (off == 0) {
		used += put_entry(req, out, size, ".", dir, 1, plus);
		used += put_entry(req, out + used, size - used, "..", dir, 2,
				  plus);
	}
	for (n = dir->first; n && n->cookie + 2 <= off; n = n->next)
		;
	for (; n; n = n->next) {
		len = put_entry(req, out + used, size - used, n->text, n->node,
				n->cookie + 2, plus);
		if (len > size - used)
			break;
		used += len;
	}
	pthread_mutex_unlock(&fl.lock);
	fuse_reply_buf(req, out, used);
	free(out);
}

static void floor_readdir(fuse_req_t req, fuse_ino_t ino, size_t size,
			  off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	read_dir(req, ino, size, off, false);
}

static void floor_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size,
			      off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	read_dir(req, ino, size, off, true);
}

static void floor_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = {
		.f_bsize = 4096,
		.f_frsize = 4096,
		.f_namemax = 255,
		.f_blocks = 1u << 28,
		.f_bfree = 1u << 28,
		.f_bavail = 1u << 28,
		.f_files = 1u << 30,
		.f_ffree = 1u << 30,
	};

	(void)ino;
	fuse_reply_statfs(req, &st);
}

/* Where these are not declined for good, the kernel asks for a file's
 * capabilities before the first write to it: so it does with the product. */
static void floor_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			   size_t size)
{
	(void)ino;
	(void)name;
	(void)size;
	fuse_reply_err(req, ENODATA);
}

static void floor_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	(void)ino;
	if (size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_xattr(req, 0);
}

static const struct fuse_lowlevel_ops floor_ops = {
	.init = floor_init,
	.lookup = floor_lookup,
	.forget = floor_forget,
	.forget_multi = floor_forget_multi,
	.getattr = floor_getattr,
	.setattr = floor_setattr,
	.readlink = floor_readlink,
	.mknod = floor_mknod,
	.mkdir = floor_mkdir,
	.unlink = floor_unlink,
	.rmdir = floor_rmdir,
	.symlink = floor_symlink,
	.rename = floor_rename,
	.link = floor_link,
	.open = floor_declined,
	.opendir = floor_declined,
	.flush = floor_declined,
	.release = floor_done,
	.read = floor_read,
	.write = floor_write,
	.fsync = floor_fsync,
	.fsyncdir = floor_fsync,
	.readdir = floor_readdir,
	.readdirplus = floor_readdirplus,
	.statfs = floor_statfs,
	.getxattr = floor_getxattr,
	.listxattr = floor_listxattr,
	.create = floor_create,
};

static const struct fuse_opt floor_opts[] = {
	{ "timeout=%lf", offsetof(__typeof__(fl), timeout), 0 },
	{ "keep", offsetof(__typeof__(fl), keep), 1 },
	FUSE_OPT_END
};

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct fuse_cmdline_opts opts = { 0 };
	struct fuse_loop_config *conf = NULL;
	struct fuse_session *se = NULL;
	int ret = 1;

	if (fuse_parse_cmdline(&args, &opts) != 0 ||
	    fuse_opt_parse(&args, &fl, floor_opts, NULL) != 0)
		goto out;
	if (!opts.mountpoint) {
		fprintf(stderr, "usage: %s [-o keep] MOUNTPOINT\n", argv[0]);
		goto out;
	}
	fl.root.st.st_mode = S_IFDIR | 0755;
	fl.root.st.st_nlink = 2;
	fl.root.st.st_ino = 1;
	fl.root.st.st_atim = now();
	touch(&fl.root);
	se = fuse_session_new(&args, &floor_ops, sizeof(floor_ops), NULL);
	if (!se || fuse_set_signal_handlers(se) != 0)
		goto out;
	if (fuse_session_mount(se, opts.mountpoint) != 0)
		goto out_signals;
	fuse_daemonize(opts.foreground);
	conf = fuse_loop_cfg_create();
	ret = conf && fuse_session_loop_mt(se, conf) == 0 ? 0 : 1;
	fuse_session_unmount(se);
out_signals:
	fuse_remove_signal_handlers(se);
out:
	if (conf)
		fuse_loop_cfg_destroy(conf);
	if (se)
		fuse_session_destroy(se);
	free(opts.mountpoint);
	fuse_opt_free_args(&args);
	return ret;
}
