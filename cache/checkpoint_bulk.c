#include "cache/checkpoint_bulk.h"
struct df_bulk *df_bulk_begin(struct df_vol *v) { (void)v; return NULL; }
int df_bulk_add(struct df_bulk *b, const void *regs, size_t len) { (void)b; (void)regs; (void)len; return 0; }
int df_bulk_end(struct df_bulk *b, int err) { (void)b; return err; }
