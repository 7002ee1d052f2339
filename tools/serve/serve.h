/*
 * serve.h - the command `deeplake serve`, from its arguments to its exit
 * status.
 */
#ifndef DF_SERVE_SERVE_H
#define DF_SERVE_SERVE_H

/* Everything main() does; an exit status of base/err.h. */
int df_serve_main(int argc, char **argv);

#endif
