/* unmount.c - see unmount.h. */
#include "tools/unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/utab.h"

extern char **environ;

int df_run(const char *const argv[], bool quiet)
{
	posix_spawn_file_actions_t fa;
	char *args[16];
	size_t n = 0;
	int status;
	pid_t pid;

	/* posix_spawn does not change them, its prototype just cannot say so */
	for (; n < 15 && argv[n]; n++)
		args[n] = (char *)(uintptr_t)argv[n];
	args[n] = NULL;
	int err = -posix_spawn_file_actions_init(&fa);
	if (err)
		return err;
	if (quiet)
		err = -posix_spawn_file_actions_addopen(
			&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (!err)
		err = -posix_spawnp(&pid, argv[0], &fa, NULL, args, environ);
	posix_spawn_file_actions_destroy(&fa);
	if (err)
		return err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static int run_fusermount(const char *path, unsigned flags)
{
	const char *const argv[] = { "fusermount3",
				     flags & DF_UNMOUNT_LAZY ? "-uzq" : "-uq",
				     "--", path, NULL };
	int status = df_run(argv, true);

	if (status <= 0)
		return status;
	/* it says why only in words: ask again in another way */
	if (access(path, F_OK) && errno == EACCES)
		return -EACCES;
	return -EBUSY;
}

/* By umount(8), so that its table (utab.h) loses the entry as well. */
static int run_umount(const char *path, unsigned flags)
{
	const char *argv[] = { "umount", "-i", NULL, NULL, NULL, NULL, NULL };
	size_t n = 2;

	if (flags & DF_UNMOUNT_FORCE)
		argv[n++] = "-f";
	if (flags & DF_UNMOUNT_LAZY)
		argv[n++] = "-l";
	argv[n++] = "--";
	argv[n] = path;
	return df_run(argv, true);
}

int df_unmount(const char *path, unsigned flags)
{
	int how = UMOUNT_NOFOLLOW;

	if (geteuid() != 0)
		return run_fusermount(path, flags);
	if (df_utab_usable() && run_umount(path, flags) == 0)
		return 0;
	/* and where that is not there or failed, in a way that says why */
	if (flags & DF_UNMOUNT_FORCE)
		how |= MNT_FORCE;
	if (flags & DF_UNMOUNT_LAZY)
		how |= MNT_DETACH;
	return umount2(path, how) ? -errno : 0;
}

bool df_unmount_is_dead(const char *path)
{
	struct statfs st;

	return statfs(path, &st) &&
	       (errno == ENOTCONN || errno == ECONNABORTED);
}
