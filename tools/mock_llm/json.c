/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The JSON member walk of mock-llm. No allocation, no recursion.
 */
#include "json.h"

enum { ST_OPEN, ST_FIRST, ST_COMMA, ST_END };

static void skip_space(struct span *s)
{
	while (s->n > 0 && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
		s->p++, s->n--;
}

/* Length of the string that starts at p[0] == '"', quotes counted; 0 when it does not end. */
static size_t string_len(const char *p, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if ((unsigned char)p[i] < 0x20)
			return 0;
		if (p[i] == '\\')
			i++;
		else if (p[i] == '"')
			return i + 1;
	}
	return 0;
}

static size_t nested_len(const char *p, size_t n)
{
	size_t depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '"') {
			size_t len = string_len(p + i, n - i);
			if (len == 0)
				return 0;
			i += len - 1;
		} else if (p[i] == '{' || p[i] == '[') {
			depth++;
		} else if (p[i] == '}' || p[i] == ']') {
			if (--depth == 0)
				return i + 1;
		}
	}
	return 0;
}

static size_t scalar_len(const char *p, size_t n)
{
	static const char *const words[] = {"true", "false", "null"};
	size_t i = 0;

	for (size_t w = 0; w < 3; w++)
		if (n >= strlen(words[w]) && memcmp(p, words[w], strlen(words[w])) == 0)
			return strlen(words[w]);
	while (i < n && p[i] != '\0' && strchr("+-.0123456789eE", p[i]) != NULL)
		i++;
	return i;
}

static size_t value_len(struct span s)
{
	if (s.n == 0)
		return 0;
	if (*s.p == '"')
		return string_len(s.p, s.n);
	if (*s.p == '{' || *s.p == '[')
		return nested_len(s.p, s.n);
	return scalar_len(s.p, s.n);
}

static bool take(struct span *s, char ch)
{
	skip_space(s);
	if (s->n == 0 || *s->p != ch)
		return false;
	s->p++, s->n--;
	return true;
}

void json_start(struct json_iter *it, struct span text)
{
	*it = (struct json_iter){.rest = text, .state = ST_OPEN};
}

int json_next(struct json_iter *it, struct span *key, struct span *value)
{
	struct span *s = &it->rest;

	if (it->state == ST_END)
		return 0;
	if (it->state == ST_OPEN) {
		if (!take(s, '{'))
			return -1;
		it->state = ST_FIRST;
	}
	if (take(s, '}')) {
		skip_space(s);
		it->state = ST_END;
		return s->n == 0 ? 0 : -1;
	}
	if (it->state == ST_COMMA && !take(s, ','))
		return -1;
	skip_space(s);
	size_t len = s->n > 0 && *s->p == '"' ? string_len(s->p, s->n) : 0;
	if (len == 0)
		return -1;
	*key = (struct span){s->p + 1, len - 2};
	s->p += len, s->n -= len;
	if (!take(s, ':'))
		return -1;
	skip_space(s);
	len = value_len(*s);
	if (len == 0)
		return -1;
	*value = (struct span){s->p, len};
	s->p += len, s->n -= len;
	it->state = ST_COMMA;
	return 1;
}

bool json_string(struct span value, struct span *text)
{
	if (value.n < 2 || *value.p != '"')
		return false;
	*text = (struct span){value.p + 1, value.n - 2};
	return true;
}
