/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of byte classes; nothing else. */
#include "http/chars.h"

#define T CHARS_TOKEN
#define V CHARS_VALUE
#define G CHARS_TARGET
#define H CHARS_HOST
#define M CHARS_METHOD
#define Q CHARS_QDTEXT
#define U CHARS_URI

const uint8_t chars_class[256] = {
	['\t'] = V | Q,
	[' '] = V | Q,
	['!'] = T | V | G | H | Q | U,
	['"'] = V | G,
	['#'] = T | V | Q,
	['$'] = T | V | G | H | Q | U,
	['%'] = T | V | G | Q,
	['&' ... '\''] = T | V | G | H | Q | U,
	['(' ... ')'] = V | G | H | Q | U,
	['*' ... '+'] = T | V | G | H | Q | U,
	[','] = V | G | Q | U,
	['-'] = T | V | G | H | M | Q | U,
	['.'] = T | V | G | H | Q | U,
	['/'] = V | G | Q | U,
	['0' ... '9'] = T | V | G | H | Q | U,
	[':'] = V | G | Q | U,
	[';'] = V | G | H | Q | U,
	['<'] = V | G | Q,
	['='] = V | G | H | Q | U,
	['>' ... '?'] = V | G | Q,
	['@'] = V | G | Q | U,
	['A' ... 'Z'] = T | V | G | H | M | Q | U,
	['['] = V | G | Q | U,
	['\\'] = V | G,
	[']'] = V | G | Q | U,
	['^'] = T | V | G | Q,
	['_'] = T | V | G | H | M | Q | U,
	['`'] = T | V | G | Q,
	['a' ... 'z'] = T | V | G | H | Q | U,
	['{'] = V | G | Q,
	['|'] = T | V | G | Q,
	['}'] = V | G | Q,
	['~'] = T | V | G | H | Q | U,
	[0x80 ... 0xff] = V | G | Q,
};
