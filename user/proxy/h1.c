/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns a client's connection from accept to close, and the order of its requests. Everything that ends a
 * request or the connection happens in h1_turn(), at the end of a turn of the loop, so that no caller
 * below ever sees its request freed under it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/err.h"
#include "proxy/h1_impl.h"
#include "tls/tls_conn.h"

enum {
	FIRST_REQUEST_MS = 1000, /* for a connection's first request after `quit` */
};

static void process(struct h1 *h);

/* Settings before a request has chosen its server: those of the listener's default server. */
const struct http_scope *h1_scope(const struct h1 *h)
{
	return h->r ? h->r->scope : h->client.listener->default_server->scope;
}

void h1_log(const struct h1 *h, enum log_level level, const char *text)
{
	const struct log *l = h1_scope(h)->error_log;

	log_write(l ? l : h->env->log, level, h->client.serial, "%s, client: %.*s", text,
		  (int)h->client.remote.ip_len, h->client.remote.ip);
}

void h1_wake(struct h1 *h)
{
	task_post(&h->env->loop, &h->task);
}

void h1_kill(struct h1 *h, bool reset)
{
	h->dead = true;
	h->reset |= reset;
	h1_wake(h);
}

static void unlink_client(struct h1 *h)
{
	if (h->prev)
		h->prev->next = h->next;
	else
		h->env->clients = h->next;
	if (h->next)
		h->next->prev = h->prev;
	h->env->n_conns--;
	h->env->stats->conns_active--;
}

/* What really went out, for the log: chunk framing counts, what a lost client never got does not. */
static void count_sent(struct h1 *h)
{
	struct request *r = h->r;
	uint64_t sent = h->conn.n_sent - h->sent_before;

	if (r->sent_head_bytes > sent)
		r->sent_head_bytes = sent;
	r->sent_body_bytes = sent - r->sent_head_bytes;
}

void h1_destroy(struct h1 *h)
{
	struct loop *l = &h->env->loop;

	if (h->gone)
		return;
	h->gone = true;
	if (h->phase == H1_HEAD && !h->r)
		h->env->stats->conns_idle--;
	if (h->r) {
		h->env->stats->client_cancelled += !h->r->finished && !h->r->aborted;
		count_sent(h);
		request_client_gone(h->r);
		h->r = NULL;
	}
	timer_cancel(l, &h->timer);
	task_cancel(l, &h->task);
	bufq_clear(&h->out);
	inbuf_clear(&h->in);
	if (h->reset)
		conn_reset(&h->conn);
	else
		conn_close(&h->conn);
	unlink_client(h);
	loop_free(l, h);
}

/* Closes our side and drops what still comes, so that the kernel does not answer unread data with a reset
 * that would take the answer with it. */
static void linger(struct h1 *h)
{
	h->phase = H1_LINGER;
	h->discard_ms = h->env->loop.clock.mono_ms;
	conn_shutdown(&h->conn);
	timer_set(&h->env->loop, &h->timer, (uint64_t)h1_scope(h)->lingering_timeout_ms);
	h1_wake(h);
}

/* What is dropped has an end: lingering_time. */
bool h1_discards_too_long(const struct h1 *h)
{
	return h->env->loop.clock.mono_ms - h->discard_ms >
	       (uint64_t)h1_scope(h)->lingering_time_ms;
}

static void drop_lingering(struct h1 *h)
{
	char sink[4096];
	ssize_t n = 1;

	if (h1_discards_too_long(h)) {
		h1_destroy(h);
		return;
	}
	for (int i = 0; i < H1_READS_PER_TURN && conn_may_read(&h->conn); i++) {
		n = conn_raw_read(&h->conn, sink, sizeof sink);
		if (n <= 0)
			break;
		timer_set(&h->env->loop, &h->timer, (uint64_t)h1_scope(h)->lingering_timeout_ms);
	}
	if (n == 0 || (n < 0 && n != -SL_EAGAIN))
		h1_destroy(h);
	else if (n > 0 && conn_may_read(&h->conn))
		h1_wake(h);
}

void h1_become_idle(struct h1 *h)
{
	const struct http_scope *s = h1_scope(h);

	h->phase = H1_HEAD;
	h->idle_since_ms = h->env->loop.clock.mono_ms;
	h->client.pipelined = inbuf_len(&h->in) > 0;
	h->scan = (struct head_scan){0};
	h->env->stats->conns_idle++;
	timer_set(&h->env->loop, &h->timer,
		  (uint64_t)(h->client.n_requests ? s->keepalive_timeout_ms
						  : s->client_header_timeout_ms));
}

/* The answer is out: the next request, or the end. */
static void after_answer(struct h1 *h)
{
	struct request *r = h->r;
	bool close_now = h->close_after, clean = h->body_done && !inbuf_len(&h->in);
	bool cut = h->abort_after;
	uint64_t keepalive_ms = (uint64_t)r->scope->keepalive_timeout_ms;

	if (cut) {
		/* Without a length or a final chunk only a reset says that the answer is not whole. */
		h->conn.failed = true;
		h->reset = h->ends_by_close;
		h1_destroy(h);
		return;
	}
	count_sent(h);
	request_done(r);
	h->r = NULL;
	h->finished = false;
	h->body_wanted = false;
	if (close_now) {
		if (clean)
			h1_destroy(h);
		else
			linger(h);
		return;
	}
	if (!h->body_done) {
		h->phase = H1_DISCARD;
		h->discard_ms = h->env->loop.clock.mono_ms;
		timer_set(&h->env->loop, &h->timer, (uint64_t)h1_scope(h)->lingering_timeout_ms);
		return;
	}
	h1_become_idle(h);
	timer_set(&h->env->loop, &h->timer, keepalive_ms);
	if (h->env->quitting && !inbuf_len(&h->in))
		h1_destroy(h);
}

static void h1_turn(struct task *t)
{
	struct h1 *h = (struct h1 *)((char *)t - offsetof(struct h1, task));

	if (h->dead) {
		h1_destroy(h);
		return;
	}
	if (h->phase == H1_REQUEST && (h->finished || h->abort_after)) {
		h1_flush(h);
		if (h->dead) {
			h1_destroy(h);
			return;
		}
		if (h->out.bytes)
			return;
		after_answer(h);
		if (h->gone)
			return;
	}
	process(h);
}

/* While a request is served: its body, room for its answer, or its client's leaving. */
static void serve(struct h1 *h)
{
	uint64_t before = h->out.bytes;

	if (h->body_wanted)
		h1_pull_body(h, true);
	if (h->dead)
		return;
	if (before) {
		h1_flush(h);
		if (!h->dead && h->out.bytes < before && !h->finished)
			request_drained(h->r);
	}
	/* As nginx: a client that closed its side has left, unless the whole answer is on its way. */
	if (h->conn.failed ||
	    (h->conn.peer_closed && !h->body_wanted && !h->finished && !h->abort_after))
		h1_kill(h, false);
}

static void plain_http(struct h1 *h)
{
	char first[TLS_PLAIN_MAX];

	tls_drop(&h->conn, first, sizeof first);
	h->client.tls = false;
	h1_become_idle(h);
	h->r = h1_new_request(h);
	h1_refuse(h, 400, "The plain HTTP request was sent to HTTPS port");
}

static void handshake(struct h1 *h)
{
	int r = tls_handshake(&h->conn);
	char text[640];

	if (r == -SL_EAGAIN)
		return;
	if (r == 0) {
		h->env->stats->tls_handshakes++;
		h->env->stats->tls_resumed += tls_session_reused(&h->conn);
		h1_become_idle(h);
		return;
	}
	h->env->stats->tls_failed++;
	if (tls_got_plain_http(&h->conn)) {
		h1_log(h, LOG_LVL_INFO, "client sent plain HTTP request to HTTPS port");
		plain_http(h);
		return;
	}
	snprintf(text, sizeof text, "%s while SSL handshaking", tls_error_text(&h->conn));
	h1_log(h, LOG_LVL_INFO, text);
	h1_destroy(h);
}

static void process(struct h1 *h)
{
	if (h->phase == H1_HANDSHAKE)
		handshake(h);
	if (!h->gone && h->phase == H1_DISCARD)
		h1_pull_body(h, false);
	if (!h->gone && !h->dead && h->phase == H1_HEAD)
		h1_read_head(h);
	if (!h->gone && !h->dead && h->phase == H1_REQUEST)
		serve(h);
	else if (!h->gone && h->phase == H1_LINGER)
		drop_lingering(h);
}

static void on_event(struct conn *c)
{
	struct h1 *h = (struct h1 *)c;

	if (h->dead)
		return;
	if (c->failed && h->phase != H1_HANDSHAKE && h->phase != H1_HEAD) {
		h1_kill(h, false);
		return;
	}
	process(h);
}

static void on_timer(struct timer *t)
{
	struct h1 *h = (struct h1 *)((char *)t - offsetof(struct h1, timer));
	bool idle = h->phase == H1_HEAD && !h->r;

	if (h->dead)
		return;
	if (h->phase == H1_REQUEST)
		h1_log(h, LOG_LVL_INFO,
		       h->out.bytes ? "client timed out while sending to client"
				    : "client timed out while reading request body");
	else if (h->phase == H1_HANDSHAKE)
		h1_log(h, LOG_LVL_INFO, "client timed out while SSL handshaking");
	else if (!idle && h->phase == H1_HEAD)
		h1_log(h, LOG_LVL_INFO, "client timed out while reading client request headers");
	if (h->r && !h->r->resp.status)
		h->r->resp.status = 408;
	h1_kill(h, false);
}

static void set_client(struct h1 *h, const struct listener *l, const struct addr *peer)
{
	struct client *c = &h->client;
	char text[ADDR_TEXT_MAX];

	c->remote.addr = *peer;
	addr_ip_text(peer, text);
	c->remote.ip_len = (uint32_t)snprintf(c->remote.ip, sizeof c->remote.ip, "%.47s", text);
	c->serial = ++h->env->n_serial;
	c->conn = &h->conn;
	c->listener = l;
	if (l->has_specific) {
		c->local.len = sizeof c->local.un;
		if (getsockname(h->conn.io.fd, &c->local.sa, &c->local.len) == 0)
			c->listener = http_conf_listener(h->env->http, l, &c->local);
	}
	c->tls = c->listener->ssl;
}

void h1_start(struct env *env, const struct listener *l, int fd, const struct addr *peer)
{
	struct h1 *h = calloc(1, sizeof *h);

	if (!h) {
		close(fd);
		return;
	}
	if (conn_start(&h->conn, &env->loop, fd, on_event)) {
		free(h);
		return;
	}
	h->env = env;
	h->made_ms = env->loop.clock.mono_ms;
	h->task.fn = h1_turn;
	timer_init(&h->timer, on_timer);
	bufq_init(&h->out);
	h->next = env->clients;
	if (h->next)
		h->next->prev = h;
	env->clients = h;
	env->n_conns++;
	env->stats->conns_active++;
	env->stats->conns_accepted++;
	set_client(h, l, peer);
	h->body_done = true;
	if (!h->client.tls) {
		h1_become_idle(h);
		return;
	}
	h->phase = H1_HANDSHAKE;
	if (tls_accept_start(&h->conn, &h->client.listener->tls)) {
		h1_kill(h, false);
		return;
	}
	timer_set(&env->loop, &h->timer, (uint64_t)h1_scope(h)->client_header_timeout_ms);
}

void h1_drain(struct env *env, bool close_idle)
{
	struct h1 *h, *next;

	for (h = env->clients; h; h = next) {
		next = h->next;
		if (!close_idle || h->phase != H1_HEAD || h->r)
			continue;
		/* Who has only just connected is about to ask. */
		if (h->client.n_requests)
			h1_kill(h, false);
		else
			timer_set(&env->loop, &h->timer, FIRST_REQUEST_MS);
	}
}

bool h1_close_idlest(struct env *env)
{
	struct h1 *oldest = NULL;

	for (struct h1 *h = env->clients; h; h = h->next)
		if (h->phase == H1_HEAD && !h->r && !h->dead &&
		    (!oldest || h->idle_since_ms < oldest->idle_since_ms))
			oldest = h;
	if (oldest)
		h1_destroy(oldest);
	return oldest != NULL;
}

unsigned h1_reset_address(struct env *env, uint8_t family, const uint8_t *bytes)
{
	unsigned n = 0;

	for (struct h1 *h = env->clients; h; h = h->next) {
		const uint8_t *b;

		if (addr_bytes(&h->client.remote.addr, &b) == (family == 4 ? 4u : 16u) &&
		    memcmp(b, bytes, family == 4 ? 4 : 16) == 0) {
			h1_kill(h, true);
			n++;
		}
	}
	return n;
}

void h1_close_all(struct env *env)
{
	while (env->clients)
		h1_destroy(env->clients);
}
