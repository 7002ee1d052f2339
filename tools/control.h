/*
 * control.h - the daemon's end of the control socket: CACHE_DIR/control, 0600.
 *
 * Commands (call.h has the form of the lines):
 *	ping                   ok, pid, path, table, state
 *	status                 ok and everything that `deeplake status` shows
 *	flush [timeout_ms]     until all that was answered is in the table;
 *	                       umount_timeout if none is named; progress
 *	                       lines
 *	wait                   until the daemon is about to end: ok and whether
 *	                       all is remote; progress lines
 *	handover               end now if the mount has gone already: the next
 *	                       daemon of this cache sends the rest
 *	warm path              fetch a tree into the cache; progress lines
 *	clear                  forget the errors that status lists
 *	log level              error, warn, info, debug or trace
 *
 * Each connection has a thread, at most DF_CONTROL_CLIENTS at a time.
 * Threads: _start, _set_state, _finish and _stop from one thread.
 */
#ifndef DF_TOOLS_CONTROL_H
#define DF_TOOLS_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct df_vol;
struct df_control;

#define DF_CONTROL_CLIENTS 32

enum df_control_state {
	DF_STATE_STARTING = 0,
	DF_STATE_MOUNTED,
	DF_STATE_DRAINING, /* the mount has gone, the rest is being sent */
	DF_STATE_ENDED,
};

/* Strings and volume are not owned and must outlive the control. */
struct df_control_conf {
	struct df_vol *vol;
	const char *cache_dir;
	const char *path; /* the mount point */
	const char *table;
	const char *subdir; /* or NULL */
	const char *workspace;
	const char *server;
	int64_t umount_timeout_ms; /* of a flush that names none */
};

int df_control_start(const struct df_control_conf *conf,
		     struct df_control **out);
void df_control_set_state(struct df_control *c, enum df_control_state state);
/* Somebody asked for a handover (only ever true while draining). */
bool df_control_handover(struct df_control *c);
/* State ENDED; `remote`: all of it is in the table.  Answers who waits. */
void df_control_finish(struct df_control *c, bool remote);
/* End all connections, join the threads, free.  NULL is fine. */
void df_control_stop(struct df_control *c);

#endif
