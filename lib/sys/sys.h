/* What the files of the system-call boundary share. */
#ifndef PODWIRE_SYS_H
#define PODWIRE_SYS_H

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

/* Whether anything was written to stdout: then the crash handler must not print a second JSON document. */
extern volatile sig_atomic_t printed;

/* The result of a system call, or -errno. */
#define RESULT(call)                                                                                                   \
	({                                                                                                             \
		long result_ = (long)(call);                                                                           \
		(int32_t)(result_ < 0 ? -errno : result_);                                                             \
	})

/* Declares `name` as a NUL-terminated copy of a text parameter, or returns from the function with an error. */
#define TEXT(name, data, length)                                                                                       \
	char name[PATH_MAX];                                                                                           \
	if ((length) >= sizeof name)                                                                                   \
		return -ENAMETOOLONG;                                                                                  \
	if (memchr((data), 0, (length)) != NULL)                                                                       \
		return -EINVAL;                                                                                        \
	memcpy(name, (data), (length));                                                                                \
	name[length] = 0

/* A window [offset, offset + length) into a buffer of `size` bytes must lie inside it. */
#define WINDOW(offset, length, size)                                                                                   \
	if ((uint64_t)(offset) + (uint64_t)(length) > (uint64_t)(size))                                               \
	return -EFAULT

#endif
