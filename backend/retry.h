/*
 * retry.h - what an answer means, and when to ask again.
 *
 * df_verdict() is the one place that tells applied from not applied from
 * unknown, and permanent from transient.  struct df_retry paces the attempts
 * of one server: capped, jittered back-off for each request, and one hold for
 * all of them where the server asked for it (Retry-After).
 *
 * Threads: everything from any thread.  Locks: none held by the caller.
 */
#ifndef DF_BACKEND_RETRY_H
#define DF_BACKEND_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/http.h"
#include "base/lock.h"

enum df_fate {
	DF_FATE_UNKNOWN = 0, /* applied or not: nobody can say */
	DF_FATE_APPLIED,
	DF_FATE_NOT_APPLIED,
};

struct df_verdict {
	enum df_fate fate;
	bool again;      /* transient: worth another attempt */
	int err;         /* for the caller when no attempt follows; 0 = done */
	const char *why; /* static text for people: "rate limited" */
};

/* Judge an answer.  Only looks at it. */
struct df_verdict df_verdict(const struct df_http_answer *a);

struct df_retry {
	struct df_lock lock;
	struct df_cond changed; /* hold_ns or stopped */
	int64_t hold_ns;        /* lock; nobody sends before; df_deadline_ms */
	bool stopped;           /* lock */
};

void df_retry_init(struct df_retry *r);
void df_retry_release(struct df_retry *r);
/* Wait until an attempt may be made.  0; -ETIMEDOUT when that would be after
 * deadline_ns (returns at once then); -ECANCELED after stop. */
int df_retry_gate(struct df_retry *r, int64_t deadline_ns);
/* After attempt number `attempt` (from 1) got a transient answer: note a
 * Retry-After for all, and wait.  Errors as df_retry_gate. */
int df_retry_wait(struct df_retry *r, unsigned attempt,
		  const struct df_http_answer *a, int64_t deadline_ns);
void df_retry_stop(struct df_retry *r);

#endif
