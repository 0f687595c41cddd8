/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the order of what is done to an answer between its maker and the front: THE table of head steps.
 * What a step does is its own file's business. */
#include "proxy/out.h"

#include "proxy/add_header.h"
#include "proxy/charset.h"
#include "proxy/cond.h"
#include "proxy/expires.h"
#include "proxy/flow.h"
#include "proxy/gzip.h"
#include "proxy/ranges.h"
#include "proxy/reply.h"
#include "proxy/request.h"
#include "proxy/spool.h"
#include "proxy/status.h"
#include "proxy/throttle.h"

static void count_status(struct request *r)
{
	request_offence(r, BAN_ON_STATUS, r->resp.status);
	/* access.c counts what it refused itself. */
	if (r->resp.status == 401 && request_has_rule(r->block, BAN_ON_AUTH) &&
	    !(r->flow && r->flow->refused) && request_has_credentials(r))
		request_offence(r, BAN_ON_AUTH, 401);
}

/* In this order; a step may change r->resp and add a filter, so the filters' order is this one too. One that
 * decides returns 0, or the status of an error to answer in place of this. */
static const struct out_step {
	const char *name;
	void (*run)(struct request *r);
	unsigned (*decide)(struct request *r);
} steps[] = {
	{.name = "error_page", .run = flow_out},
	{.name = "conditions", .decide = cond_step},
	{.name = "expires", .run = expires_step},
	{.name = "server_tokens", .run = status_server_step},
	{.name = "add_header", .run = add_header_step},
	{.name = "charset", .run = charset_step},
	{.name = "temporary file", .run = spool_step},
	{.name = "gunzip", .run = gunzip_step},
	{.name = "gzip", .run = gzip_step},
	{.name = "ranges", .decide = ranges_step},
	{.name = "add_trailer", .run = add_header_trailers_step},
	{.name = "limit_rate", .run = throttle_step},
	{.name = "ban evidence", .run = count_status},
};

bool out_head(struct request *r)
{
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		unsigned status = 0;

		if (r->parent && i > 0)
			break; /* nobody sees it */
		if (steps[i].decide)
			status = steps[i].decide(r);
		else
			steps[i].run(r);
		if (status) {
			out_fini(r);
			reply_error(r, status, NULL);
			return false;
		}
	}
	r->ops->send_head(r);
	return true;
}

void out_add_filter(struct request *r, struct filter *f)
{
	struct filter **at = &r->filters;

	while (*at)
		at = &(*at)->next;
	f->next = NULL;
	*at = f;
}

static void body_to(struct filter *f, struct request *r, struct buf *b)
{
	if (f)
		f->ops->body(f, r, b);
	else
		r->ops->send_body(r, b);
}

static void finish_to(struct filter *f, struct request *r)
{
	if (f)
		f->ops->finish(f, r);
	else
		r->ops->finish(r);
}

void filter_body(struct filter *f, struct request *r, struct buf *b)
{
	body_to(f->next, r, b);
}

void filter_finish(struct filter *f, struct request *r)
{
	finish_to(f->next, r);
}

void out_body(struct request *r, struct buf *b)
{
	body_to(r->filters, r, b);
}

void out_finish(struct request *r)
{
	finish_to(r->filters, r);
}

void out_abort(struct request *r)
{
	r->ops->abort(r);
}

void out_flush(struct request *r)
{
	for (struct filter *f = r->filters; f; f = f->next)
		if (f->ops->flush)
			f->ops->flush(f, r);
	r->ops->flush(r);
}

uint64_t out_queued(const struct request *r)
{
	uint64_t n = r->ops->queued(r);

	for (const struct filter *f = r->filters; f; f = f->next)
		if (f->ops->held)
			n += f->ops->held(f);
	return n;
}

/* The last one first: what it hands on makes room for those before it. */
static void drained_from(struct filter *f, struct request *r)
{
	if (!f)
		return;
	drained_from(f->next, r);
	if (f->ops->drained)
		f->ops->drained(f, r);
}

void out_drained(struct request *r)
{
	if (!r->filters)
		return;
	drained_from(r->filters, r);
	r->ops->flush(r);
}

void out_fini(struct request *r)
{
	for (struct filter *f = r->filters; f; f = f->next)
		if (f->ops->fini)
			f->ops->fini(f, r);
	r->filters = NULL;
}
