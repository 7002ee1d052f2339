/* codec_int.h - scalars that codec.c and codec_object.c share. */
#ifndef DF_CACHE_CODEC_INT_H
#define DF_CACHE_CODEC_INT_H

#include "cache/registers/codec.h"

void df_put_stamp(struct df_coder *c, struct df_buf *b, struct df_stamp s);
/* A register's stamp: time 0 is malformed. */
struct df_stamp df_get_stamp(struct df_coder *c, struct df_rd *r);
void df_put_ns(struct df_coder *c, struct df_buf *b, int64_t ns);
int64_t df_get_ns(struct df_coder *c, struct df_rd *r);
void df_put_parent(struct df_coder *c, struct df_buf *b, df_nid nid);
df_nid df_get_parent(struct df_coder *c, struct df_rd *r);
void df_put_name(struct df_buf *b, const char *name);
char *df_get_name(struct df_rd *r); /* clean; NULL when r is bad */
bool df_type_known(uint32_t type);  /* S_IFMT part of a mode */

#endif
