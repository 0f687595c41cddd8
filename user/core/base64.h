/* SPDX-License-Identifier: BSD-2-Clause */
/* Base64 of RFC 4648, section 4. */
#ifndef SL_CORE_BASE64_H
#define SL_CORE_BASE64_H

#include <stddef.h>

#include "core/slice.h"

/* Bytes that N bytes of base64 hold at most; characters for N bytes. */
#define BASE64_DECODED_MAX(n) ((n) / 4 * 3 + 3)
#define BASE64_ENCODED(n) (((n) + 2) / 3 * 4)

/* As nginx reads it: padding ends the text, and may be missing. TO has room for BASE64_DECODED_MAX(s.n); the
 * length, or -1 for other bytes and impossible lengths. */
ptrdiff_t base64_decode(struct slice s, char *to);
/* With padding; TO has room for BASE64_ENCODED(s.n). The length. */
size_t base64_encode(struct slice s, char *to);

#endif
