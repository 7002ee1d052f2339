/*
 * intr.h - SIGINT, SIGTERM, SIGHUP and SIGWINCH, as something to poll.
 *
 * The handlers note the signal and write a byte into a pipe; nothing else
 * happens in them.  While "held" (cleaning up) interrupts are noted but
 * df_intr_now() says no, so that a Ctrl-C cannot cut a flush short.
 */
#ifndef DF_SANDBOX_INTR_H
#define DF_SANDBOX_INTR_H

#include <stdbool.h>

/* Install the handlers; SIGPIPE is ignored.  0 or -errno. */
int df_intr_init(void);
/* A descriptor that is readable once a signal came since df_intr_drain(). */
int df_intr_fd(void);
void df_intr_drain(void);
/* The first interrupting signal since df_intr_take(), or 0; 0 while held. */
int df_intr_now(void);
/* Same, and forget it. */
int df_intr_take(void);
/* The terminal's size changed since the last call. */
bool df_intr_winch(void);
/* Nested; -1 ends what +1 began. */
void df_intr_hold(int by);
/* Default actions again, in a child that execs or has its own life. */
void df_intr_child(void);
/* Sleep unless interrupted: 0 or -EINTR. */
int df_intr_sleep_ms(int ms);

#endif
