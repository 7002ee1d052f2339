/*
 * sanitize.c - where the programs of a sanitized build say what they found.
 *
 * Linked into all of them, so that a report is kept whatever became of the
 * process's environment and stderr (a daemon has neither): each is a file
 * DF_SAN_REPORTS/san.PID.  tests/mount/harness.py fails the test in which one
 * appears, tests/sanitize.py the whole run.
 *
 * Suppressions: only for what others' libraries do, each with its reason.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SAN_FILE DF_SAN_REPORTS "/san"

/* The sanitizers' run-time libraries look for these names. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
void __ubsan_on_report(void);

const char *__asan_default_options(void)
{
	return "log_path=" SAN_FILE;
}

const char *__tsan_default_options(void)
{
	return "log_path=" SAN_FILE ":second_deadlock_stack=1";
}

/* gcc's libubsan knows log_path and writes to stderr all the same.  This comes
 * before it writes, and the process ends afterwards. */
void __ubsan_on_report(void)
{
	char name[sizeof(SAN_FILE) + 32];

	snprintf(name, sizeof(name), SAN_FILE ".%d", (int)getpid());
	int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd >= 0)
		dup2(fd, STDERR_FILENO);
}
