/* SPDX-License-Identifier: BSD-2-Clause */
/* Bans and reload: what the master is asked, and what becomes of its answer, its refusal, its
 * silence and its end. And the end of the admin process itself. */
#include "rig.h"

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
		    "{\"address\":\"::ffff:192.0.2.9\",\"for\":\"10m\",\"reason\":\"scraper "
		    "\\u00e9\"}");
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
	assert_string_equal(rig_text(j, "address"), "192.0.2.9");
	assert_string_equal(rig_text(j, "reason"), "scraper \xc3\xa9");
	assert_true(rig_int(j, "left_s") > 590);
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
	assert_string_equal(rig_text(rig_json(&a), "address"), "2001:db8::1");
	assert_true(json_is_null(rig_at(rig_json(&a), "left_s")));
}

static void test_ban_bad(void **state)
{
	static const char *const bodies[] = {
		"",
		"{",
		"[]",
		"null",
		"\"x\"",
		"{}",
		"{\"address\":\"192.0.2.1\"}",
		"{\"for\":\"10m\"}",
		"{\"address\":\"192.0.2.1\",\"for\":600}",
		"{\"address\":\"192.0.2.1\",\"for\":\"0\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"-5s\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"10 minutes\"}",
		"{\"address\":\"192.0.2.1\",\"for\":\"11y\"}",
		"{\"address\":\"192.0.2.0/33\",\"for\":\"10m\"}",
		"{\"address\":\"0.0.0.0/0\",\"for\":\"10m\"}",
		"{\"address\":\"192.0.2.0/\",\"for\":\"10m\"}",
		"{\"address\":\"[2001:db8::1]\",\"for\":\"10m\"}",
		"{\"address\":\"\",\"for\":\"10m\"}",
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
	snprintf(body, sizeof body, "{\"address\":\"192.0.2.1\",\"for\":\"10m\",\"reason\":\"%s\"}",
		 reason);
	a = rig_ask(r, "POST", "/api/v1/bans", body);
	rig_assert_error(&a, 400, "bad_request");
	assert_int_equal(msg_recv(r->channel, &m), -SL_EAGAIN);
	reason[95] = 0;
	snprintf(body, sizeof body, "{\"address\":\"192.0.2.1\",\"for\":\"10m\",\"reason\":\"%s\"}",
		 reason);
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
		{-SL_EPERM, 409, "refused"}, {-SL_EEXIST, 409, "refused"},
		{-SL_ELIMIT, 503, "full"},   {-SL_EINVAL, 400, "bad_request"},
		{-SL_ESYS, 500, "internal"}, {-12345, 500, "internal"},
	};
	struct rig *r = *state;
	struct reply a;
	struct msg m;

	rig_start(r);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		a = rig_ask_master(r, "POST", "/api/v1/bans",
				   "{\"address\":\"10.0.0.1\",\"for\":\"1h\"}", rows[i].result,
				   "10.0.0.1 is in the allow list", &m);
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
	a = rig_ask_master(r, "DELETE", "/api/v1/bans/192.0.2.1", "", -SL_ENOTFOUND, "", &m);
	rig_assert_error(&a, 404, "not_found");
	assert_non_null(strstr(a.body, "that address is not banned"));
	assert_int_equal(m.ban.family, 4);
	a = rig_ask_master(r, "DELETE", "/api/v1/bans/192.0.2.77%2F24", "", 0, "", &m);
	assert_int_equal(a.status, 204);
	assert_int_equal(m.ban.prefix_len, 24);
	assert_int_equal(m.ban.bytes[3], 0);
	a = rig_ask(r, "DELETE", "/api/v1/bans/192.0.2.0%2F33", "");
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
	assert_int_equal(rig_int(rig_json(&a), "generation"), 4);
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
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_ban),
		RIG_TEST(test_ban_forever),
		RIG_TEST(test_ban_bad),
		RIG_TEST(test_ban_refused),
		RIG_TEST(test_unban),
		RIG_TEST(test_reload),
		RIG_TEST(test_reload_and_end),
		RIG_TEST(test_reload_after_quit),
		RIG_TEST(test_master_silent),
		RIG_TEST(test_master_gone),
		RIG_TEST(test_master_many),
		RIG_TEST(test_term),
		RIG_TEST(test_quit),
		RIG_TEST(test_term_waiting),
		RIG_TEST(test_msg_quit),
		RIG_TEST(test_reopen),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
