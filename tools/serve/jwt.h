/*
 * jwt.h - tokens: JSON Web Tokens signed with HMAC-SHA-256 (HS256).
 *
 * The payload carries org_id (and OrgID, which the vendor's client reads), sub,
 * name, jti and exp.  What a token may do is looked up by jti in the store, so
 * that it can be revoked; the claims are for clients to read.
 *
 * Threads: no state; any thread.
 */
#ifndef DF_SERVE_JWT_H
#define DF_SERVE_JWT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define DF_JWT_SECRET_LEN 32
#define DF_JWT_MAX 4096 /* bytes of a token that is looked at */

struct df_jwt {
	char id[40]; /* jti */
	char org[64];
	char user[128]; /* sub */
	char name[128];
	int64_t issued_s;
	int64_t expires_s; /* 0 = never */
};

/* Append the signed token to out: 0 or -errno. */
int df_jwt_sign(const struct df_jwt *t, const uint8_t *secret,
		struct df_buf *out);
/* 0; -EINVAL: no token of ours or forged; -ESTALE: expired before now_s. */
int df_jwt_verify(const char *text, size_t len, const uint8_t *secret,
		  int64_t now_s, struct df_jwt *t);

#endif
