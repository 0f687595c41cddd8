/* SPDX-License-Identifier: BSD-2-Clause */
/* What h2.c (life cycle), h2_stream.c (requests) and h2_write.c (answers) share. */
#ifndef SL_PROXY_H2_IMPL_H
#define SL_PROXY_H2_IMPL_H

#include "h2/h2_session.h"
#include "http/head_h2.h"
#include "proxy/h2.h"
#include "proxy/h2_conf.h"

/* What the connection's timer is set for. */
enum h2_wait {
	H2_WAIT_NONE,
	H2_WAIT_IDLE,
	H2_WAIT_HEAD,  /* a header block has begun */
	H2_WAIT_SEND,  /* the socket is full */
	H2_WAIT_PAUSE, /* nothing is open: to see whether it stays so */
	H2_WAIT_LEAVE, /* the client shall hear of our leaving */
};

/* GOAWAY, in two steps. */
enum h2_leave {
	H2_STAYS,
	H2_ASKED, /* waits for a pause: some clients take a GOAWAY for the end of all that is open */
	H2_NOTICED,
	H2_LEFT,
};

struct h2 {
	struct client_conn c; /* first */
	struct h2_session *session;
	const struct h2_scope *conf;
	struct h2_stream *streams;	/* doubly linked */
	struct h2_stream *first, *last; /* whose requests are yet to be started */
	uint64_t asked_ms;		/* when it was to leave */
	uint64_t n_dropped;		/* bytes that came when all was over */
	uint32_t n_streams, n_since;	/* streams opened since the last step of leaving */
	uint32_t n_timed;		/* client.n_requests when the timer was last looked at */
	uint8_t wait;			/* enum h2_wait */
	uint8_t leave;			/* enum h2_leave */
	bool in_head;			/* between HEADERS and END_HEADERS */
	bool any_surplus, any_resumes;	/* streams of which that is true */
	bool any_sent;			/* some stream's queue got shorter */
	bool more_input;		/* the quantum of a turn was used up */
};

/* In its request's arena. */
struct h2_stream {
	struct h2 *h;
	struct request *r;
	struct h2_stream *next, *prev, *then;
	struct head_h2 *scan; /* NULL when the head is complete */
	int32_t id;
	uint32_t fields_cost; /* of the block that comes in */
	struct timer timer;   /* a body that does not come, an answer that is not taken */
	/* the request's body */
	char *early; /* what came before it was wanted; on the heap */
	uint32_t early_n, early_room;
	uint64_t body_left; /* of a declared length */
	uint32_t given;	    /* to the request, and not yet counted as consumed */
	bool starts;	    /* is in the list of those that do */
	bool has_length, body_done, body_wanted, body_failed;
	bool body_paused;  /* the request is full */
	bool body_resumes; /* ... no more: h2_stream_go_on() is due */
	/* the answer */
	struct bufq out;
	bool waiting;	  /* pull() had nothing: h2_session_resume() is due */
	bool sent;	  /* the queue got shorter since request_drained() */
	bool abort_after; /* ends by a reset, when all is out */
	bool bodiless;	  /* the head was the end of it */
	bool surplus;	  /* the rest of the request is to be refused by a reset */
	bool malformed;	  /* RFC 9113 8.1.1: a stream error, behind its answer of 400 */
};

extern const struct front_ops h2_front_ops;
extern const struct h2_ops h2_session_ops;

/* h2_stream.c: the session's calls for requests */
void *h2_stream_open(void *user, int32_t id);
void h2_stream_field(void *user, void *stream, struct slice name, struct slice value, bool trailer);
void h2_stream_head(void *user, void *stream, bool trailers, bool end_stream, uint32_t bytes);
void h2_stream_data(void *user, void *stream, const char *p, size_t n);
void h2_stream_data_end(void *user, void *stream);
void h2_stream_closed(void *user, void *stream, bool answered, uint32_t error);
/* Once in each turn: the requests that came and are still wanted, or as many as a turn may have. */
void h2_stream_start_some(struct h2 *h);
/* Its request's client is gone: frees both. */
void h2_stream_drop(struct h2_stream *s);
void h2_stream_read_body(struct request *r);
void h2_stream_go_on(struct h2_stream *s);

/* h2_write.c: the session's calls for what goes out */
size_t h2_write_pull(void *user, void *stream, size_t max, bool *end, bool *trailers);
bool h2_write_data(void *user, void *stream, const uint8_t head[H2_FRAME_HEAD_BYTES], size_t n);
bool h2_write_bytes(void *user, const uint8_t *p, size_t n);
void h2_write_head_sent(void *user, void *stream, size_t n);
void h2_write_surplus(void *user, void *stream);
/* Frames into c->out and c->out into the socket, as far as they go; tells the requests whose queues got
 * shorter. -SL_EINVAL: the session is over. */
int h2_write_pump(struct h2 *h);

#endif
