/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/http/headers.c, chars.c and host.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/err.h"
#include "http/chars.h"
#include "http/headers.h"
#include "http/host.h"

static struct arena arena;

static int setup(void **state)
{
	hdr_setup();
	arena_init(&arena, 2048);
	return 0;
}

static int teardown(void **state)
{
	arena_fini(&arena);
	return 0;
}

static struct slice in_case(struct slice s, bool upper)
{
	char *p = arena_bytes(&arena, s.n);

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (upper && c >= 'a' && c <= 'z')
			c = (char)(c - 32);
		else if (!upper && c >= 'A' && c <= 'Z')
			c = (char)(c + 32);
		p[i] = c;
	}
	return slice_make(p, s.n);
}

static void test_known_names(void **state)
{
	for (unsigned id = HDR_OTHER + 1; id < HDR_N; id++) {
		struct slice name = hdr_name_of(id), lower = in_case(name, false),
			     upper = in_case(name, true), shorter = slice_make(name.p, name.n - 1);

		assert_true(name.n > 0);
		assert_int_equal(hdr_id_of(name, hdr_hash(name)), id);
		assert_int_equal(hdr_id_of(lower, hdr_hash(lower)), id);
		assert_int_equal(hdr_id_of(upper, hdr_hash(upper)), id);
		assert_int_equal(hdr_hash(lower), hdr_hash(upper));
		assert_int_not_equal(hdr_id_of(shorter, hdr_hash(shorter)), id);
		/* Even under the hash of another name. */
		assert_int_equal(hdr_id_of(SLICE("X-Nobody"), hdr_hash(name)), HDR_OTHER);
	}
	assert_int_equal(hdr_name_of(HDR_OTHER).n, 0);
	assert_int_equal(hdr_name_of(HDR_N).n, 0);
	assert_true(slice_eq(hdr_name_of(HDR_CONTENT_TYPE), SLICE("Content-Type")));
	assert_true(slice_eq(hdr_name_of(HDR_X_REQUEST_ID), SLICE("X-Request-ID")));
}

static void test_hash(void **state)
{
	char a[100], b[100];

	/* Each length, each byte: case never counts, every other change does (within the first 64).
	 * */
	for (size_t n = 1; n <= sizeof a; n++) {
		memset(a, 'q', n);
		for (size_t i = 0; i < n; i++) {
			memcpy(b, a, n);
			b[i] = 'Q';
			assert_int_equal(hdr_hash(slice_make(a, n)), hdr_hash(slice_make(b, n)));
			b[i] = 'r';
			if (n <= 64)
				assert_int_not_equal(hdr_hash(slice_make(a, n)),
						     hdr_hash(slice_make(b, n)));
		}
		if (n > 1)
			assert_int_not_equal(hdr_hash(slice_make(a, n)),
					     hdr_hash(slice_make(a, n - 1)));
	}
	/* Only letters have a case: '@' and '`', '[' and '{' differ by the same bit. */
	assert_int_not_equal(hdr_hash(SLICE("x@")), hdr_hash(SLICE("x`")));
	assert_int_not_equal(hdr_hash(SLICE("x[")), hdr_hash(SLICE("x{")));
	assert_int_not_equal(hdr_hash(SLICE("x\xc1")), hdr_hash(SLICE("x\xe1")));
	hdr_hash(slice_make("", 0));
}

static void test_setup_again_keeps_the_seed(void **state)
{
	uint32_t h = hdr_hash(SLICE("x-some-name"));

	hdr_setup();
	assert_int_equal(hdr_hash(SLICE("x-some-name")), h);
}

static void test_list(void **state)
{
	struct hdrs h = {0};
	struct hdr *f;
	char name[16];

	assert_null(hdrs_find(&h, HDR_HOST));
	assert_null(hdrs_find_name(&h, SLICE("x-1")));
	hdrs_add(&h, &arena, SLICE("VIA"), SLICE("a"));
	for (int i = 0; i < 100; i++) {
		int n = snprintf(name, sizeof name, "X-%d", i % 50);

		f = hdrs_add(&h, &arena, arena_dup(&arena, slice_make(name, (size_t)n)),
			     SLICE("v"));
		assert_int_equal(f->id, HDR_OTHER);
		assert_int_equal(f->flags, 0);
		f->value.n = i < 50;
	}
	hdrs_add(&h, &arena, SLICE("via"), SLICE("b"));
	assert_int_equal(h.n, 102);

	f = hdrs_find(&h, HDR_VIA);
	assert_non_null(f);
	assert_true(slice_eq(f->name, SLICE("VIA")));
	f = hdrs_next(&h, f);
	assert_non_null(f);
	assert_true(slice_eq(f->value, SLICE("b")));
	assert_null(hdrs_next(&h, f));
	assert_ptr_equal(hdrs_find_name(&h, SLICE("Via")), hdrs_find(&h, HDR_VIA));

	f = hdrs_find_name(&h, SLICE("x-7"));
	assert_non_null(f);
	assert_int_equal(f->value.n, 1);
	f = hdrs_next(&h, f);
	assert_non_null(f);
	assert_int_equal(f->value.n, 0);
	assert_null(hdrs_next(&h, f));
	assert_null(hdrs_find_name(&h, SLICE("x-70")));

	/* Next to each other, at the end. */
	hdrs_add(&h, &arena, SLICE("Via"), SLICE("c"));
	f = hdrs_next(&h, hdrs_next(&h, hdrs_find(&h, HDR_VIA)));
	assert_non_null(f);
	assert_true(slice_eq(f->value, SLICE("c")));
	assert_null(hdrs_next(&h, f));
}

static void test_reserve(void **state)
{
	struct hdrs h = {0};
	struct hdr *v;
	size_t bytes;

	hdrs_add(&h, &arena, SLICE("A"), SLICE("1"));
	hdrs_reserve(&h, &arena, 40);
	assert_true(slice_eq(h.v[0].name, SLICE("A")));
	v = h.v;
	bytes = arena.total_bytes;
	while (h.n < 40)
		hdrs_add(&h, &arena, SLICE("B"), SLICE("2"));
	assert_ptr_equal(h.v, v);
	assert_int_equal(arena.total_bytes, bytes);
	hdrs_reserve(&h, &arena, 3);
	assert_ptr_equal(h.v, v);
}

static void test_join_var(void **state)
{
	struct hdrs h = {0};
	struct slice out;

	hdrs_add(&h, &arena, SLICE("X-Model"), SLICE("one"));
	hdrs_add(&h, &arena, SLICE("Cookie"), SLICE("a=1"));
	hdrs_add(&h, &arena, SLICE("x-MODEL"), SLICE(""));
	hdrs_add(&h, &arena, SLICE("cookie"), SLICE("b=2"));
	hdrs_add(&h, &arena, SLICE("X_Model"), SLICE("three"));
	hdrs_add(&h, &arena, SLICE("X-Models"), SLICE("no"));
	hdrs_add(&h, &arena, SLICE("Host"), SLICE("h"));
	assert_true(hdrs_join_var(&h, &arena, SLICE("x_model"), &out));
	assert_true(slice_eq(out, SLICE("one, , three")));
	assert_true(hdrs_join_var(&h, &arena, SLICE("cookie"), &out));
	assert_true(slice_eq(out, SLICE("a=1; b=2")));
	assert_true(hdrs_join_var(&h, &arena, SLICE("host"), &out));
	assert_true(slice_eq(out, SLICE("h")));
	assert_ptr_equal(out.p, hdrs_find(&h, HDR_HOST)->value.p);
	assert_false(hdrs_join_var(&h, &arena, SLICE("x_mode"), &out));
	assert_false(hdrs_join_var(&h, &arena, SLICE("x-model"), &out));
}

static void test_tokens(void **state)
{
	struct slice rest = SLICE(" a ,,\t, b c,\td\t,"), t;

	assert_true(hdr_next_token(&rest, &t) && slice_eq(t, SLICE("a")));
	assert_true(hdr_next_token(&rest, &t) && slice_eq(t, SLICE("b c")));
	assert_true(hdr_next_token(&rest, &t) && slice_eq(t, SLICE("d")));
	assert_false(hdr_next_token(&rest, &t));
	assert_false(hdr_next_token(&rest, &t));

	assert_true(hdr_has_token(SLICE("Keep-Alive, UPGRADE"), SLICE("upgrade")));
	assert_true(hdr_has_token(SLICE("close"), SLICE("close")));
	assert_false(hdr_has_token(SLICE("closed, xclose"), SLICE("close")));
	assert_false(hdr_has_token(SLICE(""), SLICE("close")));
}

static bool in_set(int c, const char *set)
{
	return c && strchr(set, c);
}

static bool is_alnum(int c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* The table against the RFCs' words, byte by byte; and the fast search against the table. */
static void test_chars(void **state)
{
	static const unsigned classes[] = {CHARS_VALUE, CHARS_TARGET};
	char text[40];

	for (int c = 0; c < 256; c++) {
		bool vchar = c > ' ' && c != 0x7f;
		char b = (char)c;

		assert_int_equal(!!chars_is(b, CHARS_TOKEN),
				 is_alnum(c) || in_set(c, "!#$%&'*+-.^_`|~"));
		assert_int_equal(!!chars_is(b, CHARS_VALUE), vchar || c == ' ' || c == '\t');
		assert_int_equal(!!chars_is(b, CHARS_TARGET), vchar && c != '#');
		assert_int_equal(!!chars_is(b, CHARS_HOST),
				 is_alnum(c) || in_set(c, "-._~!$&'()*+;="));
		assert_int_equal(!!chars_is(b, CHARS_METHOD),
				 (c >= 'A' && c <= 'Z') || c == '_' || c == '-');
		assert_int_equal(!!chars_is(b, CHARS_QDTEXT),
				 (vchar || c == ' ' || c == '\t') && c != '"' && c != '\\');
		assert_int_equal(!!chars_is(b, CHARS_URI),
				 vchar && c < 0x80 && !in_set(c, "\"#%<>?\\^`{|}"));
		for (int k = 0; k < 2; k++) {
			for (size_t at = 0; at < sizeof text; at++) {
				memset(text, 'x', sizeof text);
				text[at] = b;
				assert_ptr_equal(
					chars_skip_long(text, text + sizeof text, classes[k]),
					chars_is(b, classes[k]) ? text + sizeof text : text + at);
			}
		}
	}
}

static void test_host(void **state)
{
	static const struct {
		const char *in, *host;
		int port;
	} good[] = {
		{"example.com", "example.com", 0},
		{"EXAMPLE.com:8443", "example.com", 8443},
		{"example.com.", "example.com", 0},
		{"example.com.:1", "example.com", 1},
		{"a_b-c.~d", "a_b-c.~d", 0},
		{"127.0.0.1:65535", "127.0.0.1", 65535},
		{"a:00080", "a", 80},
		{"a:9099", "a", 9099},
		{"a:", "a", 0},
		{"a.:", "a", 0},
		{"[::1]:", "[::1]", 0},
		{"[::1]", "[::1]", 0},
		{"[2001:DB8::A]:443", "[2001:db8::a]", 443},
		{"[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]", 0},
	};
	static const struct slice bad[] = {
		SLICE_INIT(""),
		SLICE_INIT("."),
		SLICE_INIT(".."),
		SLICE_INIT(".a"),
		SLICE_INIT("a..b"),
		SLICE_INIT("a.."),
		SLICE_INIT("a..:80"),
		SLICE_INIT(":80"),
		SLICE_INIT("a:0"),
		SLICE_INIT("a:65536"),
		SLICE_INIT("a:000080"),
		SLICE_INIT("a:+80"),
		SLICE_INIT("a:80 "),
		SLICE_INIT("a:8a"),
		SLICE_INIT("a:80:80"),
		SLICE_INIT("user@a"),
		SLICE_INIT("user:pw@a"),
		SLICE_INIT("a b"),
		SLICE_INIT(" a"),
		SLICE_INIT("a/b"),
		SLICE_INIT("a\\b"),
		SLICE_INIT("a?b"),
		SLICE_INIT("a#b"),
		SLICE_INIT("a,b"),
		SLICE_INIT("a%62"),
		SLICE_INIT("a\tb"),
		SLICE_INIT("a\0b"),
		SLICE_INIT("b\xc3\xbc"),
		SLICE_INIT("::1"),
		SLICE_INIT("[::1"),
		SLICE_INIT("::1]"),
		SLICE_INIT("[]"),
		SLICE_INIT("[::1]x"),
		SLICE_INIT("[::1]80"),
		SLICE_INIT("a::"),
		SLICE_INIT(":"),
		SLICE_INIT("[::1]::"),
		SLICE_INIT("[::g]"),
		SLICE_INIT("[1.2.3.4]"),
		SLICE_INIT("[fe80::1%25lo]"),
		SLICE_INIT("[fe80::1%lo]"),
		SLICE_INIT("[v1.x]"),
		SLICE_INIT("[[::1]]"),
		SLICE_INIT("[::1\0]"),
		SLICE_INIT("["),
		SLICE_INIT("]"),
		SLICE_INIT("[::1]."),
		SLICE_INIT("[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]"),
	};
	struct slice host;
	uint16_t port;

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(host_parse(slice_cstr(good[i].in), &arena, &host, &port), 0);
		assert_true(slice_eq(host, slice_cstr(good[i].host)));
		assert_int_equal(port, good[i].port);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (host_parse(bad[i], &arena, &host, &port) != -SL_EINVAL)
			fail_msg("host %zu \"%.*s\" was accepted", i, SLICE_FMT(bad[i]));
}

static void test_options(void **state)
{
	struct hdr_options o;
	struct hdrs h = {0};
	bool named;

	hdrs_options(&h, &o);
	assert_int_equal(o.n, 0);
	hdrs_add(&h, &arena, SLICE("X-Foo"), SLICE("1"));
	hdrs_add(&h, &arena, SLICE("Connection"), SLICE("close, ,x-foo"));
	hdrs_add(&h, &arena, SLICE("X-Bar"), SLICE("close"));
	hdrs_add(&h, &arena, SLICE("connection"), SLICE("COOKIE,x-ba"));
	hdrs_add(&h, &arena, SLICE("Cookie"), SLICE("a"));
	hdrs_options(&h, &o);
	assert_int_equal(o.n, 4);
	for (uint32_t i = 0; i < h.n; i++) {
		named = slice_ieq(h.v[i].name, SLICE("x-foo")) ||
			slice_ieq(h.v[i].name, SLICE("cookie"));
		assert_int_equal(hdr_options_have(&o, &h.v[i]), named);
	}
	for (int i = 0; i < HDR_OPTIONS_MAX; i++) /* the parser refuses such a head */
		hdrs_add(&h, &arena, SLICE("Connection"), SLICE("x"));
	hdrs_options(&h, &o);
	assert_int_equal(o.n, HDR_OPTIONS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_known_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_setup_again_keeps_the_seed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reserve, setup, teardown),
		cmocka_unit_test_setup_teardown(test_join_var, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tokens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_options, setup, teardown),
		cmocka_unit_test(test_chars),
		cmocka_unit_test_setup_teardown(test_host, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
