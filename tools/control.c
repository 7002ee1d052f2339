/*
 * control.c - see control.h.
 *
 * One thread accepts; each connection has one of its own, which reads a line,
 * answers it, and reads the next.  A slot is free again once its thread was
 * joined, by the accepting thread or by _stop.
 */
#include "tools/control.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "cache/volume.h"
#include "tools/call.h"
#include "tools/drain.h"
#include "tools/mounted.h"
#include "tools/report.h"

#define REQUEST_MAX 16384
#define PROGRESS_MS 250
#define GONE_MS 1500
/* An answer that nobody reads must not keep the daemon from ending. */
static const struct timeval send_timeout = { .tv_sec = 3 };

struct client {
	struct df_control *control;
	pthread_t thread;
	int fd;           /* -1: the slot is free */
	atomic_bool over; /* the thread is about to return */
	bool gone;        /* the other side does not read any more */
	char line[REQUEST_MAX];
	size_t len;
};

struct df_control {
	struct df_control_conf conf;
	int listen_fd, wake_fd;
	pthread_t thread;
	struct client *client[DF_CONTROL_CLIENTS]; /* accepting thread */
	struct df_lock lock;
	struct df_cond state_cond;
	enum df_control_state state; /* lock */
	bool remote;                 /* lock; with state ENDED */
	bool handover;               /* lock */
	atomic_bool stopping;
};

static const char *const state_name[] = { "starting", "mounted", "draining",
					  "ended" };

static enum df_control_state control_state(struct df_control *c)
{
	df_lock(&c->lock);
	enum df_control_state s = c->state;
	df_unlock(&c->lock);
	return s;
}

/* ---- answers */

/* Sends a line; j is stolen.  False when the client has gone, or does not read
 * for send_timeout. */
static bool send_line(struct client *cl, json_t *j, int flags)
{
	DF_FREE char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(j);
	if (!text)
		cl->gone = true;
	else
		text[len++] = '\n'; /* in the place of the NUL */
	for (size_t at = 0; at < len && !cl->gone;) {
		ssize_t n = send(cl->fd, text + at, len - at,
				 MSG_NOSIGNAL | (at ? 0 : flags));
		if (n < 0 && errno == EAGAIN && !at && flags)
			break; /* none of it left */
		if (n < 0 && errno != EINTR)
			cl->gone = true;
		at += n > 0 ? (size_t)n : 0;
	}
	return !cl->gone;
}

static bool say(struct client *cl, json_t *j)
{
	return send_line(cl, j, 0);
}

/* Who does not read at the moment (a stopped command) misses it. */
static bool say_aside(struct client *cl, json_t *j)
{
	return send_line(cl, j, MSG_DONTWAIT);
}

static void say_result(struct client *cl, int err, const char *what)
{
	if (!err)
		say(cl, json_pack("{s:b}", "ok", 1));
	else
		say(cl,
		    json_pack("{s:b, s:s, s:i, s:s}", "ok", 0, "error",
			      df_strerror(err), "errno", -err, "what", what));
}

static bool say_progress(struct client *cl)
{
	struct df_vol_status st;

	df_vol_status(cl->control->conf.vol, &st);
	return say_aside(
		cl, json_pack("{s:{s:I, s:I, s:s}}", "progress", "dirty_bytes",
			      (json_int_t)st.dirty_bytes, "dirty_files",
			      (json_int_t)st.dirty_files, "state",
			      state_name[control_state(cl->control)]));
}

static void cmd_ping(struct client *cl, const json_t *request)
{
	struct df_control *c = cl->control;

	(void)request;
	say(cl,
	    json_pack("{s:b, s:i, s:s, s:s, s:s}", "ok", 1, "pid",
		      (int)getpid(), "path", c->conf.path, "table",
		      c->conf.table, "state", state_name[control_state(c)]));
}

static void cmd_status(struct client *cl, const json_t *request)
{
	struct df_control *c = cl->control;
	struct df_vol_status *st = malloc(sizeof(*st));

	(void)request;
	if (!st) {
		say_result(cl, -ENOMEM, "status");
		return;
	}
	df_vol_status(c->conf.vol, st);
	json_t *j = df_report_status(&c->conf, st);
	free(st);
	if (j) {
		json_object_set_new(j, "ok", json_true());
		json_object_set_new(j, "state",
				    json_string(state_name[control_state(c)]));
	}
	say(cl, j);
}

static bool flush_tick(void *arg)
{
	struct client *cl = arg;

	return say_progress(cl) && !atomic_load(&cl->control->stopping);
}

static void cmd_flush(struct client *cl, const json_t *request)
{
	const json_t *ms = json_object_get(request, "timeout_ms");
	const struct df_control_conf *c = &cl->control->conf;
	int64_t timeout_ms = json_is_integer(ms) ? json_integer_value(ms)
						 : c->umount_timeout_ms;

	int err = df_drain(c->vol, DF_MAX(timeout_ms, 1), flush_tick, cl);
	say_result(cl, err, "flush");
}

static void cmd_wait(struct client *cl, const json_t *request)
{
	struct df_control *c = cl->control;
	bool ended = false, remote = false;

	(void)request;
	do {
		df_lock(&c->lock);
		if (c->state != DF_STATE_ENDED)
			df_cond_wait_until(&c->state_cond, &c->lock,
					   df_deadline_ms(PROGRESS_MS));
		ended = c->state == DF_STATE_ENDED;
		remote = c->remote;
		df_unlock(&c->lock);
	} while (!ended && say_progress(cl) && !atomic_load(&c->stopping));
	if (ended)
		say(cl, json_pack("{s:b, s:b}", "ok", 1, "remote", remote));
}

static bool mount_shows(const char *path)
{
	struct df_mounted_list l;

	if (df_mounted_read(&l))
		return true;
	const struct df_mounted *m = df_mounted_at(&l, path);
	bool shows = m && m->ours;
	df_mounted_release(&l);
	return shows;
}

/* A mount that was taken away just now reaches us a moment later. */
static void cmd_handover(struct client *cl, const json_t *request)
{
	struct df_control *c = cl->control;
	int64_t until = mount_shows(c->conf.path) ? 0 : df_deadline_ms(GONE_MS);

	(void)request;
	df_lock(&c->lock);
	while (c->state < DF_STATE_DRAINING && until &&
	       df_cond_wait_until(&c->state_cond, &c->lock, until))
		;
	bool can = c->state >= DF_STATE_DRAINING;
	c->handover = c->handover || can;
	df_unlock(&c->lock);
	say_result(cl, can ? 0 : -EBUSY, "the mount is there");
}

static bool warm_progress(void *arg, uint64_t done, uint64_t total)
{
	struct client *cl = arg;

	return say_aside(cl, json_pack("{s:{s:I, s:I}}", "progress", "done",
				       (json_int_t)done, "total",
				       (json_int_t)total)) &&
	       control_state(cl->control) == DF_STATE_MOUNTED;
}

static void cmd_warm(struct client *cl, const json_t *request)
{
	struct df_vol *v = cl->control->conf.vol;
	const char *path = json_string_value(json_object_get(request, "path"));
	struct df_entry e;

	int err = df_vol_resolve(v, path ? path : "/", &e);
	if (!err) {
		err = df_vol_warm(v, e.nid, warm_progress, cl);
		df_vol_forget(v, e.nid, 1);
	}
	say_result(cl, err, "warm");
}

static void cmd_clear(struct client *cl, const json_t *request)
{
	(void)request;
	df_vol_clear_errors(cl->control->conf.vol);
	say_result(cl, 0, "clear");
}

static void cmd_log(struct client *cl, const json_t *request)
{
	const char *level =
		json_string_value(json_object_get(request, "level"));
	struct df_conf conf;
	char msg[256] = "";

	df_conf_init(&conf);
	int err = df_conf_set(&conf, "log_level", level, msg, sizeof(msg));
	if (!err)
		df_log_set_level((enum df_log_level)conf.log_level);
	df_conf_release(&conf);
	say_result(cl, err, "log");
}

static const struct {
	const char *name;
	void (*run)(struct client *cl, const json_t *request);
} commands[] = {
	{ "ping", cmd_ping },   { "status", cmd_status },
	{ "flush", cmd_flush }, { "wait", cmd_wait },
	{ "warm", cmd_warm },   { "handover", cmd_handover },
	{ "clear", cmd_clear }, { "log", cmd_log },
};

static void answer(struct client *cl, const char *line, size_t len)
{
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *cmd = json_string_value(json_object_get(request, "cmd"));

	for (size_t i = 0; cmd && i < DF_ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, cmd) != 0)
			continue;
		commands[i].run(cl, request);
		json_decref(request);
		return;
	}
	json_decref(request);
	say_result(cl, -EOPNOTSUPP, cmd ? "command" : "request");
}

static void *client_main(void *arg)
{
	struct client *cl = arg;

	while (!cl->gone) {
		char *nl = cl->len ? memchr(cl->line, '\n', cl->len) : NULL;
		if (nl) {
			size_t n = (size_t)(nl - cl->line);
			answer(cl, cl->line, n);
			cl->len -= n + 1;
			memmove(cl->line, nl + 1, cl->len);
			continue;
		}
		ssize_t n = cl->len == sizeof(cl->line)
				    ? 0
				    : read(cl->fd, cl->line + cl->len,
					   sizeof(cl->line) - cl->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		cl->len += (size_t)n;
	}
	atomic_store(&cl->over, true);
	return NULL;
}

/* ---- connections */

static void client_join(struct client **slot)
{
	struct client *cl = *slot;

	if (!cl)
		return;
	pthread_join(cl->thread, NULL);
	close(cl->fd);
	free(cl);
	*slot = NULL;
}

static void take_client(struct df_control *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct client **slot = NULL;

	if (fd < 0)
		return;
	for (size_t i = 0; i < DF_CONTROL_CLIENTS; i++) {
		if (c->client[i] && atomic_load(&c->client[i]->over))
			client_join(&c->client[i]);
		if (!c->client[i] && !slot)
			slot = &c->client[i];
	}
	struct client *cl = slot ? calloc(1, sizeof(*cl)) : NULL;
	if (!cl) {
		df_log_warn("control socket: too many connections");
		close(fd);
		return;
	}
	cl->control = c;
	cl->fd = fd;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_timeout,
			 sizeof(send_timeout));
	if (pthread_create(&cl->thread, NULL, client_main, cl)) {
		close(fd);
		free(cl);
		return;
	}
	*slot = cl;
}

static void *control_main(void *arg)
{
	struct df_control *c = arg;

	while (!atomic_load(&c->stopping)) {
		struct pollfd p[] = { { c->listen_fd, POLLIN, 0 },
				      { c->wake_fd, POLLIN, 0 } };
		if (poll(p, DF_ARRAY_LEN(p), -1) > 0 && p[0].revents)
			take_client(c);
	}
	return NULL;
}

/* ---- life */

int df_control_start(const struct df_control_conf *conf,
		     struct df_control **out)
{
	struct df_control *c = calloc(1, sizeof(*c));

	*out = NULL;
	if (!c)
		return df_fail(-ENOMEM, "control socket");
	c->conf = *conf;
	df_lock_init(&c->lock);
	df_cond_init(&c->state_cond);
	c->wake_fd = eventfd(0, EFD_CLOEXEC);
	c->listen_fd = c->wake_fd < 0 ? -errno
				      : df_call_listen(conf->cache_dir);
	int err = c->listen_fd < 0 ? c->listen_fd : 0;
	if (!err)
		err = -pthread_create(&c->thread, NULL, control_main, c);
	if (!err) {
		*out = c;
		return 0;
	}
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	free(c);
	return df_fail(err, "control socket in %s", conf->cache_dir);
}

void df_control_set_state(struct df_control *c, enum df_control_state state)
{
	df_lock(&c->lock);
	c->state = state;
	df_cond_broadcast(&c->state_cond);
	df_unlock(&c->lock);
}

bool df_control_handover(struct df_control *c)
{
	df_lock(&c->lock);
	bool asked = c->handover;
	df_unlock(&c->lock);
	return asked;
}

void df_control_finish(struct df_control *c, bool remote)
{
	df_lock(&c->lock);
	c->remote = remote;
	df_unlock(&c->lock);
	df_control_set_state(c, DF_STATE_ENDED);
}

void df_control_stop(struct df_control *c)
{
	uint64_t one = 1;

	if (!c)
		return;
	atomic_store(&c->stopping, true);
	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		df_log_warn("control socket: the thread cannot be woken");
	pthread_join(c->thread, NULL);
	/* who is silent reads the end of the connection; an answer under way
	 * is still written */
	for (size_t i = 0; i < DF_CONTROL_CLIENTS; i++) {
		if (c->client[i])
			shutdown(c->client[i]->fd, SHUT_RD);
		client_join(&c->client[i]);
	}
	close(c->listen_fd);
	close(c->wake_fd);
	df_cond_release(&c->state_cond);
	df_lock_release(&c->lock);
	free(c);
}
