/*
 * TLS at the system-call boundary: a client's sessions over connected sockets, by mbedTLS (mbedtls_config.h). A function
 * makes one step and returns what mbedTLS returns: a length or 0, or a negative error code. tls.ts knows what the codes mean.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <psa/crypto.h>

enum { SESSIONS = 32, LONGEST_NAME = 255 };

struct session {
	int fd;
	/* The errno of the last call on the socket that failed; 0 for none. */
	int socket_error;
	/* The error that has ended the session; 0 for none. mbedTLS must not be called again after one. */
	int failed;
	/* The IP address that the server's certificate must have; length 0 if it must have a host name. */
	uint8_t address[16];
	size_t address_length;
	/* What a certificate says with which something is wrong: see describe. */
	char about[1024];
	mbedtls_ssl_context ssl;
	mbedtls_ssl_config config;
	mbedtls_x509_crt ca, certificate;
	mbedtls_pk_context key;
};

static struct session *sessions[SESSIONS];

/* Declares `session`, or returns from the function with an error. */
#define SESSION(session, number)                                                                                       \
	if ((number) < 0 || (number) >= SESSIONS || sessions[number] == NULL)                                          \
		return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;                                                                 \
	struct session *session = sessions[number]

/* Declares a NUL-terminated copy of a text, which mbedTLS wants of PEM, or returns from the function with an error. */
#define COPY(copy, text, length)                                                                                       \
	char *copy = malloc((length) + 1);                                                                             \
	if (copy == NULL)                                                                                              \
		return MBEDTLS_ERR_SSL_ALLOC_FAILED;                                                                   \
	memcpy(copy, text, length);                                                                                    \
	copy[length] = 0

static void wipe(void *memory, size_t size)
{
	mbedtls_platform_zeroize(memory, size);
	free(memory);
}

/* All random numbers of mbedTLS come from here. */
psa_status_t mbedtls_psa_external_get_random(mbedtls_psa_external_random_context_t *context, uint8_t *output, size_t size,
					     size_t *length)
{
	(void)context;
	for (*length = 0; *length < size;) {
		ssize_t count = getrandom(output + *length, size - *length, 0);
		if (count < 0 && errno != EINTR)
			return PSA_ERROR_INSUFFICIENT_ENTROPY;
		if (count > 0)
			*length += (size_t)count;
	}
	return PSA_SUCCESS;
}

/* The socket */

static int transferred(struct session *session, ssize_t count, int wanted, int failed)
{
	if (count >= 0)
		return (int)count;
	if (errno == EAGAIN || errno == EINTR)
		return wanted;
	session->socket_error = errno;
	return failed;
}

static int receive(void *context, unsigned char *buffer, size_t length)
{
	struct session *session = context;
	ssize_t count = recv(session->fd, buffer, length, MSG_DONTWAIT);
	return transferred(session, count, MBEDTLS_ERR_SSL_WANT_READ, MBEDTLS_ERR_NET_RECV_FAILED);
}

/* What a server that has closed does not take is dropped: the alert that says why it has closed is read after this. */
static int transmit(void *context, const unsigned char *buffer, size_t length)
{
	struct session *session = context;
	ssize_t count = send(session->fd, buffer, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) {
		session->socket_error = errno;
		return (int)length;
	}
	return transferred(session, count, MBEDTLS_ERR_SSL_WANT_WRITE, MBEDTLS_ERR_NET_SEND_FAILED);
}

/* The server's certificates */

static void append(char *text, size_t size, const char *more)
{
	size_t length = strlen(text);
	snprintf(text + length, size - length, "%s", more);
}

/* The names of a certificate for servers: host names and IP addresses, with ", " between them. */
static void put_names(const mbedtls_x509_crt *certificate, char *names, size_t size)
{
	for (const mbedtls_x509_sequence *one = &certificate->subject_alt_names; one != NULL; one = one->next) {
		char text[LONGEST_NAME + 1] = "";
		int kind = one->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK;
		if (kind == MBEDTLS_X509_SAN_DNS_NAME)
			snprintf(text, sizeof text, "%.*s", (int)one->buf.len, (const char *)one->buf.p);
		else if (kind == MBEDTLS_X509_SAN_IP_ADDRESS && (one->buf.len == 4 || one->buf.len == 16))
			inet_ntop(one->buf.len == 4 ? AF_INET : AF_INET6, one->buf.p, text, sizeof text);
		if (text[0] != 0 && names[0] != 0)
			append(names, size, ", ");
		append(names, size, text);
	}
}

static void put_time(const mbedtls_x509_time *time, char *text, size_t size)
{
	snprintf(text, size, "%04d-%02d-%02d %02d:%02d:%02d", time->year, time->mon, time->day, time->hour, time->min,
		 time->sec);
}

/* Five lines: subject, issuer, the first and the last moment at which it is valid, its names. Others have written them. */
static void describe(const mbedtls_x509_crt *certificate, char *about, size_t size)
{
	char fields[5][300] = {"", "", "", "", ""};
	if (mbedtls_x509_dn_gets(fields[0], sizeof fields[0], &certificate->subject) < 0)
		fields[0][0] = 0;
	if (mbedtls_x509_dn_gets(fields[1], sizeof fields[1], &certificate->issuer) < 0)
		fields[1][0] = 0;
	put_time(&certificate->valid_from, fields[2], sizeof fields[2]);
	put_time(&certificate->valid_to, fields[3], sizeof fields[3]);
	put_names(certificate, fields[4], sizeof fields[4]);
	about[0] = 0;
	for (int field = 0; field < 5; field++) {
		for (char *at = fields[field]; *at != 0; at++)
			if (*at < ' ' || *at > '~')
				*at = '?';
		append(about, size, fields[field]);
		append(about, size, "\n");
	}
}

static int has_address(const mbedtls_x509_crt *certificate, const struct session *session)
{
	for (const mbedtls_x509_sequence *one = &certificate->subject_alt_names; one != NULL; one = one->next)
		if ((one->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) == MBEDTLS_X509_SAN_IP_ADDRESS &&
		    one->buf.len == session->address_length &&
		    memcmp(one->buf.p, session->address, session->address_length) == 0)
			return 1;
	return 0;
}

/*
 * mbedTLS calls this for each certificate of the chain, the server's own last, with what it has found wrong. IP addresses are
 * compared here: a name that mbedTLS compares it also sends to the server, which RFC 6066 forbids for addresses.
 */
static int on_certificate(void *context, mbedtls_x509_crt *certificate, int depth, uint32_t *flags)
{
	struct session *session = context;
	if (depth == 0 && session->address_length > 0 && !has_address(certificate, session))
		*flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
	if (*flags != 0 && session->about[0] == 0)
		describe(certificate, session->about, sizeof session->about);
	return 0;
}

/* Sessions */

/* Begins a session over a socket: its number; -1 if there are too many. */
int32_t tls_open(int32_t fd)
{
	int32_t number = 0;
	while (number < SESSIONS && sessions[number] != NULL)
		number++;
	if (number == SESSIONS)
		return -1;
	struct session *session = calloc(1, sizeof *session);
	if (session == NULL || psa_crypto_init() != PSA_SUCCESS) {
		free(session);
		return MBEDTLS_ERR_SSL_ALLOC_FAILED;
	}
	session->fd = fd;
	mbedtls_ssl_init(&session->ssl);
	mbedtls_ssl_config_init(&session->config);
	mbedtls_x509_crt_init(&session->ca);
	mbedtls_x509_crt_init(&session->certificate);
	mbedtls_pk_init(&session->key);
	sessions[number] = session;
	return number;
}

/* Trusts the certificates of a PEM text: 0, how many of them could not be read, or an error if none could. */
int32_t tls_trust(int32_t number, const uint8_t *text, size_t length)
{
	SESSION(session, number);
	COPY(copy, text, length);
	int result = mbedtls_x509_crt_parse(&session->ca, (const uint8_t *)copy, length + 1);
	free(copy);
	return result;
}

/* Takes the client's certificates from a PEM text, as tls_trust. */
int32_t tls_certificate(int32_t number, const uint8_t *text, size_t length)
{
	SESSION(session, number);
	COPY(copy, text, length);
	int result = mbedtls_x509_crt_parse(&session->certificate, (const uint8_t *)copy, length + 1);
	free(copy);
	return result;
}

/* Takes the client's private key from a PEM text. */
int32_t tls_key(int32_t number, const uint8_t *text, size_t length)
{
	SESSION(session, number);
	COPY(copy, text, length);
	int result = mbedtls_pk_parse_key(&session->key, (const uint8_t *)copy, length + 1, NULL, 0, mbedtls_psa_get_random,
					  MBEDTLS_PSA_RANDOM_STATE);
	wipe(copy, length + 1);
	return result;
}

/* Whether the client's key is that of its certificate: 0, or an error. */
int32_t tls_check_pair(int32_t number)
{
	SESSION(session, number);
	return mbedtls_pk_check_pair(&session->certificate.pk, &session->key, mbedtls_psa_get_random,
				     MBEDTLS_PSA_RANDOM_STATE);
}

/* Makes the session ready for its handshake with a server that has this name. */
int32_t tls_start(int32_t number, const uint8_t *text, size_t length)
{
	char name[LONGEST_NAME + 1] = "";
	SESSION(session, number);
	if (length == 0 || length > LONGEST_NAME || memchr(text, 0, length) != NULL)
		return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
	memcpy(name, text, length);
	if (inet_pton(AF_INET, name, session->address) == 1)
		session->address_length = 4;
	else if (inet_pton(AF_INET6, name, session->address) == 1)
		session->address_length = 16;
	mbedtls_ssl_config *config = &session->config;
	int result = mbedtls_ssl_config_defaults(config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
						 MBEDTLS_SSL_PRESET_DEFAULT);
	if (result != 0)
		return result;
	mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_rng(config, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
	mbedtls_ssl_conf_ca_chain(config, &session->ca, NULL);
	mbedtls_ssl_conf_verify(config, on_certificate, session);
	if (session->certificate.raw.p != NULL)
		result = mbedtls_ssl_conf_own_cert(config, &session->certificate, &session->key);
	if (result == 0)
		result = mbedtls_ssl_setup(&session->ssl, config);
	if (result == 0)
		result = mbedtls_ssl_set_hostname(&session->ssl, session->address_length > 0 ? NULL : name);
	mbedtls_ssl_set_bio(&session->ssl, session, transmit, receive, NULL);
	return result;
}

static int32_t remembered(struct session *session, int result)
{
	if (result < 0 && result != MBEDTLS_ERR_SSL_WANT_READ && result != MBEDTLS_ERR_SSL_WANT_WRITE)
		session->failed = result;
	return result;
}

int32_t tls_handshake(int32_t number)
{
	SESSION(session, number);
	return session->failed != 0 ? session->failed : remembered(session, mbedtls_ssl_handshake(&session->ssl));
}

/* Reads up to `length` bytes, which must not be 0. 0 means the end of the connection without the server's word (close_notify). */
int32_t tls_read(int32_t number, uint8_t *buffer, size_t size, uint32_t offset, uint32_t length)
{
	SESSION(session, number);
	if ((uint64_t)offset + length > size || length == 0)
		return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
	return session->failed != 0 ? session->failed
				    : remembered(session, mbedtls_ssl_read(&session->ssl, buffer + offset, length));
}

int32_t tls_write(int32_t number, const uint8_t *buffer, size_t size, uint32_t offset, uint32_t length)
{
	SESSION(session, number);
	if ((uint64_t)offset + length > size || length == 0)
		return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
	return session->failed != 0 ? session->failed
				    : remembered(session, mbedtls_ssl_write(&session->ssl, buffer + offset, length));
}

/* Tells the server that the session ends, as far as the socket takes it, and wipes all that it held. The socket stays. */
int32_t tls_close(int32_t number)
{
	SESSION(session, number);
	if (session->failed == 0)
		mbedtls_ssl_close_notify(&session->ssl);
	mbedtls_ssl_free(&session->ssl);
	mbedtls_ssl_config_free(&session->config);
	mbedtls_x509_crt_free(&session->ca);
	mbedtls_x509_crt_free(&session->certificate);
	mbedtls_pk_free(&session->key);
	wipe(session, sizeof *session);
	sessions[number] = NULL;
	return 0;
}

/* What is known of a failure */

/* What is wrong with the server's certificate: MBEDTLS_X509_BADCERT flags. */
uint32_t tls_flags(int32_t number)
{
	SESSION(session, number);
	return mbedtls_ssl_get_verify_result(&session->ssl);
}

/* The alert that the server has sent last; -1 for none. mbedTLS has no function that tells. */
int32_t tls_alert(int32_t number)
{
	SESSION(session, number);
	return session->failed == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE ? session->ssl.MBEDTLS_PRIVATE(in_msg)[1] : -1;
}

int32_t tls_socket_error(int32_t number)
{
	SESSION(session, number);
	return session->socket_error;
}

static int32_t put_text(const char *text, uint8_t *buffer, size_t size)
{
	size_t length = strlen(text);
	memcpy(buffer, text, length < size ? length : size);
	return (int32_t)(length < size ? length : size);
}

/* The lines of describe about the certificate with which something is wrong: their length. */
int32_t tls_about(int32_t number, uint8_t *buffer, size_t size)
{
	SESSION(session, number);
	return put_text(session->about, buffer, size);
}

/* The time by which certificates are checked, written like theirs. */
int32_t tls_now(uint8_t *buffer, size_t size)
{
	time_t now = time(NULL);
	struct tm date;
	char text[32] = "";
	if (gmtime_r(&now, &date) != NULL)
		put_time(&(mbedtls_x509_time){date.tm_year + 1900, date.tm_mon + 1, date.tm_mday, date.tm_hour,
					      date.tm_min, date.tm_sec},
			 text, sizeof text);
	return put_text(text, buffer, size);
}

/* mbedTLS's words for an error code. */
int32_t tls_error_text(int32_t code, uint8_t *buffer, size_t size)
{
	char text[200];
	mbedtls_strerror(code, text, sizeof text);
	return put_text(text, buffer, size);
}

int32_t tls_version(uint8_t *buffer, size_t size)
{
	char text[9];
	mbedtls_version_get_string(text);
	return put_text(text, buffer, size);
}
