/* SPDX-License-Identifier: BSD-2-Clause */
/* limit_req and limit_conn as steps of the pipeline. */
#ifndef SL_PROXY_LIMITS_H
#define SL_PROXY_LIMITS_H

#include "proxy/pipeline.h"

enum step_result limits_step_req(struct request *r);
enum step_result limits_step_conn(struct request *r);
/* The request is over: limit_conn counts it no more. */
void limits_release(struct request *r);

#endif
