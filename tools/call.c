/* call.c - see call.h. */
#include "tools/call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"

static int socket_address(int dir, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(out->sun_path, sizeof(out->sun_path),
			 "/proc/self/fd/%d/" DF_CONTROL_NAME, dir);
	return n < (int)sizeof(out->sun_path) ? 0 : -ENAMETOOLONG;
}

static int open_dir(const char *dir, struct sockaddr_un *addr, int *fd)
{
	*fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return *fd < 0 ? -errno : socket_address(*fd, addr);
}

int df_call_listen(const char *dir)
{
	struct sockaddr_un addr;
	DF_CLOSE int at = -1;
	int err = open_dir(dir, &addr, &at);

	if (err)
		return err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* one daemon a cache, and this is it: an old socket is a dead one's */
	if (unlinkat(at, DF_CONTROL_NAME, 0) && errno != ENOENT)
		err = -errno;
	mode_t old = umask(0177);
	if (!err && bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err = -errno;
	umask(old);
	if (!err && listen(fd, 16))
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int df_call_open(const char *cache_dir, struct df_call *out)
{
	struct sockaddr_un addr;
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	DF_CLOSE int at = -1;
	int err = open_dir(cache_dir, &addr, &at);

	*out = (struct df_call){ .fd = -1 };
	if (err)
		return err;
	DF_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	out->buf = malloc(DF_CONTROL_LINE_MAX);
	if (!out->buf)
		return -ENOMEM;
	out->fd = fd;
	out->pid = peer.pid;
	fd = -1;
	return 0;
}

void df_call_close(struct df_call *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	*c = (struct df_call){ .fd = -1 };
}

/* Milliseconds until deadline_ns for poll(); -1 = for ever. */
static int left_ms(int64_t timeout_ms, int64_t deadline_ns)
{
	if (timeout_ms < 0)
		return -1;
	int64_t left = (deadline_ns - df_clock_mono_ns()) / DF_NS_PER_MS;
	return left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

/* The next line as JSON. */
static int read_line(struct df_call *c, int64_t timeout_ms, json_t **out)
{
	int64_t deadline = df_clock_mono_ns() + timeout_ms * DF_NS_PER_MS;

	for (;;) {
		char *nl = c->len ? memchr(c->buf, '\n', c->len) : NULL;
		if (nl) {
			size_t n = (size_t)(nl - c->buf);
			*out = json_loadb(c->buf, n, 0, NULL);
			c->len -= n + 1;
			memmove(c->buf, nl + 1, c->len);
			return *out ? 0 : -EPROTO;
		}
		if (c->len == DF_CONTROL_LINE_MAX)
			return -EPROTO;
		struct pollfd p = { .fd = c->fd, .events = POLLIN };
		int n = poll(&p, 1, left_ms(timeout_ms, deadline));
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		ssize_t got = read(c->fd, c->buf + c->len,
				   DF_CONTROL_LINE_MAX - c->len);
		if (got <= 0)
			return got < 0 ? -errno : -EPIPE;
		c->len += (size_t)got;
	}
}

int df_call_send(struct df_call *c, json_t *request)
{
	DF_FREE char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	DF_FREE char *line = text ? df_strf("%s\n", text) : NULL;

	json_decref(request);
	if (!line)
		return -ENOMEM;
	for (size_t at = 0, len = strlen(line); at < len;) {
		ssize_t n = send(c->fd, line + at, len - at, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int df_call_read(struct df_call *c, int64_t timeout_ms,
		 df_call_progress *progress, void *arg, json_t **answer)
{
	*answer = NULL;
	for (;;) {
		json_t *line = NULL;
		int err = read_line(c, timeout_ms, &line);
		if (err)
			return err;
		const json_t *p = json_object_get(line, "progress");
		if (!p) {
			*answer = line;
			return 0;
		}
		bool go_on = !progress || progress(arg, p);
		json_decref(line);
		if (!go_on)
			return -ECANCELED;
	}
}

static bool wait_readable(int fd, int64_t timeout_ms, int64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int n = poll(&p, 1, left_ms(timeout_ms, deadline));
		if (n >= 0 || errno != EINTR)
			return n > 0;
	}
}

int df_call_wait_end(struct df_call *c, int64_t timeout_ms)
{
	int64_t deadline = df_clock_mono_ns() + timeout_ms * DF_NS_PER_MS;

	for (ssize_t n = 1; n > 0;) {
		if (!wait_readable(c->fd, timeout_ms, deadline))
			return -ETIMEDOUT;
		n = read(c->fd, c->buf, DF_CONTROL_LINE_MAX);
		if (n < 0 && errno == EINTR)
			n = 1;
	}
	if (c->pid <= 0)
		return 0;
	DF_CLOSE int fd = pidfd_open(c->pid, 0);
	if (fd >= 0 && !wait_readable(fd, timeout_ms, deadline))
		return -ETIMEDOUT;
	return 0;
}
