/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns $request_body and $request_body_file. */
#include "proxy/request.h"
#include "proxy/vars.h"
#include "proxy/vars_impl.h"

enum { BODY_VALUE_MAX = 1 << 20 };

/* A body that went to a file is read from there, if it is not too long: a log that has small bodies only
 * is not what anybody means. One that streams is not there. */
VARS_GETTER(get_request_body)
{
	const struct request *r = request;
	char *p;

	if (r->body.fd < 0) {
		*out = slice_make(r->body.mem, r->body.len);
		return r->body.mem != NULL;
	}
	if (r->body.len > BODY_VALUE_MAX)
		return false;
	p = arena_bytes(a, r->body.len);
	for (size_t at = 0; at < r->body.len;) {
		int n = request_body_read(r, p + at, r->body.len - at, at);

		if (n < 0)
			return false;
		at += (size_t)n;
	}
	*out = slice_make(p, r->body.len);
	return true;
}

VARS_GETTER(get_request_body_file)
{
	const struct request *r = request;

	*out = r->body.file;
	return out->n > 0;
}

const struct var_def vars_body[] = {
	{.name = "request_body", .get = get_request_body},
	{.name = "request_body_file", .get = get_request_body_file},
	{.name = NULL},
};
