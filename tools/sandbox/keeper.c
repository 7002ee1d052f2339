/*
 * keeper.c - the process that a local sandbox lives under; see local.h.
 *
 * States: starting -> running <-> paused -> gone.  One thread, one poll loop;
 * the relays are processes of their own that die with it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/frame.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/local.h"
#include "tools/sandbox/relay.h"

#define START_MS 10000

struct keeper {
	const struct df_local *l;
	json_t *state; /* owned by the caller */
	const char *id;
	const char *host; /* the table server; NULL = none */
	int port;
	pid_t bwrap, init;
	int bwrap_fd; /* pidfd */
	int ctl;
	bool paused, doomed;
	int64_t end_ns; /* monotonic; meaningless while paused */
};

static int dial_server(void *arg)
{
	const struct keeper *k = arg;

	return df_tcp_connect(k->host, k->port, 10000);
}

struct port_of {
	char *sock;
	int port;
};

static int dial_guest(void *arg)
{
	const struct port_of *p = arg;
	struct df_buf buf;
	char type = 0;

	int fd = df_unix_connect(p->sock);
	if (fd < 0)
		return fd;
	int err = df_frame_send_json(
		fd, 'R',
		json_pack("{s:s, s:i}", "op", "connect", "port", p->port));
	df_buf_init(&buf, DF_FRAME_MAX);
	if (!err)
		err = df_frame_recv(fd, &buf, &type);
	df_buf_release(&buf);
	if (err || type != 'r') {
		close(fd);
		return err ? err : -ECONNREFUSED;
	}
	return fd;
}

/* Run serve in a process that ends with the keeper. */
static int fork_relay(struct keeper *k, int fd, df_dial_fn *dial, void *arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(k->ctl);
		df_relay_serve(fd, dial, arg);
	}
	int err = pid < 0 ? -errno : 0;
	close(fd);
	return err;
}

static void set_end(struct keeper *k, long s)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	DF_FREE char *text = df_time_text(now.tv_sec + s);
	k->end_ns = df_deadline_ms(s * 1000);
	json_object_set_new(k->state, "endAt", json_string(text));
}

/* Signal every process of the sandbox's pid namespace; how many were there
 * that had not stopped yet. */
static int signal_all(struct keeper *k, int sig)
{
	char want[64], is[64], path[64], stat[512];
	struct dirent *e;
	int moving = 0;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)k->init);
	ssize_t n = readlink(path, want, sizeof(want) - 1);
	DIR *d = n > 0 ? opendir("/proc") : NULL;
	if (!d)
		return 0;
	want[n] = 0;
	while ((e = readdir(d))) {
		int pid = (int)strtol(e->d_name, NULL, 10);
		if (pid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
		n = readlink(path, is, sizeof(is) - 1);
		if (n <= 0)
			continue;
		is[n] = 0;
		if (strcmp(is, want))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		DF_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd >= 0 ? read(fd, stat, sizeof(stat) - 1) : 0;
		stat[n > 0 ? n : 0] = 0;
		const char *after = strrchr(stat, ')');
		if (!after || strlen(after) < 3 || !strchr("TZX", after[2]))
			moving++;
		kill(pid, sig);
	}
	closedir(d);
	return moving;
}

static int keeper_pause(struct keeper *k)
{
	if (k->paused)
		return -EALREADY;
	/* one that waits for a FUSE answer stops when that comes; fork
	 * bombs need several passes */
	for (int i = 0; i < 50 && signal_all(k, SIGSTOP); i++)
		poll(NULL, 0, 5);
	k->paused = true;
	json_object_set_new(k->state, "state", json_string("paused"));
	return df_local_save(k->l, k->id, k->state);
}

static int keeper_resume(struct keeper *k, long s)
{
	if (!k->paused)
		return -EALREADY;
	signal_all(k, SIGCONT);
	k->paused = false;
	set_end(k, s);
	json_object_set_new(k->state, "state", json_string("running"));
	return df_local_save(k->l, k->id, k->state);
}

static int keeper_url(struct keeper *k, int port, json_t *answer)
{
	DF_FREE char *key = df_strf("%d", port);
	json_t *urls = json_object_get(k->state, "urls");
	json_t *known = json_object_get(urls, key);
	struct port_of *p = calloc(1, sizeof(*p));
	int out = 0;

	if (known) {
		free(p);
		return json_object_set(answer, "url", known);
	}
	int fd = p && key ? df_tcp_listen(&out) : -ENOMEM;
	if (fd >= 0) {
		p->port = port;
		p->sock = df_local_path(k->l, k->id, "pub/guest.sock");
		DF_FREE char *url = df_strf("http://127.0.0.1:%d", out);
		json_object_set_new(urls, key, json_string(url));
		json_object_set_new(answer, "url", json_string(url));
		fd = fork_relay(k, fd, dial_guest, p);
		free(p->sock);
	}
	free(p);
	return fd < 0 ? fd : 0;
}

static int answer_ctl(struct keeper *k, const json_t *req, json_t *answer)
{
	const char *op = df_json_str(req, "op");
	long s = (long)json_integer_value(json_object_get(req, "s"));

	if (strcmp(op, "timeout") == 0 && s > 0) {
		set_end(k, s);
		return df_local_save(k->l, k->id, k->state);
	}
	if (strcmp(op, "pause") == 0)
		return keeper_pause(k);
	if (strcmp(op, "resume") == 0 && s > 0)
		return keeper_resume(k, s);
	if (strcmp(op, "url") == 0)
		return keeper_url(
			k,
			(int)json_integer_value(json_object_get(req, "port")),
			answer);
	if (strcmp(op, "kill") == 0) {
		k->doomed = true;
		return 0;
	}
	return -ENOSYS;
}

static void end_sandbox(struct keeper *k)
{
	struct pollfd p = { k->bwrap_fd, POLLIN, 0 };

	if (k->init > 0)
		kill(k->init, SIGKILL); /* its whole pid namespace goes */
	if (k->bwrap > 0) {
		if (poll(&p, 1, 2000) <= 0)
			kill(k->bwrap, SIGKILL);
		waitpid(k->bwrap, NULL, 0);
	}
	df_cgroup_remove(json_object_get(k->state, "cgroups"));
	df_local_remove(k->l, k->id, df_json_str(k->state, "disk"));
}

/* A client that stalls must not stop the clock: two seconds for it. */
static void serve_ctl(struct keeper *k)
{
	struct timeval tv = { 2, 0 };
	struct df_buf buf;
	char type = 0;

	DF_CLOSE int fd = accept4(k->ctl, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	df_buf_init(&buf, DF_FRAME_MAX);
	json_t *req = NULL;
	json_t *answer = json_object();
	if (!df_frame_recv(fd, &buf, &type) && type == 'R')
		req = df_frame_json(&buf);
	int err = req ? answer_ctl(k, req, answer) : -EPROTO;
	if (k->doomed)
		end_sandbox(k);
	if (err) {
		df_frame_send_fail(fd, err, df_strerror(err));
		json_decref(answer);
	} else {
		df_frame_send_json(fd, 'r', answer);
	}
	json_decref(req);
	df_buf_release(&buf);
}

static void keeper_loop(struct keeper *k)
{
	bool auto_pause = json_is_true(json_object_get(k->state, "autoPause"));

	while (!k->doomed) {
		struct pollfd p[2] = { { k->ctl, POLLIN, 0 },
				       { k->bwrap_fd, POLLIN, 0 } };
		int64_t left = (k->end_ns - df_deadline_ms(0)) / DF_NS_PER_MS;
		int ms = k->paused ? -1 : (int)DF_MIN(left + 1, 3600000);
		if (!k->paused && left <= 0) {
			if (!auto_pause)
				break;
			keeper_pause(k);
			continue;
		}
		if (poll(p, 2, ms) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break; /* process 1 was killed from outside */
		if (p[0].revents)
			serve_ctl(k);
	}
	if (!k->doomed)
		end_sandbox(k);
}

static int wait_guest(struct keeper *k)
{
	DF_FREE char *sock = df_local_path(k->l, k->id, "pub/guest.sock");
	int64_t end = df_deadline_ms(START_MS);

	while (sock && df_deadline_ms(0) < end) {
		struct pollfd p = { k->bwrap_fd, POLLIN, 0 };
		struct df_buf buf;
		char type = 0;
		int fd = df_unix_connect(sock);
		if (fd >= 0) {
			df_buf_init(&buf, DF_FRAME_MAX);
			int err = df_frame_send_json(
				fd, 'R', json_pack("{s:s}", "op", "ping"));
			if (!err)
				err = df_frame_recv(fd, &buf, &type);
			df_buf_release(&buf);
			close(fd);
			if (!err && type == 'r')
				return 0;
		}
		if (poll(&p, 1, 3) > 0)
			return -ECHILD;
	}
	return -ETIMEDOUT;
}

static int keeper_setup(struct keeper *k, json_t *config, const json_t *env)
{
	DF_FREE char *ctl = df_local_path(k->l, k->id, "ctl.sock");
	DF_FREE char *table = df_local_path(k->l, k->id, "pub/table.sock");

	k->ctl = df_unix_listen(ctl);
	if (k->ctl < 0)
		return df_fail(k->ctl, "%s", ctl);
	if (k->host) {
		int fd = df_unix_listen(table);
		int err = fd < 0 ? fd : fork_relay(k, fd, dial_server, k);
		if (err)
			return df_fail(err, "relay to the table server");
	}
	int err = df_bwrap_start(k->l, k->state, config, env, &k->bwrap,
				 &k->init);
	if (err)
		return err;
	k->bwrap_fd = (int)syscall(SYS_pidfd_open, k->bwrap, 0);
	err = k->bwrap_fd < 0 ? -errno : wait_guest(k);
	if (err)
		return df_fail(err, "the sandbox does not answer");
	json_object_set_new(k->state, "pid", json_integer(k->init));
	json_object_set_new(k->state, "urls", json_object());
	set_end(k,
		(long)json_integer_value(json_object_get(k->state, "timeout")));
	return df_local_save(k->l, k->id, k->state);
}

/* A second fork leaves the keeper without a terminal and to init. */
static _Noreturn void keeper_main(struct keeper *k, json_t *config,
				  const json_t *env, int ready)
{
	DF_FREE char *log = df_local_path(k->l, k->id, "log");
	DF_FREE char *lock = df_local_path(k->l, k->id, "lock");

	df_intr_child();
	setsid();
	if (fork() != 0)
		_exit(0);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	int null = open("/dev/null", O_RDWR);
	int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	int held = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int to = fcntl(ready, F_DUPFD_CLOEXEC, 10);
	int keep = fcntl(held, F_DUPFD_CLOEXEC, 10);
	if (null < 0 || out < 0 || keep < 0 || flock(keep, LOCK_EX | LOCK_NB))
		_exit(1);
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	for (int fd = 3; fd < 4096; fd++)
		if (fd != to && fd != keep)
			close(fd);
	df_log_set_prefix("keeper: ");
	k->bwrap_fd = k->ctl = -1;
	int err = keeper_setup(k, config, env);
	if (err)
		end_sandbox(k);
	if (write(to, err ? "f" : "r", 1) < 0)
		err = -EPIPE; /* create is gone: nobody knows this one */
	close(to);
	if (!err)
		keeper_loop(k);
	_exit(0);
}

int df_keeper_start(const struct df_local *l, json_t *state, json_t *config,
		    const json_t *env, const char *host, int port)
{
	struct keeper k = {
		.l = l, .state = state, .host = host, .port = port
	};
	char answer = 0;
	int ready[2];

	k.id = df_json_str(state, "sandboxID");
	DF_FREE char *log = df_local_path(l, k.id, "log");
	/* opened now: the keeper removes the directory when it fails */
	DF_CLOSE int said = open(log, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (said < 0 || pipe2(ready, O_CLOEXEC))
		return df_fail(-errno, "%s", log);
	pid_t pid = fork();
	if (pid == 0)
		keeper_main(&k, config, env, ready[1]);
	close(ready[1]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	ssize_t n;
	while ((n = read(ready[0], &answer, 1)) < 0 && errno == EINTR)
		; /* a signal waits until create knows what it has */
	close(ready[0]);
	if (n == 1 && answer == 'r')
		return 0;
	char text[2048];
	n = df_pread_all(said, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = 0;
	df_log_error("the local sandbox did not start:\n%s", text);
	return -ENOEXEC;
}

int df_keeper_ask(const struct df_local *l, const char *id, json_t *req,
		  json_t **answer)
{
	DF_FREE char *sock = df_local_path(l, id, "ctl.sock");
	struct df_buf buf;
	char type = 0;

	DF_CLOSE int fd = sock ? df_unix_connect(sock) : -ENOMEM;
	if (fd < 0) {
		json_decref(req);
		return fd == -ECONNREFUSED || fd == -ENOENT
			       ? -ENOENT
			       : df_fail(fd, "keeper of %s", id);
	}
	int err = df_frame_send_json(fd, 'R', req);
	df_buf_init(&buf, DF_FRAME_MAX);
	if (!err)
		err = df_frame_recv(fd, &buf, &type);
	json_t *o = err ? NULL : df_frame_json(&buf);
	df_buf_release(&buf);
	if (!err && type == 'f')
		err = (int)json_integer_value(json_object_get(o, "errno")) * -1;
	if (answer && !err) {
		*answer = o;
		o = NULL;
	}
	json_decref(o);
	return err && err != -EALREADY ? df_fail(err, "keeper of %s", id) : err;
}
