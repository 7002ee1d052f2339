/* func.c - the functions that a statement may call; see sqltree.h. */
#include <string.h>

#include "base/err.h"
#include "tools/serve/sqltree.h"

/* `sqlite` names starting with dl_ are ours (litefn.c). */
static const struct sql_func func_table[] = {
	/* aggregates */
	{ "count", 1, 1, DF_T_INT8, "count", SQL_F_AGG },
	{ "sum", 1, 1, DF_T_UNKNOWN, "sum", SQL_F_AGG | SQL_F_SUM },
	{ "avg", 1, 1, DF_T_NUMERIC, "avg", SQL_F_AGG },
	{ "min", 1, 1, DF_T_UNKNOWN, "min", SQL_F_AGG | SQL_F_FIRST },
	{ "max", 1, 1, DF_T_UNKNOWN, "max", SQL_F_AGG | SQL_F_FIRST },
	{ "bool_and", 1, 1, DF_T_BOOL, "min", SQL_F_AGG },
	{ "bool_or", 1, 1, DF_T_BOOL, "max", SQL_F_AGG },
	{ "every", 1, 1, DF_T_BOOL, "min", SQL_F_AGG },
	/* windows */
	{ "row_number", 0, 0, DF_T_INT8, "row_number", SQL_F_WINDOW },
	{ "rank", 0, 0, DF_T_INT8, "rank", SQL_F_WINDOW },
	{ "dense_rank", 0, 0, DF_T_INT8, "dense_rank", SQL_F_WINDOW },
	{ "ntile", 1, 1, DF_T_INT4, "ntile", SQL_F_WINDOW },
	{ "lag", 1, 3, DF_T_UNKNOWN, "lag", SQL_F_WINDOW | SQL_F_FIRST },
	{ "lead", 1, 3, DF_T_UNKNOWN, "lead", SQL_F_WINDOW | SQL_F_FIRST },
	{ "first_value", 1, 1, DF_T_UNKNOWN, "first_value",
	  SQL_F_WINDOW | SQL_F_FIRST },
	{ "last_value", 1, 1, DF_T_UNKNOWN, "last_value",
	  SQL_F_WINDOW | SQL_F_FIRST },
	/* values */
	{ "coalesce", 1, 60, DF_T_UNKNOWN, "coalesce", SQL_F_COMMON },
	{ "greatest", 1, 60, DF_T_UNKNOWN, "dl_greatest", SQL_F_COMMON },
	{ "least", 1, 60, DF_T_UNKNOWN, "dl_least", SQL_F_COMMON },
	{ "nullif", 2, 2, DF_T_UNKNOWN, "nullif", SQL_F_COMMON },
	/* text and bytes */
	{ "length", 1, 1, DF_T_INT4, "length", SQL_F_TEXT },
	{ "char_length", 1, 1, DF_T_INT4, "length", SQL_F_TEXT },
	{ "character_length", 1, 1, DF_T_INT4, "length", SQL_F_TEXT },
	{ "octet_length", 1, 1, DF_T_INT4, "dl_octets", SQL_F_TEXT },
	{ "lower", 1, 1, DF_T_TEXT, "dl_lower", SQL_F_TEXT },
	{ "upper", 1, 1, DF_T_TEXT, "dl_upper", SQL_F_TEXT },
	{ "substr", 2, 3, DF_T_UNKNOWN, "dl_substr",
	  SQL_F_TEXT | SQL_F_INT | SQL_F_FIRST },
	{ "substring", 2, 3, DF_T_UNKNOWN, "dl_substr",
	  SQL_F_TEXT | SQL_F_INT | SQL_F_FIRST },
	{ "left", 2, 2, DF_T_TEXT, "dl_left", SQL_F_TEXT | SQL_F_INT },
	{ "right", 2, 2, DF_T_TEXT, "dl_right", SQL_F_TEXT | SQL_F_INT },
	{ "replace", 3, 3, DF_T_TEXT, "replace", SQL_F_TEXT },
	{ "strpos", 2, 2, DF_T_INT4, "instr", SQL_F_TEXT },
	{ "starts_with", 2, 2, DF_T_BOOL, "dl_starts", SQL_F_TEXT },
	{ "trim", 1, 2, DF_T_TEXT, "trim", SQL_F_TEXT },
	{ "btrim", 1, 2, DF_T_TEXT, "trim", SQL_F_TEXT },
	{ "ltrim", 1, 2, DF_T_TEXT, "ltrim", SQL_F_TEXT },
	{ "rtrim", 1, 2, DF_T_TEXT, "rtrim", SQL_F_TEXT },
	{ "concat", 1, 60, DF_T_TEXT, "dl_concat", SQL_F_TEXT },
	{ "md5", 1, 1, DF_T_TEXT, "dl_md5", SQL_F_TEXT },
	{ "decode", 2, 2, DF_T_BYTEA, "dl_decode", SQL_F_TEXT },
	{ "encode", 2, 2, DF_T_TEXT, "dl_encode", SQL_F_TEXT },
	/* numbers */
	{ "abs", 1, 1, DF_T_UNKNOWN, "abs", SQL_F_FIRST },
	{ "round", 1, 2, DF_T_NUMERIC, "round", 0 },
	{ "floor", 1, 1, DF_T_NUMERIC, "dl_floor", 0 },
	{ "ceil", 1, 1, DF_T_NUMERIC, "dl_ceil", 0 },
	{ "ceiling", 1, 1, DF_T_NUMERIC, "dl_ceil", 0 },
	{ "sqrt", 1, 1, DF_T_FLOAT8, "dl_sqrt", 0 },
	{ "random", 0, 0, DF_T_FLOAT8, "dl_random", 0 },
	/* arrays, vectors, text search */
	{ "array_length", 2, 2, DF_T_INT4, "dl_array_length", 0 },
	{ "cardinality", 1, 1, DF_T_INT4, "dl_cardinality", 0 },
	/* time and others */
	{ "now", 0, 0, DF_T_TSTZ, "dl_now", 0 },
	{ "clock_timestamp", 0, 0, DF_T_TSTZ, "dl_now", 0 },
	{ "current_timestamp", 0, 0, DF_T_TSTZ, "dl_now", 0 },
	{ "localtimestamp", 0, 0, DF_T_TS, "dl_now", 0 },
	{ "current_date", 0, 0, DF_T_DATE, "dl_today", 0 },
	{ "gen_random_uuid", 0, 0, DF_T_UUID, "dl_uuid", 0 },
	{ "version", 0, 0, DF_T_TEXT, "dl_version", 0 },
	{ "deeplake_sync_table", 1, 1, DF_T_BOOL, "dl_true", SQL_F_TEXT },
	{ "deeplake_flush_table", 1, 1, DF_T_BOOL, "dl_true", SQL_F_TEXT },
	{ "deeplake_resync_table_pointer", 1, 1, DF_T_BOOL, "dl_true",
	  SQL_F_TEXT },
};

const struct sql_func *sql_func_find(const char *name)
{
	size_t i;

	for (i = 0; i < DF_ARRAY_LEN(func_table); i++)
		if (strcmp(func_table[i].name, name) == 0)
			return &func_table[i];
	return NULL;
}
