/*
 * The system-call boundary: one function for each call that Podwire makes and the compiler's runtime does not offer. Those
 * about signals are in signals.c.
 *
 * Rules of this file: no logic. Every function takes numbers, text or a byte buffer, makes one call and returns its
 * result or -errno. Text arrives without a terminating NUL, so it is copied to the stack first. A NUL inside it is refused
 * (-EINVAL), because the kernel would see a shorter name than the caller has checked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sys.h"

extern char **environ;

/* Files */

int32_t sys_openat(int32_t directory, const uint8_t *path, size_t path_length, int32_t flags, int32_t mode)
{
	TEXT(name, path, path_length);
	return RESULT(openat(directory, name, flags | O_CLOEXEC, mode));
}

int32_t sys_close(int32_t fd) { return RESULT(close(fd)); }

int32_t sys_read(int32_t fd, uint8_t *buffer, size_t size, uint32_t offset, uint32_t length)
{
	WINDOW(offset, length, size);
	return RESULT(read(fd, buffer + offset, length));
}

volatile sig_atomic_t printed;

int32_t sys_write(int32_t fd, const uint8_t *buffer, size_t size, uint32_t offset, uint32_t length)
{
	WINDOW(offset, length, size);
	if (fd == STDOUT_FILENO)
		printed = 1;
	return RESULT(write(fd, buffer + offset, length));
}

int32_t sys_pread(int32_t fd, uint8_t *buffer, size_t size, double position)
{
	return RESULT(pread(fd, buffer, size, (off_t)position));
}

int32_t sys_pwrite(int32_t fd, const uint8_t *buffer, size_t size, double position)
{
	return RESULT(pwrite(fd, buffer, size, (off_t)position));
}

/*
 * Writes eight little-endian 64-bit words: device, inode, mode, links, size, modification time in nanoseconds, owner,
 * device number of a device node.
 */
static int32_t put_stat(const struct stat *st, uint8_t *out, size_t size)
{
	uint64_t words[8] = {st->st_dev,  st->st_ino,
			     st->st_mode, st->st_nlink,
			     st->st_size, (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
			     st->st_uid,  st->st_rdev};
	if (size < sizeof words)
		return -EFAULT;
	memcpy(out, words, sizeof words);
	return 0;
}

int32_t sys_fstat(int32_t fd, uint8_t *out, size_t size)
{
	struct stat st;
	return fstat(fd, &st) < 0 ? -errno : put_stat(&st, out, size);
}

int32_t sys_fstatat(int32_t directory, const uint8_t *path, size_t path_length, int32_t flags, uint8_t *out, size_t size)
{
	struct stat st;
	TEXT(name, path, path_length);
	return fstatat(directory, name, &st, flags) < 0 ? -errno : put_stat(&st, out, size);
}

/* The magic number of the file system that holds an open file, or -errno (statfs(2)). */
double sys_fstatfs_type(int32_t fd)
{
	struct statfs st;
	return fstatfs(fd, &st) < 0 ? -(double)errno : (double)(uint32_t)st.f_type;
}

int32_t sys_renameat(int32_t directory, const uint8_t *from, size_t from_length, const uint8_t *to, size_t to_length,
		     uint32_t flags)
{
	TEXT(source, from, from_length);
	TEXT(target, to, to_length);
	return RESULT(syscall(SYS_renameat2, directory, source, directory, target, flags));
}

int32_t sys_linkat(int32_t directory, const uint8_t *from, size_t from_length, const uint8_t *to, size_t to_length)
{
	TEXT(source, from, from_length);
	TEXT(target, to, to_length);
	return RESULT(linkat(directory, source, directory, target, 0));
}

int32_t sys_unlinkat(int32_t directory, const uint8_t *path, size_t path_length, int32_t flags)
{
	TEXT(name, path, path_length);
	return RESULT(unlinkat(directory, name, flags));
}

int32_t sys_mkdirat(int32_t directory, const uint8_t *path, size_t path_length, int32_t mode)
{
	TEXT(name, path, path_length);
	return RESULT(mkdirat(directory, name, mode));
}

int32_t sys_ftruncate(int32_t fd, double size) { return RESULT(ftruncate(fd, (off_t)size)); }

int32_t sys_fchmod(int32_t fd, int32_t mode) { return RESULT(fchmod(fd, (mode_t)mode)); }

int32_t sys_fsync(int32_t fd) { return RESULT(fsync(fd)); }

int32_t sys_bequeath(int32_t fd) { return RESULT(fcntl(fd, F_SETFD, 0)); }

/* Sets the modification time of an open file or directory to a whole second; the access time stays. */
int32_t sys_set_mtime(int32_t fd, double seconds)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)seconds}};
	return RESULT(futimens(fd, times));
}

int32_t sys_faccessat(int32_t directory, const uint8_t *path, size_t path_length, int32_t mode)
{
	TEXT(name, path, path_length);
	return RESULT(faccessat(directory, name, mode, 0));
}

int32_t sys_readlinkat(int32_t directory, const uint8_t *path, size_t path_length, uint8_t *buffer, size_t size)
{
	TEXT(name, path, path_length);
	return RESULT(readlinkat(directory, name, (char *)buffer, size));
}

int32_t sys_getdents(int32_t fd, uint8_t *buffer, size_t size)
{
	return RESULT(syscall(SYS_getdents64, fd, buffer, size));
}

int32_t sys_flock(int32_t fd, int32_t operation) { return RESULT(flock(fd, operation)); }

uint32_t sys_effective_user(void) { return geteuid(); }

/* Sockets and namespaces */

int32_t sys_socket(int32_t domain, int32_t type, int32_t protocol)
{
	return RESULT(socket(domain, type | SOCK_CLOEXEC, protocol));
}

/* Two connected Unix sockets; their descriptors come as two int32 in the buffer. */
int32_t sys_socketpair(uint8_t *buffer, size_t size)
{
	int pair[2];
	WINDOW(0, sizeof pair, size);
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	memcpy(buffer, pair, sizeof pair);
	return 0;
}

/* A message of one byte with two descriptors. */
int32_t sys_send_descriptors(int32_t fd, int32_t first, int32_t second)
{
	int list[2] = { first, second };
	char control[CMSG_SPACE(sizeof list)] __attribute__((aligned(8))) = { 0 };
	struct iovec byte = { .iov_base = "", .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof list);
	memcpy(CMSG_DATA(header), list, sizeof list);
	return RESULT(sendmsg(fd, &message, MSG_NOSIGNAL));
}

int32_t sys_setsockopt(int32_t fd, int32_t level, int32_t option, int32_t value)
{
	return RESULT(setsockopt(fd, level, option, &value, sizeof value));
}

/* The address is a struct sockaddr_in or sockaddr_in6 as bytes. */
int32_t sys_bind(int32_t fd, const uint8_t *address, size_t size)
{
	return RESULT(bind(fd, (const struct sockaddr *)address, (socklen_t)size));
}

int32_t sys_send(int32_t fd, const uint8_t *buffer, size_t size, uint32_t offset, uint32_t length)
{
	WINDOW(offset, length, size);
	return RESULT(send(fd, buffer + offset, length, MSG_NOSIGNAL));
}

/* Fills `address` with the sender's struct sockaddr, as far as it has room. */
int32_t sys_recvfrom(int32_t fd, uint8_t *buffer, size_t size, int32_t flags, uint8_t *address, size_t address_size)
{
	socklen_t length = (socklen_t)address_size;
	return RESULT(recvfrom(fd, buffer, size, flags, (struct sockaddr *)address, &length));
}

/* Waits until something of `events` can be done: 1, 0 after `milliseconds`, or -errno. A closed descriptor counts as ready. */
int32_t sys_poll(int32_t fd, int32_t events, int32_t milliseconds)
{
	struct pollfd wanted = {.fd = fd, .events = (short)events};
	return RESULT(poll(&wanted, 1, milliseconds));
}

int32_t sys_setns(int32_t fd, int32_t type) { return RESULT(setns(fd, type)); }

int32_t sys_unshare(int32_t flags) { return RESULT(unshare(flags)); }

/* The kind of an open namespace as its CLONE_NEW flag (ioctl_ns(2)), or -errno. */
int32_t sys_namespace_type(int32_t fd) { return RESULT(ioctl(fd, NS_GET_NSTYPE)); }

/* The index of an interface in the current network namespace, or -errno (ENODEV if there is none of that name). */
int32_t sys_if_index(const uint8_t *interface, size_t interface_length)
{
	TEXT(name, interface, interface_length);
	unsigned int index = if_nametoindex(name);
	return index == 0 ? -errno : (int32_t)index;
}

/* Time */

double sys_clock_ms(int32_t clock)
{
	struct timespec now;
	if (clock_gettime(clock, &now) < 0)
		return -(double)errno;
	return (double)now.tv_sec * 1000.0 + (double)(now.tv_nsec / 1000000);
}

int32_t sys_sleep_us(uint32_t microseconds)
{
	struct timespec span = {microseconds / 1000000u, (long)(microseconds % 1000000u) * 1000};
	return RESULT(nanosleep(&span, NULL));
}

/* Processes */

/* The length of a variable's value, of which the buffer holds as much as it has room for. */
int32_t sys_getenv(const uint8_t *name, size_t name_length, uint8_t *buffer, size_t size)
{
	TEXT(key, name, name_length);
	const char *value = getenv(key);
	if (value == NULL)
		return -ENOENT;
	size_t length = strlen(value);
	memcpy(buffer, value, length < size ? length : size);
	return (int32_t)length;
}

int32_t sys_setenv(const uint8_t *name, size_t name_length, const uint8_t *value, size_t value_length)
{
	TEXT(key, name, name_length);
	TEXT(text, value, value_length);
	return RESULT(setenv(key, text, 1));
}

/*
 * The last 4 of the 16 random bytes that the kernel gives each process (AT_RANDOM): no system call. The C library makes
 * its stack protector of the first ones.
 */
uint32_t sys_random(void)
{
	const uint8_t *bytes = (const uint8_t *)getauxval(AT_RANDOM);
	uint32_t value = 0;
	if (bytes != NULL)
		memcpy(&value, bytes + 12, sizeof value);
	return value;
}

/* An anonymous file in memory. */
int32_t sys_memfd(void) { return RESULT(syscall(SYS_memfd_create, "podwire", 1 /* MFD_CLOEXEC */)); }

/*
 * Starts `path` with itself as the first argument and then those in `list`, each ended by a NUL, with this process's
 * environment or none, and the three descriptors; its pid or -errno.
 */
int32_t sys_spawn(const uint8_t *path, size_t path_length, const uint8_t *list, size_t list_length, int32_t inherit,
		  int32_t input, int32_t output, int32_t errors)
{
	TEXT(name, path, path_length);
	char *arguments[16] = {name};
	char *nothing[] = {NULL};
	size_t count = 1;
	for (size_t at = 0; at < list_length; at += strlen((const char *)list + at) + 1) {
		if (list[list_length - 1] != 0 || count == 15)
			return -EINVAL;
		arguments[count++] = (char *)list + at;
	}
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t defaults;
	pid_t pid;
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGXFSZ);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
	int error = posix_spawn_file_actions_init(&actions);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&actions, input, 0);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&actions, output, 1);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&actions, errors, 2);
	if (error == 0)
		error = posix_spawn(&pid, name, &actions, &attributes, arguments,
				    inherit ? environ : nothing);
	posix_spawn_file_actions_destroy(&actions);
	return error != 0 ? -error : pid;
}

/* Waits for a child: its exit status, 256 + the signal that ended it, or -errno. */
int32_t sys_waitpid(int32_t pid)
{
	int status;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

int32_t sys_kill(int32_t pid, int32_t signal_number) { return RESULT(kill(pid, signal_number)); }

int32_t sys_exit(int32_t status) { _exit(status); }
