/* intr.c - see intr.h. */
#include "tools/sandbox/intr.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

static volatile sig_atomic_t intr_sig;
static volatile sig_atomic_t intr_size;
static int intr_held;
static int intr_pipe[2] = { -1, -1 };

static const int intr_sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH };

static void on_signal(int sig)
{
	int saved = errno;

	if (sig == SIGWINCH)
		intr_size = 1;
	else if (!intr_sig)
		intr_sig = sig;
	if (write(intr_pipe[1], "", 1) < 0)
		errno = saved; /* full: readable already, which is all */
	errno = saved;
}

int df_intr_init(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	if (pipe2(intr_pipe, O_CLOEXEC | O_NONBLOCK))
		return df_fail(-errno, "pipe for signals");
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < DF_ARRAY_LEN(intr_sigs); i++) {
		struct sigaction old;
		/* nohup and shells' background jobs ignore on purpose */
		if (!sigaction(intr_sigs[i], NULL, &old) &&
		    old.sa_handler == SIG_IGN)
			continue;
		if (sigaction(intr_sigs[i], &sa, NULL))
			return df_fail(-errno, "signal %d", intr_sigs[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

int df_intr_fd(void)
{
	return intr_pipe[0];
}

void df_intr_drain(void)
{
	char junk[64];

	while (intr_pipe[0] >= 0 && read(intr_pipe[0], junk, sizeof(junk)) > 0)
		;
}

int df_intr_now(void)
{
	return intr_held ? 0 : (int)intr_sig;
}

int df_intr_take(void)
{
	int sig = df_intr_now();

	if (sig)
		intr_sig = 0;
	return sig;
}

bool df_intr_winch(void)
{
	bool was = intr_size;

	intr_size = 0;
	return was;
}

void df_intr_hold(int by)
{
	intr_held += by;
}

void df_intr_child(void)
{
	for (size_t i = 0; i < DF_ARRAY_LEN(intr_sigs); i++)
		signal(intr_sigs[i], SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	for (int i = 0; i < 2; i++) {
		if (intr_pipe[i] >= 0)
			close(intr_pipe[i]);
		intr_pipe[i] = -1;
	}
	intr_sig = 0;
	intr_held = 0;
}

int df_intr_sleep_ms(int ms)
{
	int64_t end = df_deadline_ms(ms);

	for (;;) {
		if (df_intr_now())
			return -EINTR;
		int64_t left = (end - df_deadline_ms(0)) / DF_NS_PER_MS;
		if (left <= 0)
			return 0;
		/* held: the byte stays unread, so do not poll on it */
		struct pollfd p = { intr_pipe[0], POLLIN, 0 };
		if (poll(&p, intr_held ? 0 : 1, (int)left) > 0 &&
		    !df_intr_now())
			df_intr_drain();
	}
}
