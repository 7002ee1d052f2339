/* guest.c - see guest.h. */
#include "tools/sandbox/guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"

#define SH_TIMEOUT_S 120
#define SH_KEEP (1u << 20)
#define SH_ARGS 32

void df_sh_init(struct df_sh *s, struct df_prov *p, struct df_sb *sb)
{
	*s = (struct df_sh){ .prov = p, .sb = sb };
	df_buf_init(&s->out, SH_KEEP + 65536);
	df_buf_init(&s->err, SH_KEEP + 65536);
}

void df_sh_release(struct df_sh *s)
{
	df_buf_release(&s->out);
	df_buf_release(&s->err);
}

static int sh_keep(void *arg, int stream, const void *data, size_t len)
{
	struct df_sh *s = arg;
	struct df_buf *b = stream == 1 ? &s->out : &s->err;

	if (b->len < SH_KEEP)
		df_buf_put(b, data, DF_MIN(len, (size_t)65536));
	return 0;
}

int df_sh_run(struct df_sh *s, const char *script, const char *const args[])
{
	const char *argv[SH_ARGS + 5] = { "/bin/sh", "-c", script, "sh" };
	struct df_exec_end end;

	for (int i = 0; args && args[i] && i < SH_ARGS; i++)
		argv[i + 4] = args[i];
	df_buf_reset(&s->out);
	df_buf_reset(&s->err);
	struct df_exec e = {
		.argv = argv,
		.user = s->user,
		.cwd = "/",
		.timeout_s = s->timeout_s ? s->timeout_s : SH_TIMEOUT_S,
		.plain = true,
		.in_fd = -1,
		.output = sh_keep,
		.arg = s,
	};
	int err = s->prov->ops->exec(s->prov, s->sb, &e, &end);
	s->status = end.status;
	if (!err && df_log_level() >= DF_LOG_DEBUG)
		df_log_debug("[%s] status %d %s", s->user ? s->user : "user",
			     s->status, df_sh_said(s));
	return err;
}

static const char *last_line(struct df_buf *b)
{
	while (b->len &&
	       (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == ' '))
		b->len--;
	const char *text = df_buf_cstr(b);
	const char *nl = strrchr(text, '\n');
	return nl ? nl + 1 : text;
}

const char *df_sh_said(struct df_sh *s)
{
	const char *text = last_line(&s->err);

	return *text ? text : last_line(&s->out);
}

int df_guest_stat(struct df_prov *p, struct df_sb *sb, const char *user,
		  const char *path, json_t **entry)
{
	return p->ops->fs(p, sb, DF_FS_STAT, user, path, NULL, entry);
}

int64_t df_entry_size(const json_t *entry)
{
	const json_t *v = json_object_get(entry, "size");

	if (json_is_integer(v))
		return json_integer_value(v);
	return json_is_string(v) ? strtoll(json_string_value(v), NULL, 10) : 0;
}

bool df_entry_is_dir(const json_t *entry)
{
	return strcmp(df_json_str(entry, "type"), "FILE_TYPE_DIRECTORY") == 0;
}

ssize_t df_read_fd(void *arg, void *data, size_t len)
{
	for (;;) {
		ssize_t n = read(*(int *)arg, data, len);
		if (n >= 0 || errno != EINTR)
			return n < 0 ? -errno : n;
	}
}

ssize_t df_read_mem(void *arg, void *data, size_t len)
{
	struct df_mem *m = arg;
	size_t n = DF_MIN(len, m->left);

	memcpy(data, m->at, n);
	m->at += n;
	m->left -= n;
	return (ssize_t)n;
}

struct counted {
	df_read_fn *from;
	void *arg;
	int64_t sent;
};

static ssize_t counted_read(void *arg, void *data, size_t len)
{
	struct counted *c = arg;
	ssize_t n = c->from(c->arg, data, len);

	if (n > 0)
		c->sent += n;
	return n;
}

static char *temporary_beside(const char *path)
{
	const char *slash = strrchr(path, '/');
	uint8_t r[6];
	char hex[13];

	df_random(r, sizeof(r));
	df_hex(r, sizeof(r), hex);
	if (!slash)
		return df_strf(".deeplake-%s", hex);
	return df_strf("%.*s/.deeplake-%s", (int)(slash - path), path, hex);
}

/* What arrived must be what was sent, before anybody sees it. */
static int check_and_move(struct df_prov *p, struct df_sb *sb, const char *user,
			  const char *tmp, const char *path, int64_t size,
			  int mode)
{
	json_t *entry = NULL;
	struct df_sh s;
	char octal[16];

	int err = df_guest_stat(p, sb, user, tmp, &entry);
	int64_t got = df_entry_size(entry);
	json_decref(entry);
	if (err)
		return df_fail(err, "uploaded %s", path);
	if (got != size) {
		df_log_error("upload of %s: %lld of %lld bytes arrived; "
			     "nothing was changed",
			     path, (long long)got, (long long)size);
		return -EIO;
	}
	if (mode < 0)
		return p->ops->fs(p, sb, DF_FS_MOVE, user, tmp, path, NULL);
	snprintf(octal, sizeof(octal), "%o", (unsigned)mode);
	const char *const args[] = { octal, tmp, path, NULL };
	df_sh_init(&s, p, sb);
	s.user = user;
	err = df_sh_run(&s, "cd; chmod \"$1\" \"$2\" && mv -fT \"$2\" \"$3\"",
			args);
	if (!err && s.status) {
		df_log_error("%s: %s", path, df_sh_said(&s));
		err = -EIO;
	}
	df_sh_release(&s);
	return err;
}

int df_guest_put_file(struct df_prov *p, struct df_sb *sb, const char *user,
		      const char *path, df_read_fn *from, void *arg,
		      int64_t size, int mode)
{
	struct counted c = { from, arg, 0 };
	DF_FREE char *tmp = temporary_beside(path);

	if (!tmp)
		return -ENOMEM;
	int err = p->ops->put(p, sb, user, tmp, counted_read, &c);
	if (!err && size >= 0 && c.sent != size) {
		df_log_error("%s changed while it was read", path);
		err = -EAGAIN;
	}
	if (!err)
		err = check_and_move(p, sb, user, tmp, path, c.sent, mode);
	if (err && err != -ENOENT && err != -EINTR) {
		enum df_log_level old = df_log_level();
		df_log_set_level(DF_LOG_ERROR);
		json_t *entry = NULL;
		if (!df_guest_stat(p, sb, user, tmp, &entry))
			p->ops->fs(p, sb, DF_FS_REMOVE, user, tmp, NULL, NULL);
		json_decref(entry);
		df_log_set_level(old);
	}
	return err;
}

int df_guest_put_mem(struct df_prov *p, struct df_sb *sb, const char *user,
		     const char *path, const void *data, size_t len, int mode)
{
	struct df_mem m = { data, len };

	return df_guest_put_file(p, sb, user, path, df_read_mem, &m,
				 (int64_t)len, mode);
}
