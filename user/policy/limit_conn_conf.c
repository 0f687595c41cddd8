/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of limit_conn_zone and limit_conn, and the references to the zones' memory. Limits
 * nobody. */
#include "policy/limit_conn_conf.h"

#include <errno.h>

#include "core/err.h"
#include "core/num.h"
#include "policy/limit_conf.h"

static struct limit_conn_scope *http_scope(const struct conf *c)
{
	return conf_top_get(c, CTX_HTTP, MOD_LIMIT_CONN);
}

static struct limit_conn_conf *find_zone(const struct conf *c, struct slice name)
{
	struct limit_conn_conf *z = http_scope(c)->zones;

	while (z && !slice_eq(z->name, name))
		z = z->next;
	return z;
}

static int set_zone(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct limit_conn_conf *z = arena_zalloc(&c->arena, sizeof *z), *other, **at;
	struct limit_conn_scope *http = mod;
	struct slice v;
	int r = conf_tmpl(c, n, n->args[0], &z->key);

	z->node = n;
	if (r < 0)
		return r;
	if (!conf_param(n->args[1], "zone", &v))
		return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(n->args[1]));
	r = limit_conf_zone_param(c, n, n->args[1], v, &z->name, &z->bytes);
	if (r < 0)
		return r;
	other = find_zone(c, z->name);
	if (other)
		return conf_error(c, n, "limit_conn_zone \"%.*s\" is already bound to key \"%.*s\"",
				  SLICE_FMT(z->name), SLICE_FMT(other->key->source));
	for (at = &http->zones; *at; at = &(*at)->next)
		;
	*at = z;
	return 0;
}

static int set_limit(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct limit_conn_scope *scope = mod;
	struct limit_conn_lines *l;
	uint64_t max;

	if (!scope->lines)
		scope->lines = arena_zalloc(&c->arena, sizeof *scope->lines);
	l = scope->lines;
	for (int i = 0; i < l->n; i++)
		if (slice_eq(l->line[i].name, n->args[0]))
			return conf_error(c, n, "\"limit_conn\" directive is duplicate");
	if (num_u63(n->args[1], &max) || max == 0)
		return conf_error(c, n, "invalid number of connections \"%.*s\"",
				  SLICE_FMT(n->args[1]));
	if (max > 65535)
		return conf_error(c, n, "connection limit must be less 65536");
	if (l->n == LIMIT_CONN_USES_MAX)
		return conf_error(c, n, "more than %d \"limit_conn\" in one block",
				  LIMIT_CONN_USES_MAX);
	l->line[l->n].name = n->args[0];
	l->line[l->n].max = (uint32_t)max;
	l->line[l->n++].node = n;
	return 0;
}

static int share(struct conf *c, struct limit_conn_conf *z)
{
	z->shm = shm_zone_ref(c->shm, "limit_conn", z->name, z->key->source, (size_t)z->bytes);
	if (!z->shm)
		return conf_error(c, z->node, "no memory for zone \"%.*s\": %s", SLICE_FMT(z->name),
				  strerror(errno));
	if (z->shm->fresh)
		limit_conn_init(z->shm->mem, z->shm->bytes);
	z->shm->fresh = false;
	z->zone = z->shm->mem;
	return 0;
}

/* The http block comes first, so that all zones are there when lines look for theirs. */
static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct limit_conn_scope *scope = mod;
	struct limit_conn_lines *l = scope->lines;
	int r = 0;

	for (struct limit_conn_conf *z = b->ctx == CTX_HTTP ? scope->zones : NULL; z && r == 0;
	     z = z->next)
		r = share(c, z);
	for (int i = 0; l && r == 0 && i < l->n; i++) {
		l->line[i].zone = find_zone(c, l->line[i].name);
		if (!l->line[i].zone)
			return conf_error(c, l->line[i].node,
					  "zero size shared memory zone \"%.*s\"",
					  SLICE_FMT(l->line[i].name));
	}
	return r;
}

void limit_conn_conf_release(struct conf *c)
{
	struct limit_conn_scope *http = http_scope(c);

	for (struct limit_conn_conf *z = http ? http->zones : NULL; z; z = z->next) {
		shm_zone_unref(c->shm, z->shm);
		z->shm = NULL;
		z->zone = NULL;
	}
}

void limit_conn_conf_worker_gone(struct conf *c, unsigned slot)
{
	struct limit_conn_scope *http = http_scope(c);

	for (struct limit_conn_conf *z = http ? http->zones : NULL; z; z = z->next)
		limit_conn_worker_gone(z->zone, slot);
}

static const struct conf_value levels[] = {
	{"info", LOG_LVL_INFO},
	{"notice", LOG_LVL_NOTICE},
	{"warn", LOG_LVL_WARN},
	{"error", LOG_LVL_ERROR},
	{NULL, 0},
};

#define AT(field) offsetof(struct limit_conn_scope, field)

static const struct conf_row rows[] = {
	{
		.name = "limit_conn_zone",
		.contexts = CTX_HTTP,
		.args_min = 2,
		.args_max = 2,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_zone,
		.help = "KEY zone=NAME:SIZE -- a zone for limit_conn: 1 MB holds about 28,000 keys "
			"that are served by one worker each",
	},
	{
		.name = "limit_conn",
		.contexts = CTX_SCOPE,
		.args_min = 2,
		.args_max = 2,
		.type = CONF_CUSTOM,
		.offset = AT(lines),
		.flags = CONF_MULTI | CONF_INHERIT,
		.set = set_limit,
		.help = "ZONE NUMBER -- requests of one key that are served at the same time, at "
			"most; several apply together",
	},
	{
		.name = "limit_conn_status",
		.contexts = CTX_SCOPE,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_NUM,
		.offset = AT(status),
		.min = 400,
		.max = 599,
		.deflt = "503",
		.help = "the status of a rejected request",
	},
	{
		.name = "limit_conn_log_level",
		.contexts = CTX_SCOPE,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_ENUM,
		.offset = AT(log_level),
		.values = levels,
		.deflt = "error",
		.help = "the level of rejections in the error log",
	},
	{
		.name = "limit_conn_dry_run",
		.contexts = CTX_SCOPE,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_FLAG,
		.offset = AT(dry_run),
		.deflt = "off",
		.help = "count and log, reject nothing",
	},
};

const struct conf_module limit_conn_module = {
	.name = "limit_conn",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct limit_conn_scope),
	.finish = finish,
};
