/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns a stream from its HEADERS to its end: the request's head, its body, what is wrong with either.
 * Everything here but read_body is called by the session, at the top of the stack. */
#include <stdlib.h>

#include "core/err.h"
#include "proxy/h2_impl.h"

enum {
	FIELDS_MAX = 1000,
	BODY_WINDOW_BYTES = 256 * 1024,
	EARLY_FIRST_BYTES = 1024,
	HEADERS_TIMES_MAX = 4, /* over the limit by this: no client's mistake */
	STARTS_PER_TURN = 32,
	FIELD_COST = 32, /* of a field, beside its bytes (RFC 9113 6.5.2) */
};

static void on_timer(struct timer *t)
{
	struct h2_stream *s = (struct h2_stream *)((char *)t - offsetof(struct h2_stream, timer));
	struct request *r = s->r;

	request_log(r, LOG_LVL_INFO, "client timed out (110: Connection timed out) while %s",
		    s->body_wanted ? "reading client request body" : "sending response to client");
	if (s->body_wanted)
		request_offence(r, BAN_ON_SLOW_CLIENT, 0);
	if (!r->resp.status)
		r->resp.status = 408;
	r->aborted = true;
	h2_session_reset(s->h->session, s->id, H2_CANCEL);
	client_wake(&s->h->c);
}

static struct head_limits limits(const struct h2 *h)
{
	const struct http_scope *c = client_scope(&h->c);
	int64_t first = c->client_header_buffer_bytes, large = c->large_header_bytes;

	return (struct head_limits){
		.line_max_bytes = (uint32_t)(first > large ? first : large),
		.head_max_bytes = (uint32_t)(first + large * c->large_header_n),
		.fields_max = FIELDS_MAX,
	};
}

void *h2_stream_open(void *user, int32_t id)
{
	struct h2 *h = user;
	struct request *r;
	struct h2_stream *s;

	h->c.client.n_requests++;
	r = request_new(h->c.env, &h->c.client, &h2_front_ops, NULL);
	s = arena_zalloc(&r->arena, sizeof *s);
	r->front = s;
	s->h = h;
	s->r = r;
	s->id = id;
	s->scan = arena_zalloc(&r->sending, sizeof *s->scan);
	bufq_init(&s->out);
	timer_init(&s->timer, on_timer);
	s->next = h->streams;
	if (s->next)
		s->next->prev = s;
	h->streams = s;
	h->n_streams++;
	h->n_since++;
	h->in_head = true;
	client_set_idle(&h->c, false);
	return s;
}

void h2_stream_field(void *user, void *stream, struct slice name, struct slice value, bool trailer)
{
	struct h2_stream *s = stream;
	struct head_limits lim = limits(s->h);
	uint64_t cost = (uint64_t)s->fields_cost + name.n + value.n + FIELD_COST;

	/* HPACK makes much of little: the block must be decoded to its end, or the connection ends. */
	s->fields_cost = (uint32_t)cost;
	if (cost > HEADERS_TIMES_MAX * (uint64_t)lim.head_max_bytes)
		h2_session_too_much(s->h->session);
	else if (!trailer && s->scan)
		head_h2_field(s->scan, name, value, &lim, &s->r->arena, &s->r->head);
	else if (trailer && !s->body_failed) /* checked and dropped, as those of a chunked body */
		s->body_failed =
			cost > lim.head_max_bytes || head_h2_trailer(name, value) != HEAD_OK;
}

static unsigned status_of(enum head_error why)
{
	if (why == HEAD_LINE_TOO_LONG)
		return 414;
	return why == HEAD_FIELD_TOO_LONG ? 494 : 400;
}

static void refuse(struct h2_stream *s, enum head_error why)
{
	struct request *r = s->r;
	struct slice line = SLICE("");

	if (r->head.method_text.n && r->head.target.n)
		line = arena_printf(&r->arena, "%.*s %.*s HTTP/2.0", SLICE_FMT(r->head.method_text),
				    SLICE_FMT(r->head.target));
	r->head = (struct req_head){.minor = 1, .http2 = true};
	s->malformed = status_of(why) == 400;
	request_set_bad_line(r, line, why);
	h2_session_blame(s->h->session);
	request_refuse(r, status_of(why), head_error_text(why));
}

/* Not at once: who takes a request back in the same breath shall not have cost an upstream anything. */
static void start_soon(struct h2_stream *s)
{
	struct h2 *h = s->h;

	s->starts = true;
	if (h->last)
		h->last->then = s;
	else
		h->first = s;
	h->last = s;
	client_wake(&h->c);
}

static void take_out(struct h2_stream *s)
{
	struct h2 *h = s->h;
	struct h2_stream **at = &h->first, *before = NULL;

	while (*at != s) {
		before = *at;
		at = &before->then;
	}
	*at = s->then;
	if (h->last == s)
		h->last = before;
	s->then = NULL;
	s->starts = false;
}

void h2_stream_start_some(struct h2 *h)
{
	for (int i = 0; h->first && i < STARTS_PER_TURN; i++) {
		struct h2_stream *s = h->first;

		take_out(s);
		if (!s->r->aborted)
			request_start(s->r);
	}
	if (h->first)
		client_wake(&h->c);
}

static void begin(struct h2_stream *s, bool end_stream, uint32_t bytes)
{
	struct request *r = s->r;
	enum head_error why = head_h2_finish(s->scan, end_stream, &r->arena, &r->head);

	s->scan = NULL;
	s->fields_cost = 0;
	s->body_done = end_stream;
	s->has_length = r->head.body == BODY_LENGTH;
	s->body_left = r->head.content_length;
	r->head_bytes = bytes;
	r->keep_alive = true;
	if (why != HEAD_OK)
		refuse(s, why);
	else
		start_soon(s);
}

/* The body is not what the head said, or its trailers are malformed (RFC 9113 8.1.1). */
static void break_off(struct h2_stream *s, const char *why)
{
	struct request *r = s->r;

	if (r->aborted || r->finished)
		return;
	request_log(r, LOG_LVL_INFO, "%s", why);
	r->env->stats->bad_requests++;
	request_offence(r, BAN_ON_BAD_REQUEST, 400);
	s->body_wanted = false;
	s->body_failed = true;
	r->aborted = true;
	if (!r->resp.status)
		r->resp.status = 400;
	h2_session_blame(s->h->session);
	h2_session_reset(s->h->session, s->id, H2_PROTOCOL_ERROR);
}

static void body_is_whole(struct h2_stream *s)
{
	s->body_done = true;
	if (s->has_length && s->body_left)
		break_off(s, "client sent less body than its Content-Length says");
	if (!s->body_wanted || s->body_paused)
		return;
	s->body_wanted = false;
	timer_pause(&s->timer);
	request_body_end(s->r, 0);
}

void h2_stream_head(void *user, void *stream, bool trailers, bool end_stream, uint32_t bytes)
{
	struct h2_stream *s = stream;

	s->h->in_head = false;
	if (!trailers) {
		begin(s, end_stream, bytes);
		return;
	}
	if (s->body_failed || !end_stream)
		break_off(s, "client sent malformed trailers");
	else
		body_is_whole(s);
}

/* Hands N bytes to the request. Their window opens again when it can take more. */
static void give(struct h2_stream *s, const char *p, size_t n)
{
	int status = request_body_put(s->r, p, n, 0);

	s->given += (uint32_t)n;
	if (!status && request_body_is_full(s->r)) {
		s->body_paused = true;
		timer_pause(&s->timer);
		return;
	}
	if (!status) {
		h2_session_consume(s->h->session, s->id, s->given);
		s->given = 0;
		return;
	}
	s->body_wanted = false;
	s->body_failed = true;
	timer_pause(&s->timer);
	request_body_end(s->r, status);
}

/* Nobody has asked for the body yet: its window bounds what comes. */
static void keep(struct h2_stream *s, const char *p, size_t n)
{
	uint32_t room = s->early_room ? s->early_room : EARLY_FIRST_BYTES;
	char *to;

	while (room < s->early_n + n)
		room *= 2;
	if (room != s->early_room) {
		to = realloc(s->early, room);
		if (!to) {
			h2_session_fail(s->h->session, H2_INTERNAL_ERROR);
			return;
		}
		s->early = to;
		s->early_room = room;
	}
	memcpy(s->early + s->early_n, p, n);
	s->early_n += (uint32_t)n;
}

void h2_stream_data(void *user, void *stream, const char *p, size_t n)
{
	struct h2_stream *s = stream;
	struct request *r = s->r;

	/* A stream that is not read holds only itself. */
	h2_session_consume_conn(s->h->session, n);
	r->env->stats->bytes_in += n;
	if (s->body_failed || r->finished || r->aborted)
		return;
	if (s->has_length && n > s->body_left) {
		break_off(s, "client sent more body than its Content-Length says");
		return;
	}
	s->body_left -= s->has_length ? n : 0;
	if (!s->body_wanted || s->body_paused) {
		keep(s, p, n);
		return;
	}
	timer_set(&r->env->loop, &s->timer, (uint64_t)r->scope->client_body_timeout_ms);
	give(s, p, n);
}

void h2_stream_data_end(void *user, void *stream)
{
	body_is_whole(stream);
}

/* What had come before it could be taken, then what is coming. */
static void give_early(struct h2_stream *s)
{
	struct request *r = s->r;
	char *early = s->early;
	uint32_t n = s->early_n;

	s->early = NULL;
	s->early_n = s->early_room = 0;
	if (n)
		give(s, early, n);
	free(early);
	if (!s->body_wanted || s->body_paused)
		return;
	if (s->body_done)
		body_is_whole(s);
	else
		timer_set(&r->env->loop, &s->timer, (uint64_t)r->scope->client_body_timeout_ms);
}

void h2_stream_go_on(struct h2_stream *s)
{
	s->body_resumes = s->body_paused = false;
	if (s->body_failed || s->r->finished || s->r->aborted)
		return;
	h2_session_consume(s->h->session, s->id, s->given);
	s->given = 0;
	give_early(s);
}

void h2_stream_read_body(struct request *r)
{
	struct h2_stream *s = r->front;
	struct h2_field go_on = {SLICE(":status"), SLICE("100")};
	uint32_t window = (uint32_t)s->h->conf->preread_bytes;

	if (s->body_paused) {
		s->body_resumes = s->h->any_resumes = true;
		client_wake(&s->h->c);
		return;
	}
	s->body_wanted = true;
	if (r->head.expect_continue && !s->body_done && !s->early_n)
		h2_session_inform(s->h->session, s->id, &go_on, 1);
	/* What is sent on as it comes is stored nowhere: such a window stays small. */
	if (!s->body_done && !r->body.stream && window < BODY_WINDOW_BYTES)
		h2_session_open_window(s->h->session, s->id, BODY_WINDOW_BYTES);
	give_early(s);
	/* Often called by what else the request has waited for: the client may have sent all it may. */
	client_wake(&s->h->c);
}

/* Lets go of all but the request. */
static void release(struct h2_stream *s)
{
	struct h2 *h = s->h;

	if (s->starts)
		take_out(s);
	timer_cancel(&h->c.env->loop, &s->timer);
	bufq_clear(&s->out);
	free(s->early);
	if (s->scan)
		h->in_head = false;
	if (s->prev)
		s->prev->next = s->next;
	else
		h->streams = s->next;
	if (s->next)
		s->next->prev = s->prev;
	h->n_streams--;
}

void h2_stream_drop(struct h2_stream *s)
{
	struct request *r = s->r;

	r->env->stats->client_cancelled += !r->finished && !r->aborted;
	release(s);
	request_client_gone(r);
}

void h2_stream_closed(void *user, void *stream, bool answered, uint32_t error)
{
	struct h2_stream *s = stream;
	struct request *r = s->r;

	if (!answered || !r->finished) {
		h2_stream_drop(s);
		return;
	}
	if (s->malformed && error == H2_NO_ERROR)
		h2_session_reset(s->h->session, s->id, H2_PROTOCOL_ERROR);
	release(s);
	request_done(r);
}
