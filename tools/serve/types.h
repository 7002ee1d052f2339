/*
 * types.h - the types of PostgreSQL that the SQLite store knows, and how a
 * value passes from one to another.
 *
 * How a type is stored in SQLite (tables are STRICT):
 *	bool               INTEGER 0 or 1
 *	int2 int4 int8     INTEGER
 *	float4 float8 numeric   REAL (exact decimals are PostgreSQL's)
 *	text uuid          TEXT
 *	bytea              BLOB
 *	json jsonb         TEXT; jsonb in PostgreSQL's canonical spelling
 *	float4[]           BLOB of little-endian float32
 *	other arrays       TEXT, a JSON array
 *	timestamp(tz)      TEXT, always YYYY-MM-DDTHH:MM:SS.ffffffZ, so that
 *	                   text order is time order
 *	date               TEXT YYYY-MM-DD
 *
 * Threads: no state; any thread.
 */
#ifndef DF_SERVE_TYPES_H
#define DF_SERVE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "tools/serve/arena.h"

enum df_type {
	DF_T_UNKNOWN = 0, /* a literal or parameter nobody has typed yet */
	DF_T_BOOL,
	DF_T_INT2,
	DF_T_INT4,
	DF_T_INT8,
	DF_T_FLOAT4,
	DF_T_FLOAT8,
	DF_T_NUMERIC,
	DF_T_TEXT,
	DF_T_VARCHAR,
	DF_T_BYTEA,
	DF_T_JSON,
	DF_T_JSONB,
	DF_T_VEC,    /* float4[] */
	DF_T_MATRIX, /* float4[][], stored as a JSON array of arrays */
	DF_T_ARRAY,  /* any other array */
	DF_T_TS,
	DF_T_TSTZ,
	DF_T_DATE,
	DF_T_UUID,
	DF_T_COUNT_,
};

/* "bigint": as in PostgreSQL's messages and information_schema. */
const char *df_type_name(enum df_type t);
/* STRICT storage type: INTEGER, REAL, TEXT or BLOB. */
const char *df_type_storage(enum df_type t);
bool df_type_is_int(enum df_type t);
bool df_type_is_number(enum df_type t);
bool df_type_is_text(enum df_type t); /* text, varchar */
/* A type's lower-case name as written in SQL ("int8", "embedding"), without
 * arguments; serial is set for serial types.  UNKNOWN if there is none. */
enum df_type df_type_find(const char *name, bool *serial);
/* The array type over t: float4 becomes VEC, VEC becomes MATRIX. */
enum df_type df_type_array(enum df_type t);

enum df_value_kind {
	DF_V_NULL = 0,
	DF_V_INT,
	DF_V_REAL,
	DF_V_TEXT,
	DF_V_BLOB,
};

/* As SQLite holds it.  p is not owned and has no NUL after it. */
struct df_value {
	enum df_value_kind kind;
	int64_t i;
	double r;
	const char *p;
	size_t len;
};

#define DF_VALUE_ERR 256

/*
 * Turn *v, a value of type `from`, into type `to`.  From UNKNOWN a text is
 * read as PostgreSQL's input functions would.  New memory comes from a.
 * 0, or -EINVAL with PostgreSQL's message in err, or -ENOMEM.
 */
int df_value_cast(struct df_value *v, enum df_type from, enum df_type to,
		  struct df_arena *a, char err[DF_VALUE_ERR]);
/* Append the value as JSON; -EINVAL if the bytes are no such value. */
int df_value_json(const struct df_value *v, enum df_type t, struct df_buf *out);
/* PostgreSQL's text form of a value that is not NULL. */
int df_value_text(const struct df_value *v, enum df_type t, struct df_arena *a,
		  struct df_value *out);

/* Shortest digits that read back as the same number. */
void df_float4_put(struct df_buf *b, float x);
void df_float8_put(struct df_buf *b, double x);

#define DF_TIME_LEN 80 /* room for a time in the stored form */
/* A timestamp in words to the stored form; 0 or -EINVAL.  out has room for
 * DF_TIME_LEN. */
int df_time_parse(const char *s, size_t len, enum df_type t, char *out);
/* Now in the stored form. */
void df_time_now(char *out);

#endif
