/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sends answers: delay, head, framing, pace, the faults, and how the connection goes on afterwards.
 * What an answer says is route.c's and event.c's; sockets are conn.c's.
 */
#include "mock.h"

enum { PIECE_MAX = 16384, PUMP_ROUNDS = 16, HUGE_HEADER_BYTES = 100 * 1024, N_1XX_A_TICK = 100 };
enum { FALSE_LENGTH_SHORT = 1000000, FALSE_LENGTH_LONG = 100 };

static const uint64_t ms_ns = 1000000;

static bool strikes_in_body(const struct reply *r)
{
	switch (r->behave.fault) {
	case FAULT_CLOSE_IN_BODY:
	case FAULT_RESET_IN_BODY:
	case FAULT_STALL_IN_BODY:
	case FAULT_BAD_CHUNK:
		return true;
	case FAULT_ERROR_EVENT:
		return r->body == BODY_EVENTS;
	default:
		return false;
	}
}

static void plan_framing(struct conn *c)
{
	struct reply *r = &c->reply;
	bool old = c->req.head.minor == 0 && c->req.head.method.n > 0;

	if (r->body == BODY_EVENTS)
		r->framing = FRAME_CHUNKED;
	if (r->framing == FRAME_CHUNKED && old)
		r->framing = FRAME_CLOSE;
	switch (r->behave.fault) {
	case FAULT_BAD_CHUNK:
	case FAULT_NO_FINAL_CHUNK:
	case FAULT_BOTH_LENGTHS:
		r->framing = FRAME_CHUNKED;
		break;
	case FAULT_SHORT_LENGTH:
	case FAULT_LONG_LENGTH:
		r->framing = FRAME_LENGTH;
		break;
	case FAULT_TLS_NO_CLOSE_NOTIFY:
	case FAULT_HTTP10_CLOSE:
		r->framing = FRAME_CLOSE;
		break;
	default:
		break;
	}
}

static void plan_ending(struct conn *c)
{
	struct reply *r = &c->reply;

	r->ending = r->framing == FRAME_CLOSE || !c->req.head.keep_alive ? END_CLOSE : END_KEEP;
	switch (r->behave.fault) {
	case FAULT_TLS_NO_CLOSE_NOTIFY:
		r->ending = END_CLOSE_BARE;
		break;
	case FAULT_SHORT_LENGTH:
	case FAULT_NO_FINAL_CHUNK:
	case FAULT_CLOSE_AFTER:
	case FAULT_EARLY_ANSWER:
	case FAULT_CLOSE_BEFORE_HEAD:
	case FAULT_CLOSE_IN_HEAD:
		r->ending = END_CLOSE;
		break;
	case FAULT_RESET_BEFORE_HEAD:
	case FAULT_RESET_IN_HEAD:
		r->ending = END_RESET;
		break;
	default:
		break;
	}
}

/* From what route.c filled in to how it is going to be sent. */
static void plan(struct conn *c)
{
	struct reply *r = &c->reply;
	const struct behave *b = &r->behave;

	if (r->status == 204 || r->status == 304)
		r->body = BODY_NONE;
	if (r->body == BODY_MEM)
		r->total = buf_pending(&r->mem);
	else if (r->body == BODY_EVENTS)
		r->total = event_count(&r->stream);
	else if (r->body == BODY_NONE)
		r->total = 0;
	plan_framing(c);
	plan_ending(c);
	r->cut = UINT64_MAX;
	if (strikes_in_body(r))
		r->cut = r->body == BODY_EVENTS ? event_middle(&r->stream) : r->total / 2;
	if (r->body == BODY_EVENTS || r->body == BODY_BYTES)
		r->pace_ns = b->chunk_delay_ms * ms_ns;
	if (b->fault == FAULT_DRIP) {
		r->gate_ns = b->chunk_delay_ms > 0 ? b->chunk_delay_ms * ms_ns : 50 * ms_ns;
		r->pace_ns = 0;
	} else if (b->fault == FAULT_SPLIT_EVENTS) {
		r->gate_ns = ms_ns;
		r->odd_chunks = true;
	}
}

static void head_framing(struct conn *c)
{
	struct reply *r = &c->reply;
	struct buf *b = &c->out;
	uint64_t length = r->total;

	if (r->body == BODY_EVENTS || r->behave.fault == FAULT_SHORT_LENGTH)
		length = r->behave.fault == FAULT_SHORT_LENGTH ? r->total + FALSE_LENGTH_SHORT
							       : FALSE_LENGTH_LONG;
	if (r->status != 204 && r->status != 304) {
		if (r->framing == FRAME_LENGTH || r->behave.fault == FAULT_BOTH_LENGTHS) {
			buf_span(b, SPAN("content-length: "));
			buf_u64(b, length);
			buf_span(b, SPAN("\r\n"));
		}
		if (r->framing == FRAME_CHUNKED)
			buf_span(b, SPAN("transfer-encoding: chunked\r\n"));
	}
	if (r->behave.fault == FAULT_CLOSE_AFTER || r->behave.fault == FAULT_HTTP10_CLOSE ||
	    r->behave.fault == FAULT_TLS_NO_CLOSE_NOTIFY)
		return;
	if (r->framing == FRAME_CLOSE || !c->req.head.keep_alive)
		buf_span(b, SPAN("connection: close\r\n"));
	else if (c->req.head.minor == 0)
		buf_span(b, SPAN("connection: keep-alive\r\n"));
}

/* Lines that the request asked for, word for word. */
static void head_added(struct conn *c)
{
	struct head_iter it;
	struct span name, value;

	head_start(&it, &c->req.head);
	while (head_next(&it, &name, &value)) {
		if (!span_is(name, "x-mock-add-header"))
			continue;
		buf_span(&c->out, value);
		buf_span(&c->out, SPAN("\r\n"));
	}
}

static void head_faults(struct conn *c)
{
	switch (c->reply.behave.fault) {
	case FAULT_HUGE_HEADER:
		buf_span(&c->out, SPAN("x-mock-huge: "));
		memset(buf_reserve(&c->out, HUGE_HEADER_BYTES), 'h', HUGE_HEADER_BYTES);
		c->out.len += HUGE_HEADER_BYTES;
		buf_span(&c->out, SPAN("\r\n"));
		break;
	case FAULT_BAD_HEADER:
		buf_span(&c->out, SPAN("x-mock-bad: a\0b\r\n"));
		break;
	case FAULT_BAD_HEADER_CR:
		buf_span(&c->out, SPAN("x-mock-bad: a\rb\r\n"));
		break;
	default:
		break;
	}
}

static void head_line(struct conn *c)
{
	struct reply *r = &c->reply;
	const char *reason = route_reason_cstr(r->status);

	if (r->behave.fault == FAULT_GARBAGE_STATUS)
		buf_span(&c->out, SPAN("HTTP/1.1 2x0 "));
	else {
		if (r->behave.fault == FAULT_HTTP10_CLOSE)
			buf_span(&c->out, SPAN("HTTP/1.0 "));
		else
			buf_span(&c->out, SPAN("HTTP/1.1 "));
		buf_u64(&c->out, r->status);
		buf_span(&c->out, SPAN(" "));
	}
	buf_add(&c->out, reason, strlen(reason));
	buf_span(&c->out, SPAN("\r\ndate: "));
	buf_add(&c->out, c->srv->date_cstr, strlen(c->srv->date_cstr));
	buf_span(&c->out, SPAN("\r\nserver: mock-llm\r\n"));
}

static void add_line(struct buf *b, const char *name, const char *value)
{
	if (value == NULL || *value == '\0')
		return;
	buf_add(b, name, strlen(name));
	buf_add(b, value, strlen(value));
	buf_span(b, SPAN("\r\n"));
}

static void add_head(struct conn *c)
{
	struct reply *r = &c->reply;
	struct buf *b = &c->out;

	head_line(c);
	add_line(b, "x-mock-name: ", c->srv->name_cstr);
	buf_span(b, SPAN("x-request-id: req_"));
	buf_hex64(b, r->request_id);
	buf_span(b, SPAN("\r\n"));
	if (r->body != BODY_NONE)
		add_line(b, "content-type: ", r->type_cstr);
	if (r->body == BODY_EVENTS)
		buf_span(b, SPAN("cache-control: no-cache\r\n"));
	add_line(b, "allow: ", r->allow_cstr);
	add_line(b, "retry-after: ", r->behave.retry_after_cstr);
	head_added(c);
	head_faults(c);
	head_framing(c);
	buf_span(b, SPAN("\r\n"));
}

/* The delay is over: the head, or what a fault has in its place. */
static void begin(struct conn *c, uint64_t now_ns)
{
	struct reply *r = &c->reply;
	size_t before = buf_pending(&c->out);

	r->due_ns = now_ns;
	r->wrote = true;
	switch (r->behave.fault) {
	case FAULT_CLOSE_BEFORE_HEAD:
	case FAULT_RESET_BEFORE_HEAD:
		r->wrote = false;
		r->phase = PH_END;
		return;
	case FAULT_STALL_BEFORE_HEAD:
		r->phase = PH_STALL;
		return;
	case FAULT_MANY_1XX:
		r->phase = PH_1XX;
		return;
	case FAULT_UNREQUESTED_101:
		buf_span(&c->out, SPAN("HTTP/1.1 101 Switching Protocols\r\nconnection: "
				       "upgrade\r\nupgrade: mock\r\n"
				       "\r\nnot http any more\n"));
		r->phase = PH_STALL;
		return;
	default:
		break;
	}
	add_head(c);
	r->phase = r->head_only || r->body == BODY_NONE ? PH_END : PH_BODY;
	if (r->behave.fault == FAULT_CLOSE_IN_HEAD || r->behave.fault == FAULT_RESET_IN_HEAD) {
		c->out.len -= (buf_pending(&c->out) - before) / 2;
		r->phase = PH_END;
	}
}

static void add_chunk(struct conn *c, const char *p, size_t n)
{
	char line[20];
	int len = 0, shift = 60;

	while (shift > 0 && (n >> shift & 15) == 0)
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		line[len++] = "0123456789abcdef"[n >> shift & 15];
	line[len++] = '\r';
	line[len++] = '\n';
	buf_add(&c->out, line, (size_t)len);
	buf_add(&c->out, p, n);
	buf_span(&c->out, SPAN("\r\n"));
}

/* Body bytes into the output, in the framing that was announced. */
static void emit(struct conn *c, const char *p, size_t n)
{
	static const size_t odd[] = {1, 37, 2, 113, 5, 64};
	struct reply *r = &c->reply;

	r->bytes += n;
	if (r->framing != FRAME_CHUNKED) {
		buf_add(&c->out, p, n);
		return;
	}
	while (n > 0) {
		size_t piece = n;
		if (r->odd_chunks && piece > odd[r->chunk_step % 6])
			piece = odd[r->chunk_step % 6];
		r->chunk_step++;
		add_chunk(c, p, piece);
		p += piece, n -= piece;
	}
}

static void finish(struct conn *c)
{
	struct reply *r = &c->reply;

	if (r->framing == FRAME_CHUNKED && r->behave.fault != FAULT_NO_FINAL_CHUNK)
		buf_span(&c->out, SPAN("0\r\n\r\n"));
	if (r->behave.fault == FAULT_LONG_LENGTH)
		buf_span(&c->out, SPAN("HTTP/1.1 200 OK\r\nx-mock-smuggled: yes\r\ncontent-length: "
				       "9\r\n\r\nsmuggled\n"));
	r->phase = PH_END;
}

/* The fault that was to come in the middle of the body. */
static void strike(struct conn *c)
{
	struct reply *r = &c->reply;
	struct buf *tmp = &c->srv->scratch;

	r->cut = UINT64_MAX;
	switch (r->behave.fault) {
	case FAULT_STALL_IN_BODY:
		r->phase = PH_STALL;
		return;
	case FAULT_BAD_CHUNK:
		buf_span(&c->out, SPAN("zz\r\nno size\r\n"));
		r->phase = PH_STALL;
		return;
	case FAULT_ERROR_EVENT:
		buf_reset(tmp, SIZE_MAX);
		event_error(&r->stream, tmp);
		emit(c, buf_head(tmp), buf_pending(tmp));
		finish(c);
		return;
	case FAULT_RESET_IN_BODY:
		r->ending = END_RESET;
		break;
	default:
		r->ending = END_CLOSE;
		break;
	}
	r->phase = PH_END;
}

static void bytes_piece(struct conn *c, size_t n_max)
{
	static const size_t sizes[] = {1, 13, 509, 4099, 16384};
	struct reply *r = &c->reply;
	size_t n = r->framing == FRAME_CHUNKED ? sizes[r->chunk_step % 5] : PIECE_MAX;

	if (n > n_max)
		n = n_max;
	emit(c, c->srv->pattern + r->sent % BYTES_PERIOD, n);
	r->sent += n;
}

/* One event, or one piece of anything else. */
static void body_step(struct conn *c)
{
	struct reply *r = &c->reply;
	struct buf *tmp = &c->srv->scratch;
	uint64_t end = r->cut < r->total ? r->cut : r->total;
	bool paced = true;

	if (r->sent == end) {
		if (r->cut == end)
			strike(c);
		else
			finish(c);
		return;
	}
	size_t n = end - r->sent > PIECE_MAX ? PIECE_MAX : (size_t)(end - r->sent);
	switch (r->body) {
	case BODY_EVENTS:
		buf_reset(tmp, SIZE_MAX);
		event_render(&r->stream, r->sent++, tmp);
		emit(c, buf_head(tmp), buf_pending(tmp));
		paced = event_paced(&r->stream, r->sent);
		break;
	case BODY_MEM:
		emit(c, buf_head(&r->mem) + r->sent, n);
		r->sent += n;
		break;
	case BODY_BYTES:
		bytes_piece(c, n);
		break;
	case BODY_NONE:
		break;
	}
	if (r->sent == r->total && r->cut == UINT64_MAX)
		finish(c);
	else if (paced)
		r->due_ns += r->pace_ns;
}

static void produce(struct conn *c, uint64_t now_ns)
{
	struct reply *r = &c->reply;

	if (r->phase == PH_DELAY && r->due_ns <= now_ns)
		begin(c, now_ns);
	if (r->phase == PH_1XX && r->due_ns <= now_ns) {
		for (int i = 0; i < N_1XX_A_TICK && buf_pending(&c->out) < OUT_HIGH; i++)
			buf_span(&c->out, SPAN("HTTP/1.1 103 Early Hints\r\nlink: </mock>; "
					       "rel=preload\r\n\r\n"));
		r->due_ns = now_ns + 10 * ms_ns;
	}
	while (r->phase == PH_BODY && buf_pending(&c->out) < OUT_HIGH && r->due_ns <= now_ns)
		body_step(c);
}

/* All is sent. */
static void complete(struct conn *c, uint64_t now_ns)
{
	struct reply *r = &c->reply;
	enum ending ending = r->ending;

	if (ending == END_RESET && r->wrote) {
		/* What was sent must arrive before the reset does. */
		r->phase = PH_RESET;
		r->due_ns = now_ns + 20 * ms_ns;
		return;
	}
	reply_end(c, false);
	if (ending == END_RESET)
		conn_drop(c, true);
	else if (ending != END_KEEP)
		conn_close(c, ending == END_CLOSE_BARE);
	else
		c->state = CONN_HEAD;
}

void reply_pump(struct conn *c)
{
	struct reply *r = &c->reply;
	uint64_t now_ns = timer_now_ns();

	if (r->phase == PH_RESET) {
		if (r->due_ns <= now_ns) {
			reply_end(c, false);
			conn_drop(c, true);
		}
		return;
	}
	for (int i = 0; i < PUMP_ROUNDS; i++) {
		produce(c, now_ns);
		if (conn_flush(c, now_ns) < 0) {
			reply_end(c, true);
			conn_drop(c, false);
			return;
		}
		if (buf_pending(&c->out) > 0)
			return;
		if (r->phase == PH_END) {
			complete(c, now_ns);
			return;
		}
		if (r->phase != PH_BODY || r->due_ns > now_ns)
			return;
	}
	c->want_out = true; /* others first */
}

uint64_t reply_due_ns(const struct conn *c)
{
	const struct reply *r = &c->reply;
	uint64_t due_ns = UINT64_MAX;
	size_t pending = buf_pending(&c->out);

	if (r->phase == PH_DELAY || r->phase == PH_RESET)
		due_ns = r->due_ns;
	else if ((r->phase == PH_1XX || (r->phase == PH_BODY && r->pace_ns > 0)) &&
		 pending < OUT_HIGH)
		due_ns = r->due_ns;
	if (r->gate_ns > 0 && pending > 0 && !c->want_out && r->gate_due_ns < due_ns)
		due_ns = r->gate_due_ns;
	return due_ns;
}

bool reply_waiting(const struct conn *c)
{
	const struct reply *r = &c->reply;

	return r->gate_ns > 0 || r->pace_ns > 0 || (r->phase != PH_BODY && r->phase != PH_END);
}

static void open_reply(struct conn *c)
{
	struct server *srv = c->srv;

	c->reply = (struct reply){.request_id = ++srv->last_request_id};
	c->state = CONN_REPLY;
	c->n_requests++;
	srv->stats.requests++;
	srv->stats.requests_active++;
	srv->stats.paths[c->req.endpoint]++;
}

void reply_start(struct conn *c)
{
	struct server *srv = c->srv;
	struct reply *r = &c->reply;

	open_reply(c);
	route_answer(c);
	r->head_only = span_is(c->req.head.method, "HEAD");
	plan(c);
	if (r->body == BODY_EVENTS) {
		srv->stats.streams++;
		srv->stats.streams_active++;
		buf_free(&c->req.body);
	}
	r->phase = PH_DELAY;
	r->due_ns = r->behave.delay_ms > 0 ? timer_now_ns() + r->behave.delay_ms * ms_ns : 0;
}

void reply_bad_request(struct conn *c, const char *why)
{
	c->req.head = (struct head){.minor = 1};
	c->req.endpoint = EP_OTHER;
	open_reply(c);
	c->srv->stats.bad_requests++;
	route_error(c, 400, why);
	plan(c);
	c->reply.phase = PH_DELAY;
}

void reply_end(struct conn *c, bool aborted)
{
	struct stats *s = &c->srv->stats;
	struct reply *r = &c->reply;

	stats_log(c, aborted);
	s->requests_active--;
	if (aborted)
		s->aborted_answers++;
	if (r->body == BODY_EVENTS) {
		s->streams_active--;
		if (aborted)
			s->aborted_streams++;
	}
	buf_free(&r->mem);
	event_free(&r->stream);
	r->phase = PH_NONE;
	buf_reset(&c->out, 16384);
	buf_reset(&c->req.body, 16384);
	buf_reset(&c->req.text, 16384);
	EVP_MD_CTX_free(c->req.sha);
	c->req.sha = NULL;
}
