/* args.c - see args.h. */
#include "tools/sandbox/args.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"

const struct df_cmd df_cmds[] = {
	{ CMD_CREATE, "create", "", "make a sandbox and mount tables in it", 0,
	  0, 0, df_cmd_create },
	{ CMD_RUN, "run", "-- COMMAND [ARG]...",
	  "create, mount, run COMMAND, flush, umount, kill", 0, 0, 1,
	  df_cmd_run },
	{ CMD_EXEC, "exec", "ID -- COMMAND [ARG]...",
	  "run COMMAND in a sandbox", 1, 1, 1, df_cmd_exec },
	{ CMD_CP, "cp", "SRC DST",
	  "copy files; either side may be ID:/path or -", 2, 2, 0, df_cmd_cp },
	{ CMD_LS, "ls", "ID:/path", "list a directory", 1, 1, 0, df_cmd_ls },
	{ CMD_CAT, "cat", "ID:/path...", "print files", 1, -1, 0, df_cmd_cat },
	{ CMD_RM, "rm", "ID:/path...", "remove files or directories", 1, -1, 0,
	  df_cmd_rm },
	{ CMD_MKDIR, "mkdir", "ID:/path...", "make directories", 1, -1, 0,
	  df_cmd_mkdir },
	{ CMD_MV, "mv", "ID:/path /path", "rename inside a sandbox", 2, 2, 0,
	  df_cmd_mv },
	{ CMD_LIST, "list", "", "show sandboxes", 0, 0, 0, df_cmd_list },
	{ CMD_INFO, "info", "ID", "show one sandbox", 1, 1, 0, df_cmd_info },
	{ CMD_LOGS, "logs", "ID", "print the sandbox's log", 1, 1, 0,
	  df_cmd_logs },
	{ CMD_URL, "url", "ID PORT", "print the address of a port inside", 2, 2,
	  0, df_cmd_url },
	{ CMD_TIMEOUT, "timeout", "ID SECONDS",
	  "let the sandbox end in SECONDS from now", 2, 2, 0, df_cmd_timeout },
	{ CMD_PAUSE, "pause", "ID", "flush, then pause", 1, 1, 0,
	  df_cmd_pause },
	{ CMD_RESUME, "resume", "ID",
	  "resume, and prove that the mounts answer", 1, 1, 0, df_cmd_resume },
	{ CMD_SNAPSHOT, "snapshot", "ID",
	  "flush, and keep its state as a template", 1, 1, 0, df_cmd_snapshot },
	{ CMD_FORK, "fork", "ID", "flush, and make copies of it", 1, 1, 0,
	  df_cmd_fork },
	{ CMD_KILL, "kill", "ID... | --all",
	  "flush, umount and kill; not killed if the flush fails", 0, -1, 0,
	  df_cmd_kill },
	{ CMD_CODE, "code", "ID FILE|-",
	  "run a cell in a code-interpreter sandbox", 2, 2, 0, df_cmd_code },
	{ CMD_T_INIT, "template init", "[DIR]",
	  "write a Dockerfile with the driver inside", 0, 1, 0,
	  df_cmd_template_init },
	{ CMD_T_BUILD, "template build", "[DIR]",
	  "build a template from a Dockerfile or from options", 0, 1, 0,
	  df_cmd_template_build },
	{ CMD_T_LIST, "template list", "", "show the templates", 0, 0, 0,
	  df_cmd_template_list },
	{ CMD_T_DELETE, "template delete", "TEMPLATE...", "delete templates", 1,
	  -1, 0, df_cmd_template_delete },
	{ CMD_UNKNOWN, NULL, NULL, NULL, 0, 0, 0, NULL },
};

#define C(x) (UINT64_C(1) << (x))
#define ALL (~UINT64_C(0))
#define MAKE (C(CMD_CREATE) | C(CMD_RUN))
#define FLUSHES                                                      \
	(C(CMD_RUN) | C(CMD_KILL) | C(CMD_PAUSE) | C(CMD_SNAPSHOT) | \
	 C(CMD_FORK))

enum kind { FLAG, STR, NUM, PAIR, LIST };
#define AT(field) offsetof(struct df_args, field)

static const struct option_def {
	const char *name;
	char letter;
	const char *arg; /* NULL = a flag */
	enum kind kind;
	size_t at;
	long min, max;
	uint64_t cmds;
	const char *doc;
} options[] = {
	{ "template", 0, "T", STR, AT(template_id), 0, 0, MAKE,
	  "template, snapshot or image of the sandbox" },
	{ "mount", 0, "TABLE:PATH[:OPTIONS]", LIST, AT(mounts), 0, 0, MAKE,
	  "mount a table; may be given more than once" },
	{ "timeout", 0, "S", NUM, AT(timeout_s), 1, 31536000,
	  MAKE | C(CMD_EXEC) | C(CMD_RESUME) | C(CMD_FORK) | C(CMD_CODE),
	  "seconds the sandbox (exec, code: the command) may live" },
	{ "name", 0, "NAME", STR, AT(name), 0, 0,
	  MAKE | C(CMD_SNAPSHOT) | C(CMD_T_BUILD),
	  "a name for it, usable instead of the id" },
	{ "env", 'e', "K=V", PAIR, AT(env), 0, 0, MAKE | C(CMD_EXEC),
	  "an environment variable; not for secrets" },
	{ "env-file", 0, "F", STR, AT(env_file), 0, 0, MAKE,
	  "a file of K=V lines" },
	{ "metadata", 0, "K=V", PAIR, AT(metadata), 0, 0,
	  MAKE | C(CMD_LIST) | C(CMD_KILL), "metadata of the sandbox" },
	{ "no-internet", 0, NULL, FLAG, AT(no_internet), 0, 0, MAKE,
	  "no outside network (the usual case with local)" },
	{ "internet", 0, NULL, FLAG, AT(internet), 0, 0, MAKE,
	  "outside network (the usual case with e2b)" },
	{ "workdir", 'w', "D", STR, AT(workdir), 0, 0, MAKE,
	  "working directory of commands" },
	{ "credentials", 0, "F", STR, AT(credentials), 0, 0, MAKE | C(CMD_FORK),
	  "credentials of the table (usual: ~/.deeplake/credentials.json)" },
	{ "bundle", 0, "F", STR, AT(bundle), 0, 0,
	  MAKE | C(CMD_T_INIT) | C(CMD_T_BUILD),
	  "archive of the driver, made by `make bundle`" },
	{ "memory", 0, "MB", NUM, AT(memory_mb), 16, 1048576,
	  MAKE | C(CMD_T_BUILD), "memory (create: local only)" },
	{ "max-procs", 0, "N", NUM, AT(max_procs), 8, 1000000, MAKE,
	  "processes and threads, local only (usual: 4096)" },
	{ "auto-pause", 0, NULL, FLAG, AT(auto_pause), 0, 0, MAKE,
	  "pause at the end of its time, do not kill" },
	{ "count", 0, "N", NUM, AT(count), 1, 1000, C(CMD_CREATE) | C(CMD_FORK),
	  "how many" },
	{ "concurrency", 0, "N", NUM, AT(concurrency), 1, 100, C(CMD_CREATE),
	  "how many at once (usual: 4)" },
	{ "keep", 0, NULL, FLAG, AT(keep), 0, 0, MAKE,
	  "leave the sandbox when something failed half-way" },
	{ "upload", 0, "SRC:DST", LIST, AT(uploads), 0, 0, C(CMD_RUN),
	  "copy into the sandbox before COMMAND" },
	{ "download", 0, "SRC:DST", LIST, AT(downloads), 0, 0, C(CMD_RUN),
	  "copy out of the sandbox after COMMAND" },
	{ "flush-timeout", 0, "S", NUM, AT(flush_timeout_s), 1, 86400, FLUSHES,
	  "seconds a flush may take (usual: 60)" },
	{ "force", 0, NULL, FLAG, AT(force), 0, 0, FLUSHES,
	  "go on though not everything is in the table" },
	{ "user", 'u', "U", STR, AT(user), 0, 0,
	  MAKE | C(CMD_EXEC) | C(CMD_CP) | C(CMD_LS) | C(CMD_CAT) | C(CMD_RM) |
		  C(CMD_MKDIR) | C(CMD_MV),
	  "user inside the sandbox" },
	{ "cwd", 0, "D", STR, AT(cwd), 0, 0, C(CMD_EXEC) | C(CMD_CODE),
	  "working directory" },
	{ "background", 'd', NULL, FLAG, AT(background), 0, 0, C(CMD_EXEC),
	  "print the pid and leave it running" },
	{ "interactive", 'i', NULL, FLAG, AT(interactive), 0, 0,
	  C(CMD_EXEC) | C(CMD_RUN), "send standard input" },
	{ "tty", 't', NULL, FLAG, AT(tty), 0, 0, C(CMD_EXEC) | C(CMD_RUN),
	  "give it a terminal" },
	{ "recursive", 'r', NULL, FLAG, AT(recursive), 0, 0,
	  C(CMD_CP) | C(CMD_RM), "directories too" },
	{ "parents", 'p', NULL, FLAG, AT(parents), 0, 0, C(CMD_MKDIR),
	  "no complaint if it is there" },
	{ "follow", 'f', NULL, FLAG, AT(follow), 0, 0, C(CMD_LOGS),
	  "go on as the log grows" },
	{ "state", 0, "S", STR, AT(state), 0, 0, C(CMD_LIST),
	  "running or paused" },
	{ "all", 0, NULL, FLAG, AT(all), 0, 0, C(CMD_KILL),
	  "every sandbox (that matches --metadata)" },
	{ "language", 0, "L", STR, AT(language), 0, 0, C(CMD_CODE),
	  "python, javascript, r, java or bash" },
	{ "context", 0, "NAME", STR, AT(context), 0, 0, C(CMD_CODE),
	  "keep variables from cell to cell under NAME" },
	{ "output", 'o', "DIR", STR, AT(output), 0, 0, C(CMD_CODE),
	  "save pictures and charts there" },
	{ "cpu", 0, "N", NUM, AT(cpu), 1, 64, C(CMD_T_BUILD), "CPUs" },
	{ "base", 0, "IMAGE", STR, AT(base), 0, 0, C(CMD_T_BUILD),
	  "instead of a Dockerfile: python:3.11, node, debian, ubuntu, ..." },
	{ "apt", 0, "P,...", STR, AT(apt), 0, 0, C(CMD_T_BUILD),
	  "Debian packages" },
	{ "pip", 0, "P,...", STR, AT(pip), 0, 0, C(CMD_T_BUILD),
	  "Python packages" },
	{ "npm", 0, "P,...", STR, AT(npm), 0, 0, C(CMD_T_BUILD),
	  "Node packages" },
	{ "start", 0, "CMD", STR, AT(start), 0, 0, C(CMD_T_BUILD),
	  "command that runs in every sandbox of it" },
	{ "ready", 0, "CMD", STR, AT(ready), 0, 0, C(CMD_T_BUILD),
	  "command that succeeds once the start command is up" },
	{ "dockerfile", 0, "F", STR, AT(dockerfile), 0, 0, C(CMD_T_BUILD),
	  "its name in DIR (usual: e2b.Dockerfile, Dockerfile)" },
	{ "no-cache", 0, NULL, FLAG, AT(no_cache), 0, 0, C(CMD_T_BUILD),
	  "run every step anew" },
	{ "provider", 0, "P", STR, AT(provider), 0, 0, ALL,
	  "e2b or local (usual: e2b when E2B_API_KEY is set)" },
	{ "json", 0, NULL, FLAG, AT(json), 0, 0, ALL, "print JSON" },
	{ "quiet", 'q', NULL, FLAG, AT(quiet), 0, 0, ALL,
	  "no progress, no hints" },
	{ "verbose", 'v', NULL, FLAG, AT(verbose), 0, 0, ALL,
	  "say each step on stderr" },
	{ "help", 'h', NULL, FLAG, AT(help), 0, 0, ALL, "this text" },
};

static int usage_status(const struct df_args *a)
{
	return a->cmd && a->cmd->command ? DF_EXIT_TOOL : DF_EXIT_USAGE;
}

static int strs_add(struct df_strs *s, const char *v)
{
	const char **p = realloc(s->v, (s->n + 1) * sizeof(*p));

	if (!p)
		return -ENOMEM;
	s->v = p;
	p[s->n++] = v;
	return 0;
}

static const struct option_def *
option_find(const struct df_cmd *cmd, const char *name, size_t len, char letter)
{
	for (size_t i = 0; i < DF_ARRAY_LEN(options); i++) {
		const struct option_def *o = &options[i];
		if (!(o->cmds & C(cmd->id)))
			continue;
		if (letter ? o->letter == letter
			   : strlen(o->name) == len &&
				     strncmp(o->name, name, len) == 0)
			return o;
	}
	return NULL;
}

static int option_number(struct df_args *a, const struct option_def *o,
			 const char *value)
{
	char *end;

	errno = 0;
	long v = strtol(value, &end, 10);
	if (errno || end == value || *end || v < o->min || v > o->max) {
		df_log_error("--%s \"%s\": give a number from %ld to %ld",
			     o->name, value, o->min, o->max);
		return usage_status(a);
	}
	*(long *)((char *)a + o->at) = v;
	return 0;
}

static int option_store(struct df_args *a, const struct option_def *o,
			const char *value)
{
	char *at = (char *)a + o->at;
	int err = 0;

	switch (o->kind) {
	case FLAG:
		*(bool *)at = true;
		return 0;
	case STR:
		*(const char **)at = value;
		return 0;
	case NUM:
		return option_number(a, o, value);
	case PAIR:
		err = df_pairs_add((struct df_pairs *)at, value);
		if (err == -EINVAL) {
			df_log_error("--%s needs NAME=VALUE, with \"=\"",
				     o->name);
			return usage_status(a);
		}
		break;
	case LIST:
		err = strs_add((struct df_strs *)at, value);
		break;
	}
	if (err)
		df_fail(err, "option --%s", o->name);
	return err ? usage_status(a) : 0;
}

/* One word that begins with "-"; *i moves on when it took the next one. */
static int parse_option(struct df_args *a, int argc, char **argv, int *i)
{
	const char *word = argv[*i];
	const char *eq = NULL;
	const struct option_def *o;

	if (word[1] == '-') {
		eq = strchr(word, '=');
		size_t len = eq ? (size_t)(eq - word - 2) : strlen(word + 2);
		o = option_find(a->cmd, word + 2, len, 0);
	} else {
		o = option_find(a->cmd, NULL, 0, word[1]);
		for (const char *p = word + 1; o && !o->arg && p[1]; p++) {
			*(bool *)((char *)a + o->at) = true; /* -it */
			o = option_find(a->cmd, NULL, 0, p[1]);
		}
		if (o && o->arg && word[2])
			eq = word + 1; /* -eK=V */
	}
	if (!o || (!o->arg && word[1] == '-' && eq)) {
		df_log_error("%s: no option \"%s\"; `deeplake sandbox %s "
			     "--help` lists them",
			     a->cmd->name, word, a->cmd->name);
		return usage_status(a);
	}
	if (o->arg && !eq) {
		if (*i + 1 >= argc) {
			df_log_error("--%s needs a value: --%s %s", o->name,
				     o->name, o->arg);
			return usage_status(a);
		}
		return option_store(a, o, argv[++*i]);
	}
	return option_store(a, o, eq ? eq + 1 : NULL);
}

/* "template build" is two words; returns how many, 0 = none. */
static int parse_command(int argc, char **argv, struct df_args *a)
{
	char two[64] = "";

	if (argc > 2)
		snprintf(two, sizeof(two), "%s %s", argv[1], argv[2]);
	for (const struct df_cmd *c = df_cmds; c->name; c++) {
		int words = strchr(c->name, ' ') ? 2 : 1;
		if (strcmp(c->name, words == 2 ? two : argv[1]))
			continue;
		a->cmd = c;
		return words;
	}
	return 0;
}

static int check_operands(struct df_args *a)
{
	const struct df_cmd *c = a->cmd;
	int n = (int)a->pos.n;

	if (c->command && (!a->have_command || !a->command[0])) {
		df_log_error("%s: which command? Put it after \"--\": "
			     "deeplake sandbox %s %s",
			     c->name, c->name, c->operands);
		return usage_status(a);
	}
	if (!c->command && a->have_command) {
		df_log_error("%s takes no command after \"--\"", c->name);
		return usage_status(a);
	}
	if (n < c->min_pos || (c->max_pos >= 0 && n > c->max_pos)) {
		if (n > c->max_pos && c->max_pos >= 0)
			df_log_error("%s: \"%s\" is one operand too many; "
				     "usage: deeplake sandbox %s %s",
				     c->name, a->pos.v[c->max_pos], c->name,
				     c->operands);
		else
			df_log_error("usage: deeplake sandbox %s %s", c->name,
				     c->operands);
		return usage_status(a);
	}
	return 0;
}

int df_args_parse(int argc, char **argv, struct df_args *a)
{
	*a = (struct df_args){ 0 };
	if (argc < 2) {
		df_args_help(NULL);
		return DF_EXIT_USAGE;
	}
	int at = parse_command(argc, argv, a);
	if (!at) {
		df_log_error("no command \"%s\"; `deeplake sandbox help` "
			     "lists them",
			     argv[1]);
		return DF_EXIT_USAGE;
	}
	for (int i = at + 1; i < argc; i++) {
		int status;
		if (strcmp(argv[i], "--") == 0) {
			a->command = (const char *const *)(argv + i + 1);
			a->have_command = true;
			break;
		}
		if (argv[i][0] == '-' && argv[i][1])
			status = parse_option(a, argc, argv, &i);
		else
			status = strs_add(&a->pos, argv[i]) ? DF_EXIT_FAILED
							    : 0;
		if (status)
			return status;
	}
	return a->help ? 0 : check_operands(a);
}

void df_args_release(struct df_args *a)
{
	df_pairs_release(&a->env);
	df_pairs_release(&a->metadata);
	free(a->pos.v);
	free(a->mounts.v);
	free(a->uploads.v);
	free(a->downloads.v);
}

static void help_all(void)
{
	printf("usage: deeplake sandbox COMMAND [OPTION]... [OPERAND]...\n"
	       "Sandboxes that mount tables, on E2B or on this machine.\n\n");
	for (const struct df_cmd *c = df_cmds; c->name; c++)
		printf("  %-16s %s\n", c->name, c->summary);
	printf("\n`deeplake sandbox COMMAND --help` shows a command's options."
	       "\nExit status: 0 done, 1 failed, 2 usage, 3 credentials, "
	       "4 unreachable,\n5 not everything is in the table; run and "
	       "exec: the command's own,\n125 if the tool failed, 124 after "
	       "--timeout.\n");
}

void df_args_help(const struct df_cmd *cmd)
{
	if (!cmd) {
		help_all();
		return;
	}
	printf("usage: deeplake sandbox %s [OPTION]... %s\n%s.\n\n", cmd->name,
	       cmd->operands, cmd->summary);
	for (size_t i = 0; i < DF_ARRAY_LEN(options); i++) {
		const struct option_def *o = &options[i];
		char left[64];
		char letter[8] = "    ";
		if (!(o->cmds & C(cmd->id)))
			continue;
		if (o->letter)
			snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name,
			 o->arg ? " " : "", o->arg ? o->arg : "");
		printf("  %-28s %s\n", left, o->doc);
	}
}

void df_args_dump(void)
{
	for (const struct df_cmd *c = df_cmds; c->name; c++)
		for (size_t i = 0; i < DF_ARRAY_LEN(options); i++)
			if (options[i].cmds & C(c->id))
				printf("%s\t--%s\t%s\n", c->name,
				       options[i].name,
				       options[i].arg ? options[i].arg : "");
}
