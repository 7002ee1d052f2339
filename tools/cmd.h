/*
 * cmd.h - the commands: `deeplake NAME ARGUMENTS`.
 *
 * A command gets argv with its own name first and returns the exit status
 * (base/err.h).  Results go to stdout, everything else by base/log to stderr.
 */
#ifndef DF_TOOLS_CMD_H
#define DF_TOOLS_CMD_H

struct df_cmd {
	const char *name;
	const char *aliases; /* blank-separated, or NULL */
	int (*run)(int argc, char **argv);
	const char *synopsis; /* after the name */
	const char *summary;  /* one line */
	const char *details;  /* the options, indented; or NULL */
};

/* Ends with a row whose name is NULL. */
extern const struct df_cmd df_cmds[];

int df_cmd_login(int argc, char **argv);
int df_cmd_logout(int argc, char **argv);
int df_cmd_init(int argc, char **argv);
int df_cmd_mount(int argc, char **argv);
int df_cmd_umount(int argc, char **argv);
int df_cmd_list(int argc, char **argv);
int df_cmd_status(int argc, char **argv);
int df_cmd_flush(int argc, char **argv);
int df_cmd_warm(int argc, char **argv);
int df_cmd_destroy(int argc, char **argv);
int df_cmd_help(int argc, char **argv);
int df_cmd_version(int argc, char **argv);
int df_cmd_exec(int argc, char **argv);

/* As mount(8) and umount(8) call them. */
int df_helper_mount(int argc, char **argv);
int df_helper_umount(int argc, char **argv);

/* Say what is wrong with the arguments and where help is: DF_EXIT_USAGE. */
int df_usage(const char *cmd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* What getopt_long() said '?' or ':' to. */
int df_usage_opt(char **argv, int optopt_value, int optind_value);
/* Print the usage of a command (help). */
void df_cmd_print_help(const struct df_cmd *c);

#endif
