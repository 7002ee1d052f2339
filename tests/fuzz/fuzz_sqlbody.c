// links: base serve
/* fuzz_sqlbody.c - request bodies, tokens and values: all that is read by hand
 * besides SQL. */
#include <stdlib.h>
#include <string.h>

#include "tools/serve/jsonscan.h"
#include "tools/serve/jwt.h"
#include "tools/serve/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void walk(const struct df_json *v, struct df_arena *a)
{
	struct df_json key, value;
	const char *it = NULL, *p;
	size_t n;

	if (v->kind == DF_J_STRING)
		(void)df_json_text(v, a, &p, &n);
	if (v->kind != DF_J_ARRAY && v->kind != DF_J_OBJECT)
		return;
	while (df_json_next(v, &it, &key, &value) > 0)
		walk(&value, a);
}

static void values(const char *text, size_t len, struct df_arena *a)
{
	enum df_type t;

	for (t = DF_T_BOOL; t < DF_T_COUNT_; t++) {
		struct df_value v = { .kind = DF_V_TEXT,
				      .p = text,
				      .len = len };
		char err[DF_VALUE_ERR];
		struct df_value out;
		struct df_buf b;

		if (df_value_cast(&v, DF_T_UNKNOWN, t, a, err) < 0)
			continue;
		df_buf_init(&b, 0);
		if (df_value_json(&v, t, &b) < 0 ||
		    df_value_text(&v, t, a, &out) < 0)
			abort();
		df_buf_release(&b);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const keys[] = { "query", "params", "params_batch",
					    "timeout_ms" };
	static const uint8_t secret[DF_JWT_SECRET_LEN];
	const char *text = (const char *)data;
	struct df_json f[4], root;
	struct df_arena a;
	struct df_jwt jwt;
	struct df_buf b;
	size_t i;

	if (len > 65536)
		return 0;
	df_arena_init(&a, (size_t)64 << 20);
	df_buf_init(&b, 0);
	if (df_json_valid(text, len, &root)) {
		walk(&root, &a);
		if (df_json_canon(&root, &a, &b) == 0 &&
		    !df_json_valid((char *)b.data, b.len, &f[0]))
			abort();
	}
	if (df_json_fields(text, len, keys, f, 4) == 0)
		for (i = 0; i < 4; i++)
			walk(&f[i], &a);
	if (df_jwt_verify(text, len, secret, 1, &jwt) == 0)
		abort(); /* signed by chance? */
	if (df_utf8_valid(text, len) && memchr(text, '\0', len) == NULL)
		values(text, len, &a);
	df_buf_release(&b);
	df_arena_release(&a);
	return 0;
}
