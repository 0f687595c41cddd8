/* SPDX-License-Identifier: BSD-2-Clause */
/* A peer that changes its keys (KeyUpdate, RFC 8446 4.6.3): now and then, and without end. The peer is OpenSSL itself. */
#include "rig.h"

struct one {
	struct duo d;
	struct tls_server *s;
	SSL_CTX *ctx;
	SSL *ssl;
};

static void one_open(struct one *o, struct rig *r)
{
	int sa = -SL_EAGAIN, sb = 0;

	o->s = rig_server(r, "ec", (struct tls_server_params){.protocols = TLS_V1_3});
	duo_open(&o->d, 0);
	o->d.listener.server = o->s;
	assert_int_equal(tls_accept_start(&o->d.a, &o->d.listener), 0);
	o->ctx = SSL_CTX_new(TLS_client_method());
	o->ssl = SSL_new(o->ctx);
	SSL_set_fd(o->ssl, o->d.b.io.fd);
	SSL_set_connect_state(o->ssl);
	for (int i = 0; i < 50 && (sa || sb != 1); i++) {
		sb = SSL_do_handshake(o->ssl);
		duo_turn(&o->d);
		sa = tls_handshake(&o->d.a);
	}
	assert_int_equal(sa, 0);
	assert_int_equal(sb, 1);
}

static void one_close(struct one *o)
{
	SSL_free(o->ssl);
	SSL_CTX_free(o->ctx);
	duo_close(&o->d);
	tls_server_free(o->s);
}

/* What a read of ours says after another KeyUpdate. */
static ssize_t rekey(struct one *o)
{
	char text[16];

	SSL_key_update(o->ssl, SSL_KEY_UPDATE_REQUESTED);
	assert_int_equal(SSL_do_handshake(o->ssl), 1);
	duo_turn(&o->d);
	return conn_read(&o->d.a, text, sizeof text);
}

static void say(struct one *o, size_t n)
{
	char piece[16384] = "", heard[sizeof piece];

	for (ssize_t r; n; n -= (size_t)r) {
		r = SSL_write(o->ssl, piece, (int)(n < sizeof piece ? n : sizeof piece));
		assert_true(r > 0);
		for (size_t got = 0; got < (size_t)r;) {
			ssize_t k;

			duo_turn(&o->d);
			k = conn_read(&o->d.a, heard, sizeof heard);
			assert_true(k > 0 || k == -SL_EAGAIN);
			got += k > 0 ? (size_t)k : 0;
		}
	}
}

static void test_now_and_then(void **state)
{
	char text[64];
	struct one o;

	one_open(&o, *state);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(rekey(&o), -SL_EAGAIN);
		say(&o, 5);
		assert_int_equal(conn_write(&o.d.a, "hello", 5), 5);
		assert_int_equal(SSL_read(o.ssl, text, sizeof text), 5);
	}
	/* Data pays for more of them. */
	for (int i = 0; i < 50; i++) {
		say(&o, 70000);
		assert_int_equal(rekey(&o), -SL_EAGAIN);
	}
	one_close(&o);
}

static void test_without_end(void **state)
{
	ssize_t r = -SL_EAGAIN;
	struct one o;
	int n;

	one_open(&o, *state);
	for (n = 0; n < 1000 && r == -SL_EAGAIN; n++)
		r = rekey(&o);
	assert_int_equal(r, -SL_ERESET);
	assert_in_range(n, 20, 100);
	assert_string_equal(tls_error_text(&o.d.a), "peer changes its keys too often");
	assert_int_equal(rekey(&o), -SL_ERESET);
	one_close(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_now_and_then),
		cmocka_unit_test(test_without_end),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
