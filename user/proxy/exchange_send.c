/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the request's way to a peer: head, then body from memory, file, or as it comes in. Reads no answer. */
#include "core/err.h"
#include "proxy/exchange_impl.h"

enum {
	FILE_PIECES_PER_TURN = 64, /* a long upload lets others have their turn */
	FRAMED_BYTES = 64 * 1024,  /* of a stream, taken at once */
	VECTORS = 8,
};

/* 1: all is out, 0: the socket is full or the client has to send more, <0: failed. */

static int send_file(struct exchange *x)
{
	struct request_body *b = &x->r->body;
	int pieces = 0;

	while (x->sent_body < b->len) {
		ssize_t n;

		if (!x->file_buf && pieces++ == FILE_PIECES_PER_TURN) {
			task_post(&x->r->env->loop, &x->task);
			return -SL_EAGAIN;
		}
		if (!x->file_buf) {
			x->file_buf = buf_new();
			n = request_body_read(x->r, buf_head(x->file_buf), buf_room(x->file_buf),
					      x->sent_body);
			if (n < 0)
				return (int)n;
			x->file_buf->end += (uint32_t)n;
		}
		n = conn_write(&x->uc->conn, buf_head(x->file_buf), buf_len(x->file_buf));
		if (n < 0)
			return (int)n;
		x->file_buf->start += (uint32_t)n;
		x->sent_body += (uint64_t)n;
		if (!buf_len(x->file_buf)) {
			buf_free(x->file_buf);
			x->file_buf = NULL;
		}
	}
	return 1;
}

/* Takes what came of the body, as far as it may wait here, and its end. */
static void frame_stream(struct exchange *x)
{
	struct body_stream *s = x->r->body.stream;
	bool chunked = x->u->sends_chunks && !x->tunnel;
	struct buf *b;

	while (x->framed.bytes < FRAMED_BYTES && (b = request_body_take(x->r))) {
		if (chunked) {
			b->start -= (uint32_t)chunk_put_size_before(buf_head(b), buf_len(b));
			memcpy(b->data + b->end, "\r\n", 2);
			b->end += 2;
		}
		bufq_push(&x->framed, b);
	}
	if (!s->whole || s->q.first || x->framed_all)
		return;
	x->framed_all = true;
	if (chunked) {
		b = buf_new();
		memcpy(b->data + b->end, "0\r\n\r\n", 5);
		b->end += 5;
		bufq_push(&x->framed, b);
	}
}

static int send_stream(struct exchange *x)
{
	for (;;) {
		struct iovec iov[VECTORS];
		size_t head_left = x->tunnel ? 0 : x->u->head.n - x->sent_head;
		int n_iov = 0;
		ssize_t n;

		frame_stream(x);
		if (head_left)
			iov[n_iov++] =
				(struct iovec){(char *)x->u->head.p + x->sent_head, head_left};
		for (struct buf *b = x->framed.first; b && n_iov < VECTORS; b = b->next)
			iov[n_iov++] = (struct iovec){buf_head(b), buf_len(b)};
		x->starved = n_iov == 0 && !x->framed_all;
		if (n_iov == 0)
			return x->framed_all;
		n = conn_writev(&x->uc->conn, iov, n_iov);
		if (n < 0)
			return n == -SL_EAGAIN ? 0 : (int)n;
		if ((size_t)n <= head_left) {
			x->sent_head += (size_t)n;
			continue;
		}
		x->sent_head += head_left;
		x->sent_body += (size_t)n - head_left;
		bufq_consume(&x->framed, (size_t)n - head_left);
	}
}

static int send_request(struct exchange *x)
{
	struct request_body *b = &x->r->body;
	bool in_memory = b->fd < 0;
	uint64_t body_len = x->u->sends_body ? b->len : 0;

	while (x->sent_head < x->u->head.n || (in_memory && x->sent_body < body_len)) {
		struct iovec iov[2];
		size_t head_left = x->u->head.n - x->sent_head;
		int n_iov = 0;
		ssize_t n;

		if (head_left)
			iov[n_iov++] =
				(struct iovec){(char *)x->u->head.p + x->sent_head, head_left};
		if (in_memory && body_len > x->sent_body)
			iov[n_iov++] =
				(struct iovec){b->mem + x->sent_body, body_len - x->sent_body};
		n = conn_writev(&x->uc->conn, iov, n_iov);
		if (n < 0)
			return n == -SL_EAGAIN ? 0 : (int)n;
		if ((size_t)n <= head_left) {
			x->sent_head += (size_t)n;
		} else {
			x->sent_head += head_left;
			x->sent_body += (size_t)n - head_left;
		}
	}
	if (!in_memory && body_len) {
		int n = send_file(x);

		return n == -SL_EAGAIN ? 0 : n;
	}
	return 1;
}

/* Goes on sending; false: the try is over. */
bool exchange_send(struct exchange *x)
{
	uint64_t before = x->sent_head + x->sent_body;
	int n;

	/* It may leave without having read the rest, too. */
	if (before && x->state == X_HEAD && x->uc->conn.readable && !x->uc->conn.tls)
		x->answered_early = true;
	n = x->r->body.stream && (x->u->sends_body || x->tunnel) ? send_stream(x) : send_request(x);

	/* A peer that answered and left does not take the rest: its answer may still be read. */
	if (n == -SL_ERESET && x->uc->conn.ops == &conn_plain_ops) {
		x->uc->conn.readable = true;
		x->was_reset = true;
	}
	/* Nobody reads the end of a tunnel that the peer has ended once. */
	if (n <= 0 && x->half_ended && (x->was_reset || x->uc->conn.failed)) {
		exchange_fail_io(x, -SL_ERESET);
		return false;
	}
	if (n < 0 && !x->uc->conn.readable) {
		exchange_fail_io(x, n == -SL_ESYS ? -SL_ERESET : n);
		return false;
	}
	x->sent_all = n == 1;
	if (x->sent_all && x->tunnel && !exchange_tunnel_sent(x))
		return false;
	if (x->blocked)
		return true; /* the client's time runs, not the peer's */
	if (x->sent_all || (x->starved && x->tunnel)) {
		exchange_wait(x, x->u->conf->read_timeout_ms);
	} else if (x->starved) {
		timer_pause(&x->timer); /* so does the client's here */
	} else if (x->sent_head + x->sent_body != before || !timer_is_set(&x->timer)) {
		exchange_wait(x, x->u->conf->send_timeout_ms);
	}
	return true;
}
