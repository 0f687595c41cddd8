/* SPDX-License-Identifier: BSD-2-Clause */
/* The proxy_ssl_* directives (module MOD_PROXY_TLS): TLS towards upstreams. */
#ifndef SL_PROXY_PROXY_TLS_H
#define SL_PROXY_PROXY_TLS_H

#include "conf/conf.h"

extern const struct conf_module proxy_tls_module;

struct tls_client;
struct tls_command;

struct proxy_tls { /* MOD_PROXY_TLS's struct in http, server, location */
	int64_t verify, verify_depth, server_name, session_reuse, protocols;
	struct tmpl *name; /* NULL: by the upstream's names */
	struct slice trusted_certificate, ciphers, crl;
	struct slice certificate, certificate_key, password_file;
	struct tls_command *commands;
	struct tls_client *client; /* built by finish() where an https proxy_pass stands */
};

/* Frees the TLS settings of a configuration that is going away, loaded or refused. Connections must be
 * gone. */
void proxy_tls_release(struct conf *c);

#endif
