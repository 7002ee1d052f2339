/*
 * fault.h - named points at which tests make the program fail or die.
 *
 *	int err = df_fault("seg.pwrite");
 *	if (err < 0)
 *		return err;
 *
 * Only builds with -DDF_FAULT (make FAULT=1) have points; elsewhere df_fault()
 * is the constant 0 and costs nothing.  A plan comes from the environment,
 *
 *	DF_FAULT="NAME:N:WHAT[,NAME:N:WHAT...]"    at most 16
 *
 * or from df_fault_set().  The N-th call (from 1) of point NAME does WHAT:
 * an errno name ("EIO", "ENOSPC", ...) or number, "short" (the point does half
 * of its work, where it is a read or a write), or "kill" (SIGKILL to this
 * process, for crash tests).  "N+" means the N-th and every later call.
 * "set" makes
 * df_fault_value(NAME, ...) answer N.
 * A malformed DF_FAULT is said on stderr and ends the process: a fault test
 * that injects nothing must not pass.  DF_FAULT=list prints the name of every
 * point in the program and ends it.
 *
 * Threads: all functions may be called from any thread.
 */
#ifndef DF_BASE_FAULT_H
#define DF_BASE_FAULT_H

#include <stdint.h>

#define DF_FAULT_SHORT 1 /* do half of it */

#ifdef DF_FAULT

/* A point's name as a value, for functions that are told which point they are;
 * it is in the list. */
#define DF_FAULT_POINT(name)                                                  \
	__extension__({                                                       \
		static const char *const point_                               \
			__attribute__((section("df_points"), used)) = (name); \
		point_;                                                       \
	})
/* 0: go on; < 0: fail with this -errno; DF_FAULT_SHORT. */
#define df_fault(name) df_fault_at(DF_FAULT_POINT(name))
int df_fault_at(const char *point);
/* What a test set in the place of a constant. */
uint64_t df_fault_value(const char *name, uint64_t normal);
/* Replace the plan; NULL or "" clears it.  Counts start anew.  0 or -EINVAL
 * (said on stderr; the plan is then empty). */
int df_fault_set(const char *plan);
/* How many faults the plan has injected so far. */
unsigned df_fault_fired(void);
/* Calls of point name since the plan was set, if the plan names it; else 0 */
unsigned df_fault_calls(const char *name);

#else

#define DF_FAULT_POINT(name) (name)
#define df_fault(name) 0
static inline int df_fault_at(const char *point)
{
	(void)point;
	return 0;
}
static inline uint64_t df_fault_value(const char *name, uint64_t normal)
{
	(void)name;
	return normal;
}

#endif
#endif
