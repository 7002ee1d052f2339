/* test_sandbox_dockerfile.c - Dockerfiles as build steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "tools/sandbox/dockerfile.h"

/* "TYPE a|b;TYPE c" of the steps, without the fixed ones around them. */
static char *steps_of(const char *text)
{
	static char out[4096];
	struct df_docker d;
	json_t *step, *arg;
	size_t i, k;

	assert_int_equal(df_docker_parse(text, strlen(text), &d), 0);
	out[0] = 0;
	json_array_foreach(d.steps, i, step)
	{
		char *end = out + strlen(out);
		sprintf(end, "%s%s ", i ? ";" : "",
			json_string_value(json_object_get(step, "type")));
		json_array_foreach(json_object_get(step, "args"), k, arg)
			sprintf(out + strlen(out), "%s%s", k ? "|" : "",
				json_string_value(arg));
	}
	df_docker_release(&d);
	return out;
}

#define BEFORE "USER root;WORKDIR /;"
#define AFTER ";USER user;WORKDIR /home/user"

static void instructions(void **state)
{
	(void)state;
	assert_string_equal(steps_of("FROM x\nRUN a && b\n"),
			    BEFORE "RUN a && b" AFTER);
	assert_string_equal(steps_of("FROM x\nRUN [\"a b\", \"c\"]\n"),
			    BEFORE "RUN 'a b' c" AFTER);
	assert_string_equal(steps_of("FROM x\nrun a \\\n# c\n\n  b\n"),
			    BEFORE "RUN a   b" AFTER);
	assert_string_equal(steps_of("FROM x\nCOPY --chown=u:g a b /c/\n"),
			    BEFORE "COPY a|/c/|u:g|;COPY b|/c/|u:g|" AFTER);
	assert_string_equal(steps_of("FROM x\nADD [\"a b\", \"/c\"]\n"),
			    BEFORE "COPY a b|/c||" AFTER);
	assert_string_equal(steps_of("FROM x\nENV a=1 b=\"c d\"\nENV e f g\n"),
			    BEFORE "ENV a|1|b|c d;ENV e|f g" AFTER);
	assert_string_equal(steps_of("FROM x\nUSER me\nWORKDIR /w\n"),
			    BEFORE "USER me;WORKDIR /w");
	assert_string_equal(steps_of("FROM x\r\nARG A=1\r\nARG B\r\n"),
			    BEFORE "ENV A|1" AFTER);
}

static void from(void **state)
{
	struct df_docker d;
	static const char text[] = "ARG V=3.11\nFROM python:${V}-${X:-slim}\n";

	(void)state;
	assert_int_equal(df_docker_parse(text, strlen(text), &d), 0);
	assert_string_equal(d.from_image, "python:3.11-slim");
	df_docker_release(&d);
	assert_int_equal(df_docker_parse("FROM e2b/base", 13, &d), 0);
	assert_string_equal(d.from_template, "base");
	assert_null(d.from_image);
	df_docker_release(&d);
}

static void start_command(void **state)
{
	struct df_docker d;
	static const char text[] = "FROM x\nENTRYPOINT [\"serve\"]\n"
				   "CMD [\"--port\", \"80 80\"]\n";

	(void)state;
	assert_int_equal(df_docker_parse(text, strlen(text), &d), 0);
	assert_string_equal(d.start, "serve --port '80 80'");
	df_docker_release(&d);
}

static void refuses(const char *text, const char *why)
{
	struct df_docker d;

	assert_int_equal(df_docker_parse(text, strlen(text), &d), -EINVAL);
	if (!strstr(d.why, why))
		fail_msg("\"%s\" lacks \"%s\"", d.why, why);
	df_docker_release(&d);
}

static void refused_by_line(void **state)
{
	(void)state;
	refuses("", "no FROM");
	refuses("RUN x\n", "line 1: RUN before FROM");
	refuses("FROM x\n\n# c\nEXPOSE 80\n", "line 4: EXPOSE");
	refuses("FROM x\nRUN a \\\n b\nFROM y\n", "line 4: a second FROM");
	refuses("FROM --platform=arm64 x\n", "no options");
	refuses("FROM x\nCOPY --from=b /a /b\n", "--from=b");
	refuses("FROM x\nCOPY ../a /b\n", "outside");
	refuses("FROM x\nCOPY a/../../b /b\n", "outside");
	refuses("FROM x\nCOPY a\n", "source and a destination");
	refuses("FROM x\nADD https://h/f /b\n", "fetch it");
	refuses("FROM x\nRUN <<EOF\nEOF\n", "here-document");
	refuses("FROM x\nRUN --mount=type=cache y\n", "options of RUN");
	refuses("FROM x\nRUN\n", "without anything");
	refuses("FROM ${X\n", "without \"}\"");
	refuses("FROM x\nENV =1\n", "NAME=VALUE");
}

static void names_with_dots_are_inside(void **state)
{
	(void)state;
	assert_string_equal(steps_of("FROM x\nCOPY a..b/c... /d\n"),
			    BEFORE "COPY a..b/c...|/d||" AFTER);
}

static void binary_is_refused(void **state)
{
	struct df_docker d;

	(void)state;
	assert_int_equal(df_docker_parse("FROM x\0\n", 8, &d), -EINVAL);
	df_docker_release(&d);
	assert_int_equal(df_docker_parse("FROM x\nRUN \xff\n", 12, &d),
			 -EINVAL);
	df_docker_release(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instructions),
		cmocka_unit_test(from),
		cmocka_unit_test(start_command),
		cmocka_unit_test(refused_by_line),
		cmocka_unit_test(names_with_dots_are_inside),
		cmocka_unit_test(binary_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
