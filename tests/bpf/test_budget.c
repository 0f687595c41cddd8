/* SPDX-License-Identifier: BSD-2-Clause */
/* How much each BPF program asks of the verifier, against what it may. The kernel gives up at a
 * million instructions looked at, and how many a program takes is another number on each kernel:
 * who is far from the end is loaded everywhere. A program without a budget is a failure, so that
 * none is forgotten. */
#include "tests/bpf/rig.h"

#include "all.skel.h"

#define VERIFIER_MAX 1000000u

/* At least half as much again as the most that any kernel we run on was seen to take (in the
 * comment: 6.18, 6.1), and never more than a tenth of what the kernel allows. */
static const struct budget {
	const char *program;
	uint32_t insns;
} budgets[] = {
	{"sluice_guard", 20000}, /* 15871, 14289 */
	{"steer", 2000},	 /* 532 with CAP_BPF alone */
	{"relay_meet", 2000},	 /* 262 */
	{"relay_message", 2000}, /* 251 */
};

static const struct budget *budget_of(const char *program)
{
	for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++)
		if (strcmp(budgets[i].program, program) == 0)
			return &budgets[i];
	return NULL;
}

static bool is_within(const struct bpf_program *prog)
{
	const struct budget *b = budget_of(bpf_program__name(prog));
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;

	assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len), 0);
	printf("%s: %u instructions verified, budget %u\n", bpf_program__name(prog),
	       info.verified_insns, b ? b->insns : 0);
	if (!b)
		print_error("a program without a budget: add it to the table\n");
	else if (info.verified_insns > b->insns)
		print_error("over the budget: simplify, or raise it and say why\n");
	assert_true(info.verified_insns > 0);
	return b && info.verified_insns <= b->insns;
}

static void check(const void *elf, size_t size)
{
	struct bpf_object *obj = bpf_object__open_mem(elf, size, NULL);
	struct bpf_program *prog;
	int n_over = 0, n = 0;

	assert_non_null(obj);
	assert_int_equal(bpf_object__load(obj), 0);
	bpf_object__for_each_program(prog, obj)
	{
		n++;
		n_over += !is_within(prog);
	}
	bpf_object__close(obj);
	assert_true(n > 0);
	assert_int_equal(n_over, 0);
}

/* One test for each file in bpf/: all.skel.h names them. */
#define TEST(name) \
	static void test_##name(void **state) \
	{ \
		size_t size; \
		const void *elf = name##_bpf__elf_bytes(&size); \
\
		check(elf, size); \
	}
ALL_SKELETONS(TEST)

static void test_budgets_are_sane(void **state)
{
	for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++)
		assert_in_range(budgets[i].insns, 1, VERIFIER_MAX / 10);
}

int main(void)
{
#define ROW(name) cmocka_unit_test(test_##name),
	const struct CMUnitTest tests[] = {
		ALL_SKELETONS(ROW) cmocka_unit_test(test_budgets_are_sane),
	};

	rig_enter();
	return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
