/* SPDX-License-Identifier: BSD-2-Clause */
/* The server's end of one HTTP/2 connection: frames, HPACK, stream states, flow control, by nghttp2, and
 * the account of abuse. Knows neither sockets nor requests: bytes in, bytes out, and a table of calls. */
#ifndef SL_H2_H2_SESSION_H
#define SL_H2_H2_SESSION_H

#include <sys/types.h>

#include "core/slice.h"
#include "h2/h2_frames.h"
#include "h2/h2_guard.h"

/* RFC 9113 7 */
enum h2_error {
	H2_NO_ERROR,
	H2_PROTOCOL_ERROR,
	H2_INTERNAL_ERROR,
	H2_FLOW_CONTROL_ERROR,
	H2_SETTINGS_TIMEOUT,
	H2_STREAM_CLOSED,
	H2_FRAME_SIZE_ERROR,
	H2_REFUSED_STREAM,
	H2_CANCEL,
	H2_COMPRESSION_ERROR,
	H2_CONNECT_ERROR,
	H2_ENHANCE_YOUR_CALM,
	H2_INADEQUATE_SECURITY,
	H2_HTTP_1_1_REQUIRED,
};

struct h2_session;

struct h2_field {
	struct slice name, value; /* the name is lower-cased on its way */
};

/* Calls out, all from within h2_session_recv() or h2_session_send(). STREAM is what open() returned. USER is
 * the session's. None may call recv, send or free; the submitting functions below may be called. */
struct h2_ops {
	/* A request begins. */
	void *(*open)(void *user, int32_t id);
	void (*field)(void *user, void *stream, struct slice name, struct slice value,
		      bool trailer);
	/* A header block is complete: BYTES as it was on the wire. */
	void (*head)(void *user, void *stream, bool trailers, bool end_stream, uint32_t bytes);
	/* Body. Its bytes keep their windows closed until consumed. */
	void (*data)(void *user, void *stream, const char *p, size_t n);
	/* The client has sent all, after data() or trailers. */
	void (*data_end)(void *user, void *stream);
	/* The stream is over, and STREAM not used any more. ANSWERED: its answer went out whole. */
	void (*closed)(void *user, void *stream, bool answered, uint32_t error);
	/* A PING of ours came back. */
	void (*pong)(void *user);

	/* How many bytes of STREAM's answer can go out as one frame, at most MAX; END: they are the last (may
	 * be 0 then). 0 without END: none now; h2_session_resume() when there are. TRAILERS with END: they
	 * were submitted by h2_session_trailers(). */
	size_t (*pull)(void *user, void *stream, size_t max, bool *end, bool *trailers);
	/* Takes a DATA frame: HEAD and the N bytes that pull() told. False: no room now. */
	bool (*put_data)(void *user, void *stream, const uint8_t head[H2_FRAME_HEAD_BYTES],
			 size_t n);
	/* The answer is whole and the request is not: h2_session_reset() with H2_NO_ERROR is due (RFC 9113 8.1),
	 * in a write of its own: clients read the answer and the reset apart. */
	void (*surplus)(void *user, void *stream);
	/* N bytes of STREAM's answer are its head. */
	void (*head_sent)(void *user, void *stream, size_t n);
	/* Takes other frames. False: no room now. */
	bool (*put)(void *user, const uint8_t *p, size_t n);
};

struct h2_settings {
	uint32_t max_streams;
	uint32_t window_bytes;	    /* of a stream until its body is wanted */
	uint32_t header_list_bytes; /* told to the client; kept by who counts fields */
};

/* NULL: out of memory. Queues our SETTINGS. */
struct h2_session *h2_session_new(const struct h2_ops *ops, void *user,
				  const struct h2_settings *set, uint64_t now_ms);
/* NULL is fine. Streams get no closed(). */
void h2_session_free(struct h2_session *s);

/* Spends all N bytes. 0, or -SL_EINVAL: the connection is over; GOAWAY is queued and wants to be sent. */
int h2_session_recv(struct h2_session *s, const char *p, size_t n, uint64_t now_ms);
/* Puts out frames until there are none or put() has no room. -SL_EINVAL as above. */
int h2_session_send(struct h2_session *s);
/* Nothing more is to be read or sent: GOAWAY went out and no stream is left. */
bool h2_session_is_over(const struct h2_session *s);
/* Is there, maybe, something to send? */
bool h2_session_wants_send(const struct h2_session *s);
/* The client is gone: all frames but answers are put out once more, so that h2_session_error() tells how it would have
 * ended. */
void h2_session_conclude(struct h2_session *s);
/* Why recv or send failed, when it was abuse; H2_ABUSE_N otherwise. */
enum h2_abuse h2_session_abuse(const struct h2_session *s);
/* What our GOAWAY says, once it is decided; H2_NO_ERROR else. */
enum h2_error h2_session_error(const struct h2_session *s);
/* A stream was reset, or refused, because of what the client sent: one more. */
void h2_session_blame(struct h2_session *s);
/* The connection ends with H2_ABUSE_HEADERS, at once. */
void h2_session_too_much(struct h2_session *s);

/* Answers. Fields are copied. FIELDS[0] is :status. */
void h2_session_inform(struct h2_session *s, int32_t id, const struct h2_field *fields, size_t n);
void h2_session_respond(struct h2_session *s, int32_t id, const struct h2_field *fields, size_t n,
			bool has_body);
void h2_session_trailers(struct h2_session *s, int32_t id, const struct h2_field *fields, size_t n);
void h2_session_resume(struct h2_session *s, int32_t id);
void h2_session_reset(struct h2_session *s, int32_t id, enum h2_error error);

/* Flow control: N body bytes are taken, by the connection and by the stream. */
void h2_session_consume_conn(struct h2_session *s, size_t n);
void h2_session_consume(struct h2_session *s, int32_t id, size_t n);
/* The body is wanted now. */
void h2_session_open_window(struct h2_session *s, int32_t id, uint32_t bytes);

/* Ending (RFC 9113 6.8): first the notice, which refuses nothing, and a PING; then, when the client is sure
 * to have read it, the GOAWAY that does. */
void h2_session_notice(struct h2_session *s);
void h2_session_goaway(struct h2_session *s);
/* The connection ends now with ERROR. */
void h2_session_fail(struct h2_session *s, enum h2_error error);

#endif
