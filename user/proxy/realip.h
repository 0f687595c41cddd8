/* SPDX-License-Identifier: BSD-2-Clause */
/* Who asks, where a proxy that is trusted says so: set_real_ip_from, real_ip_header, real_ip_recursive
 * (module MOD_REALIP). */
#ifndef SL_PROXY_REALIP_H
#define SL_PROXY_REALIP_H

#include "conf/conf.h"
#include "net/addr.h"
#include "proxy/pipeline.h"

extern const struct conf_module realip_module;
extern const struct var_def vars_realip[]; /* $realip_remote_addr, $realip_remote_port */

/* Steps of the pipeline: by the server's settings, and by the location's where those said nothing. Once
 * r->remote is another than the connection's it stays so. */
enum step_result realip_step_server(struct request *r);
enum step_result realip_step_location(struct request *r);
/* Is it one of set_real_ip_from in B? Such an address is never banned for what came through it. */
bool realip_trusts(const struct conf_block *b, const struct addr *a);

#endif
