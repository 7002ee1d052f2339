/*
 * table_live.c - backend/ against a table server that runs, through whatever
 * is in between.
 *
 *	table_live CREDENTIALS API_URL TABLE check
 *	table_live CREDENTIALS API_URL TABLE hammer THREADS ROUNDS TIMEOUT_MS
 *	table_live CREDENTIALS API_URL TABLE destroy
 *	table_live CREDENTIALS API_URL TABLE reader
 *	table_live CREDENTIALS API_URL TABLE speed MIB
 *
 * check: every operation once, answers compared.
 * hammer: THREADS writers put packs and rows ROUNDS times each, repeating what
 *	is not acknowledged; then all of it is read back and compared.
 * reader: the token may read and not write, and both sides know.
 * speed: MIB of random packs put and got, 3 at a time.
 * Prints one line of JSON; exit status 0 only if everything was right.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/creds.h"
#include "backend/filesview.h"
#include "backend/packs.h"
#include "backend/table.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define T_MS 60000

static int failures;

static void expect(bool ok, const char *what, long long got)
{
	if (ok)
		return;
	__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
	fprintf(stderr, "table_live: wrong: %s (%lld)\n", what, got);
}

static struct df_row make_row(uint64_t node, uint64_t seq, size_t len)
{
	struct df_row row = { .node = node,
			      .seq = seq,
			      .epoch = 1,
			      .kind = DF_ROW_COMMIT,
			      .body_len = len };

	row.body = malloc(len + 1);
	df_random(row.body, len);
	row.id = df_row_id(&row);
	return row;
}

static uint64_t now_stamp(void)
{
	return (uint64_t)(df_clock_real_ns() / DF_NS_PER_MS) << 16;
}

/* ---- check */

static void check_log(struct df_remote *r)
{
	struct df_row a = make_row(1, 1, 5000), b = make_row(2, 1, 0);
	uint64_t sent = now_stamp();
	struct df_idepoch_list list;
	struct df_ack ack;
	struct df_rows rows;
	int64_t date = 0;

	int err = r->ops->row_put(r, &a, sent, T_MS, &ack);
	expect(!err && ack.server_date_ms > 0, "row_put", err);
	err = r->ops->row_put(r, &b, sent + 1, T_MS, &ack);
	expect(!err, "row_put 2", err);
	err = r->ops->row_put(r, &a, sent + 2, T_MS, &ack);
	expect(!err && ack.already == r->caps.ours, "row_put again", err);
	err = r->ops->rows_after(r, sent - 1, 100, T_MS, &rows, &date);
	expect(!err && rows.n >= 2 && !rows.refused && date > 0, "rows_after",
	       (long long)rows.n);
	if (!err && rows.n >= 2)
		expect(!df_id_cmp(&rows.row[0].id, &a.id) &&
			       !memcmp(rows.row[0].body, a.body, a.body_len),
		       "rows_after order", 0);
	df_rows_release(&rows);
	err = r->ops->rows_list(r, T_MS, &list, NULL);
	expect(!err && list.n >= 3, "rows_list", (long long)list.n);
	free(list.v);
	struct df_id ids[3] = { a.id, b.id, { { 9 } } };
	err = r->ops->rows_get(r, ids, 3, T_MS, &rows);
	expect(!err && rows.n >= 2, "rows_get", (long long)rows.n);
	df_rows_release(&rows);
	if (r->caps.feed) {
		err = r->ops->rows_feed(r, 0, 1000, 0, &rows, NULL);
		expect(!err && rows.n >= 3 && rows.last_n >= 3, "rows_feed",
		       (long long)rows.n);
		uint64_t last = rows.last_n;
		df_rows_release(&rows);
		int64_t start = df_deadline_ms(0);
		err = r->ops->rows_feed(r, last, 10, 1000, &rows, NULL);
		int64_t ms = (df_deadline_ms(0) - start) / DF_NS_PER_MS;
		expect(!err && !rows.n && rows.last_n == last && ms >= 900,
		       "idle rows_feed waits", ms);
		df_rows_release(&rows);
	}
	err = r->ops->rows_delete(r, ids, 3, T_MS);
	expect(!err, "rows_delete", err);
	err = r->ops->rows_get(r, ids, 3, T_MS, &rows);
	expect(!err && !rows.n, "rows_get after delete", (long long)rows.n);
	df_rows_release(&rows);
	df_row_release(&a);
	df_row_release(&b);
}

static void check_packs(struct df_remote *r)
{
	size_t len = 3000001;
	uint8_t *data = malloc(len);
	struct df_id id, none = { { 7 } };
	struct df_idepoch_list list;
	struct df_buf out;
	bool present[2];

	df_random(data, len);
	df_random(&id, sizeof(id));
	df_buf_init(&out, 0);
	int err = r->ops->pack_put(r, &id, data, len, T_MS);
	expect(!err, "pack_put", err);
	err = r->ops->pack_put(r, &id, data, len, T_MS);
	expect(!err, "pack_put again", err);
	err = r->ops->pack_get(r, &id, 0, 0, T_MS, &out);
	expect(!err && out.len == len && !memcmp(out.data, data, len),
	       "pack_get", err);
	static const size_t at[][2] = { { 0, 1 },
					{ 1, 1 },
					{ 2, 70000 },
					{ 2999999, 2 },
					{ 1234567, 1000000 } };
	for (size_t i = 0; i < DF_ARRAY_LEN(at); i++) {
		df_buf_reset(&out);
		err = r->ops->pack_get(r, &id, at[i][0], at[i][1], T_MS, &out);
		expect(!err && out.len == at[i][1] &&
			       !memcmp(out.data, data + at[i][0], at[i][1]),
		       "pack_get range", err);
	}
	err = r->ops->pack_get(r, &none, 0, 0, 2000, &out);
	expect(err == -ENOENT, "pack_get of none", err);
	struct df_id ids[2] = { id, none };
	struct df_pack_bytes two[2] = { { id, data, len },
					{ none, "small", 5 } };
	err = r->ops->packs_put(r, two, 2, T_MS);
	expect(!err, "packs_put", err);
	df_buf_reset(&out);
	err = r->ops->pack_get(r, &none, 0, 0, T_MS, &out);
	expect(!err && out.len == 5 && !memcmp(out.data, "small", 5),
	       "pack_get of the second", err);
	err = r->ops->packs_delete(r, &none, 1, T_MS);
	expect(!err, "packs_delete of one", err);
	err = r->ops->packs_have(r, ids, 2, T_MS, present);
	expect(!err && present[0] && !present[1], "packs_have", err);
	err = r->ops->packs_list(r, T_MS, &list);
	expect(!err && list.n >= 1, "packs_list", (long long)list.n);
	free(list.v);
	err = r->ops->packs_delete(r, ids, 2, T_MS);
	expect(!err, "packs_delete", err);
	err = r->ops->packs_have(r, ids, 2, T_MS, present);
	expect(!err && !present[0], "packs_have after delete", err);
	df_buf_release(&out);
	free(data);
}

static void check_view(struct df_remote *r)
{
	struct df_view_row rows[] = {
		{ .id = "df-1",
		  .path = "/a/b\xc3\xa9.txt",
		  .filename = "b\xc3\xa9.txt",
		  .content = "hi\n",
		  .content_len = 3,
		  .content_text = "hi\n",
		  .content_text_len = 3,
		  .mime_type = "text/plain",
		  .size_bytes = 3 },
		{ .id = "df-2",
		  .path = "/bin",
		  .filename = "bin",
		  .content = "\0\xff",
		  .content_len = 2,
		  .size_bytes = 2 },
		{ .id = "x-1",
		  .path = "/foreign",
		  .filename = "foreign",
		  .content = "\0\xfe",
		  .content_len = 2,
		  .size_bytes = 2 },
	};
	struct df_view_page page;

	int err = r->ops->view_apply(r, rows, 3, T_MS);
	expect(!err, "view_apply", err);
	err = r->ops->view_apply(r, rows, 3, T_MS);
	expect(!err, "view_apply again", err);
	err = r->ops->view_foreign(r, NULL, 100, T_MS, &page);
	expect(!err && page.n == 1 && !page.refused && !page.more &&
		       !strcmp(page.v[0].path, "/foreign") &&
		       page.v[0].len == 2 &&
		       !memcmp(page.v[0].data, "\0\xfe", 2),
	       "view_foreign", (long long)page.n);
	df_view_page_release(&page);
	for (int i = 0; i < 3; i++)
		rows[i].removed = true;
	err = r->ops->view_apply(r, rows, 3, T_MS);
	expect(!err, "view_apply of removed", err);
	err = r->ops->view_foreign(r, NULL, 100, T_MS, &page);
	expect(!err && page.n == 0, "view_foreign of none", err);
	df_view_page_release(&page);
}

static void check_reader(struct df_remote *r)
{
	struct df_row row = make_row(1, 1, 10);
	struct df_rows rows;
	struct df_ack ack;
	int err = r->ops->rows_after(r, 0, 10, T_MS, &rows, NULL);

	expect(!err, "reader: rows_after", err);
	expect(r->read_only, "reader: read_only", 0);
	df_rows_release(&rows);
	r->read_only = false;
	err = r->ops->row_put(r, &row, now_stamp(), T_MS, &ack);
	expect(err == -EROFS && r->read_only, "reader: row_put", err);
	err = r->ops->pack_put(r, &row.id, "x", 1, T_MS);
	expect(err == -EROFS, "reader: pack_put", err);
	df_row_release(&row);
}

/* ---- hammer */

struct writer {
	struct df_remote *r;
	pthread_t thread;
	uint64_t node;
	unsigned rounds, repeats;
	int64_t timeout_ms;
	struct df_id *rows, *packs;
};

static void put_pack(struct writer *w, unsigned i)
{
	size_t len = 20000 + i * 7001 % 200000;
	uint8_t *data = malloc(len);
	int err;

	memset(data, (int)(w->node * 31 + i), len);
	df_random(&w->packs[i], sizeof(w->packs[i]));
	while ((err = w->r->ops->pack_put(w->r, &w->packs[i], data, len,
					  w->timeout_ms)) == -EAGAIN ||
	       err == DF_EOFFLINE)
		w->repeats++;
	expect(!err, "hammer: pack_put", err);
	free(data);
}

static void *hammer_thread(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < w->rounds; i++) {
		struct df_row row = make_row(w->node, i + 1, 3000);
		struct df_ack ack;
		int err;
		put_pack(w, i);
		w->rows[i] = row.id;
		while ((err = w->r->ops->row_put(w->r, &row, now_stamp(),
						 w->timeout_ms, &ack)) ==
			       -EAGAIN ||
		       err == DF_EOFFLINE)
			w->repeats++;
		expect(!err, "hammer: row_put", err);
		df_row_release(&row);
	}
	return NULL;
}

static bool has_id(const struct df_rows *rows, const struct df_id *id)
{
	for (size_t i = 0; i < rows->n; i++)
		if (!df_id_cmp(&rows->row[i].id, id))
			return true;
	return false;
}

/* A bad day's server shows rows late, or none: ask for a while. */
#define ASKS 40
static const struct timespec ask_pause = { .tv_nsec = 250 * DF_NS_PER_MS };

static void verify_rows(struct df_remote *r, const struct writer *w)
{
	unsigned found = 0;
	int err = 0;

	for (int k = 0; k < ASKS && found < w->rounds; k++) {
		struct df_rows rows;
		if (k)
			nanosleep(&ask_pause, NULL);
		err = r->ops->rows_get(r, w->rows, w->rounds, T_MS, &rows);
		expect(!rows.refused, "hammer: rows refused",
		       (long long)rows.refused);
		found = 0;
		for (unsigned i = 0; i < w->rounds; i++)
			found += has_id(&rows, &w->rows[i]);
		df_rows_release(&rows);
	}
	expect(!err && found == w->rounds, "hammer: rows lost",
	       (long long)w->rounds - found);
}

static void verify_pack(struct df_remote *r, const struct writer *w, unsigned i)
{
	size_t len = 20000 + i * 7001 % 200000;
	struct df_buf out;
	int err = 0;

	df_buf_init(&out, 0);
	for (int k = 0; k < ASKS; k++) {
		if (k)
			nanosleep(&ask_pause, NULL);
		err = r->ops->pack_get(r, &w->packs[i], 0, 0, T_MS, &out);
		if (err != DF_EOFFLINE && err != -ENOENT)
			break;
	}
	expect(!err && out.len == len, "hammer: pack lost", err);
	for (size_t k = 0; k < out.len; k++)
		if (out.data[k] != (uint8_t)(w->node * 31 + i)) {
			expect(false, "hammer: pack wrong", i);
			break;
		}
	df_buf_release(&out);
}

static void verify(struct df_remote *r, const struct writer *w)
{
	verify_rows(r, w);
	for (unsigned i = 0; i < w->rounds; i++)
		verify_pack(r, w, i);
}

static void hammer(struct df_remote *r, unsigned threads, unsigned rounds,
		   int64_t timeout_ms)
{
	struct writer *w = calloc(threads, sizeof(*w));
	unsigned repeats = 0;

	for (unsigned i = 0; i < threads; i++) {
		w[i] = (struct writer){ .r = r,
					.node = i + 10,
					.rounds = rounds,
					.timeout_ms = timeout_ms,
					.rows = calloc(rounds, DF_ID_LEN),
					.packs = calloc(rounds, DF_ID_LEN) };
		pthread_create(&w[i].thread, NULL, hammer_thread, &w[i]);
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(w[i].thread, NULL);
	for (unsigned i = 0; i < threads; i++) {
		verify(r, &w[i]);
		repeats += w[i].repeats;
		free(w[i].rows);
		free(w[i].packs);
	}
	free(w);
	fprintf(stderr, "table_live: %u calls repeated by the caller\n",
		repeats);
}

/* ---- speed */

struct mover {
	struct df_remote *r;
	pthread_t thread;
	struct df_id ids[256];
	unsigned n;
	const uint8_t *data;
	bool get;
};

static void *move_thread(void *arg)
{
	struct mover *m = arg;

	for (unsigned i = 0; i < m->n; i++) {
		struct df_buf out;
		df_buf_init(&out, 0);
		if (!m->get)
			df_random(&m->ids[i], DF_ID_LEN);
		int err = m->get ? m->r->ops->pack_get(m->r, &m->ids[i], 0, 0,
						       T_MS, &out)
				 : m->r->ops->pack_put(m->r, &m->ids[i],
						       m->data, DF_PACK_FIRST,
						       T_MS);
		expect(!err, "speed", err);
		df_buf_release(&out);
	}
	return NULL;
}

static double move(struct mover *m, bool get)
{
	int64_t start = df_deadline_ms(0);

	for (int i = 0; i < 3; i++) {
		m[i].get = get;
		pthread_create(&m[i].thread, NULL, move_thread, &m[i]);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(m[i].thread, NULL);
	double s = (double)(df_deadline_ms(0) - start) / 1e9;
	return 3.0 * m[0].n * (double)DF_PACK_FIRST / 1e6 / s;
}

static void speed(struct df_remote *r, unsigned mib)
{
	static struct mover m[3];
	uint8_t *data = malloc(DF_PACK_FIRST);

	df_random(data, DF_PACK_FIRST);
	for (int i = 0; i < 3; i++) {
		m[i].r = r;
		m[i].data = data;
		m[i].n = DF_MIN(mib / 12 + 1, 256u);
	}
	double put = move(m, false);
	double got = move(m, true);
	fprintf(stderr, "table_live: put %.0f MB/s, get %.0f MB/s\n", put, got);
	free(data);
}

/* ---- main */

static void print_health(struct df_remote *r)
{
	struct df_remote_health h;

	r->ops->health(r, &h);
	printf("{\"failures\": %d, \"requests\": %llu, \"retries\": %llu, "
	       "\"faults\": %llu, \"connects\": %llu, \"max_in_flight\": %u, "
	       "\"ours\": %s, \"feed\": %s, \"latency_ms\": %lld}\n",
	       failures, (unsigned long long)h.requests,
	       (unsigned long long)h.retries, (unsigned long long)h.faults,
	       (unsigned long long)h.connects, h.max_in_flight,
	       r->caps.ours ? "true" : "false", r->caps.feed ? "true" : "false",
	       (long long)r->latency_ms);
}

static unsigned number(const char *s)
{
	return (unsigned)strtoul(s, NULL, 10);
}

int main(int argc, char **argv)
{
	struct df_table_conf conf = { .view = true };
	struct df_table_made made;
	struct df_creds creds;
	struct df_remote *r;

	if (argc < 5)
		return 2;
	if (getenv("TABLE_LIVE_DEBUG"))
		df_log_set_level(DF_LOG_DEBUG);
	if (df_creds_load(argv[1], &creds))
		return 3;
	conf.api_url = *argv[2] ? argv[2] : creds.api_url;
	conf.token = creds.token;
	conf.org = creds.org_id;
	conf.workspace = creds.workspace;
	conf.table = argv[3];
	if (strcmp(argv[4], "destroy") == 0)
		return df_table_destroy(&conf, T_MS) ? 1 : 0;
	if (df_table_create(&conf, T_MS, &made) || df_table_open(&conf, &r))
		return 1;
	if (strcmp(argv[4], "hammer") == 0 && argc == 8) {
		hammer(r, number(argv[5]), number(argv[6]), number(argv[7]));
	} else if (strcmp(argv[4], "speed") == 0 && argc == 6) {
		speed(r, number(argv[5]));
	} else if (strcmp(argv[4], "reader") == 0) {
		check_reader(r);
	} else {
		check_log(r);
		check_packs(r);
		check_view(r);
	}
	print_health(r);
	r->ops->stop(r);
	r->ops->free(r);
	df_creds_release(&creds);
	return failures ? 1 : 0;
}
