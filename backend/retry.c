/*
 * retry.c - see retry.h.  `by_status` and `by_fault` say what each answer of
 * the server means: applied or not, again or not, and the error.
 */
#include "backend/retry.h"

#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"

#define BACKOFF_FIRST_MS 200
#define BACKOFF_MOST_MS 10000
/* A server that asks for more is asked again after this. */
#define HOLD_MOST_MS 300000

enum body {
	BODY_ANY = 0,
	BODY_HTML, /* a proxy or portal spoke, not the service */
	BODY_EMPTY,
	BODY_TEXT, /* contains `text`, whatever its case */
};

struct rule {
	int from, to; /* statuses, inclusive */
	enum body body;
	const char *text;
	struct df_verdict v;
};

#define NOT DF_FATE_NOT_APPLIED
#define YES DF_FATE_APPLIED
#define MAY DF_FATE_UNKNOWN

/* First match counts. */
/* clang-format off */
static const struct rule by_status[] = {
	{ 200, 299, BODY_HTML, NULL,
	  { MAY, true, DF_EOFFLINE, "a web page instead of an answer" } },
	{ 200, 299, BODY_ANY, NULL, { YES, false, 0, "done" } },
	{ 300, 399, BODY_ANY, NULL,
	  { NOT, false, DF_EOFFLINE, "redirected (not followed; is the API "
				     "URL right?)" } },
	{ 401, 401, BODY_HTML, NULL,
	  { NOT, true, DF_EOFFLINE, "refused by a proxy" } },
	{ 401, 401, BODY_ANY, NULL,
	  { NOT, false, DF_EAUTH, "token refused" } },
	{ 402, 402, BODY_ANY, NULL,
	  { NOT, false, -EDQUOT, "no credit left" } },
	{ 403, 403, BODY_HTML, NULL,
	  { NOT, true, DF_EOFFLINE, "refused by a proxy" } },
	{ 403, 403, BODY_EMPTY, NULL,
	  { NOT, true, DF_EOFFLINE, "refused by a proxy" } },
	{ 403, 403, BODY_TEXT, "read-only",
	  { NOT, false, -EROFS, "these credentials may not write" } },
	{ 403, 403, BODY_TEXT, "read only",
	  { NOT, false, -EROFS, "these credentials may not write" } },
	{ 403, 403, BODY_TEXT, "may only read",
	  { NOT, false, -EROFS, "these credentials may not write" } },
	{ 403, 403, BODY_ANY, NULL,
	  { NOT, false, DF_EAUTH, "access refused" } },
	{ 404, 404, BODY_HTML, NULL,
	  { NOT, false, DF_EOFFLINE, "no table API at this URL" } },
	{ 404, 404, BODY_ANY, NULL, { NOT, false, -ENOENT, "not found" } },
	{ 407, 407, BODY_ANY, NULL,
	  { NOT, false, DF_EOFFLINE, "the proxy wants credentials" } },
	{ 408, 408, BODY_ANY, NULL,
	  { NOT, true, DF_EOFFLINE, "request timed out at the server" } },
	{ 409, 409, BODY_ANY, NULL, { NOT, false, -EEXIST, "exists already" } },
	{ 413, 413, BODY_ANY, NULL,
	  { NOT, false, -EFBIG, "statement too large" } },
	{ 425, 425, BODY_ANY, NULL, { NOT, true, DF_EOFFLINE, "too early" } },
	{ 429, 429, BODY_ANY, NULL,
	  { NOT, true, DF_EOFFLINE, "rate limited" } },
	{ 400, 499, BODY_HTML, NULL,
	  { NOT, true, DF_EOFFLINE, "refused by a proxy" } },
	{ 400, 599, BODY_TEXT, "duplicate key value",
	  { NOT, false, -EEXIST, "exists already" } },
	{ 400, 599, BODY_TEXT, "already exists",
	  { NOT, false, -EEXIST, "exists already" } },
	{ 400, 499, BODY_TEXT, "does not exist",
	  { NOT, false, -ENOENT, "not found" } },
	{ 400, 400, BODY_TEXT, "too large",
	  { NOT, false, -EFBIG, "statement too large" } },
	{ 400, 400, BODY_TEXT, "too long",
	  { NOT, false, -EFBIG, "statement too large" } },
	{ 400, 400, BODY_TEXT, "statement size",
	  { NOT, false, -EFBIG, "statement too large" } },
	{ 400, 400, BODY_TEXT, "read-only",
	  { NOT, false, -EROFS, "these credentials may not write" } },
	{ 400, 499, BODY_ANY, NULL,
	  { NOT, false, -EINVAL, "statement refused" } },
	{ 501, 501, BODY_ANY, NULL,
	  { NOT, false, -EOPNOTSUPP, "not implemented by the server" } },
	/* Scaling, cold start, no backend: the statement never ran. */
	{ 503, 503, BODY_ANY, NULL,
	  { NOT, true, DF_EOFFLINE, "server not available" } },
	{ 507, 507, BODY_ANY, NULL,
	  { NOT, false, -EDQUOT, "the server has no room" } },
	/* A content network that did not reach the server behind it. */
	{ 521, 523, BODY_ANY, NULL,
	  { NOT, true, DF_EOFFLINE, "server not available" } },
	{ 525, 526, BODY_ANY, NULL,
	  { NOT, true, DF_EOFFLINE, "server not available" } },
	{ 500, 599, BODY_ANY, NULL,
	  { MAY, true, -EAGAIN, "server error" } },
};

/* clang-format on */

/* Index: enum df_net_fault.  A connection that was lost before a byte left is
 * told apart below. */
static const struct df_verdict by_fault[] = {
	[DF_NET_CONNECT] = { NOT, true, DF_EOFFLINE, "cannot connect" },
	[DF_NET_TLS] = { NOT, false, -EKEYREJECTED,
			 "the server's certificate is not trusted" },
	[DF_NET_TIMEOUT] = { MAY, true, -EAGAIN, "no answer in time" },
	[DF_NET_CUT] = { MAY, true, -EAGAIN, "connection lost" },
	[DF_NET_TOO_BIG] = { MAY, false, -EOVERFLOW, "answer too big" },
	[DF_NET_STOPPED] = { MAY, false, -ECANCELED, "stopping" },
	[DF_NET_LOCAL] = { NOT, false, -ENOMEM, "no memory or bad request" },
};

static bool body_matches(const struct rule *r, const struct df_http_answer *a)
{
	switch (r->body) {
	case BODY_ANY:
		return true;
	case BODY_HTML:
		return a->html;
	case BODY_EMPTY:
		return a->body.len == 0;
	case BODY_TEXT:
		break;
	}
	/* Messages are short; a hostile long one is looked at so far. */
	size_t len = strlen(r->text), n = DF_MIN(a->body.len, (size_t)8192);
	for (size_t i = 0; i + len <= n; i++)
		if (strncasecmp((const char *)a->body.data + i, r->text, len) ==
		    0)
			return true;
	return false;
}

struct df_verdict df_verdict(const struct df_http_answer *a)
{
	if (a->fault) {
		struct df_verdict v = by_fault[a->fault];
		if (v.again && !a->sent) {
			v.fate = NOT;
			v.err = DF_EOFFLINE;
		}
		return v;
	}
	for (size_t i = 0; i < DF_ARRAY_LEN(by_status); i++) {
		const struct rule *r = &by_status[i];
		if (a->status >= r->from && a->status <= r->to &&
		    body_matches(r, a))
			return r->v;
	}
	return (struct df_verdict){ MAY, true, -EAGAIN, "not an HTTP status" };
}

/* ---- pacing */

void df_retry_init(struct df_retry *r)
{
	df_lock_init(&r->lock);
	df_cond_init(&r->changed);
	r->hold_ns = 0;
	r->stopped = false;
}

void df_retry_release(struct df_retry *r)
{
	df_cond_release(&r->changed);
	df_lock_release(&r->lock);
}

/* Wait until at_ns, or longer if a hold is set meanwhile. */
static int wait_until(struct df_retry *r, int64_t at_ns, int64_t deadline_ns)
{
	int err = 0;

	df_lock(&r->lock);
	for (;;) {
		int64_t until = DF_MAX(at_ns, r->hold_ns);
		err = r->stopped ? -ECANCELED : 0;
		if (err || until <= df_deadline_ms(0))
			break;
		err = until >= deadline_ns ? -ETIMEDOUT : 0;
		if (err)
			break;
		df_cond_wait_until(&r->changed, &r->lock, until);
	}
	df_unlock(&r->lock);
	return err;
}

int df_retry_gate(struct df_retry *r, int64_t deadline_ns)
{
	return wait_until(r, 0, deadline_ns);
}

static int64_t backoff_ms(unsigned attempt)
{
	int64_t most = BACKOFF_MOST_MS;
	uint32_t dice;

	if (attempt < 8)
		most = DF_MIN(most, (int64_t)BACKOFF_FIRST_MS << (attempt - 1));
	df_random(&dice, sizeof(dice));
	return most / 2 + dice % (uint32_t)(most / 2 + 1);
}

int df_retry_wait(struct df_retry *r, unsigned attempt,
		  const struct df_http_answer *a, int64_t deadline_ns)
{
	int64_t at = df_deadline_ms(backoff_ms(DF_MAX(attempt, 1u)));

	if (!a->fault && a->retry_after_ms > 0) {
		int64_t hold = df_deadline_ms(
			DF_MIN(a->retry_after_ms, (int64_t)HOLD_MOST_MS));
		df_lock(&r->lock);
		r->hold_ns = DF_MAX(r->hold_ns, hold);
		df_unlock(&r->lock);
	}
	return wait_until(r, at, deadline_ns);
}

void df_retry_stop(struct df_retry *r)
{
	df_lock(&r->lock);
	r->stopped = true;
	df_cond_broadcast(&r->changed);
	df_unlock(&r->lock);
}
