/*
 * upload.h - a cut's way to the table: bytes into packs, registers into a
 * row, the row noted in the journal, sent, acknowledged.
 *
 * State of a cut: taken -> packed (every pack in the table) -> noted (from
 * here on the same bytes are sent until they are seen) -> acknowledged ->
 * seen.  A crash before "noted" leaves everything dirty; after it the row is
 * sent again byte for byte.
 *
 * Locks: functions here take the volume's lock themselves.
 */
#ifndef DF_CACHE_UPLOAD_H
#define DF_CACHE_UPLOAD_H

#include "cache/registers/commit.h"
#include "cache/cut.h"
#include "cache/sender.h"

/* Pack the cut's bytes, hand packs to the sender, note the row.  0, or -errno
 * (nothing noted; the objects are still dirty and in v->dirty again).  Frees
 * the cut. */
int df_upload_cut(struct df_vol *v, struct df_cut *c);
/* Send the oldest noted row that is not acknowledged, once. */
int df_upload_row(struct df_vol *v);
/* What one cut packed. */
struct df_upload {
	struct df_vol *v;
	struct df_cut *cut;
	struct df_packer *packer;
	size_t pack_max;
	struct df_id **ids; /* pieces of the open pack: ids to fill in */
	size_t n_ids, ids_size;
	bool own;            /* pages in the open pack say df_pack_own() */
	struct df_id own_id; /* which was that pack; set when it is closed */
	struct df_buf raw;   /* run being collected */
	struct df_ver *ver;  /* whose extents these are */
	struct df_ext **run;
	size_t n_run, run_size;
	struct df_sha *sha;
	uint8_t *last; /* a small last pack, to go inline; owned */
	size_t last_len;
	uint64_t bytes;
	/* of every version, in their order: its extents with both places */
	struct df_extmap *maps; /* owned */
	size_t n_maps, maps_size;
	struct df_repack {
		struct df_repack *next;
		df_nid nid;
		struct df_stamp root;
		uint64_t off, len;
		struct df_piece piece;
		struct df_extmap old; /* owned; where the bytes were */
	} * repacks;                  /* owned */
};
/* upack.c */
int df_upload_pack(struct df_upload *u);
int df_upload_piece(struct df_upload *u, const void *raw, size_t len,
		    struct df_piece *piece);
int df_upload_close(struct df_upload *u, bool may_inline);
/* Bytes of e from wherever they are locally; false: they are not. */
bool df_upload_local(struct df_upload *u, const struct df_ext *e, void *out);
/* repack.c: before h is packed.  The many small extents at the end of a log
 * become one. */
int df_upload_repack(struct df_upload *u, const struct df_obj *o,
		     struct df_ver *h);
/* The row is noted: o has its bytes where the row says.  Locked. */
void df_upload_repacked(const struct df_upload *u, struct df_obj *o);
void df_upload_repacks_free(struct df_upload *u);

#endif
