/* SPDX-License-Identifier: BSD-2-Clause */
/* The gzip_* and gunzip directives (module MOD_GZIP). */
#ifndef SL_PROXY_GZIP_CONF_H
#define SL_PROXY_GZIP_CONF_H

#include "conf/conf.h"

extern const struct conf_module gzip_module;

/* Words of gzip_proxied. */
enum gzip_proxied {
	GZIP_PROXIED_OFF = 1 << 0,
	GZIP_PROXIED_EXPIRED = 1 << 1,
	GZIP_PROXIED_NO_CACHE = 1 << 2,
	GZIP_PROXIED_NO_STORE = 1 << 3,
	GZIP_PROXIED_PRIVATE = 1 << 4,
	GZIP_PROXIED_NO_LAST_MODIFIED = 1 << 5,
	GZIP_PROXIED_NO_ETAG = 1 << 6,
	GZIP_PROXIED_AUTH = 1 << 7,
	GZIP_PROXIED_ANY = 1 << 8,
};

enum gzip_static {
	GZIP_STATIC_OFF,
	GZIP_STATIC_ON,
	GZIP_STATIC_ALWAYS,
};

/* gzip_types; text/html goes without saying. */
struct gzip_types {
	bool any; /* "*" */
	struct slice *v;
	int n;
};

/* gzip_disable: User-Agents that get nothing compressed. */
struct gzip_disable {
	bool msie6;
	struct regex **v;
	int n;
};

struct gzip_buffers {
	uint64_t bytes; /* all together */
};

struct gzip_scope { /* MOD_GZIP's struct in http, server, location, if */
	int64_t on, vary, comp_level, http_minor, proxied, gunzip;
	int64_t min_length_bytes;
	int64_t gzip_static;	      /* enum gzip_static */
	struct gzip_disable *disable; /* NULL: nobody */
	struct gzip_types *types;
	struct gzip_buffers *buffers, *gunzip_buffers;
};

/* May answers of this Content-Type be compressed? */
bool gzip_conf_has_type(const struct gzip_scope *g, struct slice content_type);

#endif
