/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides which fields of an upstream's answer reach the client. Does no I/O. */
#include "proxy/answer.h"

#include "core/num.h"
#include "proxy/proxy_conf.h"
#include "proxy/upstream.h"

/* A terabyte a second: what is counted with it stays below 2^64. */
#define RATE_MAX ((uint64_t)1 << 40)

static bool is_hop_by_hop(enum hdr_id id)
{
	switch (id) {
	case HDR_CONNECTION:
	case HDR_KEEP_ALIVE:
	case HDR_PROXY_CONNECTION:
	case HDR_TE:
	case HDR_TRAILER:
	case HDR_TRANSFER_ENCODING:
	case HDR_UPGRADE:
	case HDR_CONTENT_LENGTH:
		return true;
	default:
		return false;
	}
}

static bool is_listed(const struct proxy_names *names, struct slice name)
{
	for (int i = 0; names && i < names->n; i++)
		if (slice_ieq(names->v[i], name))
			return true;
	return false;
}

/* NOMINATED: by Connection; NULL of trailers, which it does not name. */
static bool is_hidden(const struct request *r, const struct hdr *f,
		      const struct hdr_options *nominated)
{
	const struct proxy_scope *p = r->up->conf;

	if (f->id == HDR_UPGRADE && r->resp.status == 101)
		return false;
	if (f->id == HDR_TRAILER && r->up->io->pass_trailers)
		return r->resp.no_body || !r->up->is_chunked;
	if (is_hop_by_hop(f->id) || p->hide[f->id])
		return true;
	if (f->id == HDR_OTHER && p->hide_headers && is_listed(p->hide_headers, f->name))
		return true;
	return nominated && hdr_options_have(nominated, f);
}

/* A Location that proxy_redirect made relative is ours, and becomes absolute as ours do. */
static void take_location(struct request *r, const struct hdr *f)
{
	struct slice to = f->value;

	if (fields_redirect(r, &to, 0) && slice_starts(to, SLICE("/")) &&
	    r->scope->absolute_redirect)
		r->resp.location = reply_absolute(r, to);
	else
		hdrs_add(&r->resp.fields, &r->arena, f->name, to);
}

static struct slice refresh(struct request *r, struct slice value)
{
	for (size_t i = 0; i + 4 <= value.n; i++)
		if (slice_bytes_ieq(value.p + i, "url=", 4)) {
			fields_redirect(r, &value, i + 4);
			break;
		}
	return value;
}

static struct slice cookie(struct request *r, struct slice value)
{
	fields_cookie(r, &value);
	return value;
}

static void take_field(struct request *r, const struct hdr *f)
{
	struct response *resp = &r->resp;

	/* As nginx: of two the last one counts, for us and for the client. */
	if (f->id == HDR_CONTENT_TYPE)
		resp->content_type = f->value;
	else if (f->id == HDR_LAST_MODIFIED)
		resp->last_modified = f->value;
	else if (f->id == HDR_LOCATION)
		take_location(r, f);
	else if (f->id == HDR_REFRESH)
		hdrs_add(&resp->fields, &r->arena, f->name, refresh(r, f->value));
	else if (f->id == HDR_SET_COOKIE)
		hdrs_add(&resp->fields, &r->arena, f->name, cookie(r, f->value));
	else if (f->id == HDR_SERVER)
		resp->server = f->value;
	else if (f->id == HDR_DATE)
		resp->date = f->value;
	else
		hdrs_add(&resp->fields, &r->arena, f->name, f->value);
}

static void rebase(struct resp_head *head, struct slice raw, const char *copy)
{
	head->reason.p = copy + (head->reason.p - raw.p);
	for (uint32_t i = 0; i < head->fields.n; i++) {
		struct hdr *f = &head->fields.v[i];

		f->name.p = copy + (f->name.p - raw.p);
		f->value.p = copy + (f->value.p - raw.p);
	}
}

/* What an upstream may say of how its answer is passed on. */
static void accel(struct request *r, const struct hdrs *fields)
{
	const struct hdr *buffering = hdrs_find(fields, HDR_X_ACCEL_BUFFERING);
	const struct hdr *rate = hdrs_find(fields, HDR_X_ACCEL_LIMIT_RATE);
	uint64_t bytes;

	r->up->buffering = r->up->io->buffering;
	if (buffering && !fields_ignores(r, IGNORE_BUFFERING)) {
		if (slice_ieq(buffering->value, SLICE("yes")))
			r->up->buffering = true;
		else if (slice_ieq(buffering->value, SLICE("no")))
			r->up->buffering = false;
	}
	if (rate && !fields_ignores(r, IGNORE_LIMIT_RATE) && num_u63(rate->value, &bytes) == 0 &&
	    bytes <= RATE_MAX) {
		r->limit_rate = bytes;
		r->limit_rate_set = true;
	}
}

void answer_build(struct request *r, struct resp_head *head, struct slice raw)
{
	struct response *resp = &r->resp;
	bool bodiless = head->status == 204 || head->status == 304;
	struct hdr_options nominated;

	rebase(head, raw, arena_dup(&r->arena, raw).p);
	*resp = (struct response){.status = head->status,
				  .reason = head->reason,
				  .content_length = -1,
				  .from_upstream = true};
	r->up->fields = head->fields;
	/* As in nginx: where the upstream's own is passed on and it has none, there is none. */
	if (!r->up->conf->hide[HDR_SERVER])
		resp->server = SLICE("");
	if (!r->up->conf->hide[HDR_DATE])
		resp->date = SLICE("");
	hdrs_reserve(&resp->fields, &r->arena, head->fields.n + 2);
	resp->no_body = bodiless || r->head.method == METHOD_HEAD;
	r->up->is_chunked = head->body == BODY_CHUNKED;
	hdrs_options(&head->fields, &nominated);
	for (uint32_t i = 0; i < head->fields.n; i++)
		if (!is_hidden(r, &head->fields.v[i], &nominated))
			take_field(r, &head->fields.v[i]);
	if (head->body == BODY_LENGTH && head->status != 204)
		resp->content_length = (int64_t)head->content_length;
	/* proxy_method HEAD: of the length that is told nothing comes. */
	if (r->up->is_head && !resp->no_body)
		resp->content_length = 0;
	accel(r, &head->fields);
	resp->streaming = slice_istarts(resp->content_type, SLICE("text/event-stream"));
}

/* What frames, routes, authenticates or says how to read the body is no trailer (RFC 9110 6.5.1): who joins
 * trailers to the head would be told something new of what he has dealt with already. */
static bool is_no_trailer(const struct hdr *f)
{
	static const char *const names[] = {"age",	     "authentication-info",
					    "content-range", "max-forwards",
					    "pragma",	     "forwarded"};

	switch (f->id) {
	case HDR_OTHER:
		break;
	case HDR_ETAG:
	case HDR_LINK:
	case HDR_VIA:
	case HDR_X_REQUEST_ID:
		return false;
	default:
		return true;
	}
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (slice_ieq(f->name, slice_cstr(names[i])))
			return true;
	return slice_istarts(f->name, SLICE("x-forwarded-")) ||
	       slice_istarts(f->name, SLICE("x-accel-"));
}

void answer_trailers(struct request *r, struct slice trailers)
{
	struct hdrs all = {0};

	if (!trailers.n || head_parse_trailers(trailers, &r->arena, &all))
		return;
	r->up->trailers = all;
	for (uint32_t i = 0; i < all.n; i++) {
		const struct hdr *f = &all.v[i];

		if (is_no_trailer(f) || is_hidden(r, f, NULL))
			continue;
		if (!r->resp.trailers)
			r->resp.trailers = arena_zalloc(&r->arena, sizeof *r->resp.trailers);
		hdrs_add(r->resp.trailers, &r->arena, f->name, f->value);
	}
}

static bool wants_hints(struct request *r)
{
	const struct io_hints *h = r->up->io->early_hints;

	for (int i = 0; h && i < h->n; i++) {
		struct slice v = tmpl_eval(h->v[i], r, &r->arena);

		if (v.n && !slice_eq(v, SLICE("0")))
			return true;
	}
	return false;
}

/* A client of HTTP/1.0 has no 1xx (RFC 9110 15.2). What frames a message means nothing here. */
void answer_hint(struct request *r, const struct resp_head *head)
{
	struct hdr_options nominated;
	struct hdrs fields = {0};

	if (!r->ops->inform || r->head.minor < 1 || !wants_hints(r))
		return;
	hdrs_options(&head->fields, &nominated);
	for (uint32_t i = 0; i < head->fields.n; i++) {
		const struct hdr *f = &head->fields.v[i];

		if (!is_hidden(r, f, &nominated))
			hdrs_add(&fields, &r->arena, f->name, f->value);
	}
	r->ops->inform(r, head->status, &fields);
}
