/*
 * guest_exec.c - one program in a local sandbox, from start to end.
 *
 * The end is the program's own: a daemon that it leaves behind may keep the
 * pipes open without holding up the answer.  A client that goes away changes
 * nothing for the program; its output is then dropped.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "tools/sandbox/frame.h"
#include "tools/sandbox/guestd.h"

#define CHUNK 32768
#define DRAIN_MS 50 /* pipes that others hold are left after this */

struct job {
	int client; /* -1 once it left */
	int in;     /* the program's stdin or terminal; -1 = closed */
	int out[2]; /* stdout or terminal, stderr; -1 = ended */
	int pidfd;
	pid_t pid;
	bool tty;
	struct df_buf pending; /* bytes for in */
	size_t pending_at;
	bool in_ended; /* close in once pending is written */
	struct df_buf frame;
};

static void set_size(int fd, json_t *req)
{
	struct winsize ws = {
		.ws_col = (unsigned short)json_integer_value(
			json_object_get(req, "cols")),
		.ws_row = (unsigned short)json_integer_value(
			json_object_get(req, "rows")),
	};

	if (ws.ws_col && ws.ws_row)
		ioctl(fd, TIOCSWINSZ, &ws);
}

static _Noreturn void child_exec(json_t *req)
{
	json_t *list = json_object_get(req, "argv");
	json_t *env = json_object_get(req, "env");
	const char *cwd = json_string_value(json_object_get(req, "cwd"));
	const char *key;
	json_t *v;
	size_t n = json_array_size(list);
	char **argv = calloc(n + 1, sizeof(*argv));
	DF_FREE char *dir = df_guest_path(cwd ? cwd : "");

	for (size_t i = 0; argv && i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));
		argv[i] = s ? strdup(s) : NULL;
	}
	json_object_foreach(env, key, v) setenv(
		key, json_string_value(v) ? json_string_value(v) : "", 1);
	if (!argv || !argv[0] || !dir)
		_exit(126);
	if (chdir(dir)) {
		dprintf(2, "cwd %s: %s\n", dir, df_strerror(-errno));
		_exit(126);
	}
	signal(SIGPIPE, SIG_DFL);
	execvp(argv[0], argv);
	int err = errno;
	dprintf(2, "%s: %s\n", argv[0],
		err == ENOENT ? "command not found" : df_strerror(-err));
	_exit(err == ENOENT ? 127 : 126);
}

/* Descriptors of the child end up at 0, 1, 2; nothing else stays open. */
static void child_stdio(int in, int out, int err, bool tty)
{
	setsid();
	if (tty)
		ioctl(out, TIOCSCTTY, 0);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(126);
	close_range(3, ~0u, 0);
}

static int open_tty(struct job *j, json_t *req, int *slave)
{
	int m = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (m < 0 || grantpt(m) || unlockpt(m))
		return -errno;
	*slave = open(ptsname(m), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		return -errno;
	set_size(m, req);
	j->in = fcntl(m, F_DUPFD_CLOEXEC, 3);
	j->out[0] = m;
	return j->in < 0 ? -errno : 0;
}

static int open_pipes(struct job *j, bool want_in, int side[3])
{
	int p[2];

	if (want_in) {
		if (pipe2(p, O_CLOEXEC))
			return -errno;
		side[0] = p[0];
		j->in = p[1];
	} else {
		side[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	for (int i = 0; i < 2; i++) {
		if (pipe2(p, O_CLOEXEC))
			return -errno;
		j->out[i] = p[0];
		side[i + 1] = p[1];
	}
	return side[0] < 0 ? -errno : 0;
}

static int job_start(struct job *j, json_t *req, bool background)
{
	int side[3] = { -1, -1, -1 };
	int err = 0;

	if (background) {
		side[0] = side[1] = side[2] =
			open("/dev/null", O_RDWR | O_CLOEXEC);
	} else if (j->tty) {
		err = open_tty(j, req, &side[0]);
		side[1] = side[2] = side[0];
	} else {
		err = open_pipes(j, json_is_true(json_object_get(req, "stdin")),
				 side);
	}
	if (err)
		return err;
	j->pid = fork();
	if (j->pid < 0)
		return -errno;
	if (j->pid == 0) {
		child_stdio(side[0], side[1], side[2], j->tty);
		child_exec(req);
	}
	for (int i = 0; i < 3; i++)
		if (side[i] >= 0 && (i == 0 || side[i] != side[0]))
			close(side[i]);
	j->pidfd = (int)syscall(SYS_pidfd_open, j->pid, 0);
	if (j->in >= 0)
		fcntl(j->in, F_SETFL, O_NONBLOCK);
	return j->pidfd < 0 ? -errno : 0;
}

static void job_drop_client(struct job *j)
{
	if (j->client >= 0)
		close(j->client);
	j->client = -1;
	j->in_ended = true;
}

static void job_output(struct job *j, int i)
{
	char data[CHUNK];
	ssize_t n = read(j->out[i], data, sizeof(data));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) { /* EIO: the last holder of the terminal left */
		close(j->out[i]);
		j->out[i] = -1;
	} else if (j->client >= 0 &&
		   df_frame_send(j->client, i ? 'e' : 'o', data, (size_t)n)) {
		job_drop_client(j);
	}
}

static void job_input(struct job *j)
{
	char type;

	if (df_frame_recv(j->client, &j->frame, &type)) {
		job_drop_client(j);
	} else if (type == 'i' && j->in >= 0) {
		df_buf_put(&j->pending, j->frame.data, j->frame.len);
	} else if (type == 'c') {
		if (j->tty)
			df_buf_put_u8(&j->pending, 4); /* ^D */
		else
			j->in_ended = true;
	} else if (type == 'w' && j->tty && j->out[0] >= 0) {
		json_t *o = df_frame_json(&j->frame);
		set_size(j->out[0], o);
		json_decref(o);
	}
}

static void job_feed(struct job *j)
{
	size_t left = j->pending.len - j->pending_at;

	if (j->in >= 0 && left) {
		ssize_t n = write(j->in, j->pending.data + j->pending_at, left);
		if (n > 0)
			j->pending_at += (size_t)n;
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			j->in_ended = true, j->pending_at = j->pending.len;
	}
	if (j->pending_at == j->pending.len) {
		df_buf_reset(&j->pending);
		j->pending_at = 0;
		if (j->in_ended && j->in >= 0) {
			close(j->in);
			j->in = -1;
		}
	}
}

/* One round of poll; false = nothing came within ms. */
static bool job_step(struct job *j, int ms, bool *ended)
{
	bool room = j->pending.len < 4 * CHUNK;
	struct pollfd p[5] = {
		{ *ended ? -1 : j->pidfd, POLLIN, 0 },
		{ j->out[0], POLLIN, 0 },
		{ j->out[1], POLLIN, 0 },
		{ room ? j->client : -1, POLLIN, 0 },
		{ j->pending.len ? j->in : -1, POLLOUT, 0 },
	};

	int n = poll(p, DF_ARRAY_LEN(p), ms);
	if (n <= 0)
		return n < 0 && errno == EINTR;
	for (int i = 0; i < 2; i++)
		if (p[1 + i].revents)
			job_output(j, i);
	if (p[3].revents && j->client >= 0)
		job_input(j);
	job_feed(j);
	if (p[0].revents)
		*ended = true;
	return true;
}

static void job_run(struct job *j)
{
	bool ended = false;
	int st = 0;

	while (!ended)
		job_step(j, -1, &ended);
	while ((j->out[0] >= 0 || j->out[1] >= 0) &&
	       job_step(j, DRAIN_MS, &ended))
		;
	waitpid(j->pid, &st, 0);
	if (j->client >= 0)
		df_frame_send_json(
			j->client, 'x',
			json_pack("{s:i, s:i}", "code",
				  WIFEXITED(st) ? WEXITSTATUS(st) : 0, "signal",
				  WIFSIGNALED(st) ? WTERMSIG(st) : 0));
}

/* A line for `logs`: the program's name only, for arguments may be private. */
static void note(const json_t *req, const struct job *j, const char *what)
{
	const char *name = json_string_value(
		json_array_get(json_object_get(req, "argv"), 0));
	struct timespec now;
	struct tm tm;
	char when[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	dprintf(STDERR_FILENO, "%s %s %d %s\n", when, what, (int)j->pid,
		name ? name : "?");
}

void df_guest_exec(int fd, json_t *req)
{
	struct job j = {
		.client = fd, .in = -1, .out = { -1, -1 }, .pidfd = -1
	};
	bool background = json_is_true(json_object_get(req, "background"));

	j.tty = json_is_true(json_object_get(req, "tty"));
	df_buf_init(&j.pending, 0);
	df_buf_init(&j.frame, DF_FRAME_MAX);
	int err = job_start(&j, req, background);
	if (err) {
		df_frame_send_fail(fd, err, df_strerror(err));
	} else {
		df_frame_send_json(fd, 'p',
				   json_pack("{s:i}", "pid", (int)j.pid));
		note(req, &j, background ? "started" : "exec");
		if (!background) {
			job_run(&j);
			note(req, &j, "ended");
		}
	}
	df_buf_release(&j.pending);
	df_buf_release(&j.frame);
}
