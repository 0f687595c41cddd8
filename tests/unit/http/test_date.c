/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/http/date.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/date.h"

static void three_formats(void **state)
{
	assert_int_equal(date_parse(SLICE("Sun, 06 Nov 1994 08:49:37 GMT")), 784111777);
	assert_int_equal(date_parse(SLICE("Sunday, 06-Nov-94 08:49:37 GMT")), 784111777);
	assert_int_equal(date_parse(SLICE("Sun Nov  6 08:49:37 1994")), 784111777);
	assert_int_equal(date_parse(SLICE("Wed Nov 16 08:49:37 1994")), 784975777);
	assert_int_equal(date_parse(SLICE("Thu, 01 Jan 1970 00:00:00 GMT")), 0);
	assert_int_equal(date_parse(SLICE("Thu, 29 Feb 2024 23:59:59 GMT")), 1709251199);
	assert_int_equal(date_parse(SLICE("Fri, 01-Jan-69 00:00:00 GMT")), 3124224000);
}

static void no_dates(void **state)
{
	static const char *const bad[] = {
		"",
		"0",
		"now",
		"Sun",
		"Sun,",
		"Sun, ",
		"Sun, 06",
		"Sun, 06 Nov",
		"Sun, 06 Nov 1994",
		"Sun, 06 Nov 1994 08:49",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"Sun, 32 Jan 1994 08:49:37 GMT",
		"Sun, 00 Jan 1994 08:49:37 GMT",
		"Sun, 29 Feb 2023 08:49:37 GMT",
		"Sun, 31 Jun 2023 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:00:00 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:60 GMT",
		"Sun, 06 Nov 1969 08:49:37 GMT",
		"Sun, 06-Nov 94 08:49:37 GMT",
		"Sun Nov 6 08:49:37",
		"784111777",
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (date_parse(slice_cstr(bad[i])) != -1)
			fail_msg("\"%s\" is taken for a date", bad[i]);
}

static void written_and_read(void **state)
{
	static const int64_t times[] = {0,	    1,		784111777,   951827696,
					1709251199, 4102444800, 253402300799};
	char at[DATE_BYTES];

	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		struct slice s = date_put(at, times[i]);

		assert_int_equal(s.n, DATE_BYTES);
		assert_int_equal(date_parse(s), times[i]);
	}
	assert_true(slice_eq(date_put(at, 784111777), SLICE("Sun, 06 Nov 1994 08:49:37 GMT")));
	assert_true(slice_eq(date_put(at, -5), SLICE("Thu, 01 Jan 1970 00:00:00 GMT")));
	assert_true(slice_eq(date_put(at, INT64_MAX), SLICE("Fri, 31 Dec 9999 23:59:59 GMT")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_formats),
		cmocka_unit_test(no_dates),
		cmocka_unit_test(written_and_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
