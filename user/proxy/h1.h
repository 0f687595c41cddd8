/* SPDX-License-Identifier: BSD-2-Clause */
/* Client connections that speak HTTP/1: reading heads and bodies, writing answers, keep-alive. */
#ifndef SL_PROXY_H1_H
#define SL_PROXY_H1_H

#include "proxy/client.h"

extern const struct client_proto h1_proto;
/* Of its connections' struct. */
extern const size_t h1_bytes;

#endif
