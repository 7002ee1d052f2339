/*
 * litefn.h - PostgreSQL's functions and operators that SQLite lacks or has
 * with another meaning, as SQL functions named dl_*.
 */
#ifndef DF_SERVE_LITEFN_H
#define DF_SERVE_LITEFN_H

#include <sqlite3.h>
#include <stddef.h>

/* Register all of them on a connection: an SQLite result code. */
int df_litefn_register(sqlite3 *db);
/* dl_like and friends, kept in a file of their own. */
int df_litetext_register(sqlite3 *db);

#endif
