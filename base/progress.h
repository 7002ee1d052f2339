/*
 * progress.h - one line on a terminal that says how far something is.
 *
 * Nothing is shown when stderr is no terminal, nor in the first half second;
 * then the line is renewed at most five times a second, and _stop wipes it and
 * prints the sum if anything had been shown.
 *
 * Threads: one thread uses one df_progress.
 */
#ifndef DF_BASE_PROGRESS_H
#define DF_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct df_progress {
	const char *verb; /* not owned: "sending" */
	int64_t start_ns;
	int64_t next_ns; /* when to draw again */
	uint64_t done, total;
	bool tty, shown;
};

void df_progress_start(struct df_progress *p, const char *verb);
/* total 0 = not known. */
void df_progress_bytes(struct df_progress *p, uint64_t done, uint64_t total);
void df_progress_stop(struct df_progress *p);

/* "1.5 GiB" into out, which is returned; 16 bytes are enough. */
#define DF_SIZE_TEXT 16
const char *df_size_text(uint64_t bytes, char out[DF_SIZE_TEXT]);

#endif
