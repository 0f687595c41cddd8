/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/h2/h2_guard.c: bursts, leaking, credit, traffic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "h2/h2_guard.h"

/* How many of KIND pass at once. */
static uint32_t burst_of(struct h2_guard *g, enum h2_abuse kind, uint64_t now_ms)
{
	uint32_t n = 0;

	while (h2_guard_hit(g, kind, 1, now_ms))
		n++;
	return n;
}

static void test_burst_and_leak(void **state)
{
	struct h2_guard g;
	uint32_t n;

	for (int kind = 0; kind <= H2_ABUSE_EMPTY; kind++) {
		h2_guard_init(&g, 1000);
		n = burst_of(&g, kind, 1000);
		assert_in_range(n, 10, 10000);
		assert_false(h2_guard_hit(&g, kind, 1, 1001));
		/* Long after, all is forgotten; the clock may have been still. */
		assert_int_equal(burst_of(&g, kind, 3600 * 1000), n);
	}
}

static void test_slow_is_fine(void **state)
{
	struct h2_guard g;

	h2_guard_init(&g, 0);
	for (uint64_t s = 1; s < 5000; s++)
		assert_true(h2_guard_hit(&g, H2_ABUSE_RESETS, 10, s * 1000));
}

static void test_kinds_are_apart(void **state)
{
	struct h2_guard g;

	h2_guard_init(&g, 0);
	burst_of(&g, H2_ABUSE_EMPTY, 0);
	assert_true(h2_guard_hit(&g, H2_ABUSE_RESETS, 1, 0));
	assert_true(h2_guard_hit(&g, H2_ABUSE_CONTROL, 1, 0));
	assert_true(h2_guard_hit(&g, H2_ABUSE_BROKEN, 1, 0));
}

static void test_credit(void **state)
{
	struct h2_guard g;

	h2_guard_init(&g, 0);
	/* As many resets as answers, without end. */
	for (int i = 0; i < 100000; i++) {
		h2_guard_credit(&g, H2_ABUSE_RESETS, 1);
		assert_true(h2_guard_hit(&g, H2_ABUSE_RESETS, 1, 0));
	}
	/* What was not used is not saved up. */
	h2_guard_credit(&g, H2_ABUSE_RESETS, 100000);
	assert_in_range(burst_of(&g, H2_ABUSE_RESETS, 0), 10, 1000);
}

static void test_traffic(void **state)
{
	struct h2_guard g;
	uint64_t n = 0;

	h2_guard_init(&g, 0);
	for (int i = 0; i < 1000000; i++)
		assert_true(h2_guard_traffic(&g, 100, 50));
	h2_guard_init(&g, 0);
	while (h2_guard_traffic(&g, 9, 0))
		n += 9;
	assert_in_range(n, 1 << 20, 16 << 20);
}

static void test_words(void **state)
{
	for (int kind = 0; kind < H2_ABUSE_N; kind++) {
		assert_non_null(h2_guard_name(kind));
		assert_non_null(h2_guard_text(kind));
	}
}

int main(void)
{
	static const struct CMUnitTest all[] = {
		cmocka_unit_test(test_burst_and_leak),	cmocka_unit_test(test_slow_is_fine),
		cmocka_unit_test(test_kinds_are_apart), cmocka_unit_test(test_credit),
		cmocka_unit_test(test_traffic),		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
