/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin process as a process: what its resources, its metrics and its page show. */
#include "rig.h"

#include "prom.h"

static void test_status(void **state)
{
	struct rig *r = *state;
	struct reply a;
	json_t *j;

	rig_start(r);
	a = rig_ask(r, "GET", "/api/v1/status", "");
	assert_int_equal(a.status, 200);
	assert_non_null(strcasestr(a.raw, "\r\nCache-Control: no-store\r\n"));
	j = rig_json(&a);
	assert_string_equal(rig_text(j, "version"), "0.1.0");
	assert_int_equal(rig_int(j, "generation"), 3);
	assert_int_equal(rig_int(j, "reloads.done"), 2);
	assert_int_equal(rig_int(j, "reloads.failed"), 1);
	assert_true(rig_int(j, "uptime_s") >= 3600 && rig_int(j, "uptime_s") < 3700);
	assert_int_equal(rig_int(j, "requests.total"), 111);
	assert_int_equal(rig_int(j, "connections.active"), 5);
	assert_int_equal(rig_int(j, "responses.2xx"), 90);
	assert_int_equal(rig_int(j, "responses.5xx"), 4);
	assert_int_equal(rig_int(j, "bytes.out"), 123456789012ll);
	assert_int_equal(json_array_size(rig_at(j, "workers")), 1);
	assert_int_equal(rig_int(j, "workers.0.pid"), getpid());
	assert_true(rig_int(j, "workers.0.memory_bytes") > 0);
	assert_string_equal(rig_text(j, "limit_zones.0.name"), "per_ip");
	assert_int_equal(rig_int(j, "limit_zones.0.entries"), 0);
	assert_true(rig_int(j, "limit_zones.0.entries_max") > 0);
	assert_true(json_is_false(rig_at(j, "guard.on")));
	assert_string_equal(rig_text(j, "guard.reason"), "no permission");
}

static void test_upstreams(void **state)
{
	struct rig *r = *state;
	struct reply a;
	json_t *j;

	rig_start(r);
	a = rig_ask(r, "GET", "/api/v1/upstreams", "");
	assert_int_equal(a.status, 200);
	j = rig_json(&a);
	assert_int_equal(json_array_size(rig_at(j, "upstreams")), 3);
	assert_string_equal(rig_text(j, "upstreams.0.name"), "we\"ird\\na?me");
	assert_int_equal(json_array_size(rig_at(j, "upstreams.0.servers")), 4);
	assert_string_equal(rig_text(j, "upstreams.0.servers.0.peers.0.address"), "127.0.0.1:8001");
	assert_string_equal(rig_text(j, "upstreams.0.servers.0.peers.0.state"), "up");
	assert_int_equal(rig_int(j, "upstreams.0.servers.0.peers.0.requests"), 10);
	assert_int_equal(rig_int(j, "upstreams.0.servers.0.peers.0.responses.2xx"), 8);
	assert_true(json_real_value(rig_at(j, "upstreams.0.servers.0.peers.0.response_ms_mean")) ==
		    150);
	assert_string_equal(rig_text(j, "upstreams.0.servers.1.peers.0.state"), "failed");
	assert_true(json_is_string(rig_at(j, "upstreams.0.servers.1.peers.0.unavailable_since")));
	assert_string_equal(rig_text(j, "upstreams.0.servers.2.peers.0.state"), "down");
	assert_true(json_is_true(rig_at(j, "upstreams.0.servers.3.backup")));
	assert_string_equal(rig_text(j, "upstreams.1.servers.0.resolve"), "failed");
	assert_string_equal(rig_text(j, "upstreams.1.servers.0.resolve_error"), "no such name");
	assert_int_equal(json_array_size(rig_at(j, "upstreams.1.servers.0.peers")), 0);
	assert_string_equal(rig_text(j, "upstreams.2.name"), "api#2");
	assert_true(json_is_true(rig_at(j, "upstreams.2.implicit")));
}

static void test_upstreams_none(void **state)
{
	struct rig *r = *state;
	struct reply a;

	r->env.upstreams = NULL;
	r->env.limit_zones = NULL;
	rig_start(r);
	a = rig_ask(r, "GET", "/api/v1/upstreams", "");
	assert_int_equal(json_array_size(rig_at(rig_json(&a), "upstreams")), 0);
	a = rig_ask(r, "GET", "/metrics", "");
	assert_int_equal(a.status, 200);
}

static void test_bans_list(void **state)
{
	struct rig *r = *state;
	struct reply a;
	json_t *j;

	rig_ban(r, "192.0.2.1", 60000, 5000, "older");
	rig_ban(r, "2001:db8::7", 0, 1000, "newer \xff\x1b[31m");
	rig_ban(r, "192.0.2.2", 1, 9000, "over");
	usleep(5000);
	rig_start(r);
	a = rig_ask(r, "GET", "/api/v1/bans", "");
	j = rig_json(&a);
	assert_int_equal(rig_int(j, "total"), 2);
	assert_string_equal(rig_text(j, "bans.0.address"), "2001:db8::7");
	assert_string_equal(rig_text(j, "bans.0.reason"), "newer ??[31m");
	assert_true(json_is_null(rig_at(j, "bans.0.until")));
	assert_true(json_is_null(rig_at(j, "bans.0.left_s")));
	assert_string_equal(rig_text(j, "bans.1.address"), "192.0.2.1");
	assert_true(rig_int(j, "bans.1.left_s") > 50 && rig_int(j, "bans.1.left_s") <= 60);
	assert_string_equal(rig_text(j, "bans.1.rule_id"), "0000004d");
	a = rig_ask(r, "GET", "/api/v1/bans?limit=1", "");
	assert_int_equal(json_array_size(rig_at(rig_json(&a), "bans")), 1);
	assert_int_equal(rig_int(rig_json(&a), "total"), 2);
	a = rig_ask(r, "GET", "/api/v1/bans?limit=10001", "");
	rig_assert_error(&a, 400, "bad_request");
	a = rig_ask(r, "GET", "/api/v1/bans/192.0.2.1", "");
	assert_string_equal(rig_text(rig_json(&a), "reason"), "older");
	a = rig_ask(r, "GET", "/api/v1/bans/2001%3Adb8:0::7", "");
	assert_int_equal(a.status, 200);
	a = rig_ask(r, "GET", "/api/v1/bans/192.0.2.2", "");
	rig_assert_error(&a, 404, "not_found");
	a = rig_ask(r, "GET", "/api/v1/bans/nobody", "");
	rig_assert_error(&a, 400, "bad_request");
}

static void test_sources_off(void **state)
{
	struct rig *r = *state;
	static const char *const bad[] = {
		"0", "1001", "-1", "x", "", "1e2", "99999999999999999999"};
	char path[64];
	struct reply a;

	rig_start(r);
	a = rig_ask(r, "GET", "/api/v1/sources?top=5", "");
	assert_int_equal(a.status, 200);
	assert_string_equal(rig_text(rig_json(&a), "guard"), "off: no permission");
	assert_int_equal(json_array_size(rig_at(rig_json(&a), "sources")), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(path, sizeof path, "/api/v1/sources?top=%s", bad[i]);
		a = rig_ask(r, "GET", path, "");
		rig_assert_error(&a, 400, "bad_request");
	}
}

static void assert_line(const char *text, const char *line)
{
	size_t n = strlen(line);

	for (const char *p = text; (p = strstr(p, line)); p++)
		if ((p == text || p[-1] == '\n') && p[n] == '\n')
			return;
	fail_msg("there is no line: %s", line);
}

static void test_metrics(void **state)
{
	struct rig *r = *state;
	struct prom p = {0};
	struct reply a;

	rig_ban(r, "192.0.2.1", 60000, 5000, "x");
	rig_start(r);
	a = rig_ask(r, "GET", "/metrics", "");
	assert_int_equal(a.status, 200);
	assert_non_null(
		strcasestr(a.raw, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	if (!prom_check(&p, a.body))
		fail_msg("%s", p.error);
	prom_fini(&p);
	assert_line(a.body, "sluice_build_info{version=\"0.1.0\"} 1");
	assert_line(a.body, "sluice_requests_total 111");
	assert_line(a.body, "sluice_connections_active 5");
	assert_line(a.body, "sluice_responses_total{class=\"5xx\"} 4");
	assert_line(a.body, "sluice_sent_bytes_total 123456789012");
	assert_line(a.body, "sluice_workers 1");
	assert_line(a.body, "sluice_bans 1");
	assert_line(a.body, "sluice_bans_in_kernel 0");
	assert_line(a.body, "sluice_guard_attached 0");
	assert_line(a.body, "sluice_limit_req_zone_entries{zone=\"per_ip\"} 0");
	/* One sample for an address that stands twice in its group. */
	assert_line(a.body, "sluice_upstream_peer_requests_total{upstream=\"we\\\"ird\\\\na?me\","
			    "peer=\"127.0.0.1:8001\"} 15");
	assert_line(a.body, "sluice_upstream_peer_up{upstream=\"we\\\"ird\\\\na?me\","
			    "peer=\"127.0.0.1:8001\"} 1");
	assert_line(a.body, "sluice_upstream_peer_up{upstream=\"we\\\"ird\\\\na?me\","
			    "peer=\"127.0.0.1:8002\"} 0");
	assert_line(a.body,
		    "sluice_upstream_peer_response_seconds_total{upstream=\"we\\\"ird\\\\na?me\","
		    "peer=\"127.0.0.1:8001\"} 1.2");
	assert_line(a.body,
		    "sluice_upstream_peer_up{upstream=\"api#2\",peer=\"unix:/tmp/up.sock\"} 1");
}

/* The checker itself must be able to say no. */
static void test_prom_checker(void **state)
{
	static const char *const bad[] = {
		"",
		"sluice_x 1\n",
		"# HELP sluice_x X.\nsluice_x 1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x 1",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x one\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x  1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x 1\nsluice_x 2\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_y 1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x counter\nsluice_x 1\n",
		"# HELP sluice_x_total X.\n# TYPE sluice_x_total gauge\nsluice_x_total 1\n",
		"# HELP sluice_x_total X.\n# TYPE sluice_x_total counter\nsluice_x_total -1\n",
		"# HELP sluice_x_ms X.\n# TYPE sluice_x_ms gauge\nsluice_x_ms 1\n",
		"# HELP sluice_X X.\n# TYPE sluice_X gauge\nsluice_X 1\n",
		"# HELP x X.\n# TYPE x gauge\nx 1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x{a=\"1\",a=\"2\"} 1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x{a=\"\\q\"} 1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x{a=\"\"\"} 1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x{a=1} 1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x 1\n\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\n# TYPE sluice_x gauge\nsluice_x 1\n",
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\nsluice_x 1\n"
		"# HELP sluice_x X.\n# TYPE sluice_x gauge\n",
	};
	struct prom p = {0};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct prom q = {0};

		if (prom_check(&q, bad[i]))
			fail_msg("accepted: %s", bad[i]);
		prom_fini(&q);
	}
	assert_true(prom_check(&p, "# HELP sluice_x_total X.\n# TYPE sluice_x_total counter\n"
				   "sluice_x_total{a=\"b\\\"c\\\\\\n\",d=\"\"} 1.5e9\n"
				   "sluice_x_total{a=\"other\"} 0\n"));
	prom_fini(&p);
}

static void test_page(void **state)
{
	struct rig *r = *state;
	char nonce[64], marked[96];
	struct reply a;
	const char *policy;

	rig_start(r);
	a = rig_exchange(rig_dial_tcp(r), "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
	assert_int_equal(a.status, 200);
	assert_non_null(strcasestr(a.raw, "\r\nContent-Type: text/html; charset=utf-8\r\n"));
	policy = strcasestr(a.raw, "\r\nContent-Security-Policy: default-src 'none';");
	assert_non_null(policy);
	assert_int_equal(
		sscanf(strstr(policy, "script-src"), "script-src 'nonce-%32[0-9a-f]'", nonce), 1);
	assert_int_equal(strlen(nonce), 32);
	snprintf(marked, sizeof marked, "<script nonce='%s'>", nonce);
	assert_non_null(strstr(a.body, marked));
	snprintf(marked, sizeof marked, "<style nonce='%s'>", nonce);
	assert_non_null(strstr(a.body, marked));
	assert_null(strstr(a.body, "http://"));
	assert_null(strstr(a.body, "https://"));
	assert_null(strstr(a.body, "innerHTML"));
	a = rig_exchange(rig_dial_tcp(r), "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
	assert_null(strstr(a.raw, nonce));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_status),
		RIG_TEST(test_upstreams),
		RIG_TEST(test_upstreams_none),
		RIG_TEST(test_bans_list),
		RIG_TEST(test_sources_off),
		RIG_TEST(test_metrics),
		cmocka_unit_test(test_prom_checker),
		RIG_TEST(test_page),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
