/*
 * place.h - names and places: what a user wrote into what the product uses.
 *
 * Errors: functions that return int give 0 or -errno and have said why (one
 * line with what to do); those that return a string give fresh memory, or NULL
 * without memory.
 * Threads: any.
 */
#ifndef DF_TOOLS_PLACE_H
#define DF_TOOLS_PLACE_H

#include <sys/types.h>

/*
 * "T", "T:/sub/dir", or "/cwd/T", which is what mount(8) makes of a T that is
 * also the name of a file there.  *table and *subdir (NULL: the whole volume)
 * are the caller's to free.
 */
int df_place_source(const char *source, char **table, char **subdir);
/* A name that the API takes, and none of those that volumes use inside. */
int df_place_check_table(const char *table);

/* $HOME, else the password database's; never a static buffer. */
char *df_place_home(void);
char *df_place_home_of(uid_t uid);

/*
 * A mount point as the kernel's mount table spells it: absolute, no links.
 * The last component is not looked into, so that it works for a dead mount
 * and for a directory that does not exist yet.
 */
int df_place_path(const char *path, char **out);

/*
 * The directory that holds the cache of a mount point, by default
 * ~/.cache/deeplake/NAME or, for root, /var/cache/deeplake/NAME; `nth` from 0
 * tells several apart that have the same name (other mount namespaces).
 * Nothing is created.
 */
char *df_place_cache_dir(const char *api_url, const char *org,
			 const char *workspace, const char *table,
			 const char *path, unsigned nth);

/* Directories of run files (runfile.h) of a user: nth from 0 until NULL. */
char *df_place_run_dir(uid_t uid, unsigned nth);

#endif
