/* namespace.c - see namespace.h. */
#include "tools/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"

int df_namespace_enter(const char *name)
{
	DF_FREE char *file = *name == '/' ? strdup(name)
					  : df_strf("/proc/%s/ns/mnt", name);

	if (!file)
		return df_fail(-ENOMEM, "mount namespace %s", name);
	DF_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNS))
		return df_fail(-errno, "mount namespace %s", name);
	return 0;
}
