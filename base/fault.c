/* fault.c - see fault.h. */
#include "base/fault.h"

#ifdef DF_FAULT

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

#define FAULT_KILL (-100000) /* no errno is that large */
#define FAULT_SET (-100001)

struct fault {
	char name[48];
	unsigned at;    /* the call that fails, from 1 */
	unsigned calls; /* so far */
	bool all_later;
	int what; /* -errno, DF_FAULT_SHORT, FAULT_KILL or FAULT_SET */
};

static pthread_mutex_t fault_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct fault fault_plan[16]; /* fault_mutex */
static unsigned fault_n;            /* fault_mutex */
static unsigned fault_fired;        /* fault_mutex */
static bool fault_env_read;         /* fault_mutex */

static int parse_what(const char *text, int *what)
{
	static const struct {
		const char *name;
		int what;
	} names[] = {
		{ "EIO", -EIO },
		{ "ENOSPC", -ENOSPC },
		{ "EDQUOT", -EDQUOT },
		{ "ENOMEM", -ENOMEM },
		{ "EMFILE", -EMFILE },
		{ "ENFILE", -ENFILE },
		{ "EINTR", -EINTR },
		{ "EAGAIN", -EAGAIN },
		{ "EROFS", -EROFS },
		{ "EACCES", -EACCES },
		{ "ENOENT", -ENOENT },
		{ "EOPNOTSUPP", -EOPNOTSUPP },
		{ "short", DF_FAULT_SHORT },
		{ "kill", FAULT_KILL },
		{ "set", FAULT_SET },
	};

	for (size_t i = 0; i < DF_ARRAY_LEN(names); i++) {
		if (!strcmp(text, names[i].name)) {
			*what = names[i].what;
			return 0;
		}
	}
	char *end;
	long x = strtol(text, &end, 10);
	if (end == text || *end || x < 1 || x > 4095)
		return -EINVAL;
	*what = (int)-x;
	return 0;
}

/* One NAME:N:WHAT; text is cut up. */
static int parse_one(char *text, struct fault *f)
{
	char *n = strchr(text, ':');
	char *what = n ? strchr(n + 1, ':') : NULL;
	char *end;

	if (!what)
		return -EINVAL;
	*n++ = 0;
	*what++ = 0;
	unsigned long at = strtoul(n, &end, 10);
	*f = (struct fault){ .at = (unsigned)at, .all_later = *end == '+' };
	if (end == n || at < 1 || at > 1000000000 ||
	    strcmp(end, f->all_later ? "+" : "") != 0)
		return -EINVAL;
	if (!*text || strlen(text) >= sizeof(f->name))
		return -EINVAL;
	memcpy(f->name, text, strlen(text) + 1);
	return parse_what(what, &f->what);
}

static int set_locked(const char *plan)
{
	char copy[1024];
	char *save = NULL;

	fault_n = fault_fired = 0;
	if (!plan || !*plan)
		return 0;
	if (strlen(plan) >= sizeof(copy))
		goto bad;
	memcpy(copy, plan, strlen(plan) + 1);
	for (char *p = strtok_r(copy, ",", &save); p;
	     p = strtok_r(NULL, ",", &save)) {
		if (fault_n == DF_ARRAY_LEN(fault_plan) ||
		    parse_one(p, &fault_plan[fault_n]))
			goto bad;
		fault_n++;
	}
	return 0;
bad:
	fault_n = 0;
	fprintf(stderr,
		"fault plan \"%s\" is not NAME:N:WHAT[,...]; see "
		"base/fault.h\n",
		plan);
	return -EINVAL;
}

static void read_env_locked(void)
{
	if (fault_env_read)
		return;
	fault_env_read = true;
	if (set_locked(getenv("DF_FAULT")))
		_exit(DF_EXIT_USAGE);
}

int df_fault_set(const char *plan)
{
	pthread_mutex_lock(&fault_mutex);
	fault_env_read = true;
	int err = set_locked(plan);
	pthread_mutex_unlock(&fault_mutex);
	return err;
}

/* The linker's table of the names that DF_FAULT_POINT took. */
extern const char *const __start_df_points[] __attribute__((weak));
extern const char *const __stop_df_points[] __attribute__((weak));

static int name_cmp(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static __attribute__((constructor)) void list_points(void)
{
	const char *env = getenv("DF_FAULT");
	size_t n = (size_t)(__stop_df_points - __start_df_points);

	if (!env || strcmp(env, "list") != 0 || !n)
		return;
	const char **names = calloc(n, sizeof(*names));
	if (!names)
		_exit(DF_EXIT_USAGE);
	memcpy(names, __start_df_points, n * sizeof(*names));
	qsort(names, n, sizeof(*names), name_cmp);
	for (size_t i = 0; i < n; i++)
		if (!i || strcmp(names[i - 1], names[i]) != 0)
			puts(names[i]);
	fflush(stdout);
	_exit(0);
}

uint64_t df_fault_value(const char *name, uint64_t normal)
{
	pthread_mutex_lock(&fault_mutex);
	read_env_locked();
	for (unsigned i = 0; i < fault_n; i++)
		if (fault_plan[i].what == FAULT_SET &&
		    !strcmp(fault_plan[i].name, name))
			normal = fault_plan[i].at;
	pthread_mutex_unlock(&fault_mutex);
	return normal;
}

int df_fault_at(const char *name)
{
	int what = 0;

	pthread_mutex_lock(&fault_mutex);
	read_env_locked();
	for (unsigned i = 0; i < fault_n; i++) {
		struct fault *f = &fault_plan[i];
		if (f->what == FAULT_SET || strcmp(f->name, name) != 0)
			continue;
		f->calls++;
		if (what ||
		    (f->calls != f->at && !(f->all_later && f->calls > f->at)))
			continue;
		what = f->what;
		fault_fired++;
	}
	pthread_mutex_unlock(&fault_mutex);
	if (what == FAULT_KILL) {
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	if (what)
		df_log_info("injected at %s: %d", name, what);
	return what;
}

unsigned df_fault_fired(void)
{
	pthread_mutex_lock(&fault_mutex);
	unsigned n = fault_fired;
	pthread_mutex_unlock(&fault_mutex);
	return n;
}

unsigned df_fault_calls(const char *name)
{
	unsigned n = 0;

	pthread_mutex_lock(&fault_mutex);
	for (unsigned i = 0; i < fault_n && !n; i++)
		if (!strcmp(fault_plan[i].name, name))
			n = fault_plan[i].calls;
	pthread_mutex_unlock(&fault_mutex);
	return n;
}

#endif
