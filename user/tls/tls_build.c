/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes a server's context of its directives, and opens the zones that it needs. Opens no sockets. */
#include "tls/tls_build.h"

#include <errno.h>

#include "core/clock.h"
#include "core/err.h"

enum {
	TICKETS_ZONE_BYTES = 4096,
};

_Static_assert(sizeof(struct tls_tickets) <= TICKETS_ZONE_BYTES, "the keys fit");

static struct shm_registry *registry(struct conf *c)
{
	return c->shm ? c->shm : &tls_conf_http(c)->own;
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
	struct tls_conf *http = tls_conf_http(c);

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
		if (n == TLS_PAIRS_MAX)
			return conf_error(c, cert->node, "more than %d certificates",
					  TLS_PAIRS_MAX);
		pairs[n++] = (struct tls_pair){cert->path_cstr, key->path_cstr, NULL};
	}
	if (key)
		return conf_error(c, key->node,
				  "no \"ssl_certificate\" is defined for certificate key \"%s\"",
				  key->path_cstr);
	return n;
}

static struct tls_replays *replays_of(struct conf *c, const struct conf_node *n)
{
	struct tls_conf *http = tls_conf_http(c);
	void *mem;

	if (!http->replays)
		http->replays = zone_open(c, n, "tls_replays", SLICE(""), TLS_REPLAYS_BYTES);
	if (!http->replays)
		return NULL;
	mem = tls_replays_at(http->replays->mem, http->replays->fresh, clock_mono_ms() / 1000);
	http->replays->fresh = false;
	return mem;
}

static const char *path(struct conf *c, struct slice s)
{
	return s.n ? conf_path(c, s) : NULL;
}

/* What lies in shared memory. */
static int open_zones(struct conf *c, const struct conf_node *n, const struct tls_conf *t,
		      struct tls_server_params *p)
{
	if (t->cache) {
		p->cache_mode = t->cache->mode;
		p->builtin_n = t->cache->builtin_n;
		if (t->cache->zone && !(p->cache = cache_of(c, n, t->cache->zone)))
			return -SL_EINVAL;
	}
	if (t->session_tickets && !(p->tickets = tickets_of(c, n)))
		return -SL_EINVAL;
	if (t->early_data && !(p->replays = replays_of(c, n)))
		return -SL_EINVAL;
	return 0;
}

static int list_ticket_keys(struct conf *c, const struct tls_conf *t, struct tls_server_params *p)
{
	const char **v;
	int n = 0;

	for (const struct tls_file *f = t->ticket_keys; f; f = f->next)
		n++;
	v = arena_alloc(&c->arena, ((size_t)n + 1) * sizeof *v);
	n = 0;
	for (const struct tls_file *f = t->ticket_keys; f; f = f->next)
		v[n++] = f->path_cstr;
	p->ticket_key_files = v;
	p->n_ticket_key_files = n;
	return 0;
}

/* What tls_staple_new() asks of us. */
struct stapling {
	struct conf *c;
	const struct conf_node *node;
};

static void *open_staple(void *data, struct slice name)
{
	struct stapling *s = data;
	struct tls_conf *http = tls_conf_http(s->c);
	struct tls_zone_ref *ref = arena_zalloc(&s->c->arena, sizeof *ref);

	ref->shm = zone_open(s->c, s->node, "tls_staple", name, TLS_STAPLE_ZONE_BYTES);
	if (!ref->shm)
		return NULL;
	ref->next = http->staples;
	http->staples = ref;
	return ref->shm->mem;
}

static void warn_staple(void *data, const char *text)
{
	struct stapling *s = data;

	conf_warn(s->c, s->node, "%s", text);
}

static int make(struct conf *c, const struct conf_node *n, struct tls_conf *t,
		struct tls_server_params *p, struct tls_pair *pairs)
{
	const struct conf_node *at = t->certificates ? t->certificates->node : n;
	struct stapling stapling = {c, at};
	struct tls_staple_params staple = {
		.verify = t->stapling_verify,
		.responder_cstr = t->stapling_responder.n
					  ? arena_cstr(&c->arena, t->stapling_responder)
					  : NULL,
		.file_cstr = path(c, t->stapling_file),
		.trusted_cstr = p->trusted_cstr,
		.zone = open_staple,
		.warn = warn_staple,
		.data = &stapling,
	};
	struct tls_passwords *passwords = NULL;
	char err[TLS_TEXT_MAX];

	p->staple = t->stapling ? &staple : NULL;
	if (t->password_file.n) {
		passwords = tls_passwords_load(path(c, t->password_file), err);
		if (!passwords)
			return conf_error(c, at, "%s", err);
	}
	for (int i = 0; i < p->n_pairs; i++)
		pairs[i].passwords = passwords;
	t->server = tls_server_new(p, err);
	tls_passwords_free(passwords);
	return t->server ? 0 : conf_error(c, at, "%s", err);
}

int tls_build_server(struct conf *c, const struct conf_node *n, struct tls_conf *t)
{
	struct tls_pair pairs[TLS_PAIRS_MAX];
	struct tls_server_params p = {
		.pairs = pairs,
		.n_pairs = pair_files(c, t, pairs),
		.reject = t->reject_handshake,
		.protocols = (unsigned)t->protocols,
		.ciphers_cstr = arena_cstr(&c->arena, t->ciphers),
		.prefer_server_ciphers = t->prefer_server_ciphers,
		.ecdh_curve_cstr = arena_cstr(&c->arena, t->ecdh_curve),
		.session_timeout_s = t->session_timeout_s,
		.verify = (enum tls_verify)t->verify,
		.verify_depth = (int)t->verify_depth,
		.client_ca_cstr = path(c, t->client_certificate),
		.trusted_cstr = path(c, t->trusted_certificate),
		.crl_cstr = path(c, t->crl),
		.dhparam_cstr = path(c, t->dhparam),
		.commands = t->commands,
		.record_bytes = t->buffer_bytes < TLS_RECORD_MAX ? (uint32_t)t->buffer_bytes
								 : TLS_RECORD_MAX,
	};

	if (p.n_pairs < 0)
		return -SL_EINVAL;
	if ((t->verify == TLS_VERIFY_ON || t->verify == TLS_VERIFY_OPTIONAL) && !p.client_ca_cstr)
		return conf_error(c, n, "no \"ssl_client_certificate\" for \"ssl_verify_client\"");
	if (open_zones(c, n, t, &p) || list_ticket_keys(c, t, &p))
		return -SL_EINVAL;
	return make(c, n, t, &p, pairs);
}

void tls_build_release(struct conf *c)
{
	struct tls_conf *http = tls_conf_http(c);

	for (struct tls_zone_conf *z = http->zones; z; z = z->next) {
		shm_zone_unref(registry(c), z->shm);
		z->shm = NULL;
	}
	for (struct tls_zone_ref *z = http->staples; z; z = z->next)
		shm_zone_unref(registry(c), z->shm);
	http->staples = NULL;
	shm_zone_unref(registry(c), http->tickets);
	shm_zone_unref(registry(c), http->replays);
	http->tickets = http->replays = NULL;
}
