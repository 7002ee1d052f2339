/*
 * sim.c - command line of the simulation.
 *
 *	sim [--seeds N] [--first S] [--steps K] [--jobs J] [--rule NAME=0]
 *	    [--trace] [--log] [--dump] [--named] [--only NAME] [--rules]
 *	    [--apart N] [--amid N]
 *
 * Every run is a child process with a directory of its own in memory: a crash
 * or a hang is a failure of that seed, not of the whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tests/sim/sim.h"

#define HANG_S 600 /* real time, on a busy machine */
#define NAMED_CPU_S 300
#define HANG_CPU_S 60 /* a run takes a third of a second */
#define MAX_JOBS 8
#define SEEDS 200
#define SHORT_TRACE 30 /* lines */

static const char *const rule_names[] = {
	"settle",     "gone",     "merge_append", "det_dir", "cycle", "restamp",
	"revive_dir", "hardgone", "reassert",     "mvr",     "links",
};

static struct {
	unsigned seeds; /* 0: as many as is usual */
	unsigned steps, jobs, apart, amid;
	uint64_t first;
	bool trace, log, dump, named, rules;
	const char *only, *rule;
	char tmp[64];
} opt = { .steps = 150, .jobs = 2 };

struct job {
	pid_t pid; /* 0: free */
	uint64_t seed;
	const struct named *named;
	char *dir; /* owned */
};

struct tally {
	unsigned passed, failed, skipped;
	unsigned long stat[16];
};

/* ---- in the child */
static const char *tail_of(const char *text)
{
	const char *p = text + strlen(text);
	int lines = 0;

	while (p > text && (opt.trace || lines <= SHORT_TRACE))
		lines += *--p == '\n';
	return p > text ? p + 1 : p;
}

void fail(struct world *w, const char *fmt, ...)
{
	char what[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	for (unsigned i = 0; opt.dump && i < w->n_nodes; i++)
		dump_node(w->nodes[i]);
	if (opt.dump && w->probe)
		dump_node(w->probe);
	fprintf(stderr, "%sseed %llu step %u: %s\n",
		tail_of(df_buf_cstr(&w->trace)), (unsigned long long)w->seed,
		w->step, what);
	fflush(stderr);
	_exit(1); /* the parent removes the directory */
}

static void report(const struct world *w, const char *dir)
{
	unsigned long stat[] = {
		w->n_ops,       w->n_cuts,   w->n_prefix,      w->n_orders,
		w->n_conflicts, w->n_hidden, w->n_forks,       w->n_restarts,
		w->n_deaths,    w->n_big,    w->n_checkpoints, w->n_deleted,
		w->n_lost,      w->n_apart,
	};
	char *path = df_strf("%s/stat", dir);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 || df_write_all(fd, stat, sizeof(stat)))
		abort();
	close(fd);
	free(path);
}

static const char *const stat_names[] = {
	"operations",
	"cuts",
	"prefixes compared",
	"orders compared",
	"conflict names",
	"writes to hidden equals",
	"forks",
	"restarts",
	"deaths",
	"big files",
	"checkpoints",
	"rows deleted",
	"files with bytes lost by the table",
	"things done apart",
};

static void set_rule(struct world *w, const char *rule)
{
	char *name = strdup(rule), *eq = strchr(name, '=');
	bool on = eq && atoi(eq + 1);

	if (eq)
		*eq = 0;
	if (df_step_rule(name, on)) {
		fprintf(stderr, "sim: no rule %s\n", name);
		_exit(DF_EXIT_USAGE);
	}
	if (!strcmp(name, "settle"))
		w->settle = on;
	free(name);
}

static void child(const struct job *job)
{
	static struct world w;
	const rlim_t most = job->named ? NAMED_CPU_S : HANG_CPU_S;
	const struct rlimit cpu = { most, most + 5 };
	char *text = df_strf("%s/report", job->dir);
	int fd = open(text, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		abort();
	free(text);
	if (!opt.log)
		df_log_open("/dev/null", "sim");
	else
		df_log_set_level(DF_LOG_DEBUG);
	alarm(HANG_S);
	setrlimit(RLIMIT_CPU, &cpu);
	world_init(&w, job->seed, opt.steps, job->dir);
	w.apart = opt.apart;
	w.amid = opt.amid;
	if (opt.rule)
		set_rule(&w, opt.rule);
	if (job->named) {
		w.table.faults = (struct faults){ 0 };
		job->named->run(&w);
	} else {
		world_run(&w);
	}
	report(&w, job->dir);
	world_release(&w);
	exit(0);
}

/* ---- in the parent */
static void remove_dir(const char *dir)
{
	char *cmd = df_strf("rm -rf '%s'", dir);

	if (system(cmd))
		fprintf(stderr, "sim: cannot remove %s\n", dir);
	free(cmd);
}

static void start(struct job *job)
{
	fflush(NULL);
	job->dir = df_strf("%s/%s.%llu", opt.tmp,
			   job->named ? job->named->name : "random",
			   (unsigned long long)job->seed);
	if (df_mkdir_p(job->dir, 0700)) {
		fprintf(stderr, "sim: cannot make %s\n", job->dir);
		exit(DF_EXIT_FAILED);
	}
	job->pid = fork();
	if (job->pid < 0) {
		perror("sim: fork");
		exit(DF_EXIT_FAILED);
	}
	if (!job->pid)
		child(job);
}

static void show_report(const struct job *job, int status)
{
	char *path = df_strf("%s/report", job->dir);
	struct df_buf text;

	df_buf_init(&text, 0);
	if (!df_file_read(path, &text))
		fprintf(stderr, "%s", df_buf_cstr(&text));
	if (WIFSIGNALED(status))
		fprintf(stderr, "seed %llu: killed by signal %d (%s)\n",
			(unsigned long long)job->seed, WTERMSIG(status),
			WTERMSIG(status) == SIGALRM ||
					WTERMSIG(status) == SIGXCPU
				? "it hangs"
				: strsignal(WTERMSIG(status)));
	df_buf_release(&text);
	free(path);
}

static void add_stats(const struct job *job, struct tally *t)
{
	char *path = df_strf("%s/stat", job->dir);
	unsigned long stat[16];
	struct df_buf b;

	df_buf_init(&b, 0);
	if (!df_file_read(path, &b) && b.len <= sizeof(stat)) {
		memcpy(stat, b.data, b.len);
		for (size_t i = 0; i < b.len / sizeof(*stat); i++)
			t->stat[i] += stat[i];
	}
	df_buf_release(&b);
	free(path);
}

static void finish(struct job *job, int status, struct tally *t, bool quiet)
{
	bool ok = WIFEXITED(status) && !WEXITSTATUS(status);

	if (WIFEXITED(status) && WEXITSTATUS(status) == DF_EXIT_USAGE)
		exit(DF_EXIT_USAGE); /* the child said why */
	t->passed += ok;
	t->failed += !ok;
	if (ok)
		add_stats(job, t);
	if (!quiet && (!ok || opt.log))
		show_report(job, status);
	if (job->named && !quiet)
		printf("%s %s %llu\n", ok ? "ok  " : "FAIL", job->named->name,
		       (unsigned long long)job->seed);
	remove_dir(job->dir);
	free(job->dir);
	*job = (struct job){ 0 };
}

static void wait_one(struct job *jobs, struct tally *t, bool quiet)
{
	int status;
	pid_t pid = waitpid(-1, &status, 0);

	if (pid < 0)
		return;
	for (unsigned i = 0; i < MAX_JOBS; i++)
		if (jobs[i].pid == pid)
			finish(&jobs[i], status, t, quiet);
}

static struct job *free_job(struct job *jobs, struct tally *t, bool quiet)
{
	for (;;) {
		for (unsigned i = 0; i < opt.jobs; i++)
			if (!jobs[i].pid)
				return &jobs[i];
		wait_one(jobs, t, quiet);
	}
}

static void drain(struct job *jobs, struct tally *t, bool quiet)
{
	for (unsigned i = 0; i < MAX_JOBS; i++)
		while (jobs[i].pid)
			wait_one(jobs, t, quiet);
}

static void run_seeds(struct tally *t, bool quiet)
{
	struct job jobs[MAX_JOBS] = { 0 };

	for (unsigned i = 0; i < opt.seeds; i++) {
		struct job *job = free_job(jobs, t, quiet);

		job->seed = opt.first + i;
		start(job);
		if (!quiet && (i + 1) % 1000 == 0)
			printf("%u seeds, %u failed\n", i + 1, t->failed);
	}
	drain(jobs, t, quiet);
}

static void run_named(struct tally *t, const struct named *list)
{
	struct job jobs[MAX_JOBS] = { 0 };

	for (; list->name; list++) {
		unsigned n = opt.seeds ? opt.seeds : 1;

		if (opt.only && strcmp(opt.only, list->name))
			continue;
		for (unsigned i = 0; i < n; i++) {
			struct job *job = free_job(jobs, t, false);

			job->named = list;
			job->seed = opt.first + i;
			start(job);
		}
	}
	drain(jobs, t, false);
}

/* Each rule off in turn: a rule that nobody misses is not tested. */
static int run_rules(void)
{
	struct tally all = { 0 };
	unsigned apart = opt.apart;

	printf("| rule off | seeds that fail |\n| --- | --- |\n");
	for (size_t i = 0; i < DF_ARRAY_LEN(rule_names); i++) {
		struct tally t = { 0 };
		char *rule = df_strf("%s=0", rule_names[i]);

		opt.rule = rule;
		run_seeds(&t, true);
		if (!t.failed && apart) { /* pairs leave less to the rest */
			opt.apart = 0;
			run_seeds(&t, true);
		}
		printf("| %s | %u of %u%s |\n", rule_names[i], t.failed,
		       opt.seeds,
		       opt.apart == apart ? "" : " (without --apart)");
		opt.apart = apart;
		fflush(stdout);
		all.passed += t.failed != 0;
		all.failed += t.failed == 0;
		free(rule);
	}
	printf("%u passed, %u failed, 0 skipped\n", all.passed, all.failed);
	return all.failed ? DF_EXIT_FAILED : DF_EXIT_OK;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: sim [--seeds N] [--first S] [--steps K] "
		"[--jobs J] [--rule NAME=0] [--trace] [--log] [--dump]\n"
		"           [--named] [--only NAME] [--rules] [--apart N]\n"
		"           [--amid N]\n");
	return DF_EXIT_USAGE;
}

static bool parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seeds", required_argument, NULL, 'n' },
		{ "first", required_argument, NULL, 'f' },
		{ "steps", required_argument, NULL, 'k' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "rule", required_argument, NULL, 'r' },
		{ "apart", required_argument, NULL, 'a' },
		{ "amid", required_argument, NULL, 'i' },
		{ "only", required_argument, NULL, 'o' },
		{ "trace", no_argument, NULL, 't' },
		{ "log", no_argument, NULL, 'l' },
		{ "dump", no_argument, NULL, 'd' },
		{ "named", no_argument, NULL, 'm' },
		{ "rules", no_argument, NULL, 'R' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
		switch (c) {
		case 'n':
			opt.seeds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'f':
			opt.first = strtoull(optarg, NULL, 10);
			break;
		case 'k':
			opt.steps = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'a':
			opt.apart = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'i':
			opt.amid = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			opt.jobs = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			opt.rule = optarg;
			break;
		case 'o':
			opt.only = optarg;
			opt.named = true;
			break;
		case 't':
			opt.trace = true;
			break;
		case 'l':
			opt.log = true;
			break;
		case 'd':
			opt.dump = true;
			break;
		case 'm':
			opt.named = true;
			break;
		case 'R':
			opt.rules = true;
			break;
		default:
			return false;
		}
	return optind == argc && opt.jobs >= 1 && opt.jobs <= MAX_JOBS;
}

int main(int argc, char **argv)
{
	const char *shm = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	struct tally t = { 0 };
	int status;

	if (!parse(argc, argv))
		return usage();
	snprintf(opt.tmp, sizeof(opt.tmp), "%s/sim.%d", shm, (int)getpid());
	if (!opt.seeds && !opt.named)
		opt.seeds = SEEDS;
	if (opt.rules) {
		status = run_rules();
		remove_dir(opt.tmp);
		return status;
	}
	if (opt.named) {
		run_named(&t, named_tree);
		run_named(&t, named_copy);
		run_named(&t, named_bytes);
		run_named(&t, named_many);
		run_named(&t, named_late);
	} else {
		run_seeds(&t, false);
		for (size_t i = 0; i < DF_ARRAY_LEN(stat_names); i++)
			printf("%lu %s%s", t.stat[i], stat_names[i],
			       i + 1 < DF_ARRAY_LEN(stat_names) ? ", " : "\n");
	}
	remove_dir(opt.tmp);
	printf("%u passed, %u failed, %u skipped\n", t.passed, t.failed,
	       t.skipped);
	return t.failed || !t.passed ? DF_EXIT_FAILED : DF_EXIT_OK;
}
