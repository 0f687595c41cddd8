/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what every SSL_CTX of sluice is set to, and the loading of certificates and keys. Decides
 * nothing about verification, sessions or names. */
#include "tls/tls_ctx.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "core/err.h"

size_t tls_ctx_take_errors(char *to, size_t room)
{
	const char *data, *open = " (SSL: ";
	size_t at = 0;
	unsigned long e;
	char text[256];
	int flags, n;

	to[0] = 0;
	while ((e = ERR_get_error_all(NULL, NULL, NULL, &data, &flags))) {
		ERR_error_string_n(e, text, sizeof text);
		n = snprintf(to + at, room - at, "%s%s%s%s", open, text,
			     flags & ERR_TXT_STRING ? ":" : "", flags & ERR_TXT_STRING ? data : "");
		if (n < 0 || (size_t)n >= room - at)
			break;
		at += (size_t)n;
		open = " ";
	}
	ERR_clear_error();
	if (at && at + 1 < room) {
		to[at++] = ')';
		to[at] = 0;
	}
	return at;
}

int tls_ctx_fail(char err[TLS_TEXT_MAX], const char *what, const char *value, const char *how)
{
	int n = snprintf(err, TLS_TEXT_MAX, value ? "%s \"%.300s\"%s" : "%s%s%s", what,
			 value ? value : "", how);

	if (n >= 0 && n < TLS_TEXT_MAX)
		tls_ctx_take_errors(err + n, TLS_TEXT_MAX - (size_t)n);
	ERR_clear_error();
	return -SL_ETLS;
}

static void set_protocols(SSL_CTX *ctx, unsigned protocols)
{
	static const struct {
		unsigned bit;
		int version;
		uint64_t no;
	} all[] = {
		{TLS_V1_0, TLS1_VERSION, SSL_OP_NO_TLSv1},
		{TLS_V1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
		{TLS_V1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
		{TLS_V1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
	};
	int min = 0, max = 0;

	/* The system's openssl.cnf sets a minimum, which only an explicit one replaces. */
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (!(protocols & all[i].bit)) {
			SSL_CTX_set_options(ctx, all[i].no);
			continue;
		}
		min = min ? min : all[i].version;
		max = all[i].version;
	}
	SSL_CTX_set_min_proto_version(ctx, min);
	SSL_CTX_set_max_proto_version(ctx, max);
}

SSL_CTX *tls_ctx_new(bool is_server, unsigned protocols, const char *ciphers_cstr,
		     char err[TLS_TEXT_MAX])
{
	SSL_CTX *ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

	if (!ctx) {
		tls_ctx_fail(err, "cannot make a TLS context", NULL, "");
		return NULL;
	}
	set_protocols(ctx, protocols);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(ctx, 1);
	if (ciphers_cstr && SSL_CTX_set_cipher_list(ctx, ciphers_cstr) != 1) {
		tls_ctx_fail(err, "invalid TLS ciphers", ciphers_cstr, "");
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

bool tls_ctx_set_curves(SSL_CTX *ctx, const char *curves_cstr)
{
	return strcmp(curves_cstr, "auto") == 0 || SSL_CTX_set1_groups_list(ctx, curves_cstr) == 1;
}

int tls_ctx_check_ciphers(const char *ciphers_cstr, char err[TLS_TEXT_MAX])
{
	SSL_CTX *ctx = tls_ctx_new(true, TLS_V1_2, ciphers_cstr, err);

	SSL_CTX_free(ctx);
	return ctx ? 0 : -SL_ETLS;
}

int tls_ctx_check_curves(const char *curves_cstr, char err[TLS_TEXT_MAX])
{
	SSL_CTX *ctx = tls_ctx_new(true, TLS_V1_2, NULL, err);
	int rc = -SL_ETLS;

	if (ctx)
		rc = tls_ctx_set_curves(ctx, curves_cstr)
			     ? 0
			     : tls_ctx_fail(err, "invalid TLS curves", curves_cstr, "");
	SSL_CTX_free(ctx);
	return rc;
}

/* Keys with a pass phrase are refused: a prompt would hang the start. */
static int no_password(char *buf, int size, int rwflag, void *u)
{
	return -1;
}

static int load_chain(BIO *bio, SSL_CTX *ctx, const char *file, char *err)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	X509 *x;
	unsigned long e;

	if (!chain)
		return tls_ctx_fail(err, "cannot load certificate", file, ": out of memory");
	while ((x = PEM_read_bio_X509(bio, NULL, no_password, NULL)))
		sk_X509_push(chain, x);
	e = ERR_peek_last_error();
	if (ERR_GET_LIB(e) != ERR_LIB_PEM || ERR_GET_REASON(e) != PEM_R_NO_START_LINE) {
		sk_X509_pop_free(chain, X509_free);
		return tls_ctx_fail(err, "cannot load certificate", file,
				    ": PEM_read_bio_X509() failed");
	}
	ERR_clear_error();
	if (SSL_CTX_set0_chain(ctx, chain) != 1) {
		sk_X509_pop_free(chain, X509_free);
		return tls_ctx_fail(err, "cannot use the chain of certificate", file, "");
	}
	return 0;
}

static int load_cert(SSL_CTX *ctx, const char *file, X509 **leaf, char *err)
{
	BIO *bio = BIO_new_file(file, "r");
	int rc;

	*leaf = NULL;
	if (!bio)
		return tls_ctx_fail(err, "cannot load certificate", file,
				    ": BIO_new_file() failed");
	*leaf = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL);
	if (!*leaf)
		rc = tls_ctx_fail(err, "cannot load certificate", file,
				  ": PEM_read_bio_X509_AUX() failed");
	else if (SSL_CTX_use_certificate(ctx, *leaf) != 1)
		rc = tls_ctx_fail(err, "cannot use certificate", file,
				  ": SSL_CTX_use_certificate() failed");
	else
		rc = load_chain(bio, ctx, file, err);
	BIO_free(bio);
	return rc;
}

int tls_ctx_use_pair(SSL_CTX *ctx, const struct tls_pair *pair, char err[TLS_TEXT_MAX])
{
	EVP_PKEY *key = NULL;
	X509 *leaf = NULL;
	BIO *bio = NULL;
	char how[TLS_TEXT_MAX];
	int rc = load_cert(ctx, pair->cert_cstr, &leaf, err);

	if (rc)
		goto out;
	bio = BIO_new_file(pair->key_cstr, "r");
	if (!bio) {
		rc = tls_ctx_fail(err, "cannot load certificate key", pair->key_cstr,
				  ": BIO_new_file() failed");
		goto out;
	}
	key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	if (!key) {
		rc = tls_ctx_fail(err, "cannot load certificate key", pair->key_cstr,
				  ": PEM_read_bio_PrivateKey() failed");
		goto out;
	}
	if (X509_check_private_key(leaf, key) != 1) {
		snprintf(how, sizeof how, " does not match certificate \"%.300s\"",
			 pair->cert_cstr);
		rc = tls_ctx_fail(err, "certificate key", pair->key_cstr, how);
		goto out;
	}
	if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
		rc = tls_ctx_fail(err, "cannot use certificate key", pair->key_cstr,
				  ": SSL_CTX_use_PrivateKey() failed");
out:
	EVP_PKEY_free(key);
	X509_free(leaf);
	BIO_free(bio);
	return rc;
}
