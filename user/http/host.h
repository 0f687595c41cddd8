/* SPDX-License-Identifier: BSD-2-Clause */
/* host[:port] as in the Host field, absolute-form and authority-form (RFC 9110 7.2). */
#ifndef SL_HTTP_HOST_H
#define SL_HTTP_HOST_H

#include "core/arena.h"
#include "core/slice.h"

/* HOST is a lower-case copy in the arena, without the port and one final dot; an IPv6 address keeps
 * its brackets. PORT is 0 when none was given, or none but its colon. -SL_EINVAL, strictly: empty, userinfo, a percent
 * escape, a comma, an empty label, an IPv6 address out of brackets, malformed or with a zone, an
 * IPvFuture, a port that is 0, over 65535 or of more than 5 digits. */
int host_parse(struct slice authority, struct arena *a, struct slice *host, uint16_t *port);

#endif
