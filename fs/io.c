/*
 * io.c - bytes: READ, WRITE, FSYNC and what else works on a file's content.
 *
 * OPEN is declined, and with it FLUSH and RELEASE: a WRITE says by itself
 * whether its descriptor appends.  An O_SYNC or O_DSYNC write needs nothing
 * here: the kernel follows it with an FSYNC before write(2) returns, and by
 * then holds no page that an invalidation could wait for.
 */
#include "fs/fs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "fs/again.h"
#include "fs/park.h"

#define IO_SYNC_MS 60000
#define IO_PARKED_MANY (16u << 20)
#define IO_SHORT (16u << 10)
/* The answer to COPY_FILE_RANGE has 32 bits; the kernel asks again. */
#define IO_COPY_MAX ((uint64_t)1 << 31)

void df_fuse_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

/* By a copy: splice(2) was slower.  A pipe for a whole megabyte and its header
 * is more than the kernel gives, and below that its locks and references cost
 * more than the copy does. */
static int io_gather(const struct df_read *r, char *out)
{
	for (unsigned i = 0; i < r->n; i++) {
		const struct df_src *s = &r->src[i];
		ssize_t n;

		if (s->fd < 0) {
			memset(out, 0, s->len);
		} else {
			n = df_pread_all(s->fd, out, s->len, (off_t)s->pos);
			if (n < 0)
				return (int)n;
			/* The volume promised them: zeros would be a lie. */
			if ((uint64_t)n < s->len)
				return -EIO;
		}
		out += s->len;
	}
	return 0;
}

void df_fs_reply_read(fuse_req_t req, const struct df_read *r, char *scratch)
{
	DF_FREE char *own = NULL;
	int err;

	if (!scratch) {
		own = malloc(r->len ? r->len : 1);
		scratch = own;
	}
	if (!scratch) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	err = io_gather(r, scratch);
	if (err)
		df_fs_reply(req, df_fail(err, "cached bytes cannot be read"));
	else
		fuse_reply_buf(req, scratch, r->len);
}

void df_fuse_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		  struct fuse_file_info *fi)
{
	struct df_vol *v = df_fs_of(req)->vol;
	struct df_park *park = df_park_get(req, 0);
	char *scratch = df_fs_scratch();
	struct df_read r;
	int err;

	(void)fi;
	if (!park || !scratch) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	size = DF_MIN(size, (size_t)DF_FS_MAX_WRITE);
	err = df_vol_read(v, ino, (uint64_t)off, size, &r, df_park_read_done,
			  park);
	if (err == DF_EPARKED) {
		df_park_hold(park);
	} else if (err) {
		df_fs_reply(req, err);
	} else {
		df_fs_reply_read(req, &r, scratch);
		df_vol_read_done(v, &r);
	}
}

static int io_write_run(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	return df_vol_write(fs->vol, a->nid, a->off, a->data, a->len, a->flags,
			    df_park_done, p);
}

static void io_write_answer(fuse_req_t req, const struct df_again *a)
{
	fuse_reply_write(req, a->len);
}

static void io_write_again(fuse_req_t req, fuse_ino_t ino, const char *data,
			   size_t len, off_t off, unsigned flags)
{
	struct df_again a = { .run = io_write_run,
			      .answer = io_write_answer,
			      .nid = ino,
			      .off = (uint64_t)off,
			      .len = len,
			      .flags = flags,
			      .data = data };

	df_again(req, &a);
}

/* Each write that waits has its bytes copied: when those are many, the next ones
 * get a short count.  A page of a mapping has nobody to write the rest. */
static size_t io_write_most(const struct df_fs *fs, size_t len,
			    const struct fuse_file_info *fi)
{
	bool many = atomic_load(&fs->parked) >= IO_PARKED_MANY;

	return many && !fi->writepage ? DF_MIN(len, (size_t)IO_SHORT) : len;
}

void df_fuse_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len,
		   off_t off, struct fuse_file_info *fi)
{
	len = io_write_most(df_fs_of(req), len, fi);
	struct df_park *park = df_park_get(req, len);
	unsigned flags = 0;
	int err;

	if (!park) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	/* Pages of a shared mapping go to their place, whatever the flags of
	 * the descriptor that the kernel writes them back with. */
	if (fi->flags & O_APPEND && !fi->writepage)
		flags |= DF_WRITE_APPEND;
	if (df_fs_self->kill_suid)
		flags |= DF_WRITE_KILL_SUID;
	err = df_vol_write(df_fs_of(req)->vol, ino, (uint64_t)off, data, len,
			   flags, df_park_done, park);
	if (err == DF_EPARKED)
		df_park_hold(park);
	else if (err == -EAGAIN)
		io_write_again(req, ino, data, len, off, flags);
	else if (err)
		df_fs_reply(req, err);
	else
		fuse_reply_write(req, len);
}

/* Also FSYNCDIR. */
void df_fuse_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		   struct fuse_file_info *fi)
{
	struct df_fs *fs = df_fs_of(req);
	struct df_park *park = df_park_get(req, 0);
	int64_t ms = fs->conf.sync_timeout_ms;
	int err;

	(void)datasync; /* size and place are registers like all others */
	(void)fi;
	if (!park) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	err = df_vol_sync(fs->vol, ino, false, ms ? ms : IO_SYNC_MS,
			  df_park_done, park);
	if (err == DF_EPARKED)
		df_park_hold(park);
	else
		df_fs_reply(req, err);
}

static void io_answer_done(fuse_req_t req, const struct df_again *a)
{
	(void)a;
	fuse_reply_err(req, 0);
}

static int io_fallocate_run(struct df_fs *fs, struct df_again *a,
			    struct df_park *p)
{
	(void)p;
	return df_vol_fallocate(fs->vol, a->nid, (int)a->flags, a->off, a->len);
}

void df_fuse_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		       off_t len, struct fuse_file_info *fi)
{
	struct df_again a = { .run = io_fallocate_run,
			      .answer = io_answer_done,
			      .changes = true,
			      .nid = ino,
			      .off = (uint64_t)off,
			      .len = (uint64_t)len,
			      .flags = (unsigned)mode };

	(void)fi;
	df_again(req, &a);
}

static int io_lseek_run(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	(void)p;
	return df_vol_lseek(fs->vol, a->nid, a->off, (int)a->flags, &a->off2);
}

static void io_lseek_answer(fuse_req_t req, const struct df_again *a)
{
	fuse_reply_lseek(req, (off_t)a->off2);
}

void df_fuse_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		   struct fuse_file_info *fi)
{
	struct df_again a = { .run = io_lseek_run,
			      .answer = io_lseek_answer,
			      .nid = ino,
			      .off = (uint64_t)off,
			      .flags = (unsigned)whence };

	(void)fi;
	df_again(req, &a);
}

static int io_copy_run(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	uint64_t copied;
	int err = df_vol_copy_range(fs->vol, a->nid, a->off, a->nid2, a->off2,
				    a->len, &copied);

	(void)p;
	if (!err)
		a->len = copied;
	return err;
}

void df_fuse_copy_range(fuse_req_t req, fuse_ino_t in, off_t in_off,
			struct fuse_file_info *in_fi, fuse_ino_t out,
			off_t out_off, struct fuse_file_info *out_fi,
			size_t len, int flags)
{
	struct df_again a = { .run = io_copy_run,
			      .answer = io_write_answer,
			      .changes = true,
			      .nid = in,
			      .off = (uint64_t)in_off,
			      .nid2 = out,
			      .off2 = (uint64_t)out_off,
			      .len = DF_MIN((uint64_t)len, IO_COPY_MAX) };

	(void)in_fi;
	(void)out_fi;
	if (flags)
		fuse_reply_err(req, EINVAL);
	else
		df_again(req, &a);
}
