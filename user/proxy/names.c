/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps upstream names resolved. A name that fails keeps its last addresses and is asked again soon; one
 * that has none yet is asked again every second, so that a configuration recovers by itself. */
#include "proxy/names.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/err.h"
#include "net/resolve.h"

enum {
	RETRY_MIN_MS = 1000,
	RETRY_MAX_MS = 30000,
	TTL_MIN_S = 1,
	TTL_MAX_S = 3600,
	DYNAMIC_MAX = 64,
	DYNAMIC_PEERS = 32,
};

/* One set of `resolver` settings. */
struct dns {
	struct dns *next;
	const struct upstream_scope *scope;
	struct resolver *resolver;
};

/* One name of one group. */
struct name {
	struct name *next;
	struct names *names;
	struct balance_group *group;
	uint32_t server;
	struct dns *dns;
	struct resolve_query query;
	struct timer timer;
	uint64_t retry_ms;
};

struct dynamic {
	struct dynamic *next;
	struct name *name;
	uint64_t used_ms;
	uint32_t n_users;	    /* requests that hold it */
	struct balance_group group; /* last: peers follow */
};

struct names {
	struct env *env;
	struct dns *dns;
	struct name *list;
	struct dynamic *dynamic;
	unsigned n_dynamic;
};

static void ask(struct name *n);

static void on_answer(struct resolve_query *q, const struct resolve_answer *a)
{
	struct name *n = (struct name *)((char *)q - offsetof(struct name, query));
	struct env *env = n->names->env;
	uint64_t ttl_s = a->ttl_s < TTL_MIN_S	? TTL_MIN_S
			 : a->ttl_s > TTL_MAX_S ? TTL_MAX_S
						: a->ttl_s;
	const char *host = n->group->server[n->server].host;
	bool had = n->group->server[n->server].resolve == BALANCE_RESOLVED;

	balance_set_addrs(n->group, n->server, a->addrs, (uint32_t)a->n_addrs,
			  a->n_addrs ? NULL : a->text, env->loop.clock.wall_ms);
	if (a->n_addrs) {
		if (n->retry_ms)
			log_write(env->log, LOG_LVL_NOTICE, 0, "upstream \"%s\": %s resolves again",
				  n->group->name, host);
		n->retry_ms = 0;
		timer_set(&env->loop, &n->timer, ttl_s * 1000);
		return;
	}
	if (!n->retry_ms)
		log_write(env->log, LOG_LVL_ERROR, 0,
			  "upstream \"%s\": %s could not be resolved (%s), %s", n->group->name,
			  host, a->text,
			  had ? "its last addresses stay in use, it is asked again"
			      : "requests get 502 until it resolves");
	n->retry_ms = n->retry_ms ? n->retry_ms * 2 : RETRY_MIN_MS;
	if (n->retry_ms > (had ? RETRY_MAX_MS : RETRY_MIN_MS))
		n->retry_ms = had ? RETRY_MAX_MS : RETRY_MIN_MS;
	timer_set(&env->loop, &n->timer, n->retry_ms);
}

static void on_timer(struct timer *t)
{
	ask((struct name *)((char *)t - offsetof(struct name, timer)));
}

static void ask(struct name *n)
{
	const struct balance_server *s = &n->group->server[n->server];

	resolve_start(n->dns->resolver, &n->query, slice_cstr(s->host), s->port, on_answer);
}

static struct dns *dns_for(struct names *m, const struct upstream_scope *s)
{
	struct resolver_params p = {
		.servers = s->resolver_addrs,
		.n_servers = s->n_resolver_addrs,
		.valid_ms = (uint64_t)s->resolver_valid_ms,
		.ipv4 = s->resolver_ipv4,
		.ipv6 = s->resolver_ipv6,
		.timeout_ms = (uint64_t)s->resolver_timeout_ms,
	};
	char err[256];
	struct dns *d;

	for (d = m->dns; d; d = d->next)
		if (d->scope == s)
			return d;
	d = calloc(1, sizeof *d);
	if (!d)
		abort();
	d->scope = s;
	d->resolver = resolver_new(&m->env->loop, &p, err, sizeof err);
	if (!d->resolver) {
		log_write(m->env->log, LOG_LVL_EMERG, 0, "the resolver cannot be started: %s", err);
		free(d);
		return NULL;
	}
	d->next = m->dns;
	m->dns = d;
	return d;
}

struct resolver *names_resolver(struct env *env, const struct upstream_scope *s)
{
	struct dns *d = dns_for(env->names, s);

	return d ? d->resolver : NULL;
}

static struct name *add(struct names *m, struct balance_group *g, uint32_t server,
			const struct upstream_scope *scope)
{
	struct name *n = calloc(1, sizeof *n);

	if (!n)
		abort();
	n->dns = dns_for(m, scope);
	if (!n->dns) {
		free(n);
		return NULL;
	}
	n->names = m;
	n->group = g;
	n->server = server;
	timer_init(&n->timer, on_timer);
	n->next = m->list;
	m->list = n;
	ask(n);
	return n;
}

int names_setup(struct env *env, bool asks)
{
	struct upstream_main *main = upstream_conf_main(env->conf);
	struct names *m = calloc(1, sizeof *m);

	if (!m)
		return -SL_ENOMEM;
	m->env = env;
	env->names = m;
	for (struct upstream_conf *u = main ? main->groups : NULL; u && asks; u = u->next)
		for (uint32_t i = 0; i < u->group->n_servers; i++)
			if (u->group->server[i].resolve != BALANCE_FIXED)
				add(m, u->group, i, u->scope);
	return 0;
}

static void drop(struct name *n)
{
	resolve_cancel(&n->query);
	timer_cancel(&n->names->env->loop, &n->timer);
	free(n);
}

void names_fini(struct env *env)
{
	struct names *m = env->names;

	if (!m)
		return;
	for (struct name *n = m->list, *next; n; n = next) {
		next = n->next;
		drop(n);
	}
	for (struct dynamic *d = m->dynamic, *next; d; d = next) {
		next = d->next;
		free(d);
	}
	for (struct dns *d = m->dns, *next; d; d = next) {
		next = d->next;
		resolver_free(d->resolver);
		free(d);
	}
	free(m);
	env->names = NULL;
}

/* Room for one more: the one that was not used for longest, and is not in use, goes. */
static bool make_room(struct names *m)
{
	struct dynamic **oldest = NULL, *d;

	if (m->n_dynamic < DYNAMIC_MAX)
		return true;
	for (struct dynamic **at = &m->dynamic; *at; at = &(*at)->next)
		if (!(*at)->n_users && (!oldest || (*at)->used_ms < (*oldest)->used_ms))
			oldest = at;
	if (!oldest)
		return false;
	d = *oldest;
	*oldest = d->next;
	m->n_dynamic--;
	if (d->name) {
		for (struct name **at = &m->list; *at; at = &(*at)->next)
			if (*at == d->name) {
				*at = d->name->next;
				break;
			}
		drop(d->name);
	}
	free(d);
	return true;
}

struct balance_group *names_group(struct env *env, const struct conf_block *block,
				  struct slice host, uint16_t port)
{
	struct names *m = env->names;
	struct balance_server_conf server = {
		.host = host, .port = port, .weight = 1, .max_fails = 1, .fail_timeout_s = 10};
	size_t bytes = balance_bytes(DYNAMIC_PEERS);
	char name[BALANCE_NAME_MAX + 1];
	struct dynamic *d;
	int n;

	n = snprintf(name, sizeof name, "%.*s:%u", SLICE_FMT(host), port);
	if (n >= (int)sizeof name)
		return NULL;
	for (d = m->dynamic; d; d = d->next) {
		if (strcmp(d->group.name, name) == 0) {
			d->used_ms = env->loop.clock.mono_ms;
			d->n_users++;
			return &d->group;
		}
	}
	if (!make_room(m))
		return NULL;
	d = calloc(1, offsetof(struct dynamic, group) + bytes);
	if (!d)
		return NULL;
	if (balance_init(&d->group, bytes, slice_make(name, (size_t)n), &server, 1)) {
		free(d);
		return NULL;
	}
	if (d->group.server[0].resolve != BALANCE_FIXED)
		d->name = add(m, &d->group, 0, block->mod[MOD_UPSTREAM]);
	d->used_ms = env->loop.clock.mono_ms;
	d->n_users = 1;
	d->next = m->dynamic;
	m->dynamic = d;
	m->n_dynamic++;
	return &d->group;
}

void names_release(struct balance_group *g)
{
	struct dynamic *d = (struct dynamic *)((char *)g - offsetof(struct dynamic, group));

	d->n_users--;
}

const char *names_error(struct balance_group *g)
{
	for (uint32_t i = 0; i < g->n_servers; i++)
		if (g->server[i].resolve == BALANCE_FAILED)
			return g->server[i].resolve_error;
	return "no address is known";
}
