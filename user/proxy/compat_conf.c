/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the directives of nginx that change no answer here: those that tune nginx's insides, and those of which only "off" is
 * possible; and the advice for those that do not exist. docs/nginx.md lists them. Must not take one that would change what a
 * client or an upstream sees. */
#include "proxy/compat_conf.h"

#include "core/err.h"
#include "core/num.h"

#define CTX_ANY_HTTP (CTX_SCOPE | CTX_IF)
#define NO_CACHE "answers are not cached: take it out"
#define NO_FILES_LIKE_THAT \
	"files are read by sendfile and the page cache: take it out, or write \"off\""
#define NO_BODY_CHANGES "bodies of answers are not changed: let the application do it"
#define NO_MODULE "sluice has no modules: take it out"
#define HTTP_ONLY \
	"upstreams are asked over HTTP only: let the application, or an nginx beside it, speak HTTP"
#define IN_THE_UNIT "take it out; systemd's unit can say it: "

static const struct conf_hint hints[] = {
	{"proxy_cache*", NO_CACHE},
	{"proxy_store*", "answers are not stored: take it out, or write \"off\""},
	{"fastcgi_cache*", NO_CACHE},
	{"fastcgi_*", HTTP_ONLY},
	{"uwsgi_*", HTTP_ONLY},
	{"scgi_*", HTTP_ONLY},
	{"grpc_*", HTTP_ONLY},
	{"memcached_*", HTTP_ONLY},
	{"stream", "only HTTP is proxied: leave this block with nginx or haproxy"},
	{"mail", "only HTTP is proxied: leave this block with nginx"},
	{"load_module", "there are no modules: take it out, and the directives that it brought"},
	{"brotli*", NO_MODULE "; \"gzip\" compresses"},
	{"zstd*", NO_MODULE "; \"gzip\" compresses"},
	{"lua_*", NO_MODULE},
	{"*_by_lua*", NO_MODULE},
	{"js_*", NO_MODULE},
	{"perl*", NO_MODULE},
	{"geoip*", NO_MODULE "; \"geo\" maps addresses"},
	{"modsecurity*", NO_MODULE},
	{"otel_*", NO_MODULE "; \"proxy_set_header traceparent\" passes a trace on"},
	{"acme_*",
	 NO_MODULE "; certbot or lego renew certificates, \"sluice -s reload\" takes them"},
	{"oidc_*", NO_MODULE "; oauth2-proxy does it, through \"auth_request\""},
	{"pagespeed*", NO_MODULE},
	{"more_set_headers", NO_MODULE "; use \"add_header\" with \"proxy_hide_header\""},
	{"more_clear_headers", NO_MODULE "; use \"proxy_hide_header\""},
	{"more_*", NO_MODULE "; use \"proxy_set_header\""},
	{"vhost_traffic_status*", NO_MODULE "; the \"admin\" block serves numbers"},
	{"image_filter*", NO_MODULE},
	{"xslt_*", NO_MODULE},
	{"dav_*", "files are only read: let an application write them"},
	{"secure_link*", "let the application check links, through \"auth_request\""},
	{"valid_referers", "use \"if ($http_referer !~ ...)\" or a \"map\""},
	{"sub_filter*", NO_BODY_CHANGES},
	{"subs_filter*", NO_BODY_CHANGES},
	{"addition_types", NO_BODY_CHANGES},
	{"add_before_body", NO_BODY_CHANGES},
	{"add_after_body", NO_BODY_CHANGES},
	{"ssi*", NO_BODY_CHANGES},
	{"charset_map", NO_BODY_CHANGES},
	{"source_charset", NO_BODY_CHANGES},
	{"override_charset", "a charset that an answer names stays: take it out, or write \"off\""},
	{"slice", NO_CACHE},
	{"mp4*", NO_MODULE},
	{"flv", NO_MODULE},
	{"hls*", NO_MODULE},
	{"empty_gif", "use \"return 204\""},
	{"random_index", "use \"index\""},
	{"autoindex*", "folders are not listed: take it out, or write \"off\""},
	{"mirror*", "requests are not copied: take it out, or write \"off\""},
	{"userid*",
	 "clients are not marked: let the application set its cookie, or use \"add_header Set-Cookie\""},
	{"ancient_browser*", "use a \"map\" of $http_user_agent"},
	{"modern_browser*", "use a \"map\" of $http_user_agent"},
	{"msie_*", "nothing is done for such browsers: take it out, or write \"off\""},
	{"thread_pool", "workers have no threads: take it out"},
	{"aio*", NO_FILES_LIKE_THAT},
	{"directio", NO_FILES_LIKE_THAT},
	{"disable_symlinks", "use file permissions, or write \"off\""},
	{"http3*", "there is no HTTP/3: take it out"},
	{"quic_*", "there is no HTTP/3: take it out"},
	{"spdy_*", "use \"http2\""},
	{"ssl", "use \"listen ... ssl\""},
	{"ssl_engine", "take it out: OpenSSL chooses by itself"},
	{"ssl_ocsp*", "OCSP for clients' certificates is not there; \"ssl_crl\" is"},
	{"worker_priority", IN_THE_UNIT "Nice="},
	{"worker_rlimit_core", IN_THE_UNIT "LimitCORE="},
	{"working_directory", IN_THE_UNIT "WorkingDirectory="},
	{"debug_points", "take it out"},
	{"debug_connection", "take it out; \"error_log ... debug\" is for all connections"},
	{"status_zone", "take it out; the \"admin\" block counts all"},
	{"api", "use the \"admin\" block"},
	{"auth_jwt*", "let a service check tokens, through \"auth_request\""},
	{"keyval*", "use a \"map\" with \"include\""},
	{"limit_zone", "use \"limit_conn_zone\""},
	{NULL, NULL},
};

static int set_unneeded(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			const struct conf_row *row)
{
	return 0;
}

/* What follows is checked as nginx checks it, with its words. */
static int bad_value(struct conf *c, const struct conf_node *n, const char *what)
{
	return conf_error(c, n, "\"%.*s\" directive invalid %s", SLICE_FMT(n->name), what);
}

static int set_flag(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	if (slice_ieq(n->args[0], SLICE("on")) || slice_ieq(n->args[0], SLICE("off")))
		return 0;
	return conf_error(
		c, n, "invalid value \"%.*s\" in \"%s\" directive, it must be \"on\" or \"off\"",
		SLICE_FMT(n->args[0]), row->name);
}

static int set_time(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	int64_t ms;

	return conf_parse_msec(n->args[0], &ms) ? bad_value(c, n, "value") : 0;
}

static int set_number(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	uint64_t number;

	return num_u63(n->args[0], &number) ? bad_value(c, n, "number") : 0;
}

static int set_size(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	int64_t bytes;

	return conf_parse_size(n->args[0], &bytes) ? bad_value(c, n, "value") : 0;
}

static int set_pool_size(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	int64_t bytes;

	if (conf_parse_size(n->args[0], &bytes))
		return bad_value(c, n, "value");
	if (bytes < 112)
		return conf_error(c, n, "the pool size must be no less than 112");
	return bytes % 16 ? conf_error(c, n, "the pool size must be a multiple of 16") : 0;
}

/* NUMBER SIZE */
static int set_buffers(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	uint64_t number;
	int64_t bytes;

	if (num_u63(n->args[0], &number) || number == 0 || conf_parse_size(n->args[1], &bytes) ||
	    bytes == 0)
		return bad_value(c, n, "value");
	return 0;
}

/* PATH and the digits of up to three levels, ten in all. */
static int set_temp_path(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	uint64_t all = 0;

	for (int i = 1; i < n->n_args; i++) {
		uint64_t digits;

		if (num_u63(n->args[i], &digits) || digits < 1 || digits > 10)
			return bad_value(c, n, "value");
		all += digits;
	}
	if (all > 10)
		return bad_value(c, n, "value");
	return 0;
}

/* off, or max=N and others that are numbers and times. */
static int set_cache(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	bool is_log = slice_starts(n->name, SLICE("open_log")), has_max = false, off = false;

	for (int i = 0; i < n->n_args; i++) {
		struct slice p = n->args[i], v;
		uint64_t number = 0;
		int64_t time;
		bool good;

		if (slice_eq(p, SLICE("off"))) {
			off = good = true;
		} else if (conf_param(p, "max", &v)) {
			has_max = good = num_u63(v, &number) == 0 && number > 0;
		} else if (conf_param(p, "inactive", &v) ||
			   (is_log && conf_param(p, "valid", &v))) {
			good = conf_parse_sec(v, &time) == 0;
		} else {
			good = is_log && conf_param(p, "min_uses", &v) && num_u63(v, &number) == 0;
		}
		if (!good)
			return conf_error(c, n, "invalid \"%s\" parameter \"%.*s\"", row->name,
					  SLICE_FMT(p));
	}
	if (!off && !has_max)
		return conf_error(c, n, "\"%s\" must have %s\"max\" parameter", row->name,
				  is_log ? "" : "the ");
	return 0;
}

/* With variables in them, which are checked. */
static int set_conditions(struct conf *c, struct conf_block *b, void *mod,
			  const struct conf_node *n, const struct conf_row *row)
{
	struct tmpl *unused;
	int r = 0;

	for (int i = 0; i < n->n_args && r == 0; i++)
		r = conf_tmpl(c, n, n->args[i], &unused);
	return r;
}

static int set_off(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		   const struct conf_row *row)
{
	if (slice_eq(n->args[0], SLICE("off")))
		return 0;
	return conf_error_hint(c, n, conf_hint_of(c, n->name),
			       "\"%s\" is not supported but for \"off\"", row->name);
}

#define UNNEEDED(dname, where, min, max, check) \
	{ \
		.name = dname, .contexts = where, .args_min = min, .args_max = max, \
		.type = CONF_CUSTOM, .set = check, \
		.help = "read and not needed: it tunes what nginx has inside and sluice has not" \
	}
#define HASH_SIZE(dname, where) \
	{ \
		.name = dname, .contexts = where, .args_min = 1, .args_max = 1, \
		.type = CONF_CUSTOM, .set = set_number, \
		.help = "NUMBER -- nginx's tables need it; sluice's grow with what is in them" \
	}
#define SIZES(dname, where, n, check) \
	{ \
		.name = dname, .contexts = where, .args_min = n, .args_max = n, \
		.type = CONF_CUSTOM, .set = check, \
		.help = "read and not needed: it sizes buffers of nginx; sluice's size themselves" \
	}
#define CONDITIONS(dname) \
	{ \
		.name = dname, .contexts = CTX_SCOPE, .args_min = 1, .args_max = -1, \
		.type = CONF_CUSTOM, .flags = CONF_MULTI, .set = set_conditions, \
		.help = "TEXT ... -- read and not needed: there is no cache, as in nginx without proxy_cache" \
	}
#define OFF(dname, where) \
	{ \
		.name = dname, .contexts = where, .args_min = 1, .args_max = 1, \
		.type = CONF_CUSTOM, .set = set_off, \
		.help = "off -- the only value that is supported" \
	}

static const struct conf_row rows[] = {
	UNNEEDED("timer_resolution", CTX_MAIN, 1, 1, set_time),
	UNNEEDED("lock_file", CTX_MAIN, 1, 1, set_unneeded),
	UNNEEDED("accept_mutex", CTX_EVENTS, 1, 1, set_flag),
	UNNEEDED("accept_mutex_delay", CTX_EVENTS, 1, 1, set_time),
	UNNEEDED("worker_aio_requests", CTX_EVENTS, 1, 1, set_number),
	UNNEEDED("open_file_cache", CTX_SCOPE, 1, 2, set_cache),
	UNNEEDED("open_file_cache_valid", CTX_SCOPE, 1, 1, set_time),
	UNNEEDED("open_file_cache_min_uses", CTX_SCOPE, 1, 1, set_number),
	UNNEEDED("open_file_cache_errors", CTX_SCOPE, 1, 1, set_flag),
	UNNEEDED("sendfile_max_chunk", CTX_SCOPE, 1, 1, set_size),
	UNNEEDED("read_ahead", CTX_SCOPE, 1, 1, set_size),
	UNNEEDED("send_lowat", CTX_SCOPE, 1, 1, set_size),
	UNNEEDED("proxy_send_lowat", CTX_SCOPE, 1, 1, set_size),
	UNNEEDED("ssl_certificate_cache", CTX_HTTP | CTX_SERVER, 1, 4, set_unneeded),
	UNNEEDED("proxy_ssl_certificate_cache", CTX_SCOPE, 1, 4, set_unneeded),
	UNNEEDED("directio_alignment", CTX_SCOPE, 1, 1, set_size),
	UNNEEDED("subrequest_output_buffer_size", CTX_SCOPE, 1, 1, set_size),
	UNNEEDED("fastcgi_temp_path", CTX_SCOPE, 1, 4, set_temp_path),
	UNNEEDED("uwsgi_temp_path", CTX_SCOPE, 1, 4, set_temp_path),
	UNNEEDED("scgi_temp_path", CTX_SCOPE, 1, 4, set_temp_path),
	HASH_SIZE("map_hash_max_size", CTX_HTTP),
	HASH_SIZE("map_hash_bucket_size", CTX_HTTP),
	HASH_SIZE("server_names_hash_max_size", CTX_HTTP),
	HASH_SIZE("server_names_hash_bucket_size", CTX_HTTP),
	HASH_SIZE("variables_hash_max_size", CTX_HTTP),
	HASH_SIZE("variables_hash_bucket_size", CTX_HTTP),
	HASH_SIZE("proxy_headers_hash_max_size", CTX_SCOPE),
	HASH_SIZE("proxy_headers_hash_bucket_size", CTX_SCOPE),
	HASH_SIZE("types_hash_max_size", CTX_SCOPE),
	HASH_SIZE("types_hash_bucket_size", CTX_SCOPE),
	SIZES("connection_pool_size", CTX_HTTP | CTX_SERVER, 1, set_pool_size),
	SIZES("request_pool_size", CTX_HTTP | CTX_SERVER, 1, set_pool_size),
	SIZES("output_buffers", CTX_SCOPE, 2, set_buffers),
	SIZES("postpone_output", CTX_SCOPE, 1, set_size),
	/* For paths with variables, which are an error of their own. */
	UNNEEDED("open_log_file_cache", CTX_SCOPE, 1, 4, set_cache),
	CONDITIONS("proxy_cache_bypass"),
	CONDITIONS("proxy_no_cache"),
	OFF("aio", CTX_SCOPE),
	OFF("aio_write", CTX_SCOPE),
	OFF("directio", CTX_SCOPE),
	OFF("disable_symlinks", CTX_SCOPE),
	OFF("autoindex", CTX_SCOPE),
	OFF("msie_padding", CTX_SCOPE),
	OFF("msie_refresh", CTX_SCOPE),
	OFF("mirror", CTX_SCOPE),
	OFF("override_charset", CTX_ANY_HTTP),
	OFF("proxy_store", CTX_SCOPE),
	OFF("ssi", CTX_ANY_HTTP),
	OFF("userid", CTX_SCOPE),
};

const struct conf_module compat_module = {
	.name = "compatibility",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.hints = hints,
};
