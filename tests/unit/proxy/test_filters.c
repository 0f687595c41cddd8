/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of what the filters decide by themselves: expires, entity tags, rates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/cond.h"
#include "proxy/expires.h"
#include "proxy/throttle.h"

static void expires_values(void **state)
{
	static const struct {
		const char *text;
		enum expires_kind kind;
		int64_t time_s;
	} good[] = {
		{"off", EXPIRES_OFF, 0},	{"epoch", EXPIRES_EPOCH, 0},
		{"max", EXPIRES_MAX, 0},	{"0", EXPIRES_ACCESS, 0},
		{"90", EXPIRES_ACCESS, 90},	{"+1h30m", EXPIRES_ACCESS, 5400},
		{"-1", EXPIRES_ACCESS, -1},	{"-2w", EXPIRES_ACCESS, -1209600},
		{"@0", EXPIRES_DAILY, 0},	{"@15h30m", EXPIRES_DAILY, 55800},
		{"@24h", EXPIRES_DAILY, 86400},
	};
	static const char *const bad[] = {"",	 "x",	"-",	"+",   "@",  "1x",
					  "--1", "@-1", "@25h", "OFF", "1ms"};

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		struct expires e = {.kind = EXPIRES_ACCESS};

		assert_null(expires_parse(slice_cstr(good[i].text), &e));
		assert_int_equal(e.kind, good[i].kind);
		assert_int_equal(e.time_s, good[i].time_s);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct expires e = {.kind = EXPIRES_ACCESS};

		if (!expires_parse(slice_cstr(bad[i]), &e))
			fail_msg("\"%s\" is taken", bad[i]);
	}
}

static void expires_modified(void **state)
{
	struct expires e = {.kind = EXPIRES_MODIFIED};

	assert_null(expires_parse(SLICE("1d"), &e));
	assert_int_equal(e.kind, EXPIRES_MODIFIED);
	assert_int_equal(e.time_s, 86400);
	assert_non_null(expires_parse(SLICE("@1h"), &e));
	e.kind = EXPIRES_MODIFIED;
	assert_non_null(expires_parse(SLICE("max"), &e));
}

static void next_time_of_day(void **state)
{
	time_t noon = 1700000000 - 1700000000 % 86400 + 43200;

	setenv("TZ", "UTC", 1);
	assert_int_equal(expires_next_daily(noon, 43201), noon + 1);
	assert_int_equal(expires_next_daily(noon, 43200), noon + 86400);
	assert_int_equal(expires_next_daily(noon, 0), noon + 43200);
	assert_int_equal(expires_next_daily(noon, 86400), noon + 43200);
}

static void entity_tags(void **state)
{
	static const struct {
		const char *list, *tag;
		bool strong, weak;
	} cases[] = {
		{"*", "", true, true},
		{"*", "\"a\"", true, true},
		{"\"a\"", "", false, false},
		{"", "\"a\"", false, false},
		{"\"a\"", "\"a\"", true, true},
		{"\"b\", \"a\"", "\"a\"", true, true},
		{"\"b\",\"a\"", "\"a\"", true, true},
		{"\"a\" , \"b\"", "\"a\"", true, true},
		{"\"ab\"", "\"a\"", false, false},
		{"\"a\"x", "\"a\"", false, false},
		{"W/\"a\"", "\"a\"", false, true},
		{"\"a\"", "W/\"a\"", false, true},
		{"W/\"a\"", "W/\"a\"", true, true},
		{"\"b\", W/\"a\"", "\"a\"", false, true},
		{"a", "\"a\"", false, false},
		{" , ,\"a\"", "\"a\"", true, true},
		{"\"b\"", "\"a\"", false, false},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct slice list = slice_cstr(cases[i].list), tag = slice_cstr(cases[i].tag);

		if (cond_has_etag(list, tag, false) != cases[i].strong ||
		    cond_has_etag(list, tag, true) != cases[i].weak)
			fail_msg("%s in %s", cases[i].tag, cases[i].list);
	}
}

static void rates(void **state)
{
	assert_int_equal(throttle_allowance(1000, 0, 0, 0), 1000);
	assert_int_equal(throttle_allowance(1000, 0, 0, 1000), 0);
	assert_int_equal(throttle_allowance(1000, 0, 0, 5000), 0);
	assert_int_equal(throttle_allowance(1000, 0, 2500, 1000), 2500);
	assert_int_equal(throttle_allowance(1000, 300, 0, 1000), 300);
	assert_int_equal(throttle_allowance(1, 0, 999, 1), 0);
	assert_int_equal(throttle_allowance(1, 0, 1000, 1), 1);
	/* The highest rate for a year does not wrap. */
	assert_true(throttle_allowance(1ull << 38, 0, 365ull * 86400 * 1000, 0) > 1ull << 62);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expires_values),
		cmocka_unit_test(expires_modified),
		cmocka_unit_test(next_time_of_day),
		cmocka_unit_test(entity_tags),
		cmocka_unit_test(rates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
