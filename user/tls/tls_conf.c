/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the ssl_* directives and the contexts and zones made of them. Opens no sockets. */
#include "tls/tls_conf.h"

#include <errno.h>

#include "core/err.h"
#include "core/num.h"

enum {
	PAIRS_MAX = 16,
	TICKETS_ZONE_BYTES = 4096,
};

_Static_assert(sizeof(struct tls_tickets) <= TICKETS_ZONE_BYTES, "the keys fit");

static struct conf_block *http_block(const struct conf *c)
{
	struct conf_block *b = c->main ? c->main->first_child : NULL;

	while (b && b->ctx != CTX_HTTP)
		b = b->next;
	return b;
}

static struct tls_conf *http_conf(const struct conf *c)
{
	struct conf_block *b = http_block(c);

	return b ? b->mod[MOD_TLS] : NULL;
}

/* Directives. */

static int set_file(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct tls_file *f = arena_zalloc(&c->arena, sizeof *f);
	struct tls_file **at = (struct tls_file **)((char *)mod + row->offset);

	if (slice_find(n->args[0], '$') >= 0)
		return conf_error(c, n, "variables in \"%s\" are not supported", row->name);
	if (slice_starts(n->args[0], SLICE("data:")) || slice_starts(n->args[0], SLICE("engine:")))
		return conf_error_hint(c, n, "a file in PEM format", "\"%s\" cannot take \"%.*s\"",
				       row->name, (int)(slice_find(n->args[0], ':') + 1),
				       n->args[0].p);
	f->path_cstr = conf_path(c, n->args[0]);
	f->node = n;
	while (*at)
		at = &(*at)->next;
	*at = f;
	return 0;
}

static int check_text(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	const struct tls_conf *t = mod;
	bool ciphers = row->offset == offsetof(struct tls_conf, ciphers);
	const char *text = arena_cstr(&c->arena, ciphers ? t->ciphers : t->ecdh_curve);
	char err[TLS_TEXT_MAX];

	if (ciphers ? tls_ctx_check_ciphers(text, err) : tls_ctx_check_curves(text, err))
		return conf_error(c, n, "%s", err);
	return 0;
}

/* NAME:SIZE, or NAME of a zone whose size was given above. */
static int set_zone(struct conf *c, const struct conf_node *n, struct slice arg, struct slice text,
		    struct tls_cache_conf *cache)
{
	struct tls_conf *http = http_conf(c);
	ptrdiff_t colon = slice_find(text, ':');
	struct slice name = colon < 0 ? text : slice_make(text.p, (size_t)colon);
	struct tls_zone_conf *z = http->zones;
	int64_t bytes = 0;

	if (!name.n || (colon >= 0 && conf_parse_size(slice_skip(text, (size_t)colon + 1), &bytes)))
		return conf_error_hint(c, n, "shared:NAME:SIZE", "invalid session cache \"%.*s\"",
				       SLICE_FMT(arg));
	if (colon >= 0 && bytes < TLS_CACHE_MIN_BYTES)
		return conf_error_hint(c, n, "at least 32k", "session cache \"%.*s\" is too small",
				       SLICE_FMT(arg));
	while (z && !slice_eq(z->name, name))
		z = z->next;
	if (z && colon >= 0 && (int64_t)z->bytes != bytes)
		return conf_error(c, n,
				  "the size of session cache \"%.*s\" conflicts with its size "
				  "of %zu bytes above",
				  SLICE_FMT(arg), z->bytes);
	if (!z && colon < 0)
		return conf_error(c, n, "session cache \"%.*s\" has no size", SLICE_FMT(arg));
	if (!z) {
		z = arena_zalloc(&c->arena, sizeof *z);
		z->name = name;
		z->bytes = (size_t)bytes;
		z->next = http->zones;
		http->zones = z;
	}
	cache->zone = z;
	cache->mode |= TLS_CACHE_SHARED;
	return 0;
}

static int set_cache(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		     const struct conf_row *row)
{
	struct tls_cache_conf *cache = arena_zalloc(&c->arena, sizeof *cache);
	uint64_t number;
	int r = 0;

	for (int i = 0; r == 0 && i < n->n_args; i++) {
		struct slice arg = n->args[i];
		bool alone = n->n_args == 1;

		if (alone && slice_eq(arg, SLICE("off"))) {
			cache->mode = TLS_CACHE_OFF;
		} else if (alone && slice_eq(arg, SLICE("none"))) {
			cache->mode = TLS_CACHE_NONE;
		} else if (slice_eq(arg, SLICE("builtin"))) {
			cache->mode |= TLS_CACHE_BUILTIN;
		} else if (slice_starts(arg, SLICE("builtin:")) &&
			   num_u63(slice_skip(arg, 8), &number) == 0 && number &&
			   number <= 1000000) {
			cache->mode |= TLS_CACHE_BUILTIN;
			cache->builtin_n = (int64_t)number;
		} else if (slice_starts(arg, SLICE("shared:"))) {
			r = set_zone(c, n, arg, slice_skip(arg, 7), cache);
		} else {
			r = conf_error_hint(c, n, "off, none, builtin[:N] or shared:NAME:SIZE",
					    "invalid session cache \"%.*s\"", SLICE_FMT(arg));
		}
	}
	((struct tls_conf *)mod)->cache = cache;
	return r;
}

/* Contexts. */

static struct shm_registry *registry(struct conf *c)
{
	return c->shm ? c->shm : &http_conf(c)->own;
}

static struct shm_zone *zone_open(struct conf *c, const struct conf_node *n, const char *kind,
				  struct slice name, size_t bytes)
{
	struct shm_zone *z = shm_zone_ref(registry(c), kind, name, SLICE(""), bytes);

	if (!z)
		conf_error(c, n, "cannot map %zu bytes for \"%s\" (%d: %s)", bytes, kind, errno,
			   strerror(errno));
	return z;
}

static struct tls_cache *cache_of(struct conf *c, const struct conf_node *n,
				  struct tls_zone_conf *z)
{
	if (!z->shm) {
		z->shm = zone_open(c, n, "tls_cache", z->name, z->bytes);
		if (!z->shm)
			return NULL;
		z->cache = tls_cache_at(z->shm->mem, z->bytes, z->shm->fresh);
		z->shm->fresh = false;
	}
	return z->cache;
}

static struct tls_tickets *tickets_of(struct conf *c, const struct conf_node *n)
{
	struct tls_conf *http = http_conf(c);

	if (!http->tickets) {
		http->tickets = zone_open(c, n, "tls_tickets", SLICE(""), TICKETS_ZONE_BYTES);
		if (!http->tickets)
			return NULL;
		if (http->tickets->fresh)
			tls_tickets_init(http->tickets->mem);
		http->tickets->fresh = false;
	}
	return http->tickets->mem;
}

static int pair_files(struct conf *c, const struct tls_conf *t, struct tls_pair *pairs)
{
	const struct tls_file *cert = t->certificates, *key = t->keys;
	int n = 0;

	for (; cert; cert = cert->next, key = key->next) {
		if (!key)
			return conf_error(
				c, cert->node,
				"no \"ssl_certificate_key\" is defined for certificate \"%s\"",
				cert->path_cstr);
		if (n == PAIRS_MAX)
			return conf_error(c, cert->node, "more than %d certificates", PAIRS_MAX);
		pairs[n++] = (struct tls_pair){cert->path_cstr, key->path_cstr};
	}
	if (key)
		return conf_error(c, key->node,
				  "no \"ssl_certificate\" is defined for certificate key \"%s\"",
				  key->path_cstr);
	return n;
}

static int build(struct conf *c, const struct conf_node *n, struct tls_conf *t)
{
	struct tls_pair pairs[PAIRS_MAX];
	char err[TLS_TEXT_MAX];
	struct tls_server_params p = {
		.pairs = pairs,
		.n_pairs = pair_files(c, t, pairs),
		.protocols = (unsigned)t->protocols,
		.ciphers_cstr = arena_cstr(&c->arena, t->ciphers),
		.prefer_server_ciphers = t->prefer_server_ciphers,
		.ecdh_curve_cstr = arena_cstr(&c->arena, t->ecdh_curve),
		.session_timeout_s = t->session_timeout_s,
	};

	if (p.n_pairs < 0)
		return -SL_EINVAL;
	if (t->cache) {
		p.cache_mode = t->cache->mode;
		p.builtin_n = t->cache->builtin_n;
		if (t->cache->zone) {
			p.cache = cache_of(c, n, t->cache->zone);
			if (!p.cache)
				return -SL_EINVAL;
		}
	}
	if (t->session_tickets) {
		p.tickets = tickets_of(c, n);
		if (!p.tickets)
			return -SL_EINVAL;
	}
	t->server = tls_server_new(&p, err);
	return t->server ? 0 : conf_error(c, t->certificates->node, "%s", err);
}

bool tls_conf_has_certificate(const struct conf_block *server)
{
	const struct tls_conf *t = conf_get(server, MOD_TLS);

	return t && t->certificates;
}

struct tls_server *tls_conf_build(struct conf *c, struct conf_block *server)
{
	struct tls_conf *t = server->mod[MOD_TLS];

	if (t->server)
		return t->server;
	if (!t->certificates) {
		conf_error(
			c, server->node,
			"no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive");
		return NULL;
	}
	return build(c, server->node, t) ? NULL : t->server;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct tls_conf *t = mod;

	if (b->ctx != CTX_SERVER || !t->certificates)
		return 0;
	return tls_conf_build(c, b) ? 0 : -SL_EINVAL;
}

void tls_conf_release(struct conf *c)
{
	struct conf_block *http = http_block(c);
	struct tls_conf *h = http ? http->mod[MOD_TLS] : NULL, *t;

	if (!h)
		return;
	for (struct conf_block *b = http->first_child; b; b = b->next) {
		t = b->mod[MOD_TLS];
		if (t) {
			tls_server_free(t->server);
			t->server = NULL;
		}
	}
	for (struct tls_zone_conf *z = h->zones; z; z = z->next) {
		shm_zone_unref(registry(c), z->shm);
		z->shm = NULL;
	}
	shm_zone_unref(registry(c), h->tickets);
	h->tickets = NULL;
}

static const struct conf_value protocols[] = {
	{"TLSv1", TLS_V1_0}, {"TLSv1.1", TLS_V1_1}, {"TLSv1.2", TLS_V1_2}, {"TLSv1.3", TLS_V1_3},
	{NULL, 0},
};

#define WHERE (CTX_HTTP | CTX_SERVER)
#define AT(member) offsetof(struct tls_conf, member)

static const struct conf_row rows[] = {
	{.name = "ssl_certificate",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = AT(certificates),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_file,
	 .help = "FILE -- PEM file of a certificate and its chain; several for several key types"},
	{.name = "ssl_certificate_key",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = AT(keys),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_file,
	 .help = "FILE -- PEM file of the key of the certificate in the same place of their order"},
	{.name = "ssl_protocols",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_BITS,
	 .offset = AT(protocols),
	 .values = protocols,
	 .flags = CONF_MULTI,
	 .deflt = "TLSv1.2 TLSv1.3",
	 .help = "protocols that clients may use; the default server's count for its address"},
	{.name = "ssl_ciphers",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_STR,
	 .offset = AT(ciphers),
	 .deflt = "HIGH:!aNULL:!MD5",
	 .set = check_text,
	 .help = "ciphers of TLS up to 1.2, in OpenSSL's format"},
	{.name = "ssl_prefer_server_ciphers",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(prefer_server_ciphers),
	 .deflt = "off",
	 .help = "the server's order of ciphers goes before the client's"},
	{.name = "ssl_ecdh_curve",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_STR,
	 .offset = AT(ecdh_curve),
	 .deflt = "auto",
	 .set = check_text,
	 .help = "curves for key exchange, separated by colons; auto: OpenSSL's list"},
	{.name = "ssl_session_cache",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(cache),
	 .flags = CONF_INHERIT,
	 .set = set_cache,
	 .help = "off | none | [builtin[:N]] [shared:NAME:SIZE] -- where sessions are kept; a "
		 "shared "
		 "cache holds about 4000 a megabyte, for all workers (default: none)"},
	{.name = "ssl_session_timeout",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SEC,
	 .offset = AT(session_timeout_s),
	 .deflt = "5m",
	 .help = "how long a client may resume a session; ticket keys are renewed as often, at "
		 "least "
		 "daily"},
	{.name = "ssl_session_tickets",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_FLAG,
	 .offset = AT(session_tickets),
	 .deflt = "on",
	 .help = "sessions resume by tickets, whose keys all workers share and a reload keeps"},
};

const struct conf_module tls_module = {
	.name = "tls",
	.rows = rows,
	.n_rows = sizeof rows / sizeof *rows,
	.contexts = WHERE,
	.bytes = sizeof(struct tls_conf),
	.finish = finish,
};
