/*
 * test_cache_checkpoint.c - checkpoints on the real volume, against a table in
 * memory.  DF_CK_BENCH=N measures N objects instead of testing.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/checkpoint.h"
#include "cache/checkpoint_io.h"
#include "cache/inlinepack.h"
#include "cache/step.h"
#include "cache/worker.h"

#include "tests/unit/memtable.h"

/* ---- a mount */
struct node {
	struct df_vol *v;
	char dir[64];
};

static void wipe(const char *dir)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
}

static void reopen(struct node *nd, struct table *t, bool cold)
{
	struct link *l = df_xalloc(sizeof(*l));
	struct df_remote *r = &l->r;
	struct df_vol_conf conf = { .cache_dir = nd->dir,
				    .table = "t",
				    .cache_size = 256 << 20 };

	l->t = t;
	l->r.ops = &m_ops;
	l->r.pack_max = 4 << 20;
	l->r.latency_ms = 1;
	/* without a deadline nothing is read yet, as the mount of a sim node */
	assert_int_equal(df_step_open_fork(&conf, &r, &nd->v), 0);
	if (cold)
		assert_int_equal(df_checkpoint_cold(nd->v), 0);
	df_lock(&nd->v->lock);
	nd->v->must_rename = true;
	df_unlock(&nd->v->lock);
	assert_int_equal(df_step_poll(nd->v, true), 0);
}

static void node_open(struct node *nd, struct table *t, bool cold)
{
	strcpy(nd->dir, "/tmp/df-ck-XXXXXX");
	assert_non_null(mkdtemp(nd->dir));
	reopen(nd, t, cold);
}

static void node_close(struct node *nd)
{
	df_vol_free(nd->v);
	wipe(nd->dir);
}

static void sync_now(struct node *nd)
{
	int rc = df_step_cut(nd->v);

	assert_true(rc >= 0);
	if (rc)
		assert_int_equal(df_step_send(nd->v), 0);
	assert_int_equal(df_step_poll(nd->v, false), 0);
}

static const struct df_cred cred = { 1000, 1000, 022 };

static df_nid dir_at(struct node *nd, df_nid parent, const char *name)
{
	struct df_entry e;
	int err = df_vol_lookup(nd->v, parent, name, &e);

	if (err)
		err = df_vol_mkdir(nd->v, parent, name, 0755, &cred, &e);
	assert_int_equal(err, 0);
	return e.nid;
}

static df_nid make(struct node *nd, df_nid parent, const char *name,
		   const char *text)
{
	struct df_entry e;

	assert_int_equal(df_vol_mknod(nd->v, parent, name, S_IFREG | 0644, 0, 0,
				      &cred, &e),
			 0);
	if (text)
		assert_int_equal(df_vol_write(nd->v, e.nid, 0, text,
					      strlen(text), 0, NULL, NULL),
				 0);
	return e.nid;
}

/* ---- what a mount shows, as text */
struct listing {
	struct node *nd;
	struct df_buf *out;
	char path[512];
	bool texts;
};

struct found {
	struct df_dirent *v;
	size_t n, size;
};

static bool take(void *arg, const struct df_dirent *d)
{
	struct found *f = arg;

	DF_GROW(f->v, f->n, f->size);
	f->v[f->n++] = *d;
	return true;
}

static int by_name(const void *a, const void *b)
{
	const struct df_dirent *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void read_done(void *arg, int err, struct df_read *r)
{
	assert_int_equal(err, 0);
	*(struct df_read *)arg = *r;
}

static void put_text(struct listing *l, df_nid nid, uint64_t size)
{
	struct df_read r;
	char buf[4096];
	/* without threads a parked read has ended when the call returns */
	int err = df_vol_read(l->nd->v, nid, 0, size, &r, read_done, &r);

	assert_true(!err || err == DF_EPARKED);
	for (unsigned i = 0; i < r.n; i++) {
		size_t n = DF_MIN(r.src[i].len, sizeof(buf));
		memset(buf, 0, n);
		if (r.src[i].fd >= 0)
			assert_int_equal(
				pread(r.src[i].fd, buf, n, (off_t)r.src[i].pos),
				n);
		df_buf_put(l->out, buf, n);
	}
	df_vol_read_done(l->nd->v, &r);
}

static void list_dir(struct listing *l, df_nid nid)
{
	struct found f = { 0 };
	size_t len = strlen(l->path);

	assert_int_equal(df_vol_readdir(l->nd->v, nid, 0, true, take, &f), 0);
	qsort(f.v, f.n, sizeof(*f.v), by_name);
	for (size_t i = 0; i < f.n; i++) {
		const struct df_dirent *d = &f.v[i];
		const struct df_attr *a = &d->entry.attr;
		if (!d->entry.nid)
			continue;
		snprintf(l->path + len, sizeof(l->path) - len, "/%s", d->name);
		df_buf_printf(l->out, "%s %o %u %llu %llu %lld ", l->path,
			      a->mode, a->nlink, (unsigned long long)a->ino,
			      (unsigned long long)a->size,
			      (long long)a->mtime.tv_sec * 1000000000 +
				      a->mtime.tv_nsec);
		if (S_ISREG(a->mode) && a->size && l->texts)
			put_text(l, d->entry.nid, a->size);
		df_buf_put_u8(l->out, '\n');
		if (S_ISDIR(a->mode))
			list_dir(l, d->entry.nid);
		df_vol_forget(l->nd->v, d->entry.nid, 1);
	}
	l->path[len] = 0;
	free(f.v);
}

static char *show(struct node *nd, bool texts)
{
	struct df_buf b;
	struct listing l = { .nd = nd, .out = &b, .texts = texts };
	struct df_statfs st;
	size_t len;

	df_buf_init(&b, 0);
	list_dir(&l, DF_ROOT_NID);
	assert_int_equal(df_vol_statfs(nd->v, &st), 0);
	df_buf_printf(&b, "bytes %llu revived %llu",
		      (unsigned long long)st.used_bytes,
		      (unsigned long long)nd->v->n_revived);
	df_buf_put_u8(&b, 0);
	return (char *)df_buf_steal(&b, &len);
}

/* Says only the first line that differs. */
static void compare(struct node *a, struct node *b, bool texts)
{
	char *x = show(a, texts), *y = show(b, texts);
	size_t line = 0, i = 0;

	for (; x[i] && x[i] == y[i]; i++)
		if (x[i] == '\n')
			line = i + 1;
	bool equal = x[i] == y[i];
	if (!equal)
		print_error("%.*s\n%.*s\n", (int)strcspn(x + line, "\n"),
			    x + line, (int)strcspn(y + line, "\n"), y + line);
	free(x);
	free(y);
	assert_true(equal);
}

static void same(struct node *a, struct node *b)
{
	compare(a, b, true);
}

/* Files of which each has what a checkpoint must carry. */
static void fill(struct node *nd, unsigned first, unsigned dirs, unsigned files)
{
	char name[64], text[64];
	struct df_entry e;

	for (unsigned d = first; d < first + dirs; d++) {
		snprintf(name, sizeof(name), "dir%u", d);
		df_nid dir = dir_at(nd, DF_ROOT_NID, name);
		for (unsigned i = 0; i < files; i++) {
			snprintf(name, sizeof(name), "file%u", i);
			snprintf(text, sizeof(text), "text %u of %u", i, d);
			df_nid nid = make(nd, dir, name, text);
			if (i % 10 == 0) {
				snprintf(name, sizeof(name), "other%u-%u", d,
					 i);
				assert_int_equal(df_vol_link(nd->v, nid,
							     DF_ROOT_NID, name,
							     &e),
						 0);
			}
			if (i % 7 == 0)
				assert_int_equal(
					df_vol_setxattr(nd->v, nid, "user.x",
							text, strlen(text), 0),
					0);
		}
		assert_int_equal(
			df_vol_symlink(nd->v, dir, "link", "file0", &cred, &e),
			0);
		assert_int_equal(df_vol_unlink(nd->v, dir, "file1"), 0);
		dir_at(nd, dir_at(nd, dir, "sub"), "subsub");
	}
}

/* ---- tests */
static void test_same_tree(void **state)
{
	struct table *t = table_new();
	struct node a, b, cold;

	(void)state;
	node_open(&a, t, false);
	node_open(&b, t, false);
	fill(&a, 0, 5, 60);
	dir_at(&a, dir_at(&a, DF_ROOT_NID, "empty"), "too");
	dir_at(&a, DF_ROOT_NID, "p");
	dir_at(&a, DF_ROOT_NID, "q");
	sync_now(&a);
	assert_int_equal(df_step_poll(b.v, true), 0);
	/* a conflict: both rewrite one file unseen; one removes, one edits */
	df_nid x = dir_at(&a, DF_ROOT_NID, "dir0");
	df_nid y = dir_at(&b, DF_ROOT_NID, "dir0");
	struct df_entry e;
	assert_int_equal(df_vol_lookup(a.v, x, "file5", &e), 0);
	assert_int_equal(df_vol_write(a.v, e.nid, 0, "AAAA", 4, 0, NULL, NULL),
			 0);
	assert_int_equal(df_vol_unlink(a.v, x, "file6"), 0);
	assert_int_equal(df_vol_lookup(b.v, y, "file5", &e), 0);
	assert_int_equal(df_vol_write(b.v, e.nid, 0, "BBBB", 4, 0, NULL, NULL),
			 0);
	assert_int_equal(df_vol_lookup(b.v, y, "file6", &e), 0);
	assert_int_equal(df_vol_write(b.v, e.nid, 0, "CCCC", 4, 0, NULL, NULL),
			 0);
	/* a directory removed here, filled there; a ring of two moves */
	df_nid ea = dir_at(&a, DF_ROOT_NID, "empty");
	df_nid eb = dir_at(&b, DF_ROOT_NID, "empty");
	assert_int_equal(df_vol_rmdir(a.v, ea, "too"), 0);
	assert_int_equal(df_vol_rmdir(a.v, DF_ROOT_NID, "empty"), 0);
	make(&b, dir_at(&b, eb, "too"), "kept", "kept");
	assert_int_equal(df_vol_rename(a.v, DF_ROOT_NID, "p",
				       dir_at(&a, DF_ROOT_NID, "q"), "p", 0),
			 0);
	assert_int_equal(df_vol_rename(b.v, DF_ROOT_NID, "q",
				       dir_at(&b, DF_ROOT_NID, "p"), "q", 0),
			 0);
	make(&a, x, "twice", "one");
	make(&b, y, "twice", "two");
	sync_now(&a);
	sync_now(&b);
	sync_now(&a);
	same(&a, &b);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	/* only the checkpoint, not one of the rows it covers */
	for (size_t i = 0; i < t->n_rows;)
		if (t->row[i].kind == DF_ROW_COMMIT)
			m_rows_delete(&(struct link){ .t = t }.r, &t->row[i].id,
				      1, 0);
		else
			i++;
	assert_int_equal(t->n_rows, 1);
	node_open(&cold, t, true);
	compare(&a, &cold, false);
	node_close(&a);
	node_close(&b);
	node_close(&cold);
	table_free(t);
}

static void test_ordinary_way(void **state)
{
	struct table *t = table_new();
	struct node a, warm, cold;

	(void)state;
	node_open(&a, t, false);
	fill(&a, 0, 3, 40);
	sync_now(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	node_open(&cold, t, true);
	same(&a, &cold);
	/* into a fold that has something already, nothing twice */
	node_open(&warm, t, false);
	same(&a, &warm);
	assert_int_equal(
		df_checkpoint_fold(warm.v, &t->row[t->n_rows - 1], false), 0);
	same(&a, &warm);
	/* and the cold one works like any other */
	fill(&cold, 3, 2, 40);
	sync_now(&cold);
	assert_int_equal(df_step_poll(a.v, true), 0);
	same(&a, &cold);
	node_close(&warm);
	node_close(&cold);
	node_close(&a);
	table_free(t);
}

static void test_blocks_shared(void **state)
{
	struct table *t = table_new();
	struct node a, cold;

	(void)state;
	node_open(&a, t, false);
	fill(&a, 0, 20, 400);
	sync_now(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	uint64_t first = t->bytes_put;
	make(&a, dir_at(&a, DF_ROOT_NID, "dir3"), "new", "x");
	sync_now(&a);
	first = t->bytes_put - first < first ? first : first;
	uint64_t before = t->bytes_put;
	assert_int_equal(df_step_checkpoint(a.v), 0);
	assert_true(t->bytes_put - before < first / 3);
	/* another node cuts the same blocks */
	node_open(&cold, t, true);
	same(&a, &cold);
	make(&cold, dir_at(&cold, DF_ROOT_NID, "dir4"), "new", "x");
	sync_now(&cold);
	before = t->bytes_put;
	assert_int_equal(df_step_checkpoint(cold.v), 0);
	assert_true(t->bytes_put - before < first / 3);
	node_close(&a);
	node_close(&cold);
	table_free(t);
}

static void test_dirty_waits(void **state)
{
	struct table *t = table_new();
	struct node a, cold;

	(void)state;
	node_open(&a, t, false);
	df_nid f = make(&a, DF_ROOT_NID, "f", "first");
	sync_now(&a);
	assert_int_equal(df_vol_write(a.v, f, 0, "other", 5, 0, NULL, NULL), 0);
	size_t rows = t->n_rows;
	assert_int_equal(df_step_checkpoint(a.v), -EAGAIN);
	assert_int_equal(t->n_rows, rows);
	sync_now(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	assert_int_equal(t->n_rows, rows + 2);
	node_open(&cold, t, true);
	same(&a, &cold);
	node_close(&a);
	node_close(&cold);
	table_free(t);
}

/* ---- time */
static int64_t ahead_ns;

static int64_t test_real(void *arg)
{
	struct timespec ts;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * DF_NS_PER_S + ts.tv_nsec + ahead_ns;
}

static int64_t test_mono(void *arg)
{
	struct timespec ts;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * DF_NS_PER_S + ts.tv_nsec + ahead_ns;
}

static void put_at(struct node *nd, df_nid nid, uint64_t off, const char *text)
{
	assert_int_equal(df_vol_write(nd->v, nid, off, text, strlen(text), 0,
				      NULL, NULL),
			 0);
}

static df_nid nid_at(struct node *nd, const char *name)
{
	struct df_entry e;

	assert_int_equal(df_vol_lookup(nd->v, DF_ROOT_NID, name, &e), 0);
	return e.nid;
}

/* Twenty, the packs in ten of them nobody needs any more. */
static void add_unneeded_rows(struct node *nd)
{
	char name[32];

	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "text %d", i);
		make(nd, DF_ROOT_NID, name, name);
		sync_now(nd);
		assert_int_equal(df_vol_unlink(nd->v, DF_ROOT_NID, name), 0);
		sync_now(nd);
	}
}

static void test_rows_deleted(void **state)
{
	static const struct df_clock_ops ops = { test_real, test_mono, NULL };
	struct table *t = table_new();
	struct node a, cold, asleep;

	(void)state;
	ahead_ns = 0;
	df_clock_set(&ops);
	node_open(&a, t, false);
	make(&a, DF_ROOT_NID, "f", "in a row, and needed");
	sync_now(&a);
	df_nid s = make(&a, DF_ROOT_NID, "s", "in a row, for one who sleeps");
	sync_now(&a);
	add_unneeded_rows(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	assert_int_equal(t->deletes, 0);
	node_open(&asleep, t, true);
	put_at(&a, s, 0, "other text, of somebody awake");
	sync_now(&a);
	ahead_ns = 2 * DF_DAY_MS * DF_NS_PER_MS;
	assert_int_equal(df_step_poll(a.v, true), 0);
	/* a row stays until the table shows the pack that was in it */
	t->lose_packs = true;
	make(&a, DF_ROOT_NID, "g", "later");
	sync_now(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	assert_int_equal(t->deletes, 10);
	t->lose_packs = false;
	make(&a, DF_ROOT_NID, "h", "later still");
	sync_now(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	/* what is left: of s, g and h, less than a day covered, checkpoints */
	assert_int_equal(t->n_rows, 3 + 3);
	node_open(&cold, t, true);
	same(&a, &cold);
	node_close(&cold);
	/* who slept meanwhile builds on bytes that nobody else needed */
	put_at(&asleep, nid_at(&asleep, "s"), 28, ", and then wakes");
	sync_now(&asleep);
	node_open(&cold, t, true);
	char *shown = show(&cold, true);
	assert_non_null(strstr(shown, "for one who sleeps, and then wakes"));
	free(shown);
	same(&asleep, &cold);
	node_close(&cold);
	node_close(&asleep);
	assert_int_equal(df_step_poll(a.v, true), 0);
	/* none may point into a row that was acknowledged and not kept */
	unsigned deletes = t->deletes;
	t->lose_rows = true;
	make(&a, DF_ROOT_NID, "i", "i");
	assert_true(df_step_cut(a.v) > 0);
	assert_int_equal(df_step_send(a.v), 0);
	assert_int_equal(df_step_checkpoint(a.v), -EAGAIN);
	t->lose_rows = false;
	ahead_ns += 60 * DF_NS_PER_S;
	assert_int_equal(df_step_poll(a.v, true), 0);
	assert_int_equal(df_step_send(a.v), 0); /* not seen for 15 s: again */
	sync_now(&a);
	/* a checkpoint that nobody kept deletes nothing the next time */
	t->lose_rows = true;
	assert_int_equal(df_step_checkpoint(a.v), 0);
	t->lose_rows = false;
	ahead_ns *= 2;
	assert_int_equal(df_step_poll(a.v, true), 0);
	sync_now(&a);
	deletes = t->deletes;
	assert_int_equal(df_step_checkpoint(a.v), 0);
	assert_int_equal(t->deletes, deletes);
	node_close(&a);
	df_clock_set(NULL);
	table_free(t);
}

static void test_known_is_not_folded(void **state)
{
	struct table *t = table_new();
	struct node a, b;

	(void)state;
	node_open(&a, t, false);
	node_open(&b, t, false);
	fill(&a, 0, 2, 20);
	sync_now(&a);
	assert_int_equal(df_step_poll(b.v, true), 0);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	const struct df_row *row = &t->row[t->n_rows - 1];
	assert_int_equal(row->kind, DF_ROW_CHECKPOINT);
	assert_int_equal(df_checkpoint_wanted(b.v, row), 0);
	assert_int_equal(b.v->epoch, 1);
	/* and it knows the blocks: its own checkpoint is small */
	uint64_t before = t->bytes_put;
	make(&b, DF_ROOT_NID, "b", "b");
	sync_now(&b);
	assert_int_equal(df_step_checkpoint(b.v), 0);
	assert_int_equal(b.v->epoch, 2);
	assert_true(t->bytes_put > before);
	assert_int_equal(t->row[t->n_rows - 1].epoch, 2);
	node_close(&a);
	node_close(&b);
	table_free(t);
}

static void test_damage(void **state)
{
	struct table *t = table_new();
	struct node a, cold;

	(void)state;
	node_open(&a, t, false);
	fill(&a, 0, 2, 20);
	sync_now(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	/* any byte of any pack of it: refused, and the log is read */
	for (size_t k = 1; k <= 2; k++) {
		uint8_t *at = t->pack[t->n_packs - k].data;
		at[60] ^= 1;
		node_open(&cold, t, true);
		assert_int_equal(cold.v->rows_refused > 0, 1);
		compare(&a, &cold, false);
		node_close(&cold);
		at[60] ^= 1;
	}
	/* a row that says nonsense */
	struct df_row row = t->row[t->n_rows - 1];
	uint8_t body[256];
	assert_true(row.body_len < sizeof(body));
	for (size_t i = 0; i < row.body_len; i++) {
		memcpy(body, row.body, row.body_len);
		body[i] ^= 0x55;
		struct df_row bad = row;
		bad.body = body;
		int rc = df_checkpoint_wanted(a.v, &bad);
		assert_true(rc == 0 || rc == -EAGAIN);
	}
	node_close(&a);
	table_free(t);
}

/* An object that nobody asked for since it was damaged: the checkpoint cannot
 * be written, now or ever, unless the next start reads the table anew. */
static void test_damage_here(void **state)
{
	struct table *t = table_new();
	struct node a;
	char path[128];
	sqlite3 *db = NULL;

	(void)state;
	node_open(&a, t, false);
	fill(&a, 0, 2, 20);
	sync_now(&a);
	assert_int_equal(df_work_fold(a.v, true), 0);
	snprintf(path, sizeof(path), "%s/fold.db", a.dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "UPDATE obj SET data = X'FFFFFFFF'"
				      " WHERE nid = (SELECT max(nid) FROM obj)",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_not_equal(df_step_checkpoint(a.v), 0);
	snprintf(path, sizeof(path), "%s/fold.db.damaged", a.dir);
	assert_int_equal(access(path, F_OK), 0);
	df_vol_free(a.v);
	a.v = NULL;
	reopen(&a, t, false);
	assert_int_not_equal(access(path, F_OK), 0);
	sync_now(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	node_close(&a);
	table_free(t);
}

static void test_index_bytes(void **state)
{
	struct df_ck_index x = { .generation = 3, .max_time = 77 }, y;
	struct df_buf b;

	(void)state;
	for (uint8_t i = 0; i < 3; i++) {
		struct df_ck_block k = { .n_objs = 5 + i };
		k.piece = (struct df_piece){
			.off = i * 1000, .clen = 500, .rlen = 900, .check = i
		};
		k.first.obj.b[0] = i;
		DF_GROW(x.blocks, x.n_blocks, x.blocks_size);
		x.blocks[x.n_blocks++] = k;
		struct df_ck_cover c = { .epoch = i, .since_ms = 5 - i };
		c.id.b[3] = i;
		DF_GROW(x.covers, x.n_covers, x.covers_size);
		x.covers[x.n_covers++] = c;
		struct df_inline_place p = { .pack.b[1] = i };
		DF_GROW(x.inlines, x.n_inlines, x.inlines_size);
		x.inlines[x.n_inlines++] = p;
	}
	df_buf_init(&b, 0);
	df_ck_index_write(&b, &x);
	assert_int_equal(df_ck_index_read(b.data, b.len, &y), 0);
	assert_int_equal(y.n_blocks, 3);
	assert_int_equal(y.n_objs, 18);
	assert_int_equal(y.covers[2].since_ms, 3);
	assert_non_null(df_ck_covers(&y, &x.covers[1].id));
	assert_null(df_ck_covers(&y, &(struct df_id){ .b[0] = 9 }));
	df_ck_index_release(&y);
	for (size_t i = 0; i < b.len; i++)
		assert_int_equal(df_ck_index_read(b.data, i, &y), DF_ECORRUPT);
	b.data[0] = 2;
	assert_int_equal(df_ck_index_read(b.data, b.len, &y), DF_EFORMAT);
	df_buf_release(&b);
	df_ck_index_release(&x);
}

static void test_due(void **state)
{
	static const struct df_clock_ops ops = { test_real, test_mono, NULL };
	struct table *t = table_new();
	struct node a;

	(void)state;
	ahead_ns = 0;
	df_clock_set(&ops);
	node_open(&a, t, false);
	make(&a, DF_ROOT_NID, "f", "f");
	sync_now(&a);
	assert_false(df_checkpoint_due(a.v));
	a.v->rows_since_ck = 1500;
	assert_false(df_checkpoint_due(a.v));
	df_step_fold(a.v);
	df_vol_free(a.v); /* what was counted is not forgotten */
	reopen(&a, t, false);
	a.v->rows_since_ck += 600;
	assert_false(df_checkpoint_due(a.v)); /* waits */
	ahead_ns += 61 * DF_NS_PER_S;
	assert_true(df_checkpoint_due(a.v));
	assert_false(df_checkpoint_due(a.v)); /* not again at once */
	assert_int_equal(df_step_poll(a.v, true), 0);
	sync_now(&a);
	assert_int_equal(df_step_checkpoint(a.v), 0);
	a.v->rows_since_ck += 3000;
	ahead_ns += 200 * DF_NS_PER_S;
	assert_false(df_checkpoint_due(a.v)); /* within five minutes */
	ahead_ns += 101 * DF_NS_PER_S;
	assert_false(df_checkpoint_due(a.v));
	ahead_ns += 61 * DF_NS_PER_S;
	assert_true(df_checkpoint_due(a.v));
	node_close(&a);
	df_clock_set(NULL);
	table_free(t);
}

/* ---- figures */
static double rss_mib(const char *what)
{
	char line[256];
	double kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, what, strlen(what)))
			kib = atof(line + strlen(what) + 1);
	if (f)
		fclose(f);
	return kib / 1024;
}

static double since(int64_t t)
{
	return (double)(df_clock_mono_ns() - t) / 1e9;
}

/* Of all threads: what counts on a machine that others use as well. */
static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void reset_peak(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY);

	if (fd >= 0 && write(fd, "5", 1) != 1)
		print_message("peak not reset\n");
	if (fd >= 0)
		close(fd);
}

static void bench(unsigned n)
{
	struct table *t = table_new();
	struct node a, cold;
	char name[64];
	int64_t at = df_clock_mono_ns();
	unsigned per = 1000;

	node_open(&a, t, false);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "dir%u", i / per);
		static df_nid dir;
		if (i % per == 0)
			dir = dir_at(&a, DF_ROOT_NID, name);
		snprintf(name, sizeof(name), "file-number-%u.txt", i);
		df_vol_forget(a.v, make(&a, dir, name, name), 1);
		if (i % 20000 == 19999 || i + 1 == n) {
			sync_now(&a);
			df_step_fold(a.v);
		}
	}
	printf("%u files made and sent: %.1f s, RSS %.0f MiB\n", n, since(at),
	       rss_mib("VmRSS:"));
	uint64_t before = t->bytes_put;
	reset_peak();
	double had = rss_mib("VmRSS:"), used = cpu_s();
	at = df_clock_mono_ns();
	assert_int_equal(df_step_checkpoint(a.v), 0);
	printf("checkpoint written: %.2f s (%.2f s of CPU), %.1f MiB, "
	       "peak +%.0f MiB\n",
	       since(at), cpu_s() - used,
	       (double)(t->bytes_put - before) / 1048576,
	       rss_mib("VmHWM:") - had);
	before = t->bytes_put;
	make(&a, DF_ROOT_NID, "one more", "x");
	sync_now(&a);
	at = df_clock_mono_ns();
	assert_int_equal(df_step_checkpoint(a.v), 0);
	printf("again, one file more: %.2f s, %.2f MiB\n", since(at),
	       (double)(t->bytes_put - before) / 1048576);
	reset_peak();
	had = rss_mib("VmRSS:");
	unsigned gets = t->gets;
	double cpu = cpu_s();
	at = df_clock_mono_ns();
	node_open(&cold, t, true);
	printf("cold mount: %.2f s (%.2f s of CPU), %u pack reads, "
	       "peak +%.0f MiB\n",
	       since(at), cpu_s() - cpu, t->gets - gets,
	       rss_mib("VmHWM:") - had);
	compare(&a, &cold, false);
	node_close(&a);
	node_close(&cold);
	table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_index_bytes),
		cmocka_unit_test(test_same_tree),
		cmocka_unit_test(test_ordinary_way),
		cmocka_unit_test(test_blocks_shared),
		cmocka_unit_test(test_dirty_waits),
		cmocka_unit_test(test_rows_deleted),
		cmocka_unit_test(test_known_is_not_folded),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_damage_here),
		cmocka_unit_test(test_due),
	};
	const char *n = getenv("DF_CK_BENCH");

	if (n) {
		bench((unsigned)atoi(n));
		return 0;
	}
	return cmocka_run_group_tests_name("cache/checkpoint", tests, NULL,
					   NULL);
}
