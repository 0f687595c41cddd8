/* SPDX-License-Identifier: BSD-2-Clause */
/* The ssl_* directives of http and server (module MOD_TLS), and the server contexts that they make.
 */
#ifndef SL_TLS_TLS_CONF_H
#define SL_TLS_TLS_CONF_H

#include "conf/conf.h"
#include "tls/tls_server.h"

extern const struct conf_module tls_module;

/* Paths of ssl_certificate or ssl_certificate_key, in the order of the file. */
struct tls_file {
	struct tls_file *next;
	const char *path_cstr;
	const struct conf_node *node;
};

/* shared:NAME:SIZE. Its memory is kept over a reload while name and size stay. */
struct tls_zone_conf {
	struct tls_zone_conf *next;
	struct slice name;
	size_t bytes;
	struct shm_zone *shm; /* set once a server uses it */
	struct tls_cache *cache;
};

/* A zone that the configuration uses. */
struct tls_zone_ref {
	struct tls_zone_ref *next;
	struct shm_zone *shm;
};

struct tls_cache_conf {
	unsigned mode; /* enum tls_cache_mode */
	int64_t builtin_n;
	struct tls_zone_conf *zone;
};

struct tls_conf {			      /* MOD_TLS's struct in http and server */
	struct tls_file *certificates, *keys; /* paired in order; inherited whole */
	int64_t protocols;		      /* enum tls_protocol, or-ed */
	struct slice ciphers;
	int64_t prefer_server_ciphers;
	struct slice ecdh_curve;
	struct tls_cache_conf *cache; /* NULL: none */
	int64_t session_timeout_s;
	int64_t session_tickets;
	struct tls_file *ticket_keys;
	int64_t verify; /* enum tls_verify */
	int64_t verify_depth;
	struct slice client_certificate, trusted_certificate, crl;
	struct slice password_file, dhparam;
	int64_t buffer_bytes, early_data, reject_handshake;
	struct tls_command *commands;
	int64_t stapling, stapling_verify;
	struct slice stapling_file, stapling_responder;
	struct tls_server *server;    /* NULL until built */
	struct tls_zone_conf *zones;  /* http only: all zones of the configuration */
	struct shm_zone *tickets;     /* http only: the keys of all servers */
	struct shm_zone *replays;     /* http only: the early data of all servers */
	struct tls_zone_ref *staples; /* http only: the memory of stapled answers */
	struct shm_registry own;      /* http only: where a program without a master keeps zones */
};

/* The context of a server block, made on the first call; owned by the configuration. Without a
 * certificate: conf_error `no "ssl_certificate" is defined ...`. NULL after conf_error. For
 * finish() of any module. A server with certificates gets its context from this module's finish()
 * also when no listener asks for it, so that wrong files never pass -t. */
struct tls_server *tls_conf_build(struct conf *c, struct conf_block *server);
/* MOD_TLS's struct of the http block; NULL without one. */
struct tls_conf *tls_conf_http(const struct conf *c);
/* For directives of other modules, too. The argument must be the path of a file: no variables, no
 * "data:". 0, or -SL_EINVAL after conf_error(). */
int tls_conf_check_path(struct conf *c, const struct conf_node *n);
/* A ..._conf_command directive, put at the end of LIST. */
int tls_conf_add_command(struct conf *c, struct tls_command **list, bool is_server,
			 const struct conf_node *n);
/* Has this block an ssl_certificate (or needs none, since it rejects handshakes), of its own or inherited? A server that is no listener's
 * default may go without: its clients get the default server's. */
bool tls_conf_has_certificate(const struct conf_block *server);
/* Frees the contexts and unrefs the zones of a configuration that is going away, loaded or refused;
 * before conf_free(). Connections must be gone. */
void tls_conf_release(struct conf *c);

#endif
