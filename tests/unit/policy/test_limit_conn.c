/* SPDX-License-Identifier: BSD-2-Clause */
/* limit_conn's counts: by key, over workers, with and without those that died, up to a full zone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/limit_conn.h"

static struct limit_conn_zone *zone_new(size_t bytes)
{
	struct limit_conn_zone *z =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(z, MAP_FAILED);
	limit_conn_init(z, bytes);
	return z;
}

static uint32_t used(struct limit_conn_zone *z)
{
	uint32_t n, room;

	limit_conn_usage(z, &n, &room);
	return n;
}

static void test_counts(void **state)
{
	struct limit_conn_zone *z = zone_new(limit_conn_min_bytes());
	uint32_t a = limit_conn_enter(z, SLICE("a"), 0, 2),
		 b = limit_conn_enter(z, SLICE("a"), 1, 2);

	assert_true(a && b && a != b);
	assert_int_equal(limit_conn_enter(z, SLICE("a"), 0, 2), 0);
	assert_int_equal(limit_conn_enter(z, SLICE("a"), 2, 2), 0);
	assert_int_equal(limit_conn_enter(z, SLICE("a"), 1, 3), b);
	assert_true(limit_conn_enter(z, SLICE("b"), 0, 1) > 0);
	limit_conn_leave(z, b);
	assert_int_equal(limit_conn_enter(z, SLICE("a"), 2, 2), 0);
	limit_conn_leave(z, b);
	assert_true(limit_conn_enter(z, SLICE("a"), 2, 2) > 0);
	assert_int_equal(used(z), 3);
	munmap(z, limit_conn_min_bytes());
}

static void test_dead_worker(void **state)
{
	struct limit_conn_zone *z = zone_new(limit_conn_min_bytes());
	uint32_t mine = limit_conn_enter(z, SLICE("a"), 7, 9);

	for (int i = 0; i < 5; i++)
		assert_true(limit_conn_enter(z, SLICE("a"), 3, 9) > 0);
	assert_true(limit_conn_enter(z, SLICE("b"), 3, 9) > 0);
	assert_int_equal(limit_conn_enter(z, SLICE("a"), 4, 6), 0);
	limit_conn_worker_gone(z, 3);
	assert_int_equal(used(z), 1);
	assert_true(limit_conn_enter(z, SLICE("a"), 4, 2) > 0);
	limit_conn_leave(z, mine);
	assert_int_equal(used(z), 1);
	munmap(z, limit_conn_min_bytes());
}

static void test_full(void **state)
{
	struct limit_conn_zone *z = zone_new(limit_conn_min_bytes());
	uint32_t n = 0, last = 0, number, none, room;
	char key[16];

	limit_conn_usage(z, &none, &room);
	assert_true(room > 700);
	for (;; n++) {
		snprintf(key, sizeof key, "k%u", n);
		number = limit_conn_enter(z, slice_cstr(key), 0, 1);
		if (!number)
			break;
		last = number;
	}
	assert_int_equal(n, room);
	limit_conn_leave(z, last);
	assert_true(limit_conn_enter(z, slice_cstr(key), 0, 1) > 0);
	limit_conn_worker_gone(z, 0);
	assert_int_equal(used(z), 0);
	munmap(z, limit_conn_min_bytes());
}

/* Children enter and leave until they are killed, at any place; what they held is given back, and all
 * of the zone's room is there again. */
static void test_killed_workers(void **state)
{
	struct limit_conn_zone *z = zone_new(limit_conn_min_bytes());
	uint32_t none, room;
	pid_t pid[3];

	limit_conn_usage(z, &none, &room);
	for (int round = 0; round < 20; round++) {
		for (unsigned slot = 0; slot < 3; slot++) {
			pid[slot] = fork();
			if (pid[slot])
				continue;
			for (unsigned i = slot;; i++) {
				char key[16];
				int n = snprintf(key, sizeof key, "%u", i % 50);
				uint32_t number =
					limit_conn_enter(z, slice_make(key, (size_t)n), slot, 4);

				if (number && i % 7)
					limit_conn_leave(z, number);
			}
		}
		usleep(2000);
		for (unsigned slot = 0; slot < 3; slot++) {
			kill(pid[slot], SIGKILL);
			waitpid(pid[slot], NULL, 0);
			limit_conn_worker_gone(z, slot);
		}
		assert_int_equal(used(z), 0);
	}
	for (uint32_t i = 0; i < room; i++) {
		char key[16];

		snprintf(key, sizeof key, "all%u", i);
		assert_true(limit_conn_enter(z, slice_cstr(key), 0, 1) > 0);
	}
	munmap(z, limit_conn_min_bytes());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_dead_worker),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_killed_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
