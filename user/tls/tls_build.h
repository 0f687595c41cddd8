/* SPDX-License-Identifier: BSD-2-Clause */
/* From the ssl_* directives of a server to its context. For tls_conf.c. */
#ifndef SL_TLS_TLS_BUILD_H
#define SL_TLS_TLS_BUILD_H

#include "tls/tls_conf.h"

/* Sets t->server. 0, or -SL_EINVAL after conf_error(). */
int tls_build_server(struct conf *c, const struct conf_node *n, struct tls_conf *t);
/* Unrefs the zones of a configuration that is going away. */
void tls_build_release(struct conf *c);

#endif
