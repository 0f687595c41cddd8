/* SPDX-License-Identifier: BSD-2-Clause */
/* What a client sends: heads into requests, bodies into the request or away. Ends no connection by itself
 * but one that failed before a request was complete. */
#include <stdio.h>

#include "core/err.h"
#include "proxy/h1_impl.h"

/* A request that was refused before anything of it can be trusted. */
void h1_refuse(struct h1 *h, unsigned status, const char *why)
{
	h->close_after = true;
	h->body_done = false; /* whatever follows is not a request */
	h->phase = H1_REQUEST;
	request_refuse(h->r, status, why);
}

static unsigned status_of(enum head_error why)
{
	switch (why) {
	case HEAD_LINE_TOO_LONG:
		return 414;
	case HEAD_VERSION_UNSUPPORTED:
		return 505;
	case HEAD_CODING_UNSUPPORTED:
		return 501;
	case HEAD_FIELD_TOO_LONG:
		return 494; /* a 400 with an error_page of its own */
	default:
		return 400;
	}
}

struct request *h1_new_request(struct h1 *h)
{
	client_set_idle(&h->c, false);
	h->sent_before = h->c.conn.n_sent;
	h->c.client.n_requests++;
	h->finished = h->abort_after = h->ends_by_close = false;
	h->body_done = true;
	h->body_wanted = h->body_paused = h->expects_100 = h->tunnel = h->end_sending = false;
	client_set_timer(&h->c, h1_scope(h)->client_header_timeout_ms);
	return request_new(h->c.env, &h->c.client, &h1_front_ops, h);
}

static void begin_request(struct h1 *h, const struct req_head *head, uint32_t n)
{
	request_set_head(h->r, head, slice_make(h->c.in.p + h->c.in.start, n));
	h->c.env->stats->bytes_in += n;
	inbuf_consume(&h->c.in, n);
	h->phase = H1_REQUEST;
	h->body = head->body;
	h->body_left = head->content_length;
	h->body_done = head->body == BODY_NONE || (head->body == BODY_LENGTH && !h->body_left);
	h->expects_100 = head->expect_continue && !h->body_done;
	if (head->body == BODY_CHUNKED)
		chunk_dec_init(&h->dec);
	timer_pause(&h->c.timer);
	request_start(h->r);
}

static uint32_t line_max(const struct http_scope *s)
{
	int64_t first = s->client_header_buffer_bytes, large = s->large_header_bytes;

	return (uint32_t)(first > large ? first : large);
}

/* As nginx's buffers: the first one, and the large ones behind it. */
static uint32_t head_max(const struct http_scope *s)
{
	return (uint32_t)(s->client_header_buffer_bytes +
			  s->large_header_bytes * s->large_header_n);
}

/* True: a head is complete and its request begun, or refused. */
static bool parse_head(struct h1 *h)
{
	const struct http_scope *s = client_scope(&h->c);
	struct head_limits lim = {
		.line_max_bytes = line_max(s),
		.head_max_bytes = head_max(s),
		.fields_max = 1000,
	};
	struct req_head head = {0};
	enum head_error why = HEAD_OK;
	int n;

	if (!inbuf_len(&h->c.in))
		return false;
	if (!h->r)
		h->r = h1_new_request(h);
	n = head_parse_request(&h->scan, inbuf_slice(&h->c.in), &lim, &h->r->arena, &head, &why);
	if (n == 0)
		return false;
	if (n > 0) {
		begin_request(h, &head, (uint32_t)n);
		return true;
	}
	if (h->c.client.listener->ssl && !h->c.client.tls)
		client_log(&h->c, client_scope(&h->c), LOG_LVL_INFO,
			   "client sent plain HTTP request to HTTPS port");
	request_set_bad_line(h->r, inbuf_slice(&h->c.in), why);
	if (head.method == METHOD_HEAD) { /* its answer has no body */
		h->r->head.method = METHOD_HEAD;
		h->r->head.method_text = SLICE("HEAD");
	}
	h1_refuse(h, status_of(why), head_error_text(why));
	return true;
}

/* A connection that closes, or fails, while no request is complete. */
static void end_early(struct h1 *h, ssize_t how)
{
	if (inbuf_len(&h->c.in))
		client_log(&h->c, h1_scope(h), LOG_LVL_INFO,
			   how == 0 ? "client prematurely closed connection"
				    : "client connection failed while reading request");
	client_destroy(&h->c);
}

void h1_read_head(struct h1 *h)
{
	const struct http_scope *s = client_scope(&h->c);
	uint32_t want = head_max(s) + 1;
	uint32_t room;
	ssize_t n;

	while (!parse_head(h)) {
		if (!conn_may_read(&h->c.conn)) {
			if (!inbuf_len(&h->c.in))
				inbuf_clear(&h->c.in);
			return;
		}
		room = inbuf_reserve(&h->c.in, want);
		n = conn_read(&h->c.conn, h->c.in.p + h->c.in.end, room);
		if (n > 0) {
			h->c.in.end += (uint32_t)n;
			continue;
		}
		if (!inbuf_len(&h->c.in))
			inbuf_clear(&h->c.in);
		if (n != -SL_EAGAIN)
			end_early(h, n);
		return;
	}
}

/* Chunks that are none. */
static int refuse_body(struct h1 *h)
{
	h->c.env->stats->bad_requests++;
	if (h->r)
		request_log(h->r, LOG_LVL_ERROR, "client sent invalid chunked body");
	else
		client_log(&h->c, h1_scope(h), LOG_LVL_ERROR, "client sent invalid chunked body");
	client_offence(&h->c, BAN_ON_BAD_REQUEST);
	return 400;
}

/* Spends input on the body. Returns 0, or the status that the request fails with. */
static int take_body(struct h1 *h, bool keep)
{
	struct inbuf *in = &h->c.in;
	size_t n = inbuf_len(in), used = n;
	uint64_t announced = 0;
	int status = 0, r = 0;

	if (h->body == BODY_LENGTH) {
		if (n > h->body_left)
			n = used = (size_t)h->body_left;
		h->body_left -= n;
		h->body_done = h->body_left == 0;
	} else if (h->body == BODY_CHUNKED) {
		r = chunk_decode(&h->dec, in->p + in->start, n, &n, &used);
		h->body_done = r == 1;
		announced = h->dec.left;
	}
	h->c.env->stats->bytes_in += used;
	if (r < 0)
		return refuse_body(h);
	if (keep)
		status = request_body_put(h->r, in->p + in->start, n, announced);
	inbuf_consume(in, (uint32_t)used);
	return status;
}

/* In a tunnel only the upstream's time runs, as in nginx. */
static void wait_for_more(struct h1 *h, int64_t ms)
{
	if (!h->tunnel)
		client_set_timer(&h->c, ms);
}

/* Reads body until it is whole or the socket is empty. KEEP: for the request; else it is dropped. */
void h1_pull_body(struct h1 *h, bool keep)
{
	const struct http_scope *s = h1_scope(h);
	int64_t wait_ms = keep ? s->client_body_timeout_ms : s->lingering_timeout_ms;
	int status = 0, reads = 0;
	ssize_t n;

	if (!keep && client_discards_too_long(&h->c, h1_scope(h))) {
		client_kill(&h->c, false);
		return;
	}
	for (;;) {
		if (inbuf_len(&h->c.in))
			status = take_body(h, keep);
		if (status || h->body_done)
			break;
		if (keep && request_body_is_full(h->r)) {
			h->body_paused = true;
			if (!h->c.out.bytes)
				timer_pause(&h->c.timer);
			return;
		}
		if (reads++ == CLIENT_READS_PER_TURN) {
			wait_for_more(h, wait_ms);
			client_wake(&h->c);
			return;
		}
		n = -SL_EAGAIN;
		if (conn_may_read(&h->c.conn)) {
			inbuf_reserve(&h->c.in, 0);
			n = conn_read(&h->c.conn, h->c.in.p + h->c.in.end,
				      h->c.in.cap - h->c.in.end);
		}
		if (n > 0) {
			h->c.in.end += (uint32_t)n;
			continue;
		}
		if (!inbuf_len(&h->c.in))
			inbuf_clear(&h->c.in);
		if (n == 0 && h->tunnel) {
			h->body_done = true;
			break;
		}
		if (n == -SL_EAGAIN)
			wait_for_more(h, wait_ms);
		else
			client_kill(&h->c, false);
		return;
	}
	if (!h->c.out.bytes)
		timer_pause(&h->c.timer);
	h->body_wanted = false;
	if (status)
		h->close_after = true;
	if (keep)
		request_body_end(h->r, status);
	else if (status || (h->c.env->quitting && !inbuf_len(&h->c.in)))
		client_kill(&h->c, false);
	else
		h1_become_idle(h);
}

void h1_upgrade(struct request *r)
{
	struct h1 *h = r->front;

	h->tunnel = h->body_wanted = h->close_after = h->ends_by_close = true;
	h->body = BODY_UNTIL_CLOSE;
	h->body_done = h->body_paused = false;
	timer_pause(&h->c.timer);
	client_wake(&h->c);
}

void h1_read_body(struct request *r)
{
	struct h1 *h = r->front;
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (h->body_paused) {
		h->body_paused = false;
		client_wake(&h->c);
		return;
	}
	if (h->body_done) {
		request_body_end(r, 0);
		return;
	}
	h->body_wanted = true;
	if (h->expects_100 && !inbuf_len(&h->c.in)) {
		struct buf *b = buf_new();

		memcpy(b->data + b->end, go_on, sizeof go_on - 1);
		b->end += sizeof go_on - 1;
		bufq_push(&h->c.out, b);
		h1_flush(h);
	}
	h->expects_100 = false;
	h1_pull_body(h, true);
}
