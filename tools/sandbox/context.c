/* context.c - see context.h. */
#include "tools/sandbox/context.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/intr.h"

#define TAR_ARGS 512

static const char *step_arg(const json_t *step, size_t i)
{
	const char *s = json_string_value(
		json_array_get(json_object_get(step, "args"), i));

	return s ? s : "";
}

static int add_match(json_t *to, const json_t *step, const char *src)
{
	json_t *copy = json_deep_copy(step);

	if (json_array_set_new(json_object_get(copy, "args"), 0,
			       json_string(src))) {
		json_decref(copy);
		df_log_error("COPY %s: the name is not UTF-8", src);
		return -EINVAL;
	}
	return json_array_append_new(to, copy) ? -ENOMEM : 0;
}

static int expand_step(const char *dir, const json_t *step, json_t *to)
{
	const char *src = step_arg(step, 0);
	DF_FREE char *pattern = df_strf("%s/%s", dir, src);
	glob_t g = { 0 };

	if (!pattern)
		return -ENOMEM;
	int found = glob(pattern, 0, NULL, &g);
	if (found || !g.gl_pathc) {
		globfree(&g);
		df_log_error("COPY %s: not in %s", src, dir);
		return -ENOENT;
	}
	int err = 0;
	for (size_t i = 0; !err && i < g.gl_pathc; i++)
		err = add_match(to, step, g.gl_pathv[i] + strlen(dir) + 1);
	globfree(&g);
	return err;
}

int df_context_expand(const char *dir, json_t *steps)
{
	json_t *out = json_array();
	json_t *step;
	size_t i;
	int err = out ? 0 : -ENOMEM;

	json_array_foreach(steps, i, step)
	{
		if (err)
			break;
		if (strcmp(df_json_str(step, "type"), "COPY"))
			err = json_array_append(out, step) ? -ENOMEM : 0;
		else
			err = expand_step(dir, step, out);
	}
	if (!err && (json_array_clear(steps) || json_array_extend(steps, out)))
		err = -ENOMEM;
	json_decref(out);
	return err;
}

/* tar's --exclude options, from .dockerignore. */
static int ignore_args(const char *dir, char *args[], int *n)
{
	DF_FREE char *path = df_strf("%s/.dockerignore", dir);
	char line[4096];
	int err = 0;

	FILE *f = path ? fopen(path, "re") : NULL;
	if (!f)
		return 0;
	while (!err && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = 0;
		char *at = line + strspn(line, " \t");
		size_t len = strlen(at);
		while (len && (at[len - 1] == ' ' || at[len - 1] == '/'))
			at[--len] = 0;
		if (!*at || *at == '#')
			continue;
		if (*at == '!') {
			df_log_error("%s: \"%s\": lines with ! are not "
				     "supported",
				     path, at);
			err = -EINVAL;
		} else if (*n > TAR_ARGS - 40) {
			df_log_error("%s has too many lines", path);
			err = -EINVAL;
		} else {
			bool anywhere = !strncmp(at, "**/", 3);
			at += anywhere ? 3 : *at == '/';
			args[(*n)++] = strdup(anywhere ? "--no-anchored"
						       : "--anchored");
			args[(*n)++] = df_strf("--exclude=%s", at);
		}
	}
	fclose(f);
	return err;
}

/* The same files give the same archive, so the hash is a cache key. */
static int run_tar(const char *dir, const char *src, int out)
{
	static const char *const fixed[] = {
		"tar",
		"-cz",
		"--sort=name",
		"--mtime=@0",
		"--owner=0",
		"--group=0",
		"--numeric-owner",
		"--wildcards",
		"--no-wildcards-match-slash",
		"-C",
	};
	char *args[TAR_ARGS] = { NULL };
	int n = 0;
	int st = 0;

	for (size_t i = 0; i < DF_ARRAY_LEN(fixed); i++)
		args[n++] = strdup(fixed[i]);
	args[n++] = strdup(dir);
	int err = ignore_args(dir, args, &n);
	args[n++] = strdup("--");
	args[n++] = strdup(src);
	pid_t pid = err ? 0 : fork();
	if (!err && pid == 0) {
		df_intr_child();
		dup2(out, 1);
		execvp("tar", args);
		_exit(127);
	}
	if (!err && pid < 0)
		err = -errno;
	while (!err && waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			err = -errno;
	if (!err && (!WIFEXITED(st) || WEXITSTATUS(st)))
		err = -EIO;
	for (int i = 0; i < n; i++)
		free(args[i]);
	return err ? df_fail(err, "tar of %s/%s", dir, src) : 0;
}

static int hash_file(int fd, const json_t *step, char hash[65])
{
	struct df_sha *sha = df_sha_new();
	DF_FREE char *data = malloc(1 << 20);
	DF_FREE char *args =
		json_dumps(json_object_get(step, "args"), JSON_COMPACT);
	uint8_t out[DF_SHA_LEN];
	off_t at = 0;
	ssize_t n = -ENOMEM;

	if (sha && data && args) {
		df_sha_add(sha, args, strlen(args));
		while ((n = df_pread_all(fd, data, 1 << 20, at)) > 0) {
			df_sha_add(sha, data, (size_t)n);
			at += n;
		}
		df_sha_end(sha, out);
		df_hex(out, sizeof(out), hash);
	}
	df_sha_free(sha);
	return n < 0 ? (int)n : 0;
}

int df_context_pack(const char *dir, const json_t *step, char **path,
		    char hash[65])
{
	const char *tmp = getenv("TMPDIR");
	char *name =
		df_strf("%s/deeplake-copy-XXXXXX", tmp && *tmp ? tmp : "/tmp");

	*path = NULL;
	DF_CLOSE int fd = name ? mkostemp(name, O_CLOEXEC) : -1;
	if (fd < 0) {
		int err = df_fail(-errno, "temporary file");
		free(name);
		return err;
	}
	int err = run_tar(dir, step_arg(step, 0), fd);
	if (!err)
		err = hash_file(fd, step, hash);
	if (err) {
		unlink(name);
		free(name);
		return err;
	}
	*path = name;
	return 0;
}
