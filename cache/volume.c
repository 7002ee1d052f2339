/* volume.c - the life of a volume: open, start, stop, status; see volume.h. */
#include "cache/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "cache/checkpoint.h"
#include "cache/copy.h"
#include "cache/identity.h"
#include "cache/inlinepack.h"
#include "cache/journal.h"
#include "cache/lost.h"
#include "cache/poll.h"
#include "cache/room.h"
#include "cache/rowfiles.h"
#include "cache/step.h"
#include "cache/upload.h"
#include "cache/view.h"
#include "cache/vol_data.h"
#include "cache/worker.h"

#define CACHE_DEFAULT (UINT64_C(1) << 30)
#define FETCH_THREADS 3
#define SEND_THREADS 3
/* How long a mount that could do without the server waits for it. */
#define CATCH_UP_MS 3000
#define LOCK_WAIT_MS 3000

/* ---- the cache directory is one daemon's */
/* The server's "no" is -EACCES, too: this one is -EPERM. */
static int open_lock(struct df_vol *v, const char *path)
{
	const char *dir = v->conf.cache_dir;
	struct stat st;

	int err = df_mkdir_p(dir, 0700);
	if (!err && stat(dir, &st))
		err = -errno;
	if (!err && geteuid() && st.st_uid != geteuid())
		return df_fail(-EPERM,
			       "cache directory %s belongs to user %u: give "
			       "another with -o cache_dir=",
			       dir, (unsigned)st.st_uid);
	if (!err)
		v->lock_fd = open(
			path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (!err && v->lock_fd < 0)
		err = -errno;
	if (!err)
		return 0;
	return df_fail(err == -EACCES ? -EPERM : err,
		       "cache directory %s cannot be used, give another with "
		       "-o cache_dir=",
		       dir);
}

/* A daemon that has ended its service holds its lock a moment longer. */
static bool locked(int fd)
{
	static const struct timespec pause = { .tv_nsec = 20 * DF_NS_PER_MS };
	int64_t until = df_deadline_ms(LOCK_WAIT_MS);

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK || df_deadline_ms(0) > until)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int take_dir(struct df_vol *v)
{
	DF_FREE char *path = df_strf("%s/lock", v->conf.cache_dir);
	char text[32] = "";

	if (!path)
		return -ENOMEM;
	int err = open_lock(v, path);
	if (err)
		return err;
	if (!locked(v->lock_fd)) {
		if (df_pread_all(v->lock_fd, text, sizeof(text) - 1, 0) < 0)
			text[0] = 0;
		return df_fail(-EBUSY,
			       "cache directory %s is used by process "
			       "%s: unmount that one first, or give "
			       "-o cache_dir=",
			       v->conf.cache_dir, text);
	}
	int n = snprintf(text, sizeof(text), "%d", (int)getpid());
	if (ftruncate(v->lock_fd, 0))
		return -errno;
	return df_pwrite_all(v->lock_fd, text, (size_t)n, 0);
}

static uint64_t default_cache(const char *dir)
{
	struct statvfs st;

	if (statvfs(dir, &st))
		return CACHE_DEFAULT;
	uint64_t disk = (uint64_t)st.f_blocks * st.f_frsize;
	return DF_MAX(DF_MIN(CACHE_DEFAULT, disk / 10), UINT64_C(16) << 20);
}

static void copy_conf(struct df_vol *v, const struct df_vol_conf *conf)
{
	v->conf = *conf;
	v->conf.cache_dir = df_xstrdup(conf->cache_dir);
	v->conf.table = df_xstrdup(conf->table ? conf->table : "");
	v->conf.subdir = conf->subdir ? df_xstrdup(conf->subdir) : NULL;
	if (!v->conf.flush_delay_ms)
		v->conf.flush_delay_ms = DF_FLUSH_DELAY_MS;
	if (!v->conf.read_timeout_ms)
		v->conf.read_timeout_ms = 60000;
	if (!v->conf.view_text_max)
		v->conf.view_text_max = 1 << 20;
}

static struct df_vol *vol_new(const struct df_vol_conf *conf)
{
	struct df_vol *v = df_xalloc(sizeof(*v));

	copy_conf(v, conf);
	v->lock_fd = -1;
	v->root = DF_ROOT_NID;
	v->inval_tail = &v->inval_head;
	df_lock_init(&v->lock);
	struct df_cond *conds[] = { &v->up_cond,    &v->poll_cond,
				    &v->fold_cond,  &v->sync_cond,
				    &v->retry_cond, &v->inval_cond };
	for (size_t i = 0; i < DF_ARRAY_LEN(conds); i++)
		df_cond_init(conds[i]);
	df_buf_init(&v->op.rec, 16 << 20);
	return v;
}

/* The root is there in every volume; nobody made it. */
static void make_root(struct df_vol *v)
{
	struct df_id id = df_root_id();
	struct df_obj *o = df_fold_get(v->fold, DF_ROOT_NID);

	if (o)
		return;
	o = df_obj_new(&id);
	o->nid = DF_ROOT_NID;
	o->atime_ns = df_clock_real_ns();
	df_fold_adopt(v->fold, o);
}

static int load_state(struct df_vol *v)
{
	struct df_fold *f = v->fold;
	uint64_t half[2];

	v->hlc = df_fold_meta(f, "hlc", 0);
	v->node = df_fold_meta(f, "node", 0);
	v->cut_time = df_fold_meta(f, "cut_time", 0);
	v->epoch = df_fold_meta(f, "epoch", 0);
	v->feed_n = df_fold_meta(f, "feed_n", 0);
	v->behind = df_fold_meta(f, "behind", 0);
	v->watermark = df_fold_meta(f, "watermark", 0);
	v->n_revived = df_fold_meta(f, "n_revived", 0);
	v->n_rehung = df_fold_meta(f, "n_rehung", 0);
	v->n_files = df_fold_meta(f, "n_files", 0);
	v->n_bytes = df_fold_meta(f, "n_bytes", 0);
	half[0] = df_fold_meta(f, "prev0", 0);
	half[1] = df_fold_meta(f, "prev1", 0);
	memcpy(v->prev.b, half, sizeof(half));
	v->prev_epoch = df_fold_meta(f, "prev_epoch", 0);
	v->newdeps = df_fold_rows(f, true, &v->n_newdeps);
	v->newdeps_size = v->n_newdeps;
	return 0;
}

/* ---- start: what is dirty, what is an orphan, whose bytes are only here */
static int take_stock(void *arg, struct df_obj *o)
{
	struct df_vol *v = arg;

	if (df_obj_dirty(o))
		df_nidset_add(&v->dirty, o->nid);
	for (uint32_t i = 0; i < o->heads.n; i++) {
		struct df_extmap *m = &o->heads.v[i]->ext;
		for (struct df_extpos p = { 0, 0 }; df_extmap_at(m, p);
		     p = df_extmap_next(m, p)) {
			const struct df_ext *e = df_extmap_at(m, p);
			if (!df_ext_remote(e) && e->loc.seg)
				df_seg_dirty(v->segs, e->loc.seg, e->len);
		}
	}
	/* A copy that an earlier life looked at: replay may make it real, and
	 * would take the text that is there for one that others know. */
	if (df_copy_made_up(o))
		df_fold_drop(v->fold, o);
	return 0;
}

/* Replay forgot nothing.  What had come and gone unseen by others is forgotten
 * now, as it was in the life before: objects, and names of files, which may
 * have been in such directories. */
static int forget_unknown(void *arg, struct df_obj *o)
{
	struct df_vol *v = arg;

	df_vol_reap(v, o);
	if (!(o->flags & DF_OBJ_DEAD))
		df_vol_forget_names(v, o);
	return 0;
}

static int open_local(struct df_vol *v, bool keep_node)
{
	bool fresh = false;
	int err = take_dir(v);

	if (err)
		return err;
	if (!v->conf.cache_size)
		v->conf.cache_size = default_cache(v->conf.cache_dir);
	err = df_segs_open(v->conf.cache_dir, v->conf.cache_size, &v->segs);
	if (!err)
		err = df_fold_open(v->conf.cache_dir, v->conf.memory, v->segs,
				   &v->fold, &fresh);
	if (err)
		return err;
	v->fresh = fresh || !df_fold_meta(v->fold, "synced", 0);
	df_lock(&v->lock);
	make_root(v);
	load_state(v);
	/* Dirty bytes are counted before replay adds and removes some. */
	err = df_fold_each_flagged(v->fold, take_stock, v);
	if (!err)
		err = df_journal_recover(v);
	if (!err)
		err = df_fold_each_flagged(v->fold, forget_unknown, v);
	if (!v->out) /* all that earlier lives noted is in the table */
		v->acked_time = v->cut_time;
	if (!err && (!v->conf.read_only || v->conf.rows) && !keep_node)
		df_identity_renew(v);
	df_identity_note(v);
	v->last_request_ns = df_clock_mono_ns();
	v->inherited = v->dirty.n;
	if (v->dirty.n)
		v->first_dirty_ns = df_clock_mono_ns();
	df_fold_set_meta(v->fold, "node", v->node);
	df_unlock(&v->lock);
	return err;
}

/* A cache that never saw the volume whole needs the server now; another goes
 * on with what it has when the server is not quick. */
static int first_sync(struct df_vol *v, int64_t timeout_ms)
{
	int64_t until = df_clock_mono_ns() + timeout_ms * DF_NS_PER_MS;
	int64_t patience_ms = v->fresh ? timeout_ms
				       : DF_MIN(timeout_ms, CATCH_UP_MS);

	v->open_until_ns = df_deadline_ms(patience_ms);
	v->filling = v->fresh;
	int err = v->fresh ? df_poll_small(v) : 1;
	bool whole = !err;
	/* The newest checkpoint first: what it covers need not be read. */
	if (err == 1)
		err = v->fresh ? df_checkpoint_cold(v) : 0;
	if (!err && !whole)
		err = df_poll(v, true, 0);
	v->open_until_ns = 0;
	while (!err && v->remote->caps.feed && v->more_rows &&
	       df_clock_mono_ns() < until)
		err = df_poll(v, false, 0);
	if (err && v->fresh)
		return err;
	df_lock(&v->lock);
	v->filling = false;
	if (!err) {
		df_fold_set_meta(v->fold, "synced", 1);
		v->fresh = false;
	}
	df_fold_flush(v->fold);
	df_unlock(&v->lock);
	return 0;
}

static int find_subdir(struct df_vol *v)
{
	struct df_entry e;

	if (!v->conf.subdir || !v->conf.subdir[strspn(v->conf.subdir, "/")])
		return 0;
	int err = df_vol_resolve(v, v->conf.subdir, &e);
	if (!err && !S_ISDIR(e.attr.mode))
		err = -ENOTDIR;
	if (err)
		return df_fail(err,
			       "table %s has no directory %s to mount (make it "
			       "where the whole table is mounted)",
			       v->conf.table, v->conf.subdir);
	v->root = e.nid;
	return 0;
}

static int open_volume(const struct df_vol_conf *conf,
		       struct df_remote **remote, int64_t timeout_ms,
		       bool keep_node, struct df_vol **out)
{
	struct df_vol *v = vol_new(conf);
	struct df_remote *wrapped = NULL;

	v->remote = *remote;
	int err = conf->rows ? df_rowfiles_clear(conf->cache_dir) : 0;
	if (!err)
		err = open_local(v, keep_node);
	if (!err)
		err = df_inlinepack_new(v->conf.cache_dir, remote, &wrapped);
	if (!err) {
		v->remote = wrapped;
		v->fetch = df_fetch_new(v->remote, v->segs, 0);
		v->sender = df_sender_new(v, 0);
	}
	if (!err)
		v->view = df_view_new(v);
	if (!err && timeout_ms >= 0)
		err = first_sync(v, timeout_ms);
	if (!err && v->remote->read_only) { /* the first answer said so */
		v->conf.read_only = true;
		df_view_free(v->view);
		v->view = NULL;
	}
	if (!err)
		err = find_subdir(v);
	if (err) {
		v->remote = NULL;
		df_vol_free(v);
		if (wrapped) /* after what reads through it has ended */
			*remote = df_inlinepack_unwrap(wrapped);
		return err;
	}
	*out = v;
	return 0;
}

bool df_vol_read_only(const struct df_vol *v)
{
	return v->conf.read_only || v->remote->read_only;
}

int df_vol_open(const struct df_vol_conf *conf, struct df_remote **remote,
		int64_t timeout_ms, struct df_vol **out)
{
	return open_volume(conf, remote, timeout_ms, false, out);
}

int df_step_open_fork(const struct df_vol_conf *conf, struct df_remote **remote,
		      struct df_vol **out)
{
	return open_volume(conf, remote, -1, true, out);
}

int df_vol_start(struct df_vol *v)
{
	/* Until now both worked on the caller's thread. */
	df_fetch_stop(v->fetch);
	df_fetch_free(v->fetch);
	df_sender_free(v->sender);
	v->fetch = df_fetch_new(v->remote, v->segs, FETCH_THREADS);
	v->sender = df_sender_new(v, SEND_THREADS);
	int err = v->fetch ? df_workers_start(v) : -ENOMEM;
	return !err && v->conf.rows ? df_rowfiles_start(v, &v->rows) : err;
}

/* ---- stop */
static void end_waiters(struct df_vol *v)
{
	df_lock(&v->lock);
	struct df_waiter *sync = v->sync_waiters;
	struct df_waiter *local = v->local_waiters;
	v->sync_waiters = v->local_waiters = NULL;
	df_unlock(&v->lock);
	df_waiters_run(sync, -EIO);
	df_waiters_run(local, -EIO);
	df_room_retry(v, -EIO);
}

int df_vol_stop(struct df_vol *v, int64_t timeout_ms)
{
	int64_t until = df_deadline_ms(timeout_ms);

	df_lock(&v->lock);
	v->stopping = true;
	df_cond_broadcast(&v->up_cond);
	while (v->started && !v->upload_ended &&
	       df_cond_wait_until(&v->retry_cond, &v->lock, until))
		;
	bool remote = df_vol_all_remote(v);
	df_unlock(&v->lock);
	if (remote)
		df_view_drain(v->view, until);
	if (v->started)
		df_workers_stop(v);
	df_fetch_stop(v->fetch);
	df_sender_stop(v->sender);
	end_waiters(v);
	df_work_fold(v, true);
	return remote ? 0 : -ETIMEDOUT;
}

void df_vol_free(struct df_vol *v)
{
	df_view_free(v->view);
	if (v->fetch) {
		df_fetch_stop(v->fetch);
		df_fetch_free(v->fetch);
	}
	df_sender_free(v->sender);
	if (v->fold)
		df_fold_free(v->fold);
	if (v->segs)
		df_segs_free(v->segs);
	if (v->remote) {
		v->remote->ops->stop(v->remote);
		v->remote->ops->free(v->remote);
	}
	while (v->out) {
		struct df_outrow *o = v->out;
		v->out = o->next;
		df_row_release(&o->row);
		free(o);
	}
	while (v->inval_head) {
		struct df_inval_node *n = v->inval_head;
		v->inval_head = n->next;
		free(n);
	}
	df_poll_release(v);
	df_nidset_release(&v->dirty);
	if (v->seen)
		df_dirview_release(v->seen);
	free(v->seen);
	df_nidmap_release(&v->lookups);
	df_nidmap_release(&v->alias);
	df_nidmap_release(&v->copies);
	df_nidmap_release(&v->alias_of);
	df_buf_release(&v->op.rec);
	free(v->op.touched);
	free(v->newdeps);
	free(v->marks);
	if (v->lock_fd >= 0)
		close(v->lock_fd);
	char *owned[] = { (char *)(uintptr_t)v->conf.cache_dir,
			  (char *)(uintptr_t)v->conf.table,
			  (char *)(uintptr_t)v->conf.subdir };
	for (size_t i = 0; i < DF_ARRAY_LEN(owned); i++)
		free(owned[i]);
	free(v);
}

/* ---- durability */
static bool nothing_to_wait_for(const struct df_vol *v)
{
	return df_vol_all_remote(v) && !v->cut && !v->uploading;
}

int df_vol_sync(struct df_vol *v, df_nid nid, bool remote, int64_t timeout_ms,
		df_done_fn *done, void *arg)
{
	struct df_waiter *w = df_xalloc(sizeof(*w));
	bool local = v->conf.fsync_local && !remote;

	df_lock(&v->lock);
	df_vol_used(v);
	int err = df_lost_once(v, nid);
	if (!err && v->failsafe)
		err = -EIO;
	bool idle = nothing_to_wait_for(v);
	if (idle)
		v->inherited = false;
	idle &= !local;
	if (!err && !idle && v->stopped)
		err = -EIO; /* nobody sends it any more */
	if (err || idle) {
		df_unlock(&v->lock);
		free(w);
		return err;
	}
	*w = (struct df_waiter){ .done = done,
				 .arg = arg,
				 .cut = v->dirty.n ? v->cuts + 1 : v->cuts };
	w->nid = nid ? nid : DF_ROOT_NID;
	w->deadline_ns =
		timeout_ms > 0 ? df_clock_mono_ns() + timeout_ms * DF_NS_PER_MS
			       : INT64_MAX;
	struct df_waiter **list = local ? &v->local_waiters : &v->sync_waiters;
	w->next = *list;
	*list = w;
	if (local) {
		df_cond_signal(&v->sync_cond);
	} else {
		v->sync_asked = true;
		df_cond_signal(&v->up_cond);
	}
	df_unlock(&v->lock);
	return DF_EPARKED;
}

/* ---- status */
/* What is not in the table: waiting for a cut, in one, or in rows that the
 * server has not acknowledged.  Locked. */
static void sum_unsent(const struct df_vol *v, struct df_vol_status *out)
{
	uint64_t oldest = v->leaving_time;
	int64_t age_ns = 0;

	out->dirty_bytes = df_segs_dirty_bytes(v->segs) + v->leaving_bytes;
	out->dirty_files =
		v->dirty.n + (v->cut ? v->cut->pending.n : 0) + v->leaving_objs;
	for (const struct df_outrow *o = v->out; o; o = o->next) {
		if (o->acked)
			continue;
		out->dirty_bytes += o->bytes;
		out->dirty_files += DF_MAX(o->n_objs, 1);
		oldest = oldest ? DF_MIN(oldest, o->time) : o->time;
	}
	if (v->dirty.n && v->first_dirty_ns)
		age_ns = df_clock_mono_ns() - v->first_dirty_ns;
	if (oldest)
		age_ns = DF_MAX(age_ns,
				df_clock_real_ns() -
					DF_STAMP_MS(oldest) * DF_NS_PER_MS);
	out->oldest_unsent_s = (double)age_ns / 1e9;
}

/* What is wrong with the server, and in its own words why. */
static void say_trouble(struct df_vol *v, struct df_vol_status *out)
{
	struct df_remote_health h = { 0 };
	const char *what = NULL;

	if (v->remote->ops->health)
		v->remote->ops->health(v->remote, &h);
	out->offline = v->offline || h.away_ms;
	if (v->auth_err == DF_EAUTH)
		what = "the server refuses the credentials; nothing is sent "
		       "until credentials.json is replaced";
	else if (v->auth_err == -EKEYREJECTED)
		what = "the server's certificate is not trusted; nothing is "
		       "sent (see ca_file)";
	else if (v->auth_err)
		what = "the server takes no more (no credit or quota)";
	else if (out->offline)
		what = "the server cannot be reached";
	if (!what || out->n_errors == DF_ARRAY_LEN(out->errors))
		return;
	snprintf(out->errors[out->n_errors++], sizeof(out->errors[0]),
		 "%s: %.160s", what, *h.text ? h.text : v->remote->where);
}

void df_vol_status(struct df_vol *v, struct df_vol_status *out)
{
	*out = (struct df_vol_status){ 0 };
	df_lock(&v->lock);
	out->node = v->node;
	sum_unsent(v, out);
	out->last_commit_ms = v->last_commit_ms;
	out->last_poll_ms = v->last_poll_ms;
	out->poll_interval_ms = v->poll_interval_ms;
	out->cache_bytes = df_segs_bytes(v->segs);
	out->cache_limit = v->conf.cache_size;
	out->epoch = v->epoch;
	out->rows_folded = v->rows_folded;
	out->rows_skipped = v->rows_skipped;
	out->rows_refused = v->rows_refused;
	out->held_files = v->held_files;
	out->packs_sent = v->packs_sent;
	out->bytes_sent = v->bytes_sent;
	out->bytes_fetched = df_fetch_bytes(v->fetch);
	out->feed = v->remote->caps.feed;
	out->fsync_local = v->conf.fsync_local;
	out->failsafe = v->failsafe;
	out->read_only = df_vol_read_only(v);
	out->rows = v->conf.rows;
	if (out->rows) /* its bytes are nobody's to send */
		out->dirty_bytes = out->dirty_files = 0;
	out->n_errors = v->n_errors;
	memcpy(out->errors, v->errors, sizeof(out->errors));
	say_trouble(v, out);
	df_unlock(&v->lock);
}

void df_vol_clear_errors(struct df_vol *v)
{
	df_lock(&v->lock);
	v->n_errors = 0;
	df_unlock(&v->lock);
}
