/* pgrows.c - PostgreSQL's values, errors and parameters; see pg.h. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/serve/pg.h"

/* Types by their fixed object ids. */
enum {
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_INT8 = 20,
	OID_INT2 = 21,
	OID_INT4 = 23,
	OID_JSON = 114,
	OID_FLOAT4 = 700,
	OID_FLOAT8 = 701,
	OID_NUMERIC = 1700,
	OID_JSONB = 3802,
	OID_TS = 1114,
	OID_TSTZ = 1184,
	OID_OID = 26,
};

static bool oid_is_array(Oid t)
{
	static const Oid arrays[] = { 1000, 1001, 1005, 1007, 1009, 1015,
				      1016, 1021, 1022, 1115, 1182, 1185,
				      1231, 2951, 199,  3807 };
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(arrays); i++)
		if (arrays[i] == t)
			return true;
	return false;
}

/* NaN and Infinity have no JSON. */
static void put_number(const char *v, size_t len, struct df_buf *out)
{
	if (len > 0 && (isdigit((unsigned char)v[len - 1])) &&
	    (isdigit((unsigned char)v[0]) || v[0] == '-'))
		df_buf_put(out, v, len);
	else
		df_buf_put_str(out, "null");
}

static void put_converted(const char *v, size_t len, enum df_type t,
			  struct df_buf *out)
{
	struct df_value x = { .kind = DF_V_TEXT, .p = v, .len = len };
	char err[DF_VALUE_ERR];
	struct df_arena a;

	df_arena_init(&a, len * 16 + 65536);
	if (df_value_cast(&x, DF_T_UNKNOWN, t, &a, err) == 0)
		(void)df_value_json(&x, t, out);
	else
		df_json_put(out, v, len);
	df_arena_release(&a);
}

static void put_value(const char *v, size_t len, Oid type, struct df_buf *out)
{
	switch (type) {
	case OID_BOOL:
		df_buf_put_str(out, *v == 't' ? "true" : "false");
		return;
	case OID_INT2:
	case OID_INT4:
	case OID_INT8:
	case OID_OID:
	case OID_FLOAT4:
	case OID_FLOAT8:
	case OID_NUMERIC:
		put_number(v, len, out);
		return;
	case OID_JSON:
	case OID_JSONB:
		df_buf_put(out, v, len);
		return;
	case OID_TS:
	case OID_TSTZ:
		put_converted(v, len, type == OID_TS ? DF_T_TS : DF_T_TSTZ,
			      out);
		return;
	default:
		break;
	}
	if (oid_is_array(type))
		put_converted(v, len, type == 1021 ? DF_T_VEC : DF_T_ARRAY,
			      out);
	else
		df_json_put(out, v, len);
}

void pg_put_result(const PGresult *res, size_t max, struct df_answer *out,
		   int n_col, int64_t *last)
{
	struct df_buf *b = &out->body;
	int cols = PQnfields(res), rows = PQntuples(res), i, j;

	df_buf_put_str(b, "{\"columns\":[");
	for (j = 0; j < cols; j++) {
		if (j > 0)
			df_buf_put_u8(b, ',');
		df_json_puts(b, PQfname(res, j));
	}
	df_buf_put_str(b, "],\"rows\":[");
	for (i = 0; i < rows; i++) {
		df_buf_put_str(b, i > 0 ? ",[" : "[");
		for (j = 0; j < cols; j++) {
			if (j > 0)
				df_buf_put_u8(b, ',');
			if (PQgetisnull(res, i, j))
				df_buf_put_str(b, "null");
			else
				put_value(PQgetvalue(res, i, j),
					  (size_t)PQgetlength(res, i, j),
					  PQftype(res, j), b);
		}
		df_buf_put_u8(b, ']');
		if (n_col >= 0)
			*last = strtoll(PQgetvalue(res, i, n_col), NULL, 10);
		if (b->len > max) {
			df_sql_error_set(&out->error, 413,
					 "the result is over "
					 "%zu MiB: add LIMIT, or select fewer "
					 "columns",
					 max >> 20);
			return;
		}
	}
	out->rows = cols > 0 ? (uint64_t)rows
			     : strtoull(PQcmdTuples((PGresult *)(uintptr_t)res),
					NULL, 10);
	df_buf_printf(b, "],\"row_count\":%" PRIu64, out->rows);
	if (n_col >= 0)
		df_buf_printf(b, ",\"last\":%" PRId64, *last);
	df_buf_put_u8(b, '}');
}

void pg_error(const PGresult *res, PGconn *conn, struct df_sql_error *e)
{
	static const struct {
		const char *state; /* or its first characters */
		int status;
		const char *prefix;
	} table[] = {
		{ "42P01", 400, "Table does not exist: " },
		{ "42703", 400, "Column does not exist: " },
		{ "23505", 409, "" },
		{ "42P07", 409, "" },
		{ "42701", 409, "" },
		{ "42501", 403, "" },
		{ "25006", 403,
		  "permission denied: this token may only read: " },
		{ "57014", 504, "" },
		{ "40", 503, "" },
		{ "53", 503, "" },
		{ "57P", 503, "" },
		{ "08P01", 400, "" },
		{ "08", 503, "" },
		{ "54", 400, "" },
		{ "22", 400, "" },
		{ "23", 400, "" },
		{ "42", 400, "" },
		{ "0A", 400, "" },
		{ "2B", 400, "" },
		{ "25", 400, "" },
		{ "26", 400, "" },
		{ "34", 400, "" },
	};
	const char *state =
		res == NULL ? NULL : PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *msg =
		res == NULL ? NULL
			    : PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	size_t i;

	if (state == NULL || msg == NULL) {
		df_log_error("PostgreSQL: %s", PQerrorMessage(conn));
		df_sql_error_set(e, 502,
				 "the connection to the database broke:"
				 " whether the statement ran is unknown");
		return;
	}
	/* another workspace is not told from one that is not there */
	if (strncmp(msg, "permission denied for schema ", 29) == 0) {
		df_sql_error_set(e, 400,
				 "Table does not exist: relation in "
				 "schema \"%s\" does not exist",
				 msg + 29);
		return;
	}
	for (i = 0; i < DF_ARRAY_LEN(table); i++) {
		if (strncmp(state, table[i].state, strlen(table[i].state)) != 0)
			continue;
		df_sql_error_set(e, table[i].status, "%s%s", table[i].prefix,
				 msg);
		return;
	}
	df_log_error("PostgreSQL: %s (%s)", msg, state);
	df_sql_error_set(e, 500, "%s", msg);
}

/* [1, "a b", null] as {1,"a b",NULL}. */
static void put_array(const struct df_json *j, struct df_arena *a,
		      struct df_buf *b)
{
	struct df_json v;
	const char *it = NULL, *p;
	bool first = true;
	size_t len, i;

	df_buf_put_u8(b, '{');
	while (df_json_next(j, &it, NULL, &v) > 0) {
		if (!first)
			df_buf_put_u8(b, ',');
		first = false;
		if (v.kind == DF_J_ARRAY) {
			put_array(&v, a, b);
		} else if (v.kind == DF_J_NULL) {
			df_buf_put_str(b, "NULL");
		} else if (v.kind != DF_J_STRING && v.kind != DF_J_OBJECT) {
			df_buf_put(b, v.p, v.len);
		} else {
			p = v.p;
			len = v.len;
			if (v.kind == DF_J_STRING &&
			    df_json_text(&v, a, &p, &len) < 0)
				b->err = -EINVAL;
			df_buf_put_u8(b, '"');
			for (i = 0; i < len; i++) {
				if (p[i] == '"' || p[i] == '\\')
					df_buf_put_u8(b, '\\');
				df_buf_put_u8(b, (uint8_t)p[i]);
			}
			df_buf_put_u8(b, '"');
		}
	}
	df_buf_put_u8(b, '}');
}

int pg_param(const struct df_json *j, bool array, struct df_arena *a,
	     const char **out, struct df_sql_error *e)
{
	const char *p = j->p;
	size_t len = j->len;
	struct df_buf b;
	int err = j->kind == DF_J_STRING ? df_json_text(j, a, &p, &len) : 0;

	*out = NULL;
	if (j->kind == DF_J_NULL)
		return 0;
	if (j->kind == DF_J_ARRAY && array) {
		df_buf_init(&b, 0);
		put_array(j, a, &b);
		*out = b.err != 0 ? NULL : df_arena_str(a, df_buf_cstr(&b));
		df_buf_release(&b);
	} else if (err == -EINVAL) {
		df_sql_error_set(e, 400,
				 "invalid Unicode escape in a "
				 "parameter");
		return -EINVAL;
	} else if (err == 0 && memchr(p, '\0', len) != NULL) {
		df_sql_error_set(e, 400,
				 "invalid byte sequence for encoding "
				 "\"UTF8\": 0x00");
		return -EINVAL;
	} else if (err == 0) {
		*out = df_arena_strn(a, p, len);
	}
	if (*out == NULL) {
		df_sql_error_set(e, 413, "%s", DF_STMT_TOO_BIG);
		return -EINVAL;
	}
	return 0;
}
