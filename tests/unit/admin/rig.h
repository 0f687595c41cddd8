/* SPDX-License-Identifier: BSD-2-Clause */
/* The rig of the admin tests: shared memory with known content, listeners, a child that runs
 * admin_run(), the master's end of the channel, and an HTTP client that says exactly what it is
 * told. */
#ifndef SL_TESTS_ADMIN_RIG_H
#define SL_TESTS_ADMIN_RIG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "admin/admin.h"
#include "core/clock.h"
#include "core/err.h"

#define RIG_TOKEN "correct-horse-battery-staple"

enum { RIG_WAIT_MS = 10000, RIG_ZONE_BYTES = 65536 };

struct rig {
	struct admin_env env;
	struct admin_conf conf;
	struct admin_fd listens[2];
	struct stats *stats;
	struct ban_table *bans;
	struct event_ring *events;
	struct upstream_conf upstreams[4];
	struct limit_zone_conf zone;
	struct log log;
	struct log_sink sink;
	char dir[32], socket_path[64], log_path[64], token[ADMIN_TOKEN_MAX];
	uint16_t port;
	int channel; /* the master's end */
	pid_t pid;   /* 0: not running */
	bool drop;   /* run the child as nobody */
};

struct reply {
	int status;
	char *raw, *body; /* body is within raw */
	size_t body_len;
};

/* What answers and documents hold is freed with the rig, so that tests may forget them. */
enum { RIG_KEPT_MAX = 4096 };
static struct {
	char *text[RIG_KEPT_MAX];
	json_t *json[RIG_KEPT_MAX];
	int n_text, n_json;
} rig_kept;

static inline void rig_forget(void)
{
	while (rig_kept.n_text)
		free(rig_kept.text[--rig_kept.n_text]);
	while (rig_kept.n_json)
		json_decref(rig_kept.json[--rig_kept.n_json]);
}

static inline char *rig_keep(char *text)
{
	assert_non_null(text);
	assert_true(rig_kept.n_text < RIG_KEPT_MAX);
	rig_kept.text[rig_kept.n_text++] = text;
	return text;
}

static inline void *rig_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* ---- content ---- */

static inline void rig_fill_stats(struct stats *s)
{
	s->started_wall_ms = clock_wall_ms() - 3600 * 1000;
	s->generation = 3;
	s->n_reloads = 2;
	s->n_reload_failures = 1;
	s->reloaded_wall_ms = clock_wall_ms() - 60 * 1000;
	s->n_worker_deaths = 1;
	s->master_pid = (int32_t)getpid();
	snprintf(s->guard_mode, sizeof s->guard_mode, "off: no permission");
	s->worker[0].pid = (int32_t)getpid();
	s->worker[0].generation = 3;
	s->worker[0].conns_active = 5;
	s->worker[0].requests = 100;
	s->worker[0].responses[2] = 90;
	s->worker[0].bytes_out = 123456789012ull;
	/* Workers that have ended, and one that is about to start: gauges of theirs mean nothing.
	 */
	s->retired.requests = 10;
	s->retired.responses[5] = 4;
	s->worker[2].conns_active = 1000;
	s->worker[3].pid = -1;
	s->worker[3].conns_active = 1000;
	s->worker[3].requests = 1;
}

static inline struct balance_group *rig_group(struct upstream_conf *u, uint32_t index,
					      const char *name,
					      const struct balance_server_conf *servers, uint32_t n)
{
	size_t bytes = balance_bytes(16);
	struct balance_group *g = rig_shared(bytes);

	assert_int_equal(balance_init(g, bytes, slice_cstr(name), servers, n), 0);
	u->name = slice_cstr(name);
	u->index = index;
	u->group = g;
	return g;
}

static inline void rig_fill_upstreams(struct rig *r)
{
	struct balance_server_conf one[] = {
		{.host = SLICE_INIT("127.0.0.1"),
		 .port = 8001,
		 .weight = 3,
		 .max_fails = 1,
		 .fail_timeout_s = 10},
		{.host = SLICE_INIT("127.0.0.1"),
		 .port = 8002,
		 .weight = 1,
		 .max_fails = 1,
		 .fail_timeout_s = 10},
		{.host = SLICE_INIT("127.0.0.1"), .port = 8003, .weight = 1, .down = true},
		/* The same address again: one sample, two peers. */
		{.host = SLICE_INIT("127.0.0.1"), .port = 8001, .weight = 2, .backup = true},
	};
	struct balance_server_conf named[] = {
		{.host = SLICE_INIT("llm.example"), .port = 443, .weight = 1},
	};
	struct balance_server_conf unix_one[] = {
		{.host = SLICE_INIT("unix:/tmp/up.sock"), .weight = 1},
	};
	struct balance_group *g = rig_group(&r->upstreams[0], 0, "we\"ird\\na\nme", one, 4);
	struct balance_group *h;

	g->peer[0].n_requests = 10;
	g->peer[0].n_status[2] = 8;
	g->peer[0].response_ms_total = 1200;
	g->peer[3].n_requests = 5;
	g->peer[1].n_requests = 7;
	g->peer[1].n_failures = 7;
	g->peer[1].fails = 1;
	g->peer[1].checked_s = g->peer[1].accessed_s = clock_mono_ms() / 1000;
	g->peer[1].unavailable_since_ms = clock_wall_ms() - 5000;
	h = rig_group(&r->upstreams[1], 1, "api", named, 1);
	balance_set_addrs(h, 0, NULL, 0, "no such name", clock_wall_ms());
	rig_group(&r->upstreams[2], 2, "api", unix_one, 1);
	for (int i = 0; i < 2; i++)
		r->upstreams[i].next = &r->upstreams[i + 1];
	r->upstreams[2].implicit = true;
}

static inline void rig_ban(struct rig *r, const char *ip, uint64_t for_ms, uint64_t ago_ms,
			   const char *reason)
{
	struct ban_entry e = {.since_wall_ms = clock_wall_ms() - ago_ms};
	const uint8_t *bytes;
	struct addr a;
	size_t n;

	assert_int_equal(addr_from_ip(slice_cstr(ip), 0, &a), 0);
	n = addr_bytes(&a, &bytes);
	e.net.family = n == 4 ? 4 : 6;
	memcpy(e.net.bytes, bytes, n);
	e.rule_id = 77;
	if (for_ms) {
		e.until_wall_ms = clock_wall_ms() + for_ms;
		e.until_mono_ms = clock_mono_ms() + for_ms;
	}
	snprintf(e.reason, sizeof e.reason, "%s", reason);
	assert_int_equal(ban_put(r->bans, &e), 0);
}

/* ---- life ---- */

static inline void rig_open_listeners(struct rig *r)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t n = sizeof in;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(un.sun_path, r->socket_path, strlen(r->socket_path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	assert_int_equal(listen(fd, 64), 0);
	r->listens[0] = (struct admin_fd){fd, true};
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
	r->port = ntohs(in.sin_port);
	r->listens[1] = (struct admin_fd){fd, false};
}

static inline struct rig *rig_new(void)
{
	struct rig *r = calloc(1, sizeof *r);

	strcpy(r->dir, "/tmp/sl-admin-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->socket_path, sizeof r->socket_path, "%s/admin.sock", r->dir);
	snprintf(r->log_path, sizeof r->log_path, "%s/error.log", r->dir);
	r->stats = rig_shared(sizeof *r->stats);
	r->bans = rig_shared(ban_table_bytes());
	ban_table_init(r->bans, 42);
	r->events = rig_shared(event_ring_bytes());
	event_ring_init(r->events, 0xe0c);
	rig_fill_stats(r->stats);
	rig_fill_upstreams(r);
	r->zone.name = SLICE("per_ip");
	r->zone.zone = rig_shared(RIG_ZONE_BYTES);
	limit_zone_init(r->zone.zone, RIG_ZONE_BYTES);
	r->sink = (struct log_sink){.path = r->log_path, .fd = -1};
	assert_int_equal(log_sink_open(&r->sink), 0);
	r->log.to[0].sink = &r->sink;
	r->log.to[0].level = LOG_LVL_INFO;
	r->log.n_to = 1;
	memcpy(r->token, RIG_TOKEN, strlen(RIG_TOKEN));
	r->conf.token = r->token;
	r->conf.token_len = strlen(RIG_TOKEN);
	rig_open_listeners(r);
	r->env = (struct admin_env){
		.conf = &r->conf,
		.upstreams = &r->upstreams[0],
		.limit_zones = &r->zone,
		.stats = r->stats,
		.bans = r->bans,
		.events = r->events,
		.listens = r->listens,
		.n_listens = 2,
		.log = &r->log,
		.sinks = &r->sink,
		.version = "0.1.0",
	};
	r->channel = -1;
	return r;
}

static inline void rig_start(struct rig *r)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	r->channel = pair[0];
	r->env.channel_fd = pair[1];
	fflush(NULL);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		close(pair[0]);
		if (r->drop && (setgid(65534) || setuid(65534)))
			_exit(99);
		exit(admin_run(&r->env));
	}
	close(pair[1]);
}

/* The child's exit code; -1: it did not end in time, or by a signal. */
static inline int rig_wait(struct rig *r)
{
	int status = -1;

	for (int ms = 0; ms < RIG_WAIT_MS && r->pid; ms += 10) {
		if (waitpid(r->pid, &status, WNOHANG) == r->pid) {
			r->pid = 0;
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		}
		usleep(10000);
	}
	return -1;
}

static inline void rig_close_channel(struct rig *r)
{
	if (r->channel >= 0)
		close(r->channel);
	r->channel = -1;
}

static inline void rig_free(struct rig *r)
{
	if (r->pid) {
		kill(r->pid, SIGKILL);
		waitpid(r->pid, NULL, 0);
	}
	rig_close_channel(r);
	for (int i = 0; i < 2; i++)
		close(r->listens[i].fd);
	for (int i = 0; i < 3; i++)
		munmap(r->upstreams[i].group, balance_bytes(16));
	munmap(r->zone.zone, RIG_ZONE_BYTES);
	munmap(r->stats, sizeof *r->stats);
	munmap(r->bans, ban_table_bytes());
	munmap(r->events, event_ring_bytes());
	log_sink_close(&r->sink);
	unlink(r->socket_path);
	unlink(r->log_path);
	rmdir(r->dir);
	free(r);
	rig_forget();
}

/* What the log has. */
static inline char *rig_log(struct rig *r)
{
	char *text = rig_keep(calloc(1, 1 << 20));
	int fd = open(r->log_path, O_RDONLY);
	ssize_t n = read(fd, text, (1 << 20) - 1);

	assert_true(n >= 0);
	close(fd);
	return text;
}

/* ---- the master ---- */

static inline struct msg rig_take(struct rig *r)
{
	struct pollfd p = {.fd = r->channel, .events = POLLIN};
	struct msg m;

	assert_int_equal(poll(&p, 1, RIG_WAIT_MS), 1);
	assert_int_equal(msg_recv(r->channel, &m), 1);
	return m;
}

static inline void rig_answer(struct rig *r, uint32_t id, int result, const char *text)
{
	struct msg m = {.type = MSG_REPLY, .id = id, .result = result};

	snprintf(m.text, sizeof m.text, "%s", text);
	assert_int_equal(msg_send(r->channel, &m), 0);
}

/* ---- the client ---- */

static inline int rig_dial_unix(struct rig *r)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(un.sun_path, r->socket_path, strlen(r->socket_path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
	return fd;
}

static inline int rig_dial_tcp(struct rig *r)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	in.sin_port = htons(r->port);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
	return fd;
}

static inline void rig_send(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return; /* the server may have closed: what it said is judged */
		p += sent;
		n -= (size_t)sent;
	}
}

/* Reads to the end of one answer; status 0 when the connection closed without one, -1 when nothing
 * came for RIG_WAIT_MS. */
static inline struct reply rig_read(int fd)
{
	struct reply a = {.raw = rig_keep(calloc(1, 1 << 22))};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t n = 0, want = SIZE_MAX;

	while (n < want) {
		const char *length;
		ssize_t got;

		if (poll(&p, 1, RIG_WAIT_MS) != 1) {
			a.status = -1;
			return a;
		}
		got = recv(fd, a.raw + n, (1 << 22) - 1 - n, 0);
		if (got <= 0)
			break;
		n += (size_t)got;
		a.body = strstr(a.raw, "\r\n\r\n");
		if (!a.body)
			continue;
		length = strcasestr(a.raw, "\r\nContent-Length:");
		if (length && length < a.body)
			want = (size_t)(a.body + 4 - a.raw) + strtoul(length + 17, NULL, 10);
		else
			want = (size_t)(a.body + 4 - a.raw);
	}
	if (a.body)
		a.body += 4;
	if (a.body)
		a.body_len = n - (size_t)(a.body - a.raw);
	sscanf(a.raw, "HTTP/1.%*d %d", &a.status);
	return a;
}

static inline struct reply rig_exchange(int fd, const char *text)
{
	struct reply a;

	rig_send(fd, text, strlen(text));
	a = rig_read(fd);
	close(fd);
	return a;
}

static inline void rig_request(int fd, const char *method, const char *path, const char *headers,
			       const char *body)
{
	char *text;

	assert_true(asprintf(&text,
			     "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n%s\r\n%s",
			     method, path, strlen(body), headers, body) > 0);
	rig_send(fd, text, strlen(text));
	free(text);
}

/* One request over the unix socket. */
static inline struct reply rig_ask(struct rig *r, const char *method, const char *path,
				   const char *body)
{
	int fd = rig_dial_unix(r);
	struct reply a;

	rig_request(fd, method, path, "", body);
	a = rig_read(fd);
	close(fd);
	return a;
}

/* The same, and the master answers what it is asked. */
static inline struct reply rig_ask_master(struct rig *r, const char *method, const char *path,
					  const char *body, int result, const char *text,
					  struct msg *m)
{
	int fd = rig_dial_unix(r);
	struct reply a;

	rig_request(fd, method, path, "", body);
	*m = rig_take(r);
	rig_answer(r, m->id, result, text);
	a = rig_read(fd);
	close(fd);
	return a;
}

static inline json_t *rig_json(const struct reply *a)
{
	json_error_t error;
	json_t *j;

	assert_non_null(strcasestr(a->raw, "\r\nContent-Type: application/json\r\n"));
	j = json_loadb(a->body, a->body_len, JSON_REJECT_DUPLICATES, &error);
	if (!j)
		fail_msg("not JSON: %s: %s", error.text, a->body);
	assert_true(rig_kept.n_json < RIG_KEPT_MAX);
	rig_kept.json[rig_kept.n_json++] = j;
	return j;
}

static inline void rig_assert_error(const struct reply *a, int status, const char *code)
{
	json_t *j;

	assert_int_equal(a->status, status);
	j = json_object_get(rig_json(a), "error");
	assert_non_null(j);
	assert_string_equal(json_string_value(json_object_get(j, "code")), code);
	assert_true(json_string_length(json_object_get(j, "message")) > 0);
}

/* The member at a path, as "workers.0.pid". */
static inline json_t *rig_at(json_t *j, const char *path)
{
	char copy[128], *save = NULL;

	snprintf(copy, sizeof copy, "%s", path);
	for (char *key = strtok_r(copy, ".", &save); key; key = strtok_r(NULL, ".", &save)) {
		j = json_is_array(j) ? json_array_get(j, strtoul(key, NULL, 10))
				     : json_object_get(j, key);
		if (!j)
			fail_msg("there is no %s in %s", key, path);
	}
	return j;
}

static inline json_int_t rig_int(json_t *j, const char *path)
{
	assert_true(json_is_integer(rig_at(j, path)));
	return json_integer_value(rig_at(j, path));
}

static inline const char *rig_text(json_t *j, const char *path)
{
	assert_true(json_is_string(rig_at(j, path)));
	return json_string_value(rig_at(j, path));
}

static inline int rig_setup(void **state)
{
	*state = rig_new();
	return 0;
}

static inline int rig_teardown(void **state)
{
	rig_free(*state);
	return 0;
}

#define RIG_TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

#endif
