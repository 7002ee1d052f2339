/* watch.c - see watch.h. */
#include "tools/sandbox/watch.h"

#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "base/err.h"
#include "tools/sandbox/intr.h"

#define KILL_AFTER_MS 5000
#define GIVE_UP_MS 15000

void df_watch_init(struct df_watch *w, long timeout_s, bool forward)
{
	*w = (struct df_watch){ .forward = forward };
	if (timeout_s > 0)
		w->term_ns = df_deadline_ms(timeout_s * 1000);
}

int df_watch_next(struct df_watch *w)
{
	int64_t now = df_deadline_ms(0);

	if (w->term_ns && now >= w->term_ns) {
		w->term_ns = 0;
		w->timed_out = true;
		w->kill_ns = df_deadline_ms(KILL_AFTER_MS);
		return SIGTERM;
	}
	if (w->kill_ns && now >= w->kill_ns) {
		w->kill_ns = 0;
		w->end_ns = df_deadline_ms(GIVE_UP_MS);
		return SIGKILL;
	}
	if (w->end_ns && now >= w->end_ns)
		return -ETIMEDOUT;
	if (!w->forward)
		return df_intr_now() ? -EINTR : 0;
	int sig = df_intr_take();
	if (!sig)
		return 0;
	return ++w->forwarded >= 3 ? SIGKILL : sig;
}

int df_watch_wait_ms(const struct df_watch *w, int max_ms)
{
	int64_t at = w->term_ns   ? w->term_ns
		     : w->kill_ns ? w->kill_ns
				  : w->end_ns;

	if (!at)
		return max_ms;
	int64_t left = (at - df_deadline_ms(0)) / DF_NS_PER_MS + 1;
	return left < 0 ? 0 : (int)DF_MIN(left, (int64_t)max_ms);
}

int df_watch_status(const struct df_watch *w, int code, int sig)
{
	if (w->timed_out)
		return 124;
	return sig ? 128 + sig : code;
}
