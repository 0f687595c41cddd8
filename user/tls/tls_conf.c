/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the ssl_* directives. What is made of them is tls_build.c's. */
#include "tls/tls_conf.h"

#include "core/err.h"
#include "core/num.h"
#include "tls/tls_build.h"

struct tls_conf *tls_conf_http(const struct conf *c)
{
	return conf_top_get(c, CTX_HTTP, MOD_TLS);
}

/* Directives. */

int tls_conf_check_path(struct conf *c, const struct conf_node *n)
{
	struct slice path = n->args[0];

	if (slice_find(path, '$') >= 0)
		return conf_error(c, n, "variables in \"%.*s\" are not supported",
				  SLICE_FMT(n->name));
	if (slice_starts(path, SLICE("data:")) || slice_starts(path, SLICE("engine:")))
		return conf_error_hint(c, n, "a file in PEM format",
				       "\"%.*s\" cannot take \"%.*s\"", SLICE_FMT(n->name),
				       (int)(slice_find(path, ':') + 1), path.p);
	return 0;
}

int tls_conf_add_command(struct conf *c, struct tls_command **list, bool is_server,
			 const struct conf_node *n)
{
	struct tls_command *k = arena_zalloc(&c->arena, sizeof *k);

	k->name_cstr = arena_cstr(&c->arena, n->args[0]);
	k->value_cstr = tls_ctx_command_is_path(is_server, k->name_cstr)
				? conf_path(c, n->args[1])
				: arena_cstr(&c->arena, n->args[1]);
	while (*list)
		list = &(*list)->next;
	*list = k;
	return 0;
}

static int set_command(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	return tls_conf_add_command(c, &((struct tls_conf *)mod)->commands, true, n);
}

static int check_path(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	return tls_conf_check_path(c, n);
}

static int set_file(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		    const struct conf_row *row)
{
	struct tls_file *f = arena_zalloc(&c->arena, sizeof *f);
	struct tls_file **at = (struct tls_file **)((char *)mod + row->offset);

	if (tls_conf_check_path(c, n))
		return -SL_EINVAL;
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
	struct tls_conf *http = tls_conf_http(c);
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

bool tls_conf_has_certificate(const struct conf_block *server)
{
	const struct tls_conf *t = conf_get(server, MOD_TLS);

	return t && (t->certificates || t->reject_handshake);
}

struct tls_server *tls_conf_build(struct conf *c, struct conf_block *server)
{
	struct tls_conf *t = server->mod[MOD_TLS];

	if (t->server)
		return t->server;
	if (!t->certificates && !t->reject_handshake) {
		conf_error(
			c, server->node,
			"no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive");
		return NULL;
	}
	return tls_build_server(c, server->node, t) ? NULL : t->server;
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct tls_conf *t = mod;

	if (b->ctx != CTX_SERVER || !(t->certificates || t->reject_handshake))
		return 0;
	return tls_conf_build(c, b) ? 0 : -SL_EINVAL;
}

void tls_conf_release(struct conf *c)
{
	struct conf_block *http = conf_top_block(c, CTX_HTTP);
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
	tls_build_release(c);
}

static const struct conf_value protocols[] = {
	{"TLSv1", TLS_V1_0}, {"TLSv1.1", TLS_V1_1}, {"TLSv1.2", TLS_V1_2}, {"TLSv1.3", TLS_V1_3},
	{NULL, 0},
};

static const struct conf_value verify_values[] = {
	{"off", TLS_VERIFY_OFF},
	{"on", TLS_VERIFY_ON},
	{"optional", TLS_VERIFY_OPTIONAL},
	{"optional_no_ca", TLS_VERIFY_OPTIONAL_NO_CA},
	{NULL, 0},
};

#define WHERE (CTX_HTTP | CTX_SERVER)
#define AT(member) offsetof(struct tls_conf, member)
#define TYPED(dname, t, field, dflt, check, text) \
	{ \
		.name = dname, .contexts = WHERE, .args_min = 1, .args_max = 1, .type = t, \
		.offset = AT(field), .deflt = dflt, .set = check, .help = text \
	}

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
	 .deflt = "on",
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
	{.name = "ssl_session_ticket_key",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_CUSTOM,
	 .offset = AT(ticket_keys),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_file,
	 .help = "FILE -- keys of tickets, 48 or 80 random bytes, instead of own ones that are "
		 "renewed by themselves; the first one seals, all open"},
	{.name = "ssl_verify_client",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_ENUM,
	 .offset = AT(verify),
	 .values = verify_values,
	 .deflt = "off",
	 .help = "clients must (optional: may) show a certificate that verifies; optional_no_ca: its "
		 "authority may be unknown"},
	{.name = "ssl_verify_depth",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(verify_depth),
	 .max = 100,
	 .deflt = "1",
	 .help = "intermediate certificates between a client's and a trusted one"},
	TYPED("ssl_client_certificate", CONF_STR, client_certificate, NULL, check_path,
	      "PEM file of the authorities of clients' certificates; clients are told their names"),
	TYPED("ssl_trusted_certificate", CONF_STR, trusted_certificate, NULL, check_path,
	      "the same, for OCSP answers too; clients are not told"),
	TYPED("ssl_crl", CONF_STR, crl, NULL, check_path, "PEM file of revoked certificates"),
	TYPED("ssl_password_file", CONF_STR, password_file, NULL, check_path,
	      "pass phrases of keys, one a line, tried in order"),
	TYPED("ssl_dhparam", CONF_STR, dhparam, NULL, check_path,
	      "PEM file of parameters for DHE ciphers; without it there are none"),
	{.name = "ssl_buffer_size",
	 .contexts = WHERE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_SIZE,
	 .offset = AT(buffer_bytes),
	 .min = 64,
	 .max = 1 << 20,
	 .deflt = "16k",
	 .help = "a TLS record that is sent holds this much, and 16k at most"},
	TYPED("ssl_stapling", CONF_FLAG, stapling, "off", NULL,
	      "staple OCSP answers: proof that the certificates are not revoked"),
	TYPED("ssl_stapling_verify", CONF_FLAG, stapling_verify, "off", NULL,
	      "check who signed them: the certificates' authority, or one of "
	      "ssl_trusted_certificate"),
	TYPED("ssl_stapling_responder", CONF_STR, stapling_responder, NULL, NULL,
	      "URL (http) of the responder, instead of the certificate's"),
	TYPED("ssl_stapling_file", CONF_STR, stapling_file, NULL, check_path,
	      "file of a ready answer (DER), instead of a responder's"),
	TYPED("ssl_early_data", CONF_FLAG, early_data, "off", NULL,
	      "take TLS 1.3 early data; a replay is refused while this process tree lives"),
	TYPED("ssl_reject_handshake", CONF_FLAG, reject_handshake, "off", NULL,
	      "end the handshakes of this server with unrecognized_name"),
	{.name = "ssl_conf_command",
	 .contexts = WHERE,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(commands),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_command,
	 .help = "NAME VALUE -- a command of OpenSSL's own, see SSL_CONF_cmd(3)"},
};

const struct conf_module tls_module = {
	.name = "tls",
	.rows = rows,
	.n_rows = sizeof rows / sizeof *rows,
	.contexts = WHERE,
	.bytes = sizeof(struct tls_conf),
	.finish = finish,
};
