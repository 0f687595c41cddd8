/* SPDX-License-Identifier: BSD-2-Clause */
/* An answer's way out over a stream: fields, body, trailers into the stream's queue, from there as frames
 * into the connection's queue, many streams' together into the socket. Frees no request. */
#include "core/err.h"
#include "core/num.h"
#include "proxy/h2_impl.h"

enum {
	JOIN_MAX = 4096,       /* pieces up to this share a buffer */
	OUT_MAX = 64 * 1024,   /* in the connection's queue before the socket must take some */
	TURN_MAX = 512 * 1024, /* written in one turn: others have theirs */
};

static const struct http_scope *scope_of(const struct h2_stream *s)
{
	return s->r->scope;
}

/* Between two takings, as nginx's send_timeout counts. */
static void wait_for_client(struct h2_stream *s)
{
	timer_set(&s->h->c.env->loop, &s->timer, (uint64_t)scope_of(s)->send_timeout_ms);
}

static void resume(struct h2_stream *s)
{
	if (!s->waiting)
		return;
	s->waiting = false;
	h2_session_resume(s->h->session, s->id);
}

static bool is_of_connection(const struct hdr *f)
{
	switch (f->id) {
	case HDR_CONNECTION:
	case HDR_KEEP_ALIVE:
	case HDR_PROXY_CONNECTION:
	case HDR_TRANSFER_ENCODING:
	case HDR_UPGRADE:
	case HDR_TE:
		return true;
	default:
		return false;
	}
}

static size_t put_fields(struct h2_field *f, size_t n, const struct hdrs *from)
{
	for (uint32_t i = 0; i < from->n; i++)
		if (!is_of_connection(&from->v[i]))
			f[n++] = (struct h2_field){from->v[i].name, slice_trim(from->v[i].value)};
	return n;
}

static void inform(struct request *r, unsigned status, const struct hdrs *fields)
{
	struct h2_stream *s = r->front;
	struct h2_field f[1 + fields->n];
	char text[20];

	f[0] = (struct h2_field){SLICE(":status"), slice_make(text, num_put_u64(text, status))};
	h2_session_inform(s->h->session, s->id, f, put_fields(f, 1, fields));
	client_wake(&s->h->c);
}

/* In HTTP/1's order. */
static void send_head(struct request *r)
{
	struct h2_stream *s = r->front;
	const struct response *resp = &r->resp;
	struct h2_field f[8 + resp->fields.n];
	char status[20], length[20];
	size_t n = 0;

	f[n++] = (struct h2_field){SLICE(":status"),
				   slice_make(status, num_put_u64(status, resp->status))};
	if (resp->server.n || !resp->server.p)
		f[n++] = (struct h2_field){SLICE("server"),
					   resp->server.n ? resp->server : SLICE("sluice")};
	if (resp->date.n || !resp->date.p)
		f[n++] = (struct h2_field){SLICE("date"),
					   resp->date.n ? resp->date
							: slice_cstr(r->env->loop.clock.http_date)};
	if (resp->content_type.n)
		f[n++] = (struct h2_field){SLICE("content-type"), resp->content_type};
	if (resp->content_length >= 0)
		f[n++] = (struct h2_field){
			SLICE("content-length"),
			slice_make(length, num_put_u64(length, (uint64_t)resp->content_length))};
	if (resp->last_modified.n)
		f[n++] = (struct h2_field){SLICE("last-modified"), resp->last_modified};
	if (resp->location.n)
		f[n++] = (struct h2_field){SLICE("location"), resp->location};
	n = put_fields(f, n, &resp->fields);
	s->bodiless = resp->no_body || resp->content_length == 0;
	h2_session_respond(s->h->session, s->id, f, n, !s->bodiless);
	r->head_sent = true;
	client_wake(&s->h->c);
}

static void send_body(struct request *r, struct buf *b)
{
	struct h2_stream *s = r->front;
	uint32_t n = buf_len(b);

	if (n == 0 || s->bodiless || r->aborted || s->h->c.dead) {
		buf_free(b);
		return;
	}
	if (!timer_is_set(&s->timer) && (!s->body_wanted || s->body_paused))
		wait_for_client(s);
	/* A client that does not read would else cost 16 KB for each event of a few bytes. */
	if (s->out.first && n <= JOIN_MAX) {
		bufq_put(&s->out, buf_head(b), n);
		buf_free(b);
	} else {
		bufq_push(&s->out, b);
	}
	resume(s);
}

static void finish(struct request *r)
{
	struct h2_stream *s = r->front;

	r->finished = true;
	resume(s);
	client_wake(&s->h->c);
}

static void abort_answer(struct request *r)
{
	struct h2_stream *s = r->front;

	r->aborted = true;
	s->abort_after = true;
	if (!s->out.bytes)
		h2_session_reset(s->h->session, s->id, H2_INTERNAL_ERROR);
	resume(s);
	client_wake(&s->h->c);
}

static void drop(struct request *r)
{
	struct h2_stream *s = r->front;

	r->aborted = true;
	h2_session_reset(s->h->session, s->id, H2_PROTOCOL_ERROR); /* as nginx */
	client_wake(&s->h->c);
}

/* At the end of the turn, so that frames of many streams go out together. */
static void flush(struct request *r)
{
	struct h2_stream *s = r->front;

	client_wake(&s->h->c);
}

static uint64_t queued(const struct request *r)
{
	const struct h2_stream *s = r->front;

	return s->out.bytes;
}

const struct front_ops h2_front_ops = {
	.read_body = h2_stream_read_body,
	.send_head = send_head,
	.inform = inform,
	.send_body = send_body,
	.finish = finish,
	.abort = abort_answer,
	.drop = drop,
	.flush = flush,
	.queued = queued,
};

/* What the session asks for. */

static void send_trailers(struct h2_stream *s)
{
	const struct hdrs *t = s->r->resp.trailers;
	struct h2_field f[t->n];

	h2_session_trailers(s->h->session, s->id, f, put_fields(f, 0, t));
}

size_t h2_write_pull(void *user, void *stream, size_t max, bool *end, bool *trailers)
{
	struct h2_stream *s = stream;
	struct request *r = s->r;
	const struct h2_scope *conf = h2_scope_of(r->block);
	size_t n = s->out.first ? buf_len(s->out.first) : 0;

	if (conf && max > (size_t)conf->chunk_bytes)
		max = (size_t)conf->chunk_bytes;
	if (n > max)
		n = max;
	*end = r->finished && n == s->out.bytes;
	if (*end && r->resp.trailers && r->resp.trailers->n) {
		*trailers = true;
		send_trailers(s);
	}
	if (!n && !*end) {
		s->waiting = true;
		if (s->abort_after)
			h2_session_reset(s->h->session, s->id, H2_INTERNAL_ERROR);
	}
	return n;
}

bool h2_write_bytes(void *user, const uint8_t *p, size_t n)
{
	struct h2 *h = user;

	if (h->c.out.bytes >= OUT_MAX)
		return false;
	bufq_put(&h->c.out, (const char *)p, n);
	return true;
}

bool h2_write_data(void *user, void *stream, const uint8_t head[H2_FRAME_HEAD_BYTES], size_t n)
{
	struct h2_stream *s = stream;
	struct h2 *h = s->h;
	struct buf *b = s->out.first;

	if (h->c.out.bytes >= OUT_MAX)
		return false;
	if (n > JOIN_MAX && n == buf_len(b) && b->start >= H2_FRAME_HEAD_BYTES) {
		/* The frame's head goes right before its payload, which is not copied. */
		b = bufq_take(&s->out);
		b->start -= H2_FRAME_HEAD_BYTES;
		memcpy(buf_head(b), head, H2_FRAME_HEAD_BYTES);
		bufq_push(&h->c.out, b);
	} else {
		bufq_put(&h->c.out, (const char *)head, H2_FRAME_HEAD_BYTES);
		if (n) {
			bufq_put(&h->c.out, buf_head(b), n);
			bufq_consume(&s->out, n);
		}
	}
	s->r->sent_body_bytes += n + H2_FRAME_HEAD_BYTES;
	s->sent = h->any_sent = true;
	if (s->out.bytes)
		wait_for_client(s);
	else if (!s->body_wanted || s->body_paused)
		timer_pause(&s->timer);
	return true;
}

void h2_write_head_sent(void *user, void *stream, size_t n)
{
	struct h2_stream *s = stream;

	s->r->sent_head_bytes += n;
}

void h2_write_surplus(void *user, void *stream)
{
	struct h2_stream *s = stream;

	s->surplus = s->h->any_surplus = true;
	client_wake(&s->h->c);
}

static void refuse_surplus(struct h2 *h)
{
	h->any_surplus = false;
	for (struct h2_stream *s = h->streams; s; s = s->next) {
		if (s->surplus)
			h2_session_reset(h->session, s->id,
					 s->malformed ? H2_PROTOCOL_ERROR : H2_NO_ERROR);
		s->surplus = false;
	}
}

static void resume_bodies(struct h2 *h)
{
	struct h2_stream *next;

	h->any_resumes = false;
	for (struct h2_stream *s = h->streams; s; s = next) {
		next = s->next;
		if (s->body_resumes)
			h2_stream_go_on(s);
	}
}

static void tell_drained(struct h2 *h)
{
	struct h2_stream *next;

	h->any_sent = false;
	for (struct h2_stream *s = h->streams; s; s = next) {
		next = s->next;
		if (!s->sent)
			continue;
		s->sent = false;
		if (!s->r->finished && !s->r->aborted)
			request_drained(s->r);
	}
}

int h2_write_pump(struct h2 *h)
{
	uint64_t before = h->c.conn.n_sent;
	int r;

	if (h->any_resumes)
		resume_bodies(h);
	if (h->any_surplus)
		refuse_surplus(h);
	do {
		r = h2_session_send(h->session);
		client_write(&h->c);
	} while (!r && !h->c.dead && !h->c.out.bytes && h2_session_wants_send(h->session) &&
		 h->c.conn.n_sent - before < TURN_MAX);
	if (h->any_sent)
		tell_drained(h);
	if (!h->c.out.bytes && !r && h2_session_wants_send(h->session))
		client_wake(&h->c);
	return r;
}
