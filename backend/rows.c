/* rows.c - see rows.h; the log's statements. */
#include "backend/rows.h"

#include <stdlib.h>
#include <string.h>

#include "backend/tablei.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"

#define DEP_LEN (DF_ID_LEN + 8)
#define DEP_HEX (2 * DEP_LEN)
#define COLUMNS "id,node,seq,sent,epoch,kind,prev,deps,body"
/* A row of DF_BODY_MAX alone; pages shrink to one row before they need it. */
#define ROW_ANSWER_MAX ((size_t)16 << 20)
#define TIES_MOST 8192

/* ---- rows in memory */

void df_row_release(struct df_row *row)
{
	free(row->deps);
	free(row->body);
	row->deps = NULL;
	row->body = NULL;
}

void df_rows_release(struct df_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		df_row_release(&rows->row[i]);
	free(rows->row);
	*rows = (struct df_rows){ 0 };
}

const char *df_row_kind_text(enum df_row_kind kind)
{
	static const char *const text[] = {
		[DF_ROW_UNKNOWN] = "",
		[DF_ROW_FORMAT] = "format",
		[DF_ROW_COMMIT] = "commit",
		[DF_ROW_CHECKPOINT] = "checkpoint",
	};

	return text[kind];
}

static void put_le(uint8_t *out, uint64_t x)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(x >> (8 * i));
}

static void put_dep(uint8_t *out, const struct df_dep *dep)
{
	memcpy(out, dep->id.b, DF_ID_LEN);
	put_le(out + DF_ID_LEN, dep->epoch);
}

struct df_id df_row_id(const struct df_row *row)
{
	uint8_t node[8], seq[8], epoch[8], prev[DEP_LEN];
	uint8_t few[16 * DEP_LEN], *deps = few;
	const char *kind = df_row_kind_text(row->kind);
	static const struct df_id none;

	put_le(node, row->node);
	put_le(seq, row->seq);
	put_le(epoch, row->epoch);
	put_dep(prev, &row->prev);
	if (row->n_deps > 16)
		deps = malloc(row->n_deps * DEP_LEN);
	if (!deps)
		return none; /* matches no row: refused, tried again later */
	for (size_t i = 0; i < row->n_deps; i++)
		put_dep(deps + i * DEP_LEN, &row->deps[i]);
	const struct df_field fields[] = {
		{ node, 8 },
		{ seq, 8 },
		{ epoch, 8 },
		{ kind, strlen(kind) },
		{ prev, DEP_LEN },
		{ deps, row->n_deps * DEP_LEN },
		{ row->body, row->body_len },
	};
	struct df_id id = df_hash_fields(fields, DF_ARRAY_LEN(fields));
	if (deps != few)
		free(deps);
	return id;
}

/* ---- decoding */

struct columns {
	int id, node, seq, sent, epoch, kind, prev, deps, body, n;
};

static int find_columns(const struct df_answer *a, struct columns *c)
{
	struct {
		const char *name;
		int *at;
	} all[] = {
		{ "id", &c->id },       { "node", &c->node },
		{ "seq", &c->seq },     { "sent", &c->sent },
		{ "epoch", &c->epoch }, { "kind", &c->kind },
		{ "prev", &c->prev },   { "deps", &c->deps },
		{ "body", &c->body },
	};

	for (size_t i = 0; i < DF_ARRAY_LEN(all); i++) {
		*all[i].at = df_answer_col(a, all[i].name);
		if (*all[i].at < 0)
			return df_fail(DF_ECORRUPT,
				       "log rows without a column %s",
				       all[i].name);
	}
	c->n = df_answer_col(a, "n");
	return 0;
}

static int get_dep(const char *hex, struct df_dep *out)
{
	struct df_cell id = { hex, 2 * DF_ID_LEN, DF_CELL_TEXT };
	struct df_cell epoch = { hex + 2 * DF_ID_LEN, 16, DF_CELL_TEXT };
	int err = df_cell_id(&id, &out->id);

	return err ? err : df_cell_hex64(&epoch, &out->epoch);
}

static int get_deps(const struct df_cell *c, struct df_row *row)
{
	size_t n = c->len / DEP_HEX;

	if (c->type != DF_CELL_TEXT || c->len % DEP_HEX || n > DF_DEPS_MAX)
		return DF_ECORRUPT;
	if (!n)
		return 0;
	row->deps = calloc(n, sizeof(*row->deps));
	if (!row->deps)
		return -ENOMEM;
	row->n_deps = n;
	for (size_t i = 0; i < n; i++)
		if (get_dep(c->s + i * DEP_HEX, &row->deps[i]))
			return DF_ECORRUPT;
	return 0;
}

static int get_kind(const struct df_cell *c, enum df_row_kind *out)
{
	for (int k = DF_ROW_FORMAT; k <= DF_ROW_CHECKPOINT; k++)
		if (df_cell_is(c, df_row_kind_text((enum df_row_kind)k))) {
			*out = (enum df_row_kind)k;
			return 0;
		}
	return DF_ECORRUPT;
}

static int get_body(const struct df_cell *c, struct df_row *row)
{
	struct df_buf raw;

	if (c->type != DF_CELL_TEXT || c->len > df_b64_size(DF_BODY_MAX))
		return DF_ECORRUPT;
	df_buf_init(&raw, DF_BODY_MAX + 3);
	int err = df_b64_get(&raw, c->s, c->len);
	if (err || raw.len > DF_BODY_MAX) {
		df_buf_release(&raw);
		return err == -ENOMEM ? err : DF_ECORRUPT;
	}
	row->body = df_buf_steal(&raw, &row->body_len);
	return 0;
}

static int get_row(const struct df_answer *a, size_t i, const struct columns *c,
		   struct df_row *row)
{
	const struct df_cell *prev = df_answer_cell(a, i, c->prev);
	int err;

	if (df_cell_id(df_answer_cell(a, i, c->id), &row->id) ||
	    df_cell_hex64(df_answer_cell(a, i, c->node), &row->node) ||
	    df_cell_hex64(df_answer_cell(a, i, c->seq), &row->seq) ||
	    df_cell_hex64(df_answer_cell(a, i, c->sent), &row->sent) ||
	    df_cell_hex64(df_answer_cell(a, i, c->epoch), &row->epoch) ||
	    get_kind(df_answer_cell(a, i, c->kind), &row->kind))
		return DF_ECORRUPT;
	if (prev->type != DF_CELL_TEXT || (prev->len && prev->len != DEP_HEX))
		return DF_ECORRUPT;
	if (prev->len && get_dep(prev->s, &row->prev))
		return DF_ECORRUPT;
	if (c->n >= 0 && df_cell_u64(df_answer_cell(a, i, c->n), &row->n))
		return DF_ECORRUPT;
	err = get_deps(df_answer_cell(a, i, c->deps), row);
	if (!err)
		err = get_body(df_answer_cell(a, i, c->body), row);
	if (err)
		return err;
	struct df_id id = df_row_id(row);
	return df_id_cmp(&id, &row->id) ? DF_ECORRUPT : 0;
}

static int grow(struct df_rows *rows)
{
	if (rows->n < rows->size)
		return 0;
	size_t size = rows->size ? rows->size * 2 : 16;
	struct df_row *v = reallocarray(rows->row, size, sizeof(*v));
	if (!v)
		return -ENOMEM;
	rows->row = v;
	rows->size = size;
	return 0;
}

int df_rows_decode(const struct df_answer *a, struct df_rows *out)
{
	struct columns c;
	int err = a->n_rows ? find_columns(a, &c) : 0;

	for (size_t i = 0; !err && i < a->n_rows; i++) {
		struct df_row row = { 0 };
		uint64_t sent;
		if (!df_cell_hex64(df_answer_cell(a, i, c.sent), &sent))
			out->last_sent = DF_MAX(out->last_sent, sent);
		err = get_row(a, i, &c, &row);
		if (!err)
			err = grow(out);
		if (!err) {
			out->row[out->n++] = row;
			continue;
		}
		df_row_release(&row);
		if (err == DF_ECORRUPT) {
			out->refused++;
			err = 0;
		}
	}
	return err;
}

/* ---- statements */

static void put_dep_hex(struct df_buf *b, const struct df_dep *dep)
{
	char hex[2 * DF_ID_LEN + 1];

	df_id_hex(&dep->id, hex);
	df_buf_printf(b, "%s%016llx", hex, (unsigned long long)dep->epoch);
}

static void put_params(struct df_stmt *s, const struct df_row *row,
		       uint64_t sent)
{
	static const struct df_id none;
	struct df_buf text;
	const char *kind = df_row_kind_text(row->kind);

	df_stmt_id(s, &row->id);
	df_stmt_hex64(s, row->node);
	df_stmt_hex64(s, row->seq);
	df_stmt_hex64(s, sent);
	df_stmt_hex64(s, row->epoch);
	df_stmt_text(s, kind, strlen(kind));
	df_buf_init(&text, 0);
	if (df_id_cmp(&row->prev.id, &none))
		put_dep_hex(&text, &row->prev);
	df_stmt_text(s, df_buf_cstr(&text), text.len);
	df_buf_reset(&text);
	for (size_t i = 0; i < row->n_deps; i++)
		put_dep_hex(&text, &row->deps[i]);
	df_stmt_text(s, df_buf_cstr(&text), text.len);
	if (text.err)
		s->json.err = text.err;
	df_buf_release(&text);
	df_stmt_b64(s, row->body, row->body_len);
}

static int put_row(struct df_table *t, const struct df_row *row, uint64_t sent,
		   int64_t deadline_ns, struct df_ack *ack)
{
	struct df_call call = df_call_make("write a log row", DF_HTTP_URGENT,
					   true, deadline_ns);
	bool unique = t->remote.caps.ours;
	struct df_answer a;
	struct df_stmt s;

	*ack = (struct df_ack){ 0 };
	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "INSERT INTO \"%s\" (" COLUMNS ") VALUES "
		    "($1,$2,$3,$4,$5,$6,$7,$8,$9)%s",
		    t->log, unique ? " ON CONFLICT (id) DO NOTHING" : "");
	put_params(&s, row, sent);
	int err = df_api_sql(t->api, &s, &call, &a);
	df_stmt_release(&s);
	if (err == -EEXIST) {
		ack->already = true;
		return 0;
	}
	if (err)
		return err;
	ack->server_date_ms = a.date_ms;
	ack->already = unique && a.row_count == 0;
	df_answer_release(&a);
	return 0;
}

int df_rows_put(struct df_remote *r, const struct df_row *row, uint64_t sent,
		int64_t timeout_ms, struct df_ack *ack)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	int err = row->kind == DF_ROW_FORMAT ? 0 : df_table_ready(t, deadline);

	if (row->n_deps > DF_DEPS_MAX || row->body_len > DF_BODY_MAX)
		return df_fail(-EFBIG, "log row of %zu deps, %zu bytes",
			       row->n_deps, row->body_len);
	if (!err)
		err = df_fault("row.put");
	if (!err)
		err = put_row(t, row, sent, deadline, ack);
	return err ? err : df_fault("row.acked");
}

/* Run a SELECT of log rows and decode it. */
static int fetch(struct df_table *t, struct df_stmt *s, bool one,
		 int64_t deadline_ns, struct df_rows *out, size_t *n_rows,
		 int64_t *date_ms)
{
	struct df_call call = df_call_make("read the log", DF_HTTP_URGENT,
					   false, deadline_ns);
	struct df_answer a;

	call.answer_max = one ? ROW_ANSWER_MAX : 0;
	int err = df_api_sql(t->api, s, &call, &a);
	df_stmt_release(s);
	if (err)
		return err;
	err = df_rows_decode(&a, out);
	*n_rows = a.n_rows;
	if (date_ms)
		*date_ms = a.date_ms;
	df_answer_release(&a);
	return err;
}

/* One page.  A row too big to be fetched is named and passed by: its body is
 * left out, so that its hash fails and the page still ends after it. */
static int fetch_after(struct df_table *t, uint64_t after, unsigned limit,
		       int64_t deadline_ns, struct df_rows *out, size_t *got,
		       int64_t *date_ms)
{
	for (;;) {
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s,
			    "SELECT %s FROM \"%s\" WHERE sent > $1 "
			    "ORDER BY sent LIMIT %u",
			    limit ? COLUMNS
				  : "id,node,seq,sent,epoch,kind,"
				    "prev,'' AS deps,'' AS body",
			    t->log, DF_MAX(limit, 1u));
		df_stmt_hex64(&s, after);
		int err = fetch(t, &s, limit <= 1, deadline_ns, out, got,
				date_ms);
		out->more = !err && *got >= DF_MAX(limit, 1u);
		if (err != -EOVERFLOW)
			return err;
		if (!limit)
			return DF_ECORRUPT;
		df_rows_release(out);
		limit = limit > 1 ? limit / 2 : 0;
		if (!limit)
			df_log_warn("log of %s: a row is too big to be read; "
				    "it is refused",
				    t->name);
	}
}

/* A full page may end between rows of equal `sent`: those are left for the
 * next page, which asks for greater ones.  false: they all are equal. */
static bool trim_ties(struct df_rows *rows)
{
	uint64_t last = rows->last_sent, before = 0;
	size_t keep = 0;

	for (size_t i = 0; i < rows->n; i++)
		if (rows->row[i].sent < last)
			before = DF_MAX(before, rows->row[i].sent);
	if (!before)
		return false;
	for (size_t i = 0; i < rows->n; i++)
		if (rows->row[i].sent < last)
			rows->row[keep++] = rows->row[i];
		else
			df_row_release(&rows->row[i]);
	rows->n = keep;
	rows->last_sent = before;
	return true;
}

int df_rows_after(struct df_remote *r, uint64_t after, unsigned limit,
		  int64_t timeout_ms, struct df_rows *out, int64_t *date_ms)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	int err = df_table_ready(t, deadline);
	size_t got = 0;

	*out = (struct df_rows){ 0 };
	limit = DF_MIN(DF_MAX(limit, 2u), 10000u);
	while (!err) {
		err = fetch_after(t, after, limit, deadline, out, &got,
				  date_ms);
		if (err || !out->more || got < 2 || trim_ties(out))
			break;
		if (limit >= TIES_MOST)
			break;
		limit *= 4;
		df_rows_release(out);
	}
	if (err)
		df_rows_release(out);
	return err;
}

static int feed(struct df_table *t, uint64_t after, unsigned limit,
		int64_t wait_ms, struct df_rows *out, int64_t *date_ms)
{
	DF_FREE char *path = df_api_path(
		t->api, "/tables/%s/feed?after=%llu&wait=%lld&limit=%u", t->log,
		(unsigned long long)after, (long long)((wait_ms + 999) / 1000),
		limit);
	struct df_call call = df_call_make("wait for the log", DF_HTTP_FEED,
					   false,
					   df_deadline_ms(wait_ms + 15000));
	struct df_answer a;

	call.quiet_ms = wait_ms + 1000;
	call.answer_max = limit <= 1 ? ROW_ANSWER_MAX : 0;
	if (!path)
		return -ENOMEM;
	int err = df_api_rest_rows(t->api, path, &call, &a);
	if (err)
		return err;
	err = df_rows_decode(&a, out);
	out->last_n = a.n_rows || a.last ? a.last : after;
	out->more = a.n_rows >= limit || a.more;
	out->others = a.others != 0;
	if (date_ms)
		*date_ms = a.date_ms;
	df_answer_release(&a);
	return err;
}

int df_rows_feed(struct df_remote *r, uint64_t after, unsigned limit,
		 int64_t wait_ms, struct df_rows *out, int64_t *date_ms)
{
	struct df_table *t = df_table_of(r);
	struct df_asking asking;
	int err = df_table_ready_begin(
		t, df_deadline_ms(DF_MAX(wait_ms, 10000)), &asking);

	*out = (struct df_rows){ 0 };
	if (!err && !t->remote.caps.feed)
		err = -EOPNOTSUPP;
	limit = DF_MIN(DF_MAX(limit, 1u), 10000u);
	while (!err) {
		err = feed(t, after, limit, wait_ms, out, date_ms);
		if (err != -EOVERFLOW || limit == 1)
			break;
		df_rows_release(out);
		limit = limit / 2;
		err = 0;
	}
	df_table_ready_end(&asking);
	if (err == -ENOENT || err == -EOPNOTSUPP) {
		/* The server that proved a feed is gone, or another one
		 * answers now: polling works everywhere. */
		df_log_warn("%s: no feed any more, polling instead",
			    t->remote.where);
		t->remote.caps.feed = false;
		err = -EOPNOTSUPP;
	}
	if (err)
		df_rows_release(out);
	return err;
}

int df_rows_get(struct df_remote *r, const struct df_id *ids, size_t n,
		int64_t timeout_ms, struct df_rows *out)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	int err = df_table_ready(t, deadline);
	size_t step = 100, got;

	*out = (struct df_rows){ 0 };
	for (size_t i = 0; !err && i < n;) {
		size_t k = DF_MIN(step, n - i);
		struct df_stmt s;
		df_stmt_init(&s, 0);
		df_stmt_sql(&s, "SELECT %s FROM \"%s\" WHERE id IN (",
			    t->remote.caps.feed ? COLUMNS ",n" : COLUMNS,
			    t->log);
		df_table_put_marks(&s, 1, k);
		df_stmt_sql(&s, ")");
		df_table_put_ids(&s, ids + i, k);
		err = fetch(t, &s, k == 1, deadline, out, &got, NULL);
		if (err == -EOVERFLOW && k > 1) {
			step = k / 2;
			err = 0;
			continue;
		}
		i += k;
	}
	if (err)
		df_rows_release(out);
	return err;
}

int df_rows_formats(struct df_table *t, int64_t deadline_ns,
		    struct df_rows *out)
{
	struct df_stmt s;
	size_t got;

	*out = (struct df_rows){ 0 };
	df_stmt_init(&s, 0);
	df_stmt_sql(&s,
		    "SELECT " COLUMNS " FROM \"%s\" WHERE kind = 'format' "
		    "LIMIT 100",
		    t->log);
	return fetch(t, &s, false, deadline_ns, out, &got, NULL);
}

int df_rows_list(struct df_remote *r, int64_t timeout_ms,
		 struct df_idepoch_list *out, int64_t *date_ms)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	int err = df_table_ready(t, deadline);

	*out = (struct df_idepoch_list){ 0 };
	return err ? err
		   : df_table_list(t, t->log, "epoch", true, "list the log",
				   deadline, out, date_ms);
}

int df_rows_delete(struct df_remote *r, const struct df_id *ids, size_t n,
		   int64_t timeout_ms)
{
	struct df_table *t = df_table_of(r);
	int64_t deadline = df_deadline_ms(timeout_ms);
	int err = df_table_ready(t, deadline);

	return err ? err
		   : df_table_delete(t, t->log, "delete log rows", ids, n,
				     deadline);
}
