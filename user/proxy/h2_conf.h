/* SPDX-License-Identifier: BSD-2-Clause */
/* The http2* directives (module MOD_HTTP2). */
#ifndef SL_PROXY_H2_CONF_H
#define SL_PROXY_H2_CONF_H

#include "conf/conf.h"

extern const struct conf_module h2_module;

/* MOD_HTTP2's struct in http, server and location. */
struct h2_scope {
	int64_t on; /* `http2 on`: server and above */
	int64_t max_streams;
	int64_t preread_bytes; /* a stream's window before its body is wanted */
	int64_t recv_bytes;    /* read from one connection in one turn */
	int64_t chunk_bytes;   /* payload of a DATA frame, at most */
};

static inline const struct h2_scope *h2_scope_of(const struct conf_block *b)
{
	return b->mod[MOD_HTTP2];
}

#endif
