/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients' certificates: who may sign them, whether they are good, what they say. */
#ifndef SL_TLS_TLS_PEER_H
#define SL_TLS_TLS_PEER_H

#include "core/arena.h"
#include "tls/tls_conn.h"

enum tls_peer_verdict {
	TLS_PEER_FINE,
	TLS_PEER_BAD,	  /* its certificate does not verify: nginx's 495 */
	TLS_PEER_MISSING, /* it sent none, but must: nginx's 496 */
};

enum tls_peer_field {
	TLS_PEER_RAW,	  /* PEM */
	TLS_PEER_CERT,	  /* PEM with a tab before each line but the first */
	TLS_PEER_ESCAPED, /* PEM, percent-encoded */
	TLS_PEER_S_DN,	  /* RFC 2253 */
	TLS_PEER_I_DN,
	TLS_PEER_S_DN_LEGACY, /* "/C=.../CN=..." */
	TLS_PEER_I_DN_LEGACY,
	TLS_PEER_SERIAL,
	TLS_PEER_FINGERPRINT, /* SHA-1 */
	TLS_PEER_V_START,
	TLS_PEER_V_END,
	TLS_PEER_V_REMAIN, /* days */
};

/* May a client under MODE be served? *why says why not; static text. */
enum tls_peer_verdict tls_peer_check(const struct conn *c, enum tls_verify mode, const char **why);
/* Did the client show a certificate, good or bad? */
bool tls_peer_has_certificate(const struct conn *c);
/* Makes its session unusable for further connections. */
void tls_peer_forget_session(struct conn *c);
/* "NONE", "SUCCESS" or "FAILED:reason". */
struct slice tls_peer_verify_text(const struct conn *c, struct arena *a);
/* False when there is no certificate. The text is in A. */
bool tls_peer_text(const struct conn *c, enum tls_peer_field field, struct arena *a,
		   struct slice *out);

/* For this folder: what a server's context needs of P. 0 or -SL_ETLS with ERR filled. */
int tls_peer_setup(struct ssl_ctx_st *ctx, const struct tls_server_params *p,
		   char err[TLS_TEXT_MAX]);

#endif
