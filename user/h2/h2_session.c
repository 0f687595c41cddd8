/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns nghttp2's session and its callbacks, and tells abuse from use. HTTP's own rules are not checked here
 * (nghttp2's checks are off: http/head_h2.h has stricter ones, and their user answers with a status). */
#include "h2/h2_session.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "h2/h2_frames.h"
#include "h2/h2_memory.h"
#include "h2/h2_past.h"

enum {
	CONN_WINDOW_BYTES = 1 << 20,
	UNREAD_ACKS_MAX = 1000,
	SEND_HEAD_MAX = 1 << 20,
	SETTINGS_COST = 20,
	PING_COST = 4,
	OPEN_CREDIT = 4, /* control frames that each request, */
	DATA_CREDIT = 2, /* and each of our DATA frames may bring about */
};

struct h2_session {
	nghttp2_session *ng;
	struct h2_memory memory;
	const struct h2_ops *ops;
	void *user;
	uint64_t now_ms;
	struct h2_guard guard;
	struct h2_frames frames;
	struct h2_past past;
	enum h2_abuse abuse;
	enum h2_error error; /* of our GOAWAY */
	size_t n_queued;     /* frames to be sent, before the client's SETTINGS took effect */
	bool failed;
};

/* The one context of the process. */
static struct {
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
} process;

/* What a callback returns: 0, or the end of the connection. */
static int judge(struct h2_session *s, bool fine, enum h2_abuse kind)
{
	if (fine && !s->failed)
		return 0;
	if (!fine && s->abuse == H2_ABUSE_N)
		s->abuse = kind;
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int hit(struct h2_session *s, enum h2_abuse kind, uint32_t cost)
{
	return judge(s, h2_guard_hit(&s->guard, kind, cost, s->now_ms), kind);
}

static int count_traffic(struct h2_session *s, uint64_t total, uint64_t payload)
{
	return judge(s, h2_guard_traffic(&s->guard, total, payload), H2_ABUSE_OVERHEAD);
}

static void *stream_of(struct h2_session *s, int32_t id)
{
	return nghttp2_session_get_stream_user_data(s->ng, id);
}

/* Coming in. */

/* RFC 9113 5.1, 5.1.1: what HEADERS and DATA mean on a stream that is not there. */
static int check_past(struct h2_session *s, int32_t id)
{
	if (h2_past_has_skipped(&s->past, id))
		s->error = H2_PROTOCOL_ERROR;
	else if (h2_past_has_done(&s->past, id))
		s->error = H2_STREAM_CLOSED;
	else
		return 0;
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool was_opened(const struct h2_session *s, int32_t id)
{
	return id > 0 && id <= s->past.last;
}

static int begin_data(struct h2_session *s, const struct h2_frame_head *f)
{
	int32_t id = (int32_t)f->stream;
	int r = 0;

	if (f->payload_n == 0 && !(f->flags & NGHTTP2_FLAG_END_STREAM))
		r = hit(s, H2_ABUSE_EMPTY, 1);
	if (r || nghttp2_session_find_stream(s->ng, id))
		return r;
	/* It may have been sent before we told that the stream is over: nobody's fault, and yet no use. */
	r = was_opened(s, id) ? check_past(s, id) : 0;
	if (!r)
		r = count_traffic(s, 0, f->payload_n);
	return r ? r : hit(s, H2_ABUSE_CONTROL, 1);
}

/* Each costs as much as a control frame until it opens a stream. */
static int begin_headers(struct h2_session *s, int32_t id)
{
	int r = hit(s, H2_ABUSE_CONTROL, 1);

	if (r || !was_opened(s, id) || nghttp2_session_find_stream(s->ng, id))
		return r;
	return check_past(s, id);
}

static int begin_reset(struct h2_session *s, int32_t id)
{
	if (nghttp2_session_find_stream(s->ng, id))
		h2_past_done(&s->past, id);
	return hit(s, H2_ABUSE_RESETS, 1);
}

/* RFC 9113 lets them be ignored, which nghttp2 does, but for these rules (6.3; RFC 7540 5.3.1, as nginx). */
static int begin_priority(struct h2_session *s, const struct h2_frame_head *f)
{
	int32_t id = (int32_t)f->stream;

	if (id == 0) {
		s->error = H2_PROTOCOL_ERROR;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	if (f->word == f->stream && nghttp2_session_find_stream(s->ng, id)) {
		h2_session_reset(s, id, H2_PROTOCOL_ERROR);
		return hit(s, H2_ABUSE_BROKEN, 1);
	}
	return hit(s, H2_ABUSE_CONTROL, 1);
}

static int begin_frame(struct h2_session *s, const struct h2_frame_head *f)
{
	int r;

	if (f->payload_n > H2_FRAME_MAX) /* nghttp2 ends the connection for it */
		return 0;
	r = count_traffic(s, f->payload_n + H2_FRAME_HEAD_BYTES, 0);
	if (r)
		return r;
	switch (f->type) {
	case NGHTTP2_DATA:
		return begin_data(s, f);
	case NGHTTP2_HEADERS:
		return begin_headers(s, (int32_t)f->stream);
	case NGHTTP2_CONTINUATION:
		return f->payload_n == 0 ? hit(s, H2_ABUSE_EMPTY, 1) : 0;
	case NGHTTP2_RST_STREAM:
		return begin_reset(s, (int32_t)f->stream);
	case NGHTTP2_SETTINGS:
		s->n_queued = nghttp2_session_get_outbound_queue_size(s->ng);
		return hit(s, H2_ABUSE_CONTROL, SETTINGS_COST);
	case NGHTTP2_PING:
		return hit(s, H2_ABUSE_CONTROL, PING_COST);
	case NGHTTP2_PRIORITY:
		return begin_priority(s, f);
	case NGHTTP2_GOAWAY:
		/* What a client says here means nothing, and nghttp2 takes some of it for an error. */
		if (f->stream == 0 && f->word)
			memset(s->frames.head + H2_FRAME_HEAD_BYTES, 0, sizeof(uint32_t));
		return hit(s, H2_ABUSE_CONTROL, 1);
	default:
		return hit(s, H2_ABUSE_CONTROL, 1);
	}
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	nghttp2_extpri fair = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
	int32_t id = frame->hd.stream_id;
	void *stream;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	h2_past_opened(&s->past, id);
	h2_guard_credit(&s->guard, H2_ABUSE_CONTROL, 1 + OPEN_CREDIT);
	stream = s->ops->open(s->user, id);
	nghttp2_session_set_stream_user_data(ng, id, stream);
	/* One after the other is the default; all share the connection frame by frame instead. */
	nghttp2_session_change_extpri_stream_priority(ng, id, &fair, 1);
	return stream ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static struct slice text_of(nghttp2_rcbuf *b)
{
	nghttp2_vec v = nghttp2_rcbuf_get_buf(b);

	return slice_make((const char *)v.base, v.len);
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
		     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
	struct h2_session *s = user;
	void *stream = stream_of(s, frame->hd.stream_id);
	struct slice n = text_of(name), v = text_of(value);
	int r = count_traffic(s, 0, n.n + v.n);

	if (!r && stream)
		s->ops->field(s->user, stream, n, v, frame->headers.cat != NGHTTP2_HCAT_REQUEST);
	return r ? r : judge(s, true, 0);
}

/* RFC 9113 6.9.2: it has made a stream's window too large. nghttp2 resets such streams only, which shows as more than
 * its acknowledgement in the queue. */
static int after_settings(struct h2_session *s, const nghttp2_frame *frame)
{
	if ((frame->hd.flags & NGHTTP2_FLAG_ACK) ||
	    nghttp2_session_get_outbound_queue_size(s->ng) <= s->n_queued + 1)
		return judge(s, true, 0);
	s->error = H2_FLOW_CONTROL_ERROR;
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	void *stream;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		stream = stream_of(s, frame->hd.stream_id);
		if (!stream)
			break;
		s->ops->head(s->user, stream, frame->headers.cat != NGHTTP2_HCAT_REQUEST, end,
			     (uint32_t)frame->hd.length);
		break;
	case NGHTTP2_DATA:
		stream = stream_of(s, frame->hd.stream_id);
		if (stream && end)
			s->ops->data_end(s->user, stream);
		break;
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK)
			s->ops->pong(s->user);
		break;
	case NGHTTP2_SETTINGS:
		return after_settings(s, frame);
	default:
		break;
	}
	return judge(s, true, 0);
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *user)
{
	struct h2_session *s = user;
	void *stream = stream_of(s, id);
	int r = count_traffic(s, 0, n);

	if (r)
		return r;
	if (stream)
		s->ops->data(s->user, stream, (const char *)p, n);
	else
		nghttp2_session_consume(ng, id, n);
	return judge(s, true, 0);
}

static int on_invalid(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *user)
{
	struct h2_session *s = user;

	/* Refused: what its body's frames mean is known all the same. */
	if (frame->hd.type == NGHTTP2_HEADERS && frame->hd.stream_id > s->past.last)
		h2_past_opened(&s->past, frame->hd.stream_id);
	return hit(s, H2_ABUSE_BROKEN, 1);
}

static int on_close(nghttp2_session *ng, int32_t id, uint32_t error, void *user)
{
	struct h2_session *s = user;
	void *stream = stream_of(s, id);
	/* NO_ERROR of ours or of a client that has got all: both come after the answer's last frame. */
	bool answered = nghttp2_session_get_stream_local_close(ng, id) == 1;

	if (nghttp2_session_get_stream_remote_close(ng, id) == 1)
		h2_past_done(&s->past, id);
	if (answered)
		h2_guard_credit(&s->guard, H2_ABUSE_RESETS, 1);
	if (stream)
		s->ops->closed(s->user, stream, answered, error);
	return 0;
}

/* Going out. */

static ssize_t on_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t max, uint32_t *flags,
		       nghttp2_data_source *source, void *user)
{
	struct h2_session *s = user;
	bool end = false, trailers = false;
	size_t n;

	/* Nothing but the GOAWAY goes out any more. */
	if (s->failed)
		return NGHTTP2_ERR_DEFERRED;
	n = s->ops->pull(s->user, source->ptr, max, &end, &trailers);

	if (!n && !end)
		return NGHTTP2_ERR_DEFERRED;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (end)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (trailers)
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	return (ssize_t)n;
}

static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
			nghttp2_data_source *source, void *user)
{
	struct h2_session *s = user;

	return s->ops->put_data(s->user, source->ptr, head, n) ? 0 : NGHTTP2_ERR_WOULDBLOCK;
}

static ssize_t on_send(nghttp2_session *ng, const uint8_t *p, size_t n, int flags, void *user)
{
	struct h2_session *s = user;

	return s->ops->put(s->user, p, n) ? (ssize_t)n : NGHTTP2_ERR_WOULDBLOCK;
}

static int on_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	int32_t id = frame->hd.stream_id;
	uint8_t type = frame->hd.type;

	h2_guard_traffic(&s->guard, frame->hd.length + H2_FRAME_HEAD_BYTES,
			 type == NGHTTP2_DATA || type == NGHTTP2_HEADERS ? frame->hd.length : 0);
	if (type == NGHTTP2_GOAWAY)
		s->error = frame->goaway.error_code;
	if (s->failed)
		return 0;
	if (type == NGHTTP2_HEADERS && stream_of(s, id))
		s->ops->head_sent(s->user, stream_of(s, id),
				  frame->hd.length + H2_FRAME_HEAD_BYTES);
	if (type == NGHTTP2_DATA)
		h2_guard_credit(&s->guard, H2_ABUSE_CONTROL, DATA_CREDIT);
	/* nghttp2 tells nobody when a client overruns a stream's window. */
	if (type == NGHTTP2_RST_STREAM &&
	    frame->rst_stream.error_code == NGHTTP2_FLOW_CONTROL_ERROR)
		return hit(s, H2_ABUSE_BROKEN, 1);
	if ((type == NGHTTP2_DATA || type == NGHTTP2_HEADERS) &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    nghttp2_session_get_stream_remote_close(ng, id) == 0 && stream_of(s, id))
		s->ops->surplus(s->user, stream_of(s, id));
	return 0;
}

static int on_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *user)
{
	/* An answer's head that is too long to be sent: nobody shall wait for it. */
	if (frame->hd.type == NGHTTP2_HEADERS && error != NGHTTP2_ERR_STREAM_CLOSED &&
	    error != NGHTTP2_ERR_STREAM_CLOSING)
		nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
					  NGHTTP2_INTERNAL_ERROR);
	return 0;
}

static bool setup(void)
{
	nghttp2_session_callbacks *cb;
	nghttp2_option *o;

	if (process.callbacks)
		return true;
	if (nghttp2_session_callbacks_new(&cb))
		return false;
	if (nghttp2_option_new(&o)) {
		nghttp2_session_callbacks_del(cb);
		return false;
	}
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
	nghttp2_session_callbacks_set_send_callback(cb, on_send);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_max_outbound_ack(o, UNREAD_ACKS_MAX);
	nghttp2_option_set_max_send_header_block_length(o, SEND_HEAD_MAX);
	process.callbacks = cb;
	process.option = o;
	return true;
}

struct h2_session *h2_session_new(const struct h2_ops *ops, void *user,
				  const struct h2_settings *set, uint64_t now_ms)
{
	struct h2_session *s = calloc(1, sizeof *s);
	nghttp2_settings_entry iv[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, set->max_streams},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, set->window_bytes},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, set->header_list_bytes},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};

	nghttp2_mem mem;

	if (!s)
		return NULL;
	mem = h2_memory_functions(&s->memory);
	if (!setup() ||
	    nghttp2_session_server_new3(&s->ng, process.callbacks, s, process.option, &mem)) {
		free(s);
		return NULL;
	}
	s->ops = ops;
	s->user = user;
	s->now_ms = now_ms;
	s->abuse = H2_ABUSE_N;
	h2_guard_init(&s->guard, now_ms);
	h2_frames_init(&s->frames);
	nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, iv, sizeof iv / sizeof iv[0]);
	nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW_BYTES);
	return s;
}

void h2_session_free(struct h2_session *s)
{
	if (!s)
		return;
	nghttp2_session_del(s->ng);
	free(s);
}

static int over(struct h2_session *s, int error)
{
	if (s->abuse == H2_ABUSE_N && error == NGHTTP2_ERR_FLOODED)
		s->abuse = H2_ABUSE_UNREAD;
	if (s->abuse == H2_ABUSE_N && error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
		s->abuse = H2_ABUSE_HEADERS;
	s->failed = true;
	if (s->abuse != H2_ABUSE_N)
		s->error = H2_ENHANCE_YOUR_CALM;
	else if (s->error == H2_NO_ERROR)
		s->error = H2_PROTOCOL_ERROR;
	nghttp2_session_terminate_session(s->ng, s->error);
	return -SL_EINVAL;
}

int h2_session_recv(struct h2_session *s, const char *p, size_t n, uint64_t now_ms)
{
	struct h2_frame_head head;
	const uint8_t *out;
	size_t used, out_n;
	ssize_t r = 0;
	bool is_head;

	s->now_ms = now_ms;
	s->n_queued = nghttp2_session_get_outbound_queue_size(s->ng);
	for (; n && !s->failed && nghttp2_session_want_read(s->ng); p += used, n -= used) {
		used = h2_frames_take(&s->frames, (const uint8_t *)p, n, &out, &out_n, &head,
				      &is_head);
		if (is_head)
			r = begin_frame(s, &head);
		if (!r)
			r = nghttp2_session_mem_recv(s->ng, out, out_n);
		if (r < 0)
			return over(s, (int)r);
		r = 0;
	}
	return s->failed ? over(s, 0) : 0;
}

int h2_session_send(struct h2_session *s)
{
	int r = nghttp2_session_send(s->ng);

	return r ? over(s, r) : 0;
}

bool h2_session_is_over(const struct h2_session *s)
{
	return !nghttp2_session_want_read(s->ng) && !nghttp2_session_want_write(s->ng);
}

void h2_session_conclude(struct h2_session *s)
{
	s->failed = true;
	nghttp2_session_send(s->ng);
}

bool h2_session_wants_send(const struct h2_session *s)
{
	return nghttp2_session_want_write(s->ng);
}

enum h2_abuse h2_session_abuse(const struct h2_session *s)
{
	return s->abuse;
}

enum h2_error h2_session_error(const struct h2_session *s)
{
	return s->error;
}

void h2_session_blame(struct h2_session *s)
{
	if (hit(s, H2_ABUSE_BROKEN, 1))
		s->failed = true;
}

void h2_session_too_much(struct h2_session *s)
{
	judge(s, false, H2_ABUSE_HEADERS);
	s->failed = true;
}

/* Answers. */

static size_t to_nv(const struct h2_field *f, size_t n, nghttp2_nv *nv)
{
	for (size_t i = 0; i < n; i++)
		nv[i] = (nghttp2_nv){(uint8_t *)f[i].name.p, (uint8_t *)f[i].value.p, f[i].name.n,
				     f[i].value.n, NGHTTP2_NV_FLAG_NONE};
	return n;
}

/* Only running out of memory makes a submission fail; a stream that is gone is found out when it is sent. */
static void check(struct h2_session *s, int r)
{
	if (r == NGHTTP2_ERR_NOMEM) {
		fputs("sluice: [emerg] out of memory\n", stderr);
		abort();
	}
}

void h2_session_inform(struct h2_session *s, int32_t id, const struct h2_field *fields, size_t n)
{
	nghttp2_nv nv[n];

	to_nv(fields, n, nv);
	check(s, nghttp2_submit_headers(s->ng, NGHTTP2_FLAG_NONE, id, NULL, nv, n, NULL));
}

void h2_session_respond(struct h2_session *s, int32_t id, const struct h2_field *fields, size_t n,
			bool has_body)
{
	nghttp2_data_provider body = {.source.ptr = stream_of(s, id), .read_callback = on_read};
	nghttp2_nv nv[n];

	to_nv(fields, n, nv);
	check(s, nghttp2_submit_response(s->ng, id, nv, n, has_body ? &body : NULL));
}

void h2_session_trailers(struct h2_session *s, int32_t id, const struct h2_field *fields, size_t n)
{
	nghttp2_nv nv[n];

	to_nv(fields, n, nv);
	check(s, nghttp2_submit_trailer(s->ng, id, nv, n));
}

void h2_session_resume(struct h2_session *s, int32_t id)
{
	check(s, nghttp2_session_resume_data(s->ng, id));
}

void h2_session_reset(struct h2_session *s, int32_t id, enum h2_error error)
{
	check(s, nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id, error));
}

void h2_session_consume_conn(struct h2_session *s, size_t n)
{
	check(s, nghttp2_session_consume_connection(s->ng, n));
}

void h2_session_consume(struct h2_session *s, int32_t id, size_t n)
{
	check(s, nghttp2_session_consume_stream(s->ng, id, n));
}

void h2_session_open_window(struct h2_session *s, int32_t id, uint32_t bytes)
{
	check(s,
	      nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, id, (int32_t)bytes));
}

void h2_session_notice(struct h2_session *s)
{
	check(s, nghttp2_submit_shutdown_notice(s->ng));
	check(s, nghttp2_submit_ping(s->ng, NGHTTP2_FLAG_NONE, NULL));
}

void h2_session_goaway(struct h2_session *s)
{
	check(s, nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE,
				       nghttp2_session_get_last_proc_stream_id(s->ng),
				       NGHTTP2_NO_ERROR, NULL, 0));
}

void h2_session_fail(struct h2_session *s, enum h2_error error)
{
	s->failed = true;
	check(s, nghttp2_session_terminate_session(s->ng, error));
}
