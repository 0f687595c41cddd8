/* SPDX-License-Identifier: BSD-2-Clause */
/* The variables of a request. */
#ifndef SL_PROXY_VARS_H
#define SL_PROXY_VARS_H

#include "conf/var.h"

extern const struct var_def vars_body[];
extern const struct var_def vars_request[]; /* a struct request * is their request */
extern const struct var_def vars_upstream[];
extern const struct var_def vars_conn[];
extern const struct var_def vars_filter[];
extern const struct var_def vars_tls[];

#endif
