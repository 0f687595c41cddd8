/* SPDX-License-Identifier: BSD-2-Clause */
/* The resolver against a name server of our own on loopback, in the same loop. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/err.h"
#include "net/resolve.h"

enum { T_A = 1, T_CNAME = 5, T_AAAA = 28 };

/* What a name is answered with. */
struct zone_row {
	const char *name;
	int n_a, n_aaaa;
	uint32_t ttl_s;
	const char *cname;
	uint32_t cname_ttl_s;
	int rcode;
	bool silent;
};

static const struct zone_row zone[] = {
	{.name = "one.test", .n_a = 1, .ttl_s = 5},
	{.name = "two.test", .n_a = 2, .ttl_s = 5},
	{.name = "both.test", .n_a = 2, .n_aaaa = 1, .ttl_s = 60},
	{.name = "six.test", .n_aaaa = 2, .ttl_s = 60},
	{.name = "many.test", .n_a = 25, .n_aaaa = 15, .ttl_s = 60},
	{.name = "zero.test", .n_a = 1, .ttl_s = 0},
	{.name = "alias.test", .n_a = 1, .ttl_s = 100, .cname = "target.test", .cname_ttl_s = 2},
	{.name = "empty.test"},
	{.name = "fail.test", .rcode = 2},
	{.name = "refused.test", .rcode = 5},
	{.name = "silent.test", .silent = true},
};

struct fixture {
	struct io io; /* the server's socket */
	struct loop loop;
	uint16_t port;
	int n_asked; /* queries that the server saw */
	struct resolver *r;
	char server[32];
};

struct result {
	struct resolve_query q;
	int n_calls, status, n;
	char text[64];
	uint32_t ttl_s;
	struct addr addrs[RESOLVE_ADDRS_MAX];
};

/* The server. */

static size_t put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return 2;
}

static size_t put_rr(uint8_t *p, unsigned type, uint32_t ttl_s, const uint8_t *data, unsigned n,
		     unsigned name_at)
{
	size_t at = put16(p, 0xc000 | name_at);

	at += put16(p + at, type);
	at += put16(p + at, 1);
	at += put16(p + at, ttl_s >> 16);
	at += put16(p + at, ttl_s & 0xffff);
	at += put16(p + at, n);
	memcpy(p + at, data, n);
	return at + n;
}

static size_t put_name(uint8_t *p, const char *name)
{
	size_t at = 0;

	while (*name) {
		size_t n = strcspn(name, ".");

		p[at++] = (uint8_t)n;
		memcpy(p + at, name, n);
		at += n;
		name += n + (name[n] == '.');
	}
	p[at++] = 0;
	return at;
}

static size_t get_name(const uint8_t *p, char *name)
{
	size_t at = 0, out = 0;

	while (p[at]) {
		memcpy(name + out, p + at + 1, p[at]);
		out += p[at];
		name[out++] = '.';
		at += p[at] + 1u;
	}
	name[out ? out - 1 : 0] = 0;
	return at + 1;
}

static const struct zone_row *lookup(const char *name)
{
	for (size_t i = 0; i < sizeof zone / sizeof *zone; i++)
		if (strcasecmp(zone[i].name, name) == 0)
			return &zone[i];
	return NULL;
}

static void on_question(struct io *io, uint32_t events)
{
	struct fixture *f = (struct fixture *)io;
	uint8_t p[4096], data[16] = {127, 0, 0};
	const struct zone_row *z;
	struct sockaddr_in from;
	socklen_t from_n = sizeof from;
	unsigned n_answers = 0, name_at = 12;
	size_t at;
	char name[256];
	ssize_t n = recvfrom(io->fd, p, sizeof p, 0, (struct sockaddr *)&from, &from_n);
	int type;

	if (n < 17)
		return;
	f->n_asked++;
	at = 12 + get_name(p + 12, name);
	type = p[at] << 8 | p[at + 1];
	at += 4;
	z = lookup(name);
	if (z && z->silent)
		return;
	if (z && z->cname) {
		uint8_t target[64];
		size_t target_n = put_name(target, z->cname);

		n_answers++;
		name_at = (unsigned)at + 12;
		at += put_rr(p + at, T_CNAME, z->cname_ttl_s, target, (unsigned)target_n, 12);
	}
	for (int i = 0; z && type == T_A && i < z->n_a; i++, n_answers++) {
		data[3] = (uint8_t)(i + 1);
		at += put_rr(p + at, T_A, z->ttl_s, data, 4, name_at);
	}
	memset(data, 0, sizeof data);
	for (int i = 0; z && type == T_AAAA && i < z->n_aaaa; i++, n_answers++) {
		data[15] = (uint8_t)(i + 1);
		at += put_rr(p + at, T_AAAA, z->ttl_s, data, 16, name_at);
	}
	p[2] = 0x85;
	p[3] = (uint8_t)(0x80 | (z ? z->rcode : 3));
	put16(p + 6, n_answers);
	memset(p + 8, 0, 4);
	sendto(io->fd, p, at, 0, (struct sockaddr *)&from, from_n);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof in;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
	f->port = ntohs(in.sin_port);
	snprintf(f->server, sizeof f->server, "127.0.0.1:%u", f->port);
	assert_int_equal(loop_init(&f->loop, 16), 0);
	f->io.fn = on_question;
	assert_int_equal(io_add(&f->loop, &f->io, fd, EPOLLIN), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	resolver_free(f->r);
	io_del(&f->loop, &f->io);
	close(f->io.fd);
	loop_fini(&f->loop);
	free(f);
	return 0;
}

static void open_resolver(struct fixture *f, struct resolver_params p)
{
	struct slice server = slice_cstr(f->server);
	char err[256] = "";

	p.servers = &server;
	p.n_servers = 1;
	f->r = resolver_new(&f->loop, &p, err, sizeof err);
	assert_string_equal(err, "");
	assert_non_null(f->r);
}

static void done(struct resolve_query *q, const struct resolve_answer *a)
{
	struct result *r = (struct result *)q;

	r->n_calls++;
	r->status = a->status;
	r->n = a->n_addrs;
	r->ttl_s = a->ttl_s;
	snprintf(r->text, sizeof r->text, "%s", a->text);
	memcpy(r->addrs, a->addrs, (size_t)a->n_addrs * sizeof *a->addrs);
}

static void run_ms(struct fixture *f, const int *until, int ms)
{
	uint64_t end = clock_mono_ms() + (uint64_t)ms;

	while ((!until || !*until) && clock_mono_ms() < end)
		loop_turn(&f->loop, 5);
}

static void ask(struct fixture *f, struct result *r, const char *name)
{
	memset(r, 0, sizeof *r);
	resolve_start(f->r, &r->q, slice_cstr(name), 8080, done);
	assert_int_equal(r->n_calls, 0); /* never from the start itself */
	run_ms(f, &r->n_calls, 3000);
	assert_int_equal(r->n_calls, 1);
}

static void assert_addr(const struct addr *a, const char *text)
{
	char is[ADDR_TEXT_MAX];

	addr_text(a, is);
	assert_string_equal(is, text);
}

/* Tests. */

static const struct resolver_params both = {.ipv4 = true, .ipv6 = true, .timeout_ms = 2000};

static void test_addresses(void **state)
{
	struct fixture *f = *state;
	struct result r;

	open_resolver(f, both);
	ask(f, &r, "both.test");
	assert_int_equal(r.status, 0);
	assert_string_equal(r.text, "");
	assert_int_equal(r.n, 3);
	assert_addr(&r.addrs[0], "127.0.0.1:8080");
	assert_addr(&r.addrs[1], "127.0.0.2:8080");
	assert_addr(&r.addrs[2], "[::1]:8080");
	assert_int_equal(r.ttl_s, 60);
	ask(f, &r, "Two.Test.");
	assert_int_equal(r.n, 2);
	ask(f, &r, "six.test");
	assert_int_equal(r.n, 2);
	assert_addr(&r.addrs[1], "[::2]:8080");
}

static void test_families(void **state)
{
	struct fixture *f = *state;
	struct result r;

	open_resolver(f, (struct resolver_params){.ipv4 = true, .timeout_ms = 2000});
	ask(f, &r, "both.test");
	assert_int_equal(r.n, 2);
	assert_int_equal(f->n_asked, 1); /* no AAAA was asked for */
	ask(f, &r, "six.test");
	assert_int_equal(r.status, -SL_ENOTFOUND);
	assert_string_equal(r.text, "the name has no addresses");
}

static void test_only_ipv6(void **state)
{
	struct fixture *f = *state;
	struct result r;

	open_resolver(f, (struct resolver_params){.ipv6 = true, .timeout_ms = 2000});
	ask(f, &r, "both.test");
	assert_int_equal(r.n, 1);
	assert_addr(&r.addrs[0], "[::1]:8080");
	ask(f, &r, "localhost");
	assert_addr(&r.addrs[0], "[::1]:8080");
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	struct result r;

	open_resolver(f, both);
	ask(f, &r, "many.test");
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, RESOLVE_ADDRS_MAX);
	assert_int_equal(r.addrs[24].sa.sa_family, AF_INET);
	assert_int_equal(r.addrs[25].sa.sa_family, AF_INET6);
}

static void test_failures(void **state)
{
	struct fixture *f = *state;
	struct result r;

	open_resolver(f, both);
	ask(f, &r, "nobody.test");
	assert_int_equal(r.status, -SL_ENOTFOUND);
	assert_string_equal(r.text, "no such name (NXDOMAIN)");
	assert_int_equal(r.n, 0);
	ask(f, &r, "empty.test");
	assert_int_equal(r.status, -SL_ENOTFOUND);
	assert_string_equal(r.text, "the name has no addresses");
	ask(f, &r, "fail.test");
	assert_int_equal(r.status, -SL_ESYS);
	assert_string_equal(r.text, "server failure");
	ask(f, &r, "refused.test");
	assert_int_equal(r.status, -SL_ESYS);
	assert_string_equal(r.text, "the server refused");
}

static void test_not_names(void **state)
{
	static const char *const bad[] = {"", ".", "a b", "a\\b", "caf\xc3\xa9.test", "a..b"};
	struct fixture *f = *state;
	struct result r;
	char longest[300];

	open_resolver(f, both);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		ask(f, &r, bad[i]);
		assert_int_equal(r.status, -SL_EINVAL);
		assert_string_equal(r.text, "not a host name");
	}
	memset(longest, 'a', sizeof longest);
	longest[254] = 0;
	ask(f, &r, longest);
	assert_int_equal(r.status, -SL_EINVAL);
	assert_int_equal(f->n_asked, 0);
}

static void test_literals(void **state)
{
	struct fixture *f = *state;
	struct result r;

	open_resolver(f, both);
	ask(f, &r, "192.0.2.1");
	assert_int_equal(r.n, 1);
	assert_int_equal(r.ttl_s, UINT32_MAX);
	assert_addr(&r.addrs[0], "192.0.2.1:8080");
	ask(f, &r, "2001:db8::1");
	assert_addr(&r.addrs[0], "[2001:db8::1]:8080");
	ask(f, &r, "[2001:db8::2]");
	assert_addr(&r.addrs[0], "[2001:db8::2]:8080");
	ask(f, &r, "LocalHost");
	assert_int_equal(r.status, 0);
	assert_addr(&r.addrs[0], "127.0.0.1:8080");
	assert_int_equal(f->n_asked, 0);
}

static void test_timeout(void **state)
{
	struct fixture *f = *state;
	uint64_t start = clock_mono_ms(), took;
	struct result r;

	open_resolver(f, (struct resolver_params){.ipv4 = true, .timeout_ms = 300});
	ask(f, &r, "silent.test");
	took = clock_mono_ms() - start;
	assert_int_equal(r.status, -SL_ETIMEOUT);
	assert_string_equal(r.text, "timed out");
	assert_in_range(took, 290, 1500);
	/* A name that does not answer holds up no other. */
	ask(f, &r, "one.test");
	assert_int_equal(r.status, 0);
}

static void test_ttl(void **state)
{
	struct fixture *f = *state;
	struct result r;
	int before;

	open_resolver(f, (struct resolver_params){.ipv4 = true, .timeout_ms = 2000});
	ask(f, &r, "alias.test");
	assert_int_equal(r.n, 1);
	assert_int_equal(r.ttl_s, 2); /* the alias's: the least counts */
	ask(f, &r, "zero.test");
	assert_int_equal(r.ttl_s, 1);
	before = f->n_asked;
	ask(f, &r, "zero.test");
	assert_int_equal(f->n_asked, before); /* from the cache */
	assert_int_equal(r.n, 1);
	run_ms(f, NULL, 1100);
	ask(f, &r, "zero.test");
	assert_int_equal(f->n_asked, before + 1);
	/* Failures are not kept. */
	before = f->n_asked;
	ask(f, &r, "nobody.test");
	ask(f, &r, "nobody.test");
	assert_int_equal(f->n_asked, before + 2);
}

static void test_valid(void **state)
{
	struct fixture *f = *state;
	struct result r;

	open_resolver(f,
		      (struct resolver_params){.ipv4 = true, .timeout_ms = 2000, .valid_ms = 50});
	ask(f, &r, "both.test");
	assert_int_equal(r.ttl_s, 1);
	ask(f, &r, "both.test");
	assert_int_equal(f->n_asked, 1);
	run_ms(f, NULL, 80);
	ask(f, &r, "both.test");
	assert_int_equal(f->n_asked, 2);
}

static void test_coalesced(void **state)
{
	struct fixture *f = *state;
	struct result r[5];

	open_resolver(f, (struct resolver_params){.ipv4 = true, .timeout_ms = 2000});
	memset(r, 0, sizeof r);
	for (int i = 0; i < 5; i++)
		resolve_start(f->r, &r[i].q, SLICE("two.test"), (uint16_t)(i + 1), done);
	run_ms(f, &r[0].n_calls, 3000);
	assert_int_equal(f->n_asked, 1);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(r[i].n_calls, 1);
		assert_int_equal(r[i].n, 2);
		assert_int_equal(addr_port(&r[i].addrs[1]), i + 1);
	}
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct result a = {0}, b = {0}, lit = {0};

	open_resolver(f, (struct resolver_params){.ipv4 = true, .timeout_ms = 2000});
	resolve_cancel(&a.q); /* not started: nothing happens */
	resolve_start(f->r, &a.q, SLICE("two.test"), 1, done);
	resolve_start(f->r, &b.q, SLICE("two.test"), 1, done);
	resolve_start(f->r, &lit.q, SLICE("127.0.0.1"), 1, done);
	resolve_cancel(&a.q);
	resolve_cancel(&lit.q);
	run_ms(f, &b.n_calls, 3000);
	assert_int_equal(b.n_calls, 1);
	run_ms(f, NULL, 50);
	assert_int_equal(a.n_calls, 0);
	assert_int_equal(lit.n_calls, 0);
	/* From the cache, cancelled between the start and the call. */
	resolve_start(f->r, &a.q, SLICE("two.test"), 1, done);
	resolve_cancel(&a.q);
	resolve_cancel(&a.q);
	run_ms(f, NULL, 50);
	assert_int_equal(a.n_calls, 0);
	resolve_cancel(&b.q); /* finished: nothing happens */
	/* The only one who waits leaves; the answer comes to nobody. */
	resolve_start(f->r, &a.q, SLICE("one.test"), 1, done);
	resolve_cancel(&a.q);
	run_ms(f, NULL, 100);
	assert_int_equal(a.n_calls, 0);
	ask(f, &b, "one.test");
	assert_int_equal(b.n, 1);
	/* Still under way when the resolver goes (teardown). */
	static struct result left;
	resolve_start(f->r, &left.q, SLICE("silent.test"), 1, done);
	run_ms(f, NULL, 20);
}

static struct result chain[3];
static struct fixture *chain_fixture;

static void start_next(struct resolve_query *q, const struct resolve_answer *a)
{
	done(q, a);
	if (q == &chain[0].q) {
		resolve_cancel(&chain[1].q);
		resolve_start(chain_fixture->r, &chain[2].q, SLICE("two.test"), 7, start_next);
		assert_int_equal(chain[2].n_calls, 0);
	}
}

/* A callback starts one query and cancels another that is due in the same turn. */
static void test_from_callback(void **state)
{
	struct fixture *f = *state;
	struct result warm;

	open_resolver(f, (struct resolver_params){.ipv4 = true, .timeout_ms = 2000});
	ask(f, &warm, "two.test");
	chain_fixture = f;
	memset(chain, 0, sizeof chain);
	resolve_start(f->r, &chain[1].q, SLICE("two.test"), 7, start_next);
	resolve_start(f->r, &chain[0].q, SLICE("two.test"), 7, start_next);
	run_ms(f, &chain[2].n_calls, 1000);
	assert_int_equal(chain[0].n_calls, 1);
	assert_int_equal(chain[1].n_calls, 0);
	assert_int_equal(chain[2].n_calls, 1);
	assert_int_equal(chain[2].n, 2);
}

static void test_bounded(void **state)
{
	struct fixture *f = *state;
	struct result r;
	char name[32];

	/* Good answers push the oldest out, questions under way are refused beyond the limit. */
	open_resolver(f, (struct resolver_params){.ipv4 = true, .timeout_ms = 60000});
	ask(f, &r, "one.test");
	static struct result many[RESOLVE_NAMES_MAX + 1];
	memset(many, 0, sizeof many);
	io_del(&f->loop, &f->io); /* the server is deaf for a while */
	for (int i = 0; i < RESOLVE_NAMES_MAX; i++) {
		snprintf(name, sizeof name, "n%d.test", i);
		resolve_start(f->r, &many[i].q, slice_cstr(name), 1, done);
	}
	resolve_start(f->r, &many[RESOLVE_NAMES_MAX].q, SLICE("toomany.test"), 1, done);
	run_ms(f, &many[RESOLVE_NAMES_MAX].n_calls, 500);
	assert_int_equal(many[RESOLVE_NAMES_MAX].n_calls, 1);
	assert_int_equal(many[RESOLVE_NAMES_MAX].status, -SL_ELIMIT);
	assert_int_equal(io_add(&f->loop, &f->io, f->io.fd, EPOLLIN), 0);
	run_ms(f, NULL, 300);
	for (int i = 0; i < RESOLVE_NAMES_MAX; i++)
		resolve_cancel(&many[i].q);
}

static void test_hosts_file(void **state)
{
	struct fixture *f = *state;
	struct resolver_params p = {.ipv4 = true, .timeout_ms = 2000};
	struct result r;
	char err[256];

	/* Without servers of its own it is the system's, whose /etc/hosts knows localhost. */
	f->r = resolver_new(&f->loop, &p, err, sizeof err);
	assert_non_null(f->r);
	ask(f, &r, "localhost");
	assert_int_equal(r.status, 0);
	assert_addr(&r.addrs[0], "127.0.0.1:8080");
	assert_in_range(r.ttl_s, 1, 86400);
}

static void test_bad_server(void **state)
{
	static const char *const bad[] = {"dns.example", "1.2.3.4:0", "1.2.3.4:99999",
					  "1.2.3.4:",	 "",	      ":53"};
	struct fixture *f = *state;
	char err[256];

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct slice s = slice_cstr(bad[i]);
		struct resolver_params p = {.servers = &s, .n_servers = 1, .ipv4 = true};

		assert_null(resolver_new(&f->loop, &p, err, sizeof err));
		assert_non_null(strstr(err, "invalid name server"));
	}
	struct slice good[] = {SLICE_INIT("[::1]:5353"), SLICE_INIT("::1"), SLICE_INIT("[::1]"),
			       SLICE_INIT("127.0.0.1")};
	struct resolver_params p = {.servers = good, .n_servers = 4, .ipv4 = true};

	f->r = resolver_new(&f->loop, &p, err, sizeof err);
	assert_non_null(f->r);
}

/* Of several servers the next is asked when one does not answer, or fails. */
static void test_second_server(void **state)
{
	struct fixture *f = *state;
	struct slice servers[] = {SLICE_INIT("127.0.0.1:1"), slice_cstr(f->server)};
	struct resolver_params p = {
		.servers = servers, .n_servers = 2, .ipv4 = true, .timeout_ms = 2800};
	struct result r;
	char err[256];

	f->r = resolver_new(&f->loop, &p, err, sizeof err);
	assert_non_null(f->r);
	for (int i = 0; i < 4; i++) {
		char name[32];

		snprintf(name, sizeof name, "%s.test", i % 2 ? "one" : "two");
		ask(f, &r, name);
		assert_int_equal(r.status, 0);
	}
	ask(f, &r, "fail.test");
	assert_int_not_equal(r.status, 0);
	assert_string_not_equal(r.text, "");
}

static void test_dead_server(void **state)
{
	struct fixture *f = *state;
	struct result r;

	open_resolver(f, both);
	io_del(&f->loop, &f->io);
	close(f->io.fd);
	ask(f, &r, "one.test");
	assert_in_set(r.status,
		      ((unsigned long[]){(unsigned long)-SL_ESYS, (unsigned long)-SL_ETIMEOUT}), 2);
	assert_int_equal(r.n, 0);
	assert_string_not_equal(r.text, "");
	f->io.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* for teardown */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_families, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_ipv6, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_literals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ttl, setup, teardown),
		cmocka_unit_test_setup_teardown(test_valid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_coalesced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_from_callback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hosts_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_server, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_server, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dead_server, setup, teardown),
	};

	return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
