/* SPDX-License-Identifier: BSD-2-Clause */
/* Upstream names: asked at start and again by TTL, the answers put into the groups for all workers. One
 * worker asks for the groups of the configuration; groups made from variables are each worker's own. */
#ifndef SL_PROXY_NAMES_H
#define SL_PROXY_NAMES_H

#include "policy/upstream_conf.h"
#include "proxy/env.h"

/* ASKS: this worker resolves the configuration's groups. 0 or -SL_E…. */
int names_setup(struct env *env, bool asks);
void names_fini(struct env *env);

/* The group of a proxy_pass with variables, made when it is not known yet; NULL: too many of them are in
 * use, or HOST is no host. It stays until names_release(). */
struct balance_group *names_group(struct env *env, const struct conf_block *block,
				  struct slice host, uint16_t port);
void names_release(struct balance_group *g);
/* The resolver of these settings, made when there is none yet; NULL (logged): it cannot be made. */
struct resolver *names_resolver(struct env *env, const struct upstream_scope *s);
/* Why the group's names do not resolve. */
const char *names_error(struct balance_group *g);

#endif
