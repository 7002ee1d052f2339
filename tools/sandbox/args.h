/*
 * args.h - the commands and options of `deeplake sandbox`: one table that
 * feeds parsing, --help, shell completion and the man page's check.
 */
#ifndef DF_SANDBOX_ARGS_H
#define DF_SANDBOX_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/sandbox/provider.h"

/* Status of run and exec when the tool itself failed. */
#define DF_EXIT_TOOL 125

enum df_cmd_id {
	CMD_UNKNOWN = 0,
	CMD_CREATE,
	CMD_RUN,
	CMD_EXEC,
	CMD_CP,
	CMD_LS,
	CMD_CAT,
	CMD_RM,
	CMD_MKDIR,
	CMD_MV,
	CMD_LIST,
	CMD_INFO,
	CMD_LOGS,
	CMD_URL,
	CMD_TIMEOUT,
	CMD_PAUSE,
	CMD_RESUME,
	CMD_SNAPSHOT,
	CMD_FORK,
	CMD_KILL,
	CMD_CODE,
	CMD_T_INIT,
	CMD_T_BUILD,
	CMD_T_LIST,
	CMD_T_DELETE,
};

struct df_strs {
	const char **v; /* array owned, strings of argv */
	size_t n;
};

struct df_args {
	const struct df_cmd *cmd;
	struct df_strs pos;         /* before "--" */
	const char *const *command; /* after "--", NULL-terminated, or NULL */
	bool have_command;

	/* everywhere */
	const char *provider;
	bool json, verbose, quiet, help;
	/* create, run */
	const char *template_id, *name, *workdir, *env_file, *credentials;
	const char *bundle, *user;
	long timeout_s, count, concurrency, memory_mb, max_procs;
	long flush_timeout_s;
	struct df_pairs env, metadata;
	struct df_strs mounts, uploads, downloads;
	bool no_internet, internet, keep, auto_pause, force;
	/* exec and the rest */
	const char *cwd, *state, *language, *context, *output;
	bool background, interactive, tty, recursive, parents, follow, all;
	/* template build */
	const char *base, *apt, *pip, *npm, *start, *ready, *dockerfile;
	long cpu;
	bool no_cache;
};

struct df_cmd {
	enum df_cmd_id id;
	const char *name; /* "template init" */
	const char *operands;
	const char *summary;
	int min_pos, max_pos;          /* operands before "--"; max -1 = any */
	int command;                   /* 0 none, 1 needed after "--" */
	int (*run)(struct df_args *a); /* an exit status */
};
extern const struct df_cmd df_cmds[];

/*
 * Parse; a->cmd is set as soon as it is known.  0, or an exit status for
 * usage (already explained on stderr).  Release in every case.
 */
int df_args_parse(int argc, char **argv, struct df_args *a);
void df_args_release(struct df_args *a);
/* Help for one command, or NULL = all. */
void df_args_help(const struct df_cmd *cmd);
/* "command<TAB>option<TAB>takes an argument" lines, for completion. */
void df_args_dump(void);

/* The commands, by file. */
int df_cmd_create(struct df_args *a);
int df_cmd_run(struct df_args *a);
int df_cmd_exec(struct df_args *a);
int df_cmd_cp(struct df_args *a);
int df_cmd_ls(struct df_args *a);
int df_cmd_cat(struct df_args *a);
int df_cmd_rm(struct df_args *a);
int df_cmd_mkdir(struct df_args *a);
int df_cmd_mv(struct df_args *a);
int df_cmd_list(struct df_args *a);
int df_cmd_info(struct df_args *a);
int df_cmd_logs(struct df_args *a);
int df_cmd_url(struct df_args *a);
int df_cmd_timeout(struct df_args *a);
int df_cmd_pause(struct df_args *a);
int df_cmd_resume(struct df_args *a);
int df_cmd_snapshot(struct df_args *a);
int df_cmd_fork(struct df_args *a);
int df_cmd_kill(struct df_args *a);
int df_cmd_code(struct df_args *a);
int df_cmd_template_init(struct df_args *a);
int df_cmd_template_build(struct df_args *a);
int df_cmd_template_list(struct df_args *a);
int df_cmd_template_delete(struct df_args *a);

#endif
