/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS connections: handshakes, names, data, ends, and what is said when they fail. */
#include "rig.h"

static const struct tls_server_params plain_server;

/* Handshakes. */

static void shake_as(struct rig *r, unsigned protocol, const char *version)
{
	struct tls_server *s =
		rig_server(r, "ec", (struct tls_server_params){.protocols = protocol});
	struct tls_client *c = rig_client((struct tls_client_params){
		.verify = true, .verify_depth = 1, .ca_cstr = rig_path(r, "ca.crt")});
	char text[4096];
	struct duo d;
	size_t n;

	duo_open(&d, 0);
	assert_null(tls_protocol_cstr(&d.a));
	assert_int_equal(tls_sni(&d.a).n, 0);
	assert_false(tls_handshake_done(&d.a));
	duo_connect(&d, s, c, "example.test");
	assert_string_equal(tls_protocol_cstr(&d.a), version);
	assert_string_equal(tls_protocol_cstr(&d.b), version);
	assert_non_null(strstr(tls_cipher_cstr(&d.a), "GCM"));
	assert_string_equal(tls_curve_cstr(&d.a), "X25519");
	assert_true(slice_eq(tls_sni(&d.a), SLICE("example.test")));
	assert_int_equal(tls_alpn(&d.a).n, 0);
	assert_false(tls_session_reused(&d.a));
	n = tls_client_curves_text(&d.a, text, sizeof text);
	assert_true(slice_starts(slice_make(text, n), SLICE("X25519:prime256v1")));
	n = tls_client_ciphers_text(&d.a, text, sizeof text);
	assert_true(n > 20);
	n = tls_client_ciphers_text(&d.a, text, 30);
	assert_in_range(n, 1, 30);
	assert_int_equal(tls_handshake(&d.a), 0); /* again does no harm */
	duo_say(&d, &d.b, &d.a, "ping");
	duo_say(&d, &d.a, &d.b, "pong!");
	assert_int_equal(d.a.n_received, 4);
	assert_int_equal(d.a.n_sent, 5);
	assert_int_equal(d.b.n_received, 5);
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
}

static void test_handshake(void **state)
{
	shake_as(*state, TLS_V1_3, "TLSv1.3");
	shake_as(*state, TLS_V1_2, "TLSv1.2");
}

static void test_two_keys(void **state)
{
	static const char *const want[] = {"ECDHE-ECDSA-AES128-GCM-SHA256",
					   "ECDHE-RSA-AES128-GCM-SHA256"};
	struct rig *r = *state;
	struct tls_pair pairs[] = {rig_pair(r, "ec"), rig_pair(r, "rsa")};
	struct tls_server *s =
		rig_server(r, "", (struct tls_server_params){.pairs = pairs, .n_pairs = 2});

	for (int i = 0; i < 2; i++) {
		struct tls_client *c =
			rig_client((struct tls_client_params){.protocols = TLS_V1_2,
							      .ciphers_cstr = want[i],
							      .verify = true,
							      .verify_depth = 1,
							      .ca_cstr = rig_path(r, "ca.crt")});
		struct duo d;

		duo_open(&d, 0);
		duo_connect(&d, s, c, "example.test");
		assert_string_equal(tls_cipher_cstr(&d.b), want[i]);
		duo_close(&d);
		tls_client_free(c);
	}
	tls_server_free(s);
}

static void test_preference(void **state)
{
	const char *ab = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384";
	const char *ba = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256";

	for (int prefer = 0; prefer < 2; prefer++) {
		struct tls_server *s =
			rig_server(*state, "ec",
				   (struct tls_server_params){.protocols = TLS_V1_2,
							      .ciphers_cstr = ab,
							      .prefer_server_ciphers = prefer,
							      .ecdh_curve_cstr = "P-384:P-256"});
		struct tls_client *c = rig_client((struct tls_client_params){.ciphers_cstr = ba});
		struct duo d;

		duo_open(&d, 0);
		duo_connect(&d, s, c, "example.test");
		assert_string_equal(tls_cipher_cstr(&d.a),
				    prefer ? "ECDHE-ECDSA-AES128-GCM-SHA256"
					   : "ECDHE-ECDSA-AES256-GCM-SHA384");
		assert_int_equal(
			strncmp(tls_curve_cstr(&d.a), prefer ? "secp384r1" : "prime256v1", 9), 0);
		duo_close(&d);
		tls_server_free(s);
		tls_client_free(c);
	}
}

struct chooser {
	struct tls_server *other;
	char asked[64];
	struct conn *conn;
};

static struct tls_server *pick(struct conn *c, struct slice name, void *data)
{
	struct chooser *ch = data;

	ch->conn = c;
	snprintf(ch->asked, sizeof ch->asked, "%.*s", SLICE_FMT(name));
	return slice_eq(name, SLICE("a.other.test")) ? ch->other : NULL;
}

static void test_sni(void **state)
{
	struct rig *r = *state;
	struct tls_server *s = rig_server(r, "ec", plain_server);
	struct chooser ch = {.other = rig_server(r, "other", plain_server)};
	static const char *const names[] = {"a.other.test", "example.test"};

	for (int i = 0; i < 4; i++) {
		struct tls_client *c = rig_client(
			(struct tls_client_params){.protocols = i < 2 ? TLS_V1_3 : TLS_V1_2,
						   .verify = true,
						   .verify_depth = 1,
						   .ca_cstr = rig_path(r, "ca.crt")});
		struct duo d;

		duo_open(&d, 0);
		d.listener.pick = pick;
		d.listener.data = &ch;
		/* The name is verified, so it tells which certificate came. */
		duo_connect(&d, s, c, names[i % 2]);
		assert_string_equal(ch.asked, names[i % 2]);
		assert_ptr_equal(ch.conn, &d.a);
		duo_close(&d);
		tls_client_free(c);
	}
	tls_server_free(s);
	tls_server_free(ch.other);
}

static struct slice offered(struct slice name, void *data)
{
	assert_true(slice_eq(name, SLICE("example.test")));
	return *(const struct slice *)data;
}

static void alpn_case(struct rig *r, struct slice listener, const char *client, const char *chosen)
{
	struct tls_server *s = rig_server(r, "ec", plain_server);
	struct tls_client *c = rig_client((struct tls_client_params){0});
	struct duo d;
	int sa, sb;

	duo_open(&d, 0);
	d.listener.alpn = offered;
	d.listener.data = &listener;
	duo_start(&d, s, c, "example.test");
	if (client)
		SSL_set_alpn_protos(tls_conn_ssl(&d.b), (const unsigned char *)client,
				    (unsigned)strlen(client));
	duo_shake(&d, &sa, &sb);
	if (chosen) {
		assert_int_equal(sa, 0);
		assert_int_equal(sb, 0);
		assert_true(slice_eq(tls_alpn(&d.a), slice_cstr(chosen)));
		assert_true(slice_eq(tls_alpn(&d.b), slice_cstr(chosen)));
	} else {
		assert_int_equal(sa, -SL_ETLS);
		assert_int_equal(sb, -SL_ETLS);
		assert_non_null(strstr(tls_error_text(&d.b), "no application protocol"));
		assert_true(tls_error_is_peers(&d.a));
	}
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
}

static void test_alpn(void **state)
{
	alpn_case(*state, SLICE("\x08http/1.1"), "\x02h2\x08http/1.1", "http/1.1");
	alpn_case(*state, SLICE("\x02h2\x08http/1.1"), "\x08http/1.1\x02h2", "h2");
	alpn_case(*state, SLICE("\x08http/1.1"), NULL, "");
	alpn_case(*state, SLICE(""), "\x02h2", "");
	alpn_case(*state, SLICE("\x08http/1.1"), "\x02h2", NULL);
}

/* Verification. */

/* The client's text when it does not like what it sees; NULL: it does. */
static void verify_case(struct rig *r, const char *server, const char *name,
			struct tls_client_params p, const char *text)
{
	struct tls_server *s = rig_server(r, server, plain_server);
	struct tls_client *c;
	struct duo d;
	int sa, sb;

	p.verify = true;
	if (!p.ca_cstr)
		p.ca_cstr = rig_path(r, "ca.crt");
	c = rig_client(p);
	duo_open(&d, 0);
	duo_start(&d, s, c, name);
	duo_shake(&d, &sa, &sb);
	if (text) {
		assert_int_equal(sb, -SL_ETLS);
		if (!strstr(tls_error_text(&d.b), text))
			fail_msg("\"%s\" is not in \"%s\"", text, tls_error_text(&d.b));
		/* The server hears of it, now or at its first read. */
		if (sa == 0) {
			char byte;

			duo_turn(&d);
			assert_int_equal(conn_read(&d.a, &byte, 1), -SL_ETLS);
		}
		assert_non_null(strstr(tls_error_text(&d.a), "alert"));
		assert_true(tls_error_is_peers(&d.a));
	} else {
		assert_string_equal(tls_error_text(&d.b), "");
		assert_int_equal(sb, 0);
	}
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
}

static void test_verify(void **state)
{
	struct rig *r = *state;
	const struct tls_client_params p = {.verify_depth = 1};

	verify_case(r, "ec", "example.test", p, NULL);
	verify_case(r, "ec", "EXAMPLE.test.", p, NULL);
	verify_case(r, "ec", "127.0.0.1", p, NULL);
	verify_case(r, "other", "x.other.test", p, NULL);
	verify_case(r, "ec", "wrong.test", p,
		    "upstream SSL certificate does not match \"wrong.test\"");
	verify_case(r, "other", "x.y.other.test", p, "does not match \"x.y.other.test\"");
	verify_case(r, "ec", "127.0.0.2", p,
		    "upstream SSL certificate does not match \"127.0.0.2\"");
	verify_case(r, "expired", "example.test", p,
		    "(10:certificate has expired), depth 0, subject \"/CN=expired\"");
	verify_case(r, "future", "example.test", p, "(9:certificate is not yet valid)");
	verify_case(r, "self", "example.test", p, "self-signed certificate)");
	verify_case(
		r, "ec", "example.test",
		(struct tls_client_params){.verify_depth = 1, .ca_cstr = rig_path(r, "self.crt")},
		"(20:unable to get local issuer certificate)");
	/* The system's authorities do not know ours. */
	struct tls_server *s = rig_server(r, "ec", plain_server);
	struct tls_client *c =
		rig_client((struct tls_client_params){.verify = true, .verify_depth = 1});
	struct duo d;
	int sa, sb;

	duo_open(&d, 0);
	duo_start(&d, s, c, "example.test");
	duo_shake(&d, &sa, &sb);
	assert_int_equal(sb, -SL_ETLS);
	duo_close(&d);
	tls_client_free(c);
	/* ... unless SSL_CERT_FILE says so. */
	setenv("SSL_CERT_FILE", rig_path(r, "ca.crt"), 1);
	c = rig_client((struct tls_client_params){.verify = true, .verify_depth = 1});
	unsetenv("SSL_CERT_FILE");
	duo_open(&d, 0);
	duo_connect(&d, s, c, "example.test");
	duo_close(&d);
	tls_client_free(c);
	tls_server_free(s);
}

/* Another name, or an address, will do as well; its sessions are its own. */
static void test_other_names(void **state)
{
	static const struct {
		const char *name, *also[2];
		bool good;
	} cases[] = {
		{"wrong.test", {"example.test"}, true},
		{"wrong.test", {"127.0.0.1"}, true},
		{"wrong.test", {"[::1]", "example.test."}, true},
		{"127.0.0.9", {"127.0.0.1"}, true},
		{"wrong.test", {"wrong2.test", "127.0.0.2"}, false},
		{"127.0.0.9", {"127.0.0.8"}, false},
	};
	struct rig *r = *state;
	struct tls_tickets *t = calloc(1, sizeof *t);
	struct tls_server *s;
	struct tls_client *c =
		rig_client((struct tls_client_params){.verify = true,
						      .verify_depth = 1,
						      .session_reuse = true,
						      .ca_cstr = rig_path(r, "ca.crt")});

	tls_tickets_init(t);
	s = rig_server(r, "ec", (struct tls_server_params){.tickets = t});
	for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		const bool again = i % 2;
		struct duo d;
		int sa, sb;

		duo_open(&d, 0);
		duo_start(&d, s, c, cases[i / 2].name);
		for (int j = 0; j < 2 && cases[i / 2].also[j]; j++)
			assert_int_equal(tls_accept_name(&d.b, slice_cstr(cases[i / 2].also[j])),
					 0);
		duo_shake(&d, &sa, &sb);
		assert_int_equal(sb, cases[i / 2].good ? 0 : -SL_ETLS);
		if (cases[i / 2].good) {
			duo_say(&d, &d.a, &d.b, "session comes too");
			assert_int_equal(tls_session_reused(&d.b), again);
		} else {
			assert_non_null(strstr(tls_error_text(&d.b), "does not match"));
		}
		duo_close(&d);
	}
	/* What was accepted for other names is checked anew without them. */
	struct duo d;
	int sa, sb;

	duo_open(&d, 0);
	duo_start(&d, s, c, "wrong.test");
	assert_int_equal(tls_accept_name(&d.b, SLICE("")), -SL_EINVAL);
	duo_shake(&d, &sa, &sb);
	assert_int_equal(sb, -SL_ETLS);
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
	free(t);
}

static void test_client_errors(void **state)
{
	struct rig *r = *state;
	struct tls_pair pair = {rig_path(r, "ec.crt"), rig_path(r, "other.key"), NULL};
	char err[TLS_TEXT_MAX];
	struct tls_client_params p = {.protocols = TLS_V1_3, .verify = true};

	p.ca_cstr = rig_path(r, "gone.crt");
	assert_null(tls_client_new(&p, err));
	assert_non_null(strstr(err, "/gone.crt\": No such file or directory"));
	p.ca_cstr = rig_path(r, "ec.key");
	assert_null(tls_client_new(&p, err));
	assert_non_null(strstr(err, "cannot load trusted certificates"));
	p.ca_cstr = rig_path(r, "ca.crt");
	p.crl_cstr = rig_path(r, "ca.crt");
	assert_null(tls_client_new(&p, err));
	assert_non_null(strstr(err, "cannot load revocation list"));
	p.crl_cstr = NULL;
	p.pair = &pair;
	assert_null(tls_client_new(&p, err));
	assert_non_null(strstr(err, "does not match certificate"));
	p.pair = NULL;
	p.ciphers_cstr = "nonsense";
	assert_null(tls_client_new(&p, err));
	assert_non_null(strstr(err, "invalid TLS ciphers \"nonsense\""));
	assert_int_equal(ERR_peek_error(), 0);
}

static void test_depth(void **state)
{
	struct rig *r = *state;
	EVP_PKEY *mid_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *mid = rig_cert(r, mid_key, "Mid CA", NULL, true, r->ca, r->ca_key, -3600, 3600);
	X509 *leaf = rig_cert(r, key, "deep", "DNS:example.test", false, mid, mid_key, -3600, 3600);

	rig_write(r, "deep.crt", leaf, mid, NULL);
	rig_write(r, "deep.key", NULL, NULL, key);
	verify_case(r, "deep", "example.test", (struct tls_client_params){.verify_depth = 1}, NULL);
	verify_case(r, "deep", "example.test", (struct tls_client_params){.verify_depth = 0},
		    "(22:certificate chain too long)");
	X509_free(mid);
	X509_free(leaf);
	EVP_PKEY_free(mid_key);
	EVP_PKEY_free(key);
}

static void test_revoked(void **state)
{
	struct rig *r = *state;
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = ASN1_TIME_set(NULL, time(NULL) - 60);
	FILE *f = fopen(rig_path(r, "ec.crt"), "r");
	X509 *ec = PEM_read_X509(f, NULL, NULL, NULL);
	X509_REVOKED *rev = X509_REVOKED_new();

	fclose(f);
	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(r->ca));
	X509_CRL_set1_lastUpdate(crl, t);
	X509_REVOKED_set_serialNumber(rev, X509_get_serialNumber(ec));
	X509_REVOKED_set_revocationDate(rev, t);
	X509_CRL_add0_revoked(crl, rev);
	X509_gmtime_adj(t, 3600);
	X509_CRL_set1_nextUpdate(crl, t);
	assert_true(X509_CRL_sign(crl, r->ca_key, EVP_sha256()));
	f = fopen(rig_path(r, "crl.pem"), "w");
	PEM_write_X509_CRL(f, crl);
	fclose(f);
	const struct tls_client_params p = {.verify_depth = 1, .crl_cstr = rig_path(r, "crl.pem")};
	verify_case(r, "ec", "example.test", p, "(23:certificate revoked)");
	verify_case(r, "rsa", "example.test", p, NULL);
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
	X509_free(ec);
}

static void test_no_verify(void **state)
{
	struct tls_server *s = rig_server(*state, "self", plain_server);
	struct tls_client *c = rig_client((struct tls_client_params){0});
	struct duo d;

	duo_open(&d, 0);
	duo_connect(&d, s, c, "nobody.test");
	duo_close(&d);
	/* A name that is none. */
	duo_open(&d, 0);
	assert_int_equal(tls_connect_start(&d.b, c, SLICE(""), true, NULL), -SL_EINVAL);
	assert_int_equal(tls_connect_start(&d.b, c, SLICE("a\0b"), true, NULL), -SL_EINVAL);
	assert_ptr_equal(d.b.ops, &conn_plain_ops);
	assert_int_equal(tls_connect_start(&d.b, c, SLICE(""), false, NULL), 0);
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
}

/* How handshakes fail. */

static void test_protocol_mismatch(void **state)
{
	struct tls_server *s =
		rig_server(*state, "ec", (struct tls_server_params){.protocols = TLS_V1_3});
	struct tls_client *c = rig_client((struct tls_client_params){.protocols = TLS_V1_2});
	struct duo d;
	int sa, sb;

	duo_open(&d, 0);
	duo_start(&d, s, c, "example.test");
	duo_shake(&d, &sa, &sb);
	assert_int_equal(sa, -SL_ETLS);
	assert_int_equal(sb, -SL_ETLS);
	assert_non_null(strstr(tls_error_text(&d.a), "unsupported protocol"));
	assert_non_null(strstr(tls_error_text(&d.b), "alert protocol version"));
	assert_int_equal(ERR_peek_error(), 0);
	assert_int_equal(tls_handshake(&d.a), -SL_ETLS); /* and stays so */
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
}

/* What a raw client gets for sending TEXT. */
static int raw_client(struct duo *d, struct tls_server *s, const char *text, size_t n, bool leave)
{
	duo_open(d, 0);
	d->listener.server = s;
	assert_int_equal(tls_accept_start(&d->a, &d->listener), 0);
	duo_turn(d);
	if (n)
		assert_int_equal(conn_write(&d->b, text, n), n);
	if (leave)
		conn_close(&d->b);
	duo_turn(d);
	return tls_handshake(&d->a);
}

static void test_plain_http(void **state)
{
	static const char request[] = "OPTIONS * HTTP/1.1\r\nHost: example.test\r\n\r\n";
	struct tls_server *s = rig_server(*state, "ec", plain_server);
	char got[TLS_PLAIN_MAX];
	struct duo d;

	assert_int_equal(raw_client(&d, s, request, sizeof request - 1, false), -SL_ETLS);
	assert_true(tls_got_plain_http(&d.a));
	assert_string_equal(tls_error_text(&d.a), "client sent plain HTTP request to HTTPS port");
	assert_int_equal(tls_drop(&d.a, got, sizeof got), sizeof request - 1);
	assert_memory_equal(got, request, sizeof request - 1);
	assert_false(tls_got_plain_http(&d.a));
	assert_ptr_equal(d.a.ops, &conn_plain_ops);
	duo_say(&d, &d.a, &d.b, "HTTP/1.1 400 Bad Request\r\n\r\n");
	duo_say(&d, &d.b, &d.a, "more");
	duo_close(&d);
	/* Less room than was read. */
	assert_int_equal(raw_client(&d, s, request, sizeof request - 1, false), -SL_ETLS);
	assert_int_equal(tls_drop(&d.a, got, 7), 7);
	duo_close(&d);
	tls_server_free(s);
}

static void test_rubbish(void **state)
{
	struct tls_server *s = rig_server(*state, "ec", plain_server);
	struct duo d;

	assert_int_equal(raw_client(&d, s, "\x16\x03\x01\xff\xff rubbish", 13, false), -SL_ETLS);
	assert_false(tls_got_plain_http(&d.a));
	assert_non_null(strstr(tls_error_text(&d.a), "SSL_do_handshake() failed (SSL: error:"));
	assert_true(tls_error_is_peers(&d.a));
	assert_int_equal(ERR_peek_error(), 0);
	duo_close(&d);
	assert_int_equal(raw_client(&d, s, "\x80\x2e\x01\x00\x02", 5, false), -SL_EAGAIN);
	assert_int_equal(tls_handshake(&d.a), -SL_EAGAIN);
	duo_close(&d);
	assert_int_equal(raw_client(&d, s, "\x16\x03\x01", 3, true), -SL_ETLS);
	assert_string_equal(tls_error_text(&d.a), "peer closed connection in SSL handshake");
	duo_close(&d);
	assert_int_equal(raw_client(&d, s, "", 0, true), -SL_ETLS);
	assert_string_equal(tls_error_text(&d.a), "peer closed connection in SSL handshake");
	assert_false(tls_got_plain_http(&d.a));
	duo_close(&d);
	tls_server_free(s);
}

/* Ends. */

static void end_case(struct rig *r, unsigned protocol, bool notify, ssize_t want)
{
	struct tls_server *s =
		rig_server(r, "ec", (struct tls_server_params){.protocols = protocol});
	struct tls_client *c = rig_client((struct tls_client_params){0});
	char text[16];
	struct duo d;

	duo_open(&d, 0);
	duo_connect(&d, s, c, "example.test");
	duo_say(&d, &d.b, &d.a, "ping");
	assert_int_equal(conn_write(&d.a, "bye", 3), 3);
	if (notify)
		conn_shutdown(&d.a);
	else
		shutdown(d.a.io.fd, SHUT_WR);
	duo_turn(&d);
	assert_true(conn_may_read(&d.b));
	assert_int_equal(conn_read(&d.b, text, sizeof text), 3);
	assert_true(conn_may_read(&d.b)); /* the end is to be fetched yet */
	assert_int_equal(conn_read(&d.b, text, sizeof text), want);
	assert_int_equal(conn_read(&d.b, text, sizeof text), want);
	/* The other direction is open still. */
	if (want != -SL_ETLS) {
		assert_int_equal(conn_write(&d.b, "last", 4), 4);
		duo_turn(&d);
		assert_int_equal(conn_read(&d.a, text, sizeof text), 4);
	}
	assert_int_equal(ERR_peek_error(), 0);
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
}

static void test_ends(void **state)
{
	end_case(*state, TLS_V1_3, true, 0);
	end_case(*state, TLS_V1_2, true, 0);
	end_case(*state, TLS_V1_3, false, -SL_ETRUNCATED);
	end_case(*state, TLS_V1_2, false, -SL_ETRUNCATED);
}

static void test_reset(void **state)
{
	struct tls_server *s = rig_server(*state, "ec", plain_server);
	struct tls_client *c = rig_client((struct tls_client_params){0});
	struct duo d;
	char text[16];

	duo_open(&d, 0);
	duo_connect(&d, s, c, "example.test");
	conn_read(&d.b, text, sizeof text);
	/* Unread data makes the close a reset (unix sockets: ECONNRESET). */
	assert_int_equal(conn_write(&d.b, "unread", 6), 6);
	conn_reset(&d.a);
	duo_turn(&d);
	assert_int_equal(conn_read(&d.b, text, sizeof text), -SL_ERESET);
	assert_int_equal(conn_write(&d.b, "x", 1), -SL_ERESET);
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
}

/* Garbage in the middle of a good connection. */
static void test_broken_record(void **state)
{
	struct tls_server *s = rig_server(*state, "ec", plain_server);
	struct tls_client *c = rig_client((struct tls_client_params){0});
	struct duo d;
	char text[16];

	duo_open(&d, 0);
	duo_connect(&d, s, c, "example.test");
	assert_int_equal(write(d.b.io.fd, "\x17\x03\x03\x00\x18 not what was agreed upon", 29), 29);
	duo_turn(&d);
	assert_int_equal(conn_read(&d.a, text, sizeof text), -SL_ETLS);
	assert_non_null(strstr(tls_error_text(&d.a), "SSL_read() failed"));
	assert_int_equal(conn_write(&d.a, "x", 1), -SL_ETLS);
	assert_int_equal(ERR_peek_error(), 0);
	duo_close(&d);
	tls_server_free(s);
	tls_client_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake),     cmocka_unit_test(test_two_keys),
		cmocka_unit_test(test_preference),    cmocka_unit_test(test_sni),
		cmocka_unit_test(test_alpn),	      cmocka_unit_test(test_verify),
		cmocka_unit_test(test_other_names),   cmocka_unit_test(test_client_errors),
		cmocka_unit_test(test_depth),	      cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_no_verify),     cmocka_unit_test(test_protocol_mismatch),
		cmocka_unit_test(test_plain_http),    cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_ends),	      cmocka_unit_test(test_reset),
		cmocka_unit_test(test_broken_record),
	};

	return cmocka_run_group_tests_name("tls", tests, rig_setup, rig_teardown);
}
