/*
 * dir.c - reading directories.
 *
 * OPENDIR is declined, which lets the kernel keep a directory's entries until
 * it changes; the volume's DF_INVAL_DATA of a directory drops them.  Cookies
 * are the volume's own and stable, so that no state is kept here.
 */
#include "fs/fs.h"

#include <linux/fuse.h>
#include <string.h>

struct dir_fill {
	fuse_req_t req;
	char *buf;
	size_t len; /* filled */
	size_t size;
	bool plus;
};

void df_fuse_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static bool dir_emit(void *arg, const struct df_dirent *d)
{
	struct dir_fill *f = arg;
	char *at = f->buf + f->len;
	size_t room = f->size - f->len;
	size_t need;

	if (f->plus) {
		struct fuse_entry_param p;

		if (d->entry.nid)
			df_fs_entry_param(&d->entry, &p);
		else
			memset(&p, 0, sizeof(p));
		p.attr.st_ino = d->ino;
		p.attr.st_mode = (p.attr.st_mode & ~(mode_t)S_IFMT) | d->type;
		need = fuse_add_direntry_plus(f->req, at, room, d->name, &p,
					      (off_t)d->cookie);
	} else {
		struct stat st = { .st_ino = d->ino, .st_mode = d->type };

		need = fuse_add_direntry(f->req, at, room, d->name, &st,
					 (off_t)d->cookie);
	}
	if (need > room)
		return false;
	f->len += need;
	return true;
}

/* The kernel did not take the answer: give back the lookups counted in it. */
static void dir_forget(struct df_vol *v, const struct dir_fill *f)
{
	size_t at = 0;

	while (at < f->len) {
		struct fuse_direntplus d;

		memcpy(&d, f->buf + at, sizeof(d));
		if (d.entry_out.nodeid)
			df_vol_forget(v, d.entry_out.nodeid, 1);
		at += FUSE_DIRENTPLUS_SIZE(&d);
	}
}

static void dir_read(fuse_req_t req, df_nid nid, size_t size, off_t off,
		     bool plus)
{
	struct df_vol *v = df_fs_of(req)->vol;
	struct dir_fill f = {
		.req = req,
		.buf = df_fs_scratch(),
		.size = DF_MIN(size, (size_t)DF_FS_MAX_WRITE),
		.plus = plus,
	};
	int err;

	if (!f.buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	err = df_vol_readdir(v, nid, (uint64_t)off, plus, dir_emit, &f);
	/* What was taken counts lookups: an error after that is told to the
	 * next READDIR. */
	if (err && !f.len) {
		df_fs_reply(req, err);
		return;
	}
	if (fuse_reply_buf(req, f.buf, f.len) && plus)
		dir_forget(v, &f);
}

void df_fuse_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	(void)fi;
	dir_read(req, ino, size, off, false);
}

void df_fuse_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			 struct fuse_file_info *fi)
{
	(void)fi;
	dir_read(req, ino, size, off, true);
}
