/* test_backend_http.c - requests, limits, verdicts and repeats against a
 * server that answers by a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/api.h"
#include "backend/retry.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include "backend_script.h"

static const char ok[] = "{\"columns\":[\"a\"],\"rows\":[[1]],\"row_count\":1}";

static struct df_api *open_api(const char *url, uint64_t bwlimit)
{
	struct df_api_conf conf = { .api_url = url,
				    .workspace = "w.s",
				    .bwlimit = bwlimit };
	struct df_api *api;

	assert_int_equal(df_api_new(&conf, &api), 0);
	assert_int_equal(df_api_set_auth(api, "t.o.k", "org"), 0);
	return api;
}

static void close_api(struct df_api *api)
{
	df_api_stop(api);
	df_api_free(api);
}

static int query(struct df_api *api, bool writes, int64_t ms, size_t max,
		 struct df_answer *a)
{
	struct df_call call = { .what = "test",
				.class = DF_HTTP_URGENT,
				.writes = writes,
				.deadline_ns = df_deadline_ms(ms),
				.answer_max = max };
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "SELECT \"a\" FROM t WHERE b = $1");
	df_stmt_text(&s, "x\n\"\xff", 4);
	int err = df_api_sql(api, &s, &call, a);
	df_stmt_release(&s);
	return err;
}

/* One query against the steps; how many requests were made is in *n. */
static int ask(const struct step *steps, size_t n_steps, bool writes,
	       int64_t ms, size_t max, size_t *n)
{
	struct script s;
	struct df_answer a;

	script_start(&s, steps, n_steps);
	struct df_api *api = open_api(s.url, 0);
	int err = query(api, writes, ms, max, &a);
	/* libcurl repeats a request itself when a kept-alive connection dies
	 * before the first byte of the answer. */
	if (!err)
		assert_in_range(a.attempts, 1, script_n(&s));
	df_answer_release(&a);
	close_api(api);
	*n = script_n(&s);
	script_stop(&s);
	return err;
}

static void sends_what_it_should(void **state)
{
	struct script s;
	struct df_answer a;
	struct step step = { .status = 200, .body = ok };

	(void)state;
	script_start(&s, &step, 1);
	struct df_api *api = open_api(s.url, 0);
	assert_int_equal(query(api, false, 5000, 0, &a), 0);
	assert_int_equal(a.n_rows, 1);
	assert_true(a.date_ms > INT64_C(1500000000000));
	df_answer_release(&a);
	assert_int_equal(script_n(&s), 1);
	assert_string_equal(s.seen[0].method, "POST");
	assert_string_equal(s.seen[0].url, "/workspaces/w.s/tables/query");
	assert_string_equal(s.seen[0].auth, "Bearer t.o.k");
	assert_string_equal(s.seen[0].org, "org");
	assert_string_equal(s.seen[0].expect, "");
	assert_string_equal(s.seen[0].body,
			    "{\"query\":\"SELECT \\\"a\\\" FROM t WHERE b = "
			    "$1\",\"params\":[\"x\\u000a\\\"\xef\xbf\xbd\"]}");
	close_api(api);
	script_stop(&s);
}

/* Status, body, what comes of it for a write, and whether it is repeated. */
static void judges_every_answer(void **state)
{
	/* clang-format off */
	static const struct {
		struct step step;
		int err;
		bool again;
	} rows[] = {
		{ { .status = 200, .body = "null" }, 0, false },
		{ { .status = 200, .body = "<html>hello</html>",
		    .type = "text/html" }, -EAGAIN, true },
		{ { .status = 302, .header = "Location: http://127.0.0.1:1/" },
		  DF_EOFFLINE, false },
		{ { .status = 400, .body = "{\"error\":\"syntax error\"}" },
		  -EINVAL, false },
		{ { .status = 400, .body = "{\"error\":\"Table does not exist: "
					   "relation \\\"t\\\" does not "
					   "exist\"}" }, -ENOENT, false },
		{ { .status = 400, .body = "{\"error\":\"statement too "
					   "large\"}" }, -EFBIG, false },
		{ { .status = 401, .body = "{\"error\":\"no\"}" }, DF_EAUTH,
		  false },
		{ { .status = 402, .body = "{\"error\":\"insufficient "
					   "balance\"}" }, -EDQUOT, false },
		{ { .status = 403, .body = "{\"error\":\"no\"}" }, DF_EAUTH,
		  false },
		{ { .status = 403, .body = "{\"error\":\"token is "
					   "read-only\"}" }, -EROFS, false },
		{ { .status = 403, .body = "<html>cloud</html>",
		    .type = "text/html" }, DF_EOFFLINE, true },
		{ { .status = 403 }, DF_EOFFLINE, true },
		{ { .status = 404, .body = "{}" }, -ENOENT, false },
		{ { .status = 409, .body = "{\"error\":\"already exists\"}" },
		  -EEXIST, false },
		{ { .status = 413 }, -EFBIG, false },
		{ { .status = 429 }, DF_EOFFLINE, true },
		{ { .status = 500, .body = "{\"error\":\"duplicate key value "
					   "violates\"}" }, -EEXIST, false },
		{ { .status = 500, .body = "{\"error\":\"relation already "
					   "exists\"}" }, -EEXIST, false },
		{ { .status = 500, .body = "{}" }, -EAGAIN, true },
		{ { .status = 501 }, -EOPNOTSUPP, false },
		{ { .status = 502 }, -EAGAIN, true },
		{ { .status = 503 }, DF_EOFFLINE, true },
		{ { .status = 504 }, -EAGAIN, true },
		{ { .status = 507 }, -EDQUOT, false },
		{ { .status = 522 }, DF_EOFFLINE, true },
		{ { .status = 0 }, -EAGAIN, true },
		{ { .status = 200, .big = 1000, .cut_after = 10 }, -EAGAIN,
		  true },
	};
	/* clang-format on */
	size_t n;

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(rows); i++) {
		int err = ask(&rows[i].step, 1, true, 350, 0, &n);
		bool again = n > 1;
		if (err != rows[i].err || again != rows[i].again)
			fail_msg("status %u %s: err %d, %zu requests",
				 rows[i].step.status,
				 rows[i].step.body ? rows[i].step.body : "",
				 err, n);
	}
}

static void a_read_is_never_in_doubt(void **state)
{
	const struct step gone = { .status = 502 };
	size_t n;

	(void)state;
	assert_int_equal(ask(&gone, 1, false, 400, 0, &n), DF_EOFFLINE);
	assert_true(n > 1);
}

static void repeats_until_it_works(void **state)
{
	const struct step steps[] = {
		{ .status = 503 },
		{ .status = 0 },
		{ .status = 502, .body = "<html>", .type = "text/html" },
		{ .status = 200, .body = ok },
	};
	size_t n;

	(void)state;
	assert_int_equal(ask(steps, 4, true, 10000, 0, &n), 0);
	assert_int_equal(n, 4);
}

static int64_t between_ms(const struct seen *a, const struct seen *b)
{
	return (b->at.tv_sec - a->at.tv_sec) * 1000 +
	       (b->at.tv_nsec - a->at.tv_nsec) / 1000000;
}

static void waits_as_told(void **state)
{
	const struct step steps[] = {
		{ .status = 429, .header = "Retry-After: 1" },
		{ .status = 200, .body = ok },
	};
	struct script s;
	struct df_answer a;

	(void)state;
	script_start(&s, steps, 2);
	struct df_api *api = open_api(s.url, 0);
	assert_int_equal(query(api, true, 5000, 0, &a), 0);
	df_answer_release(&a);
	assert_int_equal(script_n(&s), 2);
	assert_in_range(between_ms(&s.seen[0], &s.seen[1]), 980, 2500);
	close_api(api);
	script_stop(&s);
}

/* A wait that ends after the deadline is not waited for, and holds the next
 * caller back too. */
static void a_long_hold_fails_at_once(void **state)
{
	const struct step step = { .status = 503, .header = "Retry-After: 60" };
	struct script s;
	struct df_answer a;

	(void)state;
	script_start(&s, &step, 1);
	struct df_api *api = open_api(s.url, 0);
	int64_t start = df_deadline_ms(0);
	assert_int_equal(query(api, true, 2000, 0, &a), DF_EOFFLINE);
	assert_int_equal(query(api, true, 2000, 0, &a), DF_EOFFLINE);
	assert_true(df_deadline_ms(0) - start < 1500 * DF_NS_PER_MS);
	assert_int_equal(script_n(&s), 1);
	close_api(api);
	script_stop(&s);
}

static void understands_a_date(void **state)
{
	struct df_http_conf conf = { 0 };
	struct df_http_req req = { .method = "GET",
				   .path = "/",
				   .what = "x",
				   .class = DF_HTTP_URGENT,
				   .timeout_ms = 3000 };
	struct df_http_answer a;
	struct df_http *h;
	struct script s;
	char header[80], date[64];
	time_t at = time(NULL) + 30;
	struct tm tm;

	(void)state;
	gmtime_r(&at, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	snprintf(header, sizeof(header), "Retry-After: %s", date);
	struct step step = { .status = 503, .header = header };
	script_start(&s, &step, 1);
	conf.base_url = s.url;
	assert_int_equal(df_http_new(&conf, &h), 0);
	df_http_do(h, &req, &a);
	assert_int_equal(a.status, 503);
	assert_in_range(a.retry_after_ms, 27000, 31000);
	df_http_answer_release(&a);
	df_http_stop(h);
	df_http_free(h);
	script_stop(&s);
}

static void never_follows_a_redirect(void **state)
{
	struct script target, s;
	struct df_answer a;
	char header[96];

	(void)state;
	script_start(&target, NULL, 0);
	snprintf(header, sizeof(header), "Location: %s/", target.url);
	struct step step = { .status = 307, .header = header };
	script_start(&s, &step, 1);
	struct df_api *api = open_api(s.url, 0);
	assert_int_equal(query(api, true, 2000, 0, &a), DF_EOFFLINE);
	assert_int_equal(script_n(&s), 1);
	assert_int_equal(script_n(&target), 0);
	close_api(api);
	script_stop(&s);
	script_stop(&target);
}

static void bounds_the_answer(void **state)
{
	const struct step step = { .status = 200, .big = 200000 };
	size_t n;

	(void)state;
	assert_int_equal(ask(&step, 1, false, 3000, 100000, &n), -EOVERFLOW);
	assert_int_equal(n, 1);
}

static void nobody_listens(void **state)
{
	struct df_api *api = open_api("http://127.0.0.1:9", 0);
	struct df_answer a;

	(void)state;
	assert_int_equal(query(api, true, 700, 0, &a), DF_EOFFLINE);
	struct df_api_health h;
	df_api_health(api, &h);
	assert_int_equal(h.err, DF_EOFFLINE);
	assert_non_null(strstr(h.text, "cannot connect"));
	assert_true(h.retries > 0);
	close_api(api);
}

/* ---- many threads */

struct worker {
	struct df_api *api;
	int err;
	int64_t ms;
	enum df_http_class class;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct df_call call = { .what = "test",
				.class = w->class ? w->class : DF_HTTP_URGENT,
				.deadline_ns = df_deadline_ms(w->ms) };
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "SELECT %d", (int)call.class);
	w->err = df_api_sql(w->api, &s, &call, &a);
	df_stmt_release(&s);
	df_answer_release(&a);
	return NULL;
}

static void runs_few_at_once(void **state)
{
	const struct step step = { .status = 200, .body = ok, .delay_ms = 20 };
	struct worker w[16];
	pthread_t t[16];
	struct script s;

	(void)state;
	script_start(&s, &step, 1);
	struct df_api *api = open_api(s.url, 0);
	for (int i = 0; i < 16; i++) {
		w[i] = (struct worker){ api, -1, 10000, DF_HTTP_BULK };
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(w[i].err, 0);
	}
	assert_int_equal(script_n(&s), 16);
	assert_in_range(s.max_running, 2, 3);
	struct df_api_health h;
	df_api_health(api, &h);
	assert_in_range(h.http.connects, 1, 3); /* kept alive */
	assert_int_equal(h.http.in_flight, 0);
	close_api(api);
	script_stop(&s);
}

/* Answers that come in one go free all slots at once: who is queued must not
 * wait for the next event. */
static void nobody_is_forgotten(void **state)
{
	const struct step step = { .status = 200, .body = ok };
	struct worker w[12];
	pthread_t t[12];
	struct script s;

	(void)state;
	script_start(&s, &step, 1);
	struct df_api *api = open_api(s.url, 0);
	for (int round = 0; round < 60; round++) {
		int64_t start = df_deadline_ms(0);
		for (int i = 0; i < 12; i++) {
			w[i] = (struct worker){ api, -1, 5000, DF_HTTP_BULK };
			assert_int_equal(
				pthread_create(&t[i], NULL, work, &w[i]), 0);
		}
		for (int i = 0; i < 12; i++) {
			pthread_join(t[i], NULL);
			assert_int_equal(w[i].err, 0);
		}
		assert_true(df_deadline_ms(0) - start < 4000 * DF_NS_PER_MS);
	}
	close_api(api);
	script_stop(&s);
}

/* Three slow uploads, more waiting: a commit passes them, a feed and a second
 * commit wait. */
static void the_urgent_pass(void **state)
{
	static const enum df_http_class order[] = {
		DF_HTTP_BULK, DF_HTTP_BULK,   DF_HTTP_BULK,
		DF_HTTP_BULK, DF_HTTP_BULK,   DF_HTTP_URGENT,
		DF_HTTP_FEED, DF_HTTP_URGENT, DF_HTTP_FEED
	};
	const struct step step = { .status = 200,
				   .body = ok,
				   .delay_ms = 1200 };
	struct worker w[9];
	pthread_t t[9];
	struct script s;
	int at_urgent = -1, bulk_before = 0;

	(void)state;
	script_start(&s, &step, 1);
	struct df_api *api = open_api(s.url, 0);
	for (int i = 0; i < 9; i++) {
		w[i] = (struct worker){ api, -1, 20000, order[i] };
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
		usleep(20000);
	}
	for (int i = 0; i < 9; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(w[i].err, 0);
	}
	assert_int_equal(script_n(&s), 9);
	assert_int_equal(s.max_running, 4);
	for (size_t i = 0; i < 9 && at_urgent < 0; i++) {
		if (strstr(s.seen[i].body, "SELECT 2"))
			at_urgent = (int)i;
		bulk_before += strstr(s.seen[i].body, "SELECT 1") != NULL;
	}
	assert_int_equal(bulk_before, 3);
	int64_t after = between_ms(&s.seen[0], &s.seen[at_urgent]);
	assert_in_range(after, 300, slow_ms(1000));
	close_api(api);
	script_stop(&s);
}

static void stop_wakes_everybody(void **state)
{
	const struct step steps[] = { { .status = 503 },
				      { .status = 200, .delay_ms = 1500 } };
	struct worker w[6];
	pthread_t t[6];
	struct script s;

	(void)state;
	script_start(&s, steps, 2);
	struct df_api *api = open_api(s.url, 0);
	for (int i = 0; i < 6; i++) {
		w[i] = (struct worker){ api, -1, 60000, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	usleep(100000);
	int64_t start = df_deadline_ms(0);
	df_api_stop(api);
	for (int i = 0; i < 6; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(w[i].err, -ECANCELED);
	}
	assert_true(df_deadline_ms(0) - start < 500 * DF_NS_PER_MS);
	df_api_free(api);
	script_stop(&s);
}

static void reset_repeats_elsewhere(void **state)
{
	const struct step steps[] = { { .status = 200, .delay_ms = 3000 },
				      { .status = 200, .body = ok } };
	struct worker w;
	pthread_t t;
	struct script s;

	(void)state;
	script_start(&s, steps, 2);
	w = (struct worker){ open_api(s.url, 0), -1, 10000, 0 };
	assert_int_equal(pthread_create(&t, NULL, work, &w), 0);
	usleep(200000);
	int64_t start = df_deadline_ms(0);
	df_api_reset(w.api);
	pthread_join(t, NULL);
	assert_int_equal(w.err, 0);
	assert_true(df_deadline_ms(0) - start < 1500 * DF_NS_PER_MS);
	assert_int_equal(script_n(&s), 2);
	close_api(w.api);
	script_stop(&s);
}

static void keeps_the_bandwidth(void **state)
{
	const struct step step = { .status = 200, .body = ok };
	struct df_call call = { .what = "test",
				.class = DF_HTTP_BULK,
				.writes = true };
	static char data[150000];
	struct df_answer a;
	struct df_stmt st;
	struct script s;

	(void)state;
	script_start(&s, &step, 1);
	struct df_api *api = open_api(s.url, 100000);
	memset(data, 'x', sizeof(data));
	df_stmt_init(&st, 0);
	df_stmt_sql(&st, "INSERT");
	df_stmt_b64(&st, data, sizeof(data)); /* 200,000 bytes */
	call.deadline_ns = df_deadline_ms(10000);
	int64_t start = df_deadline_ms(0);
	assert_int_equal(df_api_sql(api, &st, &call, &a), 0);
	int64_t ms = (df_deadline_ms(0) - start) / DF_NS_PER_MS;
	assert_in_range(ms, 1500, 4000);
	assert_int_equal(s.seen[0].body_len, st.json.len);
	assert_memory_equal(s.seen[0].body, st.json.data, st.json.len);
	df_answer_release(&a);
	df_stmt_release(&st);
	close_api(api);
	script_stop(&s);
}

static void refuses_bad_urls(void **state)
{
	static const char *const bad[] = { "",
					   "ftp://x",
					   "nonsense",
					   "https://u:p@host",
					   "file:///etc",
					   "http://host/?q" };
	struct df_http *h;

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(bad); i++) {
		struct df_http_conf conf = { .base_url = bad[i] };
		assert_int_equal(df_http_new(&conf, &h), -EINVAL);
	}
	struct df_http_conf conf = { .base_url = "https://h.example/" };
	assert_int_equal(df_http_new(&conf, &h), 0);
	assert_string_equal(df_http_base(h), "https://h.example");
	assert_int_equal(df_http_set_auth(h, "a\r\nX: y", NULL), -EINVAL);
	df_http_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_what_it_should),
		cmocka_unit_test(judges_every_answer),
		cmocka_unit_test(a_read_is_never_in_doubt),
		cmocka_unit_test(repeats_until_it_works),
		cmocka_unit_test(waits_as_told),
		cmocka_unit_test(a_long_hold_fails_at_once),
		cmocka_unit_test(understands_a_date),
		cmocka_unit_test(never_follows_a_redirect),
		cmocka_unit_test(bounds_the_answer),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(runs_few_at_once),
		cmocka_unit_test(nobody_is_forgotten),
		cmocka_unit_test(the_urgent_pass),
		cmocka_unit_test(stop_wakes_everybody),
		cmocka_unit_test(reset_repeats_elsewhere),
		cmocka_unit_test(keeps_the_bandwidth),
		cmocka_unit_test(refuses_bad_urls),
	};

	/* What the tests provoke is not worth a line each. */
	df_log_open("/dev/null", "test");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
