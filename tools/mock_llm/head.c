/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The request parser of mock-llm. Works on bytes that it is given and keeps no reference to them
 * beyond the spans in struct head; reads and answers nothing itself.
 */
#define _GNU_SOURCE
#include "head.h"

enum {
	CH_SIZE,
	CH_EXT,
	CH_SIZE_LF,
	CH_DATA,
	CH_DATA_CR,
	CH_DATA_LF,
	CH_TRAILER,
	CH_TRAILER_LINE,
	CH_TRAILER_LF,
	CH_END_LF,
	CH_DONE
};
enum { CHUNK_LINE_MAX = 16384 };

static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char ch = (unsigned char)s.p[i];
		if (ch <= ' ' || ch >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", ch) != NULL)
			return false;
	}
	return s.n > 0;
}

static bool is_value(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char ch = (unsigned char)s.p[i];
		if ((ch < ' ' && ch != '\t') || ch == 0x7f)
			return false;
	}
	return true;
}

static struct span trim(struct span s)
{
	while (s.n > 0 && (*s.p == ' ' || *s.p == '\t'))
		s.p++, s.n--;
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* Takes a line that ends in CR LF off the front; false when the next LF has no CR before it. */
static bool take_line(struct span *rest, struct span *line)
{
	const char *lf = memchr(rest->p, '\n', rest->n);

	if (lf == NULL || lf == rest->p || lf[-1] != '\r')
		return false;
	*line = (struct span){rest->p, (size_t)(lf - rest->p) - 1};
	rest->n -= line->n + 2;
	rest->p = lf + 1;
	return true;
}

static const char *parse_request_line(struct span line, struct head *h)
{
	const char *sp = memchr(line.p, ' ', line.n);

	if (sp == NULL)
		return "request line without a space";
	h->method = (struct span){line.p, (size_t)(sp - line.p)};
	if (!is_token(h->method))
		return "method is no token";
	line.n -= h->method.n + 1;
	line.p = sp + 1;
	sp = memchr(line.p, ' ', line.n);
	if (sp == NULL || sp == line.p)
		return "request line without a target or a version";
	h->target = (struct span){line.p, (size_t)(sp - line.p)};
	for (size_t i = 0; i < h->target.n; i++)
		if ((unsigned char)h->target.p[i] <= ' ' || h->target.p[i] == 0x7f)
			return "control character in the target";
	line.n -= h->target.n + 1;
	line.p = sp + 1;
	if (line.n != 8 || memcmp(line.p, "HTTP/1.", 7) != 0 ||
	    (line.p[7] != '0' && line.p[7] != '1'))
		return "version is neither HTTP/1.0 nor HTTP/1.1";
	h->minor = line.p[7] - '0';
	return NULL;
}

/* A comma-separated list holds the word. */
static bool list_has(struct span list, const char *word)
{
	while (list.n > 0) {
		const char *comma = memchr(list.p, ',', list.n);
		size_t n = comma ? (size_t)(comma - list.p) : list.n;
		if (span_is(trim((struct span){list.p, n}), word))
			return true;
		if (comma == NULL)
			break;
		list.p += n + 1, list.n -= n + 1;
	}
	return false;
}

static const char *known_header(struct span name, struct span value, struct head *h)
{
	if (span_is(name, "content-length")) {
		if (h->has_length)
			return "Content-Length twice";
		if (!span_u64(value, INT64_MAX, &h->length))
			return "Content-Length is no number";
		h->has_length = true;
	} else if (span_is(name, "transfer-encoding")) {
		if (h->chunked)
			return "Transfer-Encoding twice";
		if (!span_is(value, "chunked"))
			return "Transfer-Encoding is not chunked";
		h->chunked = true;
	} else if (span_is(name, "connection")) {
		if (list_has(value, "close"))
			h->keep_alive = false;
		else if (list_has(value, "keep-alive"))
			h->keep_alive = true;
	} else if (span_is(name, "expect") && span_is(value, "100-continue")) {
		h->expect = h->minor == 1;
	}
	return NULL;
}

static bool split_header(struct span line, struct span *name, struct span *value)
{
	const char *colon = memchr(line.p, ':', line.n);

	if (colon == NULL)
		return false;
	*name = (struct span){line.p, (size_t)(colon - line.p)};
	*value = trim((struct span){colon + 1, line.n - name->n - 1});
	return true;
}

static const char *parse_lines(struct span text, struct head *h)
{
	struct span line, name, value;
	const char *error;

	if (!take_line(&text, &line))
		return "line feed without carriage return";
	error = parse_request_line(line, h);
	if (error != NULL)
		return error;
	h->keep_alive = h->minor == 1;
	h->headers = text;
	for (;;) {
		if (!take_line(&text, &line))
			return "line feed without carriage return";
		if (line.n == 0)
			break;
		if (*line.p == ' ' || *line.p == '\t')
			return "folded header";
		if (!split_header(line, &name, &value) || !is_token(name))
			return "header name is no token";
		if (!is_value(value))
			return "control character in a header";
		error = known_header(name, value, h);
		if (error != NULL)
			return error;
	}
	if (h->chunked && h->has_length)
		return "Content-Length and Transfer-Encoding";
	if (h->chunked && h->minor == 0)
		return "Transfer-Encoding in HTTP/1.0";
	return NULL;
}

int head_parse(const char *p, size_t n, struct head *h)
{
	size_t skip = n >= 2 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
	const char *end = memmem(p + skip, n - skip, "\r\n\r\n", 4);

	*h = (struct head){0};
	if (end == NULL) {
		if (n > HEAD_MAX)
			h->error = "head too large";
		else if (memmem(p, n, "\n\n", 2) != NULL)
			h->error = "line feed without carriage return";
		return h->error ? -1 : 0;
	}
	size_t len = (size_t)(end - p) + 4;
	h->error = len > HEAD_MAX ? "head too large"
				  : parse_lines((struct span){p + skip, len - skip}, h);
	return h->error ? -1 : (int)len;
}

void head_start(struct head_iter *it, const struct head *h)
{
	it->rest = h->headers;
}

bool head_next(struct head_iter *it, struct span *name, struct span *value)
{
	struct span line;

	return it->rest.n > 0 && take_line(&it->rest, &line) && line.n > 0 &&
	       split_header(line, name, value);
}

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch = (char)(ch | 0x20);
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* One byte of anything but data; false when it is malformed. */
static bool chunked_byte(struct chunked *c, char ch)
{
	int digit;

	switch (c->state) {
	case CH_SIZE:
		digit = hex_digit(ch);
		if (digit >= 0) {
			c->left = c->left * 16 + (uint64_t)digit;
			return ++c->n_digits <= 15;
		}
		if (c->n_digits == 0)
			return false;
		c->line_bytes = 0;
		c->state = ch == ';' ? CH_EXT : CH_SIZE_LF;
		return ch == ';' || ch == '\r';
	case CH_EXT:
		if (ch == '\r')
			c->state = CH_SIZE_LF;
		return ch != '\n' && ++c->line_bytes < CHUNK_LINE_MAX;
	case CH_SIZE_LF:
		c->state = c->left > 0 ? CH_DATA : CH_TRAILER;
		c->line_bytes = 0;
		return ch == '\n';
	case CH_DATA_CR:
		c->state = CH_DATA_LF;
		return ch == '\r';
	case CH_DATA_LF:
		*c = (struct chunked){0};
		return ch == '\n';
	case CH_TRAILER:
		c->state = ch == '\r' ? CH_END_LF : CH_TRAILER_LINE;
		return ch != '\n' && ch != ' ' && ch != '\t';
	case CH_TRAILER_LINE:
		if (ch == '\r')
			c->state = CH_TRAILER_LF;
		return ch != '\n' && ++c->line_bytes < CHUNK_LINE_MAX;
	case CH_TRAILER_LF:
		c->state = CH_TRAILER;
		return ch == '\n';
	case CH_END_LF:
		c->state = CH_DONE;
		return ch == '\n';
	}
	return false;
}

long chunked_feed(struct chunked *c, const char *p, size_t n, struct span *data)
{
	size_t i = 0;

	*data = (struct span){0};
	while (i < n && c->state != CH_DONE) {
		if (c->state != CH_DATA) {
			if (!chunked_byte(c, p[i++]))
				return -1;
			continue;
		}
		*data = (struct span){p + i, n - i < c->left ? n - i : c->left};
		c->left -= data->n;
		if (c->left == 0)
			c->state = CH_DATA_CR;
		return (long)(i + data->n);
	}
	return (long)i;
}

bool chunked_done(const struct chunked *c)
{
	return c->state == CH_DONE;
}
