/* local.c - the local provider: sandboxes made of bubblewrap; see local.h. */
#include "tools/sandbox/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/url.h"

#define DEFAULT_PROCS 4096

static void random_id(char first, char out[22])
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	uint8_t r[20];

	df_random(r, sizeof(r));
	out[0] = first;
	for (int i = 0; i < 20; i++)
		out[i + 1] = letters[r[i] % 36];
	out[21] = 0;
}

/* Wait for a child program: its exit status, or -errno. */
static int run_program(const char *const argv[])
{
	int st = 0;

	pid_t pid = fork();
	if (pid == 0) {
		df_intr_child();
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(st) && !WEXITSTATUS(st) ? 0 : -EIO;
}

static int copy_tree(const char *from, const char *to)
{
	const char *const argv[] = { "cp", "-a", "--reflink=auto", "--", from,
				     to,   NULL };

	int err = run_program(argv);
	return err ? df_fail(err, "copy %s to %s", from, to) : 0;
}

static char *snapshot_path(const struct df_local *l, const char *id)
{
	if (strchr(id, '/') || id[0] == '.')
		return NULL;
	return df_strf("%s/snapshots/%s", l->disks, id);
}

static int make_disk(const struct df_local *l, const char *template_id,
		     const char *disk)
{
	static const char *const dirs[] = { "home",    "tmp",       "var",
					    "var/tmp", "var/cache", "var/lib",
					    "var/log" };
	struct stat st;

	if (template_id && strcmp(template_id, "base") != 0) {
		DF_FREE char *from = snapshot_path(l, template_id);
		if (!from || stat(from, &st)) {
			df_log_error("template \"%s\": a local sandbox starts "
				     "from this machine's system, or from what "
				     "`deeplake sandbox snapshot` printed",
				     template_id);
			return -EINVAL;
		}
		return copy_tree(from, disk);
	}
	if (mkdir(disk, 0700))
		return df_fail(-errno, "%s", disk);
	for (size_t i = 0; i < DF_ARRAY_LEN(dirs); i++) {
		DF_FREE char *d = df_strf("%s/%s", disk, dirs[i]);
		mode_t mode = strstr(dirs[i], "tmp") ? 01777 : 0755;
		if (!d || mkdir(d, mode) || chmod(d, mode))
			return df_fail(-errno, "%s", d ? d : disk);
	}
	return 0;
}

static json_t *new_state(const struct df_sb_spec *spec, const char *id,
			 const char *disk)
{
	struct timespec now;
	json_t *meta = df_sb_metadata(spec);

	clock_gettime(CLOCK_REALTIME, &now);
	DF_FREE char *start = df_time_text(now.tv_sec);
	DF_FREE char *end = df_time_text(now.tv_sec + spec->timeout_s);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:I, s:b, "
			 "s:b, s:I, s:I, s:s}",
			 "sandboxID", id, "provider", "local", "templateID",
			 spec->template_id ? spec->template_id : "base",
			 "state", "running", "startedAt", start, "endAt", end,
			 "metadata", meta, "disk", disk, "timeout",
			 (json_int_t)spec->timeout_s, "internet",
			 spec->internet, "autoPause", spec->auto_pause,
			 "memoryMB", (json_int_t)spec->memory_mb, "maxProcs",
			 (json_int_t)spec->max_procs, "server",
			 spec->server ? spec->server : "");
}

/* What is inside has no network; the server's port is relayed. */
static int relay_target(const struct df_sb_spec *spec, char **host, int *port,
			json_t *config, const char **alias)
{
	*alias = NULL;
	*port = 0;
	if (!spec->server || spec->internet)
		return 0;
	int err = df_url_host(spec->server, host, port);
	if (err) {
		df_log_error("apiUrl \"%s\" of the credentials is not "
			     "http://HOST or https://HOST",
			     spec->server);
		return -EINVAL;
	}
	if (!df_host_is_loopback(*host)) {
		if (strspn(*host, "0123456789.") == strlen(*host) ||
		    strchr(*host, ':')) {
			df_log_error("the table server %s is given by "
				     "address: use its name, or --internet",
				     *host);
			return -EINVAL;
		}
		*alias = *host; /* /etc/hosts leads it to the relay */
	}
	json_object_set_new(config, "relay", json_integer(*port));
	return 0;
}

static int set_limits(json_t *state, const struct df_sb_spec *spec,
		      json_t *config)
{
	long procs = spec->max_procs ? spec->max_procs : DEFAULT_PROCS;
	json_t *dirs = NULL;

	int got = df_cgroup_make(df_json_str(state, "sandboxID"),
				 spec->memory_mb, procs, &dirs);
	if (got < 0)
		return df_fail(got, "limits");
	if (got && spec->memory_mb)
		df_log_warn("--memory %ld does not hold: no cgroup that this "
			    "user may divide (systemd: Delegate=yes)",
			    spec->memory_mb);
	else if (got)
		df_log_warn("--max-procs %ld does not hold: no cgroup", procs);
	json_object_set_new(state, "cgroups", dirs);
	json_object_set_new(config, "procs", json_integer(procs));
	return 0;
}

static int start(struct df_local *l, const struct df_sb_spec *spec,
		 json_t *state)
{
	const char *id = df_json_str(state, "sandboxID");
	DF_FREE char *pub = df_local_path(l, id, "pub");
	DF_FREE char *host = NULL;
	json_t *config = json_object();
	json_t *env = df_pairs_json(spec->env);
	const char *alias;
	int port;

	int err = config && env && pub ? 0 : -ENOMEM;
	if (!err)
		err = relay_target(spec, &host, &port, config, &alias);
	if (!err)
		err = set_limits(state, spec, config);
	if (!err)
		err = df_mkdir_p(pub, 0700);
	if (!err)
		err = df_bwrap_etc(l, id, alias);
	if (!err)
		err = make_disk(l, spec->template_id,
				df_json_str(state, "disk"));
	if (!err)
		err = df_keeper_start(l, state, config, env, port ? host : NULL,
				      port);
	json_decref(config);
	json_decref(env);
	return err;
}

static int local_create(struct df_prov *p, const struct df_sb_spec *spec,
			struct df_sb **out)
{
	struct df_local *l = (struct df_local *)p;
	char id[22];

	random_id('l', id);
	DF_FREE char *disk = df_strf("%s/%s", l->disks, id);
	json_t *state = disk ? new_state(spec, id, disk) : NULL;
	if (!state)
		return df_fail(-ENOMEM, "create");
	int err = start(l, spec, state);
	if (err) {
		df_cgroup_remove(json_object_get(state, "cgroups"));
		df_local_remove(l, id, disk);
	} else {
		err = df_sb_new(state, out);
	}
	json_decref(state);
	return err;
}

static int local_attach(struct df_prov *p, const char *id, struct df_sb **out)
{
	json_t *state = NULL;

	int err = df_local_load((struct df_local *)p, id, &state);
	if (!err)
		err = df_sb_new(state, out);
	json_decref(state);
	return err;
}

static int local_list(struct df_prov *p, const struct df_sb_filter *f,
		      json_t **out)
{
	struct df_local *l = (struct df_local *)p;
	DIR *d = opendir(l->root);
	struct dirent *e;

	if (!d)
		return df_fail(-errno, "%s", l->root);
	*out = json_array();
	while ((e = readdir(d))) {
		json_t *state;
		if (df_local_load(l, e->d_name, &state))
			continue;
		if (df_sb_matches(state, f))
			json_array_append(*out, state);
		json_decref(state);
	}
	closedir(d);
	return 0;
}

static int local_info(struct df_prov *p, struct df_sb *sb, json_t **out)
{
	return df_local_load((struct df_local *)p, sb->id, out);
}

static int ask(struct df_prov *p, struct df_sb *sb, json_t *req)
{
	return df_keeper_ask((struct df_local *)p, sb->id, req, NULL);
}

static int local_kill(struct df_prov *p, struct df_sb *sb)
{
	int err = ask(p, sb, json_pack("{s:s}", "op", "kill"));

	return err == -EPIPE ? 0 : err;
}

static int local_timeout(struct df_prov *p, struct df_sb *sb, long s)
{
	return ask(
		p, sb,
		json_pack("{s:s, s:I}", "op", "timeout", "s", (json_int_t)s));
}

static int local_pause(struct df_prov *p, struct df_sb *sb)
{
	int err = ask(p, sb, json_pack("{s:s}", "op", "pause"));

	if (err == -EALREADY)
		df_log_error("sandbox %s is paused already", sb->id);
	return err;
}

static int local_resume(struct df_prov *p, struct df_sb *sb, long timeout_s)
{
	int err = ask(p, sb,
		      json_pack("{s:s, s:I}", "op", "resume", "s",
				(json_int_t)timeout_s));

	return err == -EALREADY ? 0 : err;
}

/* The disk as it is, without what lives in memory. */
static int local_snapshot(struct df_prov *p, struct df_sb *sb, const char *name,
			  char **id)
{
	struct df_local *l = (struct df_local *)p;
	DF_FREE char *dir = df_strf("%s/snapshots", l->disks);
	char made[22];
	json_t *state;

	random_id('s', made);
	*id = strdup(name ? name : made);
	DF_FREE char *to = *id ? snapshot_path(l, *id) : NULL;
	if (!dir || !to || !access(to, F_OK)) {
		df_log_error("snapshot name \"%s\": taken, or not a name",
			     name ? name : made);
		free(*id);
		return -EEXIST;
	}
	int err = df_local_load(l, sb->id, &state);
	if (!err) {
		err = df_mkdir_p(dir, 0700);
		if (!err)
			err = copy_tree(df_json_str(state, "disk"), to);
		json_decref(state);
	}
	if (err)
		free(*id);
	return err;
}

static int fork_one(struct df_local *l, const json_t *state, const char *snap,
		    long timeout_s, const char *server, char **id)
{
	struct df_pairs meta = { 0 };
	struct df_sb *sb = NULL;
	const char *key;
	json_t *v;

	json_object_foreach(
		json_object_get(state, "metadata"), key,
		v) if (strcmp(key, DF_META_NAME)) /* a name is one sandbox's */
		df_pairs_set(&meta, key, json_string_value(v));
	struct df_sb_spec spec = {
		.template_id = snap,
		.timeout_s = timeout_s,
		.metadata = &meta,
		.server = *server ? server : NULL,
		.memory_mb = (long)json_integer_value(
			json_object_get(state, "memoryMB")),
		.max_procs = (long)json_integer_value(
			json_object_get(state, "maxProcs")),
		.internet = json_is_true(json_object_get(state, "internet")),
	};
	int err = local_create(&l->prov, &spec, &sb);
	if (!err)
		*id = strdup(sb->id);
	df_sb_free(sb);
	df_pairs_release(&meta);
	return err;
}

static int local_fork(struct df_prov *p, struct df_sb *sb, int count,
		      long timeout_s, json_t **ids)
{
	struct df_local *l = (struct df_local *)p;
	DF_FREE char *snap = NULL;
	json_t *state = NULL;

	int err = local_snapshot(p, sb, NULL, &snap);
	if (err)
		return err;
	err = df_local_load(l, sb->id, &state);
	*ids = json_array();
	for (int i = 0; !err && i < count; i++) {
		DF_FREE char *id = NULL;
		err = fork_one(l, state, snap, timeout_s,
			       df_json_str(state, "server"), &id);
		if (!err)
			json_array_append_new(*ids, json_string(id));
	}
	json_decref(state);
	DF_FREE char *path = snapshot_path(l, snap);
	df_tree_remove(path);
	return json_array_size(*ids) ? 0 : err;
}

static int local_logs(struct df_prov *p, struct df_sb *sb, int64_t *cursor,
		      json_t **lines)
{
	struct df_local *l = (struct df_local *)p;
	DF_FREE char *path = df_local_path(l, sb->id, "log");
	char data[65536];

	*lines = json_array();
	DF_CLOSE int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : df_fail(-errno, "%s", path);
	ssize_t n = df_pread_all(fd, data, sizeof(data) - 1, *cursor);
	if (n < 0)
		return df_fail((int)n, "%s", path);
	data[n] = 0;
	*cursor += n;
	char *save = NULL;
	for (char *line = strtok_r(data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		json_array_append_new(*lines,
				      json_pack("{s:s}", "message", line));
	return 0;
}

static int local_url(struct df_prov *p, struct df_sb *sb, int port, char **url)
{
	json_t *answer = NULL;

	int err = df_keeper_ask(
		(struct df_local *)p, sb->id,
		json_pack("{s:s, s:i}", "op", "url", "port", port), &answer);
	if (!err)
		*url = strdup(df_json_str(answer, "url"));
	json_decref(answer);
	return err;
}

static void local_free(struct df_prov *p)
{
	struct df_local *l = (struct df_local *)p;

	free(l->root);
	free(l->disks);
	free(l);
}

static const struct df_prov_ops local_ops = {
	.name = "local",
	.create = local_create,
	.attach = local_attach,
	.list = local_list,
	.info = local_info,
	.kill = local_kill,
	.set_timeout = local_timeout,
	.pause = local_pause,
	.resume = local_resume,
	.snapshot = local_snapshot,
	.fork = local_fork,
	.logs = local_logs,
	.url = local_url,
	.exec = df_local_exec,
	.get = df_local_get,
	.put = df_local_put,
	.fs = df_local_fs,
	.free = local_free,
};

int df_local_new(struct df_prov **out)
{
	struct df_local *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->prov.ops = &local_ops;
	int err = df_local_dirs(l);
	if (err)
		local_free(&l->prov);
	else
		*out = &l->prov;
	return err;
}
