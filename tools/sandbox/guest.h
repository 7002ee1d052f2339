/* guest.h - small jobs inside a sandbox, on top of any provider. */
#ifndef DF_SANDBOX_GUEST_H
#define DF_SANDBOX_GUEST_H

#include <sys/types.h>

#include "tools/sandbox/provider.h"

/* One script, with its output kept (at most 1 MiB; the rest is dropped). */
struct df_sh {
	struct df_prov *prov;
	struct df_sb *sb;
	const char *user; /* NULL = the sandbox's usual one */
	long timeout_s;   /* 0 = 120 */
	struct df_buf out, err;
	int status;
};
void df_sh_init(struct df_sh *s, struct df_prov *p, struct df_sb *sb);
void df_sh_release(struct df_sh *s);
/* Run `/bin/sh -c SCRIPT sh ARGS...` (a NULL-terminated array, or NULL); the
 * status is in s->status.  0 if it ran, else -errno. */
int df_sh_run(struct df_sh *s, const char *script, const char *const args[]);
/* The last line of stderr, else of stdout, for messages; "" if none. */
const char *df_sh_said(struct df_sh *s);

/*
 * Write a file whole or not at all: to a temporary name beside it, checked by
 * size, moved.  mode -1 = as the guest makes it.  size -1 = unknown.
 */
int df_guest_put_file(struct df_prov *p, struct df_sb *sb, const char *user,
		      const char *path, df_read_fn *from, void *arg,
		      int64_t size, int mode);
/* Same, from memory. */
int df_guest_put_mem(struct df_prov *p, struct df_sb *sb, const char *user,
		     const char *path, const void *data, size_t len, int mode);
/* Entry of a path; -ENOENT silently. */
int df_guest_stat(struct df_prov *p, struct df_sb *sb, const char *user,
		  const char *path, json_t **entry);
/* Its size; -1 if the entry has none (proto JSON leaves out zero: 0). */
int64_t df_entry_size(const json_t *entry);
bool df_entry_is_dir(const json_t *entry);

/* Reader for a file descriptor (arg: int *) and for memory. */
ssize_t df_read_fd(void *arg, void *data, size_t len);
struct df_mem {
	const char *at;
	size_t left;
};
ssize_t df_read_mem(void *arg, void *data, size_t len);

#endif
