/*
 * options.h - the arguments of `deeplake serve`: one table for the parser and
 * the help text.
 */
#ifndef DF_SERVE_OPTIONS_H
#define DF_SERVE_OPTIONS_H

#include <stdio.h>

#include "tools/serve/server.h"

/* --name of each option, for tests that compare it with the man page; NULL
 * ends. */
const char *df_serve_option_name(size_t i);
void df_serve_usage(FILE *out);
/* 0; 1: help or version was printed; -EINVAL, with a message on stderr. */
int df_serve_options(int argc, char **argv, struct df_serve_conf *conf);

#endif
