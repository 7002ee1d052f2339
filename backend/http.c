/*
 * http.c - see http.h.
 *
 * A job lives on the stack of the thread that submitted it:
 *
 *	QUEUED --(I/O thread: a slot is free)--> RUNNING --> DONE
 *	   \--(submitter: its time is up)------------------> DONE
 *
 * While RUNNING only the I/O thread touches the job and its easy handle; DONE
 * is set under the lock, and is the last touch before the submitter goes on.
 * curl handles are reused through `idle_easy`: a handle's set-up is cheap, its
 * connection lives in the multi handle's cache anyway.
 */
#include "backend/http.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/xfer.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/log.h"

#define PARALLEL 3
#define PARALLEL_ALL 4 /* with an urgent one that waited URGENT_MS */
#define PARALLEL_FEED 1
#define URGENT_MS 300
#define LATENCIES 15
#define SMALL_BYTES 65536 /* only such requests count as latency */
#define IDLE_POLL_MS 60000

enum job_state { JOB_UNKNOWN = 0, JOB_QUEUED, JOB_RUNNING, JOB_DONE };

struct job {
	struct df_xfer x;
	struct job *next;     /* lock while queued, then the I/O thread's */
	enum job_state state; /* lock */
	struct df_cond done;  /* state is JOB_DONE */
	int64_t queued_ns;
};

struct df_http {
	char *base, *ca_file, *user_agent; /* fixed */
	struct df_xfer_conf conf;          /* fixed; the three above */

	struct df_lock lock;
	struct job *queue, **queue_end; /* lock */
	char *auth, *org;               /* lock; header lines; auth wiped */
	bool stop, reset, started;      /* lock */
	pthread_t thread;               /* lock; valid when started */
	CURLM *multi; /* lock for wake-ups; else the I/O thread's */
	unsigned n_bulk, n_urgent, n_feed; /* lock; running */
	struct df_http_stats stats;        /* lock */
	int64_t latency[LATENCIES];        /* lock; ring */
	unsigned n_latency;                /* lock; ever */

	/* the I/O thread's */
	struct job *running;
	CURL *idle_easy[PARALLEL_ALL + PARALLEL_FEED];
	unsigned n_idle_easy;
	struct df_bandwidth bw;
	_Atomic uint64_t moved;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		abort(); /* no memory at the very start */
}

/* ---- life */

/* Where distributions keep the trusted certificates; a bundle built on one may
 * run on another. */
static const char *system_ca(void)
{
	static const char *const known[] = {
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/ssl/cert.pem",
	};

	for (size_t i = 0; i < DF_ARRAY_LEN(known); i++)
		if (access(known[i], R_OK) == 0)
			return known[i];
	return NULL;
}

/* Said, not refused: a private network is the user's to judge. */
static void warn_if_readable(const char *scheme, const char *host,
			     const char *base)
{
	if (strcmp(scheme, "http") == 0 && strcmp(host, "localhost") != 0 &&
	    strncmp(host, "127.", 4) != 0 && strcmp(host, "[::1]") != 0)
		df_log_warn("%s: without TLS the token and all data can be "
			    "read on the way; use https://",
			    base);
}

static int check_url(const char *url, char **base)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *host = NULL, *user = NULL, *query = NULL;
	char *whole = NULL;
	int err = -EINVAL;

	if (!u)
		return -ENOMEM;
	const char *why = "is not a URL like https://host";
	if (curl_url_set(u, CURLUPART_URL, url, 0) ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0))
		goto out;
	why = "must begin with https:// or http://";
	if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
		goto out;
	why = "must not hold a user name or query; put the token into the "
	      "credentials file";
	if (!curl_url_get(u, CURLUPART_USER, &user, 0) ||
	    !curl_url_get(u, CURLUPART_QUERY, &query, 0))
		goto out;
	err = -ENOMEM;
	if (curl_url_get(u, CURLUPART_URL, &whole, 0))
		goto out;
	*base = strdup(whole);
	if (!*base)
		goto out;
	for (size_t n = strlen(*base); n && (*base)[n - 1] == '/'; n--)
		(*base)[n - 1] = 0;
	warn_if_readable(scheme, host, *base);
	err = 0;
out:
	if (err == -EINVAL)
		df_log_error("the API URL %s", why);
	curl_free(scheme);
	curl_free(host);
	curl_free(user);
	curl_free(query);
	curl_free(whole);
	curl_url_cleanup(u);
	return err;
}

int df_http_new(const struct df_http_conf *conf, struct df_http **out)
{
	const char *ca = conf->ca_file ? conf->ca_file
				       : getenv("SSL_CERT_FILE");
	const char *agent = conf->user_agent ? conf->user_agent
					     : "deeplakefs/" DF_VERSION;

	pthread_once(&curl_once, init_curl);
	if (!ca || !*ca)
		ca = system_ca();
	else if (access(ca, R_OK))
		return df_fail(-errno, "certificates %s", ca);
	struct df_http *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	df_lock_init(&h->lock);
	h->queue_end = &h->queue;
	h->bw.limit = conf->bwlimit;
	int err = check_url(conf->base_url, &h->base);
	if (!err && (!(h->user_agent = strdup(agent)) ||
		     (ca && !(h->ca_file = strdup(ca)))))
		err = -ENOMEM;
	if (err) {
		df_http_free(h);
		return err;
	}
	h->conf = (struct df_xfer_conf){ h->base, h->ca_file, h->user_agent };
	*out = h;
	return 0;
}

const char *df_http_base(const struct df_http *h)
{
	return h->base;
}

static void wipe_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

int df_http_set_auth(struct df_http *h, const char *token, const char *org)
{
	char *auth = NULL, *org_line = NULL;

	/* A line break in either would end the header. */
	if ((token && strpbrk(token, "\r\n")) || (org && strpbrk(org, "\r\n")))
		return df_fail(-EINVAL, "token or organization id");
	if (token && !(auth = df_strf("Authorization: Bearer %s", token)))
		return -ENOMEM;
	if (org && !(org_line = df_strf("X-Activeloop-Org-Id: %s", org))) {
		wipe_free(auth);
		return -ENOMEM;
	}
	df_lock(&h->lock);
	char *old_auth = h->auth, *old_org = h->org;
	h->auth = auth;
	h->org = org_line;
	df_unlock(&h->lock);
	wipe_free(old_auth);
	free(old_org);
	return 0;
}

void df_http_answer_release(struct df_http_answer *a)
{
	df_buf_release(&a->body);
}

/* ---- the I/O thread */

static unsigned *slots_locked(struct df_http *h, enum df_http_class class)
{
	df_lock_assert(&h->lock);
	if (class == DF_HTTP_FEED)
		return &h->n_feed;
	return class == DF_HTTP_URGENT ? &h->n_urgent : &h->n_bulk;
}

static bool slot_free_locked(struct df_http *h, const struct job *j)
{
	unsigned n = h->n_bulk + h->n_urgent;

	df_lock_assert(&h->lock);
	if (j->x.req->class == DF_HTTP_FEED)
		return h->n_feed < PARALLEL_FEED && n < PARALLEL;
	if (j->x.req->class == DF_HTTP_URGENT && n >= PARALLEL &&
	    n < PARALLEL_ALL)
		return df_deadline_ms(-URGENT_MS) >= j->queued_ns;
	if (j->x.req->class == DF_HTTP_BULK)
		n += h->n_feed; /* 3 connections while nothing hurries */
	return n < PARALLEL;
}

/* ms until a queued job may start although nothing else happens. */
static int wait_ms(struct df_http *h)
{
	int ms = IDLE_POLL_MS;

	df_lock(&h->lock);
	for (struct job *j = h->queue; j; j = j->next)
		if (j->x.req->class == DF_HTTP_URGENT &&
		    h->n_bulk + h->n_urgent < PARALLEL_ALL) {
			int64_t at = j->queued_ns + URGENT_MS * DF_NS_PER_MS -
				     df_deadline_ms(0);
			ms = (int)(DF_MAX(at, 0) / DF_NS_PER_MS) + 1;
			break;
		}
	df_unlock(&h->lock);
	return ms;
}

static void unqueue_locked(struct df_http *h, struct job *j)
{
	struct job **at = &h->queue;

	df_lock_assert(&h->lock);
	while (*at && *at != j)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = j->next;
	if (h->queue_end == &j->next)
		h->queue_end = at;
	j->next = NULL;
	h->stats.queued--;
}

static struct job *take_job(struct df_http *h)
{
	static const enum df_http_class order[] = { DF_HTTP_FEED,
						    DF_HTTP_URGENT,
						    DF_HTTP_BULK };
	struct job *j = NULL;

	df_lock(&h->lock);
	for (size_t i = 0; i < DF_ARRAY_LEN(order) && !j; i++) {
		/* Each class waits in order: the first is the oldest. */
		for (j = h->queue; j && j->x.req->class != order[i];
		     j = j->next)
			;
		if (j && !slot_free_locked(h, j))
			j = NULL;
	}
	if (j) {
		unqueue_locked(h, j);
		j->state = JOB_RUNNING;
		++*slots_locked(h, j->x.req->class);
		h->stats.requests++;
		h->stats.in_flight++;
		h->stats.max_in_flight =
			DF_MAX(h->stats.max_in_flight, h->stats.in_flight);
	}
	df_unlock(&h->lock);
	return j;
}

static void note_latency_locked(struct df_http *h, const struct job *j)
{
	df_lock_assert(&h->lock);
	if (j->x.a->fault || j->x.req->class == DF_HTTP_FEED ||
	    j->x.req->body_len > SMALL_BYTES || j->x.a->body.len > SMALL_BYTES)
		return;
	h->latency[h->n_latency++ % LATENCIES] = j->x.a->took_ms;
}

/* Give the answer to the submitter; j is gone afterwards. */
static void finish_job(struct df_http *h, struct job *j)
{
	curl_off_t out = 0;
	long connects = 0;

	if (j->x.easy) {
		curl_easy_getinfo(j->x.easy, CURLINFO_NUM_CONNECTS, &connects);
		curl_easy_getinfo(j->x.easy, CURLINFO_SIZE_UPLOAD_T, &out);
		curl_multi_remove_handle(h->multi, j->x.easy);
		curl_easy_reset(j->x.easy);
		if (h->n_idle_easy < DF_ARRAY_LEN(h->idle_easy))
			h->idle_easy[h->n_idle_easy++] = j->x.easy;
		else
			curl_easy_cleanup(j->x.easy);
	}
	df_xfer_clear(&j->x);
	df_lock(&h->lock);
	--*slots_locked(h, j->x.req->class);
	h->stats.in_flight--;
	h->stats.faults += j->x.a->fault != DF_NET_NONE;
	h->stats.connects += (uint64_t)DF_MAX(connects, 0);
	h->stats.bytes_out += (uint64_t)DF_MAX(out, 0);
	h->stats.bytes_in += j->x.a->body.len;
	note_latency_locked(h, j);
	j->state = JOB_DONE;
	df_cond_signal(&j->done);
	df_unlock(&h->lock);
}

static void remove_running(struct df_http *h, struct job *j)
{
	struct job **at = &h->running;

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	j->next = NULL;
}

static void end_all(struct df_http *h, enum df_net_fault fault, const char *why)
{
	while (h->running) {
		struct job *j = h->running;
		remove_running(h, j);
		df_xfer_result(&j->x, CURLE_ABORTED_BY_CALLBACK);
		j->x.a->fault = fault;
		snprintf(j->x.a->error, sizeof(j->x.a->error), "%s", why);
		finish_job(h, j);
	}
}

static void fail_queue(struct df_http *h)
{
	df_lock(&h->lock);
	while (h->queue) {
		struct job *j = h->queue;
		unqueue_locked(h, j);
		j->x.a->fault = DF_NET_STOPPED;
		j->state = JOB_DONE;
		df_cond_signal(&j->done);
	}
	df_unlock(&h->lock);
}

static CURLM *new_multi(void)
{
	CURLM *m = curl_multi_init();

	if (!m)
		return NULL;
	curl_multi_setopt(m, CURLMOPT_MAXCONNECTS,
			  (long)(PARALLEL_ALL + PARALLEL_FEED));
	curl_multi_setopt(m, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	return m;
}

/* The connection cache lives in the multi handle: a new one has none. */
static void reset_connections(struct df_http *h)
{
	end_all(h, DF_NET_CUT, "connections were reset");
	CURLM *fresh = new_multi();
	if (!fresh)
		return;
	df_lock(&h->lock);
	CURLM *old = h->multi;
	h->multi = fresh;
	df_unlock(&h->lock);
	curl_multi_cleanup(old);
}

/* true: slots have become free, so somebody queued may start. */
static bool collect_done(struct df_http *h)
{
	CURLMsg *m;
	bool any = false;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		char *arg = NULL;
		CURLcode rc = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &arg);
		struct job *j = (struct job *)(void *)arg;
		remove_running(h, j);
		df_xfer_result(&j->x, rc);
		finish_job(h, j);
		any = true;
	}
	return any;
}

/* Let paused transfers go on; ms until there is something to do. */
static int resume_paused(struct df_http *h)
{
	bool any = false;

	for (struct job *j = h->running; j; j = j->next)
		any |= j->x.paused;
	if (!any)
		return IDLE_POLL_MS;
	int ms = df_bandwidth_wait_ms(&h->bw);
	for (struct job *j = h->running; !ms && j; j = j->next) {
		if (!j->x.paused)
			continue;
		j->x.paused = false;
		curl_easy_pause(j->x.easy, CURLPAUSE_CONT);
	}
	return ms;
}

static bool add_auth(struct df_http *h, struct df_xfer *x)
{
	df_lock(&h->lock);
	bool ok = (!h->auth || df_xfer_header(x, h->auth)) &&
		  (!h->org || df_xfer_header(x, h->org));
	df_unlock(&h->lock);
	return ok;
}

static enum df_net_fault start_transfer(struct df_http *h, struct job *j)
{
	j->x.easy = h->n_idle_easy ? h->idle_easy[--h->n_idle_easy]
				   : curl_easy_init();
	if (!j->x.easy || !add_auth(h, &j->x))
		return DF_NET_LOCAL;
	enum df_net_fault fault = df_xfer_prepare(&j->x, j);
	if (!fault && curl_multi_add_handle(h->multi, j->x.easy))
		fault = DF_NET_LOCAL;
	if (fault)
		return fault;
	j->next = h->running;
	h->running = j;
	return DF_NET_NONE;
}

static void start_jobs(struct df_http *h)
{
	struct job *j;

	while ((j = take_job(h))) {
		j->x.a->fault = start_transfer(h, j);
		if (j->x.a->fault)
			finish_job(h, j);
	}
}

static void *io_thread(void *arg)
{
	struct df_http *h = arg;
	int running = 0;

	for (;;) {
		df_lock(&h->lock);
		bool stop = h->stop, reset = h->reset;
		h->reset = false;
		df_unlock(&h->lock);
		if (stop)
			break;
		if (reset)
			reset_connections(h);
		start_jobs(h);
		CURLMcode rc = curl_multi_perform(h->multi, &running);
		if (collect_done(h))
			continue;
		if (!rc)
			rc = curl_multi_poll(
				h->multi, NULL, 0,
				DF_MIN(resume_paused(h), wait_ms(h)), NULL);
		if (rc) {
			df_log_error("http: %s", curl_multi_strerror(rc));
			reset_connections(h);
		}
	}
	end_all(h, DF_NET_STOPPED, "stopping");
	fail_queue(h);
	return NULL;
}

static int start_thread_locked(struct df_http *h)
{
	sigset_t all, old;

	df_lock_assert(&h->lock);
	if (h->started)
		return 0;
	if (!h->multi)
		h->multi = new_multi();
	if (!h->multi)
		return -ENOMEM;
	/* No signals here, SIGPIPE of TLS writes included. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&h->thread, NULL, io_thread, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	pthread_setname_np(h->thread, "df-http");
	h->started = true;
	return 0;
}

/* ---- the caller's side */

static void trace(const struct df_http_req *req, const struct df_http_answer *a)
{
	if (a->fault)
		df_log_debug("http: %s: %s after %lld ms (%zu bytes out)",
			     req->what, a->error, (long long)a->took_ms,
			     req->body_len);
	else
		df_log_debug("http: %s: %ld in %lld ms (%zu bytes out, %zu in)",
			     req->what, a->status, (long long)a->took_ms,
			     req->body_len, a->body.len);
}

static void wait_done_locked(struct df_http *h, struct job *j)
{
	df_lock_assert(&h->lock);
	while (j->state == JOB_QUEUED)
		if (!df_cond_wait_until(&j->done, &h->lock, j->x.deadline_ns) &&
		    j->state == JOB_QUEUED) {
			unqueue_locked(h, j);
			j->state = JOB_DONE;
			j->x.a->fault = DF_NET_TIMEOUT;
			snprintf(j->x.a->error, sizeof(j->x.a->error),
				 "no free connection in time");
		}
	/* curl keeps the deadline from here on. */
	while (j->state != JOB_DONE)
		df_cond_wait(&j->done, &h->lock);
}

void df_http_do(struct df_http *h, const struct df_http_req *req,
		struct df_http_answer *a)
{
	struct job j = { .x = { .conf = &h->conf,
				.req = req,
				.a = a,
				.bw = &h->bw,
				.moved = &h->moved } };

	*a = (struct df_http_answer){ .retry_after_ms = -1 };
	j.x.deadline_ns = df_deadline_ms(DF_MAX(req->timeout_ms, 1));
	df_cond_init(&j.done);
	df_lock(&h->lock);
	if (h->stop) {
		a->fault = DF_NET_STOPPED;
	} else if (start_thread_locked(h)) {
		a->fault = DF_NET_LOCAL;
		snprintf(a->error, sizeof(a->error), "cannot start a thread");
	} else {
		j.state = JOB_QUEUED;
		j.queued_ns = df_deadline_ms(0);
		/* j leaves the queue before this function returns. */
		/* cppcheck-suppress autoVariables */
		*h->queue_end = &j;
		/* cppcheck-suppress autoVariables */
		h->queue_end = &j.next;
		h->stats.queued++;
		curl_multi_wakeup(h->multi);
		wait_done_locked(h, &j);
	}
	df_unlock(&h->lock);
	df_cond_release(&j.done);
	trace(req, a);
}

void df_http_reset(struct df_http *h)
{
	df_lock(&h->lock);
	if (h->started) {
		h->reset = true;
		curl_multi_wakeup(h->multi);
	}
	df_unlock(&h->lock);
}

void df_http_stop(struct df_http *h)
{
	df_lock(&h->lock);
	bool join = h->started && !h->stop;
	h->stop = true;
	if (join)
		curl_multi_wakeup(h->multi);
	df_unlock(&h->lock);
	if (join)
		pthread_join(h->thread, NULL);
}

void df_http_free(struct df_http *h)
{
	if (!h)
		return;
	while (h->n_idle_easy)
		curl_easy_cleanup(h->idle_easy[--h->n_idle_easy]);
	if (h->multi)
		curl_multi_cleanup(h->multi);
	df_lock_release(&h->lock);
	wipe_free(h->auth);
	free(h->org);
	free(h->base);
	free(h->ca_file);
	free(h->user_agent);
	free(h);
}

static int cmp_i64(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

void df_http_stats(struct df_http *h, struct df_http_stats *out)
{
	int64_t v[LATENCIES];

	df_lock(&h->lock);
	*out = h->stats;
	size_t n = DF_MIN(h->n_latency, (unsigned)LATENCIES);
	memcpy(v, h->latency, sizeof(v));
	df_unlock(&h->lock);
	out->moved = atomic_load(&h->moved);
	qsort(v, n, sizeof(v[0]), cmp_i64);
	out->latency_ms = n ? v[n / 2] : 0;
}
