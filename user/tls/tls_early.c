/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the order of OpenSSL's calls for early data, and the piece of it that came with the handshake.
 * Whether it may be a replay is decided by the context's callback (tls_server.c). */
#include "tls/tls_early.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 4096 };

struct tls_early {
	bool reading; /* OpenSSL has not said yet that there is no more */
	uint16_t at, end;
	char piece[PIECE_BYTES];
};

struct tls_early *tls_early_new(void)
{
	struct tls_early *e = malloc(sizeof *e);

	if (!e)
		return NULL;
	e->reading = true;
	e->at = e->end = 0;
	return e;
}

void tls_early_free(struct tls_early *e)
{
	free(e);
}

bool tls_early_pending(const struct tls_early *e)
{
	return e->at < e->end;
}

bool tls_early_is_on(const struct tls_early *e)
{
	return e->reading || tls_early_pending(e);
}

int tls_early_handshake(struct tls_early *e, SSL *ssl)
{
	size_t n = 0;

	while (e->reading) {
		switch (SSL_read_early_data(ssl, e->piece, sizeof e->piece, &n)) {
		case SSL_READ_EARLY_DATA_ERROR:
			return 0;
		case SSL_READ_EARLY_DATA_FINISH:
			e->reading = false;
			break;
		default:
			if (!n)
				break;
			e->at = 0;
			e->end = (uint16_t)n;
			return 1;
		}
	}
	return SSL_do_handshake(ssl);
}

int tls_early_read(struct tls_early *e, SSL *ssl, void *to, int n)
{
	size_t got = 0, left = (size_t)(e->end - e->at);

	if (left) {
		got = left < (size_t)n ? left : (size_t)n;
		memcpy(to, e->piece + e->at, got);
		e->at = (uint16_t)(e->at + got);
		return (int)got;
	}
	while (e->reading) {
		switch (SSL_read_early_data(ssl, to, (size_t)n, &got)) {
		case SSL_READ_EARLY_DATA_ERROR:
			return 0;
		case SSL_READ_EARLY_DATA_FINISH:
			e->reading = false;
			break;
		default:
			if (got)
				return (int)got;
			break;
		}
	}
	return SSL_read(ssl, to, n);
}

int tls_early_write(struct tls_early *e, SSL *ssl, const void *from, int n)
{
	size_t put = 0;

	if (!e->reading)
		return SSL_write(ssl, from, n);
	return SSL_write_early_data(ssl, from, (size_t)n, &put) == 1 ? (int)put : 0;
}
