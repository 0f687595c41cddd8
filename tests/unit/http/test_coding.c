/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/http/coding.c. What is expected is what nginx 1.22 does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/coding.h"

static void takes(void **state)
{
	static const char *const yes[] = {
		"gzip",		"GZIP",		"gzip, deflate", "deflate, gzip", "deflate,gzip",
		"gzip;q=1",	"gzip;q=0.001", "gzip ;q=0.5",	 "gzip; q=0.5",	  "gzip;q=1.000",
		"x-gzip, gzip", "gzip,",	"gzip ",	 "gzip;",	  "a gzip",
	};

	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		if (!coding_takes_gzip(slice_cstr(yes[i])))
			fail_msg("\"%s\" does not allow gzip", yes[i]);
}

static void refuses(void **state)
{
	static const char *const no[] = {
		"",
		"g",
		"gzi",
		"*",
		"identity",
		"x-gzip",
		"gzipped",
		"gzip x",
		"gzip;q=0",
		"gzip;q=0.0",
		"gzip;q=0.000",
		"gzip;q=0.0001",
		"gzip;q=2",
		"gzip;q=1.1",
		"gzip;q=x",
		"gzip;q=",
		"gzip;q",
		"gzip;x=1",
		"gzip;q=.5",
		"gzip;q=0.5x",
		"gzip;q=0, gzip",
		"deflate;gzip",
		"agzip",
	};

	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		if (coding_takes_gzip(slice_cstr(no[i])))
			fail_msg("\"%s\" allows gzip", no[i]);
	assert_false(coding_takes_gzip((struct slice){0}));
}

/* Nothing behind the value is read. */
static void ends_where_it_ends(void **state)
{
	assert_true(coding_takes_gzip(slice_make("gzip;q=0", 4)));
	assert_false(coding_takes_gzip(slice_make("gzip", 3)));
	assert_true(coding_takes_gzip(slice_make("gzip;q=1.9", 8)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes),
		cmocka_unit_test(refuses),
		cmocka_unit_test(ends_where_it_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
