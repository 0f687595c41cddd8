/* SPDX-License-Identifier: BSD-2-Clause */
/* Incremental, strict parsers of HTTP/1 heads (RFC 9112): no I/O, no descriptors, no logging. The
 * caller keeps the bytes contiguous from the first byte of the head and calls again with more; the
 * state remembers how far the search for the head's end went, so that dripped bytes cost linear
 * time. */
#ifndef SL_HTTP_HEAD_H
#define SL_HTTP_HEAD_H

#include "http/headers.h"

enum http_method {
	METHOD_OTHER,
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_OPTIONS,
	METHOD_PATCH,
	METHOD_CONNECT,
	METHOD_TRACE,
	METHOD_PROPFIND,
	METHOD_PROPPATCH,
	METHOD_MKCOL,
	METHOD_COPY,
	METHOD_MOVE,
	METHOD_LOCK,
	METHOD_UNLOCK,
};

/* Over one of them is -SL_ELIMIT, and as soon as it is certain: a line that can no longer end in
 * time is refused before its end came. With buf.n >= head_max_bytes no parser asks for more. */
struct head_limits {
	uint32_t line_max_bytes; /* request line, or one field line, with its CRLF */
	uint32_t head_max_bytes; /* the whole head, with empty lines before it */
	uint32_t fields_max;
};

/* Why a head was refused; texts for the log by head_error_text(). */
enum head_error {
	HEAD_OK,
	HEAD_BAD_LINE,		  /* request or status line */
	HEAD_BAD_METHOD,	  /* of other bytes than A-Z '_' '-', as in nginx */
	HEAD_BAD_TARGET,	  /* bytes, form (not for this method), scheme, authority */
	HEAD_BAD_VERSION,	  /* not HTTP/1.x, 400 */
	HEAD_VERSION_UNSUPPORTED, /* HTTP/2.0 and above in the line: 505 */
	HEAD_BAD_EOL,		  /* bare LF or bare CR */
	HEAD_BAD_NAME,		  /* not a token, white space before the colon, empty */
	HEAD_BAD_VALUE,		  /* NUL or a control byte */
	HEAD_MANY_OPTIONS,	  /* over HDR_OPTIONS_MAX in Connection */
	HEAD_OBS_FOLD,
	HEAD_BAD_LENGTH,	 /* malformed, repeated or conflicting Content-Length */
	HEAD_BAD_CODING,	 /* Transfer-Encoding without one final chunked, repeated, or on
				 * HTTP/1.0 */
	HEAD_BOTH_LENGTHS,	 /* Content-Length and Transfer-Encoding */
	HEAD_BAD_HOST,		 /* missing on 1.1, repeated, malformed */
	HEAD_LINE_TOO_LONG,	 /* request or status line: 414 */
	HEAD_FIELD_TOO_LONG,	 /* a field line, or too many, or all together: 400 "Request
				 * Header Or Cookie Too Large", as nginx */
	HEAD_CODING_UNSUPPORTED, /* well-formed codings before a final chunked: 501. Without that
				  * final chunked it is HEAD_BAD_CODING (RFC 9112 6.3) */
	/* HTTP/2 alone */
	HEAD_BAD_PSEUDO, /* unknown, repeated, missing, or behind a regular field */
	HEAD_HOP_FIELD,	 /* of one connection, which HTTP/2 does not have */
};

/* A static text, for the log. */
const char *head_error_text(enum head_error e);

enum body_kind {
	BODY_NONE,
	BODY_LENGTH,
	BODY_CHUNKED,
	BODY_UNTIL_CLOSE, /* responses only */
};

/* Search state; zero it for a new head. Offsets count from the head's first byte, behind empty
 * lines. */
struct head_scan {
	uint32_t seen;	      /* bytes already searched */
	uint32_t skip;	      /* CRLFs before a request line, at most 2 (RFC 9112 2.2) */
	uint32_t first_bytes; /* first line with its CRLF; 0 until it is complete and checked */
	uint32_t line;	      /* where the current line begins */
	uint32_t n_fields;    /* complete field lines */
};

struct req_head {
	enum http_method method;
	struct slice method_text;
	struct slice target;	 /* as sent */
	struct slice path;	 /* raw path with query, of origin-form or absolute-form
					 * (there with the '/' that a client may leave out); "*"
					 * for OPTIONS * and for OPTIONS of an absolute-form
					 * without path; empty for CONNECT */
	struct slice authority;	 /* of absolute-form or CONNECT; empty otherwise */
	struct slice scheme;	 /* of absolute-form; empty otherwise */
	uint8_t minor;		 /* HTTP/1.MINOR, 0 or 1 (higher counts as 1) */
	bool http2;		 /* came by HTTP/2: minor is 1 then */
	bool keep_alive;	 /* version and Connection let the connection stay */
	bool expect_continue;	 /* Expect is 100-continue, and not on HTTP/1.0 */
	bool connection_upgrade; /* Connection lists upgrade */
	enum body_kind body;	 /* "Content-Length: 0" is BODY_LENGTH, too */
	uint64_t content_length; /* with BODY_LENGTH */
	struct slice host;	 /* for routing, as host_parse() gives it: absolute-form's
					 * authority wins over Host (RFC 9112 3.2.2); empty for
					 * HTTP/1.0 without either */
	struct slice host_field; /* what is forwarded as Host: the effective host with its
					 * port, as the client spelled it */
	struct hdrs fields;
};

struct resp_head {
	uint16_t status;     /* 100..599 */
	struct slice reason; /* may be empty */
	uint8_t minor;
	bool keep_alive;
	bool connection_upgrade;
	enum body_kind body; /* the caller overrides for HEAD, 1xx, 204, 304 */
	uint64_t content_length;
	struct hdrs fields;
};

/* "HTTP/2.0", "HTTP/1.1", "HTTP/1.0" */
static inline struct slice head_version_of(const struct req_head *h)
{
	if (h->http2)
		return SLICE("HTTP/2.0");
	return h->minor ? SLICE("HTTP/1.1") : SLICE("HTTP/1.0");
}

/* >0: bytes of the head (empty lines before it counted), out filled (slices point into BUF; the
 * lower-cased host, the array of fields and a path that lacked its '/' are in the arena). 0: more
 * is needed; BUF then begins with the same bytes, maybe elsewhere. <0: -SL_EINVAL or -SL_ELIMIT,
 * *why says what. OUT means nothing unless >0, but for the method where the line had one. What is returned does not depend on how the bytes
 * were cut into calls; a bad first line is refused as soon as it is complete, a bare LF at once.
 * Not to be called again after an error. */
int head_parse_request(struct head_scan *s, struct slice buf, const struct head_limits *lim,
		       struct arena *a, struct req_head *out, enum head_error *why);
/* The same for a response, with the same strictness: HTTP/1.0 and 1.1 only, no empty line before
 * it, any repeated Content-Length is refused, and so is Transfer-Encoding other than chunked. */
int head_parse_response(struct head_scan *s, struct slice buf, const struct head_limits *lim,
			struct arena *a, struct resp_head *out, enum head_error *why);

/* Trailer lines with the empty line behind them. The fields point into BLOCK. 0 or -SL_EINVAL. */
int head_parse_trailers(struct slice block, struct arena *a, struct hdrs *out);

struct slice head_reason_of(unsigned status); /* standard reason phrase or empty */

#endif
