/* Signals at the system-call boundary: those that ask the process to end, those of a crash, and the alarm. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "sys.h"

/* The linker's: where the program begins, and where its code ends. */
extern const char __executable_start[], etext[];

static volatile sig_atomic_t caught_signal;

/* Starts SIGALRM every 50 ms, so that a call which begins to block only after this signal is interrupted as well. */
static void on_signal(int number)
{
	struct itimerval timer = {.it_value = {0, 50000}, .it_interval = {0, 50000}};
	if (number == SIGALRM)
		return;
	caught_signal = number;
	setitimer(ITIMER_REAL, &timer, NULL);
}

/*
 * The compiled runtime raises SIGABRT where it finds a defect (an index outside a typed array), and a stack overflow raises
 * SIGSEGV. The caller of the plugin gets an error object all the same.
 */
static void on_crash(int number)
{
	static const char text[] = "{\"cniVersion\":\"1.1.0\",\"code\":999,\"msg\":\"internal error: the plugin crashed\","
				   "\"details\":\"this is a defect of Podwire: please report it with the configuration\"}\n";
	(void)number;
	if (!printed && write(STDOUT_FILENO, text, sizeof text - 1) < 0)
		_exit(2);
	_exit(1);
}

static int32_t catch_crashes(void)
{
	/* A stack of its own: the ordinary one may have overflowed. */
	static uint8_t space[16384];
	static const int crashes[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	stack_t stack = {.ss_sp = space, .ss_size = sizeof space};
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};
	if (sigaltstack(&stack, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		if (sigaction(crashes[i], &action, NULL) < 0)
			return -errno;
	return 0;
}

/*
 * From now on signals that ask the process to end, and SIGALRM, interrupt a blocking call (EINTR) and do nothing else. A write
 * to a closed pipe, or beyond the size limit of files, fails (EPIPE, EFBIG). A crash prints an error object.
 */
int32_t sys_catch_signals(void)
{
	static const int asking[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGXCPU, SIGALRM};
	struct sigaction action = {.sa_handler = on_signal};
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof asking / sizeof *asking; i++)
		if (sigaction(asking[i], &action, NULL) < 0)
			return -errno;
	return catch_crashes();
}

/* The number of the last signal caught, 0 for none. */
int32_t sys_caught_signal(void) { return caught_signal; }

static void fill_ending_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

/* From now on SIGTERM, SIGINT and SIGHUP stay pending. */
int32_t sys_hold_signals(void)
{
	sigset_t set;
	fill_ending_signals(&set);
	return RESULT(sigprocmask(SIG_BLOCK, &set, NULL));
}

/*
 * Takes the program's code out of this process: who waits for a signal may do so for months. The kernel maps it again from
 * the file when it is needed. The length is cut to pages of 64 KiB, the largest there are: behind the code is what was written.
 */
static void release_code(void)
{
	size_t length = (size_t)(etext - __executable_start) & ~(size_t)0xffff;
	madvise((void *)__executable_start, length, MADV_DONTNEED);
}

/* Sleeps until one of the held signals is pending: its number, or -errno. */
int32_t sys_wait_signal(void)
{
	sigset_t set;
	fill_ending_signals(&set);
	release_code();
	return RESULT(sigwaitinfo(&set, NULL));
}

/* Raises SIGALRM every `milliseconds` from now on; 0 stops it. It repeats: one signal may come just before a call blocks. */
int32_t sys_alarm_ms(uint32_t milliseconds)
{
	struct timeval span = {milliseconds / 1000u, (long)(milliseconds % 1000u) * 1000};
	struct itimerval timer = {.it_value = span, .it_interval = span};
	return RESULT(setitimer(ITIMER_REAL, &timer, NULL));
}
