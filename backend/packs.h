/*
 * packs.h - how packs lie in T__pack.
 *
 *	id    TEXT    32 hex digits, the pack's id; the caller chose it
 *	size  BIGINT  raw bytes
 *	data  TEXT    the raw bytes in base64 with padding
 *
 * Text, because bytes would be answered as hex, twice as long.  A range is
 * asked for as substr(data, a, n) at multiples of 4 characters, which are 3
 * bytes, decoded and cut; whole rows where the server has no substr().
 *
 * Size: a statement that the server refuses as too large (413; 400 that says
 * so) lowers remote->pack_max, by halves down to DF_PACK_MIN, and df_packs_put
 * answers -EFBIG: cut smaller packs and try again.
 *
 * The functions are the pack operations of remote.h (tablei.h).
 */
#ifndef DF_BACKEND_PACKS_H
#define DF_BACKEND_PACKS_H

#define DF_PACK_FIRST ((size_t)4 << 20) /* raw bytes: pack_max at first */
#define DF_PACK_MIN ((size_t)128 << 10)
/* Largest pack that is read: what a future version may write. */
#define DF_PACK_READ_MAX ((uint64_t)64 << 20)

#endif
