/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns a connection until it is known what it speaks. Reads no request. */
#include "proxy/arrive.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "proxy/h1.h"
#include "proxy/h2.h"
#include "proxy/http_listen.h"
#include "tls/tls_conn.h"

enum phase {
	ARRIVE_PROXY, /* a PROXY protocol header comes first */
	ARRIVE_TLS,
	ARRIVE_PREFACE, /* plain, where HTTP/2 may be spoken too */
};

/* RFC 9113 3.4 */
static const struct slice preface = SLICE_INIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/* What came in with the last message is waiting: no event will tell of it. */
static void become(struct client_conn *c, const struct client_proto *proto)
{
	client_become(c, proto);
	if (!c->dead)
		proto->event(c);
}

static void after_proxy(struct client_conn *c)
{
	const struct listener *l = c->client.listener;

	if (!c->client.tls) {
		if (!http_listen_has_h2(l, l->default_server)) {
			client_become(c, &h1_proto);
			return;
		}
		c->phase = ARRIVE_PREFACE;
		client_set_idle(c, true);
		client_set_timer(c, client_scope(c)->client_header_timeout_ms);
		return;
	}
	if (tls_accept_start(&c->conn, &c->client.listener->tls)) {
		client_kill(c, false);
		return;
	}
	c->phase = ARRIVE_TLS;
	client_set_timer(c, client_scope(c)->client_header_timeout_ms);
}

/* Is looked at before it is taken: what follows may be TLS's. */
static void read_proxy(struct client_conn *c)
{
	char text[PROXY_INTRO_MAX];
	struct proxy_intro header;
	ssize_t n = conn_raw_peek(&c->conn, text, sizeof text);
	int used;

	if (n == -SL_EAGAIN)
		return;
	if (n <= 0) {
		client_destroy(c);
		return;
	}
	used = proxy_intro_parse(slice_make(text, (size_t)n), &header);
	if (used == 0)
		return;
	c->conn.readable = true;
	if (used < 0 || conn_raw_read(&c->conn, text, (size_t)used) != used) {
		c->env->stats->bad_requests++;
		client_log(c, client_scope(c), LOG_LVL_ERROR,
			   "broken header while reading PROXY protocol");
		client_destroy(c);
		return;
	}
	c->conn.readable = true;
	if (header.src.len) {
		c->client.proxied = malloc(sizeof header);
		if (!c->client.proxied) {
			client_destroy(c);
			return;
		}
		*c->client.proxied = header;
	}
	timer_pause(&c->timer);
	after_proxy(c);
	if (!c->dead)
		c->proto->event(c);
}

static void begin(struct client_conn *c)
{
	if (!c->client.listener->proxy_protocol) {
		after_proxy(c);
		return;
	}
	c->phase = ARRIVE_PROXY;
	client_set_timer(c, client_scope(c)->client_header_timeout_ms);
}

static void plain_http(struct client_conn *c)
{
	uint32_t room = inbuf_reserve(&c->in, TLS_PLAIN_MAX);

	/* The request is read to its end, so that an error_page can send the client to its address. */
	c->in.end += (uint32_t)tls_drop(&c->conn, c->in.p + c->in.end, room);
	c->client.tls = false;
	client_become(c, &h1_proto);
	c->proto->event(c);
}

static void handshake(struct client_conn *c)
{
	int r = tls_handshake(&c->conn);
	char text[640];

	if (r == -SL_EAGAIN)
		return;
	if (r == 0) {
		c->env->stats->tls_handshakes++;
		c->env->stats->tls_resumed += tls_session_reused(&c->conn);
		become(c, slice_eq(tls_alpn(&c->conn), SLICE("h2")) ? &h2_proto : &h1_proto);
		return;
	}
	c->env->stats->tls_failed++;
	if (tls_error_is_offence(&c->conn))
		client_offence(c, BAN_ON_TLS_HANDSHAKE);
	if (tls_got_plain_http(&c->conn)) {
		plain_http(c);
		return;
	}
	snprintf(text, sizeof text, "%s while SSL handshaking", tls_error_text(&c->conn));
	client_log(c, client_scope(c), LOG_LVL_INFO, text);
	client_destroy(c);
}

/* Reads on while what is there may become the preface. */
static void read_preface(struct client_conn *c)
{
	struct slice in;
	uint32_t room;
	ssize_t n = 1;

	while (n > 0) {
		in = inbuf_slice(&c->in);
		if (slice_starts(in, preface)) {
			become(c, &h2_proto);
			return;
		}
		if (in.n && !slice_starts(preface, in)) {
			become(c, &h1_proto);
			return;
		}
		n = -SL_EAGAIN;
		if (conn_may_read(&c->conn)) {
			room = inbuf_reserve(&c->in, 0);
			n = conn_read(&c->conn, c->in.p + c->in.end, room);
		}
		if (n > 0)
			c->in.end += (uint32_t)n;
	}
	if (!inbuf_len(&c->in))
		inbuf_clear(&c->in);
	if (n != -SL_EAGAIN)
		client_destroy(c);
}

static void event(struct client_conn *c)
{
	switch (c->phase) {
	case ARRIVE_PROXY:
		read_proxy(c);
		break;
	case ARRIVE_TLS:
		handshake(c);
		break;
	default:
		read_preface(c);
		break;
	}
}

static void timeout(struct client_conn *c)
{
	if (c->phase == ARRIVE_PROXY)
		client_log(c, client_scope(c), LOG_LVL_INFO,
			   "client timed out while reading PROXY protocol");
	else if (c->phase == ARRIVE_TLS)
		client_log(c, client_scope(c), LOG_LVL_INFO,
			   "client timed out while SSL handshaking");
	if (c->phase != ARRIVE_PROXY)
		client_offence(c,
			       c->phase == ARRIVE_TLS ? BAN_ON_TLS_HANDSHAKE : BAN_ON_SLOW_CLIENT);
	client_kill(c, false);
}

static void drain(struct client_conn *c, bool quit)
{
	if (quit && c->idle)
		client_set_timer(c, CLIENT_FIRST_REQUEST_MS);
}

const struct client_proto arrive_proto = {
	.begin = begin,
	.event = event,
	.turn = event,
	.timeout = timeout,
	.drain = drain,
};
