/*
 * world.c - nodes, clocks and the schedule of a simulated run; see sim.h.
 *
 * Every call into a node is made "as" that node: the product's clocks then
 * show that node's time.  A step takes 0 to 3 s of true time.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "tests/sim/sim.h"

#define START_MS INT64_C(1800000000000)
#define CACHE_SIZE (UINT64_C(256) << 20)
#define ROUNDS 12 /* of polls and cuts until all must be quiet */

/* ---- what the product asks of the machine */
static struct world *the_world; /* of this process; the clock has no argument */

static int64_t sim_real_ns(void *arg)
{
	const struct world *w = arg;
	int64_t skew = w->now ? w->now->skew_ms : 0;

	return (w->now_ms + skew) * DF_NS_PER_MS;
}

static int64_t sim_mono_ns(void *arg)
{
	const struct world *w = arg;
	int64_t base = w->now ? (w->now->uid + 1) * INT64_C(1000000) : 0;

	return (w->now_ms - START_MS + base) * DF_NS_PER_MS;
}

static struct df_clock_ops sim_clock = { sim_real_ns, sim_mono_ns, NULL };

/* The linker puts this in place of base/hash.c's (--wrap): a run is decided by
 * its seed, ids included. */
void __wrap_df_random(void *out, size_t len);
void __wrap_df_random(void *out, size_t len)
{
	uint8_t *p = out;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)rng_next(&the_world->random);
}

/* SQLite's locks between processes: there is one, and asking the kernel was a
 * tenth of a run's time.  Those between connections are its own. */
static int sim_fcntl(int fd, int cmd, struct flock *lock)
{
	if (cmd != F_SETLK && cmd != F_GETLK)
		return fcntl(fd, cmd, lock);
	if (cmd == F_GETLK)
		lock->l_type = F_UNLCK;
	return 0;
}

static void no_process_locks(void)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

	if (vfs->xSetSystemCall(vfs, "fcntl", (sqlite3_syscall_ptr)sim_fcntl) !=
	    SQLITE_OK)
		abort();
}

void node_as(struct node *nd)
{
	nd->w->now = nd;
}

/* ---- one node */
static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct node *node_alloc(struct world *w)
{
	struct node *nd = calloc(1, sizeof(*nd));

	if (!nd)
		abort();
	nd->w = w;
	nd->uid = w->next_uid++;
	nd->dir = df_strf("%s/n%u", w->tmp, nd->uid);
	return nd;
}

static struct df_vol_conf node_conf(const struct node *nd)
{
	return (struct df_vol_conf){
		.cache_dir = nd->dir,
		.table = "sim",
		.cache_size = CACHE_SIZE,
		.uid = 1000,
		.gid = 1000,
		.umask = 022,
	};
}

void node_open(struct node *nd, const struct set *only)
{
	struct df_vol_conf conf = node_conf(nd);
	struct df_remote *r = sim_remote_new(nd->w, nd, only);
	int err;

	node_as(nd);
	err = df_vol_open(&conf, &r, 10000, &nd->v);
	if (err)
		fail(nd->w, "n%u does not open: %s", nd->uid, df_strerror(err));
}

void node_kill(struct node *nd)
{
	if (!nd->v)
		return;
	node_as(nd);
	df_step_kill(nd->v);
	nd->v = NULL;
	nd->n_opened = 0; /* whoever had files open is dead as well */
}

void node_stop(struct node *nd)
{
	node_as(nd);
	must_be(nd->w, df_vol_stop(nd->v, 0), 0, "stop");
	df_vol_free(nd->v);
	nd->v = NULL;
	nd->n_opened = 0;
}

void node_free(struct node *nd)
{
	node_kill(nd);
	remove_tree(nd->dir);
	if (nd->w->now == nd)
		nd->w->now = NULL;
	if (nd->w->probe == nd)
		nd->w->probe = NULL;
	set_release(&nd->pending);
	while (nd->cuts) {
		struct cutrec *c = nd->cuts;

		nd->cuts = c->next;
		cutrec_free(c);
	}
	free(nd->dir);
	free(nd);
}

void cutrec_free(struct cutrec *c)
{
	set_release(&c->tokens);
	set_release(&c->known);
	set_release(&c->fresh);
	flat_release(&c->shown);
	free(c);
}

static void cutrec_add(struct node *nd, struct cutrec *c)
{
	struct cutrec **at = &nd->cuts;

	while (*at)
		at = &(*at)->next;
	*at = c;
}

static struct cutrec *cutrec_copy(const struct cutrec *from)
{
	struct cutrec *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->held = from->held;
	c->row = from->row;
	set_join(&c->tokens, &from->tokens);
	set_join(&c->known, &from->known);
	set_join(&c->fresh, &from->fresh);
	flat_copy(&from->shown, &c->shown);
	return c;
}

struct node *node_probe(struct world *w, const struct set *only)
{
	struct node *nd = node_alloc(w);

	node_open(nd, only);
	w->probe = nd;
	return nd;
}

struct node *node_new(struct world *w)
{
	struct node *nd = node_alloc(w);
	static const int64_t skew[] = { 0, 0, 0, -60000, 400000, -7200000 };

	must(w, w->n_nodes < MAX_NODES);
	nd->skew_ms = skew[rng_below(&w->rng, DF_ARRAY_LEN(skew))];
	node_open(nd, NULL);
	w->nodes[w->n_nodes++] = nd;
	trace(w, "n%u mounts, skew %lld", nd->uid, (long long)nd->skew_ms);
	return nd;
}

void node_drop(struct world *w, struct node *nd)
{
	for (unsigned i = 0; i < w->n_nodes; i++)
		if (w->nodes[i] == nd)
			w->nodes[i--] = w->nodes[--w->n_nodes];
	node_free(nd);
}

void node_restart(struct node *nd)
{
	trace(nd->w, "n%u is killed and starts again", nd->uid);
	nd->w->n_restarts++;
	node_kill(nd);
	nd->must_notice = false; /* a start takes a new id anyway */
	node_open(nd, NULL);
}

static void copy_tree(struct world *w, const char *from, const char *to)
{
	char *cmd = df_strf("cp -a --sparse=always '%s' '%s'", from, to);

	if (system(cmd))
		fail(w, "cannot copy %s: %s", from, cmd);
	free(cmd);
}

/* The VM is copied; both go on as the same node until somebody notices. */
struct node *node_fork(struct node *nd)
{
	struct world *w = nd->w;
	struct node *twin = node_alloc(w);
	struct df_vol_conf conf = node_conf(twin);
	struct df_remote *r = sim_remote_new(w, twin, NULL);
	int err;

	/* The clock of a restored snapshot goes on where it stopped. */
	trace(w, "n%u is forked: n%u", nd->uid, twin->uid);
	twin->skew_ms = nd->skew_ms;
	for (struct cutrec *c = nd->cuts; c; c = c->next)
		cutrec_add(twin, cutrec_copy(c));
	set_join(&twin->pending, &nd->pending);
	copy_tree(w, nd->dir, twin->dir);
	node_as(twin);
	err = df_step_open_fork(&conf, &r, &twin->v);
	if (err)
		fail(w, "the fork of n%u does not open: %s", nd->uid,
		     df_strerror(err));
	nd->must_notice = twin->must_notice = true;
	w->nodes[w->n_nodes++] = twin;
	w->n_forks++;
	return twin;
}

static void notice(struct node *nd)
{
	node_as(nd);
	if (nd->must_notice) {
		trace(nd->w, "n%u notices that it was forked", nd->uid);
		df_step_notice(nd->v);
	}
	nd->must_notice = false;
}

static unsigned held_files(struct node *nd)
{
	struct df_vol_status st;

	df_vol_status(nd->v, &st);
	return (unsigned)st.held_files;
}

static bool transient(int err)
{
	return err == -EAGAIN || err == DF_EOFFLINE;
}

static void some_deeds(struct node *nd, bool copied)
{
	(void)copied;
	for (unsigned n = rng_below(&nd->w->rng, 4); n; n--)
		deed_random(nd->w, nd);
}

/* A cut with operations in it, of which it must take nothing: it shows what
 * was there, and has the tokens from before. */
static int cut_amid(struct node *nd, struct flat *shown, struct set *pending)
{
	*pending = nd->pending;
	nd->pending = (struct set){ 0 };
	ask_identity(nd);
	flat_read(nd->w, nd, shown);
	flat_detach(shown);
	trace(nd->w, "n%u is about to cut", nd->uid);
	return cut_around(nd, some_deeds);
}

/* A cut finds texts equal, and hides copies: only then are their sums known. */
static bool may_hide(const struct flat *f)
{
	for (size_t i = 0; i < f->n; i++)
		for (size_t k = 0; k < f->n; k++)
			if (k != i && strstr(f->e[i].path, ".conflict-") &&
			    f->e[i].kind == 'f' && f->e[k].kind == 'f' &&
			    !strcmp(f->e[i].text, f->e[k].text))
				return true;
	return false;
}

/* The row that nd has just noted, before it is sent; takes shown. */
static void note_cut(struct node *nd, struct flat *shown, struct set *pending)
{
	static const struct cutrec none;
	struct cutrec *c = cutrec_copy(&none);
	struct world *w = nd->w;

	c->row = newest_row(nd);
	for (size_t i = 0; i < w->table.n_rows; i++)
		if (knows_row(nd, &w->table.row[i].row.id))
			set_add(&c->known, i);
	c->shown = *shown;
	c->held = held_files(nd) ||
		  (pending != &nd->pending && may_hide(shown));
	if (!c->held) { /* else who knows which of it is in the row */
		set_join(&c->tokens, pending);
		set_join(&c->fresh, pending);
		flat_tokens(&c->shown, &c->tokens);
		set_release(pending);
	}
	cutrec_add(nd, c);
}

int node_cut(struct node *nd)
{
	struct world *w = nd->w;
	struct flat shown = { 0 };
	struct set pending = { 0 };
	bool amid = w->amid && rng_chance(&w->rng, w->amid);
	int err;

	notice(nd);
	err = amid ? cut_amid(nd, &shown, &pending) : df_step_cut(nd->v);
	if (err < 0 && !transient(err)) /* packs go out with the cut */
		fail(w, "cut at n%u: %s", nd->uid, df_strerror(err));
	if (err > 0) {
		trace(w, "n%u cuts", nd->uid);
		w->n_cuts++;
	}
	if (err > 0 && !w->unnoted) {
		if (!amid) {
			flat_read(w, nd, &shown);
			flat_detach(&shown);
		}
		note_cut(nd, &shown, amid ? &pending : &nd->pending);
	} else {
		flat_release(&shown);
	}
	set_join(&nd->pending, &pending);
	set_release(&pending);
	return err;
}

int node_send(struct node *nd)
{
	int err;

	notice(nd);
	err = df_step_send(nd->v);
	trace(nd->w, "n%u sends: %s", nd->uid, err ? df_strerror(err) : "ok");
	if (err && !transient(err))
		fail(nd->w, "send at n%u: %s", nd->uid, df_strerror(err));
	return err;
}

int node_poll(struct node *nd, bool full)
{
	int err;

	notice(nd);
	trace(nd->w, "n%u polls%s", nd->uid, full ? ", all" : "");
	err = df_step_poll(nd->v, full);
	if (err && err != DF_EOFFLINE)
		fail(nd->w, "poll at n%u: %s", nd->uid, df_strerror(err));
	return err;
}

void node_fold(struct node *nd)
{
	int err;

	node_as(nd);
	trace(nd->w, "n%u folds", nd->uid);
	err = df_step_fold(nd->v);
	if (err)
		fail(nd->w, "fold at n%u: %s", nd->uid, df_strerror(err));
}

void node_push(struct node *nd)
{
	for (int i = 0; i < 40; i++) {
		int more = node_cut(nd);
		int err = node_send(nd);

		if (!more && !err && all_sent(nd))
			return;
	}
	fail(nd->w, "n%u never has all of it sent", nd->uid);
}

/* ---- the world */
void trace(struct world *w, const char *fmt, ...)
{
	va_list ap;
	char line[1024];

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	df_buf_printf(&w->trace, "%4u %7.1f  %s\n", w->step,
		      (double)(w->now_ms - START_MS) / 1000.0, line);
}

void must_be(struct world *w, int got, int want, const char *what)
{
	if (got != want)
		fail(w, "%s: %s instead of %s", what,
		     got < 0 ? df_strerror(got)
		     : got   ? "yes"
			     : "done",
		     want < 0 ? df_strerror(want)
		     : want   ? "yes"
			      : "done");
}

unsigned token_new(struct world *w)
{
	return ++w->n_tokens;
}

void token_text(unsigned tok, char out[TOK + 1])
{
	if (tok)
		snprintf(out, TOK + 1, "t%07u", tok % 10000000);
	else
		memcpy(out, "same0000", TOK + 1);
}

void world_init(struct world *w, uint64_t seed, unsigned steps, const char *tmp)
{
	*w = (struct world){ .seed = seed, .steps = steps, .tmp = tmp };
	w->rng.s = rng_mix(seed, 1, 0);
	w->random.s = rng_mix(seed, 2, 0);
	w->now_ms = START_MS;
	w->settle = true;
	w->profile = (unsigned)(rng_mix(seed, 3, 0) % PROFILES);
	w->slow = seed % 8 == 5;
	if (w->slow) /* two checkpoints a day apart, and then some */
		w->steps *= 2;
	w->big = seed % 8 == 3;
	df_buf_init(&w->trace, 0);
	w->table.faults = (struct faults){
		.lost_answer = 5,
		.not_applied = 5,
		.not_kept = 3,
		.doubled = 10,
	};
	the_world = w;
	sim_clock.arg = w;
	df_clock_set(&sim_clock);
	no_process_locks();
	table_init(w);
}

void world_release(struct world *w)
{
	while (w->n_nodes)
		node_drop(w, w->nodes[0]);
	table_release(&w->table);
	set_release(&w->released);
	df_buf_release(&w->trace);
	df_clock_set(NULL);
}

static void step_checkpoint(struct world *w, struct node *nd)
{
	int sent = 0;
	int err;

	while (node_cut(nd) == 1 || !all_sent(nd)) {
		sent = node_send(nd);
		if (sent)
			return; /* a checkpoint is of what the table has */
	}
	node_as(nd);
	err = df_step_checkpoint(nd->v);
	if (err == -EAGAIN) { /* wait until the log shows its writer the rows */
		w->now_ms += DELAY_MS / 8;
		err = df_step_checkpoint(nd->v);
	}
	trace(w, "n%u writes a checkpoint: %s", nd->uid,
	      err ? df_strerror(err) : "ok");
	if (err && err != -EAGAIN && err != DF_EOFFLINE)
		fail(w, "checkpoint at n%u: %s", nd->uid, df_strerror(err));
	w->n_checkpoints += !err;
}

static void step_life(struct world *w, struct node *nd, unsigned x)
{
	if (x < 940) {
		node_restart(nd);
	} else if (x < (w->profile == 3 ? 970 : 955)) {
		if (w->n_nodes < MAX_NODES)
			node_fork(nd);
	} else if (x < 974 && x % 3 == 0) {
		if (w->n_nodes < 3)
			return;
		if (rng_chance(&w->rng, 50))
			node_send(nd);
		trace(w, "n%u is killed for good", nd->uid);
		w->n_deaths++;
		node_drop(w, nd);
	} else if (x < 978) {
		nd->paused = w->step + (rng_chance(&w->rng, 50) ? 20 : 60);
		trace(w, "n%u sleeps until step %u", nd->uid, nd->paused);
	} else if (x < (w->slow ? 980 : 985)) {
		node_fold(nd);
	} else if (x < 992) {
		step_checkpoint(w, nd);
	} else if (w->n_nodes < MAX_NODES) {
		node_new(w);
	}
}

static void step(struct world *w)
{
	static const int64_t pass[] = { 0, 300, 1000, 3000 };
	struct node *nd = w->nodes[rng_below(&w->rng, w->n_nodes)], *other;
	unsigned x;

	w->now_ms += pass[rng_below(&w->rng, DF_ARRAY_LEN(pass))];
	if (w->slow && rng_below(&w->rng, 40) == 0)
		w->now_ms += INT64_C(90000000); /* 25 hours */
	if (nd->paused > w->step)
		return;
	x = rng_below(&w->rng, 1000);
	if (x < w->apart) {
		other = w->nodes[rng_below(&w->rng, w->n_nodes)];
		if (other->paused <= w->step)
			apart_random(w, nd, other);
	} else if (x < 620) {
		w->n_ops++;
		deed_random(w, nd);
	} else if (x < 750) {
		if (node_cut(nd) && rng_chance(&w->rng, 80))
			node_send(nd);
	} else if (x < 920) {
		node_poll(nd, rng_chance(&w->rng, 10));
	} else {
		step_life(w, nd, x);
	}
}

void world_run(struct world *w)
{
	unsigned n = 2 + rng_below(&w->rng, 3);

	while (w->n_nodes < n)
		node_new(w);
	for (w->step = 0; w->step < w->steps; w->step++)
		step(w);
	world_quiesce(w);
	check_end(w);
}

static void check_quiet(struct world *w, struct node *nd)
{
	struct df_vol_status st;

	node_as(nd);
	df_vol_status(nd->v, &st);
	if (st.dirty_files || st.rows_waiting || st.held_files)
		fail(w,
		     "n%u never settles: %llu files dirty, %llu rows wait, "
		     "%llu files held",
		     nd->uid, (unsigned long long)st.dirty_files,
		     (unsigned long long)st.rows_waiting,
		     (unsigned long long)st.held_files);
	if (st.rows_refused || st.failsafe)
		fail(w, "n%u: %llu rows refused%s", nd->uid,
		     (unsigned long long)st.rows_refused,
		     st.failsafe ? ", failsafe" : "");
}

void world_quiesce(struct world *w)
{
	w->table.everything = true;
	w->table.faults = (struct faults){ 0 };
	w->table.offline = false;
	w->amid = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		w->now_ms += DELAY_MS;
		for (unsigned i = 0; i < w->n_nodes; i++) {
			node_poll(w->nodes[i], true);
			node_cut(w->nodes[i]);
			node_send(w->nodes[i]);
		}
	}
	for (unsigned i = 0; i < w->n_nodes; i++)
		check_quiet(w, w->nodes[i]);
}
