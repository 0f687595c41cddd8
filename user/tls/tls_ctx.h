/* SPDX-License-Identifier: BSD-2-Clause */
/* What server and client contexts have in common: protocols, ciphers, certificate and key pairs,
 * and OpenSSL's errors as text. The folder is the only user of OpenSSL's TLS; its types stay
 * inside. */
#ifndef SL_TLS_TLS_CTX_H
#define SL_TLS_TLS_CTX_H

#include <stddef.h>

#include "core/slice.h"

struct ssl_ctx_st; /* OpenSSL's SSL_CTX */

enum tls_protocol {
	TLS_V1_0 = 1 << 0,
	TLS_V1_1 = 1 << 1,
	TLS_V1_2 = 1 << 2,
	TLS_V1_3 = 1 << 3,
};

enum { TLS_TEXT_MAX = 512 }; /* room for every error text, its NUL with it */

/* Pass phrases of keys, in the order in which they are tried. */
struct tls_passwords {
	char **cstr;
	int n;
};

/* PEM files: a certificate with its chain behind it, and its key. */
struct tls_pair {
	const char *cert_cstr, *key_cstr;
	const struct tls_passwords *passwords; /* of the key; NULL: none */
};

/* A command of OpenSSL's configuration (SSL_CONF_cmd(3)). */
struct tls_command {
	struct tls_command *next;
	const char *name_cstr, *value_cstr;
};

/* The lines of a file. NULL with ERR filled. */
struct tls_passwords *tls_passwords_load(const char *path_cstr, char err[TLS_TEXT_MAX]);
/* Wipes them; NULL is fine. */
void tls_passwords_free(struct tls_passwords *p);

/* A context with the options that all have: chosen PROTOCOLS (enum tls_protocol, or-ed), CIPHERS
 * for TLS up to 1.2 (NULL: OpenSSL's), no compression, no renegotiation, buffers released when
 * empty. NULL with ERR filled. Freed by SSL_CTX_free. */
struct ssl_ctx_st *tls_ctx_new(bool is_server, unsigned protocols, const char *ciphers_cstr,
			       char err[TLS_TEXT_MAX]);
/* Loads a pair into its slot (one for RSA, one for ECDSA ...). 0 or -SL_ETLS with ERR naming the
 * file. */
int tls_ctx_use_pair(struct ssl_ctx_st *ctx, const struct tls_pair *pair, char err[TLS_TEXT_MAX]);
/* Carries out COMMANDS in order; the last thing to do with a context. 0 or -SL_ETLS with ERR filled. */
int tls_ctx_command(struct ssl_ctx_st *ctx, bool is_server, const struct tls_command *commands,
		    char err[TLS_TEXT_MAX]);
/* Is the value of this command the path of a file or folder? */
bool tls_ctx_command_is_path(bool is_server, const char *name_cstr);
/* Would OpenSSL take this list? 0, or -SL_ETLS with ERR filled. */
int tls_ctx_check_ciphers(const char *ciphers_cstr, char err[TLS_TEXT_MAX]);
int tls_ctx_check_curves(const char *curves_cstr, char err[TLS_TEXT_MAX]); /* "auto" too */
/* For this folder: ERR is WHAT "VALUE"HOW and OpenSSL's errors; VALUE may be NULL. -SL_ETLS. */
int tls_ctx_fail(char err[TLS_TEXT_MAX], const char *what, const char *value, const char *how);
/* For this folder: sets them; false when they are refused. */
bool tls_ctx_set_curves(struct ssl_ctx_st *ctx, const char *curves_cstr);
/* " (SSL: error:... error:...)" of all errors that OpenSSL holds, which are dropped; empty when
 * there are none. Returns the length. */
size_t tls_ctx_take_errors(char *to, size_t room);

#endif
