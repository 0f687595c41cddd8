/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of the proxy_ssl_* directives, and the client contexts that are made of them. */
#include "proxy/proxy_tls.h"

#include "core/err.h"
#include "proxy/proxy_conf.h"
#include "tls/tls_client.h"
#include "tls/tls_conf.h"

static int check_path(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		      const struct conf_row *row)
{
	return tls_conf_check_path(c, n);
}

static int check_ciphers(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
			 const struct conf_row *row)
{
	const struct proxy_tls *t = mod;
	char err[TLS_TEXT_MAX];

	if (tls_ctx_check_ciphers(arena_cstr(&c->arena, t->ciphers), err))
		return conf_error(c, n, "%s", err);
	return 0;
}

static int set_command(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		       const struct conf_row *row)
{
	return tls_conf_add_command(c, &((struct proxy_tls *)mod)->commands, false, n);
}

static const char *path(struct conf *c, struct slice s)
{
	return s.n ? conf_path(c, s) : NULL;
}

static int build(struct conf *c, const struct conf_node *n, struct proxy_tls *t)
{
	struct tls_passwords *passwords = NULL;
	struct tls_pair pair = {path(c, t->certificate), path(c, t->certificate_key), NULL};
	struct tls_client_params p = {
		.protocols = (unsigned)t->protocols,
		.ciphers_cstr = t->ciphers.n ? arena_cstr(&c->arena, t->ciphers) : NULL,
		.pair = pair.cert_cstr ? &pair : NULL,
		.verify = t->verify,
		.verify_depth = (int)t->verify_depth,
		.ca_cstr = path(c, t->trusted_certificate),
		.crl_cstr = path(c, t->crl),
		.session_reuse = t->session_reuse,
		.commands = t->commands,
	};
	char err[TLS_TEXT_MAX];

	if (pair.cert_cstr && !pair.key_cstr)
		return conf_error(c, n,
				  "no \"proxy_ssl_certificate_key\" is defined for certificate "
				  "\"%.*s\"",
				  SLICE_FMT(t->certificate));
	if (t->password_file.n) {
		passwords = tls_passwords_load(path(c, t->password_file), err);
		if (!passwords)
			return conf_error(c, n, "%s", err);
		pair.passwords = passwords;
	}
	t->client = tls_client_new(&p, err);
	tls_passwords_free(passwords);
	return t->client ? 0 : conf_error(c, n, "%s", err);
}

static int finish(struct conf *c, struct conf_block *b, void *mod)
{
	struct proxy_scope *s = b->mod[MOD_PROXY];
	const struct proxy_scope *outer;
	struct proxy_tls *t = mod;

	/* With variables the scheme may turn out to be https. */
	if (!s || !s->pass || !(s->pass->https || s->pass->url))
		return 0;
	/* A block within a location has the same settings. */
	outer = b->ctx & CTX_PART ? b->parent->mod[MOD_PROXY] : NULL;
	if (outer && outer->tls) {
		s->tls = outer->tls;
		return 0;
	}
	s->tls = t;
	return build(c, s->pass->node, t);
}

static void release(struct conf_block *b)
{
	struct proxy_tls *t = b->mod[MOD_PROXY_TLS];

	if (t) {
		tls_client_free(t->client);
		t->client = NULL;
	}
	for (struct conf_block *k = b->first_child; k; k = k->next)
		release(k);
}

void proxy_tls_release(struct conf *c)
{
	if (c->main)
		release(c->main);
}

static const struct conf_value protocols[] = {{"TLSv1", TLS_V1_0},
					      {"TLSv1.1", TLS_V1_1},
					      {"TLSv1.2", TLS_V1_2},
					      {"TLSv1.3", TLS_V1_3},
					      {NULL, 0}};

#define AT(field) offsetof(struct proxy_tls, field)
#define TYPED(dname, t, field, dflt, check, text) \
	{ \
		.name = dname, .contexts = CTX_SCOPE, .args_min = 1, .args_max = 1, .type = t, \
		.offset = AT(field), .deflt = dflt, .set = check, .help = text \
	}

static const struct conf_row rows[] = {
	TYPED("proxy_ssl_verify", CONF_FLAG, verify, "off", NULL,
	      "check the upstream's certificate: chain, dates and name"),
	{.name = "proxy_ssl_verify_depth",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = 1,
	 .type = CONF_NUM,
	 .offset = AT(verify_depth),
	 .max = 100,
	 .deflt = "1",
	 .help = "intermediate certificates between the upstream's and a trusted one"},
	TYPED("proxy_ssl_trusted_certificate", CONF_STR, trusted_certificate, NULL, check_path,
	      "file of trusted certificates; without it the system's are trusted"),
	TYPED("proxy_ssl_crl", CONF_STR, crl, NULL, check_path, "file of revoked certificates"),
	TYPED("proxy_ssl_certificate", CONF_STR, certificate, NULL, check_path,
	      "our certificate for upstreams"),
	TYPED("proxy_ssl_certificate_key", CONF_STR, certificate_key, NULL, check_path, "its key"),
	TYPED("proxy_ssl_password_file", CONF_STR, password_file, NULL, check_path,
	      "pass phrases of that key, one a line, tried in order"),
	TYPED("proxy_ssl_server_name", CONF_FLAG, server_name, "on", NULL, "tell the name (SNI)"),
	TYPED("proxy_ssl_name", CONF_TMPL, name, NULL, NULL,
	      "the name for SNI and verification; without it the host of the server line"),
	TYPED("proxy_ssl_session_reuse", CONF_FLAG, session_reuse, "on", NULL,
	      "resume TLS sessions"),
	{.name = "proxy_ssl_protocols",
	 .contexts = CTX_SCOPE,
	 .args_min = 1,
	 .args_max = -1,
	 .type = CONF_BITS,
	 .offset = AT(protocols),
	 .values = protocols,
	 .flags = CONF_MULTI,
	 .deflt = "TLSv1.2 TLSv1.3",
	 .help = "TLS versions for upstreams"},
	TYPED("proxy_ssl_ciphers", CONF_STR, ciphers, "DEFAULT", check_ciphers,
	      "ciphers up to TLSv1.2"),
	{.name = "proxy_ssl_conf_command",
	 .contexts = CTX_SCOPE,
	 .args_min = 2,
	 .args_max = 2,
	 .type = CONF_CUSTOM,
	 .offset = AT(commands),
	 .flags = CONF_MULTI | CONF_INHERIT,
	 .set = set_command,
	 .help = "NAME VALUE -- a command of OpenSSL's own, see SSL_CONF_cmd(3)"},
};

const struct conf_module proxy_tls_module = {
	.name = "proxy_ssl",
	.rows = rows,
	.n_rows = sizeof rows / sizeof rows[0],
	.contexts = CTX_SCOPE,
	.bytes = sizeof(struct proxy_tls),
	.finish = finish,
};
