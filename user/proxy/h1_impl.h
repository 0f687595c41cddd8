/* SPDX-License-Identifier: BSD-2-Clause */
/* What h1.c (life cycle), h1_read.c and h1_write.c (answers) share. */
#ifndef SL_PROXY_H1_IMPL_H
#define SL_PROXY_H1_IMPL_H

#include "http/chunk.h"
#include "proxy/h1.h"

enum h1_phase {
	H1_HEAD,    /* idle, or in the middle of a head */
	H1_REQUEST, /* a request is being served */
	H1_DISCARD, /* answered; the rest of its body is dropped, then the next head */
};

struct h1 {
	struct client_conn c; /* first */
	enum h1_phase phase;
	struct head_scan scan;
	struct request *r;
	uint64_t sent_before; /* conn.n_sent when the current request began */
	/* the request's body as it comes in */
	enum body_kind body;
	uint64_t body_left;
	struct chunk_dec dec;
	bool body_done, body_wanted, expects_100;
	bool body_paused; /* wanted, but its taker is full */
	bool tunnel;	  /* a 101 was sent: bytes go both ways as they are */
	bool end_sending; /* ... and none will follow those in c.out */
	/* the answer */
	bool chunked;
	bool close_after;   /* no further request */
	bool ends_by_close; /* the body's end is the connection's end */
	bool copies;	    /* sends a file: request_drained() when there is room */
	bool finished, abort_after;
};

extern const struct front_ops h1_front_ops;

/* h1.c */
/* Settings in force: the request's, or before there is one those of the listener's default server. */
const struct http_scope *h1_scope(const struct h1 *h);
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
void h1_read_body(struct request *r);
void h1_upgrade(struct request *r);

/* h1_write.c */
/* Writes; sets the send timer when something stays. */
void h1_flush(struct h1 *h);

#endif
