/*
 * cmd_login.c - login: a token by device code (RFC 8628); logout: forget it.
 *
 * The service gives a code; somebody confirms it in a browser, anywhere; the
 * token that this yields buys one of a year's life for this machine, which goes
 * into the credentials file and nowhere else.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/http.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "tools/query_args.h"
#include "tools/cmd.h"

#define ASK_MS 30000
#define ANSWER_MAX 65536
#define INTERVAL_MIN_S 5
#define EXPIRES_MAX_S 1800
#define TOKEN_DAYS 365
#define LOST_MAX 5 /* questions in a row without an answer */

/* The text of a member, without characters that move a terminal's cursor; NULL
 * if there is none. */
static const char *text_of(const json_t *root, const char *key)
{
	const char *s = json_string_value(json_object_get(root, key));

	for (const char *p = s; p && *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return NULL;
	return s && *s ? s : NULL;
}

/* One request; *out is the JSON of any status (NULL: none), the caller's.  The
 * status, or -errno (logged where the server was not reached). */
static int ask(struct df_http *h, const char *method, const char *path,
	       json_t *body, const char *what, json_t **out)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct df_http_req req = {
		.method = method,
		.path = path,
		.what = what,
		.body = text,
		.body_len = text ? strlen(text) : 0,
		.class = DF_HTTP_URGENT,
		.timeout_ms = ASK_MS,
		.answer_max = ANSWER_MAX,
	};
	struct df_http_answer a;

	json_decref(body);
	df_http_do(h, &req, &a);
	int err = a.fault ? DF_EOFFLINE : (int)a.status;
	*out = a.fault ? NULL
		       : json_loadb((const char *)a.body.data, a.body.len, 0,
				    NULL);
	if (a.fault)
		df_log_warn("%s: %s: %s", df_http_base(h), what, a.error);
	if (a.body.data)
		explicit_bzero(a.body.data, a.body.len);
	df_http_answer_release(&a);
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	return err;
}

/* Wait for the confirmation.  0 and *token (owned), or -errno (logged). */
static int wait_token(struct df_http *h, const char *device, int64_t interval_s,
		      int64_t expires_s, char **token)
{
	int64_t until = df_clock_mono_ns() + expires_s * DF_NS_PER_S;
	unsigned lost = 0;

	while (df_clock_mono_ns() < until) {
		json_t *a;
		sleep((unsigned)interval_s);
		int status = ask(h, "POST", "/auth/device/token",
				 json_pack("{ss}", "device_code", device),
				 "ask for the token", &a);
		const char *got = text_of(a, "access_token");
		const char *said = text_of(a, "error");
		if (status == 200 && got)
			*token = df_xstrdup(got);
		bool slower = said && !strcmp(said, "slow_down");
		bool wait = slower ||
			    (said && !strcmp(said, "authorization_pending"));
		bool denied = said && !strcmp(said, "access_denied");
		/* a hiccup: the code is still good */
		bool again = status < 0 || status >= 500 || status == 429;
		json_decref(a);
		if (*token)
			return 0;
		lost = again ? lost + 1 : 0;
		interval_s += slower ? 5 : 0;
		if (wait || (again && lost < LOST_MAX))
			continue;
		if (status < 0)
			return DF_EOFFLINE;
		return df_fail(DF_EAUTH,
			       denied ? "the login was refused"
				      : "the code is not valid any more: "
					"run 'deeplake login' again");
	}
	return df_fail(DF_EAUTH, "nobody confirmed the login in time: run "
				 "'deeplake login' again");
}

/* The organization to work in: the one asked for, else the first. */
static int pick_org(struct df_http *h, const char *asked, struct df_creds *c)
{
	json_t *list, *org;
	size_t i;
	int status = ask(h, "GET", "/organizations", NULL,
			 "list the organizations", &list);

	json_array_foreach(list, i, org)
	{
		const char *id = text_of(org, "id");
		const char *name = text_of(org, "name");
		if (!id || c->org_id ||
		    (asked && strcmp(asked, id) &&
		     (!name || strcmp(asked, name))))
			continue;
		c->org_id = df_xstrdup(id);
		c->org_name = name ? df_xstrdup(name) : NULL;
	}
	json_decref(list);
	if (status < 0)
		return status;
	if (!c->org_id && asked)
		return df_fail(DF_EAUTH,
			       "organization %s is none of yours: leave "
			       "--org away, or name another",
			       asked);
	if (!c->org_id)
		c->org_id = df_creds_token_org(c->token);
	return 0;
}

/* A token of this machine's own in place of the login's, which lives for
 * hours or days; where the service gives none, that one has to do. */
static void own_token(struct df_http *h, struct df_creds *c)
{
	char host[64] = "";
	json_t *a;

	(void)gethostname(host, sizeof(host) - 1);
	DF_FREE char *name =
		df_strf("deeplake %s %lld", host, (long long)time(NULL));
	json_t *body = json_pack("{ss, sI}", "name", name, "duration",
				 (json_int_t)TOKEN_DAYS * 86400);
	if (c->org_id)
		json_object_set_new(body, "organization_id",
				    json_string(c->org_id));
	int status =
		ask(h, "POST", "/users/me/tokens", body, "make a token", &a);
	const json_t *inner = json_object_get(a, "token");
	const char *got = json_is_object(inner) ? text_of(inner, "token")
						: text_of(a, "token");
	if (status / 100 == 2 && got) {
		explicit_bzero(c->token, strlen(c->token));
		free(c->token);
		c->token = df_xstrdup(got);
	} else {
		df_log_warn("no token of a year's life could be made (HTTP "
			    "%d): this login ends earlier",
			    status);
	}
	json_decref(a);
}

static void say_code(const json_t *a, const char *uri)
{
	const char *whole = text_of(a, "verification_uri_complete");

	printf("To log in, open this in any browser and confirm the code %s:\n"
	       "\n\t%s\n\n"
	       "Waiting ...\n",
	       text_of(a, "user_code"), whole ? whole : uri);
	fflush(stdout);
}

static int get_token(struct df_http *h, char **token)
{
	json_t *a;
	int status = ask(h, "POST", "/auth/device/code", json_object(),
			 "ask for a code", &a);
	const char *device = text_of(a, "device_code");
	const char *uri = text_of(a, "verification_uri");
	int64_t expires = json_integer_value(json_object_get(a, "expires_in"));
	int64_t every = json_integer_value(json_object_get(a, "interval"));
	int err = status < 0 ? status : 0;

	if (!err &&
	    (status / 100 != 2 || !device || !uri || !text_of(a, "user_code")))
		err = df_fail(DF_EOFFLINE,
			      "%s offers no login by code (HTTP %d): is "
			      "--api-url right?",
			      df_http_base(h), status);
	if (!err) {
		say_code(a, uri);
		err = wait_token(
			h, device, DF_MIN(DF_MAX(every, INTERVAL_MIN_S), 60),
			DF_MIN(DF_MAX(expires, 60), EXPIRES_MAX_S), token);
	}
	json_decref(a);
	return err;
}

static int login(const struct df_conf *opt, struct df_http *h, const char *url)
{
	struct df_creds c = { .api_url = df_xstrdup(url) };
	int err = get_token(h, &c.token);

	if (!err)
		err = df_http_set_auth(h, c.token, NULL);
	if (!err)
		err = pick_org(h, opt->org, &c);
	if (!err)
		err = df_http_set_auth(h, c.token, c.org_id);
	if (!err)
		own_token(h, &c);
	if (!err && opt->workspace)
		c.workspace = df_xstrdup(opt->workspace);
	if (!err)
		err = df_creds_save(opt->credentials, &c);
	if (!err)
		printf("Logged in to %s%s%s.\n", url,
		       c.org_name ? ", organization " : "",
		       c.org_name ? c.org_name : "");
	df_creds_release(&c);
	return err;
}

/* ---- the commands */

/* The environment goes before the file: what is written is not what counts. */
static void warn_env(void)
{
	static const char *const names[] = { "DEEPLAKE_TOKEN",
					     "DEEPLAKE_API_KEY" };

	for (size_t i = 0; i < DF_ARRAY_LEN(names); i++)
		if (getenv(names[i]))
			df_log_warn("%s is set and goes before the "
				    "credentials file: unset it",
				    names[i]);
}

int df_cmd_login(int argc, char **argv)
{
	struct df_query_args a = { 0 };
	struct df_creds had;
	struct df_http *h = NULL;
	int status = df_query_parse(&a, argc, argv, 0, 0, "options only");

	if (status) {
		df_query_close(&a);
		return status;
	}
	/* the server of the last login, unless one is named */
	bool known = df_creds_load_quiet(a.opt.credentials, &had) == 0;
	const char *env = getenv("DEEPLAKE_API_URL");
	const char *url = a.opt.api_url          ? a.opt.api_url
			  : env && *env          ? env
			  : known && had.api_url ? had.api_url
						 : DF_API_URL_DEFAULT;
	struct df_http_conf conf = { .base_url = url,
				     .ca_file = a.opt.ca_file };
	int err = df_http_new(&conf, &h);
	if (!err)
		err = login(&a.opt, h, df_http_base(h));
	if (!err)
		warn_env();
	if (h) {
		df_http_stop(h);
		df_http_free(h);
	}
	if (known)
		df_creds_release(&had);
	df_query_close(&a);
	return df_exit_of(err);
}

int df_cmd_logout(int argc, char **argv)
{
	struct df_query_args a = { 0 };
	int status = df_query_parse(&a, argc, argv, 0, 0, "options only");

	if (!status)
		status = df_exit_of(df_creds_forget(a.opt.credentials));
	if (!status) {
		puts("Logged out: the token is not on this machine any more; "
		     "the service knows it until it expires or is revoked.");
		warn_env();
	}
	df_query_close(&a);
	return status;
}
