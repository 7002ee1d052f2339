/*
 * start.c - see start.h.
 *
 * Which cache: the first of NAME, NAME.2, ... whose daemon is not there or is
 * about to end.  A daemon that is still sending for a mount that has gone
 * hands its cache over; one that serves a mount (of another mount namespace,
 * for this path is free here) keeps it.
 */
#include "tools/start.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/account.h"
#include "tools/call.h"
#include "tools/daemon.h"
#include "tools/mounted.h"
#include "tools/place.h"
#include "tools/unmount.h"

#define CACHES_MAX 64
#define ASK_MS 2000
#define HANDOVER_MS 10000

/* ---- the mount point */

static int sudo_make_dir(const char *path)
{
	DF_FREE char *owner =
		df_strf("%u:%u", (unsigned)getuid(), (unsigned)getgid());
	const char *const mkdir_argv[] = { "sudo", "-n", "mkdir", "-p",
					   "--",   path, NULL };
	const char *const chown_argv[] = { "sudo", "-n", "chown", owner,
					   "--",   path, NULL };

	char said[64];

	if (geteuid() == 0 || !owner)
		return -EACCES;
	if (df_run(mkdir_argv, said, sizeof(said)) != 0 ||
	    df_run(chown_argv, said, sizeof(said)) != 0)
		return -EACCES;
	df_log_info("%s: made with sudo, it belongs to you now", path);
	return 0;
}

static int make_dir(const char *path)
{
	int err = df_mkdir_p(path, 0755);

	if (err == -EACCES || err == -EROFS || err == -EPERM)
		err = sudo_make_dir(path);
	if (err)
		df_log_error("%s: cannot make it: %s; make it yourself (sudo "
			     "mkdir -p %s && sudo chown $USER %s) or choose "
			     "another path",
			     path, df_strerror(err), path, path);
	return err;
}

/* 1: empty, 0: not, or -errno. */
static int dir_is_empty(const char *path)
{
	DIR *d = opendir(path);
	int empty = 1;

	if (!d)
		return -errno;
	for (struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			empty = 0;
	closedir(d);
	return empty;
}

/* fusermount3 wants a directory that the user may write to. */
static int check_writable(const char *path)
{
	if (geteuid() == 0 || access(path, W_OK) == 0)
		return 0;
	/* /mnt is for mounts: an empty directory there is for this one */
	if (strncmp(path, "/mnt/", 5) == 0 && dir_is_empty(path) == 1 &&
	    sudo_make_dir(path) == 0)
		return 0;
	df_log_error("%s: you may not write to it, so you cannot mount on it; "
		     "sudo chown $USER %s, or choose another path",
		     path, path);
	return -EACCES;
}

static int check_dir(const struct df_start *s)
{
	struct stat st;

	if (stat(s->path, &st) && errno == ENOENT && s->make_dir) {
		int err = make_dir(s->path);
		if (err)
			return err;
	}
	if (stat(s->path, &st)) {
		int err = -errno;
		df_log_error("%s: %s; make the directory first", s->path,
			     df_strerror(err));
		return err;
	}
	if (!S_ISDIR(st.st_mode)) {
		df_log_error("%s: not a directory; a mount needs one", s->path);
		return -ENOTDIR;
	}
	if (s->make_dir && !s->opt->nonempty && dir_is_empty(s->path) == 0) {
		df_log_error("%s: the directory is not empty and the mount "
			     "would hide what is in it; choose another path, "
			     "or add -o nonempty",
			     s->path);
		return -ENOTEMPTY;
	}
	return check_writable(s->path);
}

/* 0: free (a dead mount is cleared away), 1: our table is there already, or
 * -errno. */
static int check_mounted(const struct df_start *s)
{
	struct df_mounted_list list;
	int err = df_mounted_read(&list);

	if (err)
		return df_fail(err, "reading the mount table");
	const struct df_mounted *m = df_mounted_at(&list, s->path);
	if (!m || !m->ours)
		goto out;
	if (df_unmount_is_dead(s->path)) {
		df_log_info("%s: clearing a dead mount away", s->path);
		err = df_unmount(s->path, DF_UNMOUNT_LAZY);
		if (err)
			df_fail(err,
				"%s: a dead mount is there and cannot be "
				"unmounted",
				s->path);
	} else if (strcmp(m->source, s->table) == 0) {
		err = 1;
		if (!s->mounted_is_fine)
			df_log_error("%s: table %s is already mounted there",
				     s->path, s->table);
	} else {
		err = -EBUSY;
		df_log_error("%s: table %s is mounted there; unmount it first "
			     "(deeplake umount %s)",
			     s->path, m->source, s->path);
	}
out:
	df_mounted_release(&list);
	return err;
}

/* ---- the cache */

/* 0: no daemon has it (any more), 1: one serves a mount with it. */
static int free_cache(const char *dir)
{
	struct df_call c;
	json_t *answer = NULL;
	int served = 0;

	if (df_call_open(dir, &c))
		return 0;
	int err = df_call_send(&c, json_pack("{s:s}", "cmd", "handover"));
	if (!err)
		err = df_call_read(&c, ASK_MS, NULL, NULL, &answer);
	if (err == -EPIPE)
		goto out; /* it has just ended */
	if (err || !json_is_true(json_object_get(answer, "ok")))
		served = 1;
	else if (df_call_wait_end(&c, HANDOVER_MS))
		served = 1;
out:
	json_decref(answer);
	df_call_close(&c);
	return served;
}

static void say_used(const char *dir)
{
	DF_FREE char *path = df_strf("%s/lock", dir);
	struct df_buf pid;

	df_buf_init(&pid, 64);
	if (path)
		df_file_read(path, &pid);
	df_log_error("cache_dir=%s: process %s serves another mount from it; "
		     "give each mount its own",
		     dir, pid.len ? df_buf_cstr(&pid) : "(unknown)");
	df_buf_release(&pid);
}

/* The directory to use, from number *nth on; NULL: there is none (said). */
static char *pick_cache(const struct df_start *s, const struct df_account *a,
			unsigned *nth)
{
	const struct df_table_conf *t = &a->table;

	if (s->opt->cache_dir) {
		if (*nth == 0 && free_cache(s->opt->cache_dir) == 0)
			return strdup(s->opt->cache_dir);
		say_used(s->opt->cache_dir);
		return NULL;
	}
	for (; *nth < CACHES_MAX; (*nth)++) {
		char *dir = df_place_cache_dir(t->api_url, t->org, t->workspace,
					       s->table, s->path, *nth);
		if (!dir || free_cache(dir) == 0) {
			if (!dir)
				df_log_error("no home directory for the cache: "
					     "set HOME or -o cache_dir=DIR");
			return dir;
		}
		free(dir);
	}
	df_log_error("%s: %d daemons serve this path in other mount "
		     "namespaces; give -o cache_dir=DIR",
		     s->path, CACHES_MAX);
	return NULL;
}

/* ---- the daemon */

/* In the child: nothing inherited but stdio and the pipe, as descriptor 3. */
static int shed_descriptors(int report_fd)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0)
		return df_fail(-errno, "/dev/null cannot be opened for reading "
				       "and writing (chmod 666 /dev/null)");
	if (report_fd != 3 && dup2(report_fd, 3) < 0)
		return -errno;
	if (fcntl(3, F_SETFD, FD_CLOEXEC) || close_range(4, ~0U, 0))
		return -errno;
	return 0;
}

static _Noreturn void child(const struct df_daemon_conf *dc, int report_fd)
{
	setsid();
	if (chdir("/") || shed_descriptors(report_fd))
		_exit(DF_EXIT_FAILED);
	_exit(df_daemon_run(dc, 3));
}

/* What the child reports, or -EIO when it died without a word; *status is what
 * to end with. */
static int wait_report(int fd, pid_t pid, int *status)
{
	struct df_daemon_report r = { 0 };
	size_t got = 0;
	int how;

	while (got < sizeof(r)) {
		ssize_t n = read(fd, (char *)&r + got, sizeof(r) - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	*status = got == sizeof(r) ? r.status : DF_EXIT_FAILED;
	if (got == sizeof(r) && !r.err)
		return 0;
	/* its cache is free for others only once it has gone */
	while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
		;
	if (got == sizeof(r))
		return r.err;
	if (WIFSIGNALED(how))
		df_log_error("the daemon was killed by signal %d while it "
			     "started",
			     WTERMSIG(how));
	else
		df_log_error("the daemon ended with status %d while it started",
			     WEXITSTATUS(how));
	return -EIO;
}

static int launch(const struct df_daemon_conf *dc, pid_t *pid, int *status)
{
	int fd[2];

	*status = DF_EXIT_FAILED;
	if (pipe2(fd, O_CLOEXEC))
		return df_fail(-errno, "starting the daemon");
	*pid = fork();
	if (*pid < 0) {
		int err = -errno;
		close(fd[0]);
		close(fd[1]);
		return df_fail(err, "starting the daemon");
	}
	if (*pid == 0)
		child(dc, fd[1]);
	close(fd[1]);
	int err = wait_report(fd[0], *pid, status);
	close(fd[0]);
	return err;
}

/* With one cache after the other until a daemon takes it: 0 or -errno. */
static int start_daemon(const struct df_start *s, const struct df_account *a,
			pid_t *pid, int *status)
{
	int err = -EBUSY;

	for (unsigned nth = 0; err == -EBUSY; nth++) {
		DF_FREE char *dir = pick_cache(s, a, &nth);
		*status = DF_EXIT_FAILED;
		if (!dir)
			return -EBUSY;
		struct df_daemon_conf dc = {
			.opt = s->opt,
			.account = a,
			.table = s->table,
			.subdir = s->subdir,
			.path = s->path,
			.cache_dir = dir,
			.create = s->create_table,
			.foreground = s->foreground,
		};
		if (s->foreground) {
			*status = df_daemon_run(&dc, -1);
			return 0;
		}
		err = launch(&dc, pid, status);
	}
	return err;
}

int df_start(const struct df_start *s, pid_t *pid)
{
	struct df_account a;
	int status = DF_EXIT_OK;

	*pid = 0;
	int err = check_mounted(s);
	if (err)
		return err > 0 && s->mounted_is_fine ? DF_EXIT_OK
						     : DF_EXIT_FAILED;
	if (check_dir(s))
		return DF_EXIT_FAILED;
	err = df_account_load(s->opt, s->table, &a);
	if (err)
		status = df_exit_of(err);
	else
		err = start_daemon(s, &a, pid, &status);
	df_account_release(&a);
	if (err)
		*pid = 0;
	return status;
}
