/* SPDX-License-Identifier: BSD-2-Clause */
/* What a packet costs (make bench-xdp): nanoseconds by BPF_PROG_RUN above an empty program, the least of
 * several rounds. Where many sources are wanted, a program before the guard writes one into the packet and
 * goes on to it by a tail call; the empty program beside it is reached in the same way. */
#include "tests/bpf/rig.h"

#include <linux/if_ether.h>

enum { ROUNDS = 60, REPEAT = 20000, N_BANS = 100000, N_NETS = 100000, N_KNOWN = 20000 };

static struct guard *guard;
static const struct guard_maps *maps;
static int empty_fd, jump_fd;
static bool is_met = true;

static void must(bool is_right, const char *what)
{
	if (is_right)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned run_ns(int prog_fd, const struct rig_packet *p)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = p->bytes, .data_size_in = (uint32_t)p->n,
		    .repeat = REPEAT);

	must(bpf_prog_test_run_opts(prog_fd, &o) == 0, "BPF_PROG_RUN");
	return o.duration;
}

static int load_prog(const struct bpf_insn *insns, size_t n)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_XDP_HAS_FRAGS,
		    .expected_attach_type = BPF_XDP);
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "sl_bench", "Dual BSD/GPL", insns, n, &opts);

	must(fd >= 0, "loading a program");
	return fd;
}

static int load_empty(void)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return load_prog(pass, 2);
}

/* Sets the IPv4 source to BASE + a random number below N (0: anything), and jumps to what JUMP_FD has. */
static int load_scrambler(uint32_t base, uint32_t n)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_get_prandom_u32},
		/* BPF has no "modulo 0": the whole range is modulo 2^32 - 1. */
		{.code = BPF_ALU | BPF_MOD | BPF_K, .imm = (int32_t)(n ? n : UINT32_MAX)},
		{.code = BPF_ALU | BPF_ADD | BPF_K, .imm = (int32_t)base},
		{.code = BPF_ALU | BPF_END | BPF_TO_BE, .imm = 32},
		{.code = BPF_LDX | BPF_W | BPF_MEM, .dst_reg = 1, .src_reg = 6},
		{.code = BPF_LDX | BPF_W | BPF_MEM, .dst_reg = 2, .src_reg = 6, .off = 4},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 1},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 3, .imm = ETH_HLEN + 20},
		{.code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = 3, .src_reg = 2, .off = 6},
		{.code = BPF_STX | BPF_W | BPF_MEM, .dst_reg = 1, .off = ETH_HLEN + 12},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = 6},
		{.code = BPF_LD | BPF_DW | BPF_IMM,
		 .dst_reg = 2,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = jump_fd},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_tail_call},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_ABORTED},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return load_prog(insns, sizeof insns / sizeof insns[0]);
}

static void jump_to(int prog_fd)
{
	uint32_t zero = 0;

	must(bpf_map_update_elem(jump_fd, &zero, &prog_fd, BPF_ANY) == 0, "the jump");
}

/* GOAL 0: none. */
static void say(const char *what, unsigned with, unsigned without, unsigned goal)
{
	unsigned ns = with > without ? with - without : 0;

	printf("%-62s %5u", what, ns);
	if (goal) {
		printf("  goal %3u%s", goal, ns <= goal ? "" : "  MISSED");
		is_met = is_met && ns <= goal;
	}
	printf("\n");
	fflush(stdout);
}

/* Both in turn, so that what the machine does else is in both. */
static void bench(const char *what, const char *words, unsigned goal)
{
	unsigned with = UINT32_MAX, without = UINT32_MAX;
	struct rig_packet p;

	rig_build(&p, words, 0);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned a = run_ns(guard->prog_fd, &p), b = run_ns(empty_fd, &p);

		with = a < with ? a : with;
		without = b < without ? b : without;
	}
	say(what, with, without, goal);
}

static void bench_many(const char *what, const char *words, uint32_t base, uint32_t n,
		       unsigned goal)
{
	unsigned with = UINT32_MAX, without = UINT32_MAX;
	int scrambler = load_scrambler(base, n);
	struct rig_packet p;

	rig_build(&p, words, 0);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned ns;

		jump_to(guard->prog_fd);
		ns = run_ns(scrambler, &p);
		with = ns < with ? ns : with;
		jump_to(empty_fd);
		ns = run_ns(scrambler, &p);
		without = ns < without ? ns : without;
	}
	close(scrambler);
	say(what, with, without, goal);
}

static void set_rates(bool is_on, uint64_t unknown_per_s)
{
	const struct guard_rates r = {
		.rates = {guard_rates_limit(is_on ? 200000000 : 0, 400000, 1, false),
			  guard_rates_limit(is_on ? 9000000000 : 0, 9000000, 2, false),
			  guard_rates_limit(is_on ? 100000000 : 0, 200000, 3, false)},
		.unknown_syn = guard_rates_limit(unknown_per_s * 1000, 2 * unknown_per_s, 4, false),
		.new_sources = guard_rates_limit(1000000, 8000, 0, false),
		.v6_prefix = 64,
	};

	must(guard_rates_set(maps, &r) == 0, "the rates");
}

static struct guard_addr v4_of(uint32_t number)
{
	struct guard_addr a = {.family = 4};

	number = htonl(number);
	memcpy(a.bytes, &number, sizeof number);
	return a;
}

static void ban(struct guard_addr a)
{
	const struct guard_ban b = {.rule_id = 1};

	must(guard_deny_add(maps, &a, &b, clock_mono_ns()) == 0, "a ban");
}

/* Nobody whose packets are measured is in one. */
static void deny_many_nets(void)
{
	struct guard_cidr *nets = calloc(N_NETS, sizeof *nets);

	must(nets, "memory");
	for (uint32_t i = 0; i < N_NETS; i++)
		nets[i] =
			(struct guard_cidr){.addr = v4_of(0x64000000 + (i * 7919 % 0x1000000) * 4),
					    .prefix_len = (uint8_t)(24 + i % 9)};
	for (uint32_t i = 0; i < N_NETS; i++) {
		uint32_t bits;

		memcpy(&bits, nets[i].addr.bytes, 4);
		bits = htonl(ntohl(bits) & (uint32_t)(0xffffffffull << (32 - nets[i].prefix_len)));
		memcpy(nets[i].addr.bytes, &bits, 4);
	}
	if (guard_nets_set_deny(maps, nets, N_NETS, 9, rig_err, sizeof rig_err)) {
		fprintf(stderr, "%s\n", rig_err);
		exit(1);
	}
	free(nets);
}

/* As there always are some: the host's own, its upstreams'. Nobody who is measured is among them. */
static void allow_some(void)
{
	struct guard_cidr nets[8];

	for (uint32_t i = 0; i < 8; i++)
		nets[i] = (struct guard_cidr){.addr = v4_of(0x0afe0000 + i * 0x1001),
					      .prefix_len = 32};
	must(guard_nets_set_allow(maps, nets, 8, rig_err, sizeof rig_err) == 0, "the allow list");
}

static void bench_paths(const char *title)
{
	printf("\n%s\n", title);
	set_rates(false, 0);
	bench("not IP", "type=806", 0);
	bench("known source, IPv4, no rates", "ip4 tcp=A", 70);
	bench("known source, IPv6, no rates", "ip6 tcp=A", 0);
	set_rates(true, 20000);
	bench("known source, IPv4, all rates", "ip4 tcp=A data=12", 70);
	bench("known source, IPv6, all rates, network of 64 bits", "ip6 tcp=A data=12", 0);
	bench("known source, IPv6, VLAN, 3 extension headers, all rates",
	      "q ip6 hop=0 dst=0 frag=1 tcp=A", 0);
	bench_many("one of 20,000 known sources, IPv4, all rates", "ip4 tcp=A", 0x0a000000, N_KNOWN,
		   0);
	/* Before what is measured the gate must be shut, and the table full. */
	bench_many("forged SYNs of anybody, more than unknown_syn", "ip4 tcp=S", 0, 0, 100);
	bench_many("forged packets of anybody, all rates, sketch", "ip4 tcp=A", 0, 0, 100);
	set_rates(false, 0);
	bench_many("forged packets of anybody, no rates", "ip4 tcp=A", 0, 0, 100);
}

int main(void)
{
	struct guard_addr banned[] = {rig_addr(4), rig_addr(6)};

	setvbuf(stdout, NULL, _IOLBF, 0);
	rig_enter();
	guard = rig_open(0);
	maps = guard_maps(guard);
	empty_fd = load_empty();
	jump_fd = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "sl_jump", 4, 4, 1, NULL);
	must(jump_fd >= 0, "a map");
	printf("ns a packet above an empty program\n");
	allow_some();
	bench_paths("empty lists");
	for (uint32_t i = 0; i < N_BANS; i++)
		ban(v4_of(0xc6120000 + i));
	deny_many_nets();
	bench_paths("100,000 bans and 100,000 denied networks");
	bench_many("one of 100,000 banned, IPv4", "ip4 tcp=A", 0xc6120000, N_BANS, 0);
	ban(banned[0]);
	ban(banned[1]);
	bench("banned, IPv4", "ip4 tcp=A", 60);
	bench("banned, IPv6", "ip6 tcp=A", 0);
	guard_close(guard, GUARD_CLOSE_REMOVE);
	printf("\n%s\n", is_met ? "all goals are met" : "not all goals are met");
	return 0;
}
