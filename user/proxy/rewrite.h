/* SPDX-License-Identifier: BSD-2-Clause */
/* `set`, `if`, `rewrite`, `break` and `return` (module MOD_REWRITE): what stands of them in one block is a
 * program that runs in the order of the file. */
#ifndef SL_PROXY_REWRITE_H
#define SL_PROXY_REWRITE_H

#include "conf/conf.h"

extern const struct conf_module rewrite_module;

struct request;

enum rewrite_end {
	REWRITE_ON,    /* go on */
	REWRITE_AGAIN, /* the path is another: its location is to be looked for */
	REWRITE_DONE,  /* an answer was begun */
};

/* Runs the program of R's block, a server or a location; an `if` of a location becomes R's block. */
enum rewrite_end rewrite_run(struct request *r);
/* Whether reading a variable that was never set is worth a line in the log. */
bool rewrite_warns_of_unset(const struct request *r);

#endif
