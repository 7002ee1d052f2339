/* drain.c - see drain.h. */
#include "tools/drain.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "cache/volume.h"

#define TICK_MS 200

struct drain {
	struct df_lock lock;
	struct df_cond done_cond;
	bool done; /* lock */
	int err;   /* lock */
};

static void drain_done(void *arg, int err)
{
	struct drain *d = arg;

	df_lock(&d->lock);
	d->done = true;
	d->err = err;
	df_cond_signal(&d->done_cond);
	df_unlock(&d->lock);
}

static int drain_wait(struct df_vol *v, struct drain *d,
		      bool (*tick)(void *arg), void *arg)
{
	bool given_up = false;

	df_lock(&d->lock);
	while (!d->done) {
		df_cond_wait_until(&d->done_cond, &d->lock,
				   df_deadline_ms(TICK_MS));
		if (d->done || given_up || !tick)
			continue;
		df_unlock(&d->lock);
		given_up = !tick(arg);
		/* the completion still comes, so d stays until then */
		if (given_up)
			df_vol_interrupt(v, d);
		df_lock(&d->lock);
	}
	int err = d->err;
	df_unlock(&d->lock);
	return err;
}

int df_drain(struct df_vol *v, int64_t timeout_ms, bool (*tick)(void *arg),
	     void *arg)
{
	struct drain d = { .done = false };

	df_lock_init(&d.lock);
	df_cond_init(&d.done_cond);
	int err = df_vol_sync(v, 0, true, timeout_ms, drain_done, &d);
	if (err == DF_EPARKED)
		err = drain_wait(v, &d, tick, arg);
	df_cond_release(&d.done_cond);
	df_lock_release(&d.lock);
	return err;
}
