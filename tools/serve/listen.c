/* listen.c - HTTP in and out with libmicrohttpd; see server.h. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/serve/server.h"

#define LISTEN_THREADS 2
#define LISTEN_IDLE_S 90 /* a kept connection without a request */

const char *df_req_header(struct df_req *r, const char *name)
{
	return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

const char *df_req_arg(struct df_req *r, const char *name)
{
	return MHD_lookup_connection_value(r->conn, MHD_GET_ARGUMENT_KIND,
					   name);
}

/* ---- one request */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 32);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode %xx in place; false for a malformed one or %00. */
static bool path_decode(char *p)
{
	char *to = p;

	while (*p != '\0') {
		if (*p == '%') {
			int hi = hex_value(p[1]);
			int lo = hi < 0 ? -1 : hex_value(p[2]);

			if (lo < 0 || hi * 16 + lo == 0)
				return false;
			*to++ = (char)(hi * 16 + lo);
			p += 3;
		} else {
			*to++ = *p++;
		}
	}
	*to = '\0';
	return true;
}

/* Cut at the slashes first, decode then: a name may hold %2F. */
static void req_path(struct df_req *r, const char *url)
{
	char *p, *next;

	r->path = strdup(url);
	for (p = r->path; p != NULL && r->n_seg < 8; p = next) {
		next = strchr(p, '/');
		if (next != NULL)
			*next++ = '\0';
		if (*p == '\0')
			continue;
		if (!path_decode(p) || r->n_seg == 8) {
			r->n_seg = 0;
			return;
		}
		r->seg[r->n_seg++] = p;
	}
}

static void req_reserve(struct df_req *r)
{
	const char *length = df_req_header(r, "Content-Length");
	unsigned long long n = length == NULL ? 0 : strtoull(length, NULL, 10);
	size_t held;

	if (n > r->server->conf.max_body) {
		r->too_big = true;
		df_req_error(r, 413, "TOO_LARGE",
			     "the body has %llu bytes, at "
			     "most %zu are taken: send less at a time",
			     n, r->server->conf.max_body);
		return;
	}
	r->reserved = (size_t)n;
	held = atomic_fetch_add(&r->server->body_bytes, r->reserved);
	if (held + r->reserved > r->server->conf.max_memory && held > 0) {
		r->too_big = true;
		r->retry_after_s = 1;
		df_req_error(r, 503, "OVERLOADED",
			     "too many large requests at "
			     "once: try again");
		return;
	}
	if (n > 0)
		(void)df_buf_reserve(&r->body, r->reserved);
}

static struct df_req *req_new(struct df_server *s, struct MHD_Connection *conn,
			      const char *url, const char *method)
{
	struct df_req *r = calloc(1, sizeof(*r));
	uint8_t id[8];

	if (r == NULL)
		return NULL;
	atomic_fetch_add(&s->requests, 1);
	r->server = s;
	r->conn = conn;
	r->retry_after_s = -1;
	r->type = "application/json";
	(void)snprintf(r->method, sizeof(r->method), "%s", method);
	df_buf_init(&r->body, s->conf.max_body + 1);
	df_buf_init(&r->out, 0);
	df_random(id, sizeof(id));
	df_hex(id, sizeof(id), r->id);
	req_path(r, url);
	r->endpoint = df_api_endpoint(r);
	return r;
}

static void req_free(struct df_req *r)
{
	atomic_fetch_sub(&r->server->requests, 1);
	atomic_fetch_sub(&r->server->body_bytes, r->reserved);
	df_buf_release(&r->body);
	df_buf_release(&r->out);
	free(r->path);
	free(r);
}

/* A table's name may hold anything; in a line of fields it may not. */
static void plain_name(const char *name, char *out, size_t size)
{
	size_t n = 0;

	for (; name[n] != '\0' && n + 1 < size; n++)
		out[n] = name[n] > ' ' && name[n] < 0x7f ? name[n] : '?';
	out[n] = '\0';
}

/* One line a finished request; never a token, a query or a body. */
static void access_line(struct df_req *r, int64_t ns)
{
	const union MHD_ConnectionInfo *info;
	char line[600], host[64] = "-", when[40], table[sizeof(r->table)];
	time_t now = (time_t)(df_clock_real_ns() / DF_NS_PER_S);
	struct tm tm;
	int n;

	if (r->server->access_fd < 0)
		return;
	info = MHD_get_connection_info(r->conn,
				       MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (info != NULL)
		(void)getnameinfo(info->client_addr,
				  info->client_addr->sa_family == AF_INET6
					  ? sizeof(struct sockaddr_in6)
					  : sizeof(struct sockaddr_in),
				  host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	plain_name(r->table, table, sizeof(table));
	gmtime_r(&now, &tm);
	(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	n = snprintf(line, sizeof(line),
		     "%s %s %s %s %s %s %s %s %d %zu %zu "
		     "%lld.%03lldms %s\n",
		     when, host, r->has_caller ? r->caller.jwt.id : "-",
		     r->method, df_endpoint_name(r->endpoint),
		     r->kind != DF_SQL_UNKNOWN ? df_sql_kind_name(r->kind)
					       : "-",
		     r->has_caller ? r->caller.org : "-",
		     table[0] != '\0' ? table : "-", r->status, r->body.len,
		     r->out.len, (long long)(ns / 1000000),
		     (long long)(ns / 1000 % 1000), r->id);
	if (n > 0)
		(void)df_write_all(r->server->access_fd, line,
				   DF_MIN((size_t)n, sizeof(line) - 1));
}

static void req_count(struct df_req *r)
{
	int64_t ns = df_clock_mono_ns() - r->start_ns;
	struct df_metric_request m = {
		.endpoint = r->endpoint,
		.kind = r->kind,
		.table = r->table,
		.status = r->status,
		.rows = r->rows,
		.bytes_in = r->body.len,
		.bytes_out = r->out.len,
		.ns = ns,
	};

	df_metric_request(&m);
	access_line(r, ns);
}

void df_req_done(struct df_req *r)
{
	struct MHD_Connection *conn = r->conn;

	if (r->out.err != 0) {
		df_buf_release(&r->out);
		df_buf_init(&r->out, 0);
		df_req_error(r, 503, "OVERLOADED", "out of memory");
	}
	req_count(r);
	df_auth_leave(r);
	if (r->counted) {
		atomic_fetch_sub(&r->server->in_flight, 1);
		df_metric_in_flight(-1);
		r->counted = false;
	}
	r->ready = true;
	MHD_resume_connection(conn); /* r may be gone from here on */
}

/* libmicrohttpd has taken the connection up again. */
static void req_unparked(struct df_req *r)
{
	if (r->parked)
		atomic_fetch_sub(&r->server->parked, 1);
	r->parked = false;
}

static enum MHD_Result req_answer(struct df_req *r)
{
	struct MHD_Response *resp;
	enum MHD_Result ok;
	char retry[16];
	size_t len;
	uint8_t *data;

	if (r->status == 0)
		return MHD_NO; /* closes the connection */
	data = df_buf_steal(&r->out, &len);
	resp = MHD_create_response_from_buffer(
		len, data != NULL ? (void *)data : (void *)r->id,
		data != NULL ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_MUST_COPY);
	if (resp == NULL) {
		free(data);
		return MHD_NO;
	}
	(void)MHD_add_response_header(resp, "Content-Type", r->type);
	(void)MHD_add_response_header(resp, "X-Request-Id", r->id);
	if (r->retry_after_s >= 0) {
		(void)snprintf(retry, sizeof(retry), "%d", r->retry_after_s);
		(void)MHD_add_response_header(resp, "Retry-After", retry);
	}
	if (r->status == 401)
		(void)MHD_add_response_header(resp, "WWW-Authenticate",
					      "Bearer");
	ok = MHD_queue_response(r->conn, (unsigned)r->status, resp);
	MHD_destroy_response(resp);
	return ok;
}

static enum MHD_Result req_refuse(struct df_req *r)
{
	r->start_ns = df_clock_mono_ns();
	req_count(r);
	return req_answer(r);
}

/* All of it is here: park the connection, give it to a worker. */
static enum MHD_Result req_queue(struct df_req *r)
{
	r->start_ns = df_clock_mono_ns();
	r->queued = true;
	if (r->body.err != 0 || r->path == NULL) {
		df_req_error(r, 503, "OVERLOADED", "out of memory");
		return req_answer(r);
	}
	/* counted before the look: df_listen_stop sets the one and then waits
	 * for the other */
	atomic_fetch_add(&r->server->parked, 1);
	if (atomic_load(&r->server->stopping)) {
		atomic_fetch_sub(&r->server->parked, 1);
		r->retry_after_s = 1;
		df_req_error(r, 503, "STOPPING", "the server is stopping");
		return req_refuse(r);
	}
	r->nth = atomic_fetch_add(&r->server->in_flight, 1) + 1;
	df_metric_in_flight(1);
	r->counted = true;
	r->parked = true;
	MHD_suspend_connection(r->conn);
	if (df_work_add(r->server->work, df_api_run, r, false) < 0) {
		r->retry_after_s = 1;
		df_req_error(r, 503, "OVERLOADED",
			     "too many requests wait "
			     "already: try again");
		df_req_done(r);
	}
	return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn,
				  const char *url, const char *method,
				  const char *version, const char *upload,
				  size_t *upload_len, void **state)
{
	struct df_server *s = arg;
	struct df_req *r = *state;

	(void)version;
	if (r == NULL) {
		r = req_new(s, conn, url, method);
		if (r == NULL)
			return MHD_NO;
		*state = r;
		req_reserve(r);
		/* A client that waits for "100 Continue" is told at once.
		 * Another is let finish, its body thrown away: closing in the
		 * middle would break its connection before it has read why. */
		return r->too_big && df_req_header(r, "Expect") != NULL
			       ? req_refuse(r)
			       : MHD_YES;
	}
	if (r->too_big) {
		if (*upload_len == 0)
			return req_refuse(r);
		*upload_len = 0;
		return MHD_YES;
	}
	if (*upload_len > 0) {
		if (r->body.len + *upload_len > s->conf.max_body)
			r->body.err = r->body.err != 0 ? r->body.err : -EFBIG;
		else
			df_buf_put(&r->body, upload, *upload_len);
		*upload_len = 0;
		return MHD_YES;
	}
	if (r->ready) {
		req_unparked(r);
		return req_answer(r);
	}
	if (r->queued)
		return MHD_YES;
	return req_queue(r);
}

static void on_completed(void *arg, struct MHD_Connection *conn, void **state,
			 enum MHD_RequestTerminationCode why)
{
	(void)arg;
	(void)conn;
	(void)why;
	if (*state != NULL) {
		req_unparked(*state);
		req_free(*state);
	}
	*state = NULL;
}

static void on_connection(void *arg, struct MHD_Connection *conn, void **state,
			  enum MHD_ConnectionNotificationCode what)
{
	(void)arg;
	(void)conn;
	(void)state;
	df_metric_connections(what == MHD_CONNECTION_NOTIFY_STARTED ? 1 : -1);
}

/* Paths are decoded after they were cut (req_path). */
static size_t no_unescape(void *arg, struct MHD_Connection *conn, char *text)
{
	(void)arg;
	(void)conn;
	return strlen(text);
}

/* ---- the socket */

static int listen_parse(const char *text, char host[128], char port[16])
{
	const char *colon = strrchr(text, ':');
	size_t n;

	if (colon == NULL || colon == text || strlen(colon + 1) == 0 ||
	    strlen(colon + 1) > 5 ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return -EINVAL;
	n = (size_t)(colon - text);
	if (text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n == 0 || n >= 128)
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	(void)snprintf(port, 16, "%s", colon + 1);
	return 0;
}

static int listen_socket(const struct df_serve_conf *conf, int *out)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	char host[128], port[16];
	int fd, rc, one = 1, err = 0;

	if (listen_parse(conf->listen, host, port) < 0) {
		df_log_error("--listen %s: not ADDRESS:PORT (port 0 chooses a "
			     "free one)",
			     conf->listen);
		return -EINVAL;
	}
	rc = getaddrinfo(host, port, &hints, &list);
	if (rc != 0) {
		df_log_error("--listen %s: %s", conf->listen, gai_strerror(rc));
		return -EINVAL;
	}
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		err = -errno;
	} else {
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
				 sizeof(one));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
				 sizeof(one));
		if (bind(fd, list->ai_addr, list->ai_addrlen) < 0 ||
		    listen(fd, 512) < 0) {
			err = -errno;
			(void)close(fd);
		}
	}
	freeaddrinfo(list);
	if (err < 0)
		return df_fail(err, "--listen %s", conf->listen);
	*out = fd;
	return 0;
}

static int listen_url(struct df_server *s, int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	char host[64], port[16];

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	if (getnameinfo((struct sockaddr *)&a, len, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return -EINVAL;
	(void)snprintf(s->url, sizeof(s->url),
		       a.ss_family == AF_INET6 ? "http://[%s]:%s"
					       : "http://%s:%s",
		       host, port);
	return 0;
}

static void on_log(void *arg, const char *fmt, va_list ap)
{
	(void)arg;
	if (df_log_level() >= DF_LOG_DEBUG)
		df_vlog(DF_LOG_DEBUG, fmt, ap);
}

/* Nobody is let in any more once the server stops.  MHD_quiesce_daemon() does
 * not do for that: it and the threads take the socket out of their epoll sets
 * at the same time, and who comes second aborts. */
static enum MHD_Result on_accept(void *arg, const struct sockaddr *a,
				 socklen_t len)
{
	struct df_server *s = arg;

	(void)a;
	(void)len;
	return atomic_load(&s->stopping) ? MHD_NO : MHD_YES;
}

int df_listen_start(struct df_server *s)
{
	int fd = -1, err = listen_socket(&s->conf, &fd);

	if (err < 0)
		return err;
	err = listen_url(s, fd);
	if (err < 0) {
		(void)close(fd);
		return err;
	}
	/* 256 KiB a connection: a pack arrives in pieces of that size */
	s->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_ERROR_LOG,
		0, on_accept, s, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
		on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_THREAD_POOL_SIZE, (unsigned)LISTEN_THREADS,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->conf.max_connections,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)LISTEN_IDLE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(256 << 10),
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
		MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL,
		MHD_OPTION_END);
	if (s->daemon == NULL) {
		(void)close(fd);
		df_log_error("--listen %s: the HTTP server does not start",
			     s->conf.listen);
		return -EIO;
	}
	return 0;
}

void df_listen_stop(struct df_server *s)
{
	int i;

	if (s->daemon == NULL)
		return;
	/* What is being worked on is finished: libmicrohttpd aborts when it
	 * is stopped with a connection suspended, and req_queue() suspends none
	 * from now on.  Every job has a deadline.  Then the answers leave,
	 * unless a client does not read or asks on and on. */
	while (atomic_load(&s->parked) > 0)
		(void)usleep(2000);
	for (i = 0; i < 1000 && atomic_load(&s->requests) > 0; i++)
		(void)usleep(2000);
	MHD_stop_daemon(s->daemon);
	s->daemon = NULL;
}
