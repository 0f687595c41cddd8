/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sl-load's side of HTTP/1.1: a strict incremental parser of answers (head, length and chunked
 * bodies) and of event streams. It must not do I/O, and must not forgive: what a careful client
 * would refuse is a fault.
 */
#define _GNU_SOURCE
#include "load.h"

#include <string.h>
#include <strings.h>

static void sse_dispatch(struct load *l, struct conn *c)
{
	if (c->pend_done) {
		c->done = true;
	} else if (!c->stamped) {
		l->other_events++;
	} else {
		load_event(l, c, c->pend_sent_ns, c->pend_token);
	}
	c->pend = c->pend_done = c->pend_token = c->stamped = false;
}

static void sse_line(struct load *l, struct conn *c, const char *p, size_t n)
{
	static const char key[] = "\"sent_ns\":", content[] = "\"content\":\"";
	const char *at, *token;

	if (n > 0 && p[n - 1] == '\r')
		n--;
	if (n == 0) {
		if (c->pend)
			sse_dispatch(l, c);
		return;
	}
	if (n < 5 || memcmp(p, "data:", 5) != 0)
		return;
	p += 5;
	n -= 5;
	c->pend = true;
	if (n >= 6 && memcmp(p + n - 6, "[DONE]", 6) == 0 && n <= 7) {
		c->pend_done = true;
		return;
	}
	at = memmem(p, n, key, sizeof(key) - 1);
	if (at == NULL)
		return;
	c->stamped = true;
	c->pend_sent_ns = 0;
	token = memmem(p, n, content, sizeof(content) - 1);
	c->pend_token = token != NULL && token + sizeof(content) - 1 < p + n &&
			token[sizeof(content) - 1] != '"';
	for (at += sizeof(key) - 1; at < p + n && (*at == ' ' || *at == '"'); at++)
		;
	for (; at < p + n && *at >= '0' && *at <= '9'; at++)
		c->pend_sent_ns = c->pend_sent_ns * 10 + (uint64_t)(*at - '0');
}

static int sse_feed(struct load *l, struct conn *c, const char *p, size_t n)
{
	const char *nl;

	while (n > 0) {
		nl = memchr(p, '\n', n);
		if (nl == NULL) {
			if (c->part.len + n > LINE_MAX_BYTES)
				return -FAULT_MALFORMED;
			load_text_add(&c->part, p, n);
			return 0;
		}
		if (c->part.len > 0) {
			load_text_add(&c->part, p, (size_t)(nl - p));
			sse_line(l, c, c->part.p, c->part.len);
			c->part.len = 0;
		} else {
			sse_line(l, c, p, (size_t)(nl - p));
		}
		n -= (size_t)(nl + 1 - p);
		p = nl + 1;
	}
	return 0;
}

static bool field_is(const char *line, size_t n, const char *name, const char **value,
		     size_t *value_len)
{
	size_t name_len = strlen(name);

	if (n <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
		return false;
	line += name_len + 1;
	n -= name_len + 1;
	while (n > 0 && (*line == ' ' || *line == '\t'))
		line++, n--;
	while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	*value = line;
	*value_len = n;
	return true;
}

static int head_field(struct conn *c, const char *line, size_t n, bool *has_length, bool *chunked)
{
	const char *v;
	size_t v_len, i;

	if (memchr(line, ':', n) == NULL || line[0] == ' ' || line[0] == '\t')
		return -FAULT_MALFORMED;
	if (field_is(line, n, "content-length", &v, &v_len)) {
		if (*has_length || v_len == 0 || v_len > 15)
			return -FAULT_MALFORMED;
		*has_length = true;
		for (i = 0; i < v_len; i++) {
			if (v[i] < '0' || v[i] > '9')
				return -FAULT_MALFORMED;
			c->left = c->left * 10 + (uint64_t)(v[i] - '0');
		}
	} else if (field_is(line, n, "transfer-encoding", &v, &v_len)) {
		if (*chunked || v_len != 7 || strncasecmp(v, "chunked", 7) != 0)
			return -FAULT_MALFORMED;
		*chunked = true;
	} else if (field_is(line, n, "connection", &v, &v_len)) {
		if (v_len == 5 && strncasecmp(v, "close", 5) == 0)
			c->keep = false;
		else if (v_len == 10 && strncasecmp(v, "keep-alive", 10) == 0)
			c->keep = true;
	}
	return 0;
}

/* p[0..n) is a whole head with its empty line. */
static int head_parse(struct load *l, struct conn *c, const char *p, size_t n)
{
	bool has_length = false, chunked = false;
	const char *end = p + n - 2, *nl;
	int rc;

	if (n < 17 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ' ||
	    p[9] < '1' || p[9] > '5' || p[10] < '0' || p[10] > '9' || p[11] < '0' || p[11] > '9')
		return -FAULT_MALFORMED;
	c->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
	c->keep = p[7] == '1';
	c->left = 0;
	for (p = (const char *)memchr(p, '\n', n) + 1; p < end; p = nl + 2) {
		nl = memmem(p, (size_t)(end - p) + 2, "\r\n", 2);
		if (nl == NULL || nl == p)
			return -FAULT_MALFORMED;
		rc = head_field(c, p, (size_t)(nl - p), &has_length, &chunked);
		if (rc < 0)
			return rc;
	}
	if (has_length && chunked)
		return -FAULT_MALFORMED;
	if (c->status / 100 == 1)
		return c->status == 101 ? -FAULT_MALFORMED : 0;
	if (c->status == 204 || c->status == 304 || strcmp(l->opt.method, "HEAD") == 0)
		c->phase = PH_DONE;
	else if (chunked)
		c->phase = PH_CHUNK_SIZE;
	else if (has_length)
		c->phase = c->left > 0 ? PH_LENGTH : PH_DONE;
	else
		c->phase = PH_UNTIL_CLOSE;
	c->left = c->phase == PH_CHUNK_SIZE ? 0 : c->left;
	c->digits = c->trailer = 0;
	return 0;
}

static ssize_t feed_head(struct load *l, struct conn *c, const char *p, size_t n)
{
	size_t had = c->part.len;
	const char *end;
	int rc;

	if (had == 0 && (end = memmem(p, n, "\r\n\r\n", 4)) != NULL) {
		n = (size_t)(end + 4 - p);
		rc = head_parse(l, c, p, n);
		return rc < 0 ? rc : (ssize_t)n;
	}
	if (had + n > HEAD_MAX)
		n = HEAD_MAX - had;
	if (n == 0)
		return -FAULT_MALFORMED;
	load_text_add(&c->part, p, n);
	end = memmem(c->part.p, c->part.len, "\r\n\r\n", 4);
	if (end == NULL)
		return (ssize_t)n;
	n = (size_t)(end + 4 - c->part.p);
	rc = head_parse(l, c, c->part.p, n);
	c->part.len = 0;
	return rc < 0 ? rc : (ssize_t)(n - had);
}

static ssize_t feed_data(struct load *l, struct conn *c, const char *p, size_t n)
{
	int rc = 0;

	if (c->phase != PH_UNTIL_CLOSE && n > c->left)
		n = (size_t)c->left;
	c->body_len += n;
	if (l->opt.mode == MODE_STREAMS && c->status == 200)
		rc = sse_feed(l, c, p, n);
	if (rc < 0)
		return rc;
	if (c->phase != PH_UNTIL_CLOSE) {
		c->left -= n;
		if (c->left == 0)
			c->phase = c->phase == PH_LENGTH ? PH_DONE : PH_DATA_CR;
	}
	return (ssize_t)n;
}

static int hex_value(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static ssize_t feed_chunk_size(struct conn *c, char ch)
{
	int value = hex_value(ch);

	if (value >= 0 && c->digits < 12) {
		c->left = c->left * 16 + (uint64_t)value;
		c->digits++;
		return 1;
	}
	if (c->digits == 0 || (ch != '\r' && ch != ';' && ch != ' '))
		return -FAULT_MALFORMED;
	c->phase = ch == '\r' ? PH_CHUNK_LF : PH_CHUNK_EXT;
	return 1;
}

/* Whatever lies between the bytes of chunks, one byte at a time. */
static ssize_t feed_between(struct conn *c, char ch)
{
	switch (c->phase) {
	case PH_CHUNK_SIZE:
		return feed_chunk_size(c, ch);
	case PH_CHUNK_EXT:
		if (ch == '\r')
			c->phase = PH_CHUNK_LF;
		return ch == '\n' || ++c->trailer > HEAD_MAX ? -FAULT_MALFORMED : 1;
	case PH_CHUNK_LF:
		c->phase = c->left > 0 ? PH_CHUNK_DATA : PH_TRAILER;
		c->trailer = c->digits = 0;
		return ch == '\n' ? 1 : -FAULT_MALFORMED;
	case PH_DATA_CR:
		c->phase = PH_DATA_LF;
		return ch == '\r' ? 1 : -FAULT_MALFORMED;
	case PH_DATA_LF:
		c->phase = PH_CHUNK_SIZE;
		c->digits = 0;
		return ch == '\n' ? 1 : -FAULT_MALFORMED;
	default: /* PH_TRAILER: digits counts what the line holds */
		if (ch == '\n' && c->digits == 0)
			c->phase = PH_DONE;
		else if (ch == '\n')
			c->digits = 0;
		else if (ch != '\r')
			c->digits++;
		return ++c->trailer > HEAD_MAX ? -FAULT_MALFORMED : 1;
	}
}

int load_answer_feed(struct load *l, struct conn *c, const char *p, size_t n)
{
	ssize_t used;

	while (n > 0) {
		switch (c->phase) {
		case PH_HEAD:
			used = feed_head(l, c, p, n);
			break;
		case PH_LENGTH:
		case PH_CHUNK_DATA:
		case PH_UNTIL_CLOSE:
			used = feed_data(l, c, p, n);
			break;
		case PH_DONE:
			return -FAULT_MALFORMED;
		default:
			used = feed_between(c, *p);
		}
		if (used < 0)
			return (int)used;
		p += used;
		n -= (size_t)used;
	}
	return 0;
}
