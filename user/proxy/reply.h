/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers that sluice makes itself. */
#ifndef SL_PROXY_REPLY_H
#define SL_PROXY_REPLY_H

#include "core/slice.h"

struct request;

/* Errors and redirects go the way of the configuration's error_page where it has one for STATUS. */

/* An error of the gateway: a JSON body in the form that OpenAI's clients read, or HTML for a client that
 * prefers it. WHY (may be NULL) is told to the client; never put secrets or inner addresses in it. */
void reply_error(struct request *r, unsigned status, const char *why);
/* A whole answer with BODY (borrowed for the request's life). */
void reply_text(struct request *r, unsigned status, struct slice content_type, struct slice body);
/* 301, 302, 303, 307, 308 to LOCATION: absolute, or a path that becomes absolute as nginx does it. */
void reply_redirect(struct request *r, unsigned status, struct slice location);
/* The same without error_page. */
void reply_redirect_now(struct request *r, unsigned status, struct slice location);
/* PATH with scheme, host and port before it, by absolute_redirect and its kin; PATH itself where that is off. */
struct slice reply_absolute(struct request *r, struct slice path);

#endif
