/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the variables of the connection that a request came by. */
#include <netinet/tcp.h>

#include "net/conn.h"
#include "proxy/vars_impl.h"

/* As in nginx: empty, but there, over HTTP/1. */
VARS_GETTER(get_http2)
{
	const struct request *r = request;

	*out = !r->head.http2 ? SLICE("") : r->client->tls ? SLICE("h2") : SLICE("h2c");
	return true;
}

enum { PROXIED_SERVER = 1 };

/* Of the PROXY header: the client's address, or (DATA) the one that it connected to. */
static const struct addr *proxied(const struct request *r, const void *data)
{
	const struct proxy_intro *h = r->client->proxied;

	if (!h)
		return NULL;
	return (uintptr_t)data == PROXIED_SERVER ? &h->dst : &h->src;
}

VARS_GETTER(get_proxied_addr)
{
	const struct addr *from = proxied(request, data);
	char *at;

	if (!from)
		return false;
	at = arena_bytes(a, ADDR_TEXT_MAX);
	*out = slice_make(at, addr_ip_text(from, at));
	return true;
}

VARS_GETTER(get_proxied_port)
{
	const struct addr *from = proxied(request, data);

	return from && vars_number(a, addr_port(from), out);
}

VARS_GETTER(get_connection_time)
{
	const struct request *r = request;

	return vars_seconds(a, r->env->loop.clock.mono_ms - r->client->made_ms, out);
}

/* DATA is the offset of a field in the kernel's struct. */
VARS_GETTER(get_tcpinfo)
{
	const struct request *r = request;
	struct tcp_info info;
	socklen_t n = sizeof info;

	return getsockopt(r->client->conn->io.fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 &&
	       vars_number(a, *(const uint32_t *)((const char *)&info + (uintptr_t)data), out);
}

/* DATA is an enum tcp_view_field. The kernel is asked once for all that a line wants. */
VARS_GETTER(get_tcp)
{
	const struct request *r = request;
	enum tcp_view_field field = (enum tcp_view_field)(uintptr_t)data;
	struct env *env = r->env;

	if (env->tcp_serial != r->client->serial || env->tcp_ms != env->loop.clock.mono_ms) {
		env->tcp_serial = r->client->serial;
		env->tcp_ms = env->loop.clock.mono_ms;
		tcp_view_read(r->client->conn->io.fd, &env->tcp);
	}
	return tcp_view_knows(&env->tcp, field) && vars_number(a, env->tcp.value[field], out);
}

#define TCPINFO_ROW(var, field) \
	{ \
		.name = var, .get = get_tcpinfo, .data = (void *)offsetof(struct tcp_info, field) \
	}
#define SERVER_ROW(var, fn) \
	{ \
		.name = var, .get = fn, .data = (void *)PROXIED_SERVER \
	}
#define TCP_ROW(var, field) \
	{ \
		.name = var, .get = get_tcp, .data = (void *)(uintptr_t)(field) \
	}
#define ROW(var, fn) \
	{ \
		.name = var, .get = fn \
	}

const struct var_def vars_conn[] = {
	ROW("http2", get_http2),
	ROW("proxy_protocol_addr", get_proxied_addr),
	ROW("proxy_protocol_port", get_proxied_port),
	SERVER_ROW("proxy_protocol_server_addr", get_proxied_addr),
	SERVER_ROW("proxy_protocol_server_port", get_proxied_port),
	ROW("connection_time", get_connection_time),
	TCPINFO_ROW("tcpinfo_rtt", tcpi_rtt),
	TCPINFO_ROW("tcpinfo_rttvar", tcpi_rttvar),
	TCPINFO_ROW("tcpinfo_snd_cwnd", tcpi_snd_cwnd),
	TCPINFO_ROW("tcpinfo_rcv_space", tcpi_rcv_space),
	TCP_ROW("tcp_rtt", TCP_VIEW_RTT),
	TCP_ROW("tcp_min_rtt", TCP_VIEW_MIN_RTT),
	TCP_ROW("tcp_retransmits", TCP_VIEW_RETRANSMITS),
	TCP_ROW("tcp_delivery_rate", TCP_VIEW_DELIVERY_RATE),
	{0},
};
