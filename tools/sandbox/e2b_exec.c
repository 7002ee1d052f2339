/*
 * e2b_exec.c - running programs through envd.
 *
 * One Start stream gives events until the end.  Each call carries a tag of
 * its own: when the stream is cut, Connect by the tag takes the process up
 * again (the agent keeps a finished one's status for 30 s); output in between
 * is lost and the result says so.  A stream without an end is never status 0.
 * Input, signals and window sizes are calls of their own beside the stream.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/connect.h"
#include "tools/sandbox/e2b.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/watch.h"

#define IN_CHUNK 32768
#define KEEPALIVE "50" /* seconds; 0 would kill the agent */
#define RESUME_TRIES 12

struct stream {
	struct df_e2b *e;
	struct df_sb *sb;
	const struct df_exec *x;
	struct df_exec_end *end;
	struct df_http *http;
	struct df_watch watch;
	char tag[40];
	bool started, ended;
	/* of one connection: */
	struct df_envelopes env;
	struct df_resp resp; /* status, and the body of a refusal */
	char code[48];       /* of an error envelope; "" = none */
	char message[400];
	CURL *easy;
	int err; /* from output, or a malformed stream */
	/* standard input: one call at a time */
	int in_fd;
	CURL *in_easy;
	struct curl_slist *in_headers;
	struct df_buf in_body;
};

static int on_event(struct stream *s, const json_t *value)
{
	struct df_event ev;

	int err = df_event_parse(value, &ev);
	if (!err && ev.start) {
		s->started = true;
		s->end->pid = ev.pid;
		s->sb->fresh = false;
	}
	if (!err && ev.stream && s->x->output && !s->x->background)
		err = s->x->output(s->x->arg, ev.stream, ev.data.data,
				   ev.data.len);
	if (!err && ev.end) {
		s->ended = true;
		s->end->status =
			df_watch_status(&s->watch, ev.code & 255, ev.sig);
	}
	df_buf_release(&ev.data);
	return err;
}

static int on_envelope(void *arg, bool last, json_t *value)
{
	struct stream *s = arg;
	const json_t *error = json_object_get(value, "error");

	if (!last)
		return on_event(s, value);
	snprintf(s->code, sizeof(s->code), "%s", df_json_str(error, "code"));
	snprintf(s->message, sizeof(s->message), "%s",
		 df_json_str(error, "message"));
	return 0;
}

static size_t on_bytes(char *data, size_t size, size_t n, void *arg)
{
	struct stream *s = arg;
	size_t len = size * n;

	curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &s->resp.status);
	if (s->resp.status != 200) {
		df_buf_put(&s->resp.body, data, len);
		return s->resp.body.err ? 0 : len;
	}
	s->err = df_envelopes_feed(&s->env, data, len);
	return s->err ? 0 : len;
}

static json_t *select_process(const struct stream *s)
{
	return json_pack("{s:s}", "tag", s->tag);
}

static json_t *start_body(const struct stream *s)
{
	/* busybox's setsid cannot wait */
	static const char wrap[] =
		"setsid -w true 2>/dev/null && exec setsid -w \"$@\"; "
		"exec \"$@\"";
	const struct df_exec *x = s->x;
	const char *cwd = x->cwd ? x->cwd : s->sb->workdir;
	json_t *args = json_array();
	size_t i = 0;

	/* a session of its own: a signal reaches the children as well */
	if (!x->plain) {
		json_array_append_new(args, json_string("-l"));
		json_array_append_new(args, json_string("-c"));
		json_array_append_new(
			args, json_string(x->tty ? "exec \"$@\"" : wrap));
		json_array_append_new(args, json_string("bash"));
	} else {
		i = 1;
	}
	for (; x->argv[i]; i++)
		json_array_append_new(args, json_string(x->argv[i]));
	json_t *process = json_pack("{s:s, s:o, s:o, s:s*}", "cmd",
				    x->plain ? x->argv[0] : "/bin/bash", "args",
				    args, "envs", df_pairs_json(x->env), "cwd",
				    cwd);
	json_t *body = json_pack("{s:o, s:s, s:b}", "process", process, "tag",
				 s->tag, "stdin", x->in_fd >= 0 && !x->tty);
	if (body && x->tty)
		json_object_set_new(body, "pty",
				    json_pack("{s:{s:i, s:i}}", "size", "cols",
					      x->cols, "rows", x->rows));
	return body;
}

/* ---- standard input ------------------------------------------------- */

static size_t ignore_bytes(char *data, size_t size, size_t n, void *arg)
{
	(void)data, (void)arg;
	return size * n;
}

static int in_send(struct stream *s, const char *method, json_t *body)
{
	DF_FREE char *text = json_dumps(body, JSON_COMPACT);
	DF_FREE char *url = df_e2b_port_url(s->e, s->sb, DF_ENVD_PORT, method);

	json_decref(body);
	if (!text || !url)
		return -ENOMEM;
	s->in_headers = df_e2b_headers(s->sb, DF_ENVD_PORT, NULL);
	s->in_headers =
		df_header(s->in_headers, "Content-Type", "application/json");
	s->in_headers =
		df_header(s->in_headers, "Connect-Protocol-Version", "1");
	s->in_easy = df_http_easy(s->http, s->in_headers);
	df_buf_reset(&s->in_body);
	df_buf_put_str(&s->in_body, text);
	if (!s->in_easy || s->in_body.err)
		return -ENOMEM;
	df_http_once(s->in_easy);
	curl_easy_setopt(s->in_easy, CURLOPT_URL, url);
	curl_easy_setopt(s->in_easy, CURLOPT_TIMEOUT_MS, 60000L);
	curl_easy_setopt(s->in_easy, CURLOPT_WRITEFUNCTION, ignore_bytes);
	curl_easy_setopt(s->in_easy, CURLOPT_POSTFIELDSIZE_LARGE,
			 (curl_off_t)s->in_body.len);
	curl_easy_setopt(s->in_easy, CURLOPT_POSTFIELDS, s->in_body.data);
	return curl_multi_add_handle(df_http_multi(s->http), s->in_easy)
		       ? -ENOMEM
		       : 0;
}

static void in_free(struct stream *s)
{
	if (s->in_easy) {
		curl_multi_remove_handle(df_http_multi(s->http), s->in_easy);
		curl_easy_cleanup(s->in_easy);
	}
	curl_slist_free_all(s->in_headers);
	s->in_easy = NULL;
	s->in_headers = NULL;
}

static int in_step(struct stream *s)
{
	char data[IN_CHUNK];
	struct df_buf b64;

	ssize_t n = read(s->in_fd, data, sizeof(data));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		s->in_fd = -1;
		if (s->x->tty)
			return 0;
		return in_send(
			s, "/process.Process/CloseStdin",
			json_pack("{s:o}", "process", select_process(s)));
	}
	df_buf_init(&b64, 0);
	df_b64_put(&b64, data, (size_t)n);
	json_t *body = json_pack("{s:o, s:{s:s}}", "process", select_process(s),
				 "input", s->x->tty ? "pty" : "stdin",
				 df_buf_cstr(&b64));
	df_buf_release(&b64);
	return in_send(s, "/process.Process/SendInput", body);
}

/* 404: the process has ended and needs no more. */
static void in_done(struct stream *s, CURLcode code)
{
	long status = 0;

	curl_easy_getinfo(s->in_easy, CURLINFO_RESPONSE_CODE, &status);
	in_free(s);
	if (code || status / 100 != 2) {
		if (s->in_fd >= 0 && status != 404)
			df_log_warn("input did not reach the process (%s)",
				    code ? curl_easy_strerror(code)
					 : "refused");
		s->in_fd = -1;
	}
}

/* ---- signals and sizes ---------------------------------------------- */

static void send_signal(struct stream *s, int sig)
{
	static const char script[] =
		"for q in $1 $(cat /proc/$1/task/$1/children 2>/dev/null); do "
		"kill -s $2 -- -$q 2>/dev/null || kill -s $2 $q 2>/dev/null; "
		"done; true";
	char pid[24];
	char number[8];
	struct df_exec_end end;

	snprintf(pid, sizeof(pid), "%ld", s->end->pid);
	snprintf(number, sizeof(number), "%d", sig);
	const char *const argv[] = { "/bin/sh", "-c",   script, "sh",
				     pid,       number, NULL };
	struct df_exec x = { .argv = argv,
			     .user = s->x->user,
			     .cwd = "/",
			     .plain = true,
			     .timeout_s = 10,
			     .in_fd = -1 };
	/* whatever happens here, the stream tells how it ended */
	df_e2b_exec(&s->e->prov, s->sb, &x, &end);
}

static void send_size(struct stream *s)
{
	struct df_resp resp;
	struct winsize ws;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws))
		return;
	df_resp_init(&resp);
	df_e2b_rpc(s->e, s->sb, NULL, "process.Process/Update",
		   json_pack("{s:o, s:{s:{s:i, s:i}}}", "process",
			     select_process(s), "pty", "size", "cols",
			     ws.ws_col, "rows", ws.ws_row),
		   &resp);
	df_resp_release(&resp);
}

/* ---- the stream ----------------------------------------------------- */

static int wait_step(struct stream *s)
{
	bool in = s->in_fd >= 0 && !s->in_easy && s->started;
	struct curl_waitfd w[2] = {
		{ .fd = df_intr_fd(), .events = CURL_WAIT_POLLIN },
		{ .fd = s->in_fd, .events = CURL_WAIT_POLLIN },
	};

	curl_multi_poll(df_http_multi(s->http), w, in ? 2 : 1,
			df_watch_wait_ms(&s->watch, 5000), NULL);
	if (w[0].revents)
		df_intr_drain();
	int sig = df_watch_next(&s->watch);
	if (sig < 0)
		return sig;
	if (sig && s->started)
		send_signal(s, sig);
	if (s->x->tty && s->started && df_intr_winch())
		send_size(s);
	/* curl says nothing of regular files, which are always readable */
	struct pollfd p = { s->in_fd, POLLIN, 0 };
	if (in && poll(&p, 1, 0) > 0)
		return in_step(s);
	return 0;
}

/* Until the connection is over, or nothing more is wanted of it. */
static int pump(struct stream *s, int *transfer)
{
	CURLM *multi = df_http_multi(s->http);
	bool done = false;
	int err = 0;

	*transfer = 0;
	while (!err && !done) {
		int running, left;
		CURLMsg *m;
		if (curl_multi_perform(multi, &running))
			return -EIO;
		while ((m = curl_multi_info_read(multi, &left))) {
			if (m->msg != CURLMSG_DONE)
				continue;
			if (m->easy_handle == s->easy) {
				*transfer = df_http_error(m->data.result);
				done = true;
			} else if (m->easy_handle == s->in_easy) {
				in_done(s, m->data.result);
			}
		}
		if (s->ended || (s->x->background && s->started))
			done = true;
		if (!done)
			err = wait_step(s);
	}
	return err;
}

static int stream_once(struct stream *s, bool resume, int *transfer)
{
	DF_FREE char *url = df_e2b_port_url(s->e, s->sb, DF_ENVD_PORT,
					    resume ? "/process.Process/Connect"
						   : "/process.Process/Start");
	struct curl_slist *l = df_e2b_headers(s->sb, DF_ENVD_PORT, s->x->user);
	struct df_buf body;

	df_buf_init(&body, 0);
	int err = df_envelope_put(
		&body, resume ? json_pack("{s:o}", "process", select_process(s))
			      : start_body(s));
	l = df_header(l, "Content-Type", "application/connect+json");
	l = df_header(l, "Connect-Protocol-Version", "1");
	l = df_header(l, "Keepalive-Ping-Interval", KEEPALIVE);
	df_envelopes_init(&s->env, on_envelope, s);
	df_resp_init(&s->resp);
	s->code[0] = s->message[0] = 0;
	s->err = 0;
	s->easy = df_http_easy(s->http, l);
	if (!err && (!url || !s->easy))
		err = -ENOMEM;
	if (!err) {
		df_http_once(s->easy);
		curl_easy_setopt(s->easy, CURLOPT_URL, url);
		curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_bytes);
		curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
		curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)body.len);
		curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, body.data);
		curl_multi_add_handle(df_http_multi(s->http), s->easy);
		err = pump(s, transfer);
		curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE,
				  &s->resp.status);
		curl_multi_remove_handle(df_http_multi(s->http), s->easy);
	}
	curl_easy_cleanup(s->easy);
	s->easy = NULL;
	curl_slist_free_all(l);
	df_buf_release(&body);
	df_envelopes_release(&s->env);
	return err;
}

enum next { NEXT_DONE, NEXT_AGAIN, NEXT_RESUME, NEXT_START, NEXT_FAIL };

/* An error envelope: who said no, and whether it is worth another try. */
static enum next judge_error(struct stream *s, bool resume, int attempt,
			     int *err)
{
	if (!strcmp(s->code, "deadline_exceeded")) {
		s->end->status = 124;
		return NEXT_DONE;
	}
	if (resume && !strcmp(s->code, "not_found")) {
		if (!s->started && attempt < 3)
			return NEXT_START; /* it never was: the tag proves it */
		df_log_error("the connection was cut, and the sandbox no "
			     "longer knows the command: its status is lost");
		*err = -EIO;
		return NEXT_FAIL;
	}
	if (!strcmp(s->code, "unavailable") && attempt < RESUME_TRIES)
		return s->started ? NEXT_RESUME : NEXT_AGAIN;
	df_log_error("the sandbox refused the command: %s (%s)", s->message,
		     s->code);
	*err = !strcmp(s->code, "unauthenticated") ||
			       !strcmp(s->code, "invalid_argument")
		       ? -EINVAL
		       : -EIO;
	return NEXT_FAIL;
}

static enum next judge(struct stream *s, bool resume, int transfer, int attempt,
		       int *err)
{
	long status = s->resp.status;

	*err = 0;
	if (s->ended || (s->x->background && s->started))
		return NEXT_DONE;
	if (s->err) {
		*err = s->err == -EPROTO
			       ? df_fail(s->err, "the sandbox's stream")
			       : s->err;
		return NEXT_FAIL;
	}
	if (s->code[0])
		return judge_error(s, resume, attempt, err);
	if (status && status != 200) {
		if (df_e2b_again(s->sb, (int)status, attempt))
			return resume ? NEXT_RESUME : NEXT_AGAIN;
		*err = df_e2b_fail((int)status, &s->resp, "exec");
		if (status == 502 || status == 404)
			*err = -ENOENT;
		return NEXT_FAIL;
	}
	if (attempt >= RESUME_TRIES || transfer == -ECONNREFUSED) {
		*err = df_e2b_fail(transfer ? transfer : -ECONNRESET, NULL,
				   "connection to the sandbox");
		return NEXT_FAIL;
	}
	if (transfer == DF_EOFFLINE && !s->started && !resume)
		return NEXT_AGAIN; /* nothing was sent */
	df_log_debug("stream cut: taking it up again");
	s->end->lost_output |= s->started;
	return NEXT_RESUME;
}

static int run_stream(struct stream *s)
{
	bool resume = false;
	int transfer;

	for (int attempt = 0;; attempt++) {
		int err = stream_once(s, resume, &transfer);
		enum next next = NEXT_FAIL;
		if (!err)
			next = judge(s, resume, transfer, attempt, &err);
		df_resp_release(&s->resp);
		if (next == NEXT_DONE)
			return 0;
		if (next == NEXT_FAIL)
			return err;
		resume = next == NEXT_RESUME;
		/* exec answers signals itself, so they do not end this */
		poll(NULL, 0, 100 << DF_MIN(attempt, 5));
		if (!s->watch.forward && df_intr_now())
			return -EINTR;
	}
}

int df_e2b_exec(struct df_prov *p, struct df_sb *sb, const struct df_exec *x,
		struct df_exec_end *end)
{
	struct stream s = { .e = (struct df_e2b *)p,
			    .sb = sb,
			    .x = x,
			    .end = end,
			    .in_fd = x->in_fd };
	bool own = s.e->streaming;
	uint8_t r[12];
	int err = 0;

	*end = (struct df_exec_end){ 0 };
	df_random(r, sizeof(r));
	memcpy(s.tag, "deeplake-", 9);
	df_hex(r, sizeof(r), s.tag + 9);
	s.http = s.e->streams;
	if (own)
		err = df_http_new(&s.http);
	if (err)
		return err;
	s.e->streaming = true;
	df_buf_init(&s.in_body, 0);
	df_watch_init(&s.watch, x->timeout_s, x->forward_signals);
	err = run_stream(&s);
	if (err == -EINTR && s.started) {
		df_intr_hold(1);
		send_signal(&s, SIGTERM);
		df_intr_hold(-1);
	}
	in_free(&s);
	df_buf_release(&s.in_body);
	if (own)
		df_http_free(s.http);
	else
		s.e->streaming = false;
	return err;
}
