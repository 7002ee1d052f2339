/* dockerfile.c - see dockerfile.h. */
#include "tools/sandbox/dockerfile.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "tools/sandbox/provider.h"

#define TEXT_MAX (1u << 20)

struct parser {
	struct df_docker *d;
	struct df_pairs args; /* ARG values, for FROM */
	char *entrypoint, *cmd;
	int line; /* of the instruction */
	bool have_from, user_set, workdir_set;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct parser *p,
							const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(p->d->why, sizeof(p->d->why), "line %d: ", p->line);

	va_start(ap, fmt);
	vsnprintf(p->d->why + n, sizeof(p->d->why) - (size_t)n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int df_docker_step(struct df_docker *d, const char *type,
		   const char *const args[])
{
	json_t *list = json_array();

	for (size_t i = 0; args[i]; i++)
		if (json_array_append_new(list, json_string(args[i])))
			goto invalid;
	return json_array_append_new(d->steps,
				     json_pack("{s:s, s:o, s:b}", "type", type,
					       "args", list, "force", 0))
		       ? -ENOMEM
		       : 0;
invalid:
	json_decref(list);
	snprintf(d->why, sizeof(d->why), "%s: not UTF-8", type);
	return -EINVAL;
}

int df_docker_from(struct df_docker *d, const char *image)
{
	static const char *const usual[][2] = {
		{ "python", "python:3.11" },
		{ "node", "node:lts" },
		{ "debian", "debian:12" },
		{ "ubuntu", "ubuntu:24.04" },
	};

	free(d->from_image);
	free(d->from_template);
	d->from_image = d->from_template = NULL;
	if (!strcmp(image, "base") || !strcmp(image, "e2b/base") ||
	    !strcmp(image, "e2b/base:latest")) {
		d->from_template = strdup("base");
		return d->from_template ? 0 : -ENOMEM;
	}
	for (size_t i = 0; i < DF_ARRAY_LEN(usual); i++)
		if (!strcmp(image, usual[i][0]))
			image = usual[i][1];
	d->from_image = strdup(image);
	return d->from_image ? 0 : -ENOMEM;
}

/* "$X", "${X}" and "${X:-default}" by ARG values. */
static int expand(struct parser *p, const char *text, struct df_buf *out)
{
	while (*text) {
		if (*text != '$') {
			df_buf_put_u8(out, (uint8_t)*text++);
			continue;
		}
		text++;
		bool brace = *text == '{';
		text += brace;
		size_t len = 0;
		while (isalnum((unsigned char)text[len]) || text[len] == '_')
			len++;
		DF_FREE char *name = strndup(text, len);
		const char *v = name ? df_pairs_get(&p->args, name) : NULL;
		text += len;
		if (brace && text[0] == ':' && text[1] == '-') {
			size_t n = strcspn(text + 2, "}");
			if (!v || !*v)
				df_buf_put(out, text + 2, n);
			text += 2 + n;
		}
		if (v)
			df_buf_put_str(out, v);
		if (brace && *text++ != '}')
			return refuse(p, "\"${\" without \"}\"");
	}
	return out->err;
}

static int do_from(struct parser *p, char *rest)
{
	struct df_buf image;

	if (p->have_from)
		return refuse(p, "a second FROM: builds of several stages are "
				 "not supported; build the image elsewhere and "
				 "name it in FROM");
	if (!strncmp(rest, "--", 2))
		return refuse(p, "FROM takes no options here (%s)", rest);
	size_t len = strcspn(rest, " \t");
	const char *after = rest + len + strspn(rest + len, " \t");
	if (*after && strncasecmp(after, "AS ", 3))
		return refuse(p, "\"%s\" after the image", after);
	rest[len] = 0;
	df_buf_init(&image, 4096);
	int err = expand(p, rest, &image);
	if (!err && !image.len)
		err = refuse(p, "FROM without an image");
	if (!err)
		err = df_docker_from(p->d, df_buf_cstr(&image));
	df_buf_release(&image);
	p->have_from = !err;
	const char *const root[] = { "root", NULL };
	const char *const slash[] = { "/", NULL };
	if (!err)
		err = df_docker_step(p->d, "USER", root);
	return err ? err : df_docker_step(p->d, "WORKDIR", slash);
}

static void put_quoted(struct df_buf *b, const char *word)
{
	if (*word &&
	    strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR"
			 "STUVWXYZ0123456789_./:=@%+,-") == strlen(word)) {
		df_buf_put_str(b, word);
		return;
	}
	df_buf_put_u8(b, '\'');
	for (; *word; word++)
		if (*word == '\'')
			df_buf_put_str(b, "'\\''");
		else
			df_buf_put_u8(b, (uint8_t)*word);
	df_buf_put_u8(b, '\'');
}

/* The shell form as it is, the exec form quoted into one; caller frees. */
static int command_text(struct parser *p, const char *rest, char **out)
{
	struct df_buf b;
	json_t *list = NULL;
	json_t *v;
	size_t i;
	int err = 0;

	if (rest[0] == '[')
		list = json_loads(rest, 0, NULL);
	if (!json_is_array(list)) {
		json_decref(list);
		*out = strdup(rest);
		return *out ? 0 : -ENOMEM;
	}
	df_buf_init(&b, TEXT_MAX);
	json_array_foreach(list, i, v)
	{
		if (!json_is_string(v)) {
			err = refuse(p, "the list must hold strings only");
			break;
		}
		if (i)
			df_buf_put_u8(&b, ' ');
		put_quoted(&b, json_string_value(v));
	}
	*out = err ? NULL : strdup(df_buf_cstr(&b));
	df_buf_release(&b);
	json_decref(list);
	return err ? err : *out ? 0 : -ENOMEM;
}

static int do_run(struct parser *p, char *rest)
{
	char *text = NULL;

	if (!strncmp(rest, "--", 2))
		return refuse(p, "RUN %.*s: options of RUN are not supported",
			      (int)strcspn(rest, " \t"), rest);
	if (strstr(rest, "<<"))
		return refuse(p, "RUN with a here-document is not supported: "
				 "COPY a script and run that");
	int err = command_text(p, rest, &text);
	const char *const args[] = { text, NULL };
	if (!err)
		err = df_docker_step(p->d, "RUN", args);
	free(text);
	return err;
}

/* Next word, quotes and backslashes undone; NULL at the end. */
static char *next_word(const char **at)
{
	const char *s = *at + strspn(*at, " \t");
	struct df_buf b;
	char quote = 0;

	if (!*s)
		return NULL;
	df_buf_init(&b, TEXT_MAX);
	for (; *s && (quote || (*s != ' ' && *s != '\t')); s++) {
		if (quote && *s == quote)
			quote = 0;
		else if (!quote && (*s == '"' || *s == '\''))
			quote = *s;
		else if (*s == '\\' && quote != '\'' && s[1])
			df_buf_put_u8(&b, (uint8_t) * ++s);
		else
			df_buf_put_u8(&b, (uint8_t)*s);
	}
	*at = s;
	char *word = b.err ? NULL : strdup(df_buf_cstr(&b));
	df_buf_release(&b);
	return word;
}

static bool bad_source(const char *src)
{
	const char *at = src;

	while ((at = strstr(at, ".."))) {
		bool begins = at == src || at[-1] == '/';
		if (begins && (!at[2] || at[2] == '/'))
			return true;
		at += 2;
	}
	return false;
}

static int copy_words(struct parser *p, json_t *words, const char *owner,
		      const char *mode)
{
	size_t n = json_array_size(words);

	if (n < 2)
		return refuse(p, "COPY needs a source and a destination");
	const char *dst = json_string_value(json_array_get(words, n - 1));
	for (size_t i = 0; i + 1 < n; i++) {
		const char *src = json_string_value(json_array_get(words, i));
		if (!src || !dst)
			return refuse(p, "the list must hold strings only");
		if (!strncasecmp(src, "http://", 7) ||
		    !strncasecmp(src, "https://", 8) ||
		    !strncmp(src, "git@", 4))
			return refuse(p, "ADD of %s: fetch it in a RUN step",
				      src);
		if (bad_source(src))
			return refuse(p, "%s is outside of the directory", src);
		while (*src == '/')
			src++; /* the directory is its root */
		const char *const args[] = { *src ? src : ".", dst, owner, mode,
					     NULL };
		int err = df_docker_step(p->d, "COPY", args);
		if (err)
			return err;
	}
	return 0;
}

static int do_copy(struct parser *p, char *rest)
{
	DF_FREE char *owner = strdup("");
	DF_FREE char *mode = strdup("");
	const char *at = rest;
	json_t *words = NULL;
	char *w;

	while (!strncmp(at, "--", 2)) {
		size_t len = strcspn(at, " \t");
		const char *eq = memchr(at, '=', len);
		char **to = !strncmp(at, "--chown=", 8)   ? &owner
			    : !strncmp(at, "--chmod=", 8) ? &mode
							  : NULL;
		if (!to || !eq)
			return refuse(p, "COPY %.*s is not supported", (int)len,
				      at);
		free(*to);
		*to = strndup(eq + 1, len - (size_t)(eq + 1 - at));
		at += len + strspn(at + len, " \t");
	}
	if (at[0] == '[')
		words = json_loads(at, 0, NULL);
	if (!words) {
		words = json_array();
		while ((w = next_word(&at))) {
			json_array_append_new(words, json_string(w));
			free(w);
		}
	}
	int err = copy_words(p, words, owner ? owner : "", mode ? mode : "");
	json_decref(words);
	return err;
}

static int env_step(struct parser *p, json_t *flat)
{
	if (!json_array_size(flat))
		return refuse(p, "ENV without a name");
	return json_array_append_new(p->d->steps,
				     json_pack("{s:s, s:O, s:b}", "type", "ENV",
					       "args", flat, "force", 0))
		       ? -ENOMEM
		       : 0;
}

/* ENV a=b c="d e", or the old ENV a b c (one variable). */
static int do_env(struct parser *p, char *rest)
{
	json_t *flat = json_array();
	size_t first = strcspn(rest, " \t=");
	const char *at = rest;
	int err = 0;
	char *w;

	if (rest[first] != '=' && rest[first]) {
		json_array_append_new(flat, json_stringn(rest, first));
		at = rest + first + strspn(rest + first, " \t");
		json_array_append_new(flat, json_string(at));
		at = "";
	}
	while (!err && (w = next_word(&at))) {
		char *eq = strchr(w, '=');
		if (!eq || eq == w) {
			err = refuse(p, "ENV %s: not NAME=VALUE", w);
		} else {
			json_array_append_new(
				flat, json_stringn(w, (size_t)(eq - w)));
			json_array_append_new(flat, json_string(eq + 1));
		}
		free(w);
	}
	if (!err)
		err = env_step(p, flat);
	json_decref(flat);
	return err;
}

static int do_arg(struct parser *p, char *rest)
{
	const char *at = rest;
	DF_FREE char *w = next_word(&at);
	char *eq = w ? strchr(w, '=') : NULL;

	if (!w || eq == w)
		return refuse(p, "ARG without a name");
	if (!eq)
		return 0; /* no value, and none can be given */
	*eq = 0;
	int err = df_pairs_set(&p->args, w, eq + 1);
	if (err || !p->have_from)
		return err;
	const char *const args[] = { w, eq + 1, NULL };
	return df_docker_step(p->d, "ENV", args);
}

static int do_one(struct parser *p, char *rest, const char *type, bool *set)
{
	const char *at = rest;
	DF_FREE char *w = next_word(&at);
	const char *const args[] = { w, NULL };

	if (!w)
		return refuse(p, "%s without a value", type);
	*set = true;
	return df_docker_step(p->d, type, args);
}

static int do_instruction(struct parser *p, const char *word, char *rest)
{
	if (!strcasecmp(word, "FROM"))
		return do_from(p, rest);
	if (!strcasecmp(word, "ARG"))
		return do_arg(p, rest);
	if (!p->have_from)
		return refuse(p, "%s before FROM", word);
	if (!strcasecmp(word, "RUN"))
		return do_run(p, rest);
	if (!strcasecmp(word, "COPY") || !strcasecmp(word, "ADD"))
		return do_copy(p, rest);
	if (!strcasecmp(word, "ENV"))
		return do_env(p, rest);
	if (!strcasecmp(word, "WORKDIR"))
		return do_one(p, rest, "WORKDIR", &p->workdir_set);
	if (!strcasecmp(word, "USER"))
		return do_one(p, rest, "USER", &p->user_set);
	char **to = !strcasecmp(word, "CMD")          ? &p->cmd
		    : !strcasecmp(word, "ENTRYPOINT") ? &p->entrypoint
						      : NULL;
	if (!to)
		return refuse(p,
			      "%s is not supported in a template: take it "
			      "out",
			      word);
	free(*to);
	*to = NULL;
	return command_text(p, rest, to);
}

/* One logical line: continuations joined, comment lines dropped. */
static int logical_line(const char **at, const char *end, struct df_buf *b,
			int *line, int *first)
{
	bool more = true;

	df_buf_reset(b);
	while (more && *at < end) {
		const char *nl = memchr(*at, '\n', (size_t)(end - *at));
		const char *stop = nl ? nl : end;
		const char *from = *at;
		*at = nl ? nl + 1 : end;
		(*line)++;
		while (stop > from && isspace((unsigned char)stop[-1]))
			stop--;
		while (from < stop && (*from == ' ' || *from == '\t') &&
		       !b->len)
			from++;
		const char *text = from;
		while (text < stop && (*text == ' ' || *text == '\t'))
			text++;
		if (text == stop || *text == '#')
			continue; /* in the middle of a continuation, too */
		if (!b->len)
			*first = *line;
		more = stop[-1] == '\\';
		df_buf_put(b, from, (size_t)(stop - from) - more);
	}
	return b->err;
}

static int parse_lines(struct parser *p, const char *text, size_t len)
{
	const char *at = text;
	const char *end = text + len;
	struct df_buf b;
	int line = 0;
	int err = 0;

	df_buf_init(&b, TEXT_MAX + 16);
	while (!err && at < end) {
		err = logical_line(&at, end, &b, &line, &p->line);
		if (err || !b.len)
			continue;
		DF_FREE char *copy = strdup(df_buf_cstr(&b));
		if (!copy)
			err = -ENOMEM;
		size_t n = copy ? strcspn(copy, " \t") : 0;
		char *rest = copy ? copy + n + strspn(copy + n, " \t") : NULL;
		if (copy && copy[n])
			copy[n] = 0;
		if (!err && !*rest)
			err = refuse(p, "%.40s without anything after it",
				     copy);
		if (!err)
			err = do_instruction(p, copy, rest);
	}
	df_buf_release(&b);
	return err;
}

static int finish(struct parser *p)
{
	const char *const user[] = { "user", NULL };
	const char *const home[] = { "/home/user", NULL };
	struct df_buf b;
	int err = 0;

	if (!p->have_from)
		return refuse(p, "no FROM");
	if (!p->user_set)
		err = df_docker_step(p->d, "USER", user);
	if (!err && !p->workdir_set)
		err = df_docker_step(p->d, "WORKDIR", home);
	if (err || (!p->cmd && !p->entrypoint))
		return err;
	df_buf_init(&b, TEXT_MAX);
	if (p->entrypoint)
		df_buf_put_str(&b, p->entrypoint);
	if (p->entrypoint && p->cmd)
		df_buf_put_u8(&b, ' ');
	if (p->cmd)
		df_buf_put_str(&b, p->cmd);
	p->d->start = strdup(df_buf_cstr(&b));
	df_buf_release(&b);
	return p->d->start ? 0 : -ENOMEM;
}

int df_docker_parse(const char *text, size_t len, struct df_docker *d)
{
	struct parser p = { .d = d };

	*d = (struct df_docker){ .steps = json_array() };
	if (!d->steps)
		return -ENOMEM;
	if (len > TEXT_MAX)
		return refuse(&p, "longer than 1 MiB");
	if (memchr(text, 0, len))
		return refuse(&p, "a NUL byte: this is no Dockerfile");
	int err = parse_lines(&p, text, len);
	if (!err)
		err = finish(&p);
	df_pairs_release(&p.args);
	free(p.entrypoint);
	free(p.cmd);
	return err;
}

void df_docker_release(struct df_docker *d)
{
	free(d->from_image);
	free(d->from_template);
	free(d->start);
	json_decref(d->steps);
}
