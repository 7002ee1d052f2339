/* url.h - parts of URLs, as far as the tool needs them. */
#ifndef DF_SANDBOX_URL_H
#define DF_SANDBOX_URL_H

#include <stdbool.h>

/* Host (caller frees; without brackets) and port of http(s)://HOST[:PORT]...;
 * 0, -EINVAL, -ENOMEM. */
int df_url_host(const char *url, char **host, int *port);
bool df_host_is_loopback(const char *host);
/* Percent-encoded for a query value or a path segment; caller frees. */
char *df_url_quote(const char *text);

#endif
