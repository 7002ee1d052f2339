/* frame.c - see frame.h. */
#include "tools/sandbox/frame.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"

int df_frame_send(int fd, char type, const void *data, size_t len)
{
	unsigned char head[5] = { (unsigned char)type, (unsigned char)len,
				  (unsigned char)(len >> 8),
				  (unsigned char)(len >> 16),
				  (unsigned char)(len >> 24) };

	if (len > DF_FRAME_MAX)
		return -EMSGSIZE;
	int err = df_write_all(fd, head, sizeof(head));
	return err ? err : df_write_all(fd, data, len);
}

int df_frame_send_json(int fd, char type, json_t *o)
{
	DF_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text ? df_frame_send(fd, type, text, strlen(text)) : -ENOMEM;
}

int df_frame_send_fail(int fd, int err, const char *message)
{
	return df_frame_send_json(
		fd, 'f',
		json_pack("{s:i, s:s}", "errno", -err, "message", message));
}

static int read_exactly(int fd, unsigned char *to, size_t len)
{
	while (len) {
		ssize_t n = read(fd, to, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		to += n;
		len -= (size_t)n;
	}
	return 0;
}

int df_frame_recv(int fd, struct df_buf *buf, char *type)
{
	unsigned char head[5];

	df_buf_reset(buf);
	int err = read_exactly(fd, head, sizeof(head));
	if (err)
		return err == -ECONNRESET ? -EPIPE : err;
	size_t len = (size_t)head[1] | (size_t)head[2] << 8 |
		     (size_t)head[3] << 16 | (size_t)head[4] << 24;
	if (len > DF_FRAME_MAX)
		return -EPROTO;
	*type = (char)head[0];
	if (!len)
		return 0;
	unsigned char *to = df_buf_extend(buf, len);
	return to ? read_exactly(fd, to, len) : buf->err;
}

json_t *df_frame_json(const struct df_buf *buf)
{
	json_t *o = json_loadb((const char *)buf->data, buf->len,
			       JSON_REJECT_DUPLICATES, NULL);

	if (o && !json_is_object(o)) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static int unix_address(const char *path, struct sockaddr_un *un)
{
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(un->sun_path))
		return -ENAMETOOLONG;
	memcpy(un->sun_path, path, strlen(path) + 1);
	return 0;
}

int df_unix_listen(const char *path)
{
	struct sockaddr_un un;

	int err = unix_address(path, &un);
	if (err)
		return err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	mode_t old = umask(0177);
	unlink(path);
	err = bind(fd, (struct sockaddr *)&un, sizeof(un)) || listen(fd, 64)
		      ? -errno
		      : 0;
	umask(old);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int df_unix_connect(const char *path)
{
	struct sockaddr_un un;
	struct stat st;
	char link[64];

	DF_CLOSE int at = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0)
		return -errno;
	if (fstat(at, &st))
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
	int err = unix_address(link, &un);
	if (err)
		return err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&un, sizeof(un))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
