/*
 * jsonscan.h - JSON as the table server meets it: bodies whose strings may be
 * megabytes of base64, which a tree-building parser would copy three times.
 *
 * The scanner walks the text in place.  It checks what RFC 8259 asks (UTF-8,
 * no control characters in strings, well-formed numbers and escapes) and never
 * goes deeper than DF_JSON_DEPTH.  Functions that take (p, end) return the
 * place after what they read, or NULL if that is malformed.
 *
 * Threads: no state; any thread.
 */
#ifndef DF_SERVE_JSONSCAN_H
#define DF_SERVE_JSONSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "tools/serve/arena.h"

#define DF_JSON_DEPTH 100

enum df_json_kind {
	DF_J_NONE = 0,
	DF_J_NULL,
	DF_J_TRUE,
	DF_J_FALSE,
	DF_J_NUMBER,
	DF_J_STRING, /* p and len without the quotes, still escaped */
	DF_J_ARRAY,  /* p and len with the brackets */
	DF_J_OBJECT,
};

struct df_json {
	enum df_json_kind kind;
	bool escaped;  /* STRING: holds a backslash */
	const char *p; /* in the text that was scanned */
	size_t len;
};

const char *df_json_space(const char *p, const char *end);
/* One value, white space before it skipped. */
const char *df_json_value(const char *p, const char *end, struct df_json *out);
/*
 * Step through an object or array: *it starts at NULL; 1 = key (NULL for an
 * array) and value are filled, 0 = no more.  The text was checked when `in`
 * was scanned, so this cannot fail.
 */
int df_json_next(const struct df_json *in, const char **it, struct df_json *key,
		 struct df_json *value);
/* The member of an object named key; kind NONE if it has none. */
struct df_json df_json_member(const struct df_json *object, const char *key);
/* The members of the object that is the whole text, in one pass: out[i] is
 * that named keys[i], kind NONE if it is missing.  0, or -EINVAL if the text
 * is no object. */
int df_json_fields(const char *text, size_t len, const char *const *keys,
		   struct df_json *out, size_t n);
/* Whether the whole text is one value. */
bool df_json_valid(const char *text, size_t len, struct df_json *out);

/* The characters of a STRING: in place when nothing is escaped.  0,
 * -EINVAL (half a surrogate pair), -ENOMEM. */
int df_json_text(const struct df_json *s, struct df_arena *a, const char **p,
		 size_t *len);
/* Same, as a C string; NULL if it holds a NUL or memory is short. */
const char *df_json_cstr(const struct df_json *s, struct df_arena *a);

/* "text" with quotes and escapes. */
void df_json_put(struct df_buf *b, const char *text, size_t len);
void df_json_puts(struct df_buf *b, const char *text);
/* The value in PostgreSQL's spelling of jsonb: keys by length, then bytes,
 * the last of equal ones; ", " and ": ".  0, -EINVAL, -ENOMEM, -EFBIG. */
int df_json_canon(const struct df_json *v, struct df_arena *a,
		  struct df_buf *out);

/* Whether the bytes are UTF-8 (no surrogates, nothing overlong). */
bool df_utf8_valid(const char *p, size_t len);

#endif
