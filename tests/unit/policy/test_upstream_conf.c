/* SPDX-License-Identifier: BSD-2-Clause */
/* What upstream blocks, resolver lines and the hosts of proxy_pass become, their errors, and
 * what of peers' state survives a reload. */
#define _GNU_SOURCE
#include "conf_frame.h"

static int share_all(struct conf *c)
{
	return upstream_conf_share(c);
}

static void test_upstream_block(void **state)
{
	struct conf *c =
		good(state, "http { upstream Back {\n"
			    "server a.test weight=5 max_fails=3 fail_timeout=30s max_conns=7;\n"
			    "server 10.0.0.1:8080 backup resolve;\n"
			    "server [2001:db8::1]:81 down;\n"
			    "server [::1];\n"
			    "server unix:/run/a:b.sock;\n"
			    "keepalive 8; keepalive_timeout 5m; keepalive_requests 10;\n"
			    "keepalive_time 2h; } keepalive_timeout 1s; }");
	struct upstream_conf *u = group(c, "back");
	const struct balance_server_conf *s = u->servers;

	assert_int_equal(u->n_servers, 5);
	assert_true(slice_eq(u->name, SLICE("Back")));
	assert_true(slice_eq(s[0].host, SLICE("a.test")));
	assert_int_equal(s[0].weight, 5);
	assert_int_equal(s[0].max_fails, 3);
	assert_int_equal(s[0].fail_timeout_s, 30);
	assert_int_equal(s[0].max_conns, 7);
	assert_false(s[0].has_port);
	assert_true(slice_eq(s[1].host, SLICE("10.0.0.1")));
	assert_int_equal(s[1].port, 8080);
	assert_true(s[1].has_port && s[1].backup);
	assert_int_equal(s[1].weight, 1);
	assert_int_equal(s[1].max_fails, 1);
	assert_int_equal(s[1].fail_timeout_s, 10);
	assert_true(slice_eq(s[2].host, SLICE("[2001:db8::1]")));
	assert_true(s[2].down);
	assert_int_equal(s[2].port, 81);
	assert_false(s[3].has_port);
	assert_true(slice_eq(s[4].host, SLICE("unix:/run/a:b.sock")));
	assert_int_equal(u->keepalive, 8);
	assert_int_equal(u->keepalive_timeout_ms, 300000);
	assert_int_equal(u->keepalive_requests, 10);
	assert_int_equal(u->keepalive_time_ms, 7200000);
	assert_int_equal(quietly(c, share_all), 0);
	assert_int_equal(u->group->n_servers, 5);
	assert_int_equal(u->group->n_peers, 4);
	assert_string_equal(u->group->peer[1].text, "[2001:db8::1]:81");
	assert_string_equal(u->group->peer[2].text, "[::1]:80");
	assert_string_equal(u->group->peer[3].text, "unix:/run/a:b.sock");
}

static void test_upstream_defaults(void **state)
{
	struct conf *c =
		good(state, "http { upstream a { server x.test; } upstream b { server y.test;"
			    " keepalive 0; } server { } }");
	struct upstream_main *m = upstream_conf_main(c);

	assert_int_equal(m->n_groups, 2);
	assert_int_equal(m->groups->keepalive, 32);
	assert_int_equal(m->groups->keepalive_timeout_ms, 60000);
	assert_int_equal(m->groups->keepalive_requests, 1000);
	assert_int_equal(m->groups->keepalive_time_ms, 3600000);
	assert_int_equal(m->groups->next->keepalive, 0);
	assert_int_equal(m->groups->next->index, 1);
	assert_null(upstream_conf_find(c, SLICE("c")));
	assert_int_equal(quietly(c, share_all), 0);
	c = good(state, "");
	assert_null(upstream_conf_main(c));
	assert_int_equal(upstream_conf_share(c), 0);
}

static void test_upstream_errors(void **state)
{
	static const char *const cases[][2] = {
		{"upstream a { server x; } upstream A { server y; }",
		 "duplicate upstream \"A\" in F:1"},
		{"upstream a { }", "no servers are inside upstream in F:1"},
		{"upstream a { server x backup; }",
		 "no servers in upstream \"a\" but backup ones in F:1"},
		{"upstream a { server x:0; }", "invalid port in upstream \"x:0\" in F:1"},
		{"upstream a { server x:65536; }", "invalid port in upstream \"x:65536\""},
		{"upstream a { server x:; }", "invalid port in upstream \"x:\""},
		{"upstream a { server :80; }", "no host in upstream \":80\""},
		{"upstream a { server [::1; }", "invalid host in upstream \"[::1\""},
		{"upstream a { server [::1]8; }", "invalid host in upstream \"[::1]8\""},
		{"upstream a { server ::1; }", "invalid port in upstream \"::1\""},
		{"upstream a { server x/y; }", "invalid host in upstream \"x/y\""},
		{"upstream a { server http://x; }", "invalid port in upstream \"http://x\""},
		{"upstream a { server unix:; }",
		 "no path in the unix domain socket in upstream \"unix:\""},
		{"upstream a { server x weight=0; }", "invalid parameter \"weight=0\""},
		{"upstream a { server x weight=-1; }", "invalid parameter \"weight=-1\""},
		{"upstream a { server x max_fails=x; }", "invalid parameter \"max_fails=x\""},
		{"upstream a { server x fail_timeout=1ms; }",
		 "invalid parameter \"fail_timeout=1ms\""},
		{"upstream a { server x slow_start=x; }", "invalid parameter \"slow_start=x\""},
		{"upstream a { server x service=http; }", "parameter \"service\" is not supported"},
		{"upstream a { server x slow_start=1s; ip_hash; }",
		 "balancing method does not support parameter \"slow_start\""},
		{"upstream a { hash one consistent; server x weight=10001; }",
		 "weights of upstream \"a\" are over 10000 together"},
		{"upstream a { server x; keepalive 1; keepalive 2; }",
		 "\"keepalive\" directive is duplicate"},
		{"upstream a { least_time inflight; }", "invalid parameter \"inflight\""},
		{"upstream a { server x; random two least_time; }",
		 "invalid parameter \"least_time\""},
		{"resolver valid=1s;", "no name servers defined"},
		{"resolver 1.1.1.1 valid=x;", "invalid parameter: valid=x"},
		{"resolver 1.1.1.1 ipv6=x;", "invalid parameter: ipv6=x"},
		{"resolver 1.1.1.1 ipv4=off ipv6=off;",
		 "\"ipv4\" and \"ipv6\" cannot both be \"off\""},
		{"resolver 1.1.1.1 status_zone=x;", "parameter \"status_zone\" is not supported"},
		{"resolver dns.test;", "host not found in resolver \"dns.test\""},
		{"resolver 1.1.1.1:x;", "invalid port in resolver \"1.1.1.1:x\""},
		{"resolver unix:/x;", "host not found in resolver \"unix:/x\""},
		{"resolver 1.1.1.1; resolver 2.2.2.2;", "\"resolver\" directive is duplicate"},
	};
	char text[512], many[4096] = "upstream a {";

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(text, sizeof text, "http { %s }", cases[i][0]);
		bad(state, text, cases[i][1]);
	}
	for (int i = 0; i <= BALANCE_SERVERS_MAX; i++)
		strcat(many, " server 10.0.0.1;");
	snprintf(text, sizeof text, "http { upstream %0*d { server x; } }", BALANCE_NAME_MAX + 1,
		 0);
	bad(state, text, "is longer than 128");
	strcat(many, "} ");
	memmove(many + 7, many, strlen(many) + 1);
	memcpy(many, "http { ", 7);
	strcat(many, "}");
	bad(state, many, "more than 64 servers in upstream \"a\"");
}

static const struct upstream_scope *resolver_of(const struct conf_block *b)
{
	return b->mod[MOD_UPSTREAM];
}

static void test_resolver(void **state)
{
	struct conf *c = good(
		state, "http { resolver 1.1.1.1 [2001:db8::53]:5353 valid=10s ipv6=off;\n"
		       "server { resolver_timeout 5s; location / {} }\n"
		       "server { resolver 9.9.9.9:53; location / { } }\n"
		       "upstream a { server x; } upstream b { server x; resolver 8.8.8.8; } }");
	const struct upstream_scope *s = resolver_of(http(c));

	assert_int_equal(s->n_resolver_addrs, 2);
	assert_true(slice_eq(s->resolver_addrs[1], SLICE("[2001:db8::53]:5353")));
	assert_int_equal(s->resolver_valid_ms, 10000);
	assert_int_equal(s->resolver_ipv4, 1);
	assert_int_equal(s->resolver_ipv6, 0);
	assert_int_equal(s->resolver_timeout_ms, 30000);
	s = resolver_of(child(child(http(c), CTX_SERVER, 0), CTX_LOCATION, 0));
	assert_int_equal(s->n_resolver_addrs, 2);
	assert_int_equal(s->resolver_ipv6, 0);
	assert_int_equal(s->resolver_timeout_ms, 5000);
	/* a resolver line replaces the outer one as a whole */
	s = resolver_of(child(child(http(c), CTX_SERVER, 1), CTX_LOCATION, 0));
	assert_int_equal(s->n_resolver_addrs, 1);
	assert_int_equal(s->resolver_ipv6, 1);
	assert_int_equal(s->resolver_valid_ms, 0);
	assert_int_equal(group(c, "a")->scope->resolver_valid_ms, 10000);
	assert_true(slice_eq(group(c, "b")->scope->resolver_addrs[0], SLICE("8.8.8.8")));

	c = good(state, "http { }");
	s = resolver_of(http(c));
	assert_null(s->resolver_addrs);
	assert_true(s->resolver_ipv4 && s->resolver_ipv6);
}

static struct upstream_conf *get(struct conf *c, struct slice host, uint16_t port, uint16_t deflt)
{
	return upstream_conf_get(c, http(c)->node, host, port, port != 0, deflt);
}

static void test_groups_of_proxy_pass(void **state)
{
	struct conf *c = good(state, "http { resolver 1.1.1.1; upstream back { server x.test; } }");
	struct upstream_conf *a = get(c, SLICE("api.test"), 0, 443), *b;

	assert_non_null(a);
	assert_true(a->implicit);
	assert_true(slice_eq(a->name, SLICE("api.test:443")));
	assert_int_equal(a->default_port, 443);
	assert_int_equal(a->servers[0].port, 443);
	assert_true(slice_eq(a->servers[0].host, SLICE("api.test")));
	assert_int_equal(a->keepalive, 32);
	assert_int_equal(a->scope->n_resolver_addrs, 1);
	/* the same address is the same group, by whatever way it is written */
	assert_ptr_equal(get(c, SLICE("API.test"), 443, 443), a);
	b = get(c, SLICE("api.test"), 0, 80);
	assert_ptr_not_equal(b, a);
	assert_int_equal(b->servers[0].port, 80);
	b = get(c, SLICE("[2001:db8::1]"), 8080, 80);
	assert_true(slice_eq(b->servers[0].host, SLICE("[2001:db8::1]")));
	assert_int_equal(b->servers[0].port, 8080);
	b = get(c, SLICE("unix:/run/x.sock"), 0, 80);
	assert_true(slice_eq(b->servers[0].host, SLICE("unix:/run/x.sock")));
	assert_ptr_equal(get(c, SLICE("unix:/run/x.sock"), 0, 80), b);
	b = get(c, SLICE("BACK"), 0, 443);
	assert_ptr_equal(b, group(c, "back"));
	assert_true(b->used_443 && !b->used_80);
	assert_null(upstream_conf_find(c, SLICE("api.test:443")));
	assert_int_equal(upstream_conf_main(c)->n_groups, 5);
	assert_int_equal(quietly(c, share_all), 0);
	assert_string_equal(said, "");
	assert_int_equal(b->group->server[0].port, 443);
	assert_string_equal(a->group->name, "api.test:443");
}

static const char *host_wanted;
static uint16_t port_wanted;

static int get_quietly(struct conf *c)
{
	return get(c, slice_cstr(host_wanted), port_wanted, 80) ? 0 : -SL_EINVAL;
}

static void test_proxy_pass_errors(void **state)
{
	static const struct {
		const char *host;
		uint16_t port;
		const char *message;
	} cases[] = {
		{"back", 8080, "upstream \"back\" may not have port 8080 in F:1"},
		{"a b", 0, "invalid host in upstream \"a b\""},
		{"[::1", 0, "invalid host in upstream \"[::1\""},
		{"unix:", 0, "no path in the unix domain socket in upstream \"unix:\""},
	};

	struct conf *c = good(state, "http { upstream back { server x.test; } }");

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		host_wanted = cases[i].host;
		port_wanted = cases[i].port;
		assert_int_equal(quietly(c, get_quietly), -SL_EINVAL);
		if (!strstr(said, cases[i].message))
			fail_msg("said: %s\nnot: %s", said, cases[i].message);
	}
}

static void test_default_ports(void **state)
{
	struct conf *c = good(state, "http { upstream s { server a.test; server b.test:81; }\n"
				     "upstream p { server a.test; }\n"
				     "upstream both { server a.test; }\n"
				     "upstream bothset { server a.test:1; server unix:/x; }\n"
				     "upstream unused { server a.test; } }");

	get(c, SLICE("s"), 0, 443);
	get(c, SLICE("p"), 0, 80);
	get(c, SLICE("both"), 0, 80);
	get(c, SLICE("both"), 0, 443);
	get(c, SLICE("bothset"), 0, 80);
	get(c, SLICE("bothset"), 0, 443);
	assert_int_equal(quietly(c, share_all), 0);
	assert_int_equal(group(c, "s")->group->server[0].port, 443);
	assert_int_equal(group(c, "s")->group->server[1].port, 81);
	assert_int_equal(group(c, "p")->group->server[0].port, 80);
	assert_int_equal(group(c, "both")->group->server[0].port, 80);
	assert_int_equal(group(c, "unused")->group->server[0].port, 80);
	assert_non_null(strstr(said, "[warn] upstream \"both\" is used with http and with https"));
	assert_null(strstr(said, "bothset"));
}

static void test_upstream_reload(void **state)
{
	struct fx *fx = *state;
	struct conf *old = good(state, "http { upstream a { server a.test; server 10.0.0.1; }\n"
				       "upstream b { server 10.0.0.2; server 10.0.0.3; } }");
	struct conf *new;
	struct balance_ask tried = {0};
	struct balance_group *was;
	struct addr addr;
	uint32_t p = 9;

	assert_int_equal(upstream_conf_share(old), 0);
	assert_int_equal(addr_from_ip(SLICE("192.0.2.1"), 0, &addr), 0);
	was = group(old, "a")->group;
	balance_set_addrs(was, 0, &addr, 1, NULL, 1);
	assert_int_equal(balance_pick(group(old, "b")->group, 0, 5000, &tried, &p), BALANCE_OK);
	balance_done(group(old, "b")->group, 0, p, BALANCE_FAILURE, 502, 1, 5000, 5000);
	assert_int_equal(p, 0);

	/* b is the same but for what is not of its servers; a has got another weight */
	new = good(state,
		   "http { resolver 1.1.1.1; upstream b { server 10.0.0.2; server 10.0.0.3;\n"
		   "keepalive 4; } upstream a { server a.test weight=3; } }");
	assert_int_equal(upstream_conf_share(new), 0);
	assert_ptr_equal(group(new, "b")->group, group(old, "b")->group);
	assert_ptr_not_equal(group(new, "a")->group, was);
	assert_int_equal(group(new, "a")->group->server[0].resolve, BALANCE_RESOLVED);
	assert_string_equal(group(new, "a")->group->peer[0].text, "192.0.2.1:80");
	assert_int_equal(group(new, "a")->group->peer[0].weight, 3);
	release(old);
	fx->conf[0].main = NULL;
	assert_int_equal(group(new, "b")->group->peer[0].n_failures, 1);
	release(new);
	fx->conf[1].main = NULL;
	assert_null(fx->shm.zones);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_upstream_block),	 TEST(test_upstream_defaults),
		TEST(test_upstream_errors),	 TEST(test_resolver),
		TEST(test_groups_of_proxy_pass), TEST(test_proxy_pass_errors),
		TEST(test_default_ports),	 TEST(test_upstream_reload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
