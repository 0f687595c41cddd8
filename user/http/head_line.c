/* SPDX-License-Identifier: BSD-2-Clause */
/* Request and status lines (RFC 9112 3 and 4): their bytes and their form. What the fields say is
 * head_fields.c's, and so is the host when the target has none. */
#include "http/head_line.h"

#include "http/chars.h"
#include "http/host.h"

static const struct {
	struct slice text;
	enum http_method method;
} methods[] = {
	{SLICE_INIT("GET"), METHOD_GET},
	{SLICE_INIT("POST"), METHOD_POST},
	{SLICE_INIT("HEAD"), METHOD_HEAD},
	{SLICE_INIT("PUT"), METHOD_PUT},
	{SLICE_INIT("DELETE"), METHOD_DELETE},
	{SLICE_INIT("OPTIONS"), METHOD_OPTIONS},
	{SLICE_INIT("PATCH"), METHOD_PATCH},
	{SLICE_INIT("CONNECT"), METHOD_CONNECT},
	{SLICE_INIT("TRACE"), METHOD_TRACE},
	{SLICE_INIT("PROPFIND"), METHOD_PROPFIND},
	{SLICE_INIT("PROPPATCH"), METHOD_PROPPATCH},
	{SLICE_INIT("MKCOL"), METHOD_MKCOL},
	{SLICE_INIT("COPY"), METHOD_COPY},
	{SLICE_INIT("MOVE"), METHOD_MOVE},
	{SLICE_INIT("LOCK"), METHOD_LOCK},
	{SLICE_INIT("UNLOCK"), METHOD_UNLOCK},
};

enum http_method head_line_method(struct slice text)
{
	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
		if (slice_eq(methods[i].text, text))
			return methods[i].method;
	return METHOD_OTHER;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Why a line is bad at AT, a byte that does not belong: a bare CR is always called one. */
static enum head_error bad_at(const char *at, const char *end, enum head_error otherwise)
{
	return at < end && *at == '\r' ? HEAD_BAD_EOL : otherwise;
}

/* Exactly HTTP/D.D. */
static enum head_error version_parse(struct slice s, char *major, char *minor)
{
	const char *cr = s.n ? memchr(s.p, '\r', s.n) : NULL;

	if (cr)
		return HEAD_BAD_EOL;
	if (s.n != 8 || memcmp(s.p, "HTTP/", 5) != 0 || !is_digit(s.p[5]) || s.p[6] != '.' ||
	    !is_digit(s.p[7]))
		return HEAD_BAD_VERSION;
	*major = s.p[5];
	*minor = s.p[7];
	if (*major == '0')
		return HEAD_BAD_VERSION;
	return *major > '1' ? HEAD_VERSION_UNSUPPORTED : HEAD_OK;
}

/* What follows the authority of absolute-form: the path with its '/', which may be left out. */
static struct slice absolute_path(struct slice rest, enum http_method method, struct arena *a)
{
	char *with_slash;

	if (rest.n && rest.p[0] == '/')
		return rest;
	if (rest.n == 0)
		return method == METHOD_OPTIONS ? SLICE("*") : SLICE("/");
	with_slash = arena_bytes(a, rest.n + 1);
	with_slash[0] = '/';
	memcpy(with_slash + 1, rest.p, rest.n);
	return slice_make(with_slash, rest.n + 1);
}

/* RFC 9112 3.2: four forms, each only where it may be. */
static enum head_error target_parse(struct req_head *out, struct arena *a)
{
	struct slice t = out->target;
	size_t scheme_n = 0, n;
	uint16_t port;

	if (out->method == METHOD_CONNECT) {
		out->authority = t;
		return host_parse(t, a, &out->host, &port) || port == 0 ? HEAD_BAD_TARGET : HEAD_OK;
	}
	if (t.p[0] == '/') {
		out->path = t;
		return HEAD_OK;
	}
	if (slice_eq(t, SLICE("*"))) {
		out->path = t;
		return out->method == METHOD_OPTIONS ? HEAD_OK : HEAD_BAD_TARGET;
	}
	if (slice_istarts(t, SLICE("http://")))
		scheme_n = 4;
	else if (slice_istarts(t, SLICE("https://")))
		scheme_n = 5;
	else
		return HEAD_BAD_TARGET;
	out->scheme = slice_make(t.p, scheme_n);
	t = slice_skip(t, scheme_n + 3);
	for (n = 0; n < t.n && t.p[n] != '/' && t.p[n] != '?'; n++)
		;
	out->authority = slice_make(t.p, n);
	out->path = absolute_path(slice_skip(t, n), out->method, a);
	return host_parse(out->authority, a, &out->host, &port) ? HEAD_BAD_TARGET : HEAD_OK;
}

enum head_error head_line_request(struct slice line, struct arena *a, struct req_head *out)
{
	const char *p = line.p, *end = line.p + line.n, *at;
	enum head_error e;
	char major, minor;

	at = chars_skip(p, end, CHARS_METHOD);
	if (at == p || at == end || *at != ' ')
		return bad_at(at, end, HEAD_BAD_METHOD);
	out->method_text = slice_make(p, (size_t)(at - p));
	out->method = head_line_method(out->method_text);

	p = at + 1;
	at = chars_skip_long(p, end, CHARS_TARGET);
	if (at == end && at > p) /* HTTP/0.9 */
		return HEAD_BAD_VERSION;
	if (at == p && (at == end || *at == ' '))
		return HEAD_BAD_LINE;
	if (*at != ' ')
		return bad_at(at, end, HEAD_BAD_TARGET);
	out->target = slice_make(p, (size_t)(at - p));

	p = at + 1;
	if (memchr(p, ' ', (size_t)(end - p)))
		return HEAD_BAD_LINE;
	e = version_parse(slice_make(p, (size_t)(end - p)), &major, &minor);
	if (e != HEAD_OK)
		return e;
	out->minor = minor != '0';
	return target_parse(out, a);
}

enum head_error head_line_response(struct slice line, struct resp_head *out)
{
	struct slice version = slice_make(line.p, line.n < 8 ? line.n : 8);
	const char *p = line.p + version.n, *end = line.p + line.n, *at;
	enum head_error e;
	char major, minor;

	e = version_parse(version, &major, &minor);
	if (e != HEAD_OK)
		return e;
	if (p < end && *p != ' ')
		return bad_at(p, end, HEAD_BAD_VERSION);
	if (end - p < 4)
		return HEAD_BAD_LINE;
	for (int i = 1; i <= 3; i++)
		if (!is_digit(p[i]))
			return bad_at(p + i, end, HEAD_BAD_LINE);
	out->minor = minor != '0';
	out->status = (uint16_t)((p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0'));
	if (out->status < 100 || out->status > 599)
		return HEAD_BAD_LINE;
	p += 4;
	if (p < end && *p != ' ')
		return bad_at(p, end, HEAD_BAD_LINE);
	if (p < end)
		p++;
	at = chars_skip_long(p, end, CHARS_VALUE);
	out->reason = slice_make(p, (size_t)(at - p));
	return at == end ? HEAD_OK : bad_at(at, end, HEAD_BAD_LINE);
}
