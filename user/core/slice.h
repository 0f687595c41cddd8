/* SPDX-License-Identifier: BSD-2-Clause */
/* Text and bytes as {pointer, length}: borrowed memory, never NUL-terminated by promise. */
#ifndef SL_CORE_SLICE_H
#define SL_CORE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const char *p;
	size_t n;
};

/* A slice of a string literal; SLICE_INIT is the same for static initialisers. */
#define SLICE(lit) ((struct slice){("" lit), sizeof(lit) - 1})
#define SLICE_INIT(lit) \
	{ \
		("" lit), sizeof(lit) - 1 \
	}
/* Arguments for a "%.*s" conversion. */
#define SLICE_FMT(s) (int)(s).n, (s).p

static inline struct slice slice_make(const char *p, size_t n)
{
	return (struct slice){p, n};
}

static inline struct slice slice_cstr(const char *cstr)
{
	return (struct slice){cstr, strlen(cstr)};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline unsigned char slice_lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

/* N bytes, ASCII case ignored; whatever the locale, and NUL is a byte like others. */
static inline bool slice_bytes_ieq(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (slice_lower(a[i]) != slice_lower(b[i]))
			return false;
	return true;
}

static inline bool slice_ieq(struct slice a, struct slice b)
{
	return a.n == b.n && slice_bytes_ieq(a.p, b.p, a.n);
}

static inline bool slice_starts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool slice_istarts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && slice_bytes_ieq(s.p, prefix.p, prefix.n);
}

static inline bool slice_ends(struct slice s, struct slice suffix)
{
	return s.n >= suffix.n &&
	       (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

static inline struct slice slice_skip(struct slice s, size_t n)
{
	return n >= s.n ? (struct slice){s.p + s.n, 0} : (struct slice){s.p + n, s.n - n};
}

/* Index of the first C, or -1. */
static inline ptrdiff_t slice_find(struct slice s, char c)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

	return at ? at - s.p : -1;
}

/* Without the spaces and tabs at both ends (RFC 9110 5.6.3 OWS). */
static inline struct slice slice_trim(struct slice s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

static inline int slice_cmp(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int r = n ? memcmp(a.p, b.p, n) : 0;

	return r ? r : (a.n > b.n) - (a.n < b.n);
}

#endif
