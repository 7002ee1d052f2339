/* rollback.c - see rollback.h. */
#include "cache/rollback.h"

#include <stdlib.h>

#include "cache/poll.h"

static int id_cmp(const void *a, const void *b)
{
	return df_id_cmp(a, b); /* struct df_dep begins with its id */
}

static bool is_in(const struct df_id *id, const struct df_dep *rows, size_t n)
{
	return n && bsearch(id, rows, n, sizeof(*rows), id_cmp);
}

/* Keep of rows what the log lacks and nobody may have deleted: a checkpoint's
 * writer deletes only what the checkpoint before it covers too. */
static int keep_missing(struct df_vol *v, struct df_dep *rows, size_t *n)
{
	struct df_idepoch_list log = { 0 };
	uint64_t newest = 0;
	size_t left = 0;
	int err = v->remote->ops->rows_list(v->remote, df_poll_timeout_ms(v),
					    &log, NULL);

	if (err)
		return err;
	if (log.n)
		qsort(log.v, log.n, sizeof(*log.v), id_cmp);
	for (size_t i = 0; i < log.n; i++)
		newest = DF_MAX(newest, log.v[i].epoch);
	for (size_t i = 0; i < *n; i++)
		if (rows[i].epoch + 1 >= newest &&
		    !is_in(&rows[i].id, log.v, log.n))
			rows[left++] = rows[i];
	*n = left;
	free(log.v);
	return 0;
}

static void forget_rows(struct df_vol *v, struct df_dep *rows, size_t n)
{
	static const struct df_id none;
	size_t left = 0;

	qsort(rows, n, sizeof(*rows), id_cmp);
	df_lock(&v->lock);
	for (size_t i = 0; i < n; i++)
		df_fold_del_row(v->fold, &rows[i].id);
	for (size_t i = 0; i < v->n_newdeps; i++)
		if (!is_in(&v->newdeps[i].id, rows, n))
			v->newdeps[left++] = v->newdeps[i];
	v->n_newdeps = left;
	if (is_in(&v->prev, rows, n)) {
		v->prev = none;
		df_fold_set_meta(v->fold, "prev0", 0);
		df_fold_set_meta(v->fold, "prev1", 0);
	}
	v->feed_n = 0;
	df_fold_set_meta(v->fold, "feed_n", 0);
	df_vol_say(v,
		   "the server lost %zu rows of the log that it had (restored "
		   "from an older backup?): what they held is still here and "
		   "may be missing in other mounts",
		   n);
	df_fold_flush(v->fold);
	df_unlock(&v->lock);
}

int df_rollback_check(struct df_vol *v)
{
	size_t n;

	if (!v->remote->caps.ours)
		return 0;
	df_lock(&v->lock);
	struct df_dep *rows = df_fold_rows(v->fold, false, &n);
	df_unlock(&v->lock);
	int err = n ? keep_missing(v, rows, &n) : 0;
	/* A listing may have been on its way while a row was deleted. */
	if (!err && n)
		err = keep_missing(v, rows, &n);
	if (!err && n)
		forget_rows(v, rows, n);
	free(rows);
	df_lock(&v->lock);
	if (!err)
		v->last_list_ns = df_clock_mono_ns();
	df_unlock(&v->lock);
	return err;
}
