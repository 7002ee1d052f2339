/*
 * log.h - error, warn, info, debug, and trace by room.
 *
 * Goes to stderr until df_log_open() names a file or syslog.  Never pass a
 * token, a signed URL or file content.  Thread-safe; one write(2) a line.
 */
#ifndef DF_BASE_LOG_H
#define DF_BASE_LOG_H

#include <stdarg.h>

enum df_log_level {
	DF_LOG_ERROR = 0,
	DF_LOG_WARN,
	DF_LOG_INFO,
	DF_LOG_DEBUG,
	DF_LOG_TRACE,
};

/* Where to: NULL = stderr, "syslog", or a file's path (appended, 0600).
 * 0 or -errno; on error the old target stays. */
int df_log_open(const char *target, const char *ident);
/* Show messages up to this level; the default is DF_LOG_INFO. */
void df_log_set_level(enum df_log_level level);
enum df_log_level df_log_level(void);
/* Prefix before each stderr line, e.g. "deeplake: "; NULL = none. */
void df_log_set_prefix(const char *prefix);
/* The last error and when (CLOCK_REALTIME s), for status; "" if none. */
void df_log_last_error(char *text, unsigned long size, long *when_s);

void df_log(enum df_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void df_vlog(enum df_log_level level, const char *fmt, va_list ap);

#define df_log_error(...) df_log(DF_LOG_ERROR, __VA_ARGS__)
#define df_log_warn(...) df_log(DF_LOG_WARN, __VA_ARGS__)
#define df_log_info(...) df_log(DF_LOG_INFO, __VA_ARGS__)
#define df_log_debug(...)                                  \
	do {                                               \
		if (df_log_level() >= DF_LOG_DEBUG)        \
			df_log(DF_LOG_DEBUG, __VA_ARGS__); \
	} while (0)

#endif
