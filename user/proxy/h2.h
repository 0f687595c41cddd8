/* SPDX-License-Identifier: BSD-2-Clause */
/* Client connections that speak HTTP/2: a stream is a request like any other. */
#ifndef SL_PROXY_H2_H
#define SL_PROXY_H2_H

#include "proxy/client.h"

extern const struct client_proto h2_proto;
/* Of its connections' struct. */
extern const size_t h2_bytes;

#endif
