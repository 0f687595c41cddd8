/* SPDX-License-Identifier: BSD-2-Clause */
/* The TLS of one virtual server: certificates, protocols, sessions, tickets. Made once while the
 * configuration is loaded, before workers fork; they only use it. */
#ifndef SL_TLS_TLS_SERVER_H
#define SL_TLS_TLS_SERVER_H

#include <stdint.h>

#include "tls/tls_cache.h"
#include "tls/tls_ctx.h"
#include "tls/tls_replays.h"
#include "tls/tls_staple.h"
#include "tls/tls_tickets.h"

struct tls_server;

enum {
	TLS_RECORD_MAX = 16384, /* payload of one TLS record (RFC 8446 5.1) */
	TLS_PAIRS_MAX = 16,
};

enum tls_cache_mode {
	TLS_CACHE_NONE, /* clients may ask, nothing is kept (nginx's default) */
	TLS_CACHE_OFF,
	TLS_CACHE_BUILTIN = 1 << 2, /* in the worker's own memory */
	TLS_CACHE_SHARED = 1 << 3,  /* may be or-ed with TLS_CACHE_BUILTIN */
};

/* ssl_verify_client. Who fails is refused when a request comes (tls_peer_check), as in nginx, so that
 * people get a page and not a broken handshake. */
enum tls_verify {
	TLS_VERIFY_OFF,
	TLS_VERIFY_ON,
	TLS_VERIFY_OPTIONAL,
	TLS_VERIFY_OPTIONAL_NO_CA, /* any certificate; the chain is the upstream's business */
};

struct tls_server_params {
	const struct tls_pair *pairs;
	int n_pairs;		  /* at least one unless `reject`; TLS_PAIRS_MAX at most */
	bool reject;		  /* no handshake at all: unrecognized_name */
	unsigned protocols;	  /* enum tls_protocol, or-ed */
	const char *ciphers_cstr; /* NULL: OpenSSL's */
	bool prefer_server_ciphers;
	const char *ecdh_curve_cstr; /* NULL or "auto": OpenSSL's */
	unsigned cache_mode;	     /* enum tls_cache_mode */
	int64_t builtin_n;	     /* sessions; 0: OpenSSL's 20480 */
	struct tls_cache *cache;     /* for TLS_CACHE_SHARED, borrowed */
	int64_t session_timeout_s;
	struct tls_tickets *tickets; /* borrowed; NULL: no tickets */
	const char *const *ticket_key_files;
	int n_ticket_key_files;	     /* instead of the keys of `tickets` */
	struct tls_replays *replays; /* borrowed; not NULL: early data is taken, each once */
	enum tls_verify verify;
	int verify_depth;
	const char *client_ca_cstr; /* PEM files, NULL: none */
	const char *trusted_cstr, *crl_cstr;
	const char *dhparam_cstr;
	const struct tls_command *commands;
	uint32_t record_bytes; /* payload of a record, at most; 0: TLS_RECORD_MAX */
	const struct tls_staple_params *staple; /* NULL: nothing is stapled */
};

/* Copies what it needs except the borrowed zones. NULL with ERR filled. */
struct tls_server *tls_server_new(const struct tls_server_params *p, char err[TLS_TEXT_MAX]);
/* NULL is fine. Its connections must be gone. */
void tls_server_free(struct tls_server *s);

/* What is stapled to the I-th certificate, or NULL; I below TLS_PAIRS_MAX. */
struct tls_staple *tls_server_staple(const struct tls_server *s, int i);

/* For this folder. */
struct ssl_ctx_st *tls_server_ctx(const struct tls_server *s);
enum tls_verify tls_server_verify(const struct tls_server *s);
bool tls_server_rejects(const struct tls_server *s);
bool tls_server_takes_early(const struct tls_server *s);
uint32_t tls_server_record_bytes(const struct tls_server *s);

#endif
