/* test_backend_creds.c - who we are: environment, file, defaults. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "backend/creds.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"

static char dir[64], file[96], log_file[96];

static void write_file(const char *text, mode_t mode)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(df_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int clear(void **state)
{
	static const char *const vars[] = {
		"DEEPLAKE_TOKEN",        "DEEPLAKE_API_KEY",
		"DEEPLAKE_ORG_ID",       "ACTIVELOOP_ORG_ID",
		"DEEPLAKE_WORKSPACE_ID", "DEEPLAKE_WORKSPACE",
		"DEEPLAKE_API_URL"
	};

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(vars); i++)
		unsetenv(vars[i]);
	setenv("HOME", dir, 1);
	unlink(file);
	return 0;
}

static void nothing_is_eauth(void **state)
{
	struct df_creds c;

	(void)state;
	assert_int_equal(df_creds_load(NULL, &c), DF_EAUTH);
	write_file("{}", 0600);
	assert_int_equal(df_creds_load(NULL, &c), DF_EAUTH);
	write_file("{\"token\":\"\"}", 0600);
	assert_int_equal(df_creds_load(NULL, &c), DF_EAUTH);
	assert_null(c.token);
}

static void reads_the_file(void **state)
{
	struct df_creds c;

	(void)state;
	write_file("{\"token\":\"tok\",\"orgId\":\"o\",\"orgName\":\"O\","
		   "\"userName\":\"u\",\"workspaceId\":\"w\","
		   "\"apiUrl\":\"http://h\"}",
		   0600);
	assert_int_equal(df_creds_load(NULL, &c), 0);
	assert_string_equal(c.token, "tok");
	assert_string_equal(c.org_id, "o");
	assert_string_equal(c.org_name, "O");
	assert_string_equal(c.user_name, "u");
	assert_string_equal(c.workspace, "w");
	assert_string_equal(c.api_url, "http://h");
	assert_string_equal(c.path, file);
	assert_false(c.token_from_env);
	df_creds_release(&c);
	assert_null(c.token);
}

static void has_defaults(void **state)
{
	struct df_creds c;

	(void)state;
	write_file("{\"token\":\"tok\"}", 0600);
	assert_int_equal(df_creds_load(NULL, &c), 0);
	assert_null(c.org_id);
	assert_string_equal(c.workspace, "default");
	assert_string_equal(c.api_url, "https://api.deeplake.ai");
	df_creds_release(&c);
}

static void the_environment_wins(void **state)
{
	struct df_creds c;

	(void)state;
	write_file("{\"token\":\"tok\",\"orgId\":\"o\",\"workspaceId\":\"w\","
		   "\"apiUrl\":\"http://h\"}",
		   0600);
	setenv("DEEPLAKE_API_KEY", "key", 1);
	setenv("ACTIVELOOP_ORG_ID", "org2", 1);
	setenv("DEEPLAKE_WORKSPACE", "w2", 1);
	setenv("DEEPLAKE_API_URL", "http://h2", 1);
	assert_int_equal(df_creds_load(NULL, &c), 0);
	assert_string_equal(c.token, "key");
	assert_string_equal(c.org_id, "org2");
	assert_string_equal(c.workspace, "w2");
	assert_string_equal(c.api_url, "http://h2");
	assert_true(c.token_from_env && c.url_from_env && c.org_from_env &&
		    c.workspace_from_env);
	df_creds_release(&c);
	setenv("DEEPLAKE_TOKEN", "key1", 1);
	setenv("DEEPLAKE_ORG_ID", "org1", 1);
	setenv("DEEPLAKE_WORKSPACE_ID", "w1", 1);
	assert_int_equal(df_creds_load(NULL, &c), 0);
	assert_string_equal(c.token, "key1");
	assert_string_equal(c.org_id, "org1");
	assert_string_equal(c.workspace, "w1");
	df_creds_release(&c);
}

static char *jwt(const char *claims)
{
	struct df_buf b;

	df_buf_init(&b, 0);
	df_buf_put_str(&b, "e30.");
	df_b64_put(&b, claims, strlen(claims));
	while (b.data[b.len - 1] == '=')
		b.len--;
	for (size_t i = 4; i < b.len; i++)
		b.data[i] = b.data[i] == '+'   ? '-'
			    : b.data[i] == '/' ? '_'
					       : b.data[i];
	df_buf_put_str(&b, ".c2ln");
	df_buf_cstr(&b);
	size_t len;
	return (char *)df_buf_steal(&b, &len);
}

static void a_token_names_its_org(void **state)
{
	struct df_creds c;

	(void)state;
	char *t = jwt("{\"org_id\":\"the-org\",\"x\":\"\xc3\xbf\xc3\xbe?\"}");
	char *t2 = jwt("{\"OrgID\":\"b\"}");
	write_file("{\"token\":\"tok\",\"orgId\":\"files\"}", 0600);
	setenv("DEEPLAKE_TOKEN", t, 1);
	assert_int_equal(df_creds_load(NULL, &c), 0);
	assert_string_equal(c.org_id, "the-org"); /* not the file's */
	df_creds_release(&c);
	free(t);
	char *org = df_creds_token_org(t2);
	assert_string_equal(org, "b");
	free(org);
	free(t2);
	static const char *const none[] = { "",        "a",  "a.b", "a.!!.c",
					    "a.e30.c", "..", "a..c" };
	for (size_t i = 0; i < DF_ARRAY_LEN(none); i++)
		assert_null(df_creds_token_org(none[i]));
}

static void refuses_open_files(void **state)
{
	static const mode_t bad[] = { 0644, 0640, 0604, 0660, 0601 };
	struct df_creds c;

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(bad); i++) {
		write_file("{\"token\":\"tok\"}", bad[i]);
		assert_int_equal(df_creds_load(NULL, &c), DF_EAUTH);
	}
	char last[512];
	long when;
	df_log_last_error(last, sizeof(last), &when);
	assert_non_null(strstr(last, "chmod 600"));
	assert_null(strstr(last, "tok\""));
	/* The environment needs no file. */
	setenv("DEEPLAKE_TOKEN", "key", 1);
	assert_int_equal(df_creds_load(NULL, &c), 0);
	assert_string_equal(c.token, "key");
	df_creds_release(&c);
	/* But one that was asked for by name must be good. */
	assert_int_equal(df_creds_load(file, &c), DF_EAUTH);
}

static void refuses_nonsense(void **state)
{
	static const char *const bad[] = { "", "[]", "{", "null", "\"x\"" };
	struct df_creds c;

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(bad); i++) {
		write_file(bad[i], 0600);
		assert_int_equal(df_creds_load(NULL, &c), DF_EAUTH);
	}
	unlink(file);
	assert_int_equal(mkdir(file, 0700), 0);
	assert_int_equal(df_creds_load(NULL, &c), DF_EAUTH);
	rmdir(file);
}

static void works_without_home(void **state)
{
	(void)state;
	unsetenv("HOME");
	char *path = df_creds_home("x");
	assert_non_null(path);
	assert_int_equal(path[0], '/');
	assert_non_null(strstr(path, "/.deeplake/x"));
	free(path);
}

static void keeps_what_it_does_not_know(void **state)
{
	struct df_creds c = { .token = (char *)(uintptr_t) "new",
			      .org_id = (char *)(uintptr_t) "o2" };
	struct stat st;

	(void)state;
	write_file("{\"token\":\"old\",\"autoupdate\":true,"
		   "\"workspaceId\":\"w\"}",
		   0600);
	assert_int_equal(df_creds_save(NULL, &c), 0);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	json_t *root = json_load_file(file, 0, NULL);
	assert_true(json_is_true(json_object_get(root, "autoupdate")));
	assert_string_equal(json_string_value(json_object_get(root, "token")),
			    "new");
	assert_string_equal(json_string_value(json_object_get(root, "orgId")),
			    "o2");
	assert_string_equal(
		json_string_value(json_object_get(root, "workspaceId")), "w");
	assert_non_null(json_object_get(root, "savedAt"));
	json_decref(root);

	assert_int_equal(df_creds_forget(NULL), 0);
	root = json_load_file(file, 0, NULL);
	assert_null(json_object_get(root, "token"));
	assert_true(json_is_true(json_object_get(root, "autoupdate")));
	json_decref(root);
}

static void makes_its_directory(void **state)
{
	struct df_creds c = { .token = (char *)(uintptr_t) "t" };
	char *path = df_strf("%s/new/dir/credentials.json", dir);
	char *sub = df_strf("%s/new/dir", dir);
	struct stat st;

	(void)state;
	assert_int_equal(df_creds_save(path, &c), 0);
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	unlink(path);
	rmdir(sub);
	free(sub);
	sub = df_strf("%s/new", dir);
	rmdir(sub);
	free(sub);
	free(path);
}

/* Whatever went wrong above, no message holds a token. */
static void no_message_holds_a_token(void **state)
{
	struct df_buf text;

	(void)state;
	df_buf_init(&text, 0);
	assert_int_equal(df_file_read(log_file, &text), 0);
	const char *all = df_buf_cstr(&text);
	assert_non_null(strstr(all, "chmod 600"));
	assert_null(strstr(all, "\"tok\""));
	assert_null(strstr(all, "key1"));
	df_buf_release(&text);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup(test, clear)
	const struct CMUnitTest tests[] = {
		T(nothing_is_eauth),
		T(reads_the_file),
		T(has_defaults),
		T(the_environment_wins),
		T(a_token_names_its_org),
		T(refuses_open_files),
		T(refuses_nonsense),
		T(works_without_home),
		T(keeps_what_it_does_not_know),
		T(makes_its_directory),
		T(no_message_holds_a_token),
	};

	snprintf(dir, sizeof(dir), "/tmp/test-creds-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	snprintf(file, sizeof(file), "%s/.deeplake", dir);
	if (mkdir(file, 0700))
		return 1;
	snprintf(file, sizeof(file), "%s/.deeplake/credentials.json", dir);
	snprintf(log_file, sizeof(log_file), "%s/log", dir);
	df_log_open(log_file, "test");
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(file);
	unlink(log_file);
	snprintf(file, sizeof(file), "%s/.deeplake", dir);
	rmdir(file);
	rmdir(dir);
	return failed;
}
