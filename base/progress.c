/* progress.c - see progress.h. */
#include "base/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define DELAY_NS (500 * DF_NS_PER_MS)
#define REDRAW_NS (200 * DF_NS_PER_MS)

const char *df_size_text(uint64_t bytes, char out[DF_SIZE_TEXT])
{
	static const char *const unit[] = { "bytes", "KiB", "MiB", "GiB",
					    "TiB",   "PiB", "EiB" };
	double x = (double)bytes;
	int u = 0;

	while (x >= 1024) {
		x /= 1024;
		u++;
	}
	snprintf(out, DF_SIZE_TEXT, u ? "%.1f %s" : "%.0f %s", x, unit[u]);
	return out;
}

void df_progress_start(struct df_progress *p, const char *verb)
{
	int64_t now = df_clock_mono_ns();

	*p = (struct df_progress){
		.verb = verb,
		.start_ns = now,
		.next_ns = now + DELAY_NS,
		.tty = isatty(STDERR_FILENO),
	};
}

void df_progress_bytes(struct df_progress *p, uint64_t done, uint64_t total)
{
	char a[DF_SIZE_TEXT], b[DF_SIZE_TEXT];
	int64_t now = df_clock_mono_ns();

	p->done = done;
	p->total = total;
	if (!p->tty || now < p->next_ns)
		return;
	p->next_ns = now + REDRAW_NS;
	p->shown = true;
	if (total)
		fprintf(stderr, "\r%s: %s of %s, %.0f%%\033[K", p->verb,
			df_size_text(done, a), df_size_text(total, b),
			100.0 * (double)done / (double)total);
	else
		fprintf(stderr, "\r%s: %s\033[K", p->verb,
			df_size_text(done, a));
	fflush(stderr);
}

void df_progress_stop(struct df_progress *p)
{
	char a[DF_SIZE_TEXT];
	double s = (double)(df_clock_mono_ns() - p->start_ns) / DF_NS_PER_S;

	if (p->shown)
		fprintf(stderr, "\r%s: %s in %.1f s\033[K\n", p->verb,
			df_size_text(p->done, a), s);
	p->shown = false;
}
