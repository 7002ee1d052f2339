/* cmd_template.c - template init, build, list, delete. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/args.h"
#include "tools/sandbox/cli.h"
#include "tools/sandbox/context.h"
#include "tools/sandbox/dockerfile.h"
#include "tools/sandbox/e2b.h"
#include "tools/sandbox/guest.h"
#include "tools/sandbox/intr.h"
#include "tools/sandbox/mount.h"
#include "tools/sandbox/url.h"

#define BUNDLE_NAME "deeplake-bundle.tar.gz"
#define POLL_MS 300
#define BUILD_MS (60 * 60 * 1000)
#define USUAL_READY "sleep 20"

/* /dev is made anew at every boot of a guest, so a chmod in a build step is
 * lost: the rule for tmpfiles is what lasts. */
static const char template_text[] =
	"# A sandbox template with the deeplake driver inside.\n"
	"# Build it:  deeplake sandbox template build --name my-data-sandbox\n"
	"# Use it:    deeplake sandbox run --template my-data-sandbox \\\n"
	"#                --mount my_agent_data:/mnt/data -- ls -la /mnt/data\n"
	"# No token belongs in here: `create` feeds it into each sandbox.\n"
	"FROM e2b/base\n"
	"COPY " BUNDLE_NAME " /tmp/" BUNDLE_NAME "\n"
	"RUN mkdir -p /opt/deeplake && \\\n"
	"    tar -xzf /tmp/" BUNDLE_NAME
	" -C /opt/deeplake --strip-components=1 && \\\n"
	"    rm -f /tmp/" BUNDLE_NAME " && chown -R 0:0 /opt/deeplake && \\\n"
	"    sh /opt/deeplake/setup\n"
	"RUN mkdir -p /etc/tmpfiles.d && \\\n"
	"    echo 'z /dev/fuse 0666 root root -' "
	">/etc/tmpfiles.d/deeplake.conf && \\\n"
	"    (grep -qsx user_allow_other /etc/fuse.conf || \\\n"
	"     echo user_allow_other >>/etc/fuse.conf)\n"
	"# `mount /mnt/data` then works in the sandbox, too.\n"
	"RUN mkdir -p /mnt/data && chown user /mnt/data && \\\n"
	"    echo 'my_agent_data /mnt/data deeplakefs "
	"noauto,user,_netdev,allow_other 0 0' >>/etc/fstab\n"
	"# Runs once, before the template is frozen: never a mount, for every\n"
	"# sandbox would be a copy of it.\n"
	"CMD deeplake version\n";

static int copy_file(const char *from, const char *to)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	int err = df_file_read(from, &b);
	if (!err)
		err = df_file_replace(to, b.data, b.len, 0644);
	df_buf_release(&b);
	return err ? df_fail(err, "copy %s to %s", from, to) : 0;
}

static int template_init(const struct df_args *a)
{
	const char *dir = a->pos.n ? a->pos.v[0] : ".";
	DF_FREE char *file = df_strf("%s/Dockerfile", dir);
	DF_FREE char *to = df_strf("%s/" BUNDLE_NAME, dir);
	DF_FREE char *bundle = df_bundle_find(a->bundle);

	if (!file || !to)
		return -ENOMEM;
	int err = df_mkdir_p(dir, 0755);
	if (err)
		return df_fail(err, "%s", dir);
	if (!access(file, F_OK)) {
		df_log_error("%s is there already and was not touched", file);
		return -EEXIST;
	}
	if (!bundle) {
		df_log_error("there is no driver to put inside: make it with "
			     "`make bundle` and give --bundle FILE");
		return -ENOENT;
	}
	err = copy_file(bundle, to);
	if (!err)
		err = df_file_replace(file, template_text,
				      sizeof(template_text) - 1, 0644);
	if (!err && a->json)
		df_json_print(json_pack("{s:s, s:s}", "dockerfile", file,
					"bundle", to));
	else if (!err)
		printf("%s\n%s\n", file, to);
	return err;
}

int df_cmd_template_init(struct df_args *a)
{
	return df_exit_of(template_init(a));
}

/* "a,b" -> "a b"; only characters of package names, so no quoting. */
static char *package_list(const char *option, const char *text)
{
	char *list = strdup(text);

	for (char *p = list; p && *p; p++) {
		if (*p == ',')
			*p = ' ';
		else if (strchr("'\"\\$`;&|<>()\n", *p)) {
			df_log_error("--%s \"%s\": not a list of packages",
				     option, text);
			free(list);
			return NULL;
		}
	}
	return list;
}

static int add_packages(struct df_docker *d, const char *option,
			const char *text, const char *command)
{
	DF_FREE char *list = text ? package_list(option, text) : NULL;

	if (!text)
		return 0;
	DF_FREE char *run = list ? df_strf("%s%s", command, list) : NULL;
	const char *const args[] = { run, "root", NULL };
	return run ? df_docker_step(d, "RUN", args) : -EINVAL;
}

static int add_all_packages(struct df_docker *d, const struct df_args *a)
{
	int err = add_packages(d, "apt", a->apt,
			       "apt-get update && DEBIAN_FRONTEND="
			       "noninteractive apt-get install -y "
			       "--no-install-recommends ");
	if (!err)
		err = add_packages(d, "pip", a->pip,
				   "pip install --no-cache-dir ");
	if (!err)
		err = add_packages(d, "npm", a->npm, "npm install -g ");
	return err;
}

/* Without a Dockerfile: the image, the packages, the driver if we have it. */
static int from_options(struct df_docker *d, const struct df_args *a)
{
	DF_FREE char *text = df_strf("FROM %s\n", a->base ? a->base : "base");

	int err = text ? df_docker_parse(text, strlen(text), d) : -ENOMEM;
	if (err)
		df_log_error("--base %s: %s", a->base, d->why);
	return err;
}

static int read_dockerfile(struct df_docker *d, const char *dir,
			   const char *named)
{
	const char *const names[] = { named, "e2b.Dockerfile", "Dockerfile" };
	struct df_buf b;
	int err = -ENOENT;

	df_buf_init(&b, 2 << 20);
	for (size_t i = 0; i < (named ? 1 : 3) && err == -ENOENT; i++) {
		if (!names[i])
			continue;
		DF_FREE char *path = df_strf("%s/%s", dir, names[i]);
		err = df_file_read(path, &b);
		if (!err) {
			err = df_docker_parse((const char *)b.data, b.len, d);
			if (err)
				df_log_error("%s: %s", path, d->why);
		} else if (err != -ENOENT || named) {
			df_fail(err, "%s", path);
		}
	}
	df_buf_release(&b);
	if (err == -ENOENT && !named)
		df_log_error("%s has no Dockerfile: write one (deeplake "
			     "sandbox template init %s), or give --base",
			     dir, dir);
	return err;
}

static int upload_archive(struct df_e2b *e, const json_t *where,
			  const char *path)
{
	struct curl_slist *l = NULL;
	struct df_resp resp;
	struct stat st;
	const char *key;
	json_t *v;

	DF_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return df_fail(-errno, "%s", path);
	json_object_foreach(json_object_get(where, "headers"), key,
			    v) if (json_is_string(v))
		l = df_header(l, key, json_string_value(v));
	l = df_header(l, "Expect", "");
	df_resp_init(&resp);
	/* an object store: exact length, and our key is none of its business */
	struct df_req req = { .method = "PUT",
			      .url = df_json_str(where, "url"),
			      .headers = l,
			      .from = df_read_fd,
			      .from_size = st.st_size,
			      .arg = &fd };
	int status = df_http_do(e->http, &req, &resp);
	if (!status)
		status = (int)resp.status;
	int err = status / 100 == 2
			  ? 0
			  : df_e2b_fail(status, &resp, "upload of build files");
	df_resp_release(&resp);
	return err;
}

static int send_copy(struct df_e2b *e, const char *tid, const char *dir,
		     json_t *step)
{
	DF_FREE char *archive = NULL;
	json_t *where = NULL;
	char hash[65];

	int err = df_context_pack(dir, step, &archive, hash);
	if (err)
		return err;
	DF_FREE char *path = df_strf("/templates/%s/files/%s", tid, hash);
	int status = df_e2b_call(e, "GET", path, NULL, &where);
	if (status == 404)
		err = df_fail(-EOPNOTSUPP, "the server takes no build files");
	else if (status < 0)
		err = status;
	else if (!json_is_true(json_object_get(where, "present")))
		err = upload_archive(e, where, archive);
	if (!err)
		json_object_set_new(step, "filesHash", json_string(hash));
	json_decref(where);
	unlink(archive);
	return err;
}

static int send_files(struct df_e2b *e, const char *tid, const char *dir,
		      json_t *steps)
{
	json_t *step;
	size_t i;

	json_array_foreach(steps, i, step)
	{
		int err = strcmp(df_json_str(step, "type"), "COPY")
				  ? 0
				  : send_copy(e, tid, dir, step);
		if (err)
			return err;
	}
	return 0;
}

static void print_entries(const struct df_args *a, const json_t *entries)
{
	json_t *o;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)entries, i, o)
	{
		if (a->quiet)
			continue;
		if (a->json)
			df_json_print(json_incref(o));
		else
			printf("%s\n", df_json_str(o, "message"));
	}
	fflush(stdout);
}

/* Until a final status, and then until the log has no more. */
static int follow_build(struct df_e2b *e, const struct df_args *a,
			const char *tid, const char *bid)
{
	size_t offset = 0;

	for (int waited = 0; waited < BUILD_MS;) {
		DF_FREE char *path = df_strf("/templates/%s/builds/%s/status"
					     "?logsOffset=%zu",
					     tid, bid, offset);
		json_t *o = NULL;
		int status = df_e2b_call(e, "GET", path, NULL, &o);
		json_t *entries = json_object_get(o, "logEntries");
		size_t n = json_array_size(entries);
		const char *state = df_json_str(o, "status");
		bool ready = !strcmp(state, "ready");
		bool failed = !strcmp(state, "error");
		print_entries(a, entries);
		offset += n;
		if (failed && !n)
			df_log_error("the build failed: %s",
				     df_json_str(json_object_get(o, "reason"),
						 "message"));
		json_decref(o);
		if (status < 0 || status == 404)
			return status < 0 ? status : -ENOENT;
		if ((ready || failed) && !n)
			return ready ? 0 : -EIO;
		if (!n) {
			if (df_intr_sleep_ms(POLL_MS))
				return -EINTR;
			waited += POLL_MS;
		}
	}
	df_log_error("the build takes over an hour; it goes on without us");
	return -ETIMEDOUT;
}

static json_t *build_body(const struct df_docker *d, const struct df_args *a)
{
	const char *start = a->start ? a->start : d->start;
	const char *ready = a->ready ? a->ready : start ? USUAL_READY : NULL;

	return json_pack("{s:O, s:b, s:s*, s:s*, s:s*, s:s*}", "steps",
			 d->steps, "force", a->no_cache, "fromImage",
			 d->from_image, "fromTemplate", d->from_template,
			 "startCmd", start, "readyCmd", ready);
}

static int start_build(struct df_e2b *e, const struct df_args *a,
		       const struct df_docker *d, const char *dir,
		       json_t **made)
{
	json_t *body =
		json_pack("{s:s, s:I, s:I}", "name", a->name, "cpuCount",
			  (json_int_t)(a->cpu ? a->cpu : 2), "memoryMB",
			  (json_int_t)(a->memory_mb ? a->memory_mb : 1024));

	int status = df_e2b_call(e, "POST", "/v3/templates", body, made);
	const char *tid = df_json_str(*made, "templateID");
	const char *bid = df_json_str(*made, "buildID");
	if (status < 0)
		return status;
	if (status / 100 != 2 || !*tid || !*bid)
		return df_fail(-EOPNOTSUPP,
			       "the server builds no templates (HTTP %d)",
			       status);
	int err = send_files(e, tid, dir, d->steps);
	if (err)
		return err;
	DF_FREE char *path = df_strf("/v2/templates/%s/builds/%s", tid, bid);
	status = df_e2b_call(e, "POST", path, build_body(d, a), NULL);
	if (status < 0 || status / 100 != 2)
		return status < 0 ? status
				  : df_fail(-EIO, "start of the build: HTTP %d",
					    status);
	if (!a->quiet && !a->json)
		df_log_info("template %s, build %s", tid, bid);
	return follow_build(e, a, tid, bid);
}

/* The bundle as build step, from the directory it lies in. */
static int add_driver(struct df_docker *d, const char *bundle)
{
	const char *base = strrchr(bundle, '/');
	const char *const copy[] = { base ? base + 1 : bundle,
				     "/tmp/" BUNDLE_NAME, "root", "", NULL };
	const char *const run[] = {
		"mkdir -p /opt/deeplake && tar -xzf /tmp/" BUNDLE_NAME
		" -C /opt/deeplake --strip-components=1 && rm -f "
		"/tmp/" BUNDLE_NAME " && sh /opt/deeplake/setup",
		"root", NULL
	};

	int err = df_docker_step(d, "COPY", copy);
	return err ? err : df_docker_step(d, "RUN", run);
}

static int plan_build(const struct df_args *a, struct df_docker *d, char **dir)
{
	DF_FREE char *bundle = a->base ? df_bundle_find(a->bundle) : NULL;
	int err;

	if (!a->base) {
		*dir = strdup(a->pos.n ? a->pos.v[0] : ".");
		err = read_dockerfile(d, *dir, a->dockerfile);
	} else {
		const char *slash = bundle ? strrchr(bundle, '/') : NULL;
		*dir = slash ? strndup(bundle, (size_t)(slash - bundle))
			     : strdup(".");
		err = from_options(d, a);
		if (!err && bundle)
			err = add_driver(d, bundle);
		else if (!err)
			df_log_info("no driver archive: `create` uploads the "
				    "driver into each sandbox");
	}
	if (!err)
		err = add_all_packages(d, a);
	return err ? err : df_context_expand(*dir, d->steps);
}

int df_cmd_template_build(struct df_args *a)
{
	struct df_docker d = { 0 };
	struct df_prov *p = NULL;
	DF_FREE char *dir = NULL;
	json_t *made = NULL;

	if (!a->name) {
		df_log_error("template build: give it a name: --name N");
		return DF_EXIT_USAGE;
	}
	if (a->base && a->pos.n) {
		df_log_error("template build: either a directory with a "
			     "Dockerfile, or --base");
		return DF_EXIT_USAGE;
	}
	int err = plan_build(a, &d, &dir);
	if (!err)
		err = df_prov_new("e2b", true, &p);
	if (!err)
		err = start_build((struct df_e2b *)p, a, &d, dir, &made);
	if (!err && a->json)
		df_json_print(json_pack("{s:s, s:s, s:s}", "templateID",
					df_json_str(made, "templateID"), "name",
					a->name, "status", "ready"));
	else if (!err)
		printf("%s\n", df_json_str(made, "templateID"));
	json_decref(made);
	df_docker_release(&d);
	df_prov_free(p);
	return df_exit_of(err);
}

static const char *first_of(const json_t *o, const char *key)
{
	const char *s =
		json_string_value(json_array_get(json_object_get(o, key), 0));

	return s ? s : "";
}

int df_cmd_template_list(struct df_args *a)
{
	struct df_prov *p = NULL;
	json_t *list = NULL;
	json_t *o;
	size_t i;

	int err = df_prov_new("e2b", true, &p);
	if (!err) {
		struct df_e2b *e = (struct df_e2b *)p;
		int status =
			df_e2b_call(e, "GET", "/v2/templates", NULL, &list);
		if (status == 404) {
			json_decref(list);
			status = df_e2b_call(e, "GET", "/templates", NULL,
					     &list);
		}
		err = status < 0 ? status : json_is_array(list) ? 0 : -EPROTO;
	}
	if (!err && a->json) {
		df_json_print(json_incref(list));
	} else if (!err) {
		printf("%-22s %4s %6s %-10s %s\n", "ID", "CPU", "MB", "BUILD",
		       "NAME");
		json_array_foreach(list, i, o) printf(
			"%-22s %4lld %6lld %-10s %s\n",
			df_json_str(o, "templateID"),
			json_integer_value(json_object_get(o, "cpuCount")),
			json_integer_value(json_object_get(o, "memoryMB")),
			df_json_str(o, "buildStatus"),
			*first_of(o, "names") ? first_of(o, "names")
					      : first_of(o, "aliases"));
	}
	json_decref(list);
	df_prov_free(p);
	return df_exit_of(err);
}

int df_cmd_template_delete(struct df_args *a)
{
	struct df_prov *p = NULL;

	int err = df_prov_new("e2b", true, &p);
	for (size_t i = 0; !err && i < a->pos.n; i++) {
		DF_FREE char *q = df_url_quote(a->pos.v[i]);
		DF_FREE char *path = df_strf("/templates/%s", q ? q : "");
		int status = df_e2b_call((struct df_e2b *)p, "DELETE", path,
					 NULL, NULL);
		if (status == 404) {
			df_log_error("no template \"%s\"", a->pos.v[i]);
			err = -ENOENT;
		} else if (status < 0 || status == 409) {
			err = status < 0 ? status : -EBUSY;
		}
	}
	df_prov_free(p);
	return df_exit_of(err);
}
