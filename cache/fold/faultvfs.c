/*
 * faultvfs.c - fault points below SQLite, in builds with -DDF_FAULT only.
 *
 * A VFS in front of SQLite's own, registered as the default before main():
 * every database of the process then has the points sql.open, sql.read,
 * sql.write, sql.sync and sql.truncate (base/fault.h).  ENOSPC becomes
 * SQLITE_FULL, any other error the operation's SQLITE_IOERR; "short" writes or
 * reads half and then fails, as a full or torn disk does.
 */
#include "base/fault.h"

#ifdef DF_FAULT

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

struct ffile {
	sqlite3_file base;  /* first */
	sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs fault_vfs;

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct ffile *)f)->real;
}

/* fault < 0 as SQLite says it. */
static int code(int fault, int ioerr)
{
	return fault == -ENOSPC ? SQLITE_FULL : ioerr;
}

static int f_close(sqlite3_file *f)
{
	return real_of(f)->pMethods->xClose(real_of(f));
}

static int f_read(sqlite3_file *f, void *out, int n, sqlite3_int64 off)
{
	int fault = df_fault("sql.read");

	if (fault < 0)
		return SQLITE_IOERR_READ;
	int rc = real_of(f)->pMethods->xRead(real_of(f), out, n, off);
	if (fault == DF_FAULT_SHORT) {
		memset((char *)out + n / 2, 0, (size_t)(n - n / 2));
		return SQLITE_IOERR_SHORT_READ;
	}
	return rc;
}

static int f_write(sqlite3_file *f, const void *data, int n, sqlite3_int64 off)
{
	int fault = df_fault("sql.write");

	if (fault < 0)
		return code(fault, SQLITE_IOERR_WRITE);
	if (fault == DF_FAULT_SHORT) {
		real_of(f)->pMethods->xWrite(real_of(f), data, n / 2, off);
		return SQLITE_IOERR_WRITE;
	}
	return real_of(f)->pMethods->xWrite(real_of(f), data, n, off);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	int fault = df_fault("sql.truncate");

	if (fault)
		return SQLITE_IOERR_TRUNCATE;
	return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
	int fault = df_fault("sql.sync");

	if (fault)
		return code(fault, SQLITE_IOERR_FSYNC);
	return real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int f_lock(sqlite3_file *f, int kind)
{
	return real_of(f)->pMethods->xLock(real_of(f), kind);
}

static int f_unlock(sqlite3_file *f, int kind)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), kind);
}

static int f_reserved(sqlite3_file *f, int *out)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int f_device(sqlite3_file *f)
{
	return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend,
		     void volatile **out)
{
	return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend,
					     out);
}

static int f_shm_lock(sqlite3_file *f, int off, int n, int flags)
{
	return real_of(f)->pMethods->xShmLock(real_of(f), off, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int f_shm_unmap(sqlite3_file *f, int remove)
{
	return real_of(f)->pMethods->xShmUnmap(real_of(f), remove);
}

/* Version 2: no memory-mapped reads, which no point could fail. */
static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = f_close,
	.xRead = f_read,
	.xWrite = f_write,
	.xTruncate = f_truncate,
	.xSync = f_sync,
	.xFileSize = f_size,
	.xLock = f_lock,
	.xUnlock = f_unlock,
	.xCheckReservedLock = f_reserved,
	.xFileControl = f_control,
	.xSectorSize = f_sector,
	.xDeviceCharacteristics = f_device,
	.xShmMap = f_shm_map,
	.xShmLock = f_shm_lock,
	.xShmBarrier = f_shm_barrier,
	.xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f,
		  int flags, int *out)
{
	sqlite3_vfs *unix_vfs = vfs->pAppData;
	struct ffile *ff = (struct ffile *)f;

	f->pMethods = NULL;
	ff->real = (sqlite3_file *)(void *)(ff + 1);
	if (df_fault("sql.open"))
		return SQLITE_CANTOPEN;
	int rc = unix_vfs->xOpen(unix_vfs, name, ff->real, flags, out);
	if (ff->real->pMethods)
		f->pMethods = &methods;
	return rc;
}

static __attribute__((constructor)) void install(void)
{
	sqlite3_vfs *unix_vfs = sqlite3_vfs_find(NULL);

	if (!unix_vfs)
		return;
	fault_vfs = *unix_vfs; /* its other methods do not look at files */
	fault_vfs.zName = "fault";
	fault_vfs.szOsFile += (int)sizeof(struct ffile);
	fault_vfs.pAppData = unix_vfs;
	fault_vfs.xOpen = v_open;
	if (sqlite3_vfs_register(&fault_vfs, 1) != SQLITE_OK)
		fputs("faultvfs: not registered\n", stderr);
}

#endif
