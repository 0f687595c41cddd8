/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds where a head ends, over as many calls as its bytes take, keeps its limits, and puts the
 * parts together: head_line.c reads the first line, head_fields.c the others. */
#include "http/head.h"

#include "core/err.h"
#include "http/chars.h"
#include "http/head_fields.h"
#include "http/head_line.h"

enum {
	SKIP_MAX = 2,
};

static int refuse(enum head_error *why, enum head_error e)
{
	*why = e;
	return e == HEAD_LINE_TOO_LONG || e == HEAD_FIELD_TOO_LONG ? -SL_ELIMIT : -SL_EINVAL;
}

/* 1 when *HEAD begins with something else than an empty line, which a request line may follow. */
static int skip_empty_lines(struct head_scan *s, struct slice buf, struct slice *head,
			    enum head_error *why)
{
	for (;;) {
		if (buf.n <= s->skip * 2)
			return 0;
		*head = slice_skip(buf, s->skip * 2);
		if (head->p[0] == '\n')
			return refuse(why, HEAD_BAD_EOL);
		if (head->p[0] != '\r')
			return 1;
		if (head->n == 1)
			return 0;
		if (head->p[1] != '\n')
			return refuse(why, HEAD_BAD_EOL);
		if (s->skip == SKIP_MAX)
			return refuse(why, HEAD_BAD_LINE);
		s->skip++;
	}
}

/* Completes one more line: its length with CRLF; 0: more is needed. Each byte is looked at once. */
static int next_line(struct head_scan *s, struct slice head, const struct head_limits *lim,
		     enum head_error *why)
{
	const char *from = head.p + s->seen, *lf = memchr(from, '\n', head.n - s->seen);
	size_t end = lf ? (size_t)(lf - head.p) + 1 : head.n, n = end - s->line;
	size_t more = lf ? 0 : 1; /* a line without its end grows by at least that */

	if (n + more > lim->line_max_bytes || end + s->skip * 2 + more > lim->head_max_bytes)
		return refuse(why, s->line ? HEAD_FIELD_TOO_LONG : HEAD_LINE_TOO_LONG);
	s->seen = (uint32_t)end;
	if (!lf)
		return 0;
	if (n < 2 || lf[-1] != '\r')
		return refuse(why, HEAD_BAD_EOL);
	s->line = (uint32_t)end;
	return (int)n;
}

/* Goes on behind the first line: the bytes of the whole head; 0: more is needed. */
static int find_end(struct head_scan *s, struct slice head, const struct head_limits *lim,
		    enum head_error *why)
{
	for (;;) {
		int n = next_line(s, head, lim, why);

		if (n <= 0)
			return n;
		if (n == 2)
			return (int)s->line;
		if (++s->n_fields > lim->fields_max)
			return refuse(why, HEAD_FIELD_TOO_LONG);
	}
}

static enum head_error parse_fields(const struct head_scan *s, struct slice head, struct arena *a,
				    struct hdrs *fields, struct head_facts *facts)
{
	struct slice block = slice_make(head.p + s->first_bytes, s->line - s->first_bytes);

	*facts = (struct head_facts){0};
	hdrs_reserve(fields, a, s->n_fields);
	return head_fields_parse(block, a, fields, facts);
}

/* The first line without its CRLF, once next_line has completed it. */
static struct slice first_line(const struct head_scan *s, struct slice head)
{
	return slice_make(head.p, s->first_bytes - 2);
}

int head_parse_request(struct head_scan *s, struct slice buf, const struct head_limits *lim,
		       struct arena *a, struct req_head *out, enum head_error *why)
{
	struct head_facts facts;
	struct slice head;
	int rc;

	*out = (struct req_head){0};
	*why = HEAD_OK;
	rc = skip_empty_lines(s, buf, &head, why);
	if (rc <= 0)
		return rc;
	/* A TLS client on a plain port need not wait for the time limit. */
	if (!chars_is(head.p[0], CHARS_METHOD))
		return refuse(why, HEAD_BAD_METHOD);
	if (s->first_bytes == 0) {
		rc = next_line(s, head, lim, why);
		if (rc <= 0)
			return rc;
		s->first_bytes = (uint32_t)rc;
		*why = head_line_request(first_line(s, head), a, out);
	}
	rc = *why == HEAD_OK ? find_end(s, head, lim, why) : refuse(why, *why);
	if (rc == 0)
		return rc;
	if (out->target.n == 0) /* the line came in an earlier call, and was right */
		head_line_request(first_line(s, head), a, out);
	if (rc < 0)
		return rc;
	*why = parse_fields(s, head, a, &out->fields, &facts);
	if (*why == HEAD_OK)
		*why = head_fields_finish_request(&facts, a, out);
	return *why == HEAD_OK ? rc + (int)s->skip * 2 : refuse(why, *why);
}

int head_parse_trailers(struct slice block, struct arena *a, struct hdrs *out)
{
	struct head_facts facts = {0};

	return head_fields_parse(block, a, out, &facts) == HEAD_OK ? 0 : -SL_EINVAL;
}

int head_parse_response(struct head_scan *s, struct slice buf, const struct head_limits *lim,
			struct arena *a, struct resp_head *out, enum head_error *why)
{
	struct head_facts facts;
	int rc;

	*out = (struct resp_head){0};
	*why = HEAD_OK;
	if (buf.n == 0)
		return 0;
	if (buf.p[0] != 'H')
		return refuse(why, HEAD_BAD_LINE);
	if (s->first_bytes == 0) {
		rc = next_line(s, buf, lim, why);
		if (rc <= 0)
			return rc;
		s->first_bytes = (uint32_t)rc;
		*why = head_line_response(first_line(s, buf), out);
	}
	rc = *why == HEAD_OK ? find_end(s, buf, lim, why) : refuse(why, *why);
	if (rc <= 0)
		return rc;
	if (out->status == 0) /* the line came in an earlier call */
		*why = head_line_response(first_line(s, buf), out);
	if (*why == HEAD_OK)
		*why = parse_fields(s, buf, a, &out->fields, &facts);
	if (*why == HEAD_OK)
		*why = head_fields_finish_response(&facts, out);
	return *why == HEAD_OK ? rc : refuse(why, *why);
}

const char *head_error_text(enum head_error e)
{
	static const char *const texts[] = {
		[HEAD_OK] = "no error",
		[HEAD_BAD_LINE] = "invalid first line",
		[HEAD_BAD_METHOD] = "invalid method",
		[HEAD_BAD_TARGET] = "invalid request target",
		[HEAD_BAD_VERSION] = "invalid HTTP version",
		[HEAD_VERSION_UNSUPPORTED] = "unsupported HTTP version",
		[HEAD_BAD_EOL] = "bare CR or LF",
		[HEAD_BAD_NAME] = "invalid header name",
		[HEAD_BAD_VALUE] = "control byte in a header value",
		[HEAD_MANY_OPTIONS] = "too many options in Connection",
		[HEAD_OBS_FOLD] = "folded header line",
		[HEAD_BAD_LENGTH] = "invalid or repeated Content-Length",
		[HEAD_BAD_CODING] = "invalid Transfer-Encoding",
		[HEAD_BOTH_LENGTHS] = "both Content-Length and Transfer-Encoding",
		[HEAD_BAD_HOST] = "missing, repeated or invalid Host",
		[HEAD_LINE_TOO_LONG] = "first line too long",
		[HEAD_FIELD_TOO_LONG] = "too long or too many header lines",
		[HEAD_CODING_UNSUPPORTED] = "unsupported transfer coding",
		[HEAD_BAD_PSEUDO] = "unknown, repeated, missing or late pseudo-header",
		[HEAD_HOP_FIELD] = "connection-specific header",
	};

	return (size_t)e < sizeof texts / sizeof texts[0] ? texts[e] : "unknown error";
}

/* From 100 on (RFC 9110 15 and IANA's registry). */
static const struct slice reasons[500] = {
	[100 - 100] = SLICE_INIT("Continue"),
	[101 - 100] = SLICE_INIT("Switching Protocols"),
	[102 - 100] = SLICE_INIT("Processing"),
	[103 - 100] = SLICE_INIT("Early Hints"),
	[200 - 100] = SLICE_INIT("OK"),
	[201 - 100] = SLICE_INIT("Created"),
	[202 - 100] = SLICE_INIT("Accepted"),
	[203 - 100] = SLICE_INIT("Non-Authoritative Information"),
	[204 - 100] = SLICE_INIT("No Content"),
	[205 - 100] = SLICE_INIT("Reset Content"),
	[206 - 100] = SLICE_INIT("Partial Content"),
	[207 - 100] = SLICE_INIT("Multi-Status"),
	[208 - 100] = SLICE_INIT("Already Reported"),
	[300 - 100] = SLICE_INIT("Multiple Choices"),
	[301 - 100] = SLICE_INIT("Moved Permanently"),
	[302 - 100] = SLICE_INIT("Found"),
	[303 - 100] = SLICE_INIT("See Other"),
	[304 - 100] = SLICE_INIT("Not Modified"),
	[305 - 100] = SLICE_INIT("Use Proxy"),
	[307 - 100] = SLICE_INIT("Temporary Redirect"),
	[308 - 100] = SLICE_INIT("Permanent Redirect"),
	[400 - 100] = SLICE_INIT("Bad Request"),
	[401 - 100] = SLICE_INIT("Unauthorized"),
	[402 - 100] = SLICE_INIT("Payment Required"),
	[403 - 100] = SLICE_INIT("Forbidden"),
	[404 - 100] = SLICE_INIT("Not Found"),
	[405 - 100] = SLICE_INIT("Method Not Allowed"),
	[406 - 100] = SLICE_INIT("Not Acceptable"),
	[407 - 100] = SLICE_INIT("Proxy Authentication Required"),
	[408 - 100] = SLICE_INIT("Request Timeout"),
	[409 - 100] = SLICE_INIT("Conflict"),
	[410 - 100] = SLICE_INIT("Gone"),
	[411 - 100] = SLICE_INIT("Length Required"),
	[412 - 100] = SLICE_INIT("Precondition Failed"),
	[413 - 100] = SLICE_INIT("Content Too Large"),
	[414 - 100] = SLICE_INIT("URI Too Long"),
	[415 - 100] = SLICE_INIT("Unsupported Media Type"),
	[416 - 100] = SLICE_INIT("Range Not Satisfiable"),
	[417 - 100] = SLICE_INIT("Expectation Failed"),
	[421 - 100] = SLICE_INIT("Misdirected Request"),
	[422 - 100] = SLICE_INIT("Unprocessable Content"),
	[423 - 100] = SLICE_INIT("Locked"),
	[424 - 100] = SLICE_INIT("Failed Dependency"),
	[425 - 100] = SLICE_INIT("Too Early"),
	[426 - 100] = SLICE_INIT("Upgrade Required"),
	[428 - 100] = SLICE_INIT("Precondition Required"),
	[429 - 100] = SLICE_INIT("Too Many Requests"),
	[431 - 100] = SLICE_INIT("Request Header Fields Too Large"),
	[451 - 100] = SLICE_INIT("Unavailable For Legal Reasons"),
	[500 - 100] = SLICE_INIT("Internal Server Error"),
	[501 - 100] = SLICE_INIT("Not Implemented"),
	[502 - 100] = SLICE_INIT("Bad Gateway"),
	[503 - 100] = SLICE_INIT("Service Unavailable"),
	[504 - 100] = SLICE_INIT("Gateway Timeout"),
	[505 - 100] = SLICE_INIT("HTTP Version Not Supported"),
	[507 - 100] = SLICE_INIT("Insufficient Storage"),
	[508 - 100] = SLICE_INIT("Loop Detected"),
	[511 - 100] = SLICE_INIT("Network Authentication Required"),
};

struct slice head_reason_of(unsigned status)
{
	struct slice r = status >= 100 && status < 600 ? reasons[status - 100] : (struct slice){0};

	return r.p ? r : slice_make("", 0);
}
