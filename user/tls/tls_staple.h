/* SPDX-License-Identifier: BSD-2-Clause */
/* OCSP stapling: for each certificate the proof, signed by its authority, that it is not revoked (RFC
 * 6960), which goes into handshakes for clients that ask for it. It is kept in memory that all workers share
 * and that a reload keeps; who fetches it is proxy/ocsp.c. A handshake never waits for one: it takes what is
 * there. */
#ifndef SL_TLS_TLS_STAPLE_H
#define SL_TLS_TLS_STAPLE_H

#include <stdint.h>
#include <time.h>

#include "tls/tls_ctx.h"

struct tls_staple; /* of one certificate */
struct x509_st;

enum {
	TLS_STAPLE_ZONE_BYTES = 16384,
	TLS_STAPLE_DER_MAX = 16000,
};

/* How a server staples. */
struct tls_staple_params {
	bool verify;		    /* the answer's signature, up to an authority */
	const char *responder_cstr; /* URL; NULL: the certificate's */
	const char *file_cstr;	    /* a ready answer (DER); NULL: fetched */
	const char *trusted_cstr;   /* authorities besides the certificate's own; NULL: none */
	/* Shared memory of TLS_STAPLE_ZONE_BYTES under NAME (hexadecimal), zeroed when new; NULL when
	 * there is none. */
	void *(*zone)(void *data, struct slice name);
	/* Stapling is left out for a certificate, TEXT says why. */
	void (*warn)(void *data, const char *text);
	void *data;
};

/* Where an answer can be had. All texts live as long as the staple. */
struct tls_responder {
	struct slice url, host; /* the host as for a Host field, with its port unless that is 80 */
	struct slice name;	/* the host alone */
	uint16_t port;
	struct slice target; /* of a GET request (RFC 6960 A.1) */
};

/* For LEAF, the certificate of the file CERT_CSTR, which CTX uses now; *out stays NULL after warn(). 0, or
 * -SL_ETLS with ERR filled. */
int tls_staple_new(struct ssl_ctx_st *ctx, struct x509_st *leaf, const char *cert_cstr,
		   const struct tls_staple_params *p, struct tls_staple **out,
		   char err[TLS_TEXT_MAX]);
void tls_staple_free(struct tls_staple *s); /* NULL is fine */

/* Is it fetched, and not of a file? */
bool tls_staple_is_fetched(const struct tls_staple *s);
/* Do both stand for the same memory? */
bool tls_staple_same(const struct tls_staple *a, const struct tls_staple *b);
const struct tls_responder *tls_staple_responder(const struct tls_staple *s);
const char *tls_staple_cert_cstr(const struct tls_staple *s);
/* When it should be fetched again, by the wall clock; 0: it never was. */
time_t tls_staple_due_s(struct tls_staple *s);
/* An answer has come: takes it when it says that the certificate is good. 0, or -SL_ETLS with ERR filled:
 * what was there before stays until it is out of date. */
int tls_staple_take(struct tls_staple *s, struct slice der, time_t now_s, char err[TLS_TEXT_MAX]);
/* When to ask again, after an answer that is valid until VALID_S (0: no end). */
time_t tls_staple_refresh_s(time_t now_s, time_t valid_s);

/* For this folder: a copy of what is valid at NOW_S, for OpenSSL to free; its length or 0. */
size_t tls_staple_copy(struct tls_staple *s, time_t now_s, unsigned char **out);

#endif
