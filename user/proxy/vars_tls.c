/* SPDX-License-Identifier: BSD-2-Clause */
/* The $ssl_* variables. Nothing of it has a value on a plain connection. */
#include "proxy/request.h"
#include "proxy/vars.h"
#include "proxy/vars_impl.h"
#include "tls/tls_peer.h"

enum { LIST_BYTES = 2048 }; /* of ciphers or curves; more is left out */

static const struct conn *tls_of(const struct request *r)
{
	return r->client->tls ? r->client->conn : NULL;
}

static bool if_any(struct slice *out, struct slice s)
{
	*out = s;
	return s.n > 0;
}

static bool cstr_if_any(struct slice *out, const char *cstr)
{
	return cstr && if_any(out, slice_cstr(cstr));
}

VARS_GETTER(get_protocol)
{
	const struct conn *c = tls_of(request);

	return c && cstr_if_any(out, tls_protocol_cstr(c));
}

VARS_GETTER(get_cipher)
{
	const struct conn *c = tls_of(request);

	return c && cstr_if_any(out, tls_cipher_cstr(c));
}

VARS_GETTER(get_curve)
{
	const struct conn *c = tls_of(request);

	return c && cstr_if_any(out, tls_curve_cstr(c));
}

/* $ssl_ciphers, $ssl_curves. */
VARS_GETTER(get_list)
{
	size_t (*list)(const struct conn *, char *, size_t) = data;
	const struct conn *c = tls_of(request);
	char text[LIST_BYTES];

	return c && if_any(out, arena_dup(a, slice_make(text, list(c, text, sizeof text))));
}

VARS_GETTER(get_server_name)
{
	const struct conn *c = tls_of(request);

	return c && if_any(out, tls_sni(c));
}

VARS_GETTER(get_alpn)
{
	const struct conn *c = tls_of(request);

	return c && if_any(out, tls_alpn(c));
}

VARS_GETTER(get_reused)
{
	const struct conn *c = tls_of(request);

	return c && if_any(out, tls_session_reused(c) ? SLICE("r") : SLICE("."));
}

VARS_GETTER(get_session_id)
{
	const struct conn *c = tls_of(request);
	char text[65];

	return c && if_any(out, arena_dup(a, slice_make(text, tls_session_id_text(c, text))));
}

VARS_GETTER(get_early_data)
{
	const struct conn *c = tls_of(request);

	return c && tls_is_early(c) && if_any(out, SLICE("1"));
}

VARS_GETTER(get_client_verify)
{
	const struct conn *c = tls_of(request);

	return c && if_any(out, tls_peer_verify_text(c, a));
}

/* DATA points to the field. */
VARS_GETTER(get_client_field)
{
	const enum tls_peer_field *field = data;
	const struct conn *c = tls_of(request);

	return c && tls_peer_text(c, *field, a, out);
}

static const enum tls_peer_field fields[] = {
	[TLS_PEER_RAW] = TLS_PEER_RAW,
	[TLS_PEER_CERT] = TLS_PEER_CERT,
	[TLS_PEER_ESCAPED] = TLS_PEER_ESCAPED,
	[TLS_PEER_S_DN] = TLS_PEER_S_DN,
	[TLS_PEER_I_DN] = TLS_PEER_I_DN,
	[TLS_PEER_S_DN_LEGACY] = TLS_PEER_S_DN_LEGACY,
	[TLS_PEER_I_DN_LEGACY] = TLS_PEER_I_DN_LEGACY,
	[TLS_PEER_SERIAL] = TLS_PEER_SERIAL,
	[TLS_PEER_FINGERPRINT] = TLS_PEER_FINGERPRINT,
	[TLS_PEER_V_START] = TLS_PEER_V_START,
	[TLS_PEER_V_END] = TLS_PEER_V_END,
	[TLS_PEER_V_REMAIN] = TLS_PEER_V_REMAIN,
};

#define ROW(n, g) \
	{ \
		.name = n, .get = g \
	}
#define FIELD(n, f) \
	{ \
		.name = "ssl_client_" n, .get = get_client_field, .data = (void *)&fields[f] \
	}

const struct var_def vars_tls[] = {
	ROW("ssl_protocol", get_protocol),
	ROW("ssl_cipher", get_cipher),
	{.name = "ssl_ciphers", .get = get_list, .data = (void *)tls_client_ciphers_text},
	ROW("ssl_curve", get_curve),
	{.name = "ssl_curves", .get = get_list, .data = (void *)tls_client_curves_text},
	ROW("ssl_server_name", get_server_name),
	ROW("ssl_alpn_protocol", get_alpn),
	ROW("ssl_session_reused", get_reused),
	ROW("ssl_session_id", get_session_id),
	ROW("ssl_early_data", get_early_data),
	ROW("ssl_client_verify", get_client_verify),
	FIELD("raw_cert", TLS_PEER_RAW),
	FIELD("cert", TLS_PEER_CERT),
	FIELD("escaped_cert", TLS_PEER_ESCAPED),
	FIELD("s_dn", TLS_PEER_S_DN),
	FIELD("i_dn", TLS_PEER_I_DN),
	FIELD("s_dn_legacy", TLS_PEER_S_DN_LEGACY),
	FIELD("i_dn_legacy", TLS_PEER_I_DN_LEGACY),
	FIELD("serial", TLS_PEER_SERIAL),
	FIELD("fingerprint", TLS_PEER_FINGERPRINT),
	FIELD("v_start", TLS_PEER_V_START),
	FIELD("v_end", TLS_PEER_V_END),
	FIELD("v_remain", TLS_PEER_V_REMAIN),
	{.name = NULL},
};
