/* SPDX-License-Identifier: BSD-2-Clause */
/* Early data (RFC 8446 2.3) of an accepted connection: what comes before the handshake ends. For
 * tls_conn.c. */
#ifndef SL_TLS_TLS_EARLY_H
#define SL_TLS_TLS_EARLY_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

enum { TLS_EARLY_MAX = 16384 }; /* bytes that a client may send early, as in nginx */

struct tls_early; /* heap, only of a connection that may have early data */

/* NULL: no memory. */
struct tls_early *tls_early_new(void);
void tls_early_free(struct tls_early *e); /* NULL is fine */

/* Instead of SSL_do_handshake: 1 when the connection can be used (early data has come, or the handshake
 * is done), else as SSL_do_handshake. */
int tls_early_handshake(struct tls_early *e, SSL *ssl);
/* Instead of SSL_read and SSL_write, while tls_early_is_on(). */
int tls_early_read(struct tls_early *e, SSL *ssl, void *to, int n);
int tls_early_write(struct tls_early *e, SSL *ssl, const void *from, int n);
/* False once nothing of early data is left: E can be freed. */
bool tls_early_is_on(const struct tls_early *e);
/* Is there something to read that OpenSSL does not know of any more? */
bool tls_early_pending(const struct tls_early *e);

#endif
