/*
 * err.h - the one error convention: 0 or -errno, and who may log.
 *
 * A function returns 0 (or a count > 0) or -errno.  df_fail() logs once, where
 * the context is, and returns the code; everyone above passes it on silently.
 * Private meanings have a named alias here and nowhere else.
 *
 * Threads: all functions may be called from any thread.
 */
#ifndef DF_BASE_ERR_H
#define DF_BASE_ERR_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

/* The answer comes later, through the completion the caller passed in. */
#define DF_EPARKED (-EINPROGRESS)
/* Bytes or rows are there but are not what was stored. */
#define DF_ECORRUPT (-EBADMSG)
/* A format written by a newer program; nothing was touched. */
#define DF_EFORMAT (-EPROTONOSUPPORT)
/* The remote side cannot be reached now; healing is a matter of time. */
#define DF_EOFFLINE (-EHOSTUNREACH)
/* Credentials refused; will not heal by itself. */
#define DF_EAUTH (-EACCES)

/* Exit statuses of every command (documented in the man pages). */
enum df_exit {
	DF_EXIT_OK = 0,
	DF_EXIT_FAILED = 1,      /* failed, nothing changed */
	DF_EXIT_USAGE = 2,       /* wrong arguments */
	DF_EXIT_CREDENTIALS = 3, /* no, bad or refused credentials */
	DF_EXIT_UNREACHABLE = 4, /* the server cannot be reached */
	DF_EXIT_NOT_REMOTE = 5,  /* not everything is remote yet */
};

/* Log "MESSAGE: strerror(err)" at error level, return err (which is < 0). */
int df_fail(int err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold));

/* The text of -errno, aliases included; static storage, thread-safe. */
const char *df_strerror(int err);

/* Cleanup attributes: DF_FREE char *p = NULL; */
void df_cleanup_free(void *p);
void df_cleanup_fd(int *fd);
#define DF_FREE __attribute__((cleanup(df_cleanup_free)))
#define DF_CLOSE __attribute__((cleanup(df_cleanup_fd)))

#define DF_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define DF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define DF_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
