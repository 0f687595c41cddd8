/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard's program against a model of it in plain C, over mutated packets: verdict, the one total that
 * counts, untouched bytes. The model is written from docs/kernel.md and shares no code with the program.
 * 60,000 packets with a seed of the day's; `test_guard_model PACKETS [SEED]` runs more, or one again. */
#include "tests/bpf/rig.h"

#include <time.h>

enum { ROUND = 20000, BURST_SYN = 40, BURST_PACKETS = 300, BURST_TLS = 20, SEEN_MAX = 1 << 16 };

static struct guard *guard;
static const struct guard_maps *maps;
static uint64_t seed_state, n_wanted = 60000;

static uint32_t roll(uint32_t n)
{
	seed_state ^= seed_state << 13;
	seed_state ^= seed_state >> 7;
	seed_state ^= seed_state << 17;
	return (uint32_t)(seed_state >> 20) % n;
}

/* ---- the model ---- */

struct view {
	int family; /* 0: unknown */
	uint8_t addr[16];
	enum guard_total_index why;
	bool is_syn, is_hello;
};

static unsigned u16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static void model_tcp(struct view *v, const uint8_t *p, size_t n)
{
	size_t head;

	if (n < 20) {
		v->why = GUARD_MALFORMED;
		return;
	}
	v->is_syn = (p[13] & 0x12) == 0x02;
	head = (size_t)(p[12] >> 4) * 4;
	if (head < 20 || head >= n)
		return;
	p += head;
	n -= head;
	v->is_hello = n < 6 ? p[0] == 0x16 : p[0] == 0x16 && p[1] == 3 && p[5] == 1;
}

static void model_v4(struct view *v, const uint8_t *p, size_t n)
{
	size_t head, total;

	v->why = GUARD_MALFORMED;
	if (n < 20 || p[0] >> 4 != 4)
		return;
	v->family = 4;
	memcpy(v->addr, p + 12, 4);
	head = (size_t)(p[0] & 15) * 4;
	total = u16(p + 2);
	if (head < 20 || total < head || total > n)
		return;
	v->why = GUARD_PASS;
	if (!(u16(p + 6) & 0x1fff) && p[9] == 6)
		model_tcp(v, p + head, total - head);
}

static bool model_is_ext(uint8_t type)
{
	return type == 0 || type == 43 || type == 44 || type == 51 || type == 60 || type == 135;
}

static void model_v6(struct view *v, const uint8_t *p, size_t n)
{
	size_t left, payload, at = 0;
	uint8_t next;
	int n_ext = 0;

	v->why = GUARD_MALFORMED;
	if (n < 40 || p[0] >> 4 != 6)
		return;
	v->family = 6;
	memcpy(v->addr, p + 8, 16);
	payload = u16(p + 4);
	next = p[6];
	left = n - 40;
	p += 40;
	if (payload > left)
		return;
	if (payload || next != 0)
		left = payload;
	while (model_is_ext(next)) {
		bool is_later = next == 44 && at + 4 <= n - 40 && (u16(p + at + 2) & 0xfff8);
		uint8_t this = next;

		/* A header's first 8 bytes need only be in the frame; that all of it is in the packet comes after. */
		if (n_ext++ == 8 || at + 8 > n - 40)
			return;
		next = p[at];
		at += this == 44   ? 8
		      : this == 51 ? ((size_t)p[at + 1] + 2) * 4
				   : ((size_t)p[at + 1] + 1) * 8;
		if (at > left)
			return;
		if (is_later) {
			v->why = GUARD_PASS;
			return;
		}
	}
	v->why = GUARD_PASS;
	if (next == 6)
		model_tcp(v, p + at, left - at);
}

static void model_parse(struct view *v, const uint8_t *p, size_t n)
{
	unsigned type;
	size_t at = 14;

	*v = (struct view){.why = GUARD_MALFORMED};
	if (n < 14)
		return;
	type = u16(p + 12);
	for (int i = 0; i < 2 && (type == 0x8100 || type == 0x88a8); i++) {
		if (n < at + 4)
			return;
		type = u16(p + at + 2);
		at += 4;
	}
	if (type == 0x0800)
		model_v4(v, p + at, n - at);
	else if (type == 0x86dd)
		model_v6(v, p + at, n - at);
	else
		v->why = type == 0x8100 || type == 0x88a8 ? GUARD_VLAN_DEEP : GUARD_NOT_IP;
}

/* What a source, or a network (family 64), has had. */
static struct seen {
	int family;
	uint8_t addr[16];
	bool is_there;
	unsigned n[GUARD_N_RATES];
} seen[SEEN_MAX];
static size_t n_seen;

static struct seen *seen_of(int family, const uint8_t *addr)
{
	for (size_t i = 0; i < n_seen; i++)
		if (seen[i].family == family && memcmp(seen[i].addr, addr, 16) == 0)
			return &seen[i];
	assert_true(n_seen < SEEN_MAX);
	seen[n_seen] = (struct seen){.family = family};
	memcpy(seen[n_seen].addr, addr, 16);
	return &seen[n_seen++];
}

static bool has_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	for (unsigned i = 0; i < bits; i++)
		if (((a[i / 8] ^ b[i / 8]) >> (7 - i % 8)) & 1)
			return false;
	return true;
}

static enum guard_total_index model_rates(const struct view *v, struct seen *s)
{
	static const unsigned bursts[GUARD_N_RATES] = {BURST_SYN, BURST_PACKETS, BURST_TLS};
	const bool concerned[GUARD_N_RATES] = {v->is_syn, true, v->is_hello};

	for (int i = 0; i < GUARD_N_RATES; i++) {
		if (!concerned[i])
			continue;
		if (s->n[i] > bursts[i])
			return GUARD_DROP_SYN_RATE + i;
		s->n[i]++;
	}
	return GUARD_PASS;
}

/* The lists of fill(): one of each for the pool's addresses, whose last byte is what differs. */
static enum guard_total_index model(const uint8_t *p, size_t n)
{
	static const uint8_t v4[4] = {192, 0, 2, 0};
	enum guard_total_index verdict;
	struct seen *s, *net;
	struct view v;
	uint8_t half[16] = {0}, last;
	bool is_pool;

	model_parse(&v, p, n);
	if (!v.family)
		return v.why;
	is_pool = v.family == 4 ? has_prefix(v.addr, v4, 24) : has_prefix(v.addr, rig_v6, 120);
	last = v.addr[v.family == 4 ? 3 : 15];
	if (is_pool && last < 8)
		verdict = GUARD_PASS_ALLOW;
	else if (is_pool && last == 16)
		return GUARD_DROP_DENY;
	else if (is_pool && last >= 32 && last < 48)
		return GUARD_DROP_NET;
	else if (is_pool && last == 17 && v.why == GUARD_PASS)
		verdict = GUARD_EXPIRED;
	else if (is_pool && last == 18)
		verdict = GUARD_WOULD_DROP;
	else
		verdict = v.why;
	if (verdict == GUARD_PASS_ALLOW) {
		seen_of(v.family, v.addr)->is_there = true;
		return verdict;
	}
	s = seen_of(v.family, v.addr);
	if (s->is_there && model_rates(&v, s))
		return s->n[0] > BURST_SYN && v.is_syn ? GUARD_DROP_SYN_RATE
		       : s->n[1] > BURST_PACKETS       ? GUARD_DROP_PACKET_RATE
						       : GUARD_DROP_TLS_RATE;
	if (v.family == 6) {
		enum guard_total_index r;

		memcpy(half, v.addr, 8);
		net = seen_of(64, half);
		r = model_rates(&v, net);
		if (r)
			return r;
	}
	if (!s->is_there) {
		s->is_there = true;
		model_rates(&v, s);
	}
	return verdict;
}

/* ---- the packets ---- */

static void fill(void)
{
	const struct guard_rates r = {.rates = {guard_rates_limit(1, BURST_SYN, 1, false),
						guard_rates_limit(1, BURST_PACKETS, 2, false),
						guard_rates_limit(1, BURST_TLS, 3, false)},
				      .v6_prefix = 64};
	struct guard_cidr nets[2];

	guard = rig_open(0);
	maps = guard_maps(guard);
	n_seen = 0;
	assert_int_equal(guard_rates_set(maps, &r), 0);
	for (int i = 0; i < 2; i++) {
		struct guard_addr a = rig_addr(i ? 6 : 4);
		uint8_t *last = &a.bytes[i ? 15 : 3];

		for (*last = 16; *last < 19; ++*last) {
			const struct guard_ban b = {.expires_ns = *last == 17,
						    .rule_id = 1,
						    .flags = *last == 18 ? GUARD_DENY_DRY_RUN : 0};

			assert_int_equal(guard_deny_add(maps, &a, &b, clock_mono_ns()), 0);
		}
		*last = 32;
		nets[i] = (struct guard_cidr){.addr = a, .prefix_len = i ? 124 : 28};
	}
	assert_int_equal(guard_nets_set_deny(maps, nets, 2, 9, rig_err, sizeof rig_err), 0);
	for (int i = 0; i < 2; i++) {
		nets[i].addr.bytes[i ? 15 : 3] = 0;
		nets[i].prefix_len = i ? 125 : 29;
	}
	assert_int_equal(guard_nets_set_allow(maps, nets, 2, rig_err, sizeof rig_err), 0);
}

static size_t make_packet(struct rig_packet *p)
{
	static const char *const words[] = {
		"ip4 tcp=S data=6",
		"ip4 tcp=A data=40",
		"ip4 udp",
		"ip4opt=12 tcp=S data=9",
		"ip4frag=2005 tcp=S",
		"q ip4 tcp=A data=8",
		"ad q ip4opt=40 tcp=A data=6",
		"ip6 tcp=S data=6",
		"ip6 tcp=A data=40",
		"ip6 proto=58",
		"q ip6 hop=1 tcp=S data=5",
		"ip6 hop=0 dst=2 route=1 frag=1 ah=4 dst=0 tcp=A data=20",
		"ip6 frag=9 tcp=S",
		"q q q ip4 udp",
		"type=806",
		"ip6 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 dst=0 mobility=1 tcp=S data=7",
	};
	static const uint8_t hello[6] = {0x16, 3, 1, 0, 0, 1};
	static const uint8_t odd[] = {0,  1,  4,  5,  6,  8,	0x16, 17,
				      20, 43, 44, 51, 60, 0x81, 0x86, 0xff};

	rig_build(p, words[roll(sizeof words / sizeof words[0])],
		  (int)roll(12) ? 0 : (int)roll(9) - 4);
	if (p->n > 6 && roll(2))
		memcpy(p->bytes + p->n - 6, hello, 6);
	if (p->l3_family)
		p->bytes[p->l3_at + (p->l3_family == 4 ? 15 : 23)] = (uint8_t)roll(64);
	for (uint32_t n = roll(4); n; n--)
		p->bytes[12 + roll((uint32_t)p->n - 12)] =
			roll(2) ? (uint8_t)roll(256) : odd[roll(sizeof odd)];
	if (roll(8) == 0)
		p->n = 14 + roll((uint32_t)p->n - 13);
	else if (roll(8) == 0)
		p->n += roll(40);
	return p->n;
}

static void compare(const struct rig_packet *p, size_t n, uint64_t number)
{
	struct guard_total before[GUARD_N_TOTALS], after[GUARD_N_TOTALS];
	enum guard_total_index want = model(p->bytes, n);
	bool is_drop = want == GUARD_DROP_DENY || want == GUARD_DROP_NET ||
		       (want >= GUARD_DROP_SYN_RATE && want <= GUARD_DROP_UNKNOWN_SYN);
	unsigned got;

	assert_int_equal(guard_stats_totals(maps, before), 0);
	got = rig_run(guard, p->bytes, n);
	assert_int_equal(guard_stats_totals(maps, after), 0);
	if (got == (is_drop ? XDP_DROP : XDP_PASS) &&
	    after[want].packets == before[want].packets + 1 &&
	    after[want].bytes == before[want].bytes + n)
		return;
	for (size_t i = 0; i < n; i++)
		printf("%02x%s", p->bytes[i], i % 16 == 15 ? "\n" : " ");
	for (int i = 0; i < GUARD_N_VERDICTS; i++)
		if (after[i].packets != before[i].packets)
			printf("\nthe program: %s", guard_stats_total_name(i));
	fail_msg("packet %d of %zu bytes: the model says %s", (int)number, n,
		 guard_stats_total_name(want));
}

static void test_program_is_the_model(void **state)
{
	uint64_t seed = seed_state;
	struct rig_packet p;

	printf("seed %llu\n", (unsigned long long)seed);
	for (uint64_t i = 0; i < n_wanted; i++) {
		if (i % ROUND == 0) {
			if (guard)
				guard_close(guard, GUARD_CLOSE_REMOVE);
			fill();
		}
		make_packet(&p);
		compare(&p, p.n, i);
	}
	guard_close(guard, GUARD_CLOSE_REMOVE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_program_is_the_model)};

	if (argc > 1)
		n_wanted = strtoull(argv[1], NULL, 10);
	seed_state = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL) / 86400;
	rig_enter();
	return cmocka_run_group_tests_name("guard_model", tests, NULL, NULL);
}
