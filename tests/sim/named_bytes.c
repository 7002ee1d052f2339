/*
 * named_bytes.c - scenarios by name: bytes, held files, the log; see sim.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "tests/sim/sim.h"

#define MIB (1 << 20)
#define HELD_SIZE (17 * MIB)

static bool there(struct node *nd, const char *path)
{
	df_nid nid = at_path(nd, path);

	if (nid)
		let_go(nd, nid);
	return nid != 0;
}

static void check_text(struct node *nd, const char *path, const char *text)
{
	char buf[SHOW_MAX];
	df_nid nid = at_path(nd, path);
	size_t got = 0;

	if (!nid)
		fail(nd->w, "n%u has no %s", nd->uid, path);
	must_be(nd->w, read_bytes(nd->v, nid, 0, buf, sizeof(buf), &got), 0,
		path);
	if (got != strlen(text) || memcmp(buf, text, got))
		fail(nd->w, "n%u: %s is \"%.*s\", not \"%s\"", nd->uid, path,
		     (int)got, buf, text);
	let_go(nd, nid);
}

static void put_held(struct node *nd, const char *path, char fill)
{
	char *data = malloc(HELD_SIZE);
	struct rng r = { (uint64_t)fill };

	if (!data)
		abort();
	for (size_t i = 0; i < HELD_SIZE; i += 8) {
		uint64_t x = rng_next(&r);

		memcpy(data + i, &x, 8);
	}
	do_create(nd, path, "");
	do_write(nd, path, 0, data, HELD_SIZE);
	free(data);
}

static void check_held(struct node *nd, const char *path, char fill)
{
	char *data = malloc(HELD_SIZE);
	struct rng r = { (uint64_t)fill };
	df_nid nid = at_path(nd, path);
	size_t got = 0;

	if (!data)
		abort();
	if (!nid)
		fail(nd->w, "n%u has no %s", nd->uid, path);
	must_be(nd->w, read_bytes(nd->v, nid, 0, data, HELD_SIZE, &got), 0,
		"read of a big file");
	must(nd->w, got == HELD_SIZE);
	for (size_t i = 0; i < HELD_SIZE; i += 8) {
		uint64_t x = rng_next(&r);

		if (memcmp(data + i, &x, 8))
			fail(nd->w, "%s differs at %zu", path, i);
	}
	let_go(nd, nid);
	free(data);
}

/* A big file misses the cut and so does what depends on it; the rest goes; it
 * goes itself after 30 s. */
static void run_held(struct world *w)
{
	two(w);
	do_create(A, "/target", "t0000001");
	do_create(A, "/part", "t0000002");
	meet(w);
	put_held(A, "/big", 1);
	do_create(A, "/small", "t0000003");
	node_push(A);
	node_poll(B, true);
	must(w, there(B, "/small"));
	must(w, !there(B, "/big"));
	do_rename(A, "/big", "/target", 0); /* a rename onto a name */
	do_append(A, "/small", "t0000004");
	node_push(A);
	node_poll(B, true);
	check_text(B, "/target", "t0000001"); /* never without its bytes */
	check_text(B, "/small", "t0000003t0000004");
	w->now_ms += DF_HELD_MS + 1000;
	node_push(A);
	node_poll(B, true);
	check_held(B, "/target", 1);
	must(w, !there(B, "/big"));
	meet(w);
	check_held(A, "/target", 1);
}

/* Killed while it is held: the table never has a name without its bytes, and
 * the node's own disk still has all of it. */
static void run_held_killed(struct world *w)
{
	two(w);
	put_held(A, "/big", 2);
	do_create(A, "/after", "t0000001");
	node_push(A);
	node_restart(A);
	check_held(A, "/big", 2);
	node_poll(B, true);
	must(w, !there(B, "/big"));
	must(w, there(B, "/after"));
	w->now_ms += DF_HELD_MS + 1000;
	node_push(A);
	w->now_ms += DF_HELD_MS + 1000;
	node_push(A);
	node_poll(B, true);
	check_held(B, "/big", 2);
}

struct sync_end {
	bool ran;
	int err;
};

static void sync_done(void *arg, int err)
{
	struct sync_end *e = arg;

	e->ran = true;
	e->err = err;
}

/* Unlinked while it is held and open: no cut has taken it, so that what is
 * written then is nobody's, after a crash too. */
static void run_held_unlinked(struct world *w)
{
	df_nid nid;

	two(w);
	put_held(A, "/big", 4);
	do_create(A, "/x", "t0000001");
	node_cut(A);
	nid = at_path(A, "/big");
	do_unlink(A, "/big");
	node_as(A);
	must_be(w, df_vol_write(A->v, nid, 0, "t0000002", TOK, 0, NULL, NULL),
		0, "write");
	node_restart(A);
	world_quiesce(w);
	must(w, !there(A, "/big") && there(A, "/x"));
	check_end(w);
}

/* Its own fsync does not wait 30 s. */
static void run_held_fsync(struct world *w)
{
	struct sync_end end = { 0 };
	df_nid nid;

	two(w);
	put_held(A, "/big", 3);
	node_push(A);
	node_poll(B, true);
	must(w, !there(B, "/big"));
	nid = at_path(A, "/big");
	must_be(w, df_vol_sync(A->v, nid, true, 60000, sync_done, &end),
		DF_EPARKED, "fsync");
	node_push(A);
	must(w, end.ran && !end.err);
	let_go(A, nid);
	node_poll(B, true);
	check_held(B, "/big", 3);
}

/* A plain poll asks only for what is new, and still finds what was late; what
 * was later than the overlap is found by the full listing. */
static void run_sent_watermark(struct world *w)
{
	uint64_t before;
	char path[16];

	two(w);
	for (int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "/f%d", i);
		do_create(A, path, "t0000001");
		node_push(A);
		w->now_ms += 1000;
		node_poll(B, false);
	}
	must(w, there(B, "/f19"));
	for (int i = 0; i < 40; i++) {
		w->now_ms += 2000;
		node_poll(B, false);
	}
	before = w->table.gave;
	node_poll(B, false);
	if (w->table.gave - before > 2)
		fail(w, "80 s after the last row a poll brings %llu rows",
		     (unsigned long long)(w->table.gave - before));
	/* late, but within the overlap */
	w->table.everything = false;
	do_create(A, "/late", "t0000002");
	node_push(A);
	do_create(B, "/other", "t0000003");
	for (int i = 0; i < DELAY_MS / 1000; i++) {
		w->now_ms += 1000;
		node_push(B);
		node_poll(B, false);
	}
	must(w, there(B, "/late"));
	/* later than that */
	do_create(A, "/very-late", "t0000004");
	node_push(A);
	w->table.row[w->table.n_rows - 1].made_ms += 100000;
	for (int i = 0; i < 130; i++) {
		w->now_ms += 1000;
		snprintf(path, sizeof(path), "/g%d", i);
		do_create(B, path, "t0000005");
		node_push(B);
		node_poll(B, false);
	}
	node_poll(B, true);
	must(w, there(B, "/very-late"));
}

static size_t newest_body(const struct world *w)
{
	return w->table.row[w->table.n_rows - 1].row.body_len;
}

/* "/log" is n lines of `width` bytes that begin with the tokens in order. */
static void check_lines(struct world *w, struct node *nd, unsigned n,
			unsigned width)
{
	char text[TOK + 1], got[TOK];
	size_t len;
	df_nid nid;

	node_poll(nd, true);
	nid = at_path(nd, "/log");
	for (unsigned i = 0; i <= n; i++) {
		must_be(w,
			read_bytes(nd->v, nid, (uint64_t)i * width, got, TOK,
				   &len),
			0, "read of the log");
		token_text(i + 1, text);
		if (len != (i < n ? TOK : 0) || memcmp(got, text, len))
			fail(w, "line %u is \"%.*s\"", i + 1, (int)len, got);
	}
	let_go(nd, nid);
}

/* A thousand writers of one file: a line's commit stays small. */
static void run_thousand_lives(struct world *w)
{
	char text[TOK + 1];
	size_t most = 0;

	w->unnoted = true;
	w->table.everything = true;
	node_new(w);
	A->skew_ms = 0;
	for (unsigned i = 0; i < 1000; i++) {
		node_stop(A); /* or each life would read all journals */
		node_open(A, NULL);
		token_text(token_new(w), text);
		do_append(A, "/log", text);
		w->now_ms += 2000;
		node_push(A);
		node_poll(A, false);
		if (newest_body(w) > most)
			most = newest_body(w);
		df_buf_reset(&w->trace);
	}
	fprintf(stderr, "1,000 lives: a commit is at most %zu bytes\n", most);
	if (most > 20000)
		fail(w, "a line's commit grew to %zu bytes", most);
	check_lines(w, A, 1000, TOK);
	check_lines(w, node_new(w), 1000, TOK);
}

/* A line a second for an hour, of bytes that do not compress to nothing. */
static void run_hour_of_log(struct world *w)
{
	char line[10 * TOK + 1];
	size_t most = 0;
	df_nid nid;

	w->unnoted = true;
	two(w);
	do_append(A, "/log", "");
	nid = at_path(A, "/log");
	for (unsigned i = 0; i < 3600; i++) {
		token_text(token_new(w), line);
		for (size_t k = TOK; k < 10 * TOK; k += TOK)
			snprintf(line + k, TOK + 1, "%08x",
				 (unsigned)rng_next(&w->rng));
		node_as(A);
		must_be(w,
			df_vol_write(A->v, nid, 0, line, 10 * TOK,
				     DF_WRITE_APPEND, NULL, NULL),
			0, "append");
		w->now_ms += 1000;
		node_push(A);
		node_poll(A, false);
		if (i % 16 == 0)
			node_fold(A); /* as its thread would long have done */
		if (newest_body(w) > most)
			most = newest_body(w);
		df_buf_reset(&w->trace);
	}
	let_go(A, nid);
	fprintf(stderr, "an hour: a commit is at most %zu bytes\n", most);
	if (most > 2000)
		fail(w, "a line's commit grew to %zu bytes", most);
	check_lines(w, A, 3600, 10 * TOK);
	check_lines(w, B, 3600, 10 * TOK);
}

/* Random writes, truncates and holes in one file, against an array. */
static void random_change(struct world *w, struct node *nd, char *want,
			  size_t *size, size_t most)
{
	size_t off = rng_below(&w->rng, (uint32_t)most);
	size_t len =
		1 + rng_below(&w->rng, rng_chance(&w->rng, 20) ? 200000 : 5000);
	char *data;

	if (len > most - off)
		len = most - off;
	if (rng_chance(&w->rng, 5)) {
		do_truncate(nd, "/f", off);
		if (off < *size)
			memset(want + off, 0, *size - off);
		*size = off;
		return;
	}
	data = malloc(len);
	if (!data)
		abort();
	for (size_t i = 0; i < len; i++)
		data[i] = (char)rng_next(&w->rng);
	do_write(nd, "/f", off, data, len);
	memcpy(want + off, data, len);
	if (off + len > *size)
		*size = off + len;
	free(data);
}

static void check_array(struct node *nd, const char *want, size_t size,
			size_t most)
{
	char *got = malloc(most + 1);
	df_nid nid = at_path(nd, "/f");
	size_t n = 0;

	if (!got)
		abort();
	must_be(nd->w, read_bytes(nd->v, nid, 0, got, most + 1, &n), 0,
		"read of the whole file");
	if (n != size)
		fail(nd->w, "n%u: %zu bytes instead of %zu", nd->uid, n, size);
	for (size_t i = 0; i < size; i++)
		if (got[i] != want[i])
			fail(nd->w, "n%u differs at %zu of %zu", nd->uid, i,
			     size);
	let_go(nd, nid);
	free(got);
}

static void run_extents(struct world *w)
{
	size_t most = 4 * MIB, size = 0;
	char *want = calloc(1, most);
	struct node *probe;

	if (!want)
		abort();
	two(w);
	do_create(A, "/f", "");
	for (int i = 0; i < 400; i++) { /* far over 64 extents */
		struct node *nd = w->nodes[i / 50 % 2];

		if (i % 50 == 0) {
			meet(w);
			check_array(nd, want, size, most);
		}
		random_change(w, nd, want, &size, most);
		if (i % 40 == 7)
			node_push(nd);
		if (i % 60 == 11)
			node_fold(nd);
		if (i % 90 == 23)
			node_restart(nd);
		if (i % 20 == 0)
			check_array(nd, want, size, most);
		df_buf_reset(&w->trace);
	}
	meet(w);
	check_array(A, want, size, most);
	check_array(B, want, size, most);
	probe = node_probe(w, NULL);
	check_array(probe, want, size, most);
	node_free(probe);
	free(want);
}

/* A map in pages, lines from two nodes, and a third node that renames it without
 * having read it: what it writes must not be the map that it did not load. */
static void run_paged_log(struct world *w)
{
	char want[200 * 4096 + 2 * TOK] = { 0 };
	struct node *c;

	two(w);
	do_create(A, "/log", "");
	for (size_t i = 0; i < 200; i++) { /* far over 64 extents */
		memset(want + i * 4096, 'a' + (int)(i % 26), 1000);
		do_write(A, "/log", i * 4096, want + i * 4096, 1000);
	}
	do_truncate(A, "/log", 200 * 4096);
	meet(w);
	memcpy(want + 200 * 4096, "t0000001t0000002", 2 * TOK);
	do_append(A, "/log", "t0000001");
	w->now_ms += 1000;
	do_append(B, "/log", "t0000002");
	node_push(A);
	node_push(B);
	c = node_new(w);
	node_poll(c, true);
	must(w, there(c, "/log"));
	do_rename(c, "/log", "/log.1", 0);
	meet(w);
	do_rename(c, "/log.1", "/f", 0);
	meet(w);
	for (unsigned i = 0; i < w->n_nodes; i++)
		check_array(w->nodes[i], want, sizeof(want), sizeof(want));
}

/* Far apart in 10 GiB: the map goes into pages, a write commits little. */
static void run_sparse(struct world *w)
{
	size_t rows, packs, sent = 0;
	uint64_t at[300];
	df_nid nid;

	two(w);
	do_create(A, "/f", "");
	do_truncate(A, "/f", UINT64_C(10) << 30);
	for (unsigned i = 0; i < 300; i++) {
		at[i] = (rng_next(&w->rng) % (UINT64_C(10) << 30)) & ~4095ULL;
		do_write(A, "/f", at[i], &at[i], sizeof(at[i]));
	}
	meet(w);
	rows = w->table.n_rows;
	packs = table_pack_bytes(&w->table);
	do_write(A, "/f", at[7], &at[7], sizeof(at[7]));
	node_push(A);
	for (size_t i = rows; i < w->table.n_rows; i++)
		sent += w->table.row[i].row.body_len;
	sent += table_pack_bytes(&w->table) - packs;
	if (sent > 64 << 10)
		fail(w, "8 bytes in 10 GiB: %zu bytes sent", sent);
	node_poll(B, true);
	nid = at_path(B, "/f");
	for (unsigned i = 0; i < 300; i++) {
		uint64_t got;
		size_t n;

		must_be(w, read_bytes(B->v, nid, at[i], &got, sizeof(got), &n),
			0, "read");
		if (n != sizeof(got) || got != at[i])
			fail(w, "at %llu: %llx", (unsigned long long)at[i],
			     (unsigned long long)got);
	}
	let_go(B, nid);
}

/* ---- the log */
static void run_not_kept(struct world *w)
{
	two(w);
	w->table.faults.not_kept = 100;
	do_create(A, "/f", "t0000001");
	node_push(A); /* acknowledged, and nothing of it is there */
	w->table.faults.not_kept = 0;
	node_poll(B, true);
	must(w, !there(B, "/f"));
	for (int i = 0; i < 12; i++) {
		w->now_ms += 3000;
		node_poll(A, false);
		node_cut(A);
		node_send(A);
	}
	node_poll(B, true);
	check_text(B, "/f", "t0000001");
}

static void run_pack_not_kept(struct world *w)
{
	static char want[200000], got[sizeof(want)];
	size_t n;

	two(w);
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (char)rng_below(&w->rng, 256);
	do_create(A, "/f", "");
	df_nid nid = at_path(A, "/f");
	w->table.faults.packs_lost = true;
	node_as(A);
	must_be(w,
		df_vol_write(A->v, nid, 0, want, sizeof(want), 0, NULL, NULL),
		0, "write");
	let_go(A, nid);
	node_push(A); /* the row is there; its pack is not */
	w->table.faults.packs_lost = false;
	node_poll(B, true);
	nid = at_path(B, "/f");
	must(w, read_bytes(B->v, nid, 0, got, sizeof(got), &n) != 0);
	for (int i = 0; i < 6; i++) {
		w->now_ms += 3000;
		node_send(A);
	}
	must_be(w, read_bytes(B->v, nid, 0, got, sizeof(got), &n), 0,
		"read of a pack that was sent again");
	must(w, n == sizeof(want) && !memcmp(want, got, n));
	let_go(B, nid);
}

static void run_lost_answer(struct world *w)
{
	size_t rows;

	two(w);
	rows = w->table.n_rows;
	w->table.faults.lost_answer = 100;
	do_append(A, "/log", "t0000001");
	node_cut(A);
	for (int i = 0; i < 5; i++)
		node_send(A);
	w->table.faults.lost_answer = 0;
	node_push(A);
	must(w, w->table.n_rows == rows + 1); /* the same row, by its id */
	w->table.faults.lost_answer = 100;
	do_append(A, "/log", "t0000002");
	node_cut(A);
	node_send(A);
	node_restart(A); /* found in the log, or sent again byte for byte */
	w->table.faults.lost_answer = 0;
	meet(w);
	check_text(B, "/log", "t0000001t0000002");
	check_text(A, "/log", "t0000001t0000002");
}

static void run_offline(struct world *w)
{
	two(w);
	do_create(A, "/f", "t0000001");
	meet(w);
	w->table.offline = true;
	do_append(A, "/f", "t0000002");
	w->now_ms += 1000;
	do_append(B, "/f", "t0000003");
	must(w, node_cut(A) == 1);
	must(w, node_send(A) == DF_EOFFLINE);
	must(w, node_poll(A, false) == DF_EOFFLINE);
	node_restart(A); /* its cache knows the volume */
	check_text(A, "/f", "t0000001t0000002");
	w->now_ms += 3600000;
	w->table.offline = false;
	meet(w);
	check_text(A, "/f", "t0000001t0000002t0000003");
	check_text(B, "/f", "t0000001t0000002t0000003");
}

/* A row that never shows is given up after a minute, and folded if it comes. */
static void run_gap(struct world *w)
{
	struct df_vol_status st;
	int64_t hidden = 100000000;
	size_t row;

	two(w);
	meet(w);
	w->table.everything = false;
	do_create(A, "/first", "t0000001");
	node_push(A);
	row = w->table.n_rows - 1;
	w->table.row[row].made_ms += hidden;
	do_create(A, "/second", "t0000002");
	node_cut(A);
	node_send(A);
	w->now_ms += DELAY_MS;
	node_poll(B, true);
	must(w, !there(B, "/second")); /* no effect without its cause */
	for (int i = 0; i < 4; i++) {
		w->now_ms += DF_GAP_MS / 2;
		node_poll(B, true);
	}
	must(w, there(B, "/second"));
	must(w, !there(B, "/first"));
	df_vol_status(B->v, &st);
	must(w, st.rows_skipped > 0);
	w->table.row[row].made_ms -= hidden;
	node_poll(B, true);
	check_text(B, "/first", "t0000001");
}

/* A row that was skipped is in the table by now, but nobody has told B: bytes
 * in it that a later row needs are an error until B polls, and no surprise. */
static void run_gap_of_bytes(struct world *w)
{
	int64_t hidden = 100000000;
	struct flat f;
	size_t row;

	two(w);
	do_create(A, "/f", "t0000001");
	meet(w);
	w->table.everything = false;
	do_append(A, "/f", "t0000002");
	node_push(A);
	row = w->table.n_rows - 1;
	w->table.row[row].made_ms += hidden;
	do_append(A, "/f", "t0000003");
	node_cut(A);
	node_send(A);
	w->now_ms += DELAY_MS;
	for (int i = 0; i < 4; i++) {
		node_poll(B, true);
		w->now_ms += DF_GAP_MS / 2;
	}
	for (int i = 0; i < 2; i++) {
		flat_read(w, B, &f);
		must(w, f.n == 1 && f.e[0].lost);
		flat_release(&f);
		if (!i)
			w->table.row[row].made_ms -= hidden;
	}
	node_poll(B, true);
	check_text(B, "/f", "t0000001t0000002t0000003");
}

static void check_new_mount(struct world *w)
{
	struct node *probe = node_probe(w, NULL);
	struct flat a, x;

	flat_read(w, A, &a);
	flat_read(w, probe, &x);
	flat_same(w, &a, &x, CMP_SHAPE | CMP_TIMES | CMP_LINKS,
		  "a mount from the checkpoint differs");
	flat_release(&a);
	flat_release(&x);
	node_free(probe);
}

/* Two days on. */
static void checkpoint_later(struct node *nd)
{
	nd->w->now_ms += 2 * DF_DAY_MS;
	node_poll(nd, true);
	node_push(nd);
	node_as(nd);
	must_be(nd->w, df_step_checkpoint(nd->v), 0, "checkpoint");
}

/* A covered row holds the bytes of a file that was replaced here; who has not
 * heard of that is just going on with them. */
static void run_row_in_use(struct world *w)
{
	two(w);
	do_create(A, "/f", "t0000001");
	meet(w);
	checkpoint_later(A);
	meet(w);
	w->now_ms += 2 * DF_DAY_MS;
	meet(w);
	do_append(B, "/f", "t0000002");
	node_push(B);
	do_replace(A, "/f", "t0000003");
	node_push(A);
	node_as(A);
	must_be(w, df_step_checkpoint(A->v), 0, "checkpoint");
	meet(w);
	check_new_mount(w);
}

/* Whoever never read a map that is in pages does not know which rows hold the
 * packs that it names. */
static void run_rows_of_pages(struct world *w)
{
	char text[TOK + 1];

	two(w);
	w->unnoted = true; /* comparing cuts would read it */
	do_create(A, "/f", "");
	for (unsigned i = 0; i < 80; i++) {
		token_text(token_new(w), text);
		do_write(A, "/f", (uint64_t)i * TOK, text, TOK);
		node_push(A);
	}
	node_restart(B);
	for (unsigned i = 0; i < 3; i++) {
		do_append(B, "/other", "t0000002");
		checkpoint_later(B);
	}
	node_poll(A, true);
	check_new_mount(w);
}

static void run_checkpoint(struct world *w)
{
	char path[32], text[TOK + 1];

	two(w);
	do_mkdir(A, "/d");
	for (unsigned i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "/d/f%u", i);
		token_text(token_new(w), text);
		do_create(w->nodes[i % 2], path, text);
		if (i % 5 == 0)
			meet(w);
	}
	meet(w);
	node_as(A);
	must_be(w, df_step_checkpoint(A->v), 0, "checkpoint");
	meet(w);
	w->now_ms += 2 * DF_DAY_MS;
	meet(w);
	node_as(B);
	do_append(B, "/d/f1", "t0000001");
	meet(w);
	must_be(w, df_step_checkpoint(B->v), 0, "checkpoint");
	meet(w);
	checkpoint_later(B); /* who knows for a day that nothing points there */
	must(w, w->n_deleted > 0);
	check_new_mount(w);
}

const struct named named_bytes[] = {
	{ "held", run_held },
	{ "held-killed", run_held_killed },
	{ "held-unlinked", run_held_unlinked },
	{ "held-fsync", run_held_fsync },
	{ "sent-watermark", run_sent_watermark },
	{ "thousand-lives", run_thousand_lives },
	{ "hour-of-log", run_hour_of_log },
	{ "extents", run_extents },
	{ "paged-log", run_paged_log },
	{ "sparse", run_sparse },
	{ "acknowledged-not-kept", run_not_kept },
	{ "pack-not-kept", run_pack_not_kept },
	{ "lost-answer", run_lost_answer },
	{ "offline", run_offline },
	{ "gap", run_gap },
	{ "gap-of-bytes", run_gap_of_bytes },
	{ "row-in-use", run_row_in_use },
	{ "rows-of-pages", run_rows_of_pages },
	{ "checkpoint", run_checkpoint },
	{ NULL, NULL },
};
