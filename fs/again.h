/*
 * again.h - requests that the volume cannot answer yet: it has to know a file's
 * whole extent map first (-EAGAIN, volume.h), or a change finds the cache full
 * or the local database behind (df_vol_wait()).
 *
 * An operation is described once, by a struct df_again.  df_again() runs it;
 * where it has to wait the request is parked (park.h) with a copy of the
 * description, and run again from a thread of the volume.  So neither a slow
 * server nor a slow disk takes a worker away from others.
 */
#ifndef DF_FS_AGAIN_H
#define DF_FS_AGAIN_H

#include "fs/fs.h"

struct df_park;

struct df_again {
	/* The operation; its results go into a.  May return DF_EPARKED if
	 * df_park_done(p) will end it (WRITE in a full cache). */
	int (*run)(struct df_fs *fs, struct df_again *a, struct df_park *p);
	/* Answer, after run() gave 0. */
	void (*answer)(fuse_req_t req, const struct df_again *a);
	fuse_req_t req;   /* set by df_again(); valid until it is answered */
	bool changes;     /* waits for room, and for the database */
	df_nid nid, nid2; /* whose maps are wanted on -EAGAIN; nid2 0: none */
	uint64_t off, off2, len;
	unsigned flags;
	const void *data; /* len bytes of the request's buffer, or NULL */
	const char *name, *name2; /* of the request's buffer, or NULL */
	struct df_attr attr;
	struct df_entry entry;
	double timeout;
};

void df_again(fuse_req_t req, struct df_again *a);

#endif
