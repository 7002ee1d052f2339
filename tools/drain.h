/*
 * drain.h - wait until everything is in the table.
 */
#ifndef DF_TOOLS_DRAIN_H
#define DF_TOOLS_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

struct df_vol;

/*
 * Block until the table holds all that was answered so far: 0, -ETIMEDOUT
 * after timeout_ms, -EINTR when tick said so, or what kept the volume from
 * sending.  tick (may be NULL) runs on this thread five times a second, and
 * returns false to give up.
 */
int df_drain(struct df_vol *v, int64_t timeout_ms, bool (*tick)(void *arg),
	     void *arg);

#endif
