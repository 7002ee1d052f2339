/* account.c - users, organizations, workspaces, tables; see server.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "tools/serve/meta.h"
#include "tools/serve/server.h"

#define DURATION_MAX_S (INT64_C(36500) * 86400)

static bool is(const struct df_req *r, const char *method, int n_seg)
{
	return strcmp(r->method, method) == 0 && r->n_seg == n_seg;
}

static void no_such(struct df_req *r)
{
	df_req_error(r, 404, "NOT_FOUND", "Not found: %s /%s", r->method,
		     r->n_seg > 0 ? r->seg[0] : "");
}

/* The member of the request's JSON body as a string; NULL if missing.
 * Memory from a. */
static const char *body_text(const struct df_req *r, struct df_arena *a,
			     const char *key)
{
	struct df_json root, v;

	if (r->body.data == NULL ||
	    !df_json_valid((const char *)r->body.data, r->body.len, &root))
		return NULL;
	v = df_json_member(&root, key);
	return df_json_cstr(&v, a);
}

static bool body_true(const struct df_req *r, const char *key)
{
	struct df_json root, v;

	if (r->body.data == NULL ||
	    !df_json_valid((const char *)r->body.data, r->body.len, &root))
		return false;
	v = df_json_member(&root, key);
	return v.kind == DF_J_TRUE;
}

static int64_t body_number(const struct df_req *r, const char *key)
{
	struct df_json root, v;
	char text[32];

	if (r->body.data == NULL ||
	    !df_json_valid((const char *)r->body.data, r->body.len, &root))
		return 0;
	v = df_json_member(&root, key);
	if (v.kind != DF_J_NUMBER || v.len >= sizeof(text))
		return 0;
	memcpy(text, v.p, v.len);
	text[v.len] = '\0';
	return strtoll(text, NULL, 10);
}

/* ---- /me, /users/me/tokens */

static void account_me(struct df_req *r)
{
	struct df_buf *b = &r->out;
	const char *user = r->caller.jwt.user[0] != '\0' ? r->caller.jwt.user
							 : "local";

	r->status = 200;
	df_buf_put_str(b, "{\"id\":");
	df_json_puts(b, user);
	df_buf_put_str(b, ",\"email\":\"\",\"name\":");
	df_json_puts(b, user);
	df_buf_put_str(b, ",\"display_name\":");
	df_json_puts(b, user);
	df_buf_put_str(b, ",\"verified\":true,\"organizations\":[");
	df_json_puts(b, r->caller.org);
	df_buf_printf(b, "],\"date_joined\":%lld,\"token\":{\"id\":",
		      (long long)r->caller.row.created_s);
	df_json_puts(b, r->caller.row.id);
	df_buf_put_str(b, ",\"workspace\":");
	df_json_puts(b, r->caller.row.workspace);
	df_buf_put_str(b, ",\"table\":");
	df_json_puts(b, r->caller.row.table);
	df_buf_printf(b, ",\"read_only\":%s,\"expires_at\":%lld}}",
		      r->caller.row.read_only ? "true" : "false",
		      (long long)r->caller.row.expires_s);
}

/* Narrow row to the workspace, table and right that the body asks for; a scope
 * that row already has cannot be left.  False: refused. */
static bool token_narrow(struct df_req *r, struct df_arena *a,
			 struct df_token_row *row)
{
	const struct {
		const char *key;
		char *at;
		size_t size;
	} scopes[] = {
		{ "workspace", row->workspace, sizeof(row->workspace) },
		{ "table", row->table, sizeof(row->table) },
	};

	for (size_t i = 0; i < DF_ARRAY_LEN(scopes); i++) {
		const char *want = body_text(r, a, scopes[i].key);

		if (want == NULL || want[0] == '\0')
			continue;
		if (strlen(want) >= scopes[i].size) {
			df_req_error(r, 400, "INVALID_REQUEST",
				     "\"%s\" is too long", scopes[i].key);
			return false;
		}
		if (scopes[i].at[0] != '\0' && strcmp(scopes[i].at, want)) {
			df_req_error(r, 403, "FORBIDDEN",
				     "this token is for %s %s only",
				     scopes[i].key, scopes[i].at);
			return false;
		}
		(void)snprintf(scopes[i].at, scopes[i].size, "%s", want);
	}
	row->read_only |= body_true(r, "read_only");
	return true;
}

/* A new token never can more, nor lives longer, than the one that asks. */
static void account_token(struct df_req *r)
{
	struct df_token_row row = r->caller.row;
	int64_t seconds = DF_MIN(body_number(r, "duration"), DURATION_MAX_S);
	int64_t now = df_clock_real_ns() / DF_NS_PER_S;
	struct df_arena a;
	struct df_buf token;
	const char *name, *org;

	df_arena_init(&a, (size_t)1 << 20);
	name = body_text(r, &a, "name");
	org = body_text(r, &a, "organization_id");
	df_buf_init(&token, DF_JWT_MAX);
	if (org != NULL && org[0] != '\0' && strcmp(org, row.org) != 0) {
		df_req_error(r, 403, "FORBIDDEN",
			     "this token is not for "
			     "organization %.60s",
			     org);
		goto out;
	}
	if (!token_narrow(r, &a, &row))
		goto out;
	if (row.expires_s != 0 &&
	    (seconds <= 0 || now + seconds > row.expires_s))
		seconds = row.expires_s - now;
	(void)snprintf(row.name, sizeof(row.name), "%s",
		       name != NULL ? name : "api");
	if (df_auth_issue(r->server->auth, &row, r->caller.jwt.user, seconds,
			  &token) < 0) {
		df_req_error(r, 500, "INTERNAL", "token creation failed");
		goto out;
	}
	r->status = 201;
	df_buf_put_str(&r->out, "{\"token\":{\"token\":");
	df_json_puts(&r->out, df_buf_cstr(&token));
	df_buf_put_str(&r->out, ",\"id\":");
	df_json_puts(&r->out, row.id);
	df_buf_put_str(&r->out, ",\"name\":");
	df_json_puts(&r->out, row.name);
	df_buf_put_str(&r->out, "}}");
out:
	df_buf_release(&token);
	df_arena_release(&a);
}

/* A token ends itself; to end another's takes the store (token revoke). */
static void account_revoke(struct df_req *r)
{
	struct df_store *s = r->server->store;

	if (strcmp(r->seg[3], "current") != 0 &&
	    strcmp(r->seg[3], r->caller.row.id) != 0) {
		df_req_error(r, 403, "FORBIDDEN",
			     "a token can revoke itself only: \"current\"");
		return;
	}
	if (df_meta_token_revoke(s, r->caller.row.id) < 0) {
		df_req_error(r, 503, "INTERNAL",
			     "the store does not answer: try again");
		return;
	}
	df_auth_forget(r->server->auth);
	r->status = 200;
	df_buf_put_str(&r->out, "{\"revoked\":");
	df_json_puts(&r->out, r->caller.row.id);
	df_buf_put_u8(&r->out, '}');
}

/* The caller's org out of the list of all. */
static void account_orgs(struct df_req *r)
{
	struct df_store *s = r->server->store;
	struct df_buf list;
	struct df_json all, org, id;
	const char *it = NULL;

	df_buf_init(&list, (size_t)16 << 20);
	if (df_meta_org_list(s, &list) < 0 ||
	    !df_json_valid((char *)list.data, list.len, &all)) {
		df_req_error(r, 503, "INTERNAL",
			     "the store does not answer: "
			     "try again");
	} else if (r->n_seg == 1) {
		r->status = 200;
		df_buf_put_u8(&r->out, '[');
		while (df_json_next(&all, &it, NULL, &org) > 0) {
			id = df_json_member(&org, "id");
			if (id.len == strlen(r->caller.org) &&
			    memcmp(id.p, r->caller.org, id.len) == 0)
				df_buf_put(&r->out, org.p, org.len);
		}
		df_buf_put_u8(&r->out, ']');
	} else if (strcmp(r->seg[1], r->caller.org) != 0) {
		df_req_error(r, 403, "FORBIDDEN",
			     "this token is not for "
			     "organization %.60s",
			     r->seg[1]);
	} else if (r->n_seg == 3 && strcmp(r->seg[2], "members") == 0) {
		r->status = 200;
		df_buf_put_str(&r->out, "{\"members\":[{\"user_id\":");
		df_json_puts(&r->out, r->caller.jwt.user);
		df_buf_put_str(&r->out, ",\"name\":");
		df_json_puts(&r->out, r->caller.jwt.user);
		df_buf_put_str(&r->out, ",\"email\":\"\",\"role\":\"ADMIN\"}"
					"]}");
	} else if (r->n_seg == 2) {
		while (df_json_next(&all, &it, NULL, &org) > 0) {
			id = df_json_member(&org, "id");
			if (id.len != strlen(r->caller.org) ||
			    memcmp(id.p, r->caller.org, id.len) != 0)
				continue;
			r->status = 200;
			df_buf_put(&r->out, org.p, org.len);
		}
		if (r->status == 0)
			no_such(r);
	} else {
		no_such(r);
	}
	df_buf_release(&list);
}

void df_api_account(struct df_req *r)
{
	if (strcmp(r->seg[0], "me") == 0 && is(r, "GET", 1)) {
		account_me(r);
	} else if (is(r, "GET", 2) && strcmp(r->seg[1], "notifications") == 0) {
		r->status = 200;
		df_buf_put_str(&r->out, "{\"notifications\":[]}");
	} else if (strcmp(r->seg[0], "users") == 0 && is(r, "POST", 3) &&
		   strcmp(r->seg[2], "tokens") == 0) {
		account_token(r);
	} else if (strcmp(r->seg[0], "users") == 0 && is(r, "DELETE", 4) &&
		   strcmp(r->seg[2], "tokens") == 0) {
		account_revoke(r);
	} else if (strcmp(r->seg[0], "organizations") == 0 &&
		   strcmp(r->method, "GET") == 0) {
		account_orgs(r);
	} else {
		no_such(r);
	}
}

/* ---- /workspaces */

static void workspace_create(struct df_req *r)
{
	struct df_store *s = r->server->store;
	struct df_arena a;
	const char *id, *name;
	int err;

	df_arena_init(&a, (size_t)1 << 20);
	id = body_text(r, &a, "id");
	name = body_text(r, &a, "name");
	if (name == NULL || name[0] == '\0')
		name = id;
	if (id == NULL || id[0] == '\0') {
		df_req_error(r, 400, "INVALID_REQUEST",
			     "workspace ID is "
			     "required");
	} else if (!df_workspace_id_ok(id)) {
		df_req_error(r, 400, "INVALID_REQUEST",
			     "workspace ID \"%.80s\""
			     " is not made of lower-case words and digits "
			     "joined by - or _",
			     id);
	} else if (r->caller.row.read_only || r->caller.only_table != NULL ||
		   r->caller.row.workspace[0] != '\0') {
		df_req_error(r, 403, "FORBIDDEN",
			     "this token may not create "
			     "workspaces");
	} else {
		err = s->ops->ws_create(s, r->caller.org, id, name);
		if (err == -EEXIST) {
			df_req_error(r, 409, "CONFLICT",
				     "workspace \"%s\" "
				     "already exists",
				     id);
		} else if (err < 0) {
			df_req_error(r, 500, "INTERNAL",
				     "workspace \"%s\" "
				     "could not be created: %s",
				     id, df_strerror(err));
		} else {
			r->status = 201;
			df_buf_put_str(&r->out, "{\"id\":");
			df_json_puts(&r->out, id);
			df_buf_put_str(&r->out, ",\"org_id\":");
			df_json_puts(&r->out, r->caller.org);
			df_buf_put_str(&r->out, ",\"name\":");
			df_json_puts(&r->out, name);
			df_buf_put_u8(&r->out, '}');
		}
	}
	df_arena_release(&a);
}

void df_api_workspaces(struct df_req *r)
{
	struct df_store *s = r->server->store;

	if (is(r, "GET", 1)) {
		df_buf_put_str(&r->out, "{\"data\":");
		if (df_meta_ws_list(s, r->caller.org, &r->out) < 0) {
			df_req_error(r, 503, "INTERNAL",
				     "the store does not "
				     "answer: try again");
			return;
		}
		df_buf_put_u8(&r->out, '}');
		r->status = 200;
	} else if (is(r, "POST", 1)) {
		workspace_create(r);
	} else if (is(r, "GET", 3) && strcmp(r->seg[2], "storage-path") == 0) {
		r->status = 200;
		df_buf_put_str(&r->out, "{\"storage_path\":\"\"}");
	} else {
		no_such(r);
	}
}

/* ---- /workspaces/WS/tables */

static void put_ident(struct df_buf *b, const char *name)
{
	df_buf_put_u8(b, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"')
			df_buf_put_u8(b, '"');
		df_buf_put_u8(b, (uint8_t)*name);
	}
	df_buf_put_u8(b, '"');
}

static void table_list(struct df_req *r, const char *ws)
{
	struct df_answer out;
	struct df_json root, rows, row, name;
	const char *it = NULL;
	bool first = true;

	df_answer_init(&out);
	df_api_statement(
		r, ws,
		"SELECT table_name FROM "
		"information_schema.tables WHERE table_type = 'BASE "
		"TABLE' AND table_schema NOT IN ('pg_catalog', "
		"'information_schema', 'deeplake') ORDER BY table_name",
		&out);
	if (out.error.status != 0) {
		df_api_sql_error(r, &out.error);
	} else if (df_json_valid((char *)out.body.data, out.body.len, &root)) {
		r->status = 200;
		r->rows = out.rows;
		rows = df_json_member(&root, "rows");
		df_buf_put_str(&r->out, "{\"tables\":[");
		while (df_json_next(&rows, &it, NULL, &row) > 0) {
			const char *cell = NULL;

			if (df_json_next(&row, &cell, NULL, &name) <= 0)
				continue;
			df_buf_put_str(&r->out, first ? "{\"table_name\":\""
						      : ",{\"table_name\":\"");
			df_buf_put(&r->out, name.p, name.len);
			df_buf_put_str(&r->out, "\"}");
			first = false;
		}
		df_buf_put_str(&r->out, "]}");
	}
	df_answer_release(&out);
}

/* A type goes into the statement as it is: only what types are made of. */
static bool type_text_ok(const char *type)
{
	size_t i;
	int open = 0;

	for (i = 0; type[i] != '\0'; i++) {
		char c = type[i];

		open += c == '(' ? 1 : c == ')' ? -1 : 0;
		if (!isalnum((unsigned char)c) && strchr(" _()[],", c) == NULL)
			return false;
		if (open < 0 || (c == ',' && open == 0))
			return false;
	}
	return i > 0 && i < 100 && open == 0;
}

/* {"table_name": "t", "table_schema": {"col": "TYPE", ...}} */
static bool table_sql(struct df_req *r, struct df_arena *a, struct df_buf *sql,
		      const char **name)
{
	struct df_json root, schema, key, value;
	const char *it = NULL, *col, *type;
	bool first = true;

	*name = body_text(r, a, "table_name");
	if (*name == NULL || **name == '\0') {
		df_req_error(r, 400, "INVALID_REQUEST",
			     "\"table_name\" is "
			     "required");
		return false;
	}
	(void)df_json_valid((char *)r->body.data, r->body.len, &root);
	schema = df_json_member(&root, "table_schema");
	if (schema.kind != DF_J_OBJECT) {
		df_req_error(r, 400, "INVALID_REQUEST",
			     "\"table_schema\" is "
			     "required: {\"column\": \"TYPE\", ...}");
		return false;
	}
	df_buf_put_str(sql, "CREATE TABLE ");
	put_ident(sql, *name);
	df_buf_put_str(sql, " (");
	while (df_json_next(&schema, &it, &key, &value) > 0) {
		col = df_json_cstr(&key, a);
		type = df_json_cstr(&value, a);
		if (col == NULL || type == NULL || !type_text_ok(type)) {
			df_req_error(r, 400, "INVALID_REQUEST",
				     "column "
				     "\"%.60s\": \"%.60s\" is not a type",
				     col != NULL ? col : "?",
				     type != NULL ? type : "?");
			return false;
		}
		df_buf_put_str(sql, first ? "" : ", ");
		put_ident(sql, col);
		df_buf_put_u8(sql, ' ');
		df_buf_put_str(sql, type);
		first = false;
	}
	df_buf_put_str(sql, ") USING deeplake");
	return true;
}

static void table_create(struct df_req *r, const char *ws)
{
	struct df_answer out;
	struct df_arena a;
	struct df_buf sql;
	const char *name;

	df_arena_init(&a, (size_t)4 << 20);
	df_buf_init(&sql, (size_t)1 << 20);
	df_answer_init(&out);
	if (table_sql(r, &a, &sql, &name)) {
		df_api_statement(r, ws, df_buf_cstr(&sql), &out);
		if (out.error.status != 0) {
			/* the vendor's client tells "exists" by 409 */
			if (strstr(out.error.text, "already exists") != NULL)
				out.error.status = 409;
			df_api_sql_error(r, &out.error);
		} else {
			r->status = 201;
			df_buf_put_str(&r->out, "{\"table_name\":");
			df_json_puts(&r->out, name);
			df_buf_put_u8(&r->out, '}');
		}
	}
	df_answer_release(&out);
	df_buf_release(&sql);
	df_arena_release(&a);
}

static void table_drop(struct df_req *r, const char *ws, const char *name)
{
	struct df_answer out;
	struct df_buf sql;

	df_buf_init(&sql, (size_t)1 << 20);
	df_answer_init(&out);
	df_buf_put_str(&sql, "DROP TABLE ");
	put_ident(&sql, name);
	df_api_statement(r, ws, df_buf_cstr(&sql), &out);
	if (out.error.status != 0) {
		if (strstr(out.error.text, "does not exist") != NULL)
			out.error.status = 404;
		df_api_sql_error(r, &out.error);
	} else {
		r->status = 200;
		df_buf_put_str(&r->out, "{\"deleted\":true,\"table_name\":");
		df_json_puts(&r->out, name);
		df_buf_put_u8(&r->out, '}');
	}
	df_answer_release(&out);
	df_buf_release(&sql);
}

void df_api_tables(struct df_req *r, const char *ws)
{
	struct df_store *s = r->server->store;
	int there = df_workspace_id_ok(ws)
			    ? s->ops->ws_exists(s, r->caller.org, ws)
			    : 0;

	if (there <= 0)
		df_req_error(r, there < 0 ? 503 : 404, "NOT_FOUND",
			     "Not found:"
			     " /workspaces/%.80s/tables",
			     ws);
	else if (is(r, "GET", 3))
		table_list(r, ws);
	else if (is(r, "POST", 3))
		table_create(r, ws);
	else if (is(r, "DELETE", 4))
		table_drop(r, ws, r->seg[3]);
	else
		no_such(r);
}
