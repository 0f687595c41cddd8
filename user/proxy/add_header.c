/* SPDX-License-Identifier: BSD-2-Clause */
/* Evaluates add_header into the answer's head, and add_trailer behind its body. What frames an answer is
 * refused when the configuration is read. */
#include "proxy/add_header.h"

#include "proxy/filters_conf.h"
#include "proxy/out.h"
#include "proxy/request.h"

bool add_header_is_usual(unsigned status)
{
	switch (status) {
	case 200:
	case 201:
	case 204:
	case 206:
	case 301:
	case 302:
	case 303:
	case 304:
	case 307:
	case 308:
		return true;
	default:
		return false;
	}
}

/* False: it is not for this answer. A line break that came in through a variable would be a field of the
 * client's making. */
static bool value_of(struct request *r, const struct add_header *h, struct slice *value)
{
	if (!h->always && !add_header_is_usual(r->resp.status))
		return false;
	*value = tmpl_eval(h->value, r, &r->arena);
	return slice_find(*value, '\r') < 0 && slice_find(*value, '\n') < 0;
}

/* Of some fields there can only be one. */
static bool replace(struct request *r, struct slice name, struct slice value)
{
	struct response *resp = &r->resp;

	switch (hdr_id_of(name, hdr_hash(name))) {
	case HDR_CONTENT_TYPE:
		if (value.n)
			resp->content_type = value;
		return true;
	case HDR_LAST_MODIFIED:
		resp->last_modified = value;
		return true;
	case HDR_ETAG:
		hdrs_remove(&resp->fields, HDR_ETAG, NULL);
		return false;
	default:
		return false;
	}
}

void add_header_step(struct request *r)
{
	const struct add_header *h = filters_scope_of(r->block)->add_headers;
	struct slice value;

	for (; h; h = h->next)
		if (value_of(r, h, &value) && !replace(r, h->name, value) && value.n)
			hdrs_add(&r->resp.fields, &r->arena, h->name, value);
}

static void pass(struct filter *f, struct request *r, struct buf *b)
{
	filter_body(f, r, b);
}

static void add_trailers(struct filter *f, struct request *r)
{
	const struct add_header *h = filters_scope_of(r->block)->add_trailers;
	struct slice value;

	if (!r->resp.trailers)
		r->resp.trailers = arena_zalloc(&r->arena, sizeof *r->resp.trailers);
	for (; h; h = h->next)
		if (value_of(r, h, &value) && value.n)
			hdrs_add(r->resp.trailers, &r->arena, h->name, value);
	filter_finish(f, r);
}

static const struct filter_ops trailers_ops = {
	.name = "add_trailer",
	.body = pass,
	.finish = add_trailers,
};

/* There is room for them behind chunks only. */
void add_header_trailers_step(struct request *r)
{
	const struct add_header *h = filters_scope_of(r->block)->add_trailers;
	struct filter *f;

	while (h && !h->always && !add_header_is_usual(r->resp.status))
		h = h->next;
	if (!h || r->resp.no_body || r->head.minor < 1 || !r->scope->chunked)
		return;
	r->resp.content_length = -1;
	f = arena_zalloc(&r->arena, sizeof *f);
	f->ops = &trailers_ops;
	out_add_filter(r, f);
}
