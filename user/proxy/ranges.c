/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides which parts of an answer go out, and what their head says; cuts what its maker cannot. */
#include "proxy/ranges.h"

#include <stdio.h>

#include "proxy/cond.h"
#include "proxy/filters_conf.h"
#include "proxy/flow.h"
#include "proxy/out.h"
#include "proxy/request.h"

struct cut {
	struct filter f;
	struct range part;
	uint64_t at; /* bytes that went by */
};

/* A number that stands in no file by chance; the same for nobody else. */
static struct slice boundary_of(struct request *r)
{
	return slice_make(request_id(r).p, 20);
}

static void become_single(struct request *r, struct range part, uint64_t length)
{
	struct response *resp = &r->resp;

	hdrs_add(&resp->fields, &r->arena, SLICE("Content-Range"),
		 arena_printf(&r->arena, "bytes %llu-%llu/%llu", (unsigned long long)part.start,
			      (unsigned long long)part.end - 1, (unsigned long long)length));
	resp->content_length = (int64_t)(part.end - part.start);
}

size_t ranges_line(const struct ranges_parts *p, uint32_t i, char to[RANGES_LINE_MAX])
{
	return (size_t)snprintf(to, RANGES_LINE_MAX, "Content-Range: bytes %llu-%llu/%llu\r\n\r\n",
				(unsigned long long)p->list.v[i].start,
				(unsigned long long)p->list.v[i].end - 1,
				(unsigned long long)p->length);
}

static void become_multipart(struct request *r, struct ranges_parts *p)
{
	struct response *resp = &r->resp;
	struct slice boundary = boundary_of(r), type = resp->content_type;
	char line[RANGES_LINE_MAX];
	uint64_t total;

	p->first =
		arena_printf(&r->arena, "\r\n--%.*s\r\n%s%.*s%s", SLICE_FMT(boundary),
			     type.n ? "Content-Type: " : "", SLICE_FMT(type), type.n ? "\r\n" : "");
	p->tail = arena_printf(&r->arena, "\r\n--%.*s--\r\n", SLICE_FMT(boundary));
	total = p->tail.n;
	for (uint32_t i = 0; i < p->list.n; i++)
		total += p->first.n + ranges_line(p, i, line) + p->list.v[i].end -
			 p->list.v[i].start;
	resp->content_type =
		arena_printf(&r->arena, "multipart/byteranges; boundary=%.*s", SLICE_FMT(boundary));
	resp->content_length = (int64_t)total;
}

static void take(struct filter *f, struct request *r, struct buf *b)
{
	struct cut *c = (struct cut *)f;
	uint64_t at = c->at, n = buf_len(b);

	c->at += n;
	if (at < c->part.start) {
		uint64_t before = c->part.start - at;

		b->start += (uint32_t)(before < n ? before : n);
	}
	if (c->at > c->part.end) {
		uint64_t after = c->at - c->part.end;

		b->end -= (uint32_t)(after < buf_len(b) ? after : buf_len(b));
	}
	if (buf_len(b))
		filter_body(f, r, b);
	else
		buf_free(b);
}

static void finish(struct filter *f, struct request *r)
{
	filter_finish(f, r);
}

static const struct filter_ops cut_ops = {.name = "range", .body = take, .finish = finish};

/* For a body whose maker sends all. */
static void cut(struct request *r, struct range part)
{
	struct cut *c;

	if (r->resp.no_body)
		return;
	c = arena_zalloc(&r->arena, sizeof *c);
	c->f.ops = &cut_ops;
	c->part = part;
	out_add_filter(r, &c->f);
}

/* How many ranges may be asked for; 0: none. */
static uint32_t how_many(struct request *r)
{
	const struct filters_scope *s = filters_scope_of(r->block);

	if (r->resp.allow_ranges)
		return (uint32_t)s->max_ranges;
	if (!r->resp.from_upstream || !s->force_ranges)
		return 0;
	hdrs_remove(&r->resp.fields, HDR_ACCEPT_RANGES, NULL);
	return s->max_ranges ? 1 : 0;
}

unsigned ranges_step(struct request *r)
{
	const struct hdr *h = hdrs_find(&r->head.fields, HDR_RANGE);
	uint32_t max = how_many(r);
	struct response *resp = &r->resp;
	struct ranges_parts *p;
	uint64_t length;

	if (!max || resp->status != 200 || resp->content_length < 0)
		return 0;
	length = (uint64_t)resp->content_length;
	if (h && cond_if_range(r)) {
		p = arena_zalloc(&r->arena, sizeof *p);
		p->length = length;
		switch (range_parse(h->value, length, max, &r->arena, &p->list)) {
		case RANGE_BAD:
			hdrs_add(&flow_get(r)->kept, &r->arena, SLICE("Content-Range"),
				 arena_printf(&r->arena, "bytes */%llu",
					      (unsigned long long)length));
			return 416;
		case RANGE_OK:
			resp->status = 206;
			resp->reason = (struct slice){0};
			resp->parts = p;
			if (!resp->allow_ranges)
				cut(r, p->list.v[0]);
			if (p->list.n == 1)
				become_single(r, p->list.v[0], length);
			else
				become_multipart(r, p);
			return 0;
		case RANGE_NONE:
			break;
		}
	}
	hdrs_add(&resp->fields, &r->arena, SLICE("Accept-Ranges"), SLICE("bytes"));
	return 0;
}
