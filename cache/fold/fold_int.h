/* fold_int.h - what the fold's files share; see fold.h. */
#ifndef DF_CACHE_FOLD_INT_H
#define DF_CACHE_FOLD_INT_H

#include <pthread.h>

#include "cache/registers/codec.h"
#include "cache/fold/fold.h"

enum df_stmt {
	ST_OBJ_GET,
	ST_OBJ_FIND,
	ST_ENT_GET,
	ST_ENT_LIST,
	ST_ROW_HAS,
	ST_OBJ_PUT, /* from here on: the writer's connection */
	ST_OBJ_DEL,
	ST_ENT_DEL,
	ST_ENT_PUT,
	ST_RIVAL_PUT,
	ST_RIVAL_DEL,
	ST_ROW_PUT,
	ST_ROW_DEL,
	ST_ROW_TAKEN,
	ST_META_PUT,
	ST_COUNT,
};

struct df_rivals { /* of one directory */
	df_nid parent;
	char **names; /* owned */
	uint32_t n;
};

struct df_pending { /* rival, row and meta changes not yet in SQLite */
	enum df_stmt stmt;
	df_nid parent;
	char *text; /* owned: name or key */
	struct df_dep row;
	uint64_t value;
};

struct df_fold {
	char *path;
	sqlite3 *rd, *wr; /* reader: under the lock; writer: df_fold_write */
	sqlite3_stmt *st[ST_COUNT];
	struct df_segs *segs;
	struct df_coder coder; /* reading */
	int err;
	pthread_mutex_t writer; /* after the volume's lock; from begin to the
				 * end of write: batches land in order */
	bool cut_off; /* writer; a batch failed: none lands behind it */
	uint64_t memory, used;
	bool bare; /* SQLite has no object but the root, and no name */
	df_nid next_nid;
	uint64_t changes;
	uint64_t secret; /* of the hash table of ids */
	/* objects */
	struct df_obj **by_nid, **by_id; /* chained; size n_buckets */
	uint32_t n_buckets, n_objs;
	struct df_obj lru;     /* ring: lru.lru_next is the newest */
	struct df_obj **dirty; /* FOLD_DIRTY objects; owned array */
	size_t n_dirty, dirty_size;
	/* names */
	struct df_name **names;
	uint32_t name_buckets, n_names;
	struct df_name name_lru;
	struct df_name **dirty_names;
	size_t n_dirty_names, dirty_names_size;
	/* rivals, by parent; sorted array */
	struct df_rivals *rivals;
	size_t n_rivals;
	struct df_pending *pending;
	size_t n_pending, pending_size;
	struct df_flush *flight; /* begun and not ended; owned by its caller */
	struct df_metaval {
		char key[32];
		uint64_t value;
	} meta[24];
	unsigned n_meta;
};

/* A row's blob: the object in the local form, and a sum of that. */
void df_fold_encode(struct df_coder *c, struct df_buf *b,
		    const struct df_obj *o);
/* NULL: damaged. */
struct df_obj *df_fold_decode(struct df_coder *c, const void *blob,
			      size_t size);

int df_fold_db_open(struct df_fold *f, bool *fresh);
void df_fold_db_close(struct df_fold *f);
/* Latch and log a SQLite error. */
/* It is set aside at the next start. */
void df_fold_condemn(struct df_fold *f);
int df_fold_sql_error(struct df_fold *f, sqlite3 *db, const char *what);
int df_fold_load_start(struct df_fold *f);
void df_fold_touch_name(struct df_fold *f, struct df_name *n);
/* nid came to n, or went: SQLite does not know. */
void df_fold_cand_changed(struct df_fold *f, struct df_name *n, df_nid nid);
/* Is the row among what the flush in flight writes?  The reader of SQLite does
 * not see it yet. */
bool df_fold_flight_has(const struct df_fold *f, const struct df_id *id);
bool df_pending_has_row(const struct df_pending *p, size_t n,
			const struct df_id *id);
struct df_pending *df_fold_pend(struct df_fold *f, enum df_stmt stmt);
void df_fold_unlink_obj(struct df_fold *f, struct df_obj *o);
void df_fold_insert_obj(struct df_fold *f, struct df_obj *o);
void df_fold_account(struct df_fold *f, struct df_obj *o);
void df_fold_free_name(struct df_fold *f, struct df_name *n);

#endif
