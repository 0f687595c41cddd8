/* SPDX-License-Identifier: BSD-2-Clause */
/* What exchange.c (life cycle), exchange_send.c (the request) and exchange_read.c (the answer) share. */
#ifndef SL_PROXY_EXCHANGE_IMPL_H
#define SL_PROXY_EXCHANGE_IMPL_H

#include "core/inbuf.h"
#include "http/chunk.h"
#include "proxy/exchange.h"

enum exchange_state {
	X_CONNECT,
	X_HANDSHAKE,
	X_HEAD, /* sending, and waiting for the head */
	X_BODY,
};

struct exchange {
	struct request *r;
	struct upstream *u;
	struct upconn *uc;
	enum exchange_state state;
	struct timer timer;
	struct task task; /* goes on reading in the next turn */
	uint64_t started_ms;
	/* the request */
	size_t sent_head;
	uint64_t sent_body;
	struct buf *file_buf; /* a piece of a body that lies in a file */
	struct bufq
		framed;	 /* of a body that streams: taken, and in chunks where it has no length */
	bool framed_all; /* its end is in there too */
	bool starved;	 /* all is out that came so far */
	bool sent_all, reused, got_any, no_room;
	bool answered_early; /* before all was sent: nobody knows whether the rest was read */
	bool was_reset;	     /* as sending has shown; a read would say it ended */
	/* the answer */
	struct inbuf in; /* its head */
	struct head_scan scan;
	unsigned n_interim;
	bool keep_alive;
	enum body_kind body;
	uint64_t left;
	struct chunk_dec dec;
	struct buf *rbuf; /* body bytes not passed on yet */
	bool blocked;	  /* waits for the client */
	bool paced;	  /* proxy_limit_rate: the timer says when to read on */
	uint64_t body_ms; /* when reading of the body began */
	uint64_t n_read;  /* of it, as it came */
	bool tunnel;	  /* behind a 101: bytes go both ways as they are */
	bool half_ended;  /* of a tunnel: the peer sends no more */
};

/* exchange.c */
/* Lets go of the connection and of all memory; X is dead afterwards. REUSE: the connection may be kept. */
void exchange_end(struct exchange *x, bool reuse);
/* The try fails before or after the answer's head went on. WHY is one of enum proxy_next. */
void exchange_fail(struct exchange *x, unsigned why, unsigned status);
/* The same after conn_read() or conn_writev() returned HOW. */
void exchange_fail_io(struct exchange *x, ssize_t how);
/* The try fails when nothing happens for MS. */
void exchange_wait(struct exchange *x, int64_t ms);

/* exchange_send.c */
/* Goes on sending; false: the try is over. */
bool exchange_send(struct exchange *x);

/* exchange_read.c: each may end the try. */
/* Hands on what came behind the head, then reads. */
void exchange_read_rest(struct exchange *x);
/* The answer is whole; LEFTOVER: and the connection has bytes that are nobody's. */
void exchange_read_finish(struct exchange *x, bool leftover);
void exchange_read_head(struct exchange *x);
void exchange_read_body(struct exchange *x);

/* exchange_tunnel.c */
/* Takes X over when a 101 came, whose head X->in begins with (N bytes). */
void exchange_tunnel_begin(struct exchange *x, struct resp_head *head, uint32_t n);
/* The client's side has ended, and all of it is sent. False: the exchange is over. */
bool exchange_tunnel_sent(struct exchange *x);
/* The peer's side has ended. */
void exchange_tunnel_received(struct exchange *x);

#endif
