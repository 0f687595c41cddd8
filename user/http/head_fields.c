/* SPDX-License-Identifier: BSD-2-Clause */
/* Field lines (RFC 9112 5) and what they say about the body's framing (6), the host (3.2) and the
 * connection (9). Whatever two recipients could read in two ways is refused here. */
#include "http/head_fields.h"

#include "core/num.h"
#include "http/chars.h"
#include "http/host.h"

static void note_connection(struct slice value, struct head_facts *f)
{
	struct slice t;

	while (hdr_next_token(&value, &t)) {
		f->n_options++;
		if (slice_ieq(t, SLICE("close")))
			f->close = true;
		else if (slice_ieq(t, SLICE("keep-alive")))
			f->keep_alive = true;
		else if (slice_ieq(t, SLICE("upgrade")))
			f->upgrade = true;
	}
}

static void note_first(uint32_t *n, struct slice *first, struct slice value)
{
	if ((*n)++ == 0)
		*first = value;
}

static void note(const struct hdr *h, struct head_facts *f)
{
	switch (h->id) {
	case HDR_HOST:
		note_first(&f->n_hosts, &f->host, h->value);
		break;
	case HDR_CONTENT_LENGTH:
		note_first(&f->n_lengths, &f->length, h->value);
		break;
	case HDR_TRANSFER_ENCODING:
		note_first(&f->n_codings, &f->coding, h->value);
		break;
	case HDR_CONNECTION:
		note_connection(h->value, f);
		break;
	case HDR_EXPECT:
		if (slice_ieq(h->value, SLICE("100-continue")))
			f->expect_continue = true;
		break;
	default:
		break;
	}
}

enum head_error head_fields_parse(struct slice block, struct arena *a, struct hdrs *hdrs,
				  struct head_facts *facts)
{
	const char *p = block.p, *end = block.p + block.n - 2, *at;
	struct slice name, value;

	while (p < end) {
		at = chars_skip(p, end, CHARS_TOKEN);
		if (at == p && (*at == ' ' || *at == '\t') && p != block.p)
			return HEAD_OBS_FOLD;
		if (at == p || *at != ':') {
			/* The line's own CR is before its LF; any other one is bare. */
			return *at == '\r' && at[1] != '\n' ? HEAD_BAD_EOL : HEAD_BAD_NAME;
		}
		name = slice_make(p, (size_t)(at - p));
		p = at + 1;
		at = chars_skip_long(p, end, CHARS_VALUE);
		if (*at != '\r')
			return HEAD_BAD_VALUE;
		if (at[1] != '\n')
			return HEAD_BAD_EOL;
		value = slice_trim(slice_make(p, (size_t)(at - p)));
		note(hdrs_add(hdrs, a, name, value), facts);
		p = at + 2;
	}
	return facts->n_options > HDR_OPTIONS_MAX ? HEAD_MANY_OPTIONS : HEAD_OK;
}

/* transfer-coding of RFC 9112 7 at the start of S, its parameters with it: its length, or 0. */
static size_t coding_len(struct slice s, size_t *name_n)
{
	const char *p = s.p, *end = s.p + s.n, *at = chars_skip(p, end, CHARS_TOKEN);

	*name_n = (size_t)(at - p);
	if (at == p)
		return 0;
	while (at < end && *at == ';') {
		p = at + 1;
		at = chars_skip(p, end, CHARS_TOKEN);
		if (at == p || at == end || *at != '=')
			return 0;
		p = at + 1;
		at = chars_skip(p, end, CHARS_TOKEN);
		if (at == p)
			return 0;
	}
	return (size_t)(at - s.p);
}

/* Only `chunked` is had. A list that ends in it and has other codings before is well formed and
 * unknown (501); where chunked is not the last, or not once, the length cannot be told (400, RFC
 * 9112 6.3). */
static enum head_error coding_check(struct slice value)
{
	size_t n, name_n;

	if (slice_ieq(value, SLICE("chunked")))
		return HEAD_OK;
	for (;;) {
		n = coding_len(value, &name_n);
		if (n == 0)
			return HEAD_BAD_CODING;
		if (n == value.n)
			break;
		if (slice_ieq(slice_make(value.p, name_n), SLICE("chunked")))
			return HEAD_BAD_CODING;
		value = slice_trim(slice_skip(value, n));
		if (value.n == 0 || value.p[0] != ',')
			return HEAD_BAD_CODING;
		value = slice_trim(slice_skip(value, 1));
	}
	return slice_ieq(value, SLICE("chunked")) ? HEAD_CODING_UNSUPPORTED : HEAD_BAD_CODING;
}

static enum head_error framing(const struct head_facts *f, uint8_t minor, enum body_kind *body,
			       uint64_t *length)
{
	if (f->n_lengths && f->n_codings)
		return HEAD_BOTH_LENGTHS;
	if (f->n_lengths) {
		if (f->n_lengths > 1 || num_u63(f->length, length))
			return HEAD_BAD_LENGTH;
		*body = BODY_LENGTH;
	}
	if (f->n_codings) {
		/* RFC 9112 6.1: 1.0 does not know it, so who sent it did not frame this message. */
		if (f->n_codings > 1 || minor == 0)
			return HEAD_BAD_CODING;
		*body = BODY_CHUNKED;
		return coding_check(f->coding);
	}
	return HEAD_OK;
}

static bool may_stay(const struct head_facts *f, uint8_t minor)
{
	return !f->close && (minor > 0 || f->keep_alive);
}

/* Host is required and checked even where the target's authority overrules it: then it says the same, so that
 * nobody behind us takes the other for the host (RFC 9112 3.2.2). */
static enum head_error host_find(const struct head_facts *f, struct arena *a, struct req_head *out)
{
	struct slice host;
	uint16_t port;

	out->host_field = out->authority;
	if (f->n_hosts == 0)
		return out->minor > 0 ? HEAD_BAD_HOST : HEAD_OK;
	if (f->n_hosts > 1 || host_parse(f->host, a, &host, &port))
		return HEAD_BAD_HOST;
	if (out->authority.n) {
		hdrs_find(&out->fields, HDR_HOST)->value = out->authority;
	} else {
		out->host = host;
		out->host_field = f->host;
	}
	return HEAD_OK;
}

enum head_error head_fields_finish_request(const struct head_facts *f, struct arena *a,
					   struct req_head *out)
{
	enum head_error e = framing(f, out->minor, &out->body, &out->content_length);

	if (e == HEAD_OK)
		e = host_find(f, a, out);
	out->keep_alive = may_stay(f, out->minor);
	out->connection_upgrade = f->upgrade;
	out->expect_continue = f->expect_continue && out->minor > 0;
	return e;
}

enum head_error head_fields_finish_response(const struct head_facts *f, struct resp_head *out)
{
	out->body = BODY_UNTIL_CLOSE;
	out->keep_alive = may_stay(f, out->minor);
	out->connection_upgrade = f->upgrade;
	return framing(f, out->minor, &out->body, &out->content_length);
}
