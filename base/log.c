/* log.c - see log.h. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = STDERR_FILENO; /* log_mutex; -1 = syslog */
static char log_prefix[64];        /* log_mutex */
static char last_error[512];       /* log_mutex */
static long last_error_s;          /* log_mutex */
static atomic_int log_max = DF_LOG_INFO;

static const int syslog_level[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG,
				    LOG_DEBUG };
static const char *const level_name[] = { "error: ", "warning: ", "",
					  "debug: ", "trace: " };

int df_log_open(const char *target, const char *ident)
{
	int fd = STDERR_FILENO;

	if (target && strcmp(target, "syslog") == 0) {
		openlog(ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
		fd = -1;
	} else if (target) {
		fd = open(target, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
			  0600);
		if (fd < 0)
			return -errno;
	}
	pthread_mutex_lock(&log_mutex);
	if (log_fd > STDERR_FILENO)
		close(log_fd);
	log_fd = fd;
	pthread_mutex_unlock(&log_mutex);
	return 0;
}

void df_log_set_level(enum df_log_level level)
{
	atomic_store(&log_max, (int)level);
}

enum df_log_level df_log_level(void)
{
	return (enum df_log_level)atomic_load_explicit(&log_max,
						       memory_order_relaxed);
}

void df_log_set_prefix(const char *prefix)
{
	pthread_mutex_lock(&log_mutex);
	snprintf(log_prefix, sizeof(log_prefix), "%s", prefix ? prefix : "");
	pthread_mutex_unlock(&log_mutex);
}

void df_log_last_error(char *text, unsigned long size, long *when_s)
{
	pthread_mutex_lock(&log_mutex);
	snprintf(text, size, "%s", last_error);
	*when_s = last_error_s;
	pthread_mutex_unlock(&log_mutex);
}

static int log_stamp(char *out, size_t size)
{
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return (int)n + snprintf(out + n, size - n, ".%03ldZ [%d] ",
				 ts.tv_nsec / 1000000, (int)getpid());
}

void df_vlog(enum df_log_level level, const char *fmt, va_list ap)
{
	char line[2048];
	int at = 0;

	if ((int)level > atomic_load_explicit(&log_max, memory_order_relaxed))
		return;
	int saved = errno;
	pthread_mutex_lock(&log_mutex);
	if (log_fd > STDERR_FILENO)
		at = log_stamp(line, sizeof(line));
	else if (log_fd == STDERR_FILENO)
		at = snprintf(line, sizeof(line), "%s", log_prefix);
	int text = at;
	at += snprintf(line + at, sizeof(line) - (size_t)at, "%s",
		       level_name[level]);
	errno = saved;
	int n = vsnprintf(line + at, sizeof(line) - (size_t)at, fmt, ap);
	at = n < 0 ? at : at + n;
	if (at > (int)sizeof(line) - 2)
		at = (int)sizeof(line) - 2;
	if (level == DF_LOG_ERROR) {
		snprintf(last_error, sizeof(last_error), "%.*s", at - text,
			 line + text);
		last_error_s = (long)time(NULL);
	}
	if (log_fd < 0) {
		syslog(syslog_level[level], "%.*s", at - text, line + text);
	} else {
		line[at++] = '\n';
		if (write(log_fd, line, (size_t)at) < 0)
			at = 0; /* nowhere left to say it */
	}
	pthread_mutex_unlock(&log_mutex);
	errno = saved;
}

void df_log(enum df_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	df_vlog(level, fmt, ap);
	va_end(ap);
}
