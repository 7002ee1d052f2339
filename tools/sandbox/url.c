/* url.c - see url.h. */
#include "tools/sandbox/url.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int df_url_host(const char *url, char **host, int *port)
{
	const char *at;

	if (strncasecmp(url, "http://", 7) == 0)
		at = url + 7, *port = 80;
	else if (strncasecmp(url, "https://", 8) == 0)
		at = url + 8, *port = 443;
	else
		return -EINVAL;
	size_t len = strcspn(at, "/?#");
	if (memchr(at, '@', len))
		return -EINVAL; /* no credentials in URLs */
	const char *end = at + len;
	const char *colon = NULL;
	if (*at == '[') {
		const char *close = memchr(at, ']', len);
		if (!close)
			return -EINVAL;
		colon = close + 1 < end && close[1] == ':' ? close + 1 : NULL;
		*host = strndup(at + 1, (size_t)(close - at - 1));
	} else {
		colon = memchr(at, ':', len);
		*host = strndup(at, (size_t)((colon ? colon : end) - at));
	}
	if (!*host)
		return -ENOMEM;
	char *stop = NULL;
	long v = colon ? strtol(colon + 1, &stop, 10) : *port;
	if (!**host || v < 1 || v > 65535 || (colon && stop != end)) {
		free(*host);
		*host = NULL;
		return -EINVAL;
	}
	*port = (int)v;
	return 0;
}

bool df_host_is_loopback(const char *host)
{
	return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
	       strncmp(host, "127.", 4) == 0;
}

char *df_url_quote(const char *text)
{
	char *out = malloc(strlen(text) * 3 + 1);
	char *to = out;

	for (; out && *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (isalnum(c) || strchr("-._~", c))
			*to++ = (char)c;
		else
			to += snprintf(to, 4, "%%%02X", c);
	}
	if (out)
		*to = 0;
	return out;
}
