/*
 * Makes TCP connections one after another through whatever lies between two network namespaces, and times each.
 *
 *   connect CLIENT_NETNS ADDRESS PORT SERVER_NETNS SERVER_PORT MILLISECONDS
 *
 * A child in the server's namespace accepts and closes; the parent connects from the client's, resets, and connects
 * again until the time is over. Prints: connections, milliseconds, median and 99th percentile of connect() in ns.
 * A reset leaves neither TIME_WAIT nor an entry in the table of connections behind, so every connection is a new one to
 * the packet filter.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 1000000, WARM_UP = 200 };

static int64_t times_ns[MAX_CONNECTIONS];

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static int64_t now_ns(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void enter(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
		fail(path);
	close(fd);
}

static struct sockaddr_in address_of(const char *text, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
		fail(text);
	return address;
}

static void serve(const char *netns, int port, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter(netns);
	struct sockaddr_in address = address_of("0.0.0.0", port);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0)
		fail("listen");
	if (write(ready, "r", 1) != 1)
		fail("write");
	for (;;) {
		int connection = accept(listener, NULL, NULL);
		if (connection >= 0)
			close(connection);
	}
}

static int64_t connect_once(const struct sockaddr_in *address)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	struct timeval limit = {.tv_sec = 2};
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client < 0)
		fail("socket");
	setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	int64_t started = now_ns();
	if (connect(client, (const struct sockaddr *)address, sizeof *address) != 0)
		fail("connect");
	int64_t taken = now_ns() - started;
	close(client);
	return taken;
}

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	int ready[2];
	char byte;
	if (argc != 7) {
		fprintf(stderr, "usage: connect CLIENT_NETNS ADDRESS PORT SERVER_NETNS SERVER_PORT MILLISECONDS\n");
		return 2;
	}
	if (pipe(ready) != 0)
		fail("pipe");
	pid_t server = fork();
	if (server < 0)
		fail("fork");
	if (server == 0)
		serve(argv[4], atoi(argv[5]), ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		fail("the server did not start");
	enter(argv[1]);
	struct sockaddr_in address = address_of(argv[2], atoi(argv[3]));
	for (int i = 0; i < WARM_UP; i++)
		connect_once(&address);
	int64_t started = now_ns(), end = started + INT64_C(1000000) * atoi(argv[6]);
	int count = 0;
	while (count < MAX_CONNECTIONS && now_ns() < end)
		times_ns[count++] = connect_once(&address);
	double milliseconds = (now_ns() - started) / 1e6;
	kill(server, SIGKILL);
	qsort(times_ns, count, sizeof times_ns[0], ascending);
	printf("%d\t%.3f\t%lld\t%lld\n", count, milliseconds, (long long)times_ns[count / 2],
	       (long long)times_ns[count * 99LL / 100]);
	return 0;
}
