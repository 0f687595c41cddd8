/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The server, its connections and their answers, shared by main.c, conn.c, reply.c, route.c,
 * event.c and stats.c of mock-llm. One thread; every call is made from the event loop.
 */
#ifndef MOCK_MOCK_H
#define MOCK_MOCK_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>

#include "behave.h"
#include "buf.h"
#include "head.h"
#include "timer.h"

enum {
	RECV_MAX = 256 * 1024,
	IN_MAX = 64 * 1024,	   /* pipelined bytes kept while an answer is under way */
	OUT_HIGH = 64 * 1024,	   /* an answer is made no further ahead of the socket than this */
	BODY_KEEP_MAX = 64 * 1024, /* of a body that is only echoed or hashed */
	API_BODY_MAX = 32 << 20,   /* of a body that is read for its model */
	BYTES_PERIOD = 65521,	   /* of the content of /bytes and /chunked */
};

/* What an epoll event is for; the first member of everything that is watched. */
enum watch { WATCH_SIGNAL, WATCH_LISTENER, WATCH_CONN };

struct listener {
	enum watch watch;
	int fd;
	bool tls;
	char name_cstr[128]; /* as it is bound */
};

enum endpoint {
	EP_CHAT,
	EP_EMBEDDINGS,
	EP_MESSAGES,
	EP_MODELS,
	EP_HEALTH,
	EP_BYTES,
	EP_CHUNKED,
	EP_UPLOAD,
	EP_ECHO,
	EP_STATS,
	EP_OTHER,
	EP_MAX
};

struct stats {
	uint64_t connections, connections_active, requests, requests_active, streams,
		streams_active;
	uint64_t aborted_streams;  /* the client left before the end of a stream */
	uint64_t aborted_answers;  /* the same for any answer, streams included */
	uint64_t aborted_requests; /* left within a request */
	uint64_t bad_requests, tls_failed, tls_resumed;
	uint64_t paths[EP_MAX];
};

struct server {
	char name_cstr[65];
	struct behave defaults;
	int epoll_fd, spare_fd;
	SSL_CTX *tls; /* NULL without TLS listeners */
	FILE *log;    /* NULL: no log */
	struct timer_heap timers;
	struct conn *conns, *dead; /* dead ones are freed at the end of a turn of the loop */
	struct stats stats;
	uint64_t last_request_id;
	struct buf scratch;   /* for building one event or body */
	char *recv_buf;	      /* RECV_MAX bytes */
	char *pattern;	      /* 2 * BYTES_PERIOD bytes of content */
	struct buf embedding; /* the vector's numbers */
	long date_s;
	char date_cstr[40];
};

/* The events of one streamed answer. */
struct stream {
	bool anthropic, include_usage, timestamps;
	const char *eol_cstr;
	uint32_t n_tokens, prompt_tokens;
	struct buf prefix; /* JSON that all chunks begin with */
	struct buf model;  /* raw JSON text */
	uint64_t id;
};

enum phase {
	PH_NONE,
	PH_DELAY, /* nothing sent yet, waiting for due_ns */
	PH_BODY,
	PH_1XX,
	PH_END,	  /* all is in conn.out */
	PH_STALL, /* says no more until the client leaves */
	PH_RESET, /* flushed; reset when due_ns comes */
};
enum body { BODY_NONE, BODY_MEM, BODY_BYTES, BODY_EVENTS };
enum framing { FRAME_LENGTH, FRAME_CHUNKED, FRAME_CLOSE };
enum ending { END_KEEP, END_CLOSE, END_CLOSE_BARE, END_RESET };

struct reply {
	enum phase phase;
	enum body body;
	enum framing framing;
	enum ending ending;
	struct behave behave;
	unsigned status;
	const char *type_cstr;	/* content type, NULL: none */
	const char *allow_cstr; /* Allow header, or NULL */
	bool head_only, odd_chunks, wrote;
	struct buf mem;	      /* BODY_MEM */
	uint64_t total, sent; /* bytes; events when BODY_EVENTS */
	uint64_t cut;	      /* where a fault in the body strikes */
	struct stream stream;
	uint64_t pace_ns; /* 0: as fast as it goes */
	uint64_t due_ns;  /* of the delay, the next piece or the reset */
	uint64_t gate_ns; /* > 0: output leaves in small pieces, so far apart */
	uint64_t gate_due_ns;
	unsigned gate_step, chunk_step;
	uint64_t request_id, bytes;
};

struct request {
	struct buf text; /* the head's own copy, which head's spans point into */
	struct head head;
	enum endpoint endpoint;
	struct chunked chunked;
	struct buf body; /* as much of it as is kept */
	uint64_t body_bytes;
	EVP_MD_CTX *sha; /* NULL where no digest is asked for */
	bool too_large;
};

enum conn_state { CONN_HEAD, CONN_BODY, CONN_REPLY, CONN_LINGER };

struct conn {
	enum watch watch;
	int fd;
	struct server *srv;
	struct listener *listener;
	SSL *ssl; /* NULL when plain */
	struct conn *next, **link;
	struct timer timer;
	uint64_t linger_due_ns;
	enum conn_state state;
	uint32_t events; /* registered with epoll */
	bool tls_ready, eof, dead;
	bool paused;   /* enough is read for now */
	bool hup;      /* while paused: the client sent FIN */
	bool want_out; /* the socket took no more */
	uint64_t id, n_requests;
	struct buf in, out;
	struct request req;
	struct reply reply;
};

/* conn.c: sockets, TLS, reading requests. */
void conn_accept(struct server *srv, struct listener *l);
void conn_event(struct conn *c, uint32_t events);
void conn_timer(struct conn *c, uint64_t now_ns);
/* Writes what conn.out holds as far as it goes; < 0 when the client is gone. */
int conn_flush(struct conn *c, uint64_t now_ns);
/* Ends the connection at once; with reset the peer gets RST. Freed later, by conn_reap(). */
void conn_drop(struct conn *c, bool reset);
/* Ends it cleanly: FIN (after close_notify unless bare), then waits a little for the client's. */
void conn_close(struct conn *c, bool bare);
void conn_reap(struct server *srv);
struct conn *conn_of_timer(struct timer *t);

/* reply.c: from a request that is complete to the last byte of its answer. */
void reply_start(struct conn *c);
/* Answers a request that could not be read, and closes. */
void reply_bad_request(struct conn *c, const char *why);
/* Makes and writes as much as can be now. */
void reply_pump(struct conn *c);
/* When the answer wants to go on, UINT64_MAX when it waits for the client. */
uint64_t reply_due_ns(const struct conn *c);
/* It waits for nothing that the client could still be reading. */
bool reply_waiting(const struct conn *c);
/* Accounts for the end and forgets the answer. */
void reply_end(struct conn *c, bool aborted);

/* route.c: what the endpoints answer. Fills conn.reply; the head and the framing are reply.c's. */
enum endpoint route_find(struct span target);
void route_answer(struct conn *c);
/* {"error": ...} in the shape of the endpoint's API; message is JSON-safe text. */
void route_error(struct conn *c, unsigned status, const char *message);
const char *route_path_cstr(enum endpoint ep);
const char *route_reason_cstr(unsigned status);
/* The first n words that the mock says, as text; JSON-safe. */
void route_words(struct buf *b, uint32_t n);
/* Word i with the space that separates it from the one before. */
struct span route_word(uint64_t i);

/* echo.c: fills conn.reply with what arrived, as JSON. */
void echo_answer(struct conn *c);
/* {"length", "sha256"} of the body. */
void echo_upload(struct conn *c);

/* event.c: the events of streams. */
void event_start(struct stream *s, struct span model, uint64_t id, long created_s);
uint64_t event_count(const struct stream *s);
/* Event i waits its turn when a pace is set; the others go out together with the one before. */
bool event_paced(const struct stream *s, uint64_t i);
/* How many events come before the middle of the text. */
uint64_t event_middle(const struct stream *s);
/* Appends event i, with the blank line that ends it. */
void event_render(const struct stream *s, uint64_t i, struct buf *b);
void event_error(const struct stream *s, struct buf *b);
void event_free(struct stream *s);

/* stats.c */
void stats_json(const struct server *srv, struct buf *b);
void stats_log(struct conn *c, bool aborted);

#endif
