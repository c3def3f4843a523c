/* What a process that runs for months waits for: many descriptors, signals as descriptors, changes of directories. As sys.c. */
#define _GNU_SOURCE
#include <poll.h>
#include <stddef.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "sys.h"

/* Waits for the `count` struct pollfd in the buffer and writes what has happened there: how many are ready, or -errno. */
int32_t sys_poll_many(uint8_t *buffer, size_t size, uint32_t count, int32_t milliseconds)
{
	WINDOW(0, (uint64_t)count * sizeof(struct pollfd), size);
	return RESULT(poll((struct pollfd *)buffer, count, milliseconds));
}

/* The set of signals for which a bit is set: bit n - 1 for signal n. */
static void fill_set(sigset_t *set, uint32_t mask)
{
	sigemptyset(set);
	for (int number = 1; number <= 32; number++)
		if ((mask >> (number - 1)) & 1)
			sigaddset(set, number);
}

/* From now on these signals stay pending, for a descriptor to tell them. */
int32_t sys_hold(uint32_t mask)
{
	sigset_t set;
	fill_set(&set, mask);
	return RESULT(sigprocmask(SIG_BLOCK, &set, NULL));
}

/* A descriptor to read held signals from, each as a struct signalfd_siginfo. */
int32_t sys_signalfd(uint32_t mask)
{
	sigset_t set;
	fill_set(&set, mask);
	return RESULT(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

int32_t sys_inotify_init(void) { return RESULT(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }

int32_t sys_inotify_add_watch(int32_t fd, const uint8_t *path, size_t path_length, uint32_t mask)
{
	TEXT(name, path, path_length);
	return RESULT(inotify_add_watch(fd, name, mask));
}

/*
 * The compiled runtime has written what is wrong to standard error, if it has found the defect itself. The signal then ends the
 * process as if nobody had caught it.
 */
static void on_crash(int number)
{
	static const char text[] = "podwire-agent: crashed; this is a defect of Podwire, please report it with what is above\n";
	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(1);
	raise(number);
}

/* The alarm interrupts a blocking call (EINTR), such as that for a lock which a plugin's call holds, and does nothing else. */
static void on_alarm(int number) { (void)number; }

/*
 * From now on a crash writes a line to standard error; a write to a closed pipe, or beyond the size limit of files, fails; and
 * SIGALRM interrupts.
 */
int32_t sys_report_crashes(void)
{
	/* A stack of its own: the ordinary one may have overflowed. */
	static uint8_t space[16384];
	static const int crashes[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	stack_t stack = {.ss_sp = space, .ss_size = sizeof space};
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
	struct sigaction alarm = {.sa_handler = on_alarm};
	if (sigaction(SIGALRM, &alarm, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	if (sigaltstack(&stack, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		if (sigaction(crashes[i], &action, NULL) < 0)
			return -errno;
	return 0;
}
