/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring of events: numbers, what is lost when it is full, and readers beside a writer that does not
 * wait for them. */
#define _GNU_SOURCE
#include "core/event_ring.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/err.h"

static int setup(void **state)
{
	*state = mmap(NULL, event_ring_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	assert_ptr_not_equal(*state, MAP_FAILED);
	event_ring_init(*state, 0xabc);
	return 0;
}

static int teardown(void **state)
{
	return munmap(*state, event_ring_bytes());
}

/* An event of which every part says I. */
static struct event numbered(uint64_t i)
{
	struct event e = {.wall_ms = i, .packets = i, .for_ms = i, .rule_id = (uint32_t)i};

	for (int k = 0; k < 16; k++)
		e.addr[k] = (uint8_t)i;
	memset(e.text, 'a' + (int)(i % 26), sizeof e.text);
	return e;
}

static bool is_whole(const struct event *e)
{
	uint64_t i = e->wall_ms;

	for (int k = 0; k < 16; k++)
		if (e->addr[k] != (uint8_t)i)
			return false;
	for (int k = 0; k + 1 < EVENT_TEXT_MAX; k++)
		if (e->text[k] != (char)('a' + (int)(i % 26)))
			return false;
	return e->packets == i && e->for_ms == i && e->rule_id == (uint32_t)i &&
	       e->text[EVENT_TEXT_MAX - 1] == 0;
}

static void put_n(struct event_ring *r, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i <= to; i++) {
		struct event e = numbered(i);

		event_ring_put(r, &e);
	}
}

static void test_empty(void **state)
{
	struct event e;

	assert_int_equal(event_ring_epoch(*state), 0xabc);
	assert_int_equal(event_ring_newest(*state), 0);
	assert_int_equal(event_ring_oldest(*state), 1);
	assert_int_equal(event_ring_get(*state, 0, &e), -SL_ENOTFOUND);
	assert_int_equal(event_ring_get(*state, 1, &e), -SL_EAGAIN);
	assert_int_equal(event_ring_get(*state, UINT64_MAX, &e), -SL_EAGAIN);
}

static void test_order(void **state)
{
	struct event e;

	put_n(*state, 1, 100);
	assert_int_equal(event_ring_newest(*state), 100);
	assert_int_equal(event_ring_oldest(*state), 1);
	for (uint64_t i = 1; i <= 100; i++) {
		assert_int_equal(event_ring_get(*state, i, &e), 0);
		assert_int_equal(e.wall_ms, i);
		assert_true(is_whole(&e));
	}
	assert_int_equal(event_ring_get(*state, 101, &e), -SL_EAGAIN);
	event_ring_leave_out(*state, 3);
	event_ring_leave_out(*state, 4);
	assert_int_equal(event_ring_left_out(*state), 7);
}

static void test_overwritten(void **state)
{
	uint64_t n = 3 * EVENT_RING_ROOM + 17, oldest;
	struct event e;

	put_n(*state, 1, n);
	oldest = event_ring_oldest(*state);
	assert_true(oldest > n - EVENT_RING_ROOM && oldest <= n);
	assert_int_equal(event_ring_get(*state, n - EVENT_RING_ROOM, &e), -SL_ENOTFOUND);
	assert_int_equal(event_ring_get(*state, 1, &e), -SL_ENOTFOUND);
	for (uint64_t i = oldest; i <= n; i++) {
		assert_int_equal(event_ring_get(*state, i, &e), 0);
		assert_int_equal(e.wall_ms, i);
	}
}

/* The writer is killed wherever it is; what is read is whole or not there, and the next writer goes on. */
static void test_killed_writer(void **state)
{
	struct event_ring *r = *state;

	for (int round = 0; round < 20; round++) {
		uint64_t at = event_ring_newest(r) + 1, n_read = 0;
		struct event e;
		pid_t pid = fork();
		int got;

		assert_true(pid >= 0);
		if (pid == 0) {
			put_n(r, at, UINT64_MAX - 1);
			_exit(0);
		}
		for (uint64_t want = at; n_read < 2000; want++) {
			while ((got = event_ring_get(r, want, &e)) == -SL_EAGAIN)
				;
			if (got == -SL_ENOTFOUND) {
				want = event_ring_oldest(r);
				continue;
			}
			assert_int_equal(e.wall_ms, want);
			assert_true(is_whole(&e));
			n_read++;
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		at = event_ring_newest(r) + 1;
		put_n(r, at, at);
		assert_int_equal(event_ring_get(r, at, &e), 0);
		assert_true(is_whole(&e));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overwritten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_writer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
