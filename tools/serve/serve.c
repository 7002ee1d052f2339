/* serve.c - start, serve, stop; see serve.h. */
#include "tools/serve/serve.h"

#include <fcntl.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/serve/admin.h"
#include "tools/serve/options.h"
#include "tools/serve/server.h"

#define QUEUE_MAX 4096 /* requests that wait for a worker */

static char *default_store(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (geteuid() == 0)
		return strdup("sqlite:/var/lib/deeplake");
	if (state != NULL && state[0] == '/')
		return df_strf("sqlite:%s/deeplake-serve", state);
	if (home != NULL && home[0] == '/')
		return df_strf("sqlite:%s/.local/state/deeplake-serve", home);
	return NULL;
}

static void conf_defaults(struct df_serve_conf *c)
{
	*c = (struct df_serve_conf){
		.listen = "127.0.0.1:8088",
		.threads = 16,
		.max_connections = 1000,
		.max_body = (size_t)32 << 20,
		.max_answer = (size_t)64 << 20,
		.max_memory = (size_t)128 << 20,
	};
}

static int server_open_log(struct df_server *s)
{
	const char *path = s->conf.access_log;

	s->access_fd = -1;
	if (path == NULL)
		return 0;
	if (strcmp(path, "-") == 0)
		s->access_fd = dup(STDERR_FILENO);
	else
		s->access_fd = open(
			path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	return s->access_fd < 0 ? df_fail(-errno, "--access-log %s", path) : 0;
}

static int server_open(struct df_server *s)
{
	int err = server_open_log(s);

	if (err == 0)
		err = df_store_open(s->conf.store, true, !s->conf.no_stand_in,
				    &s->store);
	if (err == 0 && s->conf.simulate != NULL)
		err = df_sim_open(s->conf.simulate, &s->sim);
	if (err < 0)
		return err;
	s->auth = df_auth_new(s->store);
	s->feeds = df_feeds_new(s);
	s->work = df_work_new(s->conf.threads, QUEUE_MAX);
	if (s->auth == NULL || s->feeds == NULL || s->work == NULL)
		return df_fail(-ENOMEM, "deeplake serve");
	s->store->on_commit_arg = s->feeds;
	s->store->on_commit = df_feeds_commit;
	err = s->store->ops->start == NULL ? 0 : s->store->ops->start(s->store);
	if (err == 0)
		err = df_auth_load(s->auth);
	if (err == 0)
		err = df_listen_start(s);
	if (err == 0 && s->conf.credentials != NULL)
		err = df_credentials_write(s, s->conf.credentials);
	return err;
}

/* Stop taking, finish what was taken, then close. */
static void server_close(struct df_server *s)
{
	atomic_store(&s->stopping, true);
	if (s->feeds != NULL)
		df_feeds_stop(s->feeds);
	if (s->work != NULL)
		df_work_hurry(s->work);
	df_listen_stop(s);
	df_work_free(s->work);
	if (s->store != NULL) {
		s->store->ops->stop(s->store);
		s->store->ops->free(s->store);
	}
	df_sim_free(s->sim);
	df_feeds_free(s->feeds);
	df_auth_free(s->auth);
	if (s->access_fd >= 0)
		(void)close(s->access_fd);
}

/* Connections and files: as many as the system lets us have. */
static void raise_files(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim);
	}
}

/* Bodies of megabytes come from two heaps that shrink again: with glibc's
 * defaults every thread would keep one. */
static void tame_malloc(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 24 << 20);
	(void)mallopt(M_ARENA_MAX, 2);
}

static int serve_run(struct df_serve_conf *conf)
{
	struct df_server s = { .conf = *conf, .access_fd = -1 };
	sigset_t stop;
	int sig, err;

	/* every thread inherits the mask: signals are waited for here */
	(void)sigemptyset(&stop);
	(void)sigaddset(&stop, SIGINT);
	(void)sigaddset(&stop, SIGTERM);
	(void)sigaddset(&stop, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &stop, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	raise_files();
	tame_malloc();
	err = server_open(&s);
	if (err == 0) {
		(void)printf("ready %s\n", s.url);
		(void)fflush(stdout);
		do {
			err = sigwait(&stop, &sig);
			if (err == 0 && sig == SIGHUP)
				df_auth_forget(s.auth);
		} while (err == 0 && sig == SIGHUP);
		df_log_debug("stopping");
		err = 0;
	}
	server_close(&s);
	return err < 0 ? DF_EXIT_FAILED : DF_EXIT_OK;
}

int df_serve_main(int argc, char **argv)
{
	struct df_serve_conf conf;
	char *store = default_store();
	int err, admin;

	df_log_set_prefix("deeplake serve: ");
	/* ILIKE and lower() fold all of Unicode, C does not */
	if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
		df_log_warn("the locale C.UTF-8 is missing: ILIKE ignores case "
			    "in ASCII only");
	(void)prctl(PR_SET_DUMPABLE, 0); /* no secret in a core file */
	(void)umask(077);
	conf_defaults(&conf);
	admin = df_admin_find(argc, argv);
	err = df_serve_options(admin > 0 ? admin : argc, argv, &conf);
	if (err == 0 && conf.store == NULL)
		conf.store = store;
	if (err == 0 && conf.store == NULL) {
		df_log_error("no --store, and no HOME to put one in: give "
			     "--store sqlite:DIRECTORY");
		err = -EINVAL;
	}
	if (err == 0)
		err = admin > 0
			      ? df_admin_run(&conf, argc - admin, argv + admin)
			      : serve_run(&conf);
	else
		err = err > 0 ? DF_EXIT_OK : DF_EXIT_USAGE;
	free(store);
	return err;
}
