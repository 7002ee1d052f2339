/*
 * connect.h - the streaming half of the Connect protocol, and process events.
 *
 * A stream is a sequence of envelopes: one flag byte (bit 1 = end of stream),
 * a big-endian 32-bit length, JSON.  They come in any pieces.  The bytes are
 * a stranger's: bounded, parsed as JSON, never matched as text.
 */
#ifndef DF_SANDBOX_CONNECT_H
#define DF_SANDBOX_CONNECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define DF_ENVELOPE_MAX (8u << 20)

/* Called for each envelope; the value is the parser's.  0 or -errno. */
typedef int df_envelope_fn(void *arg, bool last, json_t *value);

struct df_envelopes {
	struct df_buf buf; /* of the envelope that is not whole yet */
	size_t count;
	bool ended; /* the end-of-stream envelope came */
	df_envelope_fn *on;
	void *arg;
};
void df_envelopes_init(struct df_envelopes *e, df_envelope_fn *on, void *arg);
void df_envelopes_release(struct df_envelopes *e);
/* 0, -EPROTO (compressed, too long, not JSON, bytes after the end), or what
 * `on` returned. */
int df_envelopes_feed(struct df_envelopes *e, const void *data, size_t len);
/* One envelope of a request, appended to b; frees o. */
int df_envelope_put(struct df_buf *b, json_t *o);

/* A process event.  What is absent is 0, false or NULL. */
struct df_event {
	bool start, end, exited;
	long pid;
	int code;           /* of end */
	int sig;            /* of end: killed by it; 0 = none */
	int stream;         /* 1 stdout or pty, 2 stderr: data in `data` */
	struct df_buf data; /* decoded; release */
};
/* 0, or -EPROTO for data that is not base64. */
int df_event_parse(const json_t *value, struct df_event *ev);
/* "signal: killed" -> 9; 0 if it names no signal. */
int df_signal_number(const char *status);

#endif
