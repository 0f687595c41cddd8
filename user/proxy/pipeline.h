/* SPDX-License-Identifier: BSD-2-Clause */
/* The order in which a request is served: one table of steps. */
#ifndef SL_PROXY_PIPELINE_H
#define SL_PROXY_PIPELINE_H

#include <stdint.h>

#include "core/slice.h"

struct request;

enum {
	PIPELINE_REDIRECTS_MAX = 10, /* internal ones of a request, as nginx */
};

enum step_result {
	STEP_NEXT, /* go on with the next step */
	STEP_JUMP, /* go on with r->step, which was set */
	STEP_WAIT, /* pipeline_resume() will be called: the same step runs again */
	STEP_DONE, /* an answer was begun, or the request is gone */
};

struct step {
	const char *name;
	enum step_result (*run)(struct request *r);
};

void pipeline_run(struct request *r);
void pipeline_resume(struct request *r);
/* An internal redirect: the request is served anew as if it were for PATH (decoded, normalised; both
 * borrowed for the request's life), from the server's first step on. An upstream that was asked is let go
 * of; a body that was read stays. Over the tenth it is answered with 500. Ends the step: STEP_DONE. */
void pipeline_redirect(struct request *r, struct slice path, struct slice args);
/* The same with the location @NAME of R's server: the path, and an upstream's target, stay. No such location:
 * 500. */
void pipeline_named(struct request *r, struct slice name);
/* A request of sluice's own begins, for PATH. */
void pipeline_start_at(struct request *r, struct slice path);
/* Where a step stands in the table: r->step, to go back to it. */
uint32_t pipeline_step_of(enum step_result (*run)(struct request *));

#endif
