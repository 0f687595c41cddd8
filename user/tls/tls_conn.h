/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS on a connection, behind struct conn's I/O table. After a start, call tls_handshake() at each
 * event until it is done; then conn_read() and conn_writev() carry the payload. The contexts, the
 * listener and what they point to must outlive the connection. One thread only. */
#ifndef SL_TLS_TLS_CONN_H
#define SL_TLS_TLS_CONN_H

#include "net/conn.h"
#include "tls/tls_client.h"
#include "tls/tls_server.h"

/* What a listening address with TLS offers. */
struct tls_listener {
	struct tls_server *server; /* the default server's */
	/* Protocols in order of preference, each behind its length (RFC 7301 3.1): "\x08http/1.1", for a
	 * client that asks for NAME (empty: for none). Empty: ALPN is ignored; else a client that offers
	 * others only gets no_application_protocol. May be NULL: the same as empty. */
	struct slice (*alpn)(struct slice name, void *data);
	/* Called once with the name that the client asks for (as sent, not checked); the server to
	 * use, or NULL to stay with the default. May be NULL. */
	struct tls_server *(*pick)(struct conn *c, struct slice name, void *data);
	void *data;
};

enum { TLS_PLAIN_MAX = 4096 }; /* what tls_drop() can have read at most */

/* Puts TLS on an accepted connection. -SL_ENOMEM. */
int tls_accept_start(struct conn *c, const struct tls_listener *l);
/* Puts TLS on a connection that we opened (it need not be connected yet). NAME is what the
 * certificate must be for when the client verifies (a name or an address), and is sent as SNI when
 * SNI is set and it is no address. Sessions are kept for NAME and PEER; PEER may be NULL.
 * -SL_EINVAL: no usable name; -SL_ENOMEM. */
int tls_connect_start(struct conn *c, struct tls_client *client, struct slice name, bool sni,
		      const struct addr *peer);
/* Before the handshake of a connection that we opened: the certificate may be for NAME instead (a
 * name or an address; one address at most). -SL_EINVAL: no usable name. */
int tls_accept_name(struct conn *c, struct slice name);
/* 0 done; -SL_EAGAIN; -SL_ETLS: tls_error_text() says why. */
int tls_handshake(struct conn *c);

/* Why the TLS layer failed; "" when it did not. Valid until the connection closes. */
const char *tls_error_text(const struct conn *c);
/* The peer, not we, is to blame: it sent rubbish, an alert, or went away. */
bool tls_error_is_peers(const struct conn *c);
/* A handshake failed in a way that tells against the peer: it sent rubbish, an alert, what we do not take, or
 * left in the middle. Not: it left before it said anything, it does not like our certificate, or
 * something failed here. */
bool tls_error_is_offence(const struct conn *c);
/* The handshake failed since the first byte was not TLS: most likely plain HTTP. */
bool tls_got_plain_http(const struct conn *c);
/* After tls_got_plain_http(): takes TLS off, so that the connection is plain. Copies what was read
 * (at most TLS_PLAIN_MAX, and ROOM; the rest is lost) and returns its length. */
size_t tls_drop(struct conn *c, void *to, size_t room);

/* Everything below may be called on any connection and at any time; empty, NULL or false when there
 * is nothing to say. Texts live as long as the connection's TLS. */
bool tls_handshake_done(const struct conn *c);
const char *tls_protocol_cstr(const struct conn *c); /* "TLSv1.3" */
const char *tls_cipher_cstr(const struct conn *c);   /* "TLS_AES_256_GCM_SHA384" */
const char *tls_curve_cstr(const struct conn *c);    /* "X25519" */
struct slice tls_sni(const struct conn *c);	     /* as the client sent it */
struct slice tls_alpn(const struct conn *c);
bool tls_session_reused(const struct conn *c);
bool tls_is_early(const struct conn *c); /* the handshake is not complete yet: early data */
/* The session's id in hexadecimal; the length, at most 64. */
size_t tls_session_id_text(const struct conn *c, char to[65]);
/* The client's offers, separated by ':' (unknown ones as 0x1234), like nginx's $ssl_ciphers and
 * $ssl_curves; the length, cut at ROOM, without NUL. */
size_t tls_client_ciphers_text(const struct conn *c, char *to, size_t room);
size_t tls_client_curves_text(const struct conn *c, char *to, size_t room);

/* For this folder. Valid until another connection is used. */
struct ssl_st *tls_conn_ssl(const struct conn *c);
struct tls_seat *tls_conn_seat(const struct conn *c);

#endif
