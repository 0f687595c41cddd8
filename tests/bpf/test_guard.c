/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard's program by BPF_PROG_RUN: each way through the parser, under each list, must give the
 * right verdict, leave the packet alone and count in the right places. make bench-xdp prints what
 * a packet costs. */
#include "tests/bpf/rig.h"

#include <linux/if_ether.h>

struct parse_case {
	const char *words;	       /* rig_word()'s; behind Ethernet */
	enum guard_total_index expect; /* when the source is in no list */
	bool is_syn;
	int length_off;	    /* added to the length in the IP header */
	uint8_t first_byte; /* of the IP header, instead of the right one */
	bool is_unknown;    /* no source address can be told */
};

static const struct parse_case cases[] = {
	/* IPv4 */
	{.words = "ip4 tcp=S", .is_syn = true},
	{.words = "ip4 tcp=SA"},
	{.words = "ip4 tcp=A data=100"},
	{.words = "ip4 tcp=R"},
	{.words = "ip4 udp data=18"},
	{.words = "ip4 udp data=18", .length_off = -18},
	{.words = "ip4 proto=1"},
	{.words = "ip4 proto=253"},
	{.words = "ip4opt=4 tcp=S", .is_syn = true},
	{.words = "ip4opt=40 tcp=S data=9", .is_syn = true},
	{.words = "ip4opt=40 tcp=A"},
	{.words = "ip4opt=8 udp"},
	{.words = "ip4frag=4000 tcp=S", .is_syn = true},
	{.words = "ip4frag=2000 tcp=S data=64", .is_syn = true},
	{.words = "ip4frag=2005 tcp=S"},
	{.words = "ip4frag=00b9 tcp=S"},
	{.words = "ip4frag=1fff proto=6"},
	/* IPv6 */
	{.words = "ip6 tcp=S", .is_syn = true},
	{.words = "ip6 tcp=SA"},
	{.words = "ip6 udp data=40"},
	{.words = "ip6 proto=58"},
	{.words = "ip6 proto=59"},
	{.words = "ip6 proto=50"},
	{.words = "ip6 hop=0 tcp=S", .is_syn = true},
	{.words = "ip6 hop=3 udp"},
	{.words = "ip6 route=2 tcp=S", .is_syn = true},
	{.words = "ip6 dst=0 tcp=S", .is_syn = true},
	{.words = "ip6 dst=255 tcp=S", .is_syn = true},
	{.words = "ip6 mobility=1 tcp=S", .is_syn = true},
	{.words = "ip6 ah=4 tcp=S", .is_syn = true},
	{.words = "ip6 ah=1 tcp=A"},
	{.words = "ip6 frag=1 tcp=S", .is_syn = true},
	{.words = "ip6 frag=0 tcp=S", .is_syn = true},
	{.words = "ip6 frag=8 tcp=S"},
	{.words = "ip6 frag=ffff tcp=S"},
	{.words = "ip6 hop=1 dst=1 route=2 frag=1 ah=4 dst=2 tcp=S", .is_syn = true},
	{.words = "ip6 hop=1 dst=1 route=2 frag=9 ah=4 dst=2 tcp=S"},
	{.words = "ip6 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 tcp=S", .is_syn = true},
	{.words = "ip6 hop=0 tcp=S", .length_off = -28, .is_syn = true}, /* as a jumbogram has it */
	/* VLAN tags */
	{.words = "q ip4 tcp=S", .is_syn = true},
	{.words = "ad ip4 udp"},
	{.words = "q ip6 tcp=S", .is_syn = true},
	{.words = "ad q ip4opt=12 tcp=S", .is_syn = true},
	{.words = "q q ip4frag=2005 tcp=S"},
	{.words = "ad q ip6 tcp=S", .is_syn = true},
	{.words = "q ad ip6 hop=0 frag=1 tcp=S", .is_syn = true},
	{.words = "q q q ip4 tcp=S", .expect = GUARD_VLAN_DEEP, .is_unknown = true},
	{.words = "ad q q ip6 tcp=S", .expect = GUARD_VLAN_DEEP, .is_unknown = true},
	{.words = "q q ad ip4 udp", .expect = GUARD_VLAN_DEEP, .is_unknown = true},
	/* Not IP */
	{.words = "type=806", .expect = GUARD_NOT_IP, .is_unknown = true},
	{.words = "type=88cc", .expect = GUARD_NOT_IP, .is_unknown = true},
	{.words = "type=2e", .expect = GUARD_NOT_IP, .is_unknown = true},
	{.words = "q type=806", .expect = GUARD_NOT_IP, .is_unknown = true},
	{.words = "ad q type=8847", .expect = GUARD_NOT_IP, .is_unknown = true},
	/* Broken, the source readable */
	{.words = "ip4 udp", .first_byte = 0x44, .expect = GUARD_MALFORMED},
	{.words = "ip4 tcp=S", .first_byte = 0x40, .expect = GUARD_MALFORMED},
	{.words = "ip4 udp", .first_byte = 0x4f, .expect = GUARD_MALFORMED},
	{.words = "ip4 udp", .length_off = 1, .expect = GUARD_MALFORMED},
	{.words = "ip4 udp", .length_off = -9, .expect = GUARD_MALFORMED},
	{.words = "ip4opt=8 udp", .length_off = -9, .expect = GUARD_MALFORMED},
	{.words = "ip4 proto=6", .expect = GUARD_MALFORMED},
	{.words = "ip4opt=4 proto=6", .expect = GUARD_MALFORMED},
	{.words = "ip4 tcp=S data=6", .length_off = -7, .expect = GUARD_MALFORMED},
	{.words = "ip4opt=4 tcp=S data=6", .length_off = -7, .expect = GUARD_MALFORMED},
	{.words = "q ip4frag=2000 proto=6", .expect = GUARD_MALFORMED},
	{.words = "ip6 udp", .length_off = 1, .expect = GUARD_MALFORMED},
	{.words = "ip6 proto=6", .expect = GUARD_MALFORMED},
	{.words = "ip6", .expect = GUARD_MALFORMED},
	{.words = "ip6 proto=0", .expect = GUARD_MALFORMED},
	{.words = "ip6 dst=0 proto=6", .expect = GUARD_MALFORMED},
	{.words = "ip6 hop=1 udp", .length_off = -9, .expect = GUARD_MALFORMED},
	{.words = "ip6 dst=0 tcp=S", .length_off = -1, .expect = GUARD_MALFORMED},
	{.words = "ip6 ah=9", .expect = GUARD_MALFORMED},
	{.words = "q q ip6 frag=1", .expect = GUARD_MALFORMED},
	{.words = "ip6 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 tcp=S",
	 .expect = GUARD_MALFORMED},
	/* Broken, and no source to be told */
	{.words = "ip4 udp", .first_byte = 0x65, .expect = GUARD_MALFORMED, .is_unknown = true},
	{.words = "ip6 udp", .first_byte = 0x45, .expect = GUARD_MALFORMED, .is_unknown = true},
	{.words = "q ip4 udp", .first_byte = 0x05, .expect = GUARD_MALFORMED, .is_unknown = true},
};

#define N_CASES (sizeof cases / sizeof cases[0])

static struct guard *guard;
static const struct guard_maps *maps;

static int open_guard(void **state)
{
	const struct guard_options opt = {.pin_dir = rig_pin_dir};

	if (guard_open(&guard, &opt, rig_err, sizeof rig_err)) {
		fprintf(stderr, "guard_open: %s\n", rig_err);
		return -1;
	}
	maps = guard_maps(guard);
	return 0;
}

static int close_guard(void **state)
{
	guard_close(guard, GUARD_CLOSE_REMOVE);
	return 0;
}

static int delete_ban(void *arg, const struct guard_addr *addr, const struct guard_deny *deny)
{
	return guard_deny_del(maps, addr);
}

/* Empty lists, no sources, defaults. */
static int reset(void **state)
{
	struct guard_addr v4 = rig_addr(4), v6 = rig_addr(6);

	assert_int_equal(guard_nets_set_allow(maps, NULL, 0, rig_err, sizeof rig_err), 0);
	assert_int_equal(guard_nets_set_deny(maps, NULL, 0, 0, rig_err, sizeof rig_err), 0);
	assert_int_equal(guard_deny_each(maps, delete_ban, NULL), 0);
	assert_int_equal(guard_maps_set_flags(maps, false, true), 0);
	bpf_map_delete_elem(maps->fd[GUARD_MAP_SOURCES_V4], v4.bytes);
	bpf_map_delete_elem(maps->fd[GUARD_MAP_SOURCES_V6], v6.bytes);
	return 0;
}

static void build_case(struct rig_packet *p, const struct parse_case *c)
{
	rig_build(p, c->words, c->length_off);
	if (c->first_byte)
		p->bytes[p->l3_at] = c->first_byte;
}

/* The packet counts in INDEX and nowhere else. */
static void run_and_expect(const char *what, const void *bytes, size_t n,
			   enum guard_total_index index)
{
	struct guard_total before[GUARD_N_TOTALS], after[GUARD_N_TOTALS];
	bool is_drop = index == GUARD_DROP_DENY || index == GUARD_DROP_NET;
	unsigned verdict;

	assert_int_equal(guard_stats_totals(maps, before), 0);
	verdict = rig_run(guard, bytes, n);
	assert_int_equal(guard_stats_totals(maps, after), 0);
	if (verdict != (is_drop ? XDP_DROP : XDP_PASS))
		fail_msg("%s: verdict %u", what, verdict);
	for (int i = 0; i < GUARD_N_TOTALS; i++) {
		uint64_t packets = after[i].packets - before[i].packets;
		uint64_t want = i == (int)index;

		if (packets != want || after[i].bytes - before[i].bytes != want * n)
			fail_msg("%s: counts %d times in %s, not %d", what, (int)packets,
				 guard_stats_total_name(i), (int)want);
	}
}

static void expect_source(const char *what, int family, uint64_t packets, uint64_t bytes,
			  uint64_t syns, uint64_t drops)
{
	struct guard_addr a = rig_addr(family);
	struct guard_source s = {0};

	if (guard_stats_source(maps, &a, &s) && packets)
		fail_msg("%s: no source", what);
	if (s.packets != packets || s.bytes != bytes || s.syns != syns || s.drops != drops)
		fail_msg("%s: source has %d packets, %d bytes, %d SYNs, %d drops", what,
			 (int)s.packets, (int)s.bytes, (int)s.syns, (int)s.drops);
}

static struct guard_cidr net_of(int family, uint8_t prefix_len)
{
	struct guard_cidr c;
	char addr[GUARD_ADDR_TEXT_MAX], text[GUARD_ADDR_TEXT_MAX + 4];
	struct guard_addr a = rig_addr(family);

	snprintf(text, sizeof text, "%s/%u", guard_addr_to_text(&a, addr), prefix_len);
	assert_int_equal(guard_addr_cidr_from_text(&c, text), 0);
	return c;
}

static void ban(int family, uint64_t expires_ns, uint32_t flags)
{
	const struct guard_ban b = {.expires_ns = expires_ns, .rule_id = 7, .flags = flags};
	struct guard_addr a = rig_addr(family);

	assert_int_equal(guard_deny_add(maps, &a, &b, clock_mono_ns()), 0);
}

static void ban_both(uint64_t expires_ns, uint32_t flags)
{
	ban(4, expires_ns, flags);
	ban(6, expires_ns, flags);
}

static void deny_nets(uint8_t len_v4, uint8_t len_v6)
{
	const struct guard_cidr nets[2] = {net_of(4, len_v4), net_of(6, len_v6)};

	assert_int_equal(guard_nets_set_deny(maps, nets, 2, 9, rig_err, sizeof rig_err), 0);
}

static void allow_nets(uint8_t len_v4, uint8_t len_v6)
{
	const struct guard_cidr nets[2] = {net_of(4, len_v4), net_of(6, len_v6)};

	assert_int_equal(guard_nets_set_allow(maps, nets, 2, rig_err, sizeof rig_err), 0);
}

/* Every case, once; those whose source is known are expected in KNOWN, or where they would be in no
 * list when KNOWN is GUARD_N_TOTALS. */
static void run_cases(enum guard_total_index known)
{
	for (size_t i = 0; i < N_CASES; i++) {
		const struct parse_case *c = &cases[i];
		struct rig_packet p;

		build_case(&p, c);
		run_and_expect(c->words, p.bytes, p.n,
			       c->is_unknown || known == GUARD_N_TOTALS ? c->expect : known);
	}
}

static void test_no_list(void **state)
{
	for (size_t i = 0; i < N_CASES; i++) {
		const struct parse_case *c = &cases[i];
		struct rig_packet p;

		reset(NULL);
		build_case(&p, c);
		run_and_expect(c->words, p.bytes, p.n, c->expect);
		for (int family = 4; family <= 6; family += 2) {
			bool is_it = p.l3_family == family && !c->is_unknown;

			expect_source(c->words, family, is_it, is_it ? p.n : 0, is_it && c->is_syn,
				      0);
		}
	}
}

static void test_denied(void **state)
{
	for (size_t i = 0; i < N_CASES; i++) {
		const struct parse_case *c = &cases[i];
		struct guard_deny deny;
		struct guard_addr a;
		struct rig_packet p;

		reset(NULL);
		ban_both(0, 0);
		build_case(&p, c);
		run_and_expect(c->words, p.bytes, p.n, c->is_unknown ? c->expect : GUARD_DROP_DENY);
		if (c->is_unknown)
			continue;
		expect_source(c->words, p.l3_family, 1, p.n, 0, 1);
		a = rig_addr(p.l3_family);
		assert_int_equal(guard_deny_get(maps, &a, &deny), 0);
		assert_int_equal(deny.packets, 1);
		assert_int_equal(deny.bytes, p.n);
		assert_int_equal(deny.rule_id, 7);
	}
}

static void test_denied_network(void **state)
{
	deny_nets(24, 64);
	run_cases(GUARD_DROP_NET);
	/* Nobody but the network was in a list: no entry was bought by its packets. */
	expect_source("network", 4, 0, 0, 0, 0);
	expect_source("network", 6, 0, 0, 0, 0);
	deny_nets(32, 128);
	run_cases(GUARD_DROP_NET);
	deny_nets(0, 0);
	run_cases(GUARD_DROP_NET);
}

static void test_network_drop_counts_at_the_network(void **state)
{
	struct guard_net net;
	struct guard_cidr c = net_of(4, 8);
	struct guard_cidr_v4 key = {.prefix_len = 8};
	struct rig_packet p;

	rig_build(&p, "ip4 tcp=S", 0);
	run_and_expect("before", p.bytes, p.n, GUARD_PASS);
	deny_nets(8, 32);
	run_and_expect("after", p.bytes, p.n, GUARD_DROP_NET);
	expect_source("known", 4, 1, p.n, 1, 0);
	memcpy(key.addr, c.addr.bytes, sizeof key.addr);
	assert_int_equal(bpf_map_lookup_elem(maps->fd[GUARD_MAP_DENY_NET_V4], &key, &net), 0);
	assert_int_equal(net.packets, 1);
	assert_int_equal(net.bytes, p.n);
}

static void test_allow_beats_all(void **state)
{
	ban_both(0, 0);
	deny_nets(32, 128);
	allow_nets(8, 16);
	run_cases(GUARD_PASS_ALLOW);
	allow_nets(32, 128);
	run_cases(GUARD_PASS_ALLOW);
}

static void test_ban_with_time_left(void **state)
{
	ban_both(clock_mono_ns() + 3600ull * 1000000000, 0);
	run_cases(GUARD_DROP_DENY);
}

static void test_ban_ends_by_itself(void **state)
{
	uint64_t end_ns = clock_mono_ns() + 300 * 1000000ull;
	struct rig_packet p;

	ban_both(end_ns, 0);
	rig_build(&p, "q ip6 tcp=S", 0);
	run_and_expect("in time", p.bytes, p.n, GUARD_DROP_DENY);
	/* The program's clock lags by at most a tick: 10 ms where HZ is 100. */
	while (clock_mono_ns() < end_ns + 20 * 1000000ull)
		usleep(5000);
	run_and_expect("over", p.bytes, p.n, GUARD_EXPIRED);
	for (size_t i = 0; i < N_CASES; i++) {
		build_case(&p, &cases[i]);
		run_and_expect(cases[i].words, p.bytes, p.n,
			       cases[i].expect == GUARD_PASS ? GUARD_EXPIRED : cases[i].expect);
	}
	deny_nets(24, 64);
	run_cases(GUARD_DROP_NET);
}

static void test_dry_run(void **state)
{
	struct guard_addr a = rig_addr(4);
	struct guard_deny deny;

	ban_both(0, 0);
	assert_int_equal(guard_maps_set_flags(maps, true, true), 0);
	run_cases(GUARD_WOULD_DROP);
	assert_int_equal(guard_deny_get(maps, &a, &deny), 0);
	assert_true(deny.packets > 10);
	assert_int_equal(guard_deny_each(maps, delete_ban, NULL), 0);
	deny_nets(24, 64);
	run_cases(GUARD_WOULD_DROP);
	assert_int_equal(guard_maps_set_flags(maps, false, true), 0);
	run_cases(GUARD_DROP_NET);
}

static void test_dry_run_of_one_ban_hides_no_network(void **state)
{
	ban_both(0, GUARD_DENY_DRY_RUN);
	run_cases(GUARD_WOULD_DROP);
	deny_nets(24, 64);
	run_cases(GUARD_DROP_NET);
}

/* Cut at every length: a banned source drops as soon as its address is there, all else passes. */
static void test_cut_short(void **state)
{
	ban_both(0, 0);
	for (size_t i = 0; i < N_CASES; i++) {
		const struct parse_case *c = &cases[i];
		struct rig_packet p;

		build_case(&p, c);
		for (size_t n = ETH_HLEN; n < p.n; n++) {
			bool has_addr = p.l3_family && !c->is_unknown &&
					n >= p.l3_at + (p.l3_family == 4 ? 20 : 40);
			unsigned verdict = rig_run(guard, p.bytes, n);

			if (verdict != (has_addr ? XDP_DROP : XDP_PASS))
				fail_msg("%s cut to %zu: verdict %u", c->words, n, verdict);
		}
	}
}

static void test_cut_short_counts_as_malformed(void **state)
{
	struct rig_packet p;

	rig_build(&p, "ad q ip6 hop=0 frag=1 dst=1 tcp=S data=10", 0);
	for (size_t n = ETH_HLEN; n < p.n; n++)
		run_and_expect("cut", p.bytes, n, GUARD_MALFORMED);
	rig_build(&p, "q ip4opt=20 tcp=S data=10", 0);
	for (size_t n = ETH_HLEN; n < p.n; n++)
		run_and_expect("cut", p.bytes, n, GUARD_MALFORMED);
	expect_source("cut", 4, 10 + 20 + 20, 50 * 38 + 49 * 25, 0, 0);
}

/* Larger than a page: the driver hands it over in pieces, and all of it counts. */
static void test_large_frame(void **state)
{
	static uint8_t frame[9014];
	struct rig_packet p;
	uint16_t len = htons(9000);

	rig_build(&p, "ip4opt=4 tcp=S", 0);
	memcpy(frame, p.bytes, p.n);
	memcpy(frame + p.l3_at + 2, &len, 2);
	run_and_expect("jumbo", frame, sizeof frame, GUARD_PASS);
	expect_source("jumbo", 4, 1, sizeof frame, 1, 0);
	ban(4, 0, 0);
	run_and_expect("jumbo", frame, sizeof frame, GUARD_DROP_DENY);
}

static void test_source_counters(void **state)
{
	uint64_t start_ns = clock_mono_ns();
	struct guard_addr a = rig_addr(6);
	struct guard_source s;
	struct rig_packet p;

	rig_build(&p, "ip6 tcp=S", 0);
	for (int i = 0; i < 3; i++)
		rig_run(guard, p.bytes, p.n);
	usleep(30000);
	rig_build(&p, "ip6 tcp=A data=26", 0);
	rig_run(guard, p.bytes, p.n);
	expect_source("sum", 6, 4, 3 * 74 + 100, 3, 0);
	assert_int_equal(guard_stats_source(maps, &a, &s), 0);
	assert_true(s.first_seen_ns + 20000000 >= start_ns);
	assert_true(s.first_seen_ns + 15000000 < s.last_seen_ns);
	assert_true(s.last_seen_ns <= clock_mono_ns());

	assert_int_equal(guard_maps_set_flags(maps, false, false), 0);
	run_and_expect("uncounted", p.bytes, p.n, GUARD_PASS);
	expect_source("uncounted", 6, 4, 3 * 74 + 100, 3, 0);
}

/* Lists hold who is in them, and nobody beside. */
static void test_neighbours_pass(void **state)
{
	static const struct {
		int family;
		size_t byte;
		uint8_t bit;
	} beside[] = {{4, 3, 1}, {4, 0, 0x80}, {6, 15, 1}, {6, 0, 0x80}, {6, 8, 1}};

	for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
		size_t src_at = ETH_HLEN + (beside[i].family == 4 ? 12 : 8);
		struct rig_packet p;

		reset(NULL);
		ban_both(0, 0);
		deny_nets(32, 128);
		rig_build(&p, beside[i].family == 4 ? "ip4 tcp=S" : "ip6 tcp=S", 0);
		run_and_expect("itself", p.bytes, p.n, GUARD_DROP_DENY);
		p.bytes[src_at + beside[i].byte] ^= beside[i].bit;
		run_and_expect("beside", p.bytes, p.n, GUARD_PASS);
	}
}

/* The filter in front of the lists misses no network, however long; and forgets what went. */
static void test_networks_of_every_length(void **state)
{
	for (int family = 4; family <= 6; family += 2) {
		struct rig_packet p;

		rig_build(&p, family == 4 ? "ip4 udp" : "ip6 udp", 0);
		for (int len = 0; len <= (family == 4 ? 32 : 128); len++) {
			const struct guard_cidr net = net_of(family, (uint8_t)len);

			assert_int_equal(
				guard_nets_set_deny(maps, &net, 1, 9, rig_err, sizeof rig_err), 0);
			run_and_expect("network", p.bytes, p.n, GUARD_DROP_NET);
			assert_int_equal(
				guard_nets_set_deny(maps, NULL, 0, 9, rig_err, sizeof rig_err), 0);
			assert_int_equal(guard_filter_rebuild(maps), 0);
			for (size_t i = 0; i < GUARD_FILTER_WORDS; i++)
				if (maps->filter[i])
					fail_msg("word %zu is left of length %d", i, len);
			run_and_expect("none", p.bytes, p.n, GUARD_PASS);
		}
	}
}

static void test_filter_has_what_maps_have(void **state)
{
	static uint64_t before[GUARD_FILTER_WORDS];
	uint64_t n_bits = 0;

	ban_both(0, 0);
	deny_nets(13, 40);
	allow_nets(20, 48);
	memcpy(before, maps->filter, sizeof before);
	assert_int_equal(guard_filter_rebuild(maps), 0);
	for (size_t i = 0; i < GUARD_FILTER_WORDS; i++) {
		assert_int_equal(maps->filter[i] & ~before[i], 0);
		n_bits += (uint64_t)__builtin_popcountll(maps->filter[i]);
	}
	/* 192.0.0.0/13: 2,048 of /24 and 8 of /16; the /16 that is allowed; 2001:db8::/40 and ::/48 by their first
	 * 32 bits, the ban by 64. */
	assert_int_equal(n_bits, 2048 + 8 + 1 + 2);
	run_cases(GUARD_PASS_ALLOW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_no_list, reset),
		cmocka_unit_test_setup(test_denied, reset),
		cmocka_unit_test_setup(test_denied_network, reset),
		cmocka_unit_test_setup(test_network_drop_counts_at_the_network, reset),
		cmocka_unit_test_setup(test_allow_beats_all, reset),
		cmocka_unit_test_setup(test_ban_with_time_left, reset),
		cmocka_unit_test_setup(test_ban_ends_by_itself, reset),
		cmocka_unit_test_setup(test_dry_run, reset),
		cmocka_unit_test_setup(test_dry_run_of_one_ban_hides_no_network, reset),
		cmocka_unit_test_setup(test_cut_short, reset),
		cmocka_unit_test_setup(test_cut_short_counts_as_malformed, reset),
		cmocka_unit_test_setup(test_large_frame, reset),
		cmocka_unit_test_setup(test_source_counters, reset),
		cmocka_unit_test_setup(test_neighbours_pass, reset),
		cmocka_unit_test_setup(test_networks_of_every_length, reset),
		cmocka_unit_test_setup(test_filter_has_what_maps_have, reset),
	};

	rig_enter();
	return cmocka_run_group_tests_name("guard", tests, open_guard, close_guard);
}
