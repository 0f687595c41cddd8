/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks an HTTP/2 request's fields one by one and makes a struct req_head of them. Decodes no HPACK and
 * knows no streams. */
#include "http/head_h2.h"

#include "core/num.h"
#include "http/chars.h"
#include "http/head_line.h"
#include "http/host.h"

enum {
	PSEUDO_METHOD = 1,
	PSEUDO_SCHEME = 2,
	PSEUDO_PATH = 4,
	PSEUDO_AUTHORITY = 8,
	FIELD_OVERHEAD = 4, /* ": " and CRLF in an HTTP/1 head */
};

static bool all_of(struct slice s, unsigned class)
{
	return chars_skip(s.p, s.p + s.n, class) == s.p + s.n;
}

/* RFC 9113 8.2.1, and RFC 9110's grammar, which it only asks for. */
static bool is_name(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!chars_is(s.p[i], CHARS_TOKEN) || (s.p[i] >= 'A' && s.p[i] <= 'Z'))
			return false;
	return s.n > 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_value(struct slice s)
{
	return chars_skip_long(s.p, s.p + s.n, CHARS_VALUE) == s.p + s.n &&
	       (s.n == 0 || (!is_space(s.p[0]) && !is_space(s.p[s.n - 1])));
}

static unsigned pseudo_of(struct slice name)
{
	if (slice_eq(name, SLICE(":method")))
		return PSEUDO_METHOD;
	if (slice_eq(name, SLICE(":path")))
		return PSEUDO_PATH;
	if (slice_eq(name, SLICE(":scheme")))
		return PSEUDO_SCHEME;
	return slice_eq(name, SLICE(":authority")) ? PSEUDO_AUTHORITY : 0;
}

static enum head_error take_pseudo(struct head_h2 *s, struct slice name, struct slice value,
				   struct arena *a, struct req_head *out)
{
	unsigned which = pseudo_of(name);

	if (!which || (s->pseudo & which) || s->regular)
		return HEAD_BAD_PSEUDO;
	s->pseudo |= (uint8_t)which;
	switch (which) {
	case PSEUDO_METHOD:
		if (!value.n || !all_of(value, CHARS_METHOD))
			return HEAD_BAD_METHOD;
		out->method_text = arena_dup(a, value);
		out->method = head_line_method(value);
		return HEAD_OK;
	case PSEUDO_PATH:
		if (!value.n ||
		    chars_skip_long(value.p, value.p + value.n, CHARS_TARGET) != value.p + value.n)
			return HEAD_BAD_TARGET;
		out->target = arena_dup(a, value);
		return HEAD_OK;
	case PSEUDO_SCHEME:
		if (!slice_ieq(value, SLICE("http")) && !slice_ieq(value, SLICE("https")))
			return HEAD_BAD_TARGET;
		out->scheme = arena_dup(a, value);
		return HEAD_OK;
	default:
		out->authority = arena_dup(a, value);
		/* For what reads it by its old name: $http_host, a peer that wants the client's. */
		hdrs_add(&out->fields, a, SLICE("host"), out->authority);
		return HEAD_OK;
	}
}

/* The field that was just appended: what it says about the message. It may be taken back. */
static enum head_error note(struct head_h2 *s, struct req_head *out)
{
	struct hdr *f = &out->fields.v[out->fields.n - 1];

	switch (f->id) {
	case HDR_CONNECTION:
	case HDR_PROXY_CONNECTION:
	case HDR_KEEP_ALIVE:
	case HDR_TRANSFER_ENCODING:
	case HDR_UPGRADE:
		return HEAD_HOP_FIELD;
	case HDR_TE:
		return slice_ieq(f->value, SLICE("trailers")) ? HEAD_OK : HEAD_HOP_FIELD;
	case HDR_HOST:
		if (s->n_hosts++)
			return HEAD_BAD_HOST;
		s->host = f->value;
		/* It says what :authority says, or the request is refused at its end. */
		if (s->pseudo & PSEUDO_AUTHORITY)
			out->fields.n--;
		return HEAD_OK;
	case HDR_CONTENT_LENGTH:
		if (s->n_lengths++)
			return HEAD_BAD_LENGTH;
		s->length = f->value;
		return HEAD_OK;
	case HDR_COOKIE:
		s->n_cookies++;
		return HEAD_OK;
	case HDR_EXPECT:
		s->expect_continue |= slice_ieq(f->value, SLICE("100-continue"));
		return HEAD_OK;
	default:
		return HEAD_OK;
	}
}

static enum head_error take(struct head_h2 *s, struct slice name, struct slice value,
			    const struct head_limits *lim, struct arena *a, struct req_head *out)
{
	size_t n = name.n + value.n + FIELD_OVERHEAD;
	char *copy;

	if (s->bytes > lim->head_max_bytes || out->fields.n >= lim->fields_max)
		return HEAD_FIELD_TOO_LONG;
	if (n > lim->line_max_bytes)
		return slice_eq(name, SLICE(":path")) ? HEAD_LINE_TOO_LONG : HEAD_FIELD_TOO_LONG;
	if (name.n && name.p[0] == ':')
		return take_pseudo(s, name, value, a, out);
	s->regular = true;
	if (!is_name(name))
		return HEAD_BAD_NAME;
	if (!is_value(value))
		return HEAD_BAD_VALUE;
	copy = arena_bytes(a, name.n + value.n);
	memcpy(copy, name.p, name.n);
	if (value.n)
		memcpy(copy + name.n, value.p, value.n);
	hdrs_add(&out->fields, a, slice_make(copy, name.n), slice_make(copy + name.n, value.n));
	return note(s, out);
}

void head_h2_field(struct head_h2 *s, struct slice name, struct slice value,
		   const struct head_limits *lim, struct arena *a, struct req_head *out)
{
	size_t n = name.n + value.n + FIELD_OVERHEAD;

	s->bytes = n < UINT32_MAX - s->bytes ? s->bytes + (uint32_t)n : UINT32_MAX;
	if (s->error == HEAD_OK)
		s->error = take(s, name, value, lim, a, out);
}

/* RFC 9113 8.2.3: crumbs are one field again before anybody else reads them. */
static void join_cookies(struct hdrs *h, struct arena *a)
{
	struct hdr *first = hdrs_find(h, HDR_COOKIE);
	uint32_t at = (uint32_t)(first - h->v) + 1;
	size_t bytes = 0;
	char *text, *p;

	for (const struct hdr *f = first; f; f = hdrs_next(h, f))
		bytes += f->value.n + 2;
	text = p = arena_bytes(a, bytes);
	for (uint32_t i = at - 1; i < h->n; i++) {
		struct hdr *f = &h->v[i];

		if (f->id != HDR_COOKIE) {
			h->v[at++] = *f;
			continue;
		}
		if (f->value.n == 0)
			continue;
		if (p != text) {
			memcpy(p, "; ", 2);
			p += 2;
		}
		memcpy(p, f->value.p, f->value.n);
		p += f->value.n;
	}
	h->n = at;
	h->v[first - h->v].value = slice_make(text, (size_t)(p - text));
}

static enum head_error check_target(const struct head_h2 *s, struct req_head *out)
{
	unsigned all = PSEUDO_METHOD | PSEUDO_SCHEME | PSEUDO_PATH;

	/* RFC 9113 8.5 */
	if (out->method == METHOD_CONNECT) {
		if (s->pseudo != (PSEUDO_METHOD | PSEUDO_AUTHORITY))
			return HEAD_BAD_PSEUDO;
		out->target = out->authority;
		return HEAD_OK;
	}
	if ((s->pseudo & all) != all)
		return HEAD_BAD_PSEUDO;
	if (out->target.p[0] != '/' &&
	    !(out->method == METHOD_OPTIONS && slice_eq(out->target, SLICE("*"))))
		return HEAD_BAD_TARGET;
	out->path = out->target;
	return HEAD_OK;
}

static enum head_error check_host(const struct head_h2 *s, struct arena *a, struct req_head *out)
{
	bool has_authority = s->pseudo & PSEUDO_AUTHORITY;
	uint16_t port;

	if (s->n_hosts && has_authority && !slice_ieq(s->host, out->authority))
		return HEAD_BAD_HOST;
	if (!s->n_hosts && !has_authority)
		return HEAD_BAD_HOST;
	out->host_field = has_authority ? out->authority : s->host;
	if (host_parse(out->host_field, a, &out->host, &port))
		return HEAD_BAD_HOST;
	return out->method == METHOD_CONNECT && port == 0 ? HEAD_BAD_TARGET : HEAD_OK;
}

static enum head_error check_body(const struct head_h2 *s, bool end_stream, struct req_head *out)
{
	out->body = end_stream ? BODY_NONE : BODY_CHUNKED;
	if (!s->n_lengths)
		return HEAD_OK;
	if (num_u63(s->length, &out->content_length) || (end_stream && out->content_length))
		return HEAD_BAD_LENGTH;
	out->body = BODY_LENGTH;
	return HEAD_OK;
}

enum head_error head_h2_finish(struct head_h2 *s, bool end_stream, struct arena *a,
			       struct req_head *out)
{
	out->minor = 1;
	out->http2 = true;
	out->keep_alive = true;
	out->expect_continue = s->expect_continue;
	if (s->error == HEAD_OK)
		s->error = check_target(s, out);
	if (s->error == HEAD_OK)
		s->error = check_host(s, a, out);
	if (s->error == HEAD_OK)
		s->error = check_body(s, end_stream, out);
	if (s->error == HEAD_OK && s->n_cookies > 1)
		join_cookies(&out->fields, a);
	return s->error;
}

enum head_error head_h2_trailer(struct slice name, struct slice value)
{
	if (name.n && name.p[0] == ':')
		return HEAD_BAD_PSEUDO;
	if (!is_name(name))
		return HEAD_BAD_NAME;
	if (!is_value(value))
		return HEAD_BAD_VALUE;
	switch (hdr_id_of(name, hdr_hash(name))) {
	case HDR_CONNECTION:
	case HDR_PROXY_CONNECTION:
	case HDR_KEEP_ALIVE:
	case HDR_TRANSFER_ENCODING:
	case HDR_UPGRADE:
	case HDR_TE:
		return HEAD_HOP_FIELD;
	case HDR_CONTENT_LENGTH:
	case HDR_HOST:
		return HEAD_BAD_NAME;
	default:
		return HEAD_OK;
	}
}
