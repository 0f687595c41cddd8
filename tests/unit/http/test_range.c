/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/http/range.c. What is expected is what nginx 1.22 does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "http/range.h"

static const struct {
	const char *value;
	uint64_t length;
	enum range_result result;
	const char *ranges; /* "start-end " each, end excluded */
} cases[] = {
	{"bytes=0-0", 10, RANGE_OK, "0-1 "},
	{"bytes=0-4", 10, RANGE_OK, "0-5 "},
	{"bytes=5-", 10, RANGE_OK, "5-10 "},
	{"bytes=-3", 10, RANGE_OK, "7-10 "},
	{"bytes=-100", 10, RANGE_OK, "0-10 "},
	{"bytes=0-100", 10, RANGE_OK, "0-10 "},
	{"BYTES=0-1", 10, RANGE_OK, "0-2 "},
	{"bytes= 0 - 1 , 3-4", 10, RANGE_OK, "0-2 3-5 "},
	{"bytes=3-4,0-1", 10, RANGE_OK, "3-5 0-2 "},
	{"bytes=0-1,100-", 10, RANGE_OK, "0-2 "},
	{"bytes=0-9,0-9", 10, RANGE_NONE, ""},
	{"bytes=0-", 0, RANGE_NONE, ""},
	{"bytes=-0", 10, RANGE_BAD, ""},
	{"items=0-1", 10, RANGE_NONE, ""},
	{"bytes=", 10, RANGE_NONE, ""},
	{"", 10, RANGE_NONE, ""},
	{"bytes=10-", 10, RANGE_BAD, ""},
	{"bytes=5-2", 10, RANGE_BAD, ""},
	{"bytes=x", 10, RANGE_BAD, ""},
	{"bytes=-", 10, RANGE_BAD, ""},
	{"bytes=1", 10, RANGE_BAD, ""},
	{"bytes=1-x", 10, RANGE_BAD, ""},
	{"bytes=0-1,", 10, RANGE_BAD, ""},
	{"bytes=99999999999999999999-", 10, RANGE_BAD, ""},
	{"bytes=0-99999999999999999999", 10, RANGE_BAD, ""},
	{"bytes=0-9223372036854775807", 10, RANGE_OK, "0-10 "},
};

static void known_cases(void **state)
{
	struct arena a;

	arena_init(&a, 4096);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct ranges out;
		char text[256] = "";
		enum range_result r =
			range_parse(slice_cstr(cases[i].value), cases[i].length, 100, &a, &out);

		for (uint32_t k = 0; r == RANGE_OK && k < out.n; k++)
			snprintf(text + strlen(text), sizeof text - strlen(text), "%llu-%llu ",
				 (unsigned long long)out.v[k].start,
				 (unsigned long long)out.v[k].end);
		if (r != cases[i].result || strcmp(text, cases[i].ranges) != 0)
			fail_msg("\"%s\" of %llu: %d \"%s\"", cases[i].value,
				 (unsigned long long)cases[i].length, (int)r, text);
	}
	arena_fini(&a);
}

static void as_many_as_allowed(void **state)
{
	struct ranges out;
	struct arena a;

	arena_init(&a, 4096);
	assert_int_equal(range_parse(SLICE("bytes=0-0,2-2"), 10, 2, &a, &out), RANGE_OK);
	assert_int_equal(out.n, 2);
	assert_int_equal(range_parse(SLICE("bytes=0-0,2-2,4-4"), 10, 2, &a, &out), RANGE_NONE);
	assert_int_equal(range_parse(SLICE("bytes=0-0"), 10, 0, &a, &out), RANGE_NONE);
	arena_fini(&a);
}

/* Sums over 2^63 are refused, not wrapped. */
static void long_bodies(void **state)
{
	struct ranges out;
	struct arena a;

	arena_init(&a, 4096);
	assert_int_equal(range_parse(SLICE("bytes=0-,1-,2-"), INT64_MAX, 100, &a, &out), RANGE_BAD);
	assert_int_equal(range_parse(SLICE("bytes=-1"), INT64_MAX, 100, &a, &out), RANGE_OK);
	assert_true(out.v[0].start == INT64_MAX - 1);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_cases),
		cmocka_unit_test(as_many_as_allowed),
		cmocka_unit_test(long_bodies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
