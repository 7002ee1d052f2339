/* daemon.c - see daemon.h. */
#include "tools/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/foreign.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/volume.h"
#include "fs/mount.h"
#include "tools/control.h"
#include "tools/drain.h"
#include "tools/mounted.h"
#include "tools/registry.h"
#include "tools/runfile.h"
#include "tools/utab.h"

struct daemon {
	const struct df_daemon_conf *conf;
	int report_fd;
	struct df_vol *vol;
	struct df_fs *fs;
	struct df_control *control;
	char *runfile;
};

static volatile sig_atomic_t term_signals;

static void on_term(int sig)
{
	(void)sig;
	term_signals = term_signals + 1;
}

/* False: nobody reads it any more. */
static bool report(struct daemon *d, int err, int status)
{
	struct df_daemon_report r = { err, status };
	bool heard = true;

	if (d->report_fd >= 0) {
		heard = df_write_all(d->report_fd, &r, sizeof(r)) == 0;
		close(d->report_fd);
	}
	d->report_fd = -1;
	return heard;
}

/* From here on nothing of the command that started us is held open. */
static int detach_stdio(const struct df_conf *opt)
{
	int err = df_log_open(opt->log_file, "deeplake");

	if (err)
		return df_fail(err, "log file %s", opt->log_file);
	DF_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return df_fail(-errno, "/dev/null");
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (dup2(null, fd) < 0)
			return df_fail(-errno, "/dev/null");
	return 0;
}

static void on_ready(void *arg)
{
	struct daemon *d = arg;
	int err = 0;

	df_control_set_state(d->control, DF_STATE_MOUNTED);
	df_utab_add(d->conf->table, d->conf->path);
	if (!d->conf->foreground)
		err = detach_stdio(d->conf->opt);
	if (!report(d, err, df_exit_of(err)) || err) {
		df_log_warn("%s: the command that mounted it has ended: "
			    "unmounting",
			    d->conf->path);
		df_fs_stop(d->fs);
		return;
	}
	df_log_info("%s: table %s mounted", d->conf->path, d->conf->table);
}

/* A table with other columns: its rows, read-only, in a cache of their own. */
static int open_rows(struct df_vol_conf *vc, struct df_remote **remote,
		     struct df_vol **out)
{
	DF_FREE char *dir = df_strf("%s/rows", vc->cache_dir);
	struct df_remote *rows = NULL;

	df_log_info("table %s has other columns than a volume: it is mounted "
		    "read-only, a file a row, and never changed",
		    vc->table);
	vc->cache_dir = dir;
	vc->rows = vc->read_only = true;
	int err = dir ? df_foreign_wrap(remote, &rows) : -ENOMEM;
	if (!err)
		err = df_vol_open(vc, &rows, 1000, out);
	if (rows)
		*remote = rows; /* for the caller to end */
	return err;
}

/* The table is made first if that was asked for. */
static int open_volume(struct daemon *d, int64_t deadline_ns)
{
	const struct df_daemon_conf *c = d->conf;
	const struct df_conf *o = c->opt;
	struct df_vol_conf vc = {
		.cache_dir = c->cache_dir,
		.table = c->table,
		.subdir = c->subdir,
		.cache_size = o->cache_size,
		.memory = o->memory,
		.free_bytes = o->free_size,
		.flush_delay_ms = o->flush_delay,
		.read_timeout_ms = o->read_timeout,
		.read_only = o->read_only,
		.fsync_local = o->fsync == DF_FSYNC_LOCAL,
		.view = o->view,
		.view_text_max = o->view_text_max,
		.atime = o->noatime ? DF_ATIME_NOATIME : DF_ATIME_RELATIME,
		.uid = o->uid == UINT64_MAX ? getuid() : (uid_t)o->uid,
		.gid = o->gid == UINT64_MAX ? getgid() : (gid_t)o->gid,
		.umask = (mode_t)o->umask,
	};
	struct df_remote *remote = NULL;
	struct df_table_made made;

	int err = df_table_open(&c->account->table, &remote);
	if (err)
		return err;
	/* Without the server a cache that knows the volume will do: that is
	 * left to df_vol_open(). */
	if (c->create)
		err = df_table_make(remote, o->mount_timeout, &made);
	bool foreign = err == -EEXIST;
	int64_t left = (deadline_ns - df_clock_mono_ns()) / DF_NS_PER_MS;
	if (!foreign)
		err = df_vol_open(&vc, &remote, DF_MAX(left, 100), &d->vol);
	if (err == -ENOENT &&
	    df_foreign_look(remote, DF_MAX(left, 100), &foreign))
		foreign = false;
	if (foreign)
		err = open_rows(&vc, &remote, &d->vol);
	if (remote) { /* not taken over */
		remote->ops->stop(remote);
		remote->ops->free(remote);
	}
	return err;
}

static int open_mount(struct daemon *d)
{
	const struct df_daemon_conf *c = d->conf;
	const struct df_conf *o = c->opt;
	struct df_fs_conf fc = {
		.mountpoint = c->path,
		.fsname = c->table,
		.allow_other = o->allow_other,
		.read_only = df_vol_read_only(d->vol),
		.noexec = o->noexec,
		.suid = o->suid,
		.dev = o->dev,
		.noatime = o->noatime,
		.threads = (unsigned)o->threads,
		.sync_timeout_ms = o->sync_timeout,
		.ready = on_ready,
		.ready_arg = d,
	};

	return df_fs_open(&fc, d->vol, &d->fs);
}

/* Let commands find us by the device number of the mount. */
static void write_runfile(struct daemon *d)
{
	const struct df_daemon_conf *c = d->conf;
	DF_FREE char *path = strdup(c->path), *table = strdup(c->table);
	DF_FREE char *cache_dir = strdup(c->cache_dir);
	struct df_runfile r = { path, table, cache_dir, getpid() };
	struct df_mounted_list list;

	int err = df_mounted_read(&list);
	const struct df_mounted *m = err ? NULL : df_mounted_at(&list, c->path);
	if (m && path && table && cache_dir)
		err = df_runfile_write(m->dev, &r, &d->runfile);
	df_mounted_release(&list);
	if (err || !d->runfile)
		df_log_warn("%s: no run file: %s; 'deeplake umount %s' needs "
			    "--cache-dir %s, and status cannot ask",
			    c->path, df_strerror(err), c->path, c->cache_dir);
}

/* What the rooms below cannot know: what to do next. */
static void say_not_mounted(const struct df_daemon_conf *c, int status)
{
	const char *url = c->account->table.api_url;

	if (status == DF_EXIT_UNREACHABLE)
		df_log_error("%s: not mounted: %s does not answer and this "
			     "cache has not seen table %s; check apiUrl and "
			     "the network, and run the command again",
			     c->path, url, c->table);
	else if (status == DF_EXIT_CREDENTIALS)
		df_log_error("%s: not mounted: %s does not let us use table "
			     "%s; check token, orgId and apiUrl in %s (a token "
			     "for one table, as 'deeplake sandbox' and "
			     "'deeplake serve token create --table' make them, "
			     "opens no other: get one for this table)",
			     c->path, url, c->table,
			     c->opt->credentials
				     ? c->opt->credentials
				     : "~/.deeplake/credentials.json");
}

/* Before anything is mounted: afterwards there is nobody to tell. */
static int check_log_file(const struct df_conf *opt)
{
	if (!opt->log_file || strcmp(opt->log_file, "syslog") == 0)
		return 0;
	DF_CLOSE int fd = open(opt->log_file,
			       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return fd < 0 ? df_fail(-errno,
				"log_file=%s cannot be opened, name another",
				opt->log_file)
		      : 0;
}

/* 0 or -errno; then *status is what the command ends with. */
static int start(struct daemon *d, int *status)
{
	const struct df_daemon_conf *c = d->conf;
	int64_t timeout_ms = c->opt->mount_timeout;
	int64_t deadline = df_clock_mono_ns() + timeout_ms * DF_NS_PER_MS;
	struct df_control_conf cc = {
		.cache_dir = c->cache_dir,
		.path = c->path,
		.table = c->table,
		.subdir = c->subdir,
		.workspace = c->account->table.workspace,
		.server = c->account->table.api_url,
		.umount_timeout_ms = c->opt->umount_timeout,
	};

	*status = DF_EXIT_FAILED;
	int err = c->foreground ? 0 : check_log_file(c->opt);
	if (err)
		return err;
	err = open_volume(d, deadline);
	*status = df_exit_of(err);
	if (err) {
		say_not_mounted(c, *status);
		return err;
	}
	/* from here on -EACCES is this machine's word, not the server's */
	*status = DF_EXIT_FAILED;
	err = df_vol_start(d->vol);
	if (err)
		return err;
	cc.vol = d->vol;
	err = df_control_start(&cc, &d->control);
	if (err)
		return err;
	err = open_mount(d);
	if (!err)
		write_runfile(d);
	return err;
}

static bool drain_tick(void *arg)
{
	struct daemon *d = arg;

	return !df_control_handover(d->control) && !term_signals;
}

/* The mount has gone: send the rest.  True if all is in the table. */
static bool drain(struct daemon *d)
{
	struct sigaction sa = { .sa_handler = on_term };

	/* Asked to end while sending: end now, the journal has it. */
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	df_control_set_state(d->control, DF_STATE_DRAINING);
	int err = df_drain(d->vol, d->conf->opt->umount_timeout, drain_tick, d);
	int stop = df_vol_stop(d->vol, err ? 0 : 1000);
	bool remote = !err && !stop;
	if (remote)
		df_log_info("%s: unmounted, everything is in the table",
			    d->conf->path);
	else
		df_log_warn("%s: unmounted, but not everything is in the "
			    "table (%s); the rest is kept in %s and is sent "
			    "by the next mount",
			    d->conf->path, df_strerror(err ? err : stop),
			    d->conf->cache_dir);
	return remote;
}

/* With glibc's defaults each of two dozen threads would keep a heap of its own,
 * and what a full cache of names left there: twice the memory. */
static void tame_malloc(void)
{
	(void)mallopt(M_ARENA_MAX, 2);
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 4 << 20);
}

static void prepare_process(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	sigaction(SIGPIPE, &ignore, NULL);
	umask(077);
	prctl(PR_SET_NAME, "deeplake");
#ifdef NDEBUG
	/* no core file, no ptrace by other processes of the user: the token is
	 * in memory */
	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
#endif
}

int df_daemon_run(const struct df_daemon_conf *conf, int report_fd)
{
	struct daemon d = { .conf = conf, .report_fd = report_fd };
	int status = DF_EXIT_OK;

	prepare_process();
	tame_malloc();
	df_log_set_level((enum df_log_level)conf->opt->log_level);
	int err = start(&d, &status);
	if (err) {
		if (d.vol)
			df_vol_stop(d.vol, 0);
	} else {
		err = df_fs_serve(d.fs);
		bool remote = drain(&d);
		/* who waits for our end finds nothing of ours changing after */
		df_registry_set_pid(conf->path, 0, getpid());
		df_control_finish(d.control, remote);
		status = !remote ? DF_EXIT_NOT_REMOTE
			 : err   ? DF_EXIT_FAILED
				 : DF_EXIT_OK;
	}
	df_runfile_remove(&d.runfile, conf->cache_dir);
	df_control_stop(d.control);
	df_fs_free(d.fs);
	if (d.vol)
		df_vol_free(d.vol);
	report(&d, err ? err : -EIO, status ? status : DF_EXIT_FAILED);
	return status;
}
