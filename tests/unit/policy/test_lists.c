/* SPDX-License-Identifier: BSD-2-Clause */
/* deny and deny_file: what becomes of their lines, which entry holds, and what is wrong with a file. */
#define _GNU_SOURCE
#include "conf_frame.h"

#include <arpa/inet.h>
#include <time.h>

#include "policy/gate.h"

static struct conf *lists_of(void **state, const char *line)
{
	char text[400];

	snprintf(text, sizeof text, "xdp { interface lo; %s }", line);
	return good(state, text);
}

static struct guard_addr at(const char *text)
{
	struct guard_addr a;

	assert_int_equal(guard_addr_from_text(&a, text), 0);
	return a;
}

static const struct list_entry *denied(const struct conf *c, const char *text, uint64_t now_ms)
{
	struct guard_addr a = at(text);

	return lists_deny(lists_get(c), &a, now_ms);
}

static void put_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void test_times(void **state)
{
	static const char *const bad_times[] = {"",
						"2026",
						"2026-13-01",
						"2026-02-30",
						"2026-12-01T",
						"2026-12-01T24:00:00Z",
						"2026-12-01T12:00:00",
						"2026-12-01T12:00:00Zx",
						"26-12-01",
						"2026-12-01 ",
						"1960-01-01"};
	uint64_t ms;

	assert_int_equal(lists_parse_time(SLICE("2026-12-01"), &ms), 0);
	assert_int_equal(ms, 1796083200000);
	assert_int_equal(lists_parse_time(SLICE("2026-12-01T12:30:05Z"), &ms), 0);
	assert_int_equal(ms, 1796083200000 + ((12 * 60 + 30) * 60 + 5) * 1000);
	assert_int_equal(lists_parse_time(SLICE("2028-02-29"), &ms), 0);
	for (size_t i = 0; i < sizeof bad_times / sizeof bad_times[0]; i++)
		assert_int_equal(lists_parse_time(slice_cstr(bad_times[i]), &ms), -SL_EINVAL);
}

static void test_entries(void **state)
{
	struct conf *c = lists_of(
		state, "deny 10.0.0.0/8 'reason=too loud'; deny 10.1.0.0/16 until=2098-01-01; "
		       "deny 10.1.2.0/24 10.1.2.0/24 until=2097-01-01; deny 10.1.2.0/24 "
		       "until=2096-01-01; deny 192.0.2.1 until=2001-01-01; deny 2001:db8::/32;");
	const struct lists *l = lists_get(c);
	uint64_t end_97, end_98, now = 1796083200000;
	const struct list_entry *e;

	assert_int_equal(lists_parse_time(SLICE("2097-01-01"), &end_97), 0);
	assert_int_equal(lists_parse_time(SLICE("2098-01-01"), &end_98), 0);
	assert_int_equal(l->n_deny, 4); /* each once, and what is over not at all */
	assert_int_equal(l->n_sources, 6);
	e = denied(c, "10.1.2.3", now);
	assert_int_equal(e->net.prefix_len, 24);
	assert_int_equal(e->until_wall_ms, end_97); /* the one that holds longest */
	/* an entry that is over hides none around it */
	assert_int_equal(denied(c, "10.1.2.3", end_97)->net.prefix_len, 16);
	e = denied(c, "10.1.2.3", end_98);
	assert_int_equal(e->net.prefix_len, 8);
	assert_string_equal(e->source->reason, "too loud");
	assert_string_equal(e->source->text, "deny 10.0.0.0/8");
	assert_null(denied(c, "192.0.2.1", now));
	assert_null(denied(c, "11.0.0.1", now));
	assert_non_null(denied(c, "2001:db8::1", now));
	for (const struct list_source *s = l->sources; s; s = s->next)
		for (const struct list_source *o = s->next; o; o = o->next)
			assert_int_not_equal(s->id, o->id);
	assert_non_null(lists_find(l, &e->net));
}

static void test_file(void **state)
{
	char dir[] = "/tmp/sl-test-lists-XXXXXX", path[96];
	struct conf *c;
	char line[200];
	const struct list_entry *e;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/bad.txt", dir);
	put_file(path,
		 "# head\n\n10.0.0.1\r\n  10.0.1.0/24\t# why\n2001:db8::/32 ; SBL1\n"
		 "10.0.2.0/24 until=2097-01-01 # for now\n10.0.3.0/24 until=2001-01-01\n192.0.2.9");
	snprintf(line, sizeof line, "deny_file %s reason=feed;", path);
	c = lists_of(state, line);
	assert_int_equal(lists_get(c)->n_deny, 5);
	assert_int_equal(lists_get(c)->sources->n, 5);
	assert_non_null(denied(c, "10.0.0.1", 1));
	assert_null(denied(c, "10.0.0.2", 1));
	e = denied(c, "10.0.1.77", 1);
	assert_string_equal(e->source->reason, "feed");
	assert_true(denied(c, "10.0.2.1", 1)->until_wall_ms > 1);
	assert_null(denied(c, "10.0.3.1", 1));
	assert_non_null(denied(c, "192.0.2.9", 1));
	assert_non_null(denied(c, "2001:db8:5::1", 1));
	unlink(path);
	rmdir(dir);
}

static void test_file_errors(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"10.0.0.1\n10.0.0.256\n", "invalid address or network \"10.0.0.256\" in %s:2"},
		{"10.0.0.1/33", "invalid address or network \"10.0.0.1/33\" in %s:1"},
		{"a.example\n", "invalid address or network \"a.example\" in %s:1"},
		{"\n\n10.0.0.1 10.0.0.2\n", "invalid parameter \"10.0.0.2\" in %s:3"},
		{"10.0.0.1 until=soon\n", "invalid parameter \"until=soon\" in %s:1"},
		{"10.0.0.1 until=2097-01-01 x\n", "unexpected \"x\" in %s:1"},
	};
	char dir[] = "/tmp/sl-test-lists-XXXXXX", path[96], text[300], error[300];

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/bad.txt", dir);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		put_file(path, cases[i].text);
		snprintf(text, sizeof text, "xdp { interface lo; deny_file %s; }", path);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(error, sizeof error, cases[i].error, path);
#pragma GCC diagnostic pop
		bad(state, text, error);
	}
	snprintf(text, sizeof text, "xdp { interface lo; deny_file %s; }", dir);
	bad(state, text, "cannot read");
	snprintf(text, sizeof text, "xdp { interface lo; deny_file %s/none; }", dir);
	bad(state, text, "No such file or directory");
	unlink(path);
	rmdir(dir);
	bad(state, "xdp { interface lo; deny until=2097-01-01; }", "no address in \"deny\"");
	bad(state, "xdp { interface lo; deny 10.0.0.1 until=x; }", "invalid parameter \"until=x\"");
	bad(state, "xdp { interface lo; deny 10.0.0.1 reason=; }", "invalid parameter \"reason=\"");
	bad(state, "xdp { interface lo; deny_file a b; }", "\"deny_file\" takes one file");
	bad(state, "xdp { interface lo; allow_auto maybe; }", "\"maybe\"");
}

/* A hundred thousand lines are read, and looked up, in no time that anybody notices. */
static void test_large_file(void **state)
{
	char dir[] = "/tmp/sl-test-lists-XXXXXX", path[96], line[200];
	struct timespec a, b;
	struct conf *c;
	uint64_t n_found = 0;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/bad.txt", dir);
	f = fopen(path, "w");
	for (uint32_t i = 0; i < 100000; i++)
		fprintf(f, "%u.%u.%u.0/24\n", 1 + i * 7 % 200, i / 250 % 250, i % 250);
	fclose(f);
	snprintf(line, sizeof line, "deny_file %s;", path);
	clock_gettime(CLOCK_MONOTONIC, &a);
	c = lists_of(state, line);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_true(lists_get(c)->n_deny > 50000);
	assert_in_range(b.tv_sec - a.tv_sec, 0, 10);
	for (uint32_t i = 0; i < 1000000; i++) {
		struct guard_addr g = {.family = 4};

		memcpy(g.bytes, &(uint32_t){i * 2654435761u}, 4);
		n_found += lists_deny(lists_get(c), &g, 1) != NULL;
	}
	assert_in_range(n_found, 1, 50000);
	unlink(path);
	rmdir(dir);
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_int_equal(addr_from_ip(slice_cstr(text), 1, &a), 0);
	return a;
}

static void test_gate(void **state)
{
	struct conf *c =
		good(state, "xdp { interface lo; allow 10.0.0.1 10.5.0.0/16; deny 10.0.0.0/8; }");
	struct conf *dry = good(state, "xdp { interface lo; deny 10.0.0.0/8; dry_run on; }");
	struct conf *none = good(state, "http { }");
	struct ban_table *t = calloc(1, ban_table_bytes());
	struct clock now = {.mono_ms = 100, .wall_ms = 1000};
	struct ban_exempt exempt[2] = {{.why = BAN_EXEMPT_OWN}, {.why = BAN_EXEMPT_UPSTREAM}};
	struct addr allowed = ip("10.0.0.1"), denied_one = ip("10.0.0.2"), own = ip("192.0.2.1"),
		    upstream = ip("192.0.2.9"), other = ip("192.0.2.10"),
		    mapped = ip("::ffff:10.0.0.2");
	struct ban_entry e = {0};

	ban_table_init(t, 1);
	assert_false(gate_refuses(c, t, &allowed, &now));
	assert_true(gate_refuses(c, t, &denied_one, &now) && gate_refuses(c, t, &mapped, &now));
	assert_false(gate_refuses(dry, t, &denied_one, &now));
	assert_false(gate_refuses(none, t, &denied_one, &now));
	assert_true(ban_net_of(&e.net, &own, 24));
	assert_int_equal(ban_put(t, &e), 0);
	assert_true(gate_refuses(c, t, &own, &now) && gate_refuses(none, t, &own, &now));
	assert_false(gate_refuses(dry, t, &own, &now));
	ban_net_of(&exempt[0].net, &own, 0);
	ban_net_of(&exempt[1].net, &upstream, 0);
	assert_true(ban_exempt_set(t, exempt, 2));
	assert_false(ban_exempt_set(t, exempt, 2));
	assert_false(gate_refuses(c, t, &own, &now) || gate_refuses(c, t, &upstream, &now));
	assert_true(gate_refuses(c, t, &other, &now));
	assert_int_equal(ban_exempt_why(t, &exempt[1].net), BAN_EXEMPT_UPSTREAM);
	assert_true(ban_exempt_set(t, NULL, 0));
	assert_true(gate_refuses(c, t, &own, &now));
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_times),	TEST(test_entries),    TEST(test_file),
		TEST(test_file_errors), TEST(test_large_file), TEST(test_gate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
