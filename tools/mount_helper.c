/*
 * mount_helper.c - mount.deeplakefs and mount.fuse.deeplakefs, as mount(8)
 * calls them: SOURCE DIR [-sfnv] [-N namespace] [-t type] [-o options].
 */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <sys/mount.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/cmd.h"
#include "tools/live.h"
#include "tools/namespace.h"
#include "tools/place.h"
#include "tools/start.h"

struct helper_args {
	const char *options;
	bool sloppy, fake;
};

static int usage(const char *self)
{
	df_log_error("usage: %s TABLE[:/sub/dir] DIR [-sfnv] [-o OPTIONS]; "
		     "mount.deeplakefs(8) explains them",
		     self);
	return DF_EXIT_USAGE;
}

/* Only ro and rw can change while it is mounted; the rest is the daemon's. */
static int remount(const struct df_conf *opt, const char *path)
{
	unsigned long flags = MS_REMOUNT;
	struct df_live l;
	char why[256];
	json_t *answer = NULL;

	if (df_live_open(path, false, NULL, &l))
		return DF_EXIT_FAILED;
	bool fixed = l.connected &&
		     df_live_ask(&l, json_pack("{s:s}", "cmd", "status"), 5000,
				 NULL, NULL, &answer, why) == 0 &&
		     json_is_true(json_object_get(answer, "read_only"));
	json_decref(answer);
	df_live_close(&l);
	if (fixed && !opt->read_only) {
		df_log_error("%s: it was mounted read-only, and so it stays; "
			     "unmount it and mount it again with rw",
			     path);
		return DF_EXIT_FAILED;
	}
	flags |= opt->read_only ? MS_RDONLY : 0;
	flags |= opt->suid ? 0 : MS_NOSUID;
	flags |= opt->dev ? 0 : MS_NODEV;
	flags |= opt->noexec ? MS_NOEXEC : 0;
	flags |= opt->noatime ? MS_NOATIME : 0;
	if (mount(NULL, path, NULL, flags, NULL)) {
		df_fail(-errno, "%s: remounting", path);
		return DF_EXIT_FAILED;
	}
	return DF_EXIT_OK;
}

static int helper_mount(const char *source, const char *dir,
			const struct helper_args *a)
{
	DF_FREE char *table = NULL, *subdir = NULL, *path = NULL;
	struct df_conf opt;
	char msg[512];
	pid_t pid;

	df_conf_init(&opt);
	int status = DF_EXIT_USAGE;
	if (a->options &&
	    df_conf_parse(&opt, a->options, a->sloppy, msg, sizeof(msg))) {
		df_log_error("%s; mount.deeplakefs(8) has the options", msg);
		goto out;
	}
	if (df_place_path(dir, &path)) {
		status = DF_EXIT_FAILED;
		goto out;
	}
	if (opt.remount) {
		status = a->fake ? DF_EXIT_OK : remount(&opt, path);
		goto out;
	}
	if (df_place_source(source, &table, &subdir))
		goto out;
	struct df_start s = {
		.opt = &opt,
		.table = table,
		.subdir = subdir,
		.path = path,
	};
	status = a->fake ? DF_EXIT_OK : df_start(&s, &pid);
out:
	df_conf_release(&opt);
	return status;
}

int df_helper_mount(int argc, char **argv)
{
	struct helper_args a = { 0 };

	opterr = 0;
	for (int c; (c = getopt(argc, argv, "sfnvwrN:t:o:")) != -1;) {
		switch (c) {
		case 's':
			a.sloppy = true;
			break;
		case 'f':
			a.fake = true;
			break;
		case 'v':
			df_log_set_level(DF_LOG_DEBUG);
			break;
		case 'N':
			if (df_namespace_enter(optarg))
				return DF_EXIT_FAILED;
			break;
		case 'o':
			a.options = optarg;
			break;
		case '?':
			return usage(argv[0]);
		default: /* -n, -w, -r: said again in -o; -t: our name */
			break;
		}
	}
	if (argc - optind != 2)
		return usage(argv[0]);
	return helper_mount(argv[optind], argv[optind + 1], &a);
}
