/*
 * local.h - the files and roles of local sandboxes.
 *
 * A sandbox ID is a directory ROOT/ID, mode 0700:
 *
 *	state.json   what `info` shows, and pid, disk, cgroups
 *	lock         flocked by the keeper as long as the sandbox lives
 *	ctl.sock     the keeper's: timeout, pause, resume, kill, url
 *	log          what keeper, bubblewrap and process 1 had to say
 *	etc/         passwd, hosts and the like, bound into the sandbox
 *	pub/         bound to /run/deeplake inside: guest.sock, table.sock
 *
 * ROOT is $DEEPLAKE_SANDBOX_DIR, else /run/deeplake-sandbox (root), else
 * $XDG_RUNTIME_DIR/deeplake-sandbox.  The sandbox's writable files (home, tmp,
 * var) are on disk, under DISKS/ID, with snapshots beside them.
 *
 * The keeper is a process of its own, parent of bubblewrap: it ends the
 * sandbox when its time is over and removes what it leaves.  When the keeper
 * is killed the kernel kills the sandbox, and the next `list` cleans up.
 */
#ifndef DF_SANDBOX_LOCAL_H
#define DF_SANDBOX_LOCAL_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "tools/sandbox/provider.h"

#define DF_LOCAL_HOME "/home/user"
#define DF_LOCAL_BIN "/run/deeplake-bin"

struct df_local {
	struct df_prov prov;
	char *root;  /* owned */
	char *disks; /* owned */
};

/* local_state.c */
int df_local_dirs(struct df_local *l);
/* Caller frees; NULL without memory. */
char *df_local_path(const struct df_local *l, const char *id, const char *file);
/* -ENOENT (silent) when there is none, or when its keeper is gone: what that
 * one left is then removed. */
int df_local_load(const struct df_local *l, const char *id, json_t **state);
int df_local_save(const struct df_local *l, const char *id, json_t *state);
void df_local_remove(const struct df_local *l, const char *id,
		     const char *disk);
/* rm -r, never through a symlink; what cannot go is left. */
void df_tree_remove(const char *path);
/* RFC 3339 UTC of a CLOCK_REALTIME second; caller frees. */
char *df_time_text(int64_t s);
int64_t df_time_parse(const char *text);

/* cgroup.c: a cgroup (v2, or v1 controllers) for pid; 0 if both limits hold,
 * 1 if one does not (the caller warns).  The directories go into *dirs. */
int df_cgroup_make(const char *id, long memory_mb, long procs, json_t **dirs);
int df_cgroup_join(const json_t *dirs); /* the calling process */
void df_cgroup_remove(const json_t *dirs);

/* bwrap.c: start bubblewrap; pid of it and of process 1 inside (as the host
 * sees it).  Called by the keeper. */
int df_bwrap_start(const struct df_local *l, json_t *state, json_t *config,
		   const json_t *env, pid_t *bwrap, pid_t *init);
int df_bwrap_etc(const struct df_local *l, const char *id,
		 const char *server_host);

/* keeper.c: start it and wait until the sandbox answers. */
int df_keeper_start(const struct df_local *l, json_t *state, json_t *config,
		    const json_t *env, const char *host, int port);
/* Ask it: 0 and *answer (or NULL if not wanted), or -errno, logged. */
int df_keeper_ask(const struct df_local *l, const char *id, json_t *req,
		  json_t **answer);

/* local_guest.c: requests to process 1 */
int df_local_exec(struct df_prov *p, struct df_sb *sb, const struct df_exec *e,
		  struct df_exec_end *end);
int df_local_get(struct df_prov *p, struct df_sb *sb, const char *user,
		 const char *path, df_write_fn *to, void *arg);
int df_local_put(struct df_prov *p, struct df_sb *sb, const char *user,
		 const char *path, df_read_fn *from, void *arg);
int df_local_fs(struct df_prov *p, struct df_sb *sb, enum df_fs_op op,
		const char *user, const char *a, const char *b, json_t **out);

#endif
