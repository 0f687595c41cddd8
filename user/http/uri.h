/* SPDX-License-Identifier: BSD-2-Clause */
/* Request paths: percent-decoding and normalisation as nginx does it for $uri, and back. */
#ifndef SL_HTTP_URI_H
#define SL_HTTP_URI_H

#include "core/arena.h"
#include "core/slice.h"

struct uri {
	struct slice path; /* nginx's $uri: decoded, dots resolved, "//" merged if asked */
	struct slice args; /* raw, behind the first '?': nginx's $args */
	bool has_args;	   /* a '?' was there */
	bool plain;	   /* path is byte for byte what was sent (before '?') */
};

/* RAW is origin-form (begins with '/'), or "*"; OUT borrows from it, or from the arena where the
 * path differs. Escaped slashes and dots count as raw ones, as in nginx. -SL_EINVAL: a bad escape,
 * a control byte or space, an escaped control byte (NUL as in nginx, and the others too: with $uri
 * they would get into headers), ".." above the root, a raw backslash, or a '#'. */
int uri_parse(struct slice raw, bool merge_slashes, struct arena *a, struct uri *out);

/* "path?args" that an upstream or a configuration writes, decoded but not normalised: -SL_EINVAL when it is
 * empty, or has a ".." segment, a control byte or a bad escape. */
int uri_parse_safe(struct slice raw, struct arena *a, struct slice *path, struct slice *args);

/* Escapes a decoded path for use in a request target, as nginx's NGX_ESCAPE_URI: bytes <= 0x20, >=
 * 0x7f, and '"' '#' '%' '<' '>' '?' '\\' '^' '`' '{' '|' '}' become %XX. The result is PATH itself
 * when nothing needs escaping. */
struct slice uri_escape_path(struct slice path, struct arena *a);

/* Escapes text for use as a part of a query string, as nginx's NGX_ESCAPE_ARGS: bytes <= 0x20, >= 0x7f, and
 * '"' '#' '%' '&' '+' ';' '<' '>' '?' '\\' '^' '`' '{' '|' '}' become %XX. */
struct slice uri_escape_args(struct slice text, struct arena *a);

/* Undoes escapes in front of the first '?', as nginx's NGX_UNESCAPE_REDIRECT: only those of printable bytes
 * over '%'; a malformed one loses its '%'. */
struct slice uri_unescape_redirect(struct slice text, struct arena *a);

/* The value of an argument in a query string, raw, first match, name compared without case as
 * nginx's $arg_NAME. False when it is absent, or there without a '='. */
bool uri_arg(struct slice args, struct slice name, struct slice *value);

/* The value of a cookie in one Cookie field's value, first match, name compared without case as
 * nginx's $cookie_NAME; cookies are separated by ';' (RFC 6265 4.2.1). False when it is absent. */
bool uri_cookie(struct slice cookie_value, struct slice name, struct slice *value);

#endif
