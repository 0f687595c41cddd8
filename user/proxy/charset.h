/* SPDX-License-Identifier: BSD-2-Clause */
/* `charset`: names the character set in Content-Type (module MOD_CHARSET). */
#ifndef SL_PROXY_CHARSET_H
#define SL_PROXY_CHARSET_H

#include "conf/conf.h"

struct request;

extern const struct conf_module charset_module;

/* A step of out.c. */
void charset_step(struct request *r);

#endif
