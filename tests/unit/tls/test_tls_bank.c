/* SPDX-License-Identifier: BSD-2-Clause */
/* More connections than windows: whatever the order in which they are used, each is itself. */
#include "rig.h"

#include <openssl/rand.h>

#include "tls/tls_bank.h"

enum { N = TLS_BANK_WINDOWS + 40 }; /* pairs: more than two connections a window */

struct world {
	struct rig *rig;
	struct tls_server *server;
	struct tls_client *client;
	struct duo duo[N];
};

static struct world w;

static unsigned any(unsigned below)
{
	unsigned n;

	RAND_bytes((unsigned char *)&n, sizeof n);
	return n % below;
}

/* Handshakes of all at once, message by message. */
static void shake_all(unsigned protocols)
{
	int sa[N], sb[N], left = N;

	w.server = rig_server(w.rig, "ec", (struct tls_server_params){.protocols = protocols});
	for (int i = 0; i < N; i++) {
		duo_open(&w.duo[i], 0);
		duo_start(&w.duo[i], w.server, w.client, "example.test");
		sa[i] = sb[i] = -SL_EAGAIN;
	}
	for (int turns = 0; left && turns < 100; turns++) {
		for (int i = 0; i < N; i++) {
			struct duo *d = &w.duo[i];
			bool was = sa[i] || sb[i];

			duo_turn(d);
			sb[i] = sb[i] ? tls_handshake(&d->b) : 0;
			duo_turn(d);
			sa[i] = sa[i] ? tls_handshake(&d->a) : 0;
			left -= was && !sa[i] && !sb[i];
		}
	}
	assert_int_equal(left, 0);
}

static void close_all(void)
{
	for (int i = 0; i < N; i++)
		duo_close(&w.duo[i]);
	tls_server_free(w.server);
}

static void talk(unsigned protocols, const char *version)
{
	char text[64];

	shake_all(protocols);
	for (int k = 0; k < 6 * N; k++) {
		struct duo *d = &w.duo[any(N)];
		bool back = any(2);

		snprintf(text, sizeof text, "message %d of %ld", k, (long)(d - w.duo));
		duo_say(d, back ? &d->a : &d->b, back ? &d->b : &d->a, text);
		d = &w.duo[any(N)];
		assert_string_equal(tls_protocol_cstr(&d->a), version);
		assert_int_equal(tls_sni(&d->a).n, strlen("example.test"));
		/* Some go, others come to where they were. */
		if (any(10) == 0) {
			duo_close(d);
			duo_open(d, 0);
			duo_connect(d, w.server, w.client, "example.test");
		}
	}
	close_all();
}

static void talk_12(void **state)
{
	talk(TLS_V1_2, "TLSv1.2");
}

static void talk_13(void **state)
{
	talk(TLS_V1_3, "TLSv1.3");
}

/* Ends in the middle of handshakes, and those that fail. */
static void half_way(void **state)
{
	struct duo *d;

	shake_all(TLS_V1_3);
	for (int k = 0; k < N; k++) {
		d = &w.duo[any(N)];
		duo_close(d);
		duo_open(d, 0);
		duo_start(d, w.server, w.client, "example.test");
		if (any(2)) {
			assert_int_equal(tls_handshake(&d->b), -SL_EAGAIN);
			duo_turn(d);
			if (any(2))
				assert_int_equal(tls_handshake(&d->a), -SL_EAGAIN);
		}
		duo_close(d);
		duo_open(d, 0);
		duo_connect(d, w.server, w.client, "example.test");
		duo_say(&w.duo[0], &w.duo[0].a, &w.duo[0].b, "still there");
	}
	close_all();
}

/* What a connection holds in the heap when another one is in its window. */
static void small(void **state)
{
	size_t biggest = 0;

	shake_all(TLS_V1_3);
	for (int i = 0; i < N; i++) {
		struct tls_seat *seat = tls_conn_seat(&w.duo[i].a);

		assert_true(seat->window > 0);
		if (seat->aside && seat->room * sizeof *seat->aside > biggest)
			biggest = seat->room * sizeof *seat->aside;
	}
	assert_in_range(biggest, 500, 3600);
	close_all();
}

static int setup(void **state)
{
	void *rig;

	assert_true(tls_bank_setup());
	rig_setup(&rig);
	w.rig = rig;
	w.client = rig_client((struct tls_client_params){.session_reuse = true});
	return 0;
}

static int teardown(void **state)
{
	void *rig = w.rig;

	tls_client_free(w.client);
	return rig_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(talk_12),
		cmocka_unit_test(talk_13),
		cmocka_unit_test(half_way),
		cmocka_unit_test(small),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
