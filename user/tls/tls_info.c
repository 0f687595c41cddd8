/* SPDX-License-Identifier: BSD-2-Clause */
/* What variables and logs ask of a TLS connection. Owns nothing, changes nothing. */
#include <openssl/ssl.h>
#include <stdio.h>

#include "tls/tls_conn.h"

const char *tls_protocol_cstr(const struct conn *c)
{
	const SSL *ssl = tls_conn_ssl(c);

	return ssl && tls_handshake_done(c) ? SSL_get_version(ssl) : NULL;
}

const char *tls_cipher_cstr(const struct conn *c)
{
	const SSL *ssl = tls_conn_ssl(c);
	const SSL_CIPHER *cipher =
		ssl && tls_handshake_done(c) ? SSL_get_current_cipher(ssl) : NULL;

	return cipher ? SSL_CIPHER_get_name(cipher) : NULL;
}

/* OpenSSL's own names say "prime256v1"; so does nginx. */
static const char *group_name(int nid)
{
	return nid & TLSEXT_nid_unknown ? NULL : OBJ_nid2sn(nid);
}

const char *tls_curve_cstr(const struct conn *c)
{
	SSL *ssl = tls_conn_ssl(c);
	long nid = ssl && tls_handshake_done(c) ? SSL_get_negotiated_group(ssl) : 0;

	return nid > 0 ? group_name((int)nid) : NULL;
}

struct slice tls_sni(const struct conn *c)
{
	const SSL *ssl = tls_conn_ssl(c);
	const char *name = ssl ? SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) : NULL;

	return name ? slice_cstr(name) : SLICE("");
}

struct slice tls_alpn(const struct conn *c)
{
	const SSL *ssl = tls_conn_ssl(c);
	const unsigned char *p = NULL;
	unsigned n = 0;

	if (ssl)
		SSL_get0_alpn_selected(ssl, &p, &n);
	return slice_make(p ? (const char *)p : "", n);
}

bool tls_session_reused(const struct conn *c)
{
	const SSL *ssl = tls_conn_ssl(c);

	return ssl && SSL_session_reused(ssl);
}

bool tls_is_early(const struct conn *c)
{
	const SSL *ssl = tls_conn_ssl(c);

	return ssl && tls_handshake_done(c) && !SSL_is_init_finished(ssl);
}

size_t tls_session_id_text(const struct conn *c, char to[65])
{
	const SSL *ssl = tls_conn_ssl(c);
	const SSL_SESSION *sess = ssl ? SSL_get_session(ssl) : NULL;
	const unsigned char *id;
	unsigned n = 0;

	if (!sess)
		return 0;
	id = SSL_SESSION_get_id(sess, &n);
	n = n < 32 ? n : 32;
	for (unsigned i = 0; i < n; i++)
		snprintf(to + 2 * (size_t)i, 3, "%02x", id[i]);
	return 2 * (size_t)n;
}

struct list {
	char *to;
	size_t n, room;
};

/* Whole names only. */
static void add(struct list *l, const char *name, unsigned code)
{
	char text[64];
	int n = name ? snprintf(text, sizeof text, "%s%s", l->n ? ":" : "", name)
		     : snprintf(text, sizeof text, "%s0x%04x", l->n ? ":" : "", code);

	if (n < 0 || (size_t)n >= sizeof text || (size_t)n > l->room - l->n) {
		l->room = l->n;
		return;
	}
	memcpy(l->to + l->n, text, (size_t)n);
	l->n += (size_t)n;
}

size_t tls_client_ciphers_text(const struct conn *c, char *to, size_t room)
{
	SSL *ssl = tls_conn_ssl(c);
	struct list l = {to, 0, room};
	const unsigned char *raw = NULL;
	const SSL_CIPHER *cipher;
	size_t each, n;

	if (!ssl || !SSL_is_server(ssl))
		return 0;
	each = SSL_get0_raw_cipherlist(ssl, NULL);
	n = SSL_get0_raw_cipherlist(ssl, (unsigned char **)&raw);
	for (size_t i = 0; raw && each && i < n / each; i++, raw += each) {
		cipher = SSL_CIPHER_find(ssl, raw);
		add(&l, cipher ? SSL_CIPHER_get_name(cipher) : NULL,
		    (unsigned)raw[0] << 8 | (each > 1 ? raw[1] : 0));
	}
	return l.n;
}

size_t tls_client_curves_text(const struct conn *c, char *to, size_t room)
{
	SSL *ssl = tls_conn_ssl(c);
	struct list l = {to, 0, room};
	int nids[64], n = ssl && SSL_is_server(ssl) ? (int)SSL_get1_curves(ssl, NULL) : 0;

	if (n <= 0 || n > (int)(sizeof nids / sizeof *nids))
		return 0;
	n = (int)SSL_get1_curves(ssl, nids);
	for (int i = 0; i < n; i++)
		add(&l, group_name(nids[i]), (unsigned)(nids[i] & 0xffff));
	return l.n;
}
