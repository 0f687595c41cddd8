/* SPDX-License-Identifier: BSD-2-Clause */
/* The http block: servers, listeners, locations and what a location says of clients and answers
 * (module MOD_HTTP). Immutable once loaded. */
#ifndef SL_PROXY_HTTP_CONF_H
#define SL_PROXY_HTTP_CONF_H

#include "conf/conf.h"
#include "net/listen.h"
#include "policy/route.h"
#include "policy/route_names.h"
#include "tls/tls_conn.h"

extern const struct conf_module http_module;

struct request;
struct vars_regex;

/* One name of `server_name`. */
struct server_name {
	struct slice text; /* as written */
	const struct vars_regex *re;
};

/* One `listen`. */
struct listen_conf {
	struct listen_conf *next;
	struct addr addr;
	struct listen_opts opts;
	bool ssl, default_server, http2, proxy_protocol;
	bool has_opts; /* socket options were given here */
	const struct conf_node *node;
};

/* `client_min_rate`; NULL or bytes_s 0: none. */
struct http_min_rate {
	int64_t bytes_s, after_ms;
};

/* Words of keepalive_disable. */
enum http_keepalive_disable {
	HTTP_KEEPALIVE_NONE = 1 << 0, /* nobody is disabled */
	HTTP_KEEPALIVE_MSIE6 = 1 << 1,
	HTTP_KEEPALIVE_SAFARI = 1 << 2,
};

enum http_lingering_close {
	HTTP_LINGERING_OFF,
	HTTP_LINGERING_ON,
	HTTP_LINGERING_ALWAYS,
};

/* MOD_HTTP's struct in http, server and location. */
struct http_scope {
	int64_t client_max_body_bytes; /* 0: no limit */
	int64_t client_body_buffer_bytes;
	int64_t client_header_buffer_bytes;
	int64_t large_header_n, large_header_bytes;
	int64_t client_header_timeout_ms, client_body_timeout_ms, send_timeout_ms;
	int64_t keepalive_timeout_ms, keepalive_header_s; /* header: 0 none */
	int64_t keepalive_requests, keepalive_time_ms;
	int64_t lingering_time_ms, lingering_timeout_ms;
	struct http_min_rate *min_rate;
	int64_t merge_slashes, underscores_in_headers, ignore_invalid_headers, chunked;
	int64_t keepalive_disable; /* enum http_keepalive_disable */
	int64_t lingering_close;   /* enum http_lingering_close */
	int64_t reset_timedout;
	int64_t absolute_redirect, port_in_redirect, server_name_in_redirect;
	struct http_large_buffers *large;
	struct http_keepalive *keepalive;
	struct log *error_log; /* filled from MOD_LOG */
	/* server only */
	struct listen_conf *listens, **listens_tail;
	struct server_name *names;
	int n_names;
	/* location only */
	struct slice loc_path;
	enum route_loc_kind loc_kind;
	struct vars_regex *loc_regex; /* ROUTE_REGEX */
	/* server and location: the locations inside */
	struct route_locs locs;
	struct location_regex *regexes, *named; /* named: server only */
	bool has_locs;
};

struct server {
	struct server *next;
	struct conf_block *block;
	struct http_scope *scope;
	struct slice name;	/* the first server_name, for $server_name and redirects */
	struct tls_server *tls; /* NULL when no listener of it is ssl */
};

/* A server_name that is a regular expression, in the order of the file. */
struct listener_regex {
	struct listener_regex *next;
	const struct vars_regex *re;
	struct server *server;
};

/* One address that is listened on, with the servers behind it. */
struct listener {
	struct addr addr;
	struct listen_opts opts;
	bool ssl;
	bool http2;	     /* said on some `listen`: for all servers of it */
	bool proxy_protocol; /* each connection begins with a header that says who it is */
	bool default_is_said, has_opts;
	bool wildcard;		 /* 0.0.0.0 or [::] */
	struct listener *shares; /* a wildcard listener on the same port whose socket serves this
					 * address too: this one has none */
	bool has_specific;	 /* some listener shares this one's socket */
	struct server *default_server;
	struct tls_listener tls;  /* when ssl: for tls_accept_start() */
	struct route_names names; /* target: struct server */
	struct listener_regex *regexes, **regexes_tail;
	int fd;	  /* what this process accepts from; -1: none */
	int *fds; /* the master's: one, or with reuseport one a worker */
	uint32_t n_fds;
	const struct conf_node *node;
};

struct http_conf {
	struct conf_block *block;
	struct server *servers, **servers_tail;
	struct listener *listeners;
	uint32_t n_listeners;
};

/* The scope struct of a block. */
static inline const struct http_scope *http_scope_of(const struct conf_block *b)
{
	return b->mod[MOD_HTTP];
}

/* The server that HOST (lower case, no port; may be empty) means on this listener. Captures of a name that
 * is a regular expression are kept in R, when it is not NULL. */
struct server *http_conf_server(const struct listener *l, struct slice host, struct request *r);
/* The same, but NULL when no server has that name. */
struct server *http_conf_server_named(const struct listener *l, struct slice host,
				      struct request *r);
/* The listener for a connection that came in on L with this local address. */
const struct listener *http_conf_listener(const struct http_conf *h, const struct listener *l,
					  const struct addr *local);
/* The block of `location @NAME` (NAME with its '@') of SRV, or NULL. */
struct conf_block *http_conf_named(const struct server *srv, struct slice name);

#endif
