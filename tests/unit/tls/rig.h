/* SPDX-License-Identifier: BSD-2-Clause */
/* Certificates made on the spot and pairs of connections, for the tests of user/tls. */
#ifndef SL_TESTS_TLS_RIG_H
#define SL_TESTS_TLS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "core/err.h"
#include "tls/tls_conn.h"

struct rig {
	char dir[64];
	EVP_PKEY *ca_key;
	X509 *ca;
	long serial;
};

/* A connected pair: a is ours with the server's side, b with the client's. */
struct duo {
	struct loop loop;
	struct conn a, b;
	struct tls_listener listener;
	int n_events;
};

__attribute__((unused)) static const char *rig_path(const struct rig *r, const char *name)
{
	static char text[8][128];
	static int at;

	at = (at + 1) % 8;
	snprintf(text[at], sizeof text[at], "%s/%s", r->dir, name);
	return text[at];
}

static inline void rig_write(const struct rig *r, const char *name, X509 *x, X509 *chain,
			     EVP_PKEY *key)
{
	FILE *f = fopen(rig_path(r, name), "w");

	assert_non_null(f);
	if (x)
		assert_true(PEM_write_X509(f, x));
	if (chain)
		assert_true(PEM_write_X509(f, chain));
	if (key)
		assert_true(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	fclose(f);
}

static inline void rig_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	assert_true(X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

/* Signed by the rig's authority, or by ISSUER, or by itself. Valid from FROM_S to TO_S relative to
 * now. */
static inline X509 *rig_cert(struct rig *r, EVP_PKEY *key, const char *cn, const char *san,
			     bool is_ca, X509 *issuer, EVP_PKEY *issuer_key, long from_s, long to_s)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++r->serial);
	X509_gmtime_adj(X509_getm_notBefore(x), from_s);
	X509_gmtime_adj(X509_getm_notAfter(x), to_s);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
	X509_set_pubkey(x, key);
	if (is_ca) {
		rig_ext(x, x, NID_basic_constraints, "critical,CA:TRUE");
		rig_ext(x, x, NID_key_usage, "critical,keyCertSign,cRLSign");
	}
	rig_ext(x, issuer ? issuer : x, NID_subject_key_identifier, "hash");
	if (san)
		rig_ext(x, x, NID_subject_alt_name, san);
	assert_true(X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256()));
	return x;
}

/* NAME.crt and NAME.key, signed by the authority. */
static inline void rig_leaf(struct rig *r, const char *name, EVP_PKEY *key, const char *san,
			    long from_s, long to_s)
{
	char file[64];
	X509 *x = rig_cert(r, key, name, san, false, r->ca, r->ca_key, from_s, to_s);

	snprintf(file, sizeof file, "%s.crt", name);
	rig_write(r, file, x, NULL, NULL);
	snprintf(file, sizeof file, "%s.key", name);
	rig_write(r, file, NULL, NULL, key);
	X509_free(x);
}

/* ca.crt; ec, rsa (example.test, 127.0.0.1), other (other.test, *.other.test), expired, future (not
 * yet valid), self (signed by itself). */
static inline int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof *r);
	const char *san = "DNS:example.test,IP:127.0.0.1";
	const long day = 86400;
	EVP_PKEY *ec = EVP_EC_gen("P-256"), *rsa = EVP_RSA_gen(2048), *other = EVP_EC_gen("P-256");
	X509 *self;

	strcpy(r->dir, "/tmp/sl-tls-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	r->ca_key = EVP_EC_gen("P-256");
	r->ca = rig_cert(r, r->ca_key, "Test CA", NULL, true, NULL, NULL, -day, day);
	rig_write(r, "ca.crt", r->ca, NULL, NULL);
	rig_leaf(r, "ec", ec, san, -day, day);
	rig_leaf(r, "rsa", rsa, san, -day, day);
	rig_leaf(r, "other", other, "DNS:other.test,DNS:*.other.test", -day, day);
	rig_leaf(r, "expired", ec, san, -2 * day, -day);
	rig_leaf(r, "future", ec, san, day, 2 * day);
	self = rig_cert(r, ec, "self", san, false, NULL, NULL, -day, day);
	rig_write(r, "self.crt", self, NULL, NULL);
	rig_write(r, "self.key", NULL, NULL, ec);
	X509_free(self);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(other);
	*state = r;
	return 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *r = *state;
	char command[96];

	snprintf(command, sizeof command, "rm -r %s", r->dir);
	assert_int_equal(system(command), 0);
	X509_free(r->ca);
	EVP_PKEY_free(r->ca_key);
	free(r);
	return 0;
}

static inline struct tls_pair rig_pair(const struct rig *r, const char *name)
{
	char crt[64], key[64];

	snprintf(crt, sizeof crt, "%s.crt", name);
	snprintf(key, sizeof key, "%s.key", name);
	return (struct tls_pair){rig_path(r, crt), rig_path(r, key), NULL};
}

/* A server with one certificate and what else is in P. */
static inline struct tls_server *rig_server(const struct rig *r, const char *name,
					    struct tls_server_params p)
{
	struct tls_pair pair = rig_pair(r, name);
	char err[TLS_TEXT_MAX] = "";
	struct tls_server *s;

	if (!p.pairs) {
		p.pairs = &pair;
		p.n_pairs = 1;
	}
	if (!p.protocols)
		p.protocols = TLS_V1_2 | TLS_V1_3;
	if (!p.session_timeout_s)
		p.session_timeout_s = 300;
	s = tls_server_new(&p, err);
	assert_string_equal(err, "");
	assert_non_null(s);
	return s;
}

static inline struct tls_client *rig_client(struct tls_client_params p)
{
	char err[TLS_TEXT_MAX] = "";
	struct tls_client *c;

	if (!p.protocols)
		p.protocols = TLS_V1_2 | TLS_V1_3;
	c = tls_client_new(&p, err);
	assert_string_equal(err, "");
	assert_non_null(c);
	return c;
}

static void duo_on_event(struct conn *c)
{
}

/* Both ends plain; SNDBUF 0: the system's. */
static inline void duo_open(struct duo *d, int sndbuf)
{
	int fds[2];

	memset(d, 0, sizeof *d);
	assert_int_equal(loop_init(&d->loop, 16), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	for (int i = 0; sndbuf && i < 2; i++)
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof sndbuf);
	assert_int_equal(conn_start(&d->a, &d->loop, fds[0], duo_on_event), 0);
	assert_int_equal(conn_start(&d->b, &d->loop, fds[1], duo_on_event), 0);
}

static inline void duo_close(struct duo *d)
{
	conn_close(&d->a);
	conn_close(&d->b);
	loop_fini(&d->loop);
}

static inline void duo_turn(struct duo *d)
{
	loop_turn(&d->loop, 0);
}

static inline void duo_start(struct duo *d, struct tls_server *s, struct tls_client *c,
			     const char *name)
{
	d->listener.server = s;
	assert_int_equal(tls_accept_start(&d->a, &d->listener), 0);
	assert_int_equal(tls_connect_start(&d->b, c, slice_cstr(name), true, NULL), 0);
}

/* Until both sides are done or failed; *sa and *sb get what they returned. */
static inline void duo_shake(struct duo *d, int *sa, int *sb)
{
	*sa = *sb = -SL_EAGAIN;
	for (int i = 0; i < 50 && (*sa == -SL_EAGAIN || *sb == -SL_EAGAIN); i++) {
		duo_turn(d);
		if (*sb == -SL_EAGAIN)
			*sb = tls_handshake(&d->b);
		duo_turn(d);
		if (*sa == -SL_EAGAIN)
			*sa = tls_handshake(&d->a);
	}
}

static inline void duo_connect(struct duo *d, struct tls_server *s, struct tls_client *c,
			       const char *name)
{
	int sa, sb;

	duo_start(d, s, c, name);
	duo_shake(d, &sa, &sb);
	assert_string_equal(tls_error_text(&d->a), "");
	assert_string_equal(tls_error_text(&d->b), "");
	assert_int_equal(sa, 0);
	assert_int_equal(sb, 0);
}

/* FROM says TEXT and TO hears it. */
static inline void duo_say(struct duo *d, struct conn *from, struct conn *to, const char *text)
{
	char heard[256] = "";
	size_t n = strlen(text), got = 0;

	assert_int_equal(conn_write(from, text, n), n);
	for (int i = 0; i < 20 && got < n; i++) {
		ssize_t r;

		duo_turn(d);
		r = conn_read(to, heard + got, sizeof heard - got);
		if (r > 0)
			got += (size_t)r;
		else
			assert_int_equal(r, -SL_EAGAIN);
	}
	assert_int_equal(got, n);
	assert_memory_equal(heard, text, n);
}

#endif
