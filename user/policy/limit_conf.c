/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the reading of limit_req_zone and limit_req, and the references to the zones' memory. Limits
 * nobody. */
#include "policy/limit_conf.h"

#include <errno.h>

#include "core/err.h"
#include "core/num.h"

enum {
	RATE_MAX = 1000000000, /* requests a second or a minute */
	BURST_MAX = 1000000000,
};

static struct limit_scope *http_scope(const struct conf *c)
{
	return conf_top_get(c, CTX_HTTP, MOD_LIMIT);
}

static struct limit_zone_conf *find_zone(const struct conf *c, struct slice name)
{
	struct limit_zone_conf *z = http_scope(c)->zones;

	while (z && !slice_eq(z->name, name))
		z = z->next;
	return z;
}

static int bad_param(struct conf *c, const struct conf_node *n, struct slice arg)
{
	return conf_error(c, n, "invalid parameter \"%.*s\"", SLICE_FMT(arg));
}

int limit_conf_zone_param(struct conf *c, const struct conf_node *n, struct slice arg,
			  struct slice v, struct slice *name, int64_t *bytes)
{
	ptrdiff_t colon = slice_find(v, ':');

	if (colon < 0 || conf_parse_size(slice_skip(v, (size_t)colon + 1), bytes) < 0)
		return conf_error(c, n, "invalid zone size \"%.*s\"", SLICE_FMT(arg));
	if (colon == 0)
		return conf_error(c, n, "invalid zone name \"%.*s\"", SLICE_FMT(arg));
	if (*bytes < (int64_t)limit_zone_min_bytes())
		return conf_error(c, n, "zone \"%.*s\" is too small", SLICE_FMT(arg));
	*name = slice_make(v.p, (size_t)colon);
	return 0;
}

/* "Nr/s", "Nr/m", "N"; kept in 1/1000 request a second, rounded down as nginx does. */
static int parse_rate(struct conf *c, const struct conf_node *n, struct slice arg, struct slice v,
		      struct limit_zone_conf *z)
{
	uint64_t scale = slice_ends(v, SLICE("r/m")) ? 60 : 1, rate;

	if (scale == 60 || slice_ends(v, SLICE("r/s")))
		v.n -= 3;
	if (num_u63(v, &rate) < 0 || rate == 0 || rate > RATE_MAX)
		return conf_error(c, n, "invalid rate \"%.*s\"", SLICE_FMT(arg));
	z->rate_milli_per_s = rate * 1000 / scale;
	return 0;
}

static int set_zone(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct limit_zone_conf *z = arena_zalloc(&c->arena, sizeof *z), *other, **at;
	struct limit_scope *http = mod;
	struct slice v;
	int r;

	z->node = n;
	r = conf_tmpl(c, n, n->args[0], &z->key);
	for (int i = 1; r == 0 && i < n->n_args; i++) {
		if (conf_param(n->args[i], "zone", &v))
			r = limit_conf_zone_param(c, n, n->args[i], v, &z->name, &z->bytes);
		else if (conf_param(n->args[i], "rate", &v))
			r = parse_rate(c, n, n->args[i], v, z);
		else if (slice_eq(n->args[i], SLICE("sync")))
			r = conf_error(c, n, "parameter \"sync\" is not supported");
		else
			r = bad_param(c, n, n->args[i]);
	}
	if (r < 0)
		return r;
	if (!z->name.n)
		return conf_error(c, n, "\"limit_req_zone\" must have \"zone\" parameter");
	if (!z->rate_milli_per_s)
		z->rate_milli_per_s = 1000;
	other = find_zone(c, z->name);
	if (other)
		return conf_error(c, n, "limit_req_zone \"%.*s\" is already bound to key \"%.*s\"",
				  SLICE_FMT(z->name), SLICE_FMT(other->key->source));
	for (at = &http->zones; *at; at = &(*at)->next)
		;
	*at = z;
	return 0;
}

static int parse_line(struct conf *c, const struct conf_node *n, struct slice arg,
		      struct slice *name, struct limit_use *u)
{
	struct slice v;
	uint64_t number;

	if (slice_eq(arg, SLICE("nodelay"))) {
		u->delay_milli = UINT64_MAX;
		return 0;
	}
	if (conf_param(arg, "zone", name))
		return 0;
	if (conf_param(arg, "burst", &v)) {
		if (num_u63(v, &number) < 0 || number == 0 || number > BURST_MAX)
			return conf_error(c, n, "invalid burst value \"%.*s\"", SLICE_FMT(arg));
		u->burst_milli = number * 1000;
		return 0;
	}
	if (conf_param(arg, "delay", &v)) {
		if (num_u63(v, &number) < 0 || number == 0 || number > BURST_MAX)
			return conf_error(c, n, "invalid delay value \"%.*s\"", SLICE_FMT(arg));
		u->delay_milli = number * 1000;
		return 0;
	}
	return bad_param(c, n, arg);
}

static int set_limit(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct limit_scope *scope = mod;
	struct limit_use use = {0};
	struct limit_lines *l;
	struct slice name = {0};
	int r = 0;

	for (int i = 0; r == 0 && i < n->n_args; i++)
		r = parse_line(c, n, n->args[i], &name, &use);
	if (r < 0)
		return r;
	if (!name.n)
		return conf_error(c, n, "\"limit_req\" must have \"zone\" parameter");
	if (!scope->lines)
		scope->lines = arena_zalloc(&c->arena, sizeof *scope->lines);
	l = scope->lines;
	for (int i = 0; i < l->n; i++)
		if (slice_eq(l->zone_name[i], name))
			return conf_error(c, n, "\"limit_req\" directive is duplicate");
	if (l->n == LIMIT_USES_MAX)
		return conf_error(c, n, "more than %d \"limit_req\" in one block", LIMIT_USES_MAX);
	l->zone_name[l->n] = name;
	l->node[l->n] = n;
	l->use[l->n++] = use;
	return 0;
}

/* What must stay equal for the memory to stay. */
static int share(struct conf *c, struct limit_zone_conf *z)
{
	z->shm = shm_zone_ref(c->shm, "limit_req", z->name, z->key->source, (size_t)z->bytes);
	if (!z->shm)
		return conf_error(c, z->node, "no memory for zone \"%.*s\": %s", SLICE_FMT(z->name),
				  strerror(errno));
	if (z->shm->fresh)
		limit_zone_init(z->shm->mem, z->shm->bytes);
	z->shm->fresh = false;
	z->zone = z->shm->mem;
	return 0;
}

/* The http block comes first, so that all zones are there when lines look for theirs. Lines that
 * were inherited are filled in once for every scope that has them, always with the same. */
static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct limit_scope *scope = mod;
	struct limit_lines *l = scope->lines;
	int r = 0;

	for (struct limit_zone_conf *z = b->ctx == CTX_HTTP ? scope->zones : NULL; z && r == 0;
	     z = z->next)
		r = share(c, z);
	for (int i = 0; l && r == 0 && i < l->n; i++) {
		l->zone[i] = find_zone(c, l->zone_name[i]);
		if (!l->zone[i])
			return conf_error(c, l->node[i], "zero size shared memory zone \"%.*s\"",
					  SLICE_FMT(l->zone_name[i]));
		l->use[i].zone = l->zone[i]->zone;
		l->use[i].rate_milli_per_s = l->zone[i]->rate_milli_per_s;
	}
	return r;
}

const struct limit_zone_conf *limit_conf_zones(const struct conf *c)
{
	const struct limit_scope *http = http_scope(c);

	return http ? http->zones : NULL;
}

void limit_conf_release(struct conf *c)
{
	struct limit_scope *http = http_scope(c);

	for (struct limit_zone_conf *z = http ? http->zones : NULL; z; z = z->next) {
		shm_zone_unref(c->shm, z->shm);
		z->shm = NULL;
		z->zone = NULL;
	}
}

static const struct conf_value levels[] = {
	{"info", LOG_LVL_INFO},
	{"notice", LOG_LVL_NOTICE},
	{"warn", LOG_LVL_WARN},
	{"error", LOG_LVL_ERROR},
	{NULL, 0},
};

#define AT(field) offsetof(struct limit_scope, field)

static const struct conf_row rows[] = {
	{
		.name = "limit_req_zone",
		.contexts = CTX_HTTP,
		.args_min = 3,
		.args_max = 3,
		.type = CONF_CUSTOM,
		.flags = CONF_MULTI,
		.set = set_zone,
		.help = "KEY zone=NAME:SIZE rate=Nr/s|Nr/m -- a zone for limit_req: 1 MB holds "
			"about 20,000 keys",
	},
	{
		.name = "limit_req",
		.contexts = CTX_SCOPE,
		.args_min = 1,
		.args_max = 3,
		.type = CONF_CUSTOM,
		.offset = AT(lines),
		.flags = CONF_MULTI | CONF_INHERIT,
		.set = set_limit,
		.help = "zone=NAME [burst=N] [nodelay | delay=N] -- limits requests by a zone's "
			"key; several apply together",
	},
	{
		.name = "limit_req_status",
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
		.name = "limit_req_log_level",
		.contexts = CTX_SCOPE,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_ENUM,
		.offset = AT(log_level),
		.values = levels,
		.deflt = "error",
		.help = "the level of rejections in the error log; delays are one level lower",
	},
	{
		.name = "limit_req_dry_run",
		.contexts = CTX_SCOPE,
		.args_min = 1,
		.args_max = 1,
		.type = CONF_FLAG,
		.offset = AT(dry_run),
		.deflt = "off",
		.help = "count and log, reject and delay nothing",
	},
};

const struct conf_module limit_module = {
	.name = "limit_req",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct limit_scope),
	.finish = finish,
};
