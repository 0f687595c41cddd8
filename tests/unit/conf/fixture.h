/* SPDX-License-Identifier: BSD-2-Clause */
/* A small set of directive tables for the tests and the fuzzer of the configuration engine, with
 * one of each kind of row; and a struct conf over them. Independent of sluice's own tables. */
#ifndef SL_TESTS_CONF_FIXTURE_H
#define SL_TESTS_CONF_FIXTURE_H

#include <stdlib.h>

#include "conf/load.h"
#include "conf/regex.h"
#include "core/err.h"

struct fx_core {
	int64_t processes, daemon, connections, use, shutdown_ms, n_env;
	struct slice pid;
	bool finished;
};

struct fx_header {
	struct fx_header *next;
	struct slice name;
	struct tmpl *value;
};

struct fx_http {
	int64_t keepalive_ms, body_max_bytes, protocols, cache_s, buffer_bytes;
	struct slice root;
	struct tmpl *key;
	struct fx_header *headers, *log;
	struct regex *re;
	int n_listen, n_inherits, n_checks;
	bool had_parent, finished;
};

struct fx_upstream {
	int64_t keepalive_ms;
	int n_servers;
};

struct fx_map {
	int64_t hostnames;
	int n_lines;
	struct slice last_name, last_value;
};

struct fx_admin {
	int n_listen;
};

static inline int fx_count_env(struct conf *c, struct conf_block *b, void *mod,
			       const struct conf_node *n, const struct conf_row *row)
{
	((struct fx_core *)mod)->n_env++;
	return 0;
}

static inline int fx_listen(struct conf *c, struct conf_block *b, void *mod,
			    const struct conf_node *n, const struct conf_row *row)
{
	((struct fx_http *)mod)->n_listen++;
	return slice_eq(n->args[0], SLICE("nowhere")) ? -SL_EINVAL : 0;
}

static inline int fx_admin_listen(struct conf *c, struct conf_block *b, void *mod,
				  const struct conf_node *n, const struct conf_row *row)
{
	((struct fx_admin *)mod)->n_listen++;
	return 0;
}

static inline int fx_server_line(struct conf *c, struct conf_block *b, void *mod,
				 const struct conf_node *n, const struct conf_row *row)
{
	((struct fx_upstream *)mod)->n_servers++;
	return 0;
}

/* add_header NAME TEXT and log NAME [TEXT]: lists behind the pointer at the row's offset. */
static inline int fx_header(struct conf *c, struct conf_block *b, void *mod,
			    const struct conf_node *n, const struct conf_row *row)
{
	struct fx_header *h = arena_zalloc(&c->arena, sizeof *h), **list;

	list = (struct fx_header **)((char *)mod + row->offset);
	h->name = n->args[0];
	h->next = *list;
	*list = h;
	return conf_tmpl(c, n, n->args[1], &h->value);
}

static inline int fx_check_even(struct conf *c, struct conf_block *b, void *mod,
				const struct conf_node *n, const struct conf_row *row)
{
	struct fx_http *h = mod;

	h->n_checks++;
	return h->buffer_bytes % 2 ? conf_error(c, n, "buffer must be even") : 0;
}

static inline int fx_match(struct conf *c, struct conf_block *b, void *mod,
			   const struct conf_node *n, const struct conf_row *row)
{
	return regex_new(c, n, n->args[0], n->n_args > 1, &((struct fx_http *)mod)->re);
}

static inline bool fx_get_user(void *request, struct slice arg, void *data, struct arena *a,
			       struct slice *out)
{
	*out = slice_make(data, strlen(data));
	return true;
}

/* map $SOURCE $NAME { ... } */
static inline int fx_map(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	struct var_def *v;

	if (n->args[1].n < 2 || n->args[1].p[0] != '$')
		return conf_error(c, n, "invalid variable name \"%.*s\"", SLICE_FMT(n->args[1]));
	v = conf_var_add(c, slice_skip(n->args[1], 1));
	v->get = fx_get_user;
	v->data = (char *)"mapped";
	return 0;
}

static inline int fx_map_line(struct conf *c, struct conf_block *b, void *mod,
			      const struct conf_node *n)
{
	struct fx_map *m = mod;

	if (n->n_args != 1)
		return conf_error(c, n, "invalid number of the map parameters");
	m->n_lines++;
	m->last_name = n->name;
	m->last_value = n->args[0];
	return 0;
}

static inline int fx_http_inherit(struct conf *c, struct conf_block *b, void *mod,
				  const void *parent)
{
	struct fx_http *h = mod;

	h->n_inherits++;
	h->had_parent = parent != NULL;
	return 0;
}

static inline int fx_http_finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct fx_http *h = mod, *outer = b->parent ? b->parent->mod[MOD_HTTP] : NULL;
	struct fx_core *core = conf_get(b, MOD_CORE);

	if (h->n_inherits != 1 || !core->finished || (outer && !outer->finished))
		abort(); /* the order that conf.h promises */
	h->finished = true;
	if (slice_eq(h->root, SLICE("/refused")))
		return conf_error(c, b->node, "root is refused");
	return 0;
}

static inline int fx_core_finish(struct conf *c, struct conf_block *b, void *mod)
{
	((struct fx_core *)mod)->finished = true;
	return 0;
}

#define FX_CORE(field) offsetof(struct fx_core, field)
#define FX_HTTP(field) offsetof(struct fx_http, field)

static const struct conf_value fx_auto[] = {{"auto", -1}, {NULL, 0}};
static const struct conf_value fx_use[] = {{"epoll", 1}, {"poll", 2}, {NULL, 0}};
static const struct conf_value fx_protocols[] = {{"one", 1}, {"two", 2}, {"four", 4}, {NULL, 0}};

static const struct conf_row fx_core_rows[] = {
	{.name = "worker_processes",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = FX_CORE(processes),
	 .values = fx_auto,
	 .min = 1,
	 .max = 512,
	 .deflt = "1",
	 .help = "number | auto -- How many workers run."},
	{.name = "daemon",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = FX_CORE(daemon),
	 .deflt = "on",
	 .help = "Go to the background."},
	{.name = "pid",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_STR,
	 .offset = FX_CORE(pid)},
	{.name = "shutdown_timeout",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_MSEC,
	 .offset = FX_CORE(shutdown_ms),
	 .min = 1000,
	 .max = 3600000},
	{.name = "env",
	 .contexts = CTX_MAIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = fx_count_env},
	{.name = "events", .contexts = CTX_MAIN, .type = CONF_BLOCK, .block_ctx = CTX_EVENTS},
	{.name = "worker_connections",
	 .contexts = CTX_EVENTS,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = FX_CORE(connections),
	 .min = 1,
	 .deflt = "512"},
	{.name = "use",
	 .contexts = CTX_EVENTS,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = FX_CORE(use),
	 .values = fx_use,
	 .deflt = "epoll"},
	{.name = "http", .contexts = CTX_MAIN, .type = CONF_BLOCK, .block_ctx = CTX_HTTP},
};

static const struct conf_row fx_http_rows[] = {
	{.name = "server",
	 .contexts = CTX_HTTP,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_SERVER,
	 .flags = CONF_MULTI},
	{.name = "location",
	 .contexts = CTX_SERVER | CTX_LOCATION,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_LOCATION,
	 .flags = CONF_MULTI},
	{.name = "listen",
	 .contexts = CTX_SERVER,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = fx_listen},
	{.name = "keepalive_timeout",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_MSEC,
	 .offset = FX_HTTP(keepalive_ms),
	 .deflt = "75s"},
	{.name = "client_max_body_size",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = FX_HTTP(body_max_bytes),
	 .deflt = "1m"},
	{.name = "buffer_size",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = FX_HTTP(buffer_bytes),
	 .min = 1024,
	 .max = 1 << 20,
	 .deflt = "4k",
	 .set = fx_check_even},
	{.name = "cache_time",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SEC,
	 .offset = FX_HTTP(cache_s),
	 .max = 86400},
	{.name = "protocols",
	 .contexts = CTX_HTTP | CTX_SERVER,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_BITS,
	 .offset = FX_HTTP(protocols),
	 .values = fx_protocols,
	 .flags = CONF_MULTI,
	 .deflt = "one two"},
	{.name = "root",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_STR,
	 .offset = FX_HTTP(root),
	 .deflt = "\"\""},
	{.name = "key",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_TMPL,
	 .offset = FX_HTTP(key)},
	{.name = "add_header",
	 .contexts = CTX_SCOPE,
	 .args_min = 2,
	 .args_max = 3,
	 .type = CONF_CUSTOM,
	 .offset = FX_HTTP(headers),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = fx_header},
	{.name = "match",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = fx_match},
	{.name = "log",
	 .contexts = CTX_SCOPE,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = FX_HTTP(log),
	 .flags = CONF_INHERIT,
	 .deflt = "usual '$host \"quoted\"'",
	 .set = fx_header},
};

static const struct conf_row fx_upstream_rows[] = {
	{.name = "upstream",
	 .contexts = CTX_HTTP,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_UPSTREAM,
	 .flags = CONF_MULTI},
	{.name = "server",
	 .contexts = CTX_UPSTREAM,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = fx_server_line},
	{.name = "keepalive_timeout",
	 .contexts = CTX_UPSTREAM,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_MSEC,
	 .offset = offsetof(struct fx_upstream, keepalive_ms),
	 .deflt = "60s"},
};

static const struct conf_row fx_map_rows[] = {
	{.name = "map",
	 .contexts = CTX_HTTP,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_BLOCK,
	 .block_ctx = CTX_MAP,
	 .flags = CONF_MULTI,
	 .set = fx_map},
	{.name = "hostnames",
	 .contexts = CTX_MAP,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = offsetof(struct fx_map, hostnames),
	 .deflt = "off"},
};

static const struct conf_row fx_admin_rows[] = {
	{.name = "admin", .contexts = CTX_MAIN, .type = CONF_BLOCK, .block_ctx = CTX_ADMIN},
	{.name = "listen",
	 .contexts = CTX_ADMIN,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .flags = CONF_MULTI,
	 .set = fx_admin_listen},
	{.name = "types", .contexts = CTX_ADMIN, .type = CONF_BLOCK, .block_ctx = CTX_MAP},
};

#define FX_ROWS(table) .rows = table, .n_rows = sizeof table / sizeof table[0]

static const struct conf_module fx_core = {.name = "core",
					   FX_ROWS(fx_core_rows),
					   .contexts = CTX_MAIN | CTX_EVENTS,
					   .bytes = sizeof(struct fx_core),
					   .finish = fx_core_finish};
static const struct conf_module fx_http = {.name = "http",
					   FX_ROWS(fx_http_rows),
					   .contexts = CTX_SCOPE,
					   .bytes = sizeof(struct fx_http),
					   .inherit = fx_http_inherit,
					   .finish = fx_http_finish};
static const struct conf_module fx_upstream = {.name = "upstream",
					       FX_ROWS(fx_upstream_rows),
					       .contexts = CTX_UPSTREAM,
					       .bytes = sizeof(struct fx_upstream)};
static const struct conf_module fx_maps = {.name = "map",
					   FX_ROWS(fx_map_rows),
					   .contexts = CTX_MAP,
					   .bytes = sizeof(struct fx_map),
					   .free_line = fx_map_line};
static const struct conf_module fx_admin = {.name = "admin",
					    FX_ROWS(fx_admin_rows),
					    .contexts = CTX_ADMIN,
					    .bytes = sizeof(struct fx_admin)};

static const struct conf_module *const fx_modules[CONF_N_MODULES] = {
	[MOD_CORE] = &fx_core,	[MOD_HTTP] = &fx_http,	 [MOD_UPSTREAM] = &fx_upstream,
	[MOD_LIMIT] = &fx_maps, [MOD_ADMIN] = &fx_admin,
};

/* Variables: what they read is the request, a C string. */
static inline bool fx_get_host(void *request, struct slice arg, void *data, struct arena *a,
			       struct slice *out)
{
	*out = slice_cstr(request);
	return true;
}

static inline bool fx_get_arg(void *request, struct slice arg, void *data, struct arena *a,
			      struct slice *out)
{
	*out = arg;
	return true;
}

static inline bool fx_get_none(void *request, struct slice arg, void *data, struct arena *a,
			       struct slice *out)
{
	return false;
}

static const struct var_def fx_vars[] = {
	{.name = "host", .get = fx_get_host},
	{.name = "http_", .prefix = true, .get = fx_get_arg},
	{.name = "none", .get = fx_get_none},
	{.name = NULL},
};
static const struct var_def fx_more_vars[] = {
	{.name = "http_host", .get = fx_get_host},
	{.name = "http_x_", .prefix = true, .get = fx_get_arg},
	{.name = "1", .get = fx_get_host},
	{.name = NULL},
};
static const struct var_def *const fx_var_tables[] = {fx_vars, fx_more_vars, NULL};

/* FOLDER ends with '/'; the file is sluice.conf in it. */
static inline void fx_conf_init(struct conf *c, char *folder, char *path)
{
	*c = (struct conf){.modules = fx_modules,
			   .var_tables = fx_var_tables,
			   .prefix = folder,
			   .dir = folder,
			   .path = path};
}

#endif
