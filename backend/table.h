/*
 * table.h - a volume's remote tables over the Deeplake table API.
 *
 * df_table_open() makes the struct df_remote of a mount and talks to nobody:
 * an offline mount works.  The first operation that reaches the server reads
 * the format row: it refuses formats of newer programs (DF_EFORMAT) and sets
 * remote->caps.  df_table_probe() does that at once.
 *
 * Tables of a volume T (docs/formats.md), all columns TEXT but where said:
 *	T        _id, content BYTEA, content_text, filename, mime_type, path,
 *	         size_bytes BIGINT
 *	T__log   [n SERIAL PRIMARY KEY,] id, node, seq, sent, epoch, kind,
 *	         prev, deps, body            (rows.h)
 *	T__pack  id, size BIGINT, data       (packs.h)
 *
 * Errors: remote.h's.  Every error is logged once, with the next step.
 */
#ifndef DF_BACKEND_TABLE_H
#define DF_BACKEND_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/remote.h"

/* The format this program writes and the newest it reads. */
#define DF_TABLE_FORMAT 1
/* Longest table name: "T__pack" fits PostgreSQL's 63 bytes. */
#define DF_TABLE_NAME_MAX 56

struct df_table_conf {
	const char *api_url;     /* "https://api.deeplake.ai" */
	const char *token;       /* NULL: none is sent */
	const char *org;         /* organization id; NULL: the token's */
	const char *workspace;   /* NULL: "default" */
	const char *table;       /* T */
	const char *credentials; /* file that reload() reads again; NULL: the
				  * usual one, see creds.h */
	const char *ca_file;     /* NULL: SSL_CERT_FILE, else the system's */
	const char *user_agent;  /* NULL: "deeplakefs/VERSION" */
	uint64_t bwlimit;        /* bytes/s over all transfers; 0 = none */
	int64_t patience_ms;     /* as in api.h; 0 for mounts */
	bool view;               /* fill remote->ops->view_*; else NULL */
};

/* Letters, digits, "_" and "-", not first a digit or "-": 0 or -EINVAL
 * (logged). */
int df_table_check_name(const char *table);

/* conf's strings are copied.  No I/O.  -EINVAL: bad URL or name. */
int df_table_open(const struct df_table_conf *conf, struct df_remote **out);
/* Read the format row now, once; sets caps, and read_only where the server
 * says so beforehand.
 *   -ENOENT     T__log is not there or holds no format row */
int df_table_probe(struct df_remote *r, int64_t timeout_ms);

struct df_table_made {
	bool created; /* T__log was not there before */
	bool adopted; /* T was there before, in our shape */
	bool ours;    /* as in df_caps */
	bool feed;
};
/* Make what is missing of T, T__log, T__pack; wait until it is visible; find
 * out what the server can do; write the format row.  Idempotent, and two at
 * once end alike.  Afterwards r knows the format: no request is made twice.
 *   -EEXIST     T has other columns: not ours to use (not logged; foreign.h)
 *   -ENOENT     the workspace does not exist */
int df_table_make(struct df_remote *r, int64_t timeout_ms,
		  struct df_table_made *made);
/* The same with a connection of its own. */
int df_table_create(const struct df_table_conf *conf, int64_t timeout_ms,
		    struct df_table_made *made);
/* Give T of a server of ours the unique index on _id that older programs did
 * not make (viewsql.h); rows of others with one _id prevent it, without error.
 */
int df_table_unique_ids(struct df_remote *r, int64_t timeout_ms);
/* Drop the three tables.  -ENOENT: there is no volume T. */
int df_table_destroy(const struct df_table_conf *conf, int64_t timeout_ms);

/* ---- for other statements on the same connection (tools/) */
struct df_api;
struct df_api *df_table_api(struct df_remote *r);

#endif
