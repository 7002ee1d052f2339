/* query_args.c - see query_args.h. */
#include "tools/query_args.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "tools/cmd.h"
#include "tools/place.h"

#define QUERY_MS 120000

static int take_flag(struct df_query_args *a, const char *name)
{
	for (int i = 0; a->flags && a->flags[i]; i++)
		if (!strcmp(a->flags[i], name)) {
			a->given[i] = true;
			return 0;
		}
	return -ENOENT;
}

bool df_query_flag(const struct df_query_args *a, const char *name)
{
	for (int i = 0; a->flags && a->flags[i]; i++)
		if (!strcmp(a->flags[i], name))
			return a->given[i];
	return false;
}

/* Days, or a time as options have it. */
static int take_age(struct df_query_args *a, const char *text, char *msg,
		    size_t size)
{
	DF_FREE char *days = df_strf("%.*s", (int)strlen(text) - 1, text);
	size_t n = strlen(text);
	int64_t ms = 0;
	int err = n && text[n - 1] == 'd' && days ? df_conf_time(days, &ms)
						  : df_conf_time(text, a->age);

	if (!err && n && text[n - 1] == 'd')
		*a->age = ms / 1000 * DF_DAY_MS;
	if (err)
		snprintf(msg, size,
			 "--older-than=%s: give a time such as 14d "
			 "or 36h",
			 text);
	return err;
}

/* getopt's table: the common options, then the command's flags. */
static void fill_longs(const struct df_query_args *a, struct option *longs)
{
	static const struct option common[] = {
		{ "org", required_argument, NULL, 'g' },
		{ "workspace", required_argument, NULL, 'w' },
		{ "api-url", required_argument, NULL, 'u' },
		{ "options", required_argument, NULL, 'o' },
		{ "older-than", required_argument, NULL, 'O' },
	};
	int n = 0;

	for (size_t i = 0; i < DF_ARRAY_LEN(common) - !a->age; i++)
		longs[n++] = common[i];
	for (int i = 0; a->flags && a->flags[i] && i < DF_QUERY_FLAGS; i++)
		longs[n++] =
			(struct option){ a->flags[i], no_argument, NULL, 'F' };
	longs[n] = (struct option){ NULL, 0, NULL, 0 };
}

int df_query_parse(struct df_query_args *a, int argc, char **argv, int min,
		   int max, const char *words)
{
	struct option longs[DF_QUERY_FLAGS + 6];
	char msg[512];
	int at = 0;

	a->cmd = argv[0];
	df_conf_init(&a->opt);
	fill_longs(a, longs);
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "o:", longs, &at)) != -1;) {
		int err = 0;
		if (c == 'F')
			err = take_flag(a, longs[at].name);
		else if (c == 'g' || c == 'w' || c == 'u')
			err = df_conf_set(&a->opt,
					  c == 'g'   ? "org"
					  : c == 'w' ? "workspace"
						     : "api_url",
					  optarg, msg, sizeof(msg));
		else if (c == 'O')
			err = take_age(a, optarg, msg, sizeof(msg));
		else if (c == 'o')
			err = df_conf_parse(&a->opt, optarg, false, msg,
					    sizeof(msg));
		else
			return df_usage_opt(argv, optopt, optind);
		if (err)
			return df_usage(a->cmd, "%s: %s", a->cmd, msg);
	}
	a->word = argv + optind;
	a->n_words = argc - optind;
	if (a->n_words < min || a->n_words > max)
		return df_usage(a->cmd, "%s: give %s", a->cmd, words);
	return 0;
}

int df_query_open(struct df_query_args *a)
{
	int err = df_account_load(&a->opt, a->word[0], &a->account);

	a->account.table.patience_ms = DF_PATIENCE_MS;
	if (!err)
		err = df_table_open(&a->account.table, &a->remote);
	return df_exit_of(err);
}

void df_query_close(struct df_query_args *a)
{
	if (a->remote) {
		a->remote->ops->stop(a->remote);
		a->remote->ops->free(a->remote);
	}
	df_account_release(&a->account);
	df_conf_release(&a->opt);
}

int df_query_run(struct df_query_args *a, struct df_stmt *s, const char *what,
		 struct df_answer *out)
{
	struct df_call call = {
		.what = what,
		.class = DF_HTTP_URGENT,
		.writes = true, /* nobody knows what a user's SQL does */
		.deadline_ns = df_deadline_ms(QUERY_MS),
		.answer_max = DF_HTTP_ANSWER_CEILING,
	};
	int err = df_api_sql(df_table_api(a->remote), s, &call, out);

	df_stmt_release(s);
	return err;
}

int df_query_failed(const struct df_query_args *a, int err)
{
	switch (err) {
	case -ENOENT:
		df_log_error("%s: a table that the statement names does not "
			     "exist in workspace %s; 'deeplake init --table' "
			     "makes one",
			     a->word[0], a->account.table.workspace);
		return DF_EXIT_FAILED;
	case -EOVERFLOW:
		df_log_error("the answer is over 32 MiB: ask for fewer columns "
			     "or add LIMIT");
		return DF_EXIT_FAILED;
	case -EEXIST:
		df_log_error("what the statement makes exists already");
		return DF_EXIT_FAILED;
	case -EAGAIN:
		df_log_error("the answer was lost: whether the statement was "
			     "applied is not known; look before repeating it");
		return DF_EXIT_UNREACHABLE;
	case -EINVAL: /* refused by the server, which said why */
		return DF_EXIT_FAILED;
	default:
		return df_exit_of(err);
	}
}
