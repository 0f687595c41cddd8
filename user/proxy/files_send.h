/* SPDX-License-Identifier: BSD-2-Clause */
/* The body of an answer out of a file. */
#ifndef SL_PROXY_FILES_SEND_H
#define SL_PROXY_FILES_SEND_H

#include <stdint.h>

struct request;
struct files_send;

/* Sends SIZE bytes of FD, or r->resp.parts of them, and finishes the answer, whose head is out. Takes FD. */
void files_send_start(struct request *r, int fd, uint64_t size);
/* The client took some. */
void files_send_resume(struct request *r);
/* Before the request goes. */
void files_send_cancel(struct request *r);

#endif
