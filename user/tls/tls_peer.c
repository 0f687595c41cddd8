/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what sluice does with clients' certificates. The decision what follows from a bad one is the
 * pipeline's. */
#include "tls/tls_peer.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#include "core/err.h"

/* A bad certificate does not end the handshake: the request is refused. */
static int on_verify(int ok, X509_STORE_CTX *x)
{
	return 1;
}

static int load_store(SSL_CTX *ctx, const char *path, const char *what, char *err)
{
	if (path && SSL_CTX_load_verify_file(ctx, path) != 1)
		return tls_ctx_fail(err, what, path, "");
	return 0;
}

static int load_crl(SSL_CTX *ctx, const char *path, char *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509_LOOKUP *lookup;

	if (!path)
		return 0;
	lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
	if (!lookup || X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) < 1)
		return tls_ctx_fail(err, "cannot load revocation list", path,
				    ": X509_load_crl_file() failed");
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return 0;
}

int tls_peer_setup(SSL_CTX *ctx, const struct tls_server_params *p, char err[TLS_TEXT_MAX])
{
	STACK_OF(X509_NAME) * names;
	int rc = load_store(ctx, p->trusted_cstr, "cannot load trusted certificates", err);

	if (rc == 0)
		rc = load_crl(ctx, p->crl_cstr, err);
	if (rc || p->verify == TLS_VERIFY_OFF)
		return rc;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verify);
	SSL_CTX_set_verify_depth(ctx, p->verify_depth);
	if (!p->client_ca_cstr)
		return 0;
	rc = load_store(ctx, p->client_ca_cstr, "cannot load client certificates' authorities",
			err);
	if (rc)
		return rc;
	names = SSL_load_client_CA_file(p->client_ca_cstr);
	if (!names)
		return tls_ctx_fail(err, "cannot load client certificates' authorities",
				    p->client_ca_cstr, ": SSL_load_client_CA_file() failed");
	SSL_CTX_set_client_CA_list(ctx, names);
	return 0;
}

/* Verdicts. */

static X509 *peer(const struct conn *c)
{
	const SSL *ssl = tls_conn_ssl(c);

	return ssl ? SSL_get0_peer_certificate(ssl) : NULL;
}

bool tls_peer_has_certificate(const struct conn *c)
{
	return peer(c) != NULL;
}

/* What only says that we do not know who signed it. */
static bool is_unknown_authority(long e)
{
	return e == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
	       e == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
	       e == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	       e == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	       e == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

enum tls_peer_verdict tls_peer_check(const struct conn *c, enum tls_verify mode, const char **why)
{
	const SSL *ssl = tls_conn_ssl(c);
	long e = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;

	*why = "";
	if (!ssl || mode == TLS_VERIFY_OFF)
		return TLS_PEER_FINE;
	if (e != X509_V_OK && !(mode == TLS_VERIFY_OPTIONAL_NO_CA && is_unknown_authority(e))) {
		*why = X509_verify_cert_error_string(e);
		return TLS_PEER_BAD;
	}
	return mode == TLS_VERIFY_ON && !peer(c) ? TLS_PEER_MISSING : TLS_PEER_FINE;
}

void tls_peer_forget_session(struct conn *c)
{
	SSL *ssl = tls_conn_ssl(c);
	SSL_SESSION *sess = ssl ? SSL_get_session(ssl) : NULL;

	if (sess)
		SSL_CTX_remove_session(SSL_get_SSL_CTX(ssl), sess);
}

struct slice tls_peer_verify_text(const struct conn *c, struct arena *a)
{
	const SSL *ssl = tls_conn_ssl(c);
	long e;

	if (!peer(c))
		return SLICE("NONE");
	e = SSL_get_verify_result(ssl);
	return e == X509_V_OK ? SLICE("SUCCESS")
			      : arena_printf(a, "FAILED:%s", X509_verify_cert_error_string(e));
}

/* Texts. */

static struct slice with_tabs(struct slice s, struct arena *a)
{
	size_t lines = 0, n = 0;
	char *to;

	for (size_t i = 0; i < s.n; i++)
		lines += s.p[i] == '\n';
	to = arena_bytes(a, s.n + lines);
	for (size_t i = 0; i < s.n; i++) {
		to[n++] = s.p[i];
		if (s.p[i] == '\n')
			to[n++] = '\t';
	}
	return slice_make(to, n);
}

/* All but RFC 3986's unreserved characters. */
static struct slice escaped(struct slice s, struct arena *a)
{
	static const char hex[] = "0123456789ABCDEF";
	char *to = arena_bytes(a, 3 * s.n);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char b = (unsigned char)s.p[i];

		if ((b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') ||
		    (b && strchr("-._~", b))) {
			to[n++] = (char)b;
		} else {
			to[n++] = '%';
			to[n++] = hex[b >> 4];
			to[n++] = hex[b & 15];
		}
	}
	return slice_make(to, n);
}

static struct slice fingerprint(const X509 *x, struct arena *a)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	char *to;

	if (X509_digest(x, EVP_sha1(), digest, &n) != 1)
		return SLICE("");
	to = arena_bytes(a, 2 * (size_t)n + 1);
	for (unsigned i = 0; i < n; i++)
		snprintf(to + 2 * (size_t)i, 3, "%02x", digest[i]);
	return slice_make(to, 2 * (size_t)n);
}

static struct slice days_left(const X509 *x, struct arena *a)
{
	int days = 0, seconds = 0;

	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)) != 1 || days < 0)
		days = 0;
	return arena_printf(a, "%d", days);
}

static bool print(BIO *b, X509 *x, enum tls_peer_field field)
{
	switch (field) {
	case TLS_PEER_S_DN:
		return X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0;
	case TLS_PEER_I_DN:
		return X509_NAME_print_ex(b, X509_get_issuer_name(x), 0, XN_FLAG_RFC2253) >= 0;
	case TLS_PEER_SERIAL:
		return i2a_ASN1_INTEGER(b, X509_get0_serialNumber(x)) >= 0;
	case TLS_PEER_V_START:
		return ASN1_TIME_print(b, X509_get0_notBefore(x));
	case TLS_PEER_V_END:
		return ASN1_TIME_print(b, X509_get0_notAfter(x));
	default:
		return PEM_write_bio_X509(b, x) == 1;
	}
}

static struct slice printed(X509 *x, enum tls_peer_field field, struct arena *a)
{
	struct slice out = SLICE("");
	BIO *b = BIO_new(BIO_s_mem());
	char *p = NULL;
	long n;

	if (b && print(b, x, field)) {
		n = BIO_get_mem_data(b, &p);
		out = arena_dup(a, slice_make(p, n > 0 ? (size_t)n : 0));
	}
	BIO_free(b);
	ERR_clear_error();
	return out;
}

static struct slice oneline(const X509_NAME *name, struct arena *a)
{
	char *p = X509_NAME_oneline(name, NULL, 0);
	struct slice out = p ? arena_dup(a, slice_cstr(p)) : SLICE("");

	OPENSSL_free(p);
	return out;
}

bool tls_peer_text(const struct conn *c, enum tls_peer_field field, struct arena *a,
		   struct slice *out)
{
	X509 *x = peer(c);

	if (!x)
		return false;
	switch (field) {
	case TLS_PEER_S_DN_LEGACY:
		*out = oneline(X509_get_subject_name(x), a);
		break;
	case TLS_PEER_I_DN_LEGACY:
		*out = oneline(X509_get_issuer_name(x), a);
		break;
	case TLS_PEER_FINGERPRINT:
		*out = fingerprint(x, a);
		break;
	case TLS_PEER_V_REMAIN:
		*out = days_left(x, a);
		break;
	default:
		*out = printed(x, field, a);
		break;
	}
	if (field == TLS_PEER_CERT && out->n)
		*out = with_tabs(slice_make(out->p, out->n - 1), a);
	else if (field == TLS_PEER_ESCAPED)
		*out = escaped(*out, a);
	return out->n > 0;
}
