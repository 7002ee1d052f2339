/*
 * again.h - requests that the volume cannot answer before it knows a file's
 * whole extent map (-EAGAIN, volume.h).
 *
 * An operation is described once, by a struct df_again.  df_again() runs it;
 * where the map is missing the request is parked (park.h) with a copy of the
 * description, and run again from the volume's thread once the map is there.
 * So a slow server takes no worker away from others.
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
	df_nid nid, nid2; /* whose maps are wanted; nid2 0: none */
	uint64_t off, off2, len;
	unsigned flags;
	const void *data; /* len bytes of the request's buffer, or NULL */
	struct df_attr attr;
	double timeout;
};

void df_again(fuse_req_t req, struct df_again *a);

#endif
