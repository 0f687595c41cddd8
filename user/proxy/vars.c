/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what a configuration can ask of a request, its client and its answer, with nginx's names and
 * nginx's difference between an empty value and none. Reads only; secrets have no variable of their own
 * ($http_authorization is the user's choice). */
#include "proxy/vars.h"

#include <unistd.h>

#include "core/base64.h"
#include "http/chars.h"
#include "policy/auth.h"
#include "proxy/flow.h"
#include "proxy/vars_impl.h"

static bool text(struct slice *out, struct slice s)
{
	*out = s;
	return true;
}

/* Empty counts as no value. */
static bool text_if_any(struct slice *out, struct slice s)
{
	*out = s;
	return s.n > 0;
}

/* The request's head. */

/* A struct slice at offset DATA of the request. */
VARS_GETTER(get_slice)
{
	return text_if_any(out, *(const struct slice *)((const char *)request + (uintptr_t)data));
}

VARS_GETTER(get_host)
{
	const struct request *r = request;

	return text(out, r->head.host.n ? r->head.host : r->server->name);
}

VARS_GETTER(get_http)
{
	const struct request *r = request;

	return hdrs_join_var(&r->head.fields, a, arg, out);
}

VARS_GETTER(get_arg)
{
	const struct request *r = request;

	return uri_arg(r->uri.args, arg, out);
}

VARS_GETTER(get_cookie)
{
	const struct request *r = request;
	const struct hdr *h = hdrs_find(&r->head.fields, HDR_COOKIE);

	for (; h; h = hdrs_next(&r->head.fields, h))
		if (uri_cookie(h->value, arg, out))
			return true;
	return false;
}

/* Empty where a `rewrite` made it so; none before it is known. */
VARS_GETTER(get_uri)
{
	const struct request *r = request;

	*out = r->uri.path;
	return r->uri.path.p != NULL;
}

/* A configuration that took all arguments away has left an empty value. */
VARS_GETTER(get_args)
{
	const struct request *r = request;

	*out = r->uri.args;
	return r->uri.args.n || (r->uri_changed && r->uri.has_args);
}

static void set_args(void *request, void *data, struct slice value)
{
	struct request *r = request;

	r->uri.args = value;
	r->uri.has_args = true;
	r->uri_changed = true;
}

VARS_GETTER(get_is_args)
{
	const struct request *r = request;

	return text(out, r->uri.args.n ? SLICE("?") : SLICE(""));
}

/* With absolute-form what is behind the host; CONNECT has nothing but its target. */
VARS_GETTER(get_request_uri)
{
	const struct request *r = request;

	return text_if_any(out, r->head.path.n ? r->head.path : r->head.target);
}

static struct slice protocol(const struct request *r)
{
	return head_version_of(&r->head);
}

/* A head that was refused leaves an empty text, so that logs show `"" 400`. */
VARS_GETTER(get_request)
{
	const struct request *r = request;
	struct slice method = flow_sent_method(r), target = r->head.target, version = protocol(r);
	char *at;

	/* An HTTP/2 client may leave between the two. */
	if (!target.n || !method.n)
		return text(out, r->bad_line);
	at = arena_bytes(a, method.n + target.n + version.n + 2);
	*out = slice_make(at, method.n + target.n + version.n + 2);
	memcpy(at, method.p, method.n);
	at += method.n;
	*at++ = ' ';
	memcpy(at, target.p, target.n);
	at += target.n;
	*at++ = ' ';
	memcpy(at, version.p, version.n);
	return true;
}

/* As nginx: also where it is asked for a request of ours. */
VARS_GETTER(get_request_method)
{
	const struct request *r = request;

	return text_if_any(out, (r->parent ? r->parent : r)->head.method_text);
}

VARS_GETTER(get_server_protocol)
{
	const struct request *r = request;

	*out = protocol(r);
	return r->head.target.n > 0;
}

VARS_GETTER(get_content_length)
{
	const struct request *r = request;
	const struct hdr *h = hdrs_find(&r->head.fields, HDR_CONTENT_LENGTH);

	if (h)
		return text(out, h->value);
	return r->head.body == BODY_CHUNKED && r->body.whole && vars_number(a, r->body.len, out);
}

VARS_GETTER(get_content_type)
{
	const struct request *r = request;
	const struct hdr *h = hdrs_find(&r->head.fields, HDR_CONTENT_TYPE);

	return h && text(out, h->value);
}

/* The name goes into headers and logs: none with control bytes. The password is wiped. */
VARS_GETTER(get_remote_user)
{
	const struct request *r = request;
	const struct hdr *h = hdrs_find(&r->head.fields, HDR_AUTHORIZATION);
	struct slice password;

	if (!h || !auth_parse_basic(h->value, arena_bytes(a, BASE64_DECODED_MAX(h->value.n)), out,
				    &password))
		return false;
	explicit_bzero((char *)password.p, password.n);
	for (size_t i = 0; i < out->n; i++)
		if ((unsigned char)out->p[i] < 0x20 || out->p[i] == 0x7f)
			return false;
	return true;
}

VARS_GETTER(get_request_id)
{
	return text(out, request_id(request));
}

/* The connection. */

VARS_GETTER(get_scheme)
{
	const struct request *r = request;

	return text(out, r->client->tls ? SLICE("https") : SLICE("http"));
}

VARS_GETTER(get_https)
{
	const struct request *r = request;

	return text(out, r->client->tls ? SLICE("on") : SLICE(""));
}

VARS_GETTER(get_server_name)
{
	const struct request *r = request;

	return text(out, r->server->name);
}

static bool port_of(const struct addr *addr, struct arena *a, struct slice *out)
{
	uint16_t port = addr_port(addr);

	return port ? vars_number(a, port, out) : text(out, SLICE(""));
}

VARS_GETTER(get_server_port)
{
	const struct request *r = request;

	return port_of(&r->client->listener->addr, a, out);
}

VARS_GETTER(get_server_addr)
{
	const struct request *r = request;
	const struct addr *local = request_local_addr(r);
	char *at = arena_bytes(a, ADDR_TEXT_MAX);

	*out = slice_make(at, local->sa.sa_family == AF_UNIX ? addr_text(local, at)
							     : addr_ip_text(local, at));
	return true;
}

VARS_GETTER(get_remote_addr)
{
	const struct request *r = request;

	return text(out, slice_make(r->remote->ip, r->remote->ip_len));
}

VARS_GETTER(get_binary_remote_addr)
{
	const struct request *r = request;
	const uint8_t *bytes;
	size_t n = addr_bytes(&r->remote->addr, &bytes);

	return text(out, n ? slice_make((const char *)bytes, n) : SLICE(""));
}

VARS_GETTER(get_remote_port)
{
	const struct request *r = request;

	return port_of(&r->remote->addr, a, out);
}

VARS_GETTER(get_connection)
{
	const struct request *r = request;

	return vars_number(a, r->client->serial, out);
}

VARS_GETTER(get_connection_requests)
{
	const struct request *r = request;

	return vars_number(a, r->nth, out);
}

VARS_GETTER(get_pipe)
{
	const struct request *r = request;

	return text(out, r->client->pipelined ? SLICE("p") : SLICE("."));
}

VARS_GETTER(get_forwarded_for)
{
	const struct request *r = request;
	struct slice ip = slice_make(r->remote->ip, r->remote->ip_len), before;
	char *at;

	if (!hdrs_join_var(&r->head.fields, a, SLICE("x_forwarded_for"), &before))
		return text(out, ip);
	at = arena_bytes(a, before.n + 2 + ip.n);
	*out = slice_make(at, before.n + 2 + ip.n);
	if (before.n)
		memcpy(at, before.p, before.n);
	memcpy(at + before.n, ", ", 2);
	memcpy(at + before.n + 2, ip.p, ip.n);
	return true;
}

/* The answer. */

VARS_GETTER(get_status)
{
	const struct request *r = request;
	unsigned s = flow_status(r, r->resp.status);
	char *at = arena_bytes(a, 3);

	at[0] = (char)('0' + s / 100 % 10);
	at[1] = (char)('0' + s / 10 % 10);
	at[2] = (char)('0' + s % 10);
	return text(out, slice_make(at, 3));
}

VARS_GETTER(get_request_length)
{
	const struct request *r = request;

	return vars_number(a, r->head_bytes + r->body_bytes, out);
}

VARS_GETTER(get_bytes_sent)
{
	const struct request *r = request;

	return vars_number(a, r->sent_head_bytes + r->sent_body_bytes, out);
}

VARS_GETTER(get_body_bytes_sent)
{
	const struct request *r = request;

	return vars_number(a, r->sent_body_bytes, out);
}

VARS_GETTER(get_request_time)
{
	const struct request *r = request;
	uint64_t now = r->env->loop.clock.mono_ms;

	return vars_seconds(a, now > r->start_mono_ms ? now - r->start_mono_ms : 0, out);
}

VARS_GETTER(get_request_completion)
{
	const struct request *r = request;

	return text(out, r->finished && !r->client_gone ? SLICE("OK") : SLICE(""));
}

VARS_GETTER(get_limit_req_status)
{
	const struct request *r = request;

	return r->limit_status && text(out, slice_cstr(r->limit_status));
}

VARS_GETTER(get_limit_conn_status)
{
	const struct request *r = request;

	return r->limit_conn_status && text(out, slice_cstr(r->limit_conn_status));
}

VARS_GETTER(get_sent_http)
{
	const struct request *r = request;

	return hdrs_join_var(&r->resp.fields, a, arg, out);
}

VARS_GETTER(get_sent_trailer)
{
	const struct request *r = request;

	return r->resp.trailers && hdrs_join_var(r->resp.trailers, a, arg, out);
}

VARS_GETTER(get_sent_content_length)
{
	const struct request *r = request;

	return r->resp.content_length >= 0 && vars_number(a, (uint64_t)r->resp.content_length, out);
}

VARS_GETTER(get_sent_connection)
{
	const struct request *r = request;

	return text(out, r->keep_alive ? SLICE("keep-alive") : SLICE("close"));
}

VARS_GETTER(get_sent_keep_alive)
{
	const struct request *r = request;

	if (!r->keep_alive || r->scope->keepalive_header_s <= 0)
		return false;
	*out = arena_printf(a, "timeout=%lld", (long long)r->scope->keepalive_header_s);
	return true;
}

VARS_GETTER(get_sent_transfer_encoding)
{
	const struct request *r = request;

	*out = SLICE("chunked");
	return r->head_sent && r->resp.content_length < 0 && !r->resp.no_body &&
	       r->head.minor >= 1 && r->scope->chunked;
}

/* Time and place. The loop's texts change under a request's feet, so they are copied. */

VARS_GETTER(get_time_local)
{
	const struct request *r = request;

	return text(out, arena_dup(a, slice_cstr(r->env->loop.clock.time_local)));
}

VARS_GETTER(get_time_iso8601)
{
	const struct request *r = request;

	return text(out, arena_dup(a, slice_cstr(r->env->loop.clock.time_iso8601)));
}

VARS_GETTER(get_msec)
{
	const struct request *r = request;

	return vars_seconds(a, r->env->loop.clock.wall_ms, out);
}

VARS_GETTER(get_hostname)
{
	enum { HOSTNAME_ROOM = 256 };
	char *name = arena_bytes(a, HOSTNAME_ROOM);

	if (gethostname(name, HOSTNAME_ROOM) < 0)
		return false;
	name[HOSTNAME_ROOM - 1] = 0;
	for (char *p = name; *p; p++)
		*p = chars_lower(*p);
	return text(out, slice_cstr(name));
}

VARS_GETTER(get_pid)
{
	return vars_number(a, (uint64_t)getpid(), out);
}

#define ROW(n, g) \
	{ \
		.name = n, .get = g \
	}
#define SLICE_ROW(n, field) \
	{ \
		.name = n, .get = get_slice, .data = (void *)offsetof(struct request, field) \
	}
#define PREFIX_ROW(n, g) \
	{ \
		.name = n, .prefix = true, .get = g \
	}

const struct var_def vars_request[] = {
	ROW("host", get_host),
	PREFIX_ROW("http_", get_http),
	PREFIX_ROW("arg_", get_arg),
	PREFIX_ROW("cookie_", get_cookie),
	{.name = "args", .get = get_args, .set = set_args},
	ROW("query_string", get_args),
	ROW("is_args", get_is_args),
	ROW("uri", get_uri),
	ROW("document_uri", get_uri),
	ROW("request_uri", get_request_uri),
	ROW("request", get_request),
	ROW("request_method", get_request_method),
	ROW("server_protocol", get_server_protocol),
	ROW("content_length", get_content_length),
	ROW("content_type", get_content_type),
	ROW("remote_user", get_remote_user),
	ROW("request_id", get_request_id),

	ROW("scheme", get_scheme),
	ROW("https", get_https),
	ROW("server_name", get_server_name),
	ROW("server_port", get_server_port),
	ROW("server_addr", get_server_addr),
	ROW("remote_addr", get_remote_addr),
	ROW("remote_port", get_remote_port),
	ROW("binary_remote_addr", get_binary_remote_addr),
	ROW("connection", get_connection),
	ROW("connection_requests", get_connection_requests),
	ROW("pipe", get_pipe),
	ROW("proxy_add_x_forwarded_for", get_forwarded_for),
	ROW("status", get_status),
	ROW("request_length", get_request_length),
	ROW("bytes_sent", get_bytes_sent),
	ROW("body_bytes_sent", get_body_bytes_sent),
	ROW("request_time", get_request_time),
	ROW("request_completion", get_request_completion),
	ROW("limit_req_status", get_limit_req_status),
	ROW("limit_conn_status", get_limit_conn_status),
	PREFIX_ROW("sent_http_", get_sent_http),
	PREFIX_ROW("sent_trailer_", get_sent_trailer),
	SLICE_ROW("sent_http_content_type", resp.content_type),
	SLICE_ROW("sent_http_last_modified", resp.last_modified),
	SLICE_ROW("sent_http_location", resp.location),
	SLICE_ROW("sent_http_server", resp.server),
	SLICE_ROW("sent_http_date", resp.date),
	ROW("sent_http_content_length", get_sent_content_length),
	ROW("sent_http_connection", get_sent_connection),
	ROW("sent_http_keep_alive", get_sent_keep_alive),
	ROW("sent_http_transfer_encoding", get_sent_transfer_encoding),

	ROW("time_local", get_time_local),
	ROW("time_iso8601", get_time_iso8601),
	ROW("msec", get_msec),
	ROW("hostname", get_hostname),
	ROW("pid", get_pid),
	{.name = NULL},
};
