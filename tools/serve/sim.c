/* sim.c - see sim.h. */
#include "tools/serve/sim.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/log.h"

#define SIM_RULES_MAX 64
#define SIM_LOOK_NS (50 * DF_NS_PER_MS) /* how often the file is looked at */

enum sim_what {
	WHAT_UNKNOWN = 0,
	WHAT_LATENCY,
	WHAT_VISIBLE,
	WHAT_LOSE,
	WHAT_FORGET,
	WHAT_DOUBLE,
	WHAT_EMPTY,
	WHAT_STATUS,
	WHAT_HTML,
	WHAT_DROP,
};

static const struct {
	const char *name;
	enum sim_what what;
	int status;
	bool takes_value;
} sim_names[] = {
	{ "latency_ms", WHAT_LATENCY, 0, true },
	{ "visible_after_ms", WHAT_VISIBLE, 0, true },
	{ "lose_answer", WHAT_LOSE, 0, false },
	{ "ack_not_kept", WHAT_FORGET, 0, false },
	{ "double_rows", WHAT_DOUBLE, 0, false },
	{ "empty_select", WHAT_EMPTY, 0, false },
	{ "status_401", WHAT_STATUS, 401, false },
	{ "status_402", WHAT_STATUS, 402, false },
	{ "status_429", WHAT_STATUS, 429, false },
	{ "status_500", WHAT_STATUS, 500, false },
	{ "status_502", WHAT_STATUS, 502, false },
	{ "status_503", WHAT_STATUS, 503, false },
	{ "status_504", WHAT_STATUS, 504, false },
	{ "html_403", WHAT_HTML, 403, false },
	{ "drop", WHAT_DROP, 0, false },
};

struct sim_rule {
	const char *name; /* static, from sim_names */
	enum sim_what what;
	int status;
	int64_t lo, hi; /* value */
	int lose;       /* lose_answer: status or -1 */
	double probability;
	int endpoint;            /* -1 = any */
	char kind[16], table[8]; /* "" = any */
	int64_t skip, count;     /* left; count -1 = no end */
	int64_t from_ms, to_ms;
	int retry_after_s;
};

struct sim_conf {
	struct sim_rule rule[SIM_RULES_MAX];
	size_t n;
	uint64_t seed;
	bool no_feed, no_unique;
	int64_t max_statement_bytes;
	int max_parallel;
	double requests_per_s;
};

struct df_sim {
	char *path;
	struct df_lock lock;
	struct sim_conf conf;       /* lock */
	struct timespec mtime;      /* lock */
	off_t size;                 /* lock */
	int64_t looked_ns, read_ns; /* lock */
	int64_t pace_ns;            /* lock; when the next request may run */
	uint64_t dice;              /* lock */
};

/* ---- reading */

static int sim_bad(const struct df_sim *s, const char *what)
{
	df_log_error("--simulate %s: %s", s->path, what);
	return -EINVAL;
}

static void rule_range(const json_t *v, struct sim_rule *r)
{
	if (json_is_array(v) && json_array_size(v) == 2) {
		r->lo = (int64_t)json_number_value(json_array_get(v, 0));
		r->hi = (int64_t)json_number_value(json_array_get(v, 1));
	} else {
		r->lo = r->hi = (int64_t)json_number_value(v);
	}
	if (r->hi < r->lo)
		r->hi = r->lo;
}

static int rule_what(struct df_sim *s, const char *name, struct sim_rule *r,
		     bool *takes_value)
{
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(sim_names); i++) {
		if (strcmp(sim_names[i].name, name) != 0)
			continue;
		r->name = sim_names[i].name;
		r->what = sim_names[i].what;
		r->status = sim_names[i].status;
		*takes_value = sim_names[i].takes_value;
		return 0;
	}
	df_log_error("--simulate %s: unknown fault \"%s\": deeplake-serve(1) "
		     "lists them",
		     s->path, name);
	return -EINVAL;
}

static int rule_text(struct df_sim *s, const json_t *o, const char *key,
		     char *out, size_t size)
{
	const char *v = json_string_value(json_object_get(o, key));

	if (v == NULL)
		return json_object_get(o, key) == NULL
			       ? 0
			       : sim_bad(s, "endpoint, kind and table are "
					    "strings");
	if (strlen(v) >= size)
		return sim_bad(s, "endpoint, kind or table is unknown");
	memcpy(out, v, strlen(v) + 1);
	return 0;
}

static int rule_endpoint(struct df_sim *s, const char *name, struct sim_rule *r)
{
	int e;

	if (name[0] == '\0')
		return 0;
	for (e = 0; e < DF_EP_COUNT; e++) {
		if (strcmp(df_endpoint_name((enum df_endpoint)e), name) != 0)
			continue;
		r->endpoint = e;
		return 0;
	}
	return sim_bad(s, "unknown endpoint in a rule");
}

static int64_t rule_int(const json_t *o, const char *key, int64_t fallback)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? (int64_t)json_number_value(v) : fallback;
}

static struct sim_rule *rule_new(struct sim_conf *c)
{
	struct sim_rule *r = &c->rule[c->n++];

	*r = (struct sim_rule){ .probability = 1,
				.endpoint = -1,
				.count = -1,
				.to_ms = INT64_MAX,
				.lose = -1,
				.retry_after_s = 1 };
	return r;
}

static int rule_read(struct df_sim *s, struct sim_conf *c, const json_t *o)
{
	const char *what = json_string_value(json_object_get(o, "what"));
	const json_t *v = json_object_get(o, "value");
	char endpoint[24] = "";
	struct sim_rule *r;
	bool takes_value;

	if (what == NULL)
		return sim_bad(s, "a rule needs \"what\"");
	if (c->n == SIM_RULES_MAX)
		return sim_bad(s, "too many rules (most: 64)");
	r = rule_new(c);
	if (rule_what(s, what, r, &takes_value) < 0)
		return -EINVAL;
	rule_range(v, r);
	if (r->what == WHAT_LOSE && json_is_integer(v))
		r->lose = (int)json_integer_value(v);
	v = json_object_get(o, "probability");
	if (json_is_number(v))
		r->probability = json_number_value(v);
	r->skip = rule_int(o, "skip", 0);
	r->count = rule_int(o, "count", -1);
	r->from_ms = rule_int(o, "from_ms", 0);
	r->to_ms = rule_int(o, "to_ms", INT64_MAX);
	r->retry_after_s = (int)rule_int(o, "retry_after_s", 1);
	if (rule_text(s, o, "endpoint", endpoint, sizeof(endpoint)) < 0 ||
	    rule_text(s, o, "kind", r->kind, sizeof(r->kind)) < 0 ||
	    rule_text(s, o, "table", r->table, sizeof(r->table)) < 0)
		return -EINVAL;
	return rule_endpoint(s, endpoint, r);
}

/* "latency_ms": 500, "lose_answer": 0.1, "html_403": true */
static int short_rule(struct df_sim *s, struct sim_conf *c, const char *key,
		      const json_t *v)
{
	struct sim_rule *r;
	bool takes_value;

	if (c->n == SIM_RULES_MAX)
		return sim_bad(s, "too many rules (most: 64)");
	r = rule_new(c);
	if (rule_what(s, key, r, &takes_value) < 0)
		return -EINVAL;
	if (takes_value)
		rule_range(v, r);
	else if (json_is_number(v))
		r->probability = json_number_value(v);
	else if (!json_is_boolean(v))
		return sim_bad(s, "a short rule takes a number or true");
	else
		r->probability = json_is_true(v) ? 1 : 0;
	return 0;
}

static int conf_member(struct df_sim *s, struct sim_conf *c, const char *key,
		       const json_t *v)
{
	size_t i;

	if (strcmp(key, "seed") == 0)
		c->seed = (uint64_t)json_number_value(v);
	else if (strcmp(key, "no_feed") == 0)
		c->no_feed = json_is_true(v);
	else if (strcmp(key, "no_unique") == 0)
		c->no_unique = json_is_true(v);
	else if (strcmp(key, "max_statement_bytes") == 0)
		c->max_statement_bytes = (int64_t)json_number_value(v);
	else if (strcmp(key, "max_parallel") == 0)
		c->max_parallel = (int)json_number_value(v);
	else if (strcmp(key, "requests_per_s") == 0)
		c->requests_per_s = json_number_value(v);
	else if (strcmp(key, "rules") == 0) {
		for (i = 0; i < json_array_size(v); i++)
			if (rule_read(s, c, json_array_get(v, i)) < 0)
				return -EINVAL;
	} else if (strcmp(key, "comment") != 0) {
		return short_rule(s, c, key, v);
	}
	return 0;
}

static int sim_read(struct df_sim *s, const struct stat *st)
{
	struct sim_conf *c;
	struct df_buf text;
	json_error_t je;
	json_t *root = NULL, *v;
	const char *key;
	int err;

	df_buf_init(&text, (size_t)1 << 20);
	c = calloc(1, sizeof(*c));
	err = c == NULL ? -ENOMEM : df_file_read(s->path, &text);
	if (err < 0)
		df_log_error("--simulate %s: %s", s->path, df_strerror(err));
	if (err == 0) {
		root = json_loadb((char *)text.data, text.len,
				  JSON_REJECT_DUPLICATES, &je);
		if (!json_is_object(root)) {
			df_log_error("--simulate %s: line %d: %s", s->path,
				     root == NULL ? je.line : 1,
				     root == NULL ? je.text
						  : "an object is expected");
			err = -EINVAL;
		}
	}
	if (err == 0)
		json_object_foreach(root, key, v)
		{
			err = conf_member(s, c, key, v);
			if (err < 0)
				break;
		}
	if (err == 0) {
		if (s->read_ns == 0 || c->seed != s->conf.seed)
			s->dice = c->seed * 2 + 1;
		s->conf = *c;
		s->mtime = st->st_mtim;
		s->size = st->st_size;
		s->read_ns = df_clock_mono_ns();
	}
	json_decref(root);
	free(c);
	df_buf_release(&text);
	return err;
}

/* Half-written files and typos leave the old rules in force. */
static void sim_look_locked(struct df_sim *s)
{
	int64_t now = df_clock_mono_ns();
	struct stat st;

	if (now - s->looked_ns < SIM_LOOK_NS)
		return;
	s->looked_ns = now;
	if (stat(s->path, &st) < 0)
		return;
	if (st.st_size == s->size && st.st_mtim.tv_sec == s->mtime.tv_sec &&
	    st.st_mtim.tv_nsec == s->mtime.tv_nsec)
		return;
	if (sim_read(s, &st) < 0) {
		s->mtime = st.st_mtim; /* say it once */
		s->size = st.st_size;
	}
}

int df_sim_open(const char *path, struct df_sim **out)
{
	struct df_sim *s = calloc(1, sizeof(*s));
	struct stat st;
	int err = 0;

	*out = NULL;
	if (s == NULL)
		return -ENOMEM;
	df_lock_init(&s->lock);
	s->path = strdup(path);
	if (s->path == NULL)
		err = -ENOMEM;
	else if (stat(path, &st) < 0)
		err = df_fail(-errno, "--simulate %s", path);
	else
		err = sim_read(s, &st);
	if (err < 0) {
		df_sim_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void df_sim_free(struct df_sim *s)
{
	if (s == NULL)
		return;
	df_lock_release(&s->lock);
	free(s->path);
	free(s);
}

/* ---- deciding */

static double sim_roll_locked(struct df_sim *s)
{
	/* splitmix64: any seed will do, and a run can be repeated */
	uint64_t z = (s->dice += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return (double)(z >> 11) / 9007199254740992.0;
}

/* The first word, lower case: "insert". */
static void text_kind(const char *text, size_t len, char out[16])
{
	size_t i = 0, n = 0;

	while (i < len && !isalpha((unsigned char)text[i]))
		i++;
	while (i < len && n < 15 && isalpha((unsigned char)text[i]))
		out[n++] = (char)tolower((unsigned char)text[i++]);
	out[n] = '\0';
}

static const char *text_table(const char *text, size_t len)
{
	if (len > 400)
		len = 400;
	if (memmem(text, len, "__log", 5) != NULL)
		return "log";
	if (memmem(text, len, "__pack", 6) != NULL)
		return "pack";
	return "other";
}

/* Whether a rule speaks of such requests, now. */
static bool rule_fits(const struct df_sim *s, const struct sim_rule *r,
		      int endpoint, const char *kind, const char *table)
{
	int64_t ms = (df_clock_mono_ns() - s->read_ns) / DF_NS_PER_MS;

	if ((r->endpoint >= 0 && r->endpoint != endpoint) ||
	    (r->kind[0] != '\0' && strcmp(r->kind, kind) != 0) ||
	    (r->table[0] != '\0' && strcmp(r->table, table) != 0) ||
	    ms < r->from_ms || ms >= r->to_ms)
		return false;
	/* faults of statements meet statements only */
	if (r->what >= WHAT_VISIBLE && r->what <= WHAT_EMPTY &&
	    endpoint != DF_EP_QUERY && endpoint != DF_EP_BATCH)
		return false;
	if ((r->what == WHAT_VISIBLE || r->what == WHAT_FORGET ||
	     r->what == WHAT_DOUBLE) &&
	    strcmp(kind, "insert") != 0)
		return false;
	return r->what != WHAT_EMPTY || strcmp(kind, "select") == 0;
}

static bool rule_meets(struct df_sim *s, struct sim_rule *r, int endpoint,
		       const char *kind, const char *table)
{
	if (!rule_fits(s, r, endpoint, kind, table))
		return false;
	if (r->skip > 0) {
		r->skip--;
		return false;
	}
	if (r->count == 0)
		return false;
	if (r->probability < 1 && sim_roll_locked(s) >= r->probability)
		return false;
	if (r->count > 0)
		r->count--;
	return true;
}

static int64_t rule_value(struct df_sim *s, const struct sim_rule *r)
{
	return r->lo +
	       (int64_t)(sim_roll_locked(s) * (double)(r->hi - r->lo + 1));
}

static void rule_apply(struct df_sim *s, const struct sim_rule *r,
		       struct df_sim_plan *p)
{
	df_metric_simulated(r->name);
	switch (r->what) {
	case WHAT_LATENCY:
		p->latency_ms += rule_value(s, r);
		break;
	case WHAT_VISIBLE:
		p->visible_after_ms = rule_value(s, r);
		break;
	case WHAT_LOSE:
		p->lose = r->lose;
		break;
	case WHAT_FORGET:
		p->forget = true;
		break;
	case WHAT_DOUBLE:
		p->twice = true;
		break;
	case WHAT_EMPTY:
		p->empty = true;
		break;
	case WHAT_HTML:
		p->html = true;
		p->status = r->status;
		break;
	case WHAT_STATUS:
		p->status = r->status;
		if (r->status == 429 || r->status == 503)
			p->retry_after_s = r->retry_after_s;
		break;
	case WHAT_DROP:
		p->drop = true;
		break;
	case WHAT_UNKNOWN:
		break;
	}
}

static void sim_limits_locked(struct df_sim *s, size_t body_len, int in_flight,
			      struct df_sim_plan *p)
{
	const struct sim_conf *c = &s->conf;

	if (c->max_statement_bytes > 0 &&
	    body_len > (uint64_t)c->max_statement_bytes) {
		df_metric_simulated("max_statement_bytes");
		p->status = 413;
	}
	if (c->max_parallel > 0 && in_flight > c->max_parallel) {
		df_metric_simulated("max_parallel");
		p->status = 429;
		p->retry_after_s = 1;
		return;
	}
	if (c->requests_per_s > 0) {
		int64_t now = df_clock_mono_ns();

		if (s->pace_ns < now)
			s->pace_ns = now;
		p->latency_ms += (s->pace_ns - now) / DF_NS_PER_MS;
		s->pace_ns +=
			(int64_t)((double)DF_NS_PER_S / c->requests_per_s);
	}
}

void df_sim_plan(struct df_sim *s, enum df_endpoint endpoint, const char *text,
		 size_t text_len, size_t body_len, int in_flight,
		 struct df_sim_plan *plan)
{
	char kind[16];
	const char *table;
	size_t i;

	*plan = (struct df_sim_plan){ .retry_after_s = -1 };
	if (s == NULL || endpoint == DF_EP_HEALTH || endpoint == DF_EP_METRICS)
		return;
	text_kind(text, text_len, kind);
	table = text_table(text, text_len);
	df_lock(&s->lock);
	sim_look_locked(s);
	plan->no_unique = s->conf.no_unique;
	plan->no_feed = s->conf.no_feed;
	sim_limits_locked(s, body_len, in_flight, plan);
	for (i = 0; i < s->conf.n; i++)
		if (rule_meets(s, &s->conf.rule[i], endpoint, kind, table))
			rule_apply(s, &s->conf.rule[i], plan);
	df_unlock(&s->lock);
}

bool df_sim_no_feed(struct df_sim *s)
{
	bool yes;

	if (s == NULL)
		return false;
	df_lock(&s->lock);
	sim_look_locked(s);
	yes = s->conf.no_feed;
	df_unlock(&s->lock);
	return yes;
}
