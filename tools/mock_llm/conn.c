/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections of mock-llm: accepting, TLS, reading requests whole, and the several ways to end.
 * What is answered is reply.c's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "mock.h"

enum { ACCEPTS_A_TURN = 64, READS_A_TURN = 16, IDLE_KEEP_MAX = 16384 };

static const uint64_t linger_ns = 500 * 1000000ull;

static void update(struct conn *c)
{
	uint64_t due_ns = UINT64_MAX;
	uint32_t events = c->want_out ? EPOLLOUT : 0;

	if (c->dead)
		return;
	if (!c->eof && !c->paused)
		events |= EPOLLIN | EPOLLRDHUP;
	else if (!c->eof && !c->hup)
		events |= EPOLLRDHUP;
	if (events != c->events) {
		struct epoll_event ev = {.events = events, .data.ptr = c};
		epoll_ctl(c->srv->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
		c->events = events;
	}
	if (c->state == CONN_LINGER)
		due_ns = c->linger_due_ns;
	else if (c->state == CONN_REPLY)
		due_ns = reply_due_ns(c);
	if (due_ns == UINT64_MAX)
		timer_cancel(&c->srv->timers, &c->timer);
	else if (c->timer.pos == 0 || c->timer.due_ns != due_ns)
		timer_start(&c->srv->timers, &c->timer, due_ns);
	if (buf_pending(&c->in) == 0)
		buf_reset(&c->in, IDLE_KEEP_MAX);
}

void conn_drop(struct conn *c, bool reset)
{
	struct server *srv = c->srv;

	if (c->dead)
		return;
	if (reset) {
		struct linger now = {.l_onoff = 1, .l_linger = 0};
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	close(c->fd);
	timer_cancel(&srv->timers, &c->timer);
	SSL_free(c->ssl);
	c->ssl = NULL;
	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	c->dead = true;
	c->next = srv->dead;
	srv->dead = c;
	srv->stats.connections_active--;
}

void conn_reap(struct server *srv)
{
	while (srv->dead != NULL) {
		struct conn *c = srv->dead;
		srv->dead = c->next;
		buf_free(&c->in);
		buf_free(&c->out);
		buf_free(&c->req.text);
		buf_free(&c->req.body);
		EVP_MD_CTX_free(c->req.sha);
		free(c);
	}
}

void conn_close(struct conn *c, bool bare)
{
	if (c->ssl != NULL && c->tls_ready && !bare) {
		ERR_clear_error();
		SSL_shutdown(c->ssl);
	}
	if (c->eof || shutdown(c->fd, SHUT_WR) < 0) {
		conn_drop(c, false);
		return;
	}
	c->state = CONN_LINGER;
	c->paused = c->want_out = false;
	c->linger_due_ns = timer_now_ns() + linger_ns;
	buf_free(&c->in);
}

/* The client left, or reset. */
static void gone(struct conn *c)
{
	if (c->state == CONN_REPLY)
		reply_end(c, true);
	else if (c->state == CONN_BODY || (c->state == CONN_HEAD && buf_pending(&c->in) > 0))
		c->srv->stats.aborted_requests++;
	conn_drop(c, false);
}

/* > 0: bytes; 0: end; -EAGAIN: later; otherwise the connection is broken. */
static long receive(struct conn *c, char *p, size_t n)
{
	if (c->ssl == NULL) {
		ssize_t got = recv(c->fd, p, n, 0);
		return got >= 0 ? got : errno == EINTR ? -EAGAIN : -errno;
	}
	ERR_clear_error();
	int got = SSL_read(c->ssl, p, (int)n);
	if (got > 0)
		return got;
	switch (SSL_get_error(c->ssl, got)) {
	case SSL_ERROR_WANT_WRITE:
		c->want_out = true;
		return -EAGAIN;
	case SSL_ERROR_WANT_READ:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	}
	return -EIO;
}

/* As receive(), for writing; never 0. */
static long transmit(struct conn *c, const char *p, size_t n)
{
	if (c->ssl == NULL) {
		ssize_t put = send(c->fd, p, n, MSG_NOSIGNAL);
		return put >= 0 ? put : errno == EINTR ? -EAGAIN : -errno;
	}
	ERR_clear_error();
	int put = SSL_write(c->ssl, p, (int)n);
	if (put > 0)
		return put;
	int error = SSL_get_error(c->ssl, put);
	return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? -EAGAIN : -EIO;
}

int conn_flush(struct conn *c, uint64_t now_ns)
{
	static const size_t odd[] = {1, 2, 5, 11, 23, 47, 97};
	struct reply *r = &c->reply;

	c->want_out = false;
	while (buf_pending(&c->out) > 0) {
		size_t n = buf_pending(&c->out);
		if (r->gate_ns > 0) {
			size_t piece = r->behave.fault == FAULT_DRIP ? 1 : odd[r->gate_step % 7];
			if (r->gate_due_ns > now_ns)
				return 0;
			n = n < piece ? n : piece;
		}
		long put = transmit(c, buf_head(&c->out), n);
		if (put == -EAGAIN) {
			c->want_out = true;
			return 0;
		}
		if (put < 0)
			return -1;
		buf_consume(&c->out, (size_t)put);
		if (r->gate_ns > 0) {
			r->gate_due_ns = now_ns + r->gate_ns;
			r->gate_step++;
		}
	}
	return 0;
}

static void body_data(struct request *q, struct span data)
{
	bool api = q->endpoint == EP_CHAT || q->endpoint == EP_MESSAGES ||
		   q->endpoint == EP_EMBEDDINGS;
	size_t max = api ? API_BODY_MAX : BODY_KEEP_MAX;

	q->body_bytes += data.n;
	if (q->sha != NULL && data.n > 0)
		EVP_DigestUpdate(q->sha, data.p, data.n);
	if (buf_pending(&q->body) + data.n <= max)
		buf_span(&q->body, data);
	else if (api)
		q->too_large = true;
}

static struct span moved(struct span s, const char *from, const char *to)
{
	return (struct span){to + (s.p - from), s.n};
}

/* A head is complete: what its body needs, and the answers that do not wait for it. */
static void begin_request(struct conn *c, const char *p, size_t len)
{
	struct request *q = &c->req;
	struct head *h = &q->head;
	struct behave now = c->srv->defaults;
	struct span bad;

	buf_reset(&q->text, SIZE_MAX);
	buf_add(&q->text, p, len);
	h->method = moved(h->method, p, buf_head(&q->text));
	h->target = moved(h->target, p, buf_head(&q->text));
	h->headers = moved(h->headers, p, buf_head(&q->text));
	q->endpoint = route_find(h->target);
	q->chunked = (struct chunked){0};
	q->body_bytes = 0;
	q->too_large = false;
	buf_reset(&q->body, SIZE_MAX);
	if (q->endpoint == EP_ECHO || q->endpoint == EP_UPLOAD) {
		q->sha = EVP_MD_CTX_new();
		EVP_DigestInit_ex(q->sha, EVP_sha256(), NULL);
	}
	c->state = CONN_BODY;
	if ((!h->chunked && h->length == 0) || q->endpoint == EP_STATS)
		return;
	behave_query(&now, h->target, &bad);
	behave_headers(&now, h, &bad);
	if (now.fault == FAULT_EARLY_ANSWER)
		reply_start(c);
}

static size_t read_body(struct conn *c, const char *p, size_t n)
{
	struct request *q = &c->req;
	struct span data;

	if (!q->head.chunked) {
		uint64_t left = q->head.length - q->body_bytes;
		data = (struct span){p, n < left ? n : (size_t)left};
		body_data(q, data);
		if (q->body_bytes == q->head.length)
			reply_start(c);
		return data.n;
	}
	size_t used = 0;
	while (used < n && !chunked_done(&q->chunked)) {
		long took = chunked_feed(&q->chunked, p + used, n - used, &data);
		if (took < 0) {
			EVP_MD_CTX_free(q->sha);
			q->sha = NULL;
			reply_bad_request(c, "malformed chunked body");
			return n;
		}
		body_data(q, data);
		used += (size_t)took;
	}
	if (chunked_done(&q->chunked))
		reply_start(c);
	return used;
}

/* Takes one request, or as much of it as there is; returns how many bytes that was. */
static size_t take_request(struct conn *c, const char *p, size_t n)
{
	size_t used = 0;

	if (c->state == CONN_HEAD) {
		int len = head_parse(p, n, &c->req.head);
		if (len < 0) {
			reply_bad_request(c, c->req.head.error);
			return n;
		}
		if (len == 0)
			return 0;
		used = (size_t)len;
		begin_request(c, p, used);
		if (c->state == CONN_BODY && used == n && c->req.head.expect &&
		    (c->req.head.chunked || c->req.head.length > 0)) {
			c->reply.gate_ns = 0;
			buf_span(&c->out, SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
			conn_flush(c, 0);
		}
	}
	if (c->state == CONN_BODY)
		used += read_body(c, p + used, n - used);
	return used;
}

/* Answers and takes requests until something has to be waited for. */
static void run(struct conn *c)
{
	while (!c->dead && c->state != CONN_LINGER) {
		if (c->state == CONN_REPLY) {
			reply_pump(c);
			if (c->state == CONN_REPLY)
				return;
			continue;
		}
		if (buf_pending(&c->out) > 0 && conn_flush(c, 0) < 0) {
			gone(c);
			return;
		}
		if (buf_pending(&c->in) == 0)
			return;
		size_t used = take_request(c, buf_head(&c->in), buf_pending(&c->in));
		buf_consume(&c->in, used);
		if (used == 0)
			return;
	}
}

static void feed(struct conn *c, const char *p, size_t n)
{
	size_t used = 0;

	if (c->state == CONN_LINGER)
		return;
	if (c->state != CONN_REPLY && buf_pending(&c->in) == 0)
		used = take_request(c, p, n);
	buf_add(&c->in, p + used, n - used);
	run(c);
}

static void read_some(struct conn *c, bool to_the_end)
{
	char *p = c->srv->recv_buf;

	for (int i = 0; i < READS_A_TURN && !c->dead && c->state != CONN_LINGER; i++) {
		if (c->state == CONN_REPLY && buf_pending(&c->in) >= IN_MAX) {
			c->paused = true;
			return;
		}
		long got = receive(c, p, RECV_MAX);
		if (got == -EAGAIN)
			return;
		if (got == 0) {
			c->eof = true;
			return;
		}
		if (got < 0) {
			gone(c);
			return;
		}
		feed(c, p, (size_t)got);
		if (c->ssl == NULL && got < RECV_MAX && !to_the_end)
			return;
	}
}

static void serve(struct conn *c, bool readable, bool to_the_end)
{
	for (;;) {
		if (readable && !c->eof && !c->paused)
			read_some(c, to_the_end);
		run(c);
		if (c->dead || c->state == CONN_LINGER || !c->paused || c->state == CONN_REPLY)
			break;
		c->paused = c->hup = false;
		readable = to_the_end = true;
	}
	if (c->dead || c->state == CONN_LINGER)
		return;
	if ((c->eof || c->hup) && (c->state != CONN_REPLY || reply_waiting(c)))
		gone(c);
}

static void linger_read(struct conn *c)
{
	for (int i = 0; i < READS_A_TURN; i++) {
		ssize_t got = recv(c->fd, c->srv->recv_buf, RECV_MAX, 0);
		if (got > 0 || (got < 0 && errno == EINTR))
			continue;
		if (got == 0 || errno != EAGAIN)
			conn_drop(c, false);
		return;
	}
}

static bool handshake(struct conn *c)
{
	ERR_clear_error();
	int rc = SSL_do_handshake(c->ssl);
	if (rc == 1) {
		c->tls_ready = true;
		if (SSL_session_reused(c->ssl))
			c->srv->stats.tls_resumed++;
		return true;
	}
	int error = SSL_get_error(c->ssl, rc);
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
		c->want_out = error == SSL_ERROR_WANT_WRITE;
		return false;
	}
	c->srv->stats.tls_failed++;
	conn_drop(c, false);
	return false;
}

void conn_event(struct conn *c, uint32_t events)
{
	if (c->dead)
		return;
	if ((events & EPOLLERR) || ((events & EPOLLHUP) && c->eof)) {
		gone(c);
		return;
	}
	c->want_out = false;
	if (c->state == CONN_LINGER) {
		linger_read(c);
	} else if (c->tls_ready || handshake(c)) {
		bool hup = events & (EPOLLRDHUP | EPOLLHUP);
		if (c->paused)
			c->hup = c->hup || hup;
		serve(c, (events & ~(uint32_t)EPOLLOUT) != 0 || c->ssl != NULL, hup);
	}
	update(c);
}

void conn_timer(struct conn *c, uint64_t now_ns)
{
	if (c->state == CONN_LINGER)
		conn_drop(c, false);
	else
		serve(c, false, false);
	update(c);
}

struct conn *conn_of_timer(struct timer *t)
{
	return (struct conn *)((char *)t - offsetof(struct conn, timer));
}

static void start(struct server *srv, struct listener *l, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
	int on = 1;

	if (c == NULL) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
		   sizeof(on)); /* fails on a unix socket, where it is no matter */
	*c = (struct conn){
		.watch = WATCH_CONN, .fd = fd, .srv = srv, .listener = l, .tls_ready = true};
	c->events = ev.events;
	if (l->tls) {
		c->ssl = SSL_new(srv->tls);
		c->tls_ready = false;
	}
	if ((l->tls && (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1)) ||
	    epoll_ctl(srv->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		SSL_free(c->ssl);
		free(c);
		close(fd);
		return;
	}
	if (c->ssl != NULL)
		SSL_set_accept_state(c->ssl);
	c->next = srv->conns;
	c->link = &srv->conns;
	if (c->next != NULL)
		c->next->link = &c->next;
	srv->conns = c;
	c->id = ++srv->stats.connections;
	srv->stats.connections_active++;
}

void conn_accept(struct server *srv, struct listener *l)
{
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EMFILE || errno == ENFILE) && srv->spare_fd >= 0) {
			/* Out of descriptors: turn one client away rather than be woken for it for
			 * ever. */
			close(srv->spare_fd);
			fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
			if (fd >= 0)
				close(fd);
			srv->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
			continue;
		}
		if (fd < 0)
			return;
		if (srv->defaults.fault == FAULT_REFUSE)
			close(fd);
		else
			start(srv, l, fd);
	}
}
