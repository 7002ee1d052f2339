/* cmd_umount.c - umount: send everything, unmount, wait. */
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/err.h"
#include "base/log.h"
#include "tools/cmd.h"
#include "tools/detach.h"
#include "tools/mounted.h"

/* Every table this user may unmount, the last mounted first; the worst of the
 * statuses. */
static int umount_all(const struct df_detach *how)
{
	struct df_mounted_list list;
	int worst = DF_EXIT_OK;

	int err = df_mounted_read(&list);
	if (err) {
		df_fail(err, "reading the mount table");
		return DF_EXIT_FAILED;
	}
	for (size_t i = list.n; i-- > 0;) {
		const struct df_mounted *m = &list.v[i];
		if (!m->ours || (geteuid() != 0 && m->uid != geteuid()))
			continue;
		struct df_detach d = *how;
		d.path = m->path;
		int status = df_detach(&d);
		worst = DF_MAX(worst, status);
	}
	df_mounted_release(&list);
	return worst;
}

int df_cmd_umount(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "timeout", required_argument, NULL, 't' },
		{ "force", no_argument, NULL, 'f' },
		{ "lazy", no_argument, NULL, 'l' },
		{ "cache-dir", required_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	struct df_detach d = { .timeout_ms = -1 };
	bool all = false;

	opterr = 0;
	for (int c;
	     (c = getopt_long(argc, argv, "at:fl", longs, NULL)) != -1;) {
		if (c == 'a')
			all = true;
		else if (c == 'f')
			d.anyhow = true;
		else if (c == 'l')
			d.lazy = true;
		else if (c == 'c')
			d.cache_dir = optarg;
		else if (c != 't')
			return df_usage_opt(argv, optopt, optind);
		else if (df_conf_time(optarg, &d.timeout_ms))
			return df_usage("umount",
					"umount: --timeout %s: give "
					"a time such as 30 or 1.5",
					optarg);
	}
	if (argc - optind != !all)
		return df_usage("umount", "umount: give one path, or --all");
	if (all)
		return umount_all(&d);
	d.path = argv[optind];
	return df_detach(&d);
}
