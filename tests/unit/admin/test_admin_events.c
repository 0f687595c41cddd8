/* SPDX-License-Identifier: BSD-2-Clause */
/* /api/v1/events as a client sees it, line by line: what is said of an event, where a watcher begins,
 * what it is told when it was too slow, how many there may be, and how its stream ends. */
#include "rig.h"

#define GET "GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n"

/* A watcher's connection. */
struct stream {
	int fd, status;
	size_t n, at;
	char text[1 << 18];
};

static struct stream *streams[64];
static int n_streams;

static void forget_streams(void)
{
	while (n_streams) {
		struct stream *s = streams[--n_streams];

		close(s->fd);
		free(s);
	}
}

/* The next line, without its end; NULL at the end of the stream. Fails when nothing comes. */
static char *line(struct stream *s)
{
	for (;;) {
		char *start = s->text + s->at, *end = memchr(start, '\n', s->n - s->at);
		struct pollfd p = {.fd = s->fd, .events = POLLIN};
		ssize_t got;

		if (end) {
			s->at = (size_t)(end + 1 - s->text);
			*end = 0;
			if (end > start && end[-1] == '\r')
				end[-1] = 0;
			return start;
		}
		memmove(s->text, start, s->n - s->at);
		s->n -= s->at;
		s->at = 0;
		if (poll(&p, 1, RIG_WAIT_MS) != 1)
			fail_msg("no line came");
		got = recv(s->fd, s->text + s->n, sizeof s->text - s->n, 0);
		if (got <= 0)
			return NULL;
		s->n += (size_t)got;
	}
}

static struct stream *begin(struct rig *r, const char *request)
{
	struct stream *s = calloc(1, sizeof *s);
	char *at;

	streams[n_streams++] = s;
	s->fd = rig_dial_unix(r);
	rig_send(s->fd, request, strlen(request));
	at = line(s);
	if (!at)
		return s;
	assert_int_equal(sscanf(at, "HTTP/1.%*d %d", &s->status), 1);
	while (at && at[0])
		at = line(s);
	return s;
}

/* Up to and with the greeting, which has the number that the watcher stands behind. */
static struct stream *watch(struct rig *r, const char *request, const char *id)
{
	struct stream *s = begin(r, request);
	char want[64];

	assert_int_equal(s->status, 200);
	assert_string_equal(line(s), "retry: 1000");
	snprintf(want, sizeof want, "id: %s", id);
	assert_string_equal(line(s), want);
	assert_string_equal(line(s), "");
	return s;
}

/* The data of the next event, which must be of KIND; comments are passed over. */
static json_t *next(struct stream *s, const char *kind)
{
	char id[64] = "", name[64] = "";
	json_error_t error;
	json_t *j = NULL;
	char *at;

	while ((at = line(s))) {
		if (at[0] == 0 && j)
			break;
		if (strncmp(at, "id: ", 4) == 0)
			snprintf(id, sizeof id, "%s", at + 4);
		if (strncmp(at, "event: ", 7) == 0)
			snprintf(name, sizeof name, "%s", at + 7);
		if (strncmp(at, "data: ", 6) == 0)
			j = json_loads(at + 6, JSON_REJECT_DUPLICATES, &error);
	}
	assert_non_null(j);
	assert_true(rig_kept.n_json < RIG_KEPT_MAX);
	rig_kept.json[rig_kept.n_json++] = j;
	assert_string_equal(name, kind);
	assert_string_equal(json_string_value(rig_at(j, "event")), kind);
	if (strcmp(kind, "gap"))
		assert_string_equal(json_string_value(rig_at(j, "id")), id);
	return j;
}

static void put(struct rig *r, uint64_t packets)
{
	struct event e = {.wall_ms = 1795392000250ull,
			  .kind = EVENT_DROP,
			  .packets = packets,
			  .rule_id = 0x0a0b0c0d,
			  .verdict = GUARD_DROP_NET,
			  .is_dry_run = 1,
			  .family = 4,
			  .prefix_len = 24,
			  .addr = {203, 0, 113, 9},
			  .ifname = "eth0"};

	event_ring_put(r->events, &e);
}

static void assert_text(json_t *j, const char *key, const char *value)
{
	assert_string_equal(json_string_value(rig_at(j, key)), value);
}

static void test_drop(void **state)
{
	struct rig *r = *state;
	struct stream *s;
	json_t *j;

	rig_start(r);
	put(r, 1);
	s = watch(r, GET "\r\n", "e0c-1");
	put(r, 12);
	j = next(s, "drop");
	assert_text(j, "id", "e0c-2");
	assert_text(j, "time", "2026-11-23T00:00:00.250Z");
	assert_text(j, "address", "203.0.113.9");
	assert_text(j, "network", "203.0.113.0/24");
	assert_text(j, "verdict", "drop_net");
	assert_text(j, "rule", "0a0b0c0d");
	assert_text(j, "interface", "eth0");
	assert_int_equal(rig_int(j, "packets"), 12);
	assert_true(json_is_true(rig_at(j, "dry_run")));
	forget_streams();
}

static void test_ban(void **state)
{
	struct event e = {.wall_ms = 1,
			  .kind = EVENT_BAN,
			  .for_ms = 59001,
			  .rule_id = 0xffffffff,
			  .is_manual = 1,
			  .in_kernel = 1,
			  .family = 6,
			  .prefix_len = 128,
			  .addr = {0x20, 1, 0xd, 0xb8, [15] = 9},
			  .text = "a \"reason\"\nevent: drop\xff"};
	struct rig *r = *state;
	struct stream *s;
	json_t *j;

	rig_start(r);
	s = watch(r, GET "\r\n", "e0c-0");
	event_ring_put(r->events, &e);
	e.for_ms = 0;
	event_ring_put(r->events, &e);
	e.kind = EVENT_BAN_LIFTED;
	event_ring_put(r->events, &e);
	e = (struct event){.kind = EVENT_GUARD_ON, .ifname = "veth0", .text = "native mode"};
	event_ring_put(r->events, &e);
	j = next(s, "ban");
	assert_text(j, "address", "2001:db8::9");
	assert_text(j, "rule", "ffffffff");
	assert_text(j, "reason", "a \"reason\"?event: drop?");
	assert_int_equal(rig_int(j, "for_s"), 60);
	assert_true(json_is_true(rig_at(j, "manual")) && json_is_true(rig_at(j, "in_kernel")));
	j = next(s, "ban");
	assert_true(json_is_null(rig_at(j, "for_s")));
	j = next(s, "ban_lifted");
	assert_null(json_object_get(j, "for_s"));
	j = next(s, "guard_on");
	assert_text(j, "interface", "veth0");
	assert_text(j, "text", "native mode");
	assert_null(json_object_get(j, "address"));
	forget_streams();
}

static void test_where_it_begins(void **state)
{
	struct rig *r = *state;
	struct stream *s;
	json_t *j;

	for (uint64_t i = 1; i <= 10; i++)
		put(r, i);
	rig_start(r);
	s = watch(r, "GET /api/v1/events?last=3 HTTP/1.0\r\nHost: a\r\n\r\n", "e0c-7");
	assert_int_equal(rig_int(next(s, "drop"), "packets"), 8);
	s = watch(r, "GET /api/v1/events?last=2000 HTTP/1.0\r\nHost: a\r\n\r\n", "e0c-0");
	assert_int_equal(rig_int(next(s, "drop"), "packets"), 1);
	/* Behind what it had. */
	s = watch(r, GET "Last-Event-ID: e0c-4\r\n\r\n", "e0c-4");
	assert_int_equal(rig_int(next(s, "drop"), "packets"), 5);
	s = watch(r, GET "Last-Event-ID: e0c-10\r\n\r\n", "e0c-10");
	put(r, 11);
	assert_int_equal(rig_int(next(s, "drop"), "packets"), 11);
	/* Of another master's ring, or of the future: nobody knows what was missed. */
	s = watch(r, GET "Last-Event-ID: e0b-4\r\n\r\n", "e0c-0");
	j = next(s, "gap");
	assert_true(json_is_null(rig_at(j, "lost")));
	assert_int_equal(rig_int(next(s, "drop"), "packets"), 1);
	s = watch(r, GET "Last-Event-ID: e0c-99\r\n\r\n", "e0c-0");
	j = next(s, "gap");
	assert_true(json_is_null(rig_at(j, "lost")));
	forget_streams();
}

static void test_bad_requests(void **state)
{
	static const char *const wrong[] = {
		"GET /api/v1/events?last=0 HTTP/1.0\r\n\r\n",
		"GET /api/v1/events?last=x HTTP/1.0\r\n\r\n",
		"GET /api/v1/events?last=99999 HTTP/1.0\r\n\r\n",
		GET "Last-Event-ID: x\r\n\r\n",
		GET "Last-Event-ID: e0c\r\n\r\n",
		GET "Last-Event-ID: e0c-\r\n\r\n",
		GET "Last-Event-ID: e0c-1x\r\n\r\n",
		GET "Last-Event-ID: -1-1\r\n\r\n",
	};
	struct rig *r = *state;
	int fd;

	rig_start(r);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_int_equal(begin(r, wrong[i])->status, 400);
	assert_int_equal(begin(r, "HEAD /api/v1/events HTTP/1.0\r\n\r\n")->status, 200);
	assert_int_equal(begin(r, "POST /api/v1/events HTTP/1.0\r\n\r\n")->status, 405);
	fd = rig_dial_tcp(r);
	assert_int_equal(rig_exchange(fd, GET "\r\n").status, 401);
	forget_streams();
}

/* Who does not read holds up nobody, and hears how much it missed. */
static void test_slow_watcher(void **state)
{
	struct rig *r = *state;
	uint64_t n_put = 0, n_got = 0, n_lost = 0, n_seen = 0;
	struct stream *slow, *quick;
	int small = 4096;
	struct reply a;

	rig_start(r);
	slow = watch(r, GET "\r\n", "e0c-0");
	quick = watch(r, GET "\r\n", "e0c-0");
	setsockopt(slow->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	/* More than the sockets and the ring hold, at a pace that the quick one keeps. */
	for (int round = 0; round < 15; round++) {
		for (int i = 0; i < 1000; i++)
			put(r, ++n_put);
		for (int i = 0; i < 1000; i++)
			assert_int_equal(rig_int(next(quick, "drop"), "packets"), ++n_seen);
		rig_forget();
	}
	put(r, ++n_put);
	while (n_got + n_lost < n_put) {
		char *at = line(slow);
		unsigned long long n;

		assert_non_null(at);
		if (sscanf(at, "data: {\"event\":\"gap\",\"lost\":%llu}", &n) == 1)
			n_lost += n;
		else if (strncmp(at, "data: ", 6) == 0)
			n_got++;
	}
	assert_int_equal(n_got + n_lost, n_put);
	assert_true(n_lost > 0 && n_got > 0);
	a = rig_ask(r, "GET", "/api/v1/status", "");
	assert_int_equal(rig_int(rig_json(&a), "events.lost_by_watchers"), n_lost);
	assert_int_equal(rig_int(rig_json(&a), "events.total"), n_put);
	forget_streams();
}

static void test_bounded(void **state)
{
	struct rig *r = *state;
	struct stream *s[3];
	struct reply a;
	int i;

	r->env.limits.max_watchers = 2;
	rig_start(r);
	s[0] = watch(r, GET "\r\n", "e0c-0");
	s[1] = watch(r, GET "\r\n", "e0c-0");
	s[2] = begin(r, GET "\r\n");
	assert_int_equal(s[2]->status, 503);
	a = rig_ask(r, "GET", "/api/v1/status", "");
	assert_int_equal(rig_int(rig_json(&a), "events.watchers"), 2);
	/* The place of one who has gone is free soon, without any event. */
	shutdown(s[0]->fd, SHUT_RDWR);
	for (i = 0; i < 100 && s[2]->status != 200; i++) {
		usleep(100000);
		s[2] = begin(r, GET "\r\n");
	}
	assert_int_equal(s[2]->status, 200);
	put(r, 5);
	assert_int_equal(rig_int(next(s[1], "drop"), "packets"), 5);
	forget_streams();
}

static void test_heartbeat_outlives_timeouts(void **state)
{
	struct rig *r = *state;
	struct stream *s;

	r->env.limits.heartbeat_ms = 100;
	r->env.limits.request_timeout_ms = 300;
	rig_start(r);
	s = watch(r, GET "\r\n", "e0c-0");
	for (int i = 0; i < 10; i++) {
		assert_string_equal(line(s), ":");
		assert_string_equal(line(s), "");
	}
	put(r, 7);
	assert_int_equal(rig_int(next(s, "drop"), "packets"), 7);
	forget_streams();
}

/* What happened before the end is still told; the next process goes on behind it. */
static void test_end(void **state)
{
	struct msg quit = {.type = MSG_QUIT};
	struct rig *r = *state;
	struct stream *s;

	rig_start(r);
	s = watch(r, GET "\r\n", "e0c-0");
	put(r, 1);
	assert_int_equal(rig_int(next(s, "drop"), "packets"), 1);
	assert_int_equal(msg_send(r->channel, &quit), 0);
	assert_null(line(s));
	assert_int_equal(rig_wait(r), 0);
	put(r, 2);
	rig_close_channel(r);
	rig_start(r);
	s = watch(r, GET "Last-Event-ID: e0c-1\r\n\r\n", "e0c-1");
	assert_int_equal(rig_int(next(s, "drop"), "packets"), 2);
	/* TERM: at once, with a watcher asleep. */
	kill(r->pid, SIGTERM);
	assert_int_equal(rig_wait(r), 0);
	assert_null(line(s));
	forget_streams();
}

/* A browser's fetch has HTTP/1.1: chunks. */
static void test_chunks(void **state)
{
	struct rig *r = *state;
	struct stream *s;
	unsigned size;

	rig_start(r);
	s = begin(r, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(s->status, 200);
	assert_int_equal(sscanf(line(s), "%x", &size), 1);
	assert_int_equal(size, strlen("retry: 1000\nid: e0c-0\n\n"));
	assert_string_equal(line(s), "retry: 1000");
	forget_streams();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_drop),
		RIG_TEST(test_ban),
		RIG_TEST(test_where_it_begins),
		RIG_TEST(test_bad_requests),
		RIG_TEST(test_slow_watcher),
		RIG_TEST(test_bounded),
		RIG_TEST(test_heartbeat_outlives_timeouts),
		RIG_TEST(test_end),
		RIG_TEST(test_chunks),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
