/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the order of an HTTP/1 connection's requests. Everything that ends a request or the connection
 * happens in turn(), at the end of a turn of the loop, so that no caller below ever sees its request
 * freed under it. */
#include <stdio.h>

#include "core/err.h"
#include "proxy/h1_impl.h"
#include "proxy/upstream.h"

const size_t h1_bytes = sizeof(struct h1);

static void process(struct h1 *h);

/* Settings before a request has chosen its server: those of the listener's default server. */
const struct http_scope *h1_scope(const struct h1 *h)
{
	return h->r ? h->r->scope : client_scope(&h->c);
}

static void log_info(const struct h1 *h, const char *text)
{
	client_log(&h->c, h1_scope(h), LOG_LVL_INFO, text);
}

/* What really went out, for the log: chunk framing counts, what a lost client never got does not. */
static void count_sent(struct h1 *h)
{
	struct request *r = h->r;
	uint64_t sent = h->c.conn.n_sent - h->sent_before;

	if (r->sent_head_bytes > sent)
		r->sent_head_bytes = sent;
	r->sent_body_bytes = sent - r->sent_head_bytes;
}

static void end(struct client_conn *c)
{
	struct h1 *h = (struct h1 *)c;

	if (!h->r)
		return;
	c->env->stats->client_cancelled += !h->r->finished && !h->r->aborted;
	count_sent(h);
	request_client_gone(h->r);
	h->r = NULL;
}

void h1_become_idle(struct h1 *h)
{
	const struct http_scope *s = h1_scope(h);

	h->phase = H1_HEAD;
	client_set_idle(&h->c, true);
	h->c.client.pipelined = inbuf_len(&h->c.in) > 0;
	h->scan = (struct head_scan){0};
	client_set_timer(&h->c, h->c.client.n_requests ? s->keepalive_timeout_ms
						       : s->client_header_timeout_ms);
}

/* The answer is out: the next request (true), or the end. */
static bool after_answer(struct h1 *h)
{
	struct request *r = h->r;
	bool close_now = h->close_after,
	     clean = h->body_done && !inbuf_len(&h->c.in) && !tls_is_early(&h->c.conn);
	bool cut = h->abort_after;
	int64_t keepalive_ms = r->scope->keepalive_timeout_ms;
	int64_t lingering = r->scope->lingering_close;

	if (cut) {
		/* Without a length or a final chunk only a reset says that the answer is not whole. */
		h->c.conn.failed = true;
		h->c.reset = h->ends_by_close;
		client_destroy(&h->c);
		return false;
	}
	count_sent(h);
	request_done(r);
	h->r = NULL;
	h->finished = false;
	h->body_wanted = h->body_paused = false;
	if (close_now) {
		if (lingering == HTTP_LINGERING_OFF || (clean && lingering == HTTP_LINGERING_ON))
			client_destroy(&h->c);
		else
			client_linger(&h->c);
		return false;
	}
	if (!h->body_done) {
		h->phase = H1_DISCARD;
		h->c.discard_ms = h->c.env->loop.clock.mono_ms;
		client_set_timer(&h->c, h1_scope(h)->lingering_timeout_ms);
		return true;
	}
	h1_become_idle(h);
	client_set_timer(&h->c, keepalive_ms);
	if (!h->c.env->quitting || inbuf_len(&h->c.in))
		return true;
	client_destroy(&h->c);
	return false;
}

static void turn(struct client_conn *c)
{
	struct h1 *h = (struct h1 *)c;

	if (h->phase == H1_REQUEST && (h->finished || h->abort_after)) {
		h1_flush(h);
		if (h->c.dead) {
			client_destroy(&h->c);
			return;
		}
		if (h->c.out.bytes)
			return;
		if (!after_answer(h))
			return;
	}
	process(h);
}

/* Does the request go on although its client closed? Only a whole one, and with a broken connection no longer
 * than to the head of its answer, whose writing will fail. */
static bool outlives_client(const struct h1 *h)
{
	return h->r && h->body_done && upstream_ignores_abort(h->r) &&
	       (!h->c.conn.failed || !h->r->head_sent);
}

/* While a request is served: its body, room for its answer, or its client's leaving. */
static void serve(struct h1 *h)
{
	uint64_t before = h->c.out.bytes;

	if (h->body_wanted && !h->body_paused)
		h1_pull_body(h, true);
	if (h->c.dead)
		return;
	if (before || h->copies) {
		h1_flush(h);
		if (!h->c.dead && !h->finished &&
		    (h->c.out.bytes < before || (h->copies && h->c.conn.writable)))
			request_drained(h->r);
	}
	if (h->tunnel) {
		/* Its end comes in order, behind its last bytes, as long as it is read. */
		if (h->c.conn.failed && !h->body_wanted && !h->end_sending)
			client_kill(&h->c, false);
		return;
	}
	/* As nginx: a client that closed its side has left, unless the whole answer is on its way. */
	if ((h->c.conn.failed ||
	     (h->c.conn.peer_closed && !h->body_wanted && !h->finished && !h->abort_after)) &&
	    !outlives_client(h))
		client_kill(&h->c, false);
}

static void process(struct h1 *h)
{
	if (h->phase == H1_DISCARD)
		h1_pull_body(h, false);
	if (!h->c.gone && !h->c.dead && h->phase == H1_HEAD)
		h1_read_head(h);
	if (!h->c.gone && !h->c.dead && h->phase == H1_REQUEST)
		serve(h);
}

/* Is it read from now? What came before its end is judged then. */
static bool is_read(const struct h1 *h)
{
	return h->phase != H1_REQUEST || h->tunnel || (h->body_wanted && !h->body_paused);
}

static void event(struct client_conn *c)
{
	struct h1 *h = (struct h1 *)c;

	if (c->conn.failed && !is_read(h) && !outlives_client(h))
		client_kill(c, false);
	else
		process(h);
}

/* Its head (a first one not even begun) or body did not come; not: it does not read its answer. */
static bool is_late(const struct h1 *h)
{
	if (h->phase == H1_REQUEST)
		return !h->c.out.bytes && !h->copies;
	return h->phase == H1_HEAD && (h->r || !h->c.client.n_requests);
}

static struct request *awaited(const struct client_conn *c)
{
	const struct h1 *h = (const struct h1 *)c;

	return h->phase == H1_REQUEST ? h->r : NULL;
}

static void timeout(struct client_conn *c)
{
	struct h1 *h = (struct h1 *)c;

	if (h->phase == H1_REQUEST)
		log_info(h, c->out.bytes || h->copies
				    ? "client timed out while sending to client"
				    : "client timed out while reading request body");
	else if (h->phase == H1_HEAD && h->r)
		log_info(h, "client timed out while reading client request headers");
	if (is_late(h))
		client_offence(c, BAN_ON_SLOW_CLIENT);
	if (h->r && !h->r->resp.status)
		h->r->resp.status = 408;
	client_kill(c, h->r && h->r->scope->reset_timedout);
}

static void begin(struct client_conn *c)
{
	struct h1 *h = (struct h1 *)c;

	h->body_done = true;
	h1_become_idle(h);
}

static void drain(struct client_conn *c, bool quit)
{
	if (!quit || !c->idle)
		return;
	/* Who has only just connected is about to ask. */
	if (c->client.n_requests)
		client_kill(c, false);
	else
		client_set_timer(c, CLIENT_FIRST_REQUEST_MS);
}

static const struct http_scope *awaits(const struct client_conn *c)
{
	const struct h1 *h = (const struct h1 *)c;
	bool input = h->phase == H1_HEAD ? h->r != NULL : h->body_wanted && !h->body_paused;

	return !h->tunnel && (input || c->out.bytes || h->copies) ? h1_scope(h) : NULL;
}

const struct client_proto h1_proto = {
	.begin = begin,
	.event = event,
	.turn = turn,
	.timeout = timeout,
	.drain = drain,
	.awaits = awaits,
	.awaited = awaited,
	.end = end,
};
