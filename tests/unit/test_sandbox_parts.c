/* test_sandbox_parts.c - URLs, pairs, mounts, options, frames, watches. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/sandbox/args.h"
#include "tools/sandbox/creds.h"
#include "tools/sandbox/frame.h"
#include "tools/sandbox/mount.h"
#include "tools/sandbox/url.h"
#include "tools/sandbox/watch.h"

static void check_url(const char *url, const char *host, int port)
{
	char *h = NULL;
	int p = 0;

	int err = df_url_host(url, &h, &p);
	if (!host) {
		assert_int_equal(err, -EINVAL);
	} else {
		assert_int_equal(err, 0);
		assert_string_equal(h, host);
		assert_int_equal(p, port);
	}
	free(h);
}

static void urls(void **state)
{
	(void)state;
	check_url("http://127.0.0.1:8088", "127.0.0.1", 8088);
	check_url("https://api.deeplake.ai/x?y", "api.deeplake.ai", 443);
	check_url("HTTP://[::1]:5/", "::1", 5);
	check_url("http://h", "h", 80);
	check_url("ftp://h", NULL, 0);
	check_url("http://:5", NULL, 0);
	check_url("http://h:0", NULL, 0);
	check_url("http://h:99999", NULL, 0);
	check_url("http://h:5x", NULL, 0);
	check_url("http://u:p@h/", NULL, 0);
	check_url("http://[::1", NULL, 0);
	char *q = df_url_quote("a b/&\xff.~");
	assert_string_equal(q, "a%20b%2F%26%FF.~");
	free(q);
}

static void check_mount(const char *text, const char *table, const char *path,
			const char *options)
{
	struct df_mounts m = { 0 };

	int err = df_mounts_add(&m, text);
	if (!table) {
		assert_int_equal(err, -EINVAL);
	} else {
		assert_int_equal(err, 0);
		assert_string_equal(m.v[0].table, table);
		assert_string_equal(m.v[0].path, path);
		assert_string_equal(m.v[0].options, options);
	}
	df_mounts_release(&m);
}

static void mounts(void **state)
{
	(void)state;
	check_mount("t:/mnt/data", "t", "/mnt/data", "");
	check_mount("t:/mnt/data//", "t", "/mnt/data", "");
	check_mount("t:/m:ro,fsync=local", "t", "/m", "ro,fsync=local");
	check_mount("t:/m:ca_file=a:b", "t", "/m", "ca_file=a:b");
	check_mount("t:/sub/dir:/m", "t:/sub/dir", "/m", "");
	check_mount("t:/sub:/m:ro", "t:/sub", "/m", "ro");
	check_mount("t", NULL, NULL, NULL);
	check_mount("t:rel", NULL, NULL, NULL);
	check_mount(":/m", NULL, NULL, NULL);
	check_mount("t:/", NULL, NULL, NULL);
	check_mount("t:/a/../b", NULL, NULL, NULL);
}

static void pairs(void **state)
{
	struct df_pairs p = { 0 };

	(void)state;
	assert_int_equal(df_pairs_add(&p, "a=1"), 0);
	assert_int_equal(df_pairs_add(&p, "b=x=y"), 0);
	assert_int_equal(df_pairs_add(&p, "a=2"), 0);
	assert_int_equal(df_pairs_add(&p, "none"), -EINVAL);
	assert_int_equal(df_pairs_add(&p, "=v"), -EINVAL);
	assert_string_equal(df_pairs_get(&p, "a"), "2");
	assert_string_equal(df_pairs_get(&p, "b"), "x=y");
	assert_null(df_pairs_get(&p, "c"));
	df_pairs_release(&p);
}

static int parse(struct df_args *a, const char *const words[])
{
	static char *argv[16]; /* a->command points into it */
	int n = 1;

	argv[0] = (char *)(uintptr_t) "sandbox";
	while (words[n - 1]) {
		argv[n] = (char *)(uintptr_t)words[n - 1];
		n++;
	}
	argv[n] = NULL;
	return df_args_parse(n, argv, a);
}

#define PARSE(a, ...) parse(a, (const char *const[]){ __VA_ARGS__, NULL })

static void arguments(void **state)
{
	struct df_args a;

	(void)state;
	assert_int_equal(PARSE(&a, "run", "--mount", "t:/m", "--timeout=5",
			       "-eA=b", "--", "ls", "-l", "--"),
			 0);
	assert_int_equal(a.cmd->id, CMD_RUN);
	assert_int_equal(a.timeout_s, 5);
	assert_int_equal(a.mounts.n, 1);
	assert_string_equal(df_pairs_get(&a.env, "A"), "b");
	assert_string_equal(a.command[1], "-l");
	assert_string_equal(a.command[2], "--");
	df_args_release(&a);
	assert_int_equal(PARSE(&a, "exec", "-it", "x", "--", "sh"), 0);
	assert_true(a.interactive && a.tty);
	df_args_release(&a);
	assert_int_equal(PARSE(&a, "template", "build", "--name", "n"), 0);
	assert_int_equal(a.cmd->id, CMD_T_BUILD);
	df_args_release(&a);
	assert_int_equal(PARSE(&a, "create", "--help"), 0);
	assert_true(a.help);
	df_args_release(&a);
}

static void wrong_arguments(void **state)
{
	static const struct {
		const char *words[6];
		int status;
	} wrong[] = {
		{ { "nothing" }, 2 },
		{ { "create", "x" }, 2 },
		{ { "create", "--", "x" }, 2 },
		{ { "create", "--json=1" }, 2 },
		{ { "create", "--timeout" }, 2 },
		{ { "create", "--timeout", "0" }, 2 },
		{ { "create", "--timeout", "5x" }, 2 },
		{ { "create", "--env", "A" }, 2 },
		{ { "cp", "a" }, 2 },
		{ { "run" }, 125 },
		{ { "run", "--" }, 125 },
		{ { "exec", "--", "ls" }, 125 },
		{ { "exec", "a", "ls" }, 125 },
	};

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(wrong); i++) {
		struct df_args a;
		assert_int_equal(parse(&a, wrong[i].words), wrong[i].status);
		df_args_release(&a);
	}
}

static void frames(void **state)
{
	struct df_buf b;
	char type = 0;
	int s[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	df_buf_init(&b, DF_FRAME_MAX);
	assert_int_equal(df_frame_send(s[0], 'o', "abc", 3), 0);
	assert_int_equal(df_frame_recv(s[1], &b, &type), 0);
	assert_int_equal(type, 'o');
	assert_int_equal(b.len, 3);
	assert_int_equal(df_frame_send_fail(s[0], -ENOENT, "no"), 0);
	assert_int_equal(df_frame_recv(s[1], &b, &type), 0);
	json_t *o = df_frame_json(&b);
	assert_int_equal(json_integer_value(json_object_get(o, "errno")),
			 ENOENT);
	json_decref(o);
	/* a length that nobody may ask memory for */
	assert_int_equal(write(s[0], "o\xff\xff\xff\x7f", 5), 5);
	assert_int_equal(df_frame_recv(s[1], &b, &type), -EPROTO);
	assert_int_equal(write(s[0], "o\3\0", 3), 3);
	close(s[0]);
	assert_int_equal(df_frame_recv(s[1], &b, &type), -EPIPE);
	close(s[1]);
	df_buf_release(&b);
}

static void sockets_are_no_symlinks(void **state)
{
	char dir[] = "/tmp/df-frame-XXXXXX";
	char real[64], link[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	strcat(strcpy(real, dir), "/real");
	strcat(strcpy(link, dir), "/link");
	int fd = df_unix_listen(real);
	assert_true(fd >= 0);
	assert_int_equal(symlink(real, link), 0);
	int c = df_unix_connect(real);
	assert_true(c >= 0);
	assert_int_equal(df_unix_connect(link), -ENOTSOCK);
	close(c);
	close(fd);
	unlink(real);
	unlink(link);
	rmdir(dir);
}

/* The credentials that load has from file, or from the usual place: *has in
 * them, *not not. */
static void check_creds(const char *file, const char *has, const char * not )
{
	struct df_creds c;

	assert_int_equal(df_creds_load_quiet(file, &c), 0);
	assert_non_null(strstr(c.text, has));
	assert_null(strstr(c.text, not ));
	df_creds_release(&c);
}

/* As every other command of deeplake has them. */
static void credentials(void **state)
{
	static const char text[] =
		"{\"token\": \"of-file\", \"orgId\": \"org-a\"}";
	char dir[] = "/tmp/df-creds-XXXXXX";
	struct df_creds c;

	(void)state;
	assert_non_null(mkdtemp(dir));
	DF_FREE char *sub = df_strf("%s/.deeplake", dir);
	DF_FREE char *path = df_strf("%s/credentials.json", sub);
	assert_int_equal(mkdir(sub, 0700), 0);
	assert_int_equal(df_file_replace(path, text, strlen(text), 0644), 0);
	setenv("HOME", dir, 1);
	assert_int_equal(df_creds_load(NULL, &c), -EACCES);
	assert_int_equal(df_creds_load(path, &c), -EACCES);
	assert_int_equal(chmod(path, 0600), 0);
	check_creds(NULL, "org-a", "org-b");
	setenv("ACTIVELOOP_ORG_ID", "org-b", 1);
	check_creds(NULL, "org-b", "org-a");
	unsetenv("ACTIVELOOP_ORG_ID");
	/* the file's organization is not that of another token */
	setenv("DEEPLAKE_TOKEN", "of-environment", 1);
	check_creds(NULL, "of-environment", "org-a");
	/* what was named on purpose counts */
	check_creds(path, "of-file", "of-environment");
	unsetenv("DEEPLAKE_TOKEN");
	unlink(path);
	rmdir(sub);
	rmdir(dir);
}

static void watches(void **state)
{
	struct df_watch w;

	(void)state;
	df_watch_init(&w, 0, true);
	assert_int_equal(df_watch_next(&w), 0);
	assert_int_equal(df_watch_status(&w, 7, 0), 7);
	assert_int_equal(df_watch_status(&w, 0, SIGTERM), 143);
	df_watch_init(&w, 1000, true);
	assert_int_equal(df_watch_next(&w), 0);
	w.term_ns = 1; /* long past */
	assert_int_equal(df_watch_next(&w), SIGTERM);
	assert_int_equal(df_watch_next(&w), 0);
	w.kill_ns = 1;
	assert_int_equal(df_watch_next(&w), SIGKILL);
	w.end_ns = 1;
	assert_int_equal(df_watch_next(&w), -ETIMEDOUT);
	assert_int_equal(df_watch_status(&w, 0, SIGKILL), 124);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls),
		cmocka_unit_test(mounts),
		cmocka_unit_test(pairs),
		cmocka_unit_test(arguments),
		cmocka_unit_test(wrong_arguments),
		cmocka_unit_test(frames),
		cmocka_unit_test(sockets_are_no_symlinks),
		cmocka_unit_test(credentials),
		cmocka_unit_test(watches),
	};

	df_log_open("/dev/null", "test"); /* refusals are expected */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
