/* SPDX-License-Identifier: BSD-2-Clause */
/* The proxy_* directives (module MOD_PROXY). */
#ifndef SL_PROXY_PROXY_CONF_H
#define SL_PROXY_PROXY_CONF_H

#include "conf/conf.h"
#include "http/headers.h"

extern const struct conf_module proxy_module;

struct upstream_conf;
struct proxy_tls;

/* Conditions of proxy_next_upstream. */
enum proxy_next {
	NEXT_ERROR = 1 << 0,
	NEXT_TIMEOUT = 1 << 1,
	NEXT_INVALID_HEADER = 1 << 2,
	NEXT_HTTP_500 = 1 << 3,
	NEXT_HTTP_502 = 1 << 4,
	NEXT_HTTP_503 = 1 << 5,
	NEXT_HTTP_504 = 1 << 6,
	NEXT_HTTP_403 = 1 << 7,
	NEXT_HTTP_404 = 1 << 8,
	NEXT_HTTP_429 = 1 << 9,
	NEXT_NON_IDEMPOTENT = 1 << 10,
	NEXT_OFF = 1 << 11,
};

enum { LLM_OFF, LLM_ON, LLM_AUTO };

struct proxy_header { /* one proxy_set_header */
	struct slice name;
	struct tmpl *value;
	uint16_t id; /* enum hdr_id */
};

struct proxy_names { /* proxy_hide_header or proxy_pass_header, inherited as a whole */
	struct slice *v;
	int n;
};

struct proxy_headers {
	struct proxy_header *v;
	int n;
	bool sets[HDR_N]; /* a known header is set (or suppressed) by one of them */
};

struct proxy_pass {
	bool https;
	struct tmpl *url;	/* with variables: the whole text; else NULL */
	struct slice host_text; /* $proxy_host: as written, port included unless default */
	struct slice host;	/* without the port; unix:/path */
	uint16_t port;
	bool has_port;
	struct slice uri; /* URI part; n 0 and !has_uri: none */
	bool has_uri;
	struct upstream_conf *group; /* set by finish() */
	const struct conf_node *node;
};

struct proxy_scope {		 /* MOD_PROXY's struct in http, server, location */
	struct proxy_pass *pass; /* location only, not inherited */
	int64_t connect_timeout_ms, send_timeout_ms, read_timeout_ms;
	int64_t http_version; /* 10 or 11 */
	int64_t pass_request_headers, pass_request_body;
	int64_t next_upstream, next_tries, next_timeout_ms;
	int64_t llm;
	struct proxy_headers *set_headers;
	struct proxy_names *hide_headers, *pass_headers;
	uint8_t hide[HDR_N];	     /* known names; built by finish() */
	const struct proxy_tls *tls; /* where an https proxy_pass stands; set by MOD_PROXY_TLS */
};

#endif
