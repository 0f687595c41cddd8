/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes the gateway's own answers. */
#include "proxy/reply.h"

#include <stdio.h>

#include "http/uri.h"
#include "proxy/error_page.h"
#include "proxy/flow.h"
#include "proxy/out.h"
#include "proxy/request.h"
#include "proxy/status.h"
#include "tls/tls_conn.h"

static struct slice reason_of(unsigned status)
{
	struct slice s = head_reason_of(status);

	return s.n ? s : SLICE("Error");
}

/* "text/html" named in Accept, as browsers do; "*" alone is a program. */
static bool wants_html(const struct request *r)
{
	struct hdr *h = hdrs_find(&r->head.fields, HDR_ACCEPT);
	struct slice rest, token;

	if (!h)
		return false;
	rest = h->value;
	while (hdr_next_token(&rest, &token))
		if (slice_istarts(token, SLICE("text/html")))
			return true;
	return false;
}

/* WHY is our own text: quotes and backslashes are the only bytes to escape. */
static struct slice json_text(struct arena *a, const char *why)
{
	char *out = arena_bytes(a, 2 * strlen(why) + 1), *o = out;

	for (; *why; why++) {
		if (*why == '"' || *why == '\\')
			*o++ = '\\';
		*o++ = (unsigned char)*why < 0x20 ? ' ' : *why;
	}
	return slice_make(out, (size_t)(o - out));
}

static const char *error_type(unsigned status)
{
	if (status == 429)
		return "rate_limit_error";
	if (status == 401)
		return "authentication_error";
	if (status == 403)
		return "permission_error";
	return status >= 500 ? "gateway_error" : "invalid_request_error";
}

static struct slice error_json(struct request *r, unsigned status, const char *why)
{
	struct slice reason = reason_of(status);

	if (!why)
		why = arena_cstr(&r->arena, reason);
	return arena_printf(&r->arena,
			    "{\"error\":{\"message\":\"%.*s\",\"type\":\"%s\",\"param\":null,"
			    "\"code\":\"%u\"}}\n",
			    SLICE_FMT(json_text(&r->arena, why)), error_type(status), status);
}

static struct slice page(struct request *r, unsigned status)
{
	struct slice reason = reason_of(status);

	return arena_printf(&r->arena,
			    "<html>\r\n<head><title>%u %.*s</title></head>\r\n<body>\r\n"
			    "<center><h1>%u %.*s</h1></center>\r\n<hr><center>%.*s</center>\r\n"
			    "</body>\r\n</html>\r\n",
			    status, SLICE_FMT(reason), status, SLICE_FMT(reason),
			    SLICE_FMT(status_signature(r)));
}

/* nginx's own codes, for error_page: clients see 400. */
static bool is_inner(unsigned status)
{
	return status >= 494 && status <= 497;
}

static const char *inner_text(unsigned status)
{
	switch (status) {
	case 494:
		return "Request Header Or Cookie Too Large";
	case 495:
		return "The SSL certificate error";
	case 496:
		return "No required SSL certificate was sent";
	default:
		return "The plain HTTP request was sent to HTTPS port";
	}
}

static bool has_no_body(unsigned status)
{
	return status < 200 || status == 204 || status == 304;
}

static void send_reply(struct request *r, struct slice body)
{
	bool empty = has_no_body(r->resp.status);

	if (empty)
		r->resp.content_type = (struct slice){0};
	r->resp.content_length = empty ? -1 : (int64_t)body.n;
	r->resp.no_body = empty || r->head.method == METHOD_HEAD;
	if (!out_head(r))
		return;
	while (body.n && !r->resp.no_body) {
		struct buf *b = buf_new();
		size_t n = body.n < buf_room(b) ? body.n : buf_room(b);

		memcpy(b->data + b->end, body.p, n);
		b->end += (uint32_t)n;
		out_body(r, b);
		body = slice_skip(body, n);
	}
	out_finish(r);
	out_flush(r);
}

static void start(struct request *r, unsigned status)
{
	r->resp = (struct response){.status = (uint16_t)status, .content_length = -1};
}

/* What is said here has this status, whatever the request stood for before. */
static void start_special(struct request *r, unsigned status)
{
	if (r->flow) {
		r->flow->err_status = 0;
		r->flow->content_type = (struct slice){0};
	}
	start(r, status);
}

/* As nginx: after these nobody can be sure where the next request begins, or should ask. */
static bool ends_connection(unsigned status)
{
	return status == 400 || status == 413 || status == 414 || status == 500 || status == 501 ||
	       is_inner(status);
}

static void error_now(struct request *r, unsigned status, const char *why)
{
	if (is_inner(status)) {
		why = why ? why : inner_text(status);
		status = 400;
	}
	start_special(r, status);
	if (wants_html(r)) {
		r->resp.content_type = SLICE("text/html");
		send_reply(r, page(r, status));
		return;
	}
	r->resp.content_type = SLICE("application/json");
	send_reply(r, error_json(r, status, why));
}

void reply_error(struct request *r, unsigned status, const char *why)
{
	if (ends_connection(status))
		r->keep_alive = false;
	if (!error_page_take(r, status))
		error_now(r, status, why);
}

void reply_text(struct request *r, unsigned status, struct slice content_type, struct slice body)
{
	start(r, flow_status(r, status));
	r->resp.content_type = content_type;
	send_reply(r, body);
}

static bool is_default_port(const struct request *r, uint16_t port)
{
	return port == (r->client->tls ? 443 : 80);
}

/* As nginx: a client that names no host is told the address that it connected to. */
static struct slice own_host(struct request *r)
{
	const struct addr *local;
	char *text;
	size_t n;

	if (r->scope->server_name_in_redirect)
		return r->server->name;
	if (r->head.host.n)
		return r->head.host;
	local = request_local_addr(r);
	if (local->sa.sa_family == AF_UNIX)
		return r->server->name;
	text = arena_bytes(&r->arena, ADDR_TEXT_MAX);
	n = addr_ip_text(local, text);
	if (!memchr(text, ':', n))
		return slice_make(text, n);
	return arena_printf(&r->arena, "[%s]", text);
}

struct slice reply_absolute(struct request *r, struct slice path)
{
	struct slice host = own_host(r);
	uint16_t port = addr_port(&r->client->listener->addr);
	const char *scheme = r->client->tls ? "https" : "http";

	if (!r->scope->absolute_redirect)
		return path;
	if (!r->scope->port_in_redirect || is_default_port(r, port) || port == 0)
		return arena_printf(&r->arena, "%s://%.*s%.*s", scheme, SLICE_FMT(host),
				    SLICE_FMT(path));
	return arena_printf(&r->arena, "%s://%.*s:%u%.*s", scheme, SLICE_FMT(host), port,
			    SLICE_FMT(path));
}

void reply_redirect_now(struct request *r, unsigned status, struct slice location)
{
	/* A line break that came in through a variable would be a header of the client's making. */
	if (slice_find(location, '\r') >= 0 || slice_find(location, '\n') >= 0) {
		error_now(r, 500, NULL);
		return;
	}
	start_special(r, status);
	r->resp.location =
		location.n && location.p[0] == '/' ? reply_absolute(r, location) : location;
	r->resp.content_type = SLICE("text/html");
	send_reply(r, page(r, status));
}

void reply_redirect(struct request *r, unsigned status, struct slice location)
{
	if (!error_page_has(r, status)) {
		reply_redirect_now(r, status, location);
		return;
	}
	flow_get(r)->location =
		location.n && location.p[0] == '/' ? reply_absolute(r, location) : location;
	error_page_take(r, status);
}
