// links: base
/*
 * fuzz_options.c - a list of mount options, as fstab and mounts.json have it.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct df_conf c;
	char msg[256] = "";
	char *text = malloc(len + 1);

	if (!text)
		return 0;
	memcpy(text, data, len);
	text[len] = 0;
	for (int sloppy = 0; sloppy < 2; sloppy++) {
		df_conf_init(&c);
		/* a refusal always says why */
		if (df_conf_parse(&c, text, sloppy, msg, sizeof(msg)) ==
			    -EINVAL &&
		    !msg[0])
			abort();
		df_conf_release(&c);
	}
	free(text);
	return 0;
}
