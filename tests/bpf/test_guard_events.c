/* SPDX-License-Identifier: BSD-2-Clause */
/* The reading end of the guard's ring buffer: a small XDP program writes what its packets hold into the
 * real map, as the guard does. */
#include "rig.h"

#include <poll.h>

struct fx {
	struct guard *g;
	struct guard_events *events;
	int prog_fd;
	unsigned n;
	struct guard_event last;
	uint64_t n_wrong; /* out of order */
};

/* Copies the first 48 bytes of a packet into EVENTS; XDP_DROP when there was no room. */
static int load_writer(int events_fd)
{
	enum { SIZE = sizeof(struct guard_event), N_COPY = SIZE / 8 };
	struct bpf_insn p[64];
	int n = 0, fd;

	p[n++] = (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1};
	p[n++] = (struct bpf_insn){
		.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 3, .src_reg = 1, .off = 4};
	p[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 4, .src_reg = 2};
	p[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 4, .imm = SIZE};
	p[n++] = (struct bpf_insn){
		.code = BPF_JMP | BPF_JLE | BPF_X, .dst_reg = 4, .src_reg = 3, .off = 2};
	p[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_ABORTED};
	p[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
	for (int i = 0; i < N_COPY; i++) {
		p[n++] = (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_DW,
					   .dst_reg = 5,
					   .src_reg = 2,
					   .off = (int16_t)(8 * i)};
		p[n++] = (struct bpf_insn){.code = BPF_STX | BPF_MEM | BPF_DW,
					   .dst_reg = 10,
					   .src_reg = 5,
					   .off = (int16_t)(8 * i - SIZE)};
	}
	p[n++] = (struct bpf_insn){.code = BPF_LD | BPF_IMM | BPF_DW,
				   .dst_reg = 1,
				   .src_reg = BPF_PSEUDO_MAP_FD,
				   .imm = events_fd};
	p[n++] = (struct bpf_insn){0};
	p[n++] =
		(struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10};
	p[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = -SIZE};
	p[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = SIZE};
	p[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4};
	p[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ringbuf_output};
	p[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_JEQ | BPF_K, .off = 2};
	p[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_DROP};
	p[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
	p[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS};
	p[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "sl_writer", "Dual BSD/GPL", p, (size_t)n, NULL);
	if (fd < 0)
		fail_msg("cannot load the writer: %s", strerror(errno));
	return fd;
}

static void on_event(void *arg, const struct guard_event *e)
{
	struct fx *fx = arg;

	fx->n_wrong += fx->n && e->packets != fx->last.packets + 1;
	fx->n++;
	fx->last = *e;
}

static void reopen(struct fx *fx)
{
	guard_events_close(fx->events);
	if (guard_events_open(&fx->events, guard_maps(fx->g), on_event, fx, rig_err,
			      sizeof rig_err))
		fail_msg("guard_events_open: %s", rig_err);
}

static int setup(void **state)
{
	struct fx *fx = calloc(1, sizeof *fx);

	fx->g = rig_open(0);
	fx->prog_fd = load_writer(guard_maps(fx->g)->fd[GUARD_MAP_EVENTS]);
	reopen(fx);
	*state = fx;
	return 0;
}

static int teardown(void **state)
{
	struct fx *fx = *state;

	guard_events_close(fx->events);
	close(fx->prog_fd);
	guard_close(fx->g, GUARD_CLOSE_REMOVE);
	free(fx);
	return 0;
}

/* False: there was no room. */
static bool put(struct fx *fx, uint64_t number)
{
	struct guard_event e = {.time_ns = clock_mono_ns(),
				.packets = number,
				.rule_id = 0xabcdef01,
				.ifindex = 3,
				.verdict = GUARD_DROP_DENY,
				.is_dry_run = 1,
				.family = 4,
				.prefix_len = 32,
				.addr = {192, 0, 2, 1}};
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = &e, .data_size_in = sizeof e, .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(fx->prog_fd, &o), 0);
	assert_true(o.retval == XDP_PASS || o.retval == XDP_DROP);
	return o.retval == XDP_PASS;
}

static bool is_readable(struct fx *fx)
{
	struct pollfd p = {.fd = guard_events_fd(fx->events), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void test_one(void **state)
{
	struct fx *fx = *state;

	assert_false(is_readable(fx));
	assert_int_equal(guard_events_read(fx->events, 10), 0);
	assert_true(put(fx, 7));
	assert_true(is_readable(fx));
	assert_int_equal(guard_events_read(fx->events, 10), 1);
	assert_int_equal(fx->last.packets, 7);
	assert_int_equal(fx->last.rule_id, 0xabcdef01);
	assert_int_equal(fx->last.ifindex, 3);
	assert_int_equal(fx->last.addr[0], 192);
	assert_false(is_readable(fx));
}

/* What is more than asked for stays, readable, in order. */
static void test_bounded(void **state)
{
	struct fx *fx = *state;

	for (uint64_t i = 0; i < 100; i++)
		assert_true(put(fx, i));
	assert_int_equal(guard_events_read(fx->events, 30), 30);
	assert_int_equal(fx->n, 30);
	assert_int_equal(fx->last.packets, 29);
	assert_true(is_readable(fx));
	assert_int_equal(guard_events_read(fx->events, 70), 70);
	assert_int_equal(guard_events_read(fx->events, 70), 0);
	assert_int_equal(fx->last.packets, 99);
	assert_int_equal(fx->n_wrong, 0);
	assert_false(is_readable(fx));
}

/* A full ring takes no more and blocks nobody; read, it goes on. */
static void test_full(void **state)
{
	struct fx *fx = *state;
	uint64_t n = 0;
	int got;

	while (put(fx, n))
		n++;
	assert_true(n > GUARD_EVENTS_BYTES / (2 * sizeof(struct guard_event)));
	assert_false(put(fx, n));
	while ((got = guard_events_read(fx->events, 1000)) > 0)
		;
	assert_int_equal(got, 0);
	assert_int_equal(fx->n, n);
	assert_int_equal(fx->n_wrong, 0);
	assert_true(put(fx, n));
	assert_int_equal(guard_events_read(fx->events, 1000), 1);
	assert_int_equal(fx->last.packets, n);
}

/* Another reader, as after a crash or in a new binary, goes on where the one before was. */
static void test_next_reader(void **state)
{
	struct fx *fx = *state;

	for (uint64_t i = 0; i < 10; i++)
		assert_true(put(fx, i));
	assert_int_equal(guard_events_read(fx->events, 4), 4);
	guard_events_close(fx->events);
	fx->events = NULL;
	assert_true(put(fx, 10));
	guard_close(fx->g, GUARD_CLOSE_KEEP);
	fx->g = rig_open(0);
	reopen(fx);
	assert_true(is_readable(fx));
	assert_int_equal(guard_events_read(fx->events, 100), 7);
	assert_int_equal(fx->last.packets, 10);
	assert_int_equal(fx->n_wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_next_reader, setup, teardown),
	};

	rig_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
