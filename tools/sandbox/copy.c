/* copy.c - see copy.h. */
#include "tools/sandbox/copy.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/guest.h"
#include "tools/sandbox/intr.h"

/* Only for people, only when it takes a while. */
struct progress {
	const char *what;
	int64_t done, next_ns;
	bool shown;
};

static void progress_init(struct progress *g, const char *what)
{
	*g = (struct progress){ .what = what, .next_ns = df_deadline_ms(1000) };
}

static void progress_add(struct progress *g, int64_t n)
{
	g->done += n;
	if (!isatty(STDERR_FILENO) || df_deadline_ms(0) < g->next_ns)
		return;
	g->next_ns = df_deadline_ms(500);
	g->shown = true;
	dprintf(STDERR_FILENO, "\r%s: %.1f MiB ", g->what,
		(double)g->done / 1048576);
}

static void progress_end(struct progress *g)
{
	if (g->shown)
		dprintf(STDERR_FILENO, "\r%s: %.1f MiB, done\n", g->what,
			(double)g->done / 1048576);
}

struct source {
	int fd;
	struct progress progress;
};

static ssize_t source_read(void *arg, void *data, size_t len)
{
	struct source *s = arg;
	ssize_t n = df_read_fd(&s->fd, data, len);

	if (n > 0)
		progress_add(&s->progress, n);
	return df_intr_now() ? -EINTR : n;
}

static const char *base_name(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	const char *at = path + len;
	while (at > path && at[-1] != '/')
		at--;
	return at;
}

/* dst, or dst/NAME where dst is a directory. */
static int up_target(struct df_prov *p, struct df_sb *sb, const char *user,
		     const char *src, const char *dst, char **out)
{
	json_t *entry = NULL;
	size_t len = strlen(dst);
	bool dir = len && dst[len - 1] == '/';

	if (!dir) {
		int err = df_guest_stat(p, sb, user, *dst ? dst : "~", &entry);
		if (err && err != -ENOENT)
			return err;
		dir = !err && df_entry_is_dir(entry);
		json_decref(entry);
	}
	DF_FREE char *name = strdup(base_name(src));
	if (name)
		name[strcspn(name, "/")] = 0;
	*out = !dir ? strdup(dst)
	       : !strcmp(src, "-")
		       ? NULL
		       : df_strf("%s%s%s", len ? dst : "~",
				 len && dst[len - 1] == '/' ? "" : "/",
				 name ? name : "");
	if (!*out)
		df_log_error("%s is a directory: name the file in it", dst);
	return *out ? 0 : -EISDIR;
}

static int up_file(struct df_prov *p, struct df_sb *sb, const char *user,
		   int fd, const struct stat *st, const char *src,
		   const char *dst)
{
	DF_FREE char *to = NULL;
	struct source s = { .fd = fd };
	bool regular = S_ISREG(st->st_mode);

	int err = up_target(p, sb, user, src, dst, &to);
	if (err)
		return err;
	progress_init(&s.progress, to);
	err = df_guest_put_file(p, sb, user, to, source_read, &s,
				regular ? st->st_size : -1,
				regular ? (int)(st->st_mode & 07777) : -1);
	progress_end(&s.progress);
	return err;
}

/* A tar on this machine: its stdout or stdin; *pid to wait for. */
static int start_tar(const char *const argv[], bool reads, pid_t *pid)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return df_fail(-errno, "pipe");
	*pid = fork();
	if (*pid == 0) {
		df_intr_child();
		dup2(reads ? p[0] : p[1], reads ? 0 : 1);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		dprintf(2, "tar: %m\n");
		_exit(127);
	}
	close(reads ? p[0] : p[1]);
	return *pid < 0 ? -errno : reads ? p[1] : p[0];
}

static int end_tar(pid_t pid, int fd)
{
	int st;

	close(fd);
	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(st) && !WEXITSTATUS(st))
		return 0;
	df_log_error("tar on this machine failed: see its message above");
	return -EIO;
}

static char *random_tmp(void)
{
	uint8_t r[8];
	char hex[17];

	df_random(r, sizeof(r));
	df_hex(r, sizeof(r), hex);
	return df_strf("/tmp/.deeplake-%s.tar", hex);
}

/* Unpack beside the target, so that DST is SRC, not SRC inside DST. */
static const char unpack_script[] =
	"tar=$1 to=$2\n"
	"cd; trap 'rm -f \"$tar\"' EXIT\n"
	"mkdir -p \"$to\" && tar -xpf \"$tar\" --no-same-owner -C \"$to\"\n";

static int up_dir(struct df_prov *p, struct df_sb *sb, const char *user,
		  const char *src, const char *dst)
{
	const char *const argv[] = { "tar", "-C", src, "-cf", "-", ".", NULL };
	DF_FREE char *to = NULL;
	DF_FREE char *tmp = random_tmp();
	struct source s = { 0 };
	struct df_sh sh;
	pid_t pid;

	int err = tmp ? up_target(p, sb, user, src, dst, &to) : -ENOMEM;
	if (err)
		return err;
	s.fd = start_tar(argv, false, &pid);
	if (s.fd < 0)
		return s.fd;
	progress_init(&s.progress, to);
	err = df_guest_put_file(p, sb, user, tmp, source_read, &s, -1, -1);
	progress_end(&s.progress);
	int tar = end_tar(pid, s.fd);
	const char *const args[] = { tmp,
				     to[0] == '~' && to[1] == '/' ? to + 2 : to,
				     NULL };
	if (!err)
		err = tar;
	df_sh_init(&sh, p, sb);
	sh.user = user;
	sh.timeout_s = 3600;
	if (!err)
		err = df_sh_run(&sh, unpack_script, args);
	if (!err && sh.status) {
		df_log_error("unpack %s: %s", to, df_sh_said(&sh));
		err = -EIO;
	}
	df_sh_release(&sh);
	return err;
}

int df_copy_up(struct df_prov *p, struct df_sb *sb, const char *user,
	       const char *src, const char *dst, bool recursive)
{
	struct stat st;
	bool std = strcmp(src, "-") == 0;

	DF_CLOSE int fd = std ? dup(STDIN_FILENO)
			      : open(src, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st))
		return df_fail(-errno, "%s", src);
	if (!S_ISDIR(st.st_mode))
		return up_file(p, sb, user, fd, &st, src, dst);
	if (!recursive) {
		df_log_error("%s is a directory: add -r", src);
		return -EISDIR;
	}
	return up_dir(p, sb, user, src, dst);
}

struct sink {
	int fd;
	int64_t left; /* what the entry promised; < 0 unknown */
	struct progress progress;
};

static int sink_write(void *arg, const void *data, size_t len)
{
	struct sink *s = arg;

	progress_add(&s->progress, (int64_t)len);
	int err = df_write_all(s->fd, data, len);
	return err ? df_fail(err, "%s", s->progress.what) : 0;
}

static char *down_target(const char *src, const char *dst)
{
	struct stat st;
	DF_FREE char *name = strdup(base_name(src));

	if (!name)
		return NULL;
	name[strcspn(name, "/")] = 0;
	size_t len = strlen(dst);
	bool dir = (len && dst[len - 1] == '/') ||
		   (!stat(dst, &st) && S_ISDIR(st.st_mode));
	return dir ? df_strf("%s/%s", dst, name) : strdup(dst);
}

/* To a temporary name, checked, renamed: a cut leaves the old file. */
static int down_file(struct df_prov *p, struct df_sb *sb, const char *user,
		     const char *src, const char *dst, const json_t *entry)
{
	DF_FREE char *to = down_target(src, dst);
	DF_FREE char *tmp =
		df_strf("%s.deeplake-%d", to ? to : "", (int)getpid());
	mode_t mode =
		(mode_t)json_integer_value(json_object_get(entry, "mode")) &
		0777;
	struct sink s = { 0 };

	if (!to || !tmp)
		return -ENOMEM;
	s.fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s.fd < 0)
		return df_fail(-errno, "%s", tmp);
	progress_init(&s.progress, to);
	int err = p->ops->get(p, sb, user, src, sink_write, &s);
	progress_end(&s.progress);
	if (!err && s.progress.done < df_entry_size(entry)) {
		df_log_error("%s: %lld of %lld bytes arrived", src,
			     (long long)s.progress.done,
			     (long long)df_entry_size(entry));
		err = -EIO;
	}
	if (!err && fchmod(s.fd, mode ? mode : 0644))
		err = df_fail(-errno, "%s", tmp);
	if (close(s.fd) && !err)
		err = df_fail(-errno, "%s", tmp);
	if (!err && rename(tmp, to))
		err = df_fail(-errno, "%s", to);
	if (err)
		unlink(tmp);
	return err;
}

static int tar_output(void *arg, int stream, const void *data, size_t len)
{
	if (stream == 1)
		return sink_write(arg, data, len);
	return df_write_all(STDERR_FILENO, data, len);
}

static int down_dir(struct df_prov *p, struct df_sb *sb, const char *user,
		    const char *src, const char *dst)
{
	DF_FREE char *to = down_target(src, dst);
	const char *const remote[] = {
		"tar", "-C", src, "-cf", "-", ".", NULL
	};
	const char *const local[] = { "tar",  "-C", to,  "--no-same-owner",
				      "-xpf", "-",  NULL };
	struct df_exec_end end;
	struct sink s = { 0 };
	pid_t pid;

	int err = to ? df_mkdir_p(to, 0755) : -ENOMEM;
	if (err)
		return df_fail(err, "%s", dst);
	s.fd = start_tar(local, true, &pid);
	if (s.fd < 0)
		return s.fd;
	progress_init(&s.progress, to);
	struct df_exec e = { .argv = remote,
			     .user = user,
			     .in_fd = -1,
			     .output = tar_output,
			     .arg = &s };
	err = p->ops->exec(p, sb, &e, &end);
	progress_end(&s.progress);
	int tar = end_tar(pid, s.fd);
	if (!err && end.lost_output) {
		df_log_error("the connection was cut: copy %s again", src);
		err = -EIO;
	}
	if (!err && end.status) {
		df_log_error("tar in the sandbox failed (status %d)",
			     end.status);
		err = -EIO;
	}
	return err ? err : tar;
}

int df_copy_down(struct df_prov *p, struct df_sb *sb, const char *user,
		 const char *src, const char *dst, bool recursive)
{
	json_t *entry = NULL;
	struct sink out = { .fd = STDOUT_FILENO };

	int err = df_guest_stat(p, sb, user, src, &entry);
	bool dir = !err && df_entry_is_dir(entry);
	if (err == -ENOENT) {
		df_log_error("%s:%s does not exist", sb->id, src);
	} else if (!err && dir && !recursive) {
		df_log_error("%s:%s is a directory: add -r", sb->id, src);
		err = -EISDIR;
	} else if (!err && strcmp(dst, "-") == 0) {
		progress_init(&out.progress, src);
		err = dir ? -EISDIR
			  : p->ops->get(p, sb, user, src, sink_write, &out);
	} else if (!err) {
		err = dir ? down_dir(p, sb, user, src, dst)
			  : down_file(p, sb, user, src, dst, entry);
	}
	json_decref(entry);
	return err;
}
