/*
 * planted.c - one fault of each kind that a sanitizer is to find.
 *
 *	planted address|undefined|leak|thread
 *
 * tests/sanitize.py runs it before anything else: a run whose reports would go
 * nowhere must not count as one without reports.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int shared;

static void *count(void *arg)
{
	for (int i = 0; i < 100000; i++)
		shared++;
	return arg;
}

static void race(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, count, NULL))
		abort();
	count(NULL);
	pthread_join(t, NULL);
}

static void use_freed(volatile size_t at)
{
	char *volatile p = calloc(1, 16), *volatile q = p;

	free(p);
	printf("%d\n", q[at]);
}

static void overflow(volatile int n)
{
	printf("%d\n", n + 0x7fffffff);
}

/* Several: the last one's address may still lie about on the stack. */
static void leak(volatile size_t n)
{
	for (int i = 0; i < 10; i++) {
		char *volatile p = malloc(n);
		printf("%d\n", p != NULL);
	}
}

int main(int argc, char **argv)
{
	const char *kind = argc == 2 ? argv[1] : "";

	if (strcmp(kind, "address") == 0)
		use_freed(8);
	else if (strcmp(kind, "undefined") == 0)
		overflow(1);
	else if (strcmp(kind, "leak") == 0)
		leak(100);
	else if (strcmp(kind, "thread") == 0)
		race();
	else
		return 2;
	return 0;
}
