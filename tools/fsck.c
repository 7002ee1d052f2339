/*
 * fsck.c - fsck: is everything in the table that the table says?
 *
 * Reads the log, then opens the volume in a cache of its own (which folds all
 * rows and checkpoints), then looks at the tree, at every pack that a register
 * names, and at the files view.  Nothing is deleted that cannot be made again:
 * --repair and --view write the view anew, all else is only reported.
 */
#include "tools/fsck.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "tools/cmd.h"
#include "tools/query_cmd.h"

#define PROBLEMS_MAX 10000 /* listed; more are counted */
#define PROBE_MS 30000

static void list(struct fsck *f, bool repaired, const char *kind,
		 const char *where, const char *what)
{
	if (f->n_problems >= PROBLEMS_MAX) {
		f->left_out++;
		return;
	}
	DF_GROW(f->problems, f->n_problems, f->size);
	struct fsck_problem *p = &f->problems[f->n_problems++];
	snprintf(p->kind, sizeof(p->kind), "%s", kind);
	p->where = df_xstrdup(where);
	p->what = df_xstrdup(what);
	p->repaired = repaired;
}

void fsck_say(struct fsck *f, bool repaired, const char *kind,
	      const char *where, const char *fmt, ...)
{
	va_list ap;
	char what[256];

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	f->unrepaired += !repaired;
	if (!f->json && f->n_problems < PROBLEMS_MAX)
		printf("%s: %s: %s%s\n", kind, where, what,
		       repaired ? " (repaired)" : "");
	list(f, repaired, kind, where, what);
}

void fsck_say_behind(struct fsck *f, const char *where, const char *what)
{
	f->behind++;
	list(f, f->repair_view, "view", where, what);
}

static void say_tree(void *arg, const char *path, const char *problem)
{
	fsck_say(arg, false, "tree", path, "%s", problem);
}

/* ---- the steps */
static int check_contents(struct fsck *f)
{
	struct df_fsck_pieces p;
	int err = df_fsck_pieces(f->side.vol, &p);

	f->files = p.n_objs;
	for (size_t i = 0; i < p.n_broken && !err; i++) {
		DF_FREE char *path = df_fsck_path(f->side.vol, p.broken[i]);
		fsck_say(f, false, "piece", path ? path : "?",
			 "its extent map cannot be read");
	}
	if (!err)
		err = fsck_packs(f, &p);
	df_fsck_pieces_release(&p);
	return err;
}

static void check_volume_state(struct fsck *f)
{
	struct df_vol_status st;

	df_vol_status(f->side.vol, &st);
	if (st.rows_waiting)
		fsck_say(f, false, "row", "the log",
			 "%llu rows wait for rows that are not there",
			 (unsigned long long)st.rows_waiting);
	if (st.failsafe)
		fsck_say(f, false, "row", "the log",
			 "the volume could not be put together");
}

static int check(struct fsck *f)
{
	/* The volume takes the connection along; rows are read on it first. */
	int err = f->repair_view && !f->repair ? 0 : fsck_log(f);
	struct df_query_args second = *f->a;

	if (err)
		return err;
	second.remote = NULL;
	err = df_table_open(&f->a->account.table, &second.remote);
	if (!err) {
		err = df_side_open(&second, "fsck", f->a->word[0], true,
				   &f->side);
		if (second.remote) {
			second.remote->ops->stop(second.remote);
			second.remote->ops->free(second.remote);
		}
	}
	if (err)
		return err;
	if (!f->repair_view || f->repair) {
		check_volume_state(f);
		df_fsck_tree(f->side.vol, say_tree, f);
		err = check_contents(f);
	}
	if (!err && f->a->account.table.view)
		err = fsck_view(f);
	return err;
}

/* ---- saying */
static void print_json(const struct fsck *f, int status)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->n_problems; i++) {
		const struct fsck_problem *p = &f->problems[i];
		json_array_append_new(
			list,
			json_pack("{s:s,s:s%,s:s,s:b}", "kind", p->kind,
				  "where", p->where, strlen(p->where), "what",
				  p->what, "repaired", (int)p->repaired));
	}
	json_t *o = json_pack(
		"{s:s,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "table",
		f->a->word[0], "status", status, "rows", (json_int_t)f->rows,
		"packs", (json_int_t)f->packs, "pieces", (json_int_t)f->pieces,
		"bytes", (json_int_t)f->bytes, "objects", (json_int_t)f->files,
		"view_rows", (json_int_t)f->view_rows, "view_behind",
		(json_int_t)f->behind, "problems_not_listed",
		(json_int_t)f->left_out, "problems", list);
	if (o) {
		json_dumpf(o, stdout, JSON_INDENT(2));
		puts("");
	}
	json_decref(o);
}

static int status_of(const struct fsck *f, int err)
{
	if (err)
		return FSCK_FAILED;
	if (f->unrepaired)
		return FSCK_LEFT;
	if (f->behind && !f->repair_view)
		return FSCK_BEHIND;
	return f->n_problems + f->left_out ? FSCK_REPAIRED : FSCK_CLEAN;
}

static void print_behind(const struct fsck *f)
{
	const char *t = f->a->word[0];
	unsigned long long n = f->behind;

	if (f->repair_view)
		printf("view: %llu rows were missing or old (repaired)\n", n);
	else if (n)
		printf("view: the files view is behind by %llu rows (missing "
		       "or old); no file is affected.  A mount of %s writes "
		       "those of the last 10 minutes, and its own; 'deeplake "
		       "fsck --view %s' writes all now\n",
		       n, t, t);
}

static int summary(const struct fsck *f, int err)
{
	int status = status_of(f, err);
	char size[DF_SIZE_TEXT];

	if (f->json) {
		print_json(f, status);
		return status;
	}
	if (f->behind)
		print_behind(f);
	if (f->left_out)
		printf("%llu more problems are not listed\n",
		       (unsigned long long)f->left_out);
	printf("%s: %llu rows, %llu objects, %llu packs with %s, %llu pieces, "
	       "%llu rows of the view: %s\n",
	       f->a->word[0], (unsigned long long)f->rows,
	       (unsigned long long)f->files, (unsigned long long)f->packs,
	       df_size_text(f->bytes, size), (unsigned long long)f->pieces,
	       (unsigned long long)f->view_rows,
	       status == FSCK_CLEAN      ? "clean"
	       : status == FSCK_REPAIRED ? "repaired"
	       : status == FSCK_LEFT     ? "errors left"
	       : status == FSCK_BEHIND   ? "clean, the view is behind"
					 : "could not be checked");
	return status;
}

static int fsck(struct df_query_args *a)
{
	struct fsck f = { .a = a };

	f.json = df_query_flag(a, "json");
	f.repair = df_query_flag(a, "repair");
	f.repair_view = f.repair || df_query_flag(a, "view");
	df_progress_start(&f.progress, "reading packs");
	int err = df_table_probe(a->remote, PROBE_MS);
	if (!err)
		err = check(&f);
	df_progress_stop(&f.progress);
	int status = summary(&f, err);
	df_side_close(&f.side, 1000);
	for (size_t i = 0; i < f.n_problems; i++) {
		free(f.problems[i].where);
		free(f.problems[i].what);
	}
	free(f.problems);
	return status;
}

int df_cmd_fsck(int argc, char **argv)
{
	static const char *const flags[] = { "json", "repair", "view", NULL };
	struct df_query_args a = { .flags = flags };

	int status = df_query_parse(&a, argc, argv, 1, 1, "one table");
	if (status)
		status = FSCK_USAGE;
	else if (df_query_open(&a))
		status = FSCK_FAILED;
	else
		status = fsck(&a);
	df_query_close(&a);
	return status;
}
