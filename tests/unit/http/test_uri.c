/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/http/uri.c. The paths' expected values are what nginx 1.22 has in $uri. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/err.h"
#include "http/uri.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, 2048);
	return 0;
}

static int teardown(void **state)
{
	arena_fini(&arena);
	return 0;
}

/* From memory of exactly the text's size. */
static int parse(struct slice raw, bool merge, struct uri *out)
{
	char *copy = malloc(raw.n ? raw.n : 1);
	int rc;

	assert_non_null(copy);
	memcpy(copy, raw.p, raw.n);
	rc = uri_parse(slice_make(copy, raw.n), merge, &arena, out);
	if (rc == 0) {
		out->path = arena_dup(&arena, out->path);
		out->args = arena_dup(&arena, out->args);
	}
	free(copy);
	return rc;
}

static void test_paths(void **state)
{
	static const struct {
		const char *raw, *merged, *unmerged; /* NULL: as MERGED */
	} cases[] = {
		{"/", "/", NULL},
		{"/a/b.c", "/a/b.c", NULL},
		{"/a/", "/a/", NULL},
		{"//", "/", "//"},
		{"/a//b///c", "/a/b/c", "/a//b///c"},
		{"///a", "/a", "///a"},
		{"/.", "/", NULL},
		{"/./", "/", NULL},
		{"/a/.", "/a/", NULL},
		{"/a/./b/../c", "/a/c", NULL},
		{"/a/..", "/", NULL},
		{"/a/../", "/", NULL},
		{"/a/b/..", "/a/", NULL},
		{"/a/b/../../c", "/c", NULL},
		{"/a/b/c/../../..", "/", NULL},
		{"/a//../b", "/b", "/a/b"},
		{"//..", NULL, "/"},
		{"/a/.//./b", "/a/b", "/a//b"},
		{"/a/...", "/a/...", NULL},
		{"/a/..b/.c/d./e..", "/a/..b/.c/d./e..", NULL},
		{"/.well-known/x", "/.well-known/x", NULL},
		{"/a+b", "/a+b", NULL},
		{"/a%20b", "/a b", NULL},
		{"/%41%7a%7A", "/Azz", NULL},
		{"/a%2fb", "/a/b", NULL},
		{"/a%2Fb", "/a/b", NULL},
		{"/a%2f/b", "/a/b", "/a//b"},
		{"/a/%2e%2e/b", "/b", NULL},
		{"/a/%2e./b", "/b", NULL},
		{"/a/.%2E/b", "/b", NULL},
		{"/a/%2e/b", "/a/b", NULL},
		{"/a%2f..%2fb", "/b", NULL},
		{"/a/%2e%2e", "/", NULL},
		{"/a%3fb", "/a?b", NULL},
		{"/a%23b", "/a#b", NULL},
		{"/a%25b", "/a%b", NULL},
		{"/%2541", "/%41", NULL},
		{"/a/.%3f/b", "/a/.?/b", NULL},
		{"/a/..%25", "/a/..%", NULL},
		{"/%5c%5C", "/\\\\", NULL},
		{"/%c3%a9\xc3\xa9%ff", "/\xc3\xa9\xc3\xa9\xff", NULL},
		{"/\"<>[]^`{|}", "/\"<>[]^`{|}", NULL},
		{"*", "*", NULL},
	};
	struct uri u;

	for (size_t i = 0; i < N_OF(cases); i++) {
		for (int merge = 0; merge < 2; merge++) {
			struct slice raw = slice_cstr(cases[i].raw);
			const char *want =
				merge || !cases[i].unmerged ? cases[i].merged : cases[i].unmerged;
			int rc = parse(raw, merge, &u);

			if (!want) {
				assert_int_equal(rc, -SL_EINVAL);
				continue;
			}
			if (rc || !slice_eq(u.path, slice_cstr(want)))
				fail_msg("%s (merge %d): %d, \"%.*s\" instead of \"%s\"",
					 cases[i].raw, merge, rc, SLICE_FMT(u.path), want);
			assert_int_equal(u.plain, slice_eq(u.path, raw));
			assert_false(u.has_args);
			assert_int_equal(u.args.n, 0);
		}
	}
}

static void test_args(void **state)
{
	static const struct {
		const char *raw, *path, *args;
		bool plain;
	} cases[] = {
		{"/?", "/", "", true},		{"/a?b=c&d", "/a", "b=c&d", true},
		{"/a?b?c", "/a", "b?c", true},	{"/a/../b?/../%zz\\//", "/b", "/../%zz\\//", false},
		{"/a/..?x", "/", "x", false},	{"/a/.?x", "/a/", "x", false},
		{"/a%20?x", "/a ", "x", false}, {"/.a?x", "/.a", "x", true},
	};
	struct uri u;

	for (size_t i = 0; i < N_OF(cases); i++) {
		assert_int_equal(parse(slice_cstr(cases[i].raw), true, &u), 0);
		assert_true(slice_eq(u.path, slice_cstr(cases[i].path)));
		assert_true(u.has_args);
		assert_true(slice_eq(u.args, slice_cstr(cases[i].args)));
		assert_int_equal(u.plain, cases[i].plain);
	}
}

static void test_refused(void **state)
{
	static const struct slice cases[] = {
		SLICE_INIT(""),		  SLICE_INIT("a"),	SLICE_INIT("?a"),
		SLICE_INIT("**"),	  SLICE_INIT("*?a"),	SLICE_INIT("/%"),
		SLICE_INIT("/%4"),	  SLICE_INIT("/%4?1"),	SLICE_INIT("/%g1"),
		SLICE_INIT("/%1g"),	  SLICE_INIT("/%%41"),	SLICE_INIT("/%u0041"),
		SLICE_INIT("/%+1"),	  SLICE_INIT("/%00"),	SLICE_INIT("/a%00b"),
		SLICE_INIT("/%0a"),	  SLICE_INIT("/%0D"),	SLICE_INIT("/%1f"),
		SLICE_INIT("/%7f"),	  SLICE_INIT("/%09"),	SLICE_INIT("/.."),
		SLICE_INIT("/../"),	  SLICE_INIT("/../a"),	SLICE_INIT("/a/../.."),
		SLICE_INIT("/a/../../b"), SLICE_INIT("/./.."),	SLICE_INIT("/%2e%2e"),
		SLICE_INIT("/..?a"),	  SLICE_INIT("/..%2f"), SLICE_INIT("/%2e%2e%2fa"),
		SLICE_INIT("/a\\b"),	  SLICE_INIT("/..\\a"), SLICE_INIT("/a#b"),
		SLICE_INIT("/a?b#c"),	  SLICE_INIT("/a b"),	SLICE_INIT("/a?b c"),
		SLICE_INIT("/\0"),	  SLICE_INIT("/a?\0"),	SLICE_INIT("/a\n"),
		SLICE_INIT("/a?\r"),	  SLICE_INIT("/\x7f"),	SLICE_INIT("/\t"),
	};
	struct uri u;

	for (size_t i = 0; i < N_OF(cases); i++)
		if (parse(cases[i], true, &u) != -SL_EINVAL)
			fail_msg("case %zu \"%.*s\" was accepted", i, SLICE_FMT(cases[i]));
}

static void test_plain_borrows(void **state)
{
	struct slice raw = SLICE("/v1/models?x");
	struct uri u;

	assert_int_equal(uri_parse(raw, true, &arena, &u), 0);
	assert_ptr_equal(u.path.p, raw.p);
	assert_ptr_equal(u.args.p, raw.p + 11);
	assert_int_equal(arena.total_bytes, 0);
}

static void test_escape(void **state)
{
	struct slice same = SLICE("/a-b_c.d~e!$&'()*+,;=:@[]"), out;
	char all[256];
	struct uri u;

	assert_ptr_equal(uri_escape_path(same, &arena).p, same.p);
	assert_int_equal(uri_escape_path(slice_make("", 0), &arena).n, 0);
	out = uri_escape_path(SLICE("/a b%\"#<>?\\^`{|}\x7f\x80\xff\n\0z"), &arena);
	assert_true(
		slice_eq(out, SLICE("/a%20b%25%22%23%3C%3E%3F%5C%5E%60%7B%7C%7D%7F%80%FF%0A%00z")));

	/* What is escaped decodes to the same again. */
	all[0] = '/';
	for (int c = 0x20; c < 256; c++)
		all[c - 0x1f] = (char)(c == 0x7f ? 'x' : c == '/' ? 'y' : c);
	out = uri_escape_path(slice_make(all, 256 - 0x1f), &arena);
	assert_int_equal(parse(out, true, &u), 0);
	assert_true(slice_eq(u.path, slice_make(all, 256 - 0x1f)));
}

static void test_arg(void **state)
{
	static const struct {
		const char *args, *name, *value;
	} cases[] = {
		{"a=1&b=2", "a", "1"},	 {"a=1&b=2", "b", "2"},	   {"a=1&B=2", "b", "2"},
		{"a=&b", "a", ""},	 {"a=&b", "b", NULL},	   {"b&b=3", "b", "3"},
		{"a=1&a=2", "a", "1"},	 {"xa=1&ax=2", "a", NULL}, {"x=a=1&&a=b=c", "a", "b=c"},
		{"a%20=1", "a%20", "1"}, {"a=%20+", "a", "%20+"},  {"", "a", NULL},
		{"&", "a", NULL},	 {"a", "a", NULL},	   {"a;b=1", "b", NULL},
	};
	struct slice v;

	for (size_t i = 0; i < N_OF(cases); i++) {
		bool found = uri_arg(slice_cstr(cases[i].args), slice_cstr(cases[i].name), &v);

		assert_int_equal(found, cases[i].value != NULL);
		if (found)
			assert_true(slice_eq(v, slice_cstr(cases[i].value)));
	}
}

static void test_cookie(void **state)
{
	static const struct {
		const char *field, *name, *value;
	} cases[] = {
		{"a=1; b=2", "a", "1"},
		{"a=1; b=2", "b", "2"},
		{"a=1;b=2", "b", "2"},
		{"A=1", "a", "1"},
		{"a = 1; b", "a", "1"},
		{"a=1; b", "b", NULL},
		{"ab=1; a=2", "a", "2"},
		{"xa=1", "a", NULL},
		{"a=\"b c\"=d", "a", "\"b c\"=d"},
		{"x=1,a=2", "a", NULL},
		{"x=1,a=2", "x", "1,a=2"},
		{"a=", "a", ""},
		{"a", "a", NULL},
		{";;  a=1", "a", "1"},
		{"", "a", NULL},
	};
	struct slice v;

	for (size_t i = 0; i < N_OF(cases); i++) {
		bool found = uri_cookie(slice_cstr(cases[i].field), slice_cstr(cases[i].name), &v);

		assert_int_equal(found, cases[i].value != NULL);
		if (found)
			assert_true(slice_eq(v, slice_cstr(cases[i].value)));
	}
}

static void test_safe(void **state)
{
	static const struct {
		const char *raw, *path, *args; /* path NULL: refused */
	} cases[] = {
		{"/a/b", "/a/b", ""},
		{"/a%20b%2fc?x=%20", "/a b/c", "x=%20"},
		{"/a//b/./c", "/a//b/./c", ""},
		{"/..a/b../c...", "/..a/b../c...", ""},
		{"a", "a", ""},
		{"/x??y", "/x", "?y"},
		{"", NULL, NULL},
		{"?x", NULL, NULL},
		{"..", NULL, NULL},
		{"/..", NULL, NULL},
		{"/../x", NULL, NULL},
		{"/a/../b", NULL, NULL},
		{"/a/%2e%2E/b", NULL, NULL},
		{"/a/..?x", NULL, NULL},
		{"/%", NULL, NULL},
		{"/%0a", NULL, NULL},
		{"/%00", NULL, NULL},
		{"/a\nb", NULL, NULL},
	};
	struct slice path, args;

	for (size_t i = 0; i < N_OF(cases); i++) {
		int r = uri_parse_safe(slice_cstr(cases[i].raw), &arena, &path, &args);

		assert_int_equal(r == 0, cases[i].path != NULL);
		if (r < 0)
			continue;
		assert_true(slice_eq(path, slice_cstr(cases[i].path)));
		assert_true(slice_eq(args, slice_cstr(cases[i].args)));
	}
}

static void test_escape_args(void **state)
{
	struct arena a;

	arena_init(&a, 512);
	assert_true(slice_eq(uri_escape_args(SLICE("a/b=c,d:e!$'()*@[]~"), &a),
			     SLICE("a/b=c,d:e!$'()*@[]~")));
	assert_true(slice_eq(uri_escape_args(SLICE(" \"#%&+;<>?\\^`{|}\x7f\xc3\n"), &a),
			     SLICE("%20%22%23%25%26%2B%3B%3C%3E%3F%5C%5E%60%7B%7C%7D%7F%C3%0A")));
	assert_int_equal(uri_escape_args(SLICE(""), &a).n, 0);
	arena_fini(&a);
}

static void test_unescape_redirect(void **state)
{
	static const char *const cases[][2] = {
		{"/a", "/a"},
		{"", ""},
		{"/%41%7e%7E", "/A~~"},
		{"/%20%25%24%7f%80", "/%20%25%24%7f%80"},
		{"/a%3fb%41", "/a?b%41"},
		{"/a?b%41", "/a?b%41"},
		{"/%3Fx?%41", "/?x?%41"},
		{"/%zz%4z%", "/zz"},
		{"/%4", "/"},
		{"/%", "/"},
		{"/%26", "/&"},
		{"/%%41", "/%41"},
	};
	struct arena a;

	arena_init(&a, 512);
	for (size_t i = 0; i < N_OF(cases); i++) {
		struct slice out = uri_unescape_redirect(slice_cstr(cases[i][0]), &a);

		if (!slice_eq(out, slice_cstr(cases[i][1])))
			fail_msg("%s: \"%.*s\"", cases[i][0], SLICE_FMT(out));
	}
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_args, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_borrows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_escape, setup, teardown),
		cmocka_unit_test_setup_teardown(test_safe, setup, teardown),
		cmocka_unit_test(test_arg),
		cmocka_unit_test(test_escape_args),
		cmocka_unit_test(test_unescape_redirect),
		cmocka_unit_test(test_cookie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
