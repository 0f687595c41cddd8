/* SPDX-License-Identifier: BSD-2-Clause */
/* What health checks say: who gets no requests, who does again, and what a reload keeps. */
#include "balance_group.h"

static const struct balance_checks one_check = {.n = 1}, must = {.n = 1, .mandatory = 1};

static bool say(struct balance_group *g, uint32_t peer, unsigned check,
		enum balance_verdict verdict, uint64_t now_s)
{
	return balance_checked(g, peer, g->peer[peer].serial, check,
			       verdict == BALANCE_SICK ? "status 500" : NULL, verdict, 1000 * now_s,
			       1000 * now_s);
}

static void test_sick_and_well(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");
	struct balance_ask ask = {0};

	balance_checks_init(g, &one_check);
	assert_true(say(g, 0, 0, BALANCE_SICK, 1));
	assert_false(say(g, 0, 0, BALANCE_SICK, 2));
	for (int i = 0; i < 4; i++)
		assert_int_equal(serve(g, 2), 1);
	assert_int_equal(balance_n_untried(g, &ask), 1);
	assert_string_equal(g->peer[0].check_error, "status 500");
	assert_false(say(g, 0, 0, BALANCE_NO_VERDICT, 3));
	assert_int_equal(serve(g, 3), 1);
	assert_true(say(g, 0, 0, BALANCE_HEALTHY, 4));
	assert_false(say(g, 0, 0, BALANCE_HEALTHY, 5));
	assert_true(comes_back(g, 0, 5));
	assert_int_equal(g->peer[0].n_checks, 5);
	assert_int_equal(g->peer[0].n_check_failures, 2);
	group_free(g);
}

static void test_only_one(void **state)
{
	struct balance_group *g = one("10.0.0.1");

	balance_checks_init(g, &one_check);
	say(g, 0, 0, BALANCE_SICK, 1);
	assert_int_equal(serve(g, 1), NONE);
	say(g, 0, 0, BALANCE_HEALTHY, 1);
	assert_int_equal(serve(g, 1), 0);
	group_free(g);
}

static void test_two_checks(void **state)
{
	static const struct balance_checks two_checks = {.n = 2};
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	balance_checks_init(g, &two_checks);
	assert_true(say(g, 0, 1, BALANCE_SICK, 1));
	assert_false(say(g, 0, 0, BALANCE_SICK, 1));
	assert_false(say(g, 0, 1, BALANCE_HEALTHY, 1));
	assert_int_equal(serve(g, 1), 1);
	assert_int_equal(serve(g, 1), 1);
	assert_true(say(g, 0, 0, BALANCE_HEALTHY, 1));
	assert_true(comes_back(g, 0, 1));
	/* a check that the group has not says nothing, nor one of an address that has gone */
	assert_false(say(g, 0, 2, BALANCE_SICK, 1));
	assert_false(balance_checked(g, 0, g->peer[0].serial + 1, 0, "x", BALANCE_SICK, 1, 1));
	assert_int_equal(g->peer[0].sick, 0);
	group_free(g);
}

static void test_mandatory(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("a.test")};
	struct balance_group *g = group_new(s, 2);
	struct addr a = ip("10.0.0.9");

	balance_checks_init(g, &must);
	assert_int_equal(serve(g, 1), NONE);
	assert_true(say(g, 0, 0, BALANCE_HEALTHY, 1));
	assert_int_equal(serve(g, 1), 0);
	/* an address that comes later waits too; its first failure is told */
	balance_set_addrs(g, 1, &a, 1, NULL, 1000);
	for (int i = 0; i < 4; i++)
		assert_int_equal(serve(g, 1), 0);
	assert_true(say(g, 1, 0, BALANCE_SICK, 1));
	assert_true(say(g, 1, 0, BALANCE_HEALTHY, 1));
	assert_true(comes_back(g, 1, 1));
	group_free(g);
}

static void test_reload(void **state)
{
	static const struct balance_checks persistent = {.n = 1, .mandatory = 1, .persistent = 1};
	static const struct balance_checks none = {0};
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	balance_checks_init(g, &must);
	balance_checks_begin(g, &must, 1);
	say(g, 0, 0, BALANCE_HEALTHY, 1);
	say(g, 1, 0, BALANCE_SICK, 1);
	/* another worker of the same configuration */
	balance_checks_begin(g, &must, 1);
	assert_int_equal(serve(g, 1), 0);
	/* a reload with persistent, one without, one without checks */
	balance_checks_begin(g, &persistent, 2);
	assert_int_equal(serve(g, 1), 0);
	assert_int_equal(serve(g, 1), 0);
	balance_checks_begin(g, &must, 3);
	assert_int_equal(serve(g, 1), NONE);
	balance_checks_begin(g, &none, 4);
	assert_true(comes_back(g, 0, 1));
	assert_true(comes_back(g, 1, 1));
	group_free(g);
}

/* Server lines changed: other memory. */
static void carried(const struct balance_checks *c, uint32_t sick, uint32_t unchecked)
{
	struct balance_group *from = two("10.0.0.1", "10.0.0.2"), *to = two("10.0.0.1", "10.0.0.2");

	balance_checks_init(from, &must);
	say(from, 0, 0, BALANCE_HEALTHY, 1);
	say(from, 1, 0, BALANCE_SICK, 1);
	balance_checks_init(to, c);
	balance_carry(to, from);
	assert_int_equal(to->peer[0].sick, 0);
	assert_int_equal(to->peer[0].unchecked, unchecked);
	assert_int_equal(to->peer[1].sick, sick);
	assert_int_equal(to->peer[1].unchecked, c->mandatory);
	group_free(from);
	group_free(to);
}

static void test_carry(void **state)
{
	static const struct balance_checks none = {0};
	static const struct balance_checks persistent = {.n = 1, .mandatory = 1, .persistent = 1};

	carried(&must, 1, 1);
	carried(&persistent, 1, 0);
	carried(&one_check, 1, 0);
	carried(&none, 0, 0);
}

/* The check does what else the first request after fail_timeout would do. */
static void test_check_instead_of_a_probe(void **state)
{
	struct balance_group *g = two("10.0.0.1", "10.0.0.2");

	balance_checks_init(g, &one_check);
	assert_int_equal(pick(g, 100), 0);
	done(g, 0, BALANCE_FAILURE, 100);
	say(g, 0, 0, BALANCE_HEALTHY, 105);
	assert_int_equal(g->peer[0].fails, 1);
	assert_int_equal(serve(g, 105), 1);
	say(g, 0, 0, BALANCE_HEALTHY, 111);
	assert_int_equal(g->peer[0].fails, 0);
	assert_int_equal(g->peer[0].unavailable_since_ms, 0);
	assert_true(comes_back(g, 0, 111));
	group_free(g);
}

static void test_slow_start(void **state)
{
	struct balance_server_conf s[] = {server("10.0.0.1"), server("10.0.0.2")};
	struct balance_group *g;
	unsigned n = 0;

	s[0].slow_start_ms = 3600000;
	g = group_new(s, 2);
	balance_checks_init(g, &one_check);
	say(g, 0, 0, BALANCE_SICK, 100);
	say(g, 0, 0, BALANCE_HEALTHY, 101);
	for (int i = 0; i < 100; i++)
		n += serve(g, 137) == 0;
	assert_in_range(n, 1, 3);
	group_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sick_and_well),
		cmocka_unit_test(test_only_one),
		cmocka_unit_test(test_two_checks),
		cmocka_unit_test(test_mandatory),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_carry),
		cmocka_unit_test(test_check_instead_of_a_probe),
		cmocka_unit_test(test_slow_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
