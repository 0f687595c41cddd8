/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns $upstream_... and $proxy_host, $proxy_port. Lists of several tries read "a, b" as in nginx, " : " where an internal redirect lies between, with
 * "-" for what a try did not reach; before the first try nothing here has a value. */
#include "proxy/upstream.h"
#include "proxy/vars.h"
#include "proxy/vars_impl.h"

enum field {
	FIELD_ADDR,
	FIELD_STATUS,
	FIELD_CONNECT_TIME,
	FIELD_HEADER_TIME,
	FIELD_RESPONSE_TIME,
	FIELD_RECEIVED,
	FIELD_SENT,
	FIELD_LENGTH,
	FIELD_TCP, /* and further on: by enum tcp_view_field */
};

static size_t put_time(char *at, int64_t ms)
{
	if (ms >= 0)
		return vars_put_seconds(at, (uint64_t)ms);
	*at = '-';
	return 1;
}

static size_t put_tcp(char *at, const struct tcp_view *v, enum tcp_view_field field)
{
	if (v && tcp_view_knows(v, field))
		return num_put_u64(at, v->value[field]);
	*at = '-';
	return 1;
}

/* At most VARS_SECONDS_MAX bytes, addresses aside. */
static size_t put_item(char *at, const struct try *t, enum field field)
{
	switch (field) {
	case FIELD_ADDR:
		if (t->addr.n)
			memcpy(at, t->addr.p, t->addr.n);
		return t->addr.n;
	case FIELD_STATUS:
		if (t->status)
			return num_put_u64(at, t->status);
		*at = '-';
		return 1;
	case FIELD_CONNECT_TIME:
		return put_time(at, t->connect_ms);
	case FIELD_HEADER_TIME:
		return put_time(at, t->header_ms);
	case FIELD_RESPONSE_TIME:
		return put_time(at, t->response_ms);
	case FIELD_RECEIVED:
		return num_put_u64(at, t->bytes_received);
	case FIELD_LENGTH:
		if (!t->head_bytes || t->bytes_received < t->head_bytes)
			return num_put_u64(at, 0);
		return num_put_u64(at, t->bytes_received - t->head_bytes);
	case FIELD_SENT:
		return num_put_u64(at, t->bytes_sent);
	default:
		return put_tcp(at, t->tcp, (enum tcp_view_field)(field - FIELD_TCP));
	}
}

/* DATA is an enum field. */
VARS_GETTER(get_list)
{
	const struct request *r = request;
	enum field field = (enum field)(uintptr_t)data;
	size_t room = 0;
	char *at;

	if (!r->tries)
		return false;
	for (const struct try *t = r->tries; t; t = t->next)
		room += 3 + (field == FIELD_ADDR ? t->addr.n : VARS_SECONDS_MAX);
	at = arena_bytes(a, room);
	*out = slice_make(at, 0);
	for (const struct try *t = r->tries; t; t = t->next) {
		at += put_item(at, t, field);
		if (!t->next)
			break;
		memcpy(at, t->redirected ? " : " : ", ", t->redirected ? 3 : 2);
		at += t->redirected ? 3 : 2;
	}
	out->n = (size_t)(at - out->p);
	return true;
}

VARS_GETTER(get_upstream_http)
{
	const struct request *r = request;

	return r->up && hdrs_join_var(&r->up->fields, a, arg, out);
}

VARS_GETTER(get_upstream_trailer)
{
	const struct request *r = request;

	return r->up && hdrs_join_var(&r->up->trailers, a, arg, out);
}

/* The value of the cookie in a Set-Cookie line, the first that has it. */
VARS_GETTER(get_upstream_cookie)
{
	const struct request *r = request;
	const struct hdr *h = r->up ? hdrs_find(&r->up->fields, HDR_SET_COOKIE) : NULL;

	for (; h; h = hdrs_next(&r->up->fields, h)) {
		struct slice v = h->value;
		ptrdiff_t end = slice_find(v, ';'), equals;

		if (end >= 0)
			v.n = (size_t)end;
		equals = slice_find(v, '=');
		if (equals < 0 || !slice_ieq(slice_trim(slice_make(v.p, (size_t)equals)), arg))
			continue;
		*out = slice_trim(slice_skip(v, (size_t)equals + 1));
		return true;
	}
	return false;
}

VARS_GETTER(get_proxy_host)
{
	const struct request *r = request;

	if (!r->up || !r->up->host_text.n)
		return false;
	*out = r->up->host_text;
	return true;
}

/* As written behind the host (an IPv6 address has its colons in brackets), else the scheme's own. */
VARS_GETTER(get_proxy_port)
{
	const struct request *r = request;
	struct slice host;
	size_t i;

	if (!r->up || !r->up->host_text.n)
		return false;
	host = r->up->host_text;
	*out = SLICE("");
	if (slice_starts(host, SLICE("unix:")))
		return true;
	for (i = host.n; i && host.p[i - 1] >= '0' && host.p[i - 1] <= '9'; i--)
		;
	if (i && i < host.n && host.p[i - 1] == ':')
		*out = slice_skip(host, i);
	else
		*out = r->up->https ? SLICE("443") : SLICE("80");
	return true;
}

#define LIST_ROW(n, field) \
	{ \
		.name = n, .get = get_list, .data = (void *)(uintptr_t)(field) \
	}

const struct var_def vars_upstream[] = {
	LIST_ROW("upstream_addr", FIELD_ADDR),
	LIST_ROW("upstream_status", FIELD_STATUS),
	LIST_ROW("upstream_connect_time", FIELD_CONNECT_TIME),
	LIST_ROW("upstream_header_time", FIELD_HEADER_TIME),
	LIST_ROW("upstream_response_time", FIELD_RESPONSE_TIME),
	LIST_ROW("upstream_bytes_received", FIELD_RECEIVED),
	LIST_ROW("upstream_bytes_sent", FIELD_SENT),
	LIST_ROW("upstream_response_length", FIELD_LENGTH),
	LIST_ROW("upstream_tcp_rtt", FIELD_TCP + TCP_VIEW_RTT),
	LIST_ROW("upstream_tcp_min_rtt", FIELD_TCP + TCP_VIEW_MIN_RTT),
	LIST_ROW("upstream_tcp_retransmits", FIELD_TCP + TCP_VIEW_RETRANSMITS),
	LIST_ROW("upstream_tcp_delivery_rate", FIELD_TCP + TCP_VIEW_DELIVERY_RATE),
	{.name = "upstream_trailer_", .prefix = true, .get = get_upstream_trailer},
	{.name = "upstream_cookie_", .prefix = true, .get = get_upstream_cookie},
	{.name = "upstream_http_", .prefix = true, .get = get_upstream_http},
	{.name = "proxy_host", .get = get_proxy_host},
	{.name = "proxy_port", .get = get_proxy_port},
	{.name = NULL},
};
