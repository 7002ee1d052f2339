/*
 * provider.h - what a place that runs sandboxes promises to the commands.
 *
 * Two exist: e2b (the service and everything that speaks its API) and local
 * (bubblewrap on this machine).  A provider knows sandboxes, processes in
 * them and their files; it knows nothing about tables or mounts: that is
 * mount.h, on top of this.
 *
 * Errors:  0 or -errno, already logged, except -ENOENT of attach, info, kill
 *          and of the STAT operation, which the caller words.
 * Threads: one thread; parallel work is done by processes (cmd_create.c).
 * Signals: every wait ends with -EINTR after SIGINT or SIGTERM (intr.h),
 *          except exec, which hands the signal to the remote process.
 */
#ifndef DF_SANDBOX_PROVIDER_H
#define DF_SANDBOX_PROVIDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct df_pair {
	char *key;   /* owned */
	char *value; /* owned */
};
struct df_pairs {
	struct df_pair *v; /* owned */
	size_t n;
};

/* Add a copy of "K=V" (or of key and value); 0, -EINVAL, -ENOMEM. */
int df_pairs_add(struct df_pairs *p, const char *assignment);
int df_pairs_set(struct df_pairs *p, const char *key, const char *value);
const char *df_pairs_get(const struct df_pairs *p, const char *key);
void df_pairs_release(struct df_pairs *p);
/* A fresh JSON object of them; NULL without memory. */
json_t *df_pairs_json(const struct df_pairs *p);

/* Metadata keys of our own; [A-Za-z0-9._-] so that filters need no quoting. */
#define DF_META_NAME "deeplake_name"
#define DF_META_CREATE "deeplake_create"   /* finds one whose answer was lost */
#define DF_META_WORKDIR "deeplake_workdir" /* cwd of commands */

struct df_sb_spec {
	const char *template_id; /* NULL = the provider's usual one */
	const char *name;        /* NULL = none */
	long timeout_s;
	const struct df_pairs *env;
	const struct df_pairs *metadata;
	const char *workdir; /* NULL = home; only noted, not made */
	const char *server;  /* the table server's URL, or NULL: local makes
				  * it reachable inside */
	long memory_mb;      /* 0 = no limit of ours; local only */
	long max_procs;      /* local only */
	bool internet;
	bool auto_pause; /* at the end of its time: pause, not kill */
};

struct df_sb {
	char *id;            /* owned, as the rest */
	char *name;          /* or NULL */
	char *workdir;       /* or NULL = home */
	char *token;         /* secret: X-Access-Token of its guest agent */
	char *traffic_token; /* secret, or NULL */
	char *domain;        /* or NULL = the configured one */
	char *template_id;
	bool fresh; /* just made or resumed: 502 may be passing */
};
void df_sb_free(struct df_sb *sb);

/* One run of a program.  argv[0] is searched in PATH. */
struct df_exec {
	const char *const *argv;    /* NULL-terminated */
	const struct df_pairs *env; /* or NULL */
	const char *cwd;            /* NULL = home */
	const char *user;           /* NULL = the sandbox's usual user */
	long timeout_s;             /* 0 = none */
	bool background;            /* return once it runs; output is dropped */
	bool tty;
	bool forward_signals;      /* SIGINT and SIGTERM go to the process */
	unsigned short cols, rows; /* with tty */
	bool plain;                /* as it is: no login shell around it */
	int in_fd;                 /* -1 = no input; never for secrets:
				      * guest agents log it */
	/* stream: 1 stdout (or terminal), 2 stderr; < 0 stops with that. */
	int (*output)(void *arg, int stream, const void *data, size_t len);
	void *arg;
};
struct df_exec_end {
	int status;       /* as in a shell: code, 128+signal, 124 timeout */
	long pid;         /* in the sandbox */
	bool lost_output; /* the stream was cut and taken up again */
};

/* Where bytes come from: fill up to len bytes; 0 = end, < 0 = -errno. */
typedef ssize_t df_read_fn(void *arg, void *data, size_t len);
/* Where bytes go: 0 or -errno. */
typedef int df_write_fn(void *arg, const void *data, size_t len);

enum df_fs_op {
	DF_FS_UNKNOWN = 0,
	DF_FS_STAT,   /* a -> entry; silent -ENOENT */
	DF_FS_LIST,   /* a -> array of entries */
	DF_FS_MKDIR,  /* a, with parents; -EEXIST if it is there */
	DF_FS_MOVE,   /* a -> b */
	DF_FS_REMOVE, /* a, with all below */
};

struct df_sb_filter {
	const struct df_pairs *metadata; /* all must match; NULL = any */
	const char *state;               /* "running", "paused", NULL = both */
};

/* What both providers read and write in the same form: from an object as
 * info gives it (the id may be missing: NULL), the metadata of a new one (fresh;
 * NULL without memory), and whether an object passes a filter. */
int df_sb_new(const json_t *o, struct df_sb **out);
json_t *df_sb_metadata(const struct df_sb_spec *spec);
bool df_sb_matches(const json_t *o, const struct df_sb_filter *f);

struct df_prov;
struct df_prov_ops {
	const char *name;

	/* A failed create leaves nothing behind.  *out: caller's. */
	int (*create)(struct df_prov *p, const struct df_sb_spec *spec,
		      struct df_sb **out);
	/* Exact id only.  Does not resume a paused one. */
	int (*attach)(struct df_prov *p, const char *id, struct df_sb **out);
	/* Array of the objects that info gives. */
	int (*list)(struct df_prov *p, const struct df_sb_filter *f,
		    json_t **out);
	/* {sandboxID, templateID, state, startedAt, endAt, metadata, ...} */
	int (*info)(struct df_prov *p, struct df_sb *sb, json_t **out);
	int (*kill)(struct df_prov *p, struct df_sb *sb);
	/* The end is now + s, sooner or later than before. */
	int (*set_timeout)(struct df_prov *p, struct df_sb *sb, long s);
	int (*pause)(struct df_prov *p, struct df_sb *sb);
	int (*resume)(struct df_prov *p, struct df_sb *sb, long timeout_s);
	/* *id: caller frees; good as template of create. */
	int (*snapshot)(struct df_prov *p, struct df_sb *sb, const char *name,
			char **id);
	/* *ids: array of strings, fewer than count if some failed (logged).
	 * Memory may not be copied: then the mounts are not there. */
	int (*fork)(struct df_prov *p, struct df_sb *sb, int count,
		    long timeout_s, json_t **ids);
	/* Lines after *cursor, which moves on: [{timestamp, message, ...}]. */
	int (*logs)(struct df_prov *p, struct df_sb *sb, int64_t *cursor,
		    json_t **lines);
	int (*url)(struct df_prov *p, struct df_sb *sb, int port, char **url);

	int (*exec)(struct df_prov *p, struct df_sb *sb,
		    const struct df_exec *e, struct df_exec_end *end);
	int (*get)(struct df_prov *p, struct df_sb *sb, const char *user,
		   const char *path, df_write_fn *to, void *arg);
	/* Writes in place: guest.h's df_guest_put is the safe one. */
	int (*put)(struct df_prov *p, struct df_sb *sb, const char *user,
		   const char *path, df_read_fn *from, void *arg);
	int (*fs)(struct df_prov *p, struct df_sb *sb, enum df_fs_op op,
		  const char *user, const char *a, const char *b, json_t **out);
	void (*free)(struct df_prov *p);
};

/* Embedded as the first member of each provider's struct. */
struct df_prov {
	const struct df_prov_ops *ops;
	bool verbose;
};

/* name: "e2b", "local", or NULL = e2b if E2B_API_KEY is set, else local,
 * which is said on stderr unless quiet. */
int df_prov_new(const char *name, bool quiet, struct df_prov **out);
void df_prov_free(struct df_prov *p);
/* An id, a unique prefix of one, or a name given at creation. */
int df_prov_find(struct df_prov *p, const char *what, struct df_sb **out);

int df_e2b_new(struct df_prov **out);
int df_local_new(struct df_prov **out);

#endif
