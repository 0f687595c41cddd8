/* SPDX-License-Identifier: BSD-2-Clause */
/* Old browsers by their User-Agent, told as nginx tells them. */
#ifndef SL_PROXY_AGENT_H
#define SL_PROXY_AGENT_H

#include <stdbool.h>

#include "core/slice.h"

/* MSIE 4, 5 and 6 before its second service pack. */
bool agent_is_msie6(struct slice agent);
/* Safari on macOS, and what calls itself so. */
bool agent_is_safari(struct slice agent);

#endif
