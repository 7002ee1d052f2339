/* unmount.c - see unmount.h. */
#include "tools/unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "tools/utab.h"

extern char **environ;

/* All that comes, the first size - 1 bytes of it kept as text. */
static void read_text(int fd, char *text, size_t size)
{
	char rest[256] = "";
	size_t at = 0;

	for (;;) {
		bool full = at + 1 >= size;
		ssize_t n = read(fd, full ? rest : text + at,
				 full ? sizeof(rest) : size - 1 - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		at += full ? 0 : (size_t)n;
	}
	text[at] = 0;
	text[strcspn(text, "\n")] = 0;
}

int df_run(const char *const argv[], char *said, size_t size)
{
	posix_spawn_file_actions_t fa;
	char *args[16];
	size_t n = 0;
	int status, fd[2];
	pid_t pid;

	/* posix_spawn does not change them, its prototype just cannot say so */
	for (; n < 15 && argv[n]; n++)
		args[n] = (char *)(uintptr_t)argv[n];
	args[n] = NULL;
	*said = 0;
	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	DF_CLOSE int out = fd[0];
	DF_CLOSE int in = fd[1];
	int err = -posix_spawn_file_actions_init(&fa);
	if (err)
		return err;
	err = -posix_spawn_file_actions_adddup2(&fa, in, STDERR_FILENO);
	if (!err)
		err = -posix_spawnp(&pid, argv[0], &fa, NULL, args, environ);
	posix_spawn_file_actions_destroy(&fa);
	if (err)
		return err;
	close(in);
	in = -1;
	read_text(out, said, size);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static int run_fusermount(const char *path, unsigned flags)
{
	const char *const argv[] = { "fusermount3",
				     flags & DF_UNMOUNT_LAZY ? "-uz" : "-u",
				     "--", path, NULL };
	char said[256];
	int status = df_run(argv, said, sizeof(said));

	if (status <= 0)
		return status;
	/* it says why only in words */
	if (strstr(said, df_strerror(-EBUSY)))
		return -EBUSY;
	if (access(path, F_OK) && errno == EACCES)
		return -EACCES;
	df_log_error("%s", said);
	return -EIO;
}

/* By umount(8), so that its table (utab.h) loses the entry as well. */
static int run_umount(const char *path, unsigned flags)
{
	const char *argv[] = { "umount", "-i", NULL, NULL, NULL, NULL, NULL };
	char said[64];
	size_t n = 2;

	if (flags & DF_UNMOUNT_FORCE)
		argv[n++] = "-f";
	if (flags & DF_UNMOUNT_LAZY)
		argv[n++] = "-l";
	argv[n++] = "--";
	argv[n] = path;
	return df_run(argv, said, sizeof(said));
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
