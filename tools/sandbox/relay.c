/* relay.c - see relay.h. */
#include "tools/sandbox/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

struct half {
	int from, to;
	size_t at, len; /* what of buf still has to go */
	bool ended;     /* nothing more comes */
	bool shut;      /* and the other side was told */
	char buf[65536];
};

static void set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* Read if empty, write if not; false = the connection is broken. */
static bool half_step(struct half *h, short in, short out)
{
	if (!h->len && !h->ended && in) {
		ssize_t n = read(h->from, h->buf, sizeof(h->buf));
		if (n == 0)
			h->ended = true;
		else if (n > 0)
			h->len = (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return false;
		out = n > 0 ? POLLOUT : out;
	}
	if (h->len && out) {
		ssize_t n = write(h->to, h->buf + h->at, h->len);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		if (n > 0) {
			h->len -= (size_t)n;
			h->at = h->len ? h->at + (size_t)n : 0;
		}
	}
	if (h->ended && !h->len && !h->shut) {
		shutdown(h->to, SHUT_WR);
		h->shut = true;
	}
	return true;
}

void df_relay_pump(int a, int b)
{
	struct half *h = calloc(2, sizeof(*h));

	if (!h)
		return;
	h[0].from = h[1].to = a;
	h[0].to = h[1].from = b;
	set_nonblocking(a);
	set_nonblocking(b);
	while (!h[0].shut || !h[1].shut) {
		struct pollfd p[2] = { { a, 0, 0 }, { b, 0, 0 } };
		for (int i = 0; i < 2; i++) {
			if (!h[i].len && !h[i].ended)
				p[i].events |= POLLIN;
			if (h[i].len)
				p[1 - i].events |= POLLOUT;
		}
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		bool broken = false;
		for (int i = 0; i < 2; i++)
			broken |= !half_step(&h[i], p[i].revents & ~POLLOUT,
					     p[1 - i].revents & ~POLLIN);
		if (broken)
			break;
	}
	free(h);
}

_Noreturn void df_relay_serve(int listen_fd, df_dial_fn *dial, void *arg)
{
	signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int c = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (c < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (c < 0)
			_exit(1);
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(listen_fd);
			int d = dial(arg);
			if (d >= 0)
				df_relay_pump(c, d);
			_exit(0);
		}
		close(c);
	}
}

int df_tcp_listen(int *port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)*port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int one = 1;

	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&in, sizeof(in)) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)&in, &len)) {
		int err = -errno;
		close(fd);
		return err;
	}
	*port = ntohs(in.sin_port);
	return fd;
}

static int connect_one(const struct addrinfo *ai, int timeout_ms)
{
	int one = 1;
	int err = 0;
	socklen_t len = sizeof(err);

	int fd = socket(ai->ai_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) && errno != EINPROGRESS) {
		err = errno;
	} else {
		struct pollfd p = { fd, POLLOUT, 0 };
		if (poll(&p, 1, timeout_ms) <= 0)
			err = ETIMEDOUT;
		else
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	}
	if (err) {
		close(fd);
		return -err;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

int df_tcp_connect(const char *host, int port, int timeout_ms)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *all = NULL;
	char service[16];
	int fd = DF_EOFFLINE;

	snprintf(service, sizeof(service), "%d", port);
	if (getaddrinfo(host, service, &hints, &all))
		return DF_EOFFLINE;
	for (struct addrinfo *ai = all; ai && fd < 0; ai = ai->ai_next)
		fd = connect_one(ai, timeout_ms);
	freeaddrinfo(all);
	return fd;
}
