/* SPDX-License-Identifier: BSD-2-Clause */
/* Who asks, where a proxy that is trusted says so: set_real_ip_from, real_ip_header, real_ip_recursive
 * (module MOD_REALIP). */
#ifndef SL_PROXY_REALIP_H
#define SL_PROXY_REALIP_H

#include "conf/conf.h"
#include "net/addr.h"
#include "policy/ban.h"
#include "proxy/pipeline.h"

extern const struct conf_module realip_module;
extern const struct var_def vars_realip[]; /* $realip_remote_addr, $realip_remote_port */

/* Steps of the pipeline: by the server's settings, and by the location's where those said nothing. Once
 * r->remote is another than the connection's it stays so. */
enum step_result realip_step_server(struct request *r);
enum step_result realip_step_location(struct request *r);
/* Is it one of set_real_ip_from in B? Such an address is never banned for what came through it. */
bool realip_trusts(const struct conf_block *b, const struct addr *a);
/* Is an address of NET one of set_real_ip_from anywhere in C (but 0.0.0.0/0 and ::/0, which name nobody)?
 * Such an address, a proxy's, is not banned, nor is a network around it. */
bool realip_is_proxy(const struct conf *c, const struct ban_net *net);
struct client;
/* Who is at the other end of a connection, as far as B says: what a trusted PROXY header said (*is_indirect),
 * or the connection's own address. False: a proxy, and it is not known for whom it speaks. */
bool realip_of_connection(const struct client *k, const struct conf_block *b, struct addr *out,
			  bool *is_indirect);

#endif
