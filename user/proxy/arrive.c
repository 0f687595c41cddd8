/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns a connection until it is known what it speaks. Reads no request. */
#include "proxy/arrive.h"

#include <stdio.h>

#include "core/err.h"
#include "proxy/h1.h"
#include "tls/tls_conn.h"

static void begin(struct client_conn *c)
{
	if (!c->client.tls) {
		client_become(c, &h1_proto);
		return;
	}
	if (tls_accept_start(&c->conn, &c->client.listener->tls)) {
		client_kill(c, false);
		return;
	}
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
		client_become(c, &h1_proto);
		c->proto->event(c);
		return;
	}
	c->env->stats->tls_failed++;
	if (tls_got_plain_http(&c->conn)) {
		plain_http(c);
		return;
	}
	snprintf(text, sizeof text, "%s while SSL handshaking", tls_error_text(&c->conn));
	client_log(c, client_scope(c), LOG_LVL_INFO, text);
	client_destroy(c);
}

static void timeout(struct client_conn *c)
{
	client_log(c, client_scope(c), LOG_LVL_INFO, "client timed out while SSL handshaking");
	client_kill(c, false);
}

static void drain(struct client_conn *c, bool quit)
{
}

const struct client_proto arrive_proto = {
	.begin = begin,
	.event = handshake,
	.turn = handshake,
	.timeout = timeout,
	.drain = drain,
};
