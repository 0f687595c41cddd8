/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the answer's way from a peer: its head is parsed here, its body taken out of its framing, no faster
 * than the client takes it. Decides nothing about retries. */
#include <stdio.h>

#include "core/err.h"
#include "proxy/answer.h"
#include "proxy/exchange_impl.h"
#include "proxy/out.h"
#include "proxy/spool.h"
#include "proxy/throttle.h"

enum {
	READS_PER_TURN = 16, /* a fast stream lets others have their turn */
	FLUSH_BYTES = 64 * 1024,
	INTERIM_MAX = 10, /* 1xx heads before the real one */
};

/* The body. */

static bool body_is_whole(const struct exchange *x)
{
	return x->body == BODY_NONE || (x->body == BODY_LENGTH && x->left == 0);
}

void exchange_read_finish(struct exchange *x, bool leftover)
{
	struct request *r = x->r;

	exchange_end(x, x->keep_alive && !leftover && x->sent_all && x->body != BODY_UNTIL_CLOSE);
	upstream_finished(r, true);
}

/* Takes what is in rbuf through the framing and hands it on. 1: the body is whole (the try is over), 0: go
 * on, <0: the framing is broken (the try is over). */
static int pass_on(struct exchange *x)
{
	struct buf *b = x->rbuf;
	size_t n = buf_len(b), used = n;
	int done = 0;

	if (x->body == BODY_LENGTH) {
		if (n > x->left)
			n = (size_t)x->left;
		x->left -= n;
		done = x->left == 0;
		used = n;
	} else if (x->body == BODY_CHUNKED) {
		done = chunk_decode(&x->dec, buf_head(b), n, &n, &used);
		if (done < 0) {
			request_log(x->r, LOG_LVL_ERROR,
				    "upstream sent invalid chunked response while "
				    "reading upstream");
			exchange_fail(x, NEXT_INVALID_HEADER, 502);
			return -1;
		}
	}
	bool leftover = used < buf_len(b);

	x->rbuf = NULL;
	b->end = b->start + (uint32_t)n;
	out_body(x->r, b);
	if (!done)
		return 0;
	if (x->body == BODY_CHUNKED)
		answer_trailers(x->r, chunk_trailers(&x->dec));
	if (leftover)
		request_log(x->r, LOG_LVL_WARN, "upstream sent more data than its response has");
	exchange_read_finish(x, leftover);
	return 1;
}

static uint64_t queue_max(const struct exchange *x)
{
	const struct io_scope *c = x->u->io;
	uint64_t max = x->u->buffering && !x->r->resp.streaming && !x->tunnel
			       ? (uint64_t)c->buffers_bytes
			       : (uint64_t)c->buffer_bytes;

	return max < BUF_PAYLOAD ? BUF_PAYLOAD : max;
}

static bool is_full(const struct exchange *x)
{
	return x->u->spool ? spool_is_full(x->u->spool) : out_queued(x->r) >= queue_max(x);
}

/* How much proxy_limit_rate lets us read of N bytes now; 0: later, when the timer says. */
static size_t paced(struct exchange *x, size_t n)
{
	uint64_t rate = (uint64_t)x->u->io->limit_rate, now = x->r->env->loop.clock.mono_ms, may;

	if (!rate || !x->u->buffering || x->tunnel)
		return n;
	if (!x->body_ms)
		x->body_ms = now;
	may = throttle_allowance(rate, 0, now - x->body_ms, x->n_read);
	if (may)
		return may < n ? (size_t)may : n;
	x->paced = true;
	timer_set(&x->r->env->loop, &x->timer, 1000 / rate + 10);
	return 0;
}

/* How the end of the stream is to be taken. */
static void end_of_stream(struct exchange *x, ssize_t how)
{
	/* Who tunnels has his own way to say that all was said: what came is his, and no reset may outrun it. */
	if (x->tunnel && (how == 0 || how == -SL_ETRUNCATED))
		exchange_tunnel_received(x);
	else if (how == 0 && x->body == BODY_UNTIL_CLOSE && !x->was_reset)
		exchange_read_finish(x, false);
	else
		exchange_fail_io(x, how == 0 && x->was_reset ? -SL_ERESET : how);
}

void exchange_read_body(struct exchange *x)
{
	struct request *r = x->r;
	int reads = 0;

	for (;;) {
		ssize_t n;

		if (out_queued(r) >= FLUSH_BYTES || is_full(x))
			out_flush(r);
		if (is_full(x)) {
			x->blocked = true;
			timer_pause(&x->timer);
			return;
		}
		if (reads++ == READS_PER_TURN) {
			out_flush(r);
			exchange_wait(x, x->u->conf->read_timeout_ms);
			task_post(&r->env->loop, &x->task);
			return;
		}
		n = -SL_EAGAIN;
		if (conn_may_read(&x->uc->conn)) {
			size_t room = paced(x, BUF_PAYLOAD);

			if (!room) {
				out_flush(r);
				return;
			}
			x->rbuf = buf_new();
			n = conn_read(&x->uc->conn, buf_head(x->rbuf), room);
		}
		if (n > 0) {
			x->rbuf->end += (uint32_t)n;
			x->n_read += (uint64_t)n;
			if (pass_on(x))
				return;
			continue;
		}
		buf_free(x->rbuf);
		x->rbuf = NULL;
		if (n == -SL_EAGAIN) {
			out_flush(r);
			/* A peer that takes nothing has its own time. */
			if (!x->tunnel || !x->framed.bytes)
				exchange_wait(x, x->u->conf->read_timeout_ms);
			return;
		}
		end_of_stream(x, n);
		return;
	}
}

/* The head. */

static void begin_chunks(struct exchange *x)
{
	chunk_dec_init(&x->dec);
	chunk_allow_bws(&x->dec);
	if (x->u->io->pass_trailers)
		chunk_keep_trailers(&x->dec, arena_bytes(&x->r->arena, CHUNK_OVERHEAD_MAX + 2));
}

/* The head is complete: HEAD points into x->in, N bytes. */
static void begin_answer(struct exchange *x, struct resp_head *head, uint32_t n)
{
	struct request *r = x->r;

	x->u->try->status = head->status;
	x->u->try->header_ms = (int64_t)(r->env->loop.clock.mono_ms - x->started_ms);
	if (head->status == 101) {
		exchange_tunnel_begin(x, head, n);
		return;
	}
	if (upstream_retries_status(r, head->status))
		return;
	upstream_alive(r);
	answer_build(r, head, slice_make(x->in.p + x->in.start, n));
	x->keep_alive = head->keep_alive && x->sent_all && !x->answered_early;
	x->body = head->body;
	x->left = head->content_length;
	/* Where HEAD was turned into GET the body is left behind, with the connection. */
	if (r->head.method == METHOD_HEAD && !x->u->is_head)
		x->keep_alive = false;
	if (r->resp.no_body || x->u->is_head)
		x->body = BODY_NONE;
	if (x->body == BODY_CHUNKED)
		begin_chunks(x);
	if (upstream_is_diverted(r)) {
		inbuf_consume(&x->in, n);
		exchange_end(x, x->keep_alive && x->sent_all && body_is_whole(x) &&
					!inbuf_len(&x->in));
		upstream_divert(r);
		return;
	}
	x->u->try->head_bytes = (uint32_t)(x->uc->conn.n_received - inbuf_len(&x->in) + n);
	x->state = X_BODY;
	if (x->sent_all)
		request_sent(r);
	if (!out_head(r)) {
		upstream_cancel(r);
		return;
	}
	inbuf_consume(&x->in, n);
	if (body_is_whole(x)) {
		exchange_read_finish(x, inbuf_len(&x->in) > 0);
		return;
	}
	exchange_read_rest(x);
}

void exchange_read_rest(struct exchange *x)
{
	uint32_t rest;

	while ((rest = inbuf_len(&x->in)) > 0) {
		x->rbuf = buf_new();
		if (rest > buf_room(x->rbuf))
			rest = buf_room(x->rbuf);
		memcpy(buf_head(x->rbuf), x->in.p + x->in.start, rest);
		x->rbuf->end += rest;
		inbuf_consume(&x->in, rest);
		if (pass_on(x))
			return;
	}
	exchange_read_body(x);
}

static void bad_head(struct exchange *x, const char *text)
{
	request_log(x->r, LOG_LVL_ERROR,
		    "upstream sent %s while reading response header from upstream", text);
	exchange_fail(x, NEXT_INVALID_HEADER, 502);
}

static bool may_upgrade(const struct exchange *x, const struct resp_head *head)
{
	const struct hdr *to = hdrs_find(&head->fields, HDR_UPGRADE);

	return x->u->asks_upgrade && x->sent_all && to && !hdr_has_token(to->value, SLICE("h2c"));
}

/* True: the head is complete or the try is over. */
static bool parse_head(struct exchange *x)
{
	struct head_limits lim = {
		.line_max_bytes = (uint32_t)x->u->io->buffer_bytes,
		.head_max_bytes = (uint32_t)x->u->io->buffer_bytes,
		.fields_max = 1000,
	};
	enum head_error why = HEAD_OK;
	char text[128];

	while (inbuf_len(&x->in)) {
		struct resp_head head = {0};
		int n = head_parse_response(&x->scan, inbuf_slice(&x->in), &lim, &x->r->arena,
					    &head, &why);

		if (n == 0)
			return false;
		if (n < 0) {
			if (n == -SL_ELIMIT)
				snprintf(text, sizeof text, "too big header");
			else if (why == HEAD_BAD_LINE || why == HEAD_BAD_VERSION)
				snprintf(text, sizeof text, "no valid HTTP/1.0 header");
			else
				snprintf(text, sizeof text, "invalid header: %s",
					 head_error_text(why));
			bad_head(x, text);
			return true;
		}
		if (head.status == 101 && !may_upgrade(x, &head)) {
			bad_head(x, "101 that nobody asked for");
			return true;
		}
		if (head.status < 200 && ++x->n_interim > INTERIM_MAX) {
			bad_head(x, "too many 1xx responses");
			return true;
		}
		if (head.status >= 200 || head.status == 101) {
			begin_answer(x, &head, (uint32_t)n);
			return true;
		}
		if (head.status == 103)
			answer_hint(x->r, &head);
		x->scan = (struct head_scan){0};
		inbuf_consume(&x->in, (uint32_t)n);
	}
	return false;
}

void exchange_read_head(struct exchange *x)
{
	while (conn_may_read(&x->uc->conn)) {
		uint32_t room = inbuf_reserve(&x->in, (uint32_t)x->u->io->buffer_bytes + 1);
		ssize_t n = conn_read(&x->uc->conn, x->in.p + x->in.end, room);

		if (n > 0) {
			x->got_any = true;
			x->in.end += (uint32_t)n;
			if (parse_head(x))
				return;
			continue;
		}
		if (!inbuf_len(&x->in))
			inbuf_clear(&x->in);
		if (n != -SL_EAGAIN)
			exchange_fail_io(x, n);
		return;
	}
}
