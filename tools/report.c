/* report.c - see report.h. */
#include "tools/report.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/progress.h"

static json_t *iso_time(int64_t real_ms)
{
	char text[40], day[24];
	time_t s = real_ms / 1000;
	struct tm tm;

	if (real_ms <= 0)
		return json_null();
	gmtime_r(&s, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03dZ", day, (int)(real_ms % 1000));
	return json_string(text);
}

static json_t *error_list(const struct df_vol_status *st)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < st->n_errors && list; i++)
		json_array_append_new(list, json_string(st->errors[i]));
	return list;
}

json_t *df_report_status(const struct df_control_conf *c,
			 const struct df_vol_status *st)
{
	char node[17];

	snprintf(node, sizeof(node), "%016llx", (unsigned long long)st->node);
	json_t *j = json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:i, s:s, s:s}",
			      "path", c->path, "table", c->table, "subdir",
			      c->subdir, "workspace", c->workspace, "server",
			      c->server, "pid", (int)getpid(), "node", node,
			      "cache_dir", c->cache_dir);
	json_t *now = json_pack(
		"{s:I, s:I, s:f, s:o, s:o, s:f, s:I, s:I, s:s, s:o}",
		"dirty_bytes", (json_int_t)st->dirty_bytes, "dirty_files",
		(json_int_t)st->dirty_files, "oldest_unsent_s",
		st->oldest_unsent_s, "last_commit",
		iso_time(st->last_commit_ms), "last_poll",
		iso_time(st->last_poll_ms), "poll_interval_s",
		(double)st->poll_interval_ms / 1000, "cache_bytes",
		(json_int_t)st->cache_bytes, "cache_limit",
		(json_int_t)st->cache_limit, "fsync",
		st->fsync_local ? "local" : "remote", "errors", error_list(st));
	json_t *detail = json_pack(
		"{s:b, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
		" s:I, s:I}",
		"offline", st->offline, "feed", st->feed, "failsafe",
		st->failsafe, "read_only", st->read_only, "rows_as_files",
		st->rows, "epoch", (json_int_t)st->epoch, "rows_folded",
		(json_int_t)st->rows_folded, "rows_waiting",
		(json_int_t)st->rows_waiting, "rows_skipped",
		(json_int_t)st->rows_skipped, "rows_refused",
		(json_int_t)st->rows_refused, "held_files",
		(json_int_t)st->held_files, "packs_sent",
		(json_int_t)st->packs_sent, "bytes_sent",
		(json_int_t)st->bytes_sent, "bytes_fetched",
		(json_int_t)st->bytes_fetched);
	if (!j || !now || !detail || json_object_update(j, now) ||
	    json_object_update(j, detail)) {
		json_decref(j);
		j = NULL;
	}
	json_decref(now);
	json_decref(detail);
	return j;
}

json_t *df_report_silent(const char *path, const char *table,
			 const char *workspace, const char *state,
			 const char *why)
{
	json_t *errors = why ? json_pack("[s]", why) : json_array();

	return json_pack("{s:s, s:s, s:n, s:s?, s:n, s:n, s:i, s:i, s:f, s:n,"
			 " s:n, s:f, s:i, s:n, s:o, s:s}",
			 "path", path, "table", table, "subdir", "workspace",
			 workspace, "server", "pid", "dirty_bytes", 0,
			 "dirty_files", 0, "oldest_unsent_s", 0.0,
			 "last_commit", "last_poll", "poll_interval_s", 0.0,
			 "cache_bytes", 0, "fsync", "errors", errors, "state",
			 state);
}

/* ---- for people */

static const char *text_at(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static uint64_t number_at(const json_t *j, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(j, key));
}

static void print_unsent(FILE *out, const json_t *m)
{
	char size[DF_SIZE_TEXT];
	uint64_t bytes = number_at(m, "dirty_bytes");
	uint64_t files = number_at(m, "dirty_files");
	double age = json_number_value(json_object_get(m, "oldest_unsent_s"));

	if (!bytes && !files)
		fprintf(out, "  unsent       nothing: all is in the table\n");
	else
		fprintf(out,
			"  unsent       %s in %llu files, the oldest for "
			"%.1f s\n",
			df_size_text(bytes, size), (unsigned long long)files,
			age);
}

static void print_live(FILE *out, const json_t *m)
{
	char used[DF_SIZE_TEXT], limit[DF_SIZE_TEXT];
	double poll = json_number_value(json_object_get(m, "poll_interval_s"));
	const char *commit = text_at(m, "last_commit");
	const char *seen = text_at(m, "last_poll");

	fprintf(out, "  server       %s, workspace %s%s\n",
		text_at(m, "server"), text_at(m, "workspace"),
		json_is_true(json_object_get(m, "offline")) ? " (offline)"
							    : "");
	bool rows = json_is_true(json_object_get(m, "rows_as_files"));
	if (rows) {
		fprintf(out,
			"  rows         a file a row of a table that is no "
			"volume: read-only, it is never changed\n");
	} else {
		print_unsent(out, m);
		fprintf(out, "  last commit  %s\n",
			*commit ? commit : "none yet");
		fprintf(out, "  last poll    %s, every %.1f s%s\n",
			*seen ? seen : "none yet", poll,
			json_is_true(json_object_get(m, "feed")) ? " (feed)"
								 : "");
	}
	fprintf(out, "  cache        %s of %s in %s\n",
		df_size_text(number_at(m, "cache_bytes"), used),
		df_size_text(number_at(m, "cache_limit"), limit),
		text_at(m, "cache_dir"));
	if (!rows)
		fprintf(out, "  fsync        waits for %s\n",
			strcmp(text_at(m, "fsync"), "local") == 0
				? "this machine's disk only"
				: "the table");
}

void df_report_print(FILE *out, const json_t *m)
{
	const char *sub = text_at(m, "subdir");
	const json_t *pid = json_object_get(m, "pid");
	json_t *error;
	size_t i;

	fprintf(out, "%s  table %s%s%s  %s", text_at(m, "path"),
		text_at(m, "table"), *sub ? ":" : "", sub, text_at(m, "state"));
	if (json_is_integer(pid))
		fprintf(out, ", daemon %lld\n",
			(long long)json_integer_value(pid));
	else
		fputc('\n', out);
	if (json_is_integer(pid) && *text_at(m, "server"))
		print_live(out, m);
	json_array_foreach(json_object_get(m, "errors"), i, error)
		fprintf(out, "  error        %s\n", json_string_value(error));
}
