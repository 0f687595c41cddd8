/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns an HTTP/2 connection's life: reading, the end of each turn, time-outs, leaving, abuse. What a stream
 * carries is h2_stream.c's and h2_write.c's. */
#include "proxy/h2.h"

#include <stdio.h>

#include "core/err.h"
#include "proxy/h2_impl.h"

enum {
	DROPPED_MAX = 2 << 20,
	PAUSE_MS = 500, /* between two requests of a client that is to leave */
	READ_NS =
		2 * 1000 *
		1000, /* a turn's, beyond the first buffer: what is cheap to send may be dear to read */
};

const size_t h2_bytes = sizeof(struct h2);

_Static_assert(sizeof((struct stats_worker){0}.h2_abuse) / sizeof(uint64_t) == H2_ABUSE_N,
	       "each kind of abuse has its counter");

static const struct h2_ops session_ops;
static const struct client_proto lingering;

static const struct http_scope *scope_of(const struct h2 *h)
{
	return client_scope(&h->c);
}

static void log_info(const struct h2 *h, const char *text)
{
	client_log(&h->c, scope_of(h), LOG_LVL_INFO, text);
}

/* Leaving. */

static void leave(struct h2 *h)
{
	if (h->leave != H2_STAYS)
		return;
	h->leave = H2_ASKED;
	h->asked_ms = h->c.env->loop.clock.mono_ms;
	h->n_since = 0;
	client_wake(&h->c);
}

static void give_notice(struct h2 *h)
{
	h->leave = H2_NOTICED;
	h->n_since = 0;
	h2_session_notice(h->session);
	client_wake(&h->c);
}

/* The PING behind the notice came back, or was waited for long enough. */
static void leave_now(struct h2 *h)
{
	if (h->leave == H2_LEFT)
		return;
	h->leave = H2_LEFT;
	h2_session_goaway(h->session);
	client_wake(&h->c);
}

static uint64_t since_asked_ms(const struct h2 *h)
{
	return h->c.env->loop.clock.mono_ms - h->asked_ms;
}

/* Is it time to say so? In a pause (the timer's business), or when patience is over, which is as long as an
 * idle connection might have stayed. */
static bool must_notice(const struct h2 *h)
{
	if (h->leave != H2_ASKED)
		return false;
	if (!h->n_streams && h->c.env->quitting)
		return true;
	return since_asked_ms(h) >= (uint64_t)scope_of(h)->keepalive_timeout_ms;
}

static void pong(void *user)
{
	struct h2 *h = user;

	if (h->leave == H2_NOTICED)
		leave_now(h);
}

static bool has_served_enough(const struct h2 *h)
{
	const struct http_scope *s = scope_of(h);

	return h->c.client.n_requests >= (uint64_t)s->keepalive_requests ||
	       h->c.env->loop.clock.mono_ms - h->c.client.made_ms >= (uint64_t)s->keepalive_time_ms;
}

static void *open_stream(void *user, int32_t id)
{
	struct h2 *h = user;
	void *s = h2_stream_open(user, id);

	if (h->c.env->draining || has_served_enough(h))
		leave(h);
	if (h->n_since <= (uint64_t)h->conf->max_streams)
		return s;
	/* Who goes on asking makes no pause, has not read the notice, or does not want to. */
	if (h->leave == H2_NOTICED)
		leave_now(h);
	else if (h->leave == H2_ASKED && has_served_enough(h))
		give_notice(h);
	return s;
}

static const struct h2_ops session_ops = {
	.open = open_stream,
	.field = h2_stream_field,
	.head = h2_stream_head,
	.data = h2_stream_data,
	.data_end = h2_stream_data_end,
	.closed = h2_stream_closed,
	.pong = pong,
	.pull = h2_write_pull,
	.put_data = h2_write_data,
	.put = h2_write_bytes,
	.head_sent = h2_write_head_sent,
	.surplus = h2_write_surplus,
};

/* Ending. */

static void end(struct client_conn *c)
{
	struct h2 *h = (struct h2 *)c;

	while (h->streams)
		h2_stream_drop(h->streams);
	h2_session_free(h->session);
	h->session = NULL;
}

static void count_abuse(struct h2 *h, enum h2_abuse kind, const char *what)
{
	char text[128];

	h->c.env->stats->h2_abuse[kind]++;
	snprintf(text, sizeof text, "HTTP/2 client %s", what);
	client_log(&h->c, scope_of(h), LOG_LVL_WARN, text);
	client_offence(&h->c, BAN_ON_H2_ABUSE);
}

static void count_broken(struct h2 *h)
{
	char text[80];

	h->c.env->stats->bad_requests++;
	snprintf(text, sizeof text, "client broke the rules of HTTP/2 (error %u)",
		 (unsigned)h2_session_error(h->session));
	log_info(h, text);
	if (h2_session_error(h->session) != H2_INTERNAL_ERROR)
		client_offence(&h->c, BAN_ON_BAD_REQUEST);
}

/* Whether the client is to blame for the end. */
static void judge(struct h2 *h)
{
	enum h2_abuse kind = h2_session_abuse(h->session);

	if (kind != H2_ABUSE_N)
		count_abuse(h, kind, h2_guard_text(kind));
	else if (h2_session_error(h->session) != H2_NO_ERROR)
		count_broken(h);
}

/* All is said. */
static void close_in_order(struct h2 *h)
{
	judge(h);
	end(&h->c);
	client_become(&h->c, &lingering);
}

/* The client is gone. What its last frames would have been answered is found out all the same. */
static void lose(struct h2 *h)
{
	bufq_clear(&h->c.out);
	h2_session_conclude(h->session);
	judge(h);
	client_destroy(&h->c);
}

/* The session has failed: the GOAWAY that says why goes out if it can, and nothing is read any more. */
static void fail(struct h2 *h)
{
	judge(h);
	h2_session_send(h->session);
	client_write(&h->c);
	end(&h->c);
	client_part(&h->c);
}

/* A client that has not heard of the end yet may send what its windows let it. */
static void linger_event(struct client_conn *c)
{
	struct h2 *h = (struct h2 *)c;
	int64_t n = client_linger_event(c);

	if (n < 0)
		return;
	h->n_dropped += (uint64_t)n;
	if (h->n_dropped <= DROPPED_MAX)
		return;
	count_abuse(h, H2_ABUSE_OVERHEAD, "goes on sending when all is over");
	c->reset = true;
	client_destroy(c);
}

static void linger_drain(struct client_conn *c, bool quit)
{
}

static const struct client_proto lingering = {
	.begin = client_linger_begin,
	.event = linger_event,
	.turn = linger_event,
	.timeout = client_destroy,
	.drain = linger_drain,
};

/* The time that the connection itself may take; streams have their own. */
static void wait(struct h2 *h, uint8_t for_what, int64_t ms, bool again)
{
	if (h->wait == for_what && !again)
		return;
	h->wait = for_what;
	if (for_what == H2_WAIT_NONE)
		timer_pause(&h->c.timer);
	else
		client_set_timer(&h->c, ms);
}

static void set_timer(struct h2 *h, bool progress)
{
	const struct http_scope *s = scope_of(h);
	/* A request may have come and gone within the turn. */
	bool served = h->n_timed != h->c.client.n_requests;

	h->n_timed = h->c.client.n_requests;
	if (h->c.out.bytes)
		wait(h, H2_WAIT_SEND, s->send_timeout_ms, progress);
	else if (h->in_head)
		wait(h, H2_WAIT_HEAD, s->client_header_timeout_ms, false);
	else if (h->n_streams)
		wait(h, H2_WAIT_NONE, 0, false);
	else if (h->leave == H2_ASKED)
		wait(h, H2_WAIT_PAUSE, PAUSE_MS, served);
	else if (h->leave != H2_STAYS)
		wait(h, H2_WAIT_LEAVE, CLIENT_FIRST_REQUEST_MS, false);
	else
		wait(h, H2_WAIT_IDLE,
		     h->c.client.n_requests ? s->keepalive_timeout_ms : s->client_header_timeout_ms,
		     served);
	if (served)
		client_idle_anew(&h->c);
}

/* Nothing can be written any more. What came before the end is yet to be read and judged. */
static void hear_out(struct h2 *h)
{
	bufq_clear(&h->c.out);
	h->c.dead = false;
	h->c.conn.failed = h->c.conn.readable = true;
	h->more_input = true;
	client_wake(&h->c);
}

/* Writes, and sees to what has ended. */
static void settle(struct h2 *h)
{
	uint64_t before = h->c.conn.n_sent;

	h2_stream_start_some(h);
	if (must_notice(h))
		give_notice(h);
	if (h2_write_pump(h)) {
		fail(h);
		return;
	}
	if (h->c.dead) {
		if (h->c.reset)
			client_destroy(&h->c);
		else
			hear_out(h);
		return;
	}
	client_set_idle(&h->c, !h->n_streams);
	if (!h->c.out.bytes && h2_session_is_over(h->session)) {
		close_in_order(h);
		return;
	}
	set_timer(h, h->c.conn.n_sent != before);
}

/* Reading. False: the connection is over. */

static bool take(struct h2 *h, const char *p, size_t n)
{
	if (!h2_session_recv(h->session, p, n, h->c.env->loop.clock.mono_ms))
		return true;
	fail(h);
	return false;
}

static bool takes_long(uint64_t *began_ns)
{
	uint64_t now_ns = clock_mono_ns();

	if (!*began_ns)
		*began_ns = now_ns;
	return now_ns - *began_ns > READ_NS;
}

static bool read_some(struct h2 *h)
{
	uint64_t began_ns = 0;
	int64_t left = h->conf->recv_bytes;
	struct slice in = inbuf_slice(&h->c.in);
	struct buf *b;
	ssize_t n = 1;
	bool fine = true;

	if (in.n) {
		fine = take(h, in.p, in.n);
		inbuf_clear(&h->c.in);
	}
	h->more_input = false;
	while (fine && conn_may_read(&h->c.conn)) {
		if (left <= 0 || (left < h->conf->recv_bytes && takes_long(&began_ns))) {
			h->more_input = true;
			break;
		}
		b = buf_new();
		n = conn_read(&h->c.conn, buf_head(b), buf_room(b));
		if (n > 0) {
			left -= n;
			fine = take(h, buf_head(b), (size_t)n);
		}
		buf_free(b);
		if (n <= 0)
			break;
	}
	if (fine && n <= 0 && n != -SL_EAGAIN) {
		lose(h);
		return false;
	}
	return fine;
}

static void event(struct client_conn *c)
{
	struct h2 *h = (struct h2 *)c;

	if (read_some(h))
		client_wake(c);
}

static void turn(struct client_conn *c)
{
	struct h2 *h = (struct h2 *)c;

	if (h->more_input && !read_some(h))
		return;
	if (h->more_input)
		client_wake(c);
	if (!c->conn.failed)
		settle(h);
	else if (!h->more_input)
		lose(h);
}

static void timeout(struct client_conn *c)
{
	struct h2 *h = (struct h2 *)c;
	uint8_t what = h->wait;

	h->wait = H2_WAIT_NONE;
	switch (what) {
	case H2_WAIT_SEND:
		log_info(h, "client timed out while sending to client");
		client_kill(c, false);
		return;
	case H2_WAIT_HEAD:
		log_info(h, "client timed out while reading client request headers");
		client_offence(c, BAN_ON_SLOW_CLIENT);
		h2_session_fail(h->session, H2_NO_ERROR);
		break;
	case H2_WAIT_PAUSE:
		if (!h->n_streams) /* what has come in this very turn is no pause */
			give_notice(h);
		break;
	default:
		leave_now(h);
		break;
	}
	client_wake(c);
}

static void drain(struct client_conn *c, bool quit)
{
	leave((struct h2 *)c);
	client_wake(c);
}

static void begin(struct client_conn *c)
{
	struct h2 *h = (struct h2 *)c;
	const struct http_scope *s = client_scope(c);
	struct h2_settings set;

	h->conf = h2_scope_of(c->client.listener->default_server->block);
	set = (struct h2_settings){
		.max_streams = (uint32_t)h->conf->max_streams,
		.window_bytes = (uint32_t)h->conf->preread_bytes,
		.header_list_bytes = (uint32_t)(s->client_header_buffer_bytes +
						s->large_header_bytes * s->large_header_n),
	};
	h->session = h2_session_new(&session_ops, h, &set, c->env->loop.clock.mono_ms);
	if (!h->session) {
		client_kill(c, false);
		return;
	}
	c->env->stats->h2_conns++;
	client_set_idle(c, true);
	if (c->env->draining)
		leave(h);
	client_wake(c);
}

static const struct http_scope *awaits(const struct client_conn *c)
{
	const struct h2 *h = (const struct h2 *)c;

	if (c->out.bytes || h->in_head)
		return scope_of(h);
	for (const struct h2_stream *s = h->streams; s; s = s->next)
		if (s->body_wanted || s->out.bytes)
			return scope_of(h);
	return NULL;
}

static struct request *awaited(const struct client_conn *c)
{
	const struct h2 *h = (const struct h2 *)c;

	for (struct h2_stream *s = h->in_head ? NULL : h->streams; s; s = s->next)
		if (s->body_wanted || s->out.bytes)
			return s->r;
	return NULL;
}

const struct client_proto h2_proto = {
	.begin = begin,
	.event = event,
	.turn = turn,
	.timeout = timeout,
	.drain = drain,
	.awaits = awaits,
	.awaited = awaited,
	.end = end,
};
