/* SPDX-License-Identifier: BSD-2-Clause */
/* Sizes, times, parameters and paths: the functions that modules call by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/conf/fixture.h"

static void size_is(const char *text, int64_t expected)
{
	int64_t v = -1;

	if (conf_parse_size(slice_cstr(text), &v) != 0 || v != expected)
		fail_msg("size \"%s\": %lld", text, (long long)v);
}

static void msec_is(const char *text, int64_t expected)
{
	int64_t v = -1;

	if (conf_parse_msec(slice_cstr(text), &v) != 0 || v != expected)
		fail_msg("time \"%s\": %lld", text, (long long)v);
}

static void sec_is(const char *text, int64_t expected)
{
	int64_t v = -1;

	if (conf_parse_sec(slice_cstr(text), &v) != 0 || v != expected)
		fail_msg("time \"%s\": %lld", text, (long long)v);
}

static void sizes(void **state)
{
	size_is("0", 0);
	size_is("512", 512);
	size_is("4k", 4096);
	size_is("4K", 4096);
	size_is("10m", 10 << 20);
	size_is("10M", 10 << 20);
	size_is("10g", 10LL << 30);
	size_is("1G", 1LL << 30);
	size_is("9223372036854775807", INT64_MAX);
	size_is("8589934591g", 8589934591LL << 30);
}

static void bad_sizes(void **state)
{
	static const char *const bad[] = {"",	  "k",	  "-1",	 "+1", "1kb", "1 k", "1t",
					  "0x10", "1.5k", "1kk", " 1", "1 ",  "m1",  "\xc2\xb2"};
	int64_t v;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (conf_parse_size(slice_cstr(bad[i]), &v) != -SL_EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(conf_parse_size(SLICE("9223372036854775808"), &v), -SL_ELIMIT);
	assert_int_equal(conf_parse_size(SLICE("8589934592g"), &v), -SL_ELIMIT);
	assert_int_equal(conf_parse_size(SLICE("99999999999999999999k"), &v), -SL_ELIMIT);
}

static void times(void **state)
{
	msec_is("0", 0);
	msec_is("10", 10000);
	msec_is("10s", 10000);
	msec_is("500ms", 500);
	msec_is("1d", 86400000);
	msec_is("1w", 604800000);
	msec_is("1M", 2592000000);
	msec_is("1y", 31536000000);
	msec_is("1h30m", 5400000);
	msec_is("1h30m5s10ms", 5405010);
	msec_is("1h 30m", 5400000);
	msec_is("1m30", 90000);
	sec_is("1m30", 90);
	sec_is("86400s", 86400);
	sec_is("1y1M1w1d1h1m1s", 31536000 + 2592000 + 604800 + 86400 + 3600 + 60 + 1);
	sec_is("9223372036854775", 9223372036854775);
}

static void bad_times(void **state)
{
	static const char *const bad[] = {"",	   "s",	   "-1s",  "10x",  "1s1m",
					  "30m1h", "1s1s", "1h m", "1.5s", "1ss",
					  "10s5",  "1S",   "1H",   " 1s",  "ms"};
	int64_t v;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (conf_parse_msec(slice_cstr(bad[i]), &v) != -SL_EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(conf_parse_sec(SLICE("500ms"), &v), -SL_EINVAL);
	assert_int_equal(conf_parse_sec(SLICE("1s500ms"), &v), -SL_EINVAL);
	assert_int_equal(conf_parse_msec(SLICE("9223372036854776"), &v), -SL_ELIMIT);
	assert_int_equal(conf_parse_msec(SLICE("292471209y"), &v), -SL_ELIMIT);
	assert_int_equal(conf_parse_msec(SLICE("292471208y300d"), &v), -SL_ELIMIT);
	assert_int_equal(conf_parse_msec(SLICE("99999999999999999999"), &v), -SL_ELIMIT);
}

static void params(void **state)
{
	struct slice v = {"untouched", 9};

	assert_false(conf_param(SLICE("zone"), "zone", &v));
	assert_false(conf_param(SLICE("zones=a"), "zone", &v));
	assert_false(conf_param(SLICE("azone=a"), "zone", &v));
	assert_true(slice_eq(v, SLICE("untouched")));
	assert_true(conf_param(SLICE("zone=one:10m"), "zone", &v));
	assert_true(slice_eq(v, SLICE("one:10m")));
	assert_true(conf_param(SLICE("zone="), "zone", &v));
	assert_int_equal(v.n, 0);
	assert_true(conf_param(SLICE("zone=a=b"), "zone", &v));
	assert_true(slice_eq(v, SLICE("a=b")));
}

static void paths(void **state)
{
	char folder[] = "/etc/sluice/", prefix[] = "/var/lib/sluice/";
	struct conf c = {.dir = folder, .prefix = prefix};

	arena_init(&c.arena, 1024);
	assert_string_equal(conf_path(&c, SLICE("a/b.pem")), "/etc/sluice/a/b.pem");
	assert_string_equal(conf_path(&c, SLICE("/a/b.pem")), "/a/b.pem");
	assert_string_equal(conf_prefix_path(&c, SLICE("logs/x")), "/var/lib/sluice/logs/x");
	assert_string_equal(conf_prefix_path(&c, SLICE("/dev/null")), "/dev/null");
	assert_string_equal(conf_path(&c, SLICE("")), "/etc/sluice/");
	arena_fini(&c.arena);
}

static void nearest_struct(void **state)
{
	int in_main, in_server;
	struct conf_block main_block = {.ctx = CTX_MAIN, .mod = {[MOD_CORE] = &in_main}};
	struct conf_block http = {.ctx = CTX_HTTP, .parent = &main_block};
	struct conf_block server = {
		.ctx = CTX_SERVER, .parent = &http, .mod = {[MOD_HTTP] = &in_server}};

	assert_ptr_equal(conf_get(&server, MOD_HTTP), &in_server);
	assert_ptr_equal(conf_get(&server, MOD_CORE), &in_main);
	assert_ptr_equal(conf_get(&main_block, MOD_CORE), &in_main);
	assert_null(conf_get(&http, MOD_HTTP));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),	  cmocka_unit_test(bad_sizes),
		cmocka_unit_test(times),	  cmocka_unit_test(bad_times),
		cmocka_unit_test(params),	  cmocka_unit_test(paths),
		cmocka_unit_test(nearest_struct),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
