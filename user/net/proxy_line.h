/* SPDX-License-Identifier: BSD-2-Clause */
/* The header that tells a server who its client is: HAProxy's PROXY protocol, versions 1 and 2, the
 * writing side. */
#ifndef SL_NET_PROXY_LINE_H
#define SL_NET_PROXY_LINE_H

#include "net/addr.h"

enum { PROXY_LINE_MAX = 108 };

/* FROM is the client, TO the address it connected to. Where they are not of one family, IPv4 is written as
 * IPv6 (mapped); a unix client is UNKNOWN (v1), or local (v2). Returns the length. */
size_t proxy_line_v1(char out[PROXY_LINE_MAX], const struct addr *from, const struct addr *to);
size_t proxy_line_v2(char out[PROXY_LINE_MAX], const struct addr *from, const struct addr *to);

#endif
