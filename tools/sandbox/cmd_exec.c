/* cmd_exec.c - `exec`, and the terminal that `run` shares with it. */
#include "tools/sandbox/cmd_exec.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/make.h"

struct io {
	bool json;
	struct df_buf out, err;
};

static int io_output(void *arg, int stream, const void *data, size_t len)
{
	struct io *io = arg;

	if (io->json) {
		df_buf_put(stream == 1 ? &io->out : &io->err, data, len);
		return 0;
	}
	int err = df_write_all(stream == 1 ? STDOUT_FILENO : STDERR_FILENO,
			       data, len);
	/* `| head` went away: go on draining, for a full pipe would stop the
	 * remote program in the middle of its work */
	return err == -EPIPE ? 0 : err;
}

static struct termios saved_tty;
static bool tty_is_raw;

static void tty_restore(void)
{
	if (tty_is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_tty);
	tty_is_raw = false;
}

static void tty_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved_tty))
		return;
	raw = saved_tty;
	cfmakeraw(&raw); /* Ctrl-C travels as a byte */
	if (!tcsetattr(STDIN_FILENO, TCSADRAIN, &raw)) {
		tty_is_raw = true;
		atexit(tty_restore);
	}
}

static void tty_size(struct df_exec *e)
{
	struct winsize ws = { .ws_row = 24, .ws_col = 80 };

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) &&
	    ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws))
		ws = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	e->cols = ws.ws_col ? ws.ws_col : 80;
	e->rows = ws.ws_row ? ws.ws_row : 24;
}

/* Text where it is text; bytes that are not UTF-8 as base64. */
static void put_text(json_t *o, const char *key, struct df_buf *b)
{
	json_t *v = json_stringn((const char *)b->data, b->len);

	if (v) {
		json_object_set_new(o, key, v);
		return;
	}
	struct df_buf b64;
	char name[32];
	df_buf_init(&b64, 0);
	df_b64_put(&b64, b->data, b->len);
	snprintf(name, sizeof(name), "%s_base64", key);
	json_object_set_new(o, name, json_string(df_buf_cstr(&b64)));
	df_buf_release(&b64);
}

json_t *df_exec_json(const struct df_exec_end *end, struct df_buf *out,
		     struct df_buf *err)
{
	json_t *o = json_pack("{s:i, s:I, s:b}", "status", end->status, "pid",
			      (json_int_t)end->pid, "lost_output",
			      end->lost_output);

	put_text(o, "stdout", out);
	put_text(o, "stderr", err);
	return o;
}

int df_exec_command(struct df_prov *p, struct df_sb *sb,
		    const struct df_args *a, json_t **json,
		    struct df_exec_end *end)
{
	struct io io = { .json = json != NULL };
	bool tty = a->tty && !a->json;
	struct df_exec e = {
		.argv = a->command,
		.env = a->cmd->id == CMD_EXEC ? &a->env : NULL,
		.cwd = a->cwd ? a->cwd : a->workdir,
		.user = a->user,
		.timeout_s = a->cmd->id == CMD_EXEC ? a->timeout_s : 0,
		.background = a->background,
		.tty = tty,
		.forward_signals = true,
		.in_fd = a->interactive || tty ? STDIN_FILENO : -1,
		.output = io_output,
		.arg = &io,
	};

	df_buf_init(&io.out, 0);
	df_buf_init(&io.err, 0);
	if (tty) {
		tty_size(&e);
		tty_raw();
	}
	int err = p->ops->exec(p, sb, &e, end);
	tty_restore();
	if (!err && end->lost_output)
		df_log_warn("the connection was cut: some output is lost, the "
			    "exit status is not");
	if (!err && json)
		*json = df_exec_json(end, &io.out, &io.err);
	df_buf_release(&io.out);
	df_buf_release(&io.err);
	return err;
}

int df_cmd_exec(struct df_args *a)
{
	struct df_exec_end end = { 0 };
	struct df_prov *p;
	struct df_sb *sb;
	json_t *json = NULL;

	int err = df_open(a, a->pos.v[0], &p, &sb);
	if (err)
		return DF_EXIT_TOOL;
	err = df_exec_command(p, sb, a, a->json ? &json : NULL, &end);
	if (!err && a->json)
		df_json_print(json);
	else if (!err && a->background)
		printf("%ld\n", end.pid);
	df_close(p, sb);
	return err ? DF_EXIT_TOOL : end.status;
}
