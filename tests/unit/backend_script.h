/*
 * backend_script.h - an HTTP server in the test's process that answers by a
 * script, one step a request, and remembers what it was asked.
 *
 * When the steps run out the last one is repeated.  A script with `answer`
 * set asks that function instead.
 */
#ifndef DF_TESTS_UNIT_BACKEND_SCRIPT_H
#define DF_TESTS_UNIT_BACKEND_SCRIPT_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEEN_MAX 1024

struct step {
	unsigned status;    /* 0: close the connection without an answer */
	const char *body;   /* NULL: "" */
	const char *type;   /* NULL: application/json */
	const char *header; /* one more, "Name: value" */
	unsigned delay_ms;
	size_t cut_after; /* > 0: end the body there, in error */
	size_t big;       /* > 0: a body of so many 'x' */
	char *own;        /* the body, freed by the server */
};

struct seen {
	char method[8];
	char url[256];
	char auth[128];
	char org[64];
	char expect[32];
	char *body;
	size_t body_len, body_size;
	struct timespec at;
};

struct script {
	struct MHD_Daemon *daemon;
	char url[64];
	pthread_mutex_t mutex;
	const struct step *steps;
	size_t n_steps, next;
	struct seen seen[SEEN_MAX];
	size_t n_seen;
	unsigned running, max_running;
	/* Fills a step for a request; one at a time. */
	void (*answer)(struct script *s, const struct seen *q,
		       struct step *out);
	void *arg; /* for answer() */
};

struct script_body {
	size_t at, len, cut;
	const char *data;
	char *own;
};

/* What a test allows; under valgrind everything takes longer. */
static inline int64_t slow_ms(int64_t ms)
{
	return getenv("DF_VALGRIND") ? ms * 20 : ms;
}

static ssize_t script_read(void *arg, uint64_t pos, char *out, size_t max)
{
	struct script_body *b = arg;
	size_t end = b->cut ? b->cut : b->len;

	if (pos >= end)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	size_t n = end - (size_t)pos < max ? end - (size_t)pos : max;
	if (b->data)
		memcpy(out, b->data + pos, n);
	else
		memset(out, 'x', n);
	return (ssize_t)n;
}

static void script_free(void *arg)
{
	struct script_body *b = arg;

	free(b->own);
	free(b);
}

static void script_header(struct MHD_Connection *c, const char *name, char *out,
			  size_t size)
{
	const char *v = MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);

	snprintf(out, size, "%s", v ? v : "");
}

static enum MHD_Result script_send(struct MHD_Connection *c,
				   const struct step *st)
{
	struct script_body *b = calloc(1, sizeof(*b));
	char name[64] = "";

	if (!b)
		abort();
	b->own = st->own ? st->own : st->body ? strdup(st->body) : NULL;
	b->data = st->big ? NULL : b->own;
	b->len = st->big ? st->big : b->own ? strlen(b->own) : 0;
	b->cut = st->cut_after;
	struct MHD_Response *r = MHD_create_response_from_callback(
		b->len, 65536, script_read, b, script_free);
	MHD_add_response_header(r, "Content-Type",
				st->type ? st->type : "application/json");
	const char *colon = st->header ? strchr(st->header, ':') : NULL;
	if (colon) {
		snprintf(name, sizeof(name), "%.*s", (int)(colon - st->header),
			 st->header);
		MHD_add_response_header(r, name, colon + 2);
	}
	enum MHD_Result ok = MHD_queue_response(c, st->status, r);
	MHD_destroy_response(r);
	return ok;
}

static enum MHD_Result script_request(void *arg, struct MHD_Connection *c,
				      const char *url, const char *method,
				      const char *version, const char *data,
				      size_t *len, void **ptr)
{
	struct script *s = arg;
	struct seen *q = *ptr;
	struct step st;

	(void)version;
	if (!q) {
		*ptr = q = calloc(1, sizeof(*q));
		return q ? MHD_YES : MHD_NO;
	}
	if (*len) {
		if (q->body_len + *len >= q->body_size) {
			q->body_size = 2 * (q->body_len + *len) + 1;
			q->body = realloc(q->body, q->body_size);
		}
		if (!q->body)
			abort();
		memcpy(q->body + q->body_len, data, *len);
		q->body_len += *len;
		q->body[q->body_len] = 0;
		*len = 0;
		return MHD_YES;
	}
	snprintf(q->method, sizeof(q->method), "%s", method);
	snprintf(q->url, sizeof(q->url), "%s", url);
	script_header(c, "Authorization", q->auth, sizeof(q->auth));
	script_header(c, "X-Activeloop-Org-Id", q->org, sizeof(q->org));
	script_header(c, "Expect", q->expect, sizeof(q->expect));
	clock_gettime(CLOCK_MONOTONIC, &q->at);
	pthread_mutex_lock(&s->mutex);
	st = s->n_steps ? s->steps[s->next]
			: (struct step){ .status = 200, .body = "{}" };
	if (s->next + 1 < s->n_steps)
		s->next++;
	if (s->n_seen < SEEN_MAX) {
		s->seen[s->n_seen++] = *q;
		q = memset(q, 0, sizeof(*q)); /* the body is remembered */
	}
	if (s->answer)
		s->answer(s, &s->seen[s->n_seen - 1], &st);
	if (++s->running > s->max_running)
		s->max_running = s->running;
	pthread_mutex_unlock(&s->mutex);
	if (st.delay_ms) {
		struct timespec t = { st.delay_ms / 1000,
				      st.delay_ms % 1000 * 1000000L };
		nanosleep(&t, NULL);
	}
	pthread_mutex_lock(&s->mutex);
	s->running--;
	pthread_mutex_unlock(&s->mutex);
	return st.status ? script_send(c, &st) : MHD_NO;
}

static void script_done(void *arg, struct MHD_Connection *c, void **ptr,
			enum MHD_RequestTerminationCode code)
{
	struct seen *q = *ptr;

	(void)arg;
	(void)c;
	(void)code;
	if (q)
		free(q->body);
	free(q);
	*ptr = NULL;
}

/* With TLS when key and cert (PEM) are given. */
static inline void script_start_tls(struct script *s, const struct step *steps,
				    size_t n, const char *key, const char *cert)
{
	struct sockaddr_in any = { .sin_family = AF_INET };

	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->mutex, NULL);
	s->steps = steps;
	s->n_steps = n;
	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	unsigned flags = MHD_USE_THREAD_PER_CONNECTION |
			 MHD_USE_INTERNAL_POLLING_THREAD;
	struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key },
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert },
		{ MHD_OPTION_END, 0, NULL },
	};
	s->daemon = MHD_start_daemon(
		key ? flags | MHD_USE_TLS : flags, 0, NULL, NULL,
		script_request, s, MHD_OPTION_SOCK_ADDR, &any,
		MHD_OPTION_NOTIFY_COMPLETED, script_done, NULL,
		MHD_OPTION_CONNECTION_TIMEOUT, 20u, MHD_OPTION_ARRAY,
		key ? tls : tls + 2, MHD_OPTION_END);
	if (!s->daemon)
		abort();
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
	snprintf(s->url, sizeof(s->url), "%s://127.0.0.1:%u",
		 key ? "https" : "http", (unsigned)info->port);
}

static inline void script_start(struct script *s, const struct step *steps,
				size_t n)
{
	script_start_tls(s, steps, n, NULL, NULL);
}

/* How many requests there were. */
static inline size_t script_n(struct script *s)
{
	pthread_mutex_lock(&s->mutex);
	size_t n = s->n_seen;
	pthread_mutex_unlock(&s->mutex);
	return n;
}

static inline void script_forget(struct script *s)
{
	pthread_mutex_lock(&s->mutex);
	for (size_t i = 0; i < s->n_seen; i++)
		free(s->seen[i].body);
	s->n_seen = 0;
	pthread_mutex_unlock(&s->mutex);
}

static inline void script_stop(struct script *s)
{
	MHD_stop_daemon(s->daemon);
	script_forget(s);
	pthread_mutex_destroy(&s->mutex);
}

#endif
