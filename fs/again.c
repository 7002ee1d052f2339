/* again.c - see again.h. */
#include "fs/again.h"

#include <stdlib.h>
#include <string.h>

#include "fs/park.h"

/* A new version with other pages can come between loading and running. */
#define AGAIN_TRIES 4

static struct df_again *again_copy(const struct df_again *a)
{
	size_t len = a->data ? a->len : 0;
	struct df_again *c = malloc(sizeof(*c) + len);

	if (!c)
		return NULL;
	*c = *a;
	if (len)
		c->data = memcpy(c + 1, a->data, len);
	return c;
}

static void again_loaded(void *arg, int err);

/* 0: both maps are known; DF_EPARKED: again_loaded() comes. */
static int again_load(struct df_fs *fs, const struct df_again *a,
		      struct df_park *p)
{
	int err = df_vol_load(fs->vol, a->nid, again_loaded, p);

	if (!err && a->nid2)
		err = df_vol_load(fs->vol, a->nid2, again_loaded, p);
	return err;
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

/* p is held: from its worker, or from the volume's thread. */
static void again_go(struct df_park *p, int err)
{
	struct df_again *a = df_park_extra(p);

	for (int n = 0; n < AGAIN_TRIES && !err; n++) {
		err = again_load(df_park_fs(p), a, p);
		if (!err && df_park_interrupted(p))
			err = -EINTR;
		if (!err)
			err = a->run(df_park_fs(p), a, p);
		if (err == DF_EPARKED)
			return; /* p may be gone already */
		if (err != -EAGAIN)
			break;
		err = n + 1 < AGAIN_TRIES ? 0 : -EIO;
	}
	again_end(p, err);
}

static void again_loaded(void *arg, int err)
{
	again_go(arg, err);
}

void df_again(fuse_req_t req, struct df_again *a)
{
	struct df_fs *fs = df_fs_of(req);
	struct df_park *p = df_park_get(req, a->data ? a->len : 0);
	int err = p ? a->run(fs, a, p) : -ENOMEM;

	if (err == DF_EPARKED) {
		df_park_hold(p);
		return;
	}
	if (err == -EAGAIN) {
		struct df_again *copy = again_copy(a);
		if (copy) {
			df_park_keep(p, copy);
			again_go(p, 0);
			return;
		}
		err = -ENOMEM;
	}
	if (err)
		df_fs_reply(req, err);
	else
		a->answer(req, a);
}
