/* SPDX-License-Identifier: BSD-2-Clause */
/* What a client takes of content codings (RFC 9110 12.5.3), read as nginx reads it. */
#ifndef SL_HTTP_CODING_H
#define SL_HTTP_CODING_H

#include "core/slice.h"

/* Does the value of Accept-Encoding allow gzip? "gzip" must stand there itself, as the first word or
 * behind a comma or a space ("x-gzip" and "*" do not count), with no q or one over 0 that is well formed. */
bool coding_takes_gzip(struct slice accept_encoding);

#endif
