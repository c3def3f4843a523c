/* TCP connections, for a process that does not wait for one of them. As sys.c. */
#define _GNU_SOURCE
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "sys.h"

/* What each address takes in the buffer of sys_look_up: the longest struct sockaddr of the Internet's families. */
enum { ADDRESS_SIZE = sizeof(struct sockaddr_in6) };

/* The address is a struct sockaddr as bytes. */
int32_t sys_connect(int32_t fd, const uint8_t *address, size_t size)
{
	return RESULT(connect(fd, (const struct sockaddr *)address, (socklen_t)size));
}

/* A number that an option of a socket has, or -errno. */
int32_t sys_getsockopt(int32_t fd, int32_t level, int32_t option)
{
	int value = 0;
	socklen_t length = sizeof value;
	return getsockopt(fd, level, option, &value, &length) < 0 ? -errno : value;
}

int32_t sys_listen(int32_t fd, int32_t backlog) { return RESULT(listen(fd, backlog)); }

/* The connection that came first of those that wait; it does not block. */
int32_t sys_accept(int32_t fd) { return RESULT(accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)); }

/*
 * Fills the buffer with the addresses of a host, ADDRESS_SIZE bytes each: how many, or a negative EAI_ number (netdb.h). What is
 * an address already is not looked up.
 */
int32_t sys_look_up(const uint8_t *host, size_t host_length, uint32_t port, uint8_t *buffer, size_t size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	TEXT(name, host, host_length);
	int error = getaddrinfo(name, NULL, &hints, &found);
	if (error != 0)
		return error;
	size_t count = 0;
	for (struct addrinfo *one = found; one != NULL && (count + 1) * ADDRESS_SIZE <= size; one = one->ai_next) {
		struct sockaddr_in6 address = {0};
		memcpy(&address, one->ai_addr, one->ai_addrlen);
		/* Both families have the port in the same place. */
		address.sin6_port = htons((uint16_t)port);
		memcpy(buffer + count++ * ADDRESS_SIZE, &address, sizeof address);
	}
	freeaddrinfo(found);
	return (int32_t)count;
}
