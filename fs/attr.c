/*
 * attr.c - attributes: GETATTR, SETATTR, STATFS, and the conversions between
 * the volume's and the kernel's forms.
 */
#include "fs/fs.h"

#include <string.h>
#include <sys/statvfs.h>

#include "fs/acl.h"
#include "fs/again.h"

/* Programs size their buffers by it, so that it decides how many WRITEs a
 * loop of fwrite() makes; measured in docs/fuse.md. */
#define ATTR_BLKSIZE 4096
/* There is no limit on objects; df -i wants a number. */
#define ATTR_FREE_FILES UINT64_C(1000000000)

void df_fs_stat(const struct df_attr *a, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = a->ino;
	st->st_mode = a->mode;
	st->st_nlink = a->nlink;
	st->st_uid = a->uid;
	st->st_gid = a->gid;
	st->st_rdev = a->rdev;
	st->st_size = (off_t)a->size;
	st->st_blksize = ATTR_BLKSIZE;
	st->st_blocks = (blkcnt_t)a->blocks;
	st->st_atim = a->atime;
	st->st_mtim = a->mtime;
	st->st_ctim = a->ctime;
}

void df_fs_entry_param(const struct df_entry *e, struct fuse_entry_param *p)
{
	p->ino = e->nid;
	p->generation = e->generation;
	df_fs_stat(&e->attr, &p->attr);
	p->attr_timeout = e->attr_timeout;
	p->entry_timeout = e->entry_timeout;
}

void df_fuse_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct df_attr a;
	struct stat st;
	double timeout;
	int err;

	(void)fi;
	err = df_vol_getattr(df_fs_of(req)->vol, ino, &a, &timeout);
	if (err) {
		df_fs_reply(req, err);
		return;
	}
	df_fs_stat(&a, &st);
	fuse_reply_attr(req, &st, timeout);
}

static unsigned attr_mask(int to_set)
{
	static const struct {
		int fuse;
		unsigned df;
	} map[] = {
		{ FUSE_SET_ATTR_MODE, DF_SET_MODE },
		{ FUSE_SET_ATTR_UID, DF_SET_UID },
		{ FUSE_SET_ATTR_GID, DF_SET_GID },
		{ FUSE_SET_ATTR_SIZE, DF_SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, DF_SET_ATIME },
		{ FUSE_SET_ATTR_MTIME, DF_SET_MTIME },
		{ FUSE_SET_ATTR_CTIME, DF_SET_CTIME },
		{ FUSE_SET_ATTR_KILL_SUID, DF_SET_KILL_SUID },
	};
	unsigned mask = 0;

	for (size_t i = 0; i < DF_ARRAY_LEN(map); i++)
		if (to_set & map[i].fuse)
			mask |= map[i].df;
	/* The kernel sets ATIME beside ATIME_NOW. */
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		mask = (mask & ~(unsigned)DF_SET_ATIME) | DF_SET_ATIME_NOW;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		mask = (mask & ~(unsigned)DF_SET_MTIME) | DF_SET_MTIME_NOW;
	return mask;
}

/* chown drops the setuid bits of everything but directories.  With
 * HANDLE_KILLPRIV_V2 that is for us to do, whoever calls. */
static int attr_chown_kills(struct df_fs *fs, df_nid nid, unsigned *mask)
{
	struct df_attr a;
	double timeout;
	int err = df_vol_getattr(fs->vol, nid, &a, &timeout);

	if (!err && !S_ISDIR(a.mode))
		*mask |= DF_SET_KILL_SUID;
	return err;
}

static int attr_run(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	struct df_attr out;
	int err = a->flags & DF_SET_MODE
			  ? df_acl_chmod(fs->vol, a->nid, a->attr.mode)
			  : 0;

	(void)p;
	if (!err)
		err = df_vol_setattr(fs->vol, a->nid, a->flags, &a->attr, &out,
				     &a->timeout);
	if (!err)
		a->attr = out;
	return err;
}

static void attr_answer(fuse_req_t req, const struct df_again *a)
{
	struct stat st;

	df_fs_stat(&a->attr, &st);
	fuse_reply_attr(req, &st, a->timeout);
}

void df_fuse_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st,
		     int to_set, struct fuse_file_info *fi)
{
	struct df_fs *fs = df_fs_of(req);
	struct df_attr in = {
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = (uint64_t)st->st_size,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
	};
	unsigned mask = attr_mask(to_set);
	int err = 0;

	(void)fi;
	if (mask & (DF_SET_UID | DF_SET_GID))
		err = attr_chown_kills(fs, ino, &mask);
	if (err) {
		df_fs_reply(req, err);
		return;
	}
	struct df_again a = { .run = attr_run,
			      .answer = attr_answer,
			      .changes = true,
			      .nid = ino,
			      .flags = mask,
			      .attr = in };
	df_again(req, &a);
}

void df_fuse_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct df_statfs s;
	struct statvfs st;
	int err = df_vol_statfs(df_fs_of(req)->vol, &s);

	(void)ino;
	if (err) {
		df_fs_reply(req, err);
		return;
	}
	memset(&st, 0, sizeof(st));
	st.f_bsize = 4096;
	st.f_frsize = 4096;
	st.f_bfree = s.free_bytes / 4096;
	st.f_bavail = st.f_bfree;
	st.f_blocks = st.f_bfree + (s.used_bytes + 4095) / 4096;
	st.f_ffree = ATTR_FREE_FILES;
	st.f_favail = ATTR_FREE_FILES;
	st.f_files = ATTR_FREE_FILES + s.files;
	st.f_namemax = DF_NAME_MAX;
	fuse_reply_statfs(req, &st);
}
