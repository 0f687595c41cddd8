/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit tests of user/net/proxy_intro.c. Each input goes in whole and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/err.h"
#include "net/proxy_intro.h"
#include "net/proxy_line.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))
#define SIG "\r\n\r\n\0\r\nQUIT\n"

/* In memory of its own size; the same when it comes byte by byte. */
static int parse(struct slice in, struct proxy_intro *out)
{
	int rc = 0;

	for (size_t n = 0; n <= in.n && rc == 0; n++) {
		char *copy = malloc(n ? n : 1);

		memcpy(copy, in.p, n);
		rc = proxy_intro_parse(slice_make(copy, n), out);
		free(copy);
	}
	assert_int_equal(rc, proxy_intro_parse(in, out));
	return rc;
}

static void expect(struct slice in, const char *src, const char *dst)
{
	struct proxy_intro h;
	char text[ADDR_TEXT_MAX];

	assert_int_equal(parse(in, &h), (int)in.n);
	if (!src) {
		assert_int_equal(h.src.len, 0);
		assert_int_equal(h.dst.len, 0);
		return;
	}
	addr_text(&h.src, text);
	assert_string_equal(text, src);
	addr_text(&h.dst, text);
	assert_string_equal(text, dst);
}

static void test_v1(void **state)
{
	expect(SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\n"), "1.2.3.4:1000", "5.6.7.8:443");
	expect(SLICE("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"), "255.255.255.255:65535",
	       "0.0.0.0:0");
	expect(SLICE("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), "[2001:db8::1]:1", "[::1]:65535");
	expect(SLICE("PROXY UNKNOWN\r\n"), NULL, NULL);
	expect(SLICE("PROXY UNKNOWN whatever it says\r\n"), NULL, NULL);
}

static void test_bad_v1(void **state)
{
	static const char *const bad[] = {
		"GET / HTTP/1.1\r\n",
		"PROXX TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8  2\r\n",
		"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
		"PROXY TCP4 1.2.3.4.5 5.6.7.8 1 2\r\n",
		"PROXY TCP4 ::1 ::1 1 2\r\n",
		"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP6 [::1] ::1 1 2\r\n",
		"PROXY TCP4 1.2.3.4 host 1 2\r\n",
		"PROXY UNKNOWNX\r\n",
		"PROXY \r\n",
		"PROXY UNKNOWN "
		"01234567890123456789012345678901234567890123456789012345678901234567890123456789"
		"01234567890123456789\r\n",
	};
	struct proxy_intro h;

	for (size_t i = 0; i < N_OF(bad); i++)
		if (parse(slice_cstr(bad[i]), &h) != -SL_EINVAL)
			fail_msg("accepted: %s", bad[i]);
}

static void test_v2(void **state)
{
	expect(SLICE(SIG "\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\x04\xd2\0\x50"), "1.2.3.4:1234",
	       "5.6.7.8:80");
	expect(SLICE(SIG "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
			 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\1\0\2"),
	       "[::1]:1", "[::2]:2");
	/* TLVs are passed over */
	expect(SLICE(SIG "\x21\x11\0\x13\1\2\3\4\5\6\7\x08\x04\xd2\0\x50\4\0\1x\4\0\0"),
	       "1.2.3.4:1234", "5.6.7.8:80");
	/* local, unspecified, datagrams, unix: nobody is named */
	expect(SLICE(SIG "\x20\0\0\0"), NULL, NULL);
	expect(SLICE(SIG "\x20\x11\0\3abc"), NULL, NULL);
	expect(SLICE(SIG "\x21\0\0\2ab"), NULL, NULL);
	expect(SLICE(SIG "\x21\x12\0\x0c\1\2\3\4\5\6\7\x08\x04\xd2\0\x50"), NULL, NULL);
}

static void test_bad_v2(void **state)
{
	static const struct slice bad[] = {
		SLICE_INIT("\r\n\r\n\0\r\nQUIT\r"),
		SLICE_INIT("\r\n\r\nX"),
		SLICE_INIT(SIG "\x11\x11\0\x0c\1\2\3\4\5\6\7\x08\x04\xd2\0\x50"),
		SLICE_INIT(SIG "\x22\x11\0\x0c\1\2\3\4\5\6\7\x08\x04\xd2\0\x50"),
		SLICE_INIT(SIG "\x21\x41\0\x0c\1\2\3\4\5\6\7\x08\x04\xd2\0\x50"),
		SLICE_INIT(SIG "\x21\x13\0\x0c\1\2\3\4\5\6\7\x08\x04\xd2\0\x50"),
		SLICE_INIT(SIG "\x21\x11\0\x0b\1\2\3\4\5\6\7\x08\x04\xd2\0"),
		SLICE_INIT(SIG "\x21\x21\0\x0c\1\2\3\4\5\6\7\x08\x04\xd2\0\x50"),
		SLICE_INIT(SIG "\x21\x11\0\x0e\1\2\3\4\5\6\7\x08\x04\xd2\0\x50\4\0"),
		SLICE_INIT(SIG "\x21\x11\0\x0f\1\2\3\4\5\6\7\x08\x04\xd2\0\x50\4\0\1"),
		SLICE_INIT(SIG "\x21\x11\x10\0\1\2\3\4"),
	};
	struct proxy_intro h;

	for (size_t i = 0; i < N_OF(bad); i++)
		if (parse(bad[i], &h) != -SL_EINVAL)
			fail_msg("v2 test %zu was accepted", i);
}

/* What we send ourselves. */
static void test_ours(void **state)
{
	struct addr a, b;
	struct proxy_intro h;
	char text[PROXY_LINE_MAX];
	size_t n;

	addr_from_ip(SLICE("2001:db8::7"), 7, &a);
	addr_from_ip(SLICE("10.0.0.1"), 443, &b);
	n = proxy_line_v1(text, &a, &b);
	assert_int_equal(parse(slice_make(text, n), &h), (int)n);
	assert_true(addr_eq(&h.src, &a));
	n = proxy_line_v2(text, &a, &b);
	assert_int_equal(parse(slice_make(text, n), &h), (int)n);
	assert_true(addr_eq(&h.src, &a));
}

int main(void)
{
	static const struct CMUnitTest all[] = {
		cmocka_unit_test(test_v1),   cmocka_unit_test(test_bad_v1),
		cmocka_unit_test(test_v2),   cmocka_unit_test(test_bad_v2),
		cmocka_unit_test(test_ours),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
