/* SPDX-License-Identifier: BSD-2-Clause */
/* An answer's way from who makes it (reply.c, upstream.c) to the front: what every head gets, then the
 * filters that take part in this answer, then the front. Who makes an answer calls out_…, never the
 * front's table. */
#ifndef SL_PROXY_OUT_H
#define SL_PROXY_OUT_H

#include "core/buf.h"

struct request;
struct filter;

/* A part in the body's way. All but body and finish may be NULL. None may free the request. */
struct filter_ops {
	const char *name;
	/* Takes B, and hands what comes of it to filter_body(), now or later. */
	void (*body)(struct filter *f, struct request *r, struct buf *b);
	/* All of the body went through body(): hands on what is held, then filter_finish(), now or later. */
	void (*finish)(struct filter *f, struct request *r);
	/* Hands on what can be: its maker has no more for now. filter_flush() follows by itself. */
	void (*flush)(struct filter *f, struct request *r);
	/* The client took some: what waited for that may go on. */
	void (*drained)(struct filter *f, struct request *r);
	/* Bytes that are held in memory, as far as they count against the answer's buffers. */
	uint64_t (*held)(const struct filter *f);
	/* Frees what is not in the request's arena; called once, whatever happened. */
	void (*fini)(struct filter *f, struct request *r);
};

/* Embedded in the filter's own struct, which lives in the request's arena. */
struct filter {
	const struct filter_ops *ops;
	struct filter *next; /* towards the client; NULL: the front */
};

/* From within the table of out.c only: F takes part, behind (nearer to the client than) those that
 * did before it. */
void out_add_filter(struct request *r, struct filter *f);
/* From a filter to what follows it. */
void filter_body(struct filter *f, struct request *r, struct buf *b);
void filter_finish(struct filter *f, struct request *r);

/* r->resp is the head: fields and filters by the configuration, then it goes to the front. False: an error was
 * answered in its place (a condition of the request does not hold), and nothing more is to come. */
bool out_head(struct request *r);
void out_body(struct request *r, struct buf *b);
/* The answer is whole. */
void out_finish(struct request *r);
/* It will never be: as front_ops.abort. */
void out_abort(struct request *r);
void out_flush(struct request *r);
/* Bytes on their way to the client, in filters and front. */
uint64_t out_queued(const struct request *r);
/* The front's queue got shorter. */
void out_drained(struct request *r);
/* Before the request's memory goes. */
void out_fini(struct request *r);

#endif
