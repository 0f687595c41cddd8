/* SPDX-License-Identifier: BSD-2-Clause */
/* What a request must bring along to be served under its listener's TLS. */
#ifndef SL_PROXY_TLS_GATE_H
#define SL_PROXY_TLS_GATE_H

#include "proxy/pipeline.h"

/* A step of the pipeline, once the server is known. Refuses, with nginx's statuses: plain HTTP on a TLS
 * port (497), a Host whose server verifies clients on a connection that was made for another (421), a
 * client certificate that is bad (495) or missing (496). The last three numbers are for error_page:
 * clients see 400. */
enum step_result tls_gate_step(struct request *r);

#endif
