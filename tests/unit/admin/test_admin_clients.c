/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may ask, and clients that ask badly: wrong methods, large, slow, many, gone. */
#include "rig.h"

static int status_tcp(struct rig *r, const char *method, const char *path, const char *headers)
{
	char text[2048];

	snprintf(text, sizeof text, "%s %s HTTP/1.1\r\n%s\r\n", method, path, headers);
	return rig_exchange(rig_dial_tcp(r), text).status;
}

static void test_token(void **state)
{
	static const char *const paths[] = {
		"/metrics",	"/api/v1/status",  "/api/v1/upstreams",
		"/api/v1/bans", "/api/v1/sources", "/api/v1/bans/1.2.3.4",
		"/nothing",	"/index.html",	   "//"};
	static const char *const wrong[] = {
		"",
		"Authorization: Bearer\r\n",
		"Authorization: Bearer \r\n",
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
	assert_int_equal(status_tcp(r, "DELETE", "/api/v1/bans/1.2.3.4", "Host: 127.0.0.1\r\n"),
			 401);
	assert_int_equal(status_tcp(r, "POST", "/", "Host: 127.0.0.1\r\n"), 401);
	assert_int_equal(msg_recv(r->channel, &m), -SL_EAGAIN);
	a = rig_exchange(rig_dial_tcp(r), "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
	rig_assert_error(&a, 401, "unauthorized");
	assert_non_null(strcasestr(a.raw, "\r\nWWW-Authenticate: Bearer realm=\"sluice\"\r\n"));
	assert_int_equal(status_tcp(r, "GET", "/metrics",
				    "Host: 127.0.0.1\r\nAuthorization: Bearer " RIG_TOKEN "\r\n"),
			 200);
	assert_int_equal(status_tcp(r, "GET", "/nothing",
				    "Host: 127.0.0.1\r\nauthorization: bearer  " RIG_TOKEN " \r\n"),
			 404);
	a = rig_exchange(rig_dial_tcp(r),
			 "HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
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
	assert_int_equal(
		status_tcp(r, "GET", "/metrics", "Host: 127.0.0.1\r\nAuthorization: Bearer \r\n"),
		401);
	assert_int_equal(rig_ask(r, "GET", "/metrics", "").status, 200);
}

static void test_host(void **state)
{
	static const char *const good[] = {"127.0.0.1",	     "127.0.0.1:9901", "localhost",
					   "LOCALHOST:9901", "[::1]",	       "[::1]:9901",
					   "192.0.2.1"};
	static const char *const bad[] = {"evil.example",
					  "evil.example:9901",
					  "localhost.evil.example",
					  "127.0.0.1.evil.example",
					  "127.0.0.1, evil.example",
					  "::1",
					  "user@127.0.0.1",
					  "127.0.0.1:0",
					  ""};
	struct rig *r = *state;
	char headers[256];
	struct reply a;

	rig_start(r);
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		snprintf(headers, sizeof headers, "Host: %s\r\n", good[i]);
		assert_int_equal(status_tcp(r, "GET", "/", headers), 200);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(headers, sizeof headers,
			 "Host: %s\r\nAuthorization: Bearer " RIG_TOKEN "\r\n", bad[i]);
		assert_int_equal(status_tcp(r, "GET", "/metrics", headers), 403);
	}
	assert_int_equal(status_tcp(r, "GET", "/", "Host: 127.0.0.1\r\nHost: evil.example\r\n"),
			 403);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_token),	  RIG_TEST(test_no_token_no_tcp), RIG_TEST(test_host),
		RIG_TEST(test_methods),	  RIG_TEST(test_large),		  RIG_TEST(test_slow),
		RIG_TEST(test_keepalive), RIG_TEST(test_crowd),		  RIG_TEST(test_leaves),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
