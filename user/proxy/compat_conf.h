/* SPDX-License-Identifier: BSD-2-Clause */
/* What stands in nginx's files and needs nothing done here (module MOD_COMPAT). */
#ifndef SL_PROXY_COMPAT_CONF_H
#define SL_PROXY_COMPAT_CONF_H

#include "conf/conf.h"

extern const struct conf_module compat_module;

#endif
