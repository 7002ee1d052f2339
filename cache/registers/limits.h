/* limits.h - node numbers, and how long or large things may be. */
#ifndef DF_CACHE_LIMITS_H
#define DF_CACHE_LIMITS_H

#include <stdint.h>

typedef uint64_t df_nid;
#define DF_ROOT_NID UINT64_C(1)

#define DF_NAME_MAX 255
#define DF_SYMLINK_MAX 4095
#define DF_XATTR_NAME_MAX 255
#define DF_XATTR_VALUE_MAX 65536
#define DF_FILE_SIZE_MAX (INT64_C(16) << 40) /* 16 TiB */
#define DF_LINK_MAX 65000

#endif
