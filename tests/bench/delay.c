/*
 * delay.c - a link with a round trip and a rate, in front of a server.
 *
 *	delay --to HOST:PORT [--listen PORT] [--rtt-ms N] [--mbit N]
 *
 * Prints `ready http://127.0.0.1:PORT`, then passes TCP connections on.  Each
 * chunk arrives half a round trip after it was sent, and not before the link
 * (one for each direction, shared by all connections) had time for it.  The
 * first chunk of a connection also waits a whole round trip: the handshake,
 * which loopback does at once.
 *
 * For every line on stdin it prints one line of JSON with what it counted:
 * requests (by their heads), connections (now, most at once, all), bytes each
 * way and the largest request body; a line that says `reset` clears them
 * after printing, one that says `rtt N` sets the round trip to N ms.  Ends at
 * the end of stdin.
 *
 * Threads: per connection and direction one that reads and one that writes,
 * with a bounded queue between them; both end when either side closes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536
#define QUEUE_BYTES (16 << 20)
#define HEAD_MAX 16384

struct chunk {
	struct chunk *next;
	int64_t due_ns;
	size_t len;
	char data[CHUNK];
};

struct conn;

struct pump {
	struct conn *conn;
	int from, to;
	bool up; /* towards the server: requests are in it */
	bool first;
	struct chunk *head, *tail; /* lock */
	size_t queued;             /* lock */
	bool ended;                /* lock: the reader saw the end */
	bool broken;               /* lock: the writer gave up */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char text[HEAD_MAX + 1]; /* the head of the request that is arriving */
	size_t text_len;
	int64_t body_left;
};

struct conn {
	struct pump up, down;
	int threads; /* under count.lock */
};

static struct {
	pthread_mutex_t lock;
	long requests, open, most_open, all;
	int64_t up_bytes, down_bytes, max_body;
	int64_t free_ns[2]; /* when each direction's link is free */
} count = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Atomic int64_t rtt_ns = 20000000;
static double ns_per_byte;
static struct sockaddr_in server;

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void head_done(struct pump *p)
{
	char *line = strcasestr(p->text, "\r\ncontent-length:");

	p->text_len = 0;
	p->body_left = line ? strtoll(line + 17, NULL, 10) : 0;
	pthread_mutex_lock(&count.lock);
	count.requests++;
	if (p->body_left > count.max_body)
		count.max_body = p->body_left;
	pthread_mutex_unlock(&count.lock);
}

/* Follow the requests in what goes up: heads by their end, bodies by length. */
static void watch(struct pump *p, const char *data, size_t len)
{
	while (len > 0) {
		if (p->body_left > 0) {
			size_t n = (int64_t)len < p->body_left
					   ? len
					   : (size_t)p->body_left;

			p->body_left -= (int64_t)n;
			data += n;
			len -= n;
			continue;
		}
		if (p->text_len == HEAD_MAX)
			p->text_len = 0; /* not HTTP: nothing to count */
		p->text[p->text_len++] = *data++;
		p->text[p->text_len] = '\0';
		len--;
		if (p->text_len >= 4 &&
		    memcmp(p->text + p->text_len - 4, "\r\n\r\n", 4) == 0)
			head_done(p);
	}
}

/* When a chunk that is sent now arrives. */
static int64_t arrival(struct pump *p, size_t len)
{
	int64_t now = now_ns(), due;

	pthread_mutex_lock(&count.lock);
	if (count.free_ns[p->up] < now)
		count.free_ns[p->up] = now;
	count.free_ns[p->up] += (int64_t)((double)len * ns_per_byte);
	due = count.free_ns[p->up] + rtt_ns / 2;
	if (p->up)
		count.up_bytes += (int64_t)len;
	else
		count.down_bytes += (int64_t)len;
	pthread_mutex_unlock(&count.lock);
	if (p->first && p->up)
		due += rtt_ns;
	p->first = false;
	return due;
}

static void conn_done(struct conn *c)
{
	bool last;

	pthread_mutex_lock(&count.lock);
	last = --c->threads == 0;
	if (last)
		count.open--;
	pthread_mutex_unlock(&count.lock);
	if (!last)
		return;
	close(c->up.from);
	close(c->up.to);
	free(c);
}

static void *reader(void *arg)
{
	struct pump *p = arg;

	for (;;) {
		struct chunk *k = malloc(sizeof(*k));
		ssize_t n = k ? recv(p->from, k->data, CHUNK, 0) : -1;

		pthread_mutex_lock(&p->lock);
		if (n <= 0 || p->broken) {
			free(k);
			p->ended = true;
			pthread_cond_broadcast(&p->changed);
			pthread_mutex_unlock(&p->lock);
			break;
		}
		k->len = (size_t)n;
		k->next = NULL;
		k->due_ns = arrival(p, k->len);
		if (p->up)
			watch(p, k->data, k->len);
		if (p->tail)
			p->tail->next = k;
		else
			p->head = k;
		p->tail = k;
		p->queued += k->len;
		pthread_cond_broadcast(&p->changed);
		while (p->queued > QUEUE_BYTES && !p->broken)
			pthread_cond_wait(&p->changed, &p->lock);
		pthread_mutex_unlock(&p->lock);
	}
	conn_done(p->conn);
	return NULL;
}

static bool send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void sleep_until(int64_t due_ns)
{
	struct timespec ts = { due_ns / 1000000000, due_ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
	       EINTR)
		;
}

static void *writer(void *arg)
{
	struct pump *p = arg;
	bool ok = true;

	while (ok) {
		struct chunk *k;

		pthread_mutex_lock(&p->lock);
		while (!p->head && !p->ended)
			pthread_cond_wait(&p->changed, &p->lock);
		k = p->head;
		if (k)
			p->head = k->next;
		if (!p->head)
			p->tail = NULL;
		pthread_mutex_unlock(&p->lock);
		if (!k)
			break;
		sleep_until(k->due_ns);
		ok = send_all(p->to, k->data, k->len);
		pthread_mutex_lock(&p->lock);
		p->queued -= k->len;
		p->broken = !ok;
		pthread_cond_broadcast(&p->changed);
		pthread_mutex_unlock(&p->lock);
		free(k);
	}
	shutdown(p->to, SHUT_WR);
	if (!ok)
		shutdown(p->from, SHUT_RD);
	while (p->head) {
		struct chunk *k = p->head;

		p->head = k->next;
		free(k);
	}
	conn_done(p->conn);
	return NULL;
}

static void pump_start(struct conn *c, struct pump *p, int from, int to,
		       bool up)
{
	pthread_attr_t attr;
	pthread_t t;

	p->conn = c;
	p->from = from;
	p->to = to;
	p->up = up;
	p->first = true;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 << 10);
	if (pthread_create(&t, &attr, reader, p) != 0 ||
	    pthread_create(&t, &attr, writer, p) != 0) {
		perror("delay: thread");
		exit(1);
	}
	pthread_attr_destroy(&attr);
}

static void serve(int client)
{
	struct conn *c = calloc(1, sizeof(*c));
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (!c || fd < 0 ||
	    connect(fd, (struct sockaddr *)&server, sizeof(server)) != 0) {
		free(c);
		if (fd >= 0)
			close(fd);
		close(client);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	pthread_mutex_lock(&count.lock);
	c->threads = 4;
	count.all++;
	if (++count.open > count.most_open)
		count.most_open = count.open;
	pthread_mutex_unlock(&count.lock);
	pump_start(c, &c->up, client, fd, true);
	pump_start(c, &c->down, fd, client, false);
}

static void *accept_loop(void *arg)
{
	int fd = *(int *)arg;

	for (;;) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			serve(client);
		else if (errno != EINTR && errno != ECONNABORTED)
			usleep(10000);
	}
	return NULL;
}

static void report(bool reset)
{
	pthread_mutex_lock(&count.lock);
	printf("{\"requests\": %ld, \"open\": %ld, \"most_open\": %ld, "
	       "\"connections\": %ld, \"up_bytes\": %lld, "
	       "\"down_bytes\": %lld, \"max_body\": %lld}\n",
	       count.requests, count.open, count.most_open, count.all,
	       (long long)count.up_bytes, (long long)count.down_bytes,
	       (long long)count.max_body);
	if (reset) {
		count.requests = count.all = 0;
		count.most_open = count.open;
		count.up_bytes = count.down_bytes = count.max_body = 0;
	}
	pthread_mutex_unlock(&count.lock);
	fflush(stdout);
}

static bool parse_server(const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return false;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	server.sin_family = AF_INET;
	server.sin_port = htons((uint16_t)atoi(colon + 1));
	return inet_pton(AF_INET, host, &server.sin_addr) == 1;
}

static int listen_on(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons((uint16_t)port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
	    listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) != 0) {
		perror("delay: listen");
		exit(1);
	}
	printf("ready http://127.0.0.1:%d\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	int port = 0, fd;
	double mbit = 0;
	bool have = false, bad = argc % 2 == 0;
	pthread_t t;
	char line[64];

	for (int i = 1; i + 1 < argc && !bad; i += 2) {
		if (strcmp(argv[i], "--to") == 0)
			have = parse_server(argv[i + 1]);
		else if (strcmp(argv[i], "--listen") == 0)
			port = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--rtt-ms") == 0)
			rtt_ns = (int64_t)(atof(argv[i + 1]) * 1e6);
		else if (strcmp(argv[i], "--mbit") == 0)
			mbit = atof(argv[i + 1]);
		else
			bad = true;
	}
	if (!have || bad) {
		fprintf(stderr, "usage: delay --to IP:PORT [--listen PORT] "
				"[--rtt-ms N] [--mbit N]\n");
		return 2;
	}
	ns_per_byte = mbit > 0 ? 8e3 / mbit : 0;
	signal(SIGPIPE, SIG_IGN);
	fd = listen_on(port);
	if (pthread_create(&t, NULL, accept_loop, &fd) != 0)
		return 1;
	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, "rtt ", 4) == 0)
			rtt_ns = (int64_t)(atof(line + 4) * 1e6);
		report(strcmp(line, "reset\n") == 0);
	}
	return 0;
}
