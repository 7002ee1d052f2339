/* local_guest.c - what the tool asks of process 1 in a local sandbox. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/frame.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/local.h"
#include "tools/sandbox/watch.h"

#define CHUNK 32768

/* Wait for input on fd, leaving on a signal: 0, -EINTR. */
static int wait_readable(int fd)
{
	for (;;) {
		struct pollfd p[2] = { { fd, POLLIN, 0 },
				       { df_intr_fd(), POLLIN, 0 } };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			df_intr_drain();
		if (df_intr_now())
			return -EINTR;
		if (p[0].revents)
			return 0;
	}
}

static int guest_open(struct df_prov *p, struct df_sb *sb, json_t *req)
{
	struct df_local *l = (struct df_local *)p;
	DF_FREE char *sock = df_local_path(l, sb->id, "pub/guest.sock");
	json_t *state = NULL;

	int err = req && sock ? df_local_load(l, sb->id, &state) : -ENOMEM;
	bool paused = !strcmp(df_json_str(state, "state"), "paused");
	json_decref(state);
	if (!err && paused) {
		json_decref(req);
		df_log_error("sandbox %s is paused: `deeplake sandbox resume "
			     "%s` first",
			     sb->id, sb->id);
		return -EAGAIN;
	}
	int fd = err ? err : df_unix_connect(sock);
	if (fd < 0) {
		json_decref(req);
		if (fd == -ENOENT || fd == -ECONNREFUSED) {
			df_log_error("sandbox %s has ended", sb->id);
			return -ENOENT;
		}
		return df_fail(fd, "sandbox %s", sb->id);
	}
	df_log_debug("%s: %s %s", sb->id, df_json_str(req, "op"),
		     df_json_str(req, "path"));
	err = df_frame_send_json(fd, 'R', req);
	if (err) {
		close(fd);
		return df_fail(err, "sandbox %s", sb->id);
	}
	return fd;
}

/* An "f" frame as error; silent for quiet. */
static int guest_failed(const struct df_buf *buf, int quiet)
{
	json_t *o = df_frame_json(buf);
	json_int_t n = json_integer_value(json_object_get(o, "errno"));
	int err = n > 0 && n < 4096 ? -(int)n : -EPROTO;

	if (err != quiet)
		df_log_error("%s", df_json_str(o, "message"));
	json_decref(o);
	return err;
}

static int check_user(const char *user)
{
	if (!user || !strcmp(user, "root") || !strcmp(user, "user"))
		return 0;
	df_log_error("user \"%s\": a local sandbox has one user, called root "
		     "and user",
		     user);
	return -EINVAL;
}

static json_t *exec_request(const struct df_sb *sb, const struct df_exec *e)
{
	json_t *argv = json_array();
	const char *cwd = e->cwd ? e->cwd : sb->workdir;

	for (size_t i = 0; e->argv[i]; i++)
		json_array_append_new(argv, json_string(e->argv[i]));
	json_t *req =
		json_pack("{s:s, s:o, s:o, s:b, s:b, s:b, s:i, s:i}", "op",
			  "exec", "argv", argv, "env", df_pairs_json(e->env),
			  "background", e->background, "tty", e->tty, "stdin",
			  e->in_fd >= 0, "cols", e->cols, "rows", e->rows);
	if (req && cwd)
		json_object_set_new(req, "cwd", json_string(cwd));
	return req;
}

static void send_signal(struct df_prov *p, struct df_sb *sb, long pid, int sig)
{
	struct df_buf buf;
	char type;

	DF_CLOSE int fd =
		guest_open(p, sb,
			   json_pack("{s:s, s:I, s:i}", "op", "signal", "pid",
				     (json_int_t)pid, "signal", sig));
	if (fd < 0)
		return;
	df_buf_init(&buf, DF_FRAME_MAX);
	df_frame_recv(fd, &buf, &type); /* gone already: fine */
	df_buf_release(&buf);
}

struct stream {
	const struct df_exec *e;
	struct df_exec_end *end;
	struct df_watch watch;
	struct df_buf buf;
	/* Frames on their way.  Never a blocking write: while the guest waits
	 * for us to take output, it takes no input. */
	struct df_buf out;
	size_t out_at;
	int fd;
	int in_fd;
	bool done;
};

static int stream_queue(struct stream *s, char type, const void *data,
			size_t len)
{
	df_buf_put_u8(&s->out, (uint8_t)type);
	df_buf_put_u32(&s->out, (uint32_t)len);
	df_buf_put(&s->out, data, len);
	return s->out.err;
}

/* The program may end without reading all: that is its business. */
static void stream_send(struct stream *s)
{
	size_t left = s->out.len - s->out_at;

	if (!left)
		return;
	ssize_t n = send(s->fd, s->out.data + s->out_at, left,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		s->in_fd = -1;
	s->out_at = n < 0 ? s->out.len : s->out_at + (size_t)n;
	if (s->out_at == s->out.len) {
		df_buf_reset(&s->out);
		s->out_at = 0;
	}
}

static int stream_in(struct stream *s)
{
	char data[CHUNK];
	ssize_t n = read(s->in_fd, data, sizeof(data));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n > 0)
		return stream_queue(s, 'i', data, (size_t)n);
	s->in_fd = -1;
	return stream_queue(s, 'c', NULL, 0);
}

static int stream_frame(struct stream *s)
{
	char type;

	int err = df_frame_recv(s->fd, &s->buf, &type);
	if (err) {
		df_log_error("the sandbox ended while the command ran");
		return -EPIPE;
	}
	if (type == 'o' || type == 'e')
		return s->e->output
			       ? s->e->output(s->e->arg, type == 'o' ? 1 : 2,
					      s->buf.data, s->buf.len)
			       : 0;
	if (type == 'f')
		return guest_failed(&s->buf, 0);
	json_t *o = df_frame_json(&s->buf);
	if (type == 'p') {
		s->end->pid =
			(long)json_integer_value(json_object_get(o, "pid"));
		s->done = s->e->background;
	} else if (type == 'x') {
		s->end->status = df_watch_status(
			&s->watch,
			(int)json_integer_value(json_object_get(o, "code")),
			(int)json_integer_value(json_object_get(o, "signal")));
		s->done = true;
	}
	json_decref(o);
	return 0;
}

static void stream_size(struct stream *s)
{
	struct winsize ws;
	char text[64];

	if (ioctl(0, TIOCGWINSZ, &ws))
		return;
	int n = snprintf(text, sizeof(text), "{\"cols\": %d, \"rows\": %d}",
			 ws.ws_col, ws.ws_row);
	stream_queue(s, 'w', text, (size_t)n);
}

static int stream_step(struct stream *s, struct df_prov *p, struct df_sb *sb)
{
	short out = s->out.len ? POLLOUT : 0;
	struct pollfd pf[3] = { { s->fd, (short)(POLLIN | out), 0 },
				{ s->out.len ? -1 : s->in_fd, POLLIN, 0 },
				{ df_intr_fd(), POLLIN, 0 } };

	int n = poll(pf, 3, df_watch_wait_ms(&s->watch, 60000));
	if (n < 0 && errno != EINTR)
		return df_fail(-errno, "poll");
	if (n > 0 && pf[2].revents)
		df_intr_drain();
	int sig = df_watch_next(&s->watch);
	if (sig < 0)
		return sig;
	if (sig && s->end->pid)
		send_signal(p, sb, s->end->pid, sig);
	if (s->e->tty && df_intr_winch())
		stream_size(s);
	if (n <= 0)
		return 0;
	int err = 0;
	if (pf[0].revents & ~POLLOUT)
		err = stream_frame(s);
	if (!err && !s->done && pf[1].revents && s->in_fd >= 0)
		err = stream_in(s);
	stream_send(s);
	return err;
}

int df_local_exec(struct df_prov *p, struct df_sb *sb, const struct df_exec *e,
		  struct df_exec_end *end)
{
	struct stream s = { .e = e, .end = end, .in_fd = e->in_fd };

	*end = (struct df_exec_end){ 0 };
	int err = check_user(e->user);
	if (err)
		return err;
	s.fd = guest_open(p, sb, exec_request(sb, e));
	if (s.fd < 0)
		return s.fd;
	df_buf_init(&s.buf, DF_FRAME_MAX);
	df_buf_init(&s.out, DF_FRAME_MAX);
	df_watch_init(&s.watch, e->timeout_s, e->forward_signals);
	while (!err && !s.done)
		err = stream_step(&s, p, sb);
	if (err == -EINTR && end->pid)
		send_signal(p, sb, end->pid, SIGTERM);
	df_buf_release(&s.buf);
	df_buf_release(&s.out);
	close(s.fd);
	return err;
}

int df_local_get(struct df_prov *p, struct df_sb *sb, const char *user,
		 const char *path, df_write_fn *to, void *arg)
{
	struct df_buf buf;
	char type = 0;

	int err = check_user(user);
	if (err)
		return err;
	DF_CLOSE int fd = guest_open(
		p, sb, json_pack("{s:s, s:s}", "op", "get", "path", path));
	if (fd < 0)
		return fd;
	df_buf_init(&buf, DF_FRAME_MAX);
	while (!err) {
		err = wait_readable(fd);
		if (!err)
			err = df_frame_recv(fd, &buf, &type);
		if (!err && type == 'f')
			err = guest_failed(&buf, 0);
		if (err || type != 'd')
			break;
		err = to(arg, buf.data, buf.len);
	}
	df_buf_release(&buf);
	return err == -EPIPE ? df_fail(err, "%s: the sandbox ended", path)
			     : err;
}

static int one_answer(int fd, int quiet, json_t **out)
{
	struct df_buf buf;
	char type = 0;

	df_buf_init(&buf, DF_FRAME_MAX);
	int err = wait_readable(fd);
	if (!err)
		err = df_frame_recv(fd, &buf, &type);
	if (err && err != -EINTR)
		df_fail(err, "the sandbox does not answer");
	else if (!err && type == 'f')
		err = guest_failed(&buf, quiet);
	else if (!err && out)
		*out = df_frame_json(&buf);
	df_buf_release(&buf);
	return err;
}

int df_local_put(struct df_prov *p, struct df_sb *sb, const char *user,
		 const char *path, df_read_fn *from, void *arg)
{
	DF_FREE char *data = malloc(CHUNK * 8);
	ssize_t n = 0;

	int err = data ? check_user(user) : -ENOMEM;
	if (err)
		return err;
	DF_CLOSE int fd = guest_open(
		p, sb, json_pack("{s:s, s:s}", "op", "put", "path", path));
	if (fd < 0)
		return fd;
	while (!err && (n = from(arg, data, CHUNK * 8)) > 0)
		err = df_intr_now() ? -EINTR
				    : df_frame_send(fd, 'd', data, (size_t)n);
	if (n < 0 || err == -EINTR)
		return n < 0 ? (int)n : err;
	if (!err)
		err = df_frame_send(fd, 'z', NULL, 0);
	/* a refused file ends the sending: the answer says why */
	return one_answer(fd, 0, NULL);
}

int df_local_fs(struct df_prov *p, struct df_sb *sb, enum df_fs_op op,
		const char *user, const char *a, const char *b, json_t **out)
{
	static const char *const names[] = {
		[DF_FS_STAT] = "stat",     [DF_FS_LIST] = "list",
		[DF_FS_MKDIR] = "mkdir",   [DF_FS_MOVE] = "move",
		[DF_FS_REMOVE] = "remove",
	};
	json_t *answer = NULL;

	int err = check_user(user);
	if (err)
		return err;
	DF_CLOSE int fd = guest_open(p, sb,
				     json_pack("{s:s, s:s, s:s*}", "op",
					       names[op], "path", a, "to", b));
	if (fd < 0)
		return fd;
	err = one_answer(fd,
			 op == DF_FS_STAT    ? -ENOENT
			 : op == DF_FS_MKDIR ? -EEXIST
					     : 0,
			 &answer);
	if (!err && out)
		*out = json_incref(json_object_get(
			answer, op == DF_FS_LIST ? "entries" : "entry"));
	json_decref(answer);
	return err;
}
