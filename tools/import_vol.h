/*
 * import_vol.h - a volume without FUSE, for import and export: opened, worked
 * on by one thread, flushed, its cache removed.
 *
 * Errors: 0 or -errno, said already.
 */
#ifndef DF_TOOLS_IMPORT_VOL_H
#define DF_TOOLS_IMPORT_VOL_H

#include "cache/volume.h"
#include "tools/query_args.h"

struct df_side {
	struct df_vol *vol;
	char *cache_dir; /* owned */
};

/* `purpose` and `path` name the cache, so that the same command run again
 * takes up what the last one left. */
int df_side_open(struct df_query_args *a, const char *purpose, const char *path,
		 bool read_only, struct df_side *out);
/* Send what there is, for at most timeout_ms; -ETIMEDOUT: not all (the next
 * run goes on).  The cache goes if everything is remote. */
int df_side_close(struct df_side *s, int64_t timeout_ms);

/* ---- volume.h's parked operations, waited for */
int df_side_read(struct df_side *s, df_nid nid, uint64_t off, size_t len,
		 void *out, size_t *got);
int df_side_write(struct df_side *s, df_nid nid, uint64_t off, const void *data,
		  size_t len);

/* A change ended with err.  True: it is to be made once more, for it found the
 * cache full and something has left since.  (df_side_write waits by itself.) */
bool df_side_again(struct df_side *s, int err);
/* Wait until the local database has what memory should not keep. */
void df_side_pace(struct df_side *s);

/* Same size, same mtime: taken for the same file, as rsync does. */
bool df_side_same(const struct df_attr *a, uint64_t size,
		  const struct timespec *mtime);

#endif
