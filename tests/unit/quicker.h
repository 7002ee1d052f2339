/*
 * quicker.h - is one way of doing a thing so many times as quick as another?
 *
 * Processor time of this thread, best of five each, taken in turn: other work
 * on the machine does not count.  Sanitizers and valgrind change the ratio, so
 * there both are run and not compared.
 */
#ifndef DF_TEST_QUICKER_H
#define DF_TEST_QUICKER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static inline double quicker_run(void (*f)(void *), void *arg, double best)
{
	struct timespec a, b;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	f(arg);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	double s = (double)(b.tv_sec - a.tv_sec) +
		   (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	return s < best ? s : best;
}

/* Fails unless ours(arg) is at least `times` as quick as theirs(arg). */
static inline void check_quicker(const char *what, void (*ours)(void *),
				 void (*theirs)(void *), void *arg,
				 double times)
{
	double a = 1e9, b = 1e9;

	for (int i = 0; i < 5; i++) {
		a = quicker_run(ours, arg, a);
		b = quicker_run(theirs, arg, b);
	}
	printf("%s: %.1f ms, jansson %.1f ms, %.1f times as quick\n", what,
	       a * 1e3, b * 1e3, b / a);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	if (!getenv("DF_VALGRIND") && b < a * times)
		fail_msg("%s: not %.1f times as quick", what, times);
#endif
}

#endif
