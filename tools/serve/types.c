/* types.c - names of types; see types.h. */
#include "tools/serve/types.h"

#include <string.h>

#include "base/err.h"

static const struct {
	const char *name;
	const char *storage;
} types_table[DF_T_COUNT_] = {
	[DF_T_UNKNOWN] = { "unknown", "TEXT" },
	[DF_T_BOOL] = { "boolean", "INTEGER" },
	[DF_T_INT2] = { "smallint", "INTEGER" },
	[DF_T_INT4] = { "integer", "INTEGER" },
	[DF_T_INT8] = { "bigint", "INTEGER" },
	[DF_T_FLOAT4] = { "real", "REAL" },
	[DF_T_FLOAT8] = { "double precision", "REAL" },
	[DF_T_NUMERIC] = { "numeric", "REAL" },
	[DF_T_TEXT] = { "text", "TEXT" },
	[DF_T_VARCHAR] = { "character varying", "TEXT" },
	[DF_T_BYTEA] = { "bytea", "BLOB" },
	[DF_T_JSON] = { "json", "TEXT" },
	[DF_T_JSONB] = { "jsonb", "TEXT" },
	[DF_T_VEC] = { "real[]", "BLOB" },
	[DF_T_MATRIX] = { "real[]", "TEXT" },
	[DF_T_ARRAY] = { "text[]", "TEXT" },
	[DF_T_TS] = { "timestamp without time zone", "TEXT" },
	[DF_T_TSTZ] = { "timestamp with time zone", "TEXT" },
	[DF_T_DATE] = { "date", "TEXT" },
	[DF_T_UUID] = { "uuid", "TEXT" },
};

/* What people write for a type; domains of the vendor's extension are bytea,
 * as there. */
static const struct {
	const char *name;
	enum df_type type;
} types_alias[] = {
	{ "text", DF_T_TEXT },
	{ "varchar", DF_T_VARCHAR },
	{ "string", DF_T_TEXT },
	{ "char", DF_T_VARCHAR },
	{ "character", DF_T_VARCHAR },
	{ "bpchar", DF_T_VARCHAR },
	{ "name", DF_T_TEXT },
	{ "time", DF_T_TEXT },
	{ "class_label", DF_T_TEXT },
	{ "bigint", DF_T_INT8 },
	{ "int8", DF_T_INT8 },
	{ "int64", DF_T_INT8 },
	{ "bigserial", DF_T_INT8 },
	{ "serial8", DF_T_INT8 },
	{ "integer", DF_T_INT4 },
	{ "int", DF_T_INT4 },
	{ "int4", DF_T_INT4 },
	{ "int32", DF_T_INT4 },
	{ "serial", DF_T_INT4 },
	{ "serial4", DF_T_INT4 },
	{ "smallint", DF_T_INT2 },
	{ "int2", DF_T_INT2 },
	{ "int16", DF_T_INT2 },
	{ "smallserial", DF_T_INT2 },
	{ "real", DF_T_FLOAT4 },
	{ "float4", DF_T_FLOAT4 },
	{ "float32", DF_T_FLOAT4 },
	{ "float8", DF_T_FLOAT8 },
	{ "float", DF_T_FLOAT8 },
	{ "double", DF_T_FLOAT8 },
	{ "float64", DF_T_FLOAT8 },
	{ "numeric", DF_T_NUMERIC },
	{ "decimal", DF_T_NUMERIC },
	{ "boolean", DF_T_BOOL },
	{ "bool", DF_T_BOOL },
	{ "bytea", DF_T_BYTEA },
	{ "binary", DF_T_BYTEA },
	{ "image", DF_T_BYTEA },
	{ "video", DF_T_BYTEA },
	{ "file", DF_T_BYTEA },
	{ "mesh", DF_T_BYTEA },
	{ "medical", DF_T_BYTEA },
	{ "audio", DF_T_BYTEA },
	{ "segment_mask", DF_T_BYTEA },
	{ "binary_mask", DF_T_BYTEA },
	{ "bounding_box", DF_T_VEC },
	{ "deeplake_polygon", DF_T_BYTEA },
	{ "polygon", DF_T_BYTEA },
	{ "deeplake_point", DF_T_BYTEA },
	{ "point", DF_T_BYTEA },
	{ "json", DF_T_JSON },
	{ "jsonb", DF_T_JSONB },
	{ "dict", DF_T_JSONB },
	{ "embedding", DF_T_VEC },
	{ "embedding_2d", DF_T_MATRIX },
	{ "timestamp", DF_T_TS },
	{ "timestamptz", DF_T_TSTZ },
	{ "date", DF_T_DATE },
	{ "uuid", DF_T_UUID },
	{ "file_id", DF_T_UUID },
	{ "regclass", DF_T_TEXT }, /* deeplake_flush_table(x::regclass) */
};

const char *df_type_name(enum df_type t)
{
	return types_table[t].name;
}

const char *df_type_storage(enum df_type t)
{
	return types_table[t].storage;
}

bool df_type_is_int(enum df_type t)
{
	return t == DF_T_INT2 || t == DF_T_INT4 || t == DF_T_INT8;
}

bool df_type_is_number(enum df_type t)
{
	return df_type_is_int(t) || t == DF_T_FLOAT4 || t == DF_T_FLOAT8 ||
	       t == DF_T_NUMERIC;
}

bool df_type_is_text(enum df_type t)
{
	return t == DF_T_TEXT || t == DF_T_VARCHAR;
}

enum df_type df_type_find(const char *name, bool *serial)
{
	size_t i;

	if (serial != NULL)
		*serial = strstr(name, "serial") != NULL;
	for (i = 0; i < DF_ARRAY_LEN(types_alias); i++)
		if (strcmp(types_alias[i].name, name) == 0)
			return types_alias[i].type;
	return DF_T_UNKNOWN;
}

enum df_type df_type_array(enum df_type t)
{
	if (t == DF_T_FLOAT4)
		return DF_T_VEC;
	if (t == DF_T_VEC)
		return DF_T_MATRIX;
	return DF_T_ARRAY;
}
