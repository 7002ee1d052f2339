/*
 * prime.c - tell the kernel at once that OPEN and FLUSH are declined.
 *
 * The kernel learns that from the first answer ENOSYS, and until then sends a
 * RELEASE for every file that CREATE opened.  A program that unpacks an archive
 * into a fresh mount opens nothing that exists, so that the lesson would come
 * too late.  Therefore we open a file ourselves before the mount is handed
 * over.  There may be none in the volume, and none is made there: fs/ answers
 * this one LOOKUP by itself, for a name that nobody can guess.
 */
#include "fs/fs.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"

bool df_fs_prime_lookup(fuse_req_t req, df_nid parent, const char *name)
{
	struct df_fs *fs = df_fs_of(req);
	struct fuse_entry_param p;

	if (!atomic_load_explicit(&fs->priming, memory_order_acquire) ||
	    parent != DF_ROOT_NID || strcmp(name, fs->prime_name) != 0)
		return false;
	/* Valid for as long as open(2) runs, then asked for again and gone. */
	memset(&p, 0, sizeof(p));
	p.ino = DF_FS_PRIME_NID;
	p.generation = 1;
	p.attr.st_ino = DF_FS_PRIME_NID;
	p.attr.st_mode = S_IFREG | 0400;
	p.attr.st_nlink = 1;
	p.attr.st_uid = geteuid();
	p.attr.st_gid = getegid();
	p.attr_timeout = 60;
	fuse_reply_entry(req, &p);
	return true;
}

void df_fs_prime(struct df_fs *fs)
{
	uint8_t random[(sizeof(fs->prime_name) - 1) / 2];
	DF_FREE char *path = NULL;
	int fd;

	df_random(random, sizeof(random));
	df_hex(random, sizeof(random), fs->prime_name);
	path = df_strf("%s/%s", fs->mountpoint, fs->prime_name);
	if (!path)
		return;
	atomic_store_explicit(&fs->priming, true, memory_order_release);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	else /* costs a RELEASE for each new file until something is opened */
		df_log_debug("%s: priming: %s", fs->mountpoint,
			     df_strerror(-errno));
	fd = open(fs->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	atomic_store_explicit(&fs->priming, false, memory_order_release);
}
