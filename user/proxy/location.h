/* SPDX-License-Identifier: BSD-2-Clause */
/* `location` as read and as looked up: nested ones, regular expressions, names. Part of the http module. */
#ifndef SL_PROXY_LOCATION_H
#define SL_PROXY_LOCATION_H

#include "proxy/http_conf.h"

struct request;

/* The row's setter. */
int location_set(struct conf *c, struct conf_block *b, void *mod, const struct conf_node *n,
		 const struct conf_row *row);
/* The locations right inside B, a server or location, as tables. */
int location_build(struct conf *c, struct conf_block *b);

/* NAME with its '@'. NULL: SRV has none. */
struct conf_block *location_named(const struct server *srv, struct slice name);

enum location_found {
	LOCATION_FOUND,
	LOCATION_SLASH,	 /* the block's path is r->uri.path and a slash */
	LOCATION_FAILED, /* a regular expression did, and the log says why */
};

/* The block of r->server that serves r->uri.path, as nginx searches: exact, then the longest prefix and what
 * is inside it, then regular expressions in their order (not below "^~"). The server's own block when none
 * matches. Captures of a match are kept in R. */
enum location_found location_find(struct request *r, struct conf_block **block);

#endif
