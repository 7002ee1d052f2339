/* file.c - see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

int df_file_read(const char *path, struct df_buf *out)
{
	DF_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (;;) {
		char data[16384];
		ssize_t n = read(fd, data, sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		/* what is there counts against the ceiling, not what might */
		df_buf_put(out, data, (size_t)n);
		if (out->err)
			return out->err;
	}
}

static int sync_parent(const char *path)
{
	DF_FREE char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	DF_CLOSE int fd =
		open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) ? -errno : 0;
}

static int write_new(const char *path, const void *data, size_t len,
		     mode_t mode)
{
	DF_CLOSE int fd = open(
		path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		mode);

	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode))
		return -errno;
	int err = df_write_all(fd, data, len);
	if (!err && fsync(fd))
		err = -errno;
	return err;
}

int df_file_replace(const char *path, const void *data, size_t len, mode_t mode)
{
	DF_FREE char *tmp = df_strf("%s.tmp-%d", path, (int)getpid());

	if (!tmp)
		return -ENOMEM;
	int err = write_new(tmp, data, len, mode);
	if (!err && rename(tmp, path))
		err = -errno;
	if (err) {
		unlink(tmp);
		return err;
	}
	return sync_parent(path);
}

int df_mkdir_p(const char *path, mode_t mode)
{
	DF_FREE char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1;; p++) {
		char c = *p;
		if (c && c != '/')
			continue;
		*p = 0;
		if (mkdir(copy, mode) && errno != EEXIST)
			return -errno;
		*p = c;
		if (!c)
			return 0;
	}
}

int df_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int df_pwrite_all(int fd, const void *data, size_t len, off_t off)
{
	const char *p = data;

	while (len) {
		ssize_t n = pwrite(fd, p, len, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		off += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t df_pread_all(int fd, void *data, size_t len, off_t off)
{
	char *p = data;
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(fd, p + got, len - got, off + (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

char *df_strf(const char *fmt, ...)
{
	char *out = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&out, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : out;
}
