/*
 * gc.c - gc: delete packs that nothing refers to any more.
 *
 * Safe beside live mounts because a writer whose upload is older than 7 days
 * looks for it again before it commits (merge-rules E9): a pack goes only when
 * this command saw it unreferenced, and sees it so again 14 days later, by the
 * server's clock.  What was seen when is kept in the cache directory of the
 * user.  Packs have no date of their own.
 *
 * The same bytes may be put again while we delete them: after each batch the
 * log is looked at once more, and what a new row refers to is put back.
 *
 * Rows of the log are no business of gc: whoever writes a checkpoint deletes
 * the rows that it has covered for a day.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cache/view_fsck.h"
#include "tools/cmd.h"
#include "tools/import_vol.h"
#include "tools/place.h"
#include "tools/query_cmd.h"

#define RETENTION_MS (14 * DF_DAY_MS)
#define BATCH_BYTES ((uint64_t)32 << 20)
#define LIST_MS 300000
#define PACK_MS 300000
#define POLL_WAIT_MS 60000
#define PAGE_ROWS 100

struct seen {
	struct df_id id;
	int64_t since_ms;
};

struct gc {
	struct df_query_args *a;
	struct df_remote *raw; /* not owned: without the volume's wrapping */
	struct df_side side;
	int64_t now_ms, older_ms;
	struct df_id *refs; /* owned; sorted */
	size_t n_refs;
	size_t n_rows;    /* of the log, when refs were collected */
	struct seen *old; /* owned; sorted: the last run's */
	size_t n_old;
	struct seen *now; /* owned: unreferenced in this one */
	uint64_t *sizes;  /* owned; of now */
	size_t n_now;
	uint64_t deleted, deleted_bytes, back;
};

static int id_cmp(const void *a, const void *b)
{
	return df_id_cmp(a, b);
}

/* ---- what is referred to */
static int row_refs(struct gc *g, struct df_fsck_pieces *p)
{
	struct df_idepoch_list all = { 0 };
	struct df_id ids[PAGE_ROWS];
	int64_t date = 0;
	int err = g->raw->ops->rows_list(g->raw, LIST_MS, &all, &date);

	for (size_t i = 0; i < all.n && !err; i += PAGE_ROWS) {
		struct df_rows rows = { 0 };
		size_t n = DF_MIN(all.n - i, (size_t)PAGE_ROWS);
		for (size_t k = 0; k < n; k++)
			ids[k] = all.v[i + k].id;
		err = g->raw->ops->rows_get(g->raw, ids, n, LIST_MS, &rows);
		for (size_t k = 0; k < rows.n && !err; k++)
			err = df_fsck_row_pieces(g->side.vol, &rows.row[k], p);
		if (!err && (rows.refused || rows.n < n))
			err = df_fail(DF_ECORRUPT,
				      "the log has rows that "
				      "cannot be read: run 'deeplake fsck %s' "
				      "first; nothing is deleted",
				      g->a->word[0]);
		df_rows_release(&rows);
	}
	g->now_ms = date;
	g->n_rows = all.n;
	free(all.v);
	return err;
}

/* Every pack that a register, a commit or a checkpoint needs. */
static int collect(struct gc *g)
{
	struct df_fsck_pieces p;
	int err = df_fsck_pieces(g->side.vol, &p);

	if (!err && p.n_broken)
		err = df_fail(DF_ECORRUPT,
			      "extent maps cannot be read: run "
			      "'deeplake fsck %s' first; nothing is deleted",
			      g->a->word[0]);
	if (!err)
		err = row_refs(g, &p);
	g->refs = df_xrealloc(g->refs, p.n + 1, sizeof(*g->refs));
	g->n_refs = 0;
	for (size_t i = 0; i < p.n; i++)
		if (!g->n_refs ||
		    df_id_cmp(&g->refs[g->n_refs - 1], &p.v[i].p.pack))
			g->refs[g->n_refs++] = p.v[i].p.pack;
	if (g->n_refs)
		qsort(g->refs, g->n_refs, sizeof(*g->refs), id_cmp);
	df_fsck_pieces_release(&p);
	return err;
}

static bool is_referred(const struct gc *g, const struct df_id *id)
{
	return g->n_refs &&
	       bsearch(id, g->refs, g->n_refs, sizeof(*g->refs), id_cmp);
}

/* ---- what was seen before */
static char *memory_path(const struct gc *g)
{
	const struct df_table_conf *t = &g->a->account.table;
	DF_FREE char *dir = df_place_cache_dir(t->api_url, t->org, t->workspace,
					       t->table, "gc-seen", 0);

	if (!dir || df_mkdir_p(dir, 0700))
		return NULL;
	return df_strf("%s/seen", dir);
}

static void load_seen(struct gc *g, const char *path)
{
	struct df_buf b;
	size_t size = 0;

	df_buf_init(&b, 64 << 20);
	if (!df_file_read(path, &b)) {
		char *save = NULL;
		df_buf_cstr(&b);
		for (char *line = strtok_r((char *)b.data, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save)) {
			struct seen s;
			char *end = NULL;
			if (strlen(line) < 34 || line[32] != ' ')
				continue;
			line[32] = 0;
			s.since_ms = strtoll(line + 33, &end, 10);
			if (df_id_parse(line, &s.id) || *end || !s.since_ms)
				continue;
			DF_GROW(g->old, g->n_old, size);
			g->old[g->n_old++] = s;
		}
	}
	if (g->n_old)
		qsort(g->old, g->n_old, sizeof(*g->old), id_cmp);
	df_buf_release(&b);
}

static int save_seen(const struct gc *g, const char *path)
{
	struct df_buf b;
	char hex[33];

	df_buf_init(&b, 0);
	for (size_t i = 0; i < g->n_now; i++) {
		df_id_hex(&g->now[i].id, hex);
		df_buf_printf(&b, "%s %lld\n", hex,
			      (long long)g->now[i].since_ms);
	}
	int err = b.err ? b.err : df_file_replace(path, b.data, b.len, 0600);
	df_buf_release(&b);
	return err ? df_fail(err, "%s", path) : 0;
}

static int find_unreferred(struct gc *g)
{
	struct df_idepoch_list packs = { 0 };
	int err = g->raw->ops->packs_list(g->raw, LIST_MS, &packs);

	g->now = df_xalloc((packs.n + 1) * sizeof(*g->now));
	g->sizes = df_xalloc((packs.n + 1) * sizeof(*g->sizes));
	for (size_t i = 0; i < packs.n && !err; i++) {
		const struct df_id *id = &packs.v[i].id;
		const struct seen *was =
			g->n_old ? bsearch(id, g->old, g->n_old,
					   sizeof(*g->old), id_cmp)
				 : NULL;
		if (is_referred(g, id))
			continue;
		g->sizes[g->n_now] = packs.v[i].epoch;
		g->now[g->n_now++] =
			(struct seen){ *id, was ? was->since_ms : g->now_ms };
	}
	free(packs.v);
	return err;
}

/* ---- deleting */
static bool may_go(const struct gc *g, size_t i)
{
	return g->now_ms - g->now[i].since_ms >= g->older_ms;
}

/* Until the volume has looked at the log after this moment. */
static int wait_poll(struct gc *g)
{
	int64_t from = df_clock_real_ns() / DF_NS_PER_MS;
	struct df_vol_status st;

	for (int ms = 0; ms < POLL_WAIT_MS; ms += 100) {
		df_vol_status(g->side.vol, &st);
		if (st.last_poll_ms > from)
			return 0;
		usleep(100 * 1000);
	}
	return df_fail(-ETIMEDOUT, "the log was not answered in time");
}

/* Has the log rows that collect() did not see? */
static int is_log_new(struct gc *g, bool *grew)
{
	struct df_idepoch_list all = { 0 };
	int err = g->raw->ops->rows_list(g->raw, LIST_MS, &all, NULL);

	/* A row deleted and one added at once: by a checkpoint's writer. */
	*grew = all.n != g->n_rows;
	free(all.v);
	return err;
}

static int put_back(struct gc *g, const struct df_id *ids, struct df_buf *bytes,
		    size_t n)
{
	bool grew = true;
	int err = is_log_new(g, &grew);

	if (!err && !grew)
		return 0;
	if (!err)
		err = wait_poll(g);
	if (!err)
		err = collect(g);
	for (size_t i = 0; i < n; i++) {
		/* when in doubt, all of them; what could not be read was
		 * nobody's */
		if (!bytes[i].len || (!err && !is_referred(g, &ids[i])))
			continue;
		int late = g->raw->ops->pack_put(g->raw, &ids[i], bytes[i].data,
						 bytes[i].len, PACK_MS);
		g->back++;
		g->deleted--;
		if (late)
			err = df_fail(late, "a pack could not be put back");
	}
	return err;
}

/* Of those that may go from *at on, one batch. */
static int delete_batch(struct gc *g, size_t *at)
{
	struct df_id ids[256];
	struct df_buf bytes[256];
	uint64_t sum = 0;
	size_t n = 0;
	int err = 0;

	for (; *at < g->n_now && n < DF_ARRAY_LEN(ids) && sum < BATCH_BYTES &&
	       !err;
	     (*at)++) {
		if (!may_go(g, *at))
			continue;
		ids[n] = g->now[*at].id;
		df_buf_init(&bytes[n], 0);
		err = g->raw->ops->pack_get(g->raw, &ids[n], 0, 0, PACK_MS,
					    &bytes[n]);
		if (err == -ENOENT || err == DF_ECORRUPT)
			err = 0; /* nothing to put back */
		sum += g->sizes[*at];
		n++;
	}
	if (!err && n)
		err = g->raw->ops->packs_delete(g->raw, ids, n, PACK_MS);
	if (!err && n) {
		g->deleted += n;
		g->deleted_bytes += sum;
		err = put_back(g, ids, bytes, n);
	}
	for (size_t i = 0; i < n; i++)
		df_buf_release(&bytes[i]);
	return err;
}

/* ---- */
static void say(const struct gc *g)
{
	uint64_t all = 0, can = 0, n = 0;
	char a[DF_SIZE_TEXT], b[DF_SIZE_TEXT];

	for (size_t i = 0; i < g->n_now; i++) {
		all += g->sizes[i];
		can += may_go(g, i) ? g->sizes[i] : 0;
		n += may_go(g, i);
	}
	printf("%s: %zu packs with %s are not referred to; %llu of them with "
	       "%s long enough to go\n",
	       g->a->word[0], g->n_now, df_size_text(all, a),
	       (unsigned long long)n, df_size_text(can, b));
}

static int gc(struct gc *g, bool really)
{
	DF_FREE char *path = memory_path(g);
	size_t at = 0;
	int err = collect(g);

	if (!err && !path)
		err = df_fail(-ENOENT, "no place to remember what was seen; "
				       "set HOME");
	if (!err && !g->now_ms)
		err = df_fail(-EPROTO, "the server tells no time, so nothing "
				       "can be said of the packs' age");
	if (err)
		return err;
	load_seen(g, path);
	err = find_unreferred(g);
	if (!err)
		err = save_seen(g, path);
	if (err)
		return err;
	say(g);
	if (!really) {
		puts("nothing was deleted: add --delete");
		return 0;
	}
	while (!err && at < g->n_now)
		err = delete_batch(g, &at);
	char size[DF_SIZE_TEXT];
	printf("%llu packs with %s deleted", (unsigned long long)g->deleted,
	       df_size_text(g->deleted_bytes, size));
	if (g->back)
		printf(", %llu put back", (unsigned long long)g->back);
	puts("");
	return err;
}

static int run(struct df_query_args *a, int64_t older_ms)
{
	struct gc g = { .a = a, .raw = a->remote, .older_ms = older_ms };
	struct df_query_args second = *a;

	second.remote = NULL;
	int err = df_table_probe(a->remote, LIST_MS);
	if (!err)
		err = df_table_open(&a->account.table, &second.remote);
	if (!err)
		err = df_side_open(&second, "gc", a->word[0], true, &g.side);
	if (second.remote) {
		second.remote->ops->stop(second.remote);
		second.remote->ops->free(second.remote);
	}
	if (!err)
		err = gc(&g, df_query_flag(a, "delete"));
	df_side_close(&g.side, 1000);
	free(g.refs);
	free(g.old);
	free(g.now);
	free(g.sizes);
	return df_exit_of(err);
}

int df_cmd_gc(int argc, char **argv)
{
	static const char *const flags[] = { "delete", "dry-run", NULL };
	int64_t older_ms = RETENTION_MS;
	struct df_query_args a = { .flags = flags, .age = &older_ms };

	int status = df_query_parse(&a, argc, argv, 1, 1, "one table");
	if (!status && df_query_flag(&a, "delete") &&
	    df_query_flag(&a, "dry-run"))
		status = df_usage("gc", "gc: --delete and --dry-run exclude "
					"each other");
	if (!status)
		status = df_query_open(&a);
	if (!status)
		status = run(&a, older_ms);
	df_query_close(&a);
	return status;
}
