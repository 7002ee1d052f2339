/*
 * cmd_create.c - `create`, one or many.
 *
 * Many are made by processes, not threads: each has its own connections,
 * and an interrupt lets every one of them clean up after itself.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/make.h"

#define MAX_WORKERS 100 /* the most that --concurrency takes */

static json_t *made_json(struct df_prov *p, const struct df_sb *sb,
			 const struct df_plan *plan)
{
	json_t *mounts = json_array();

	for (size_t i = 0; i < plan->mounts.n; i++)
		json_array_append_new(mounts,
				      json_pack("{s:s, s:s}", "table",
						plan->mounts.v[i].table, "path",
						plan->mounts.v[i].path));
	return json_pack("{s:s, s:s, s:s, s:s*, s:o}", "sandboxID", sb->id,
			 "provider", p->ops->name, "templateID",
			 sb->template_id ? sb->template_id : "", "name",
			 sb->name, "mounts", mounts);
}

/* The line that tells of it, in fresh memory; NULL = failed. */
static char *make_line(const struct df_args *a, const struct df_plan *plan,
		       long number, int *err)
{
	struct df_prov *p = NULL;
	struct df_sb *sb = NULL;
	char *line = NULL;
	DF_FREE char *name = !a->name ? NULL
			     : a->count <= 1
				     ? strdup(a->name)
				     : df_strf("%s-%ld", a->name, number);

	*err = df_prov_new(a->provider, number > 1, &p);
	if (!*err)
		*err = df_make(p, plan, name, &sb);
	if (!*err) {
		json_t *o = made_json(p, sb, plan);
		line = a->json ? json_dumps(o, JSON_COMPACT) : strdup(sb->id);
		json_decref(o);
	}
	df_sb_free(sb);
	df_prov_free(p);
	return line;
}

static int create_one(const struct df_args *a, const struct df_plan *plan)
{
	int err;
	DF_FREE char *line = make_line(a, plan, 1, &err);

	if (line)
		puts(line);
	return df_exit_of(err);
}

static pid_t start_worker(const struct df_args *a, const struct df_plan *plan,
			  long number, int out)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	int err;
	char *line = make_line(a, plan, number, &err);
	/* one write, under PIPE_BUF: lines of workers do not mix */
	if (line && dprintf(out, "%s\n", line) < 0)
		err = -EPIPE;
	free(line);
	_exit(df_exit_of(err));
}

static void print_lines(const struct df_args *a, int fd)
{
	FILE *f = fdopen(fd, "r");
	char line[4096];
	bool first = true;

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (a->json)
			printf("%s%s", first ? "[" : ",\n ", line);
		else
			puts(line);
		first = false;
	}
	if (a->json)
		printf("%s]\n", first ? "[" : "");
	if (f)
		fclose(f);
}

struct workers {
	pid_t pids[MAX_WORKERS]; /* 0 = free */
	long running, failed;
	int worst;
};

static void worker_add(struct workers *w, pid_t pid)
{
	if (pid < 0) {
		w->failed++;
		return;
	}
	for (size_t i = 0; i < MAX_WORKERS; i++)
		if (!w->pids[i]) {
			w->pids[i] = pid;
			break;
		}
	w->running++;
}

/* Workers get the terminal's Ctrl-C themselves; a signal that was sent to us
 * alone is handed on, and each of them cleans up. */
static void worker_wait(struct workers *w)
{
	int st;

	pid_t pid = waitpid(-1, &st, 0);
	if (pid < 0) {
		for (size_t i = 0; errno == EINTR && i < MAX_WORKERS; i++)
			if (w->pids[i] && df_intr_now())
				kill(w->pids[i], df_intr_now());
		return;
	}
	for (size_t i = 0; i < MAX_WORKERS; i++)
		if (w->pids[i] == pid)
			w->pids[i] = 0;
	w->running--;
	if (!WIFEXITED(st) || WEXITSTATUS(st)) {
		w->failed++;
		w->worst = WIFEXITED(st) ? WEXITSTATUS(st) : DF_EXIT_FAILED;
	}
}

static int create_many(const struct df_args *a, const struct df_plan *plan)
{
	long limit = a->concurrency ? a->concurrency : 4;
	struct workers w = { 0 };
	long made = 0;
	int p[2];

	fflush(stdout);
	if (pipe2(p, 0))
		return df_exit_of(df_fail(-errno, "pipe"));
	while ((made < a->count && !df_intr_now()) || w.running) {
		if (made < a->count && w.running < limit && !df_intr_now())
			worker_add(&w, start_worker(a, plan, ++made, p[1]));
		else
			worker_wait(&w);
	}
	close(p[1]);
	print_lines(a, p[0]);
	long failed = w.failed + a->count - made;
	int worst = w.worst ? w.worst : DF_EXIT_FAILED;
	if (failed)
		df_log_error("%ld of %ld sandboxes were not made", failed,
			     a->count);
	return failed ? worst : 0;
}

int df_cmd_create(struct df_args *a)
{
	struct df_plan plan;

	int err = df_plan_init(&plan, a);
	int status = err            ? df_exit_of(err)
		     : a->count > 1 ? create_many(a, &plan)
				    : create_one(a, &plan);
	df_plan_release(&plan);
	return status;
}
