/* mounted.c - see mounted.h.  The format is in proc_pid_mountinfo(5). */
#include "tools/mounted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

#define MOUNTINFO_MAX (64 << 20)

/* Octal escapes (\040 for a blank) in place. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' &&
		    s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
					(s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = 0;
}

static bool has_option(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, name, len) == 0 && (!p[len] || p[len] == ','))
			return true;
	}
	return false;
}

static void read_super(struct df_mounted *m, const char *super)
{
	const char *uid = strstr(super, "user_id=");

	m->uid = uid ? (uid_t)strtoul(uid + strlen("user_id="), NULL, 10) : 0;
	m->read_only = m->read_only || has_option(super, "ro");
}

static char *take_field(char **line)
{
	return strsep(line, " ");
}

/* 0, -EINVAL for a line that is not understood, -ENOMEM. */
static int parse_line(char *line, struct df_mounted *m)
{
	unsigned maj, min;
	char *f[6], *dash;

	memset(m, 0, sizeof(*m));
	for (size_t i = 0; i < DF_ARRAY_LEN(f); i++) {
		f[i] = take_field(&line);
		if (!f[i])
			return -EINVAL;
	}
	do {
		dash = take_field(&line);
	} while (dash && strcmp(dash, "-") != 0);
	char *type = take_field(&line), *source = take_field(&line);
	if (!type || !source || !line || sscanf(f[2], "%u:%u", &maj, &min) != 2)
		return -EINVAL;
	unescape(f[3]);
	unescape(f[4]);
	unescape(source);
	m->dev = makedev(maj, min);
	m->read_only = has_option(f[5], "ro");
	read_super(m, line);
	m->ours = strcmp(type, DF_FS_TYPE) == 0;
	m->root = strdup(f[3]);
	m->path = strdup(f[4]);
	m->type = strdup(type);
	m->source = strdup(source);
	return m->root && m->path && m->type && m->source ? 0 : -ENOMEM;
}

static void mounted_free(struct df_mounted *m)
{
	free(m->path);
	free(m->root);
	free(m->type);
	free(m->source);
}

void df_mounted_release(struct df_mounted_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		mounted_free(&l->v[i]);
	free(l->v);
	*l = (struct df_mounted_list){ NULL, 0 };
}

int df_mounted_read(struct df_mounted_list *out)
{
	struct df_buf text;
	int err;

	*out = (struct df_mounted_list){ NULL, 0 };
	df_buf_init(&text, MOUNTINFO_MAX);
	err = df_file_read("/proc/self/mountinfo", &text);
	df_buf_put_u8(&text, 0);
	if (!err)
		err = text.err;
	char *at = (char *)text.data;
	for (char *line; !err && (line = strsep(&at, "\n")) && *line;) {
		struct df_mounted m;
		err = parse_line(line, &m);
		struct df_mounted *v =
			err ? NULL
			    : reallocarray(out->v, out->n + 1, sizeof(m));
		if (!v) {
			mounted_free(&m);
			/* a future kernel's line is no reason to fail */
			err = err == -EINVAL ? 0 : -ENOMEM;
			continue;
		}
		out->v = v;
		v[out->n++] = m;
	}
	df_buf_release(&text);
	if (err)
		df_mounted_release(out);
	return err;
}

const struct df_mounted *df_mounted_at(const struct df_mounted_list *l,
				       const char *path)
{
	for (size_t i = l->n; i-- > 0;)
		if (strcmp(l->v[i].path, path) == 0)
			return &l->v[i];
	return NULL;
}

size_t df_mounted_count(const struct df_mounted_list *l, dev_t dev)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->v[i].dev == dev;
	return n;
}
