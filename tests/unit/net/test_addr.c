/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses as text, and PROXY protocol headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/addr.h"
#include "net/proxy_line.h"

static void check_split(const char *text, const char *host, uint16_t port)
{
	struct addr_parts p;

	assert_null(addr_split(slice_cstr(text), &p));
	assert_int_equal(p.host.n, strlen(host));
	assert_memory_equal(p.host.p, host, p.host.n);
	assert_int_equal(p.port, port);
}

static void check_wrong(const char *text, const char *why)
{
	struct addr_parts p;
	const char *got = addr_split(slice_cstr(text), &p);

	assert_non_null(got);
	assert_string_equal(got, why);
}

static void test_split(void **state)
{
	check_split("a", "a", 0);
	check_split("a.b:80", "a.b", 80);
	check_split("1.2.3.4:65535", "1.2.3.4", 65535);
	check_split("[::1]", "[::1]", 0);
	check_split("[::1]:8080", "[::1]", 8080);
	check_split("unix:/a:b", "unix:/a:b", 0);
	check_wrong("", "no host");
	check_wrong(":80", "no host");
	check_wrong("unix:", "no host");
	check_wrong("a:", "invalid port");
	check_wrong("a:0", "invalid port");
	check_wrong("a:65536", "invalid port");
	check_wrong("a:8x", "invalid port");
	check_wrong("a:-1", "invalid port");
	check_wrong("[::1", "invalid host");
	check_wrong("[]", "invalid host");
	check_wrong("[::1]8080", "invalid host");
	check_wrong("[::1]:", "invalid port");
}

static void check_parse(const char *text, const char *out)
{
	char got[ADDR_TEXT_MAX];
	struct addr a;

	assert_int_equal(addr_parse(slice_cstr(text), 7, &a), 0);
	addr_text(&a, got);
	assert_string_equal(got, out);
}

static void test_parse(void **state)
{
	struct addr a;

	check_parse("1.2.3.4", "1.2.3.4:7");
	check_parse("1.2.3.4:80", "1.2.3.4:80");
	check_parse("::1", "[::1]:7");
	check_parse("[::1]", "[::1]:7");
	check_parse("[2001:db8::1]:81", "[2001:db8::1]:81");
	check_parse("unix:/run/x", "unix:/run/x");
	assert_true(addr_parse(SLICE("name:80"), 0, &a) < 0);
	assert_true(addr_parse(SLICE(""), 0, &a) < 0);
	assert_true(addr_parse(SLICE("1.2.3.4:"), 0, &a) < 0);
	assert_true(addr_parse(SLICE("1.2.3"), 0, &a) < 0);
	assert_true(addr_parse(SLICE("1.2.3.4 "), 0, &a) < 0);
}

static struct addr addr_of(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(slice_cstr(text), 0, &a), 0);
	return a;
}

static void check_v1(const char *from, const char *to, const char *line)
{
	struct addr a = addr_of(from), b = addr_of(to);
	char out[PROXY_LINE_MAX];
	size_t n = proxy_line_v1(out, &a, &b);

	assert_int_equal(n, strlen(line));
	assert_memory_equal(out, line, n);
}

static void test_proxy_line_v1(void **state)
{
	check_v1("1.2.3.4:5", "6.7.8.9:10", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n");
	check_v1("[::1]:5", "[fe80::1]:10", "PROXY TCP6 ::1 fe80::1 5 10\r\n");
	check_v1("1.2.3.4:5", "[::1]:10", "PROXY TCP6 ::ffff:1.2.3.4 ::1 5 10\r\n");
	check_v1("unix:/x", "1.2.3.4:5", "PROXY UNKNOWN\r\n");
	check_v1("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		 "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n");
}

static void check_v2(const char *from, const char *to, const char *bytes, size_t n)
{
	struct addr a = addr_of(from), b = addr_of(to);
	char out[PROXY_LINE_MAX];

	assert_int_equal(proxy_line_v2(out, &a, &b), n + 12);
	assert_memory_equal(out, "\r\n\r\n\0\r\nQUIT\n", 12);
	assert_memory_equal(out + 12, bytes, n);
}

static void test_proxy_line_v2(void **state)
{
	static const char v4[] = "\x21\x11\0\x0c\1\2\3\4\6\7\x8\x9\1\0\2\0";
	static const char v6[] = "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4"
				 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2";

	check_v2("1.2.3.4:256", "6.7.8.9:512", v4, sizeof v4 - 1);
	check_v2("1.2.3.4:1", "[::1]:2", v6, sizeof v6 - 1);
	check_v2("unix:/x", "1.2.3.4:5", "\x20\0\0\0", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_proxy_line_v1),
		cmocka_unit_test(test_proxy_line_v2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
