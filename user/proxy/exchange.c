/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns one try's I/O and its bounded buffers. Everything that ends the try goes through end(), after which
 * the exchange is never touched again. */
#include "proxy/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "core/err.h"
#include "core/hash.h"
#include "core/inbuf.h"
#include "http/chunk.h"
#include "proxy/answer.h"
#include "proxy/out.h"
#include "tls/tls_conn.h"

enum {
	READS_PER_TURN = 16,	   /* a fast stream lets others have their turn */
	FILE_PIECES_PER_TURN = 64, /* and so does a long upload */
	FLUSH_BYTES = 64 * 1024,
	INTERIM_MAX = 10, /* 1xx heads before the real one */
};

enum state {
	X_CONNECT,
	X_HANDSHAKE,
	X_HEAD, /* sending, and waiting for the head */
	X_BODY,
};

struct exchange {
	struct request *r;
	struct upstream *u;
	struct upconn *uc;
	enum state state;
	struct timer timer;
	struct task task; /* goes on reading in the next turn */
	uint64_t started_ms;
	/* the request */
	size_t sent_head;
	uint64_t sent_body;
	struct buf *file_buf; /* a piece of a body that lies in a file */
	bool sent_all, reused, got_any;
	/* the answer */
	struct inbuf in; /* its head */
	struct head_scan scan;
	unsigned n_interim;
	bool keep_alive;
	enum body_kind body;
	uint64_t left;
	struct chunk_dec dec;
	struct buf *rbuf; /* body bytes not passed on yet */
	bool blocked;	  /* waits for the client */
};

static void on_event(struct conn *c);

static const char *phase_text(const struct exchange *x)
{
	switch (x->state) {
	case X_CONNECT:
		return "connecting to upstream";
	case X_HANDSHAKE:
		return "SSL handshaking to upstream";
	case X_HEAD:
		return x->sent_all ? "reading response header from upstream"
				   : "sending request to upstream";
	default:
		return "reading upstream";
	}
}

static void set_times(struct exchange *x)
{
	struct try *t = x->u->try;

	t->response_ms = (int64_t)(x->r->env->loop.clock.mono_ms - x->started_ms);
	t->bytes_received = x->uc ? x->uc->conn.n_received : 0;
	t->bytes_sent = x->uc ? x->uc->conn.n_sent : 0;
}

/* Lets go of the connection and of all memory; X is dead afterwards. */
static void end(struct exchange *x, bool reuse)
{
	struct loop *l = &x->r->env->loop;

	set_times(x);
	timer_cancel(l, &x->timer);
	task_cancel(l, &x->task);
	inbuf_clear(&x->in);
	buf_free(x->rbuf);
	buf_free(x->file_buf);
	x->rbuf = x->file_buf = NULL;
	if (x->uc) {
		x->uc->x = NULL;
		if (reuse)
			pool_put(x->uc);
		else
			pool_close(x->uc);
		x->uc = NULL;
	}
	if (x->u->x == x)
		x->u->x = NULL;
}

void exchange_cancel(struct exchange *x)
{
	end(x, false);
}

bool exchange_sent_any(const struct exchange *x)
{
	return x->sent_head > 0;
}

/* The try fails before or after the answer's head went on. */
static void fail(struct exchange *x, unsigned why, unsigned status)
{
	struct request *r = x->r;

	if (x->state == X_BODY) {
		end(x, false);
		upstream_finished(r, false);
		return;
	}
	upstream_failed(r, why, status);
}

static void fail_io(struct exchange *x, ssize_t how)
{
	struct request *r = x->r;

	/* A connection that was kept and had been closed meanwhile is nobody's fault. */
	if (x->reused && !x->got_any && x->state == X_HEAD &&
	    (!exchange_sent_any(x) || upstream_may_resend(r))) {
		upstream_stale(r);
		return;
	}
	if (how == -SL_ETLS || how == -SL_ETRUNCATED)
		request_log(r, LOG_LVL_ERROR, "%s while %s",
			    how == -SL_ETLS
				    ? tls_error_text(&x->uc->conn)
				    : "upstream closed the connection without close_notify: the "
				      "answer may be truncated",
			    phase_text(x));
	else
		request_log(r, LOG_LVL_ERROR,
			    how == 0 ? "upstream prematurely closed connection while %s"
				     : "upstream reset the connection while %s",
			    phase_text(x));
	fail(x, NEXT_ERROR, 502);
}

static void on_timer(struct timer *t)
{
	struct exchange *x = (struct exchange *)((char *)t - offsetof(struct exchange, timer));

	request_log(x->r, LOG_LVL_ERROR, "upstream timed out (110: Connection timed out) while %s",
		    phase_text(x));
	fail(x, NEXT_TIMEOUT, 504);
}

static void wait_at_most(struct exchange *x, int64_t ms)
{
	timer_set(&x->r->env->loop, &x->timer, (uint64_t)ms);
}

/* Sending. 1: all is out, 0: the socket is full, <0: failed. */

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
			n = pread(b->fd, buf_head(x->file_buf), buf_room(x->file_buf),
				  (off_t)x->sent_body);
			if (n <= 0) {
				request_log(x->r, LOG_LVL_CRIT,
					    "reading a kept request body failed: %s",
					    n ? strerror(errno) : "it is shorter than it was");
				return -SL_ESYS;
			}
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

static int send_request(struct exchange *x)
{
	struct request_body *b = &x->r->body;
	bool in_memory = b->fd < 0;
	uint64_t body_len = x->u->conf->pass_request_body ? b->len : 0;

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
static bool do_send(struct exchange *x)
{
	uint64_t before = x->sent_head + x->sent_body;
	int n = send_request(x);

	/* A peer that answered and left does not take the rest: its answer may still be read. */
	if (n == -SL_ERESET && x->uc->conn.ops == &conn_plain_ops)
		x->uc->conn.readable = true;
	if (n < 0 && !x->uc->conn.readable) {
		fail_io(x, n == -SL_ESYS ? -SL_ERESET : n);
		return false;
	}
	x->sent_all = n == 1;
	if (x->blocked)
		return true; /* the client's time runs, not the peer's */
	if (x->sent_all) {
		wait_at_most(x, x->u->conf->read_timeout_ms);
	} else if (x->sent_head + x->sent_body != before || !timer_is_set(&x->timer)) {
		wait_at_most(x, x->u->conf->send_timeout_ms);
	}
	return true;
}

/* The body. */

static bool body_is_whole(const struct exchange *x)
{
	return x->body == BODY_NONE || (x->body == BODY_LENGTH && x->left == 0);
}

static void finish_body(struct exchange *x, bool leftover)
{
	struct request *r = x->r;

	end(x, x->keep_alive && !leftover && x->sent_all && x->body != BODY_UNTIL_CLOSE);
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
			fail(x, NEXT_INVALID_HEADER, 502);
			return -1;
		}
	}
	bool leftover = used < buf_len(b);

	x->rbuf = NULL;
	b->end = b->start + (uint32_t)n;
	out_body(x->r, b);
	if (!done)
		return 0;
	if (leftover)
		request_log(x->r, LOG_LVL_WARN, "upstream sent more data than its response has");
	finish_body(x, leftover);
	return 1;
}

static uint64_t queue_max(const struct exchange *x)
{
	const struct proxy_scope *c = x->u->conf;
	uint64_t max = c->buffering && !x->r->resp.streaming ? (uint64_t)c->buffers_bytes
							     : (uint64_t)c->buffer_bytes;

	return max < BUF_PAYLOAD ? BUF_PAYLOAD : max;
}

/* How the end of the stream is to be taken. */
static void end_of_stream(struct exchange *x, ssize_t how)
{
	if (how == 0 && x->body == BODY_UNTIL_CLOSE)
		finish_body(x, false);
	else
		fail_io(x, how);
}

static void read_body(struct exchange *x)
{
	struct request *r = x->r;
	int reads = 0;

	for (;;) {
		ssize_t n;

		if (out_queued(r) >= FLUSH_BYTES || out_queued(r) >= queue_max(x))
			out_flush(r);
		if (out_queued(r) >= queue_max(x)) {
			x->blocked = true;
			timer_pause(&x->timer);
			return;
		}
		if (reads++ == READS_PER_TURN) {
			out_flush(r);
			wait_at_most(x, x->u->conf->read_timeout_ms);
			task_post(&r->env->loop, &x->task);
			return;
		}
		n = -SL_EAGAIN;
		if (conn_may_read(&x->uc->conn)) {
			x->rbuf = buf_new();
			n = conn_read(&x->uc->conn, buf_head(x->rbuf), buf_room(x->rbuf));
		}
		if (n > 0) {
			x->rbuf->end += (uint32_t)n;
			if (pass_on(x))
				return;
			continue;
		}
		buf_free(x->rbuf);
		x->rbuf = NULL;
		if (n == -SL_EAGAIN) {
			out_flush(r);
			wait_at_most(x, x->u->conf->read_timeout_ms);
			return;
		}
		end_of_stream(x, n);
		return;
	}
}

/* The head. */

/* The head is complete: HEAD points into x->in, N bytes. */
static void begin_answer(struct exchange *x, struct resp_head *head, uint32_t n)
{
	struct request *r = x->r;
	uint32_t rest;

	x->u->try->status = head->status;
	x->u->try->header_ms = (int64_t)(r->env->loop.clock.mono_ms - x->started_ms);
	if (upstream_retries_status(r, head->status))
		return;
	balance_alive(x->u->group, x->u->peer);
	answer_build(r, head, slice_make(x->in.p + x->in.start, n));
	x->keep_alive = head->keep_alive;
	x->body = head->body;
	x->left = head->content_length;
	if (r->resp.no_body)
		x->body = BODY_NONE;
	if (x->body == BODY_CHUNKED)
		chunk_dec_init(&x->dec);
	x->state = X_BODY;
	if (x->sent_all)
		request_sent(r);
	out_head(r);
	inbuf_consume(&x->in, n);
	if (body_is_whole(x)) {
		finish_body(x, inbuf_len(&x->in) > 0);
		return;
	}
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
	read_body(x);
}

static void bad_head(struct exchange *x, const char *text)
{
	request_log(x->r, LOG_LVL_ERROR,
		    "upstream sent %s while reading response header from upstream", text);
	fail(x, NEXT_INVALID_HEADER, 502);
}

/* True: the head is complete or the try is over. */
static bool parse_head(struct exchange *x)
{
	struct head_limits lim = {
		.line_max_bytes = (uint32_t)x->u->conf->buffer_bytes,
		.head_max_bytes = (uint32_t)x->u->conf->buffer_bytes,
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
				snprintf(text, sizeof text,
					 "too big header (over proxy_buffer_size)");
			else
				snprintf(text, sizeof text, "invalid header: %s",
					 head_error_text(why));
			bad_head(x, text);
			return true;
		}
		if (head.status == 101 || (head.status < 200 && ++x->n_interim > INTERIM_MAX)) {
			bad_head(x, head.status == 101 ? "101 that nobody asked for"
						       : "too many 1xx responses");
			return true;
		}
		if (head.status >= 200) {
			begin_answer(x, &head, (uint32_t)n);
			return true;
		}
		x->scan = (struct head_scan){0};
		inbuf_consume(&x->in, (uint32_t)n);
	}
	return false;
}

static void read_head(struct exchange *x)
{
	while (conn_may_read(&x->uc->conn)) {
		uint32_t room = inbuf_reserve(&x->in, (uint32_t)x->u->conf->buffer_bytes + 1);
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
			fail_io(x, n);
		return;
	}
}

/* Connecting. */

static bool do_connect(struct exchange *x)
{
	int r = conn_connected(&x->uc->conn);

	if (r == -SL_EAGAIN)
		return false;
	if (r < 0) {
		request_log(x->r, LOG_LVL_ERROR,
			    "connect() failed (%d: %s) while connecting to upstream", errno,
			    strerror(errno));
		fail(x, NEXT_ERROR, 502);
		return false;
	}
	if (x->u->https) {
		x->state = X_HANDSHAKE;
		return true;
	}
	x->u->try->connect_ms = (int64_t)(x->r->env->loop.clock.mono_ms - x->started_ms);
	x->state = X_HEAD;
	return true;
}

static bool do_handshake(struct exchange *x)
{
	int r = tls_handshake(&x->uc->conn);

	if (r == -SL_EAGAIN)
		return false;
	if (r < 0) {
		request_log(x->r, LOG_LVL_ERROR, "%s while SSL handshaking to upstream",
			    tls_error_text(&x->uc->conn));
		fail(x, NEXT_ERROR, 502);
		return false;
	}
	x->u->try->connect_ms = (int64_t)(x->r->env->loop.clock.mono_ms - x->started_ms);
	x->state = X_HEAD;
	return true;
}

/* Every step may end the exchange, and says so by returning false. */
static void step(struct exchange *x)
{
	if (x->state == X_CONNECT && !do_connect(x))
		return;
	if (x->state == X_HANDSHAKE && !do_handshake(x))
		return;
	if (!x->sent_all && !do_send(x))
		return;
	if (x->state == X_HEAD)
		read_head(x);
	else if (x->state == X_BODY && !x->blocked)
		read_body(x);
}

static void on_event(struct conn *c)
{
	struct exchange *x = ((struct upconn *)c)->x;

	if (x)
		step(x);
}

static void on_task(struct task *t)
{
	step((struct exchange *)((char *)t - offsetof(struct exchange, task)));
}

void exchange_resume(struct exchange *x)
{
	if (!x->blocked)
		return;
	x->blocked = false;
	task_post(&x->r->env->loop, &x->task);
}

static bool attach(struct exchange *x, const struct addr *addr, bool fresh)
{
	struct upstream *u = x->u;
	struct tls_client *tls = u->https ? u->conf->tls : NULL;
	uint64_t name_hash = u->https ? hash64_lower(u->tls_name, 0) : 0;

	x->uc = fresh ? NULL : pool_get(x->r->env, u->group_conf, addr, tls, name_hash);
	/* What may not be sent twice is not sent into a connection that is closed already. */
	while (x->uc && !upstream_may_resend(x->r) && !conn_is_alive(&x->uc->conn)) {
		pool_close(x->uc);
		x->uc = pool_get(x->r->env, u->group_conf, addr, tls, name_hash);
	}
	if (x->uc) {
		x->reused = true;
		x->state = X_HEAD;
		u->try->connect_ms = 0;
		x->uc->conn.on_event = on_event;
	} else {
		x->uc = pool_connect(x->r->env, u->group_conf, addr, on_event);
		if (!x->uc) {
			request_log(x->r, LOG_LVL_ERROR,
				    "connect() failed (%d: %s) while connecting to upstream", errno,
				    strerror(errno));
			return false;
		}
		if (tls && tls_connect_start(&x->uc->conn, tls, u->tls_name,
					     u->conf->ssl_server_name, addr)) {
			request_log(x->r, LOG_LVL_ERROR, "\"%.*s\" is no name for a TLS upstream",
				    SLICE_FMT(u->tls_name));
			return false;
		}
		for (int i = 0; tls && i < 3; i++)
			if (u->tls_also[i].n && !slice_eq(u->tls_also[i], u->tls_name))
				tls_accept_name(&x->uc->conn, u->tls_also[i]);
		x->uc->tls = tls;
		x->uc->tls_name_hash = name_hash;
	}
	x->uc->x = x;
	x->uc->n_requests++;
	x->uc->conn.n_received = x->uc->conn.n_sent = 0;
	return true;
}

void exchange_start(struct request *r, const struct addr *addr, bool fresh)
{
	struct exchange *x = arena_zalloc(&r->arena, sizeof *x);

	x->r = r;
	x->u = r->up;
	x->u->x = x;
	x->started_ms = r->env->loop.clock.mono_ms;
	x->task.fn = on_task;
	timer_init(&x->timer, on_timer);
	if (!attach(x, addr, fresh)) {
		fail(x, NEXT_ERROR, 502);
		return;
	}
	if (x->state == X_CONNECT)
		wait_at_most(x, x->u->conf->connect_timeout_ms);
	step(x);
}
