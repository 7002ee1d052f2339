/*
 * watch.h - what is done to a remote process by the clock and by signals.
 *
 * Both providers' exec loops ask df_watch_next() what to send now: a signal
 * of ours, forwarded (INT, TERM; the third one becomes KILL), or at the end of
 * the time TERM and, five seconds later, KILL.
 */
#ifndef DF_SANDBOX_WATCH_H
#define DF_SANDBOX_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct df_watch {
	int64_t term_ns; /* deadline of the process; 0 = none */
	int64_t kill_ns; /* after TERM; 0 = not sent yet */
	int64_t end_ns;  /* after KILL: give up waiting */
	int forwarded;   /* signals handed on */
	bool forward;
	bool timed_out;
};

void df_watch_init(struct df_watch *w, long timeout_s, bool forward);
/* The signal to send now, or 0; -EINTR = leave (signals are not forwarded),
 * -ETIMEDOUT = it did not even die of KILL. */
int df_watch_next(struct df_watch *w);
/* How long poll may wait, at most max_ms. */
int df_watch_wait_ms(const struct df_watch *w, int max_ms);
/* A wait status as a shell shows it, 124 after a timeout. */
int df_watch_status(const struct df_watch *w, int code, int sig);

#endif
