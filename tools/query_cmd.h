/*
 * query_cmd.h - the commands that work on a table without a mount, for the
 * table in main.c; see cmd.h.
 */
#ifndef DF_TOOLS_QUERY_CMD_H
#define DF_TOOLS_QUERY_CMD_H

int df_cmd_query(int argc, char **argv);
int df_cmd_grep(int argc, char **argv);
int df_cmd_import(int argc, char **argv);
int df_cmd_export(int argc, char **argv);
int df_cmd_fsck(int argc, char **argv);
int df_cmd_gc(int argc, char **argv);

#endif
