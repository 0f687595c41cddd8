/* SPDX-License-Identifier: BSD-2-Clause */
/* The ban table with readers beside its writer, its file, and what counts as enough evidence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/err.h"
#include "policy/ban.h"

static void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static struct ban_table *table_new(void)
{
	struct ban_table *t = shared(ban_table_bytes());

	ban_table_init(t, 42);
	return t;
}

static void table_free(struct ban_table *t)
{
	munmap(t, ban_table_bytes());
}

static struct ban_evidence *evidence_new(void)
{
	struct ban_evidence *e = shared(ban_evidence_bytes());

	ban_evidence_init(e, 43);
	return e;
}

static void evidence_free(struct ban_evidence *e)
{
	munmap(e, ban_evidence_bytes());
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_from_ip(slice_cstr(text), 1234, &a), 0);
	return a;
}

static struct ban_entry entry(const char *text, uint64_t until_mono_ms)
{
	struct ban_entry e = {.until_mono_ms = until_mono_ms, .rule_id = 7, .reason = "because"};
	struct addr a = ip(text);

	if (a.sa.sa_family == AF_INET) {
		e.net.family = 4;
		memcpy(e.net.bytes, &a.in.sin_addr, 4);
	} else {
		e.net.family = 6;
		memcpy(e.net.bytes, &a.in6.sin6_addr, 16);
	}
	return e;
}

static void ban(struct ban_table *t, const char *text, uint64_t until_mono_ms)
{
	struct ban_entry e = entry(text, until_mono_ms);

	assert_int_equal(ban_put(t, &e), 0);
}

static bool offend(struct ban_evidence *e, uint32_t rule_id, const struct addr *a, uint32_t after,
		   uint64_t within_ms, uint64_t now_ms)
{
	struct ban_net net;

	return ban_net_of(&net, a, 0) && ban_offence(e, rule_id, &net, after, within_ms, now_ms);
}

static bool is_banned(const struct ban_table *t, const char *text, uint64_t now_mono_ms)
{
	struct addr a = ip(text);

	return ban_check(t, &a, now_mono_ms);
}

/* The I-th of many addresses. */
static struct ban_entry nth(uint32_t i, uint64_t until_mono_ms)
{
	struct ban_entry e = {.net.family = 4, .until_mono_ms = until_mono_ms, .rule_id = i};

	memcpy(e.net.bytes, &i, 4);
	return e;
}

static void test_put_check_remove(void **state)
{
	struct ban_table *t = table_new();
	struct ban_entry e, wrong = {.net.family = 5};
	struct addr un;

	assert_false(is_banned(t, "10.0.0.1", 1));
	ban(t, "10.0.0.1", 5000);
	ban(t, "2001:db8::1", 0);
	assert_int_equal(ban_n(t), 2);
	assert_true(is_banned(t, "10.0.0.1", 4999));
	assert_false(is_banned(t, "10.0.0.1", 5000));
	assert_false(is_banned(t, "10.0.0.2", 1));
	assert_true(is_banned(t, "2001:db8::1", UINT64_MAX));
	assert_false(is_banned(t, "2001:db8::2", 1));
	/* again: replaced */
	ban(t, "10.0.0.1", 9000);
	assert_int_equal(ban_n(t), 2);
	assert_true(is_banned(t, "10.0.0.1", 8999));
	e = entry("10.0.0.1", 0);
	assert_true(ban_find(t, &e.net, &e));
	assert_int_equal(e.until_mono_ms, 9000);
	assert_int_equal(e.rule_id, 7);
	assert_string_equal(e.reason, "because");
	assert_int_equal(ban_remove(t, &e.net), 0);
	assert_int_equal(ban_remove(t, &e.net), -SL_ENOTFOUND);
	assert_false(ban_find(t, &e.net, &e));
	assert_false(is_banned(t, "10.0.0.1", 1));
	assert_int_equal(ban_n(t), 1);
	assert_int_equal(ban_put(t, &wrong), -SL_EINVAL);
	/* a unix socket has no address that could be banned */
	assert_int_equal(addr_from_unix(SLICE("/x"), &un), 0);
	assert_false(ban_check(t, &un, 1));
	table_free(t);
}

static void test_mapped_ipv6_is_ipv4(void **state)
{
	struct ban_table *t = table_new();
	struct ban_entry e = entry("::ffff:10.0.0.1", 0), out;
	uint32_t at = 0;

	assert_int_equal(ban_put(t, &e), 0);
	assert_true(is_banned(t, "10.0.0.1", 1));
	assert_true(is_banned(t, "::ffff:10.0.0.1", 1));
	assert_true(ban_next(t, &at, &out));
	assert_int_equal(out.net.family, 4);
	assert_true(ban_find(t, &e.net, &out));
	assert_int_equal(ban_remove(t, &e.net), 0);
	assert_int_equal(ban_n(t), 0);
	table_free(t);
}

static void test_full_table(void **state)
{
	struct ban_table *t = table_new();
	struct ban_entry e, out;

	for (uint32_t i = 0; i < BAN_TABLE_ROOM; i++) {
		e = nth(i, 0);
		assert_int_equal(ban_put(t, &e), 0);
	}
	e = nth(BAN_TABLE_ROOM, 0);
	assert_int_equal(ban_put(t, &e), -SL_ELIMIT);
	assert_false(ban_find(t, &e.net, &out));
	e = nth(77, 5);
	assert_int_equal(ban_put(t, &e), 0);
	assert_int_equal(ban_remove(t, &e.net), 0);
	e = nth(BAN_TABLE_ROOM, 0);
	assert_int_equal(ban_put(t, &e), 0);
	assert_int_equal(ban_n(t), BAN_TABLE_ROOM);
	for (uint32_t i = 0; i <= BAN_TABLE_ROOM; i++) {
		e = nth(i, 0);
		assert_int_equal(ban_find(t, &e.net, &out), i != 77);
	}
	table_free(t);
}

static void count_odd(void *data, const struct ban_entry *e)
{
	assert_int_equal(e->rule_id % 2, 1);
	++*(uint32_t *)data;
}

static void test_sweep_and_next(void **state)
{
	struct ban_table *t = table_new();
	uint32_t n = 0, at = 0, sum = 0;
	struct ban_entry e;

	for (uint32_t i = 0; i < 1000; i++) {
		e = nth(i, i % 2 ? 100 : i % 4 ? 0 : 200);
		assert_int_equal(ban_put(t, &e), 0);
	}
	ban_sweep(t, 99, count_odd, &n);
	assert_int_equal(n, 0);
	ban_sweep(t, 100, count_odd, &n);
	assert_int_equal(n, 500);
	ban_sweep(t, 200, NULL, NULL);
	assert_int_equal(ban_n(t), 250);
	for (n = 0; ban_next(t, &at, &e); n++)
		sum += e.rule_id;
	assert_int_equal(n, 250);
	assert_int_equal(sum, 250 * 500); /* 2, 6 ... 998 */
	table_free(t);
}

static void test_offences_in_a_row(void **state)
{
	struct ban_evidence *e = evidence_new();
	struct addr a = ip("10.0.0.1"), b = ip("10.0.0.2"), mapped = ip("::ffff:10.0.0.1"), un;

	assert_false(offend(e, 1, &a, 3, 10000, 100));
	assert_false(offend(e, 1, &a, 3, 10000, 200));
	assert_false(offend(e, 2, &a, 3, 10000, 200));	   /* another rule */
	assert_false(offend(e, 1, &b, 3, 10000, 200));	   /* another source */
	assert_true(offend(e, 1, &mapped, 3, 10000, 300)); /* the same one */
	/* the count starts anew */
	assert_false(offend(e, 1, &a, 3, 10000, 300));
	assert_false(offend(e, 1, &a, 3, 10000, 300));
	assert_true(offend(e, 1, &a, 3, 10000, 300));
	assert_true(offend(e, 3, &a, 1, 10000, 300));
	assert_int_equal(addr_from_unix(SLICE("/x"), &un), 0);
	assert_false(offend(e, 3, &un, 1, 10000, 300));
	evidence_free(e);
}

static void test_window_is_exact_for_few(void **state)
{
	struct ban_evidence *e = evidence_new();
	struct addr a = ip("10.0.0.1");

	/* three within 10 s, wherever they lie; 10 s apart is not within */
	assert_false(offend(e, 1, &a, 3, 10000, 1200));
	assert_false(offend(e, 1, &a, 3, 10000, 6000));
	assert_false(offend(e, 1, &a, 3, 10000, 11200));
	assert_true(offend(e, 1, &a, 3, 10000, 15999));
	assert_false(offend(e, 2, &a, 3, 10000, 1200));
	assert_false(offend(e, 2, &a, 3, 10000, 6000));
	assert_true(offend(e, 2, &a, 3, 10000, 11199));
	/* a day's window with a pause over the 32 bits of a time */
	assert_false(offend(e, 3, &a, 2, 86400000, 1000));
	assert_false(offend(e, 3, &a, 2, 86400000, 1000 + (1ULL << 32)));
	assert_true(offend(e, 3, &a, 2, 86400000, 2000 + (1ULL << 32)));
	/* clocks of workers differ by some ms */
	assert_false(offend(e, 4, &a, 3, 10000, 5010));
	assert_false(offend(e, 4, &a, 3, 10000, 5003));
	assert_true(offend(e, 4, &a, 3, 10000, 5007));
	evidence_free(e);
}

static uint64_t rand_next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 33;
}

/* Against a list of all times: never for fewer than AFTER within the window, always when they came
 * within seven eighths of it. */
static void random_offences(uint32_t after, uint64_t within_ms, uint64_t step_ms, uint64_t seed)
{
	enum { N = 4000 };
	static uint64_t at[N];
	struct ban_evidence *e = evidence_new();
	struct addr a = ip("2001:db8::9");
	uint64_t now = 1000000;
	uint32_t since = 0, n_bans = 0; /* index of the first that counts */

	for (uint32_t i = 0; i < N; i++) {
		uint32_t loose = 0, strict = 0;
		bool banned;

		now += rand_next(&seed) % (step_ms * (1 + i / 1000));
		at[i] = now;
		for (uint32_t k = since; k <= i; k++) {
			loose += now - at[k] < within_ms;
			strict += now - at[k] < within_ms / 8 * 7;
		}
		banned = offend(e, 9, &a, after, within_ms, now);
		if (banned)
			assert_true(loose >= after);
		if (strict >= after)
			assert_true(banned);
		if (banned) {
			since = i + 1;
			n_bans++;
		}
	}
	assert_true(n_bans > 0);
	assert_true(n_bans < N / after);
	evidence_free(e);
}

static void test_window_of_many(void **state)
{
	random_offences(100, 10000, 110, 1);
	random_offences(9, 1000, 120, 2);
	random_offences(20, 60000, 3200, 3);
	random_offences(8, 5000, 700, 4);
	random_offences(2, 1000, 1000, 5);
	random_offences(9, 5, 1, 6);
}

static void test_evidence_is_bounded(void **state)
{
	struct ban_evidence *e = evidence_new();
	struct addr a = ip("10.0.0.1");
	uint32_t n = 0;

	for (uint32_t i = 0; i < 200000; i++) {
		a.in.sin_addr.s_addr = i;
		assert_false(offend(e, 1, &a, 2, 10000, 100 + i / 1000));
	}
	/* the last ones are remembered */
	for (uint32_t i = 200000 - 8000; i < 200000; i++) {
		a.in.sin_addr.s_addr = i;
		n += offend(e, 1, &a, 2, 10000, 400);
	}
	assert_in_range(n, 7800, 8000);
	evidence_free(e);
}

static void test_workers_count_together(void **state)
{
	struct ban_evidence *e = evidence_new();
	struct addr a = ip("10.0.0.1");
	uint32_t *n_bans = shared(4096), sum = 0;
	pid_t pid[4];
	int status;

	for (int w = 0; w < 4; w++) {
		pid[w] = fork();
		assert_true(pid[w] >= 0);
		if (pid[w])
			continue;
		for (int i = 0; i < 10000; i++)
			n_bans[w] += offend(e, 5, &a, 1000, 60000, 500);
		_exit(0);
	}
	for (int w = 0; w < 4; w++) {
		assert_int_equal(waitpid(pid[w], &status, 0), pid[w]);
		assert_int_equal(status, 0);
		sum += n_bans[w];
	}
	assert_int_equal(sum, 40);
	/* one dies with the lock: the others go on */
	pid[0] = fork();
	assert_true(pid[0] >= 0);
	if (pid[0] == 0) {
		shm_lock_get((struct shm_lock *)e);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid[0], NULL, 0), pid[0]);
	assert_true(offend(e, 6, &a, 1, 60000, 500));
	munmap(n_bans, 4096);
	evidence_free(e);
}

/* What the writer keeps true at every moment: the address that is banned for ever stays so, the
 * one that never was stays free, and all fields of an entry are of one piece. */
static void read_beside(const struct ban_table *t, volatile uint32_t *stop)
{
	uint64_t n = 0;

	while (!*stop || n == 0) {
		struct ban_entry e;
		uint32_t at = 0;

		for (int i = 0; i < 200; i++)
			if (!is_banned(t, "192.0.2.1", 50) || is_banned(t, "192.0.2.2", 50))
				_exit(1);
		while (ban_next(t, &at, &e))
			if (e.rule_id != 7 &&
			    (e.since_wall_ms != e.rule_id || e.reason[0] != e.reason[90] ||
			     e.until_wall_ms != e.rule_id))
				_exit(2);
		n++;
	}
	_exit(0);
}

static void test_readers_beside_the_writer(void **state)
{
	struct ban_table *t = table_new();
	uint32_t *stop = shared(4096);
	pid_t pid[2];
	int status;

	ban(t, "192.0.2.1", 0);
	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0)
			read_beside(t, stop);
	}
	for (uint32_t i = 0; i < 400000; i++) {
		struct ban_entry e = nth(i % 97 << 8 | 10, 100 + i);

		e.rule_id = 100 + i;
		e.since_wall_ms = e.until_wall_ms = e.rule_id;
		memset(e.reason, 'a' + i % 26, sizeof e.reason - 1);
		if (i % 3)
			assert_int_equal(ban_put(t, &e), 0);
		else
			ban_remove(t, &e.net);
		if (i % 1000 == 0)
			ban_sweep(t, 100 + i, NULL, NULL);
	}
	*stop = 1;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	munmap(stop, 4096);
	table_free(t);
}

/* ---- networks ---- */

static struct ban_net net(const char *text, uint8_t prefix_len)
{
	struct ban_net n;
	struct addr a = ip(text);

	assert_true(ban_net_of(&n, &a, prefix_len));
	return n;
}

static void ban_net(struct ban_table *t, const char *text, uint8_t len, uint64_t until_mono_ms,
		    bool is_trial)
{
	struct ban_entry e = {.net = net(text, len), .until_mono_ms = until_mono_ms};

	e.net.is_trial = is_trial;
	assert_int_equal(ban_put(t, &e), 0);
}

static void test_networks(void **state)
{
	struct ban_table *t = table_new();
	struct ban_net n = net("10.1.2.3", 24);
	struct addr a = ip("10.1.2.200"), b = ip("10.1.3.0"), mapped = ip("::ffff:10.1.2.9");

	assert_int_equal(n.bytes[3], 0);
	assert_true(ban_net_has(&n, &a) && ban_net_has(&n, &mapped));
	assert_false(ban_net_has(&n, &b) || ban_net_is_single(&n));
	ban_net(t, "10.1.2.3", 24, 1000, false);
	ban_net(t, "10.1.0.0", 17, 2000, false);
	ban_net(t, "2001:db8:1:2::", 64, 0, false);
	ban_net(t, "172.16.0.0", 12, 0, true);
	assert_true(is_banned(t, "10.1.2.200", 999) && is_banned(t, "::ffff:10.1.2.200", 999));
	/* what is over hides nothing that is in force around it */
	assert_true(is_banned(t, "10.1.2.200", 1999));
	assert_false(is_banned(t, "10.1.2.200", 2000));
	assert_true(is_banned(t, "10.1.127.1", 5));
	assert_false(is_banned(t, "10.1.128.1", 5));
	assert_true(is_banned(t, "2001:db8:1:2:ffff::1", 5));
	assert_false(is_banned(t, "2001:db8:1:3::1", 5));
	assert_false(is_banned(t, "172.16.0.1", 5)); /* on trial */
	n = net("10.1.2.77", 24);
	assert_int_equal(ban_remove(t, &n), 0);
	assert_true(is_banned(t, "10.1.2.200", 5));
	n = net("10.1.2.77", 17);
	assert_int_equal(ban_remove(t, &n), 0);
	assert_false(is_banned(t, "10.1.2.200", 5));
	n = (struct ban_net){.family = 4, .prefix_len = 33};
	assert_false(ban_net_clean(&n));
	/* all of IPv4 written as IPv6 is all of it */
	n = (struct ban_net){.family = 6, .prefix_len = 104, .bytes = {[10] = 255, 255, 10, 9}};
	assert_true(ban_net_clean(&n));
	assert_int_equal(n.family, 4);
	assert_int_equal(n.prefix_len, 8);
	assert_memory_equal(n.bytes, "\x0a\0\0\0", 4);
	table_free(t);
}

/* Ban by the table against all networks in a list. */
static void test_networks_at_random(void **state)
{
	struct ban_table *t = table_new();
	static struct ban_net list[300];
	uint64_t seed = 5;

	for (int i = 0; i < 300; i++) {
		struct ban_entry e = {.net.family = rand_next(&seed) % 2 ? 4 : 6};

		for (int k = 0; k < 3; k++)
			e.net.bytes[k] = (uint8_t)(rand_next(&seed) % 4 * 85);
		e.net.prefix_len = (uint8_t)(1 + rand_next(&seed) % 26);
		assert_int_equal(ban_put(t, &e), 0);
		assert_true(ban_net_clean(&e.net));
		list[i] = e.net;
		if (i % 3 == 0) {
			struct ban_net gone = list[rand_next(&seed) % (unsigned)(i + 1)];

			ban_remove(t, &gone);
			for (int k = 0; k <= i; k++)
				if (memcmp(&list[k], &gone, sizeof gone) == 0)
					list[k].family = 0;
		}
	}
	for (int i = 0; i < 20000; i++) {
		struct addr a = i % 2 ? ip("0.0.0.0") : ip("::");
		uint8_t *bytes = i % 2 ? (uint8_t *)&a.in.sin_addr : (uint8_t *)&a.in6.sin6_addr;
		bool is_in = false;

		for (int k = 0; k < 4; k++)
			bytes[k] = (uint8_t)(rand_next(&seed) % 4 * 85);
		for (int k = 0; k < 300; k++)
			is_in |= list[k].family && ban_net_has(&list[k], &a);
		assert_int_equal(ban_check(t, &a, 5), is_in);
	}
	table_free(t);
}

/* ---- life ---- */

static void test_repeaters(void **state)
{
	struct ban_entry e = {.rule_id = 7}, known, other;

	assert_true(ban_renew(&e, NULL, 10, 35, 1000, 500000));
	assert_int_equal(e.until_mono_ms, 1010);
	assert_int_equal(e.until_wall_ms, 500010);
	assert_int_equal(e.forget_mono_ms, 1045);
	/* while it is in force nothing gets longer than what holds */
	known = e;
	assert_true(ban_renew(&e, &known, 10, 35, 1005, 500005));
	assert_int_equal(e.until_mono_ms, 1015);
	assert_int_equal(e.n_times, 1);
	assert_false(ban_renew(&other, &known, 5, 0, 1001, 500001));
	/* then it doubles, up to max */
	for (uint32_t n = 2; n < 6; n++) {
		known.is_past = 1;
		assert_true(ban_renew(&e, &known, 10, 35, 2000, 600000));
		assert_int_equal(e.n_times, n);
		assert_int_equal(e.until_mono_ms - 2000, n == 2 ? 20 : 35);
		known = e;
	}
	/* another rule begins at its beginning */
	known.is_past = 1;
	e = (struct ban_entry){.rule_id = 8};
	assert_true(ban_renew(&e, &known, 10, 1000000, 2000, 600000));
	assert_int_equal(e.n_times, 1);
	/* no max: always the same, and nothing is remembered */
	e = (struct ban_entry){.rule_id = 7};
	assert_true(ban_renew(&e, &known, 10, 0, 3000, 600000));
	assert_int_equal(e.until_mono_ms, 3010);
	assert_int_equal(e.forget_mono_ms, 0);
	/* a person's ban for ever stays; from behind a proxy first, then by itself */
	known = (struct ban_entry){.manual = 1, .indirect = 1};
	e = (struct ban_entry){.rule_id = 7, .indirect = 1};
	assert_false(ban_renew(&e, &known, 10, 0, 3000, 600000));
	e = (struct ban_entry){.rule_id = 7};
	assert_true(ban_renew(&e, &known, 10, 0, 3000, 600000));
	assert_true(e.manual && !e.indirect && !e.until_mono_ms);
	/* and the other way round it stays in the kernel */
	known = (struct ban_entry){.rule_id = 7, .until_mono_ms = 3001};
	e = (struct ban_entry){.rule_id = 9, .indirect = 1};
	assert_true(ban_renew(&e, &known, 10, 0, 3000, 600000));
	assert_false(e.indirect);
}

static void test_memory_of_repeats(void **state)
{
	struct ban_table *t = table_new();
	struct ban_entry e = nth(1, 100);
	uint32_t n = 0;

	e.forget_mono_ms = 500;
	e.rule_id = 1;
	assert_int_equal(ban_put(t, &e), 0);
	ban_sweep(t, 100, count_odd, &n);
	assert_int_equal(n, 1);
	assert_true(ban_find(t, &e.net, &e));
	assert_true(e.is_past);
	ban_sweep(t, 499, count_odd, &n);
	assert_int_equal(ban_n(t), 1);
	ban_sweep(t, 500, count_odd, &n);
	assert_int_equal(n, 1); /* its end was told once */
	assert_int_equal(ban_n(t), 0);
	/* memories make room for bans, and only they */
	for (uint32_t i = 0; i < BAN_TABLE_ROOM; i++) {
		e = nth(i, i % 1024 ? 0 : 100);
		e.forget_mono_ms = 500;
		assert_int_equal(ban_put(t, &e), 0);
	}
	ban_sweep(t, 100, NULL, NULL);
	for (uint32_t i = 0; i < BAN_TABLE_ROOM / 1024; i++) {
		e = nth(BAN_TABLE_ROOM + i, 0);
		assert_int_equal(ban_put(t, &e), 0);
	}
	e = nth(2 * BAN_TABLE_ROOM, 0);
	assert_int_equal(ban_put(t, &e), -SL_ELIMIT);
	assert_int_equal(ban_n(t), BAN_TABLE_ROOM);
	table_free(t);
}

static void test_counts(void **state)
{
	struct ban_evidence *ev = evidence_new();
	static struct ban_rule rules[BAN_RULES_MAX];

	for (uint32_t i = 0; i < BAN_RULES_MAX; i++)
		rules[i] = (struct ban_rule){.id = i + 1};
	for (uint32_t i = 1; i < BAN_RULES_MAX; i++)
		rules[i - 1].next_all = &rules[i];
	assert_null(ban_counts_of(ev, 1));
	assert_null(ban_counts_of(ev, 0));
	ban_counts_keep(ev, rules);
	for (uint32_t i = 1; i <= BAN_RULES_MAX; i++)
		ban_counts_of(ev, i)->bans = i;
	/* half of them go, others come */
	for (uint32_t i = 0; i < BAN_RULES_MAX / 2; i++)
		rules[i].id += 10000;
	ban_counts_keep(ev, rules);
	assert_null(ban_counts_of(ev, 1));
	assert_int_equal(ban_counts_of(ev, 10001)->bans, 0);
	assert_int_equal(ban_counts_of(ev, BAN_RULES_MAX)->bans, BAN_RULES_MAX);
	evidence_free(ev);
}

/* ---- file ---- */

struct fx {
	char dir[64];
	char path[96];
	struct ban_table *t;
};

static int setup(void **state)
{
	struct fx *fx = calloc(1, sizeof *fx);

	strcpy(fx->dir, "/tmp/sl-test-ban-XXXXXX");
	assert_non_null(mkdtemp(fx->dir));
	snprintf(fx->path, sizeof fx->path, "%s/bans", fx->dir);
	fx->t = table_new();
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fx *fx = *state;

	unlink(fx->path);
	assert_int_equal(rmdir(fx->dir), 0); /* nothing else was left there */
	table_free(fx->t);
	free(fx);
	return 0;
}

static void write_file(const struct fx *fx, const char *text)
{
	FILE *f = fopen(fx->path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void test_save_and_load(void **state)
{
	struct fx *fx = *state;
	struct ban_table *again = table_new();
	struct ban_entry e = entry("10.0.0.1", 5000), out;
	struct stat st;
	uint32_t n_bad;

	e.until_wall_ms = 1700000005000;
	e.since_wall_ms = 1700000000000;
	e.rule_id = 0xdeadbeef;
	e.in_kernel = 1;
	strcpy(e.reason, "two\nlines, and  spaces ");
	assert_int_equal(ban_put(fx->t, &e), 0);
	e = entry("2001:db8::1", 0);
	e.manual = 1;
	e.rule_id = 0;
	e.reason[0] = 0;
	assert_int_equal(ban_put(fx->t, &e), 0);
	e = entry("10.0.0.9", 2000);
	e.until_wall_ms = 1700000002000;
	assert_int_equal(ban_put(fx->t, &e), 0);
	assert_int_equal(ban_save(fx->t, fx->path), 0);
	assert_int_equal(ban_save(fx->t, fx->path), 0);
	assert_int_equal(stat(fx->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	/* another start of the machine: its monotonic clock is younger, three seconds have
	 * passed */
	assert_int_equal(ban_load(again, fx->path, 10, 1700000003000, &n_bad), 0);
	assert_int_equal(n_bad, 0);
	assert_int_equal(ban_n(again), 2);
	e = entry("10.0.0.1", 0);
	assert_true(ban_find(again, &e.net, &out));
	assert_int_equal(out.until_mono_ms, 2010);
	assert_int_equal(out.until_wall_ms, 1700000005000);
	assert_int_equal(out.since_wall_ms, 1700000000000);
	assert_int_equal(out.rule_id, 0xdeadbeef);
	assert_int_equal(out.manual, 0);
	assert_int_equal(out.in_kernel, 0);
	assert_string_equal(out.reason, "two lines, and  spaces ");
	e = entry("2001:db8::1", 0);
	assert_true(ban_find(again, &e.net, &out));
	assert_int_equal(out.until_mono_ms, 0);
	assert_int_equal(out.manual, 1);
	assert_string_equal(out.reason, "");
	table_free(again);
}

/* What is new since the first format, and that format. */
static void test_file_of_networks(void **state)
{
	struct fx *fx = *state;
	struct ban_table *again = table_new();
	struct ban_entry e = {.net = net("10.1.2.3", 24), .until_mono_ms = 5000}, out;
	uint32_t n_bad;

	e.until_wall_ms = 1700000005000;
	e.forget_wall_ms = 1700000009000;
	e.forget_mono_ms = 9000;
	e.n_times = 3;
	e.indirect = 1;
	strcpy(e.reason, "why");
	assert_int_equal(ban_put(fx->t, &e), 0);
	e.net = net("2001:db8::1", 0);
	e.net.is_trial = 1;
	e.forget_wall_ms = e.forget_mono_ms = 0;
	assert_int_equal(ban_put(fx->t, &e), 0);
	assert_int_equal(ban_save(fx->t, fx->path), 0);
	assert_int_equal(ban_load(again, fx->path, 10, 1700000003000, &n_bad), 0);
	assert_int_equal(n_bad, 0);
	e.net = net("10.1.2.3", 24);
	assert_true(ban_find(again, &e.net, &out));
	assert_int_equal(out.until_mono_ms, 2010);
	assert_int_equal(out.forget_mono_ms, 6010);
	assert_int_equal(out.n_times, 3);
	assert_true(out.indirect && !out.is_past && is_banned(again, "10.1.2.9", 5));
	e.net = net("2001:db8::1", 0);
	assert_false(ban_find(again, &e.net, &out));
	e.net.is_trial = 1;
	assert_true(ban_find(again, &e.net, &out));
	table_free(again);
	/* over, but remembered; over and forgotten */
	again = table_new();
	assert_int_equal(ban_load(again, fx->path, 10, 1700000006000, &n_bad), 0);
	assert_int_equal(ban_n(again), 1);
	e.net = net("10.1.2.3", 24);
	assert_true(ban_find(again, &e.net, &out));
	assert_true(out.is_past);
	assert_false(is_banned(again, "10.1.2.9", 5));
	table_free(again);
	again = table_new();
	write_file(fx, "10.0.0.7 0 1 00000001 0 a rule\n10.0.0.8 0 1 00000000 1 \n"
		       "10.0.0.9 0 1 00000002 2 behind\n");
	assert_int_equal(ban_load(again, fx->path, 10, 1000, &n_bad), 0);
	assert_int_equal(n_bad, 0);
	assert_true(is_banned(again, "10.0.0.7", 5) && is_banned(again, "10.0.0.9", 5));
	e.net = net("10.0.0.9", 0);
	assert_true(ban_find(again, &e.net, &out) && out.indirect);
	table_free(again);
}

static void test_load_bad_lines(void **state)
{
	static const char *const bad[] = {
		"10.0.0.1",
		"",
		" 10.0.0.1 0 0 00000000 0 x",
		"10.0.0.1 0 0 00000000 3 x",
		"10.0.0.1 0 0 0000000 0 x",
		"10.0.0.1 0 0 0000000g 0 x",
		"10.0.0.1 -1 0 00000000 0 x",
		"10.0.0.1 0 99999999999999999999 00000000 0 x",
		"10.0.0.1/33 0 0 00000000 0 x",
		"10.0.0.1/0 0 0 00000000 0 x",
		"10.0.0.1/x 0 0 00000000 0 x",
		"2001:db8::/129 0 0 00000000 0 x",
		"10.0.0.1 0 0 00000000 0:1 x",
		"10.0.0.1 0 0 00000000 0:1:2 x",
		"10.0.0.1 0 0 00000000 0:1:2:3 x",
		"10.0.0.1 0 0 00000000 0:1:2:1:4 x",
		"10.0.0.1 0 0 00000000 0:x:2:1 x",
		"[::1] 0 0 00000000 0 x",
		"10.0.0.256 0 0 00000000 0 x",
		"example.com 0 0 00000000 0 x",
		"10.0.0.1 0 0 00000000 0 a\tb",
		"10.0.0.1  0 0 00000000 0 x",
	};
	struct fx *fx = *state;
	char text[9000] = "# a comment\n10.0.0.7 0 0 00000001 0 good\n";
	uint32_t n_bad;
	size_t n;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		strcat(text, bad[i]);
		strcat(text, "\n");
	}
	/* a line that is far too long, one with a reason that is, and one that is cut off at the
	 * end */
	n = strlen(text);
	memset(text + n, 'a', 3000);
	strcpy(text + n + 3000, "\n10.0.0.2 0 0 00000000 0 ");
	n = strlen(text);
	memset(text + n, 'r', BAN_REASON_MAX);
	strcpy(text + n + BAN_REASON_MAX,
	       "\n10.0.0.8 1 0 00000001 1 over\n10.0.0.3 0 0 00000000 0 cut");
	write_file(fx, text);
	assert_int_equal(ban_load(fx->t, fx->path, 10, 1000, &n_bad), 0);
	assert_int_equal(n_bad, sizeof bad / sizeof bad[0] + 3);
	assert_int_equal(ban_n(fx->t), 1);
	assert_true(is_banned(fx->t, "10.0.0.7", 1));
}

static void test_file_errors(void **state)
{
	struct fx *fx = *state;
	char path[128], longer[5000];
	uint32_t n_bad = 9;

	assert_int_equal(ban_load(fx->t, fx->path, 10, 1000, &n_bad), -SL_ESYS);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(n_bad, 0);
	snprintf(path, sizeof path, "%s/no/bans", fx->dir);
	assert_int_equal(ban_save(fx->t, path), -SL_ESYS);
	assert_int_equal(errno, ENOENT);
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	assert_int_equal(ban_save(fx->t, longer), -SL_ESYS);
	assert_int_equal(errno, ENAMETOOLONG);
	/* what cannot be replaced stays, and nothing is left beside it */
	assert_int_equal(mkdir(fx->path, 0700), 0);
	assert_int_equal(ban_save(fx->t, fx->path), -SL_ESYS);
	assert_int_equal(rmdir(fx->path), 0);
	/* a link that somebody put there is not followed */
	assert_int_equal(symlink("/etc/hosts", fx->path), 0);
	assert_int_equal(ban_load(fx->t, fx->path, 10, 1000, &n_bad), -SL_ESYS);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(ban_save(fx->t, fx->path), 0);
	assert_int_equal(ban_load(fx->t, fx->path, 10, 1000, &n_bad), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_check_remove),
		cmocka_unit_test(test_mapped_ipv6_is_ipv4),
		cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_sweep_and_next),
		cmocka_unit_test(test_offences_in_a_row),
		cmocka_unit_test(test_window_is_exact_for_few),
		cmocka_unit_test(test_window_of_many),
		cmocka_unit_test(test_evidence_is_bounded),
		cmocka_unit_test(test_workers_count_together),
		cmocka_unit_test(test_readers_beside_the_writer),
		cmocka_unit_test_setup_teardown(test_save_and_load, setup, teardown),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_networks_at_random),
		cmocka_unit_test(test_repeaters),
		cmocka_unit_test(test_memory_of_repeats),
		cmocka_unit_test(test_counts),
		cmocka_unit_test_setup_teardown(test_file_of_networks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_load_bad_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_errors, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
