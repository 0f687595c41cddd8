/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard's accessors against maps in the running kernel: addresses in and out, networks by
 * difference, bans, counters; with many entries, and with more than fit. */
#include "tests/bpf/rig.h"

static void test_addresses(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: refused */
		uint8_t family, prefix_len;
	} rows[] = {
		{"10.1.2.3", "10.1.2.3", 4, 32},
		{"10.1.2.3/8", "10.0.0.0", 4, 8},
		{"255.255.255.255/1", "128.0.0.0", 4, 1},
		{"192.0.2.77/30", "192.0.2.76", 4, 30},
		{"0.0.0.0/0", "0.0.0.0", 4, 0},
		{"2001:db8::1", "2001:db8::1", 6, 128},
		{"2001:db8:ffff::/33", "2001:db8:8000::", 6, 33},
		{"::/0", "::", 6, 0},
		{"::ffff:10.1.2.3", "10.1.2.3", 4, 32},
		{"::ffff:10.1.2.3/104", "10.0.0.0", 4, 8},
		{"::ffff:10.1.2.3/95", NULL, 0, 0},
		{"10.0.0.0/33", NULL, 0, 0},
		{"10.0.0.0/08", NULL, 0, 0},
		{"10.0.0.0/", NULL, 0, 0},
		{"10.0.0.0/-1", NULL, 0, 0},
		{"10.0.0.0/+1", NULL, 0, 0},
		{"10.0.0.0/8 ", NULL, 0, 0},
		{"10.0.0/8", NULL, 0, 0},
		{"010.0.0.1", NULL, 0, 0},
		{"2001:db8::/129", NULL, 0, 0},
		{"2001:db8::1%lo", NULL, 0, 0},
		{"localhost", NULL, 0, 0},
		{"", NULL, 0, 0},
		{"/8", NULL, 0, 0},
		{"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", NULL, 0, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[GUARD_ADDR_TEXT_MAX];
		struct guard_cidr c;
		int rc = guard_addr_cidr_from_text(&c, rows[i].text);

		if (rc != (rows[i].want ? 0 : -SL_EINVAL))
			fail_msg("%s: %d", rows[i].text, rc);
		if (rc)
			continue;
		assert_int_equal(c.addr.family, rows[i].family);
		assert_int_equal(c.prefix_len, rows[i].prefix_len);
		assert_string_equal(guard_addr_to_text(&c.addr, text), rows[i].want);
	}
}

static void test_sockaddrs(void **state)
{
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr local = {.sa_family = AF_UNIX};
	struct guard_addr a, want = rig_addr_of("192.0.2.1");

	inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr);
	inet_pton(AF_INET6, "::ffff:192.0.2.1", &mapped.sin6_addr);
	assert_true(guard_addr_from_sockaddr(&a, (void *)&v4));
	assert_memory_equal(&a, &want, sizeof a);
	assert_true(guard_addr_from_sockaddr(&a, (void *)&mapped));
	assert_memory_equal(&a, &want, sizeof a);
	assert_false(guard_addr_from_sockaddr(&a, &local));
	inet_pton(AF_INET6, "2001:db8::9", &mapped.sin6_addr);
	want = rig_addr_of("2001:db8::9");
	assert_true(guard_addr_from_sockaddr(&a, (void *)&mapped));
	assert_memory_equal(&a, &want, sizeof a);
}

static struct guard_cidr cidr_of(const char *text)
{
	struct guard_cidr c;

	assert_int_equal(guard_addr_cidr_from_text(&c, text), 0);
	return c;
}

struct key_count {
	size_t n;
	uint32_t rule_id;
};

static int count_key(void *arg, const void *key, const void *value)
{
	struct key_count *k = arg;

	k->n++;
	k->rule_id = ((const struct guard_net *)value)->rule_id;
	return 0;
}

static void assert_nets(const struct guard_maps *m, enum guard_map map, size_t n, uint32_t rule_id)
{
	bool is_v4 = map == GUARD_MAP_DENY_NET_V4;
	struct key_count k = {0};

	assert_int_equal(guard_maps_each(m->fd[map], is_v4 ? 8 : 20, sizeof(struct guard_net),
					 GUARD_BATCH, count_key, &k),
			 0);
	assert_int_equal(k.n, n);
	assert_int_equal(k.rule_id, n ? rule_id : 0);
}

static void test_networks_by_difference(void **state)
{
	struct guard *g = rig_open(0);
	const struct guard_maps *m = guard_maps(g);
	const struct guard_cidr first[] = {cidr_of("10.0.0.0/8"), cidr_of("10.9.9.9/8"),
					   cidr_of("192.0.2.1"), cidr_of("2001:db8::/32")};
	const struct guard_cidr second[] = {cidr_of("192.0.2.1"), cidr_of("2001:db8::/48"),
					    cidr_of("2001:db8::/32")};
	struct guard_settings set;

	assert_int_equal(guard_nets_set_deny(m, first, 4, 5, rig_err, sizeof rig_err), 0);
	assert_nets(m, GUARD_MAP_DENY_NET_V4, 2, 5);
	assert_nets(m, GUARD_MAP_DENY_NET_V6, 1, 5);
	assert_int_equal(guard_nets_set_deny(m, second, 3, 6, rig_err, sizeof rig_err), 0);
	assert_nets(m, GUARD_MAP_DENY_NET_V4, 1, 6);
	assert_nets(m, GUARD_MAP_DENY_NET_V6, 2, 6);
	assert_int_equal(guard_nets_set_allow(m, first, 4, rig_err, sizeof rig_err), 0);
	assert_int_equal(guard_maps_get_settings(m, &set), 0);
	assert_int_equal(set.n_deny_net_v4, 1);
	assert_int_equal(set.n_deny_net_v6, 2);
	assert_int_equal(set.n_allow_v4, 2);
	assert_int_equal(set.n_allow_v6, 1);
	assert_int_equal(guard_nets_set_deny(m, NULL, 0, 0, rig_err, sizeof rig_err), 0);
	assert_nets(m, GUARD_MAP_DENY_NET_V4, 0, 0);
	assert_nets(m, GUARD_MAP_DENY_NET_V6, 0, 0);
	assert_int_equal(guard_maps_get_settings(m, &set), 0);
	assert_int_equal(set.n_deny_net_v4 + set.n_deny_net_v6, 0);
	guard_close(g, GUARD_CLOSE_REMOVE);
}

static void test_too_many_networks(void **state)
{
	size_t n = GUARD_ALLOW_MAX + 1;
	struct guard_cidr *nets = calloc(n, sizeof *nets);
	struct guard *g = rig_open(0);

	for (size_t i = 0; i < n; i++) {
		nets[i].addr.family = 4;
		memcpy(nets[i].addr.bytes, &(uint32_t){htonl((uint32_t)i)}, 4);
		nets[i].prefix_len = 32;
	}
	assert_int_equal(guard_nets_set_allow(guard_maps(g), nets, n, rig_err, sizeof rig_err),
			 -SL_ELIMIT);
	assert_non_null(strstr(rig_err, "allow_v4"));
	assert_int_equal(guard_nets_set_allow(guard_maps(g), nets, n - 1, rig_err, sizeof rig_err),
			 0);
	free(nets);
	guard_close(g, GUARD_CLOSE_REMOVE);
}

static void test_bans(void **state)
{
	struct guard *g = rig_open(4);
	const struct guard_maps *m = guard_maps(g);
	struct guard_addr a = rig_addr_of("192.0.2.1");
	struct guard_ban b = {.expires_ns = 1000, .rule_id = 1};
	struct guard_deny d;

	assert_int_equal(guard_deny_get(m, &a, &d), -SL_ENOTFOUND);
	assert_int_equal(guard_deny_del(m, &a), -SL_ENOTFOUND);
	assert_int_equal(guard_deny_add(m, &a, &b, 500), 0);
	assert_int_equal(guard_deny_get(m, &a, &d), 0);
	assert_int_equal(d.banned_at_ns, 500);
	d.packets = 77;
	bpf_map_update_elem(m->fd[GUARD_MAP_DENY_V4], a.bytes, &d, BPF_ANY);
	/* Prolonged: it goes on counting. Anew after its end: it starts again. */
	b = (struct guard_ban){.expires_ns = 2000, .rule_id = 2, .flags = GUARD_DENY_DRY_RUN};
	assert_int_equal(guard_deny_add(m, &a, &b, 999), 0);
	assert_int_equal(guard_deny_get(m, &a, &d), 0);
	assert_int_equal(d.packets, 77);
	assert_int_equal(d.banned_at_ns, 500);
	assert_int_equal(d.expires_ns, 2000);
	assert_int_equal(d.rule_id, 2);
	assert_int_equal(d.flags, GUARD_DENY_DRY_RUN);
	assert_int_equal(guard_deny_add(m, &a, &b, 2000), 0);
	assert_int_equal(guard_deny_get(m, &a, &d), 0);
	assert_int_equal(d.packets, 0);
	assert_int_equal(d.banned_at_ns, 2000);

	rig_ban(g, "192.0.2.2", 0);
	rig_ban(g, "192.0.2.3", 3000);
	rig_ban(g, "192.0.2.4", 0);
	a = rig_addr_of("192.0.2.5");
	assert_int_equal(guard_deny_add(m, &a, &b, 0), -SL_ELIMIT);
	assert_int_equal(guard_deny_sweep(m, 1999), 0);
	assert_int_equal(guard_deny_sweep(m, 2000), 1);
	assert_int_equal(guard_deny_add(m, &a, &b, 0), 0);
	assert_int_equal(guard_deny_sweep(m, UINT64_MAX), 2);
	assert_true(rig_is_banned(g, "192.0.2.2"));
	assert_true(rig_is_banned(g, "192.0.2.4"));
	guard_close(g, GUARD_CLOSE_REMOVE);
}

static int count_ban(void *arg, const struct guard_addr *addr, const struct guard_deny *deny)
{
	int *n = arg;

	return ++n[addr->family == 6] == 5000 ? 42 : 0;
}

static void test_many_bans(void **state)
{
	struct guard *g = rig_open(0);
	const struct guard_maps *m = guard_maps(g);
	int n[2] = {0};

	for (uint32_t i = 0; i < 9000; i++) {
		const struct guard_ban b = {.expires_ns = i % 2 ? 10 : 0};
		struct guard_addr a = {.family = i < 4000 ? 4 : 6};

		memcpy(a.bytes, &i, sizeof i);
		assert_int_equal(guard_deny_add(m, &a, &b, 1), 0);
	}
	assert_int_equal(guard_deny_each(m, count_ban, n), 42);
	assert_int_equal(n[0], 4000);
	assert_int_equal(n[1], 5000);
	assert_int_equal(guard_deny_sweep(m, 10), 4500);
	n[0] = n[1] = 0;
	assert_int_equal(guard_deny_each(m, count_ban, n), 0);
	assert_int_equal(n[0], 2000);
	assert_int_equal(n[1], 2500);
	guard_close(g, GUARD_CLOSE_REMOVE);
}

static void fill_sources(const struct guard_maps *m)
{
	for (uint32_t i = 0; i < 6000; i++) {
		const struct guard_source s = {.packets = i * 7919 % 6000 + 1, .syns = i};
		uint8_t key[16] = {0x20, 1};
		bool is_v6 = i % 3 == 0;

		memcpy(key + 4 * is_v6, &i, sizeof i);
		assert_int_equal(bpf_map_update_elem(
					 m->fd[is_v6 ? GUARD_MAP_SOURCES_V6 : GUARD_MAP_SOURCES_V4],
					 key, &s, BPF_ANY),
				 0);
	}
}

static int count_source(void *arg, const void *key, const void *value)
{
	++*(size_t *)arg;
	return 0;
}

/* 4,000 entries in 65,536 buckets: some hold two or three. */
static void test_batches_smaller_than_a_bucket(void **state)
{
	struct guard *g = rig_open(0);
	const struct guard_maps *m = guard_maps(g);

	fill_sources(m);
	for (uint32_t n_batch = 1; n_batch <= 4096; n_batch *= 8) {
		size_t n = 0;

		assert_int_equal(
			guard_maps_each(m->fd[GUARD_MAP_SOURCES_V4], sizeof(struct guard_v4),
					sizeof(struct guard_source), n_batch, count_source, &n),
			0);
		assert_int_equal(n, 4000);
	}
	guard_close(g, GUARD_CLOSE_REMOVE);
}

static void test_top_sources(void **state)
{
	static struct guard_source_entry top[7000];
	struct guard *g = rig_open(0);
	const struct guard_maps *m = guard_maps(g);
	bool has_v4 = false, has_v6 = false;

	assert_int_equal(guard_stats_top(m, top, 10), 0);
	fill_sources(m);
	assert_int_equal(guard_stats_top(m, top, 0), 0);
	assert_int_equal(guard_stats_top(m, top, 50), 50);
	for (uint32_t i = 0; i < 50; i++) {
		uint32_t n = (uint32_t)top[i].counts.syns;
		bool is_v6 = n % 3 == 0;

		assert_int_equal(top[i].counts.packets, 6000 - i);
		assert_int_equal(top[i].addr.family, is_v6 ? 6 : 4);
		assert_memory_equal(top[i].addr.bytes + 4 * is_v6, &n, 4);
		has_v4 |= !is_v6;
		has_v6 |= is_v6;
	}
	assert_true(has_v4 && has_v6);
	assert_int_equal(guard_stats_top(m, top, 7000), 6000);
	assert_int_equal(top[5999].counts.packets, 1);
	guard_close(g, GUARD_CLOSE_REMOVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_sockaddrs),
		cmocka_unit_test(test_networks_by_difference),
		cmocka_unit_test(test_too_many_networks),
		cmocka_unit_test(test_bans),
		cmocka_unit_test(test_many_bans),
		cmocka_unit_test(test_batches_smaller_than_a_bucket),
		cmocka_unit_test(test_top_sources),
	};

	rig_enter();
	return cmocka_run_group_tests_name("guard_maps", tests, NULL, NULL);
}
