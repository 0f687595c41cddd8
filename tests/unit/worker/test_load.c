/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker says of its load, turn by turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/load.h"

#define MS 1000000ull

struct bench {
	struct loop loop;
	struct stats_worker stats;
	struct steer_load at;
	struct load load;
	uint64_t now_ns;
};

static void begin(struct bench *b)
{
	memset(b, 0, sizeof *b);
	assert_int_equal(loop_init(&b->loop, 8), 0);
	load_start(&b->load, &b->at, &b->loop, &b->stats);
	b->now_ns = b->load.since_ns = 1000 * MS;
}

static void end(struct bench *b)
{
	load_stop(&b->load);
	assert_null(b->loop.on_turn);
	assert_int_equal(b->loop.n_heap, 0);
	loop_fini(&b->loop);
}

/* N windows of 100 ms, in turns of 10 ms, of which BUSY_MS are work. */
static void windows(struct bench *b, int n, uint64_t busy_ms)
{
	for (int i = 0; i < 10 * n; i++) {
		b->now_ns += 10 * MS;
		load_turn(&b->load, b->now_ns, busy_ms * MS);
	}
}

static void test_busy_share(void **state)
{
	struct bench b;

	begin(&b);
	windows(&b, 20, 10);
	assert_int_equal(b.at.busy, STEER_BUSY_FULL);
	windows(&b, 20, 5);
	assert_int_equal(b.at.busy, STEER_BUSY_FULL / 2);
	windows(&b, 20, 0);
	assert_int_equal(b.at.busy, 0);
	/* The clocks of turn and window are not read at once. */
	windows(&b, 20, 12);
	assert_int_equal(b.at.busy, STEER_BUSY_FULL);
	end(&b);
}

static void test_one_window_moves_it_by_half(void **state)
{
	struct bench b;

	begin(&b);
	windows(&b, 1, 10);
	assert_int_equal(b.at.busy, STEER_BUSY_FULL / 2);
	windows(&b, 1, 10);
	assert_int_equal(b.at.busy, STEER_BUSY_FULL * 3 / 4);
	end(&b);
}

static void test_one_long_turn(void **state)
{
	struct bench b;

	begin(&b);
	for (int i = 0; i < 8; i++) {
		b.now_ns += 2000 * MS;
		load_turn(&b.load, b.now_ns, 2000 * MS);
	}
	assert_int_equal(b.at.busy, STEER_BUSY_FULL);
	end(&b);
}

static void test_what_follows_a_long_sleep(void **state)
{
	struct bench b;

	begin(&b);
	b.now_ns += 3600000 * MS;
	load_turn(&b.load, b.now_ns, 90 * MS);
	assert_in_range(b.at.busy, 6, 8); /* half of 0.9: not next to nothing of an hour */
	end(&b);
}

/* The timer is there until all is said that can be said of an idle loop. */
static void test_an_idle_loop_wakes_up_until_it_has_said_so(void **state)
{
	struct bench b;
	int n = 0;

	begin(&b);
	load_turn(&b.load, b.now_ns += MS, 1000);
	assert_false(timer_is_set(&b.load.timer));
	windows(&b, 20, 10);
	while (timer_is_set(&b.load.timer)) {
		timer_cancel(&b.loop, &b.load.timer);
		load_turn(&b.load, b.now_ns += 100 * MS, 1000);
		assert_in_range(++n, 1, 12);
	}
	assert_int_equal(b.at.busy, 0);
	end(&b);
}

static void test_connections_and_those_that_wait(void **state)
{
	struct bench b;

	begin(&b);
	b.at.given = 10;
	b.stats.conns_active = 7;
	b.stats.conns_accepted = 4;
	b.stats.conns_refused_banned = 1;
	b.stats.conns_refused_full = 2;
	load_turn(&b.load, b.now_ns += MS, 1000);
	assert_int_equal(b.at.conns, 7);
	assert_int_equal(b.at.taken, 7);
	load_turn(&b.load, b.now_ns += MS, 1000);
	assert_int_equal(b.at.taken, 7);
	/* Connections of other listeners are no one's that were given. */
	b.stats.conns_accepted += 100;
	load_turn(&b.load, b.now_ns += MS, 1000);
	assert_int_equal(b.at.taken, 10);
	assert_int_equal(b.load.n_accepted, 107);
	/* Handshakes that nobody finishes: half in each window. */
	b.at.given = 110;
	windows(&b, 1, 0);
	assert_int_equal(b.at.taken, 60);
	windows(&b, 8, 0);
	assert_int_equal(b.at.taken, 110);
	end(&b);
}

static void test_nobody_wants_to_know(void **state)
{
	struct stats_worker stats = {0};
	struct loop loop;
	struct load l;

	assert_int_equal(loop_init(&loop, 8), 0);
	load_start(&l, NULL, &loop, &stats);
	assert_null(loop.on_turn);
	load_stop(&l);
	loop_fini(&loop);
}

static void test_real_turns(void **state)
{
	struct bench b;

	begin(&b);
	b.load.since_ns = clock_mono_ns();
	b.stats.conns_active = 3;
	loop_turn(&b.loop, 0);
	assert_int_equal(b.at.conns, 3);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_busy_share),
		cmocka_unit_test(test_one_window_moves_it_by_half),
		cmocka_unit_test(test_one_long_turn),
		cmocka_unit_test(test_what_follows_a_long_sleep),
		cmocka_unit_test(test_an_idle_loop_wakes_up_until_it_has_said_so),
		cmocka_unit_test(test_connections_and_those_that_wait),
		cmocka_unit_test(test_nobody_wants_to_know),
		cmocka_unit_test(test_real_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
