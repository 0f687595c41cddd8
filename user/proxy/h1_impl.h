/* SPDX-License-Identifier: BSD-2-Clause */
/* What h1.c (reading, life cycle) and h1_write.c (answers) share. */
#ifndef SL_PROXY_H1_IMPL_H
#define SL_PROXY_H1_IMPL_H

#include "core/inbuf.h"
#include "http/chunk.h"
#include "net/conn.h"
#include "proxy/h1.h"
#include "proxy/request.h"

enum h1_phase {
	H1_HANDSHAKE,
	H1_HEAD,    /* idle, or in the middle of a head */
	H1_REQUEST, /* a request is being served */
	H1_DISCARD, /* answered; the rest of its body is dropped, then the next head */
	H1_LINGER,  /* our side is closed, what still comes is dropped */
};

struct h1 {
	struct conn conn; /* first: epoll and conn point here */
	struct env *env;
	struct h1 *next, *prev;
	struct client client;
	enum h1_phase phase;
	struct inbuf in;
	struct head_scan scan;
	struct request *r;
	struct task task;   /* h1_turn */
	struct timer timer; /* head, body, keep-alive, send, linger: whichever waits */
	uint64_t made_ms, idle_since_ms;
	uint64_t discard_ms;  /* when H1_DISCARD or H1_LINGER began */
	uint64_t sent_before; /* conn.n_sent when the current request began */
	/* the request's body as it comes in */
	enum body_kind body;
	uint64_t body_left;
	struct chunk_dec dec;
	bool body_done, body_wanted, expects_100;
	/* the answer */
	struct bufq out;
	bool chunked;
	bool close_after;   /* no further request */
	bool ends_by_close; /* the body's end is the connection's end */
	bool finished, abort_after;
	bool dead;  /* the connection failed, or must go without another byte */
	bool reset; /* ... with a TCP reset */
	bool gone;  /* memory is on its way out */
};

enum {
	H1_READS_PER_TURN = 16, /* a fast sender lets others have their turn */
};

extern const struct front_ops h1_front_ops;

/* h1.c */
/* Settings in force: the request's, or before there is one those of the listener's default server. */
const struct http_scope *h1_scope(const struct h1 *h);
void h1_log(const struct h1 *h, enum log_level level, const char *text);
/* Ends everything at once; only from the top of the stack (a turn, an event, a timer). */
void h1_destroy(struct h1 *h);
/* Has lingering_time passed since unwanted bytes are being dropped? */
bool h1_discards_too_long(const struct h1 *h);
/* Waits for the next head. */
void h1_become_idle(struct h1 *h);

/* h1_read.c */
struct request *h1_new_request(struct h1 *h);
/* Answers h->r, a request that was refused before anything of it can be trusted, with STATUS. */
void h1_refuse(struct h1 *h, unsigned status, const char *why);
/* Reads until a head is complete, the socket is empty, or the connection has ended. */
void h1_read_head(struct h1 *h);
/* Reads body until it is whole or the socket is empty. KEEP: for the request; else it is dropped. */
void h1_pull_body(struct h1 *h, bool keep);

/* Runs h1_turn at the end of this turn of the loop. */
void h1_wake(struct h1 *h);
/* Marks the connection as lost; the turn cleans up. */
void h1_kill(struct h1 *h, bool reset);
void h1_read_body(struct request *r);
/* Writes; sets the send timer when something stays. */
void h1_flush(struct h1 *h);

#endif
