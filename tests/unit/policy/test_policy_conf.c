/* SPDX-License-Identifier: BSD-2-Clause */
/* What limit_req, ban and xdp lines become, their errors, and what of a zone survives a reload. */
#define _GNU_SOURCE
#include "conf_frame.h"

/* ---- limit_req ---- */

static const struct limit_scope *limits(const struct conf_block *b)
{
	return b->mod[MOD_LIMIT];
}

static void test_limit_lines(void **state)
{
	struct conf *c = good(
		state, "http {\n"
		       "limit_req zone=low burst=3 delay=2;\n"
		       "limit_req_zone $host zone=hi:1m rate=7r/s;\n"
		       "server { location / { }\n"
		       "location /b { limit_req zone=hi nodelay; limit_req burst=20 zone=low;\n"
		       "limit_req_status 429; limit_req_dry_run on;\n"
		       "limit_req_log_level info; } }\n"
		       "limit_req_zone '$host $binary_remote_addr' zone=low:32k rate=10r/m;\n"
		       "}");
	const struct limit_zone_conf *z = limit_conf_zones(c);
	const struct limit_scope *s;

	assert_true(slice_eq(z->name, SLICE("hi")));
	assert_int_equal(z->rate_milli_per_s, 7000);
	assert_int_equal(z->bytes, 1 << 20);
	assert_true(slice_eq(z->next->name, SLICE("low")));
	assert_int_equal(z->next->rate_milli_per_s, 166);
	assert_null(z->next->next);

	s = limits(child(child(http(c), CTX_SERVER, 0), CTX_LOCATION, 0));
	assert_int_equal(s->lines->n, 1);
	assert_ptr_equal(s->lines->zone[0], z->next);
	assert_ptr_equal(s->lines->use[0].zone, z->next->zone);
	assert_int_equal(s->lines->use[0].rate_milli_per_s, 166);
	assert_int_equal(s->lines->use[0].burst_milli, 3000);
	assert_int_equal(s->lines->use[0].delay_milli, 2000);
	assert_int_equal(s->status, 503);
	assert_int_equal(s->log_level, LOG_LVL_ERROR);
	assert_int_equal(s->dry_run, 0);

	s = limits(child(child(http(c), CTX_SERVER, 0), CTX_LOCATION, 1));
	assert_int_equal(s->lines->n, 2);
	assert_ptr_equal(s->lines->zone[0], z);
	assert_int_equal(s->lines->use[0].burst_milli, 0);
	assert_true(s->lines->use[0].delay_milli == UINT64_MAX);
	assert_int_equal(s->lines->use[1].burst_milli, 20000);
	assert_int_equal(s->lines->use[1].delay_milli, 0);
	assert_int_equal(s->status, 429);
	assert_int_equal(s->log_level, LOG_LVL_INFO);
	assert_int_equal(s->dry_run, 1);
}

#define ZONE "limit_req_zone $host zone=a:1m rate=1r/s; "

static void test_limit_errors(void **state)
{
	static const char *const cases[][2] = {
		{"limit_req_zone $nope zone=a:1m rate=1r/s;", "unknown \"nope\" variable"},
		{ZONE "limit_req_zone $binary_remote_addr zone=a:1m rate=1r/s;",
		 "limit_req_zone \"a\" is already bound to key \"$host\" in F:1"},
		{"limit_req_zone $host zone=a:1k rate=1r/s;", "zone \"zone=a:1k\" is too small"},
		{"limit_req_zone $host zone=a:x rate=1r/s;", "invalid zone size \"zone=a:x\""},
		{"limit_req_zone $host zone=a rate=1r/s;", "invalid zone size \"zone=a\""},
		{"limit_req_zone $host zone=:1m rate=1r/s;", "invalid zone name \"zone=:1m\""},
		{"limit_req_zone $host zone=a:1m rate=0r/s;", "invalid rate \"rate=0r/s\""},
		{"limit_req_zone $host zone=a:1m rate=1r/h;", "invalid rate \"rate=1r/h\""},
		{"limit_req_zone $host zone=a:1m rate=r/s;", "invalid rate \"rate=r/s\""},
		{"limit_req_zone $host zone=a:1m rate=1.5r/s;", "invalid rate \"rate=1.5r/s\""},
		{"limit_req_zone $host rate=2r/s rate=1r/s;",
		 "\"limit_req_zone\" must have \"zone\" parameter"},
		{"limit_req_zone $host zone=a:1m sync;", "parameter \"sync\" is not supported"},
		{"limit_req_zone $host zone=a:1m foo=1;", "invalid parameter \"foo=1\""},
		{"limit_req_zone $host zone=a:1m;",
		 "invalid number of arguments in \"limit_req_zone\""},
		{"server { limit_req_zone $host zone=a:1m rate=1r/s; }",
		 "\"limit_req_zone\" directive is not allowed here"},
		{ZONE "server { limit_req zone=b; }", "zero size shared memory zone \"b\" in F:1"},
		{ZONE "limit_req zone=a; limit_req zone=a burst=2;",
		 "\"limit_req\" directive is duplicate in F:1"},
		{ZONE "limit_req burst=2;", "\"limit_req\" must have \"zone\" parameter"},
		{ZONE "limit_req zone=a burst=0;", "invalid burst value \"burst=0\""},
		{ZONE "limit_req zone=a burst=x;", "invalid burst value \"burst=x\""},
		{ZONE "limit_req zone=a delay=0;", "invalid delay value \"delay=0\""},
		{ZONE "limit_req zone=a now;", "invalid parameter \"now\""},
		{"limit_req_status 399;", "must be between 400 and 599"},
		{"limit_req_status 600;", "must be between 400 and 599"},
		{"limit_req_log_level crit;", "\"crit\""},
		{"limit_req_dry_run maybe;", "\"maybe\""},
	};
	char text[512];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(text, sizeof text, "http { %s }", cases[i][0]);
		bad(state, text, cases[i][1]);
	}
}

static void test_limit_reload(void **state)
{
	struct conf *c[3];
	struct slice key = SLICE("k");
	uint64_t delay, excess;
	int which;

	c[0] = good(state, "http { " ZONE "limit_req_zone $host zone=b:1m rate=1r/s;"
			   "limit_req zone=a burst=9; }");
	for (int i = 0; i < 4; i++)
		limit_check(limits(http(c[0]))->lines->use, &key, 1, 10, &delay, &which, &excess);
	/* another rate: the same memory; another key or size: fresh memory */
	c[1] = good(state,
		    "http { limit_req_zone $host zone=a:1m rate=2r/s; limit_req zone=a burst=9;"
		    "limit_req_zone $binary_remote_addr zone=b:1m rate=1r/s; }");
	assert_ptr_equal(limit_conf_zones(c[1])->zone, limit_conf_zones(c[0])->zone);
	assert_ptr_not_equal(limit_conf_zones(c[1])->next->zone,
			     limit_conf_zones(c[0])->next->zone);
	limit_check(limits(http(c[1]))->lines->use, &key, 1, 1010, &delay, &which, &excess);
	assert_int_equal(excess, 2000);
	c[2] = good(state, "http { limit_req_zone $host zone=a:2m rate=2r/s; }");
	assert_ptr_not_equal(limit_conf_zones(c[2])->zone, limit_conf_zones(c[0])->zone);
}

/* ---- ban ---- */

static const struct ban_rule *bans(const struct conf_block *b)
{
	return ((const struct ban_scope *)b->mod[MOD_BAN])->rules;
}

static void test_ban_rules(void **state)
{
	struct conf *c =
		good(state, "http { ban on=limit_req after=100 within=10s for=10m;\n"
			    "server { ban for=1h within=500ms after=3 on=status:401,403;\n"
			    "ban on=bad_request after=1 within=1d for=1s;\n"
			    "location / { } location /off { ban off; location /off/in { } } }\n"
			    "server { location / { } } }");
	const struct conf_block *srv = child(http(c), CTX_SERVER, 0);
	const struct ban_rule *all = ban_conf_rules(c), *r;
	int n = 0;

	assert_ptr_equal(bans(http(c)), all);
	assert_int_equal(all->on, BAN_ON_LIMIT_REQ);
	assert_int_equal(all->after, 100);
	assert_int_equal(all->within_ms, 10000);
	assert_int_equal(all->for_ms, 600000);
	assert_string_equal(all->text, "on=limit_req after=100 within=10s for=10m");
	assert_string_equal(all->scope, "http");
	assert_null(all->next);
	assert_false(ban_rule_has_status(all, 401));

	r = bans(child((struct conf_block *)srv, CTX_LOCATION, 0));
	assert_ptr_equal(r, bans(srv));
	assert_string_equal(r->text, "on=status:401,403 after=3 within=500ms for=1h");
	assert_string_equal(r->scope, "server in F:2");
	assert_true(ban_rule_has_status(r, 401) && ban_rule_has_status(r, 403));
	assert_false(ban_rule_has_status(r, 402));
	assert_int_equal(r->next->on, BAN_ON_BAD_REQUEST);
	assert_null(r->next->next);
	/* off ends the inheritance, for what is inside too */
	assert_null(bans(child((struct conf_block *)srv, CTX_LOCATION, 1)));
	assert_null(bans(child(child((struct conf_block *)srv, CTX_LOCATION, 1), CTX_LOCATION, 0)));
	assert_ptr_equal(bans(child(child(http(c), CTX_SERVER, 1), CTX_LOCATION, 0)), all);

	for (r = all; r; r = r->next_all, n++) {
		assert_int_not_equal(r->id, 0);
		assert_ptr_equal(ban_conf_rule(c, r->id), r);
	}
	assert_int_equal(n, 3);
	assert_null(ban_conf_rule(c, 0));
	assert_null(ban_conf_rules(good(state, "")));
}

#define RULE "on=bad_request after=5 within=1s for=1m;"

static void test_ban_ids(void **state)
{
	struct conf *c = good(state, "http { ban " RULE " server { ban " RULE " ban " RULE
				     " location /a { ban " RULE " } location /b { ban " RULE " } }"
				     " server { ban " RULE " } }");
	struct conf *again =
		good(state, "# moved\n\nhttp { ban after=5 on=bad_request for=1m within=1s;\n"
			    "limit_req_status 429; server { ban " RULE " } }");
	const struct ban_rule *a = ban_conf_rules(c), *b = ban_conf_rules(again);

	/* the same words at another place, or twice, are another rule */
	for (const struct ban_rule *r = a; r; r = r->next_all)
		for (const struct ban_rule *o = r->next_all; o; o = o->next_all)
			assert_int_not_equal(r->id, o->id);
	/* the same rule at the same place keeps its id, whatever stands around it */
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->next_all->id, b->next_all->id);
}

static void test_ban_errors(void **state)
{
	static const char *const cases[][2] = {
		{"on=limit_req after=1 within=1s", "\"ban\" must have \"for\" parameter in F:1"},
		{"on=limit_req after=1 for=1s", "\"ban\" must have \"within\" parameter"},
		{"on=limit_req for=1s within=1s", "\"ban\" must have \"after\" parameter"},
		{"for=1s within=1s after=1", "\"ban\" must have \"on\" parameter"},
		{"on=limit after=1 within=1s for=1s", "invalid parameter \"on=limit\""},
		{"on=status: after=1 within=1s for=1s", "invalid parameter \"on=status:\""},
		{"on=status:200 after=1 within=1s for=1s", "invalid parameter \"on=status:200\""},
		{"on=status:401, after=1 within=1s for=1s", "invalid parameter \"on=status:401,\""},
		{"on=status:401,401 after=1 within=1s for=1s",
		 "invalid parameter \"on=status:401,401\""},
		{"on=status:400,401,402,403,404,405,406,407,408 after=1 within=1s for=1s",
		 "invalid parameter \"on=status:400"},
		{"on=limit_req on=bad_request after=1 for=1s",
		 "invalid parameter \"on=bad_request\""},
		{"on=limit_req after=0 within=1s for=1s", "invalid parameter \"after=0\""},
		{"on=limit_req after=1000001 within=1s for=1s",
		 "invalid parameter \"after=1000001\""},
		{"on=limit_req after=1 within=2d for=1s", "invalid parameter \"within=2d\""},
		{"on=limit_req after=1 within=0 for=1s", "invalid parameter \"within=0\""},
		{"on=limit_req after=1 within=1s for=0", "invalid parameter \"for=0\""},
		{"on=limit_req after=1 within=1s for=x", "invalid parameter \"for=x\""},
		{"on=limit_req after=1 after=2 within=1s", "invalid parameter \"after=2\""},
		{"off; ban on=limit_req after=1 within=1s for=1s",
		 "\"ban off\" stands beside another \"ban\""},
		{"on=limit_req after=1 within=1s for=1s; ban off",
		 "\"ban off\" stands beside another \"ban\""},
		{"off; ban off", "\"ban off\" stands beside another \"ban\""},
	};
	char text[512], many[BAN_RULES_MAX * 48 + 200] = "http { ";

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(text, sizeof text, "http { ban %s; }", cases[i][0]);
		bad(state, text, cases[i][1]);
	}
	bad(state, "ban off;", "\"ban\" directive is not allowed here");
	for (int i = 0; i <= BAN_RULES_MAX; i++)
		strcat(many, "ban " RULE);
	strcat(many, " }");
	bad(state, many, "more than 256 \"ban\" directives");
}

/* What a rule may say beyond the count: kinds, max=, prefix=, dry_run. */
static void test_ban_more(void **state)
{
	static const struct {
		const char *name;
		enum ban_on on;
	} kinds[] = {
		{"limit_req", BAN_ON_LIMIT_REQ},
		{"limit_conn", BAN_ON_LIMIT_CONN},
		{"bad_request", BAN_ON_BAD_REQUEST},
		{"h2_abuse", BAN_ON_H2_ABUSE},
		{"tls_handshake", BAN_ON_TLS_HANDSHAKE},
		{"slow_client", BAN_ON_SLOW_CLIENT},
		{"auth", BAN_ON_AUTH},
	};
	static const char *const refused[] = {
		"max=0",	"max=x",	   "max=2m max=3m",	  "prefix=",
		"prefix=7",	"prefix=129",	   "prefix=24,",	  "prefix=24,32",
		"prefix=33,64", "prefix=24,64,32", "prefix=24 prefix=16", "dry_run dry_run",
		"dry_run=on",
	};
	char text[512];
	const struct ban_rule *r, *dry;

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		snprintf(text, sizeof text, "http { ban on=%s after=1 within=1s for=1s; }",
			 kinds[i].name);
		r = ban_conf_rules(good(state, text));
		assert_int_equal(r->on, kinds[i].on);
		assert_string_equal(ban_conf_on_name(r->on), kinds[i].name);
		assert_false(r->dry_run || r->max_ms || r->prefix_v4 || r->prefix_v6);
	}
	r = ban_conf_rules(good(state, "http { ban max=1h prefix=64,24 on=auth after=2 for=1m "
				       "within=5s; }"));
	assert_int_equal(r->max_ms, 3600000);
	assert_int_equal(r->prefix_v4, 24);
	assert_int_equal(r->prefix_v6, 64);
	assert_string_equal(r->text, "on=auth after=2 within=5s for=1m max=1h prefix=64,24");
	dry = ban_conf_rules(good(state, "http { ban dry_run max=1h prefix=64,24 on=auth after=2 "
					 "for=1m within=5s; }"));
	/* who goes from trial to earnest keeps the rule's id, and with it what was counted */
	assert_true(dry->dry_run);
	assert_int_equal(dry->id, r->id);
	r = ban_conf_rules(good(state, "http { ban on=auth after=1 within=1s for=1m prefix=48; }"));
	assert_int_equal(r->prefix_v4, 0);
	assert_int_equal(r->prefix_v6, 48);

	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		snprintf(text, sizeof text, "http { ban on=auth after=1 within=1s for=1m %s; }",
			 refused[i]);
		bad(state, text, "invalid parameter \"");
	}
	bad(state, "http { ban on=auth after=1 within=1s for=1m max=59s; }",
	    "\"max\" of \"ban\" is less than its \"for\" in F:1");
	good(state, "http { ban on=auth after=1 within=1s for=1m max=60s; }");
}

/* ---- xdp ---- */

static struct guard_addr guard_ip(const char *text)
{
	struct guard_addr a;

	assert_int_equal(guard_addr_from_text(&a, text), 0);
	return a;
}

static bool allows(const struct lists *l, const char *text)
{
	struct guard_addr a = guard_ip(text);

	return lists_allow(l, &a);
}

static bool denies(const struct lists *l, const char *text)
{
	struct guard_addr a = guard_ip(text);

	return lists_deny(l, &a, 1000) != NULL;
}

static void test_xdp(void **state)
{
	struct conf *c =
		good(state, "xdp { interface sl-none0 eth1; interface eth2.100;\n"
			    "mode generic; allow 10.0.0.0/8 2001:db8::/33; allow 192.0.2.1;\n"
			    "deny 198.51.100.7 10.1.0.0/16 ::/0;\n"
			    "dry_run on; pin_dir /sys/fs/bpf/other; }");
	const struct xdp_conf *x = xdp_conf_get(c);
	const struct lists *l = lists_get(c);

	assert_int_equal(x->n_interfaces, 3);
	assert_string_equal(x->interfaces[0].name, "sl-none0");
	assert_string_equal(x->interfaces[2].name, "eth2.100");
	assert_int_equal(x->interfaces[2].node->line, 1);
	assert_int_equal(x->mode, GUARD_MODE_GENERIC);
	assert_int_equal(l->n_allow, 3);
	assert_int_equal(l->allow[0].prefix_len, 8);
	assert_int_equal(l->allow_auto, 1);
	assert_int_equal(l->n_deny, 3);
	assert_int_equal(x->dry_run, 1);
	assert_string_equal(x->pin_dir.p, "/sys/fs/bpf/other");
	assert_true(allows(l, "10.255.0.1"));
	assert_true(allows(l, "::ffff:10.255.0.1"));
	assert_false(allows(l, "11.0.0.1"));
	assert_true(allows(l, "192.0.2.1"));
	assert_false(allows(l, "192.0.2.2"));
	assert_true(allows(l, "2001:db8:7fff::1"));
	assert_false(allows(l, "2001:db8:8000::1"));
	assert_true(denies(l, "198.51.100.7"));
	assert_false(denies(l, "198.51.100.8"));
	assert_true(denies(l, "10.1.2.3") && allows(l, "10.1.2.3")); /* allow wins: the gate's */
	assert_true(denies(l, "2001:db8:8000::1"));
	assert_false(denies(NULL, "198.51.100.7"));
	assert_false(allows(NULL, "198.51.100.7"));

	c = good(state, "xdp { interface lo; }");
	x = xdp_conf_get(c);
	assert_int_equal(x->mode, GUARD_MODE_AUTO);
	assert_int_equal(x->dry_run, 0);
	assert_string_equal(x->pin_dir.p, "/sys/fs/bpf/sluice");
	assert_null(xdp_conf_get(good(state, "http { }")));
}

static void test_xdp_errors(void **state)
{
	static const char *const cases[][2] = {
		{"mode auto;", "no \"interface\" in \"xdp\" block in F:1"},
		{"interface a/b;", "\"a/b\" cannot be the name of an interface"},
		{"interface abcdefghijklmnop;", "cannot be the name of an interface"},
		{"interface 'a b';", "cannot be the name of an interface"},
		{"interface '';", "cannot be the name of an interface"},
		{"interface ..;", "cannot be the name of an interface"},
		{"interface eth0 eth0;", "duplicate interface \"eth0\""},
		{"interface eth0; interface eth0;", "duplicate interface \"eth0\""},
		{"interface eth0; mode fast;", "\"fast\""},
		{"interface eth0; allow 10.0.0.0/33;",
		 "invalid address or network \"10.0.0.0/33\""},
		{"interface eth0; deny example.com;", "invalid address or network \"example.com\""},
		{"interface eth0; deny '';", "invalid address or network \"\""},
		{"interface eth0; dry_run 1;", "\"1\""},
		{"interface eth0; pin_dir sluice;", "\"pin_dir\" must be an absolute path"},
		{"interface eth0; ban off;", "\"ban\" directive is not allowed here"},
	};
	char text[2000] = "xdp {";

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(text, sizeof text, "xdp { %s }", cases[i][0]);
		bad(state, text, cases[i][1]);
	}
	bad(state, "xdp { interface a; } xdp { interface b; }", "\"xdp\" directive is duplicate");
	bad(state, "http { xdp { interface a; } }", "\"xdp\" directive is not allowed here");
	snprintf(text, sizeof text, "xdp { interface");
	for (int i = 0; i <= GUARD_INTERFACES_MAX; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), " e%d", i);
	strcat(text, "; }");
	bad(state, text, "more than 64 interfaces");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_limit_lines), TEST(test_limit_errors), TEST(test_limit_reload),
		TEST(test_ban_rules),	TEST(test_ban_ids),	 TEST(test_ban_errors),
		TEST(test_ban_more),	TEST(test_xdp),		 TEST(test_xdp_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
