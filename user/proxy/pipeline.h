/* SPDX-License-Identifier: BSD-2-Clause */
/* The order in which a request is served: one table of steps. */
#ifndef SL_PROXY_PIPELINE_H
#define SL_PROXY_PIPELINE_H

#include <stdint.h>

struct request;

enum step_result {
	STEP_NEXT, /* go on with the next step */
	STEP_WAIT, /* pipeline_resume() will be called: the same step runs again */
	STEP_DONE, /* an answer was begun, or the request is gone */
};

struct step {
	const char *name;
	enum step_result (*run)(struct request *r);
};

void pipeline_run(struct request *r);
void pipeline_resume(struct request *r);
/* Where a step stands in the table: r->step, to go back to it. */
uint32_t pipeline_step_of(enum step_result (*run)(struct request *));

#endif
