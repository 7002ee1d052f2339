/*
 * bwrap.c - the command line of bubblewrap: what a local sandbox sees.
 *
 * The system's programs and libraries read-only, none of the host's homes,
 * an /etc of its own with a few of the host's files, and a disk of its own.
 * All arguments go through a memory file, for --env must not show in ps.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/guestd.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/local.h"

#define ARGS_FD 3
#define INFO_FD 4
#define IDS DF_LOCAL_ID ":" DF_LOCAL_ID
#define SANDBOX_PATH                                              \
	DF_LOCAL_BIN ":/usr/local/sbin:/usr/local/bin:/usr/sbin:" \
		     "/usr/bin:/sbin:/bin"

static const char *const host_etc[] = {
	"alternatives",
	"bash.bashrc",
	"ca-certificates",
	"debian_version",
	"fonts",
	"gai.conf",
	"inputrc",
	"java-17-openjdk",
	"ld.so.cache",
	"ld.so.conf",
	"ld.so.conf.d",
	"localtime",
	"magic",
	"magic.mime",
	"mime.types",
	"nsswitch.conf",
	"os-release",
	"profile",
	"profile.d",
	"protocols",
	"python3",
	"python3.11",
	"R",
	"services",
	"skel",
	"ssl",
	"terminfo",
	"timezone",
};

static const char *const proc_closed[] = { "/proc/sys",  "/proc/sysrq-trigger",
					   "/proc/irq",  "/proc/bus",
					   "/proc/acpi", "/proc/scsi" };

static void arg(struct df_buf *b, const char *s)
{
	df_buf_put(b, s, strlen(s) + 1);
}

static void args3(struct df_buf *b, const char *x, const char *y, const char *z)
{
	arg(b, x);
	arg(b, y);
	arg(b, z);
}

/* /bin is a link to usr/bin on merged systems, a directory on others. */
static void bind_top(struct df_buf *b, const char *dir)
{
	char target[PATH_MAX];
	struct stat st;

	ssize_t n = readlink(dir, target, sizeof(target) - 1);
	if (n > 0) {
		target[n] = 0;
		args3(b, "--symlink", target, dir);
	} else if (!stat(dir, &st)) {
		args3(b, "--ro-bind", dir, dir);
	}
}

/* /opt itself stays writable: an uploaded driver goes there. */
static void args_opt(struct df_buf *b)
{
	DIR *d = opendir("/opt");
	struct dirent *e;

	args3(b, "--dir", "/opt", "--dir");
	arg(b, DF_LOCAL_BIN);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || !strcmp(e->d_name, "deeplake"))
			continue;
		DF_FREE char *path = df_strf("/opt/%s", e->d_name);
		if (path)
			args3(b, "--ro-bind-try", path, path);
	}
	if (d)
		closedir(d);
}

static void args_system(struct df_buf *b)
{
	static const char *const tops[] = { "/usr", "/bin",   "/sbin",
					    "/lib", "/lib32", "/lib64" };
	static const char *const nix = "/nix";

	for (size_t i = 0; i < DF_ARRAY_LEN(tops); i++)
		bind_top(b, tops[i]);
	bind_top(b, nix);
	args3(b, "--tmpfs", "/run", "--tmpfs");
	arg(b, "/mnt");
	args_opt(b);
	for (size_t i = 0; i < DF_ARRAY_LEN(host_etc); i++) {
		DF_FREE char *path = df_strf("/etc/%s", host_etc[i]);
		if (path)
			args3(b, "--ro-bind-try", path, path);
	}
	args3(b, "--proc", "/proc", "--dev");
	arg(b, "/dev");
	/* the sandbox's root is root of the host to these files */
	for (size_t i = 0; i < DF_ARRAY_LEN(proc_closed); i++)
		args3(b, "--ro-bind-try", proc_closed[i], proc_closed[i]);
	args3(b, "--dev-bind-try", "/dev/fuse", "/dev/fuse");
}

static void args_own(struct df_buf *b, const struct df_local *l, const char *id,
		     const char *disk)
{
	static const char *const dirs[][2] = { { "home", DF_LOCAL_HOME },
					       { "tmp", "/tmp" },
					       { "var", "/var" } };
	static const char *const etc[] = { "passwd", "group", "hosts",
					   "hostname", "fuse.conf" };
	DF_FREE char *pub = df_local_path(l, id, "pub");

	for (size_t i = 0; i < DF_ARRAY_LEN(dirs); i++) {
		DF_FREE char *from = df_strf("%s/%s", disk, dirs[i][0]);
		args3(b, "--bind", from ? from : "", dirs[i][1]);
	}
	for (size_t i = 0; i < DF_ARRAY_LEN(etc); i++) {
		DF_FREE char *from =
			df_strf("%s/%s/etc/%s", l->root, id, etc[i]);
		DF_FREE char *to = df_strf("/etc/%s", etc[i]);
		args3(b, "--ro-bind", from ? from : "", to ? to : "");
	}
	args3(b, "--bind", pub ? pub : "", DF_GUEST_DIR);
}

/* The tool itself is process 1; the driver is the one beside it, or in PATH,
 * unless an archive is uploaded later. */
static int args_programs(struct df_buf *b)
{
	char exe[PATH_MAX];
	const char *path = getenv("PATH");
	struct stat st;

	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n < 0)
		return df_fail(-errno, "/proc/self/exe");
	exe[n] = 0;
	args3(b, "--ro-bind", exe, DF_LOCAL_BIN "/deeplake-sandbox");
	*strrchr(exe, '/') = 0;
	DF_FREE char *dirs = df_strf("%s:%s", exe, path ? path : "");
	char *save = NULL;
	for (char *d = dirs ? strtok_r(dirs, ":", &save) : NULL; d;
	     d = strtok_r(NULL, ":", &save)) {
		DF_FREE char *driver = df_strf("%s/deeplake", d);
		if (!driver || stat(driver, &st) || !S_ISREG(st.st_mode) ||
		    access(driver, X_OK))
			continue;
		args3(b, "--ro-bind", driver, DF_LOCAL_BIN "/deeplake");
		return 0;
	}
	return 0;
}

static void args_env(struct df_buf *b, const char *id, const json_t *env,
		     json_t *config)
{
	static const char *const fixed[][2] = {
		{ "PATH", SANDBOX_PATH },
		{ "HOME", DF_LOCAL_HOME },
		{ "USER", "user" },
		{ "LOGNAME", "user" },
		{ "SHELL", "/bin/bash" },
		{ "LANG", "C.UTF-8" },
		{ "DEEPLAKE_SANDBOX", "local" },
	};
	DF_FREE char *text = json_dumps(config, JSON_COMPACT);
	json_t *all = json_deep_copy(env);
	const char *key;
	json_t *v;

	arg(b, "--clearenv");
	for (size_t i = 0; i < DF_ARRAY_LEN(fixed); i++)
		args3(b, "--setenv", fixed[i][0], fixed[i][1]);
	args3(b, "--setenv", "DEEPLAKE_SANDBOX_ID", id);
	json_object_foreach(all, key, v)
		args3(b, "--setenv", key, json_string_value(v));
	args3(b, "--setenv", DF_GUEST_CONFIG, text ? text : "{}");
	json_decref(all);
}

static int build_args(struct df_buf *b, const struct df_local *l,
		      const json_t *state, const json_t *env, json_t *config)
{
	static const char *const flags[] = {
		"--unshare-user", "--unshare-pid",
		"--unshare-ipc",  "--unshare-uts",
		"--uid",          "0",
		"--gid",          "0",
		"--cap-add",      "ALL",
		"--as-pid-1",     "--die-with-parent",
	};
	const char *id = df_json_str(state, "sandboxID");
	bool net = json_is_true(json_object_get(state, "internet"));

	for (size_t i = 0; i < DF_ARRAY_LEN(flags); i++)
		arg(b, flags[i]);
	if (!net)
		arg(b, "--unshare-net");
	arg(b, "--hostname");
	arg(b, id);
	args_system(b);
	if (net)
		args3(b, "--ro-bind-try", "/etc/resolv.conf",
		      "/etc/resolv.conf");
	args_own(b, l, id, df_json_str(state, "disk"));
	int err = args_programs(b);
	args_env(b, id, env, config);
	arg(b, "--chdir");
	arg(b, DF_LOCAL_HOME);
	return err ? err : b->err;
}

static int memory_file(const struct df_buf *b)
{
	int fd = memfd_create("bwrap-args", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	int err = df_write_all(fd, b->data, b->len);
	if (!err && lseek(fd, 0, SEEK_SET) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static _Noreturn void child(const json_t *cgroups, int args_fd, int info_fd)
{
	/* above the targets first, so that neither dup2 hits the other */
	int a = fcntl(args_fd, F_DUPFD, 10);
	int i = fcntl(info_fd, F_DUPFD, 10);

	df_intr_child();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int err = df_cgroup_join(cgroups);
	if (err)
		df_fail(err, "enter the cgroup");
	if (dup2(a, ARGS_FD) < 0 || dup2(i, INFO_FD) < 0)
		_exit(1);
	close_range(INFO_FD + 1, ~0u, 0);
	execlp("bwrap", "bwrap", "--info-fd", "4", "--args", "3", "--",
	       DF_LOCAL_BIN "/deeplake-sandbox", DF_GUESTD_ROLE, (char *)NULL);
	df_fail(-errno, "bwrap (Debian: apt-get install bubblewrap)");
	_exit(1);
}

static int read_info(int fd, pid_t *init)
{
	json_t *o = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
	json_int_t pid = json_integer_value(json_object_get(o, "child-pid"));

	json_decref(o);
	if (pid <= 0) {
		df_log_error("bwrap did not start the sandbox: its message is "
			     "above (unprivileged user namespaces must be "
			     "allowed, and bubblewrap 0.8 or newer be there)");
		return -ENOEXEC;
	}
	*init = (pid_t)pid;
	return 0;
}

int df_bwrap_start(const struct df_local *l, json_t *state, json_t *config,
		   const json_t *env, pid_t *bwrap, pid_t *init)
{
	struct df_buf b;
	int info[2];

	df_buf_init(&b, 4 << 20);
	int err = build_args(&b, l, state, env, config);
	int args_fd = err ? err : memory_file(&b);
	df_buf_release(&b);
	if (args_fd < 0)
		return df_fail(args_fd, "arguments of bwrap");
	if (pipe2(info, O_CLOEXEC)) {
		close(args_fd);
		return df_fail(-errno, "pipe");
	}
	*bwrap = fork();
	if (*bwrap == 0)
		child(json_object_get(state, "cgroups"), args_fd, info[1]);
	err = *bwrap < 0 ? -errno : 0;
	close(args_fd);
	close(info[1]);
	if (!err)
		err = read_info(info[0], init);
	close(info[0]);
	return err;
}

static int write_file(const char *path, const char *text)
{
	DF_CLOSE int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	return fd < 0 ? -errno : df_write_all(fd, text, strlen(text));
}

int df_bwrap_etc(const struct df_local *l, const char *id,
		 const char *server_host)
{
	DF_FREE char *dir = df_local_path(l, id, "etc");
	DF_FREE char *hosts = df_strf("127.0.0.1 localhost %s %s\n"
				      "::1 ip6-localhost\n",
				      id, server_host ? server_host : "");
	const char *const files[][2] = {
		/* one id is mapped; both names of it are expected */
		{ "passwd", "user:x:" IDS ":user:" DF_LOCAL_HOME ":/bin/bash\n"
			    "root:x:" IDS ":root:" DF_LOCAL_HOME ":/bin/bash\n"
			    "nobody:x:65534:65534:nobody:/:/bin/false\n" },
		{ "group", "user:x:" DF_LOCAL_ID ":\nroot:x:" DF_LOCAL_ID
			   ":\nnogroup:x:65534:\n" },
		{ "hosts", hosts },
		{ "hostname", id },
		{ "fuse.conf", "user_allow_other\n" },
	};

	int err = dir && hosts ? df_mkdir_p(dir, 0755) : -ENOMEM;
	for (size_t i = 0; !err && i < DF_ARRAY_LEN(files); i++) {
		DF_FREE char *path = df_strf("%s/%s", dir, files[i][0]);
		err = path ? write_file(path, files[i][1]) : -ENOMEM;
	}
	return err ? df_fail(err, "%s", dir ? dir : "etc") : 0;
}
