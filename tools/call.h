/*
 * call.h - asking a daemon: the client's end of the control socket.
 *
 * A request is one line of JSON {"cmd": ...}; the answer is any number of
 * lines {"progress": {...}} and one last line {"ok": true|false, ...}, with
 * "error" in words when it is false.  control.h has the daemon's end.
 *
 * Errors: 0 or -errno, not logged.  -ECONNREFUSED, -ENOENT: no daemon listens
 * there.  -EPIPE: it ended before it answered.
 * Threads: one connection belongs to one thread.
 */
#ifndef DF_TOOLS_CALL_H
#define DF_TOOLS_CALL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DF_CONTROL_NAME "control"
#define DF_CONTROL_LINE_MAX (1 << 20)

struct df_call {
	int fd;
	pid_t pid; /* the daemon, as this process sees it; 0: it cannot */
	char *buf; /* owned */
	size_t len;
};

/* Connect to the daemon whose cache is in cache_dir. */
int df_call_open(const char *cache_dir, struct df_call *out);
void df_call_close(struct df_call *c);

/* False from it ends the waiting: -ECANCELED. */
typedef bool df_call_progress(void *arg, const json_t *progress);
/* Send a request (stolen). */
int df_call_send(struct df_call *c, json_t *request);
/*
 * Wait up to timeout_ms (< 0: for ever) for the last line: *answer is the
 * caller's to json_decref.  A new line renews the time.
 *   -ETIMEDOUT  nothing came
 */
int df_call_read(struct df_call *c, int64_t timeout_ms,
		 df_call_progress *progress, void *arg, json_t **answer);
/* Wait until the daemon has closed the connection and its process is gone:
 * 0 or -ETIMEDOUT. */
int df_call_wait_end(struct df_call *c, int64_t timeout_ms);

/* Bind a listening socket (0600) in dir / connect to it: by way of
 * /proc/self/fd, for a path in a sockaddr_un has at most 107 bytes. */
int df_call_listen(const char *dir);

#endif
