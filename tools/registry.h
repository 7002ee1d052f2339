/*
 * registry.h - ~/.deeplake/mounts.json: the mounts that `deeplake init` made
 * known, in the shape that other tools of the service read and write.
 *
 * {"mounts": [{"mountPath", "dbUrl": "deeplake://ORG/WORKSPACE/TABLE",
 *   "createdAt", "pid", "pidFile", "backendType": "managed", "tableName",
 *   "workspaceName", "options"}, ...]}
 *
 * Fields that are not ours, and entries of other tools, are kept.  Every
 * change happens under a lock (mounts.lock) and replaces the file as a whole.
 *
 * Errors: 0 or -errno; -ENOENT (no such entry) is not logged, the rest is.
 * Threads: one at a time.
 */
#ifndef DF_TOOLS_REGISTRY_H
#define DF_TOOLS_REGISTRY_H

#include <stddef.h>
#include <sys/types.h>

struct df_entry_reg {
	char *path; /* all owned */
	char *table;
	char *subdir;    /* NULL: the whole volume */
	char *workspace; /* NULL where the entry has none */
	char *org;       /* likewise */
	char *options;   /* what was given with -o; NULL: nothing */
};

struct df_registry {
	struct df_entry_reg *v; /* owned */
	size_t n;
};

/* A file that is not there is an empty registry. */
int df_registry_load(struct df_registry *out);
void df_registry_release(struct df_registry *r);
const struct df_entry_reg *df_registry_find(const struct df_registry *r,
					    const char *path);

/* Add or replace the entry of e->path; its pid is null until _set_pid. */
int df_registry_put(const struct df_entry_reg *e);
/* Note the daemon in the entry and the pid file; pid 0 = not running any
 * more.  With `only` > 0, only if the entry says so at present. */
int df_registry_set_pid(const char *path, pid_t pid, pid_t only);
/* Remove every entry of this table. */
int df_registry_drop_table(const char *table, const char *workspace);

#endif
