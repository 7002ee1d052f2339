/*
 * clock.h - every time the product uses, and the clocks behind it.
 *
 * Tests install a clock of their own with df_clock_set(); then nothing in the
 * product sees real time except df_cond_wait_until().  Thread-safe once set.
 */
#ifndef DF_BASE_CLOCK_H
#define DF_BASE_CLOCK_H

#include <stdint.h>

#define DF_NS_PER_MS INT64_C(1000000)
#define DF_NS_PER_S INT64_C(1000000000)

/* The product's times, in milliseconds. */
enum {
	DF_FIRST_FLUSH_MS = 20,       /* first change after a quiet second */
	DF_FLUSH_DELAY_MS = 1000,     /* later changes */
	DF_POLL_MIN_MS = 1000,        /* shortest poll interval */
	DF_IDLE_AFTER_MS = 60000,     /* no request and no foreign row */
	DF_IDLE_POLL_OWN_MS = 10000,  /* idle poll, a server proved ours */
	DF_IDLE_POLL_MS = 30000,      /* idle poll, any other server */
	DF_GAP_MS = 60000,            /* a missing row is skipped after this */
	DF_OVERLAP_MS = 30000,        /* how far a poll looks back */
	DF_RELIST_MS = 300000,        /* list all ids of the log */
	DF_RESEND_MS = 15000,         /* an acknowledged row not seen */
	DF_HELD_MS = 30000,           /* a held file is cut after this */
	DF_LOOK_FIRST_MS = 10000,     /* poll before sending, if older */
	DF_VIEW_ADOPT_MS = 60000,     /* view rows that a dead node left */
	DF_FEED_WAIT_MS = 30000,      /* a feed's wait for a row */
	DF_FEED_WAIT_IDLE_MS = 55000, /* the same, idle: see DF_FOREIGN_MS */
	DF_FOREIGN_MS = 60000,        /* rows that others put in are listed */
	DF_FOREIGN_AGREE_MS = 10000,  /* what two lists agree on counts */
	DF_FOREIGN_OWN_MS = 10000,    /* in use, on a server proved ours */
	DF_FOREIGN_OWN_AGREE_MS = 1000,
	DF_UMOUNT_TIMEOUT_MS = 60000,
};
#define DF_DAY_MS INT64_C(86400000)

/* CLOCK_REALTIME and CLOCK_BOOTTIME (so that a sleep counts) in ns. */
int64_t df_clock_real_ns(void);
int64_t df_clock_mono_ns(void);

struct df_clock_ops {
	int64_t (*real_ns)(void *arg);
	int64_t (*mono_ns)(void *arg);
	void *arg;
};
/* Replace the clocks (tests); NULL = the system's.  ops must stay valid. */
void df_clock_set(const struct df_clock_ops *ops);

/* CLOCK_MONOTONIC for df_cond_wait_until(): now + ms. */
int64_t df_deadline_ms(int64_t ms);

#endif
