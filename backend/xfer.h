/*
 * xfer.h - one HTTP transfer: what libcurl is told, the bytes, the result.
 *
 * Part of http.c, and used by it alone: everything here happens on its I/O
 * thread.
 */
#ifndef DF_BACKEND_XFER_H
#define DF_BACKEND_XFER_H

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/http.h"

/* One bucket for all transfers, both directions.  A transfer may overdraw it by
 * one chunk and is then paused until that is paid. */
struct df_bandwidth {
	uint64_t limit; /* bytes/s; 0 = none */
	double tokens;
	int64_t at_ns;
};

/* 0: bytes may pass; else how long to wait. */
int df_bandwidth_wait_ms(struct df_bandwidth *b);

/* The same for every transfer; strings not owned. */
struct df_xfer_conf {
	const char *base;
	const char *ca_file; /* NULL: libcurl's own */
	const char *user_agent;
};

struct df_xfer {
	const struct df_xfer_conf *conf;
	const struct df_http_req *req;
	struct df_http_answer *a;
	struct df_bandwidth *bw;
	_Atomic uint64_t *moved; /* grows while bytes leave */
	CURL *easy;              /* the caller's, set before prepare */
	int64_t deadline_ns;     /* df_deadline_ms() */
	/* from here on private, zero at first */
	int64_t start_ns;
	struct curl_slist *headers;
	curl_off_t left_at; /* bytes that left, as last counted */
	size_t body_at;     /* with a bandwidth limit: sent so far */
	bool paused;        /* by the bandwidth limit */
	bool too_big;
	char error[CURL_ERROR_SIZE];
};

/* Add a line before prepare; false: no memory. */
bool df_xfer_header(struct df_xfer *x, const char *line);
/* Set up x->easy; CURLINFO_PRIVATE will be private. */
enum df_net_fault df_xfer_prepare(struct df_xfer *x, void *private);
/* Fill *x->a when the transfer is over. */
void df_xfer_result(struct df_xfer *x, CURLcode rc);
/* Wipe and free the headers. */
void df_xfer_clear(struct df_xfer *x);

#endif
