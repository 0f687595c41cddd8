/* SPDX-License-Identifier: BSD-2-Clause */
/* The state of a TLS connection, between tls_conn.c, which owns it, and tls_state.c, where OpenSSL
 * calls back. For these two and the contexts only. */
#ifndef SL_TLS_TLS_STATE_H
#define SL_TLS_TLS_STATE_H

#include <openssl/ssl.h>

#include "tls/tls_bank.h"
#include "tls/tls_conn.h"

struct tls_conn {
	SSL *ssl; /* use it after tls_conn_enter() alone */
	struct tls_seat seat;
	struct conn *conn;
	const struct tls_listener *listener; /* of an accepted connection */
	struct tls_client *client;	     /* of one that we opened */
	struct hash128 key;		     /* of its sessions */
	struct tls_early *early;	     /* NULL: none, or no more */
	char *text;			     /* what failed; heap */
	char *plain;			     /* read before TLS was given up; heap */
	uint16_t plain_n;
	uint16_t record_bytes; /* payload of one record, at most */
	char also_ip[46];      /* the certificate may be for this address as well; or empty */
	int8_t raw_rc;	       /* what ended the socket: -SL_ERESET, -SL_ETRUNCATED (read 0) */
	int8_t end_rc;	       /* what every later read returns, once `ended` */
	bool ended;
	bool done;    /* the handshake is */
	bool broken;  /* OpenSSL failed: nothing more can be sent */
	bool ours;    /* ... and not for something that the peer did */
	bool offends; /* ... what the peer did tells against it */
	bool seen;    /* the first bytes were looked at */
	bool got_plain;
	bool pending; /* OpenSSL holds bytes, or a result, that a read would return */
	bool read_waits_to_write;
	bool rekeys; /* the peer changes its keys too often: nothing more is read */
	uint32_t n_rekeys;
};

/* The state that SSL belongs to. */
struct tls_conn *tls_state_of(const SSL *ssl);
/* What tls_error_text() says; the first text is the cause, later ones are dropped. */
void tls_state_text(struct tls_conn *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The server whose sessions a connection takes part in: the listener's default one. */
struct tls_server *tls_state_session_server(const SSL *ssl);
int tls_state_on_sni(SSL *ssl, int *alert, void *arg);
int tls_state_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
		      const unsigned char *in, unsigned in_n, void *arg);
int tls_state_on_client_session(SSL *ssl, SSL_SESSION *sess);
int tls_state_on_verify(int ok, X509_STORE_CTX *x);
void tls_state_on_message(int is_ours, int version, int type, const void *p, size_t n, SSL *ssl,
			  void *arg);

#endif
