/* SPDX-License-Identifier: BSD-2-Clause */
/* Decodes and normalises request paths, escapes them again, and finds values in query strings and
 * cookies. Knows nothing of locations or of files. */
#include "http/uri.h"

#include "core/err.h"
#include "core/num.h"
#include "http/chars.h"

/* A decoded byte; -1 for a bad escape, NUL and other control bytes. */
static int unescape(const char *p, const char *end)
{
	int high, low;

	if (end - p < 3)
		return -1;
	high = num_hex_digit(p[1]);
	low = num_hex_digit(p[2]);
	if (high < 0 || low < 0)
		return -1;
	high = high << 4 | low;
	return high < 0x20 || high == 0x7f ? -1 : high;
}

/* [SEGMENT, AT) is a whole path segment, a '/' before it: a "." is taken back, a ".." with the
 * segment before it. Returns the new end, or NULL above the root. */
static char *resolve(char *start, char *segment, char *at)
{
	size_t n = (size_t)(at - segment);

	if (n == 1 && segment[0] == '.')
		return segment;
	if (n != 2 || segment[0] != '.' || segment[1] != '.')
		return at;
	if (segment - 1 == start)
		return NULL;
	for (at = segment - 1; at[-1] != '/'; at--)
		;
	return at;
}

/* PATH begins with '/'; OUT has as much room. The result's length, or -1. A slash or a dot counts
 * alike raw and escaped, as in nginx. */
static ptrdiff_t normalise(struct slice path, bool merge_slashes, char *out)
{
	const char *p = path.p, *end = path.p + path.n;
	char *at = out, *segment;
	bool empty;
	int c;

	*at++ = *p++;
	segment = at;
	while (p < end) {
		if (*p == '%') {
			c = unescape(p, end);
			if (c < 0)
				return -1;
			p += 3;
		} else {
			c = (unsigned char)*p++;
		}
		if (c != '/') {
			*at++ = (char)c;
			continue;
		}
		empty = at == segment;
		at = resolve(out, segment, at);
		if (!at)
			return -1;
		/* Where a segment was taken back, the slash before it is there already. */
		if (empty ? !merge_slashes : at[-1] != '/')
			*at++ = '/';
		segment = at;
	}
	at = resolve(out, segment, at);
	return at ? at - out : -1;
}

/* Nothing to decode, to merge or to resolve; it may err on the side of false. */
static bool is_plain(struct slice path)
{
	const char *end = path.p + path.n, *slash = path.p;

	if (slice_find(path, '%') >= 0)
		return false;
	while (slash && slash + 1 < end) {
		if (slash[1] == '/' || slash[1] == '.')
			return false;
		slash = memchr(slash + 1, '/', (size_t)(end - slash) - 1);
	}
	return true;
}

int uri_parse(struct slice raw, bool merge_slashes, struct arena *a, struct uri *out)
{
	struct slice path = raw;
	ptrdiff_t question, n;
	char *decoded;

	*out = (struct uri){.path = raw, .args = slice_make("", 0), .plain = true};
	if (slice_eq(raw, SLICE("*")))
		return 0;
	if (raw.n == 0 || raw.p[0] != '/' ||
	    chars_skip_long(raw.p, raw.p + raw.n, CHARS_TARGET) != raw.p + raw.n)
		return -SL_EINVAL;
	question = slice_find(raw, '?');
	if (question >= 0) {
		path.n = (size_t)question;
		out->has_args = true;
		out->args = slice_skip(raw, path.n + 1);
	}
	out->path = path;
	if (slice_find(path, '\\') >= 0)
		return -SL_EINVAL;
	if (is_plain(path))
		return 0;
	decoded = arena_bytes(a, path.n);
	n = normalise(path, merge_slashes, decoded);
	if (n < 0)
		return -SL_EINVAL;
	out->path = slice_make(decoded, (size_t)n);
	out->plain = slice_eq(out->path, path);
	return 0;
}

static bool climbs(struct slice path)
{
	size_t from = 0;

	for (size_t i = 0; i <= path.n; i++) {
		if (i < path.n && path.p[i] != '/')
			continue;
		if (i - from == 2 && path.p[from] == '.' && path.p[from + 1] == '.')
			return true;
		from = i + 1;
	}
	return false;
}

int uri_parse_safe(struct slice raw, struct arena *a, struct slice *path, struct slice *args)
{
	ptrdiff_t question = slice_find(raw, '?');
	const char *p = raw.p, *end;
	char *out, *at;
	int c;

	*args = slice_make("", 0);
	if (question >= 0) {
		*args = slice_skip(raw, (size_t)question + 1);
		raw.n = (size_t)question;
	}
	end = raw.p + raw.n;
	at = out = arena_bytes(a, raw.n + 1);
	while (p < end) {
		c = *p == '%' ? unescape(p, end) : (unsigned char)*p;
		if (c < 0x20 || c == 0x7f)
			return -SL_EINVAL;
		p += *p == '%' ? 3 : 1;
		*at++ = (char)c;
	}
	*path = slice_make(out, (size_t)(at - out));
	return path->n && !climbs(*path) ? 0 : -SL_EINVAL;
}

/* Bytes of which KEEPS says no become %XX; TEXT itself when there are none. */
static struct slice escape(struct slice text, struct arena *a, bool (*keeps)(char c))
{
	size_t n = 0;
	char *at, *start;

	for (size_t i = 0; i < text.n; i++)
		n += !keeps(text.p[i]);
	if (n == 0)
		return text;
	start = at = arena_bytes(a, text.n + 2 * n);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (keeps((char)c)) {
			*at++ = (char)c;
			continue;
		}
		*at++ = '%';
		*at++ = "0123456789ABCDEF"[c >> 4];
		*at++ = "0123456789ABCDEF"[c & 15];
	}
	return slice_make(start, (size_t)(at - start));
}

static bool keeps_path(char c)
{
	return chars_is(c, CHARS_URI);
}

static bool keeps_args(char c)
{
	return chars_is(c, CHARS_URI) && c != '&' && c != '+' && c != ';';
}

struct slice uri_escape_path(struct slice path, struct arena *a)
{
	return escape(path, a, keeps_path);
}

struct slice uri_escape_args(struct slice text, struct arena *a)
{
	return escape(text, a, keeps_args);
}

struct slice uri_unescape_redirect(struct slice text, struct arena *a)
{
	const char *p = text.p, *end = text.p + text.n;
	char *start, *at;

	if (slice_find(text, '%') < 0)
		return text;
	start = at = arena_bytes(a, text.n);
	while (p < end && *p != '?') {
		int high, low;

		if (*p != '%') {
			*at++ = *p++;
			continue;
		}
		p++;
		if (p == end)
			break;
		high = num_hex_digit(*p);
		if (high < 0) {
			*at++ = *p++;
			continue;
		}
		p++;
		if (p == end)
			break;
		low = num_hex_digit(*p++);
		if (low < 0)
			continue;
		if ((high << 4 | low) > '%' && (high << 4 | low) < 0x7f) {
			*at++ = (char)(high << 4 | low);
			if (at[-1] == '?')
				break;
			continue;
		}
		*at++ = '%';
		*at++ = p[-2];
		*at++ = p[-1];
	}
	memcpy(at, p, (size_t)(end - p));
	return slice_make(start, (size_t)(at - start) + (size_t)(end - p));
}

bool uri_arg(struct slice args, struct slice name, struct slice *value)
{
	while (args.n) {
		ptrdiff_t amp = slice_find(args, '&');
		struct slice one = slice_make(args.p, amp < 0 ? args.n : (size_t)amp);

		args = slice_skip(args, one.n + 1);
		if (one.n > name.n && one.p[name.n] == '=' && slice_istarts(one, name)) {
			*value = slice_skip(one, name.n + 1);
			return true;
		}
	}
	return false;
}

bool uri_cookie(struct slice cookie_value, struct slice name, struct slice *value)
{
	while (cookie_value.n) {
		ptrdiff_t end = slice_find(cookie_value, ';');
		struct slice one = cookie_value, rest;

		if (end >= 0)
			one.n = (size_t)end;
		cookie_value = slice_skip(cookie_value, one.n + 1);
		while (one.n && one.p[0] == ' ')
			one = slice_skip(one, 1);
		if (!slice_istarts(one, name))
			continue;
		rest = slice_skip(one, name.n);
		while (rest.n && rest.p[0] == ' ')
			rest = slice_skip(rest, 1);
		if (rest.n == 0 || rest.p[0] != '=')
			continue;
		*value = slice_skip(rest, 1);
		while (value->n && value->p[0] == ' ')
			*value = slice_skip(*value, 1);
		return true;
	}
	return false;
}
