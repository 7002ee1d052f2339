/*
 * codec.h - the one form of registers, in the journal, the fold, commits and
 * checkpoints (docs/formats.md, "Registers").
 *
 * Node ids, parents and packs are written in full at their first use and by
 * number afterwards; times are differences.  The *local* form (journal, fold)
 * adds what is nobody else's business: node numbers, dirty and published
 * marks, local places of bytes, atime, derived counters; and names parents by
 * node number.  The wire form is refused as a whole if anything in it is out
 * of range.  Sequences of objects share one coder: the reader must read them
 * in the order in which they were written.
 *
 * Not thread-safe; a coder belongs to its user.
 */
#ifndef DF_CACHE_CODEC_H
#define DF_CACHE_CODEC_H

#include <string.h>

#include "cache/registers/object.h"

struct df_dict; /* fixed-width keys <-> numbers */

struct df_coder {
	bool local;
	struct df_dict *nodes, *ids, *packs; /* owned */
	uint64_t last_time;
	int64_t last_ns;
	/* wire form only: parents' ids <-> node numbers */
	struct df_id (*id_of)(void *arg, df_nid nid);
	df_nid (*nid_of)(void *arg, const struct df_id *id);
	void *arg;
	uint64_t max_time; /* greatest stamp read */
};

void df_coder_init(struct df_coder *c, bool local);
void df_coder_release(struct df_coder *c);
/* Forget dictionaries and differences, keep the memory. */
void df_coder_reset(struct df_coder *c);

/* All registers of o that are there (a commit passes a df_obj_copy_dirty). */
void df_code_object(struct df_coder *c, struct df_buf *b,
		    const struct df_obj *o);
/* NULL: malformed (r->bad is set).  The object is not in any cache; nid is
 * set in the local form. */
struct df_obj *df_decode_object(struct df_coder *c, struct df_rd *r);

void df_code_ver(struct df_coder *c, struct df_buf *b, const struct df_ver *v);
struct df_ver *df_decode_ver(struct df_coder *c, struct df_rd *r);
void df_code_vv(struct df_coder *c, struct df_buf *b, const struct df_vv *vv);
void df_decode_vv(struct df_coder *c, struct df_rd *r, struct df_vv *vv);

/* A page: the extents of [off, off + len), self-contained.  A page whose bytes
 * lie in the same pack as those of its extents cannot name that pack, whose
 * hash is not known yet: it says df_pack_own() instead. */
static inline struct df_id df_pack_own(void)
{
	struct df_id id;

	memset(id.b, 0xff, sizeof(id.b));
	return id;
}
void df_code_page(struct df_buf *b, const struct df_extmap *m, uint64_t off,
		  uint64_t len);
void df_extmap_own_pack(struct df_extmap *m, const struct df_id *pack);
/* Put the extents of a page that was found in `pack` into m; DF_ECORRUPT. */
int df_decode_page(const void *data, size_t len, const struct df_id *pack,
		   uint64_t off, uint64_t max, struct df_extmap *m);

void df_code_ext(struct df_coder *c, struct df_buf *b, const struct df_ext *e,
		 uint64_t *at);
void df_decode_ext(struct df_coder *c, struct df_rd *r, struct df_ext *e,
		   uint64_t *at);

/* A name as it may be shown; what is no valid component becomes one that is
 * derived from its bytes, the same everywhere.  Caller frees. */
char *df_name_clean(const uint8_t *name, size_t len);

#endif
