/* guestd.c - see guestd.h. */
#include "tools/sandbox/guestd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/frame.h"
#include "tools/sandbox/relay.h"

char *df_guest_path(const char *path)
{
	const char *home = getenv("HOME");

	if (!home)
		home = "/";
	if (path[0] == '~' && (path[1] == '/' || !path[1]))
		return df_strf("%s%s", home, path + 1);
	if (path[0] == '/')
		return strdup(path);
	return df_strf("%s/%s", home, path);
}

static int dial_table(void *arg)
{
	(void)arg;
	return df_unix_connect(DF_GUEST_TABLE_SOCK);
}

static int start_relay(int port)
{
	int fd = df_tcp_listen(&port);

	if (fd < 0)
		return df_fail(fd, "listen on 127.0.0.1:%d in the sandbox",
			       port);
	pid_t pid = fork();
	if (pid < 0)
		return df_fail(-errno, "fork");
	if (pid == 0)
		df_relay_serve(fd, dial_table, NULL);
	close(fd);
	return 0;
}

static int write_text(const char *path, const char *text)
{
	DF_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return df_write_all(fd, text, strlen(text));
}

/* Programs are no root by number (below) and yet may mount FUSE: they are
 * given every capability over this namespace and what is in it. */
static void pass_on_caps(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, caps))
		return;
	for (size_t i = 0; i < DF_ARRAY_LEN(caps); i++)
		caps[i].inheritable = caps[i].permitted;
	if (syscall(SYS_capset, &head, caps))
		return;
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

/*
 * A second user namespace, so that the mounts so far are locked.  One number
 * can be mapped in it, and that is the usual user's on E2B: files in a table
 * belong to numbers, and both kinds of sandbox must be able to use one table.
 */
static int lock_mounts(void)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return df_fail(-errno, "second user namespace (is "
				       "user.max_user_namespaces 0?)");
	int err = write_text("/proc/self/setgroups", "deny");
	if (!err)
		err = write_text("/proc/self/uid_map", DF_LOCAL_ID " 0 1");
	if (!err)
		err = write_text("/proc/self/gid_map", DF_LOCAL_ID " 0 1");
	if (err)
		return df_fail(err, "map ids of the second user namespace");
	pass_on_caps();
	return 0;
}

static void serve_connect(int fd, json_t *req)
{
	json_int_t port = json_integer_value(json_object_get(req, "port"));

	int to = port > 0 && port < 65536
			 ? df_tcp_connect("127.0.0.1", (int)port, 5000)
			 : -EINVAL;
	if (to < 0) {
		df_frame_send_fail(fd, to, "nobody listens on that port");
		return;
	}
	if (!df_frame_send_json(fd, 'r', json_object()))
		df_relay_pump(fd, to);
}

static void serve_signal(int fd, json_t *req)
{
	json_int_t pid = json_integer_value(json_object_get(req, "pid"));
	json_int_t sig = json_integer_value(json_object_get(req, "signal"));

	if (pid <= 1 || pid > 0x7fffffff || sig < 1 || sig > 64) {
		df_frame_send_fail(fd, -EINVAL, "bad pid or signal");
		return;
	}
	/* each program leads a session, hence a group: children get it too */
	if (kill(-(pid_t)pid, (int)sig) && kill((pid_t)pid, (int)sig)) {
		df_frame_send_fail(fd, -errno, df_strerror(-errno));
		return;
	}
	df_frame_send_json(fd, 'r', json_object());
}

/* The first frame says what is wanted. */
static void serve(int fd)
{
	struct df_buf buf;
	char type = 0;

	df_buf_init(&buf, DF_FRAME_MAX);
	int err = df_frame_recv(fd, &buf, &type);
	json_t *req = !err && type == 'R' ? df_frame_json(&buf) : NULL;
	df_buf_release(&buf);
	const char *op = json_string_value(json_object_get(req, "op"));
	if (!op)
		df_frame_send_fail(fd, -EPROTO, "no request");
	else if (strcmp(op, "exec") == 0)
		df_guest_exec(fd, req);
	else if (strcmp(op, "get") == 0)
		df_guest_get(fd, req);
	else if (strcmp(op, "put") == 0)
		df_guest_put(fd, req);
	else if (strcmp(op, "connect") == 0)
		serve_connect(fd, req);
	else if (strcmp(op, "signal") == 0)
		serve_signal(fd, req);
	else if (strcmp(op, "ping") == 0)
		df_frame_send_json(fd, 'r', json_object());
	else
		df_guest_fs(fd, req, op);
	json_decref(req);
}

static void reap(int sig)
{
	int saved = errno;

	(void)sig;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	errno = saved;
}

static _Noreturn void accept_loop(int listen_fd)
{
	/* everything orphaned in the sandbox becomes ours */
	struct sigaction sa = { .sa_handler = reap,
				.sa_flags = SA_RESTART | SA_NOCLDSTOP };
	sigaction(SIGCHLD, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EINTR && errno != ECONNABORTED)
				poll(NULL, 0, 100); /* out of descriptors */
			continue;
		}
		pid_t pid = fork();
		if (pid == 0) {
			signal(SIGCHLD, SIG_DFL);
			close(listen_fd);
			serve(fd);
			_exit(0);
		}
		if (pid < 0)
			df_frame_send_fail(fd, -errno,
					   "no more processes in the sandbox");
		close(fd);
	}
}

int df_guestd_main(int argc, char **argv)
{
	const char *text = getenv(DF_GUEST_CONFIG);

	(void)argc;
	(void)argv;
	json_t *config = text ? json_loads(text, 0, NULL) : NULL;
	if (!config) {
		df_log_error(DF_GUESTD_ROLE " is started by `deeplake sandbox "
					    "create`, not by hand");
		return DF_EXIT_USAGE;
	}
	unsetenv(DF_GUEST_CONFIG);
	int port = (int)json_integer_value(json_object_get(config, "relay"));
	json_int_t procs = json_integer_value(json_object_get(config, "procs"));
	json_decref(config);
	if (port && start_relay(port))
		return DF_EXIT_FAILED;
	int fd = df_unix_listen(DF_GUEST_SOCK);
	if (fd < 0) {
		df_fail(fd, "%s", DF_GUEST_SOCK);
		return DF_EXIT_FAILED;
	}
	if (lock_mounts())
		return DF_EXIT_FAILED;
	if (procs > 0) {
		struct rlimit rl = { (rlim_t)procs, (rlim_t)procs };
		setrlimit(RLIMIT_NPROC, &rl); /* cgroups do it for root */
	}
	struct rlimit no_core = { 0, 0 };
	setrlimit(RLIMIT_CORE, &no_core);
	accept_loop(fd);
}
