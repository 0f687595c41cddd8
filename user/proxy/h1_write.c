/* SPDX-License-Identifier: BSD-2-Clause */
/* The answer's way out: head, body framing, flushing. Never frees a request: what ends is marked, and
 * h1.c's turn sees to it. */
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "core/err.h"
#include "core/num.h"
#include "proxy/agent.h"
#include "proxy/files_conf.h"
#include "proxy/h1_impl.h"

enum {
	SENDFILE_MAX = 512 * 1024, /* in one turn */
	JOIN_MAX = 4096,	   /* pieces up to this share a buffer where one waits already */
};

static void out_put(struct h1 *h, const char *p, size_t n)
{
	bufq_put(&h->c.out, p, n);
}

static void put_slice(struct h1 *h, struct slice s)
{
	out_put(h, s.p, s.n);
}

#define put_lit(h, lit) out_put(h, "" lit, sizeof(lit) - 1)

static void put_field(struct h1 *h, struct slice name, struct slice value)
{
	put_slice(h, name);
	put_lit(h, ": ");
	put_slice(h, value);
	put_lit(h, "\r\n");
}

static void put_status_line(struct h1 *h, const struct response *resp)
{
	struct slice reason = resp->reason.n ? resp->reason : head_reason_of(resp->status);
	char status[20];

	put_lit(h, "HTTP/1.1 ");
	out_put(h, status, num_put_u64(status, resp->status));
	put_lit(h, " ");
	put_slice(h, reason);
	put_lit(h, "\r\n");
}

/* Old browsers that wait in vain for the end of an answer on a connection that stays open. */
static bool is_disabled(const struct request *r)
{
	int64_t who = r->scope->keepalive_disable;
	const struct hdr *agent = NULL;

	if (who & HTTP_KEEPALIVE_SAFARI ||
	    (who & HTTP_KEEPALIVE_MSIE6 && r->head.method == METHOD_POST))
		agent = hdrs_find(&r->head.fields, HDR_USER_AGENT);
	if (!agent)
		return false;
	return (who & HTTP_KEEPALIVE_SAFARI && agent_is_safari(agent->value)) ||
	       (who & HTTP_KEEPALIVE_MSIE6 && r->head.method == METHOD_POST &&
		agent_is_msie6(agent->value));
}

/* May this connection serve another request after this answer? */
static bool stays_open(const struct h1 *h, const struct request *r)
{
	const struct http_scope *s = r->scope;

	if (!r->keep_alive || h->close_after || h->ends_by_close || h->c.env->draining)
		return false;
	/* A client that waits for 100 may send its body or not: nobody can tell where the next head is. */
	if (!h->body_done && h->expects_100)
		return false;
	if (s->keepalive_timeout_ms == 0 ||
	    h->c.client.n_requests >= (uint64_t)s->keepalive_requests)
		return false;
	if (h->c.env->loop.clock.mono_ms - h->c.client.made_ms >= (uint64_t)s->keepalive_time_ms)
		return false;
	return !is_disabled(r);
}

static void put_connection(struct h1 *h, const struct request *r)
{
	char seconds[20];
	int64_t timeout_s = r->scope->keepalive_header_s;

	if (r->resp.status == 101) {
		put_lit(h, "Connection: upgrade\r\n");
		return;
	}
	if (h->close_after) {
		put_lit(h, "Connection: close\r\n");
		return;
	}
	put_lit(h, "Connection: keep-alive\r\n");
	if (timeout_s > 0)
		put_field(h, SLICE("Keep-Alive"),
			  arena_printf(&((struct request *)r)->arena, "timeout=%.*s",
				       (int)num_put_u64(seconds, (uint64_t)timeout_s), seconds));
}

static void inform(struct request *r, unsigned status, const struct hdrs *fields)
{
	struct h1 *h = r->front;

	put_status_line(h, &(struct response){.status = (uint16_t)status});
	for (uint32_t i = 0; i < fields->n; i++)
		put_field(h, fields->v[i].name, fields->v[i].value);
	put_lit(h, "\r\n");
	h1_flush(h);
}

/* nginx's order: what it knows by itself first, then the others as they came. */
static void send_head(struct request *r)
{
	struct h1 *h = r->front;
	struct response *resp = &r->resp;
	uint64_t before = h->c.out.bytes;
	char length[20];

	h->chunked = false;
	if (resp->content_length < 0 && !resp->no_body) {
		h->chunked = r->head.minor >= 1 && r->scope->chunked;
		h->ends_by_close = !h->chunked;
	}
	h->close_after = !stays_open(h, r);
	r->keep_alive = !h->close_after;
	put_status_line(h, resp);
	if (resp->server.n || !resp->server.p)
		put_field(h, SLICE("Server"), resp->server.n ? resp->server : SLICE("sluice"));
	if (resp->date.n || !resp->date.p)
		put_field(h, SLICE("Date"),
			  resp->date.n ? resp->date : slice_cstr(h->c.env->loop.clock.http_date));
	if (resp->content_type.n)
		put_field(h, SLICE("Content-Type"), resp->content_type);
	if (resp->content_length >= 0)
		put_field(h, SLICE("Content-Length"),
			  slice_make(length, num_put_u64(length, (uint64_t)resp->content_length)));
	if (resp->last_modified.n)
		put_field(h, SLICE("Last-Modified"), resp->last_modified);
	if (resp->location.n)
		put_field(h, SLICE("Location"), resp->location);
	if (h->chunked)
		put_lit(h, "Transfer-Encoding: chunked\r\n");
	put_connection(h, r);
	for (uint32_t i = 0; i < resp->fields.n; i++)
		put_field(h, resp->fields.v[i].name, resp->fields.v[i].value);
	put_lit(h, "\r\n");
	r->head_sent = true;
	r->sent_head_bytes = h->c.out.bytes - before;
}

/* The chunk's frame is written around the data, in the buffer's own head and tail room. */
static void send_body(struct request *r, struct buf *b)
{
	struct h1 *h = r->front;
	uint32_t n = buf_len(b);

	if (n == 0 || r->resp.no_body || h->c.dead) {
		buf_free(b);
		return;
	}
	r->sent_body_bytes += n;
	if (h->chunked) {
		b->start -= (uint32_t)chunk_put_size_before(buf_head(b), n);
		memcpy(b->data + b->end, "\r\n", 2);
		b->end += 2;
	}
	/* A client that does not read would else cost 16 KB for each event of a few bytes. */
	if (h->c.out.first && buf_len(b) <= JOIN_MAX) {
		out_put(h, buf_head(b), buf_len(b));
		buf_free(b);
		return;
	}
	bufq_push(&h->c.out, b);
}

/* With tcp_nopush the kernel sends full packets until the file is out. */
static void set_cork(struct h1 *h, const struct request *r, bool on)
{
	int value = on;

	if (files_scope_of(r->block)->tcp_nopush)
		setsockopt(h->c.conn.io.fd, IPPROTO_TCP, TCP_CORK, &value, sizeof value);
}

static int send_file(struct request *r, int fd, uint64_t *at, uint64_t n)
{
	size_t want = n < SENDFILE_MAX ? (size_t)n : SENDFILE_MAX;
	struct h1 *h = r->front;
	ssize_t put;

	if (h->c.conn.ops != &conn_plain_ops || h->chunked)
		return -SL_EINVAL;
	if (!h->copies)
		set_cork(h, r, true);
	h->copies = true;
	h1_flush(h);
	if (h->c.dead)
		return -SL_ERESET;
	if (h->c.out.bytes)
		return 0;
	put = conn_sendfile(&h->c.conn, fd, at, want);
	if (put == 0)
		return -SL_ETRUNCATED;
	if (put < 0 && put != -SL_EAGAIN) {
		client_kill(&h->c, false);
		return -SL_ERESET;
	}
	if (put > 0) {
		r->sent_body_bytes += (uint64_t)put;
		h->c.env->stats->bytes_out += (uint64_t)put;
	}
	if ((uint64_t)(put > 0 ? put : 0) == n) {
		h->copies = false;
		set_cork(h, r, false);
		timer_pause(&h->c.timer);
		return 1;
	}
	if (put > 0 || !timer_is_set(&h->c.timer))
		client_set_timer(&h->c, r->scope->send_timeout_ms);
	return put > 0;
}

static void finish(struct request *r)
{
	struct h1 *h = r->front;

	if (h->chunked && !r->resp.no_body) {
		put_lit(h, "0\r\n");
		for (uint32_t i = 0; r->resp.trailers && i < r->resp.trailers->n; i++)
			put_field(h, r->resp.trailers->v[i].name, r->resp.trailers->v[i].value);
		put_lit(h, "\r\n");
	}
	h->finished = true;
	r->finished = true;
	client_wake(&h->c);
}

static void abort_answer(struct request *r)
{
	struct h1 *h = r->front;

	h->abort_after = true;
	h->close_after = true;
	r->aborted = true;
	client_wake(&h->c);
}

static void end_sending(struct request *r)
{
	struct h1 *h = r->front;

	h->end_sending = true;
	h1_flush(h);
}

static void drop(struct request *r)
{
	r->aborted = true;
	client_kill(r->front, r->scope->reset_timedout && r->resp.status == 444);
}

static uint64_t queued(const struct request *r)
{
	const struct h1 *h = r->front;

	return h->c.out.bytes;
}

void h1_flush(struct h1 *h)
{
	uint64_t before = h->c.out.bytes;
	struct request *r = h->r;

	if (h->c.dead)
		return;
	if (before)
		client_write(&h->c);
	if (h->c.dead)
		return;
	if (h->end_sending && !h->c.out.bytes)
		conn_shutdown(&h->c.conn);
	if (!before)
		return;
	/* Between two successful writes, as nginx's send_timeout counts. */
	if (h->c.out.bytes && (h->c.out.bytes < before || !timer_is_set(&h->c.timer)))
		client_set_timer(&h->c, r ? r->scope->send_timeout_ms : 60000);
	else if (!h->c.out.bytes && h->phase == H1_REQUEST &&
		 (!h->body_wanted || h->body_paused || h->tunnel))
		timer_pause(&h->c.timer);
	if (!h->c.out.bytes && (h->finished || h->abort_after))
		client_wake(&h->c);
}

static void flush(struct request *r)
{
	h1_flush(r->front);
}

const struct front_ops h1_front_ops = {
	.read_body = h1_read_body,
	.upgrade = h1_upgrade,
	.end_sending = end_sending,
	.send_head = send_head,
	.inform = inform,
	.send_body = send_body,
	.send_file = send_file,
	.finish = finish,
	.abort = abort_answer,
	.drop = drop,
	.flush = flush,
	.queued = queued,
};
