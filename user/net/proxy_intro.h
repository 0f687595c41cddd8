/* SPDX-License-Identifier: BSD-2-Clause */
/* HAProxy's PROXY protocol, versions 1 and 2, the reading side: who the client is to the one who sent the
 * connection here. */
#ifndef SL_NET_PROXY_INTRO_H
#define SL_NET_PROXY_INTRO_H

#include "net/addr.h"

enum { PROXY_INTRO_MAX = 4096 }; /* with its TLVs */

struct proxy_intro {
	struct addr src, dst; /* len 0: unknown, local, or no IP */
};

/* >0: bytes of the header; 0: more is needed; -SL_EINVAL. Strict: addresses and ports must be well formed
 * and of the family that is said, TLVs (which are passed over) must fit. What is returned does not depend on
 * how the bytes were cut into calls; BUF.n need not be more than PROXY_INTRO_MAX. */
int proxy_intro_parse(struct slice buf, struct proxy_intro *out);

#endif
