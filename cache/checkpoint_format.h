/*
 * checkpoint_format.h - the bytes of checkpoints: blocks, index, row body
 * (docs/formats.md, "Checkpoints").
 *
 * Everything read here comes from the network: bounded, and refused as a whole
 * if anything is out of range.  Pure functions; no locks.
 */
#ifndef DF_CACHE_CHECKPOINT_FORMAT_H
#define DF_CACHE_CHECKPOINT_FORMAT_H

#include "cache/registers/codec.h"
#include "cache/inlinepack.h"
#include "cache/bytes/pack.h"

/* A block is cut behind an object at this many bytes, if the object's id says
 * so (1 in DF_CK_CUT), and at the latest at the second figure.  What one
 * object alone exceeds is split. */
#define DF_CK_BLOCK_MIN (64 << 10)
#define DF_CK_BLOCK_MAX (384 << 10)
#define DF_CK_CUT 512
#define DF_CK_INDEX_MAX ((size_t)64 << 20)

/* Blocks are sorted by (directory that shows it, object). */
struct df_ck_key {
	struct df_id dir, obj;
};

struct df_ck_block {
	struct df_piece piece;
	struct df_id sum;       /* start of the SHA-256 of the raw block */
	struct df_ck_key first; /* of its objects */
	uint32_t n_objs;
};

/* A row of the log whose registers are in the checkpoint. */
struct df_ck_cover {
	struct df_id id;
	uint64_t epoch;
	int64_t since_ms; /* server time at which it was first covered */
};

struct df_ck_index {
	uint64_t generation;
	uint64_t n_objs;
	uint64_t max_time;          /* greatest stamp in it */
	struct df_ck_block *blocks; /* owned */
	size_t n_blocks, blocks_size;
	struct df_ck_cover *covers; /* owned; sorted by id */
	size_t n_covers, covers_size;
	/* packs that travelled inside rows and that registers point to */
	struct df_inline_place *inlines; /* owned; sorted by pack */
	size_t n_inlines, inlines_size;
};

/* What the row says. */
struct df_ck_body {
	uint64_t generation;
	uint64_t index_len;      /* raw bytes of the index */
	struct df_piece *pieces; /* owned: where it is */
	size_t n_pieces;
};

void df_ck_index_release(struct df_ck_index *x);
void df_ck_index_write(struct df_buf *out, const struct df_ck_index *x);
/* 0, DF_ECORRUPT, or DF_EFORMAT; *x is empty after an error. */
int df_ck_index_read(const void *data, size_t len, struct df_ck_index *x);
const struct df_ck_cover *df_ck_covers(const struct df_ck_index *x,
				       const struct df_id *row);

void df_ck_body_write(struct df_buf *out, const struct df_ck_body *b);
int df_ck_body_read(const void *data, size_t len, struct df_ck_body *b);
void df_ck_body_release(struct df_ck_body *b);

/* ---- blocks */
int df_ck_key_cmp(const struct df_ck_key *a, const struct df_ck_key *b);
/* Drop what is not noted in a row, and put the rest into the one order. */
void df_ck_clean(struct df_obj *o);
/* Anything left to write? */
bool df_ck_empty(const struct df_obj *o);
/* Does a block end behind this object? */
bool df_ck_ends(const struct df_id *obj, size_t len);
/* A raw block around n objects in the wire form, written with one coder. */
void df_ck_block_write(struct df_buf *out, size_t n, const void *objs,
		       size_t len);
/* The registers in it (as a commit has them, unchecked): points into data. */
int df_ck_block_read(const void *data, size_t len, const uint8_t **regs,
		     size_t *regs_len);

#endif
