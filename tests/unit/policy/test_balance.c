/* SPDX-License-Identifier: BSD-2-Clause */
/* Choice of peers: rotation, failures and their end, backups, limits, and what a worker's death
 * leaves behind. */
#include "balance_group.h"

#include <signal.h>
#include <sys/wait.h>

static void test_smooth_weights(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3")};
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
	balance_done(g, 0, 0, BALANCE_NEUTRAL, 401, 5, 112000, 112000);
	assert_int_equal(g->peer[0].fails, 0);
	group_free(g);
}

static void test_probe_alive_at_head(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	fail_and_probe(g);
	balance_alive(g, 0, 1, 111000);
	assert_int_equal(g->peer[0].fails, 0);
	assert_false(g->peer[0].probing);
	assert_int_equal(g->peer[0].conns, 1);
	assert_true(comes_back(g, 0, 111));
	/* of a peer with a fresh failure an answer that was under way says nothing */
	done(g, 0, BALANCE_FAILURE, 111);
	balance_alive(g, 0, 1, 111000);
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
	struct balance_ask tried = {0};
	uint32_t p = NONE;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(balance_n_untried(g, &tried), 2 - i);
		assert_int_equal(balance_pick(g, 0, 100000, &tried, &p), BALANCE_OK);
		assert_int_equal(p, i);
		done(g, p, BALANCE_FAILURE, 100);
	}
	/* none left for this request, and none for the next ones: no "quick recovery" */
	assert_int_equal(balance_n_untried(g, &tried), 0);
	for (int i = 0; i < 3; i++) {
		struct balance_ask fresh = {0};

		assert_int_equal(balance_pick(g, 0, 100000, &tried, &p), BALANCE_NONE_LIVE);
		assert_int_equal(balance_pick(g, 0, 105000, &fresh, &p), BALANCE_NONE_LIVE);
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
	struct balance_ask tried = {0};
	uint32_t p;

	for (int i = 0; i < 10; i++) {
		assert_int_equal(pick(g, 100), 0);
		done(g, 0, BALANCE_FAILURE, 100);
	}
	assert_int_equal(g->peer[0].n_failures, 10);
	assert_int_equal(g->peer[0].fails, 0);
	assert_int_equal(balance_pick(g, 0, 100000, &tried, &p), BALANCE_OK);
	assert_int_equal(balance_pick(g, 0, 100000, &tried, &p), BALANCE_NONE_LIVE);
	group_free(g);
}

static void test_backup(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3")};
	struct balance_ask tried = {0};
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
	assert_int_equal(balance_pick(g, 0, 111000, &tried, &p), BALANCE_OK);
	assert_int_equal(p, 0);
	assert_int_equal(balance_pick(g, 0, 111000, &tried, &p), BALANCE_OK);
	assert_int_not_equal(p, 0);
	assert_int_equal(balance_pick(g, 0, 111000, &tried, &p), BALANCE_OK);
	assert_int_equal(balance_pick(g, 0, 111000, &tried, &p), BALANCE_NONE_LIVE);
	group_free(g);
}

static void test_down_and_full(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3")};
	struct balance_ask tried = {0};
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

static void test_counters(void **state)
{
	struct balance_group *g = one("10.0.0.1");
	static const unsigned statuses[] = {200, 204, 301, 404, 502, 0, 999};

	for (size_t i = 0; i < 7; i++) {
		pick(g, 1);
		balance_done(g, 0, 0, BALANCE_NEUTRAL, statuses[i], 10, 1000, 1000);
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
	balance_done(g, 0, 0, BALANCE_NEUTRAL, 200, 1, 1000, 1000);
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
	assert_int_equal(balance_init(g, bytes, SLICE("g"), s, BALANCE_SERVERS_MAX + 1),
			 -SL_ELIMIT);
	assert_int_equal(balance_init(g, bytes, SLICE("g"), s, 3), -SL_ELIMIT);
	assert_int_equal(balance_init(g, bytes, slice_make(longer, sizeof longer), s, 1),
			 -SL_EINVAL);
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
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3")};
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
				balance_done(g, worker, held[k],
					     i % 3 ? BALANCE_SUCCESS : BALANCE_FAILURE, 200, 1,
					     1000, 1000);
	}
	_exit(0);
}

static void test_many_workers_and_deaths(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2"),
					  server("10.0.0.3")};
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
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_worker_gone),
		cmocka_unit_test(test_worker_gone_with_probe),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_holder_died),
		cmocka_unit_test(test_many_workers_and_deaths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
