/*
 * metric.h - what the server counts, as Prometheus text.
 *
 * deeplake_requests_total{endpoint,kind,table,status}: endpoint as in the
 * enum; kind the statement's (select, insert, ...) or ""; table the class of
 * the table: log (T__log), pack (T__pack), other, or "".
 *
 * Threads: any.
 */
#ifndef DF_SERVE_METRIC_H
#define DF_SERVE_METRIC_H

#include <stdint.h>

#include "base/buf.h"
#include "tools/serve/sql.h"

enum df_endpoint {
	DF_EP_OTHER = 0,
	DF_EP_HEALTH,
	DF_EP_ME,
	DF_EP_ORGS,
	DF_EP_WORKSPACES,
	DF_EP_TABLES,
	DF_EP_QUERY,
	DF_EP_BATCH,
	DF_EP_FEED,
	DF_EP_FILES,
	DF_EP_AUTH,
	DF_EP_METRICS,
	DF_EP_CAPABILITIES,
	DF_EP_COUNT,
};

struct df_metric_request {
	enum df_endpoint endpoint;
	enum df_sql_kind kind;
	const char *table; /* name, or "" */
	int status;
	uint64_t rows, bytes_in, bytes_out;
	int64_t ns; /* from the last byte in to the answer */
};

void df_metric_request(const struct df_metric_request *r);
/* A request begins or ends; a connection opens or closes. */
void df_metric_in_flight(int delta);
void df_metric_connections(int delta);
int df_metric_open_connections(void);
void df_metric_waiting(int delta); /* feed requests that wait */
void df_metric_simulated(const char *what);
/* The text of /metrics. */
void df_metric_put(struct df_buf *out);

const char *df_endpoint_name(enum df_endpoint e);

#endif
