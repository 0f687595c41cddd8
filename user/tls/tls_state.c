/* SPDX-License-Identifier: BSD-2-Clause */
/* What OpenSSL calls back during a handshake: the choice of a server and of a protocol, the verdict
 * on a certificate, a session to keep. Does no I/O. */
#include "tls/tls_state.h"

#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

enum {
	REKEYS_MAX = 32,
	REKEY_BYTES = 64 * 1024, /* of data that the peer sends pay for another one */
};

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

/* The server that the name means takes over: its certificates and ciphers by SSL_set_SSL_CTX, the rest
 * here. */
static bool use_server(struct tls_conn *t, struct tls_server *s)
{
	SSL_CTX *ctx = tls_server_ctx(s);

	if (!SSL_set_SSL_CTX(t->ssl, ctx))
		return false;
	SSL_set_verify(t->ssl, SSL_CTX_get_verify_mode(ctx), SSL_CTX_get_verify_callback(ctx));
	SSL_set_verify_depth(t->ssl, SSL_CTX_get_verify_depth(ctx));
	SSL_clear_options(t->ssl, SSL_get_options(t->ssl) & ~SSL_CTX_get_options(ctx));
	SSL_set_options(t->ssl, SSL_CTX_get_options(ctx));
	t->record_bytes = (uint16_t)tls_server_record_bytes(s);
	return true;
}

/* A certificate that was shown to one server is none for another: TLS 1.3 lets a client resume under
 * another name (as nginx since 1.27.4). */
static bool is_others_session(const SSL *ssl, const struct tls_server *s, const char *name)
{
	const char *was;

	if (tls_server_verify(s) == TLS_VERIFY_OFF || !SSL_session_reused(ssl))
		return false;
	was = SSL_SESSION_get0_hostname(SSL_get0_session(ssl));
	return (was || name) && (!was || !name || strcasecmp(was, name) != 0);
}

/* Called for every client, also those that ask for no name. */
int tls_state_on_sni(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct tls_conn *t = tls_state_of(ssl);
	struct tls_server *s = NULL;

	if (name && t->listener->pick)
		s = t->listener->pick(t->conn, slice_cstr(name), t->listener->data);
	if (s && s != t->listener->server && !use_server(t, s)) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	s = s ? s : t->listener->server;
	if (tls_server_rejects(s)) {
		tls_state_text(t, "the handshake was rejected by ssl_reject_handshake");
		*alert = SSL_AD_UNRECOGNIZED_NAME;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	if (is_others_session(ssl, s, name)) {
		tls_state_text(t, "client resumed a session of another server name");
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	return SSL_TLSEXT_ERR_OK;
}

int tls_state_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
		      const unsigned char *in, unsigned in_n, void *arg)
{
	const struct tls_listener *l = tls_state_of(ssl)->listener;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct slice alpn = SLICE("");

	if (l->alpn)
		alpn = l->alpn(name ? slice_cstr(name) : SLICE(""), l->data);
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

	tls_state_text(t, "upstream SSL certificate does not match \"%s\"",
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

/* Each KeyUpdate costs its sender 27 bytes and us two derivations of keys, and OpenSSL goes on from one to the next
 * for as long as they come: nobody else has his turn. */
void tls_state_on_message(int is_ours, int version, int type, const void *p, size_t n, SSL *ssl,
			  void *arg)
{
	struct tls_conn *t;

	if (type != SSL3_RT_HANDSHAKE || is_ours || !n || *(const uint8_t *)p != SSL3_MT_KEY_UPDATE)
		return;
	t = tls_state_of(ssl);
	if (++t->n_rekeys <= REKEYS_MAX + t->conn->n_received / REKEY_BYTES)
		return;
	t->rekeys = true;
	tls_state_text(t, "peer changes its keys too often");
}
