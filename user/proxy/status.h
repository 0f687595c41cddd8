/* SPDX-License-Identifier: BSD-2-Clause */
/* stub_status, and what answers tell of the program: server_tokens (module MOD_STUB_STATUS). */
#ifndef SL_PROXY_STATUS_H
#define SL_PROXY_STATUS_H

#include "conf/conf.h"
#include "proxy/pipeline.h"

extern const struct conf_module status_module;
extern const struct var_def vars_status[]; /* $connections_... */

/* Content of a location with stub_status; else STEP_NEXT. */
enum step_result status_step(struct request *r);
/* A step of out.c: the Server field, where it is ours. */
void status_server_step(struct request *r);
/* What stands below an error page. */
struct slice status_signature(const struct request *r);

#endif
