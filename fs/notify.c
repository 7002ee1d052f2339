/*
 * notify.c - tell the kernel what it must forget.
 *
 * One thread that serves no request and holds no lock: a notification can wait
 * in the kernel for an inode lock or a locked page, that is for a request that
 * the workers still have to answer.
 */
#include "fs/fs.h"

#include <string.h>

#include "base/log.h"

static int notify_one(struct fuse_session *se, const struct df_inval *i)
{
	size_t len = strlen(i->name);
	int err;

	switch (i->kind) {
	case DF_INVAL_ENTRY:
		return fuse_lowlevel_notify_inval_entry(se, i->parent, i->name,
							len);
	case DF_INVAL_DELETE:
		err = fuse_lowlevel_notify_delete(se, i->parent, i->nid,
						  i->name, len);
		/* A directory whose old children are still in use, or another
		 * object under that name: forget just the name. */
		if (err && err != -ENOENT)
			err = fuse_lowlevel_notify_inval_entry(se, i->parent,
							       i->name, len);
		return err;
	case DF_INVAL_ATTR:
		return fuse_lowlevel_notify_inval_inode(se, i->nid, -1, 0);
	case DF_INVAL_DATA:
		return fuse_lowlevel_notify_inval_inode(se, i->nid, 0, 0);
	case DF_INVAL_UNKNOWN:
		break;
	}
	return -EINVAL;
}

static void *notify_run(void *arg)
{
	struct df_fs *fs = arg;
	struct df_inval i;
	int err;

	for (;;) {
		err = df_vol_next_inval(fs->vol, &i);
		if (err)
			break;
		err = notify_one(fs->se, &i);
		/* -ENOENT: the kernel does not have it; -ENOTCONN, -ENODEV:
		 * the mount is gone, but the volume may still be sending. */
		if (err && err != -ENOENT && err != -ENOTCONN && err != -ENODEV)
			df_log_debug("kernel cache: kind %d of %llu/%s: %s",
				     i.kind, (unsigned long long)i.nid, i.name,
				     df_strerror(err));
	}
	if (err != -ECANCELED)
		df_fail(err, "changes of other mounts do not reach the "
			     "kernel's caches any more");
	return NULL;
}

int df_fs_notify_start(struct df_fs *fs)
{
	int err = pthread_create(&fs->notify, NULL, notify_run, fs);

	if (err)
		return df_fail(-err, "cannot start the invalidation thread");
	fs->notify_started = true;
	return 0;
}

void df_fs_notify_join(struct df_fs *fs)
{
	if (!fs->notify_started)
		return;
	pthread_join(fs->notify, NULL);
	fs->notify_started = false;
}
