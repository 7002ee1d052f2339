/*
 * admin.h - `deeplake serve token ...` and `deeplake serve backup PATH`, which
 * work beside a running server on the same store.
 */
#ifndef DF_SERVE_ADMIN_H
#define DF_SERVE_ADMIN_H

#include "tools/serve/server.h"

/* Where in argv such a command starts; 0 = there is none. */
int df_admin_find(int argc, char **argv);
/* argv[0] is the command; an exit status. */
int df_admin_run(const struct df_serve_conf *conf, int argc, char **argv);

#endif
