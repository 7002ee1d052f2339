/*
 * file.h - whole small files: read with a ceiling, replace atomically.
 * Errors are returned, not logged: the caller knows the context.
 */
#ifndef DF_BASE_FILE_H
#define DF_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"

/* Append the file's content to out (ceiling of out holds). */
int df_file_read(const char *path, struct df_buf *out);
/* Write to PATH.tmp-PID, fsync, rename, fsync the directory. */
int df_file_replace(const char *path, const void *data, size_t len,
		    mode_t mode);
/* mkdir -p; existing directories are fine. */
int df_mkdir_p(const char *path, mode_t mode);
/* All of it, or -errno (EINTR and short writes handled). */
int df_write_all(int fd, const void *data, size_t len);
int df_pwrite_all(int fd, const void *data, size_t len, off_t off);
/* Bytes read: len, or less at the end of the file; or -errno. */
ssize_t df_pread_all(int fd, void *data, size_t len, off_t off);
/* printf into fresh memory; caller frees; NULL without memory. */
char *df_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
