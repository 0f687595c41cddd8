/* SPDX-License-Identifier: BSD-2-Clause */
/* limit_req's arithmetic against figures worked out by hand from nginx's model, the zone's
 * bounds, and many processes on one zone, some of them killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "policy/limit.h"

enum { R1S = 1000, R2S = 2000, R10M = 166 }; /* 1r/s, 2r/s, 10r/m: 10 * 1000 / 60 */
#define NODELAY UINT64_MAX

static struct limit_zone *zone_new(size_t bytes)
{
	struct limit_zone *z =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(z, MAP_FAILED);
	limit_zone_init(z, bytes);
	return z;
}

static struct limit_use use(struct limit_zone *z, uint64_t rate, uint64_t burst, uint64_t delay)
{
	return (struct limit_use){
		.zone = z,
		.rate_milli_per_s = rate,
		.burst_milli = burst * 1000,
		.delay_milli = delay == NODELAY ? NODELAY : delay * 1000,
	};
}

struct got {
	enum limit_verdict verdict;
	uint64_t delay_ms, excess;
	int which;
};

static struct got check(const struct limit_use *u, const char *key, uint64_t now_ms)
{
	struct slice k = slice_cstr(key);
	struct got g;

	g.verdict = limit_check(u, &k, 1, now_ms, &g.delay_ms, &g.which, &g.excess);
	return g;
}

/* One line of a table: at that time, that outcome. */
struct step {
	uint64_t now_ms;
	enum limit_verdict verdict;
	uint64_t excess, delay_ms;
};

static void play(const struct limit_use *u, const struct step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct got g = check(u, "key", steps[i].now_ms);

		assert_int_equal(g.verdict, steps[i].verdict);
		assert_int_equal(g.excess, steps[i].excess);
		assert_int_equal(g.delay_ms, steps[i].delay_ms);
		assert_int_equal(g.which, 0);
	}
}

#define PLAY(u, steps) play(u, steps, sizeof(steps) / sizeof((steps)[0]))

static void test_burst_is_delayed(void **state)
{
	/* limit_req_zone rate=1r/s; limit_req burst=2 */
	struct limit_use u = use(zone_new(65536), R1S, 2, 0);
	static const struct step steps[] = {
		{5000, LIMIT_PASS, 0, 0}, /* a new key's bucket is empty */
		{5000, LIMIT_DELAY, 1000, 1000}, {5000, LIMIT_DELAY, 2000, 2000},
		{5000, LIMIT_REJECT, 3000, 0}, /* not charged: */
		{5500, LIMIT_REJECT, 2500, 0}, /* 2000 - 500 + 1000 */
		{6000, LIMIT_DELAY, 2000, 2000}, {6750, LIMIT_REJECT, 2250, 0},
		{7200, LIMIT_DELAY, 1800, 1800}, {20000, LIMIT_PASS, 0, 0},
		{20999, LIMIT_DELAY, 1, 1},	 {22000, LIMIT_PASS, 0, 0},
	};

	PLAY(&u, steps);
}

static void test_rate_by_minute_without_burst(void **state)
{
	/* rate=10r/m is 166/1000 r/s: 6000 ms leak 996, so that a request each 6 s is just too
	 * many */
	struct limit_use u = use(zone_new(65536), R10M, 0, 0);
	static const struct step steps[] = {
		{0, LIMIT_PASS, 0, 0},	    {6000, LIMIT_REJECT, 4, 0},
		{6024, LIMIT_REJECT, 1, 0}, /* 166 * 6024 / 1000 = 999 */
		{6025, LIMIT_PASS, 0, 0},   {6025, LIMIT_REJECT, 1000, 0},
	};

	PLAY(&u, steps);
}

static void test_nodelay(void **state)
{
	/* rate=10r/m; burst=5 nodelay */
	struct limit_use u = use(zone_new(65536), R10M, 5, NODELAY);
	static const struct step steps[] = {
		{0, LIMIT_PASS, 0, 0},	       {1000, LIMIT_PASS, 834, 0},
		{7000, LIMIT_PASS, 838, 0}, /* 834 - 996 + 1000 */
		{7000, LIMIT_PASS, 1838, 0},   {7000, LIMIT_PASS, 2838, 0},
		{7000, LIMIT_PASS, 3838, 0},   {7000, LIMIT_PASS, 4838, 0},
		{7000, LIMIT_REJECT, 5838, 0}, {8000, LIMIT_REJECT, 5672, 0},
		{12100, LIMIT_PASS, 4992, 0}, /* 4838 - 846 + 1000 */
	};

	PLAY(&u, steps);
}

static void test_delay_after_some(void **state)
{
	/* rate=1r/s; burst=5 delay=3 */
	struct limit_use u = use(zone_new(65536), R1S, 5, 3);
	static const struct step steps[] = {
		{0, LIMIT_PASS, 0, 0},	      {0, LIMIT_PASS, 1000, 0},
		{0, LIMIT_PASS, 2000, 0},     {0, LIMIT_PASS, 3000, 0},
		{0, LIMIT_DELAY, 4000, 1000}, {0, LIMIT_DELAY, 5000, 2000},
		{0, LIMIT_REJECT, 6000, 0},   {2000, LIMIT_DELAY, 4000, 1000},
	};
	/* the delay is by the rate: (excess - delay) * 1000 / rate */
	struct limit_use slow = use(zone_new(65536), R10M, 5, 1);
	static const struct step slow_steps[] = {
		{0, LIMIT_PASS, 0, 0},
		{0, LIMIT_PASS, 1000, 0},
		{0, LIMIT_DELAY, 2000, 6024},
	};

	PLAY(&u, steps);
	PLAY(&slow, slow_steps);
}

static void test_clock_that_lags(void **state)
{
	/* another worker's clock was read a little earlier: nothing leaks, nothing is taken back */
	struct limit_use u = use(zone_new(65536), R1S, 5, NODELAY);
	static const struct step steps[] = {
		{10000, LIMIT_PASS, 0, 0},
		{9990, LIMIT_PASS, 1000, 0},
		{10000, LIMIT_PASS, 2000, 0},
		{11000, LIMIT_PASS, 2000, 0},
	};

	PLAY(&u, steps);
}

static void test_extremes(void **state)
{
	struct limit_use fast = use(zone_new(65536), 1000000000000, 1000000000, 0);
	struct limit_use slow = use(zone_new(65536), 1, 1000000000, 0);
	static const uint64_t ages[] = {0, 1, 3600000, 1ULL << 40, 1ULL << 62};

	for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
		assert_int_equal(check(&fast, "k", ages[i]).verdict, LIMIT_PASS);
		check(&slow, "k", ages[i]);
	}
	assert_int_equal(check(&slow, "k", UINT64_MAX).excess, 0);
	assert_int_equal(check(&slow, "k", UINT64_MAX).delay_ms, 1000000);
}

static void test_rate_changes(void **state)
{
	/* a reload with another rate goes on with the nodes of before */
	struct limit_use u = use(zone_new(65536), R1S, 9, NODELAY);

	for (int i = 0; i < 5; i++)
		check(&u, "k", 0);
	u.rate_milli_per_s = R2S;
	assert_int_equal(check(&u, "k", 1000).excess, 3000);
}

static void test_several_lines(void **state)
{
	struct limit_use u[] = {use(zone_new(65536), R1S, 5, 0), use(zone_new(65536), R1S, 1, 0)};
	struct slice keys[] = {SLICE("a"), SLICE("b")};
	uint64_t delay, excess;
	int which;

	assert_int_equal(limit_check(u, keys, 2, 0, &delay, &which, &excess), LIMIT_PASS);
	assert_int_equal(which, 1);
	assert_int_equal(limit_check(u, keys, 2, 0, &delay, &which, &excess), LIMIT_DELAY);
	assert_int_equal(delay, 1000);
	assert_int_equal(which, 1);
	assert_int_equal(limit_check(u, keys, 2, 0, &delay, &which, &excess), LIMIT_REJECT);
	assert_int_equal(which, 1);
	assert_int_equal(excess, 2000);
	assert_int_equal(delay, 0);
	/* the second line rejected: the first was not charged for it */
	assert_int_equal(check(&u[0], "a", 0).excess, 2000);
	/* an empty key: that line does not apply */
	keys[1] = SLICE("");
	assert_int_equal(limit_check(u, keys, 2, 0, &delay, &which, &excess), LIMIT_DELAY);
	assert_int_equal(which, 0);
	assert_int_equal(excess, 3000);
	keys[0] = SLICE("");
	assert_int_equal(limit_check(u, keys, 2, 0, &delay, &which, &excess), LIMIT_PASS);
	assert_int_equal(which, -1);
	/* the first one rejects: the second one has not even seen the key */
	keys[0] = SLICE("a");
	keys[1] = SLICE("new");
	u[0].burst_milli = 0;
	assert_int_equal(limit_check(u, keys, 2, 0, &delay, &which, &excess), LIMIT_REJECT);
	assert_int_equal(which, 0);
	assert_int_equal(check(&u[1], "new", 0).excess, 0);
}

static void test_longest_delay_wins(void **state)
{
	struct limit_use u[] = {use(zone_new(65536), R1S, 5, 0), use(zone_new(65536), R2S, 5, 0),
				use(zone_new(65536), R1S, 5, NODELAY)};
	struct slice keys[] = {SLICE("a"), SLICE("a"), SLICE("a")};
	uint64_t delay, excess;
	int which;

	limit_check(u, keys, 3, 0, &delay, &which, &excess);
	assert_int_equal(limit_check(u, keys, 3, 0, &delay, &which, &excess), LIMIT_DELAY);
	assert_int_equal(which, 0);
	assert_int_equal(delay, 1000);
	assert_int_equal(excess, 1000);
}

static void test_one_zone_twice(void **state)
{
	struct limit_zone *z = zone_new(65536);
	struct limit_use u[] = {use(z, R1S, 9, NODELAY), use(z, R1S, 9, NODELAY)};
	struct slice keys[] = {SLICE("a"), SLICE("b")};
	uint64_t delay, excess;
	int which;

	for (int i = 0; i < 3; i++)
		assert_int_equal(limit_check(u, keys, 2, 0, &delay, &which, &excess), LIMIT_PASS);
	assert_int_equal(check(&u[0], "a", 0).excess, 3000);
	assert_int_equal(check(&u[0], "b", 0).excess, 3000);
}

static void test_full_zone_forgets_the_oldest(void **state)
{
	struct limit_zone *z = zone_new(limit_zone_min_bytes());
	struct limit_use u = use(z, R1S, 3, NODELAY);
	uint32_t used, room;
	char key[32];

	limit_zone_usage(z, &used, &room);
	assert_int_equal(used, 0);
	assert_in_range(room, 500, 32768 / 48);
	for (int i = 0; i < 4; i++)
		assert_int_equal(check(&u, "kept", 1).excess, i * 1000);
	check(&u, "forgotten", 1);
	check(&u, "forgotten", 1);
	for (uint32_t i = 0; i < 3 * room; i++) {
		snprintf(key, sizeof key, "key %u", i);
		assert_int_equal(check(&u, key, 1).excess, 0);
		if (i % 100 == 0)
			assert_int_equal(check(&u, "kept", 1).verdict, LIMIT_REJECT);
	}
	limit_zone_usage(z, &used, &room);
	assert_int_equal(used, room);
	assert_int_equal(check(&u, "kept", 1).verdict, LIMIT_REJECT);
	assert_int_equal(check(&u, "forgotten", 1).excess, 0);
	munmap(z, limit_zone_min_bytes());
}

static void test_idle_keys_go(void **state)
{
	struct limit_zone *z = zone_new(65536);
	struct limit_use u = use(z, R10M, 100, NODELAY);
	uint32_t used, room;
	char key[2] = "a";

	for (; key[0] < 'k'; key[0]++)
		check(&u, key, 0);
	limit_zone_usage(z, &used, &room);
	assert_int_equal(used, 10);
	check(&u, "new", 59999);
	limit_zone_usage(z, &used, &room);
	assert_int_equal(used, 11);
	check(&u, "newer", 60000); /* two go for one that comes */
	limit_zone_usage(z, &used, &room);
	assert_int_equal(used, 10);
	/* the oldest is as old but not empty: nobody goes */
	for (int i = 0; i < 50; i++)
		check(&u, "c", 60000);
	for (key[0] = 'd'; key[0] < 'k'; key[0]++)
		check(&u, key, 60001);
	check(&u, "new", 60001);
	check(&u, "newer", 60001);
	check(&u, "newest", 121000);
	limit_zone_usage(z, &used, &room);
	assert_int_equal(used, 11);
	munmap(z, 65536);
}

/* ---- processes ---- */

/* Ends the test where it would hang. */
static void on_alarm(int sig)
{
	static const char text[] = "a lock is stuck\n";
	ssize_t n = write(2, text, sizeof text - 1);

	_exit(n > 0 ? 1 : 2);
}

static int set_alarm(void **state)
{
	signal(SIGALRM, on_alarm);
	alarm(120);
	return 0;
}

static int stop_alarm(void **state)
{
	alarm(0);
	return 0;
}

static void join(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_processes_share_exactly(void **state)
{
	enum { N = 4, TRIES = 4000, BURST = 5000 };
	struct limit_zone *a = zone_new(65536), *b = zone_new(65536);
	struct slice keys[] = {SLICE("x"), SLICE("y")};
	uint32_t *passed =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t delay, excess;
	uint32_t total = 0;
	pid_t pid[N];
	int which;

	/* half of them name the zones in the other order */
	for (int w = 0; w < N; w++) {
		struct limit_use u[] = {use(w % 2 ? a : b, R1S, BURST, NODELAY),
					use(w % 2 ? b : a, R1S, BURST, NODELAY)};

		pid[w] = fork();
		assert_true(pid[w] >= 0);
		if (pid[w])
			continue;
		for (int i = 0; i < TRIES; i++)
			if (limit_check(u, (struct slice[]){keys[w % 2], keys[!(w % 2)]}, 2, 7,
					&delay, &which, &excess) == LIMIT_PASS)
				passed[w]++;
		_exit(0);
	}
	for (int w = 0; w < N; w++)
		join(pid[w]);
	for (int w = 0; w < N; w++)
		total += passed[w];
	assert_int_equal(total, 1 + BURST);
	munmap(passed, 4096);
}

static void test_holder_died(void **state)
{
	struct limit_zone *z = zone_new(65536);
	struct limit_use u = use(z, R1S, 3, NODELAY);
	uint32_t used, room;
	pid_t pid;

	for (int i = 0; i < 4; i++)
		check(&u, "k", 1);
	check(&u, "l", 1);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		shm_lock_get((struct shm_lock *)z);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	limit_zone_usage(z, &used, &room);
	assert_int_equal(used, 2);
	assert_int_equal(check(&u, "k", 1).verdict, LIMIT_REJECT);
	assert_int_equal(check(&u, "l", 1).excess, 1000);
	munmap(z, 65536);
}

static void churn(struct limit_use *u, unsigned seed)
{
	char key[32];

	for (unsigned i = seed;; i = i * 1103515245u + 12345u) {
		snprintf(key, sizeof key, "churn %u", (i >> 8) % 5000);
		check(u, key, 1);
	}
}

static void test_killed_anywhere(void **state)
{
	enum { ROUNDS = 200 };
	struct limit_zone *z = zone_new(limit_zone_min_bytes());
	struct limit_use u = use(z, R1S, 3, NODELAY);
	struct timespec some = {0};
	uint32_t used, room;
	char key[32];
	pid_t pid[2];

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < 2; i++) {
			pid[i] = fork();
			assert_true(pid[i] >= 0);
			if (pid[i] == 0)
				churn(&u, 7 * round + i);
		}
		some.tv_nsec = 300000 + 7919 * (long)round;
		nanosleep(&some, NULL);
		for (int i = 0; i < 2; i++) {
			kill(pid[i], SIGKILL);
			assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
		}
		limit_zone_usage(z, &used, &room);
		assert_in_range(used, 0, room);
	}
	/* whatever happened, every node is found, used and given back again */
	for (uint32_t i = 0; i < room; i++) {
		snprintf(key, sizeof key, "after %u", i);
		assert_int_equal(check(&u, key, 1).excess, 0);
	}
	for (uint32_t i = 0; i < room; i++) {
		snprintf(key, sizeof key, "after %u", i);
		assert_int_equal(check(&u, key, 1).excess, 1000);
	}
	limit_zone_usage(z, &used, &room);
	assert_int_equal(used, room);
	munmap(z, limit_zone_min_bytes());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_is_delayed),
		cmocka_unit_test(test_rate_by_minute_without_burst),
		cmocka_unit_test(test_nodelay),
		cmocka_unit_test(test_delay_after_some),
		cmocka_unit_test(test_clock_that_lags),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_rate_changes),
		cmocka_unit_test(test_several_lines),
		cmocka_unit_test(test_longest_delay_wins),
		cmocka_unit_test(test_one_zone_twice),
		cmocka_unit_test(test_full_zone_forgets_the_oldest),
		cmocka_unit_test(test_idle_keys_go),
		cmocka_unit_test_setup_teardown(test_processes_share_exactly, set_alarm,
						stop_alarm),
		cmocka_unit_test_setup_teardown(test_holder_died, set_alarm, stop_alarm),
		cmocka_unit_test_setup_teardown(test_killed_anywhere, set_alarm, stop_alarm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
