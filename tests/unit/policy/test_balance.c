/* SPDX-License-Identifier: BSD-2-Clause */
/* Choice of peers: rotation, failures and their end, backups, limits, names, and what a worker's death
 * leaves behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/err.h"
#include "policy/balance.h"

enum { ROOM = 64, NONE = UINT32_MAX };

static struct balance_server_conf server(const char *host)
{
	return (struct balance_server_conf){
		.host = slice_cstr(host),
		.port = 80,
		.weight = 1,
		.max_fails = 1,
		.fail_timeout_s = 10,
	};
}

static struct balance_group *group_new(const struct balance_server_conf *s, uint32_t n)
{
	struct balance_group *g = mmap(NULL, balance_bytes(ROOM), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(g, MAP_FAILED);
	assert_int_equal(balance_init(g, balance_bytes(ROOM), SLICE("g"), s, n), 0);
	assert_int_equal(g->peers_room, ROOM);
	return g;
}

static void group_free(struct balance_group *g)
{
	munmap(g, balance_bytes(ROOM));
}

static struct balance_group *one(const char *a)
{
	struct balance_server_conf s = server(a);

	return group_new(&s, 1);
}

static struct balance_group *two(const char *a, const char *b)
{
	struct balance_server_conf s[] = {server(a), server(b)};

	return group_new(s, 2);
}

/* A new request's first pick by worker W. */
static uint32_t pick_by(struct balance_group *g, unsigned w, uint64_t now_s)
{
	struct balance_tried tried = {0};
	uint32_t peer = NONE;

	return balance_pick(g, w, now_s, &tried, &peer) == BALANCE_OK ? peer : NONE;
}

static uint32_t pick(struct balance_group *g, uint64_t now_s)
{
	return pick_by(g, 0, now_s);
}

static void done(struct balance_group *g, uint32_t peer, enum balance_outcome how, uint64_t now_s)
{
	balance_done(g, 0, peer, how, how == BALANCE_SUCCESS ? 200 : 0, 5, now_s, 1000 * now_s);
}

static uint32_t serve(struct balance_group *g, uint64_t now_s)
{
	uint32_t peer = pick(g, now_s);

	if (peer != NONE)
		done(g, peer, BALANCE_SUCCESS, now_s);
	return peer;
}

/* Its weight was lowered, so that it may take some rounds. */
static bool comes_back(struct balance_group *g, uint32_t peer, uint64_t now_s)
{
	for (int i = 0; i < 6; i++)
		if (serve(g, now_s) == peer)
			return true;
	return false;
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_from_ip(slice_cstr(text), 0, &a), 0);
	return a;
}

static void test_smooth_weights(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"), server("10.0.0.3")};
	static const uint32_t expected[] = {0, 0, 1, 0, 2, 0, 0};
	struct balance_group *g;
	unsigned n[3] = {0};

	s[0].weight = 5;
	g = group_new(s, 3);
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < 7; i++)
			assert_int_equal(serve(g, 1), expected[i]);
	for (int i = 0; i < 7000; i++)
		n[serve(g, 1)]++;
	assert_int_equal(n[0], 5000);
	assert_int_equal(n[1], 1000);
	assert_int_equal(n[2], 1000);
	group_free(g);
}

static void test_failed_peer_comes_back(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	uint32_t probe;

	assert_int_equal(pick(g, 100), 0);
	done(g, 0, BALANCE_FAILURE, 100);
	assert_int_equal(g->peer[0].unavailable_since_ms, 100000);
	for (uint64_t t = 100; t <= 110; t++)
		assert_int_equal(serve(g, t), 1);
	/* fail_timeout is over: one request probes, all others stay away until it ends */
	for (probe = pick(g, 111); probe == 1; probe = pick(g, 111))
		done(g, 1, BALANCE_SUCCESS, 111);
	assert_int_equal(probe, 0);
	assert_true(g->peer[0].probing);
	for (uint64_t t = 111; t < 140; t++)
		assert_int_equal(serve(g, t), 1);
	done(g, 0, BALANCE_SUCCESS, 140);
	assert_int_equal(g->peer[0].fails, 0);
	assert_int_equal(g->peer[0].unavailable_since_ms, 0);
	assert_true(comes_back(g, 0, 140));
	assert_true(comes_back(g, 0, 140));
	group_free(g);
}

static uint32_t fail_and_probe(struct balance_group *g)
{
	uint32_t p;

	while ((p = pick(g, 100)) != 0)
		done(g, p, BALANCE_SUCCESS, 100);
	done(g, 0, BALANCE_FAILURE, 100);
	while ((p = pick(g, 111)) != 0)
		done(g, p, BALANCE_SUCCESS, 111);
	return p;
}

static void test_probe_fails(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	fail_and_probe(g);
	done(g, 0, BALANCE_FAILURE, 115);
	assert_int_equal(g->peer[0].unavailable_since_ms, 100000);
	for (uint64_t t = 115; t <= 125; t++)
		assert_int_equal(serve(g, t), 1);
	assert_true(comes_back(g, 0, 126));
	group_free(g);
}

static void test_probe_says_nothing(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	/* the client left before an answer: the next one probes at once */
	fail_and_probe(g);
	done(g, 0, BALANCE_NEUTRAL, 112);
	assert_int_equal(g->peer[0].fails, 1);
	assert_true(comes_back(g, 0, 112));
	assert_int_equal(g->peer[0].fails, 0);
	/* an answer that is no success proves that the peer lives */
	fail_and_probe(g);
	balance_done(g, 0, 0, BALANCE_NEUTRAL, 401, 5, 112, 112000);
	assert_int_equal(g->peer[0].fails, 0);
	group_free(g);
}

static void test_probe_alive_at_head(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	fail_and_probe(g);
	balance_alive(g, 0);
	assert_int_equal(g->peer[0].fails, 0);
	assert_false(g->peer[0].probing);
	assert_int_equal(g->peer[0].conns, 1);
	assert_true(comes_back(g, 0, 111));
	/* of a peer with a fresh failure an answer that was under way says nothing */
	done(g, 0, BALANCE_FAILURE, 111);
	balance_alive(g, 0);
	assert_int_equal(g->peer[0].fails, 1);
	group_free(g);
}

static void test_probe_never_ends(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	uint64_t late = 111 + BALANCE_PROBE_MAX_S;

	fail_and_probe(g);
	assert_int_equal(serve(g, late), 1);
	assert_int_equal(serve(g, late), 1);
	assert_true(comes_back(g, 0, late + 1));
	group_free(g);
}

static void test_all_failed(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	struct balance_tried tried = {0};
	uint32_t p = NONE;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(balance_n_untried(g, &tried), 2 - i);
		assert_int_equal(balance_pick(g, 0, 100, &tried, &p), BALANCE_OK);
		assert_int_equal(p, i);
		done(g, p, BALANCE_FAILURE, 100);
	}
	/* none left for this request, and none for the next ones: no "quick recovery" */
	assert_int_equal(balance_n_untried(g, &tried), 0);
	for (int i = 0; i < 3; i++) {
		struct balance_tried fresh = {0};

		assert_int_equal(balance_pick(g, 0, 100, &tried, &p), BALANCE_NONE_LIVE);
		assert_int_equal(balance_pick(g, 0, 105, &fresh, &p), BALANCE_NONE_LIVE);
	}
	assert_true(comes_back(g, 0, 111));
	assert_true(comes_back(g, 1, 111));
	group_free(g);
}

static void test_max_fails(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2")};
	struct balance_group *g;

	s[0].max_fails = 3;
	s[0].weight = 9;
	s[1].max_fails = 0;
	g = group_new(s, 2);
	/* each failure takes a third of the weight, each round gives one back */
	assert_int_equal(pick(g, 100), 0);
	done(g, 0, BALANCE_FAILURE, 100);
	assert_int_equal(g->peer[0].effective_weight, 6);
	serve(g, 100);
	assert_int_equal(g->peer[0].effective_weight, 7);
	/* a success long after forgets the failure; one at once does not */
	assert_int_equal(g->peer[0].fails, 1);
	assert_int_equal(serve(g, 115), 0);
	assert_int_equal(g->peer[0].fails, 0);
	for (int i = 0; i < 3; i++) {
		uint32_t p;

		while ((p = pick(g, 120)) != 0)
			done(g, p, BALANCE_FAILURE, 120);
		done(g, 0, BALANCE_FAILURE, 120);
	}
	/* out; the other one never counts */
	for (int i = 0; i < 5; i++) {
		assert_int_equal(pick(g, 121), 1);
		done(g, 1, BALANCE_FAILURE, 121);
	}
	group_free(g);
}

static void test_single_is_always_tried(void **state)
{
	struct balance_group *g = one("10.0.0.1");
	struct balance_tried tried = {0};
	uint32_t p;

	for (int i = 0; i < 10; i++) {
		assert_int_equal(pick(g, 100), 0);
		done(g, 0, BALANCE_FAILURE, 100);
	}
	assert_int_equal(g->peer[0].n_failures, 10);
	assert_int_equal(g->peer[0].fails, 0);
	assert_int_equal(balance_pick(g, 0, 100, &tried, &p), BALANCE_OK);
	assert_int_equal(balance_pick(g, 0, 100, &tried, &p), BALANCE_NONE_LIVE);
	group_free(g);
}

static void test_backup(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"), server("10.0.0.3")};
	struct balance_tried tried = {0};
	struct balance_group *g;
	uint32_t p;

	s[1].backup = s[2].backup = true;
	s[1].weight = 2;
	g = group_new(s, 3);
	for (int i = 0; i < 10; i++)
		assert_int_equal(serve(g, 100), 0);
	assert_int_equal(pick(g, 100), 0);
	done(g, 0, BALANCE_FAILURE, 100);
	assert_int_equal(serve(g, 100), 1);
	assert_int_equal(serve(g, 100), 2);
	assert_int_equal(serve(g, 100), 1);
	assert_int_equal(serve(g, 111), 0);
	assert_int_equal(serve(g, 111), 0);
	/* one request goes through all: primaries, then backups */
	assert_int_equal(balance_pick(g, 0, 111, &tried, &p), BALANCE_OK);
	assert_int_equal(p, 0);
	assert_int_equal(balance_pick(g, 0, 111, &tried, &p), BALANCE_OK);
	assert_int_not_equal(p, 0);
	assert_int_equal(balance_pick(g, 0, 111, &tried, &p), BALANCE_OK);
	assert_int_equal(balance_pick(g, 0, 111, &tried, &p), BALANCE_NONE_LIVE);
	group_free(g);
}

static void test_down_and_full(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"), server("10.0.0.3")};
	struct balance_tried tried = {0};
	struct balance_group *g;

	s[0].down = true;
	s[1].max_conns = 2;
	s[2].max_conns = 1;
	g = group_new(s, 3);
	assert_int_equal(balance_n_untried(g, &tried), 2);
	assert_int_equal(pick(g, 1), 1);
	assert_int_equal(pick(g, 1), 2);
	assert_int_equal(pick_by(g, 7, 1), 1);
	assert_int_equal(pick(g, 1), NONE);
	done(g, 2, BALANCE_SUCCESS, 1);
	assert_int_equal(pick(g, 1), 2);
	assert_int_equal(g->peer[1].conns, 2);
	group_free(g);
}

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
	struct balance_tried tried = {0};
	struct balance_server sv;
	struct addr a = ip("10.0.0.1");
	uint32_t p;

	assert_int_equal(balance_pick(g, 0, 1, &tried, &p), BALANCE_WAIT);
	balance_set_addrs(g, 0, NULL, 0, "timed out", 1000);
	assert_int_equal(balance_pick(g, 0, 1, &tried, &p), BALANCE_WAIT);
	balance_set_addrs(g, 1, NULL, 0, NULL, 1000);
	assert_int_equal(balance_pick(g, 0, 1, &tried, &p), BALANCE_UNRESOLVED);
	assert_true(balance_get_server(g, 0, &sv));
	assert_string_equal(sv.resolve_error, "timed out");
	assert_int_equal(sv.resolve, BALANCE_FAILED);

	balance_set_addrs(g, 1, &a, 1, NULL, 2000);
	assert_int_equal(g->version, 1);
	assert_int_equal(balance_pick(g, 0, 1, &tried, &p), BALANCE_OK);
	assert_string_equal(g->peer[p].text, "10.0.0.1:80");
	assert_int_equal(balance_pick(g, 0, 1, &tried, &p), BALANCE_NONE_LIVE);
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

static void test_counters(void **state)
{
	struct balance_group *g = one("10.0.0.1");
	static const unsigned statuses[] = {200, 204, 301, 404, 502, 0, 999};

	for (size_t i = 0; i < 7; i++) {
		pick(g, 1);
		balance_done(g, 0, 0, BALANCE_NEUTRAL, statuses[i], 10, 1, 1000);
	}
	assert_int_equal(g->peer[0].n_requests, 7);
	assert_int_equal(g->peer[0].n_status[2], 2);
	assert_int_equal(g->peer[0].n_status[3], 1);
	assert_int_equal(g->peer[0].n_status[4], 1);
	assert_int_equal(g->peer[0].n_status[5], 1);
	assert_int_equal(g->peer[0].n_status[0], 2);
	assert_int_equal(g->peer[0].response_ms_total, 70);
	assert_int_equal(g->peer[0].conns, 0);
	/* one done too many does no harm */
	balance_done(g, 0, 0, BALANCE_NEUTRAL, 200, 1, 1, 1000);
	assert_int_equal(g->peer[0].conns, 0);
	group_free(g);
}

static void test_worker_gone(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	for (int i = 0; i < 6; i++)
		pick_by(g, 3, 100);
	pick_by(g, 4, 100);
	assert_int_equal(g->peer[0].conns + g->peer[1].conns, 7);
	balance_worker_gone(g, 3);
	assert_int_equal(g->peer[0].conns + g->peer[1].conns, 1);
	balance_worker_gone(g, 3);
	assert_int_equal(g->peer[0].conns + g->peer[1].conns, 1);
	group_free(g);
}

static void test_worker_gone_with_probe(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	fail_and_probe(g);
	assert_int_equal(serve(g, 112), 1);
	balance_worker_gone(g, 0);
	assert_true(comes_back(g, 0, 112));
	group_free(g);
}

static void test_bad_arguments(void **state)
{
	struct balance_server_conf s[BALANCE_SERVERS_MAX + 1];
	char longer[BALANCE_NAME_MAX + 2];
	size_t bytes = balance_bytes(2);
	struct balance_group *g = test_malloc(bytes);

	for (int i = 0; i <= BALANCE_SERVERS_MAX; i++)
		s[i] = server("10.0.0.1");
	memset(longer, 'a', sizeof longer);
	assert_int_equal(balance_init(g, bytes, SLICE("g"), s, 0), -SL_EINVAL);
	assert_int_equal(balance_init(g, balance_bytes(0), SLICE("g"), s, 1), -SL_EINVAL);
	assert_int_equal(balance_init(g, bytes, SLICE("g"), s, BALANCE_SERVERS_MAX + 1), -SL_ELIMIT);
	assert_int_equal(balance_init(g, bytes, SLICE("g"), s, 3), -SL_ELIMIT);
	assert_int_equal(balance_init(g, bytes, slice_make(longer, sizeof longer), s, 1), -SL_EINVAL);
	s[0].host = slice_make(longer, sizeof longer);
	assert_int_equal(balance_init(g, bytes, SLICE("g"), s, 1), -SL_EINVAL);
	s[0].host = SLICE("");
	assert_int_equal(balance_init(g, bytes, SLICE("g"), s, 1), -SL_EINVAL);
	test_free(g);
}

static void kill_inside(struct balance_group *g)
{
	shm_lock_get(&g->lock);
	g->peer[0].conns = 4000000000u;
	g->peer[0].current_weight = -1000000;
	g->peer[1].used = false;
	kill(getpid(), SIGKILL);
}

static void test_holder_died(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"), server("10.0.0.3")};
	struct balance_group *g;
	pid_t pid;

	s[0].max_conns = 3;
	g = group_new(s, 3);
	assert_int_equal(pick(g, 1), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		kill_inside(g);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(serve(g, 1), 0);
	assert_int_equal(g->peer[0].conns, 1);
	assert_int_equal(serve(g, 1), 2);
	assert_int_equal(serve(g, 1), 0);
	group_free(g);
}

static void hammer(struct balance_group *g, unsigned worker, int rounds)
{
	uint32_t held[4];

	for (int i = 0; i != rounds; i++) {
		for (int k = 0; k < 4; k++)
			held[k] = pick_by(g, worker, 1);
		for (int k = 0; k < 4; k++)
			if (held[k] != NONE)
				balance_done(g, worker, held[k], i % 3 ? BALANCE_SUCCESS : BALANCE_FAILURE,
					     200, 1, 1, 1000);
	}
	_exit(0);
}

static void test_many_workers_and_deaths(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"), server("10.0.0.3")};
	struct balance_group *g;
	uint64_t total = 0;
	pid_t pid[4];

	for (int i = 0; i < 3; i++) {
		s[i].max_fails = 0;
		s[i].max_conns = 5;
	}
	g = group_new(s, 3);
	for (int round = 0; round < 5; round++) {
		for (unsigned w = 0; w < 4; w++) {
			pid[w] = fork();
			assert_true(pid[w] >= 0);
			if (pid[w] == 0)
				hammer(g, w, w < 2 ? 3000 : -1);
		}
		for (unsigned w = 0; w < 2; w++)
			assert_int_equal(waitpid(pid[w], NULL, 0), pid[w]);
		for (unsigned w = 2; w < 4; w++) {
			kill(pid[w], SIGKILL);
			assert_int_equal(waitpid(pid[w], NULL, 0), pid[w]);
			balance_worker_gone(g, w);
		}
		for (int i = 0; i < 3; i++)
			assert_int_equal(g->peer[i].conns, 0);
	}
	for (int i = 0; i < 3; i++)
		total += g->peer[i].n_requests;
	assert_true(total > 5 * 2 * 3000);
	group_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smooth_weights),
		cmocka_unit_test(test_failed_peer_comes_back),
		cmocka_unit_test(test_probe_fails),
		cmocka_unit_test(test_probe_says_nothing),
		cmocka_unit_test(test_probe_alive_at_head),
		cmocka_unit_test(test_probe_never_ends),
		cmocka_unit_test(test_all_failed),
		cmocka_unit_test(test_max_fails),
		cmocka_unit_test(test_single_is_always_tried),
		cmocka_unit_test(test_backup),
		cmocka_unit_test(test_down_and_full),
		cmocka_unit_test(test_fixed_addresses),
		cmocka_unit_test(test_names_wait_and_fail),
		cmocka_unit_test(test_name_with_many_addresses),
		cmocka_unit_test(test_addresses_change),
		cmocka_unit_test(test_address_comes_back_while_busy),
		cmocka_unit_test(test_no_room_for_addresses),
		cmocka_unit_test(test_carry),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_worker_gone),
		cmocka_unit_test(test_worker_gone_with_probe),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_holder_died),
		cmocka_unit_test(test_many_workers_and_deaths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
