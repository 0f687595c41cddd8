/* SPDX-License-Identifier: BSD-2-Clause */
/* Regular expressions: groups, names, case, limits, and patterns that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "conf/regex.h"
#include "tests/unit/conf/fixture.h"

static char folder[] = "/nonexistent/", path[] = "/nonexistent/sluice.conf";

static int setup(void **state)
{
	struct conf *c = malloc(sizeof *c);

	fx_conf_init(c, folder, path);
	arena_init(&c->arena, 4096);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	conf_free(*state);
	free(*state);
	return 0;
}

static struct regex *compile(struct conf *c, const char *pattern, bool caseless)
{
	struct regex *re = NULL;

	assert_int_equal(regex_new(c, NULL, slice_cstr(pattern), caseless, &re), 0);
	return re;
}

static void groups(void **state)
{
	static const bool jit[] = {true, false};
	struct regex *re = compile(*state, "^/(a)?/(?<rest>.*)$", false);
	struct slice name;
	const size_t *at;
	int group;

	assert_int_equal(regex_n_groups(re), 2);
	assert_true(regex_name(re, 0, &name, &group));
	assert_true(slice_eq(name, SLICE("rest")));
	assert_int_equal(group, 2);
	assert_false(regex_name(re, 1, &name, &group));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(regex_ready(*state, 1000, jit[i]), 0);
		assert_int_equal(regex_match(re, SLICE("//xyz"), &at), 3);
		assert_true(at[2] == SIZE_MAX);
		assert_int_equal(at[4], 2);
		assert_int_equal(at[5], 5);
		assert_int_equal(regex_match(re, SLICE("/b/xyz"), &at), 0);
		assert_int_equal(regex_match(re, (struct slice){NULL, 0}, &at), 0);
		regex_free_all(*state);
		re = compile(*state, "^/(a)?/(?<rest>.*)$", false);
	}
}

static void letters(void **state)
{
	struct regex *with = compile(*state, "^Ab$", false),
		     *without = compile(*state, "^Ab$", true);
	const size_t *at;

	assert_int_equal(regex_ready(*state, 1000, true), 0);
	assert_int_equal(regex_match(with, SLICE("aB"), &at), 0);
	assert_int_equal(regex_match(without, SLICE("aB"), &at), 1);
	assert_int_equal(regex_match(with, SLICE("Ab"), &at), 1);
}

/* What would take years ends, with or without machine code. */
static void limits(void **state)
{
	char subject[8000];
	const size_t *at;

	memset(subject, 'a', sizeof subject);
	subject[sizeof subject - 1] = '!';
	for (int jit = 0; jit < 2; jit++) {
		struct regex *re = compile(*state, "^(a+)+$", false);
		struct regex *deep = compile(*state, "^(?:a|aa)+$", false);

		assert_int_equal(regex_ready(*state, 5000, jit), 0);
		assert_true(regex_match(re, slice_make(subject, sizeof subject), &at) < 0);
		assert_true(regex_match(deep, slice_make(subject, sizeof subject), &at) < 0);
		assert_int_equal(regex_match(re, SLICE("aaa"), &at), 2);
		regex_free_all(*state);
	}
}

static void refused(void **state)
{
	static const char *const bad[] = {
		"(",	    "[a", "a{2,1}",	    "*",
		"(?<1a>x)", "\\", "(?<n>a)(?<n>b)", "((a{1000}){1000}){1000}"};
	struct conf *c = *state;
	char error[400], text[REGEX_PATTERN_MAX + 2];
	struct regex *re;

	c->first_error = error;
	c->first_error_room = sizeof error;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		error[0] = 0;
		assert_int_equal(regex_new(c, NULL, slice_cstr(bad[i]), false, &re), -SL_EINVAL);
		assert_non_null(strstr(error, "pcre2_compile() failed: "));
	}
	memset(text, 'a', sizeof text);
	assert_int_equal(regex_new(c, NULL, slice_make(text, REGEX_PATTERN_MAX + 1), false, &re),
			 -SL_EINVAL);
	assert_int_equal(regex_new(c, NULL, slice_make(text, REGEX_PATTERN_MAX), false, &re), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(groups, setup, teardown),
		cmocka_unit_test_setup_teardown(letters, setup, teardown),
		cmocka_unit_test_setup_teardown(limits, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
