/* SPDX-License-Identifier: BSD-2-Clause */
/* The rates by BPF_PROG_RUN: how many pass, at the border too; what counts as a ClientHello; networks of
 * IPv6; dry run; the gate and the sketch behind it; SYNs of the unknown; events; the dead-man switch. */
#include "tests/bpf/rig.h"

#define MS 1000000ull

static struct guard *guard;
static const struct guard_maps *maps;
static struct guard_total before[GUARD_N_TOTALS];

static int open_guard(void **state)
{
	guard = rig_open(0);
	maps = guard_maps(guard);
	return 0;
}

static int close_guard(void **state)
{
	guard_close(guard, GUARD_CLOSE_REMOVE);
	return 0;
}

static const struct guard_rate_limit none;

static void set_rates(struct guard_rate_limit syn, struct guard_rate_limit packets,
		      struct guard_rate_limit tls)
{
	const struct guard_rates r = {.rates = {syn, packets, tls}, .v6_prefix = 64};

	assert_int_equal(guard_rates_set(maps, &r), 0);
}

/* BURST + 1 and then one a minute: for a test, none. */
static struct guard_rate_limit slow(uint64_t burst)
{
	return guard_rates_limit(16, burst, 0xabc, false);
}

static struct guard_rate_limit dry(uint64_t burst)
{
	return guard_rates_limit(16, burst, 0xabc, true);
}

static void remember(void)
{
	assert_int_equal(guard_stats_totals(maps, before), 0);
}

static uint64_t counted(enum guard_total_index index)
{
	struct guard_total now[GUARD_N_TOTALS];

	assert_int_equal(guard_stats_totals(maps, now), 0);
	return now[index].packets - before[index].packets;
}

static void packet(struct rig_packet *p, const char *words)
{
	rig_build(p, words, 0);
}

/* As the kernel would have it: the source is NUMBER of 10.0.0.0/8, or of PREFIX and NUMBER. */
static void from_v4(struct rig_packet *p, uint32_t number)
{
	uint32_t addr = htonl(0x0a000000 | number);

	memcpy(p->bytes + p->l3_at + 12, &addr, sizeof addr);
}

static void from_v6(struct rig_packet *p, uint32_t prefix, uint32_t number)
{
	prefix = htonl(prefix);
	number = htonl(number);
	memcpy(p->bytes + p->l3_at + 8 + 4, &prefix, sizeof prefix);
	memcpy(p->bytes + p->l3_at + 8 + 12, &number, sizeof number);
}

/* How many of N pass. */
static unsigned passed(const struct rig_packet *p, unsigned n)
{
	unsigned n_passed = 0;

	while (n--)
		n_passed += rig_run(guard, p->bytes, p->n) == XDP_PASS;
	return n_passed;
}

static void source_of(int family, struct guard_source *s)
{
	struct guard_addr a = rig_addr(family);

	assert_int_equal(guard_stats_source(maps, &a, s), 0);
}

static int fresh(void **state)
{
	close_guard(NULL);
	open_guard(NULL);
	remember();
	return 0;
}

static void test_exactly_burst_and_one(void **state)
{
	static const struct {
		const char *words, *other;
		enum guard_rate rate;
	} all[] = {
		{"ip4 tcp=S", "ip4 tcp=A", GUARD_RATE_SYN},
		{"ip6 tcp=S", "ip6 udp", GUARD_RATE_SYN},
		{"q ip4opt=8 tcp=S", "q ip4opt=8 tcp=SA", GUARD_RATE_SYN},
		{"ip6 dst=1 tcp=S", "ip6 dst=1 tcp=R", GUARD_RATE_SYN},
		{"ip4 udp", NULL, GUARD_RATE_PACKETS},
		{"ip4frag=2005 proto=6", NULL, GUARD_RATE_PACKETS},
		{"ip6 proto=58", NULL, GUARD_RATE_PACKETS},
	};

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct guard_rate_limit l[GUARD_N_RATES] = {none, none, none};
		struct guard_source s;
		struct rig_packet p;

		fresh(NULL);
		l[all[i].rate] = slow(6);
		set_rates(l[0], l[1], l[2]);
		packet(&p, all[i].words);
		assert_int_equal(passed(&p, 20), 7);
		assert_int_equal(counted(GUARD_DROP_SYN_RATE + all[i].rate), 13);
		assert_int_equal(counted(GUARD_PASS), 7);
		source_of(p.l3_family, &s);
		assert_int_equal(s.packets, 20);
		assert_int_equal(s.drops, 13);
		assert_int_equal(s.bytes, 20 * p.n);
		if (!all[i].other)
			continue;
		packet(&p, all[i].other);
		assert_int_equal(passed(&p, 20), 20);
	}
}

/* A source that has used up its burst gets the rate, no more and no less, however it is sampled. */
static void test_rate_over_time(void **state)
{
	const uint64_t rate = 2000, burst = 20;
	uint64_t start_ns, end_ns;
	unsigned n = 0;
	struct rig_packet p;

	set_rates(guard_rates_limit(rate * 1000, burst, 1, false), none, none);
	packet(&p, "ip4 tcp=S");
	start_ns = clock_mono_ns();
	do
		n += passed(&p, 10);
	while (clock_mono_ns() < start_ns + 300 * MS);
	end_ns = clock_mono_ns();
	/* A tick of 10 ms at most is what the program's clock lags. */
	assert_in_range(n, 1, burst + 1 + (end_ns - start_ns + 10 * MS) * rate / 1000000000u + 1);
	assert_in_range(n, burst + 300 * MS * rate / 1000000000u / 2, UINT32_MAX);
}

/* No window has a border: after a pause of one interval one more passes, not two. */
static void test_one_an_interval(void **state)
{
	struct rig_packet p;

	set_rates(guard_rates_limit(5000, 0, 1, false), none, none);
	packet(&p, "ip4 tcp=S");
	assert_int_equal(passed(&p, 10), 1);
	for (int i = 0; i < 3; i++) {
		usleep(220000);
		assert_int_equal(passed(&p, 10), 1);
	}
}

struct hello {
	const char *words;
	uint8_t start[8];
	uint8_t n;    /* bytes behind the TCP header */
	uint8_t doff; /* instead of 5 */
	bool is_hello;
};

static const struct hello hellos[] = {
	{"ip4 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, true},
	{"ip4 tcp=A", {0x16, 3, 3, 2, 0, 1}, 6, 0, true},
	{"ip4 tcp=S", {0x16, 3, 3, 2, 0, 1}, 6, 0, true}, /* TCP fast open */
	{"ip4 tcp=A", {0x16, 3, 1, 2, 0, 2}, 60, 0, false},
	{"ip4 tcp=A", {0x16, 2, 1, 2, 0, 1}, 60, 0, false},
	{"ip4 tcp=A", {0x17, 3, 3, 2, 0, 1}, 60, 0, false},
	{"ip4 tcp=A", {0x16}, 1, 0, true},
	{"ip4 tcp=A", {0x16, 3, 1, 2, 0}, 5, 0, true},
	{"ip4 tcp=A", {0x15, 3, 1, 2, 0}, 5, 0, false},
	{"ip4 tcp=A", {0}, 0, 0, false},
	{"ip4opt=12 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, true},
	{"ip4opt=12 tcp=A", {0x16, 3}, 2, 0, true},
	{"ip4opt=12 tcp=A", {0x16, 3, 1, 2, 0, 4}, 60, 0, false},
	{"ad q ip4 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, true},
	{"ip4 tcp=A data=12", {0x16, 3, 1, 2, 0, 1}, 60, 8, true},
	{"ip4 tcp=A data=12", {0x16, 3, 1, 2, 0, 1}, 3, 8, true},
	{"ip4 tcp=A data=4", {0x16, 3, 1, 2, 0, 1}, 60, 6, true},
	{"ip4 tcp=A data=40", {0x16, 3, 1, 2, 0, 1}, 60, 15, true},
	{"ip4 tcp=A data=4", {0x16, 3, 1, 2, 0, 1}, 60, 8, false},
	{"ip4 tcp=A", {0x16, 3, 1, 2, 0, 1}, 6, 4, false},
	{"ip4frag=2000 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, true},
	{"ip4frag=2001 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, false},
	{"ip4 udp data=12", {0x16, 3, 1, 2, 0, 1}, 60, 0, false},
	{"ip6 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, true},
	{"q ip6 tcp=A", {0x16}, 1, 0, true},
	{"ip6 hop=0 dst=3 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, true},
	{"ip6 frag=1 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, true},
	{"ip6 frag=9 tcp=A", {0x16, 3, 1, 2, 0, 1}, 60, 0, false},
	{"ip6 dst=0 tcp=A data=12", {0x16, 3, 1, 2, 0, 1}, 60, 8, true},
};

static void build_hello(struct rig_packet *p, const struct hello *h)
{
	char words[128];
	size_t at;

	snprintf(words, sizeof words, "%s%s%.0u", h->words, h->n ? " data=" : "", 0u);
	if (h->n)
		snprintf(words + strlen(words), sizeof words - strlen(words), "%u", h->n);
	packet(p, words);
	at = p->n - h->n;
	memcpy(p->bytes + at, h->start, h->n < sizeof h->start ? h->n : sizeof h->start);
	if (h->doff) {
		size_t data = 0;
		const char *d = strstr(h->words, "data=");

		if (d)
			data = (size_t)atoi(d + 5);
		p->bytes[at - data - 20 + 12] = (uint8_t)(h->doff << 4);
	}
}

static void test_what_is_a_hello(void **state)
{
	for (size_t i = 0; i < sizeof hellos / sizeof hellos[0]; i++) {
		const struct hello *h = &hellos[i];
		struct guard_source s;
		struct rig_packet p;
		unsigned n;

		fresh(NULL);
		set_rates(none, none, slow(2));
		build_hello(&p, h);
		n = passed(&p, 10);
		if (n != (h->is_hello ? 3 : 10))
			fail_msg("%zu: %s: %u pass", i, h->words, n);
		source_of(p.l3_family, &s);
		assert_int_equal(s.new_tls, h->is_hello ? 10 : 0);
		assert_int_equal(counted(GUARD_DROP_TLS_RATE), h->is_hello ? 7 : 0);
	}
}

/* Padding behind the IP packet is no part of the segment. */
static void test_hello_in_padding(void **state)
{
	static const uint8_t hello[] = {0x16, 3, 1, 2, 0, 1};
	struct rig_packet p;

	set_rates(none, none, slow(0));
	rig_build(&p, "ip4 tcp=A data=6", -6);
	memcpy(p.bytes + p.n - 6, hello, 6);
	assert_int_equal(passed(&p, 5), 5);
	rig_build(&p, "ip4 tcp=A data=6", -5);
	memcpy(p.bytes + p.n - 6, hello, 6);
	assert_int_equal(passed(&p, 5), 1);
}

static void test_sources_are_apart(void **state)
{
	struct rig_packet p;

	set_rates(slow(1), none, none);
	packet(&p, "ip4 tcp=S");
	for (uint32_t i = 0; i < 50; i++) {
		from_v4(&p, i);
		assert_int_equal(passed(&p, 4), 2);
	}
}

static void set_prefix(uint32_t bits, struct guard_rate_limit syn)
{
	const struct guard_rates r = {.rates = {syn}, .v6_prefix = bits};

	assert_int_equal(guard_rates_set(maps, &r), 0);
}

static void test_networks_of_ipv6(void **state)
{
	struct guard_prefix prefix;
	struct rig_packet p;
	struct guard_v6 key = {{0x20, 1, 0xd, 0xb8, 0, 0, 0, 9}};
	unsigned n = 0;

	set_prefix(64, slow(9));
	packet(&p, "ip6 tcp=S");
	for (uint32_t i = 0; i < 50; i++) {
		from_v6(&p, 9, i);
		n += passed(&p, 1);
	}
	assert_int_equal(n, 10);
	assert_int_equal(bpf_map_lookup_elem(maps->fd[GUARD_MAP_PREFIXES_V6], &key, &prefix), 0);
	assert_int_equal(prefix.packets, 50);
	assert_int_equal(prefix.drops, 40);
	from_v6(&p, 10, 1);
	assert_int_equal(passed(&p, 20), 10); /* its own rate, and its network's alike */
	/* Shorter: both were of one network; longer: all apart. */
	set_prefix(32, slow(9));
	n = 0;
	for (uint32_t i = 0; i < 50; i++) {
		from_v6(&p, 100 + i, i);
		n += passed(&p, 1);
	}
	assert_int_equal(n, 10);
	set_prefix(128, slow(9));
	for (uint32_t i = 0; i < 50; i++) {
		from_v6(&p, 77, 1000 + i);
		assert_int_equal(passed(&p, 1), 1);
	}
	assert_int_equal(guard_rates_set(maps, &(struct guard_rates){.v6_prefix = 129}),
			 -SL_EINVAL);
	assert_int_equal(guard_rates_set(maps, &(struct guard_rates){.v6_prefix = 0}), -SL_EINVAL);
}

static void test_dry_run(void **state)
{
	struct guard_source s;
	struct rig_packet p;

	set_rates(dry(2), none, none);
	packet(&p, "ip4 tcp=S");
	assert_int_equal(passed(&p, 10), 10);
	assert_int_equal(counted(GUARD_WOULD_DROP), 7);
	assert_int_equal(counted(GUARD_WOULD_SYN_RATE), 7);
	assert_int_equal(counted(GUARD_DROP_SYN_RATE), 0);
	source_of(4, &s);
	assert_int_equal(s.drops, 7);
	/* What is on trial hides nothing that is in force, whichever is asked first. */
	fresh(NULL);
	set_rates(dry(2), slow(4), none);
	assert_int_equal(passed(&p, 10), 5);
	assert_int_equal(counted(GUARD_DROP_PACKET_RATE), 5);
	assert_int_equal(counted(GUARD_WOULD_DROP), 2);
	fresh(NULL);
	set_rates(slow(4), dry(2), none);
	assert_int_equal(passed(&p, 10), 5);
	assert_int_equal(counted(GUARD_WOULD_PACKET_RATE), 2);
	/* All of the guard. */
	fresh(NULL);
	set_rates(slow(4), none, none);
	assert_int_equal(guard_maps_set_flags(maps, true, true), 0);
	assert_int_equal(passed(&p, 10), 10);
	assert_int_equal(counted(GUARD_WOULD_DROP), 5);
}

static void test_allowed_have_no_rate(void **state)
{
	struct guard_cidr net;
	struct rig_packet p;

	assert_int_equal(guard_addr_cidr_from_text(&net, "192.0.2.0/24"), 0);
	assert_int_equal(guard_nets_set_allow(maps, &net, 1, rig_err, sizeof rig_err), 0);
	set_rates(slow(0), slow(0), slow(0));
	packet(&p, "ip4 tcp=S");
	assert_int_equal(passed(&p, 10), 10);
	assert_int_equal(counted(GUARD_PASS_ALLOW), 10);
}

/* What was let in by a rate that is gone or wider counts no more. */
static void test_change_needs_no_load(void **state)
{
	uint32_t id = guard->prog_id;
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;
	struct rig_packet p;

	set_rates(slow(3), none, none);
	packet(&p, "ip4 tcp=S");
	assert_int_equal(passed(&p, 10), 4);
	set_rates(slow(7), none, none);
	assert_int_equal(passed(&p, 10), 4);
	set_rates(none, none, none);
	assert_int_equal(passed(&p, 10), 10);
	assert_int_equal(bpf_obj_get_info_by_fd(guard->prog_fd, &info, &len), 0);
	assert_int_equal(info.id, id);
}

/* ---- the gate, the sketch ---- */

static void shut_gate(struct guard_rate_limit syn, uint64_t burst)
{
	const uint64_t n_cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
	const struct guard_rates r = {
		.rates = {syn}, .new_sources = slow(burst * n_cpus), .v6_prefix = 64};

	assert_int_equal(guard_rates_set(maps, &r), 0);
}

static bool has_entry(const struct rig_packet *p)
{
	struct guard_addr a = {.family = (uint8_t)p->l3_family};
	struct guard_source s;

	memcpy(a.bytes, p->bytes + p->l3_at + (p->l3_family == 4 ? 12 : 8),
	       p->l3_family == 4 ? 4 : 16);
	return guard_stats_source(maps, &a, &s) == 0;
}

static void test_gate(void **state)
{
	struct guard_settings set;
	struct guard_addr a;
	struct guard_source s;
	struct rig_packet p;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	shut_gate(none, 9);
	packet(&p, "ip4 tcp=S");
	for (uint32_t i = 0; i < 1000; i++) {
		from_v4(&p, i);
		assert_int_equal(passed(&p, 1), 1);
		if (has_entry(&p) != (i < 10))
			fail_msg("source %u: %d", i, i >= 10);
	}
	assert_int_equal(counted(GUARD_NOT_COUNTED), 990);
	assert_int_equal(counted(GUARD_PASS), 1000);
	/* Those within still count; once it is open again, the newcomers are marked. */
	from_v4(&p, 3);
	assert_int_equal(passed(&p, 5), 5);
	assert_int_equal(guard_addr_from_text(&a, "10.0.0.3"), 0);
	assert_int_equal(guard_stats_source(maps, &a, &s), 0);
	assert_int_equal(s.packets, 6);
	assert_int_equal(s.flags, 0);
	assert_int_equal(guard_maps_get_settings(maps, &set), 0);
	set.new_sources.interval_ns = 0;
	assert_int_equal(guard_maps_set_settings(maps, &set), 0);
	from_v4(&p, 500);
	passed(&p, 1);
	assert_int_equal(guard_addr_from_text(&a, "10.0.1.244"), 0);
	assert_int_equal(guard_stats_source(maps, &a, &s), 0);
	assert_int_equal(s.flags, GUARD_SOURCE_ESTIMATE);
}

static void test_rates_hold_without_an_entry(void **state)
{
	unsigned n = 0;
	struct rig_packet p;

	shut_gate(slow(4), 0);
	packet(&p, "ip4 tcp=S");
	from_v4(&p, 0xffffff);
	passed(&p, 1);
	/* Nobody sends more than he may; hardly anybody less. */
	for (uint32_t i = 0; i < 200; i++) {
		unsigned one;

		from_v4(&p, i);
		one = passed(&p, 20);
		assert_in_range(one, 0, 5);
		n += one;
	}
	assert_in_range(n, 190 * 5, 200 * 5);
	/* A network, too. */
	packet(&p, "ip6 tcp=S");
	n = 0;
	for (uint32_t i = 0; i < 100; i++) {
		from_v6(&p, 4, i);
		n += passed(&p, 1);
	}
	assert_in_range(n, 0, 5);
}

/* Ten thousand strangers, each within his rate: the sketch mistakes hardly any for another. */
static void test_sketch_tells_apart(void **state)
{
	unsigned n = 0;
	struct rig_packet p;

	shut_gate(slow(1), 0);
	packet(&p, "ip4 tcp=S");
	from_v4(&p, 0xffffff);
	passed(&p, 1);
	for (uint32_t i = 0; i < 10000; i++) {
		from_v4(&p, i * 7919);
		n += passed(&p, 1);
	}
	assert_in_range(n, 5000, 10000);
}

static void mark_good(const struct rig_packet *p)
{
	struct guard_addr a = {.family = (uint8_t)p->l3_family};

	memcpy(a.bytes, p->bytes + p->l3_at + (p->l3_family == 4 ? 12 : 8),
	       p->l3_family == 4 ? 4 : 16);
	guard_good_mark(guard->good, &a);
}

static void test_syns_of_the_unknown(void **state)
{
	const struct guard_rates r = {.unknown_syn = slow(19), .v6_prefix = 64};
	struct rig_packet p, good;
	unsigned n = 0;

	assert_int_equal(guard_rates_set(maps, &r), 0);
	packet(&good, "ip6 tcp=S");
	mark_good(&good);
	packet(&p, "ip4 tcp=S");
	for (uint32_t i = 0; i < 300; i++) {
		from_v4(&p, i);
		n += passed(&p, 1);
		assert_int_equal(passed(&good, 1), 1);
	}
	assert_int_equal(n, 20);
	assert_int_equal(counted(GUARD_DROP_UNKNOWN_SYN), 280);
	from_v4(&p, 299);
	assert_false(has_entry(&p)); /* a refused stranger buys none */
	mark_good(&p);
	assert_int_equal(passed(&p, 5), 5);
	packet(&p, "ip4 tcp=A");
	assert_int_equal(passed(&p, 5), 5);
}

static void test_syns_of_the_unknown_on_trial(void **state)
{
	const struct guard_rates r = {.unknown_syn = dry(19), .v6_prefix = 64};
	struct rig_packet p;

	assert_int_equal(guard_rates_set(maps, &r), 0);
	packet(&p, "ip4 tcp=S");
	remember();
	assert_int_equal(passed(&p, 50), 50);
	assert_int_equal(counted(GUARD_WOULD_UNKNOWN_SYN), 30);
	assert_int_equal(counted(GUARD_WOULD_DROP), 30);
	assert_int_equal(counted(GUARD_DROP_UNKNOWN_SYN), 0);
}

static void test_gate_is_open_for_the_good(void **state)
{
	struct rig_packet p;

	shut_gate(none, 0);
	packet(&p, "ip4 tcp=A");
	from_v4(&p, 1);
	passed(&p, 1);
	from_v4(&p, 2);
	passed(&p, 1);
	passed(&p, 1);
	from_v4(&p, 3);
	mark_good(&p);
	assert_int_equal(passed(&p, 1), 1);
	assert_true(has_entry(&p));
}

/* ---- events ---- */

static struct guard_event heard[16];
static unsigned n_heard;

static int hear(void *arg, void *data, size_t size)
{
	assert_in_range(size, sizeof(struct guard_event), sizeof(struct guard_event) + 7);
	if (n_heard < sizeof heard / sizeof heard[0])
		memcpy(&heard[n_heard], data, sizeof heard[0]);
	n_heard++;
	return 0;
}

static unsigned listen_to_events(void)
{
	struct ring_buffer *rb = ring_buffer__new(maps->fd[GUARD_MAP_EVENTS], hear, NULL, NULL);

	assert_non_null(rb);
	n_heard = 0;
	assert_true(ring_buffer__consume(rb) >= 0);
	ring_buffer__free(rb);
	return n_heard;
}

static void test_one_event_a_second(void **state)
{
	const struct guard_ban b = {.rule_id = 77};
	struct guard_addr a = rig_addr(4);
	uint64_t start_ns = clock_mono_ns();
	struct rig_packet p;

	set_rates(slow(3), slow(7), none);
	packet(&p, "ip6 tcp=S");
	passed(&p, 50);
	assert_int_equal(listen_to_events(), 1);
	assert_int_equal(heard[0].verdict, GUARD_DROP_SYN_RATE);
	assert_int_equal(heard[0].rule_id, 0xabc);
	assert_int_equal(heard[0].family, 6);
	assert_int_equal(heard[0].prefix_len, 128);
	assert_int_equal(heard[0].packets, 5);
	assert_int_equal(heard[0].is_dry_run, 0);
	assert_memory_equal(heard[0].addr, rig_v6, 16);
	assert_in_range(heard[0].time_ns, start_ns - 10 * MS, clock_mono_ns());
	/* Another rule of the same source: that has its own. */
	packet(&p, "ip6 udp");
	passed(&p, 50);
	assert_int_equal(listen_to_events(), 1);
	assert_int_equal(heard[0].verdict, GUARD_DROP_PACKET_RATE);
	/* A ban. */
	assert_int_equal(guard_deny_add(maps, &a, &b, clock_mono_ns()), 0);
	packet(&p, "ip4 udp");
	passed(&p, 50);
	assert_int_equal(listen_to_events(), 1);
	assert_int_equal(heard[0].verdict, GUARD_DROP_DENY);
	assert_int_equal(heard[0].rule_id, 77);
	assert_memory_equal(heard[0].addr, rig_v4, 4);
	usleep(1050000);
	passed(&p, 50);
	assert_int_equal(listen_to_events(), 1);
	assert_int_equal(heard[0].packets, 51);
}

static void test_event_of_network_and_dry_run(void **state)
{
	struct guard_cidr net;
	struct rig_packet p;

	assert_int_equal(guard_addr_cidr_from_text(&net, "192.0.0.0/11"), 0);
	assert_int_equal(guard_nets_set_deny(maps, &net, 1, 9, rig_err, sizeof rig_err), 0);
	packet(&p, "ip4 udp");
	passed(&p, 5);
	assert_int_equal(listen_to_events(), 1);
	assert_int_equal(heard[0].verdict, GUARD_DROP_NET);
	assert_int_equal(heard[0].prefix_len, 11);
	fresh(NULL);
	set_rates(none, dry(0), none);
	passed(&p, 5);
	assert_int_equal(listen_to_events(), 1);
	assert_int_equal(heard[0].verdict, GUARD_DROP_PACKET_RATE);
	assert_int_equal(heard[0].is_dry_run, 1);
}

static void test_lost_events_are_counted(void **state)
{
	struct rig_packet p;

	set_rates(none, slow(0), none);
	packet(&p, "ip4 udp");
	for (uint32_t i = 0; i < 6000; i++) {
		from_v4(&p, i);
		assert_int_equal(passed(&p, 2), 1); /* nobody listens; it drops all the same */
	}
	assert_in_range(counted(GUARD_EVENTS_LOST), 100, 5900);
	assert_int_equal(counted(GUARD_EVENTS_LOST) + listen_to_events(), 6000);
}

/* ---- the dead-man switch ---- */

static void test_without_a_heartbeat(void **state)
{
	const struct guard_ban b = {.rule_id = 1};
	struct guard_addr a = rig_addr(4);
	struct rig_packet p;

	assert_int_equal(guard_deny_add(maps, &a, &b, clock_mono_ns()), 0);
	packet(&p, "ip4 udp");
	assert_int_equal(guard_maps_beat(maps, clock_mono_ns()), 0);
	assert_int_equal(guard_maps_set_fail(maps, 100 * MS, true), 0);
	assert_int_equal(passed(&p, 1), 0);
	usleep(130000);
	assert_int_equal(passed(&p, 3), 3);
	assert_int_equal(counted(GUARD_FAIL_OPEN), 3);
	assert_int_equal(guard_maps_beat(maps, clock_mono_ns()), 0);
	assert_int_equal(passed(&p, 1), 0);
	usleep(130000);
	assert_int_equal(guard_maps_set_fail(maps, 100 * MS, false), 0);
	assert_int_equal(passed(&p, 3), 0);
	/* A rate's drop, too. */
	set_rates(slow(0), none, none);
	packet(&p, "ip6 tcp=S");
	assert_int_equal(passed(&p, 3), 1);
	assert_int_equal(guard_maps_set_fail(maps, 100 * MS, true), 0);
	assert_int_equal(passed(&p, 3), 3);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup(fn, fresh)
	const struct CMUnitTest tests[] = {
		T(test_exactly_burst_and_one),
		T(test_rate_over_time),
		T(test_one_an_interval),
		T(test_what_is_a_hello),
		T(test_hello_in_padding),
		T(test_sources_are_apart),
		T(test_networks_of_ipv6),
		T(test_dry_run),
		T(test_allowed_have_no_rate),
		T(test_change_needs_no_load),
		T(test_gate),
		T(test_rates_hold_without_an_entry),
		T(test_sketch_tells_apart),
		T(test_syns_of_the_unknown),
		T(test_syns_of_the_unknown_on_trial),
		T(test_gate_is_open_for_the_good),
		T(test_one_event_a_second),
		T(test_event_of_network_and_dry_run),
		T(test_lost_events_are_counted),
		T(test_without_a_heartbeat),
	};

	rig_enter();
	return cmocka_run_group_tests_name("guard_rates", tests, open_guard, close_guard);
}
