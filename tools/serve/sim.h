/*
 * sim.h - the real service's bad days, on purpose (--simulate FILE).
 *
 * FILE is JSON and read again when it changes.  Members of the object (all
 * optional; the man page deeplake-serve(1) has the whole list):
 *
 *	seed                 the dice, so that a run can be repeated
 *	no_feed, no_unique   be like the service: no capabilities; PRIMARY KEY
 *	                     and UNIQUE accepted and not kept, ON CONFLICT refused
 *	max_statement_bytes  longer request bodies are refused with 413
 *	max_parallel         more requests at once get 429
 *	requests_per_s       more are held back to this pace
 *	rules                [{"what": ..., ...}, ...], tried in order
 *	NAME: VALUE          short for a rule {"what": NAME, "value": VALUE}
 *	                     (a number from 0 to 1, where no value is needed,
 *	                     is the probability; true is always)
 *
 * A rule has what, value, probability (1), endpoint, kind, table (log, pack,
 * other), skip (let so many matching requests pass first), count (then meet so
 * many), from_ms and to_ms (since the file was read).
 *
 * Threads: any.
 */
#ifndef DF_SERVE_SIM_H
#define DF_SERVE_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/serve/metric.h"

struct df_sim;

/* What is to happen to one request. */
struct df_sim_plan {
	int64_t latency_ms; /* before anything is done */
	int status;         /* answer this without doing anything; 0 = no */
	int retry_after_s;  /* with status; -1 = no header */
	bool html;          /* with status: a page, not JSON */
	bool drop;          /* close without doing anything */
	int lose;           /* done, then this status; -1 = closed; 0 = no */
	bool forget;        /* acknowledged and not kept */
	bool twice;         /* done two times */
	bool empty;         /* 200 without rows */
	int64_t visible_after_ms; /* done so much later than answered */
	bool no_unique, no_feed;
};

/* 0 or -errno (logged, with what is wrong in the file). */
int df_sim_open(const char *path, struct df_sim **out);
void df_sim_free(struct df_sim *s);
/* s may be NULL: nothing happens.  text is the statement, or "".  in_flight
 * counts this request too. */
void df_sim_plan(struct df_sim *s, enum df_endpoint endpoint, const char *text,
		 size_t text_len, size_t body_len, int in_flight,
		 struct df_sim_plan *plan);
bool df_sim_no_feed(struct df_sim *s);

#endif
