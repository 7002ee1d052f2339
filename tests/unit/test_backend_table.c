/* test_backend_table.c - a volume's tables, log and packs against a table
 * server in this process, both ours and one like the service. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/packs.h"
#include "backend/rows.h"
#include "backend/table.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include "backend_fake.h"

#define T_MS 30000

static struct df_table_conf conf_of(const struct fake *f)
{
	return (struct df_table_conf){ .api_url = f->script.url,
				       .token = "t.o.k",
				       .workspace = "ws",
				       .table = "vol",
				       .view = true };
}

static struct df_remote *open_table(const struct fake *f)
{
	struct df_table_conf conf = conf_of(f);
	struct df_remote *r;

	assert_int_equal(df_table_open(&conf, &r), 0);
	return r;
}

static void close_table(struct df_remote *r)
{
	r->ops->stop(r);
	r->ops->free(r);
}

static void create(struct fake *f, bool ours)
{
	struct df_table_conf conf;
	struct df_table_made made;

	fake_start(f, ours);
	conf = conf_of(f);
	assert_int_equal(df_table_create(&conf, T_MS, &made), 0);
	assert_true(made.created);
	assert_false(made.adopted);
	assert_int_equal(made.ours, ours);
	assert_int_equal(made.feed, ours);
}

static struct df_row make_row(uint64_t node, uint64_t seq, const char *body)
{
	struct df_row row = {
		.node = node, .seq = seq, .epoch = 3, .kind = DF_ROW_COMMIT
	};

	row.body = (uint8_t *)strdup(body);
	row.body_len = strlen(body);
	row.id = df_row_id(&row);
	return row;
}

static void put(struct df_remote *r, const struct df_row *row, uint64_t sent)
{
	struct df_ack ack;

	assert_int_equal(r->ops->row_put(r, row, sent, T_MS, &ack), 0);
	assert_true(ack.server_date_ms > INT64_C(1500000000000));
	assert_false(ack.already);
}

/* ---- making and dropping */

static void makes_and_finds(void **state)
{
	const bool *ours = *state;
	struct df_table_conf conf;
	struct df_table_made made;
	struct fake f;

	create(&f, *ours);
	conf = conf_of(&f);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol__log WHERE "
					"kind='format' AND node = "
					"'0000000000000000'"),
			 1);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol__pack"), 0);
	assert_int_equal(df_table_create(&conf, T_MS, &made), 0);
	assert_false(made.created);
	assert_true(made.adopted);
	assert_int_equal(made.ours, *ours);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol__log"), 1);

	struct df_remote *r = open_table(&f);
	assert_false(r->caps.ours);
	assert_int_equal(df_table_probe(r, T_MS), 0);
	assert_int_equal(r->caps.ours, *ours);
	assert_int_equal(r->caps.feed, *ours);
	close_table(r);

	assert_int_equal(df_table_destroy(&conf, T_MS), 0);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM sqlite_master "
					"WHERE name LIKE 'vol%'"),
			 0);
	assert_int_equal(df_table_destroy(&conf, T_MS), -ENOENT);
	fake_stop(&f);
}

static void takes_the_clis_table(void **state)
{
	struct df_table_conf conf;
	struct df_table_made made;
	struct fake f;

	(void)state;
	fake_start(&f, false);
	fake_exec(&f, "CREATE TABLE vol (_id TEXT, content BYTEA, content_text "
		      "TEXT, filename TEXT, mime_type TEXT, path TEXT, "
		      "size_bytes BIGINT, updated_at TEXT)");
	conf = conf_of(&f);
	f.fail_posts = 2; /* scaling */
	assert_int_equal(df_table_create(&conf, T_MS, &made), 0);
	assert_true(made.created);
	assert_true(made.adopted);
	fake_stop(&f);
}

static void leaves_foreign_tables(void **state)
{
	struct df_table_conf conf;
	struct df_table_made made;
	struct fake f;

	(void)state;
	fake_start(&f, true);
	fake_exec(&f, "CREATE TABLE vol (id TEXT, summary TEXT)");
	conf = conf_of(&f);
	assert_int_equal(df_table_create(&conf, T_MS, &made), -EEXIST);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM sqlite_master "
					"WHERE type='table'"),
			 1);
	fake_stop(&f);
}

static void refuses_newer_formats(void **state)
{
	struct df_row row = { .kind = DF_ROW_FORMAT };
	struct df_ack ack;
	struct fake f;

	(void)state;
	create(&f, true);
	struct df_remote *r = open_table(&f);
	row.body = (uint8_t *)strdup("{\"format\":2}");
	row.body_len = strlen((char *)row.body);
	row.id = df_row_id(&row);
	assert_int_equal(r->ops->row_put(r, &row, 0, T_MS, &ack), 0);
	df_row_release(&row);
	assert_int_equal(df_table_probe(r, T_MS), DF_EFORMAT);
	struct df_rows rows;
	assert_int_equal(r->ops->rows_after(r, 0, 10, T_MS, &rows, NULL),
			 DF_EFORMAT);
	close_table(r);
	fake_stop(&f);
}

static void no_volume_is_enoent(void **state)
{
	struct df_rows rows;
	struct fake f;

	(void)state;
	fake_start(&f, true);
	struct df_remote *r = open_table(&f);
	assert_int_equal(df_table_probe(r, T_MS), -ENOENT);
	assert_int_equal(r->ops->rows_after(r, 0, 10, T_MS, &rows, NULL),
			 -ENOENT);
	close_table(r);
	fake_stop(&f);
}

static void checks_names(void **state)
{
	static const char *const bad[] = {
		"",
		"1a",
		"-a",
		"a b",
		"a\"b",
		"a.b",
		"a;",
		"\xc3\xa4",
		"a23456789012345678901234567890123456789012345678901234567"
	};

	(void)state;
	for (size_t i = 0; i < DF_ARRAY_LEN(bad); i++)
		assert_int_equal(df_table_check_name(bad[i]), -EINVAL);
	assert_int_equal(df_table_check_name("my_agent-data9"), 0);
}

/* ---- the log */

static void check_same(const struct df_row *a, const struct df_row *b)
{
	assert_int_equal(df_id_cmp(&a->id, &b->id), 0);
	assert_true(a->node == b->node && a->seq == b->seq &&
		    a->epoch == b->epoch && a->kind == b->kind);
	assert_memory_equal(&a->prev, &b->prev, sizeof(a->prev));
	assert_int_equal(a->n_deps, b->n_deps);
	if (a->n_deps)
		assert_memory_equal(a->deps, b->deps,
				    a->n_deps * sizeof(*a->deps));
	assert_int_equal(a->body_len, b->body_len);
	if (a->body_len)
		assert_memory_equal(a->body, b->body, a->body_len);
}

static void rows_come_back(void **state)
{
	const bool *ours = *state;
	struct df_row a = make_row(UINT64_MAX, 1, "first"), b;
	struct df_dep deps[20];
	struct df_rows rows;
	struct fake f;
	int64_t date = 0;

	create(&f, *ours);
	struct df_remote *r = open_table(&f);
	put(r, &a, 100);
	b = make_row(7, 2, "");
	b.prev = (struct df_dep){ a.id, 5 };
	for (size_t i = 0; i < 20; i++) {
		df_random(&deps[i].id, sizeof(deps[i].id));
		deps[i].epoch = i;
	}
	b.deps = deps;
	b.n_deps = 20;
	b.kind = DF_ROW_CHECKPOINT;
	b.id = df_row_id(&b);
	put(r, &b, 90);
	assert_int_equal(r->ops->rows_after(r, 0, 10, T_MS, &rows, &date), 0);
	assert_true(date > INT64_C(1500000000000));
	assert_int_equal(rows.n, 2);
	assert_int_equal(rows.refused, 0);
	assert_int_equal(rows.last_sent, 100);
	assert_false(rows.more);
	check_same(&rows.row[0], &b);
	check_same(&rows.row[1], &a);
	assert_int_equal(rows.row[0].sent, 90);
	df_rows_release(&rows);
	assert_int_equal(r->ops->rows_after(r, 90, 10, T_MS, &rows, NULL), 0);
	assert_int_equal(rows.n, 1);
	df_rows_release(&rows);
	b.deps = NULL;
	df_row_release(&a);
	df_row_release(&b);
	close_table(r);
	fake_stop(&f);
}

static void pages_never_cut_ties(void **state)
{
	static const uint64_t sent[] = { 1, 2, 2, 2, 2, 2, 3, 4, 4, 5 };
	size_t seen = 0;
	uint64_t after = 0;
	struct fake f;

	(void)state;
	create(&f, true);
	struct df_remote *r = open_table(&f);
	for (size_t i = 0; i < DF_ARRAY_LEN(sent); i++) {
		struct df_row row = make_row(1, i, "x");
		put(r, &row, sent[i]);
		df_row_release(&row);
	}
	for (bool more = true; more;) {
		struct df_rows rows;
		assert_int_equal(
			r->ops->rows_after(r, after, 3, T_MS, &rows, NULL), 0);
		more = rows.more;
		seen += rows.n;
		assert_true(!more || rows.last_sent > after);
		after = rows.last_sent;
		df_rows_release(&rows);
	}
	assert_int_equal(seen, DF_ARRAY_LEN(sent));
	close_table(r);
	fake_stop(&f);
}

static void refuses_bad_rows(void **state)
{
	struct df_row a = make_row(1, 1, "good"), b = make_row(1, 2, "bad");
	struct df_rows rows;
	struct fake f;

	(void)state;
	create(&f, false);
	struct df_remote *r = open_table(&f);
	put(r, &a, 10);
	put(r, &b, 20);
	fake_exec(&f, "UPDATE vol__log SET body = 'YmFk' || 'IQ==' WHERE "
		      "sent = '0000000000000014'");
	fake_exec(&f, "INSERT INTO vol__log (id, sent) VALUES ('../..', "
		      "'000000000000001e')");
	fake_exec(&f, "INSERT INTO vol__log SELECT body,deps,epoch,id,kind,"
		      "'000000000000000G',prev,'0000000000000020',seq FROM "
		      "vol__log WHERE sent = '000000000000000a'");
	assert_int_equal(r->ops->rows_after(r, 0, 10, T_MS, &rows, NULL), 0);
	assert_int_equal(rows.n, 1);
	assert_int_equal(rows.refused, 3);
	assert_int_equal(rows.last_sent, 0x20);
	df_rows_release(&rows);
	df_row_release(&a);
	df_row_release(&b);
	close_table(r);
	fake_stop(&f);
}

static void sends_again_without_harm(void **state)
{
	const bool *ours = *state;
	struct df_row a = make_row(1, 1, "x");
	struct df_idepoch_list list;
	struct df_ack ack;
	struct fake f;

	create(&f, *ours);
	struct df_remote *r = open_table(&f);
	put(r, &a, 1);
	assert_int_equal(r->ops->row_put(r, &a, 2, T_MS, &ack), 0);
	assert_int_equal(ack.already, *ours);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol__log WHERE "
					"kind='commit'"),
			 *ours ? 1 : 2);
	assert_int_equal(r->ops->rows_list(r, T_MS, &list, NULL), 0);
	assert_int_equal(list.n, 2); /* and the format row */
	free(list.v);
	df_row_release(&a);
	close_table(r);
	fake_stop(&f);
}

static void lists_gets_and_deletes(void **state)
{
	struct df_idepoch_list list;
	struct df_id ids[302];
	struct df_rows rows;
	struct fake f;

	create(&f, *(const bool *)*state);
	struct df_remote *r = open_table(&f);
	script_forget(&f.script);
	for (uint64_t i = 0; i < 300; i++) {
		struct df_row row = make_row(1, i + 1, "body");
		ids[i] = row.id;
		put(r, &row, i + 1);
		df_row_release(&row);
		script_forget(&f.script);
	}
	memset(&ids[300], 1, 2 * sizeof(ids[0])); /* not there */
	assert_int_equal(r->ops->rows_list(r, T_MS, &list, NULL), 0);
	assert_int_equal(list.n, 301);
	assert_true(list.v[0].epoch == 3 || list.v[0].epoch == 0);
	free(list.v);
	assert_int_equal(r->ops->rows_get(r, ids, 302, T_MS, &rows), 0);
	assert_int_equal(rows.n, 300);
	df_rows_release(&rows);
	assert_int_equal(r->ops->rows_delete(r, ids, 299, T_MS), 0);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol__log"), 2);
	close_table(r);
	fake_stop(&f);
}

/* What a listing lacks is taken for deleted: a lie of the server must not
 * shorten it. */
static void does_not_believe_an_empty_list(void **state)
{
	struct df_row a = make_row(1, 1, "x");
	struct df_idepoch_list list;
	struct fake f;

	(void)state;
	create(&f, false);
	struct df_remote *r = open_table(&f);
	put(r, &a, 1);
	/* The count is right, the page is empty; asked again it is whole. */
	f.empty_match = "ORDER BY id";
	f.empty = 1;
	assert_int_equal(r->ops->rows_list(r, T_MS, &list, NULL), 0);
	assert_int_equal(list.n, 2);
	free(list.v);
	f.empty = 100;
	assert_int_equal(r->ops->rows_list(r, T_MS, &list, NULL), DF_EOFFLINE);
	assert_null(list.v);
	free(list.v);
	df_row_release(&a);
	close_table(r);
	fake_stop(&f);
}

static void waits_for_the_format_row(void **state)
{
	struct fake f;

	(void)state;
	create(&f, false);
	struct df_remote *r = open_table(&f);
	f.empty = 2; /* 200 with no rows, twice */
	assert_int_equal(df_table_probe(r, T_MS), 0);
	close_table(r);
	fake_stop(&f);
}

static void feeds(void **state)
{
	struct df_row a = make_row(1, 1, "x");
	struct df_rows rows;
	struct fake f;

	(void)state;
	create(&f, true);
	struct df_remote *r = open_table(&f);
	put(r, &a, 1);
	assert_int_equal(r->ops->rows_feed(r, 0, 100, 1000, &rows, NULL), 0);
	assert_int_equal(rows.n, 2);
	assert_int_equal(rows.row[0].kind, DF_ROW_FORMAT);
	assert_int_equal(rows.row[1].n, 2);
	assert_int_equal(rows.last_n, 2);
	check_same(&rows.row[1], &a);
	df_rows_release(&rows);
	/* Behind a checkpoint the feed begins at the row's place. */
	assert_int_equal(r->ops->rows_get(r, &a.id, 1, T_MS, &rows), 0);
	assert_int_equal(rows.n, 1);
	assert_int_equal(rows.row[0].n, 2);
	df_rows_release(&rows);
	f.no_feed = true;
	assert_int_equal(r->ops->rows_feed(r, 0, 100, 1000, &rows, NULL),
			 -EOPNOTSUPP);
	assert_false(r->caps.feed);
	assert_true(r->caps.ours);
	df_row_release(&a);
	close_table(r);
	fake_stop(&f);
}

/* ---- packs */

static uint8_t *random_bytes(size_t len)
{
	uint8_t *p = malloc(len);

	assert_non_null(p);
	df_random(p, len);
	return p;
}

static void check_range(struct df_remote *r, const struct df_id *id,
			const uint8_t *data, uint64_t off, uint64_t len)
{
	struct df_buf out;

	df_buf_init(&out, 0);
	df_buf_put_str(&out, "head");
	assert_int_equal(r->ops->pack_get(r, id, off, len, T_MS, &out), 0);
	assert_int_equal(out.len, 4 + len);
	assert_memory_equal(out.data + 4, data + off, len);
	df_buf_release(&out);
}

static void packs_come_back(void **state)
{
	const bool *ours = *state;
	size_t len = 300001;
	uint8_t *data = random_bytes(len);
	struct df_id id = { { 1 } }, other = { { 2 } };
	struct df_buf out;
	struct fake f;

	create(&f, *ours);
	struct df_remote *r = open_table(&f);
	assert_int_equal(r->ops->pack_put(r, &id, data, len, T_MS), 0);
	assert_int_equal(r->ops->pack_put(r, &id, data, len, T_MS), 0);
	assert_int_equal(fake_count(&f, "SELECT count(*) FROM vol__pack"),
			 *ours ? 1 : 2);
	for (int round = 0; round < 2; round++) {
		static const uint64_t off[] = {
			0, 1, 2, 3, 4, 5, 299999, 100000
		};
		for (size_t i = 0; i < DF_ARRAY_LEN(off); i++) {
			check_range(r, &id, data, off[i], 1);
			check_range(r, &id, data, off[i], 2);
		}
		check_range(r, &id, data, 1000, 100000);
		check_range(r, &id, data, 0, len);
		df_buf_init(&out, 0);
		assert_int_equal(r->ops->pack_get(r, &id, 0, 0, T_MS, &out), 0);
		assert_int_equal(out.len, len);
		assert_memory_equal(out.data, data, len);
		df_buf_release(&out);
		f.no_substr = true; /* second round: whole rows */
	}
	df_buf_init(&out, 0);
	df_buf_put_str(&out, "head");
	assert_int_equal(r->ops->pack_get(r, &id, len - 1, 2, T_MS, &out),
			 DF_ECORRUPT);
	assert_int_equal(r->ops->pack_get(r, &other, 0, 0, T_MS, &out),
			 -ENOENT);
	fake_exec(&f, "UPDATE vol__pack SET data = 'AAA*' || data");
	assert_int_equal(r->ops->pack_get(r, &id, 0, 0, T_MS, &out),
			 DF_ECORRUPT);
	assert_int_equal(out.len, 4);
	df_buf_release(&out);
	free(data);
	close_table(r);
	fake_stop(&f);
}

static void a_big_pack_comes_in_parts(void **state)
{
	size_t len = 11000001;
	uint8_t *data = random_bytes(len);
	struct df_id id = { { 1 } };
	struct df_buf out;
	struct fake f;

	(void)state;
	create(&f, true);
	struct df_remote *r = open_table(&f);
	assert_int_equal(r->ops->pack_put(r, &id, data, len, T_MS), 0);
	script_forget(&f.script);
	df_buf_init(&out, 0);
	assert_int_equal(r->ops->pack_get(r, &id, 0, 0, T_MS, &out), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.data, data, len);
	assert_int_equal(script_n(&f.script), 4); /* one too big */
	df_buf_release(&out);
	check_range(r, &id, data, 4000001, 5000000);
	free(data);
	close_table(r);
	fake_stop(&f);
}

static void shrinks_packs(void **state)
{
	uint8_t *data = random_bytes(DF_PACK_FIRST);
	struct df_id id = { { 1 } };
	size_t len = DF_PACK_FIRST;
	struct fake f;
	int err;

	(void)state;
	create(&f, false);
	struct df_remote *r = open_table(&f);
	assert_int_equal(r->pack_max, DF_PACK_FIRST);
	f.statement_max = 200000;
	while ((err = r->ops->pack_put(r, &id, data, len, T_MS)) == -EFBIG &&
	       r->pack_max < len)
		len = r->pack_max;
	assert_int_equal(err, 0);
	assert_int_equal(len, DF_PACK_MIN);
	f.statement_max = 100000;
	assert_int_equal(r->ops->pack_put(r, &id, data, len, T_MS), -EFBIG);
	assert_int_equal(r->pack_max, DF_PACK_MIN);
	free(data);
	close_table(r);
	fake_stop(&f);
}

static void knows_which_packs(void **state)
{
	struct df_id ids[3] = { { { 1 } }, { { 2 } }, { { 3 } } };
	struct df_idepoch_list list;
	bool present[3];
	struct fake f;

	(void)state;
	create(&f, true);
	struct df_remote *r = open_table(&f);
	assert_int_equal(r->ops->pack_put(r, &ids[0], "abc", 3, T_MS), 0);
	assert_int_equal(r->ops->pack_put(r, &ids[2], "defg", 4, T_MS), 0);
	assert_int_equal(r->ops->packs_have(r, ids, 3, T_MS, present), 0);
	assert_true(present[0] && !present[1] && present[2]);
	assert_int_equal(r->ops->packs_list(r, T_MS, &list), 0);
	assert_int_equal(list.n, 2);
	assert_int_equal(list.v[1].epoch, 4);
	free(list.v);
	assert_int_equal(r->ops->packs_delete(r, ids, 3, T_MS), 0);
	assert_int_equal(r->ops->packs_have(r, ids, 3, T_MS, present), 0);
	assert_true(!present[0] && !present[1] && !present[2]);
	close_table(r);
	fake_stop(&f);
}

static void notices_read_only(void **state)
{
	struct df_row a = make_row(1, 1, "x");
	struct df_ack ack;
	struct df_rows rows;
	struct fake f;

	(void)state;
	create(&f, true);
	struct df_remote *r = open_table(&f);
	assert_int_equal(df_table_probe(r, T_MS), 0);
	assert_false(r->read_only);
	f.refuse_writes = 403; /* from now on: the first write tells */
	assert_int_equal(r->ops->row_put(r, &a, 1, T_MS, &ack), -EROFS);
	assert_true(r->read_only);
	close_table(r);
	r = open_table(&f); /* and from the start: the server says so */
	assert_int_equal(df_table_probe(r, T_MS), 0);
	assert_true(r->read_only);
	close_table(r);
	/* A mount's way: known when the feed, asked beside it, has answered. */
	r = open_table(&f);
	assert_int_equal(r->ops->learn(r, T_MS), 0);
	assert_true(r->caps.feed && !r->read_only);
	assert_int_equal(r->ops->rows_feed(r, 0, 100, 0, &rows, NULL), 0);
	assert_true(r->read_only);
	df_rows_release(&rows);
	df_row_release(&a);
	close_table(r);
	fake_stop(&f);
}

static void stop_ends_everything(void **state)
{
	struct df_rows rows;
	struct fake f;

	(void)state;
	create(&f, true);
	struct df_remote *r = open_table(&f);
	r->ops->stop(r);
	assert_int_equal(r->ops->rows_after(r, 0, 10, T_MS, &rows, NULL),
			 -ECANCELED);
	r->ops->free(r);
	fake_stop(&f);
}

/* ---- ids, by known answer: a changed hash would orphan every volume */

static void the_id_is_what_it_was(void **state)
{
	struct df_row row = make_row(0x1122334455667788, 9, "body");
	char hex[33];

	(void)state;
	row.prev.epoch = 1;
	memset(row.prev.id.b, 0xab, 16);
	struct df_dep dep = { row.prev.id, 2 };
	row.deps = &dep;
	row.n_deps = 1;
	row.id = df_row_id(&row);
	df_id_hex(&row.id, hex);
	assert_string_equal(hex, "12c13b2b260d57c08784386710794122");
	row.deps = NULL;
	df_row_release(&row);
}

int main(void)
{
	static bool yes = true, no = false;
#define BOTH(test)                             \
	cmocka_unit_test_prestate(test, &yes), \
		cmocka_unit_test_prestate(test, &no)
	const struct CMUnitTest tests[] = {
		BOTH(makes_and_finds),
		cmocka_unit_test(takes_the_clis_table),
		cmocka_unit_test(leaves_foreign_tables),
		cmocka_unit_test(refuses_newer_formats),
		cmocka_unit_test(no_volume_is_enoent),
		cmocka_unit_test(checks_names),
		BOTH(rows_come_back),
		cmocka_unit_test(pages_never_cut_ties),
		cmocka_unit_test(refuses_bad_rows),
		BOTH(sends_again_without_harm),
		BOTH(lists_gets_and_deletes),
		cmocka_unit_test(does_not_believe_an_empty_list),
		cmocka_unit_test(waits_for_the_format_row),
		cmocka_unit_test(feeds),
		BOTH(packs_come_back),
		cmocka_unit_test(a_big_pack_comes_in_parts),
		cmocka_unit_test(shrinks_packs),
		cmocka_unit_test(knows_which_packs),
		cmocka_unit_test(notices_read_only),
		cmocka_unit_test(stop_ends_everything),
		cmocka_unit_test(the_id_is_what_it_was),
	};

	df_log_open("/dev/null", "test");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
