/* SPDX-License-Identifier: BSD-2-Clause */
/* Classes of bytes in HTTP/1 messages (RFC 9110 5.5, 5.6; RFC 9112 2, 3; RFC 3986 3.2.2). */
#ifndef SL_HTTP_CHARS_H
#define SL_HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
	CHARS_TOKEN = 1,   /* tchar */
	CHARS_VALUE = 2,   /* in a field's value: HTAB, SP, VCHAR, obs-text */
	CHARS_TARGET = 4,  /* in a request target: as nginx, all above SP but DEL and '#' */
	CHARS_HOST = 8,	   /* in a registered name: unreserved and sub-delims, but no ',' */
	CHARS_METHOD = 16, /* A-Z '_' '-', nginx's choice out of tchar */
	CHARS_QDTEXT = 32, /* in a quoted-string, neither '"' nor '\' */
	CHARS_URI = 64,	   /* in a path without an escape: as nginx's NGX_ESCAPE_URI */
};

extern const uint8_t chars_class[256];

static inline bool chars_is(char c, unsigned class)
{
	return chars_class[(unsigned char)c] & class;
}

/* Both return the first byte of [P, END) that is not of the class, or END. */
static inline const char *chars_skip(const char *p, const char *end, unsigned class)
{
	while (p < end && chars_is(*p, class))
		p++;
	return p;
}

/* For CHARS_VALUE and CHARS_TARGET only, 16 bytes at a time: what they leave out is a run of low
 * bytes (but HTAB), DEL, and one more. */
static inline const char *chars_skip_long(const char *p, const char *end, unsigned class)
{
#ifdef __SSE2__
	bool value = class == CHARS_VALUE;
	const __m128i low = _mm_set1_epi8(value ? 0x1f : 0x20);
	const __m128i but = _mm_set1_epi8(value ? '\t' : 0x7f);
	const __m128i more = _mm_set1_epi8(value ? 0x7f : '#');
	const __m128i del = _mm_set1_epi8(0x7f);

	for (; end - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i bad = _mm_cmpeq_epi8(_mm_min_epu8(v, low), v);
		unsigned mask;

		bad = _mm_andnot_si128(_mm_cmpeq_epi8(v, but), bad);
		bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, more));
		bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, del));
		mask = (unsigned)_mm_movemask_epi8(bad);
		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	return chars_skip(p, end, class);
}

/* ASCII only, whatever the locale. */
static inline char chars_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

#endif
