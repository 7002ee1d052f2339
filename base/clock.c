/* clock.c - see clock.h. */
#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static const struct df_clock_ops *clock_ops;

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * DF_NS_PER_S + ts.tv_nsec;
}

void df_clock_set(const struct df_clock_ops *ops)
{
	clock_ops = ops;
}

int64_t df_clock_real_ns(void)
{
	return clock_ops ? clock_ops->real_ns(clock_ops->arg)
			 : read_clock(CLOCK_REALTIME);
}

int64_t df_clock_mono_ns(void)
{
	return clock_ops ? clock_ops->mono_ns(clock_ops->arg)
			 : read_clock(CLOCK_BOOTTIME);
}

int64_t df_deadline_ms(int64_t ms)
{
	return read_clock(CLOCK_MONOTONIC) + ms * DF_NS_PER_MS;
}
