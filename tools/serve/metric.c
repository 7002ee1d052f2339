/* metric.c - see metric.h. */
#include "tools/serve/metric.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/lock.h"

enum { CLASS_NONE = 0, CLASS_LOG, CLASS_PACK, CLASS_OTHER, CLASS_COUNT };
enum { STATUS_2XX = 0, STATUS_4XX, STATUS_5XX, STATUS_DROPPED, STATUS_COUNT };

static const char *const class_names[CLASS_COUNT] = { "", "log", "pack",
						      "other" };
static const char *const status_names[STATUS_COUNT] = { "2xx", "4xx", "5xx",
							"dropped" };
static const char *const endpoint_names[DF_EP_COUNT] = {
	[DF_EP_OTHER] = "other",
	[DF_EP_HEALTH] = "health",
	[DF_EP_ME] = "me",
	[DF_EP_ORGS] = "organizations",
	[DF_EP_WORKSPACES] = "workspaces",
	[DF_EP_TABLES] = "tables",
	[DF_EP_QUERY] = "query",
	[DF_EP_BATCH] = "batch",
	[DF_EP_FEED] = "feed",
	[DF_EP_FILES] = "files",
	[DF_EP_AUTH] = "auth",
	[DF_EP_METRICS] = "metrics",
	[DF_EP_CAPABILITIES] = "capabilities",
};

static atomic_uint_fast64_t requests[DF_EP_COUNT][DF_SQL_KIND_COUNT]
				    [CLASS_COUNT][STATUS_COUNT];
static atomic_uint_fast64_t rows_in, rows_out, bytes_in, bytes_out, busy_ns;
static atomic_uint_fast64_t largest_in, largest_out;
static atomic_int in_flight, in_flight_max, connections, waiting;

/* Names come from sim.c's fixed list, so there are few. */
#define SIM_NAMES 32
static struct df_lock sim_lock = { .mutex = PTHREAD_MUTEX_INITIALIZER };
static struct {
	const char *name;
	uint64_t n;
} sim_counts[SIM_NAMES]; /* sim_lock */

const char *df_endpoint_name(enum df_endpoint e)
{
	return endpoint_names[e];
}

static int table_class(const char *table)
{
	size_t n = strlen(table);

	if (n == 0)
		return CLASS_NONE;
	if (n > 5 && strcmp(table + n - 5, "__log") == 0)
		return CLASS_LOG;
	if (n > 6 && strcmp(table + n - 6, "__pack") == 0)
		return CLASS_PACK;
	return CLASS_OTHER;
}

static void raise_to(atomic_uint_fast64_t *max, uint64_t x)
{
	uint64_t old = atomic_load(max);

	while (x > old && !atomic_compare_exchange_weak(max, &old, x))
		;
}

void df_metric_request(const struct df_metric_request *r)
{
	int status = r->status == 0    ? STATUS_DROPPED
		     : r->status < 400 ? STATUS_2XX
		     : r->status < 500 ? STATUS_4XX
				       : STATUS_5XX;

	atomic_fetch_add(
		&requests[r->endpoint][r->kind][table_class(r->table)][status],
		1);
	atomic_fetch_add(r->kind == DF_SQL_INSERT ? &rows_in : &rows_out,
			 r->rows);
	atomic_fetch_add(&bytes_in, r->bytes_in);
	atomic_fetch_add(&bytes_out, r->bytes_out);
	atomic_fetch_add(&busy_ns, (uint64_t)(r->ns > 0 ? r->ns : 0));
	raise_to(&largest_in, r->bytes_in);
	raise_to(&largest_out, r->bytes_out);
}

void df_metric_in_flight(int delta)
{
	int now = atomic_fetch_add(&in_flight, delta) + delta;
	int old = atomic_load(&in_flight_max);

	while (now > old &&
	       !atomic_compare_exchange_weak(&in_flight_max, &old, now))
		;
}

void df_metric_connections(int delta)
{
	(void)atomic_fetch_add(&connections, delta);
}

int df_metric_open_connections(void)
{
	return atomic_load(&connections);
}

void df_metric_waiting(int delta)
{
	(void)atomic_fetch_add(&waiting, delta);
}

void df_metric_simulated(const char *what)
{
	size_t i;

	df_lock(&sim_lock);
	for (i = 0; i < SIM_NAMES; i++) {
		if (sim_counts[i].name == NULL)
			sim_counts[i].name = what;
		if (strcmp(sim_counts[i].name, what) != 0)
			continue;
		sim_counts[i].n++;
		break;
	}
	df_unlock(&sim_lock);
}

static void put_requests(struct df_buf *out)
{
	int e, k, c, s;

	df_buf_put_str(out, "# HELP deeplake_requests_total Requests answered, "
			    "by endpoint, statement and class of table.\n"
			    "# TYPE deeplake_requests_total counter\n");
	for (e = 0; e < DF_EP_COUNT; e++)
		for (k = 0; k < DF_SQL_KIND_COUNT; k++)
			for (c = 0; c < CLASS_COUNT; c++)
				for (s = 0; s < STATUS_COUNT; s++) {
					uint64_t n = atomic_load(
						&requests[e][k][c][s]);

					if (n == 0)
						continue;
					df_buf_printf(
						out,
						"deeplake_requests_total{"
						"endpoint=\"%s\",kind=\"%s\","
						"table=\"%s\",status=\"%s\"} "
						"%" PRIu64 "\n",
						endpoint_names[e],
						k == DF_SQL_UNKNOWN
							? ""
							: df_sql_kind_name(
								  (enum df_sql_kind)
									  k),
						class_names[c], status_names[s],
						n);
				}
}

static void put_one(struct df_buf *out, const char *name, const char *type,
		    const char *help, uint64_t n)
{
	df_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name,
		      help, name, type, name, n);
}

static void put_simulated(struct df_buf *out)
{
	size_t i;

	df_lock(&sim_lock);
	for (i = 0; i < SIM_NAMES && sim_counts[i].name != NULL; i++) {
		if (i == 0)
			df_buf_put_str(out,
				       "# HELP deeplake_simulated_total "
				       "Faults that --simulate made.\n# TYPE "
				       "deeplake_simulated_total counter\n");
		df_buf_printf(out,
			      "deeplake_simulated_total{what=\"%s\"} %" PRIu64
			      "\n",
			      sim_counts[i].name, sim_counts[i].n);
	}
	df_unlock(&sim_lock);
}

void df_metric_put(struct df_buf *out)
{
	put_requests(out);
	put_one(out, "deeplake_rows_inserted_total", "counter",
		"Rows that INSERT statements wrote.", atomic_load(&rows_in));
	put_one(out, "deeplake_rows_total", "counter",
		"Rows answered, changed or deleted.", atomic_load(&rows_out));
	put_one(out, "deeplake_bytes_in_total", "counter",
		"Bytes of request bodies.", atomic_load(&bytes_in));
	put_one(out, "deeplake_bytes_out_total", "counter", "Bytes of answers.",
		atomic_load(&bytes_out));
	put_one(out, "deeplake_body_in_max_bytes", "gauge",
		"Largest request body.", atomic_load(&largest_in));
	put_one(out, "deeplake_body_out_max_bytes", "gauge", "Largest answer.",
		atomic_load(&largest_out));
	put_one(out, "deeplake_busy_microseconds_total", "counter",
		"Time between a request's last byte and its answer, summed.",
		atomic_load(&busy_ns) / 1000);
	put_one(out, "deeplake_in_flight", "gauge", "Requests being worked on.",
		(uint64_t)atomic_load(&in_flight));
	put_one(out, "deeplake_in_flight_max", "gauge",
		"Most requests at once, feeds not counted.",
		(uint64_t)atomic_load(&in_flight_max));
	put_one(out, "deeplake_connections", "gauge", "Open connections.",
		(uint64_t)atomic_load(&connections));
	put_one(out, "deeplake_feed_waiting", "gauge",
		"Feed requests that wait for a row.",
		(uint64_t)atomic_load(&waiting));
	put_simulated(out);
}
