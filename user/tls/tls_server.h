/* SPDX-License-Identifier: BSD-2-Clause */
/* The TLS of one virtual server: certificates, protocols, sessions, tickets. Made once while the
 * configuration is loaded, before workers fork; they only use it. */
#ifndef SL_TLS_TLS_SERVER_H
#define SL_TLS_TLS_SERVER_H

#include <stdint.h>

#include "tls/tls_cache.h"
#include "tls/tls_ctx.h"
#include "tls/tls_tickets.h"

struct tls_server;

enum tls_cache_mode {
	TLS_CACHE_NONE, /* clients may ask, nothing is kept (nginx's default) */
	TLS_CACHE_OFF,
	TLS_CACHE_BUILTIN = 1 << 2, /* in the worker's own memory */
	TLS_CACHE_SHARED = 1 << 3,  /* may be or-ed with TLS_CACHE_BUILTIN */
};

struct tls_server_params {
	const struct tls_pair *pairs;
	int n_pairs;		  /* at least one */
	unsigned protocols;	  /* enum tls_protocol, or-ed */
	const char *ciphers_cstr; /* NULL: OpenSSL's */
	bool prefer_server_ciphers;
	const char *ecdh_curve_cstr; /* NULL or "auto": OpenSSL's */
	unsigned cache_mode;	     /* enum tls_cache_mode */
	int64_t builtin_n;	     /* sessions; 0: OpenSSL's 20480 */
	struct tls_cache *cache;     /* for TLS_CACHE_SHARED, borrowed */
	int64_t session_timeout_s;
	struct tls_tickets *tickets; /* borrowed; NULL: no tickets */
};

/* Copies what it needs except the borrowed zones. NULL with ERR filled. */
struct tls_server *tls_server_new(const struct tls_server_params *p, char err[TLS_TEXT_MAX]);
/* NULL is fine. Its connections must be gone. */
void tls_server_free(struct tls_server *s);

/* For this folder. */
struct ssl_ctx_st *tls_server_ctx(const struct tls_server *s);

#endif
