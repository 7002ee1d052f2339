/*
 * dockerfile.h - a Dockerfile as build steps of the template API.
 *
 * Understood: FROM (one stage), RUN, COPY, ADD of local files, WORKDIR, ENV,
 * ARG, USER, CMD, ENTRYPOINT.  Anything else is refused with its line: an
 * instruction that is silently left out makes another image than was meant.
 * Pure: no files are touched.  The text is bounded to 1 MiB.
 */
#ifndef DF_SANDBOX_DOCKERFILE_H
#define DF_SANDBOX_DOCKERFILE_H

#include <jansson.h>
#include <stddef.h>

struct df_docker {
	char *from_image;    /* or NULL; owned */
	char *from_template; /* or NULL; owned */
	json_t *steps;       /* [{type, args}]; COPY: [src, dst, owner, mode] */
	char *start;         /* or NULL; owned */
	char why[256];       /* of an error: "line 3: ..." */
};

/* 0, -EINVAL (d->why says it), -ENOMEM.  Release in every case. */
int df_docker_parse(const char *text, size_t len, struct df_docker *d);
void df_docker_release(struct df_docker *d);
/* A step at the end; args: a NULL-terminated array. */
int df_docker_step(struct df_docker *d, const char *type,
		   const char *const args[]);
/* The image of FROM or --base: e2b/base is a template, not an image. */
int df_docker_from(struct df_docker *d, const char *image);

#endif
