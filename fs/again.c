/* again.c - see again.h. */
#include "fs/again.h"

#include <stdlib.h>
#include <string.h>

#include "fs/park.h"

/* A new version with other pages can come between loading and running. */
#define AGAIN_TRIES 4
/* Not an error: run() has not been called, the database is behind. */
#define AGAIN_BEHIND (-EBUSY)

static const char *again_name(char **at, const char *name)
{
	size_t size = name ? strlen(name) + 1 : 0;
	const char *copy = name ? memcpy(*at, name, size) : NULL;

	*at += size;
	return copy;
}

static struct df_again *again_copy(const struct df_again *a)
{
	size_t len = a->data ? a->len : 0;
	size_t names = (a->name ? strlen(a->name) + 1 : 0) +
		       (a->name2 ? strlen(a->name2) + 1 : 0);
	struct df_again *c = malloc(sizeof(*c) + len + names);

	if (!c)
		return NULL;
	*c = *a;
	char *at = (char *)(c + 1);
	if (len)
		c->data = memcpy(at, a->data, len);
	at += len;
	c->name = again_name(&at, a->name);
	c->name2 = again_name(&at, a->name2);
	return c;
}

static void again_end(struct df_park *p, int err)
{
	fuse_req_t req = df_park_take(p);
	struct df_again *a = df_park_extra(p);

	if (err)
		df_fs_reply(req, err);
	else
		a->answer(req, a);
	df_park_leave(p);
}

static int again_run(struct df_fs *fs, struct df_again *a, struct df_park *p)
{
	return a->changes && df_vol_behind(fs->vol) ? AGAIN_BEHIND
						    : a->run(fs, a, p);
}

static int again_try(void *arg)
{
	struct df_park *p = arg;
	struct df_again *a = df_park_extra(p);

	return a->run(df_park_fs(p), a, p);
}

static bool again_interrupted(void *arg)
{
	return df_park_interrupted(arg);
}

static void again_done(void *arg, int err);
static void again_loaded(void *arg, int err);

static const struct df_wait_ops again_ops = {
	.run = again_try,
	.done = again_done,
	.interrupted = again_interrupted,
};

/* 0: both maps are known; DF_EPARKED: again_loaded() comes. */
static int again_load(struct df_fs *fs, const struct df_again *a,
		      struct df_park *p)
{
	int err = df_vol_load(fs->vol, a->nid, again_loaded, p);

	if (!err && a->nid2)
		err = df_vol_load(fs->vol, a->nid2, again_loaded, p);
	return err;
}

/* What has to come before the next try.  0: it may be made now. */
static int again_wait(struct df_park *p, int why)
{
	struct df_again *a = df_park_extra(p);
	struct df_fs *fs = df_park_fs(p);

	if (why == -EAGAIN)
		return again_load(fs, a, p);
	return df_vol_wait(fs->vol,
			   why == -ENOSPC ? DF_WAIT_ROOM : DF_WAIT_FOLD,
			   &again_ops, p);
}

static bool again_waits(const struct df_again *a, int err)
{
	return err == -EAGAIN ||
	       (a->changes && (err == -ENOSPC || err == AGAIN_BEHIND));
}

/* p is held: from its worker, or from the volume's thread.  err: what the last
 * try gave, 0 for none that counts. */
static void again_go(struct df_park *p, int err)
{
	struct df_again *a = df_park_extra(p);
	int tries = 0;

	do {
		if (again_waits(a, err))
			err = again_wait(p, err);
		if (err == DF_EPARKED)
			return; /* p may be gone already */
		if (!err && df_park_interrupted(p))
			err = -EINTR;
		if (err)
			break;
		/* Not again_run(): it has waited, and the database may be
		 * behind once more because of others. */
		err = a->run(df_park_fs(p), a, p);
		if (err == DF_EPARKED)
			return;
	} while (again_waits(a, err) && ++tries < AGAIN_TRIES);
	again_end(p, err == -EAGAIN ? -EIO : err);
}

static void again_loaded(void *arg, int err)
{
	again_go(arg, err);
}

/* df_vol_wait()'s last word: the tries were its own. */
static void again_done(void *arg, int err)
{
	if (err == -EAGAIN)
		again_go(arg, err);
	else
		again_end(arg, err);
}

void df_again(fuse_req_t req, struct df_again *a)
{
	struct df_fs *fs = df_fs_of(req);
	struct df_park *p = df_park_get(req, a->data ? a->len : 0);

	a->req = req;
	int err = p ? again_run(fs, a, p) : -ENOMEM;
	if (err == DF_EPARKED) {
		df_park_hold(p);
		return;
	}
	if (again_waits(a, err)) {
		struct df_again *copy = again_copy(a);
		if (copy) {
			df_park_keep(p, copy);
			again_go(p, err);
			return;
		}
		err = -ENOMEM;
	}
	if (err)
		df_fs_reply(req, err);
	else
		a->answer(req, a);
}
