/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to head*.c: the field lines of a head, and what framing, routing and the connection's
 * life need of them. */
#ifndef SL_HTTP_HEAD_FIELDS_H
#define SL_HTTP_HEAD_FIELDS_H

#include "http/head.h"

/* Gathered in the one pass over the fields; values are the first ones. */
struct head_facts {
	uint32_t n_hosts, n_lengths, n_codings, n_options;
	struct slice host, length, coding;
	bool close, keep_alive, upgrade, expect_continue;
};

/* BLOCK is from the first field line up to and with the empty line that ends the head. HDRS has
 * room. */
enum head_error head_fields_parse(struct slice block, struct arena *a, struct hdrs *hdrs,
				  struct head_facts *facts);
/* Need what head_line_request or _response and head_fields_parse left. */
enum head_error head_fields_finish_request(const struct head_facts *f, struct arena *a,
					   struct req_head *out);
enum head_error head_fields_finish_response(const struct head_facts *f, struct resp_head *out);

#endif
