/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration in nginx's grammar: a lexer, and directive rows that turn directives into typed values.
 * A module is a table of rows and a struct per block; the engine knows no directive by itself.
 *
 * Order of work: conf_load() reads the files into blocks, checking name, context, argument count and
 * value of each directive at its place (so that the first error in the file is the one reported), then
 * hands values down (http -> server -> location), applies defaults, and calls each module's finish().
 * Everything lives in the arena of the struct conf and is immutable once loaded. */
#ifndef SL_CONF_CONF_H
#define SL_CONF_CONF_H

#include <stdint.h>

#include "conf/var.h"
#include "core/arena.h"
#include "core/log.h"
#include "core/slice.h"

enum conf_ctx {
	CTX_MAIN = 1 << 0,
	CTX_EVENTS = 1 << 1,
	CTX_HTTP = 1 << 2,
	CTX_SERVER = 1 << 3,
	CTX_LOCATION = 1 << 4,
	CTX_UPSTREAM = 1 << 5,
	CTX_XDP = 1 << 6,
	CTX_ADMIN = 1 << 7,
	CTX_LIMIT_EXCEPT = 1 << 8,
	CTX_IF = 1 << 9,   /* in a location; a row has it where nginx says "if in location" */
	CTX_MAP = 1 << 10, /* free-form lines: map, types, geo */
	CTX_SERVER_IF = 1 << 11,
};
#define CTX_SCOPE (CTX_HTTP | CTX_SERVER | CTX_LOCATION)
/* Blocks that take the place of the location around them for some requests: they have every struct that
 * a location has, inherited from it. */
#define CTX_PART (CTX_LIMIT_EXCEPT | CTX_IF)

/* clang-format off */
/* One index a module; user/modules.c lists the tables in this order. Without columns, so
 * that two who add one do not meet. */
enum conf_module_id {
	MOD_CORE, /* master and events */
	MOD_LOG, /* error_log */
	MOD_HTTP, /* server, location, client_*, keepalive_*, return ... */
	MOD_HTTP2, /* http2* */
	MOD_TLS, /* ssl_* */
	MOD_MAP, /* map */
	MOD_GEO, /* geo */
	MOD_SPLIT, /* split_clients */
	MOD_REWRITE, /* set, if, rewrite, break, return */
	MOD_UPSTREAM, /* upstream blocks, resolver */
	MOD_PROXY, /* proxy_* */
	MOD_FIELDS, /* proxy_redirect, proxy_cookie_*, proxy_bind ... */
	MOD_PROXY_TLS, /* proxy_ssl_* */
	MOD_HEALTH, /* health_check */
	MOD_FLOW, /* error_page, internal, limit_except */
	MOD_REALIP, /* set_real_ip_from, real_ip_* */
	MOD_ACCESS, /* allow, deny, satisfy, auth_* */
	MOD_LIMIT, /* limit_req* */
	MOD_LIMIT_CONN, /* limit_conn* */
	MOD_BAN, /* ban */
	MOD_GZIP, /* gzip*, gunzip* */
	MOD_FILES, /* root, alias, index, try_files, types, sendfile ... */
	MOD_CHARSET, /* charset, charset_types */
	MOD_COMPAT, /* what only tunes nginx, and hints for what is not there */
	MOD_FILTERS, /* add_header, add_trailer, expires, if_modified_since, max_ranges, limit_rate */
	MOD_STUB_STATUS, /* stub_status, server_tokens */
	MOD_ACCESS_LOG, /* log_format, access_log */
	MOD_XDP, /* xdp { } */
	MOD_LISTS, /* in it: allow, deny, deny_file */
	MOD_ADMIN, /* admin { } */
	MOD_IO, /* bodies: client_body_in_*, proxy_buffering ... */
	CONF_N_MODULES,
};
/* clang-format on */

struct conf;

/* A directive as written. Lives as long as its struct conf. */
struct conf_node {
	struct slice name;
	struct slice *args; /* without the name; quotes and escapes resolved; without
					 * NULs, and NUL-terminated behind their ends */
	bool *quoted;	    /* args[i] was in quotes */
	int n_args;
	const char *file;
	unsigned line; /* where its name stands; 0: the command line, a default */
};

/* One block of the file (main is one too). */
struct conf_block {
	enum conf_ctx ctx;
	struct conf_block *parent; /* NULL for main */
	struct conf_block *first_child, *last_child, *next;
	const struct conf_node *node; /* "server", "location /x"; NULL for main */
	void *mod[CONF_N_MODULES];    /* each module's struct, where it has one in this context */
};

enum conf_type {
	CONF_CUSTOM, /* set() does it all */
	CONF_BLOCK,  /* opens a block of context block_ctx; set(), when there is one, is called
			 * with the new block before its content is read */
	CONF_FLAG,   /* on | off              int64_t */
	CONF_NUM,    /* decimal number        int64_t */
	CONF_SIZE,   /* 4k 10m 10g            int64_t bytes */
	CONF_MSEC,   /* 10s 1h30m 500ms       int64_t milliseconds */
	CONF_SEC,    /* the same, whole seconds int64_t */
	CONF_STR,    /* struct slice, p is never NULL once set */
	CONF_ENUM,   /* one of values         int64_t */
	CONF_BITS,   /* several of values     int64_t, or-ed */
	CONF_TMPL,   /* struct tmpl *, text with variables */
};

/* The value of an int64_t that nobody set. */
#define CONF_UNSET INT64_MIN

enum {
	CONF_MULTI = 1 << 0,   /* may stand several times in one block (CONF_CUSTOM, CONF_BLOCK, and
				 * CONF_BITS, which then adds up) */
	CONF_INHERIT = 1 << 1, /* CONF_CUSTOM: the pointer at `offset` is taken from the parent when
				 * it is NULL here (typed values are always inherited) */
};

struct conf_value {
	const char *name;
	int64_t value;
};

struct conf_row {
	const char *name;
	unsigned contexts;	/* enum conf_ctx, or-ed */
	int args_min, args_max; /* args_max -1: any number */
	enum conf_type type;
	size_t offset;			 /* in the module's struct */
	const struct conf_value *values; /* CONF_ENUM, CONF_BITS; words that CONF_NUM, _SIZE,
						 * _MSEC, _SEC take besides numbers ("auto"), exempt
						 * from min and max; ends with name NULL */
	int64_t min, max;		 /* CONF_NUM, _SIZE, _MSEC, _SEC, in the unit of the value;
					 * both 0: only >= 0; max 0: no upper bound */
	const char *deflt; /* as it would be written, through the same setter; NULL: none */
	const char *help;  /* one line for docs/directives.md; "ARGS -- text" shows ARGS as
					 * the arguments, where the type does not say enough */
	unsigned flags;
	enum conf_ctx block_ctx; /* CONF_BLOCK */
	/* BLOCK is where the directive stands (CONF_BLOCK: the new block); MOD this module's struct of
	 * that block, NULL when it has none there. 0, or -SL_E... after conf_error(). Typed rows may
	 * have one too: it is called when the value is stored, to check more. */
	int (*set)(struct conf *c, struct conf_block *block, void *mod, const struct conf_node *n,
		   const struct conf_row *row);
};

/* What to say of a directive that does not exist. NAME may begin or end with "*" (or both); the first that fits counts. */
struct conf_hint {
	const char *name, *text;
};

struct conf_module {
	const char *name;
	const struct conf_row *rows;
	size_t n_rows;
	unsigned contexts; /* blocks in which it has a struct; CTX_LOCATION includes CTX_PART */
	size_t bytes;	   /* of that struct; zeroed, typed int64_t values CONF_UNSET */
	/* After generic inheritance of this block from its parent (PARENT NULL at the top or where the
	 * parent has no struct). May be NULL. */
	int (*inherit)(struct conf *c, struct conf_block *b, void *mod, const void *parent);
	/* After all blocks are inherited, in the order of module ids, blocks outside in. May be NULL. */
	int (*finish)(struct conf *c, struct conf_block *b, void *mod);
	/* CTX_MAP blocks that a row of this module opened: a line whose name is no directive of CTX_MAP.
	 * MOD is the module's struct there or in the nearest block around. NULL: such lines are
	 * errors. */
	int (*free_line)(struct conf *c, struct conf_block *b, void *mod,
			 const struct conf_node *n);
	const struct conf_hint *hints; /* ends with name NULL; or NULL */
};

/* What the modules build, shared between them; typed by name in the headers of their owners. */
struct http_conf;
struct shm_registry;
struct log_sink;
struct regexes;

struct conf {
	struct arena arena;
	const struct conf_module *const *modules; /* CONF_N_MODULES */
	const struct var_def *const *var_tables;  /* NULL-terminated list of tables */
	struct var_def *user_vars; /* added by modules while loading (heap of arena) */
	int n_user_vars, user_vars_room;
	struct conf_block *main;
	char *prefix; /* -p, ends with '/' */
	char *path;   /* the file, absolute */
	char *dir;    /* its folder, ends with '/': what `include` and relative files start from */
	bool test;    /* -t: open and check, start nothing, create nothing that stays */
	struct log *boot_log; /* where warnings while loading go; NULL: stderr */
	int n_errors;
	char *first_error; /* the caller's room for the text of the first error, or NULL */
	size_t first_error_room;
	struct conf_source *sources;  /* files as read, for -T */
	struct conf_loading *loading; /* the engine's own, while conf_load() runs */
	struct log_sink *sinks;	      /* all opened log files, one a path */
	struct regexes *regexes;      /* see regex.h; NULL: none */
	struct http_conf *http;	      /* NULL when the file has no http block */
	struct shm_registry *shm;     /* the master's zones; finish() of modules refs them here */
};

struct conf_source {
	struct conf_source *next;
	char *path;
	struct slice text;
};

/* Reads C->path, preceded by GLOBALS (-g, may be empty; its errors name "command line"). C was zeroed
 * and got modules, var_tables, prefix, path, dir, test, shm from the caller, who
 * may have initialised the arena and put them there. 0, or -SL_EINVAL with all
 * messages written. On failure conf_free() is still due. */
int conf_load(struct conf *c, struct slice globals);
void conf_free(struct conf *c);

/* "sluice: [emerg] TEXT in FILE:LINE" to stderr and the boot log; returns -SL_EINVAL. N may be NULL. */
int conf_error(struct conf *c, const struct conf_node *n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same with " (HINT)" behind the place: what would have been right. */
int conf_error_hint(struct conf *c, const struct conf_node *n, const char *hint, const char *fmt,
		    ...) __attribute__((format(printf, 4, 5)));
/* What the modules' hints say of NAME; "" when they say nothing. */
const char *conf_hint_of(const struct conf *c, struct slice name);
/* As conf_error() but a warning; returns 0. */
int conf_warn(struct conf *c, const struct conf_node *n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Values, with nginx's syntax; 0 or -SL_EINVAL / -SL_ELIMIT. Times may use y and M in both units. */
int conf_parse_size(struct slice s, int64_t *bytes);
int conf_parse_msec(struct slice s, int64_t *ms);
int conf_parse_sec(struct slice s, int64_t *sec);
/* "key=value": true, and *value behind the '=', when S starts with "KEY=". */
bool conf_param(struct slice s, const char *key, struct slice *value);
/* A path relative to the configuration's folder (like ssl_certificate, include, auth files). */
char *conf_path(struct conf *c, struct slice path);
/* A path relative to the prefix (like logs, pid, temp folders). */
char *conf_prefix_path(struct conf *c, struct slice path);

/* Compiles text with variables; *out is in the arena. -SL_EINVAL after conf_error() when TEXT is
 * malformed or names an unknown variable. While files are read names are only noted, and looked up when
 * all is read (before inherit()), since a map or set may stand below its use. */
int conf_tmpl(struct conf *c, const struct conf_node *n, struct slice text, struct tmpl **out);
/* The row of NAME (without '$') among c->user_vars, made when it is missing: get is NULL then, and the
 * caller fills the rest. Valid until the next call. */
struct var_def *conf_var_add(struct conf *c, struct slice name);

/* The rows of all modules as docs/directives.md, to stdout. */
void conf_print_docs(const struct conf_module *const *modules);
/* -T: the files as read, each behind "# configuration file PATH:". */
void conf_print_sources(const struct conf *c);

/* The first block of CTX at the top of the file ("http"); NULL: there is none, or nothing was read. */
struct conf_block *conf_top_block(const struct conf *c, enum conf_ctx ctx);
/* This module's struct in it; NULL: no such block. */
void *conf_top_get(const struct conf *c, enum conf_ctx ctx, enum conf_module_id id);
/* This module's struct in the nearest enclosing block that has one (blocks outward); NULL: none. */
void *conf_get(const struct conf_block *b, enum conf_module_id id);

#endif
