/* connect.c - see connect.h. */
#include "tools/sandbox/connect.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"

#define HEAD 5
#define FLAG_COMPRESSED 1
#define FLAG_END 2

void df_envelopes_init(struct df_envelopes *e, df_envelope_fn *on, void *arg)
{
	*e = (struct df_envelopes){ .on = on, .arg = arg };
	df_buf_init(&e->buf, HEAD + DF_ENVELOPE_MAX);
}

void df_envelopes_release(struct df_envelopes *e)
{
	df_buf_release(&e->buf);
}

static size_t envelope_len(const uint8_t *h)
{
	return (size_t)h[1] << 24 | (size_t)h[2] << 16 | (size_t)h[3] << 8 |
	       h[4];
}

static int envelope_done(struct df_envelopes *e)
{
	size_t len = e->buf.len - HEAD;
	uint8_t flags = e->buf.data[0];

	if (flags & FLAG_COMPRESSED)
		return -EPROTO; /* never asked for */
	json_t *v = json_loadb((const char *)e->buf.data + HEAD, len, 0, NULL);
	if (!json_is_object(v)) {
		json_decref(v);
		return -EPROTO;
	}
	e->count++;
	e->ended = flags & FLAG_END;
	int err = e->on(e->arg, e->ended, v);
	json_decref(v);
	df_buf_reset(&e->buf);
	return err;
}

int df_envelopes_feed(struct df_envelopes *e, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len) {
		if (e->ended)
			return -EPROTO;
		size_t want = HEAD;
		if (e->buf.len >= HEAD)
			want += envelope_len(e->buf.data);
		size_t n = DF_MIN(want - e->buf.len, len);
		df_buf_put(&e->buf, at, n);
		if (e->buf.err)
			return e->buf.err;
		at += n;
		len -= n;
		if (e->buf.len < HEAD)
			continue;
		size_t body = envelope_len(e->buf.data);
		if (body > DF_ENVELOPE_MAX)
			return -EPROTO;
		int err = e->buf.len == HEAD + body ? envelope_done(e) : 0;
		if (err)
			return err;
	}
	return 0;
}

int df_envelope_put(struct df_buf *b, json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	uint8_t head[HEAD] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
			       (uint8_t)(len >> 8), (uint8_t)len };

	json_decref(o);
	if (!text)
		return -ENOMEM;
	df_buf_put(b, head, HEAD);
	df_buf_put(b, text, len);
	free(text);
	return b->err;
}

int df_signal_number(const char *status)
{
	/* Go's names (runtime/os) beside the C names that mocks use */
	static const struct {
		const char *name;
		int sig;
	} names[] = {
		{ "hangup", SIGHUP },
		{ "interrupt", SIGINT },
		{ "quit", SIGQUIT },
		{ "illegal instruction", SIGILL },
		{ "trace/breakpoint trap", SIGTRAP },
		{ "aborted", SIGABRT },
		{ "bus error", SIGBUS },
		{ "floating point exception", SIGFPE },
		{ "killed", SIGKILL },
		{ "user defined signal 1", SIGUSR1 },
		{ "segmentation fault", SIGSEGV },
		{ "user defined signal 2", SIGUSR2 },
		{ "broken pipe", SIGPIPE },
		{ "alarm clock", SIGALRM },
		{ "terminated", SIGTERM },
		{ "CPU time limit exceeded", SIGXCPU },
		{ "file size limit exceeded", SIGXFSZ },
		{ "bad system call", SIGSYS },
	};

	if (!status || strncmp(status, "signal: ", 8))
		return 0;
	status += 8;
	size_t len = strcspn(status, "(");
	while (len && status[len - 1] == ' ')
		len--; /* "segmentation fault (core dumped)" */
	for (size_t i = 0; i < DF_ARRAY_LEN(names); i++)
		if (strlen(names[i].name) == len &&
		    !strncasecmp(status, names[i].name, len))
			return names[i].sig;
	for (int s = 1; s < 32; s++) {
		const char *abbrev = sigabbrev_np(s);
		if (abbrev && !strncmp(status, "SIG", 3) &&
		    !strcmp(status + 3, abbrev))
			return s;
	}
	if (!strncmp(status, "signal ", 7))
		return (int)strtol(status + 7, NULL, 10);
	return SIGKILL; /* one that we do not know by name: still a signal */
}

static int event_data(const json_t *data, struct df_event *ev)
{
	static const struct {
		const char *key;
		int stream;
	} keys[] = { { "stdout", 1 }, { "stderr", 2 }, { "pty", 1 } };

	for (size_t i = 0; i < DF_ARRAY_LEN(keys); i++) {
		const json_t *v = json_object_get(data, keys[i].key);
		if (!json_is_string(v))
			continue;
		ev->stream = keys[i].stream;
		if (df_b64_get(&ev->data, json_string_value(v),
			       json_string_length(v)))
			return -EPROTO;
		return 0;
	}
	return 0;
}

int df_event_parse(const json_t *value, struct df_event *ev)
{
	const json_t *event = json_object_get(value, "event");
	const json_t *start = json_object_get(event, "start");
	const json_t *end = json_object_get(event, "end");

	*ev = (struct df_event){ 0 };
	df_buf_init(&ev->data, DF_ENVELOPE_MAX);
	if (json_is_object(start)) {
		ev->start = true;
		ev->pid =
			(long)json_integer_value(json_object_get(start, "pid"));
	}
	if (json_is_object(end)) {
		ev->end = true;
		ev->exited = json_is_true(json_object_get(end, "exited"));
		ev->code = (int)json_integer_value(
			json_object_get(end, "exitCode"));
		if (!ev->exited || ev->code < 0)
			ev->sig = df_signal_number(json_string_value(
				json_object_get(end, "status")));
		if (ev->code < 0)
			ev->code = ev->sig ? 0 : 255;
	}
	return event_data(json_object_get(event, "data"), ev);
}
