/* SPDX-License-Identifier: BSD-2-Clause */
/* What OpenSSL calls back during a handshake: the choice of a server and of a protocol, the verdict
 * on a certificate, a session to keep. Does no I/O. */
#include "tls/tls_state.h"

#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>

struct tls_conn *tls_state_of(const SSL *ssl)
{
	return BIO_get_data(SSL_get_rbio(ssl));
}

void tls_state_text(struct tls_conn *t, const char *fmt, ...)
{
	char text[TLS_TEXT_MAX];
	va_list ap;

	if (t->text)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	t->text = strdup(text);
}

struct tls_server *tls_state_session_server(const SSL *ssl)
{
	return tls_state_of(ssl)->listener->server;
}

int tls_state_on_sni(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct tls_conn *t = tls_state_of(ssl);
	struct tls_server *s = NULL;
	SSL_CTX *ctx;

	if (!name || !t->listener->pick)
		return SSL_TLSEXT_ERR_OK;
	s = t->listener->pick(t->conn, slice_cstr(name), t->listener->data);
	if (!s || s == t->listener->server)
		return SSL_TLSEXT_ERR_OK;
	ctx = tls_server_ctx(s);
	if (!SSL_set_SSL_CTX(ssl, ctx))
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	/* It changes certificates and ciphers only. */
	SSL_clear_options(ssl, SSL_get_options(ssl) & ~SSL_CTX_get_options(ctx));
	SSL_set_options(ssl, SSL_CTX_get_options(ctx));
	return SSL_TLSEXT_ERR_OK;
}

int tls_state_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
		      const unsigned char *in, unsigned in_n, void *arg)
{
	struct slice alpn = tls_state_of(ssl)->listener->alpn;

	if (!alpn.n)
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_select_next_proto((unsigned char **)out, out_n, (const unsigned char *)alpn.p,
				     (unsigned)alpn.n, in, in_n) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_ALERT_FATAL;
}

int tls_state_on_client_session(SSL *ssl, SSL_SESSION *sess)
{
	struct tls_conn *t = tls_state_of(ssl);

	return tls_client_keep(t->client, t->key, sess);
}

static void describe_mismatch(struct tls_conn *t, X509_VERIFY_PARAM *param)
{
	const char *name = X509_VERIFY_PARAM_get0_host(param, 0);
	char *ip = name ? NULL : X509_VERIFY_PARAM_get1_ip_asc(param);

	tls_state_text(t, "certificate of upstream does not match name \"%s\"",
		       name ? name
		       : ip ? ip
			    : "");
	OPENSSL_free(ip);
}

int tls_state_on_verify(int ok, X509_STORE_CTX *x)
{
	struct tls_conn *t =
		tls_state_of(X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx()));
	int e = X509_STORE_CTX_get_error(x);
	X509 *cert = X509_STORE_CTX_get_current_cert(x);
	char subject[256] = "";

	if (ok)
		return 1;
	if (e == X509_V_ERR_HOSTNAME_MISMATCH || e == X509_V_ERR_IP_ADDRESS_MISMATCH) {
		if (t->also_ip[0] && cert && X509_check_ip_asc(cert, t->also_ip, 0) == 1) {
			X509_STORE_CTX_set_error(x, X509_V_OK);
			return 1;
		}
		describe_mismatch(t, SSL_get0_param(t->ssl));
		return 0;
	}
	if (cert)
		X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof subject);
	tls_state_text(
		t, "upstream SSL certificate verify error: (%d:%s), depth %d, subject \"%s\"", e,
		X509_verify_cert_error_string(e), X509_STORE_CTX_get_error_depth(x), subject);
	return 0;
}
