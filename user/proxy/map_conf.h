/* SPDX-License-Identifier: BSD-2-Clause */
/* `map` (module MOD_MAP): a variable whose value depends on another text. */
#ifndef SL_PROXY_MAP_CONF_H
#define SL_PROXY_MAP_CONF_H

#include "conf/conf.h"

extern const struct conf_module map_module;

#endif
