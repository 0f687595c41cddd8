/* SPDX-License-Identifier: BSD-2-Clause */
/* log_format and access_log (module MOD_ACCESS_LOG): one line a request, whole lines appended. */
#ifndef SL_PROXY_ACCESS_LOG_H
#define SL_PROXY_ACCESS_LOG_H

#include "conf/conf.h"

struct request;
struct env;

extern const struct conf_module access_log_module;

/* At a request's end. */
void access_log_write(struct request *r);
/* Writes out what is buffered: before logs are reopened, and at exit. */
void access_log_flush(struct env *env);
/* Starts the flush timers of a worker. */
void access_log_setup(struct env *env);

#endif
