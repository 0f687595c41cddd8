/* SPDX-License-Identifier: BSD-2-Clause */
/* The steps that decide who comes in, in nginx's order; each may do it alone where `satisfy any` stands. */
#ifndef SL_PROXY_ACCESS_H
#define SL_PROXY_ACCESS_H

#include "proxy/pipeline.h"

enum step_result access_step_rules(struct request *r);	 /* allow, deny */
enum step_result access_step_basic(struct request *r);	 /* auth_basic */
enum step_result access_step_request(struct request *r); /* auth_request */
enum step_result access_step_end(struct request *r);	 /* satisfy any: nobody let R in */

#endif
