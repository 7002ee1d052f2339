/* guest_files.c - files of a local sandbox, as envd shows those of E2B. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "tools/sandbox/frame.h"
#include "tools/sandbox/guestd.h"

#define CHUNK 262144

static char *req_path(json_t *req, const char *key)
{
	const char *s = json_string_value(json_object_get(req, key));

	return s && *s ? df_guest_path(s) : NULL;
}

static void fail(int fd, int err, const char *path)
{
	DF_FREE char *text =
		df_strf("%s: %s", path ? path : "no path", df_strerror(err));

	df_frame_send_fail(fd, err, text ? text : "out of memory");
}

void df_guest_get(int fd, json_t *req)
{
	DF_FREE char *path = req_path(req, "path");
	DF_FREE char *data = malloc(CHUNK);
	struct stat st;

	DF_CLOSE int from = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (from < 0 || !data || fstat(from, &st)) {
		fail(fd, path ? -errno : -EINVAL, path);
		return;
	}
	if (S_ISDIR(st.st_mode)) {
		fail(fd, -EISDIR, path);
		return;
	}
	for (;;) {
		ssize_t n = read(from, data, CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fail(fd, -errno, path);
		else if (n == 0)
			df_frame_send(fd, 'z', NULL, 0);
		if (n <= 0 || df_frame_send(fd, 'd', data, (size_t)n))
			return;
	}
}

static int parents(const char *path)
{
	DF_FREE char *copy = strdup(path);

	return copy ? df_mkdir_p(dirname(copy), 0755) : -ENOMEM;
}

void df_guest_put(int fd, json_t *req)
{
	DF_FREE char *path = req_path(req, "path");
	struct df_buf buf;
	char type = 0;

	int err = path ? parents(path) : -EINVAL;
	DF_CLOSE int to = -1;
	if (!err) {
		to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		err = to < 0 ? -errno : 0;
	}
	df_buf_init(&buf, DF_FRAME_MAX);
	while (!err) {
		err = df_frame_recv(fd, &buf, &type);
		if (!err && type != 'd')
			break;
		if (!err)
			err = df_write_all(to, buf.data, buf.len);
	}
	df_buf_release(&buf);
	if (!err && type != 'z')
		err = -EPROTO;
	if (!err) {
		int last = close(to);
		to = -1;
		err = last ? -errno : 0;
	}
	if (err)
		fail(fd, err, path);
	else
		df_frame_send_json(fd, 'r', json_object());
}

static void permissions(mode_t m, char out[11])
{
	static const char rwx[] = "rwxrwxrwx";

	out[0] = S_ISDIR(m) ? 'd' : S_ISLNK(m) ? 'l' : '-';
	for (int i = 0; i < 9; i++)
		out[i + 1] = m & (0400u >> i) ? rwx[i] : '-';
	out[10] = 0;
}

/* The shape of envd's EntryInfo, so that one printer serves both. */
static json_t *entry(const char *path, const char *name)
{
	struct stat st;
	char perms[11], size[24], when[40], target[PATH_MAX];
	struct tm tm;

	if (lstat(path, &st))
		return NULL;
	permissions(st.st_mode, perms);
	snprintf(size, sizeof(size), "%lld", (long long)st.st_size);
	gmtime_r(&st.st_mtim.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	const struct passwd *pw = getpwuid(st.st_uid);
	const struct group *gr = getgrgid(st.st_gid);
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s}",
			      "name", name, "type",
			      S_ISDIR(st.st_mode)   ? "FILE_TYPE_DIRECTORY"
			      : S_ISLNK(st.st_mode) ? "FILE_TYPE_SYMLINK"
						    : "FILE_TYPE_FILE",
			      "path", path, "size", size, "mode",
			      (int)(st.st_mode & 07777), "permissions", perms,
			      "owner", pw ? pw->pw_name : "?", "group",
			      gr ? gr->gr_name : "?", "modifiedTime", when);
	ssize_t n = S_ISLNK(st.st_mode)
			    ? readlink(path, target, sizeof(target) - 1)
			    : -1;
	if (o && n >= 0)
		json_object_set_new(o, "symlinkTarget",
				    json_stringn(target, (size_t)n));
	return o;
}

static int list_dir(const char *path, json_t *to)
{
	DIR *d = opendir(path);
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		DF_FREE char *full = df_strf("%s/%s", path, e->d_name);
		json_t *o = full ? entry(full, e->d_name) : NULL;
		if (o)
			json_array_append_new(to, o); /* gone meanwhile: skip */
	}
	closedir(d);
	return 0;
}

static int remove_at(int dir, const char *name)
{
	if (!unlinkat(dir, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	int fd = openat(dir, name,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	int err = 0;
	if (!d)
		return -errno;
	while (!err && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			err = remove_at(dirfd(d), e->d_name);
	closedir(d);
	if (!err && unlinkat(dir, name, AT_REMOVEDIR))
		err = -errno;
	return err;
}

static int make_dir(const char *path)
{
	struct stat st;

	if (!stat(path, &st))
		return S_ISDIR(st.st_mode) ? -EEXIST : -ENOTDIR;
	return df_mkdir_p(path, 0755);
}

static int answer_stat(const char *path, json_t *answer)
{
	const char *slash = strrchr(path, '/');
	json_t *o = entry(path, slash && slash[1] ? slash + 1 : path);

	return o ? json_object_set_new(answer, "entry", o) : -errno;
}

void df_guest_fs(int fd, json_t *req, const char *op)
{
	DF_FREE char *a = req_path(req, "path");
	DF_FREE char *b = req_path(req, "to");
	json_t *answer = json_object();
	json_t *list = json_array();
	struct stat st;
	int err = -ENOSYS;

	if (!a)
		err = -EINVAL;
	else if (!strcmp(op, "stat"))
		err = answer_stat(a, answer);
	else if (!strcmp(op, "list"))
		err = list_dir(a, list);
	else if (!strcmp(op, "mkdir"))
		err = make_dir(a);
	else if (!strcmp(op, "move"))
		err = !b ? -EINVAL : rename(a, b) ? -errno : 0;
	else if (!strcmp(op, "remove"))
		err = lstat(a, &st) ? -errno : remove_at(AT_FDCWD, a);
	json_object_set_new(answer, "entries", list);
	if (err) {
		json_decref(answer);
		fail(fd, err, a);
	} else {
		df_frame_send_json(fd, 'r', answer);
	}
}
