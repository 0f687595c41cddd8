/* SPDX-License-Identifier: BSD-2-Clause */
/* The TLS towards upstreams: what is verified and how, and the sessions that were given for reuse.
 * Made once while the configuration is loaded; each worker then has its own sessions. */
#ifndef SL_TLS_TLS_CLIENT_H
#define SL_TLS_TLS_CLIENT_H

#include "core/hash.h"
#include "tls/tls_ctx.h"

struct tls_client;
struct ssl_session_st; /* OpenSSL's SSL_SESSION */

enum { TLS_CLIENT_N_SESSIONS = 64 };

struct tls_client_params {
	unsigned protocols;	     /* enum tls_protocol, or-ed */
	const char *ciphers_cstr;    /* NULL: OpenSSL's */
	const struct tls_pair *pair; /* client certificate; NULL: none */
	bool verify;		     /* the chain, the dates and the name */
	int verify_depth;	     /* certificates between the peer's and the root's */
	const char *ca_cstr;	     /* PEM file; NULL: the system's, or $SSL_CERT_FILE */
	const char *crl_cstr;	     /* PEM file; NULL: none */
	bool session_reuse;
	const struct tls_command *commands;
};

/* NULL with ERR filled. Certificates of authorities are read once for all contexts that name the
 * same unchanged files. All files are read here: a worker opens none. */
struct tls_client *tls_client_new(const struct tls_client_params *p, char err[TLS_TEXT_MAX]);
/* NULL is fine. Its connections must be gone. */
void tls_client_free(struct tls_client *c);

/* For this folder. */
struct ssl_ctx_st *tls_client_ctx(const struct tls_client *c);
bool tls_client_verifies(const struct tls_client *c);
/* Under which its sessions for a peer and a name are kept. */
struct hash128 tls_client_key(const struct tls_client *c, struct slice name, struct slice peer);
/* Borrowed until the next call, or NULL. */
struct ssl_session_st *tls_client_session(struct tls_client *c, struct hash128 key);
/* Takes one reference over when it returns true. */
bool tls_client_keep(struct tls_client *c, struct hash128 key, struct ssl_session_st *sess);
void tls_client_forget(struct tls_client *c, struct hash128 key);

#endif
