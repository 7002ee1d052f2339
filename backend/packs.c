/* packs.c - see packs.h. */
#include "backend/packs.h"

#include <stdlib.h>
#include <string.h>

#include "backend/tablei.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/log.h"

/* Raw bytes of one ranged read: 6 MiB of base64, a multiple of 3. */
#define PART_MAX ((uint64_t)4718592)

/* ---- what logs and packs have in common */

void df_table_put_marks(struct df_stmt *s, unsigned first, size_t n)
{
	for (size_t i = 0; i < n; i++)
		df_stmt_sql(s, "%s$%zu", i ? "," : "", first + i);
}

void df_table_put_ids(struct df_stmt *s, const struct df_id *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		df_stmt_id(s, &ids[i]);
}

int df_table_delete(struct df_table *t, const char *table, const char *what,
		    const struct df_id *ids, size_t n, int64_t deadline_ns)
{
	struct df_call call =
		df_call_make(what, DF_HTTP_BULK, true, deadline_ns);
	int err = 0;

	for (size_t i = 0; !err && i < n; i += DF_IN_MAX) {
		size_t k = DF_MIN((size_t)DF_IN_MAX, n - i);
		struct df_answer a;
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s, "DELETE FROM \"%s\" WHERE id IN (", table);
		df_table_put_marks(&s, 1, k);
		df_stmt_sql(&s, ")");
		df_table_put_ids(&s, ids + i, k);
		err = df_api_sql(t->api, &s, &call, &a);
		df_stmt_release(&s);
		df_answer_release(&a);
	}
	return err;
}

static int add_listed(struct df_idepoch_list *out, size_t *size,
		      const struct df_dep *dep)
{
	if (out->n && df_id_cmp(&out->v[out->n - 1].id, &dep->id) >= 0)
		return 0; /* a row that is there twice */
	if (out->n == *size) {
		size_t more = *size ? *size * 2 : 1024;
		struct df_dep *v = reallocarray(out->v, more, sizeof(*v));
		if (!v)
			return -ENOMEM;
		out->v = v;
		*size = more;
	}
	out->v[out->n++] = *dep;
	return 0;
}

/* Rows whose id or value does not parse are passed by: df_rows_get would
 * refuse them, and a pack that nobody can name is nobody's. */
static int add_page(struct df_idepoch_list *out, size_t *size,
		    const struct df_answer *a, bool hex)
{
	int id = df_answer_col(a, "id"), value = df_answer_col(a, "value");

	if (a->n_rows && (id < 0 || value < 0))
		return df_fail(DF_ECORRUPT, "a listing without id or value");
	for (size_t i = 0; i < a->n_rows; i++) {
		const struct df_cell *c = df_answer_cell(a, i, value);
		struct df_dep dep;
		if (df_cell_id(df_answer_cell(a, i, id), &dep.id) ||
		    (hex ? df_cell_hex64(c, &dep.epoch)
			 : df_cell_u64(c, &dep.epoch)))
			continue;
		int err = add_listed(out, size, &dep);
		if (err)
			return err;
	}
	return 0;
}

static int list_pages(struct df_table *t, const char *table, const char *value,
		      bool hex, const struct df_call *call,
		      struct df_idepoch_list *out, int64_t *date_ms)
{
	char last[64] = "";
	size_t size = 0, len = 0, got, before;
	int err;

	do {
		struct df_answer a;
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s,
			    "SELECT id, %s AS value FROM \"%s\" "
			    "WHERE id > $1 ORDER BY id LIMIT %d",
			    value, table, DF_LIST_PAGE);
		df_stmt_text(&s, last, len);
		err = df_api_sql(t->api, &s, call, &a);
		df_stmt_release(&s);
		if (err)
			return err;
		before = out->n;
		err = add_page(out, &size, &a, hex);
		got = a.n_rows;
		/* Out of order or the same page again: it would never end. */
		if (!err && got >= DF_LIST_PAGE && out->n == before)
			err = df_fail(DF_ECORRUPT, "%s", call->what);
		if (!err && got) {
			const struct df_cell *c = df_answer_cell(
				&a, got - 1, df_answer_col(&a, "id"));
			len = DF_MIN(c->len, sizeof(last) - 1);
			memcpy(last, c->s, len);
		}
		if (date_ms)
			*date_ms = a.date_ms;
		df_answer_release(&a);
	} while (!err && got >= DF_LIST_PAGE);
	return err;
}

/* How many ids there are, by the server's own count. */
static int count_ids(struct df_table *t, const char *table,
		     const struct df_call *call, uint64_t *n)
{
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "SELECT CAST(COUNT(DISTINCT id) AS BIGINT) AS n "
		    "FROM \"%s\"",
		    table);
	int err = df_api_sql(t->api, &s, call, &a);
	df_stmt_release(&s);
	int col = err ? -1 : df_answer_col(&a, "n");
	*n = 0;
	if (!err && a.n_rows == 1 && col >= 0 &&
	    df_answer_cell(&a, 0, col)->type != DF_CELL_NULL)
		err = df_cell_u64(df_answer_cell(&a, 0, col), n);
	df_answer_release(&a);
	return err;
}

int df_table_list(struct df_table *t, const char *table, const char *value,
		  bool hex, const char *what, int64_t deadline_ns,
		  struct df_idepoch_list *out, int64_t *date_ms)
{
	struct df_call call =
		df_call_make(what, DF_HTTP_URGENT, false, deadline_ns);
	uint64_t n = 0;
	int err = 0;

	/* The service answers 200 with rows missing now and then; what a full
	 * listing lacks is taken for deleted, so it is counted beside. */
	for (int attempt = 0; attempt < 3; attempt++) {
		free(out->v);
		*out = (struct df_idepoch_list){ 0 };
		if (!t->remote.caps.ours)
			err = count_ids(t, table, &call, &n);
		if (!err)
			err = list_pages(t, table, value, hex, &call, out,
					 date_ms);
		if (err || out->n >= n)
			break;
		df_log_debug("%s: %zu of %llu rows, asking again", what, out->n,
			     (unsigned long long)n);
	}
	if (!err && out->n < n) {
		df_log_warn("%s: the server counts %llu rows and lists %zu",
			    what, (unsigned long long)n, out->n);
		err = DF_EOFFLINE;
	}
	if (err) {
		free(out->v);
		*out = (struct df_idepoch_list){ 0 };
	}
	return err;
}

/* ---- packs */

static void shrink(struct df_table *t, size_t len)
{
	size_t was = t->remote.pack_max;
	size_t now = DF_MAX(DF_MIN(was, len) / 2, DF_PACK_MIN);

	if (now >= was)
		return;
	t->remote.pack_max = now;
	df_log_info("%s refuses packs of %zu bytes; from now on %zu at most",
		    t->remote.where, len, now);
}

int df_packs_put(struct df_remote *r, const struct df_pack_bytes *p, size_t n,
		 int64_t timeout_ms)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	struct df_call call =
		df_call_make("write a pack", DF_HTTP_BULK, true, deadline);
	struct df_answer a;
	struct df_stmt s;
	size_t sum = 0;
	int err = df_table_ready(t, deadline);

	if (!err)
		err = df_fault("pack.put");
	if (err)
		return err;
	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "INSERT INTO \"%s\" (id,size,data) VALUES ", t->pack);
	for (size_t i = 0; i < n; i++)
		df_stmt_sql(&s, "%s($%zu,$%zu,$%zu)", i ? "," : "", 3 * i + 1,
			    3 * i + 2, 3 * i + 3);
	if (t->remote.caps.ours)
		df_stmt_sql(&s, " ON CONFLICT (id) DO NOTHING");
	for (size_t i = 0; i < n; i++) {
		df_stmt_id(&s, &p[i].id);
		df_stmt_u64(&s, p[i].len);
		df_stmt_b64(&s, p[i].data, p[i].len);
		sum += p[i].len;
	}
	err = df_api_sql(t->api, &s, &call, &a);
	df_stmt_release(&s);
	df_answer_release(&a);
	if (!err || (err == -EEXIST && n == 1))
		return df_fault("pack.acked");
	if (err == -EFBIG && sum > DF_PACK_MIN)
		shrink(t, sum);
	else if (err == -EFBIG)
		df_log_error("%s refuses even a pack of %zu bytes",
			     t->remote.where, sum);
	return err;
}

/* Ask for raw bytes off..off+len (off a multiple of 3), or for the whole row
 * where the server has no substr(). */
static int select_part(struct df_table *t, const struct df_id *id, uint64_t off,
		       uint64_t len, bool range, int64_t deadline_ns,
		       struct df_answer *a)
{
	struct df_call call =
		df_call_make("read a pack", DF_HTTP_URGENT, false, deadline_ns);
	struct df_stmt s;

	df_stmt_init(&s, 0);
	if (range)
		df_stmt_sql(&s, "SELECT size, substr(data, %llu, %llu) AS part",
			    (unsigned long long)(off / 3 * 4 + 1),
			    (unsigned long long)((len + 2) / 3 * 4));
	else
		df_stmt_sql(&s, "SELECT size, data AS part");
	df_stmt_sql(&s, " FROM \"%s\" WHERE id = $1 LIMIT 1", t->pack);
	df_stmt_id(&s, id);
	if (!range && t->no_range)
		call.answer_max = DF_HTTP_ANSWER_CEILING;
	int err = df_api_sql(t->api, &s, &call, a);
	df_stmt_release(&s);
	return err;
}

/* Decode bytes skip..skip+want of a part (want UINT64_MAX: all of it). */
static int put_part(const struct df_cell *c, uint64_t skip, uint64_t want,
		    struct df_buf *out)
{
	size_t start = out->len;

	if (c->type != DF_CELL_TEXT)
		return DF_ECORRUPT;
	int err = df_b64_get(out, c->s, c->len);
	if (err)
		return err == -EINVAL ? DF_ECORRUPT : err;
	size_t got = out->len - start;
	if (skip > got) {
		out->len = start;
		return want == UINT64_MAX ? 0 : DF_ECORRUPT;
	}
	size_t keep = (size_t)DF_MIN(want, (uint64_t)(got - skip));
	if (skip)
		memmove(out->data + start, out->data + start + skip, keep);
	out->len = start + keep;
	return want != UINT64_MAX && keep < want ? DF_ECORRUPT : 0;
}

/* A part of a pack, as asked for and as answered. */
struct part {
	uint64_t off, len; /* wanted */
	bool clamp;        /* to the size; else too short is corrupt */
	bool range;        /* the answer is the range from off / 3 * 3 on,
			    * else the whole row */
	uint64_t size;     /* the pack's */
};

/* Ask in the way that works; the ways are tried once each. */
static int ask_part(struct df_table *t, const struct df_id *id, struct part *p,
		    int64_t deadline_ns, struct df_answer *a)
{
	uint64_t from = p->off / 3 * 3;
	uint64_t len = p->off + p->len - from;

	/* The start of a whole pack is most likely all of it, and a whole
	 * row costs the server less than substr(). */
	p->range = !t->no_range && (p->off || !p->clamp);
	int err = select_part(t, id, from, len, p->range, deadline_ns, a);
	if (err == -EOVERFLOW && !p->range && !t->no_range) {
		p->range = true;
		err = select_part(t, id, from, len, true, deadline_ns, a);
	}
	if (err == -EINVAL && p->range) {
		t->no_range = true;
		p->range = false;
		err = select_part(t, id, 0, 0, false, deadline_ns, a);
	}
	return err;
}

static int read_part(const struct df_answer *a, struct part *p,
		     struct df_buf *out)
{
	int size_col = df_answer_col(a, "size");
	int part_col = df_answer_col(a, "part");

	if (!a->n_rows)
		return -ENOENT;
	if (size_col < 0 || part_col < 0 ||
	    df_cell_u64(df_answer_cell(a, 0, size_col), &p->size) ||
	    p->size > DF_PACK_READ_MAX)
		return DF_ECORRUPT;
	if (!p->range && p->clamp)
		p->len = UINT64_MAX; /* a whole row has it all */
	if (p->clamp)
		p->len = p->off < p->size ? DF_MIN(p->len, p->size - p->off)
					  : 0;
	if (p->off > p->size || p->len > p->size - p->off)
		return DF_ECORRUPT;
	return put_part(df_answer_cell(a, 0, part_col),
			p->range ? p->off % 3 : p->off, p->len, out);
}

int df_packs_get(struct df_remote *r, const struct df_id *id, uint64_t off,
		 uint64_t len, int64_t timeout_ms, struct df_buf *out)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	size_t start = out->len;
	bool whole = len == 0;
	uint64_t end = off + len, at = off;
	struct part p = { .clamp = whole };
	char hex[2 * DF_ID_LEN + 1];
	int err = df_table_ready(t, deadline);

	if (whole)
		end = UINT64_MAX;
	while (!err && at < end) {
		size_t before = out->len;
		struct df_answer a;
		p.off = at;
		p.len = DF_MIN(end - at, PART_MAX - at % 3);
		err = ask_part(t, id, &p, deadline, &a);
		if (!err)
			err = read_part(&a, &p, out);
		df_answer_release(&a);
		if (whole)
			end = p.size;
		at += out->len - before;
		if (!err && out->len == before)
			break;
	}
	if ((!err && whole && at != p.size) || err == -EOVERFLOW)
		err = DF_ECORRUPT;
	if (err)
		out->len = start;
	df_id_hex(id, hex);
	if (err == DF_ECORRUPT)
		df_log_error("pack %s of %s: %s", hex, t->remote.where,
			     df_strerror(err));
	return err;
}

/* ---- which packs there are */

static int have_some(struct df_table *t, const struct df_id *ids, size_t n,
		     const struct df_call *call, bool *present)
{
	struct df_answer a;
	struct df_stmt s;

	df_stmt_init(&s, 0);
	df_stmt_sql(&s, "SELECT id FROM \"%s\" WHERE id IN (", t->pack);
	df_table_put_marks(&s, 1, n);
	df_stmt_sql(&s, ")");
	df_table_put_ids(&s, ids, n);
	int err = df_api_sql(t->api, &s, call, &a);
	df_stmt_release(&s);
	if (err)
		return err;
	memset(present, 0, n * sizeof(*present));
	for (size_t i = 0; a.n_cols && i < a.n_rows; i++) {
		struct df_id id;
		if (df_cell_id(df_answer_cell(&a, i, 0), &id))
			continue;
		for (size_t k = 0; k < n; k++)
			present[k] |= df_id_cmp(&ids[k], &id) == 0;
	}
	df_answer_release(&a);
	return 0;
}

int df_packs_have(struct df_remote *r, const struct df_id *ids, size_t n,
		  int64_t timeout_ms, bool *present)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	struct df_call call =
		df_call_make("look for packs", DF_HTTP_URGENT, false, deadline);
	int err = df_table_ready(t, deadline);

	for (size_t i = 0; !err && i < n; i += DF_IN_MAX)
		err = have_some(t, ids + i, DF_MIN((size_t)DF_IN_MAX, n - i),
				&call, present + i);
	return err;
}

int df_packs_list(struct df_remote *r, int64_t timeout_ms,
		  struct df_idepoch_list *out)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	int err = df_table_ready(t, deadline);

	*out = (struct df_idepoch_list){ 0 };
	return err ? err
		   : df_table_list(t, t->pack, "size", false, "list the packs",
				   deadline, out, NULL);
}

int df_packs_delete(struct df_remote *r, const struct df_id *ids, size_t n,
		    int64_t timeout_ms)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	int err = df_table_ready(t, deadline);

	return err ? err
		   : df_table_delete(t, t->pack, "delete packs", ids, n,
				     deadline);
}
