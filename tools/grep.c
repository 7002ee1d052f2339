/*
 * grep.c - grep: lines of a volume's texts, through the table.
 *
 * The server finds the rows (LIKE), the lines are cut out here.  Pages go by
 * path, so that memory is bounded; a page that no answer can hold is asked for
 * again in halves.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "tools/cmd.h"
#include "tools/query_args.h"
#include "tools/query_cmd.h"

#define PAGE_ROWS 200
#define LAG_MS 2000 /* a commit's rows are there after so long, normally */

struct grep {
	struct df_query_args *a;
	const char *word;
	bool fold, names, any;
	char *after; /* owned: last path of the page before */
	struct df_buf pattern;
};

static bool at_word(const char *p, const char *word, size_t len, bool fold)
{
	return fold ? !strncasecmp(p, word, len) : !memcmp(p, word, len);
}

static bool line_has(const char *line, size_t len, const char *word, bool fold)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= len; i++)
		if (at_word(line + i, word, n, fold))
			return true;
	return false;
}

static void print_lines(struct grep *g, const struct df_cell *path,
			const struct df_cell *text)
{
	const char *p = text->s, *end = p + text->len;

	for (unsigned long no = 1; p < end; no++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((nl ? nl : end) - p);
		if (line_has(p, len, g->word, g->fold)) {
			g->any = true;
			fwrite(path->s, 1, path->len, stdout);
			if (!g->names)
				printf(":%lu:%.*s", no, (int)len, p);
			puts("");
			if (g->names)
				return;
		}
		p += len + 1;
	}
}

/* %, _ and \ of the word mean themselves. */
static void make_pattern(struct grep *g)
{
	df_buf_init(&g->pattern, 0);
	df_buf_put_u8(&g->pattern, '%');
	for (const char *p = g->word; *p; p++) {
		if (strchr("%_\\", *p))
			df_buf_put_u8(&g->pattern, '\\');
		df_buf_put_u8(&g->pattern, (uint8_t)*p);
	}
	df_buf_put_u8(&g->pattern, '%');
}

static int ask(struct grep *g, unsigned limit, struct df_answer *out)
{
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "SELECT path, content_text FROM \"%s\" WHERE "
		    "content_text %s $1%s ORDER BY path LIMIT %u",
		    g->a->word[0], g->fold ? "ILIKE" : "LIKE",
		    g->after ? " AND path > $2" : "", limit);
	df_stmt_text(&s, (const char *)g->pattern.data, g->pattern.len);
	if (g->after)
		df_stmt_text(&s, g->after, strlen(g->after));
	return df_query_run(g->a, &s, "search the table", out);
}

/* 1: there is more, 0: all seen, or -errno. */
static int page(struct grep *g, unsigned *limit)
{
	struct df_answer a;
	int err = ask(g, *limit, &a);

	if (err == -EOVERFLOW && *limit > 1) {
		*limit /= 2;
		return 1;
	}
	if (err)
		return err;
	for (size_t r = 0; r < a.n_rows && a.n_cols == 2; r++) {
		const struct df_cell *path = df_answer_cell(&a, r, 0);
		const struct df_cell *text = df_answer_cell(&a, r, 1);
		if (path->type != DF_CELL_TEXT || text->type != DF_CELL_TEXT)
			continue;
		print_lines(g, path, text);
		free(g->after);
		g->after = df_xalloc(path->len + 1);
		memcpy(g->after, path->s, path->len);
	}
	int more = a.n_rows >= *limit;
	df_answer_release(&a);
	return more;
}

/* The newest commit whose rows had their time to come. */
static void say_fresh(struct df_query_args *a)
{
	struct df_answer answer;
	struct df_stmt s;
	char bound[17];
	uint64_t sent = 0;

	int64_t now = df_clock_real_ns() / DF_NS_PER_MS - LAG_MS;
	snprintf(bound, sizeof(bound), "%016llx",
		 (unsigned long long)now << 16);
	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "SELECT id, sent FROM \"%s__log\" WHERE kind = "
		    "'commit' AND sent < $1 ORDER BY sent DESC LIMIT 1",
		    a->word[0]);
	df_stmt_text(&s, bound, 16);
	if (df_query_run(a, &s, "look at the log", &answer))
		return; /* a table without a volume */
	if (answer.n_rows && answer.n_cols == 2 &&
	    !df_cell_hex64(df_answer_cell(&answer, 0, 1), &sent)) {
		char when[32];
		time_t t = (time_t)(sent >> 16) / 1000;
		struct tm tm;
		const struct df_cell *id = df_answer_cell(&answer, 0, 0);
		if (gmtime_r(&t, &tm) &&
		    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm))
			fprintf(stderr, "fresh up to commit %.*s of %s\n",
				(int)DF_MIN(id->len, (size_t)12), id->s, when);
	}
	df_answer_release(&answer);
}

static int grep(struct df_query_args *a)
{
	struct grep g = { .a = a, .word = a->word[1] };
	unsigned limit = PAGE_ROWS;

	g.fold = df_query_flag(a, "ignore-case");
	g.names = df_query_flag(a, "files");
	int status = df_query_open(a);
	if (status)
		return status;
	make_pattern(&g);
	int more = g.pattern.err;
	do
		more = more < 0 ? more : page(&g, &limit);
	while (more > 0);
	if (more == 0)
		say_fresh(a);
	free(g.after);
	df_buf_release(&g.pattern);
	if (more < 0)
		return df_query_failed(a, more);
	return g.any ? DF_EXIT_OK : DF_EXIT_FAILED;
}

int df_cmd_grep(int argc, char **argv)
{
	static const char *const flags[] = { "ignore-case", "files", NULL };
	struct df_query_args a = { .flags = flags };

	int status = df_query_parse(&a, argc, argv, 2, 2, "a table and a word");
	if (!status && (!*a.word[1] || strchr(a.word[1], '\n')))
		status = df_usage("grep", "grep: the word is empty or has a "
					  "line break in it");
	if (!status)
		status = grep(&a);
	df_query_close(&a);
	return status;
}
