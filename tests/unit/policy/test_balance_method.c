/* SPDX-License-Identifier: BSD-2-Clause */
/* The methods: who is chosen for a key, by load, by chance; who stands in; and slow_start. */
#include "balance_group.h"

#include "policy/balance_policy.h"

enum { N_KEYS = 2000 };

static uint32_t pick_as(struct balance_group *g, const struct balance_policy *p, struct slice key,
			uint64_t now_ms)
{
	struct balance_ask ask = {.policy = p, .key = key};
	uint32_t peer = NONE;

	return balance_pick(g, 0, now_ms, &ask, &peer) == BALANCE_OK ? peer : NONE;
}

static uint32_t serve_as(struct balance_group *g, const struct balance_policy *p, struct slice key)
{
	uint32_t peer = pick_as(g, p, key, 100000);

	if (peer != NONE)
		done(g, peer, BALANCE_SUCCESS, 100);
	return peer;
}

static void map_keys(struct balance_group *g, const struct balance_policy *p, uint32_t to[N_KEYS])
{
	char key[32];

	for (int i = 0; i < N_KEYS; i++) {
		int n = snprintf(key, sizeof key, "key %d", i);

		to[i] = serve_as(g, p, slice_make(key, (size_t)n));
		assert_int_not_equal(to[i], NONE);
	}
}

static void count(const uint32_t to[N_KEYS], unsigned n[8])
{
	memset(n, 0, 8 * sizeof *n);
	for (int i = 0; i < N_KEYS; i++)
		n[to[i]]++;
}

static void test_hash(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3")};
	struct balance_policy p = {.method = &balance_hash};
	static uint32_t whole[N_KEYS], down[N_KEYS];
	struct balance_group *g;
	unsigned n[8];

	s[0].weight = 2;
	g = group_new(s, 3);
	map_keys(g, &p, whole);
	count(whole, n);
	assert_in_range(n[0], N_KEYS / 2 - N_KEYS / 20, N_KEYS / 2 + N_KEYS / 20);
	assert_in_range(n[1], N_KEYS / 4 - N_KEYS / 20, N_KEYS / 4 + N_KEYS / 20);
	group_free(g);
	/* keys of those that are there stay where they were */
	s[1].down = true;
	g = group_new(s, 3);
	map_keys(g, &p, down);
	for (int i = 0; i < N_KEYS; i++) {
		assert_int_not_equal(down[i], 1);
		if (whole[i] != 1)
			assert_int_equal(down[i], whole[i]);
	}
	/* ((crc32("key 0") >> 16) & 0x7fff) % 4 is 0x4c45 % 4 == 1 */
	assert_int_equal(whole[0], 0);
	group_free(g);
}

static void test_ring(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3"), server("10.0.0.4")};
	struct balance_policy p = {.method = &balance_ring};
	static uint32_t three[N_KEYS], four[N_KEYS];
	struct balance_group *g;
	unsigned n[8], moved = 0;
	struct arena a;

	arena_init(&a, 4096);
	g = group_new(s, 3);
	p.ring = balance_ring_new(&a, s, 3);
	map_keys(g, &p, three);
	count(three, n);
	for (int i = 0; i < 3; i++)
		assert_in_range(n[i], N_KEYS / 5, N_KEYS / 2);
	group_free(g);
	/* a fourth one takes its share, and nobody else's keys move */
	g = group_new(s, 4);
	p.ring = balance_ring_new(&a, s, 4);
	map_keys(g, &p, four);
	for (int i = 0; i < N_KEYS; i++) {
		if (four[i] != three[i])
			assert_int_equal(four[i], 3);
		moved += four[i] != three[i];
	}
	assert_in_range(moved, N_KEYS / 8, N_KEYS * 2 / 5);
	group_free(g);
	s[0].weight = BALANCE_RING_WEIGHT_MAX;
	assert_null(balance_ring_new(&a, s, 2));
	arena_fini(&a);
}

/* Addresses of one name share its points and take turns. */
static void test_ring_of_names(void **state)
{
	struct balance_server_conf s[] = {server("a.test"), server("b.test"), server("a.test")};
	struct addr list[2] = {ip("10.0.0.1"), ip("10.0.0.2")}, other = ip("10.0.0.9");
	struct balance_policy p = {.method = &balance_ring};
	struct balance_group *g = group_new(s, 3);
	unsigned n_names[2] = {0};
	struct arena a;
	char key[8];

	arena_init(&a, 4096);
	p.ring = balance_ring_new(&a, s, 3);
	balance_set_addrs(g, 1, &other, 1, NULL, 1);
	balance_set_addrs(g, 0, list, 2, NULL, 1);
	for (int i = 0; i < 50; i++) {
		struct slice k = slice_make(key, (size_t)snprintf(key, sizeof key, "%d", i));
		uint32_t first = serve_as(g, &p, k), second = serve_as(g, &p, k);
		bool is_b = g->peer[first].server == 1;

		n_names[is_b]++;
		assert_int_equal(g->peer[first].server == 1, g->peer[second].server == 1);
		assert_true(is_b || first != second);
	}
	assert_true(n_names[0] > 5 && n_names[1] > 5);
	arena_fini(&a);
	group_free(g);
}

static void test_key_of_one_that_failed(void **state)
{
	struct balance_policy p = {.method = &balance_hash};
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	uint32_t home = serve_as(g, &p, SLICE("k"));

	assert_int_equal(pick_as(g, &p, SLICE("k"), 100000), home);
	done(g, home, BALANCE_FAILURE, 100);
	for (int i = 0; i < 5; i++)
		assert_int_equal(serve_as(g, &p, SLICE("k")), !home);
	/* its time is over: one request of its keys tries it, others do not wait for that */
	assert_int_equal(pick_as(g, &p, SLICE("k"), 111000), home);
	assert_int_equal(pick_as(g, &p, SLICE("k"), 111000), !home);
	done(g, home, BALANCE_SUCCESS, 111);
	assert_int_equal(pick_as(g, &p, SLICE("k"), 111000), home);
	group_free(g);
}

static void test_ip_key(void **state)
{
	struct addr v4 = ip("10.1.2.3"), v6 = ip("2001:db8::1"), un;
	struct balance_policy p = {.method = &balance_ip_hash};
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	struct addr neighbour = ip("10.1.2.200");

	assert_int_equal(addr_from_unix(SLICE("/run/x"), &un), 0);
	assert_true(slice_eq(balance_ip_key(&v4), SLICE("\x0a\x01\x02")));
	assert_int_equal(balance_ip_key(&v6).n, 16);
	assert_int_equal(balance_ip_key(&un).n, 3);
	assert_int_equal(serve_as(g, &p, balance_ip_key(&v4)),
			 serve_as(g, &p, balance_ip_key(&neighbour)));
	group_free(g);
}

static void test_least_conn(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3")};
	struct balance_policy p = {.method = &balance_least_conn};
	struct balance_group *g;
	unsigned on[3] = {0};

	s[0].weight = 2;
	g = group_new(s, 3);
	for (size_t i = 0; i < 8; i++)
		on[pick_as(g, &p, SLICE(""), 100000)]++;
	assert_int_equal(on[0], 4);
	assert_int_equal(on[1], 2);
	assert_int_equal(on[2], 2);
	/* who has become free is next, whatever round robin would say */
	done(g, 2, BALANCE_SUCCESS, 100);
	done(g, 2, BALANCE_SUCCESS, 100);
	assert_int_equal(pick_as(g, &p, SLICE(""), 100000), 2);
	assert_int_equal(pick_as(g, &p, SLICE(""), 100000), 2);
	group_free(g);
}

static void answer(struct balance_group *g, uint32_t peer, uint64_t header_ms, uint64_t whole_ms,
		   uint64_t now_ms)
{
	balance_alive(g, peer, header_ms, now_ms);
	balance_done(g, 0, peer, BALANCE_SUCCESS, 200, whole_ms, now_ms, now_ms);
}

/* N requests one after the other, from peers that are as fast as told. */
static void time_them(struct balance_group *g, const struct balance_policy *p, unsigned n,
		      const uint64_t header_ms[2], const uint64_t whole_ms[2], uint64_t now_ms,
		      unsigned got[2])
{
	got[0] = got[1] = 0;
	for (unsigned i = 0; i < n; i++) {
		uint32_t peer = pick_as(g, p, SLICE(""), now_ms);

		got[peer]++;
		answer(g, peer, header_ms[peer], whole_ms[peer], now_ms);
	}
}

static void test_least_time(void **state)
{
	static const uint64_t header_ms[2] = {200, 20}, whole_ms[2] = {300, 3000};
	struct balance_policy head = {.method = &balance_least_header},
			      last = {.method = &balance_least_last_byte};
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	unsigned got[2];

	/* each is tried once, then the faster one has all */
	time_them(g, &head, 40, header_ms, whole_ms, 100000, got);
	assert_int_equal(got[0], 1);
	time_them(g, &last, 40, header_ms, whole_ms, 100000, got);
	assert_int_equal(got[1], 0);
	/* as many as make up for the times */
	got[0] = got[1] = 0;
	for (int i = 0; i < 44; i++)
		got[pick_as(g, &head, SLICE(""), 100000)]++;
	assert_in_range(got[0], 3, 5);
	group_free(g);
}

/* One that was slow once is looked at again. */
static void test_least_time_forgets(void **state)
{
	static const uint64_t slow_ms[2] = {1600, 20}, even_ms[2] = {20, 20};
	struct balance_policy p = {.method = &balance_least_header};
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	unsigned got[2], total = 0;

	time_them(g, &p, 20, slow_ms, slow_ms, 100000, got);
	assert_int_equal(got[0], 1);
	for (uint64_t t = 101; t < 400; t++) {
		time_them(g, &p, 4, even_ms, even_ms, t * 1000, got);
		total += got[0];
	}
	assert_in_range(total, 20, 1100);
	group_free(g);
}

static void test_random_two_by_time(void **state)
{
	static const uint64_t ms[2] = {200, 20};
	struct balance_policy p = {.method = &balance_random_two_header};
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	unsigned got[2];

	time_them(g, &p, 30, ms, ms, 100000, got);
	time_them(g, &p, 30, ms, ms, 100000, got);
	assert_int_equal(got[0], 0);
	group_free(g);
}

static void test_random(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3")};
	struct balance_policy one = {.method = &balance_random},
			      of_two = {.method = &balance_random_two};
	struct balance_group *g;
	unsigned n[3] = {0};

	s[2].weight = 2;
	g = group_new(s, 3);
	g->random = 1;
	for (int i = 0; i < 4000; i++)
		n[serve_as(g, &one, SLICE(""))]++;
	assert_in_range(n[0], 850, 1150);
	assert_in_range(n[1], 850, 1150);
	assert_in_range(n[2], 1850, 2150);
	/* the one with all requests is never the better of two */
	for (int i = 0; i < 20; i++)
		pick_by(g, 0, 100);
	while (g->peer[1].conns)
		done(g, 1, BALANCE_SUCCESS, 100);
	while (g->peer[2].conns)
		done(g, 2, BALANCE_SUCCESS, 100);
	for (int i = 0; i < 200; i++)
		assert_int_not_equal(serve_as(g, &of_two, SLICE("")), 0);
	group_free(g);
}

/* How many of N requests at T go to peer 0. */
static unsigned share_at(struct balance_group *g, const struct balance_policy *p, uint64_t now_ms,
			 unsigned n)
{
	unsigned got = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t peer = pick_as(g, p, SLICE(""), now_ms);

		got += peer == 0;
		balance_done(g, 0, peer, BALANCE_SUCCESS, 200, 1, now_ms, now_ms);
	}
	return got;
}

static void test_slow_start(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2")};
	struct balance_group *g;
	uint32_t p;

	s[0].slow_start_ms = 10000;
	s[0].weight = s[1].weight = 10;
	g = group_new(s, 2);
	/* nothing is slow at first */
	assert_int_equal(share_at(g, NULL, 100000, 100), 50);
	while ((p = pick(g, 100)) != 0)
		done(g, p, BALANCE_SUCCESS, 100);
	done(g, 0, BALANCE_FAILURE, 100);
	assert_int_equal(share_at(g, NULL, 105000, 100), 0);
	/* back after fail_timeout, by a probe; its weight was lowered to nothing and grows by rounds */
	assert_in_range(share_at(g, NULL, 111000, 100), 1, 3);
	assert_in_range(share_at(g, NULL, 112000, 100), 5, 14);
	assert_in_range(share_at(g, NULL, 116000, 100), 28, 38);
	assert_in_range(share_at(g, NULL, 121000, 100), 48, 52);
	assert_int_equal(g->peer[0].slow_since_ms, 0);
	group_free(g);
}

/* An empty newcomer would get everything until it has as many requests as the others. */
static void test_slow_start_with_least_conn(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2")};
	struct balance_policy p = {.method = &balance_least_conn};
	struct balance_group *g;
	unsigned n[2] = {0};

	s[0].slow_start_ms = 10000;
	g = group_new(s, 2);
	for (int i = 0; i < 20; i++)
		assert_int_not_equal(pick_as(g, &p, SLICE(""), 100000), NONE);
	while (g->peer[0].conns)
		done(g, 0, BALANCE_SUCCESS, 100);
	g->peer[0].slow_since_ms = 100000;
	for (int i = 0; i < 20; i++)
		n[pick_as(g, &p, SLICE(""), 101000)]++;
	assert_in_range(n[0], 1, 4);
	/* whole again, it catches up */
	for (int i = 0; i < 20; i++)
		n[pick_as(g, &p, SLICE(""), 110000)]++;
	assert_in_range(n[0], 21, 24);
	group_free(g);
}

static void test_drain(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2")};
	struct balance_group *g;
	struct balance_server sv;

	s[0].drain = true;
	g = group_new(s, 2);
	for (int i = 0; i < 5; i++)
		assert_int_equal(serve(g, 1), 1);
	assert_true(balance_get_server(g, 0, &sv));
	assert_true(sv.drain);
	group_free(g);
}

static void test_without_a_key(void **state)
{
	static const struct balance_method *const methods[] = {&balance_hash, &balance_ring};
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2")};
	struct arena a;

	arena_init(&a, 4096);
	for (int m = 0; m < 2; m++) {
		struct balance_policy p = {.method = methods[m],
					   .ring = balance_ring_new(&a, s, 2)};
		struct balance_group *g = group_new(s, 2);

		for (uint32_t i = 0; i < 6; i++)
			assert_int_equal(serve_as(g, &p, (struct slice){0}), i % 2);
		group_free(g);
	}
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_ring_of_names),
		cmocka_unit_test(test_key_of_one_that_failed),
		cmocka_unit_test(test_ip_key),
		cmocka_unit_test(test_least_conn),
		cmocka_unit_test(test_least_time),
		cmocka_unit_test(test_least_time_forgets),
		cmocka_unit_test(test_random_two_by_time),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_slow_start),
		cmocka_unit_test(test_slow_start_with_least_conn),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_without_a_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
