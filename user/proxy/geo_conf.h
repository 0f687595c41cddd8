/* SPDX-License-Identifier: BSD-2-Clause */
/* `geo` (module MOD_GEO): a variable whose value depends on an address. */
#ifndef SL_PROXY_GEO_CONF_H
#define SL_PROXY_GEO_CONF_H

#include "conf/conf.h"

extern const struct conf_module geo_module;

#endif
