/* cmd_exec.h - running the user's command, for `exec` and `run`. */
#ifndef DF_SANDBOX_CMD_EXEC_H
#define DF_SANDBOX_CMD_EXEC_H

#include "tools/sandbox/args.h"

/*
 * a->command with the tool's own stdio (a->tty, a->interactive).  json: keep
 * the output and put it there instead, {status, pid, stdout, stderr}.
 */
int df_exec_command(struct df_prov *p, struct df_sb *sb,
		    const struct df_args *a, json_t **json,
		    struct df_exec_end *end);
json_t *df_exec_json(const struct df_exec_end *end, struct df_buf *out,
		     struct df_buf *err);

#endif
