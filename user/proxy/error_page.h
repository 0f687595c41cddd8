/* SPDX-License-Identifier: BSD-2-Clause */
/* error_page: an error is served by a path, a named location or a redirect of the configuration. */
#ifndef SL_PROXY_ERROR_PAGE_H
#define SL_PROXY_ERROR_PAGE_H

#include "proxy/request.h"

/* R is to be answered with STATUS. True: an error page sees to it, and R has been answered or is under way
 * (as after pipeline_redirect()). False: there is none for it. */
bool error_page_take(struct request *r, unsigned status);
/* Would error_page_take() take it? */
bool error_page_has(const struct request *r, unsigned status);
/* Is there one, though it may not be taken any more? What proxy_intercept_errors asks. */
bool error_page_is_set(const struct request *r, unsigned status);
/* An upstream's STATUS with FIELDS is not passed on: R's error page takes its place, and a 401 keeps
 * its WWW-Authenticate. The exchange must be gone. */
void error_page_intercept(struct request *r, unsigned status, const struct hdrs *fields);
/* R goes on as TARGET says: "@name", or a path with or without arguments, percent-encoded (the
 * X-Accel-Redirect of an upstream). FIELDS are that upstream's; the exchange must be gone. */
void error_page_accel(struct request *r, struct slice target, const struct hdrs *fields);

#endif
