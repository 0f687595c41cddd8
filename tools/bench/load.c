/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sl-load: the load generator of `make bench` and of the end-to-end tests, built from load*.c
 * alone. This file owns the connections, the loop and the counting of attempts. It must not hide an
 * error: every attempt ends as one counted success or one counted fault. One thread, one read
 * buffer: it shares the machine with what it measures. Somewhat longer than the usual file, so that
 * an attempt's whole life is read in one place.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define OPENING_MAX 64
#define RETRY_NS (10 * NS_PER_MS)
#define SCAN_NS (500 * NS_PER_MS)

static void conn_ready(struct load *l, struct conn *c);

static bool more_work(const struct load *l)
{
	const struct options *o = &l->opt;

	if (l->stop || (o->requests > 0 && l->issued >= o->warmup + o->requests))
		return false;
	return l->deadline_ns == 0 || l->now_ns < l->deadline_ns;
}

/* Claims one attempt for c. With a rate, time counts from when the attempt was due, not from when
 * it began. */
static bool claim(struct load *l, struct conn *c)
{
	if (!more_work(l))
		return false;
	c->start_ns = l->now_ns;
	if (l->opt.rate_per_s > 0) {
		c->start_ns = l->begin_ns + l->issued * NS_PER_S / l->opt.rate_per_s;
		if (l->now_ns < c->start_ns)
			return false;
	}
	l->issued++;
	c->claimed = true;
	return true;
}

/* From here on it counts: what came before was warming up. Errors stay counted from the first. */
static void mark_begin(struct load *l)
{
	l->marked = true;
	l->mark_ns = l->begin_ns = load_clock_ns();
	if (l->opt.rate_per_s > 0)
		l->begin_ns -= l->issued * NS_PER_S / l->opt.rate_per_s;
	if (l->opt.seconds > 0 && l->opt.mode != MODE_STREAMS)
		l->deadline_ns = l->mark_ns + (uint64_t)(l->opt.seconds * (double)NS_PER_S);
	l->ok = l->body_bytes = 0;
	memset(&l->latency, 0, sizeof(l->latency));
	memset(l->status, 0, sizeof(l->status));
	if (l->opt.mode != MODE_STREAMS)
		load_sample_take(l, &l->from, 0, false);
}

static void attempt_over(struct load *l, struct conn *c)
{
	c->claimed = false;
	l->over++;
	l->body_bytes += c->body_len;
	c->body_len = 0;
	if (!l->marked && l->over >= l->opt.warmup)
		mark_begin(l);
}

static void conn_close(struct load *l, struct conn *c)
{
	if (c->state == ST_CONNECT || c->state == ST_TLS)
		l->opening--;
	if (c->ssl != NULL) {
		SSL_free(c->ssl);
		c->ssl = NULL;
	}
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	if (l->opt.mode == MODE_STREAMS) {
		c->state = ST_OVER;
		free(c->part.p);
		memset(&c->part, 0, sizeof(c->part));
		return;
	}
	c->state = ST_DOWN;
	l->down[l->n_down++] = c;
}

/*
 * The window that is watched in a run of streams opens when each stream has had an event and closes
 * before any has had its last, so that all of them are open throughout.
 */
static void stream_spoke(struct load *l, struct conn *c)
{
	if (c->first_seen)
		return;
	c->first_seen = true;
	l->n_silent--;
	if (l->n_silent == 0 && l->events > 0)
		load_sample_take(l, &l->from, l->events, false);
}

void load_event(struct load *l, struct conn *c, uint64_t sent_ns, bool token)
{
	load_hist_add(&l->late, l->now_ns > sent_ns ? l->now_ns - sent_ns : 0);
	if (!token)
		return;
	c->events++;
	l->events++;
	stream_spoke(l, c);
	if (c->events == l->opt.events && l->from.at_ns != 0 && l->to.at_ns == 0)
		load_sample_take(l, &l->to, l->events, true);
}

static void stream_over(struct load *l, struct conn *c, enum fault fault)
{
	stream_spoke(l, c);
	if (c->events < l->opt.events)
		l->lost += l->opt.events - c->events;
	if (fault == FAULT_NONE)
		l->completed++;
	else if (c->state == ST_RECV && c->status == 200 && c->phase != PH_DONE)
		l->cut++;
	else if (c->state == ST_CONNECT || c->state == ST_TLS || c->state == ST_READY)
		l->unopened++;
}

static void conn_fail(struct load *l, struct conn *c, enum fault fault)
{
	l->faults[fault]++;
	if (!c->claimed)
		l->issued++;
	if (l->opt.mode == MODE_STREAMS)
		stream_over(l, c, fault);
	if (fault == FAULT_CONNECT)
		l->retry_ns = l->now_ns + RETRY_NS;
	conn_close(l, c);
	attempt_over(l, c);
}

/* The answer is whole. Is it the right one? */
static void answer_over(struct load *l, struct conn *c)
{
	enum fault fault = FAULT_NONE;

	l->status[c->status]++;
	if (c->status != 200)
		fault = FAULT_STATUS;
	else if (l->opt.expect_bytes > 0 && c->body_len != l->opt.expect_bytes)
		fault = FAULT_BODY;
	else if (l->opt.mode == MODE_STREAMS && !c->done)
		fault = FAULT_NO_DONE;
	else if (l->opt.mode == MODE_STREAMS && c->events > l->opt.events)
		fault = FAULT_BODY;
	if (fault != FAULT_NONE) {
		l->faults[fault]++;
	} else {
		l->ok++;
		load_hist_add(&l->latency, load_clock_ns() - c->start_ns);
	}
	if (l->opt.mode == MODE_STREAMS)
		stream_over(l, c, fault);
	if (l->opt.mode == MODE_HANDSHAKE || l->opt.mode == MODE_STREAMS || !c->keep) {
		if (c->ssl != NULL)
			SSL_shutdown(c->ssl);
		if (l->opt.mode == MODE_REQUESTS || l->opt.mode == MODE_DOWNLOAD)
			l->reconnects++;
		conn_close(l, c);
		attempt_over(l, c);
		return;
	}
	attempt_over(l, c);
	conn_ready(l, c);
}

static void conn_arm(struct load *l, struct conn *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (c->armed == events)
		return;
	if (epoll_ctl(l->epfd, c->armed == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &ev) != 0)
		load_die("epoll_ctl: %s", strerror(errno));
	c->armed = events;
}

static void conn_open(struct load *l, struct conn *c)
{
	int one = 1;

	c->armed = 0;
	c->part.len = 0;
	c->active_ns = l->now_ns;
	c->state = ST_CONNECT;
	l->opening++;
	c->fd = socket(l->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		load_die("socket: %s", strerror(errno));
	if (l->addr.ss_family != AF_UNIX)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (l->opt.n_sources > 0)
		load_options_bind(&l->opt, c->fd, (uint64_t)(c - l->conns));
	if (connect(c->fd, (struct sockaddr *)&l->addr, l->addr_len) != 0 && errno != EINPROGRESS)
		conn_fail(l, c, FAULT_CONNECT);
	else
		conn_arm(l, c, EPOLLOUT);
}

/* >0 bytes, 0 a clean end, -EAGAIN, or -EIO: broken, or a TLS end without close_notify. */
static ssize_t conn_read(struct load *l, struct conn *c, uint32_t *want)
{
	ssize_t n;

	*want = EPOLLIN;
	if (c->ssl == NULL) {
		n = read(c->fd, l->buf, sizeof(l->buf));
		if (n >= 0)
			return n;
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EIO;
	}
	ERR_clear_error();
	n = SSL_read(c->ssl, l->buf, sizeof(l->buf));
	if (n > 0)
		return n;
	switch (SSL_get_error(c->ssl, (int)n)) {
	case SSL_ERROR_WANT_READ:
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*want = EPOLLOUT;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return -EIO;
	}
}

static void conn_send(struct load *l, struct conn *c)
{
	size_t left = l->request.len - c->sent;
	const char *p = l->request.p + c->sent;
	ssize_t n;
	int err;

	if (c->ssl == NULL) {
		n = send(c->fd, p, left, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			conn_fail(l, c, FAULT_SEND);
			return;
		}
	} else {
		ERR_clear_error();
		n = SSL_write(c->ssl, p, (int)left);
		err = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, (int)n);
		if (err != SSL_ERROR_NONE && err != SSL_ERROR_WANT_WRITE &&
		    err != SSL_ERROR_WANT_READ) {
			conn_fail(l, c, FAULT_SEND);
			return;
		}
	}
	if (n > 0)
		c->sent += (size_t)n;
	if (c->sent < l->request.len) {
		conn_arm(l, c, EPOLLIN | EPOLLOUT);
		return;
	}
	c->state = ST_RECV;
	conn_arm(l, c, EPOLLIN);
}

static void request_start(struct load *l, struct conn *c)
{
	c->state = ST_SEND;
	c->phase = PH_HEAD;
	c->sent = 0;
	c->status = 0;
	c->body_len = 0;
	c->part.len = 0;
	c->active_ns = l->now_ns;
	conn_send(l, c);
}

static void conn_ready(struct load *l, struct conn *c)
{
	c->state = ST_READY;
	if (l->opt.mode == MODE_HANDSHAKE || (l->opt.mode != MODE_STREAMS && claim(l, c))) {
		request_start(l, c);
		return;
	}
	conn_arm(l, c, EPOLLIN);
	if (!c->stacked) {
		c->stacked = true;
		l->ready[l->n_ready++] = c;
	}
}

static void conn_tls(struct load *l, struct conn *c)
{
	int rc;

	ERR_clear_error();
	rc = SSL_connect(c->ssl);
	if (rc == 1) {
		l->opening--;
		l->resumed += SSL_session_reused(c->ssl) != 0;
		if (l->tls_version[0] == '\0') {
			snprintf(l->tls_version, sizeof(l->tls_version), "%s",
				 SSL_get_version(c->ssl));
			snprintf(l->tls_cipher, sizeof(l->tls_cipher), "%s",
				 SSL_get_cipher_name(c->ssl));
		}
		conn_ready(l, c);
		return;
	}
	switch (SSL_get_error(c->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		conn_arm(l, c, EPOLLIN);
		break;
	case SSL_ERROR_WANT_WRITE:
		conn_arm(l, c, EPOLLOUT);
		break;
	default:
		conn_fail(l, c, FAULT_TLS);
	}
}

static void conn_connected(struct load *l, struct conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0) {
		conn_fail(l, c, FAULT_CONNECT);
		return;
	}
	if (l->tls == NULL) {
		l->opening--;
		conn_ready(l, c);
		return;
	}
	c->ssl = SSL_new(l->tls);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1 ||
	    SSL_set_tlsext_host_name(c->ssl, l->opt.sni) != 1 ||
	    (l->opt.ca != NULL && SSL_set1_host(c->ssl, l->opt.sni) != 1))
		load_die("OpenSSL refused a connection object");
	if (l->opt.resume && l->session != NULL)
		SSL_set_session(c->ssl, l->session);
	c->state = ST_TLS;
	conn_tls(l, c);
}

/* The peer ended, or broke, the connection. */
static void conn_ended(struct load *l, struct conn *c, bool clean)
{
	if (c->state == ST_RECV && c->phase == PH_UNTIL_CLOSE && clean &&
	    l->opt.mode != MODE_STREAMS) {
		c->keep = false;
		answer_over(l, c);
	} else if (c->state == ST_READY && l->opt.mode != MODE_STREAMS) {
		l->reconnects++; /* an idle connection may be closed at any time */
		conn_close(l, c);
	} else {
		conn_fail(l, c, clean ? FAULT_EARLY_CLOSE : FAULT_RECV);
	}
}

static void conn_receive(struct load *l, struct conn *c)
{
	uint32_t want;
	ssize_t n;
	int rc;

	do {
		n = conn_read(l, c, &want);
		if (n == -EAGAIN) {
			if (c->state != ST_SEND)
				conn_arm(l, c, want);
			return;
		}
		if (n <= 0) {
			conn_ended(l, c, n == 0);
			return;
		}
		c->active_ns = l->now_ns;
		rc = c->state == ST_READY ? -FAULT_MALFORMED
					  : load_answer_feed(l, c, l->buf, (size_t)n);
		if (rc < 0) {
			conn_fail(l, c, (enum fault) - rc);
			return;
		}
		if (c->phase == PH_DONE) {
			/* An answer that came before the request was out (413, 429) ends the
			 * connection. */
			c->keep = c->keep && c->state == ST_RECV;
			answer_over(l, c);
			return;
		}
	} while (c->ssl != NULL && SSL_has_pending(c->ssl));
}

static void conn_event(struct load *l, struct conn *c, uint32_t events)
{
	l->now_ns = load_clock_ns();
	switch (c->state) {
	case ST_CONNECT:
		conn_connected(l, c);
		break;
	case ST_TLS:
		conn_tls(l, c);
		break;
	case ST_SEND:
		if ((events & EPOLLIN) != 0)
			conn_receive(l, c);
		if (c->state == ST_SEND)
			conn_send(l, c);
		break;
	case ST_READY:
	case ST_RECV:
		conn_receive(l, c);
		break;
	default:
		break;
	}
}

static void pump_streams(struct load *l)
{
	uint64_t step_ns = l->opt.ramp_ms * NS_PER_MS / l->opt.connections;

	if (!l->ramping) {
		if (l->n_down > 0 || l->opening > 0)
			return;
		l->ramping = true;
		l->ramp_from_ns = l->now_ns;
		mark_begin(l);
	}
	while (l->n_ready > 0 && l->now_ns >= l->ramp_from_ns + l->started * step_ns) {
		struct conn *c = l->ready[--l->n_ready];

		c->stacked = false;
		if (c->state != ST_READY)
			continue;
		l->started++;
		c->start_ns = l->now_ns;
		request_start(l, c);
	}
}

static void pump(struct load *l)
{
	bool whole = l->opt.mode == MODE_HANDSHAKE || l->opt.mode == MODE_STREAMS;

	while (l->n_down > 0 && l->opening < OPENING_MAX && l->now_ns >= l->retry_ns &&
	       more_work(l)) {
		struct conn *c = l->down[l->n_down - 1];

		if (whole && !claim(l, c))
			break;
		l->n_down--;
		conn_open(l, c);
	}
	if (l->opt.mode == MODE_STREAMS) {
		pump_streams(l);
		return;
	}
	while (l->n_ready > 0) {
		struct conn *c = l->ready[l->n_ready - 1];

		if (c->state == ST_READY && !claim(l, c))
			break;
		l->n_ready--;
		c->stacked = false;
		if (c->state == ST_READY)
			request_start(l, c);
	}
}

static uint64_t next_wake_ns(const struct load *l)
{
	uint64_t due, wake = l->scan_ns;

	if (l->deadline_ns > l->now_ns && l->deadline_ns < wake)
		wake = l->deadline_ns;
	if (l->n_down > 0 && l->retry_ns > l->now_ns && l->retry_ns < wake)
		wake = l->retry_ns;
	if (l->opt.rate_per_s > 0 && more_work(l)) {
		due = l->begin_ns + l->issued * NS_PER_S / l->opt.rate_per_s;
		/* Due and not begun means that every connection is busy: an answer will wake the
		 * loop. */
		if (due > l->now_ns && due < wake)
			wake = due;
	}
	if (l->ramping && l->n_ready > 0) {
		due = l->ramp_from_ns +
		      l->started * (l->opt.ramp_ms * NS_PER_MS / l->opt.connections);
		if (due < wake)
			wake = due;
	}
	return wake > l->now_ns ? wake - l->now_ns : 0;
}

static void scan_timeouts(struct load *l)
{
	size_t i;

	l->scan_ns = l->now_ns + SCAN_NS;
	for (i = 0; i < l->opt.connections; i++) {
		struct conn *c = &l->conns[i];

		if (c->state != ST_CONNECT && c->state != ST_TLS && c->state != ST_SEND &&
		    c->state != ST_RECV)
			continue;
		if (l->now_ns > c->active_ns + l->opt.timeout_ns)
			conn_fail(l, c, FAULT_TIMEOUT);
	}
}

static void run(struct load *l)
{
	struct epoll_event events[256];
	struct timespec ts;
	uint64_t wait_ns;
	int i, n;

	l->now_ns = load_clock_ns();
	l->begin_ns = l->now_ns;
	l->scan_ns = l->now_ns + SCAN_NS;
	if (l->opt.warmup == 0 && l->opt.mode != MODE_STREAMS)
		mark_begin(l);
	for (;;) {
		pump(l);
		if (l->stop || (!more_work(l) && l->issued == l->over))
			break;
		wait_ns = next_wake_ns(l);
		ts.tv_sec = (time_t)(wait_ns / NS_PER_S);
		ts.tv_nsec = (long)(wait_ns % NS_PER_S);
		n = epoll_pwait2(l->epfd, events, 256, &ts, NULL);
		if (n < 0 && errno != EINTR)
			load_die("epoll_pwait2: %s", strerror(errno));
		l->now_ns = load_clock_ns();
		for (i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				l->stop = true;
			else
				conn_event(l, events[i].data.ptr, events[i].events);
		}
		if (l->now_ns >= l->scan_ns)
			scan_timeouts(l);
	}
	l->end_ns = load_clock_ns();
	if (l->opt.mode != MODE_STREAMS && l->marked)
		load_sample_take(l, &l->to, l->ok, true);
}

static int session_new(SSL *ssl, SSL_SESSION *session)
{
	struct load *l = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(l->session);
	l->session = session;
	return 1;
}

static void tls_init(struct load *l)
{
	l->tls = SSL_CTX_new(TLS_client_method());
	if (l->tls == NULL)
		load_die("cannot make a TLS context");
	SSL_CTX_set_read_ahead(l->tls, 1);
	SSL_CTX_set_mode(l->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
	if (l->opt.mode == MODE_DOWNLOAD)
		SSL_CTX_set_default_read_buffer_len(l->tls, READ_BYTES);
	SSL_CTX_set_session_cache_mode(l->tls, SSL_SESS_CACHE_OFF);
	if (l->opt.resume) {
		SSL_CTX_set_session_cache_mode(l->tls,
					       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_set_app_data(l->tls, l);
		SSL_CTX_sess_set_new_cb(l->tls, session_new);
	}
	if (l->opt.ca != NULL) {
		SSL_CTX_set_verify(l->tls, SSL_VERIFY_PEER, NULL);
		if (SSL_CTX_load_verify_locations(l->tls, l->opt.ca, NULL) != 1)
			load_die("%s: no certificate could be read", l->opt.ca);
	}
}

static void system_init(struct load *l)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	struct rlimit lim;
	sigset_t set;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
		if (l->opt.connections + 16 > lim.rlim_cur)
			load_die("%" PRIu64
				 " connections need more descriptors than the limit of %ju",
				 l->opt.connections, (uintmax_t)lim.rlim_cur);
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	l->sigfd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->sigfd < 0 || l->epfd < 0 || epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->sigfd, &ev) != 0)
		load_die("epoll: %s", strerror(errno));
}

static void conns_init(struct load *l)
{
	size_t i, n = l->opt.connections;

	l->conns = calloc(n, sizeof(*l->conns));
	l->down = calloc(n, sizeof(struct conn *));
	l->ready = calloc(n, sizeof(struct conn *));
	if (l->conns == NULL || l->down == NULL || l->ready == NULL)
		load_die("out of memory");
	for (i = 0; i < n; i++) {
		l->conns[i].fd = -1;
		l->down[l->n_down++] = &l->conns[i];
	}
	l->n_silent = n;
}

static void load_free(struct load *l)
{
	size_t i;

	for (i = 0; i < l->opt.connections; i++) {
		SSL_free(l->conns[i].ssl);
		if (l->conns[i].fd >= 0)
			close(l->conns[i].fd);
		free(l->conns[i].part.p);
	}
	SSL_SESSION_free(l->session);
	SSL_CTX_free(l->tls);
	close(l->epfd);
	close(l->sigfd);
	free(l->opt.headers.p);
	free(l->opt.body.p);
	free(l->request.p);
	free(l->conns);
	free(l->down);
	free(l->ready);
	free(l);
}

int main(int argc, char **argv)
{
	struct load *l = calloc(1, sizeof(*l));
	double elapsed_s;
	int rc;

	if (l == NULL)
		load_die("out of memory");
	load_options_parse(&l->opt, argc, argv);
	load_options_address(l);
	load_options_request(l);
	system_init(l);
	if (l->opt.tls)
		tls_init(l);
	conns_init(l);
	load_sample_take(l, &l->idle, 0, true);
	run(l);
	elapsed_s = l->marked ? (double)(l->end_ns - l->mark_ns) / 1e9 : 0;
	if (l->opt.json)
		load_report_json(l, elapsed_s);
	else
		load_report_text(l, elapsed_s);
	rc = load_report_verdict(l);
	load_free(l);
	return rc;
}
