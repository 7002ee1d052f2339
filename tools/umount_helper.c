/*
 * umount_helper.c - umount.fuse.deeplakefs, as umount(8) calls it:
 * DIR [-flnrv] [-N namespace] [-t type].
 */
#include <errno.h>
#include <getopt.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/cmd.h"
#include "tools/detach.h"
#include "tools/namespace.h"

static int usage(const char *self)
{
	df_log_error("usage: %s DIR [-flnrv]; mount.deeplakefs(8) explains it",
		     self);
	return DF_EXIT_USAGE;
}

int df_helper_umount(int argc, char **argv)
{
	struct df_detach d = { .timeout_ms = -1 };

	opterr = 0;
	for (int c; (c = getopt(argc, argv, "flnrvN:t:")) != -1;) {
		switch (c) {
		case 'f':
			d.force = true;
			break;
		case 'l':
			d.lazy = true;
			break;
		case 'v':
			d.verbose = true;
			break;
		case 'N':
			if (df_namespace_enter(optarg))
				return DF_EXIT_FAILED;
			break;
		case '?':
			return usage(argv[0]);
		default: /* -n: there is no mtab; -r: a failed flush leaves it
			  * writable; -t: our own name */
			break;
		}
	}
	if (argc - optind != 1)
		return usage(argv[0]);
	d.path = argv[optind];
	return df_detach(&d);
}
