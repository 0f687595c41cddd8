/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/http/head_h2.c: RFC 9113 8.1 to 8.5, rule by rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/head_h2.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))
#define GET ":method", "GET", ":scheme", "https", ":path", "/x?y", ":authority", "a.test"
#define POST ":method", "POST", ":scheme", "https", ":path", "/", ":authority", "a.test"

static const struct head_limits usual = {8192, 32768, 100};

struct test {
	bool end_stream;
	enum head_error want;
	const char *fields[24]; /* name, value ... */
};

static const struct test tests[] = {
	{true, HEAD_OK, {GET}},
	{true, HEAD_OK, {GET, "accept", "*/*", "x", ""}},
	{false, HEAD_OK, {POST}},
	{false, HEAD_OK, {POST, "content-length", "3"}},
	{true, HEAD_OK, {POST, "content-length", "0"}},
	{true, HEAD_OK, {GET, "te", "trailers"}},
	{true, HEAD_OK, {GET, "host", "A.test"}},
	{true, HEAD_OK, {":method", "GET", ":scheme", "http", ":path", "/", "host", "a.test"}},
	{true, HEAD_OK, {":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "a"}},
	{false, HEAD_OK, {":method", "CONNECT", ":authority", "a.test:443"}},
	{true, HEAD_OK, {":path", "/", ":authority", "a", ":method", "GET", ":scheme", "HTTPS"}},
	/* pseudo-headers */
	{true, HEAD_BAD_PSEUDO, {":scheme", "https", ":path", "/", ":authority", "a"}},
	{true, HEAD_BAD_PSEUDO, {":method", "GET", ":path", "/", ":authority", "a"}},
	{true, HEAD_BAD_PSEUDO, {":method", "GET", ":scheme", "https", ":authority", "a"}},
	{true, HEAD_BAD_PSEUDO, {GET, ":method", "GET"}},
	{true, HEAD_BAD_PSEUDO, {GET, ":path", "/x?y"}},
	{true, HEAD_BAD_PSEUDO, {GET, ":scheme", "https"}},
	{true, HEAD_BAD_PSEUDO, {GET, ":authority", "a.test"}},
	{true, HEAD_BAD_PSEUDO, {GET, ":status", "200"}},
	{true, HEAD_BAD_PSEUDO, {GET, ":protocol", "websocket"}},
	{true, HEAD_BAD_PSEUDO, {GET, ":", "x"}},
	{true, HEAD_BAD_PSEUDO, {GET, ":Path", "/"}},
	{true,
	 HEAD_BAD_PSEUDO,
	 {":method", "GET", ":scheme", "https", "x", "y", ":path", "/", ":authority", "a"}},
	{true, HEAD_BAD_METHOD, {":method", "", ":scheme", "https", ":path", "/", "host", "a"}},
	{true, HEAD_BAD_METHOD, {":method", "G T", ":scheme", "https", ":path", "/", "host", "a"}},
	{true, HEAD_BAD_METHOD, {":method", "get", ":scheme", "https", ":path", "/", "host", "a"}},
	{true, HEAD_BAD_TARGET, {":method", "GET", ":scheme", "https", ":path", "", "host", "a"}},
	{true, HEAD_BAD_TARGET, {":method", "GET", ":scheme", "https", ":path", "x", "host", "a"}},
	{true, HEAD_BAD_TARGET, {":method", "GET", ":scheme", "https", ":path", "*", "host", "a"}},
	{true,
	 HEAD_BAD_TARGET,
	 {":method", "GET", ":scheme", "https", ":path", "/ x", "host", "a"}},
	{true, HEAD_BAD_TARGET, {":method", "GET", ":scheme", "https", ":path", "/#", "host", "a"}},
	{true, HEAD_BAD_TARGET, {":method", "GET", ":scheme", "https", ":path", "/\r\nx: y"}},
	{true, HEAD_BAD_TARGET, {":method", "GET", ":scheme", "https", ":path", "http://a/"}},
	{true, HEAD_BAD_TARGET, {":method", "GET", ":scheme", "ftp", ":path", "/", "host", "a"}},
	{true, HEAD_BAD_TARGET, {":method", "GET", ":scheme", "", ":path", "/", "host", "a"}},
	{false, HEAD_BAD_PSEUDO, {":method", "CONNECT", ":authority", "a:1", ":path", "/"}},
	{false, HEAD_BAD_PSEUDO, {":method", "CONNECT", ":authority", "a:1", ":scheme", "http"}},
	{false, HEAD_BAD_PSEUDO, {":method", "CONNECT", "host", "a:1"}},
	{false, HEAD_BAD_TARGET, {":method", "CONNECT", ":authority", "a"}},
	/* host */
	{true, HEAD_BAD_HOST, {":method", "GET", ":scheme", "https", ":path", "/"}},
	{true, HEAD_BAD_HOST, {GET, "host", "b.test"}},
	{true, HEAD_BAD_HOST, {GET, "host", "a.test:443"}},
	{true, HEAD_BAD_HOST, {GET, "host", ""}},
	{true, HEAD_BAD_HOST, {GET, "host", "a.test", "host", "a.test"}},
	{true,
	 HEAD_BAD_HOST,
	 {":method", "GET", ":scheme", "https", ":path", "/", ":authority", "u@a.test"}},
	{true,
	 HEAD_BAD_HOST,
	 {":method", "GET", ":scheme", "https", ":path", "/", ":authority", ""}},
	{true,
	 HEAD_BAD_HOST,
	 {":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a\r\nx: y"}},
	/* names and values */
	{true, HEAD_BAD_NAME, {GET, "Accept", "x"}},
	{true, HEAD_BAD_NAME, {GET, "", "x"}},
	{true, HEAD_BAD_NAME, {GET, "a b", "x"}},
	{true, HEAD_BAD_NAME, {GET, "a:b", "x"}},
	{true, HEAD_BAD_NAME, {GET, "a\r\nb", "x"}},
	{true, HEAD_BAD_NAME, {GET, "a\x80", "x"}},
	{true, HEAD_BAD_VALUE, {GET, "a", " x"}},
	{true, HEAD_BAD_VALUE, {GET, "a", "x\t"}},
	{true, HEAD_BAD_VALUE, {GET, "a", "x\r\ny: z"}},
	{true, HEAD_BAD_VALUE, {GET, "a", "x\ny"}},
	{true, HEAD_BAD_VALUE, {GET, "a", "x\x7f"}},
	/* one connection's fields */
	{true, HEAD_HOP_FIELD, {GET, "connection", "close"}},
	{true, HEAD_HOP_FIELD, {GET, "keep-alive", "1"}},
	{true, HEAD_HOP_FIELD, {GET, "proxy-connection", "close"}},
	{true, HEAD_HOP_FIELD, {GET, "upgrade", "h2c"}},
	{false, HEAD_HOP_FIELD, {POST, "transfer-encoding", "chunked"}},
	{true, HEAD_HOP_FIELD, {GET, "te", "gzip"}},
	{true, HEAD_HOP_FIELD, {GET, "te", "trailers, gzip"}},
	{true, HEAD_HOP_FIELD, {GET, "te", ""}},
	/* lengths */
	{true, HEAD_BAD_LENGTH, {POST, "content-length", "1"}},
	{false, HEAD_BAD_LENGTH, {POST, "content-length", "x"}},
	{false, HEAD_BAD_LENGTH, {POST, "content-length", ""}},
	{false, HEAD_BAD_LENGTH, {POST, "content-length", "+1"}},
	{false, HEAD_BAD_LENGTH, {POST, "content-length", "-1"}},
	{false, HEAD_BAD_LENGTH, {POST, "content-length", "1, 1"}},
	{false, HEAD_BAD_LENGTH, {POST, "content-length", "99999999999999999999"}},
	{false, HEAD_BAD_LENGTH, {POST, "content-length", "1", "content-length", "1"}},
};

static enum head_error run(const struct test *t, const struct head_limits *lim, struct arena *a,
			   struct req_head *out)
{
	struct head_h2 s = {0};

	*out = (struct req_head){0};
	for (size_t i = 0; i < N_OF(t->fields) && t->fields[i]; i += 2)
		head_h2_field(&s, slice_cstr(t->fields[i]), slice_cstr(t->fields[i + 1]), lim, a,
			      out);
	return head_h2_finish(&s, t->end_stream, a, out);
}

static void test_rules(void **state)
{
	struct req_head head;
	struct arena a;

	arena_init(&a, 2048);
	for (size_t i = 0; i < N_OF(tests); i++) {
		enum head_error got = run(&tests[i], &usual, &a, &head);

		if (got != tests[i].want)
			fail_msg("test %zu (%s %s ...): %s, not %s", i, tests[i].fields[0],
				 tests[i].fields[1], head_error_text(got),
				 head_error_text(tests[i].want));
	}
	arena_fini(&a);
}

static void test_result(void **state)
{
	static const struct test t = {
		true, HEAD_OK, {":method", "POST", ":scheme",	 "https",
				":path",   "/p?q", ":authority", "A.Test:8443",
				"cookie",  "a=1",  "x",		 "y",
				"cookie",  "b=2",  "host",	 "a.test:8443",
				"cookie",  "c",	   "expect",	 "100-Continue"}};
	struct req_head head;
	struct arena a;
	struct hdr *cookie;

	arena_init(&a, 2048);
	assert_int_equal(run(&t, &usual, &a, &head), HEAD_OK);
	assert_int_equal(head.method, METHOD_POST);
	assert_true(slice_eq(head.path, SLICE("/p?q")) && slice_eq(head.target, head.path));
	assert_true(slice_eq(head.host, SLICE("a.test")));
	assert_true(slice_eq(head.host_field, SLICE("A.Test:8443")));
	assert_true(slice_eq(hdrs_find(&head.fields, HDR_HOST)->value, SLICE("A.Test:8443")));
	cookie = hdrs_find(&head.fields, HDR_COOKIE);
	assert_true(slice_eq(cookie->value, SLICE("a=1; b=2; c")));
	assert_null(hdrs_next(&head.fields, cookie));
	assert_int_equal(head.fields.n, 4); /* host, cookie, x, expect */
	assert_true(slice_eq(head.fields.v[2].name, SLICE("x")));
	assert_true(head.http2 && head.minor == 1 && head.keep_alive && head.expect_continue);
	assert_int_equal(head.body, BODY_NONE);
	assert_true(slice_eq(head_version_of(&head), SLICE("HTTP/2.0")));
	arena_fini(&a);
}

static void test_limits(void **state)
{
	static const struct head_limits small = {40, 150, 6};
	static const struct test longer = {
		true, 0, {GET, "x", "0123456789012345678901234567890123456"}};
	static const struct test path = {
		true, 0, {":method", "GET", ":path", "/0123456789012345678901234567890123456"}};
	static const struct test many = {
		true, 0, {GET, "a", "", "b", "", "c", "", "d", "", "e", "", "f", "", "g", ""}};
	static const struct test all = {true,
					0,
					{GET, "x", "012345678901234567890123456789", "y",
					 "012345678901234567890123456789", "z",
					 "01234567890123456789"}};
	struct req_head head;
	struct arena a;

	arena_init(&a, 2048);
	assert_int_equal(run(&longer, &small, &a, &head), HEAD_FIELD_TOO_LONG);
	assert_int_equal(run(&path, &small, &a, &head), HEAD_LINE_TOO_LONG);
	assert_int_equal(run(&many, &small, &a, &head), HEAD_FIELD_TOO_LONG);
	assert_int_equal(run(&all, &small, &a, &head), HEAD_FIELD_TOO_LONG);
	arena_fini(&a);
}

static void test_nul(void **state)
{
	struct head_h2 s = {0};
	struct req_head head = {0};
	struct arena a;

	arena_init(&a, 2048);
	head_h2_field(&s, SLICE("x"), SLICE("a\0b"), &usual, &a, &head);
	assert_int_equal(s.error, HEAD_BAD_VALUE);
	assert_int_equal(head_h2_trailer(SLICE("x\0"), SLICE("a")), HEAD_BAD_NAME);
	assert_int_equal(head_h2_trailer(SLICE(":path"), SLICE("/")), HEAD_BAD_PSEUDO);
	assert_int_equal(head_h2_trailer(SLICE("x"), SLICE("a\r")), HEAD_BAD_VALUE);
	assert_int_equal(head_h2_trailer(SLICE("te"), SLICE("trailers")), HEAD_HOP_FIELD);
	assert_int_equal(head_h2_trailer(SLICE("content-length"), SLICE("1")), HEAD_BAD_NAME);
	assert_int_equal(head_h2_trailer(SLICE("x-sum"), SLICE("1")), HEAD_OK);
	arena_fini(&a);
}

int main(void)
{
	static const struct CMUnitTest all[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_nul),
	};

	hdr_setup();
	return cmocka_run_group_tests(all, NULL, NULL);
}
