/* vol_data.h - what vol_data.c and load.c share. */
#ifndef DF_CACHE_VOL_DATA_H
#define DF_CACHE_VOL_DATA_H

#include "cache/vol.h"

struct gather;

/* All pages of an unloaded version count as missing. */
void df_data_pages(const struct df_ver *h, struct gather *g);
/* Make pieces local and wait for it (not locked; not on a thread that must not
 * wait); fetch.h's errors. */
int df_data_fetch_wait(struct df_vol *v, const struct df_piece *p, size_t n);
/* Decode h's pages, which are local: 0, -EAGAIN (some are not), -EIO. */
int df_ver_load(struct df_vol *v, struct df_ver *h);
/* err 0: space may have come; else all waiting writers fail with it. */
void df_data_retry_writes(struct df_vol *v, int fail);
int df_vol_writable_unlocked(struct df_vol *v);

#endif
