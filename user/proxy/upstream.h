/* SPDX-License-Identifier: BSD-2-Clause */
/* From a request to a peer and back: who is asked, for how long, and who is asked next. One owner of
 * retries. exchange.c does the I/O of one try; pool.c keeps idle connections. */
#ifndef SL_PROXY_UPSTREAM_H
#define SL_PROXY_UPSTREAM_H

#include "policy/balance.h"
#include "proxy/fields.h"
#include "proxy/io_conf.h"
#include "proxy/pipeline.h"
#include "proxy/proxy_conf.h"
#include "proxy/request.h"

struct exchange;
struct spool;
struct upconn;

/* Which group, and what is sent; lives in the request's arena. */
struct upstream {
	struct request *r;
	const struct proxy_scope *conf;
	const struct fields_scope *fields_conf;
	const struct io_scope *io;
	struct balance_group *group;
	struct upstream_conf *group_conf; /* NULL: a group made at run time from variables */
	bool https;
	struct slice host_text;	  /* $proxy_host */
	struct slice tls_name;	  /* for SNI and verification, without port */
	struct slice tls_also[3]; /* other names that the certificate may have; n 0: none */
	struct slice target;	  /* request target for the peer */
	struct slice method;
	struct slice head; /* serialised request head; with proxy_set_body its body too */
	bool sends_body;   /* the client's body goes behind it */
	bool sends_chunks; /* ... in chunks, since it streams and nobody knows its length yet */
	bool is_chunked;   /* so is its answer */
	bool asks_upgrade; /* the client's wish to upgrade goes on: a 101 may come */
	bool is_head;	   /* what is asked has an answer without a body */
	struct balance_ask ask;
	uint32_t peer;
	bool picked; /* balance_done() is due */
	unsigned n_tries;
	uint64_t start_ms;	/* monotonic, of the first try */
	uint64_t wait_until_ms; /* an unresolved name is waited for until then */
	struct try *try;	/* the current one */
	struct hdrs trailers;	/* for $upstream_trailer_…, where they are passed on */
	struct hdrs fields;	/* of the answer's head, for $upstream_http_… */
	bool buffering;		/* proxy_buffering, or what X-Accel-Buffering says */
	struct spool *spool;	/* takes what its client does not; NULL: none */
	struct exchange *x;	/* the current I/O; NULL between tries */
};

/* Steps of the pipeline. */
enum step_result upstream_step_balance(struct request *r);
enum step_result upstream_step_connect(struct request *r);

/* The client took some of the answer: go on reading. */
void upstream_resume(struct request *r);
/* proxy_ignore_client_abort: does this request go on when its client closes? */
bool upstream_ignores_abort(const struct request *r);
/* More of a body that streams is there, or its end. */
void upstream_body_came(struct request *r);
/* Ends the exchange, if any, closes its connection, lets go of the group; nothing is called back. */
void upstream_cancel(struct request *r);
/* ", upstream: \"http://1.2.3.4:80/path\"" into TO; the length, less than ROOM. */
int upstream_log_suffix(const struct request *r, char *to, size_t room);

/* From the exchange: this try failed before anything of the answer was sent on. WHY is one of enum
 * proxy_next; the next peer is asked, or the request answered with STATUS. */
void upstream_failed(struct request *r, unsigned why, unsigned status);
/* From the exchange: a head with STATUS has come. True: another peer is asked instead (the exchange is
 * gone then). */
bool upstream_retries_status(struct request *r, unsigned status);
/* From the exchange: r->resp is the answer's head. True: it is not passed on, and upstream_divert() follows
 * when the exchange is gone. */
bool upstream_is_diverted(const struct request *r);
void upstream_divert(struct request *r);
/* May the request be sent once more although it may have arrived? */
bool upstream_may_resend(const struct request *r);
/* From the exchange: a pooled connection had been closed by the peer: the same peer is asked again on a
 * fresh one, without counting. */
void upstream_stale(struct request *r);
/* From the exchange: the head of an answer that will be passed on is here. */
void upstream_alive(struct request *r);
/* From the exchange: worker_connections leave no room for a connection to any peer: 500, as in nginx. */
void upstream_no_room(struct request *r);
/* From the exchange: the try is over and the answer whole (or cut, after the head was sent). */
void upstream_finished(struct request *r, bool whole);

#endif
