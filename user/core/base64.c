/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading and writing of base64. */
#include "core/base64.h"

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

ptrdiff_t base64_decode(struct slice s, char *to)
{
	unsigned bits = 0, n_bits = 0;
	char *at = to;
	size_t n = 0;

	while (n < s.n && s.p[n] != '=')
		n++;
	if (n % 4 == 1)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int v = value_of(s.p[i]);

		if (v < 0)
			return -1;
		bits = (bits << 6 | (unsigned)v) & 0xffff;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		*at++ = (char)(bits >> n_bits);
	}
	return at - to;
}

size_t base64_encode(struct slice s, char *to)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)s.p;
	char *at = to;

	for (size_t i = 0; i < s.n; i += 3) {
		size_t left = s.n - i;
		unsigned v = (unsigned)p[i] << 16 | (left > 1 ? (unsigned)p[i + 1] << 8 : 0) |
			     (left > 2 ? p[i + 2] : 0);

		*at++ = letters[v >> 18];
		*at++ = letters[v >> 12 & 63];
		*at++ = left > 1 ? letters[v >> 6 & 63] : '=';
		*at++ = left > 2 ? letters[v & 63] : '=';
	}
	return (size_t)(at - to);
}
