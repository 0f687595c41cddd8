/* SPDX-License-Identifier: BSD-2-Clause */
/* `split_clients` (module MOD_SPLIT): a variable whose value divides clients by shares. */
#ifndef SL_PROXY_SPLIT_CONF_H
#define SL_PROXY_SPLIT_CONF_H

#include "conf/conf.h"

extern const struct conf_module split_module;

#endif
