// links: base backend cache
/*
 * fuzz_journal.c - what an earlier life left in the journal: operations, cuts,
 * noted rows.
 *
 * The input is records, each after 6 bytes: its type, 0, the bytes of the
 * record and of its data (two each, little-endian).  They are appended to the
 * journal of a cache of their own (fuzz_seg.c has the frames) and a volume is
 * opened on it, looked at, changed, and opened once more.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "cache/bytes/seg.h"
#include "cache/bytes/segfmt.h"
#include "cache/volume.h"
#include "tests/unit/memtable.h"

#define DEEP 4 /* directories below each other that are listed */
#define CACHE_SIZE (UINT64_C(16) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char dir[64];

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void drop_dir(void)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_dir(void)
{
	/* Memory where there is some: a directory a run on a disk is slow. */
	snprintf(dir, sizeof(dir), "%s/df-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(dir))
		abort();
	atexit(drop_dir);
	df_log_set_level(DF_LOG_ERROR - 1);
}

static void write_journal(const uint8_t *data, size_t len)
{
	struct df_segs *s;
	uint64_t seq = 0;

	if (df_segs_open(dir, CACHE_SIZE, &s) ||
	    df_segs_replay(s, 0, NULL, NULL))
		abort();
	while (len >= 6) {
		uint32_t lens = df_le_get32(data + 2);
		size_t rec = lens & 0xffff, bytes = lens >> 16;
		uint8_t type = data[0];
		data += 6;
		len -= 6;
		rec = DF_MIN(rec, len);
		bytes = DF_MIN(bytes, len - rec);
		if (type != DF_FRAME_LOST &&
		    df_seg_append(s, type, ++seq, data, rec, data + rec, bytes,
				  0, NULL))
			abort();
		data += rec + bytes;
		len -= rec + bytes;
	}
	df_segs_free(s);
}

/* ---- what a volume shows of it */
struct walk {
	struct df_vol *v;
	unsigned depth;
};

static bool look(void *arg, const struct df_dirent *d);

static void list(struct df_vol *v, df_nid nid, unsigned depth)
{
	struct walk w = { v, depth };

	df_vol_readdir(v, nid, 0, true, look, &w);
}

static bool look(void *arg, const struct df_dirent *d)
{
	const struct walk *w = arg;
	char target[DF_SYMLINK_MAX + 1];

	if (!d->entry.nid)
		return true;
	if (!*d->name || strchr(d->name, '/'))
		abort();
	if (S_ISLNK(d->type))
		df_vol_readlink(w->v, d->entry.nid, target);
	if (S_ISDIR(d->type) && w->depth < DEEP)
		list(w->v, d->entry.nid, w->depth + 1);
	df_vol_forget(w->v, d->entry.nid, 1);
	return true;
}

static void one_life(struct table *t)
{
	struct df_vol_conf conf = { .cache_dir = dir,
				    .table = "fuzz",
				    .cache_size = CACHE_SIZE };
	struct link *l = df_xalloc(sizeof(*l));
	struct df_remote *r = &l->r;
	struct df_entry e;
	struct df_vol *v;

	l->t = t;
	l->r.ops = &m_ops;
	l->r.pack_max = 4 << 20;
	if (df_vol_open(&conf, &r, -1, &v)) {
		if (r)
			r->ops->free(r);
		return;
	}
	list(v, DF_ROOT_NID, 0);
	if (!df_vol_mkdir(v, DF_ROOT_NID, "fuzz", 0755, NULL, &e))
		df_vol_forget(v, e.nid, 1);
	df_vol_stop(v, 0);
	df_vol_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct table *t = table_new();

	if (!dir[0])
		make_dir();
	write_journal(data, len);
	one_life(t);
	one_life(t);
	drop_dir();
	table_free(t);
	return 0;
}
