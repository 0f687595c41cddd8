/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of networks: what they find is what looking at each network finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "policy/nets.h"

static struct cidr net(const char *text)
{
	struct cidr c;

	assert_int_equal(cidr_parse(slice_cstr(text), &c), 0);
	return c;
}

static const char *found(const struct nets *t, const char *ip)
{
	const uint8_t *bytes;
	struct addr a;
	size_t n;

	assert_int_equal(addr_from_ip(slice_cstr(ip), 0, &a), 0);
	n = addr_bytes(&a, &bytes);
	return nets_find(t, bytes, n);
}

static void nested(void **state)
{
	static const char *const texts[] = {"10.0.0.0/8",      "10.1.0.0/16",	 "10.1.2.0/24",
					    "10.1.2.3",	       "192.168.0.0/16", "255.255.255.255",
					    "2001:db8::/32",   "2001:db8::1",	 "128.0.0.0/1",
					    "10.255.255.0/24", "10.1.255.0/24"};
	struct arena a;
	struct nets t;

	arena_init(&a, 1024);
	nets_init(&t, &a);
	nets_build(&t);
	assert_null(found(&t, "10.0.0.1"));
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct cidr c = net(texts[i]);

		nets_put(&t, &c, texts[i]);
	}
	nets_build(&t);
	assert_string_equal(found(&t, "10.0.0.0"), "10.0.0.0/8");
	assert_string_equal(found(&t, "10.1.2.3"), "10.1.2.3");
	assert_string_equal(found(&t, "10.1.2.4"), "10.1.2.0/24");
	assert_string_equal(found(&t, "10.1.3.0"), "10.1.0.0/16");
	assert_string_equal(found(&t, "10.1.255.255"), "10.1.255.0/24");
	assert_string_equal(found(&t, "10.2.0.0"), "10.0.0.0/8");
	assert_string_equal(found(&t, "10.255.255.255"), "10.255.255.0/24");
	assert_null(found(&t, "11.0.0.0"));
	assert_null(found(&t, "9.255.255.255"));
	assert_string_equal(found(&t, "192.168.1.1"), "192.168.0.0/16");
	assert_string_equal(found(&t, "192.169.0.0"), "128.0.0.0/1");
	assert_string_equal(found(&t, "255.255.255.255"), "255.255.255.255");
	assert_string_equal(found(&t, "255.255.255.254"), "128.0.0.0/1");
	assert_string_equal(found(&t, "2001:db8::1"), "2001:db8::1");
	assert_string_equal(found(&t, "2001:db8::2"), "2001:db8::/32");
	assert_null(found(&t, "2001:db9::"));
	assert_null(found(&t, "::1"));
	assert_string_equal(found(&t, "::ffff:10.1.2.3"), "10.1.2.3");
	arena_fini(&a);
}

static void twice_and_out(void **state)
{
	struct cidr ten = net("10.0.0.0/8"), in = net("10.1.0.0/16"), all = net("0.0.0.0/0");
	struct arena a;
	struct nets t;

	arena_init(&a, 1024);
	nets_init(&t, &a);
	nets_put(&t, &ten, "first");
	nets_put(&t, &in, "in");
	nets_put(&t, &ten, "second");
	nets_put(&t, &in, NULL);
	nets_put(&t, &all, "all");
	nets_build(&t);
	assert_string_equal(found(&t, "10.1.0.1"), "second");
	assert_string_equal(found(&t, "0.0.0.0"), "all");
	assert_string_equal(found(&t, "11.0.0.0"), "all");
	assert_null(found(&t, "::"));
	arena_fini(&a);
}

/* Networks of few bits, so that they nest and touch, against looking at each. */
static void random_networks(void **state)
{
	srandom(7);
	for (int round = 0; round < 300; round++) {
		struct cidr nets[24];
		struct arena a;
		struct nets t;

		arena_init(&a, 4096);
		nets_init(&t, &a);
		for (int i = 0; i < 24; i++) {
			nets[i] = (struct cidr){.family = 4, .prefix_len = (uint8_t)(random() % 9)};
			nets[i].bytes[0] = (uint8_t)(random() & (0xff00 >> nets[i].prefix_len));
			nets_put(&t, &nets[i], &nets[i]);
		}
		nets_build(&t);
		for (int b = 0; b < 256; b++) {
			const uint8_t ip[4] = {(uint8_t)b, (uint8_t)random(), 0, 255};
			const struct cidr *best = NULL;

			for (int i = 0; i < 24; i++)
				if ((ip[0] & (0xff00 >> nets[i].prefix_len) & 0xff) ==
					    nets[i].bytes[0] &&
				    (!best || nets[i].prefix_len >= best->prefix_len))
					best = &nets[i];
			assert_ptr_equal(nets_find(&t, ip, 4), best);
		}
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nested),
		cmocka_unit_test(twice_and_out),
		cmocka_unit_test(random_networks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
