/* SPDX-License-Identifier: BSD-2-Clause */
/* Names with wildcards, and locations by path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "core/err.h"
#include "policy/route.h"
#include "policy/route_names.h"

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, 4096);
	return 0;
}

static int teardown(void **state)
{
	arena_fini(&arena);
	return 0;
}

static int add(struct route_names *t, const char *name)
{
	return route_names_add(t, slice_cstr(name), true, (void *)name);
}

static const char *found(const struct route_names *t, const char *name)
{
	return route_names_find(t, slice_cstr(name));
}

static void names_by_rank(void **state)
{
	struct route_names t;

	route_names_init(&t, &arena);
	assert_null(found(&t, "a.test"));
	assert_int_equal(add(&t, "*.test"), 0);
	assert_int_equal(add(&t, "*.Sub.test"), 0);
	assert_int_equal(add(&t, "www.*"), 0);
	assert_int_equal(add(&t, "www.a.*"), 0);
	assert_int_equal(add(&t, "WWW.exact.test"), 0);
	assert_int_equal(add(&t, ".both.test"), 0);
	assert_int_equal(add(&t, ""), 0);
	assert_string_equal(found(&t, "www.exact.test"), "WWW.exact.test");
	assert_string_equal(found(&t, "www.x.test"), "*.test");
	assert_string_equal(found(&t, "a.sub.test"), "*.Sub.test");
	assert_string_equal(found(&t, "a.b.sub.test"), "*.Sub.test");
	assert_string_equal(found(&t, "sub.test"), "*.test");
	assert_string_equal(found(&t, "www.org"), "www.*");
	assert_string_equal(found(&t, "www.a.org"), "www.a.*");
	assert_string_equal(found(&t, "www.a.co.uk"), "www.a.*");
	assert_string_equal(found(&t, "both.test"), ".both.test");
	assert_string_equal(found(&t, "x.both.test"), ".both.test");
	assert_string_equal(found(&t, "xboth.test"), "*.test");
	assert_string_equal(found(&t, ""), "");
	assert_null(found(&t, "test"));
	assert_null(found(&t, "www"));
	assert_null(found(&t, "www."));
}

static void names_twice(void **state)
{
	struct route_names t;

	route_names_init(&t, &arena);
	assert_int_equal(add(&t, "a.test"), 0);
	assert_int_equal(add(&t, "A.test"), -SL_EEXIST);
	assert_int_equal(add(&t, ".a.test"), -SL_EEXIST);
	assert_null(found(&t, "x.a.test"));
	assert_int_equal(add(&t, "*.a.test"), 0);
	assert_int_equal(add(&t, ".b.test"), 0);
	assert_int_equal(add(&t, "b.test"), -SL_EEXIST);
	assert_int_equal(add(&t, "*.b.test"), -SL_EEXIST);
	assert_int_equal(add(&t, "b.*"), 0);
	assert_int_equal(add(&t, "b.*"), -SL_EEXIST);
	assert_int_equal(add(&t, ""), 0);
	assert_int_equal(add(&t, ""), -SL_EEXIST);
}

static void names_malformed(void **state)
{
	static const char *const bad[] = {"*",	 "*.",	 ".*",	  "*.*",   "a.*.b",
					  "a*",	 "*a.b", "a.b*",  "**.b",  "a..b",
					  "..a", "*..a", "*.a.*", "a.*.*", "*a.*.b"};
	struct route_names t;

	route_names_init(&t, &arena);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(add(&t, bad[i]), -SL_EINVAL);
	assert_int_equal(t.n, 0);
	/* A single dot, and anything where wildcards are not meant. */
	assert_int_equal(add(&t, "."), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(route_names_add(&t, slice_cstr(bad[i]), false, (void *)bad[i]), 0);
		assert_string_equal(found(&t, bad[i]), bad[i]);
	}
}

static void many_names(void **state)
{
	struct route_names t;
	char name[32];

	route_names_init(&t, &arena);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "%sn%d.test", i % 2 ? "*." : "", i);
		assert_int_equal(route_names_add(&t, slice_cstr(name), true, &t + i), 0);
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "%sn%d.test", i % 2 ? "x." : "", i);
		assert_ptr_equal(route_names_find(&t, slice_cstr(name)), &t + i);
	}
	assert_null(found(&t, "n1.test"));
	assert_null(found(&t, "x.n2.test"));
}

static struct route_loc loc(const char *path, enum route_loc_kind kind, bool redirect)
{
	return (struct route_loc){slice_cstr(path), kind, redirect, NULL};
}

static void locations(void **state)
{
	struct route_loc v[] = {
		loc("/", ROUTE_PREFIX, false),	  loc("/a/", ROUTE_PREFIX, true),
		loc("/a/b", ROUTE_PREFIX, false), loc("/a/b", ROUTE_EXACT, false),
		loc("/c/", ROUTE_EXACT, true),	  loc("/d/", ROUTE_PREFIX, true),
		loc("/d", ROUTE_PREFIX, false),	  loc("/stop", ROUTE_PREFIX_STOP, false),
	};
	static const struct {
		const char *path, *hit;
		enum route_hit how;
	} t[] = {
		{"/", "/", ROUTE_HIT_PREFIX},	   {"/x", "/", ROUTE_HIT_PREFIX},
		{"/a", "/a", ROUTE_HIT_SLASH},	   {"/a/", "/a/", ROUTE_HIT_PREFIX},
		{"/a/b", "/a/b", ROUTE_HIT_EXACT}, {"/a/bc", "/a/b", ROUTE_HIT_PREFIX},
		{"/c", "/c", ROUTE_HIT_SLASH},	   {"/c/", "/c/", ROUTE_HIT_EXACT},
		{"/c/x", "/", ROUTE_HIT_PREFIX},   {"/d", "/d", ROUTE_HIT_PREFIX},
		{"/d/x", "/d/", ROUTE_HIT_PREFIX}, {"/stopx", "/stop", ROUTE_HIT_PREFIX},
	};
	const struct route_loc *hit;
	struct route_locs l;
	uint32_t dup;

	assert_int_equal(route_locs_build(&arena, v, 8, &l, &dup), 0);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		assert_int_equal(route_locs_find(&l, slice_cstr(t[i].path), &hit), t[i].how);
		assert_true(slice_eq(hit->path, slice_cstr(t[i].hit)));
	}
	assert_int_equal(route_locs_find(&l, SLICE("*"), &hit), ROUTE_NONE);
	v[7] = loc("/d", ROUTE_PREFIX_STOP, false);
	assert_int_equal(route_locs_build(&arena, v, 8, &l, &dup), -SL_EEXIST);
	assert_int_equal(dup, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names_by_rank, setup, teardown),
		cmocka_unit_test_setup_teardown(names_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(names_malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(many_names, setup, teardown),
		cmocka_unit_test_setup_teardown(locations, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
