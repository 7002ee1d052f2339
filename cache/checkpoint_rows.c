/* checkpoint_rows.c - see checkpoint_rows.h. */
#include "cache/checkpoint_rows.h"

#include <stdlib.h>

#include "cache/registers/commit.h"
#include "cache/inlinepack.h"

#define TIMEOUT_MS 60000

struct page {
	struct df_remote *r; /* the table itself */
	struct df_rows rows;
	struct travelled {           /* in the row of the same index */
		struct df_body body; /* pack == NULL: nothing */
		bool kept;           /* it is in T__pack */
		bool stays;          /* of a newer format: who knows */
	} * with;                    /* owned; rows.n */
};

/* Rows that do not come back stay: an answer may lack some. */
static int read_page(struct page *p, const struct df_id *ids, size_t n)
{
	int err = p->r->ops->rows_get(p->r, ids, n, TIMEOUT_MS, &p->rows);

	p->with = df_xalloc((p->rows.n + 1) * sizeof(*p->with));
	for (size_t i = 0; i < p->rows.n && !err; i++) {
		const struct df_row *row = &p->rows.row[i];
		int bad = row->kind == DF_ROW_COMMIT
				  ? df_body_read(row->body, row->body_len,
						 &p->with[i].body)
				  : 0;
		/* What is malformed was refused by everybody. */
		if (bad)
			p->with[i].body = (struct df_body){ 0 };
		p->with[i].stays = bad == DF_EFORMAT;
	}
	return err;
}

static void page_release(struct page *p)
{
	for (size_t i = 0; i < p->rows.n && p->with; i++)
		df_body_release(&p->with[i].body);
	free(p->with);
	df_rows_release(&p->rows);
}

static bool is_missing(const struct travelled *t)
{
	return t->body.pack && !t->kept;
}

/* Which packs does T__pack show?  The number that it does not, or -errno. */
static int look_for_packs(struct page *p)
{
	struct df_id *ids = df_xalloc((p->rows.n + 1) * sizeof(*ids));
	bool *there = df_xalloc((p->rows.n + 1) * sizeof(*there));
	int n = 0, missing = 0;

	for (size_t i = 0; i < p->rows.n; i++)
		if (is_missing(&p->with[i]))
			ids[n++] = p->with[i].body.pack_id;
	int err = n ? p->r->ops->packs_have(p->r, ids, (size_t)n, TIMEOUT_MS,
					    there)
		    : 0;
	n = 0;
	for (size_t i = 0; i < p->rows.n && !err; i++)
		if (is_missing(&p->with[i])) {
			p->with[i].kept = there[n++];
			missing += !p->with[i].kept;
		}
	free(ids);
	free(there);
	return err ? err : missing;
}

static int put(struct df_remote *r, const struct df_pack_bytes *b, size_t n)
{
	int err = 0;

	if (r->ops->packs_put)
		return n ? r->ops->packs_put(r, b, n, TIMEOUT_MS) : 0;
	for (size_t i = 0; i < n && !err; i++)
		err = r->ops->pack_put(r, &b[i].id, b[i].data, b[i].len,
				       TIMEOUT_MS);
	return err;
}

/* As many in one statement as fit into a pack. */
static int copy_packs(struct page *p)
{
	struct df_pack_bytes *b = df_xalloc((p->rows.n + 1) * sizeof(*b));
	size_t n = 0, sum = 0;
	int err = 0;

	for (size_t i = 0; i < p->rows.n && !err; i++) {
		const struct df_body *t = &p->with[i].body;
		if (!is_missing(&p->with[i]))
			continue;
		if (n && sum + t->pack_len > p->r->pack_max) {
			err = put(p->r, b, n);
			n = sum = 0;
		}
		b[n++] = (struct df_pack_bytes){ t->pack_id, t->pack,
						 t->pack_len };
		sum += t->pack_len;
	}
	if (!err)
		err = put(p->r, b, n);
	free(b);
	return err;
}

static int delete_page(struct df_vol *v, struct page *p)
{
	struct df_id *ids = df_xalloc((p->rows.n + 1) * sizeof(*ids));
	size_t n = 0;

	for (size_t i = 0; i < p->rows.n; i++)
		if (!is_missing(&p->with[i]) && !p->with[i].stays)
			ids[n++] = p->rows.row[i].id;
	int err = n ? p->r->ops->rows_delete(p->r, ids, n, TIMEOUT_MS) : 0;
	for (size_t i = 0; i < p->rows.n && !err; i++)
		if (p->with[i].kept)
			df_inlinepack_forget(v->remote,
					     &p->with[i].body.pack_id);
	free(ids);
	return err;
}

int df_ck_rows_go(struct df_vol *v, const struct df_id *ids, size_t n)
{
	struct page p = { .r = df_inlinepack_lower(v->remote) };
	int err = read_page(&p, ids, n);
	int missing = err ? err : look_for_packs(&p);

	if (missing > 0) {
		err = copy_packs(&p);
		/* Acknowledged is not kept, and kept may show seconds later:
		 * then the row is the next checkpoint's. */
		missing = err ? err : look_for_packs(&p);
	}
	err = missing < 0 ? missing : delete_page(v, &p);
	page_release(&p);
	return err;
}
