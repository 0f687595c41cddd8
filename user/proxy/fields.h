/* SPDX-License-Identifier: BSD-2-Clause */
/* What is changed on the way to an upstream and back, beyond proxy_set_header (module MOD_FIELDS):
 * proxy_redirect, proxy_cookie_*, proxy_method, proxy_set_body, proxy_ignore_headers, proxy_bind and other
 * properties of the connection. */
#ifndef SL_PROXY_FIELDS_H
#define SL_PROXY_FIELDS_H

#include "conf/conf.h"
#include "http/headers.h"
#include "net/addr.h"

extern const struct conf_module fields_module;

struct request;

/* proxy_ignore_headers; only those that mean something to sluice have a bit of their own. */
enum fields_ignored {
	IGNORE_REDIRECT = 1 << 0,
	IGNORE_BUFFERING = 1 << 1,
	IGNORE_LIMIT_RATE = 1 << 2,
	IGNORE_OF_CACHES = 1 << 3, /* for a cache, or a charset filter, which sluice has not got */
};

enum fields_flag { /* of proxy_cookie_flags */
		   COOKIE_SECURE = 1 << 0,
		   COOKIE_NO_SECURE = 1 << 1,
		   COOKIE_HTTPONLY = 1 << 2,
		   COOKIE_NO_HTTPONLY = 1 << 3,
		   COOKIE_STRICT = 1 << 4,
		   COOKIE_LAX = 1 << 5,
		   COOKIE_NONE = 1 << 6,
		   COOKIE_NO_SAMESITE = 1 << 7,
};

enum { FIELDS_COOKIE_FLAGS_MAX = 3 };

struct fields_rule { /* one line of proxy_redirect or proxy_cookie_* */
	struct fields_rule *next;
	struct tmpl *pattern;
	struct vars_regex *re;			     /* not NULL: instead of the pattern */
	struct tmpl *replacement;		     /* proxy_cookie_flags: none */
	struct tmpl *flags[FIELDS_COOKIE_FLAGS_MAX]; /* proxy_cookie_flags only */
	int n_flags;
};

struct fields_rules { /* inherited as a whole */
	bool off;
	struct fields_rule *first, **tail;
};

struct fields_bind { /* proxy_bind */
	bool off;
	bool is_fixed;
	struct addr addr;  /* when it is fixed */
	struct tmpl *text; /* else */
};

enum { FIELDS_PROXY_OFF, FIELDS_PROXY_V1, FIELDS_PROXY_V2 };

struct fields_scope { /* MOD_FIELDS's struct in http, server, location */
	struct fields_rules *redirect, *cookie_domain, *cookie_path, *cookie_flags;
	struct tmpl *method, *body; /* NULL: the client's */
	struct fields_bind *bind;
	int64_t ignore; /* enum fields_ignored */
	int64_t intercept_errors;
	int64_t socket_keepalive;
	int64_t proxy_protocol;
};

/* The settings of the location that asked the upstream; NULL before there is one. */
const struct fields_scope *fields_of(const struct request *r);
/* "secure", "samesite=lax" ...: enum fields_flag; 0: no such flag. */
unsigned fields_cookie_flag(struct slice s);
/* Does proxy_ignore_headers name this one? */
bool fields_ignores(const struct request *r, enum fields_ignored which);

/* A Location of the upstream (OFFSET 0) or the target in a Refresh from OFFSET on, by proxy_redirect: true
 * when *value was changed. */
bool fields_redirect(struct request *r, struct slice *value, size_t offset);
/* A Set-Cookie, by proxy_cookie_*: true when *value was changed. */
bool fields_cookie(struct request *r, struct slice *value);

/* Where the connection to the upstream comes from, by proxy_bind: false where nothing is said, or the text
 * is no address (which is logged). */
bool fields_local_addr(struct request *r, struct addr *out);

#endif
