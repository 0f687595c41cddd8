/* SPDX-License-Identifier: BSD-2-Clause */
/* What a request takes with it when it is served anew under another path: the error that it stands for, fields
 * of the answer that was not sent, the method that the client used. Kept only by requests that need it. */
#ifndef SL_PROXY_FLOW_H
#define SL_PROXY_FLOW_H

#include "http/headers.h"
#include "proxy/request.h"

struct flow {
	uint16_t err_status;  /* what the answer's status will be, whoever makes it; 0: its own */
	bool took_error_page; /* ... without recursive_error_pages: there will be no other */
	bool changed_method;
	struct slice sent_method;	     /* as the client sent it, where it was changed */
	struct hdrs kept;		     /* fields that the next answer gets too */
	struct slice content_type, location; /* the same, where that answer has none of its own */
	/* Access, of the path that is served now: */
	uint16_t access_code;	 /* satisfy any: 401 or 403 so far; 0: none */
	bool is_let_in;		 /* ... one let it in */
	bool was_delayed;	 /* auth_delay is behind it */
	uint8_t refused;	 /* credentials were no good: 1; and that was counted: 2 */
	uint64_t check_until_ms; /* a password waits for its turn until then; 0: it does not */
	struct hdrs challenges;	 /* WWW-Authenticate of a 401 */
	struct subrequest *asked;
	struct subrequest *subrequests; /* all there were */
};

/* Made when it is asked for, in R's arena. */
struct flow *flow_get(struct request *r);
/* R is served for a path of the configuration from here on: GET, unless it is HEAD. */
void flow_set_get(struct request *r);
/* The method as the client sent it; empty when it sent none that could be read. */
struct slice flow_sent_method(const struct request *r);
/* What the answer's status will be where STATUS is its maker's. */
unsigned flow_status(const struct request *r, unsigned status);
/* R is served for another path: who lets it in is asked anew. */
void flow_restart(struct request *r);
/* A step of out.c: status and fields of what the request went through. */
void flow_out(struct request *r);

#endif
