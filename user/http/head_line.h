/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to head*.c: the first line of a head. LINE is without its CRLF. */
#ifndef SL_HTTP_HEAD_LINE_H
#define SL_HTTP_HEAD_LINE_H

#include "http/head.h"

enum http_method head_line_method(struct slice text);
/* Fill the members of OUT that the line decides; fields and framing are left alone. */
enum head_error head_line_request(struct slice line, struct arena *a, struct req_head *out);
enum head_error head_line_response(struct slice line, struct resp_head *out);

#endif
