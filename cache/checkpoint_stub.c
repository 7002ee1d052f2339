#include "cache/checkpoint.h"
__attribute__((weak)) int df_checkpoint_wanted(struct df_vol *v, const struct df_row *row) { (void)v; (void)row; return 0; }
__attribute__((weak)) int df_checkpoint_fold(struct df_vol *v, const struct df_row *row) { (void)v; (void)row; return 0; }
__attribute__((weak)) int df_checkpoint_write(struct df_vol *v) { (void)v; return 0; }
__attribute__((weak)) bool df_checkpoint_due(struct df_vol *v) { (void)v; return false; }
