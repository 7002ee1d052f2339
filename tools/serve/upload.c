/* upload.c - POST /workspaces/WS/files (multipart, field `file`) and GET
 * .../files/ID; see server.h. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "tools/serve/server.h"

struct part {
	const char *data;
	size_t len;
	char name[256];
	char type[128];
};

/* The value of KEY="..." in a header line, or of KEY=... up to ';'. */
static void param_get(const char *line, size_t len, const char *key, char *out,
		      size_t size)
{
	const char *p = memmem(line, len, key, strlen(key)), *end = line + len;
	const char *stop = "\"";
	size_t n = 0;

	out[0] = '\0';
	if (p == NULL)
		return;
	p += strlen(key);
	if (p < end && *p == '"')
		p++;
	else
		stop = "; \r\n";
	while (p < end && strchr(stop, *p) == NULL && n + 1 < size)
		out[n++] = *p++;
	out[n] = '\0';
}

static void part_headers(const char *head, size_t len, struct part *out)
{
	const char *line = head, *end = head + len;

	param_get(head, len, "filename=", out->name, sizeof(out->name));
	while (line < end) {
		const char *stop =
			memmem(line, (size_t)(end - line), "\r\n", 2);
		size_t n = (size_t)((stop == NULL ? end : stop) - line);

		if (n > 13 && strncasecmp(line, "content-type:", 13) == 0) {
			size_t skip = 13;

			while (skip < n && line[skip] == ' ')
				skip++;
			(void)snprintf(out->type, sizeof(out->type), "%.*s",
				       (int)DF_MIN(n - skip, (size_t)120),
				       line + skip);
		}
		line += n + 2;
	}
}

/* The part named `file`: 0 or -EINVAL. */
static int part_find(struct df_req *r, const char *type, struct part *out)
{
	char boundary[200], mark[210];
	const char *p = (const char *)r->body.data, *end, *next, *head;
	size_t n;

	param_get(type, strlen(type), "boundary=", boundary, sizeof(boundary));
	if (boundary[0] == '\0' || p == NULL)
		return -EINVAL;
	end = p + r->body.len;
	n = (size_t)snprintf(mark, sizeof(mark), "--%s", boundary);
	p = memmem(p, (size_t)(end - p), mark, n);
	while (p != NULL) {
		p += n;
		if (end - p < 2 || memcmp(p, "\r\n", 2) != 0)
			return -EINVAL; /* the last one ends in "--" */
		head = p + 2;
		p = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
		if (p == NULL)
			return -EINVAL;
		next = memmem(p + 4, (size_t)(end - p - 4), mark, n);
		if (next == NULL || next < p + 6)
			return -EINVAL;
		*out = (struct part){ .data = p + 4,
				      .len = (size_t)(next - p - 4) - 2 };
		part_headers(head, (size_t)(p - head), out);
		if (memmem(head, (size_t)(p - head), "name=\"file\"", 11) !=
		    NULL)
			return 0;
		p = next;
	}
	return -EINVAL;
}

static void file_put(struct df_req *r, const char *ws)
{
	const char *type = df_req_header(r, "Content-Type");
	struct df_store *s = r->server->store;
	struct part part;
	uint8_t raw[16];
	char hex[33], id[40];
	int err;

	if (r->caller.row.read_only) {
		df_req_error(r, 403, "FORBIDDEN", "this token may only read");
		return;
	}
	if (type == NULL || part_find(r, type, &part) < 0) {
		df_req_error(r, 400, "INVALID_REQUEST",
			     "send the file as "
			     "multipart/form-data, in a field named file");
		return;
	}
	df_random(raw, sizeof(raw));
	df_hex(raw, sizeof(raw), hex);
	(void)snprintf(id, sizeof(id), "%.8s-%.4s-%.4s-%.4s-%.12s", hex,
		       hex + 8, hex + 12, hex + 16, hex + 20);
	err = s->ops->file_put(
		s, r->caller.org, ws, id, part.name,
		part.type[0] != '\0' ? part.type : "application/octet-stream",
		part.data, part.len);
	if (err < 0) {
		df_req_error(r, 500, "INTERNAL",
			     "the file could not be kept: "
			     "%s",
			     df_strerror(err));
		return;
	}
	r->status = 201;
	df_buf_put_str(&r->out, "{\"id\":");
	df_json_puts(&r->out, id);
	df_buf_put_str(&r->out, ",\"filename\":");
	df_json_put(&r->out, part.name,
		    df_utf8_valid(part.name, strlen(part.name))
			    ? strlen(part.name)
			    : 0);
	df_buf_printf(&r->out, ",\"size_bytes\":%zu}", part.len);
}

void df_api_files(struct df_req *r, const char *ws)
{
	struct df_store *s = r->server->store;
	int there = df_workspace_id_ok(ws)
			    ? s->ops->ws_exists(s, r->caller.org, ws)
			    : 0;
	int err;

	if (there <= 0) {
		df_req_error(r, there < 0 ? 503 : 404, "NOT_FOUND",
			     "Not found:"
			     " workspace \"%.80s\" does not exist",
			     ws);
	} else if (r->caller.only_table != NULL) {
		df_req_error(r, 403, "FORBIDDEN",
			     "this token is for table %s "
			     "only",
			     r->caller.only_table);
	} else if (strcmp(r->method, "POST") == 0 && r->n_seg == 3) {
		file_put(r, ws);
	} else if (strcmp(r->method, "GET") == 0 && r->n_seg == 4) {
		err = s->ops->file_get(s, r->caller.org, ws, r->seg[3], &r->out,
				       r->type_buf);
		if (err < 0) {
			df_req_error(r, err == -ENOENT ? 404 : 500, "NOT_FOUND",
				     "Not found: file %.60s", r->seg[3]);
			return;
		}
		r->status = 200;
		r->type = r->type_buf;
	} else {
		df_req_error(r, 404, "NOT_FOUND", "Not found: %s files",
			     r->method);
	}
}
