/* SPDX-License-Identifier: BSD-2-Clause */
/* The directive tables and variables of the whole program. */
#ifndef SL_MODULES_H
#define SL_MODULES_H

#include "conf/conf.h"

extern const struct conf_module *const modules_all[CONF_N_MODULES];
extern const struct var_def *const modules_vars[];

#endif
