/* test_sandbox_connect.c - envelopes and process events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tools/sandbox/connect.h"

struct seen {
	int count, last;
	int fail; /* what `on` returns */
};

static int on(void *arg, bool last, json_t *value)
{
	struct seen *s = arg;

	assert_true(json_is_object(value));
	s->count++;
	s->last += last;
	return s->fail;
}

static const char stream[] = "\0\0\0\0\x0b{\"a\": \"b\"} "
			     "\0\0\0\0\x02{}"
			     "\2\0\0\0\x02{}";
#define STREAM_LEN (sizeof(stream) - 1)

static void whole_and_in_pieces(void **state)
{
	(void)state;
	for (size_t step = 1; step <= STREAM_LEN; step++) {
		struct seen s = { 0 };
		struct df_envelopes e;
		df_envelopes_init(&e, on, &s);
		for (size_t at = 0; at < STREAM_LEN; at += step)
			assert_int_equal(df_envelopes_feed(
						 &e, stream + at,
						 DF_MIN(step, STREAM_LEN - at)),
					 0);
		assert_int_equal(s.count, 3);
		assert_int_equal(s.last, 1);
		assert_true(e.ended);
		df_envelopes_release(&e);
	}
}

static int feed(const char *data, size_t len, int fail)
{
	struct seen s = { .fail = fail };
	struct df_envelopes e;

	df_envelopes_init(&e, on, &s);
	int err = df_envelopes_feed(&e, data, len);
	df_envelopes_release(&e);
	return err;
}

static void refused(void **state)
{
	(void)state;
	assert_int_equal(feed("\1\0\0\0\2{}", 7, 0), -EPROTO); /* gzip */
	assert_int_equal(feed("\0\0\0\0\2[]", 7, 0), -EPROTO);
	assert_int_equal(feed("\0\0\0\0\2{x", 7, 0), -EPROTO);
	assert_int_equal(feed("\0\0\0\0\0", 5, 0), -EPROTO); /* empty */
	assert_int_equal(feed("\0\xff\xff\xff\xff{", 6, 0), -EPROTO);
	assert_int_equal(feed("\2\0\0\0\2{}\0", 8, 0), -EPROTO); /* after */
	assert_int_equal(feed("\0\0\0\0\2{}", 7, -EPIPE), -EPIPE);
}

static void a_cut_stream_has_not_ended(void **state)
{
	struct seen s = { 0 };
	struct df_envelopes e;

	(void)state;
	df_envelopes_init(&e, on, &s);
	assert_int_equal(df_envelopes_feed(&e, stream, STREAM_LEN - 1), 0);
	assert_false(e.ended);
	df_envelopes_release(&e);
}

static struct df_event event(const char *json)
{
	struct df_event ev;
	json_t *v = json_loads(json, 0, NULL);

	assert_non_null(v);
	assert_int_equal(df_event_parse(v, &ev), 0);
	json_decref(v);
	return ev;
}

static void events(void **state)
{
	(void)state;
	struct df_event ev = event("{\"event\":{\"start\":{\"pid\":95}}}");
	assert_true(ev.start);
	assert_int_equal(ev.pid, 95);
	df_buf_release(&ev.data);
	ev = event("{\"event\":{\"data\":{\"stderr\":\"aGkK\"}}}");
	assert_int_equal(ev.stream, 2);
	assert_int_equal(ev.data.len, 3);
	assert_memory_equal(ev.data.data, "hi\n", 3);
	df_buf_release(&ev.data);
	/* zero is left out; blanks come as they like */
	ev = event("{\"event\": {\"end\": {\"exited\":true, \"status\": "
		   "\"exit status 0\"}}}");
	assert_true(ev.end);
	assert_int_equal(ev.code, 0);
	assert_int_equal(ev.sig, 0);
	df_buf_release(&ev.data);
	ev = event("{\"event\":{\"end\":{\"exitCode\":-1,\"status\":"
		   "\"signal: killed\"}}}");
	assert_int_equal(ev.sig, 9);
	df_buf_release(&ev.data);
	/* neither exited nor a signal: never 0 */
	ev = event("{\"event\":{\"end\":{\"exitCode\":-1,\"status\":\"?\"}}}");
	assert_int_equal(ev.code, 255);
	df_buf_release(&ev.data);
	ev = event("{\"event\":{\"keepalive\":{}}}");
	assert_false(ev.start || ev.end || ev.stream);
	df_buf_release(&ev.data);
}

static void bad_base64(void **state)
{
	struct df_event ev;
	json_t *v =
		json_loads("{\"event\":{\"data\":{\"pty\":\"%%\"}}}", 0, NULL);

	(void)state;
	assert_int_equal(df_event_parse(v, &ev), -EPROTO);
	df_buf_release(&ev.data);
	json_decref(v);
}

static void signals(void **state)
{
	(void)state;
	assert_int_equal(df_signal_number("signal: terminated"), 15);
	assert_int_equal(df_signal_number("signal: SIGKILL"), 9);
	assert_int_equal(df_signal_number("signal: segmentation fault"), 11);
	assert_int_equal(
		df_signal_number("signal: segmentation fault (core dumped)"),
		11);
	assert_int_equal(df_signal_number("signal: signal 44"), 44);
	assert_int_equal(df_signal_number("exit status 1"), 0);
	assert_int_equal(df_signal_number(NULL), 0);
}

static void round_trip(void **state)
{
	struct seen s = { 0 };
	struct df_envelopes e;
	struct df_buf b;

	(void)state;
	df_buf_init(&b, 0);
	assert_int_equal(df_envelope_put(&b, json_pack("{s:i}", "x", 1)), 0);
	df_envelopes_init(&e, on, &s);
	assert_int_equal(df_envelopes_feed(&e, b.data, b.len), 0);
	assert_int_equal(s.count, 1);
	df_envelopes_release(&e);
	df_buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_and_in_pieces),
		cmocka_unit_test(refused),
		cmocka_unit_test(a_cut_stream_has_not_ended),
		cmocka_unit_test(events),
		cmocka_unit_test(bad_base64),
		cmocka_unit_test(signals),
		cmocka_unit_test(round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
