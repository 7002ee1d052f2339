/* cli.h - the program behind main(): hidden roles, help, one command. */
#ifndef DF_SANDBOX_CLI_H
#define DF_SANDBOX_CLI_H

#include <jansson.h>

/* Returns the exit status. */
int df_sandbox_main(int argc, char **argv);

/* The exit status that an error of a command means. */
int df_exit_of(int err);
/* Print a JSON value on one line of stdout; frees it. */
void df_json_print(json_t *o);
/* The string at a key, or "". */
const char *df_json_str(const json_t *o, const char *key);
/* A copy of it, or NULL if it is missing or empty; caller frees. */
char *df_json_dup(const json_t *o, const char *key);

#endif
