// links: base sandbox
/* fuzz_connect.c - any bytes as a Connect stream, whole and in pieces: the
 * same envelopes either way. */
#include <stdint.h>
#include <stdlib.h>

#include "base/err.h"
#include "tools/sandbox/connect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on(void *arg, bool last, json_t *value)
{
	struct df_event ev;

	(void)arg, (void)last;
	int err = df_event_parse(value, &ev);
	if (!err && ev.end && !ev.exited && ev.code < 0)
		abort(); /* a negative code never gets out */
	df_buf_release(&ev.data);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct df_envelopes whole, pieces;
	int a, b = 0;

	df_envelopes_init(&whole, on, NULL);
	df_envelopes_init(&pieces, on, NULL);
	a = df_envelopes_feed(&whole, data, size);
	size_t step = size ? 1 + data[0] % 7 : 1;
	for (size_t at = 0; !b && at < size; at += step)
		b = df_envelopes_feed(&pieces, data + at,
				      DF_MIN(step, size - at));
	if (a != b || whole.count != pieces.count ||
	    whole.ended != pieces.ended)
		abort();
	df_envelopes_release(&whole);
	df_envelopes_release(&pieces);
	return 0;
}
