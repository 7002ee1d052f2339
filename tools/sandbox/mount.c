/* mount.c - making mounts in a sandbox; see mount.h. */
#include "tools/sandbox/mount.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/guest.h"

#define BUNDLE_AT "/tmp/.deeplake-bundle.tar.gz"

/* Cut text at colons; the options, the last field, may hold more of them. */
static int cut_fields(char *text, char *f[4])
{
	int n = 0;

	while (text && n < 4) {
		f[n++] = text;
		bool options = n == 3 && f[2][0] != '/';
		text = n < 4 && !options ? strchr(text, ':') : NULL;
		if (text)
			*text++ = 0;
	}
	return n;
}

static bool good_path(const char *path)
{
	size_t len = strlen(path);

	return path[0] == '/' && path[1] && !strstr(path, "/../") &&
	       (len < 3 || strcmp(path + len - 3, "/..") != 0);
}

static int split_mount(struct df_mount *m, const char *text)
{
	DF_FREE char *copy = strdup(text);
	char *f[4] = { NULL };

	if (!copy)
		return -ENOMEM;
	int n = cut_fields(copy, f);
	bool sub = n >= 3 && f[1][0] == '/' && f[2][0] == '/';
	const char *path = f[sub ? 2 : 1];
	const char *options = f[sub ? 3 : 2];
	if (n < 2 || !f[0][0] || !good_path(path))
		return -EINVAL;
	m->table = sub ? df_strf("%s:%s", f[0], f[1]) : strdup(f[0]);
	m->path = strdup(path);
	m->options = strdup(options ? options : "");
	if (!m->table || !m->path || !m->options)
		return -ENOMEM;
	size_t len = strlen(m->path);
	while (len > 1 && m->path[len - 1] == '/')
		m->path[--len] = 0;
	return 0;
}

int df_mounts_add(struct df_mounts *m, const char *text)
{
	struct df_mount *v = realloc(m->v, (m->n + 1) * sizeof(*v));

	if (!v)
		return df_fail(-ENOMEM, "--mount");
	m->v = v;
	v[m->n] = (struct df_mount){ 0 };
	int err = split_mount(&v[m->n], text);
	m->n++; /* released with the rest, whole or not */
	if (err)
		df_log_error("--mount \"%s\": write TABLE:/PATH or "
			     "TABLE:/PATH:OPTIONS, for instance "
			     "my_agent_data:/mnt/data",
			     text);
	return err;
}

void df_mounts_release(struct df_mounts *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->v[i].table);
		free(m->v[i].path);
		free(m->v[i].options);
	}
	free(m->v);
	*m = (struct df_mounts){ 0 };
}

char *df_bundle_find(const char *given)
{
	static const char *const beside[] = {
		"deeplake-bundle.tar.gz",
		"../share/deeplakefs/deeplake-bundle.tar.gz",
		"../lib/deeplakefs/deeplake-bundle.tar.gz",
	};
	char exe[PATH_MAX];

	if (!given)
		given = getenv("DEEPLAKE_BUNDLE");
	if (given && *given)
		return strdup(given);
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n <= 0)
		return NULL;
	exe[n] = 0;
	*strrchr(exe, '/') = 0;
	for (size_t i = 0; i < DF_ARRAY_LEN(beside); i++) {
		char *path = df_strf("%s/%s", exe, beside[i]);
		if (path && !access(path, R_OK))
			return path;
		free(path);
	}
	return NULL;
}

/* As root.  $1 = user the mounts are for; the rest: mount points.  A failed
 * chmod or append is no failure: the mount itself shows what is missing. */
static const char look_script[] =
	"user=$1; shift\n"
	"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\n"
	"if [ ! -c /dev/fuse ]; then echo \"no /dev/fuse here\" >&2; "
	"exit 41; fi\n"
	"[ -r /dev/fuse ] && [ -w /dev/fuse ] && "
	"chmod 666 /dev/fuse 2>/dev/null\n"
	"grep -qsx user_allow_other /etc/fuse.conf || "
	"echo user_allow_other 2>/dev/null >>/etc/fuse.conf\n"
	"for p do\n"
	"  if ! stat \"$p\" >/dev/null 2>&1; then\n"
	"    grep -qs \" $p fuse\" /proc/self/mounts && "
	"{ fusermount3 -uz \"$p\" || umount -l \"$p\"; } >/dev/null 2>&1\n"
	"  fi\n"
	"  mkdir -p \"$p\" || exit 42\n"
	"  grep -qs \" $p fuse\" /proc/self/mounts || "
	"[ -n \"$(ls -A \"$p\")\" ] || chown \"$user\" \"$p\" 2>/dev/null\n"
	"done\n"
	"if ldd --version 2>&1 | grep -qi musl; then echo libc=musl\n"
	"else echo \"libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)\"; fi\n"
	"echo \"arch=$(uname -m)\"\n"
	"echo \"driver=$(command -v deeplake)\"\n"
	"echo \"fusermount=$(command -v fusermount3)\"\n"
	"exit 0\n";

static char *look_value(struct df_sh *s, const char *key)
{
	const char *at = strstr(df_buf_cstr(&s->out), key);

	if (!at)
		return strdup("");
	at += strlen(key);
	return strndup(at, strcspn(at, "\n"));
}

static int look_failed(struct df_sh *s, const char *id)
{
	if (s->status == 41)
		df_log_error("sandbox %s has no /dev/fuse, so no table can be "
			     "mounted: use an x86-64 template (E2B's arm64 "
			     "kernels lack FUSE), or load fuse on this machine",
			     id);
	else
		df_log_error("prepare sandbox %s: %s (status %d)", id,
			     df_sh_said(s), s->status);
	return -EOPNOTSUPP;
}

/* As root.  $1 = the archive.  One directory, with links into PATH. */
static const char install_script[] =
	"set -e\n"
	"mkdir -p /opt/deeplake\n"
	"tar -xzf \"$1\" -C /opt/deeplake --strip-components=1\n"
	"rm -f \"$1\"\n"
	"chown -R \"$(id -u):$(id -g)\" /opt/deeplake\n"
	"exec sh /opt/deeplake/setup\n";

/* glibc x.y of the guest must not be older than Debian 12's 2.36. */
static int check_libc(const char *libc, const char *arch, const char *id)
{
	int major = 0;
	int minor = 0;

	if (!strcmp(libc, "musl")) {
		df_log_error("sandbox %s runs musl (Alpine): the driver needs "
			     "glibc; use a Debian, Ubuntu or Fedora template",
			     id);
		return -ENOEXEC;
	}
	if (sscanf(libc, "glibc %d.%d", &major, &minor) == 2 &&
	    (major < 2 || (major == 2 && minor < 36))) {
		df_log_error("sandbox %s has %s: the driver needs 2.36 "
			     "(Debian 12) or newer",
			     id, libc);
		return -ENOEXEC;
	}
	if (strcmp(arch, "x86_64")) {
		df_log_error("sandbox %s is %s: the driver's archive is for "
			     "x86_64",
			     id, arch);
		return -ENOEXEC;
	}
	return 0;
}

static int install_driver(struct df_prov *p, struct df_sb *sb,
			  const char *given)
{
	DF_FREE char *bundle = df_bundle_find(given);
	const char *const args[] = { BUNDLE_AT, NULL };
	struct stat st;
	struct df_sh s;

	if (!bundle) {
		df_log_error("the template of %s has no `deeplake`, and there "
			     "is no archive to upload: make one with `make "
			     "bundle` and give --bundle FILE, or use a "
			     "template that has it (deeplake sandbox template "
			     "init)",
			     sb->id);
		return -ENOENT;
	}
	DF_CLOSE int fd = open(bundle, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return df_fail(-errno, "%s", bundle);
	df_log_info("uploading the driver (%lld KiB)",
		    (long long)st.st_size >> 10);
	int err = df_guest_put_file(p, sb, "root", BUNDLE_AT, df_read_fd, &fd,
				    st.st_size, -1);
	if (err)
		return err;
	df_sh_init(&s, p, sb);
	s.user = "root";
	err = df_sh_run(&s, install_script, args);
	if (!err && s.status) {
		df_log_error("install the driver in %s: %s", sb->id,
			     df_sh_said(&s));
		err = -EIO;
	}
	df_sh_release(&s);
	return err;
}

static int prepare(struct df_prov *p, struct df_sb *sb,
		   const struct df_mounts *m, const char *user,
		   const char *bundle)
{
	const char *args[18] = { user };
	struct df_sh s;

	for (size_t i = 0; i < m->n && i < 16; i++)
		args[i + 1] = m->v[i].path;
	df_sh_init(&s, p, sb);
	s.user = "root";
	int err = df_sh_run(&s, look_script, args);
	if (!err && s.status)
		err = look_failed(&s, sb->id);
	DF_FREE char *driver = look_value(&s, "driver=");
	DF_FREE char *libc = look_value(&s, "libc=");
	DF_FREE char *arch = look_value(&s, "arch=");
	df_sh_release(&s);
	if (err || (driver && *driver && !bundle))
		return err;
	if (!driver || !libc || !arch)
		return -ENOMEM;
	err = check_libc(libc, arch, sb->id);
	return err ? err : install_driver(p, sb, bundle);
}

int df_mount_credentials(struct df_prov *p, struct df_sb *sb, const char *user,
			 const struct df_creds *c)
{
	static const char script[] =
		"umask 077; d=$HOME/.deeplake; mkdir -p \"$d\" && "
		"chmod 700 \"$d\" && f=$d/.credentials.new && rm -f \"$f\" && "
		": >\"$f\" && chmod 600 \"$f\" && printf %s \"$d\"";
	json_t *entry = NULL;
	struct df_sh s;

	df_sh_init(&s, p, sb);
	s.user = user;
	int err = df_sh_run(&s, script, NULL);
	if (!err && (s.status || !s.out.len)) {
		df_log_error("directory for credentials in %s: %s", sb->id,
			     df_sh_said(&s));
		err = -EIO;
	}
	DF_FREE char *tmp = df_strf("%s/.credentials.new", df_buf_cstr(&s.out));
	DF_FREE char *to = df_strf("%s/credentials.json", df_buf_cstr(&s.out));
	df_sh_release(&s);
	if (err)
		return err;
	struct df_mem mem = { c->text, strlen(c->text) };
	err = p->ops->put(p, sb, user, tmp, df_read_mem, &mem);
	if (!err)
		err = df_guest_stat(p, sb, user, tmp, &entry);
	if (!err && df_entry_size(entry) != (int64_t)strlen(c->text)) {
		df_log_error("credentials did not arrive whole in %s", sb->id);
		err = -EIO;
	}
	json_decref(entry);
	return err ? err : p->ops->fs(p, sb, DF_FS_MOVE, user, tmp, to, NULL);
}

/* As the user.  $1 table, $2 path, $3 options. */
static const char init_script[] =
	"exec deeplake init --table \"$1\" --path \"$2\" ${3:+-o \"$3\"} "
	"</dev/null\n";

/* As root: the platform's own file API works as root, too. */
static const char answer_script[] =
	"p=$1\n"
	"t=; command -v timeout >/dev/null && t='timeout 20'\n"
	"grep -qs \" $p fuse\" /proc/self/mounts || "
	"{ echo \"nothing is mounted at $p\" >&2; exit 43; }\n"
	"$t stat -f \"$p\" >/dev/null && $t ls -a \"$p\" >/dev/null\n";

static int proc_escape(const char *path, struct df_buf *b)
{
	for (; *path; path++)
		if (strchr(" \t\n\\", *path))
			df_buf_printf(b, "\\%03o", (unsigned char)*path);
		else
			df_buf_put_u8(b, (uint8_t)*path);
	return b->err;
}

static int mount_answers(struct df_sh *s, const char *path)
{
	struct df_buf b;

	df_buf_init(&b, 65536);
	proc_escape(path, &b);
	const char *const args[] = { df_buf_cstr(&b), NULL };
	s->user = NULL;
	s->timeout_s = 60;
	/* names with blanks are shown escaped in the mount table; only such
	 * would differ between the two uses of $1 */
	int err = df_sh_run(s, answer_script, args);
	df_buf_release(&b);
	if (!err && s->status) {
		df_log_error("the mount %s does not answer: %s", path,
			     df_sh_said(s));
		return -EIO;
	}
	return err;
}

/* The platform's file API is root, and root needs allow_other on the mount of
 * another user. */
static char *mount_options(const struct df_mount *m)
{
	if (strstr(m->options, "allow_other"))
		return strdup(m->options);
	return df_strf("allow_other%s%s", m->options[0] ? "," : "", m->options);
}

static int mount_one(struct df_prov *p, struct df_sb *sb,
		     const struct df_mount *m, const char *user)
{
	DF_FREE char *options = mount_options(m);
	const char *const args[] = { m->table, m->path, options, NULL };
	struct df_sh s;

	df_sh_init(&s, p, sb);
	s.user = user;
	int err = df_sh_run(&s, init_script, args);
	if (!err && s.status) {
		df_log_error("mount %s at %s in %s failed (status %d): %s",
			     m->table, m->path, sb->id, s.status,
			     df_sh_said(&s));
		err = s.status == DF_EXIT_CREDENTIALS   ? -EACCES
		      : s.status == DF_EXIT_UNREACHABLE ? DF_EOFFLINE
							: -EIO;
	}
	if (!err)
		err = mount_answers(&s, m->path);
	df_sh_release(&s);
	return err;
}

int df_mount_all(struct df_prov *p, struct df_sb *sb, const struct df_mounts *m,
		 const struct df_creds *c, const char *user, const char *bundle)
{
	DF_FREE char *who = NULL;
	struct df_sh s;

	if (!m->n)
		return 0;
	/* the usual user's name is the guest's to say */
	df_sh_init(&s, p, sb);
	s.user = user;
	int err = df_sh_run(&s, "id -un", NULL);
	who = strdup(df_sh_said(&s));
	df_sh_release(&s);
	if (err)
		return err;
	err = prepare(p, sb, m, who && *who ? who : "root", bundle);
	if (!err)
		err = df_mount_credentials(p, sb, user, c);
	for (size_t i = 0; !err && i < m->n; i++) {
		df_log_debug("mounting %s at %s", m->v[i].table, m->v[i].path);
		err = mount_one(p, sb, &m->v[i], user);
	}
	return err;
}

static char *proc_unescape(const char *text, size_t len)
{
	char *out = malloc(len + 1);
	char *to = out;

	for (size_t i = 0; out && i < len; i++) {
		if (text[i] == '\\' && i + 3 < len) {
			*to++ = (char)((text[i + 1] - '0') << 6 |
				       (text[i + 2] - '0') << 3 |
				       (text[i + 3] - '0'));
			i += 3;
		} else {
			*to++ = text[i];
		}
	}
	if (out)
		*to = 0;
	return out;
}

int df_mount_list(struct df_prov *p, struct df_sb *sb, json_t **list)
{
	struct df_sh s;

	df_sh_init(&s, p, sb);
	s.timeout_s = 30;
	int err = df_sh_run(&s, "cat /proc/self/mounts", NULL);
	*list = json_array();
	/* An empty list would mean: nothing to flush before the kill. */
	if (!err && s.status) {
		df_log_error("what is mounted in %s is not known: %s", sb->id,
			     df_sh_said(&s));
		err = -EIO;
	}
	char *save = NULL;
	char *text = strdup(df_buf_cstr(&s.out));
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *path = strchr(line, ' ');
		char *type = path ? strchr(path + 1, ' ') : NULL;
		if (!type || strncmp(type, " fuse.deeplakefs ", 17))
			continue;
		DF_FREE char *clear =
			proc_unescape(path + 1, (size_t)(type - path - 1));
		const char *uid = strstr(type, "user_id=");
		json_array_append_new(
			*list,
			json_pack("{s:s, s:i}", "path", clear, "uid",
				  uid ? (int)strtol(uid + 8, NULL, 10) : 0));
	}
	free(text);
	df_sh_release(&s);
	return err;
}

/* The driver remembers table and options; what the machine had to be told
 * before (place, device) may be forgotten. */
static int mount_again(struct df_sh *s, const json_t *m)
{
	static const char away[] = "fusermount3 -uz \"$1\" 2>/dev/null; true";
	static const char again[] = "exec deeplake mount \"$1\" </dev/null";
	DF_FREE char *path = df_json_dup(m, "path");
	DF_FREE char *owner = df_mount_owner(s, m);
	const char *const args[] = { path, NULL };
	struct df_mount one = { .path = path };
	struct df_mounts all = { &one, 1 };

	df_log_info("mounting %s again in %s", path, s->sb->id);
	s->user = owner;
	int err = df_sh_run(s, away, args);
	if (!err)
		err = prepare(s->prov, s->sb, &all, owner ? owner : "root",
			      NULL);
	s->user = owner;
	if (!err)
		err = df_sh_run(s, again, args);
	if (!err && s->status) {
		df_log_error("mount %s in %s: %s", path, s->sb->id,
			     df_sh_said(s));
		err = -EIO;
	}
	return err ? err : mount_answers(s, path);
}

static bool mounted(json_t *list, const char *path)
{
	json_t *m;
	size_t i;

	json_array_foreach(list, i, m) if (!strcmp(df_json_str(m, "path"),
						   path)) return true;
	return false;
}

int df_mount_prove(struct df_prov *p, struct df_sb *sb, json_t *wanted)
{
	json_t *list = NULL;
	json_t *m;
	size_t i;

	int err = df_mount_list(p, sb, &list);
	json_array_foreach(wanted ? wanted : list, i, m)
	{
		const char *path = df_json_str(m, "path");
		struct df_sh s;
		if (err)
			break;
		df_sh_init(&s, p, sb);
		if (mounted(list, path))
			err = mount_answers(&s, path);
		else
			err = -ENOTCONN;
		if (err == -EIO || err == -ENOTCONN)
			err = mount_again(&s, m);
		df_sh_release(&s);
	}
	json_decref(list);
	return err;
}
