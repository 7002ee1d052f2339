/*
 * loop.c - the workers: read a request, answer it, again.
 *
 * libfuse's own loop keeps up to ten threads in read(2), and the kernel wakes
 * them in turn: each request finds a thread whose caches are cold, on a CPU
 * that slept.  One reader is twice as fast (docs/fuse.md has the figures), as
 * long as it is not kept: by a page that comes from a slow disk, by a megabyte
 * to copy, by more clients than one CPU can serve.  So few read at a time, and
 * a monitor looks every TICK_MS how many that should be:
 *
 *	goal   1; one more after PENDING_TICKS at which requests were waiting
 *	       and all readers busy, up to the number of CPUs; one less after
 *	       CALM_TICKS without
 *	want   goal + the workers that have been busy with one and the same
 *	       request since the last tick: they are replaced
 *
 * A worker that finds more active than wanted becomes a reserve.  Without
 * requests the monitor sleeps; the first one wakes it.
 *
 * We also see each request before libfuse decodes it: that counts them, and
 * saves the one flag of WRITE that libfuse 3.14 drops.
 *
 * Ending: a worker leaves when the connection is gone (ENODEV), or when
 * fs->stopping is set and WAKE_SIGNAL takes it out of read(2).  The signal can
 * come just before read, so it is sent again until all have left.
 */
#include "fs/fs.h"

#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define WAKE_SIGNAL SIGRTMIN
#define WAKE_EVERY_NS 2000000
#define TICK_MS 1
#define PENDING_TICKS 4
#define CALM_TICKS 16
#define SLEEP_TICKS 50

_Thread_local struct df_worker *df_fs_self;

static void worker_look(struct df_worker *w)
{
	const struct fuse_in_header *in = w->buf.mem;
	const struct fuse_write_in *wr = (const void *)(in + 1);
	_Atomic uint64_t *n;

	if (in->opcode < DF_FS_OPCODES) {
		n = &w->requests[in->opcode];
		atomic_store_explicit(
			n, atomic_load_explicit(n, memory_order_relaxed) + 1,
			memory_order_relaxed);
	}
	w->kill_suid = in->opcode == FUSE_WRITE &&
		       wr->write_flags & FUSE_WRITE_KILL_SUIDGID;
}

/* Wait until the monitor wants one more; false: the mount ends. */
static bool worker_rest(struct df_fs *fs)
{
	bool go;

	df_lock(&fs->crew_lock);
	/* Again, with the lock: of two that saw one too many, one stays. */
	if (atomic_load(&fs->n_active) <= atomic_load(&fs->n_want)) {
		df_unlock(&fs->crew_lock);
		return true;
	}
	fs->n_reserve++;
	atomic_fetch_sub(&fs->n_active, 1);
	while (!fs->n_called && !atomic_load(&fs->stopping))
		df_cond_wait(&fs->crew_call, &fs->crew_lock);
	go = fs->n_called;
	if (go)
		fs->n_called--; /* who called counted us as active */
	fs->n_reserve--;
	df_unlock(&fs->crew_lock);
	return go && !atomic_load(&fs->stopping);
}

static void worker_wake_monitor(struct df_fs *fs)
{
	df_lock(&fs->crew_lock);
	atomic_store(&fs->monitor_asleep, false);
	df_cond_signal(&fs->monitor_wake);
	df_unlock(&fs->crew_lock);
}

/* 0: again; otherwise the loop ends: 1 regularly, -errno. */
static int worker_step(struct df_worker *w)
{
	struct df_fs *fs = w->fs;
	uint64_t seq = atomic_load_explicit(&w->seq, memory_order_relaxed);
	int n;

	if (atomic_load_explicit(&fs->n_active, memory_order_relaxed) >
		    atomic_load_explicit(&fs->n_want, memory_order_relaxed) &&
	    !worker_rest(fs))
		return 1;
	n = fuse_session_receive_buf(fs->se, &w->buf);
	if (n == -EINTR || n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n ? n : 1;
	/* Busy before asking for the monitor: it does the same the other way
	 * round, so that one of both sees the other. */
	atomic_store(&w->seq, seq + 1);
	if (atomic_load(&fs->monitor_asleep))
		worker_wake_monitor(fs);
	worker_look(w);
	fuse_session_process_buf(fs->se, &w->buf);
	atomic_store_explicit(&w->seq, seq + 2, memory_order_release);
	return 0;
}

static void *worker_run(void *arg)
{
	struct df_worker *w = arg;
	struct df_fs *fs = w->fs;
	uint64_t one = 1;
	int err = 0;

	df_fs_self = w;
	while (!err &&
	       !atomic_load_explicit(&fs->stopping, memory_order_relaxed))
		err = worker_step(w);
	if (err < 0)
		df_fail(err, "%s: reading requests", fs->mountpoint);
	df_fs_self = NULL;
	/* The connection is gone, or we are asked to: nobody goes on. */
	df_lock(&fs->crew_lock);
	atomic_store(&fs->stopping, true);
	df_cond_broadcast(&fs->crew_call);
	df_cond_signal(&fs->monitor_wake);
	df_unlock(&fs->crew_lock);
	atomic_fetch_sub(&fs->n_alive, 1);
	/* df_fs_serve() waits for this. */
	if (write(fs->stop_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		df_fail(-errno, "waking the main thread");
	return NULL;
}

struct monitor {
	struct df_fs *fs;
	uint64_t last[DF_FS_MAX_THREADS]; /* seq of each worker at last tick */
	unsigned goal, max_goal;
	unsigned pending, calm; /* ticks in a row */
	unsigned quiet;         /* ticks without any request */
};

/* A request that waits while some reader is free only waits for the scheduler:
 * one more thread to schedule would make that worse. */
static bool monitor_backlog(struct monitor *m, unsigned busy)
{
	struct pollfd p = { .fd = fuse_session_fd(m->fs->se),
			    .events = POLLIN };

	return busy >= m->goal && poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

static void monitor_set_goal(struct monitor *m, unsigned busy)
{
	if (monitor_backlog(m, busy)) {
		m->calm = 0;
		if (++m->pending >= PENDING_TICKS && m->goal < m->max_goal) {
			m->goal++;
			m->pending = 0;
		}
	} else {
		m->pending = 0;
		if (++m->calm >= CALM_TICKS && m->goal > 1) {
			m->goal--;
			m->calm = 0;
		}
	}
}

static void monitor_tick(struct monitor *m)
{
	struct df_fs *fs = m->fs;
	unsigned busy = 0, stuck = 0;
	bool moved = false;

	for (unsigned i = 0; i < fs->n_workers; i++) {
		uint64_t seq = atomic_load(&fs->workers[i].seq);

		busy += seq & 1;
		if (seq != m->last[i])
			moved = true;
		else if (seq & 1)
			stuck++;
		m->last[i] = seq;
	}
	m->quiet = moved || stuck ? 0 : m->quiet + 1;
	monitor_set_goal(m, busy);
	atomic_store(&fs->n_want, m->goal + stuck);
	df_lock(&fs->crew_lock);
	while (atomic_load(&fs->n_active) < m->goal + stuck &&
	       fs->n_called < fs->n_reserve) {
		fs->n_called++;
		atomic_fetch_add(&fs->n_active, 1);
		df_cond_signal(&fs->crew_call);
	}
	df_unlock(&fs->crew_lock);
}

/* True: there was a request after all. */
static bool monitor_saw_one(struct monitor *m)
{
	for (unsigned i = 0; i < m->fs->n_workers; i++)
		if (atomic_load(&m->fs->workers[i].seq) != m->last[i])
			return true;
	return false;
}

static void monitor_sleep(struct monitor *m)
{
	struct df_fs *fs = m->fs;

	atomic_store(&fs->monitor_asleep, true);
	if (monitor_saw_one(m)) {
		atomic_store(&fs->monitor_asleep, false);
		return;
	}
	df_lock(&fs->crew_lock);
	while (atomic_load(&fs->monitor_asleep) && !atomic_load(&fs->stopping))
		df_cond_wait(&fs->monitor_wake, &fs->crew_lock);
	df_unlock(&fs->crew_lock);
	m->quiet = 0;
}

static void *monitor_run(void *arg)
{
	static const struct timespec tick = { .tv_nsec =
						      TICK_MS * DF_NS_PER_MS };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct monitor m = { .fs = arg, .goal = 1 };

	m.max_goal = cpus > 1 ? (unsigned)cpus : 1;
	while (!atomic_load(&m.fs->stopping)) {
		monitor_tick(&m);
		if (m.quiet > SLEEP_TICKS)
			monitor_sleep(&m);
		else
			nanosleep(&tick, NULL);
	}
	return NULL;
}

static void worker_wake(int sig)
{
	(void)sig;
}

int df_fs_workers_start(struct df_fs *fs)
{
	struct sigaction sa = { .sa_handler = worker_wake };
	unsigned n = fs->conf.threads;
	int err = 0;

	sigemptyset(&sa.sa_mask);
	if (sigaction(WAKE_SIGNAL, &sa, NULL))
		return df_fail(-errno, "installing a signal handler");
	fs->workers = calloc(n, sizeof(*fs->workers));
	if (!fs->workers)
		return df_fail(-ENOMEM, "%u threads", n);
	/* Counted before they run. */
	atomic_store(&fs->n_alive, n);
	atomic_store(&fs->n_active, n);
	atomic_store(&fs->n_want, 1);
	for (unsigned i = 0; i < n && !err; i++) {
		struct df_worker *w = &fs->workers[i];

		w->fs = fs;
		err = pthread_create(&w->thread, NULL, worker_run, w);
		if (err)
			continue;
		pthread_setname_np(w->thread, "df-loop");
		fs->n_workers++;
	}
	if (fs->n_workers < n) {
		df_lock(&fs->crew_lock);
		atomic_fetch_sub(&fs->n_active, n - fs->n_workers);
		df_unlock(&fs->crew_lock);
		atomic_fetch_sub(&fs->n_alive, n - fs->n_workers);
	}
	if (!err) {
		err = pthread_create(&fs->monitor, NULL, monitor_run, fs);
		fs->monitor_started = !err;
		if (!err)
			pthread_setname_np(fs->monitor, "df-monitor");
	}
	return err ? df_fail(-err, "starting the threads of the mount") : 0;
}

void df_fs_workers_join(struct df_fs *fs)
{
	static const struct timespec pause = { .tv_nsec = WAKE_EVERY_NS };

	df_lock(&fs->crew_lock);
	atomic_store(&fs->stopping, true);
	df_cond_broadcast(&fs->crew_call);
	df_cond_signal(&fs->monitor_wake);
	df_unlock(&fs->crew_lock);
	while (atomic_load(&fs->n_alive)) {
		for (unsigned i = 0; i < fs->n_workers; i++)
			pthread_kill(fs->workers[i].thread, WAKE_SIGNAL);
		nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < fs->n_workers; i++)
		pthread_join(fs->workers[i].thread, NULL);
	if (fs->monitor_started)
		pthread_join(fs->monitor, NULL);
	for (unsigned i = 0; i < fs->n_workers; i++) {
		free(fs->workers[i].buf.mem);
		free(fs->workers[i].scratch);
		free(fs->workers[i].park);
	}
	free(fs->workers);
	fs->workers = NULL;
	fs->n_workers = 0;
}

void df_fs_requests(struct df_fs *fs, uint64_t out[DF_FS_OPCODES])
{
	memset(out, 0, DF_FS_OPCODES * sizeof(*out));
	for (unsigned i = 0; i < fs->n_workers; i++)
		for (unsigned op = 0; op < DF_FS_OPCODES; op++)
			out[op] += atomic_load_explicit(
				&fs->workers[i].requests[op],
				memory_order_relaxed);
}
