/* SPDX-License-Identifier: BSD-2-Clause */
/* Password files and the forms of passwords; addresses that may come in. The hashes were made by openssl
 * passwd and by crypt(3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/base64.h"
#include "policy/access.h"
#include "policy/auth.h"

#define N_OF(a) (sizeof(a) / sizeof *(a))

static void test_verify(void **state)
{
	static const struct {
		const char *stored, *password;
		enum auth_result result;
	} cases[] = {
		{"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "secret", AUTH_OK},
		{"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "secreT", AUTH_MISMATCH},
		{"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ", "secret", AUTH_MISMATCH},
		{"$apr1$abcdefgh$", "secret", AUTH_MISMATCH},
		{"$apr1$abcdefgh", "secret", AUTH_MISMATCH},
		{"$apr1$abcdefgh$L.PT565ESX4Tp2bqNs7Ie.", "", AUTH_OK},
		{"$apr1$x$eVg/QpGhpgNiDA46nGsav0", "a much longer password than sixteen bytes",
		 AUTH_OK},
		{"$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", "secret", AUTH_OK},
		{"$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", "", AUTH_MISMATCH},
		{"$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", "secret", AUTH_OK},
		{"$6$rounds=1000$salt$HNxBeBnDfSfUrTj6KiLnmd7tGCvHEmcExh8kl/"
		 "S0cZ5WrCciNZgfhbpkeFQ4JfkHX.8vPq45lY0iINnCx1Lkm.",
		 "secret", AUTH_OK},
		{"$6$rounds=1000$salt$HNxBeBnDfSfUrTj6KiLnmd7tGCvHEmcExh8kl/"
		 "S0cZ5WrCciNZgfhbpkeFQ4JfkHX.8vPq45lY0iINnCx1Lkm.",
		 "secre", AUTH_MISMATCH},
		{"$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "secret", AUTH_OK},
		{"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "Secret",
		 AUTH_MISMATCH},
		{"$y$j7T$abcdefgh$lRA/xbUMMpRLRU0sP4I6FGI8khrWhVmqhwPmMpvSooD", "secret", AUTH_OK},
		{"abNANd1rDfiNc", "secret", AUTH_OK},
		{"abNANd1rDfiNc", "secre", AUTH_MISMATCH},
		{"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret", AUTH_OK},
		{"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret2", AUTH_MISMATCH},
		{"{SHA}5en6", "secret", AUTH_MISMATCH},
		{"{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0", "secret", AUTH_OK},
		{"{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx1", "secret", AUTH_MISMATCH},
		{"{SSHA}!", "secret", AUTH_MISMATCH},
		{"{PLAIN}secret", "secret", AUTH_OK},
		{"{PLAIN}secret", "secrets", AUTH_MISMATCH},
		{"{PLAIN}", "", AUTH_OK},
		{"secret", "secret", AUTH_UNSUPPORTED},
		{"", "", AUTH_UNSUPPORTED},
		{"*", "x", AUTH_UNSUPPORTED},
		{"$9$x$y", "x", AUTH_UNSUPPORTED},
		{"_J9..rasmBYk8r9AiWNc", "rasmuslerdorf", AUTH_UNSUPPORTED},
		{"$2y$13$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "x",
		 AUTH_TOO_DEAR},
		{"$2y$31$abc", "x", AUTH_TOO_DEAR},
		{"$2y$x", "x", AUTH_UNSUPPORTED},
		{"$6$rounds=200001$salt$abc", "x", AUTH_TOO_DEAR},
		{"$5$rounds=999999999$salt$abc", "x", AUTH_TOO_DEAR},
		{"$5$rounds=", "x", AUTH_UNSUPPORTED},
		{"$y$jFT$abcdefgh$x", "x", AUTH_TOO_DEAR},
	};
	struct auth_scratch *s = auth_scratch_new();

	assert_non_null(s);
	for (size_t i = 0; i < N_OF(cases); i++) {
		enum auth_result r =
			auth_verify(slice_cstr(cases[i].stored), slice_cstr(cases[i].password), s);

		if (r != cases[i].result)
			print_error("%s with \"%s\": %d\n", cases[i].stored, cases[i].password, r);
		assert_int_equal(r, cases[i].result);
	}
	/* A NUL ends no password. */
	assert_int_equal(auth_verify(SLICE("{PLAIN}a"), slice_make("a\0b", 3), s), AUTH_MISMATCH);
	auth_scratch_free(s);
}

static void test_find(void **state)
{
	static const char text[] =
		"# alice:comment\n\nalice:one:two\r\nbob:three\n al:x\nbob:four\n"
		"#bob:five\nempty:\nlast:line";
	static const struct {
		const char *user, *stored;
	} cases[] = {
		{"alice", "one"}, {"bob", "three"}, {"last", "line"}, {"empty", ""},
		{"al", NULL},	  {"alic", NULL},   {"alicex", NULL}, {"# alice", NULL},
		{"", NULL},	  {"one", NULL},    {" al", "x"},     {"\nalice", NULL},
		{"#bob", NULL},
	};
	struct slice stored;

	for (size_t i = 0; i < N_OF(cases); i++) {
		bool found = auth_find(slice_cstr(text), slice_cstr(cases[i].user), &stored);

		assert_int_equal(found, cases[i].stored != NULL);
		if (found)
			assert_true(slice_eq(stored, slice_cstr(cases[i].stored)));
	}
	assert_false(auth_find(SLICE(""), SLICE("x"), &stored));
}

static void test_basic(void **state)
{
	static const struct {
		const char *field, *user, *password;
	} cases[] = {
		{"Basic dTpw", "u", "p"},
		{"basic dTpw", "u", "p"},
		{"BASIC   dTpw", "u", "p"},
		{"Basic dTpwOnE=", "u", "p:q"},
		{"Basic dTo=", "u", ""},
		{"Basic dTo", "u", ""},
		{"Basic OnA=", NULL, NULL},
		{"Basic dXA=", NULL, NULL},
		{"Basic", NULL, NULL},
		{"Basic ", NULL, NULL},
		{"Basic d", NULL, NULL},
		{"Basic dT!pw", NULL, NULL},
		{"Bearer dTpw", NULL, NULL},
		{"", NULL, NULL},
		{"Basic dTpw=garbage", "u", "p"},
	};
	char room[64];
	struct slice user, password;

	for (size_t i = 0; i < N_OF(cases); i++) {
		bool ok = auth_parse_basic(slice_cstr(cases[i].field), room, &user, &password);

		assert_int_equal(ok, cases[i].user != NULL);
		if (!ok)
			continue;
		assert_true(slice_eq(user, slice_cstr(cases[i].user)));
		assert_true(slice_eq(password, slice_cstr(cases[i].password)));
	}
}

static void test_base64(void **state)
{
	char code[32], text[32];

	for (size_t n = 0; n < 20; n++) {
		struct slice s = slice_make("\xff\0abc~?0123456789012", n);
		size_t n_code = base64_encode(s, code);

		assert_int_equal(n_code, BASE64_ENCODED(n));
		assert_int_equal(base64_decode(slice_make(code, n_code), text), n);
		assert_memory_equal(text, s.p, n);
	}
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_from_ip(slice_cstr(text), 1, &a), 0);
	return a;
}

static void test_access(void **state)
{
	static const char *const lines[] = {"-10.0.0.1",      "+10.0.0.0/8", "-2001:db8::1",
					    "+2001:db8::/32", "+unix:",	     "-192.0.2.0/24"};
	struct access_rule rules[N_OF(lines)], all = {.kind = ACCESS_ALL, .deny = true};
	struct addr local = {.un.sun_family = AF_UNIX}, a;

	for (size_t i = 0; i < N_OF(lines); i++) {
		assert_int_equal(access_parse(slice_cstr(lines[i] + 1), &rules[i]), 0);
		rules[i].deny = lines[i][0] == '-';
		rules[i].next = i + 1 < N_OF(lines) ? &rules[i + 1] : NULL;
	}
	a = ip("10.0.0.1");
	assert_int_equal(access_check(rules, &a), ACCESS_DENIED);
	a = ip("10.0.0.2");
	assert_int_equal(access_check(rules, &a), ACCESS_ALLOWED);
	a = ip("::ffff:10.0.0.1");
	assert_int_equal(access_check(rules, &a), ACCESS_DENIED);
	a = ip("2001:db8::1");
	assert_int_equal(access_check(rules, &a), ACCESS_DENIED);
	a = ip("2001:db8::2");
	assert_int_equal(access_check(rules, &a), ACCESS_ALLOWED);
	a = ip("198.51.100.1");
	assert_int_equal(access_check(rules, &a), ACCESS_UNNAMED);
	assert_int_equal(access_check(rules, &local), ACCESS_ALLOWED);
	assert_int_equal(access_check(&all, &local), ACCESS_DENIED);
	assert_int_equal(access_check(&all, &a), ACCESS_DENIED);
	assert_int_equal(access_check(NULL, &a), ACCESS_UNNAMED);
	assert_true(access_parse(SLICE("10.0.0.0/33"), &all) < 0);
	assert_true(access_parse(SLICE("localhost"), &all) < 0);
	assert_true(access_parse(SLICE(""), &all) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verify), cmocka_unit_test(test_find),
		cmocka_unit_test(test_basic),  cmocka_unit_test(test_base64),
		cmocka_unit_test(test_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
