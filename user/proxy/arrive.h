/* SPDX-License-Identifier: BSD-2-Clause */
/* What an accepted connection is before its protocol is known: PROXY protocol, TLS handshake, HTTP/2 preface. */
#ifndef SL_PROXY_ARRIVE_H
#define SL_PROXY_ARRIVE_H

#include "proxy/client.h"

extern const struct client_proto arrive_proto;

#endif
