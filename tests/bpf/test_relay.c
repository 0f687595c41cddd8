/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay by its own interface, with sockets of this process at both ends: what is paired and what is not, how
 * much lies unread, how ends end, and that nothing is lost or overtaken. RELAY_MB: how many megabytes each of the
 * patterns of the test nothing_is_lost sends each way (128); a longer run takes more: RELAY_MB=4000 test_relay
 * nothing_is_lost. SLUICE_SLOW: by how much less an emulated machine does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/err.h"
#include "kernel/relay_impl.h"
#include "relay.skel.h"

enum { LIMIT = 256 * 1024, PATTERN = 1048573 /* a prime: no two pieces of a stream look alike */ };

static struct relay *relay;
static char err[RELAY_ERR_MAX];
static unsigned char *pattern; /* twice, so that any piece of PATTERN bytes is in one */

/* A connection: the worker's end and the upstream's. */
struct pair {
	int gateway, upstream, listener;
	struct detour *detour;
	int group;
};

static int listen_on(int family, int protocol, struct sockaddr_storage *at, socklen_t *n)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, protocol);
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)at;
	struct sockaddr_in *v4 = (struct sockaddr_in *)at;
	int no = 0;

	memset(at, 0, sizeof *at);
	at->ss_family = (sa_family_t)family;
	if (family == AF_INET)
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
	*n = family == AF_INET ? sizeof *v4 : sizeof *v6;
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)at, *n), 0);
	assert_int_equal(listen(fd, 128), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, n), 0);
	return fd;
}

/* To a listener of another family than AF_INET the address has to be chosen. */
static int connect_to(const struct sockaddr_storage *at, socklen_t n, int group, uint32_t limit,
		      struct detour **d)
{
	int fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	*d = NULL;
	if (limit) {
		*d = relay_mark(relay, fd, group, limit);
		assert_non_null(*d);
	}
	assert_int_equal(connect(fd, (const struct sockaddr *)at, n), 0);
	return fd;
}

static int a_group(void)
{
	static unsigned n;
	char name[32];

	return relay_group(relay, name, (size_t)snprintf(name, sizeof name, "group%u", n++ % 200));
}

static struct relay_counts counts(int group)
{
	struct relay_counts c;

	relay_counts(relay, group, &c);
	return c;
}

static struct pair open_pair_of(int family, int protocol, uint32_t limit)
{
	struct pair p = {.group = a_group()};
	struct sockaddr_storage at;
	socklen_t n;

	p.listener = listen_on(family, protocol, &at, &n);
	if (family == AF_INET6)
		((struct sockaddr_in6 *)&at)->sin6_addr = in6addr_loopback;
	p.gateway = connect_to(&at, n, p.group, limit, &p.detour);
	p.upstream = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p.upstream >= 0);
	return p;
}

static struct pair open_pair(void)
{
	return open_pair_of(AF_INET, 0, LIMIT);
}

static void close_pair(struct pair *p)
{
	if (p->gateway >= 0)
		close(p->gateway);
	if (p->upstream >= 0)
		close(p->upstream);
	close(p->listener);
	relay_mark_release(relay, p->detour);
}

static void send_all(int fd, const void *from, size_t n)
{
	assert_int_equal(send(fd, from, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Reads N bytes that are those of the pattern at AT. */
static void expect(int fd, size_t at, size_t n)
{
	unsigned char *in = malloc(n);
	size_t got = 0;

	while (got < n) {
		ssize_t r = recv(fd, in + got, n - got, 0);

		if (r <= 0)
			fail_msg("%zd (%s) after %zu of %zu bytes", r, strerror(errno), got, n);
		got += (size_t)r;
	}
	assert_memory_equal(in, pattern + at, n);
	free(in);
}

static void expect_end(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* ---- which kernel ---- */

static void kernels(void **state)
{
	static const struct {
		const char *release, *version;
		int result;
	} rows[] = {
		{"6.1.141", "#1 SMP", -SL_EINVAL},
		{"6.1.142", "#1 SMP", 0},
		{"6.1.0-37-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)",
		 -SL_EINVAL},
		{"6.1.0-38-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.147-1 (2025-08-02)", 0},
		{"6.6.93", "#1", -SL_EINVAL},
		{"6.6.94-custom", "#1", 0},
		{"6.12.33", "#1", -SL_EINVAL},
		{"6.12.34+deb13-amd64", "#1", 0},
		{"6.15.2", "#1", -SL_EINVAL},
		{"6.15.3", "#1", 0},
		{"6.15-rc1", "#1", -SL_EINVAL},
		{"6.16.0", "#1", 0},
		{"6.18.44-fc-v595", "#1", 0},
		{"7.0", "#1", 0},
		{"6.8.0-60-generic", "#63-Ubuntu SMP", -SL_EINVAL},
		{"6.14.11", "#1", -SL_EINVAL},
		{"5.15.200", "#1", -SL_EINVAL},
		{"5.14.0-570.el9", "#1", -SL_EINVAL},
		{"unknown", "#1", -SL_EINVAL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (relay_kernel_check(rows[i].release, rows[i].version, err, sizeof err) !=
		    rows[i].result)
			fail_msg("%s: %s", rows[i].release, err);
}

/* ---- who is paired ---- */

static void both_directions(void **state)
{
	struct pair p = open_pair();

	send_all(p.gateway, pattern, 600);
	expect(p.upstream, 0, 600);
	send_all(p.upstream, pattern + 5, 900);
	expect(p.gateway, 5, 900);
	assert_int_equal(counts(p.group).n_pairs, 1);
	assert_int_equal(counts(p.group).n_request_bytes, 600);
	assert_int_equal(counts(p.group).n_answer_bytes, 900);
	assert_int_equal(counts(p.group).n_answers_latched, 0);
	close_pair(&p);
}

static void ipv6_and_mapped(void **state)
{
	struct pair p = open_pair_of(AF_INET6, 0, LIMIT), mapped = {.group = a_group()};
	struct sockaddr_storage at;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n;

	send_all(p.gateway, pattern, 100);
	expect(p.upstream, 0, 100);
	assert_int_equal(counts(p.group).n_request_bytes, 100);
	close_pair(&p);
	/* IPv4 to a listener on [::]. */
	mapped.listener = listen_on(AF_INET6, 0, &at, &n);
	to.sin_port = ((struct sockaddr_in6 *)&at)->sin6_port;
	memcpy(&at, &to, sizeof to);
	mapped.gateway = connect_to(&at, sizeof to, mapped.group, LIMIT, &mapped.detour);
	mapped.upstream = accept4(mapped.listener, NULL, NULL, SOCK_CLOEXEC);
	send_all(mapped.upstream, pattern, 70);
	expect(mapped.gateway, 0, 70);
	assert_int_equal(counts(mapped.group).n_answer_bytes, 70);
	close_pair(&mapped);
}

/* Other clients of the same upstream: not paired, and their sockets have nothing of ours. */
static void unmarked(void **state)
{
	struct pair p = open_pair_of(AF_INET, 0, 0), ours = open_pair();
	struct relay_end end;

	send_all(p.gateway, pattern, 600);
	expect(p.upstream, 0, 600);
	send_all(p.upstream, pattern, 900);
	expect(p.gateway, 0, 900);
	assert_int_equal(counts(p.group).n_pairs, 0);
	assert_int_equal(bpf_map_lookup_elem(relay->marks_fd, &p.gateway, &end), -ENOENT);
	assert_int_equal(bpf_map_lookup_elem(relay->marks_fd, &p.upstream, &end), -ENOENT);
	assert_int_equal(bpf_map_lookup_elem(relay->marks_fd, &ours.upstream, &end), 0);
	close_pair(&p);
	close_pair(&ours);
}

/* MPTCP's children are turned into plain TCP by accept(), which must know them by their functions. */
static void mptcp(void **state)
{
	enum { MPTCP = 262 };
	struct pair p = open_pair_of(AF_INET, MPTCP, LIMIT);

	send_all(p.gateway, pattern, 600);
	expect(p.upstream, 0, 600);
	send_all(p.upstream, pattern, 900);
	expect(p.gateway, 0, 900);
	assert_int_equal(counts(p.group).n_pairs, 0);
	assert_int_equal(counts(p.group).n_request_bytes, 0);
	close_pair(&p);
}

/* Nobody accepts, or nobody is there. */
static void refused(void **state)
{
	struct sockaddr_storage at;
	socklen_t n;
	int listener = listen_on(AF_INET, 0, &at, &n);
	int fd = socket(AF_INET, SOCK_STREAM, 0), group = a_group();
	struct detour *d = relay_mark(relay, fd, group, LIMIT);

	close(listener);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, n), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	relay_mark_release(relay, d);
	assert_int_equal(counts(group).n_pairs, 0);
}

/* What was sent before accept(). */
static void unaccepted(void **state)
{
	struct pair p = {.group = a_group()};
	struct sockaddr_storage at;
	socklen_t n;

	p.listener = listen_on(AF_INET, 0, &at, &n);
	p.gateway = connect_to(&at, n, p.group, LIMIT, &p.detour);
	send_all(p.gateway, pattern, 5000);
	shutdown(p.gateway, SHUT_WR);
	p.upstream = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
	expect(p.upstream, 0, 5000);
	expect_end(p.upstream);
	assert_int_equal(counts(p.group).n_request_bytes, 5000);
	close_pair(&p);
}

/* ---- how much lies unread ---- */

/* Writes as much as is taken within a second of nobody reading; returns how much. */
static size_t push(int fd, size_t piece, size_t max)
{
	size_t at = 0;

	while (at < max) {
		struct pollfd pf = {.fd = fd, .events = POLLOUT};
		ssize_t n = send(fd, pattern + at % PATTERN, piece, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			at += (size_t)n;
		else if (errno != EAGAIN || poll(&pf, 1, 300) == 0)
			return at;
		assert_true(at < 64u << 20);
	}
	return at;
}

static void upstream_pushes(size_t piece)
{
	struct pair p = open_pair();
	size_t n = push(p.upstream, piece, piece == 1 ? 1000 : SIZE_MAX), at = 0;
	struct relay_counts c = counts(p.group);

	assert_in_range(c.n_answer_bytes, piece > LIMIT ? 0 : 1, LIMIT);
	assert_int_equal(c.n_answers_latched, 1);
	assert_int_equal(p.detour->mixed, 1);
	assert_true(n > c.n_answer_bytes);
	if (piece == 1)
		assert_in_range(c.n_answer_bytes, 100, LIMIT / RELAY_MESSAGE_BYTES);
	/* What went around, then what came by TCP: nothing is missing between. */
	for (; at + PATTERN <= n; at += PATTERN)
		expect(p.gateway, 0, PATTERN);
	expect(p.gateway, 0, n - at);
	/* Latched for good, though all is read. */
	p.detour->n_read = n;
	send_all(p.upstream, pattern, 100);
	expect(p.gateway, 0, 100);
	assert_int_equal(counts(p.group).n_answer_bytes, c.n_answer_bytes);
	close_pair(&p);
}

static void upstream_pushes_much(void **state)
{
	upstream_pushes(65536);
}

static void upstream_pushes_small(void **state)
{
	upstream_pushes(1);
}

static void upstream_pushes_one_large(void **state)
{
	upstream_pushes(PATTERN);
}

/* A reader that keeps up is never latched, however much comes. */
static void keeping_up(void **state)
{
	struct pair p = open_pair();

	for (int i = 0; i < 2000; i++) {
		send_all(p.upstream, pattern + i, 3000);
		expect(p.gateway, (size_t)i, 3000);
		p.detour->n_read += 3000;
		send_all(p.gateway, pattern + i, 700);
		expect(p.upstream, (size_t)i, 700);
	}
	assert_int_equal(counts(p.group).n_answer_bytes, 6000000);
	assert_int_equal(counts(p.group).n_request_bytes, 1400000);
	assert_int_equal(counts(p.group).n_answers_latched, 0);
	assert_int_equal(counts(p.group).n_requests_latched, 0);
	close_pair(&p);
}

/* What the worker is told of how far the upstream has read. */
static void unread(void **state)
{
	struct pair p = open_pair();

	send_all(p.gateway, pattern, 5000);
	send_all(p.gateway, pattern + 5000, 700);
	send_all(p.upstream, pattern, 1);
	assert_int_equal(p.detour->unread, 5700);
	expect(p.upstream, 0, 5600);
	send_all(p.upstream, pattern + 1, 1);
	assert_int_equal(p.detour->unread, 100);
	expect(p.upstream, 5600, 100);
	send_all(p.upstream, pattern + 2, 1);
	assert_int_equal(p.detour->unread, 0);
	expect(p.gateway, 0, 3);
	close_pair(&p);
}

/* ---- how it ends ---- */

/* What the peer has not read is still there after each way to end: NOW_TOO says that the reader has ended its own
 * side before, so that its socket is closed to TCP by then. */
static void end_after_bytes(bool from_gateway, bool reader_shut, bool reset)
{
	struct pair p = open_pair();
	int *from = from_gateway ? &p.gateway : &p.upstream;
	int to = from_gateway ? p.upstream : p.gateway;
	struct linger now = {.l_onoff = 1};
	char byte;

	if (reader_shut) {
		shutdown(to, SHUT_WR);
		expect_end(*from);
	}
	send_all(*from, pattern, 60000);
	if (reset)
		setsockopt(*from, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(*from);
	*from = -1;
	usleep(20000);
	expect(to, 0, 60000);
	if (reset)
		assert_int_equal(recv(to, &byte, 1, 0), -1);
	else
		expect_end(to);
	close_pair(&p);
}

static void ends(void **state)
{
	for (int i = 0; i < 8; i++)
		end_after_bytes(i & 1, i & 2, i & 4);
}

static void half_close(void **state)
{
	struct pair p = open_pair();

	send_all(p.gateway, pattern, 1000);
	shutdown(p.gateway, SHUT_WR);
	assert_int_equal(send(p.gateway, pattern, 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	expect(p.upstream, 0, 1000);
	expect_end(p.upstream);
	for (int i = 0; i < 50; i++) {
		send_all(p.upstream, pattern + i, 4000);
		expect(p.gateway, (size_t)i, 4000);
		p.detour->n_read += 4000;
	}
	assert_int_equal(counts(p.group).n_answer_bytes, 200000);
	shutdown(p.upstream, SHUT_WR);
	expect_end(p.gateway);
	close_pair(&p);
}

/* The other side is gone, with what was not read. */
static void to_nobody(void **state)
{
	struct pair p = open_pair();
	ssize_t n = 0;

	send_all(p.upstream, pattern, 1000);
	close(p.gateway);
	p.gateway = -1;
	for (int i = 0; i < 100 && n >= 0; i++) {
		n = send(p.upstream, pattern, 1000, MSG_NOSIGNAL);
		usleep(1000);
	}
	assert_int_equal(n, -1);
	assert_true(errno == EPIPE || errno == ECONNRESET);
	close_pair(&p);
}

/* A worker as a process of its own, which asks and stays, or ends once it has its answer. As nobody it is what
 * workers are: without any capability, and with one descriptor. */
static pid_t fork_worker(struct pair *p, uint32_t id, bool is_nobody, size_t n_request,
			 size_t n_answer)
{
	struct sockaddr_storage at;
	struct detour *d;
	socklen_t n;
	pid_t pid;
	int fd;

	p->listener = listen_on(AF_INET, 0, &at, &n);
	pid = fork();
	if (pid == 0) {
		if (is_nobody)
			relay_close_in_child(relay, true);
		relay->n_free = relay->n_slots = 0;
		relay_mark_begin(relay, id);
		if (is_nobody && (setgid(65534) || setuid(65534)))
			_exit(2);
		fd = connect_to(&at, n, p->group, LIMIT, &d);
		send_all(fd, pattern, n_request);
		if (!n_answer)
			pause();
		expect(fd, 0, n_answer);
		_exit(0);
	}
	p->upstream = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
	return pid;
}

/* A worker is killed; its connections end as others do, and its slots are there for the next one. */
static void killed(void **state)
{
	struct pair p = {.gateway = -1, .group = a_group()};
	pid_t pid = fork_worker(&p, 7, false, 30000, 0);

	expect(p.upstream, 0, 10000);
	send_all(p.upstream, pattern, 5000);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	expect(p.upstream, 10000, 20000);
	assert_int_equal(relay->owners[1], 8);
	relay_mark_worker_gone(relay, 7);
	assert_int_equal(relay->owners[1], 0);
	close_pair(&p);
}

/* ---- privileges ---- */

static void as_worker(void **state)
{
	struct pair p = {.gateway = -1, .group = a_group()};
	pid_t pid = fork_worker(&p, 3, true, 3000, 2000);
	int status;

	expect(p.upstream, 0, 3000);
	send_all(p.upstream, pattern, 2000);
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(counts(p.group).n_request_bytes, 3000);
	assert_int_equal(counts(p.group).n_answer_bytes, 2000);
	relay_mark_worker_gone(relay, 3);
	close_pair(&p);
}

static void slots_run_out(void **state)
{
	enum { MAX = 2 * RELAY_CHUNK_SLOTS + 1 };
	struct detour *d[MAX];
	int fd[MAX], n = 0;

	/* Another worker has all chunks but our first and the last one. */
	for (int i = 1; i < RELAY_N_CHUNKS - 1; i++)
		relay->owners[i] = 100;
	for (; n < MAX; n++) {
		fd[n] = socket(AF_INET, SOCK_STREAM, 0);
		d[n] = relay_mark(relay, fd[n], 0, LIMIT);
		if (!d[n])
			break;
	}
	assert_int_equal(n, MAX - 1);
	for (int i = 0; i <= n; i++) {
		close(fd[i]);
		relay_mark_release(relay, d[i]);
	}
	relay_mark_worker_gone(relay, 99);
	assert_int_equal(relay->owners[1], 0);
}

/* ---- all of it ---- */

struct stream {
	struct pair *p;
	bool from_gateway;
	size_t n_bytes, piece_max;
	unsigned pause_every, pause_us; /* of the reader */
	unsigned seed;
	bool late_end; /* the reader begins when the sender has ended */
	volatile bool has_ended;
	size_t n_seen; /* by the reader */
	size_t n_wrong;
	const char *what;
};

static size_t piece_of(struct stream *s)
{
	size_t n = 1 + (size_t)rand_r(&s->seed) % s->piece_max;

	return rand_r(&s->seed) % 4 ? n : 1 + n % 100;
}

/* As a worker does: a piece of at most LIMIT, when all before it has been read. */
static size_t wait_for_room(struct stream *s, size_t at, size_t n)
{
	if (!s->from_gateway)
		return n;
	if (at - __atomic_load_n(&s->n_seen, __ATOMIC_ACQUIRE) + n > LIMIT)
		while (__atomic_load_n(&s->n_seen, __ATOMIC_ACQUIRE) != at)
			usleep(100);
	return n < LIMIT ? n : LIMIT;
}

static void *sender(void *arg)
{
	struct stream *s = arg;
	int fd = s->from_gateway ? s->p->gateway : s->p->upstream;
	size_t at = 0;

	while (at < s->n_bytes) {
		size_t n = piece_of(s);
		ssize_t put;

		n = n < s->n_bytes - at ? n : s->n_bytes - at;
		n = wait_for_room(s, at, n);
		put = send(fd, pattern + at % PATTERN, n, MSG_NOSIGNAL);
		if (put < 0) {
			s->what = strerror(errno);
			break;
		}
		at += (size_t)put;
	}
	s->has_ended = true;
	shutdown(fd, SHUT_WR);
	return NULL;
}

static void *reader(void *arg)
{
	struct stream *s = arg;
	int fd = s->from_gateway ? s->p->upstream : s->p->gateway;
	unsigned char *in = malloc(PATTERN);
	size_t at = 0;
	unsigned reads = 0;

	while (s->late_end && !s->has_ended)
		usleep(1000);
	for (;;) {
		ssize_t got = recv(fd, in, piece_of(s), 0);

		/* What a blocking reader gets when it is woken for its own writer's sake. */
		if (got < 0 && errno == EAGAIN)
			continue;
		if (got <= 0)
			break;
		if (memcmp(in, pattern + at % PATTERN, (size_t)got) != 0)
			s->n_wrong++;
		at += (size_t)got;
		__atomic_store_n(&s->n_seen, at, __ATOMIC_RELEASE);
		if (!s->from_gateway)
			__atomic_store_n(&s->p->detour->n_read, at, __ATOMIC_RELAXED);
		if (s->pause_every && ++reads % s->pause_every == 0)
			usleep(s->pause_us);
	}
	if (at != s->n_bytes)
		s->what = "bytes are missing";
	free(in);
	return NULL;
}

static size_t number_from(const char *name, size_t otherwise)
{
	const char *text = getenv(name);

	return text && atol(text) > 0 ? (size_t)atol(text) : otherwise;
}

/* Both directions of one connection at once, by four threads. */
static uint64_t stream_both(size_t n_bytes, size_t piece_max, unsigned pause_every,
			    unsigned pause_us, unsigned seed)
{
	struct pair p = open_pair();
	struct stream s[2];
	pthread_t t[4];
	struct relay_counts c;

	for (int i = 0; i < 2; i++) {
		s[i] = (struct stream){.p = &p,
				       .from_gateway = i == 0,
				       .n_bytes = n_bytes,
				       .piece_max = piece_max,
				       .pause_every = pause_every,
				       .pause_us = pause_us,
				       .seed = seed + (unsigned)i};
		pthread_create(&t[2 * i], NULL, sender, &s[i]);
		pthread_create(&t[2 * i + 1], NULL, reader, &s[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 2; i++)
		if (s[i].what || s[i].n_wrong)
			fail_msg("pieces of %zu, pause %u/%u, from the %s: %s, %zu wrong reads",
				 piece_max, pause_us, pause_every, i ? "upstream" : "gateway",
				 s[i].what ? s[i].what : "", s[i].n_wrong);
	c = counts(p.group);
	close_pair(&p);
	return c.n_request_bytes + c.n_answer_bytes;
}

static void nothing_is_lost(void **state)
{
	static const struct {
		size_t piece_max, share;
		unsigned pause_every, pause_us;
	} rows[] = {
		{1000, 16, 0, 0},   {16384, 2, 0, 0},	 {65536, 1, 0, 0},	{PATTERN, 1, 0, 0},
		{300, 64, 50, 200}, {20000, 8, 20, 500}, {PATTERN, 4, 8, 3000},
	};
	uint64_t redirected = 0, all = 0, ms = clock_mono_ns() / 1000000;
	size_t slow = number_from("SLUICE_SLOW", 1), mb = number_from("RELAY_MB", 128 / slow);

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t n = (mb << 20) / rows[i].share;

		redirected += stream_both(n, rows[i].piece_max, rows[i].pause_every,
					  rows[i].pause_us, 7 + (unsigned)i);
		all += 2 * n;
	}
	/* Many short ones: the moments of latching, and of ends. */
	for (unsigned i = 0; i < 150 / slow; i++) {
		size_t n = 1 + (i * 7919u * 1009u) % (2u << 20);

		redirected += stream_both(n, 1 + i * 977 % 200000, i % 3, i % 7 * 100, i);
		all += 2 * n;
	}
	print_message("%llu MB in %llu ms, of them %llu MB redirected\n",
		      (unsigned long long)all >> 20,
		      (unsigned long long)(clock_mono_ns() / 1000000 - ms),
		      (unsigned long long)redirected >> 20);
}

/* ---- life ---- */

static uint32_t id_of(const struct bpf_program *p)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof info;

	assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &len), 0);
	return info.id;
}

static bool is_there(uint32_t program)
{
	int fd = bpf_prog_get_fd_by_id(program);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* It is closed under a pair whose bytes are not read: they come, it goes on, and then nothing is left. */
static void closing(void **state)
{
	uint32_t meet = id_of(relay->skel->progs.relay_meet);
	uint32_t message = id_of(relay->skel->progs.relay_message);
	struct pair p = open_pair();

	send_all(p.upstream, pattern, 50000);
	send_all(p.gateway, pattern, 50000);
	relay_close(relay);
	relay = NULL;
	for (int i = 0; i < 100 && is_there(meet); i++)
		usleep(20000);
	assert_false(is_there(meet));
	expect(p.gateway, 0, 50000);
	expect(p.upstream, 0, 50000);
	send_all(p.upstream, pattern, 9000);
	expect(p.gateway, 0, 9000);
	shutdown(p.upstream, SHUT_WR);
	expect_end(p.gateway);
	assert_true(is_there(message));
	close(p.gateway);
	close(p.upstream);
	close(p.listener);
	for (int i = 0; i < 200 && is_there(message); i++)
		usleep(20000);
	assert_false(is_there(message));
	assert_int_equal(relay_open(&relay, err, sizeof err), 0);
}

static int setup(void **state)
{
	unsigned seed = 1;

	pattern = malloc(2 * PATTERN);
	for (size_t i = 0; i < PATTERN; i++)
		pattern[i] = pattern[i + PATTERN] = (unsigned char)rand_r(&seed);
	if (relay_open(&relay, err, sizeof err) == 0)
		return 0;
	fprintf(stderr, "tests/bpf need root, BPF and a cgroup v2: %s\n", err);
	return -1;
}

static int teardown(void **state)
{
	relay_close(relay);
	free(pattern);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernels),
		cmocka_unit_test(both_directions),
		cmocka_unit_test(ipv6_and_mapped),
		cmocka_unit_test(unmarked),
		cmocka_unit_test(mptcp),
		cmocka_unit_test(refused),
		cmocka_unit_test(unaccepted),
		cmocka_unit_test(upstream_pushes_much),
		cmocka_unit_test(upstream_pushes_small),
		cmocka_unit_test(upstream_pushes_one_large),
		cmocka_unit_test(keeping_up),
		cmocka_unit_test(unread),
		cmocka_unit_test(ends),
		cmocka_unit_test(half_close),
		cmocka_unit_test(to_nobody),
		cmocka_unit_test(killed),
		cmocka_unit_test(as_worker),
		cmocka_unit_test(slots_run_out),
		cmocka_unit_test(nothing_is_lost),
		cmocka_unit_test(closing),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
