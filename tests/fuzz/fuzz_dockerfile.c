// links: base sandbox
/* fuzz_dockerfile.c - any bytes as a Dockerfile: steps or a refusal. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sandbox/dockerfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct df_docker d;

	int err = df_docker_parse((const char *)data, size, &d);
	if (err && !d.why[0])
		abort(); /* every refusal has a reason */
	if (!err && !d.from_image == !d.from_template)
		abort(); /* exactly one of the two */
	json_t *step;
	size_t i;
	json_array_foreach(d.steps, i, step)
	{
		const char *type =
			json_string_value(json_object_get(step, "type"));
		if (!err && !strcmp(type, "COPY") &&
		    json_array_size(json_object_get(step, "args")) != 4)
			abort();
	}
	df_docker_release(&d);
	return 0;
}
