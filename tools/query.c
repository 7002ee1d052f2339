/* query.c - query: ask a table with SQL. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "tools/cmd.h"
#include "tools/query_args.h"
#include "tools/query_cmd.h"

#define CELL_WIDTH 60 /* columns of a cell in --table */

/* ---- --json: an array of objects */

static json_t *json_cell(const struct df_cell *c)
{
	DF_FREE char *text = df_xalloc(c->len + 1);

	memcpy(text, c->s, c->len);
	switch (c->type) {
	case DF_CELL_NULL:
		return json_null();
	case DF_CELL_BOOL:
		return json_boolean(text[0] == 't');
	case DF_CELL_NUMBER:
	case DF_CELL_OTHER: {
		json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
		return v ? v : json_string(text);
	}
	default:
		return json_stringn(c->s, c->len);
	}
}

static int print_json(const struct df_answer *a)
{
	puts("[");
	for (size_t r = 0; r < a->n_rows; r++) {
		json_t *o = json_object();
		for (size_t c = 0; c < a->n_cols; c++) {
			DF_FREE char *name = df_xalloc(a->col[c].len + 1);
			memcpy(name, a->col[c].s, a->col[c].len);
			json_object_set_new(
				o, name,
				json_cell(df_answer_cell(a, r, (int)c)));
		}
		json_dumpf(o, stdout, JSON_COMPACT);
		json_decref(o);
		puts(r + 1 < a->n_rows ? "," : "");
	}
	puts("]");
	return 0;
}

/* ---- --csv: RFC 4180; NULL is an empty field, '' is "" */

static void csv_cell(const struct df_cell *c)
{
	bool quote = c->type == DF_CELL_TEXT && !c->len;

	if (c->type == DF_CELL_NULL)
		return;
	for (size_t i = 0; i < c->len && !quote; i++)
		quote = strchr(",\"\r\n", c->s[i]) != NULL;
	if (!quote) {
		fwrite(c->s, 1, c->len, stdout);
		return;
	}
	putchar('"');
	for (size_t i = 0; i < c->len; i++) {
		if (c->s[i] == '"')
			putchar('"');
		putchar(c->s[i]);
	}
	putchar('"');
}

static int print_csv(const struct df_answer *a)
{
	for (size_t r = 0; r <= a->n_rows; r++) {
		for (size_t c = 0; c < a->n_cols; c++) {
			if (c)
				putchar(',');
			csv_cell(r ? df_answer_cell(a, r - 1, (int)c)
				   : &a->col[c]);
		}
		puts("");
	}
	return 0;
}

/* ---- --table: for people; long cells are cut, control bytes shown as '?' */

/* Characters of UTF-8, which is about what a terminal shows. */
static int cell_width(const struct df_cell *c)
{
	int n = 0;

	if (c->type == DF_CELL_NULL)
		return 4;
	for (size_t i = 0; i < c->len; i++)
		n += ((unsigned char)c->s[i] & 0xc0) != 0x80;
	return DF_MIN(n, CELL_WIDTH);
}

static void table_cell(const struct df_cell *c, int width, bool last)
{
	int n = 0, max = cell_width(c);

	if (c->type == DF_CELL_NULL)
		n = printf("NULL");
	for (size_t i = 0; c->type != DF_CELL_NULL && i < c->len; i++) {
		unsigned char x = (unsigned char)c->s[i];
		bool first = (x & 0xc0) != 0x80;
		if (first && n == max)
			break;
		n += first;
		putchar(x < 0x20 || x == 0x7f ? (x == '\n' ? ' ' : '?') : x);
	}
	while (!last && n++ < width + 2)
		putchar(' ');
}

static int print_table(const struct df_answer *a)
{
	int *width = df_xalloc((a->n_cols + 1) * sizeof(*width));

	for (size_t c = 0; c < a->n_cols; c++) {
		width[c] = cell_width(&a->col[c]);
		for (size_t r = 0; r < a->n_rows; r++)
			width[c] = DF_MAX(width[c], cell_width(df_answer_cell(
							    a, r, (int)c)));
	}
	for (size_t r = 0; r <= a->n_rows; r++) {
		for (size_t c = 0; c < a->n_cols; c++)
			table_cell(r ? df_answer_cell(a, r - 1, (int)c)
				     : &a->col[c],
				   width[c], c + 1 == a->n_cols);
		puts("");
		for (size_t c = 0; !r && c < a->n_cols; c++)
			printf("%.*s%s", width[c],
			       "--------------------------------------------"
			       "----------------",
			       c + 1 < a->n_cols ? "  " : "\n");
	}
	printf("(%zu row%s)\n", a->n_rows, a->n_rows == 1 ? "" : "s");
	free(width);
	return 0;
}

/* ---- */

static int query(struct df_query_args *a, const char *sql)
{
	struct df_answer answer;
	struct df_stmt s;

	int status = df_query_open(a);
	if (status)
		return status;
	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "%s", sql);
	int err = df_query_run(a, &s, "query", &answer);
	if (err)
		return df_query_failed(a, err);
	if (df_query_flag(a, "json"))
		print_json(&answer);
	else if (df_query_flag(a, "csv") ||
		 (!df_query_flag(a, "table") && !isatty(STDOUT_FILENO)))
		print_csv(&answer);
	else
		print_table(&answer);
	df_answer_release(&answer);
	return DF_EXIT_OK;
}

int df_cmd_query(int argc, char **argv)
{
	static const char *const flags[] = { "json", "csv", "table", NULL };
	struct df_query_args a = { .flags = flags };

	int status = df_query_parse(&a, argc, argv, 2, 2,
				    "a table and one SQL statement in quotes");
	if (!status && a.given[0] + a.given[1] + a.given[2] > 1)
		status = df_usage("query", "query: --json, --csv and --table "
					   "exclude each other");
	if (!status)
		status = query(&a, a.word[1]);
	df_query_close(&a);
	return status;
}
