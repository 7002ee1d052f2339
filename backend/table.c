/* table.c - see table.h: the struct df_remote of a mount. */
#include "backend/table.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/creds.h"
#include "backend/filesview.h"
#include "backend/packs.h"
#include "backend/tablei.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

int df_table_check_name(const char *table)
{
	size_t n = strlen(table);
	bool ok = n > 0 && n <= DF_TABLE_NAME_MAX && table[0] != '-' &&
		  !(table[0] >= '0' && table[0] <= '9');

	for (const char *p = table; ok && *p; p++)
		ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		     (*p >= '0' && *p <= '9') || *p == '_' || *p == '-';
	if (ok)
		return 0;
	df_log_error("\"%.80s\" is no table name: use letters, digits, _ and "
		     "-, at most %d, not first a digit or -",
		     table, DF_TABLE_NAME_MAX);
	return -EINVAL;
}

/* ---- the format row */

static int read_body(const struct df_row *row, int *format, bool *unique,
		     bool *ryw, bool *feed)
{
	json_t *root =
		json_loadb((const char *)row->body, row->body_len, 0, NULL);
	json_t *v = json_object_get(root, "format");

	*format = json_is_integer(v) ? (int)DF_MIN(json_integer_value(v),
						   (json_int_t)INT32_MAX)
				     : 0;
	*unique = json_is_true(json_object_get(root, "unique"));
	*ryw = json_is_true(json_object_get(root, "read_your_write"));
	*feed = json_is_true(json_object_get(root, "feed"));
	json_decref(root);
	return *format > 0 ? 0 : DF_ECORRUPT;
}

/* Two format rows (two inits that measured differently): what both say. */
static int judge_formats(struct df_table *t, const struct df_rows *rows)
{
	bool ours = true, feed = true, any = false;

	for (size_t i = 0; i < rows->n; i++) {
		bool u, w, f;
		int format;
		if (read_body(&rows->row[i], &format, &u, &w, &f))
			continue;
		if (format > DF_TABLE_FORMAT)
			return df_fail(DF_EFORMAT,
				       "%s has format %d, this "
				       "program knows %d; update it",
				       t->remote.where, format,
				       DF_TABLE_FORMAT);
		any = true;
		ours &= u && w;
		feed &= f;
	}
	if (!any)
		return -ENOENT;
	t->remote.caps.feed = ours && feed;
	t->remote.caps.ours = ours;
	return 0;
}

/* Only our own server says so beforehand; elsewhere the first refused write
 * does.  Not knowing it is no error. */
static void ask_read_only(struct df_table *t, int64_t deadline_ns)
{
	DF_FREE char *path = df_api_path(t->api, "/capabilities");
	struct df_call call = df_call_make("ask what the token may do",
					   DF_HTTP_URGENT, false, deadline_ns);
	struct df_buf body;

	if (!path || df_api_rest(t->api, "GET", path, NULL, &call, &body))
		return;
	json_t *root = json_loadb((const char *)body.data, body.len, 0, NULL);
	if (json_is_true(json_object_get(root, "read_only")))
		t->remote.read_only = true;
	json_decref(root);
	df_buf_release(&body);
}

int df_table_read_formats(struct df_table *t, int64_t deadline_ns)
{
	struct df_rows rows;
	int err = df_rows_formats(t, deadline_ns, &rows);

	if (!err)
		err = judge_formats(t, &rows);
	df_rows_release(&rows);
	if (!err)
		t->known = true;
	return err;
}

/* Several may read it at once: they read the same.  The service says "no rows"
 * now and then, so once is not enough for "not there". */
static int learn_format(struct df_table *t, int64_t deadline_ns)
{
	static const struct timespec pause = { .tv_nsec = 300 * DF_NS_PER_MS };
	int err = 0;

	t->remote.latency_ms = df_api_latency_ms(t->api);
	for (int i = 0; i < 3 && !t->known; i++) {
		err = df_table_read_formats(t, deadline_ns);
		if (err != -ENOENT || df_deadline_ms(400) > deadline_ns)
			break;
		nanosleep(&pause, NULL);
	}
	if (err == -ENOENT && !atomic_exchange(&t->missed, true))
		df_log_error("%s: there is no volume; make it with: deeplake "
			     "init --table %s --path DIR",
			     t->remote.where, t->name);
	return err;
}

static bool must_ask(struct df_table *t)
{
	return t->remote.caps.ours && !atomic_exchange(&t->asked, true);
}

int df_table_ready(struct df_table *t, int64_t deadline_ns)
{
	int err = learn_format(t, deadline_ns);

	if (!err && must_ask(t))
		ask_read_only(t, deadline_ns);
	return err;
}

static void *ask_main(void *arg)
{
	struct df_asking *a = arg;

	ask_read_only(a->t, a->deadline_ns);
	return NULL;
}

int df_table_ready_begin(struct df_table *t, int64_t deadline_ns,
			 struct df_asking *a)
{
	int err = learn_format(t, deadline_ns);

	*a = (struct df_asking){ .t = t, .deadline_ns = deadline_ns };
	if (err || !must_ask(t))
		return err;
	a->asking = !pthread_create(&a->thread, NULL, ask_main, a);
	if (!a->asking)
		ask_read_only(t, deadline_ns);
	return 0;
}

void df_table_ready_end(struct df_asking *a)
{
	if (a->asking)
		pthread_join(a->thread, NULL);
}

int df_table_probe(struct df_remote *r, int64_t timeout_ms)
{
	return df_table_ready(df_table_of(r), df_deadline_ms(timeout_ms));
}

/* ---- the operations that are about the connection */
static int learn(struct df_remote *r, int64_t timeout_ms)
{
	return learn_format(df_table_of(r), df_deadline_ms(timeout_ms));
}

/* A refused write says that these credentials are for reading; the flag is
 * what the volume asks. */
static int row_put(struct df_remote *r, const struct df_row *row, uint64_t sent,
		   int64_t timeout_ms, struct df_ack *ack)
{
	int err = df_rows_put(r, row, sent, timeout_ms, ack);

	if (err == -EROFS)
		r->read_only = true;
	return err;
}

static int packs_put(struct df_remote *r, const struct df_pack_bytes *p,
		     size_t n, int64_t timeout_ms)
{
	int err = df_packs_put(r, p, n, timeout_ms);

	if (err == -EROFS)
		r->read_only = true;
	return err;
}

static int pack_put(struct df_remote *r, const struct df_id *id,
		    const void *data, size_t len, int64_t timeout_ms)
{
	struct df_pack_bytes p = { *id, data, len };

	return packs_put(r, &p, 1, timeout_ms);
}

static int reload(struct df_remote *r)
{
	struct df_table *t = df_table_of(r);
	struct df_creds creds;
	int err = df_creds_load_quiet(t->credentials, &creds);

	if (err)
		return err;
	err = df_api_set_auth(t->api, creds.token, creds.org_id);
	if (!err)
		r->read_only = false;
	df_creds_release(&creds);
	return err;
}

static void health(struct df_remote *r, struct df_remote_health *out)
{
	struct df_api_health h;

	df_api_health(df_table_of(r)->api, &h);
	*out = (struct df_remote_health){
		.requests = h.http.requests,
		.retries = h.retries,
		.faults = h.http.faults,
		.connects = h.http.connects,
		.bytes_out = h.http.bytes_out,
		.bytes_in = h.http.bytes_in,
		.moved = h.http.moved,
		.in_flight = h.http.in_flight,
		.max_in_flight = h.http.max_in_flight,
		.err = h.err,
		.since_ms = h.since_ms,
		.last_ok_ms = h.last_ok_ms,
		.away_ms = h.away_ms,
	};
	memcpy(out->text, h.text, sizeof(out->text));
}

static void reset(struct df_remote *r)
{
	df_api_reset(df_table_of(r)->api);
}

static void stop(struct df_remote *r)
{
	df_api_stop(df_table_of(r)->api);
}

static void table_free(struct df_remote *r)
{
	struct df_table *t = df_table_of(r);

	df_api_free(t->api);
	free(t->name);
	free(t->log);
	free(t->pack);
	free(t->credentials);
	free(t);
}

#define OPS_WITHOUT_VIEW                                                     \
	.name = "table", .learn = learn, .row_put = row_put,                 \
	.rows_after = df_rows_after, .rows_feed = df_rows_feed,              \
	.rows_list = df_rows_list, .rows_get = df_rows_get,                  \
	.rows_delete = df_rows_delete, .pack_put = pack_put,                 \
	.packs_put = packs_put, .pack_get = df_packs_get,                    \
	.packs_have = df_packs_have, .packs_list = df_packs_list,            \
	.packs_delete = df_packs_delete, .reload = reload, .health = health, \
	.reset = reset, .stop = stop, .free = table_free

static const struct df_remote_ops plain_ops = { OPS_WITHOUT_VIEW };
static const struct df_remote_ops view_ops = {
	OPS_WITHOUT_VIEW,
	.view_apply = df_filesview_apply,
	.view_foreign = df_filesview_foreign,
};

static int fill(struct df_table *t, const struct df_table_conf *conf)
{
	struct df_api_conf api = {
		.api_url = conf->api_url,
		.workspace = conf->workspace ? conf->workspace
					     : DF_WORKSPACE_DEFAULT,
		.ca_file = conf->ca_file,
		.user_agent = conf->user_agent,
		.bwlimit = conf->bwlimit,
		.patience_ms = conf->patience_ms,
	};
	int err = df_api_new(&api, &t->api);

	if (err)
		return err;
	t->remote.api = t->api;
	t->name = strdup(conf->table);
	t->log = df_strf("%s__log", conf->table);
	t->pack = df_strf("%s__pack", conf->table);
	if (conf->credentials)
		t->credentials = strdup(conf->credentials);
	if (!t->name || !t->log || !t->pack ||
	    (conf->credentials && !t->credentials))
		return -ENOMEM;
	snprintf(t->remote.where, sizeof(t->remote.where), "%s %s/%s",
		 df_api_base(t->api), api.workspace, t->name);
	return df_api_set_auth(t->api, conf->token, conf->org);
}

int df_table_open(const struct df_table_conf *conf, struct df_remote **out)
{
	int err = df_table_check_name(conf->table);

	if (err)
		return err;
	struct df_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->remote.ops = conf->view ? &view_ops : &plain_ops;
	t->remote.pack_max = DF_PACK_FIRST;
	err = fill(t, conf);
	if (err) {
		if (t->api)
			stop(&t->remote);
		table_free(&t->remote);
		return err;
	}
	*out = &t->remote;
	return 0;
}

struct df_api *df_table_api(struct df_remote *r)
{
	return df_table_of(r)->api;
}
