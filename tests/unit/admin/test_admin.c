/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin process as a process: every endpoint over both kinds of socket, who may ask, bad and slow
 * clients, the master that answers, refuses, is silent or goes away. */
#include "rig.h"

#include "prom.h"

static int setup(void **state)
{
	*state = rig_new();
	return 0;
}

static int teardown(void **state)
{
	rig_free(*state);
	return 0;
}

static json_t *at(json_t *j, const char *path)
{
	char copy[128], *save = NULL;

	snprintf(copy, sizeof copy, "%s", path);
	for (char *key = strtok_r(copy, ".", &save); key; key = strtok_r(NULL, ".", &save)) {
		j = json_is_array(j) ? json_array_get(j, strtoul(key, NULL, 10)) : json_object_get(j, key);
		if (!j)
			fail_msg("there is no %s in %s", key, path);
	}
	return j;
}

static json_int_t int_at(json_t *j, const char *path)
{
	assert_true(json_is_integer(at(j, path)));
	return json_integer_value(at(j, path));
}

static const char *text_at(json_t *j, const char *path)
{
	assert_true(json_is_string(at(j, path)));
	return json_string_value(at(j, path));
}

/* ---- reading ---- */

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
	assert_string_equal(text_at(j, "version"), "0.1.0");
	assert_int_equal(int_at(j, "generation"), 3);
	assert_int_equal(int_at(j, "reloads.done"), 2);
	assert_int_equal(int_at(j, "reloads.failed"), 1);
	assert_true(int_at(j, "uptime_s") >= 3600 && int_at(j, "uptime_s") < 3700);
	assert_int_equal(int_at(j, "requests.total"), 111);
	assert_int_equal(int_at(j, "connections.active"), 5);
	assert_int_equal(int_at(j, "responses.2xx"), 90);
	assert_int_equal(int_at(j, "responses.5xx"), 4);
	assert_int_equal(int_at(j, "bytes.out"), 123456789012ll);
	assert_int_equal(json_array_size(at(j, "workers")), 1);
	assert_int_equal(int_at(j, "workers.0.pid"), getpid());
	assert_true(int_at(j, "workers.0.memory_bytes") > 0);
	assert_string_equal(text_at(j, "limit_zones.0.name"), "per_ip");
	assert_int_equal(int_at(j, "limit_zones.0.entries"), 0);
	assert_true(int_at(j, "limit_zones.0.entries_max") > 0);
	assert_true(json_is_false(at(j, "guard.on")));
	assert_string_equal(text_at(j, "guard.reason"), "no permission");
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
	assert_int_equal(json_array_size(at(j, "upstreams")), 3);
	assert_string_equal(text_at(j, "upstreams.0.name"), "we\"ird\\na?me");
	assert_int_equal(json_array_size(at(j, "upstreams.0.servers")), 4);
	assert_string_equal(text_at(j, "upstreams.0.servers.0.peers.0.address"), "127.0.0.1:8001");
	assert_string_equal(text_at(j, "upstreams.0.servers.0.peers.0.state"), "up");
	assert_int_equal(int_at(j, "upstreams.0.servers.0.peers.0.requests"), 10);
	assert_int_equal(int_at(j, "upstreams.0.servers.0.peers.0.responses.2xx"), 8);
	assert_true(json_real_value(at(j, "upstreams.0.servers.0.peers.0.response_ms_mean")) == 150);
	assert_string_equal(text_at(j, "upstreams.0.servers.1.peers.0.state"), "failed");
	assert_true(json_is_string(at(j, "upstreams.0.servers.1.peers.0.unavailable_since")));
	assert_string_equal(text_at(j, "upstreams.0.servers.2.peers.0.state"), "down");
	assert_true(json_is_true(at(j, "upstreams.0.servers.3.backup")));
	assert_string_equal(text_at(j, "upstreams.1.servers.0.resolve"), "failed");
	assert_string_equal(text_at(j, "upstreams.1.servers.0.resolve_error"), "no such name");
	assert_int_equal(json_array_size(at(j, "upstreams.1.servers.0.peers")), 0);
	assert_string_equal(text_at(j, "upstreams.2.name"), "api#2");
	assert_true(json_is_true(at(j, "upstreams.2.implicit")));
}

static void test_upstreams_none(void **state)
{
	struct rig *r = *state;
	struct reply a;

	r->env.upstreams = NULL;
	r->env.limit_zones = NULL;
	rig_start(r);
	a = rig_ask(r, "GET", "/api/v1/upstreams", "");
	assert_int_equal(json_array_size(at(rig_json(&a), "upstreams")), 0);
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
	assert_int_equal(int_at(j, "total"), 2);
	assert_string_equal(text_at(j, "bans.0.address"), "2001:db8::7");
	assert_string_equal(text_at(j, "bans.0.reason"), "newer ??[31m");
	assert_true(json_is_null(at(j, "bans.0.until")));
	assert_true(json_is_null(at(j, "bans.0.left_s")));
	assert_string_equal(text_at(j, "bans.1.address"), "192.0.2.1");
	assert_true(int_at(j, "bans.1.left_s") > 50 && int_at(j, "bans.1.left_s") <= 60);
	assert_int_equal(int_at(j, "bans.1.rule_id"), 77);
	a = rig_ask(r, "GET", "/api/v1/bans?limit=1", "");
	assert_int_equal(json_array_size(at(rig_json(&a), "bans")), 1);
	assert_int_equal(int_at(rig_json(&a), "total"), 2);
	a = rig_ask(r, "GET", "/api/v1/bans?limit=10001", "");
	rig_assert_error(&a, 400, "bad_request");
	a = rig_ask(r, "GET", "/api/v1/bans/192.0.2.1", "");
	assert_string_equal(text_at(rig_json(&a), "reason"), "older");
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
	static const char *const bad[] = {"0", "1001", "-1", "x", "", "1e2", "99999999999999999999"};
	char path[64];
	struct reply a;

	rig_start(r);
	a = rig_ask(r, "GET", "/api/v1/sources?top=5", "");
	assert_int_equal(a.status, 200);
	assert_string_equal(text_at(rig_json(&a), "guard"), "off: no permission");
	assert_int_equal(json_array_size(at(rig_json(&a), "sources")), 0);
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
	assert_non_null(strcasestr(a.raw, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
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
	assert_line(a.body, "sluice_upstream_peer_response_seconds_total{upstream=\"we\\\"ird\\\\na?me\","
			    "peer=\"127.0.0.1:8001\"} 1.2");
	assert_line(a.body, "sluice_upstream_peer_up{upstream=\"api#2\",peer=\"unix:/tmp/up.sock\"} 1");
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
	assert_int_equal(sscanf(strstr(policy, "script-src"), "script-src 'nonce-%32[0-9a-f]'", nonce), 1);
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

/* ---- changing ---- */

static void test_ban(void **state)
{
	struct rig *r = *state;
	struct reply a;
	struct msg m;
	json_t *j;
	int fd;

	rig_start(r);
	fd = rig_dial_unix(r);
	rig_request(fd, "POST", "/api/v1/bans", "",
		    "{\"address\":\"::ffff:192.0.2.9\",\"for\":\"10m\",\"reason\":\"scraper \\u00e9\"}");
	m = rig_take(r);
	assert_int_equal(m.type, MSG_BAN);
	assert_int_not_equal(m.id, 0);
	assert_int_equal(m.ban.family, 4);
	assert_memory_equal(m.ban.bytes, "\xc0\x00\x02\x09\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(m.ban.manual, 1);
	assert_int_equal(m.ban.rule_id, 0);
	assert_int_equal(m.ban.for_ms, 600000);
	assert_string_equal(m.ban.reason, "scraper \xc3\xa9");
	rig_ban(r, "192.0.2.9", 600000, 0, m.ban.reason);
	rig_answer(r, m.id + 1000, -SL_EPERM, "for nobody");
	rig_answer(r, m.id, 0, "");
	a = rig_read(fd);
	close(fd);
	assert_int_equal(a.status, 201);
	assert_non_null(strcasestr(a.raw, "\r\nLocation: /api/v1/bans/192.0.2.9\r\n"));
	j = rig_json(&a);
	assert_string_equal(text_at(j, "address"), "192.0.2.9");
	assert_string_equal(text_at(j, "reason"), "scraper \xc3\xa9");
	assert_true(int_at(j, "left_s") > 590);
	assert_non_null(strstr(rig_log(r), "ban of 192.0.2.9 asked for by uid "));
}

static void test_ban_forever(void **state)
{
	struct rig *r = *state;
	struct reply a;
	struct msg m;

	rig_start(r);
	a = rig_ask_master(r, "POST", "/api/v1/bans",
			   "{\"address\":\"2001:db8::1\",\"for\":\"forever\"}", 0, "", &m);
	assert_int_equal(a.status, 201);
	assert_int_equal(m.ban.family, 6);
	assert_int_equal(m.ban.for_ms, 0);
	/* The master took it, the table does not show it yet. */
	assert_string_equal(text_at(rig_json(&a), "address"), "2001:db8::1");
	assert_true(json_is_null(at(rig_json(&a), "left_s")));
}

static void test_ban_bad(void **state)
{
	static const char *const bodies[] = {
		"", "{", "[]", "null", "\"x\"", "{}",
		"{\"address\":\"192.0.2.1\"}",
		"{\"for\":\"10m\"}",
		"{\"address\":\"192.0.2.1\",\"for\":600}",
		"{\"address\":\"192.0.2.1\",\"for\":\"0\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"-5s\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"10 minutes\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"11y\"}",
		"{\"address\":\"192.0.2.0/24\",\"for\":\"10m\"}",
		"{\"address\":\"host.example\",\"for\":\"10m\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"10m\",\"until\":\"x\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"10m\",\"reason\":7}",
		"{\"address\":\"192.0.2.1\",\"for\":\"10m\",\"reason\":\"a\\nb\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"10m\",\"for\":\"20m\"}",
		"{\"address\":\"192.0.2.1\\u0000\",\"for\":\"10m\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"10m\"} x",
	};
	struct rig *r = *state;
	char body[512], reason[128];
	struct reply a;
	struct msg m;

	rig_start(r);
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		a = rig_ask(r, "POST", "/api/v1/bans", bodies[i]);
		if (a.status != 400)
			fail_msg("%d for %s", a.status, bodies[i]);
		rig_assert_error(&a, 400, "bad_request");
	}
	memset(reason, 'r', sizeof reason);
	reason[96] = 0;
	snprintf(body, sizeof body, "{\"address\":\"192.0.2.1\",\"for\":\"10m\",\"reason\":\"%s\"}", reason);
	a = rig_ask(r, "POST", "/api/v1/bans", body);
	rig_assert_error(&a, 400, "bad_request");
	assert_int_equal(msg_recv(r->channel, &m), -SL_EAGAIN);
	reason[95] = 0;
	snprintf(body, sizeof body, "{\"address\":\"192.0.2.1\",\"for\":\"10m\",\"reason\":\"%s\"}", reason);
	a = rig_ask_master(r, "POST", "/api/v1/bans", body, 0, "", &m);
	assert_int_equal(a.status, 201);
	assert_string_equal(m.ban.reason, reason);
}

static void test_ban_refused(void **state)
{
	static const struct {
		int result, status;
		const char *code;
	} rows[] = {
		{-SL_EPERM, 409, "refused"},	{-SL_EEXIST, 409, "refused"},
		{-SL_ELIMIT, 503, "full"},	{-SL_EINVAL, 400, "bad_request"},
		{-SL_ESYS, 500, "internal"},	{-12345, 500, "internal"},
	};
	struct rig *r = *state;
	struct reply a;
	struct msg m;

	rig_start(r);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		a = rig_ask_master(r, "POST", "/api/v1/bans", "{\"address\":\"10.0.0.1\",\"for\":\"1h\"}",
				   rows[i].result, "10.0.0.1 is in the allow list", &m);
		rig_assert_error(&a, rows[i].status, rows[i].code);
		assert_non_null(strstr(a.body, "10.0.0.1 is in the allow list"));
	}
	assert_null(strstr(rig_log(r), "asked for by"));
}

static void test_unban(void **state)
{
	struct rig *r = *state;
	struct reply a;
	struct msg m;

	rig_start(r);
	a = rig_ask_master(r, "DELETE", "/api/v1/bans/2001:DB8::1", "", 0, "", &m);
	assert_int_equal(a.status, 204);
	assert_int_equal(a.body_len, 0);
	assert_int_equal(m.type, MSG_UNBAN);
	assert_int_equal(m.ban.family, 6);
	a = rig_ask_master(r, "DELETE", "/api/v1/bans/192.0.2.1", "", -SL_ENOTFOUND,
			   "", &m);
	rig_assert_error(&a, 404, "not_found");
	assert_non_null(strstr(a.body, "that address is not banned"));
	assert_int_equal(m.ban.family, 4);
	a = rig_ask(r, "DELETE", "/api/v1/bans/192.0.2.0%2F24", "");
	rig_assert_error(&a, 400, "bad_request");
}

static void test_reload(void **state)
{
	struct rig *r = *state;
	struct reply a;
	struct msg m;

	rig_start(r);
	a = rig_ask_master(r, "POST", "/api/v1/reload", "", -SL_EINVAL,
			   "unknown directive \"foo\" in /etc/sluice.conf:7", &m);
	assert_int_equal(m.type, MSG_RELOAD);
	rig_assert_error(&a, 400, "bad_request");
	assert_non_null(strstr(a.body, "sluice.conf:7"));
	a = rig_ask(r, "POST", "/api/v1/reload", "{}");
	rig_assert_error(&a, 400, "bad_request");
}

/* A reload that works ends this process: the answer still gets out. */
static void test_reload_and_end(void **state)
{
	struct rig *r = *state;
	struct reply a;
	struct msg m;
	int fd;

	rig_start(r);
	fd = rig_dial_unix(r);
	rig_request(fd, "POST", "/api/v1/reload", "", "");
	m = rig_take(r);
	r->stats->generation = 4;
	rig_answer(r, m.id, 0, "");
	rig_close_channel(r);
	a = rig_read(fd);
	assert_int_equal(a.status, 200);
	assert_int_equal(int_at(rig_json(&a), "generation"), 4);
	close(fd);
	assert_int_equal(rig_wait(r), 0);
	/* The listening sockets live on, for the next process. */
	rig_start(r);
	a = rig_ask(r, "GET", "/api/v1/status", "");
	assert_int_equal(a.status, 200);
	a = rig_exchange(rig_dial_tcp(r), "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
	assert_int_equal(a.status, 200);
}

/* As the master does it: told to end first, answered then. */
static void test_reload_after_quit(void **state)
{
	struct msg quit = {.type = MSG_QUIT}, m;
	struct rig *r = *state;
	int fd;

	rig_start(r);
	fd = rig_dial_unix(r);
	rig_request(fd, "POST", "/api/v1/reload", "", "");
	m = rig_take(r);
	assert_int_equal(msg_send(r->channel, &quit), 0);
	usleep(100000);
	rig_answer(r, m.id, 0, "");
	assert_int_equal(rig_read(fd).status, 200);
	close(fd);
	assert_int_equal(rig_wait(r), 0);
}

static void test_master_silent(void **state)
{
	struct rig *r = *state;
	struct reply a;
	struct msg m;

	r->env.limits.master_timeout_ms = 200;
	rig_start(r);
	a = rig_ask(r, "DELETE", "/api/v1/bans/192.0.2.1", "");
	rig_assert_error(&a, 504, "timeout");
	m = rig_take(r);
	/* Too late, for nobody; and something that is no message. */
	rig_answer(r, m.id, 0, "");
	assert_int_equal(send(r->channel, "x", 1, 0), 1);
	a = rig_ask_master(r, "DELETE", "/api/v1/bans/192.0.2.1", "", 0, "", &m);
	assert_int_equal(a.status, 204);
}

static void test_master_gone(void **state)
{
	struct rig *r = *state;
	struct reply a;
	int fd;

	rig_start(r);
	fd = rig_dial_unix(r);
	rig_request(fd, "DELETE", "/api/v1/bans/192.0.2.1", "", "");
	rig_take(r);
	rig_close_channel(r);
	a = rig_read(fd);
	close(fd);
	rig_assert_error(&a, 503, "master_gone");
	assert_int_equal(rig_wait(r), 0);
}

/* Many questions at once, answered in the other order. */
static void test_master_many(void **state)
{
	enum { N = 40 };
	struct rig *r = *state;
	uint32_t ids[N];
	char path[64];
	int fds[N];

	rig_start(r);
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof path, "/api/v1/bans/192.0.2.%d", i);
		fds[i] = rig_dial_unix(r);
		rig_request(fds[i], "DELETE", path, "", "");
		ids[i] = rig_take(r).id;
	}
	for (int i = N - 1; i >= 0; i--)
		rig_answer(r, ids[i], i % 2 ? -SL_ENOTFOUND : 0, "");
	for (int i = 0; i < N; i++) {
		assert_int_equal(rig_read(fds[i]).status, i % 2 ? 404 : 204);
		close(fds[i]);
	}
}

/* ---- who may ask ---- */

static int status_tcp(struct rig *r, const char *method, const char *path, const char *headers)
{
	char text[2048];

	snprintf(text, sizeof text, "%s %s HTTP/1.1\r\n%s\r\n", method, path, headers);
	return rig_exchange(rig_dial_tcp(r), text).status;
}

static void test_token(void **state)
{
	static const char *const paths[] = {"/metrics", "/api/v1/status", "/api/v1/upstreams",
					    "/api/v1/bans", "/api/v1/sources", "/api/v1/bans/1.2.3.4",
					    "/nothing", "/index.html", "//"};
	static const char *const wrong[] = {
		"", "Authorization: Bearer\r\n", "Authorization: Bearer \r\n",
		"Authorization: Bearer wrong-secret\r\n",
		"Authorization: Bearer correct-horse-battery-stapl\r\n",
		"Authorization: Bearer correct-horse-battery-staplee\r\n",
		"Authorization: Basic correct-horse-battery-staple\r\n",
		"Authorization: correct-horse-battery-staple\r\n",
		"X-Authorization: Bearer correct-horse-battery-staple\r\n",
	};
	struct rig *r = *state;
	char headers[256];
	struct reply a;
	struct msg m;

	rig_start(r);
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
		for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
			snprintf(headers, sizeof headers, "Host: 127.0.0.1\r\n%s", wrong[k]);
			assert_int_equal(status_tcp(r, "GET", paths[i], headers), 401);
		}
	assert_int_equal(status_tcp(r, "POST", "/api/v1/reload", "Host: 127.0.0.1\r\n"), 401);
	assert_int_equal(status_tcp(r, "DELETE", "/api/v1/bans/1.2.3.4", "Host: 127.0.0.1\r\n"), 401);
	assert_int_equal(status_tcp(r, "POST", "/", "Host: 127.0.0.1\r\n"), 401);
	assert_int_equal(msg_recv(r->channel, &m), -SL_EAGAIN);
	a = rig_exchange(rig_dial_tcp(r), "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
	rig_assert_error(&a, 401, "unauthorized");
	assert_non_null(strcasestr(a.raw, "\r\nWWW-Authenticate: Bearer realm=\"sluice\"\r\n"));
	assert_int_equal(status_tcp(r, "GET", "/metrics", "Host: 127.0.0.1\r\nAuthorization: Bearer "
							  RIG_TOKEN "\r\n"), 200);
	assert_int_equal(status_tcp(r, "GET", "/nothing", "Host: 127.0.0.1\r\nauthorization: bearer  "
							  RIG_TOKEN " \r\n"), 404);
	a = rig_exchange(rig_dial_tcp(r), "HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
	assert_int_equal(a.status, 200);
	assert_int_equal(a.body_len, 0);
	/* Said in the log, without what was sent or is meant. */
	assert_non_null(strstr(rig_log(r), "a request without a token refused, client: 127.0.0.1"));
	assert_null(strstr(rig_log(r), "wrong-secret"));
	assert_null(strstr(rig_log(r), RIG_TOKEN));
}

static void test_no_token_no_tcp(void **state)
{
	struct rig *r = *state;

	r->conf.token = NULL;
	r->conf.token_len = 0;
	rig_start(r);
	assert_int_equal(status_tcp(r, "GET", "/metrics", "Host: 127.0.0.1\r\nAuthorization: Bearer \r\n"),
			 401);
	assert_int_equal(rig_ask(r, "GET", "/metrics", "").status, 200);
}

static void test_host(void **state)
{
	static const char *const good[] = {"127.0.0.1", "127.0.0.1:9901", "localhost", "LOCALHOST:9901",
					   "[::1]", "[::1]:9901", "192.0.2.1"};
	static const char *const bad[] = {"evil.example", "evil.example:9901", "localhost.evil.example",
					  "127.0.0.1.evil.example", "127.0.0.1, evil.example", "::1",
					  "user@127.0.0.1", "127.0.0.1:0", ""};
	struct rig *r = *state;
	char headers[256];
	struct reply a;

	rig_start(r);
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		snprintf(headers, sizeof headers, "Host: %s\r\n", good[i]);
		assert_int_equal(status_tcp(r, "GET", "/", headers), 200);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(headers, sizeof headers, "Host: %s\r\nAuthorization: Bearer " RIG_TOKEN "\r\n",
			 bad[i]);
		assert_int_equal(status_tcp(r, "GET", "/metrics", headers), 403);
	}
	assert_int_equal(status_tcp(r, "GET", "/", "Host: 127.0.0.1\r\nHost: evil.example\r\n"), 403);
	assert_int_equal(status_tcp(r, "GET", "/", ""), 400);
	a = rig_exchange(rig_dial_tcp(r), "GET / HTTP/1.0\r\n\r\n");
	rig_assert_error(&a, 403, "bad_host");
	/* A unix socket has no pages of others to fear. */
	a = rig_exchange(rig_dial_unix(r), "GET /metrics HTTP/1.1\r\nHost: sluice\r\n\r\n");
	assert_int_equal(a.status, 200);
}

static void test_methods(void **state)
{
	struct rig *r = *state;
	struct reply a;

	rig_start(r);
	a = rig_ask(r, "DELETE", "/api/v1/bans", "");
	rig_assert_error(&a, 405, "method_not_allowed");
	assert_non_null(strcasestr(a.raw, "\r\nAllow: GET, HEAD, POST\r\n"));
	a = rig_ask(r, "PUT", "/api/v1/bans/1.2.3.4", "");
	assert_non_null(strcasestr(a.raw, "\r\nAllow: GET, HEAD, DELETE\r\n"));
	a = rig_ask(r, "GET", "/api/v1/reload", "");
	rig_assert_error(&a, 405, "method_not_allowed");
	a = rig_ask(r, "POST", "/metrics", "{}");
	rig_assert_error(&a, 405, "method_not_allowed");
	a = rig_ask(r, "GET", "/api/v1", "");
	rig_assert_error(&a, 404, "not_found");
	a = rig_ask(r, "GET", "/api/v1/bans/", "");
	rig_assert_error(&a, 404, "not_found");
	a = rig_ask(r, "GET", "/metrics/%ff%1b", "");
	rig_assert_error(&a, 404, "not_found");
}

/* ---- clients that are large, slow or many ---- */

static void test_large(void **state)
{
	struct rig *r = *state;
	char *big = rig_keep(calloc(1, 3 << 20));
	const char *text;
	struct reply a;
	struct msg m;
	int fd;

	rig_start(r);
	memset(big, ' ', 65536);
	text = "{\"address\":\"192.0.2.1\",\"for\":\"1m\"";
	memcpy(big, text, strlen(text));
	big[65535] = '}';
	a = rig_ask_master(r, "POST", "/api/v1/bans", big, 0, "", &m);
	assert_int_equal(a.status, 201);
	big[65536] = ' ';
	a = rig_ask(r, "POST", "/api/v1/bans", big);
	rig_assert_error(&a, 413, "too_large");
	/* Announced only: refused before a byte of it came. */
	a = rig_exchange(rig_dial_unix(r), "POST /api/v1/bans HTTP/1.1\r\nHost: x\r\n"
					   "Content-Length: 99999999999\r\n\r\n");
	rig_assert_error(&a, 413, "too_large");
	/* Without a length: read to a bound, never kept. */
	fd = rig_dial_unix(r);
	text = "POST /api/v1/bans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
	rig_send(fd, text, strlen(text));
	memset(big, 'x', 3 << 20);
	memcpy(big, "300000\r\n", 8);
	rig_send(fd, big, 3 << 20);
	assert_int_equal(rig_read(fd).status, 0);
	close(fd);
	/* A head that is too long. */
	text = "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Big: ";
	memcpy(big, text, strlen(text));
	memcpy(big + 60000, "\r\n\r\n", 5);
	a = rig_exchange(rig_dial_unix(r), big);
	assert_true(a.status == 0 || (a.status >= 400 && a.status < 500));
	a = rig_ask(r, "GET", "/api/v1/status", "");
	assert_int_equal(a.status, 200);
}

/* Bytes that keep coming do not keep a request alive. */
static void test_slow(void **state)
{
	struct rig *r = *state;
	const char *text = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
	uint64_t began_ms = clock_mono_ms();
	struct pollfd p;
	char c;

	r->env.limits.request_timeout_ms = 600;
	rig_start(r);
	p = (struct pollfd){.fd = rig_dial_tcp(r), .events = POLLIN};
	rig_send(p.fd, text, strlen(text));
	while (poll(&p, 1, 50) == 0 && clock_mono_ms() < began_ms + RIG_WAIT_MS)
		rig_send(p.fd, "x", 1);
	assert_true(recv(p.fd, &c, 1, 0) <= 0);
	assert_true(clock_mono_ms() - began_ms >= 500);
	assert_true(clock_mono_ms() - began_ms < 3000);
	close(p.fd);
	assert_int_equal(rig_ask(r, "GET", "/api/v1/status", "").status, 200);
}

static void test_keepalive(void **state)
{
	const char *text = "GET /api/v1/bans HTTP/1.1\r\nHost: x\r\n\r\n";
	struct rig *r = *state;
	struct msg m;
	int fd;

	rig_start(r);
	fd = rig_dial_unix(r);
	for (int i = 0; i < 5; i++) {
		rig_send(fd, text, strlen(text));
		assert_int_equal(rig_read(fd).status, 200);
		rig_request(fd, "DELETE", "/api/v1/bans/192.0.2.1", "", "");
		m = rig_take(r);
		rig_answer(r, m.id, 0, "");
		assert_int_equal(rig_read(fd).status, 204);
	}
	close(fd);
}

/* A crowd over TCP leaves the socket usable, and is served once there is room. */
static void test_crowd(void **state)
{
	enum { MAX = 4, N = 10 };
	const char *text = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
	struct rig *r = *state;
	struct pollfd p;
	int fds[N];

	r->env.limits.max_clients = MAX;
	rig_start(r);
	for (int i = 0; i < N; i++) {
		fds[i] = rig_dial_tcp(r);
		if (i >= MAX)
			rig_send(fds[i], text, strlen(text));
	}
	assert_int_equal(rig_ask(r, "GET", "/api/v1/status", "").status, 200);
	for (int i = MAX; i < N; i++) {
		p = (struct pollfd){.fd = fds[i], .events = POLLIN};
		assert_int_equal(poll(&p, 1, 30), 0);
	}
	for (int i = 0; i < N; i++) {
		if (i >= MAX)
			assert_int_equal(rig_read(fds[i]).status, 200);
		close(fds[i]);
	}
}

/* A client that leaves while the master thinks. */
static void test_leaves(void **state)
{
	struct rig *r = *state;
	struct msg m;
	int fd;

	rig_start(r);
	for (int i = 0; i < 3; i++) {
		fd = rig_dial_unix(r);
		rig_request(fd, "DELETE", "/api/v1/bans/192.0.2.1", "", "");
		m = rig_take(r);
		close(fd);
		rig_answer(r, m.id, 0, "");
	}
	assert_int_equal(rig_ask(r, "GET", "/api/v1/status", "").status, 200);
}

/* ---- the end ---- */

static void end_by_signal(struct rig *r, int signo)
{
	rig_start(r);
	assert_int_equal(rig_ask(r, "GET", "/api/v1/status", "").status, 200);
	kill(r->pid, SIGHUP);
	kill(r->pid, SIGUSR1);
	assert_int_equal(rig_ask(r, "GET", "/api/v1/status", "").status, 200);
	kill(r->pid, signo);
	assert_int_equal(rig_wait(r), 0);
}

static void test_term(void **state)
{
	end_by_signal(*state, SIGTERM);
}

static void test_quit(void **state)
{
	end_by_signal(*state, SIGQUIT);
}

static void test_term_waiting(void **state)
{
	struct rig *r = *state;
	int fd;

	rig_start(r);
	fd = rig_dial_unix(r);
	rig_request(fd, "DELETE", "/api/v1/bans/192.0.2.1", "", "");
	rig_take(r);
	kill(r->pid, SIGTERM);
	assert_int_equal(rig_wait(r), 0);
	close(fd);
}

static void test_msg_quit(void **state)
{
	struct msg m = {.type = MSG_QUIT};
	struct rig *r = *state;
	struct reply a;
	int fd;

	rig_start(r);
	fd = rig_dial_unix(r);
	rig_request(fd, "DELETE", "/api/v1/bans/192.0.2.1", "", "");
	rig_take(r);
	assert_int_equal(msg_send(r->channel, &m), 0);
	/* The master does not answer any more: who waits is told. */
	a = rig_read(fd);
	rig_assert_error(&a, 503, "master_gone");
	close(fd);
	assert_int_equal(rig_wait(r), 0);
}

static void test_reopen(void **state)
{
	struct msg m = {.type = MSG_REOPEN};
	struct rig *r = *state;
	char moved[80];
	int fd = -1;

	rig_start(r);
	snprintf(moved, sizeof moved, "%s.1", r->log_path);
	assert_int_equal(rename(r->log_path, moved), 0);
	assert_int_equal(msg_send(r->channel, &m), 0);
	for (int ms = 0; ms < RIG_WAIT_MS && fd < 0; ms += 10) {
		usleep(10000);
		fd = open(r->log_path, O_RDONLY);
	}
	unlink(moved);
	assert_true(fd >= 0);
	close(fd);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_status), T(test_upstreams), T(test_upstreams_none), T(test_bans_list),
		T(test_sources_off), T(test_metrics), cmocka_unit_test(test_prom_checker), T(test_page),
		T(test_ban), T(test_ban_forever), T(test_ban_bad), T(test_ban_refused), T(test_unban),
		T(test_reload), T(test_reload_and_end), T(test_reload_after_quit), T(test_master_silent), T(test_master_gone),
		T(test_master_many), T(test_token), T(test_no_token_no_tcp), T(test_host),
		T(test_methods), T(test_large), T(test_slow), T(test_keepalive), T(test_crowd),
		T(test_leaves), T(test_term), T(test_quit), T(test_term_waiting), T(test_msg_quit),
		T(test_reopen),
	};
#undef T

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
