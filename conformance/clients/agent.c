/* The only program in the containers of these suites: a static executable without anything around it.
 *   agent                    sleeps until it is told to end, as a pause container does
 *   agent serve PORT         tells each TCP client the address it comes from
 *   agent ask ADDRESS PORT   prints what such a server says; exit status 1 if there is no answer in three seconds
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int number) { (void)number; _exit(0); }

static int serve(const char *port)
{
	int one = 1, zero = 0;
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(port)) };
	int listener = socket(AF_INET6, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) {
		perror("serve");
		return 1;
	}
	for (;;) {
		char text[INET6_ADDRSTRLEN + 2] = "";
		socklen_t length = sizeof address;
		int client = accept(listener, (struct sockaddr *)&address, &length);
		if (client < 0) continue;
		inet_ntop(AF_INET6, &address.sin6_addr, text, INET6_ADDRSTRLEN);
		const char *shown = strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text;
		if (write(client, shown, strlen(shown)) < 0) perror("serve");
		close(client);
	}
}

static int ask(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found;
	char text[128];
	if (getaddrinfo(host, port, &hints, &found) != 0) return 2;
	int server = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(server, found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS) {
		perror("connect");
		return 1;
	}
	struct pollfd wait = { .fd = server, .events = POLLIN };
	if (poll(&wait, 1, 3000) != 1) {
		fputs("no answer\n", stderr);
		return 1;
	}
	ssize_t length = read(server, text, sizeof text);
	if (length <= 0) {
		fputs("no answer\n", stderr);
		return 1;
	}
	fwrite(text, 1, (size_t)length, stdout);
	return 0;
}

int main(int count, char **words)
{
	signal(SIGTERM, end);
	signal(SIGINT, end);
	if (count == 3 && strcmp(words[1], "serve") == 0) return serve(words[2]);
	if (count == 4 && strcmp(words[1], "ask") == 0) return ask(words[2], words[3]);
	for (;;) {
		pause();
		while (waitpid(-1, NULL, WNOHANG) > 0) {}
	}
}
