/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides whether TLS was as the request's server wants it. Speaks no TLS. */
#include "proxy/tls_gate.h"

#include "proxy/http_conf.h"
#include "proxy/reply.h"
#include "proxy/request.h"
#include "tls/tls_conf.h"
#include "tls/tls_peer.h"

static enum step_result refuse(struct request *r, unsigned status, const char *why)
{
	r->keep_alive = false;
	reply_error(r, status, why);
	return STEP_DONE;
}

/* The server that the client asked for in its handshake; NULL when it asked for none that there is. */
static struct server *asked_for(const struct request *r)
{
	struct slice name = tls_sni(r->client->conn);
	char low[256];

	if (!name.n || name.n > sizeof low)
		return NULL;
	for (size_t i = 0; i < name.n; i++)
		low[i] = (char)slice_lower(name.p[i]);
	return http_conf_server_named(r->client->listener, slice_make(low, name.n), NULL);
}

/* As nginx; and a certificate that was checked by another server's rules is none here, also where the
 * client named no server that there is. */
static bool is_misdirected(const struct request *r, struct server *asked)
{
	struct server *had = asked ? asked : r->client->listener->default_server;

	if (had == r->server)
		return false;
	return asked || tls_peer_has_certificate(r->client->conn);
}

enum step_result tls_gate_step(struct request *r)
{
	const struct tls_conf *t;
	struct server *asked;
	const char *why;

	if (!r->client->listener->ssl)
		return STEP_NEXT;
	if (!r->client->tls) {
		request_log(r, LOG_LVL_INFO, "client sent plain HTTP request to HTTPS port");
		return refuse(r, 497, "The plain HTTP request was sent to HTTPS port");
	}
	t = r->server->block->mod[MOD_TLS];
	if (t->verify == TLS_VERIFY_OFF)
		return STEP_NEXT;
	asked = asked_for(r);
	if (is_misdirected(r, asked)) {
		request_log(r, LOG_LVL_INFO,
			    "client attempted to request the server name different from the one "
			    "that was negotiated");
		r->server = asked ? asked : r->client->listener->default_server;
		r->block = r->server->block;
		r->scope = r->server->scope;
		return refuse(r, 421, "This connection was made for another server name");
	}
	switch (tls_peer_check(r->client->conn, (enum tls_verify)t->verify, &why)) {
	case TLS_PEER_BAD:
		request_log(r, LOG_LVL_INFO, "client SSL certificate verify error: (%s)", why);
		tls_peer_forget_session(r->client->conn);
		return refuse(r, 495, "The SSL certificate error");
	case TLS_PEER_MISSING:
		request_log(r, LOG_LVL_INFO, "client sent no required SSL certificate");
		tls_peer_forget_session(r->client->conn);
		return refuse(r, 496, "No required SSL certificate was sent");
	default:
		return STEP_NEXT;
	}
}
