/* SPDX-License-Identifier: BSD-2-Clause */
/* Where peers come from: fixed addresses, answers of the resolver, and the group of the
 * configuration before. */
#include "balance_group.h"

static void test_fixed_addresses(void **state)
{
	struct balance_server_conf s[] = {server("unix:/run/a.sock"), server("[2001:db8::1]"),
					  server("10.0.0.3")};
	struct balance_group *g;
	struct balance_server sv;
	struct balance_peer p;

	s[1].port = 8443;
	g = group_new(s, 3);
	assert_string_equal(g->name, "g");
	assert_true(balance_get_peer(g, 0, &p));
	assert_string_equal(p.text, "unix:/run/a.sock");
	assert_true(balance_get_peer(g, 1, &p));
	assert_string_equal(p.text, "[2001:db8::1]:8443");
	assert_true(balance_get_peer(g, 2, &p));
	assert_string_equal(p.text, "10.0.0.3:80");
	assert_false(balance_get_peer(g, 3, &p));
	assert_true(balance_get_server(g, 2, &sv));
	assert_string_equal(sv.host, "10.0.0.3");
	assert_int_equal(sv.resolve, BALANCE_FIXED);
	assert_false(balance_get_server(g, 3, &sv));
	group_free(g);
}

static void test_names_wait_and_fail(void **state)
{
	struct balance_group *g = two("a.test", "b.test");
	struct balance_ask tried = {0};
	struct balance_server sv;
	struct addr a = ip("10.0.0.1");
	uint32_t p;

	assert_int_equal(balance_pick(g, 0, 1000, &tried, &p), BALANCE_WAIT);
	balance_set_addrs(g, 0, NULL, 0, "timed out", 1000);
	assert_int_equal(balance_pick(g, 0, 1000, &tried, &p), BALANCE_WAIT);
	balance_set_addrs(g, 1, NULL, 0, NULL, 1000);
	assert_int_equal(balance_pick(g, 0, 1000, &tried, &p), BALANCE_UNRESOLVED);
	assert_true(balance_get_server(g, 0, &sv));
	assert_string_equal(sv.resolve_error, "timed out");
	assert_int_equal(sv.resolve, BALANCE_FAILED);

	balance_set_addrs(g, 1, &a, 1, NULL, 2000);
	assert_int_equal(g->version, 1);
	assert_int_equal(balance_pick(g, 0, 1000, &tried, &p), BALANCE_OK);
	assert_string_equal(g->peer[p].text, "10.0.0.1:80");
	assert_int_equal(balance_pick(g, 0, 1000, &tried, &p), BALANCE_NONE_LIVE);
	done(g, p, BALANCE_SUCCESS, 1);
	/* a question that fails later leaves the address */
	balance_set_addrs(g, 1, NULL, 0, "SERVFAIL", 3000);
	assert_int_equal(pick(g, 1), p);
	assert_true(balance_get_server(g, 1, &sv));
	assert_int_equal(sv.resolved_wall_ms, 2000);
	assert_int_equal(g->version, 1);
	group_free(g);
}

static void test_name_with_many_addresses(void **state)
{
	struct balance_server_conf s[] = {server("a.test"), server("10.0.0.9")};
	struct addr list[3] = {ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.2")};
	struct balance_group *g;
	unsigned n[8] = {0};

	s[0].weight = 2;
	s[0].port = 443;
	g = group_new(s, 2);
	assert_true(g->single);
	balance_set_addrs(g, 0, list, 3, NULL, 1000);
	assert_false(g->single);
	for (int i = 0; i < 500; i++)
		n[serve(g, 1)]++;
	/* each address has the weight of the server, as in nginx; repeated ones count once */
	assert_int_equal(n[0], 100);
	assert_int_equal(n[1], 200);
	assert_int_equal(n[2], 200);
	assert_string_equal(g->peer[1].text, "10.0.0.1:443");
	group_free(g);
}

/* Peers stand in the order of server lines, then of addresses, whichever answer came first. */
static void test_order(void **state)
{
	struct balance_server_conf s[] = {server("a.test"), server("10.0.0.9"), server("b.test")};
	struct addr list[3] = {ip("10.0.0.20"), ip("10.0.0.3"), ip("10.0.0.100")};
	static const char *const expected[] = {"10.0.0.3:80", "10.0.0.20:80", "10.0.0.100:80",
					       "10.0.0.9:80", "10.0.0.2:80"};
	struct addr other = ip("10.0.0.2");
	struct balance_group *g = group_new(s, 3);

	balance_set_addrs(g, 2, &other, 1, NULL, 1000);
	balance_set_addrs(g, 0, list, 3, NULL, 1000);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 5; i++)
			assert_string_equal(g->peer[serve(g, 1)].text, expected[i]);
	group_free(g);
}

static void test_addresses_change(void **state)
{
	struct balance_group *g = one("a.test");
	struct addr old[2] = {ip("10.0.0.1"), ip("10.0.0.2")};
	struct addr new[2] = {ip("10.0.0.2"), ip("10.0.0.3")};
	uint32_t busy, serial;

	balance_set_addrs(g, 0, old, 2, NULL, 1000);
	busy = pick(g, 1);
	serial = g->peer[busy].serial;
	assert_int_equal(busy, 0);
	assert_int_equal(pick(g, 1), 1);
	done(g, 1, BALANCE_FAILURE, 1);
	balance_set_addrs(g, 0, new, 2, NULL, 2000);
	assert_int_equal(g->version, 2);
	/* the one that stays keeps its failure; the one that is gone serves on, but nobody new */
	assert_int_equal(g->peer[1].fails, 1);
	assert_true(g->peer[0].gone);
	assert_string_equal(g->peer[0].text, "10.0.0.1:80");
	for (int i = 0; i < 4; i++)
		assert_int_equal(serve(g, 2), 2);
	balance_set_addrs(g, 0, new, 2, NULL, 3000);
	assert_int_equal(g->version, 2);
	done(g, busy, BALANCE_SUCCESS, 3);
	assert_false(g->peer[0].used);
	assert_int_equal(g->peer[0].serial, serial);
	/* its slot is used again, with another serial */
	balance_set_addrs(g, 0, old, 2, NULL, 4000);
	assert_string_equal(g->peer[0].text, "10.0.0.1:80");
	assert_int_not_equal(g->peer[0].serial, serial);
	assert_int_equal(g->n_peers, 3);
	group_free(g);
}

static void test_address_comes_back_while_busy(void **state)
{
	struct balance_group *g = one("a.test");
	struct addr a = ip("10.0.0.1"), b = ip("10.0.0.2");
	uint32_t busy;

	balance_set_addrs(g, 0, &a, 1, NULL, 1000);
	busy = pick(g, 1);
	balance_set_addrs(g, 0, &b, 1, NULL, 2000);
	balance_set_addrs(g, 0, &a, 1, NULL, 3000);
	assert_false(g->peer[busy].gone);
	assert_int_equal(g->peer[busy].conns, 1);
	assert_int_equal(pick(g, 1), busy);
	group_free(g);
}

static void test_no_room_for_addresses(void **state)
{
	struct balance_server_conf s[] = {server("a.test"), server("b.test"), server("c.test")};
	struct balance_group *g = group_new(s, 3);
	struct addr list[BALANCE_ADDRS_MAX + 4];
	char text[32];

	for (uint32_t sv = 0; sv < 3; sv++) {
		for (int i = 0; i < BALANCE_ADDRS_MAX + 4; i++) {
			snprintf(text, sizeof text, "10.%u.0.%d", sv, i + 1);
			list[i] = ip(text);
		}
		balance_set_addrs(g, sv, list, BALANCE_ADDRS_MAX + 4, NULL, 1000);
	}
	assert_int_equal(g->n_peers, ROOM);
	for (int i = 0; i < ROOM; i++)
		assert_int_equal(g->peer[i].server, i / BALANCE_ADDRS_MAX);
	group_free(g);
}

static void test_carry(void **state)
{
	struct balance_server_conf s[] = {server("a.test"), server("10.0.0.9"), server("new.test")};
	struct addr list[2] = {ip("10.0.0.1"), ip("10.0.0.2")};
	struct balance_group *from = group_new(s, 2), *to;
	struct balance_server sv;
	struct balance_peer p;

	balance_set_addrs(from, 0, list, 2, NULL, 1234);
	/* the name stands first */
	assert_int_equal(serve(from, 100), 1);
	assert_int_equal(serve(from, 100), 2);
	assert_int_equal(pick(from, 100), 0);
	done(from, 0, BALANCE_FAILURE, 100);
	s[0].port = 8080;
	s[1].weight = 7;
	to = group_new(s, 3);
	balance_carry(to, from);
	/* the address of the same server keeps its failure, with the weight of now */
	assert_true(balance_get_peer(to, 0, &p));
	assert_int_equal(p.fails, 1);
	assert_int_equal(p.n_failures, 1);
	assert_int_equal(p.weight, 7);
	assert_int_equal(p.conns, 0);
	/* the name has its addresses at once, on the port of now */
	assert_true(balance_get_peer(to, 1, &p));
	assert_string_equal(p.text, "10.0.0.1:8080");
	assert_true(balance_get_server(to, 0, &sv));
	assert_int_equal(sv.resolve, BALANCE_RESOLVED);
	assert_int_equal(sv.resolved_wall_ms, 1234);
	assert_true(balance_get_server(to, 2, &sv));
	assert_int_equal(sv.resolve, BALANCE_PENDING);
	assert_false(to->single);
	group_free(from);
	group_free(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_addresses),
		cmocka_unit_test(test_names_wait_and_fail),
		cmocka_unit_test(test_name_with_many_addresses),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_addresses_change),
		cmocka_unit_test(test_address_comes_back_while_busy),
		cmocka_unit_test(test_no_room_for_addresses),
		cmocka_unit_test(test_carry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
