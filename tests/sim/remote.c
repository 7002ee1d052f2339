/*
 * remote.c - the table of a simulated world: backend/remote.h in memory.
 *
 * Each node sees a row a while after it was put, each node at another moment;
 * rows may be doubled, answers lost, rows acknowledged and not kept.  Packs are
 * there at once.  See sim.h.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/remote.h"
#include "base/err.h"
#include "cache/registers/commit.h"
#include "tests/sim/sim.h"

struct sim_remote {
	struct df_remote base; /* first */
	struct world *w;
	struct node *nd;
	const struct set *only; /* not owned */
	bool stopped;
};

static struct sim_remote *sim(struct df_remote *r)
{
	return (struct sim_remote *)(void *)r;
}

static void *grow(void *p, size_t n, size_t *size, size_t each)
{
	if (n < *size)
		return p;
	*size = *size * 2 + 64;
	p = realloc(p, *size * each);
	if (!p)
		abort();
	return p;
}

static void *dup_bytes(const void *p, size_t len)
{
	void *new = malloc(len ? len : 1);

	if (!new)
		abort();
	if (len)
		memcpy(new, p, len);
	return new;
}

static void row_copy(struct df_row *to, const struct df_row *from)
{
	*to = *from;
	to->body = dup_bytes(from->body, from->body_len);
	to->deps = dup_bytes(from->deps, from->n_deps * sizeof(*from->deps));
}

ssize_t table_find(const struct table *t, const struct df_id *id)
{
	for (size_t i = t->n_rows; i--;)
		if (!df_id_cmp(&t->row[i].row.id, id))
			return (ssize_t)i;
	return -1;
}

bool row_visible(const struct world *w, const struct node *nd, size_t row)
{
	int64_t late = (int64_t)(rng_mix(w->seed, row, nd->uid) % DELAY_MS);

	if (w->table.row[row].by == nd->uid)
		late /= 8; /* a service answers its writer sooner */

	return w->table.everything ||
	       w->now_ms >= w->table.row[row].made_ms + late;
}

static bool shown(const struct sim_remote *s, size_t row)
{
	return s->only ? set_has(s->only, row) : row_visible(s->w, s->nd, row);
}

bool table_past(const struct table *t, size_t r, struct set *out)
{
	const struct df_row *row = &t->row[r].row;
	static const struct df_id none;
	bool whole = true;

	if (set_has(out, r))
		return true;
	set_add(out, r);
	for (size_t i = 0; i < t->row[r].stands.size; i++)
		if (set_has(&t->row[r].stands, i)) {
			set_add(out, i);
			whole &= t->row[i].kept;
		}
	for (size_t i = 0; i <= row->n_deps; i++) {
		const struct df_id *id = i < row->n_deps ? &row->deps[i].id
							 : &row->prev.id;
		ssize_t at = table_find(t, id);

		if (at >= 0)
			whole &= t->row[at].kept &&
				 table_past(t, (size_t)at, out);
		else if (df_id_cmp(id, &none))
			whole = false;
	}
	return whole;
}

static bool in_log(const struct table *t, size_t row)
{
	for (size_t i = 0; i < t->n_log; i++)
		if (t->log[i].row == row)
			return true;
	return false;
}

/* nd skipped this row, and it came since nd polled.  A probe has just polled. */
static bool unheard_of(struct node *nd, size_t row)
{
	const struct table *t = &nd->w->table;

	return in_log(t, row) && nd != nd->w->probe &&
	       !knows_row(nd, &t->row[row].row.id);
}

bool table_lost_pack(struct node *nd, const struct df_id *pack)
{
	const struct table *t = &nd->w->table;
	bool lost = false;

	for (size_t i = 0; i < t->n_rows; i++) {
		const struct df_row *row = &t->row[i].row;
		struct df_body body;

		if (row->kind != DF_ROW_COMMIT ||
		    df_body_read(row->body, row->body_len, &body))
			continue;
		if (body.pack && !df_id_cmp(&body.pack_id, pack)) {
			if (t->row[i].kept && row_visible(nd->w, nd, i) &&
			    !unheard_of(nd, i))
				return false;
			lost = true;
		}
		df_body_release(&body);
	}
	return lost;
}

size_t table_pack_bytes(const struct table *t)
{
	size_t sum = 0;

	for (size_t i = 0; i < t->n_packs; i++)
		sum += t->pack[i].len;
	return sum;
}

static struct wpack *pack_find(const struct table *t, const struct df_id *id)
{
	for (size_t i = 0; i < t->n_packs; i++)
		if (!df_id_cmp(&t->pack[i].id, id))
			return &t->pack[i];
	return NULL;
}

/* ---- log rows */
static void log_add(struct table *t, size_t row, uint64_t sent)
{
	t->log = grow(t->log, t->n_log, &t->log_size, sizeof(*t->log));
	t->log[t->n_log++] = (struct copy){ row, sent, ++t->last_n };
}

static size_t row_new(struct world *w, const struct df_row *row)
{
	struct table *t = &w->table;

	t->row = grow(t->row, t->n_rows, &t->rows_size, sizeof(*t->row));
	t->row[t->n_rows] = (struct wrow){ .made_ms = w->now_ms };
	row_copy(&t->row[t->n_rows].row, row);
	return t->n_rows++;
}

/* What nd showed when it cut this row, taken out of its list; or NULL. */
static struct cutrec *take_cut(struct node *nd, const struct df_id *id)
{
	for (struct cutrec **at = &nd->cuts; *at; at = &(*at)->next) {
		struct cutrec *c = *at;

		if (df_id_cmp(&c->row, id))
			continue;
		*at = c->next;
		return c;
	}
	return NULL;
}

/* A probe folds the whole log: in a long one they become rare, so that the work
 * of all of them grows with the log and not with its square. */
static bool worth_a_probe(size_t at)
{
	return at < 256 || at % (at / 32) == 0;
}

/* What a checkpoint says the log must have said: readers that know all that is
 * covered do not fold it. */
static void stand_on(struct world *w, struct node *nd, size_t at)
{
	struct table *t = &w->table;

	for (size_t i = 0; i < at; i++) {
		if (!knows_row(nd, &t->row[i].row.id))
			continue;
		set_add(&t->row[at].stands, i);
		if (!t->row[i].kept && t->row[i].row.kind == DF_ROW_COMMIT)
			fail(w,
			     "n%u's checkpoint stands on row %zu, which the "
			     "log never had",
			     nd->uid, i);
	}
}

/* A first attempt: the row is checked against what its writer showed. */
static size_t row_first(struct sim_remote *s, const struct df_row *row)
{
	struct world *w = s->w;
	size_t at = row_new(w, row);
	struct cutrec *c = take_cut(s->nd, &row->id);

	w->table.row[at].by = s->nd->uid;
	if (row->kind == DF_ROW_CHECKPOINT)
		stand_on(w, s->nd, at);
	if (!c)
		return at;
	w->table.row[at].tokens = c->tokens;
	w->table.row[at].fresh = c->fresh;
	c->tokens = c->fresh = (struct set){ 0 };
	if (!c->held && rng_chance(&w->rng, 15) && worth_a_probe(at) &&
	    !w->table.faults.packs_lost)
		check_prefix(w, at, c);
	cutrec_free(c);
	return at;
}

/* A twin sends what its other half has sent. */
static void row_again(struct sim_remote *s, const struct df_row *row)
{
	struct cutrec *c = take_cut(s->nd, &row->id);

	if (c)
		cutrec_free(c);
}

/* A row is put when the packs with its registers are there. */
static void check_packs(struct world *w, const struct df_row *row)
{
	struct df_body body;

	if (row->kind != DF_ROW_COMMIT || w->table.faults.packs_lost ||
	    df_body_read(row->body, row->body_len, &body))
		return;
	for (size_t i = 0; i < body.n_pieces; i++)
		if (!pack_find(&w->table, &body.pieces[i].pack))
			fail(w, "row_put: a pack with its registers is "
				"missing");
	df_body_release(&body);
}

static int sim_row_put(struct df_remote *r, const struct df_row *row,
		       uint64_t sent, int64_t timeout_ms, struct df_ack *ack)
{
	struct sim_remote *s = sim(r);
	struct world *w = s->w;
	struct table *t = &w->table;
	struct df_id id = df_row_id(row);
	ssize_t at = table_find(t, &row->id);
	bool first = at < 0;

	(void)timeout_ms;
	if (s->stopped)
		return -ECANCELED;
	if (df_id_cmp(&id, &row->id))
		fail(w, "row_put: the id is not the row's hash");
	if (row->body_len > DF_BODY_MAX || row->n_deps > DF_DEPS_MAX)
		fail(w, "row_put: body of %zu bytes, %zu deps", row->body_len,
		     row->n_deps);
	if (s->only || t->offline || rng_chance(&w->rng, t->faults.not_applied))
		return DF_EOFFLINE;
	check_packs(w, row);
	if (first)
		at = (ssize_t)row_first(s, row);
	else
		row_again(s, row);
	trace(w, "  row %zd%s", at, first ? " is new" : "");
	t->row[at].tries++;
	*ack = (struct df_ack){ .server_date_ms = w->now_ms };
	if (rng_chance(&w->rng, t->faults.not_kept)) {
		trace(w, "  and is not kept");
		return 0;
	}
	if (!t->row[at].kept)
		t->row[at].made_ms = w->now_ms;
	t->row[at].kept = true;
	if (!t->ours || !in_log(t, (size_t)at))
		log_add(t, (size_t)at, sent);
	if (rng_chance(&w->rng, t->faults.doubled))
		log_add(t, (size_t)at, sent);
	return rng_chance(&w->rng, t->faults.lost_answer) ? -EAGAIN : 0;
}

static void rows_add(struct df_rows *out, const struct df_row *row,
		     uint64_t sent, uint64_t place)
{
	out->row = grow(out->row, out->n, &out->size, sizeof(*out->row));
	row_copy(&out->row[out->n], row);
	out->row[out->n].sent = sent;
	out->row[out->n++].n = place;
}

static int by_sent(const void *a, const void *b)
{
	const struct copy *x = a, *y = b;

	return x->sent < y->sent ? -1 : x->sent > y->sent;
}

/* Copies that s sees with sent > after, in order; the caller frees. */
static struct copy *page(struct sim_remote *s, uint64_t after, size_t *n)
{
	const struct table *t = &s->w->table;
	size_t most = s->only ? t->n_rows : t->n_log;
	struct copy *c = malloc((most + 1) * sizeof(*c));

	if (!c)
		abort();
	*n = 0;
	for (size_t i = 0; i < most; i++) {
		struct copy at = s->only ? (struct copy){ i, i + 1, i + 1 }
					 : t->log[i];

		if (shown(s, at.row) && at.sent > after)
			c[(*n)++] = at;
	}
	qsort(c, *n, sizeof(*c), by_sent);
	return c;
}

static int sim_rows_after(struct df_remote *r, uint64_t after, unsigned limit,
			  int64_t timeout_ms, struct df_rows *out,
			  int64_t *server_date_ms)
{
	struct sim_remote *s = sim(r);
	struct copy *c;
	size_t n, i;

	(void)timeout_ms;
	*out = (struct df_rows){ 0 };
	if (s->stopped)
		return -ECANCELED;
	if (s->w->table.offline)
		return DF_EOFFLINE;
	if (server_date_ms)
		*server_date_ms = s->w->now_ms;
	c = page(s, after, &n);
	/* rows of one moment are never torn apart: `sent` is the key */
	for (i = 0; i < n && (i < limit || c[i].sent == c[i - 1].sent); i++)
		rows_add(out, &s->w->table.row[c[i].row].row, c[i].sent, 0);
	out->last_sent = i ? c[i - 1].sent : after;
	out->more = i < n;
	s->w->table.asked_after = after;
	s->w->table.gave += i;
	free(c);
	return 0;
}

/* The log is in the order of commits. */
static int sim_rows_feed(struct df_remote *r, uint64_t after, unsigned limit,
			 int64_t wait_ms, struct df_rows *out,
			 int64_t *server_date_ms)
{
	struct sim_remote *s = sim(r);
	const struct table *t = &s->w->table;
	size_t i = 0;

	(void)wait_ms;
	*out = (struct df_rows){ .last_n = after };
	if (s->stopped)
		return -ECANCELED;
	if (t->offline)
		return DF_EOFFLINE;
	*server_date_ms = s->w->now_ms;
	for (; i < t->n_log && out->n < limit; i++) {
		const struct copy *c = &t->log[i];

		if (c->n <= after)
			continue;
		rows_add(out, &t->row[c->row].row, c->sent, c->n);
		out->last_n = c->n;
	}
	out->more = i < t->n_log;
	return 0;
}

static int sim_rows_list(struct df_remote *r, int64_t timeout_ms,
			 struct df_idepoch_list *out, int64_t *server_date_ms)
{
	struct sim_remote *s = sim(r);
	const struct table *t = &s->w->table;
	struct set seen = { 0 };
	struct copy *c;
	size_t n;

	(void)timeout_ms;
	*out = (struct df_idepoch_list){ 0 };
	if (s->stopped)
		return -ECANCELED;
	if (t->offline)
		return DF_EOFFLINE;
	if (server_date_ms)
		*server_date_ms = s->w->now_ms;
	c = page(s, 0, &n);
	out->v = malloc((n + 1) * sizeof(*out->v));
	for (size_t i = 0; out->v && i < n; i++) {
		if (set_has(&seen, c[i].row))
			continue;
		set_add(&seen, c[i].row);
		out->v[out->n++] =
			(struct df_dep){ t->row[c[i].row].row.id,
					 t->row[c[i].row].row.epoch };
	}
	set_release(&seen);
	free(c);
	return out->v ? 0 : -ENOMEM;
}

static int sim_rows_get(struct df_remote *r, const struct df_id *ids,
			size_t n_ids, int64_t timeout_ms, struct df_rows *out)
{
	struct sim_remote *s = sim(r);
	struct copy *c;
	size_t n;

	(void)timeout_ms;
	*out = (struct df_rows){ 0 };
	if (s->stopped)
		return -ECANCELED;
	if (s->w->table.offline)
		return DF_EOFFLINE;
	c = page(s, 0, &n);
	for (size_t k = 0; k < n_ids; k++)
		for (size_t i = 0; i < n; i++) {
			const struct df_row *row =
				&s->w->table.row[c[i].row].row;

			if (!df_id_cmp(&row->id, &ids[k])) {
				rows_add(out, row, c[i].sent, c[i].n);
				break;
			}
		}
	free(c);
	return 0;
}

/* Take row r out of the log; how often it was in it. */
static size_t log_del(struct table *t, ssize_t r)
{
	size_t kept = 0, was = t->n_log;

	for (size_t i = 0; i < was; i++)
		if ((ssize_t)t->log[i].row != r)
			t->log[kept++] = t->log[i];
	t->n_log = kept;
	return was - kept;
}

static int sim_rows_delete(struct df_remote *r, const struct df_id *ids,
			   size_t n, int64_t timeout_ms)
{
	struct sim_remote *s = sim(r);
	struct table *t = &s->w->table;

	(void)timeout_ms;
	if (t->offline)
		return DF_EOFFLINE;
	for (size_t k = 0; k < n; k++) {
		ssize_t row = table_find(t, &ids[k]);

		s->w->n_deleted += log_del(t, row);
		trace(s->w, "  row %zd is deleted", row);
	}
	return 0;
}

void table_lose(struct world *w, size_t r)
{
	log_del(&w->table, (ssize_t)r);
	w->table.row[r].kept = false;
}

/* ---- packs */
static int sim_pack_put(struct df_remote *r, const struct df_id *id,
			const void *data, size_t len, int64_t timeout_ms)
{
	struct sim_remote *s = sim(r);
	struct table *t = &s->w->table;

	(void)timeout_ms;
	if (t->on_pack)
		t->on_pack(s->w);
	if (s->only || t->offline ||
	    rng_chance(&s->w->rng, t->faults.not_applied))
		return DF_EOFFLINE;
	if (t->faults.packs_lost)
		return 0;
	if (!pack_find(t, id)) {
		t->pack = grow(t->pack, t->n_packs, &t->packs_size,
			       sizeof(*t->pack));
		t->pack[t->n_packs++] =
			(struct wpack){ *id, dup_bytes(data, len), len };
	}
	return rng_chance(&s->w->rng, t->faults.lost_answer) ? -EAGAIN : 0;
}

static int sim_pack_get(struct df_remote *r, const struct df_id *id,
			uint64_t off, uint64_t len, int64_t timeout_ms,
			struct df_buf *out)
{
	struct sim_remote *s = sim(r);
	const struct wpack *p = pack_find(&s->w->table, id);

	(void)timeout_ms;
	if (s->w->table.offline)
		return DF_EOFFLINE;
	if (!p)
		return -ENOENT;
	if (!len)
		len = p->len;
	if (off > p->len || len > p->len - off)
		return DF_ECORRUPT;
	df_buf_put(out, p->data + off, len);
	return out->err;
}

static int sim_packs_have(struct df_remote *r, const struct df_id *ids,
			  size_t n, int64_t timeout_ms, bool *present)
{
	(void)timeout_ms;
	for (size_t i = 0; i < n; i++)
		present[i] = pack_find(&sim(r)->w->table, &ids[i]) != NULL;
	return 0;
}

static int sim_packs_list(struct df_remote *r, int64_t timeout_ms,
			  struct df_idepoch_list *out)
{
	const struct table *t = &sim(r)->w->table;

	(void)timeout_ms;
	*out = (struct df_idepoch_list){ .v = malloc((t->n_packs + 1) *
						     sizeof(*out->v)) };
	for (size_t i = 0; out->v && i < t->n_packs; i++)
		out->v[out->n++] =
			(struct df_dep){ t->pack[i].id, t->pack[i].len };
	return out->v ? 0 : -ENOMEM;
}

static int sim_packs_delete(struct df_remote *r, const struct df_id *ids,
			    size_t n, int64_t timeout_ms)
{
	struct table *t = &sim(r)->w->table;

	(void)timeout_ms;
	for (size_t i = 0; i < n; i++) {
		struct wpack *p = pack_find(t, &ids[i]);

		if (!p)
			continue;
		free(p->data);
		*p = t->pack[--t->n_packs];
	}
	return 0;
}

static int sim_reload(struct df_remote *r)
{
	(void)r;
	return 0;
}

static void sim_reset(struct df_remote *r)
{
	(void)r;
}

static void sim_stop(struct df_remote *r)
{
	sim(r)->stopped = true;
}

static void sim_free(struct df_remote *r)
{
	free(sim(r));
}

static const struct df_remote_ops sim_ops = {
	.name = "sim",
	.row_put = sim_row_put,
	.rows_after = sim_rows_after,
	.rows_feed = sim_rows_feed,
	.rows_list = sim_rows_list,
	.rows_get = sim_rows_get,
	.rows_delete = sim_rows_delete,
	.pack_put = sim_pack_put,
	.pack_get = sim_pack_get,
	.packs_have = sim_packs_have,
	.packs_list = sim_packs_list,
	.packs_delete = sim_packs_delete,
	.reload = sim_reload,
	.reset = sim_reset,
	.stop = sim_stop,
	.free = sim_free,
};

struct df_remote *sim_remote_new(struct world *w, struct node *nd,
				 const struct set *only)
{
	struct sim_remote *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->base.ops = &sim_ops;
	s->base.pack_max = 4 << 20;
	s->base.latency_ms = 1;
	s->base.caps.ours = s->base.caps.feed = w->table.ours;
	memcpy(s->base.where, "sim", 4);
	s->w = w;
	s->nd = nd;
	s->only = only;
	return &s->base;
}

/* The format row, as `deeplake init` writes it. */
void table_init(struct world *w)
{
	struct df_row row = { .kind = DF_ROW_FORMAT };

	row.id = df_row_id(&row);
	log_add(&w->table, row_new(w, &row), 1);
	w->table.row[0].kept = true;
	w->table.row[0].made_ms = w->now_ms - DELAY_MS;
}

void table_release(struct table *t)
{
	for (size_t i = 0; i < t->n_rows; i++) {
		free(t->row[i].row.body);
		free(t->row[i].row.deps);
		set_release(&t->row[i].tokens);
		set_release(&t->row[i].fresh);
		set_release(&t->row[i].stands);
	}
	for (size_t i = 0; i < t->n_packs; i++)
		free(t->pack[i].data);
	free(t->row);
	free(t->log);
	free(t->pack);
	*t = (struct table){ 0 };
}
